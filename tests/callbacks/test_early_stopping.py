"""EarlyStopping: what goes beyond the decisions in ``test_same_decisions.py``."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen_callbacks import EarlyStopping
from fulmen_callbacks.early_stopping import EarlyStoppingReason

SCENARIOS = runpy.run_path(str(Path(__file__).with_name("scenarios.py")))


def train(callback: EarlyStopping, series: list[float], folder: Path, **trainer: Any) -> fulmen.Trainer:
    result: fulmen.Trainer = SCENARIOS["run"](fulmen, callback, {"series": series, "trainer": trainer}, folder)[0]
    return result


def test_unknown_monitor_names_what_is_logged_and_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException) as error:
        train(EarlyStopping("metrik"), [1.0, 0.5], tmp_path)
    assert "EarlyStopping(monitor='metrik')" in str(error.value)
    assert "did you mean 'metric'?" in str(error.value)
    assert "logged are: 'metric'" in str(error.value)


def test_unknown_monitor_is_left_out_unless_strict(tmp_path: Path) -> None:
    callback = EarlyStopping("metrik", strict=False)
    assert train(callback, [1.0, 2.0, 3.0, 4.0, 5.0], tmp_path).current_epoch == 5
    assert callback.wait_count == 0


def test_unknown_monitor_is_said_when_verbose(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="did you mean 'metric'"):
        train(EarlyStopping("metrik", strict=False, verbose=True), [1.0], tmp_path)


def test_unknown_mode() -> None:
    with pytest.raises(MisconfigurationException, match="'min' or 'max', but is 'minimum'"):
        EarlyStopping("metric", mode="minimum")


def test_validation_after_each_batch_is_looked_at_each_time(tmp_path: Path) -> None:
    # The integer 1 and the fraction 1.0 are equal to Python, but not to a schedule.
    callback = EarlyStopping("metric", patience=2)
    trainer = train(callback, [1.0, 0.5, 0.6, 0.7, 0.1], tmp_path, val_check_interval=1, max_epochs=2)
    assert trainer.global_step == 4
    assert callback.wait_count == 2


def test_without_validation_it_looks_at_the_end_of_epochs_whatever_the_schedule(tmp_path: Path) -> None:
    callback = EarlyStopping("metric", patience=1)
    case = {
        "series": [1.0, 2.0, 3.0],
        "on_train": True,
        "trainer": {"limit_val_batches": 0, "check_val_every_n_epoch": 2},
    }
    trainer, _ = SCENARIOS["run"](fulmen, callback, case, tmp_path)
    assert trainer.current_epoch == 2


def test_nothing_is_decided_in_a_trial_run(tmp_path: Path) -> None:
    callback = EarlyStopping("no such metric")
    train(callback, [1.0], tmp_path, fast_dev_run=True)
    assert callback.best_score == float("inf")


def test_arguments_win_over_the_checkpoint_and_counters_come_back() -> None:
    before = EarlyStopping("metric", patience=2, min_delta=0.5)
    before.wait_count, before.stopped_epoch = 2, 7
    before.stopping_reason, before.stopping_reason_message = EarlyStoppingReason.PATIENCE_EXHAUSTED, "why"
    after = EarlyStopping("metric", patience=9)
    after.load_state_dict(before.state_dict())
    assert (after.patience, after.min_delta) == (9, 0.0)
    assert (after.wait_count, after.stopped_epoch, after.stopping_reason_message) == (2, 7, "why")
    assert after.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED


def test_a_resumed_run_goes_on_counting_with_more_patience(tmp_path: Path) -> None:
    series = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    first = EarlyStopping("metric", patience=2)
    trainer = train(first, series, tmp_path)
    assert trainer.current_epoch == 3
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")

    second = EarlyStopping("metric", patience=4)
    trainer = fulmen.Trainer(
        accelerator="cpu",
        max_epochs=20,
        callbacks=[second],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    module = SCENARIOS["module_of"](fulmen, [9.0] * 9, False)
    loader = fulmen_loader()
    trainer.fit(module, loader, loader, ckpt_path=tmp_path / "stopped.ckpt")
    assert trainer.current_epoch == 5  # two more looks without improvement
    assert second.best_score == 1.0
    assert second.wait_count == 4


def fulmen_loader() -> Any:
    import torch

    return torch.utils.data.DataLoader(torch.zeros(2, 1), batch_size=1)


def test_verbose_says_each_improvement_and_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        train(EarlyStopping("metric", patience=1, verbose=True), [1.0, 0.5, 0.75, 0.1], tmp_path)
    said = [record.getMessage() for record in caplog.records if "metric" in record.getMessage()]
    assert said == [
        "metric = 1 is the best so far",
        "metric = 0.5 is the best so far, was 1",
        "metric did not improve in 1 checks (best was 0.5); training stops",
    ]


def test_two_that_monitor_differently_keep_their_own_state() -> None:
    assert EarlyStopping("a").state_key != EarlyStopping("b").state_key
    assert EarlyStopping("a").state_key != EarlyStopping("a", mode="max").state_key
