"""What users hand over under one key, as a list of pictures, sounds or videos with a caption each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fulmen.audio import Audio
from fulmen.errors import MisconfigurationException
from fulmen.media import Image
from fulmen.video import Video


def pictures(key: str, images: Any, captions: Any) -> list[Image]:
    """Return pictures.

    Args:
        key: their name, for messages.
        images: one picture as ``Image.of`` accepts it, a list of them, or a batch ``(N, C, H, W)``.
        captions: one for each, or ``None``.

    Raises:
        MisconfigurationException: a value is no picture, or the number of captions is not that of the pictures.
    """
    several = listed(images, dimensions=3)
    words = for_each("captions", captions, len(several), f"images of {key!r}")
    return [Image.of(*each) for each in zip(several, words, strict=True)]


def sounds(key: str, audios: Any, sample_rate: Any, captions: Any) -> list[Audio]:
    """Return sounds; ``sample_rate`` and ``captions`` are one for all or one for each. Raises as :func:`pictures`."""
    several = listed(audios, dimensions=2)
    rates = for_each("sample rates", sample_rate, len(several), f"sounds of {key!r}")
    words = for_each("captions", captions, len(several), f"sounds of {key!r}")
    return [Audio.of(*each) for each in zip(several, rates, words, strict=True)]


def videos(key: str, clips: Any, fps: Any, captions: Any) -> list[Video]:
    """Return videos; ``fps`` and ``captions`` are one for all or one for each. Raises as :func:`pictures`."""
    several = listed(clips, dimensions=4)
    rates = for_each("`fps`", fps, len(several), f"videos of {key!r}")
    words = for_each("captions", captions, len(several), f"videos of {key!r}")
    return [Video.of(*each) for each in zip(several, rates, words, strict=True)]


def listed(values: Any, dimensions: int) -> list[Any]:
    """Return several values as a list: a tensor or array with more than ``dimensions`` is a batch of them."""
    if isinstance(values, (list, tuple)) or getattr(values, "ndim", 0) > dimensions:
        return list(values)
    return [values]


def for_each(name: str, value: Any, count: int, of: str) -> Sequence[Any]:
    """Return a value for each of ``count`` things, which messages call ``of``: those of a list, or one for all.

    Raises:
        MisconfigurationException: the list has another length.
    """
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise MisconfigurationException(f"there are {len(value)} {name} for the {count} {of}; give each one")
    return value


def split_options(key: str, kwargs: Mapping[str, Any], count: int) -> dict[str, Sequence[Any]]:
    """Return further arguments, such as W&B's ``masks``, as a list each.

    Raises:
        MisconfigurationException: a list has another length.
    """
    return {name: for_each(f"`{name}`", value, count, f"entries of {key!r}") for name, value in kwargs.items()}
