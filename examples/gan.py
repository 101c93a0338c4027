"""A GAN with two named optimizers in automatic optimization: a generator learns the points of a ring.

    python examples/gan.py

Each optimizer has its own step function, which returns its loss; nothing is detached, toggled or stepped by hand.
The x-axis counts the critic's steps, for it is the first.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import Callback


def ring(count: int) -> Tensor:
    """Return points near the circle of radius 1, ``(count, 2)``."""
    angle = 2 * math.pi * torch.rand(count)
    radius = 1 + 0.05 * torch.randn(count)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


class Gan(pl.LightningModule):
    def __init__(self, noise: int = 4, width: int = 64, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.generator = nn.Sequential(nn.Linear(noise, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.generator.append(nn.Linear(width, 2))
        self.critic = nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2))
        self.critic.append(nn.Linear(width, 1))

    def forward(self, count: int) -> Tensor:
        """Return ``count`` points."""
        return self.generator(torch.randn(count, self.hparams.noise, device=self.device))

    def training_step_critic(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = softplus(-self.critic(batch)).mean() + softplus(self.critic(self(len(batch)))).mean()
        self.log("critic_loss", loss, prog_bar=True)
        return loss

    def training_step_generator(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = softplus(-self.critic(self(len(batch)))).mean()
        self.log("generator_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict:
        betas = (0.5, 0.99)
        return {
            "critic": torch.optim.Adam(self.critic.parameters(), lr=2 * self.hparams.lr, betas=betas),
            "generator": torch.optim.Adam(self.generator.parameters(), lr=self.hparams.lr, betas=betas),
        }


class DistanceFromRing(Callback):
    """Logs how far the generator's points are from the ring, and how much of it they cover."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with torch.no_grad():
            points = pl_module(1000)
        off = (points.norm(dim=1) - 1).abs().mean()
        parts = (torch.atan2(points[:, 1], points[:, 0]) / (2 * math.pi) * 12).floor().unique()
        pl_module.log_dict({"off_the_ring": off, "covered": len(parts) / 12})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=30)
    options = parser.parse_args()

    pl.seed_everything(0)
    model = Gan()
    with torch.no_grad():
        before = (model(1000).norm(dim=1) - 1).abs().mean()
    trainer = pl.Trainer(
        max_epochs=options.max_epochs, logger="csv", callbacks=[DistanceFromRing()], log_every_n_steps=20
    )
    trainer.fit(model, DataLoader(ring(4096), batch_size=128, shuffle=True))

    metrics = trainer.callback_metrics
    print(f"\ndistance from the ring {before:.3f} before, {float(metrics['off_the_ring']):.3f} after")
    print(f"covered {100 * float(metrics['covered']):.0f} % of it in {trainer.global_step} steps")


if __name__ == "__main__":
    main()
