"""Callbacks log and change trainings as PyTorch Lightning's; ``trainings.py`` says how we know."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

import fulmen

HERE = Path(__file__).parent
PLAYS = runpy.run_path(str(HERE / "trainings.py"))["PLAYS"]
LIGHTNING = json.loads((HERE / "lightning_trainings.json").read_text(encoding="utf-8"))


def _cases() -> list[Any]:
    assert set(PLAYS) == set(LIGHTNING) - {"library"}
    return [
        pytest.param(name, case, outcome, id=f"{name}-{number}")
        for name, (_, cases) in PLAYS.items()
        for number, (case, outcome) in enumerate(zip(cases, LIGHTNING[name], strict=True))
    ]


@pytest.mark.parametrize(("name", "case", "expected"), _cases())
def test_same_as_lightning(tmp_path: Path, name: str, case: dict[str, Any], expected: Any) -> None:
    outcome = json.loads(json.dumps(PLAYS[name][0](fulmen, case, tmp_path)))
    _assert_close(outcome, expected, name)


def _assert_close(one: Any, other: Any, where: str) -> None:
    """Compare nested lists and dicts, numbers to 5 digits: float32 sums are not taken in the same order."""
    if isinstance(other, dict):
        assert isinstance(one, dict), where
        assert one.keys() == other.keys(), where
        for key in other:
            _assert_close(one[key], other[key], f"{where}.{key}")
    elif isinstance(other, list):
        assert isinstance(one, list), where
        assert len(one) == len(other), f"{where}: {one} != {other}"
        for number, (item, counterpart) in enumerate(zip(one, other, strict=True)):
            _assert_close(item, counterpart, f"{where}[{number}]")
    elif isinstance(other, float):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6, nan_ok=True), where
    else:
        assert one == other, where
