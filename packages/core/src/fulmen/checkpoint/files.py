"""Files that are whole or not there: written beside their place, made durable, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fulmen.errors import CheckpointError


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at ``path`` complete, or not at all.

    Whatever happens, a crash or power cut included, ``path`` holds the old file or the new one: the data goes to a
    temporary file in the same folder, which is fsynced, renamed, and made durable by an fsync of the folder.

    Raises:
        CheckpointError: the folder cannot be made, or the file not written; the message names path and cause.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write {target}: {error.strerror or error}; {_fix(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable; a no-op where folders cannot be opened (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fix(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "give this user the right to write there, or choose another folder"
    if error.errno == 28:  # ENOSPC
        return "free some space on that disk"
    return "check the folder"
