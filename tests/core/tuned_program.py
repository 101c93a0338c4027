"""Programs whose tuning is compared with Lightning's: they run with either.

``tuner_results.json`` was made by Lightning 2.6.6.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

#: name -> arguments of the Trainer, of lr_find, and whether the module validates
LEARNING_RATES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "plain": ({"max_epochs": 10}, {}, False),
    "linear": ({"max_epochs": 10}, {"mode": "linear", "max_lr": 0.5, "num_training": 60}, False),
    "diverging": ({"max_epochs": 10}, {"max_lr": 1000.0}, False),
    "never stopping": ({"max_epochs": 10}, {"max_lr": 1000.0, "early_stop_threshold": None}, False),
    "accumulating": (
        {"max_epochs": 20, "accumulate_grad_batches": 2},
        {"num_training": 50, "early_stop_threshold": None, "max_lr": 0.1},
        False,
    ),
    "validating": ({"max_epochs": 10}, {}, True),
    "short": ({"max_epochs": 2}, {}, True),
    "clipped": ({"max_epochs": 10, "gradient_clip_val": 0.5}, {"min_lr": 1e-5}, False),
}
#: name -> arguments of scale_batch_size, samples that fit into memory, samples of the data
BATCH_SIZES: dict[str, tuple[dict[str, Any], int, int]] = {
    "power": ({"mode": "power"}, 100, 10_000),
    "power from a size that does not fit": ({"mode": "power", "init_val": 64}, 20, 10_000),
    "power beyond the data": ({"mode": "power"}, 10**9, 100),
    "power up to a trial": ({"mode": "power", "max_trials": 4}, 10**9, 10_000),
    "power up to a value": ({"mode": "power", "max_val": 64}, 10**9, 10_000),
    "binsearch": ({"mode": "binsearch", "margin": 0.0}, 100, 10_000),
    "binsearch with a margin": ({"mode": "binsearch", "init_val": 8, "margin": 0.1}, 77, 10_000),
    "binsearch beyond the data": ({"mode": "binsearch", "margin": 0.0}, 10**9, 60),
}


def module_of(pl: Any, validates: bool = False) -> Any:
    class Lit(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))

        def _loss(self, batch: Any) -> Any:
            return nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self._loss(batch)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    class Validating(Lit):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self._loss(batch))

        def val_dataloader(self) -> Any:
            return loader(16)

    return (Validating if validates else Lit)()


def loader(samples: int = 96, shuffle: bool = False) -> Any:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(samples, 4, generator=generator)
    targets = inputs.sum(1, keepdim=True) + 0.1 * torch.randn(samples, 1, generator=generator)
    return DataLoader(TensorDataset(inputs, targets), batch_size=8, shuffle=shuffle)


def trainer_of(pl: Any, folder: str, **options: Any) -> Any:
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )


def find_rate(pl: Any, tuner: Any, name: str, folder: str) -> dict[str, Any]:
    """Return the rates, the losses and the suggestion."""
    options, arguments, validates = LEARNING_RATES[name]
    pl.seed_everything(11)
    module = module_of(pl, validates)
    finder = tuner(trainer_of(pl, folder, **options)).lr_find(module, loader(shuffle=True), **arguments)
    return {**finder.results, "suggestion": finder.suggestion(), "hparam": module.hparams.lr}


def find_size(pl: Any, tuner: Any, name: str, folder: str) -> dict[str, Any]:
    """Return the size found, and all that were tried."""
    arguments, fitting, samples = BATCH_SIZES[name]
    tried: list[int] = []

    class Lit(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)
            self.batch_size = 1

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 0:
                tried.append(self.batch_size)
            if len(batch[0]) > fitting:
                raise RuntimeError("CUDA out of memory. Tried to allocate more than there is")
            return self.layer(batch[0]).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.zeros(samples, 4)), batch_size=self.batch_size)

    module = Lit()
    found = tuner(trainer_of(pl, folder, max_epochs=1)).scale_batch_size(module, **arguments)
    return {"found": found, "attribute": module.batch_size, "tried": tried}
