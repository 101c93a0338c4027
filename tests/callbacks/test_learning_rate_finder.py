"""LearningRateFinder: training goes on with the rate that it found, and with nothing else of the trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen_callbacks import LearningRateFinder

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Model(fulmen.LightningModule):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        self.layer = nn.Linear(4, 1)
        self.rates: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return self.layer(batch[0]).pow(2).mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)]


def fit(folder: Path, *callbacks: Any, lr: float = 0.1) -> Model:
    fulmen.seed_everything(3)
    module = Model(lr)
    options = {"max_epochs": 8, "accelerator": "cpu", "enable_checkpointing": False, "default_root_dir": folder}
    run = fulmen.Trainer(callbacks=list(callbacks), **options, **QUIET)
    run.fit(module, DataLoader(TensorDataset(torch.randn(32, 4)), batch_size=4, shuffle=True))
    assert run.global_step == len(module.rates) == 64
    return module


def test_training_takes_the_rate_that_was_found(tmp_path: Path) -> None:
    finder = LearningRateFinder(num_training_steps=40, min_lr=1e-4)
    module = fit(tmp_path, finder)
    assert finder.optimal_lr is not None
    found = finder.optimal_lr.suggestion()
    assert found is not None
    assert module.lr == found
    assert module.rates == pytest.approx([found * 0.5**epoch for epoch in range(8) for _ in range(8)])
    # To the bit the training of a program that was given this rate.
    assert torch.equal(module.layer.weight, fit(tmp_path, lr=found).layer.weight)


def test_without_update_attr_training_is_as_without_it(tmp_path: Path) -> None:
    finder = LearningRateFinder(num_training_steps=20, update_attr=False)
    assert torch.equal(fit(tmp_path, finder).layer.weight, fit(tmp_path).layer.weight)
    assert finder.optimal_lr is not None


def test_a_mode_that_is_not_known_is_said() -> None:
    with pytest.raises(MisconfigurationException, match="'linear' or 'exponential', but is 'cubic'"):
        LearningRateFinder(mode="cubic")


def test_the_tuner_refuses_a_trainer_that_has_one(tmp_path: Path) -> None:
    run = fulmen.Trainer(callbacks=LearningRateFinder(), accelerator="cpu", enable_checkpointing=False, **QUIET)
    with pytest.raises(MisconfigurationException, match="take it out to use the Tuner"):
        fulmen.tuner.Tuner(run).lr_find(Model(), [torch.zeros(1, 4)])
