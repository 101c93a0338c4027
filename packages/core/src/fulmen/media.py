"""Pictures and tables, as every logger gets them (stable interface).

``Image.of`` accepts what users hold: a tensor or array, a PIL picture, a matplotlib figure, or a file's path.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fulmen.errors import MisconfigurationException

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type, PNG specification section 11.2.2


@dataclass(frozen=True)
class Image:
    """A picture, encoded as PNG, with the words that go below it."""

    png: bytes = field(repr=False)
    width: int  #: pixels
    height: int  #: pixels
    caption: str | None = None

    @classmethod
    def of(cls, value: Any, caption: str | None = None) -> Image:
        """Make an image of what the user holds.

        Args:
            value: an ``Image``; a tensor or array of shape ``(C, H, W)``, ``(H, W, C)`` or ``(H, W)`` with 1 to 4
                channels, ``uint8`` in 0..255 or floating point in 0..1 (values outside are clipped); a PIL image;
                a matplotlib figure; the path of a PNG file.
            caption: words that a tracker shows with it.

        Raises:
            MisconfigurationException: the value is none of these.
        """
        if isinstance(value, Image):
            return cls(value.png, value.width, value.height, caption or value.caption)
        if isinstance(value, (str, Path)):
            try:
                png = Path(value).read_bytes()
            except OSError as error:
                raise MisconfigurationException(
                    f"the picture {str(value)!r} cannot be read: {error.strerror}; pass the path of a PNG file"
                ) from error
        elif hasattr(value, "savefig"):  # a matplotlib figure; matplotlib itself is never imported here
            buffer = io.BytesIO()
            value.savefig(buffer, format="png")
            png = buffer.getvalue()
        else:
            png = encode_png(as_pixels(value))
        if not png.startswith(_PNG_SIGNATURE):
            raise MisconfigurationException(f"image {value!r} is not a PNG file; convert it to PNG first")
        width, height = struct.unpack(">II", png[16:24])
        return cls(png, width, height, caption)


def as_pixels(value: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture as ``uint8`` pixels of shape ``(H, W, C)``; see :meth:`Image.of` for what is accepted."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.dtype.is_floating_point:
            value = value.float()  # numpy has no bfloat16
        value = value.numpy()
    try:
        pixels = np.asarray(value)
    except ValueError as error:
        raise _no_image(value, str(error)) from error
    if pixels.dtype.kind not in "buif":
        raise _no_image(value, f"values of type {pixels.dtype}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim == 3 and pixels.shape[0] in _PNG_COLOR_TYPES:
        narrow = hasattr(value, "ndim") and pixels.shape[0] in (1, 3) and pixels.shape[2] == 4
        if narrow or pixels.shape[2] not in _PNG_COLOR_TYPES:
            pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] not in _PNG_COLOR_TYPES or 0 in pixels.shape:
        raise MisconfigurationException(
            f"an image must have shape (C, H, W), (H, W, C) or (H, W) with 1 to 4 channels, but has shape "
            f"{tuple(np.shape(value))}; log the pictures of a batch one by one, as a list"
        )
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    elif np.issubdtype(pixels.dtype, np.floating):
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0)
        pixels = (np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def _no_image(value: Any, found: str) -> MisconfigurationException:
    return MisconfigurationException(
        f"an image must be a tensor, an array, a PIL picture, a matplotlib figure or the path of a PNG file, but is a "
        f"{type(value).__name__}: {value!r:.80} ({found})"
    )


def encode_png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Encode ``uint8`` pixels of shape ``(H, W, C)`` as PNG; core needs no image library for it."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOR_TYPES[channels], 0, 0, 0)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * channels)], axis=1)
    body = chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
    return _PNG_SIGNATURE + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@dataclass(frozen=True)
class Table:
    """Rows of plain values (numbers, strings, booleans, ``None``) below named columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, columns: Sequence[str] | None, data: Any) -> Table:
        """Make a table of rows, of a mapping from column to values, or of a pandas data frame.

        Raises:
            MisconfigurationException: a row's length is not the number of columns, or columns differ in length.
        """
        if columns is None and hasattr(data, "columns") and hasattr(data, "itertuples"):
            columns, data = (
                [str(name) for name in data.columns],
                list(data.itertuples(index=False, name=None)),
            )
        elif isinstance(data, Mapping):
            lengths = {str(name): len(values) for name, values in data.items()}
            if len(set(lengths.values())) > 1:
                raise MisconfigurationException(
                    f"the columns of the table have different lengths: {lengths}; give each the same number of values"
                )
            columns, data = list(lengths), list(zip(*data.values(), strict=True))
        if columns is None:
            raise MisconfigurationException("a table needs `columns`, the names of its columns")
        rows = []
        for row in data:
            if isinstance(row, str) or not isinstance(row, Iterable):
                raise MisconfigurationException(
                    f"a row of the table is {row!r:.80}, a {type(row).__name__}; give each row as a list with a value "
                    "for each column"
                )
            rows.append(tuple(plain(cell) for cell in row))
        for index, row in enumerate(rows):
            if len(row) != len(columns):
                raise MisconfigurationException(
                    f"row {index} of the table has {len(row)} values, but there are {len(columns)} columns "
                    f"{list(columns)}"
                )
        return cls(tuple(columns), tuple(rows))


def plain(value: Any) -> Any:
    """Return ``value`` as a number, string, boolean, ``None``, list or dict of these, as JSON can hold it."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, type):  # `np.float32` has a `tolist` too, but none to call
        return str(value)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "tolist"):  # tensors, numpy arrays and numpy scalars
        size = value.numel() if hasattr(value, "numel") else np.size(value)
        return plain(value.tolist()) if size <= 64 else str(value)
    # Of a subclass, such as a member of an enumeration, what it is underneath.
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    return str.__str__(value) if isinstance(value, str) else str(value)
