"""MediaStore: pictures, sounds, videos and files of a run, each in a file named by its content."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fulmen.audio import Audio
from fulmen.errors import LoggerError
from fulmen.media import Image, plain
from fulmen.tracking.disk import sync_path
from fulmen.video import Video

_BLOCK_BYTES = 1 << 20


class MediaStore:
    """The folder ``media`` of a run: what is in it never changes, and equal content is kept once.

    Args:
        run_folder: the run's folder; ``media`` is made in it when it is first needed.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        self._folder = run_folder / "media"
        self._unsynced: deque[Path] = deque()  # added to by other threads while one syncs
        self._numbers = itertools.count()

    def keep_image(self, image: Image) -> dict[str, Any]:
        """Write a picture and return what a record says of it."""
        file = self.keep_bytes(image.png, ".png")
        return {"file": file, "width": image.width, "height": image.height, "caption": image.caption}

    def keep_audio(self, audio: Audio) -> dict[str, Any]:
        """Write a sound and return what a record says of it."""
        return {
            "file": self.keep_bytes(audio.data, f".{audio.format}"),
            "format": audio.format,
            "caption": audio.caption,
            "sample_rate": audio.sample_rate,
            "channels": audio.channels,
            "frames": audio.frames,
        }

    def keep_video(self, video: Video) -> dict[str, Any]:
        """Write a video and return what a record says of it."""
        return {
            "file": self.keep_bytes(video.data, f".{video.format}"),
            "format": video.format,
            "caption": video.caption,
            "width": video.width,
            "height": video.height,
        }

    def keep_bytes(self, data: bytes, suffix: str) -> str:
        """Write a file's content and return where it is, relative to the run's folder."""
        target = self._folder / f"{hashlib.sha256(data).hexdigest()[:32]}{suffix}"
        if not target.exists():
            temporary = self._temporary()
            temporary.write_bytes(data)
            self._move(temporary, target)
        return self._relative(target)

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

    def keep_value(self, value: Any) -> Any:
        """Return a nested value as plain ones, with arrays and tensors in files."""
        if isinstance(value, Mapping):
            return {str(key): self.keep_value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.keep_value(item) for item in value]
        if not hasattr(value, "shape") or value.shape == ():
            return plain(value)
        buffer = io.BytesIO()
        np.save(buffer, value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value), False)
        return {"$array": self.keep_bytes(buffer.getvalue(), ".npy")}

    def value(self, kept: Any) -> Any:
        """Return the value of which :meth:`keep_value` returned what is given.

        Raises:
            LoggerError: a file is not there any more.
        """
        if isinstance(kept, Mapping):
            if kept.keys() == {"$array"}:
                return np.load(io.BytesIO(self.path(kept["$array"]).read_bytes()), allow_pickle=False)
            return {key: self.value(item) for key, item in kept.items()}
        return [self.value(item) for item in kept] if isinstance(kept, list) else kept

    def image(self, kept: Mapping[str, Any]) -> Image:
        """Return the picture of which a record says ``kept``.

        Raises:
            LoggerError: its file is not there any more.
        """
        return Image(self.path(kept["file"]).read_bytes(), kept["width"], kept["height"], kept["caption"])

    def audio(self, kept: Mapping[str, Any]) -> Audio:
        """Return the sound of which a record says ``kept``.

        Raises:
            LoggerError: its file is not there any more.
        """
        fields = {name: value for name, value in kept.items() if name != "file"}
        return Audio(self.path(kept["file"]).read_bytes(), **fields)

    def video(self, kept: Mapping[str, Any]) -> Video:
        """Return the video of which a record says ``kept``.

        Raises:
            LoggerError: its file is not there any more.
        """
        fields = {name: value for name, value in kept.items() if name != "file"}
        return Video(self.path(kept["file"]).read_bytes(), **fields)

    def path(self, relative: str) -> Path:
        """Return the path of a file that a record names.

        Raises:
            LoggerError: the file is not there any more.
        """
        path = self.run_folder / relative
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
        return path.relative_to(self.run_folder).as_posix()
