"""Each corner of a Trainer's arguments does what Lightning 2.6.6 does; ``trainer_scenarios.py`` says how we know."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

import fulmen

pytestmark = pytest.mark.filterwarnings("ignore:FUL0")

HERE = Path(__file__).parent
SCENARIOS = runpy.run_path(str(HERE / "trainer_scenarios.py"))
LIGHTNING = json.loads((HERE / "trainer_scenarios.json").read_text(encoding="utf-8"))

#: What differs on purpose, or does not matter: case -> why, and for one that is refused here alone, "refused".
LOADERS_EARLY = "the validation loaders are asked for before training in every case, so that a mistake in them shows"
DIFFERENT: dict[str, str] = {
    "max_epochs=0": LOADERS_EARLY,
    "max_steps=0": LOADERS_EARLY,
    "limit_train_batches=0": LOADERS_EARLY,
    "limit_train_batches=0.0": LOADERS_EARLY,
    "check_val_every_n_epoch=5, max_epochs=4": LOADERS_EARLY,
    "reload_dataloaders_every_n_epochs=1, max_epochs=4, check_val_every_n_epoch=2": "all loaders are asked for anew",
    "reload_dataloaders_every_n_epochs=2, max_epochs=5, check_val_every_n_epoch=2": "all loaders are asked for anew",
    "max_time={'milliseconds': 0}, max_epochs=2": "time is looked at after each batch, so one is trained on",
    "max_epochs=4, stop='on_train_epoch_start'": "a stop is looked at after each batch, so one is trained on",
    "val_check_interval=0.0": "refused",
    "check_val_every_n_epoch=-1, max_epochs=4": "refused",
    "accumulate_grad_batches=-1, max_epochs=2": "refused",
    "accumulate_grad_batches=1.5, max_epochs=2": "refused",
    "deterministic='yes'": "refused",
    "max_epochs=3, train='unsized'": "nobody can know it: inf here, -1 there",
    "devices=[0]": "a list of one CPU process is one process",
    "devices=-1": "all CPUs are one process",
}


def cases(section: str) -> list[Any]:
    made = [(SCENARIOS["name_of"](case), case) for case in SCENARIOS[section.upper()]]
    return [pytest.param(case, LIGHTNING[section][name], id=name) for name, case in made if name not in DIFFERENT]


def compare(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict) and "refuses" in theirs:
        assert isinstance(ours, dict)
        assert "refuses" in ours, f"Lightning refuses it: {theirs['message']}"
    else:
        assert json.loads(json.dumps(ours)) == theirs


@pytest.mark.parametrize(("case", "expected"), cases("fit"))
def test_fit(case: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    compare(SCENARIOS["fit"](fulmen, case, tmp_path), expected)


@pytest.mark.parametrize("name", [name for name, why in DIFFERENT.items() if why == "refused"])
def test_what_cannot_be_meant_is_refused_here(name: str, tmp_path: Path) -> None:
    (case,) = [case for case in SCENARIOS["FIT"] if SCENARIOS["name_of"](case) == name]
    assert "refuses" not in LIGHTNING["fit"][name]
    assert SCENARIOS["fit"](fulmen, case, tmp_path)["refuses"] == "arguments"


@pytest.mark.parametrize(("case", "expected"), cases("estimates"))
def test_estimated_stepping_batches(case: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    compare(SCENARIOS["estimate"](fulmen, case, tmp_path), expected)


@pytest.mark.parametrize("name", ["fit twice", "fit twice with a higher limit", "fit after test", "fit after validate"])
def test_entry_points_one_after_the_other(name: str, tmp_path: Path) -> None:
    for ours, theirs in zip(
        SCENARIOS["sequence"](fulmen, SCENARIOS["SEQUENCES"][name], tmp_path), LIGHTNING["sequences"][name], strict=True
    ):
        compare(ours, theirs)


def test_counters_of_fit_are_read_below_fit_loop(tmp_path: Path) -> None:
    trainer = SCENARIOS["make_trainer"](fulmen, {"max_epochs": 2, "accumulate_grad_batches": 4}, tmp_path)
    trainer.fit(SCENARIOS["make_module"](fulmen, {}))
    loop = trainer.fit_loop
    assert (loop.max_epochs, loop.max_steps, loop.max_batches, loop.epoch_loop.global_step) == (2, -1, 6, 4)
    assert loop.epoch_progress.current.completed == 2
    assert loop.epoch_loop._batches_that_stepped == 4
    assert (loop.epoch_loop.batch_progress.total.ready, loop.epoch_loop.batch_progress.current.ready) == (12, 6)


def test_every_difference_is_a_case() -> None:
    assert set(DIFFERENT) <= {SCENARIOS["name_of"](case) for case in (*SCENARIOS["FIT"], *SCENARIOS["ESTIMATES"])}
