"""Check an environment with fulmen-core alone: it imports, trains, and says what the missing parts need."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen


class Line(fulmen.LightningModule):
    """y = 2 x, learnt from 64 points."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layer(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def check_core_is_alone() -> None:
    for module in ("fulmen_loggers", "fulmen_callbacks", "fulmen_metrics", "wandb", "mlflow", "pytest"):
        assert importlib.util.find_spec(module) is None, f"{module} is installed, so this checks nothing"


def check_core_trains() -> None:
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = fulmen.Trainer(
            max_epochs=5,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        model = Line()
        trainer.fit(model, DataLoader(TensorDataset(x, 2 * x), batch_size=8))
        assert trainer.global_step == 40
        assert model.layer.weight.item() > 1.5
        assert list(Path(folder).rglob("*.ckpt")) == []


def check_missing_parts_are_explained() -> None:
    for face, name in (("loggers", "CSVLogger"), ("callbacks", "EarlyStopping")):
        try:
            exec(f"from fulmen.{face} import {name}", {})
        except ImportError as error:
            message = str(error)
        else:
            raise AssertionError(f"fulmen.{face}.{name} came without fulmen-{face}")
        assert f'pip install "fulmen-{face}"' in message, message


if __name__ == "__main__":
    check_core_is_alone()
    check_core_trains()
    check_missing_parts_are_explained()
    print("fulmen-core stands alone")
