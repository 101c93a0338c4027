"""OnExceptionCheckpoint: it saves when training fails, and the next fit goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier, assert_equal
from fulmen_callbacks import ModelCheckpoint, OnExceptionCheckpoint


class Failing(TinyClassifier):
    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.at = at
        self.seen: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == self.at:
            raise ValueError("a mistake")
        self.seen.append(self.global_step)
        return super().training_step(batch, batch_idx)


def trainer_of(folder: Path, *callbacks: Any, **options: Any) -> fulmen.Trainer:
    options = {"max_epochs": 2, "logger": False, **options}
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        **options,
    )


def test_the_next_fit_goes_on_where_this_one_failed(tmp_path: Path) -> None:
    fulmen.seed_everything(3)
    whole = Failing(at=None)
    initial = whole.state_dict()
    start = {name: value.clone() for name, value in initial.items()}
    fulmen.seed_everything(4)
    trainer_of(tmp_path / "whole", enable_checkpointing=False).fit(whole)

    callback = OnExceptionCheckpoint(tmp_path)
    failing = Failing(at=8)
    failing.load_state_dict(start)
    fulmen.seed_everything(4)
    with pytest.raises(ValueError, match="a mistake"):
        trainer_of(tmp_path, callback, enable_checkpointing=False).fit(failing)
    assert Path(callback.ckpt_path) == tmp_path / "on_exception.ckpt"
    assert torch.load(callback.ckpt_path, weights_only=True)["global_step"] == 8

    resumed = Failing(at=None)
    trainer = trainer_of(tmp_path, OnExceptionCheckpoint(tmp_path), enable_checkpointing=False)
    trainer.fit(resumed)
    assert resumed.seen == [8, 9, 10, 11]
    assert_equal(dict(resumed.state_dict()), dict(whole.state_dict()))
    assert not Path(callback.ckpt_path).exists()  # this one ended well


@pytest.mark.filterwarnings("ignore:FUL024")
def test_a_given_checkpoint_goes_first(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    trainer_of(tmp_path, ModelCheckpoint(kept)).fit(Failing(at=None))
    callbacks = [OnExceptionCheckpoint(tmp_path), ModelCheckpoint(kept)]
    with pytest.raises(ValueError, match="a mistake"):
        trainer_of(tmp_path, *callbacks).fit(Failing(at=2))
    resumed = Failing(at=None)
    trainer_of(tmp_path, *callbacks, max_epochs=3).fit(resumed, ckpt_path=kept / "epoch=1-step=12.ckpt")
    assert resumed.seen == [12, 13, 14, 15, 16, 17]


def test_it_stands_beside_the_trainers_own_checkpoints(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, OnExceptionCheckpoint(tmp_path))
    assert [type(one) for one in trainer.checkpoint_callbacks] == [OnExceptionCheckpoint, ModelCheckpoint]
    assert isinstance(trainer.checkpoint_callback, ModelCheckpoint)
    without = trainer_of(tmp_path, OnExceptionCheckpoint(tmp_path), enable_checkpointing=False)
    assert [type(one) for one in without.checkpoint_callbacks] == [OnExceptionCheckpoint]


def test_what_fails_before_training_replaces_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a mistake"):
        trainer_of(tmp_path, OnExceptionCheckpoint(tmp_path)).fit(Failing(at=5))
    before = (tmp_path / "on_exception.ckpt").read_bytes()

    class Broken(TinyClassifier):
        def configure_optimizers(self) -> Any:
            raise RuntimeError("too early")

    with pytest.raises(RuntimeError, match="too early"):
        trainer_of(tmp_path, OnExceptionCheckpoint(tmp_path)).fit(Broken())
    assert (tmp_path / "on_exception.ckpt").read_bytes() == before


def test_an_interrupt_counts_and_testing_does_not(tmp_path: Path) -> None:
    callback = OnExceptionCheckpoint(tmp_path, "stopped")
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path, callback).fit(TinyClassifier(interrupt_at="training_step"))
    assert (tmp_path / "stopped.ckpt").exists()

    class BrokenTest(TinyClassifier):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            raise ValueError("in testing")

    other = OnExceptionCheckpoint(tmp_path, "other")
    with pytest.raises(ValueError, match="in testing"):
        trainer_of(tmp_path, other).test(BrokenTest())
    assert not (tmp_path / "other.ckpt").exists()


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="`filename` is empty"):
        OnExceptionCheckpoint(tmp_path, "")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MisconfigurationException, match=r"OnExceptionCheckpoint\(dirpath=.*file.*cannot be made"):
        trainer_of(tmp_path, OnExceptionCheckpoint(tmp_path / "file" / "below")).fit(TinyClassifier())
