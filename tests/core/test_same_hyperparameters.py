"""Hyper-parameters are those that PyTorch Lightning keeps and loads; the scenarios say how we know."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import fulmen

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("hyperparameter_scenarios", HERE / "hyperparameter_scenarios.py")
assert SPEC is not None
assert SPEC.loader is not None
scenarios = sys.modules[SPEC.name] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(scenarios)
LIGHTNING = json.loads((HERE / "hyperparameters.json").read_text(encoding="utf-8"))

#: where we do the better thing; docs/differences.md says why
OURS: dict[str, Any] = {
    # A name beside a configuration object is not dropped in silence.
    "name_and_configuration": "raises",
    # What an outer module is made with are no arguments of the inner one.
    "composition": [
        {"hparams": {"width": 3}, "initial": {"width": 3}, "name": "kwargs", "logged": True},
        {"hparams": {"size": 6}, "initial": {"size": 6}, "name": "kwargs", "logged": True},
        {"hparams": {}, "initial": {}, "name": None, "logged": False},
        {"hparams": {"size": 6}, "initial": {"size": 6}, "name": "kwargs", "logged": True},
    ],
    # A misspelled argument is not dropped in silence.
    "loaded_with_an_unknown_argument": "raises",
    # What the caller asks for wins over the module's default.
    "loaded_against_its_own_strictness": {"hparams": {}, "initial": {}, "name": None, "logged": False},
}


def test_every_scenario_has_an_outcome() -> None:
    assert set(scenarios.SCENARIOS) == set(LIGHTNING) - {"library"}
    assert all(OURS[name] != LIGHTNING[name] for name in OURS)


@pytest.mark.filterwarnings("ignore:FUL022")
@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_scenario(tmp_path: Path, name: str) -> None:
    assert scenarios.outcome(fulmen, name, tmp_path) == OURS.get(name, LIGHTNING[name])
