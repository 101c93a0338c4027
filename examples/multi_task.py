"""Two tasks on one body, each with its own loader: which digit it is, and how dark the picture is.

    python examples/multi_task.py

The training loaders come as a dict, and so does a batch; each validation loader has metrics of its own.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint


def loaders() -> tuple[dict[str, DataLoader], list[DataLoader]]:
    """Return loaders of pictures with their digit, and of other pictures with their darkness."""
    digits = load_digits()
    pictures = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels, darkness = torch.tensor(digits.target), pictures.mean((1, 2, 3))
    train = {
        "digit": DataLoader(TensorDataset(pictures[:900], labels[:900]), batch_size=64, shuffle=True),
        "darkness": DataLoader(TensorDataset(pictures[900:1300], darkness[900:1300]), batch_size=32, shuffle=True),
    }
    val = [
        DataLoader(TensorDataset(pictures[1300:], labels[1300:]), batch_size=128),
        DataLoader(TensorDataset(pictures[1300:], darkness[1300:]), batch_size=128),
    ]
    return train, val


class MultiTask(pl.LightningModule):
    """A convolutional body with a head for each task."""

    def __init__(self, lr: float = 3e-3, darkness_weight: float = 5.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
        )
        self.digit = nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 10))
        self.darkness = nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 1), nn.Flatten(0))

    def training_step(self, batch: dict[str, list[Tensor]], batch_idx: int) -> Tensor:
        pictures, labels = batch["digit"]
        digit_loss = nn.functional.cross_entropy(self.digit(self.body(pictures)), labels)
        pictures, darkness = batch["darkness"]
        darkness_loss = nn.functional.mse_loss(self.darkness(self.body(pictures)), darkness)
        self.log("digit_loss", digit_loss, on_step=False, on_epoch=True, batch_size=len(labels))
        self.log("darkness_loss", darkness_loss, on_step=False, on_epoch=True, batch_size=len(darkness))
        return digit_loss + self.hparams.darkness_weight * darkness_loss

    def validation_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        pictures, wanted = batch
        features = self.body(pictures)
        if dataloader_idx == 0:
            accuracy = (self.digit(features).argmax(1) == wanted).float().mean()
            self.log("digit_accuracy", accuracy, prog_bar=True, add_dataloader_idx=False)
        else:
            error = (self.darkness(features) - wanted).abs().mean()
            self.log("darkness_error", error, prog_bar=True, add_dataloader_idx=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=8)
    options = parser.parse_args()

    pl.seed_everything(0)
    train, val = loaders()
    best = ModelCheckpoint(monitor="digit_accuracy", mode="max")
    trainer = pl.Trainer(
        max_epochs=options.max_epochs,
        logger="csv",
        log_every_n_steps=5,
        callbacks=[EarlyStopping("digit_accuracy", mode="max", patience=4), best],
    )
    model = MultiTask()
    trainer.fit(model, train, val)  # the shorter loader starts again until the longer one ends
    results = trainer.validate(model, val, ckpt_path="best", verbose=False)

    print(f"\naccuracy of the digit {results[0]['digit_accuracy']:.3f}")
    print(f"error of the darkness {results[1]['darkness_error']:.4f}")


if __name__ == "__main__":
    main()
