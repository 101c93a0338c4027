"""Having the disk hold what was written."""

from __future__ import annotations

import os
from pathlib import Path


def sync_path(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, where the file system can be asked for that."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # taken away meanwhile, or a system on which folders cannot be opened
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot do this for a folder
        pass
    finally:
        os.close(descriptor)
