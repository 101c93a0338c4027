"""EarlyStopping and ModelCheckpoint decide as PyTorch Lightning's; ``scenarios.py`` says how we know."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

import fulmen

HERE = Path(__file__).parent
SCENARIOS = runpy.run_path(str(HERE / "scenarios.py"))
LIGHTNING = json.loads((HERE / "lightning.json").read_text(encoding="utf-8"))


def _cases(name: str) -> list[Any]:
    cases, outcomes = SCENARIOS[name.upper()], LIGHTNING[name]
    assert len(cases) == len(outcomes)
    return [
        pytest.param(case, outcome, id=f"{number}-{case['args']}")
        for number, (case, outcome) in enumerate(zip(cases, outcomes, strict=True))
    ]


@pytest.mark.parametrize(("case", "expected"), _cases("early_stopping"))
def test_early_stopping(tmp_path: Path, case: dict[str, Any], expected: dict[str, Any]) -> None:
    assert SCENARIOS["early_stopping"](fulmen, case, tmp_path) == expected


@pytest.mark.filterwarnings("ignore:FUL024")
@pytest.mark.parametrize(("case", "expected"), _cases("model_checkpoint"))
def test_model_checkpoint(tmp_path: Path, case: dict[str, Any], expected: dict[str, Any]) -> None:
    assert SCENARIOS["model_checkpoint"](fulmen, case, tmp_path) == expected
