"""Train a small CNN on handwritten digits; the whole of Fulmen in one program.

    python examples/digits.py                       TensorBoard
    python examples/digits.py --logger wandb        the same program with another tracker: wandb, mlflow, csv

The data are real MNIST files, written by ``digits_data.py`` from the digits that scikit-learn ships.
"""

from __future__ import annotations

# The first import: like `import torchvision`, but it works beside a CPU-only torch too, for torchmetrics as well.
from fulmen.vision import torchvision  # isort: split

import argparse
from pathlib import Path

import torch
from digits_data import write_digits_as_mnist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, random_split
from torchmetrics import Accuracy

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ImagePredictionLogger, ModelCheckpoint

BATCH_SIZE = 64


class DigitsDataModule(pl.LightningDataModule):
    """MNIST's files, split into training, validation and test data."""

    def __init__(self, data_dir: str, batch_size: int = BATCH_SIZE) -> None:
        super().__init__()
        self.data_dir = data_dir
        self.batch_size = batch_size
        transforms = torchvision.transforms
        self.transform = transforms.ToTensor()
        self.augment = transforms.Compose([transforms.RandomAffine(8, (0.1, 0.1), (0.9, 1.1)), self.transform])

    def prepare_data(self) -> None:
        write_digits_as_mnist(self.data_dir)

    def setup(self, stage: str) -> None:
        mnist = torchvision.datasets.MNIST
        full = mnist(self.data_dir, train=True, transform=self.transform)
        train, self.val_set = random_split(full, [0.85, 0.15], torch.Generator().manual_seed(0))
        self.train_set = Subset(mnist(self.data_dir, train=True, transform=self.augment), train.indices)
        self.test_set = mnist(self.data_dir, train=False, transform=self.transform)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val_set, batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test_set, batch_size=self.batch_size)


class DigitsModel(pl.LightningModule):
    """Two convolutions and a linear layer."""

    def __init__(self, channels: int = 32, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv2d(1, channels, 5, stride=2, padding=2),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(2 * channels * 7 * 7, 10),
        )
        self.loss = nn.CrossEntropyLoss()
        self.train_acc = Accuracy("multiclass", num_classes=10)
        self.val_acc = Accuracy("multiclass", num_classes=10)
        self.test_acc = Accuracy("multiclass", num_classes=10)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = self.loss(logits, labels)
        self.train_acc(logits, labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train_acc", self.train_acc, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.val_acc(logits, labels)
        self.log("val_loss", self.loss(logits, labels), prog_bar=True)
        self.log("val_acc", self.val_acc, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.test_acc(logits, labels)
        self.log("test_loss", self.loss(logits, labels))
        self.log("test_acc", self.test_acc)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


def main() -> None:
    """Train, test, and say where everything lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logger", default="tensorboard", help="tensorboard (default), wandb, mlflow or csv")
    parser.add_argument("--max-epochs", type=int, default=20)
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--root-dir", default=".", help="the folder in which runs are kept")
    options = parser.parse_args()

    pl.seed_everything(42)
    data = DigitsDataModule(options.data_dir)
    model = DigitsModel()
    checkpoint = ModelCheckpoint(monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=options.max_epochs,
        logger=options.logger,
        log_every_n_steps=5,
        default_root_dir=options.root_dir,
        callbacks=[
            EarlyStopping(monitor="val_loss", patience=5),
            ImagePredictionLogger(num_samples=32),
            checkpoint,
        ],
    )
    trainer.fit(model, data)
    trainer.test(datamodule=data)
    show_places(trainer, options.logger, checkpoint.best_model_path)


def show_places(trainer: pl.Trainer, logger: str, best: str) -> None:
    """Print where the run lies and how to look at it."""
    run = Path(trainer.log_dir)
    root = trainer.default_root_dir
    looks = {
        "tensorboard": f"tensorboard --logdir {run.parent}",
        "mlflow": f"mlflow ui --backend-store-uri sqlite:///{Path(root, 'mlflow.db').resolve()}",
        "wandb": "your project's page, or after an offline run: wandb sync wandb/offline-run-*",
    }
    pictures = sorted(run.glob("media/*.png"), key=lambda path: path.stat().st_mtime)
    print(f"""
run           {run}
metrics       {run / "metrics.csv"}
best weights  {best}
predictions   {pictures[-1] if pictures else "none"}  (the newest of {len(pictures)})
look at it    {looks.get(logger, f"cat {run / 'metrics.csv'}")}""")


if __name__ == "__main__":
    main()
