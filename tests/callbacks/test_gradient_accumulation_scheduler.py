"""GradientAccumulationScheduler: what goes beyond the steps in ``test_same_trainings.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import GradientAccumulationScheduler


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        **{"max_epochs": 3, **options},
    )


def test_the_trainer_counts_the_steps_with_it(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, GradientAccumulationScheduler({1: 2, 2: 4}))
    counted = []

    class Counting(TinyClassifier):
        def configure_optimizers(self) -> Any:
            counted.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    trainer.fit(Counting())
    assert counted == [6 + 3 + 2] == [trainer.global_step]


def test_it_goes_on_where_a_run_is_resumed_inside_an_epoch(tmp_path: Path) -> None:
    class Saving(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 1 and batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "inside.ckpt")

    first = trainer_of(tmp_path, GradientAccumulationScheduler({1: 2}), Saving())
    first.fit(TinyClassifier())
    second = trainer_of(tmp_path, GradientAccumulationScheduler({1: 2}))
    second.fit(TinyClassifier(), ckpt_path=tmp_path / "inside.ckpt")
    assert second.global_step == first.global_step == 6 + 3 + 3


def test_the_given_schedule_is_left_as_it_is() -> None:
    given = {4: 2}
    callback = GradientAccumulationScheduler(given)
    assert given == {4: 2}
    assert (callback.scheduling, callback.epochs) == ({0: 1, 4: 2}, [0, 4])
    assert [callback.get_accumulate_grad_batches(epoch) for epoch in (0, 3, 4, 9)] == [1, 1, 2, 2]
    assert callback.going_to_accumulate_grad_batches()
    assert not GradientAccumulationScheduler({3: 1}).going_to_accumulate_grad_batches()


@pytest.mark.parametrize(
    ("scheduling", "words"),
    [
        ({}, "give it epochs, such as"),
        ({-1: 2}, "has the epoch -1"),
        ({1.5: 2}, "has the epoch 1.5"),
        ({1: 0}, "accumulates 0 batches from epoch 1 on"),
        ({1: 2.0}, "accumulates 2.0 batches from epoch 1 on"),
    ],
)
def test_bad_schedules(scheduling: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        GradientAccumulationScheduler(scheduling)


def test_what_it_cannot_stand_beside(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=2)
    with pytest.raises(MisconfigurationException, match="accumulate_grad_batches=2"):
        trainer.fit(TinyClassifier())

    class ByHand(TinyClassifier):
        automatic_optimization = False

    with pytest.raises(MisconfigurationException, match="ByHand.*automatic_optimization = False"):
        trainer_of(tmp_path, GradientAccumulationScheduler({1: 2})).fit(ByHand())
