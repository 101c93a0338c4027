"""Fine-tuning: a net learns the digits 0 to 4; then its frozen body gets a new head for 5 to 9 and is thawed later.

python examples/fine_tuning.py
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import LearningRateMonitor, ModelCheckpoint


def loaders(first: int, samples: int) -> tuple[DataLoader, DataLoader]:
    """Return loaders to train and to validate on the five digits from ``first`` on."""
    digits = load_digits()
    chosen = (digits.target >= first) & (digits.target < first + 5)
    pictures = torch.tensor(digits.images[chosen], dtype=torch.float32)[:, None] / 16
    data = TensorDataset(pictures, torch.tensor(digits.target[chosen] - first))
    train = torch.utils.data.Subset(data, range(samples))
    val = torch.utils.data.Subset(data, range(len(data) - 200, len(data)))
    return DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=100)


class Classifier(pl.LightningModule):
    """What both have in common."""

    def __init__(self, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Linear(32 * 16, 5)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.body(pictures))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class FineTuned(Classifier):
    """Another classifier's body with a new head; the body is frozen for the first epochs."""

    def __init__(self, pretrained: str, thaw_at: int = 2, lr: float = 3e-3) -> None:
        super().__init__(lr)
        self.save_hyperparameters()
        self.body = Classifier.load_from_checkpoint(pretrained).freeze().body

    def on_train_epoch_start(self) -> None:
        frozen = self.current_epoch < self.hparams.thaw_at
        self.body.requires_grad_(not frozen)
        self.body.train(not frozen)  # frozen batch norms keep what they counted
        self.log("frozen", float(frozen))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            [
                {"params": self.head.parameters(), "lr": self.hparams.lr, "name": "head"},
                {"params": self.body.parameters(), "lr": self.hparams.lr / 10, "name": "body"},
            ]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=5)
    options = parser.parse_args()

    pl.seed_everything(0)
    best = ModelCheckpoint(monitor="val_acc", mode="max")
    trainer = pl.Trainer(max_epochs=options.max_epochs, logger="csv", callbacks=[best], log_every_n_steps=5)
    trainer.fit(Classifier(), *loaders(first=0, samples=600))
    print(f"\npretrained on 0 to 4: accuracy {float(best.best_model_score):.3f}")

    model = FineTuned(best.best_model_path)
    before = model.body[0].weight.clone()
    trainer = pl.Trainer(
        max_epochs=options.max_epochs, logger="csv", callbacks=[LearningRateMonitor()], log_every_n_steps=2
    )
    trainer.fit(model, *loaders(first=5, samples=160))
    moved = float((model.body[0].weight - before).detach().abs().max())
    print(f"\nfine-tuned on 160 pictures of 5 to 9: accuracy {float(trainer.callback_metrics['val_acc']):.3f}")
    print(f"the body moved by at most {moved:.5f}")


if __name__ == "__main__":
    main()
