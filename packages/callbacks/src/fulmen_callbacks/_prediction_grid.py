"""One picture of many predictions: a grid of pictures, each with its predicted and its true label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

_SMALLEST_PX = 96  #: pictures that are smaller are enlarged by a whole factor, so that their pixels stay square
_LARGEST_PX = 192  #: pictures that are larger are reduced
_FONT_PX = 15
_TITLE_FONT_PX = 20
_LINE_PX = 19
_GAP_PX = 18
_FRAME_PX = {
    True: 2,
    False: 6,
}  #: a wrong one stands out by its thick frame too, whatever colours one can see
_WHITE, _BLACK, _GREY = (255, 255, 255), (25, 25, 25), (105, 105, 105)
_COLOR = {True: (20, 135, 70), False: (205, 35, 30)}


@dataclass(frozen=True)
class Prediction:
    """One cell of the grid."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]  #: shape (H, W, 3)
    predicted: str
    true: str

    @property
    def is_right(self) -> bool:
        """Whether the prediction is the true label."""
        return self.predicted == self.true


def to_pixels(
    images: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return pictures as pixels to look at.

    Args:
        images: shape ``(N, C, H, W)`` with C 1, 3 or 4; ``uint8``, or floating point. Values outside 0..1 are
            stretched to it, all pictures alike.
        mean: what was subtracted from each channel when the data were normalised.
        std: what each channel was then divided by.

    Returns:
        ``uint8``, shape ``(N, H, W, 3)``.
    """
    values = images.detach().cpu().numpy() if images.dtype.itemsize > 2 else images.detach().cpu().float().numpy()
    channels = (1, -1, 1, 1)
    scaled = values.astype(np.float32)
    if not images.dtype.is_floating_point:
        scaled = scaled / 255.0 if scaled.max() > 1 else scaled
    if std is not None:
        scaled = scaled * np.asarray(std, np.float32).reshape(channels)
    if mean is not None:
        scaled = scaled + np.asarray(mean, np.float32).reshape(channels)
    scaled = np.nan_to_num(scaled, nan=0.0)
    low, high = float(scaled.min()), float(scaled.max())
    # Rounding errors of a normalisation that was undone are no reason to stretch.
    if low < -0.01 or high > 1.01:
        scaled = (scaled - low) / max(high - low, 1e-12)
    pixels = (scaled.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels[..., :3]


def draw_grid(predictions: Sequence[Prediction], title: str, columns: int) -> PILImage:
    """Draw the predictions, ``columns`` in a row, below a title."""
    from PIL import Image, ImageDraw, ImageFont

    height, width, _ = predictions[0].pixels.shape
    scale = _scale(height, width)
    picture_w, picture_h = max(1, round(width * scale)), max(1, round(height * scale))
    cell_w = max(picture_w, _SMALLEST_PX)
    cell_h = picture_h + 2 * _LINE_PX + 8
    columns = min(columns, len(predictions))
    rows = math.ceil(len(predictions) / columns)
    font, title_font = ImageFont.load_default(_FONT_PX), ImageFont.load_default(_TITLE_FONT_PX)
    top = _TITLE_FONT_PX + 2 * _GAP_PX
    title_w = math.ceil(title_font.getlength(title))
    size = (
        max(_GAP_PX + columns * (cell_w + _GAP_PX), title_w + 2 * _GAP_PX),
        top + rows * (cell_h + _GAP_PX),
    )
    canvas = Image.new("RGB", size, _WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP_PX, _GAP_PX), title, fill=_BLACK, font=title_font)
    resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    for index, prediction in enumerate(predictions):
        row, column = divmod(index, columns)
        x = _GAP_PX + column * (cell_w + _GAP_PX)
        y = top + row * (cell_h + _GAP_PX)
        picture = Image.fromarray(prediction.pixels).resize((picture_w, picture_h), resampling)
        canvas.paste(picture, (x + (cell_w - picture_w) // 2, y))
        _draw_frame(draw, (x, y, x + cell_w - 1, y + picture_h - 1), prediction.is_right)
        _draw_words(draw, x, y + picture_h + 8, cell_w, prediction, font)
    return canvas


def _scale(height: int, width: int) -> float:
    """Return the factor: whole for pictures that are too small, a fraction for those too large."""
    longest = max(height, width)
    if longest < _SMALLEST_PX:
        return math.ceil(_SMALLEST_PX / longest)
    return min(1.0, _LARGEST_PX / longest)


def _draw_frame(draw: ImageDraw, box: tuple[int, int, int, int], is_right: bool) -> None:
    thickness = _FRAME_PX[is_right]
    outer = (box[0] - thickness, box[1] - thickness, box[2] + thickness, box[3] + thickness)
    draw.rectangle(outer, outline=_COLOR[is_right], width=thickness)


def _draw_words(
    draw: ImageDraw,
    x: int,
    y: int,
    width: int,
    prediction: Prediction,
    font: FreeTypeFont | ImageFont,
) -> None:
    """Write the prediction after a tick or a cross, and the true label below it."""
    is_right = prediction.is_right
    mark = 12
    _draw_mark(draw, x, y + 4, mark - 2, is_right)
    words = _fitting(prediction.predicted, width - mark - 4, font)
    draw.text((x + mark + 4, y), words, fill=_COLOR[is_right], font=font)
    true = _fitting(f"true: {prediction.true}", width, font)
    draw.text((x, y + _LINE_PX), true, fill=_GREY if is_right else _BLACK, font=font)


def _draw_mark(draw: ImageDraw, x: int, y: int, size: int, is_right: bool) -> None:
    """Draw a tick or a cross as lines: few fonts have them as letters."""
    color = _COLOR[is_right]
    if is_right:
        bend = (x + size // 3, y + size)
        draw.line([(x, y + size // 2), bend, (x + size, y)], fill=color, width=3, joint="curve")
    else:
        draw.line([(x, y), (x + size, y + size)], fill=color, width=3)
        draw.line([(x, y + size), (x + size, y)], fill=color, width=3)


def _fitting(text: str, width: int, font: FreeTypeFont | ImageFont) -> str:
    """Return ``text``, cut off where it is wider than ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"
