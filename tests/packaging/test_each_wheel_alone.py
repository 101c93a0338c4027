"""Each wheel, installed with no more than it requires into an environment of its own, imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("package", "imports"),
    [
        ("fulmen_core", ["fulmen", "fulmen.testing", "fulmen.cli"]),
        ("fulmen_loggers", ["fulmen_loggers", "fulmen_loggers.csv_logger"]),
        ("fulmen_callbacks", ["fulmen_callbacks", "fulmen_callbacks.early_stopping"]),
        ("fulmen_metrics", ["fulmen_metrics", "fulmen_metrics.metrics"]),
    ],
)
def test_wheel_alone_imports(dist: Path, tmp_path: Path, package: str, imports: list[str]) -> None:
    wheels = {next(dist.glob(f"{name}-*.whl")) for name in ("fulmen_core", package)}
    venv = tmp_path / "venv"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    python = venv / "bin" / "python"
    # The environment's variables say where torch is found; the constraints, which one.
    install = [*UV, "pip", "install", "--quiet", "--python", python, "-c", ROOT / "constraints/torch.txt"]
    subprocess.run([*install, *wheels], check=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = "; ".join(f"import {name}" for name in imports)
    outcome = subprocess.run(
        [python, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
