"""Pictures and tables of whatever users hold; the PNG bytes are read back by a small decoder of the test's own."""

from __future__ import annotations

import enum
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fulmen.errors import MisconfigurationException
from fulmen.media import Image, Table, plain


def decoded(png: bytes) -> Any:
    """The pixels of a PNG of 8 bits without interlacing or row filters, shape (H, W, C); checks every checksum."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, color, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert not rows[:, 0].any()  # no row filter
    return rows[:, 1:].reshape(height, width, channels)


RNG = np.random.default_rng(0)
HWC = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "pixels"),
    [
        (HWC, HWC),
        (torch.from_numpy(HWC), HWC),
        (HWC.transpose(2, 0, 1), HWC),
        (torch.from_numpy(HWC).permute(2, 0, 1), HWC),
        (HWC[:, :, 0], HWC[:, :, :1]),
        (HWC[:, :, :1], HWC[:, :, :1]),
        (HWC[:, :, :2], HWC[:, :, :2]),
        (np.concatenate([HWC, HWC[:, :, :1]], 2), np.concatenate([HWC, HWC[:, :, :1]], 2)),
        (torch.zeros(3, 8, 4, dtype=torch.uint8), np.zeros((8, 4, 3))),
        (HWC.astype(np.float32) / 255, HWC),
        (torch.from_numpy(HWC).double() / 255, HWC),
        (HWC.astype(np.int64), HWC),
        (HWC[:, :, :1] > 100, (HWC[:, :, :1] > 100) * 255),
        (HWC.tolist(), HWC),
        (HWC[::-1, ::2], HWC[::-1, ::2]),
    ],
)
def test_arrays_of_every_layout_give_their_pixels(given: Any, pixels: Any) -> None:
    image = Image.of(given)
    np.testing.assert_array_equal(decoded(image.png), pixels)
    assert (image.height, image.width) == np.shape(pixels)[:2]


def test_values_outside_of_the_range_are_clipped() -> None:
    row = [[-1.0, 0.0, 0.5, 1.0, 2.0, math.nan, math.inf, -math.inf]]
    assert decoded(Image.of(torch.tensor(row)).png)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0, 255, 0]
    assert decoded(Image.of(np.array([[-5, 300]])).png)[0, :, 0].tolist() == [0, 255]


def test_tensors_of_training_are_pictures_too() -> None:
    ones = np.full((2, 3, 1), 255)
    for tensor in (torch.ones(2, 3, requires_grad=True), torch.ones(2, 3, dtype=torch.bfloat16)):
        np.testing.assert_array_equal(decoded(Image.of(tensor).png), ones)


def test_a_figure_and_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    png = Image.of(HWC).png

    class Figure:
        def savefig(self, file: Any, format: str) -> None:
            assert format == "png"
            file.write(png)

    (tmp_path / "x.png").write_bytes(png)
    for given in (Figure(), tmp_path / "x.png", str(tmp_path / "x.png")):
        image = Image.of(given, "words")
        assert (image.png, image.width, image.height, image.caption) == (png, 9, 6, "words")


def test_a_picture_keeps_its_words_unless_others_are_given() -> None:
    image = Image.of(HWC, "first")
    assert Image.of(image).caption == "first"
    assert Image.of(image, "second").caption == "second"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            torch.ones(2, 3, 4, 4),
            r"shape \(C, H, W\).* has shape \(2, 3, 4, 4\); log the pictures of a batch one by one",
        ),
        (torch.ones(5), r"has shape \(5,\)"),
        (torch.ones(9, 9, 9), r"has shape \(9, 9, 9\)"),
        (torch.ones(3, 0, 5), r"has shape \(3, 0, 5\)"),
        (None, "but is a NoneType: None"),
        (object(), "but is a object"),
        ([[1, 2], [3]], "but is a list"),
        (np.array([["a"]]), "values of type <U1"),
        (torch.ones(2, 3, dtype=torch.complex64), "values of type complex64"),
        ("nowhere.png", "the picture 'nowhere.png' cannot be read: No such file"),
        (__file__, "is not a PNG file; convert it to PNG first"),
    ],
)
def test_what_is_no_picture_is_said(given: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Image.of(given)


# ------------------------------------------------------------------------------------------------- tables


class Frame:
    """Stands in for a pandas data frame."""

    columns = ("a", 2)

    def itertuples(self, index: bool, name: str | None) -> Any:
        assert (index, name) == (False, None)
        return iter([(1, "x"), (2, "y")])


@pytest.mark.parametrize(
    ("columns", "data"),
    [
        (["a", "2"], [[1, "x"], [2, "y"]]),
        (("a", "2"), ((np.int64(1), "x"), (torch.tensor(2), "y"))),
        (None, {"a": [1, 2], 2: ["x", "y"]}),
        (None, {"a": torch.tensor([1, 2]), 2: ("x", "y")}),
        (None, Frame()),
    ],
)
def test_tables_of_rows_columns_and_frames(columns: Any, data: Any) -> None:
    assert Table.of(columns, data) == Table(("a", "2"), ((1, "x"), (2, "y")))


def test_a_table_may_be_empty() -> None:
    assert Table.of(["a"], []) == Table(("a",), ())
    assert Table.of(None, {}) == Table((), ())


@pytest.mark.parametrize(
    ("columns", "data", "message"),
    [
        (["a", "b"], [[1, 2], [3]], r"row 1 of the table has 1 values, but there are 2 columns \['a', 'b'\]"),
        (["a"], [1, 2], "a row of the table is 1, a int; give each row as a list"),
        (["a"], ["x"], "a row of the table is 'x', a str"),
        (None, [[1]], "a table needs `columns`"),
        (None, {"a": [1, 2], "b": [1]}, "different lengths: {'a': 2, 'b': 1}"),
    ],
)
def test_tables_that_do_not_fit_are_said(columns: Any, data: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Table.of(columns, data)


# ------------------------------------------------------------------------------------------------- values


class Color(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Kind(enum.Enum):
    A = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (np.float32(1.5), 1.5),
        (np.bool_(True), True),
        (torch.tensor(3), 3),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (np.arange(3), [0, 1, 2]),
        ((1, {2}), [1, [2]]),
        ({1: torch.tensor(2.0)}, {"1": 2.0}),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Kind.A, "Kind.A"),
        (Path("a/b"), str(Path("a/b"))),
        (torch.float32, "torch.float32"),
        (np.float32, "<class 'numpy.float32'>"),
        (torch.Tensor, "<class 'torch.Tensor'>"),
        (torch.ones(65), str(torch.ones(65))),
        (torch.tensor(1.0, requires_grad=True), 1.0),
        (torch.tensor(1.0, dtype=torch.bfloat16), 1.0),
    ],
)
def test_values_become_what_json_can_hold(value: Any, expected: Any) -> None:
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
