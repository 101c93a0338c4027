"""RunLock: one process writes a run's journal."""

from __future__ import annotations

import os
from pathlib import Path

from fulmen.errors import MisconfigurationException

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class RunLock:
    """A lock on a run's folder, held until :meth:`release` or the process's end, however it ends.

    Loader workers do not inherit it. Where the file system knows no locks it is never held by anybody.

    Args:
        folder: the run's folder.

    Raises:
        MisconfigurationException: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        # A file of its own: closing any descriptor of a file gives up the process's locks on it.
        self._descriptor = os.open(folder / ".journal.lock", os.O_RDWR | os.O_CREAT, 0o644)
        if not _take(self._descriptor):
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip() or "?"
            os.close(self._descriptor)
            raise MisconfigurationException(
                f"the run in {folder} is being written by another process ({holder}); wait until it has ended, or log "
                "into another folder"
            )
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode("ascii"), 0)

    def release(self) -> None:
        """Let other processes have the folder."""
        os.close(self._descriptor)


def is_locked(folder: Path) -> bool:
    """Return whether another process writes the run in this folder."""
    try:
        RunLock(folder).release()
    except MisconfigurationException:
        return True
    except OSError:
        return False
    return False


def _take(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # no locks on this file system
        return True
    return True
