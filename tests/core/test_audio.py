"""Sounds: what users hold becomes a file that plays as it was."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from fulmen.audio import Audio
from fulmen.errors import MisconfigurationException


def _samples(audio: Audio) -> tuple[int, np.ndarray]:
    """Return rate and samples, shape (frames, channels), by the standard library's reader."""
    with wave.open(io.BytesIO(audio.data)) as file:
        shape = (file.getnframes(), file.getnchannels())
        return file.getframerate(), np.frombuffer(file.readframes(shape[0]), "<i2").reshape(shape)


RAMP = np.linspace(-1, 1, 50, dtype=np.float32)


@pytest.mark.parametrize(
    "given",
    [
        RAMP,
        torch.from_numpy(RAMP).requires_grad_(),
        torch.from_numpy(RAMP).double()[None],
        RAMP[:, None],
        np.rint(RAMP * 32767).astype(np.int16),
    ],
)
def test_one_channel(given: object) -> None:
    audio = Audio.of(given, 8000, "words")
    rate, samples = _samples(audio)
    assert (rate, audio.sample_rate, audio.channels, audio.frames, audio.format) == (8000, 8000, 1, 50, "wav")
    np.testing.assert_array_equal(samples[:, 0], np.rint(RAMP * 32767))
    assert audio.caption == "words"


@pytest.mark.parametrize("frames_first", [True, False])
def test_two_channels(frames_first: bool) -> None:
    stereo = np.stack([RAMP, -RAMP])
    _, samples = _samples(Audio.of(stereo.T if frames_first else stereo, 8000))
    np.testing.assert_array_equal(samples, np.rint(stereo.T * 32767))


def test_values_outside_are_clipped() -> None:
    _, samples = _samples(Audio.of(np.array([2.0, -np.inf, np.nan]), 1))
    assert samples[:, 0].tolist() == [32767, -32767, 0]


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    made = Audio.of(RAMP, 8000)
    path = tmp_path / "sound.WAV"
    path.write_bytes(made.data)
    assert Audio.of(path, caption="a") == Audio(made.data, "wav", "a", 8000, 1, 50)
    other = tmp_path / "sound.mp3"
    other.write_bytes(b"ID3")
    assert Audio.of(str(other), 44100) == Audio(b"ID3", "mp3", None, 44100)


@pytest.mark.parametrize(
    ("value", "rate", "message"),
    [
        (RAMP, None, "needs its `sample_rate`"),
        (RAMP, 0, "sample_rate"),
        (np.zeros((2, 3, 4)), 8000, r"has shape \(2, 3, 4\)"),
        (np.zeros(0), 8000, "shape"),
        (np.zeros(4, np.int64), 8000, "floating point in -1..1 or int16"),
        ("nothing.wav", None, "cannot be read: No such file"),
        ("notes.txt", None, "one of: wav"),
    ],
)
def test_what_is_no_sound_is_said(value: object, rate: int | None, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Audio.of(value, rate)
