"""``auto_lr_find``, ``auto_scale_batch_size`` and ``trainer.tune`` of Lightning 1.x."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.errors import MisconfigurationException
from fulmen.legacy.spelling import OldSpellingWarning
from fulmen.tuner import Tuner

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.learning_rate = 0.5
        self.rate = 0.25
        self.batch_size = 2
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).pow(2).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.randn(32, 4)), batch_size=self.batch_size)


def trainer(folder: Path, **old: Any) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OldSpellingWarning)
        made = pl.Trainer(
            accelerator="cpu", max_epochs=10, enable_checkpointing=False, default_root_dir=folder, **QUIET, **old
        )
    return made, [str(one.message) for one in caught]


def tune(run: Any, *args: Any, **kwargs: Any) -> Any:
    with pytest.warns(OldSpellingWarning, match="FUL107: `trainer.tune` is an old spelling"):
        return run.tune(*args, **kwargs)


def test_tune_does_what_the_arguments_asked_for(tmp_path: Path) -> None:
    run, messages = trainer(tmp_path, auto_lr_find=True, auto_scale_batch_size="binsearch")
    assert [message.split(":")[0] for message in messages] == ["FUL101", "FUL101"]
    assert "write `Tuner(trainer).lr_find(model)`" in messages[0]
    assert "write `Tuner(trainer).scale_batch_size(model)`" in messages[1]
    module = Model()
    trial = {"num_training": 30, "early_stop_threshold": None}
    found = tune(run, module, scale_batch_size_kwargs={"max_trials": 2, "margin": 0.0}, lr_find_kwargs=trial)
    assert found["scale_batch_size"] == module.batch_size == 4
    assert module.learning_rate == found["lr_find"].suggestion() != 0.5
    assert len(found["lr_find"].results["lr"]) <= 30


def test_a_word_names_the_attribute(tmp_path: Path) -> None:
    run, _ = trainer(tmp_path, auto_lr_find="rate")
    module = Model()
    found = tune(run, module, lr_find_kwargs={"num_training": 30, "early_stop_threshold": None})
    assert module.rate == found["lr_find"].suggestion()
    assert module.learning_rate == 0.5


def test_without_tune_nothing_happens(tmp_path: Path) -> None:
    run, _ = trainer(tmp_path, auto_lr_find=True, auto_scale_batch_size=True, max_steps=2)
    module = Model()
    run.fit(module)
    assert (module.learning_rate, module.batch_size) == (0.5, 2)


def test_tune_without_anything_asked_for_is_said(tmp_path: Path) -> None:
    run, _ = trainer(tmp_path)
    with pytest.warns(OldSpellingWarning), pytest.raises(MisconfigurationException, match="has nothing to do"):
        run.tune(Model())


def test_the_trainers_tuner(tmp_path: Path) -> None:
    run, _ = trainer(tmp_path)
    with pytest.warns(OldSpellingWarning, match="FUL107: `trainer.tuner`"):
        assert isinstance(run.tuner, Tuner)
