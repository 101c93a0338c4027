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
    return [
        Image.of(image, caption)
        for image, caption in zip(several, for_each(key, "captions", captions, len(several)), strict=True)
    ]


def sounds(key: str, audios: Any, sample_rate: Any, captions: Any) -> list[Audio]:
    """Return sounds; ``sample_rate`` and ``captions`` are one for all or one for each. Raises as :func:`pictures`."""
    several = listed(audios, dimensions=2)
    rates = for_each(key, "sample_rate", sample_rate, len(several))
    words = for_each(key, "captions", captions, len(several))
    return [Audio.of(*each) for each in zip(several, rates, words, strict=True)]


def videos(key: str, clips: Any, fps: Any, captions: Any) -> list[Video]:
    """Return videos; ``fps`` and ``captions`` are one for all or one for each. Raises as :func:`pictures`."""
    several = listed(clips, dimensions=4)
    rates = for_each(key, "fps", fps, len(several))
    words = for_each(key, "captions", captions, len(several))
    return [Video.of(*each) for each in zip(several, rates, words, strict=True)]


def listed(values: Any, dimensions: int) -> list[Any]:
    """Return several values as a list: a tensor or array with more than ``dimensions`` is a batch of them."""
    if isinstance(values, (list, tuple)) or getattr(values, "ndim", 0) > dimensions:
        return list(values)
    return [values]


def for_each(key: str, name: str, value: Any, count: int) -> Sequence[Any]:
    """Return a value for each of ``count`` things: those of a list, or one for all.

    Raises:
        MisconfigurationException: the list has another length.
    """
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise MisconfigurationException(
            f"there are {len(value)} `{name}` for the {count} entries of {key!r}; give each one"
        )
    return value


def split_options(key: str, kwargs: Mapping[str, Any], count: int) -> dict[str, Sequence[Any]]:
    """Return further arguments, such as W&B's ``masks``, as a list each.

    Raises:
        MisconfigurationException: a list has another length.
    """
    return {name: for_each(key, name, value, count) for name, value in kwargs.items()}
