"""What the tests of old programs share: made data, a small module, and a run that keeps its warnings apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.legacy.spelling import OldSpellingWarning

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "accelerator": "cpu",
}


def loader(samples: int = 24, batch_size: int = 4) -> Any:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 6, generator=generator)
    classes = torch.randint(0, 3, (samples,), generator=generator)
    return DataLoader(TensorDataset(inputs, classes), batch_size=batch_size)


class Small(pl.LightningModule):
    """A linear classifier that says nothing old by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 3)
        self.calls: list[Any] = []

    def loss(self, batch: Any) -> Any:
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return loader()


class Collects(pl.loggers.Logger):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.points: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.points.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any) -> None:
        pass

    def of(self, key: str) -> list[float]:
        return [metrics[key] for _, metrics in self.points if key in metrics]


def quietly(call: Callable[[], Any]) -> list[str]:
    """Call something; return what was said of old spellings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    for one in caught:
        if not issubclass(one.category, OldSpellingWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return [str(one.message) for one in caught if issubclass(one.category, OldSpellingWarning)]


def codes(messages: list[str]) -> list[str]:
    return [message[:6] for message in messages]


def weights(module: Any) -> Any:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
