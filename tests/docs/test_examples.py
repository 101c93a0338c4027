"""The programs in examples/ run as a newcomer would run them, and learn what they say that they learn."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytest.importorskip("sklearn", reason="the examples' digits are scikit-learn's")


def run(name: str, folder: Path) -> str:
    """Return what a program printed, in a folder of its own."""
    # torchvision's wheel beside a CPU torch can be imported through this module only.
    first = "import fulmen.vision; fulmen.vision.torchvision" if importlib.util.find_spec("torchvision") else "pass"
    program = f"{first}; import runpy; runpy.run_path({str(EXAMPLES / name)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # small nets: more threads only wait for each other
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert "Warning" not in done.stderr, done.stderr[-3000:]
    assert list(folder.glob("lightning_logs/version_*/metrics.csv"))
    return done.stdout


def number(words: str, output: str) -> float:
    found = re.search(rf"{words} +(-?[\d.]+)", output)
    assert found, output
    return float(found[1])


def test_the_language_model_learns_to_write_dates(tmp_path: Path) -> None:
    output = run("language_model.py", tmp_path)
    assert number("perplexity", output) < 1.6
    assert "07 20: july 20" in output


def test_the_autoencoder_draws_digits(tmp_path: Path) -> None:
    output = run("autoencoder.py", tmp_path)
    assert number("error of the autoencoder", output) < 0.5 * number("error of the mean picture", output)
    assert list(tmp_path.glob("lightning_logs/version_0/media/*.png"))


def test_two_tasks_are_learnt_at_once(tmp_path: Path) -> None:
    output = run("multi_task.py", tmp_path)
    assert number("accuracy of the digit", output) > 0.85
    assert number("error of the darkness", output) < 0.05


def test_fine_tuning_starts_from_what_was_learnt(tmp_path: Path) -> None:
    output = run("fine_tuning.py", tmp_path)
    assert number("pretrained on 0 to 4: accuracy", output) > 0.9
    assert number("of 5 to 9: accuracy", output) > 0.8
    assert 0 < number("the body moved by at most", output) < 0.1


def test_the_gan_finds_the_ring(tmp_path: Path) -> None:
    output = run("gan.py", tmp_path)
    assert number("before,", output) < 0.5 * number("distance from the ring", output)
    assert number("covered", output) > 50
    assert "in 960 steps" in output
