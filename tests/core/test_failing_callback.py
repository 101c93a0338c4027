"""A callback that fails costs neither a logged point nor a checkpoint, and hides neither itself nor the first error."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.callback import AccumulationSchedule, Callback, Checkpoint
from fulmen.testing.callback_conformance import RecordingLogger, TinyClassifier


class FailingAt(Callback):
    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            raise ValueError("a mistake in a callback")


class FailingAtTheEnd(Callback):
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        raise RuntimeError("another mistake")


class Saving(Checkpoint):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        trainer.save_checkpoint(self.path)


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        max_epochs=1,
        **options,
    )


def test_the_point_of_its_step_is_sent(tmp_path: Path) -> None:
    logger = RecordingLogger()
    trainer = trainer_of(tmp_path, FailingAt(3), logger=logger, log_every_n_steps=2, enable_checkpointing=False)
    with pytest.raises(ValueError, match="a mistake in a callback"):
        trainer.fit(TinyClassifier())
    assert [step for metrics, step in logger.metrics if "train_loss" in metrics] == [1, 3]


def test_a_point_that_is_not_due_is_not_sent(tmp_path: Path) -> None:
    logger = RecordingLogger()
    trainer = trainer_of(tmp_path, FailingAt(2), logger=logger, log_every_n_steps=2, enable_checkpointing=False)
    with pytest.raises(ValueError, match="a mistake in a callback"):
        trainer.fit(TinyClassifier())
    assert [step for metrics, step in logger.metrics if "train_loss" in metrics] == [1]


def test_one_that_fails_on_the_way_out_hides_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "saved.ckpt"
    trainer = trainer_of(tmp_path, FailingAt(1), FailingAtTheEnd(), Saving(path), logger=False)
    with caplog.at_level(logging.ERROR, logger="fulmen"), pytest.raises(ValueError, match="a mistake in a callback"):
        trainer.fit(TinyClassifier())
    assert torch.load(path, weights_only=True)["global_step"] == 2
    assert "while the run ended with ValueError: another mistake" in caplog.text
    assert 'raise RuntimeError("another mistake")' in caplog.text  # with its traceback


class Resuming(Saving):
    keeps_run = False

    @property
    def resume_path(self) -> str:
        return str(self.path) if self.path.exists() else ""


def test_a_checkpoint_can_ask_fit_to_go_on_from_it(tmp_path: Path) -> None:
    callback = Resuming(tmp_path / "saved.ckpt")
    with pytest.raises(ValueError, match="a mistake"):
        trainer_of(tmp_path, FailingAt(3), callback, logger=False).fit(TinyClassifier())
    trainer = trainer_of(tmp_path, callback, logger=False)
    seen: list[int] = []
    trainer.callbacks = [*trainer.callbacks, fulmen_seeing(seen)]
    trainer.fit(TinyClassifier())
    assert seen == [4, 5]
    assert trainer.ckpt_path == str(callback.path)


def fulmen_seeing(seen: list[int]) -> Callback:
    class Seeing(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch_idx)

    return Seeing()


def test_numbers_of_a_callback_go_out_at_once(tmp_path: Path) -> None:
    class Measuring(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.log_metrics({"measured": 3.0})
            trainer.log_metrics({"placed": torch.tensor(4.0)}, step=40)
            assert trainer.callback_metrics["measured"] == 3.0

    logger = RecordingLogger()
    trainer_of(tmp_path, Measuring(), logger=logger, enable_checkpointing=False).fit(TinyClassifier())
    assert ({"measured": 3.0, "epoch": 0.0}, 0) in logger.metrics
    assert ({"placed": 4.0, "epoch": 0.0}, 40) in logger.metrics


def test_steps_of_a_fit_are_counted_with_a_schedule_of_accumulation(tmp_path: Path) -> None:
    class Rising(AccumulationSchedule):
        def get_accumulate_grad_batches(self, epoch: int) -> int:
            return epoch + 1

    counted: list[float] = []

    class Counting(TinyClassifier):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            counted.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    trainer = trainer_of(tmp_path, Rising(), logger=False, enable_checkpointing=False)
    trainer.fit(Counting())
    assert counted == [6]
    trainer = fulmen.Trainer(
        callbacks=[Rising()], max_epochs=4, logger=False, enable_checkpointing=False, default_root_dir=tmp_path
    )
    module = TinyClassifier()
    trainer.fit(module)
    assert trainer.estimated_stepping_batches == 6 + 3 + 2 + 2
