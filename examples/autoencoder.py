"""An autoencoder for digits with manual optimization: encoder and decoder have optimizers of their own.

python examples/autoencoder.py
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset, random_split

import fulmen as pl
from fulmen.callbacks import EarlyStopping


class DigitsData(pl.LightningDataModule):
    """scikit-learn's digits, pictures of 8 x 8 pixels between 0 and 1."""

    def setup(self, stage: str) -> None:
        digits = load_digits()
        pictures = torch.tensor(digits.images, dtype=torch.float32) / 16
        self.train_set, self.val_set = random_split(
            TensorDataset(pictures, torch.tensor(digits.target)), [0.8, 0.2], torch.Generator().manual_seed(0)
        )

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, batch_size=64, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val_set, batch_size=128)


class Autoencoder(pl.LightningModule):
    """Presses a picture into a few numbers and draws it again."""

    def __init__(self, code: int = 8, lr: float = 2e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, code))
        self.decoder = nn.Sequential(nn.Linear(code, 128), nn.ReLU(), nn.Linear(128, 64), nn.Unflatten(1, (8, 8)))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.decoder(self.encoder(pictures))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pictures, _ = batch
        noisy = pictures + 0.05 * torch.randn_like(pictures)
        loss = nn.functional.mse_loss(self(noisy), pictures)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            self.clip_gradients(optimizer, gradient_clip_val=1.0, gradient_clip_algorithm="norm")
            optimizer.step()
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        for schedule in self.lr_schedulers():
            schedule.step()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pictures, _ = batch
        drawn = self(pictures)
        self.log("val_loss", nn.functional.mse_loss(drawn, pictures), prog_bar=True)
        if batch_idx == 0 and not self.trainer.sanity_checking:
            pairs = torch.cat([pictures[:8], drawn[:8].clamp(0, 1)], dim=2)  # each digit above what was drawn
            self.log_image("digits", list(pairs[:, None]))

    def configure_optimizers(self) -> tuple[list, list]:
        parts = (self.encoder, self.decoder)
        optimizers = [torch.optim.Adam(part.parameters(), lr=self.hparams.lr) for part in parts]
        return optimizers, [CosineAnnealingLR(optimizer, self.trainer.max_epochs) for optimizer in optimizers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=15)
    options = parser.parse_args()

    pl.seed_everything(0)
    data, model = DigitsData(), Autoencoder()
    trainer = pl.Trainer(
        max_epochs=options.max_epochs,
        logger="csv",
        log_every_n_steps=10,
        callbacks=[EarlyStopping("val_loss", patience=5)],
    )
    trainer.fit(model, data)

    pictures = torch.stack([picture for picture, _ in data.val_set])
    mean = nn.functional.mse_loss(pictures.mean(0).expand_as(pictures), pictures)
    print(f"\nerror of the mean picture {mean:.4f}")
    print(f"error of the autoencoder  {float(trainer.callback_metrics['val_loss']):.4f}")


if __name__ == "__main__":
    main()
