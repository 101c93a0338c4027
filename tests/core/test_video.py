"""Videos: what users hold becomes a file that plays as it was."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.video import Video


def _clip() -> np.ndarray:
    """Six frames of at most 256 colours, which a GIF keeps exactly; shape (frames, H, W, C)."""
    clip = np.stack([np.full((8, 9, 3), 40 * number, np.uint8) for number in range(6)])
    clip[:, 0, 0] = [255, 1, 2]
    return clip


@pytest.mark.parametrize("layout", ["THWC", "TCHW", "tensor", "float"])
def test_an_array_becomes_a_gif_of_its_frames(layout: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    clip = _clip()
    first = np.moveaxis(clip, 3, 1)
    given = {"THWC": clip, "TCHW": first, "tensor": torch.from_numpy(first), "float": first / 255}[layout]
    video = Video.of(given, fps=10, caption="words")
    assert (video.format, video.width, video.height, video.caption) == ("gif", 9, 8, "words")
    shown = pillow.open(io.BytesIO(video.data))
    assert (shown.n_frames, shown.info["duration"], shown.info["loop"]) == (6, 100, 0)
    for number in range(6):
        shown.seek(number)
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), clip[number])


def test_gray_frames() -> None:
    pillow = pytest.importorskip("PIL.Image")
    shown = pillow.open(io.BytesIO(Video.of(_clip()[:, :, :, :1]).data))
    assert np.asarray(shown.convert("L"))[3, 3] == 0


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"mp4")
    assert Video.of(path, caption="a") == Video(b"mp4", "mp4", "a")


def test_without_pillow_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match="pip install pillow"):
        Video.of(_clip())


@pytest.mark.parametrize(
    ("value", "fps", "message"),
    [
        (np.zeros((3, 4, 5)), 4, r"has shape \(3, 4, 5\)"),
        (3, 4, "has the type int"),
        (_clip(), 0, "`fps` of a video must be between 0.1 and 50, but is 0"),
        ("clip.avi", 4, "one of: gif"),
        ("nothing.gif", 4, "cannot be read"),
    ],
)
def test_what_is_no_video_is_said(value: object, fps: float, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Video.of(value, fps)
