"""Video: moving pictures, as every logger gets them (stable interface)."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.media import as_pixels

_FORMATS = ("gif", "mp4", "webm", "ogg")


@dataclass(frozen=True)
class Video:
    """Moving pictures as a file's content, with the words that go below them."""

    data: bytes = field(repr=False)
    format: str  #: the file's extension, such as ``"gif"``
    caption: str | None = None
    width: int | None = None  #: pixels; ``None`` where only a decoder could tell
    height: int | None = None  #: pixels; ``None`` where only a decoder could tell

    @classmethod
    def of(cls, value: Any, fps: float = 4, caption: str | None = None) -> Video:
        """Make a video of what the user holds.

        Args:
            value: a ``Video``; a tensor or array of shape ``(frames, C, H, W)`` or ``(frames, H, W, C)`` with values as
                for :meth:`fulmen.media.Image.of`, which becomes a GIF of 256 colours a frame and needs Pillow; or the
                path of a file, which is taken as it is.
            fps: frames a second of a tensor or array, at most 50, in steps of 10 ms a frame.
            caption: words that a tracker shows with it.

        Raises:
            MisconfigurationException: the value is none of these, or ``fps`` is not in 0.1..50.
            MissingPackageError: it is a tensor or array, and Pillow is not installed.
        """
        if isinstance(value, Video):
            return cls(value.data, value.format, caption or value.caption, value.width, value.height)
        if isinstance(value, (str, Path)):
            return cls(*_read(Path(value)), caption)
        if getattr(value, "ndim", None) != 4 or 0 in value.shape:
            shape = f"shape {tuple(np.shape(value))}" if hasattr(value, "shape") else f"the type {type(value).__name__}"
            raise MisconfigurationException(
                f"a video must be a tensor or array of shape (frames, C, H, W) or (frames, H, W, C), or the path of a "
                f"file, but has {shape}; log the videos of a batch as a list"
            )
        if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0.1 <= fps <= 50:
            raise MisconfigurationException(f"`fps` of a video must be between 0.1 and 50, but is {fps!r}; 4 is usual")
        frames = [as_pixels(frame) for frame in value]
        height, width = frames[0].shape[:2]
        return cls(_as_gif(frames, float(fps)), "gif", caption, width, height)


def _read(path: Path) -> tuple[bytes, str]:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        raise MisconfigurationException(
            f"the video {str(path)!r} is not a file that browsers play; use one of: {', '.join(_FORMATS)}"
        )
    try:
        return path.read_bytes(), kind
    except OSError as error:
        raise MisconfigurationException(
            f"the video {str(path)!r} cannot be read: {error.strerror}; pass the path of a file"
        ) from error


def _as_gif(frames: list[np.ndarray[Any, np.dtype[np.uint8]]], fps: float) -> bytes:
    try:
        pillow: Any = importlib.import_module("PIL.Image")
    except ModuleNotFoundError as error:
        raise MissingPackageError("a video made of a tensor or array needs Pillow: pip install pillow") from error
    # Channels 1 and 2 are gray, 3 and 4 are colour; a GIF keeps no half transparency.
    pictures = [
        pillow.fromarray(frame[:, :, 0] if frame.shape[2] <= 2 else frame[:, :, :3]).convert("P", palette=1, colors=256)
        for frame in frames
    ]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=max(20, round(100 / fps) * 10), loop=0
    )
    return buffer.getvalue()
