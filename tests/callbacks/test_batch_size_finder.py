"""BatchSizeFinder: each entry point goes on with loaders of the size that it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen_callbacks import BatchSizeFinder

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Model(fulmen.LightningModule):
    """Only 16 samples fit."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 1
        self.layer = nn.Linear(4, 1)
        self.sizes: list[int] = []

    def step(self, batch: Any, batch_idx: int) -> Any:
        self.sizes.append(len(batch[0]))
        if len(batch[0]) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.layer(batch[0]).mean()

    training_step = validation_step = test_step = predict_step = step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def loader(self) -> Any:
        return DataLoader(TensorDataset(torch.zeros(64, 4)), batch_size=self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


@pytest.mark.parametrize("entry", ["fit", "validate", "test", "predict"])
def test_an_entry_point_goes_on_with_the_size_found(tmp_path: Path, entry: str) -> None:
    finder = BatchSizeFinder()
    options = {"accelerator": "cpu", "max_epochs": 1, "enable_checkpointing": False, "default_root_dir": tmp_path}
    run = fulmen.Trainer(callbacks=finder, **options, **QUIET)
    module = Model()
    getattr(run, entry)(module)
    assert finder.optimal_batch_size == module.batch_size == 16
    assert set(module.sizes) == {16}  # what the trials noted is forgotten with them
    assert len(module.sizes) == {"fit": 4 + 2 + 4}.get(entry, 4)  # training, sanity check, validation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mode": "guess"}, "'power' or 'binsearch', but is 'guess'"), ({"margin": 1.5}, "below 1.0, but is 1.5")],
)
def test_arguments_that_cannot_work_are_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        BatchSizeFinder(**arguments)
