"""`import fulmen` loads torch and itself: whatever is slow or optional waits until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MUST_WAIT = [
    "comet_ml",
    "fulmen_callbacks",
    "fulmen_loggers",
    "fulmen_metrics",
    "matplotlib",
    "mlflow",
    "neptune",
    "neptune_scale",
    "pandas",
    "rich",
    "tensorboard",
    "torch.utils.tensorboard",
    "torchmetrics",
    "torchvision",
    "tqdm",
    "trackio",
    "wandb",
]


def _new_modules(program: str, tmp_path: Path) -> set[str]:
    """Return what a fresh interpreter has loaded after the program, but not already after `import torch`."""
    listing = f"import sys, torch; before = set(sys.modules); {program}; print(*sorted(set(sys.modules) - before))"
    outcome = subprocess.run([sys.executable, "-c", listing], cwd=tmp_path, capture_output=True, text=True, check=True)
    return set(outcome.stdout.split())


@pytest.mark.parametrize(
    "program",
    [
        "import fulmen",
        "import fulmen.cli",
        "import fulmen; fulmen.Trainer",
        "import fulmen.loggers, fulmen.callbacks, fulmen.metrics",
    ],
)
def test_import_leaves_out_what_is_slow_or_optional(program: str, tmp_path: Path) -> None:
    loaded = _new_modules(program, tmp_path)
    assert any(name == "fulmen" for name in loaded)
    assert loaded.isdisjoint(MUST_WAIT), sorted(loaded.intersection(MUST_WAIT))


def test_what_must_wait_is_installed_here(tmp_path: Path) -> None:
    """Guard the test above: an absent package is never loaded, whatever the code does."""
    others = "comet_ml, wandb, mlflow, tensorboard, neptune_scale, trackio, torchmetrics, rich, matplotlib, tqdm"
    program = f"from fulmen.vision import torchvision; import {others}"
    assert {
        "comet_ml",
        "wandb",
        "mlflow",
        "neptune_scale",
        "trackio",
        "torchmetrics",
        "torchvision",
        "rich",
    } <= _new_modules(program, tmp_path)
