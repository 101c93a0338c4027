"""A user's program, as mypy and pyright read it; nobody runs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import assert_type

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.loggers import CSVLogger

Batch = tuple[Tensor, Tensor]


class Classifier(pl.LightningModule):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(64, width)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.layer(images))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.forward(images), labels)
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict({"a": loss.detach(), "b": 1.0})
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert_type(self.current_epoch, int)
        assert_type(self.global_step, int)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Digits(pl.LightningDataModule):
    def setup(self, stage: str) -> None:
        self.data = TensorDataset(torch.zeros(8, 64), torch.zeros(8, dtype=torch.long))

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.data, batch_size=4)  # type: ignore[arg-type]


trainer = pl.Trainer(
    accelerator="cpu",
    devices=1,
    max_epochs=1,
    logger=CSVLogger(save_dir="."),
    callbacks=[EarlyStopping(monitor="loss"), ModelCheckpoint(monitor="loss")],
    log_every_n_steps=10,
)
trainer.fit(Classifier(), datamodule=Digits())
trainer.validate(Classifier(), datamodule=Digits(), ckpt_path="best")
assert_type(trainer.current_epoch, int)
assert_type(trainer.global_step, int)
assert_type(trainer.callback_metrics["loss"], Tensor)
pl.Trainer(logger="csv")
pl.Trainer(logger=["csv", "tensorboard"])
pl.Trainer(logger=False, max_steps=10, limit_train_batches=0.5)
