"""The smallest modules and data that run everything: start a bug report or a test from one of them.

```python
from fulmen import Trainer
from fulmen.demos.boring_classes import BoringModel

Trainer(max_epochs=1, limit_train_batches=4, logger=False, enable_checkpointing=False).fit(BoringModel())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from fulmen.datamodule import LightningDataModule
from fulmen.module import LightningModule

_FEATURES = 32
_SAMPLES = 64


class RandomDataset(Dataset[Tensor]):
    """Normally distributed samples, shape ``(size,)`` each, drawn once.

    Args:
        size: features of a sample.
        length: samples.
    """

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> Tensor:
        return self.data[index]

    def __len__(self) -> int:
        return self.len


class RandomDictDataset(Dataset[dict[str, Tensor]]):
    """Samples that are dicts: ``a`` as in :class:`RandomDataset`, and ``b``, which is ``a + 2``."""

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        a = self.data[index]
        return {"a": a, "b": a + 2}

    def __len__(self) -> int:
        return self.len


class RandomIterableDataset(IterableDataset[Tensor]):
    """A stream of ``count`` normally distributed samples, shape ``(size,)`` each, drawn as they are asked for."""

    def __init__(self, size: int, count: int) -> None:
        self.count = count
        self.size = size

    def __iter__(self) -> Iterator[Tensor]:
        return (torch.randn(self.size) for _ in range(self.count))


class RandomIterableDatasetWithLen(RandomIterableDataset):
    """A :class:`RandomIterableDataset` that knows how long it is."""

    def __len__(self) -> int:
        return self.count


class BoringModel(LightningModule):
    """One linear layer, 32 to 2, that learns to answer with ones; every step, optimizer, scheduler and loader is there.

    Override what you look into and leave the rest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(_FEATURES, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, shape ``(..., 2)``, for ``(..., 32)``."""
        output: Tensor = self.layer(x)
        return output

    def loss(self, preds: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the mean squared distance to ``labels``, or to ones."""
        return functional.mse_loss(preds, torch.ones_like(preds) if labels is None else labels)

    def step(self, batch: Any) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(self(batch))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.step(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"x": self.step(batch)}

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return {"y": self.step(batch)}

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)]

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_FEATURES, _SAMPLES))

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_FEATURES, _SAMPLES))

    def test_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_FEATURES, _SAMPLES))

    def predict_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_FEATURES, _SAMPLES))


class ManualOptimBoringModel(BoringModel):
    """A :class:`BoringModel` that runs backward and steps its optimizer itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = self.step(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class DemoModel(LightningModule):
    """A linear layer with hyper-parameters, 32 to ``out_dim``; bring your own data.

    Args:
        out_dim: features of the output.
        learning_rate: Adam's.
    """

    def __init__(self, out_dim: int = 10, learning_rate: float = 0.02) -> None:
        super().__init__()
        self.l1 = nn.Linear(_FEATURES, out_dim)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the positive part of the layer's output, shape ``(batch, out_dim)``."""
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).sum()

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class BoringDataModule(LightningDataModule):
    """256 random samples with 32 features, a quarter for each of training, validation, test and prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.random_full = RandomDataset(_FEATURES, 4 * _SAMPLES)

    def _quarter(self, index: int) -> Subset[Tensor]:
        return Subset(self.random_full, indices=range(index * _SAMPLES, (index + 1) * _SAMPLES))

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.random_train = self._quarter(0)
        if stage in ("fit", "validate"):
            self.random_val = self._quarter(1)
        if stage == "test":
            self.random_test = self._quarter(2)
        if stage == "predict":
            self.random_predict = self._quarter(3)

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_train)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_val)

    def test_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_predict)


class BoringDataModuleNoLen(LightningDataModule):
    """Streams of random samples with 32 features, whose loaders have no length."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.random_train = RandomIterableDataset(_FEATURES, 512)
        if stage in ("fit", "validate"):
            self.random_val = RandomIterableDataset(_FEATURES, 128)
        if stage == "test":
            self.random_test = RandomIterableDataset(_FEATURES, 256)
        if stage == "predict":
            self.random_predict = RandomIterableDataset(_FEATURES, 64)

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_train)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_val)

    def test_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_predict)


class IterableBoringDataModule(LightningDataModule):
    """Two loaders for each stage, one with a length and one without, of samples with 4 features."""

    def _both(self, length: int) -> list[Dataset[Tensor]]:
        return [RandomDataset(4, length), RandomIterableDataset(4, length)]

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.train_datasets = self._both(16)
        if stage in ("fit", "validate"):
            self.val_datasets = self._both(32)
        if stage == "test":
            self.test_datasets = self._both(64)
        if stage == "predict":
            self.predict_datasets = self._both(128)

    def train_dataloader(self) -> list[DataLoader[Tensor]]:
        return [DataLoader(dataset) for dataset in self.train_datasets]

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        return [DataLoader(dataset) for dataset in self.val_datasets]

    def test_dataloader(self) -> list[DataLoader[Tensor]]:
        return [DataLoader(dataset) for dataset in self.test_datasets]

    def predict_dataloader(self) -> list[DataLoader[Tensor]]:
        return [DataLoader(dataset) for dataset in self.predict_datasets]


class Net(nn.Module):
    """A small convolutional network for pictures of digits, shape ``(batch, 1, 28, 28)``, to 10 log-probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(64 * 12 * 12, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities, shape ``(batch, 10)``."""
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        x = self.dropout1(functional.max_pool2d(x, 2)).flatten(1)
        x = self.dropout2(functional.relu(self.fc1(x)))
        return functional.log_softmax(self.fc2(x), dim=1)
