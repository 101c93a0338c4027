"""Audio: a sound, as every logger gets it (stable interface)."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fulmen.errors import MisconfigurationException

_FORMATS = ("wav", "mp3", "flac", "ogg", "m4a")
_MOST_CHANNELS = 8  # of two dimensions, one with more than this is the time


@dataclass(frozen=True)
class Audio:
    """A sound as a file's content, with the words that go below it."""

    data: bytes = field(repr=False)
    format: str  #: the file's extension, such as ``"wav"``
    caption: str | None = None
    sample_rate: int | None = None  #: frames a second; ``None`` where only a decoder could tell
    channels: int | None = None  #: ``None`` where only a decoder could tell
    frames: int | None = None  #: ``None`` where only a decoder could tell

    @classmethod
    def of(cls, value: Any, sample_rate: int | None = None, caption: str | None = None) -> Audio:
        """Make a sound of what the user holds.

        Args:
            value: an ``Audio``; a tensor or array of shape ``(frames,)``, ``(channels, frames)`` or ``(frames,
                channels)``, floating point in -1..1 (values outside are clipped) or ``int16``, which becomes a WAV file
                of 16 bits; or the path of a file, which is taken as it is.
            sample_rate: frames a second; a tensor or array needs it.
            caption: words that a tracker shows with it.

        Raises:
            MisconfigurationException: the value is none of these, or the sample rate is missing.
        """
        if isinstance(value, Audio):
            rate = sample_rate or value.sample_rate
            return cls(value.data, value.format, caption or value.caption, rate, value.channels, value.frames)
        if isinstance(value, (str, Path)):
            return _of_file(Path(value), sample_rate, caption)
        samples = _as_samples(value)
        if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, np.integer)) or sample_rate < 1:
            raise MisconfigurationException(
                f"a sound made of numbers needs its `sample_rate` in frames a second, but that is {sample_rate!r}; "
                "pass for example sample_rate=16000"
            )
        frames, channels = samples.shape
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setparams((channels, 2, int(sample_rate), frames, "NONE", "not compressed"))
            file.writeframes(samples.astype("<i2").tobytes())
        return cls(buffer.getvalue(), "wav", caption, int(sample_rate), channels, frames)


def _of_file(path: Path, sample_rate: int | None, caption: str | None) -> Audio:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        raise MisconfigurationException(
            f"the sound {str(path)!r} is not a file that browsers play; use one of: {', '.join(_FORMATS)}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MisconfigurationException(
            f"the sound {str(path)!r} cannot be read: {error.strerror}; pass the path of a file"
        ) from error
    if kind == "wav":
        try:
            with wave.open(io.BytesIO(data)) as file:
                return Audio(data, kind, caption, file.getframerate(), file.getnchannels(), file.getnframes())
        except (wave.Error, EOFError):
            pass  # of floats, or compressed: what plays it can tell
    return Audio(data, kind, caption, sample_rate)


def _as_samples(value: Any) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return sound as ``int16`` samples of shape ``(frames, channels)``."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.dtype.is_floating_point:
            value = value.float()  # numpy has no bfloat16
        value = value.numpy()
    samples = np.asarray(value)
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim == 2 and samples.shape[0] <= _MOST_CHANNELS < samples.shape[1]:
        samples = samples.T
    if samples.ndim != 2 or samples.size == 0 or samples.shape[1] > _MOST_CHANNELS:
        raise MisconfigurationException(
            f"a sound must have shape (frames,), (channels, frames) or (frames, channels) with at most "
            f"{_MOST_CHANNELS} channels, but has shape {np.shape(value)}; log the sounds of a batch as a list"
        )
    if samples.dtype == np.int16:
        return samples.astype(np.int16)
    if not np.issubdtype(samples.dtype, np.floating):
        raise MisconfigurationException(
            f"a sound must be floating point in -1..1 or int16, but is a {type(value).__name__} of {samples.dtype}; "
            "divide by its largest value first"
        )
    samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    scaled: np.ndarray[Any, np.dtype[np.int16]] = np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)
    return scaled
