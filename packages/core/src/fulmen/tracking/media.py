"""MediaStore: pictures and files of a run, each in a file named by its content."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fulmen.errors import LoggerError
from fulmen.media import Image
from fulmen.tracking.disk import sync_path

_BLOCK_BYTES = 1 << 20


class MediaStore:
    """The folder ``media`` of a run: what is in it never changes, and equal content is kept once.

    Args:
        run_folder: the run's folder; ``media`` is made in it when it is first needed.
    """

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._folder = run_folder / "media"
        self._unsynced: deque[Path] = deque()  # added to by other threads while one syncs
        self._numbers = itertools.count()

    def keep_image(self, image: Image) -> dict[str, Any]:
        """Write a picture and return what a record says of it."""
        target = self._folder / f"{hashlib.sha256(image.png).hexdigest()[:32]}.png"
        if not target.exists():
            temporary = self._temporary()
            temporary.write_bytes(image.png)
            self._move(temporary, target)
        return {
            "file": self._relative(target),
            "width": image.width,
            "height": image.height,
            "caption": image.caption,
        }

    def keep_file(self, path: Path) -> str:
        """Copy a file and return where its copy is, relative to the run's folder."""
        digest = hashlib.sha256()
        temporary = self._temporary()
        try:
            with path.open("rb") as source, temporary.open("wb") as copy:
                while block := source.read(_BLOCK_BYTES):
                    digest.update(block)
                    copy.write(block)
            target = self._folder / f"{digest.hexdigest()[:32]}{path.suffix}"
            self._move(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return self._relative(target)

    def image(self, kept: Mapping[str, Any]) -> Image:
        """Return the picture of which a record says ``kept``.

        Raises:
            LoggerError: its file is not there any more.
        """
        return Image(self.path(kept["file"]).read_bytes(), kept["width"], kept["height"], kept["caption"])

    def path(self, relative: str) -> Path:
        """Return the path of a file that a record names.

        Raises:
            LoggerError: the file is not there any more.
        """
        path = self._run_folder / relative
        if not path.is_file():
            raise LoggerError(f"{path} is named in the run's journal, but is not there any more")
        return path

    def sync(self) -> None:
        """Have the disk hold all that was kept so far."""
        if not self._unsynced:
            return
        while self._unsynced:
            sync_path(self._unsynced.popleft())
        sync_path(self._folder)

    def _temporary(self) -> Path:
        self._folder.mkdir(exist_ok=True)
        return self._folder / f".{os.getpid()}-{next(self._numbers)}.tmp"

    def _move(self, temporary: Path, target: Path) -> None:
        os.replace(temporary, target)
        self._unsynced.append(target)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._run_folder).as_posix()
