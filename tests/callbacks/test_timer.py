"""Timer: what goes beyond the decisions in ``test_same_trainings.py``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import Timer, timer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as the timer sees it; tests set it."""
    now = [10.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr(timer, "time", Clock)
    return now


class Ticking(Callback):
    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.clock[0] += 1


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        **{"max_epochs": 2, **options},
    )


def test_a_resumed_run_goes_on_with_the_time_that_it_used(tmp_path: Path, clock: list[float]) -> None:
    trainer = trainer_of(tmp_path, Ticking(clock), Timer(), max_epochs=1)
    trainer.fit(TinyClassifier())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed = Timer("00:00:00:09")
    trainer = trainer_of(tmp_path, Ticking(clock), resumed)
    trainer.fit(TinyClassifier(), ckpt_path=tmp_path / "one.ckpt")
    assert trainer.global_step == 9
    assert resumed.time_elapsed() == 9
    assert resumed.time_remaining() == 0


def test_a_run_whose_time_is_over_does_not_begin(tmp_path: Path, clock: list[float]) -> None:
    trainer = trainer_of(tmp_path, Ticking(clock), Timer(), max_epochs=1)
    trainer.fit(TinyClassifier())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    trainer = trainer_of(tmp_path, Ticking(clock), Timer(timedelta(seconds=6)))
    trainer.fit(TinyClassifier(), ckpt_path=tmp_path / "one.ckpt")
    assert trainer.global_step == 6


def test_a_second_fit_measures_its_own_time(tmp_path: Path, clock: list[float]) -> None:
    callback, seen = Timer("00:00:00:20"), []

    class Looking(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(callback.time_elapsed())

    for _ in range(2):
        trainer_of(tmp_path, Ticking(clock), callback, Looking(), max_epochs=1).fit(TinyClassifier())
        clock[0] += 100
    assert seen == [1, 2, 3, 4, 5, 6] * 2


def test_all_stages_are_measured(tmp_path: Path, clock: list[float]) -> None:
    callback, module = Timer(), TinyClassifier()
    trainer = trainer_of(tmp_path, callback)
    trainer.fit(module)
    trainer.test(module, verbose=False)
    trainer.predict(module)
    assert [callback.end_time(stage) for stage in ("train", "sanity_check", "validate", "test", "predict")] == [10] * 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"duration": "1 hour"}, "'DD:HH:MM:SS', a timedelta, or a dict such as .* but is '1 hour'"),
        ({"duration": 7}, "but is 7"),
        ({"duration": {"hour": 2}}, "is no time: .*hour"),
        ({"interval": "batch"}, "'step' or 'epoch', but is 'batch'"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        Timer(**arguments)


def test_unknown_stage() -> None:
    with pytest.raises(MisconfigurationException, match="there is no stage 'training'; use one of 'train'"):
        Timer().time_elapsed("training")
