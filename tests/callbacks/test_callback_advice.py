"""What the installed callbacks say before the first batch: keys that nothing logs, and what will never happen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen_callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    Timer,
    TQDMProgressBar,
)


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.batches = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.batches += 1
        loss = self.layer(batch).sum()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).sum())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader(batches: int = 4) -> Any:
    return DataLoader(torch.ones(batches * 2, 4), batch_size=2)


def fit(tmp_path: Path, *callbacks: fulmen.Callback, model: Model | None = None, **options: Any) -> list[str]:
    """Train; return the advice that it gives."""
    ckpt_path = options.pop("ckpt_path", None)
    arguments: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": any(isinstance(one, TQDMProgressBar) for one in callbacks),
        "enable_model_summary": False,
        "max_epochs": 2,
        "default_root_dir": tmp_path,
    }
    trainer = fulmen.Trainer(**(arguments | options), callbacks=list(callbacks))
    return said(lambda: trainer.fit(model or Model(), loader(), loader(1), ckpt_path=ckpt_path))


def said(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in caught]


@pytest.mark.parametrize(
    ("callback", "owner"),
    [
        (lambda path: EarlyStopping("val_los"), "EarlyStopping(monitor='val_los')"),
        (lambda path: ModelCheckpoint(path, monitor="val_los"), "ModelCheckpoint(monitor='val_los')"),
    ],
)
def test_a_misspelled_monitor_costs_no_epoch_beside_all_the_usual_callbacks(
    tmp_path: Path, callback: Callable[[Path], fulmen.Callback], owner: str
) -> None:
    model = Model()
    usual = [LearningRateMonitor(), ModelSummary(), TQDMProgressBar(), Timer("00:01:00:00")]
    with pytest.raises(MisconfigurationException) as caught:
        fit(tmp_path, callback(tmp_path / "own"), *usual, model=model, logger="csv", log_every_n_steps=1)
    assert str(caught.value) == (
        f"`{owner}`: nothing logs 'val_los'; did you mean 'val_loss'?; logged are: 'train_loss', 'val_loss'; call "
        "`self.log('val_los', value)`, or monitor what is logged"
    )
    assert model.batches == 0


@pytest.mark.parametrize("key", ["val_loss", "train_loss", "lr-SGD"])
def test_what_is_logged_can_be_monitored(tmp_path: Path, key: str) -> None:
    monitor = LearningRateMonitor()
    run: dict[str, Any] = {"logger": "csv", "log_every_n_steps": 1}
    assert fit(tmp_path, monitor, EarlyStopping(key, patience=9), ModelCheckpoint(monitor=key), **run) == []


def test_a_stop_that_is_not_strict_may_wait(tmp_path: Path) -> None:
    assert fit(tmp_path, EarlyStopping("val_los", strict=False)) == []


def test_a_trial_run_asks_nothing(tmp_path: Path) -> None:
    assert fit(tmp_path, EarlyStopping("val_los"), fast_dev_run=True) == []


@pytest.mark.parametrize(
    ("callback", "options", "message"),
    [
        (
            {"every_n_epochs": 3},
            {},
            "`ModelCheckpoint(every_n_epochs=3)` never acts in this fit: training ends after 2 epochs",
        ),
        ({"every_n_epochs": 2}, {}, None),
        ({"every_n_epochs": 3, "save_last": True}, {}, None),
        (
            {"every_n_train_steps": 9},
            {},
            "`ModelCheckpoint(every_n_train_steps=9)` never acts in this fit: training ends after 8 optimizer steps",
        ),
        ({"every_n_train_steps": 8}, {}, None),
        (
            {"every_n_train_steps": 5},
            {"accumulate_grad_batches": 2},
            "`ModelCheckpoint(every_n_train_steps=5)` never acts in this fit: training ends after 4 optimizer steps",
        ),
        (
            {"train_time_interval": timedelta(hours=2)},
            {"max_time": "00:01:00:00"},
            "`ModelCheckpoint(train_time_interval=2:00:00)` never acts in this fit: training ends after 3600 seconds",
        ),
        ({"train_time_interval": timedelta(hours=2)}, {}, None),
        (
            {"every_n_epochs": 1, "save_on_train_epoch_end": False},
            {"check_val_every_n_epoch": 3},
            "`ModelCheckpoint(every_n_epochs=1)` never acts in this fit: it saves after validations, and there is none",
        ),
    ],
)
def test_ful036_a_checkpoint_that_is_never_saved(
    tmp_path: Path, callback: dict[str, Any], options: dict[str, Any], message: str | None
) -> None:
    expected = [] if message is None else [f"FUL036: {message}"]
    assert fit(tmp_path, ModelCheckpoint(**callback), **options) == expected
    written = list(tmp_path.rglob("*.ckpt"))
    assert bool(written) is (message is None) or "train_time_interval" in callback


def test_ful036_a_stop_that_never_looks(tmp_path: Path) -> None:
    late = {"check_on_train_epoch_end": False}
    assert fit(tmp_path, EarlyStopping("val_loss", **late), limit_val_batches=0) == [
        "FUL036: `EarlyStopping(monitor='val_loss')` never acts in this fit: it looks after each validation, and there "
        "is none"
    ]
    assert fit(tmp_path, EarlyStopping("val_loss", **late)) == []


def test_ful024_the_folder_holds_files_of_others(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    first = ModelCheckpoint(folder)
    assert fit(tmp_path, first) == []
    assert fit(tmp_path, first, max_epochs=3) == []  # its own
    (message,) = fit(tmp_path, ModelCheckpoint(folder))
    assert message.startswith(f"FUL024: `ModelCheckpoint(dirpath={str(folder)!r})`: the folder holds 1 checkpoints of")
    assert fit(tmp_path, ModelCheckpoint(folder), max_epochs=4, ckpt_path=first.best_model_path) == []
    assert fit(tmp_path, ModelCheckpoint(folder, save_top_k=0)) == []
    assert fit(tmp_path, ModelCheckpoint(tmp_path / "another")) == []


def test_ful025_the_folder_changed_on_resume(tmp_path: Path) -> None:
    first = ModelCheckpoint(tmp_path / "one")
    fit(tmp_path, first)

    def resume(folder: str) -> list[str]:
        return fit(tmp_path, ModelCheckpoint(tmp_path / folder), max_epochs=3, ckpt_path=first.best_model_path)

    assert resume("two") == [
        f"FUL025: the checkpoints go to {tmp_path / 'two'}, but before it was {tmp_path / 'one'}: the ranking starts "
        "anew, and the files there are left alone"
    ]
    assert resume("one") == []


def test_ful027_several_callbacks_know_a_best_checkpoint(tmp_path: Path) -> None:
    def test_best(*callbacks: ModelCheckpoint) -> list[str]:
        trainer = fulmen.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, max_epochs=1, callbacks=list(callbacks)
        )
        trainer.fit(model := Model(), loader(), loader(1))
        return said(lambda: trainer.validate(model, loader(1), ckpt_path="best", verbose=False))

    one, other = ModelCheckpoint(tmp_path / "a", monitor="val_loss"), ModelCheckpoint(tmp_path / "b")
    assert test_best(one) == []
    assert test_best(one, other) == [
        "FUL027: `ckpt_path='best'`: 2 callbacks save, and the best of the first that has one is taken; pass a "
        "callback's `best_model_path` for another"
    ]


def test_ful039_two_values_of_one_name_in_the_bar(tmp_path: Path) -> None:
    class Clashes(Model):
        name = "v_num"

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log(self.name, 3.0, prog_bar=True)
            return super().training_step(batch, batch_idx)

    class Differs(Clashes):
        name = "version"

    run: dict[str, Any] = {"logger": "csv", "log_every_n_steps": 1}
    (message,) = fit(tmp_path, TQDMProgressBar(), model=Clashes(), **run)
    assert message.startswith("FUL039: `self.log('v_num', ..., prog_bar=True)` hides the run's version in the bar")
    assert fit(tmp_path, TQDMProgressBar(), model=Differs(), **run) == []
