"""The Trainer's arguments: every value that cannot work is said in one sentence, with the value and the fix."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fulmen
from fulmen.errors import FulmenError, MisconfigurationException
from fulmen.options import seconds_of

NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith(("FULMEN_TRAINER_", "PL_TRAINER_")):
            monkeypatch.delenv(name)


def trainer(**options: Any) -> fulmen.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return fulmen.Trainer(**(quiet | options))


COUNT = "`{name}` must be a whole number >= {least}, but is {value!r}"
LEAST = "`{name}` must be >= {least}, but is {value!r}"
LIMIT = "`{name}` must be a whole number of batches >= 0, or a fraction between 0.0 and 1.0, but is {value!r}"
SWITCH = "`{name}` must be True or False, but is {value!r}"
DURATION = "`{name}` must be 'DD:HH:MM:SS', a timedelta, or a dict such as {{'hours': 2}}, but is {value!r}"

BAD: list[tuple[str, Any, str]] = [
    *(("max_epochs", value, COUNT) for value in (1.5, "3", True, [3])),
    ("max_epochs", -2, LEAST + "; use -1 for no limit"),
    *(("min_epochs", value, COUNT) for value in (1.5, "3")),
    ("min_epochs", -1, LEAST),
    ("min_epochs", 2000, "`min_epochs` must be at most max_epochs=1000, but is 2000; lower it, or raise max_epochs"),
    *(("max_steps", value, COUNT) for value in (1.5, "3")),
    ("max_steps", -2, LEAST + "; use -1 for no limit"),
    *(("min_steps", value, COUNT) for value in (1.5, False)),
    ("min_steps", -1, LEAST),
    *(("max_time", value, DURATION) for value in ("1h", 5, "-1:00:00:00", "1:2:3")),
    ("max_time", {"parsecs": 1}, "`max_time` must be a dict of days, hours, minutes and seconds, but is {value!r}"),
    ("max_time", {"hours": 1e300}, "`max_time` must be a dict of days, hours, minutes and seconds, but is {value!r}"),
    *(
        (f"limit_{stage}_batches", value, LIMIT)
        for stage in ("train", "val", "test", "predict")
        for value in (-1, -0.5, True, "half", NAN, INF)
    ),
    ("limit_val_batches", 1.5, "`{name}` must be a fraction between 0.0 and 1.0, or a whole number of batches, but"),
    *(("overfit_batches", value, LIMIT) for value in (-1, "one")),
    *(("val_check_interval", value, LIMIT) for value in (-1, NAN)),
    *(
        ("val_check_interval", value, "`{name}` must be > 0, but is 0; use limit_val_batches=0 to turn validation off")
        for value in (0, 0.0)
    ),
    ("val_check_interval", "often", DURATION),
    ("check_val_every_n_epoch", 0, LEAST + "; use None to count batches"),
    ("check_val_every_n_epoch", 1.5, COUNT),
    *(("num_sanity_val_steps", value, "`{name}` must be a whole number >= 0, but is") for value in (-2, 1.5, True)),
    ("log_every_n_steps", -1, LEAST + "; use 0 to log at the ends of epochs only"),
    ("log_every_n_steps", "often", COUNT),
    ("accumulate_grad_batches", 0, LEAST + "; use 1 to step on every batch"),
    *(("accumulate_grad_batches", value, COUNT) for value in (None, 1.5, [2])),
    ("reload_dataloaders_every_n_epochs", -1, LEAST),
    *(
        ("gradient_clip_val", value, "`{name}` must be a number >= 0, but is {value!r}; use None for no clipping")
        for value in (-1, "a", True, NAN)
    ),
    *(("gradient_clip_algorithm", value, "must be 'norm' or 'value', but is {value!r}") for value in ("max", 3)),
    *(("deterministic", value, "must be True, False or 'warn', but is {value!r}") for value in ("yes", 2)),
    *(("fast_dev_run", value, "`{name}` must be True, False or a number") for value in ("x", -1, 1.5)),
    *(
        (name, value, SWITCH)
        for name in (
            "enable_checkpointing",
            "enable_progress_bar",
            "enable_model_summary",
            "benchmark",
            "inference_mode",
            "use_distributed_sampler",
            "detect_anomaly",
            "barebones",
            "sync_batchnorm",
            "enable_autolog_hparams",
        )
        for value in ("yes", 2)
    ),
    ("inference_mode", None, SWITCH),
    *(("finish_timeout", value, "must be a number of seconds >= 0, but is") for value in ("x", -1, None, NAN, True)),
    ("default_root_dir", 3, "`{name}` must be a path, but is 3; use None for the working directory"),
    *(("devices", value, "`devices={value!r}` cannot be had") for value in (0, -2, "x", [], True, 1.5, None, "")),
    ("accelerator", "tpux", "there is no accelerator named 'tpux'; known are: gpu, auto, cpu, cuda, mps"),
    ("accelerator", "gpus", "there is no accelerator named 'gpus'; did you mean 'gpu'?"),
    ("accelerator", None, "`accelerator` must be a name, one of"),
    ("strategy", "dpp", "there is no strategy named 'dpp'"),
    ("num_nodes", 2, "`num_nodes=2`"),
    *(("precision", value, "`precision` must be one of 32, 32-true, .* but is {value!r}") for value in ("x", 8, True)),
    ("logger", 3, "`logger` must be True, False, a name, a Logger or a list of these, but is 3"),
    ("logger", [3], "`logger` holds 3, a int"),
    ("logger", "carrier_pigeon", "there is no logger named 'carrier_pigeon'"),
    ("callbacks", [3], "`callbacks` holds 3, a int, not a fulmen.Callback"),
    ("callbacks", [fulmen.Callback], "`callbacks` holds <class .*Callback'>, the class; make an object of it"),
    ("callbacks", "nothing_known", "there is no callback named 'nothing_known'"),
    ("profiler", "simpel", "'simple', 'advanced', 'pytorch', 'xla', but is 'simpel'; did you mean 'simple'"),
    ("profiler", 3, "a fulmen.profilers.Profiler, but is 3, a int"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD, ids=[f"{name}={value!r}" for name, value, _ in BAD])
def test_a_value_that_cannot_work_is_said(name: str, value: Any, message: str) -> None:
    least = {"max_epochs": -1, "max_steps": -1, "check_val_every_n_epoch": 1, "accumulate_grad_batches": 1}.get(name, 0)
    with pytest.raises(FulmenError) as caught:
        trainer(**{name: value})
    text = str(caught.value)
    wanted = message.format(name=name, value=value, least=least)
    assert wanted in text or re.search(wanted, text), text
    assert "\n" not in text


def test_validation_counted_across_epochs_needs_a_count() -> None:
    with pytest.raises(MisconfigurationException, match="must be a whole number of batches, but is 0.5; use e.g. val_"):
        trainer(check_val_every_n_epoch=None, val_check_interval=0.5)
    assert trainer(check_val_every_n_epoch=None).val_check_interval == 1.0  # once for as many as an epoch has


def test_a_least_number_of_steps_finishes_the_first_epoch() -> None:
    assert trainer(min_steps=3).min_epochs == 1
    assert trainer(min_steps=3, min_epochs=2).min_epochs == 2


def test_an_unknown_argument_is_said_with_the_one_that_was_meant() -> None:
    with pytest.raises(MisconfigurationException) as caught:
        trainer(max_epoch=3)
    assert str(caught.value) == "`Trainer` has no argument `max_epoch` (it was given 3); did you mean 'max_epochs'?"


# -------------------------------------------------------------------------------------------- good values


def test_defaults_are_the_standard_ones() -> None:
    run = trainer()
    assert (run.max_epochs, run.max_steps, run.min_epochs, run.min_steps) == (1000, -1, None, None)
    assert (run.limit_train_batches, run.limit_val_batches, run.val_check_interval) == (1.0, 1.0, 1.0)
    assert (run.num_sanity_val_steps, run.log_every_n_steps, run.accumulate_grad_batches) == (2, 50, 1)
    assert (run.gradient_clip_val, run.fast_dev_run, run.overfit_batches) == (None, 0, 0.0)
    assert trainer(max_steps=5).max_epochs == trainer(max_time="00:00:00:01").max_epochs == -1
    assert trainer(num_sanity_val_steps=-1).num_sanity_val_steps == INF


@pytest.mark.parametrize("number", [np.int64(3), np.int32(3), torch.tensor(3), 3])
def test_whole_numbers_of_numpy_and_torch_are_numbers(number: Any) -> None:
    run = trainer(max_epochs=number, max_steps=number, limit_train_batches=number, log_every_n_steps=number)
    found = [run.max_epochs, run.max_steps, run.limit_train_batches, run.log_every_n_steps]
    assert [(type(value), value) for value in found] == [(int, 3)] * 4


@pytest.mark.parametrize("fraction", [0.5, np.float32(0.5), torch.tensor(0.5)])
def test_fractions_of_numpy_and_torch_are_fractions(fraction: Any) -> None:
    limit = trainer(limit_val_batches=fraction).limit_val_batches
    assert (type(limit), limit) == (float, 0.5)


def test_a_whole_number_written_as_a_fraction_counts_batches() -> None:
    run = trainer(limit_train_batches=2.0, val_check_interval=4.0)
    assert (type(run.limit_train_batches), run.limit_train_batches) == (int, 2)
    assert (type(run.val_check_interval), run.val_check_interval) == (int, 4)


def test_one_and_one_point_nought_differ() -> None:
    assert type(trainer(limit_train_batches=1).limit_train_batches) is int
    assert type(trainer(limit_train_batches=1.0).limit_train_batches) is float
    assert type(trainer(val_check_interval=1).val_check_interval) is int


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("01:02:03:04", 93784.0),
        (timedelta(minutes=2), 120.0),
        ({"hours": 1, "minutes": 30}, 5400.0),
    ],
)
def test_durations(value: Any, seconds: float) -> None:
    assert seconds_of("max_time", value) == seconds
    assert trainer(val_check_interval=value).val_check_interval_s == seconds


def test_overfitting_limits_training_and_validation() -> None:
    run = trainer(overfit_batches=3, limit_train_batches=7, limit_val_batches=0.5)
    assert (run.limit_train_batches, run.limit_val_batches, run.limit_test_batches) == (3, 3, 1.0)


def test_clipping_by_nothing_is_off() -> None:
    assert trainer(gradient_clip_val=0).gradient_clip_val is None
    assert trainer(gradient_clip_val=1, gradient_clip_algorithm="VALUE").gradient_clip_algorithm == "value"


# -------------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize("prefix", ["FULMEN_TRAINER_", "PL_TRAINER_"])
@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_epochs", "3", 3),
        ("limit_train_batches", "0.25", 0.25),
        ("max_steps", "-1", -1),
        ("precision", "bf16-mixed", "bf16-mixed"),
        ("fast_dev_run", "True", 1),
        ("fast_dev_run", "2", 2),
        ("barebones", "false", False),
    ],
)
def test_the_environment_sets_what_the_program_leaves_open(
    monkeypatch: pytest.MonkeyPatch, prefix: str, name: str, text: str, value: Any
) -> None:
    monkeypatch.setenv(prefix + name.upper(), text)
    assert getattr(trainer(), name) == value


def test_the_program_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_TRAINER_MAX_EPOCHS", "3")
    assert trainer(max_epochs=5).max_epochs == 5


def test_our_variable_wins_over_the_standard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    monkeypatch.setenv("FULMEN_TRAINER_MAX_EPOCHS", "4")
    assert trainer().max_epochs == 4


def test_texts_stand_for_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FULMEN_TRAINER_MAX_TIME", "00:01:00:00")
    monkeypatch.setenv("FULMEN_TRAINER_VAL_CHECK_INTERVAL", "{'minutes': 5}")
    monkeypatch.setenv("FULMEN_TRAINER_DEFAULT_ROOT_DIR", str(tmp_path))
    monkeypatch.setenv("FULMEN_TRAINER_DEVICES", "[0]")
    monkeypatch.setenv("FULMEN_TRAINER_LOG_EVERY_N_STEPS", "none")
    run = trainer()
    assert run.max_epochs == -1  # there is a limit of time
    assert run.val_check_interval_s == 300.0
    assert run.default_root_dir == str(tmp_path)
    assert run.num_devices == 1
    assert run.log_every_n_steps == 50


@pytest.mark.parametrize(("text", "switch"), [("1", True), ("0", False), ("true", True), ("False", False)])
def test_switches_may_be_written_as_numbers(monkeypatch: pytest.MonkeyPatch, text: str, switch: bool) -> None:
    monkeypatch.setenv("FULMEN_TRAINER_BAREBONES", text)
    assert trainer().barebones is switch


def test_a_bad_value_of_the_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_TRAINER_MAX_EPOCHS", "three")
    with pytest.raises(MisconfigurationException, match="`max_epochs` must be a whole number >= -1, but is 'three'"):
        trainer()
