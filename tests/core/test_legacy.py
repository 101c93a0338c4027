"""Programs in the styles of Lightning 0.x and 1.x."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from legacy_programs import QUIET, Collects, quietly
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen import advice
from fulmen.legacy import spelling


class Oldest(pl.LightningModule):
    """Loaders in the module, dicts out of the steps, results at the ends of epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        generator = torch.Generator().manual_seed(1)
        self.data = TensorDataset(
            torch.randn(24, 6, generator=generator), torch.randint(0, 3, (24,), generator=generator)
        )
        self.train_sizes: list[int] = []

    def forward(self, x: Any) -> Any:
        return self.layer(x)

    def _loss(self, batch: Any) -> Any:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self._loss(batch)
        return {"loss": loss, "log": {"train_loss": loss}, "progress_bar": {"train_loss": loss, "twice": loss * 2}}

    def training_epoch_end(self, outputs: Any) -> None:
        self.train_sizes.append(len(outputs))
        assert not outputs[0]["loss"].requires_grad

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"val_loss": self._loss(batch)}

    def validation_epoch_end(self, outputs: Any) -> Any:
        mean = torch.stack([output["val_loss"] for output in outputs]).mean()
        return {"avg_val_loss": mean, "progress_bar": {"val_loss": mean}, "log": {"val_loss": mean}}

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return {"test_loss": self._loss(batch)}

    def test_epoch_end(self, outputs: Any) -> Any:
        return {"log": {"test_loss": torch.stack([output["test_loss"] for output in outputs]).mean()}}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, batch_size=4)

    val_dataloader = test_dataloader = train_dataloader


def mean_loss(model: Oldest) -> float:
    with torch.no_grad():
        losses = [model._loss(batch).item() for batch in model.val_dataloader()]
    return sum(losses) / len(losses)


def test_returned_dictionaries_reach_callbacks_bar_and_loggers(tmp_path: Path) -> None:
    logger, model = Collects(), Oldest()
    trainer = pl.Trainer(**{**QUIET, "logger": logger}, max_epochs=2, log_every_n_steps=1, default_root_dir=tmp_path)
    quietly(lambda: trainer.fit(model))
    expected = mean_loss(model)
    assert trainer.callback_metrics["avg_val_loss"].item() == pytest.approx(expected)
    assert trainer.callback_metrics["val_loss"].item() == pytest.approx(expected)
    assert logger.of("val_loss")[-1] == pytest.approx(expected)
    assert logger.of("avg_val_loss") == logger.of("twice") == []
    assert len(logger.of("train_loss")) == 12
    bar = trainer.progress_bar_metrics
    assert bar["twice"] == pytest.approx(2 * bar["train_loss"])
    assert bar["val_loss"] == pytest.approx(expected)
    assert model.train_sizes == [6, 6]
    results: list[Any] = []
    quietly(lambda: results.extend(trainer.test(model, verbose=False)))
    assert results == [{"test_loss": pytest.approx(expected)}]


def test_each_old_spelling_warns_once_with_the_modern_line_and_its_place() -> None:
    trainer = pl.Trainer(**QUIET, max_epochs=2)
    messages = quietly(lambda: (trainer.fit(Oldest()), trainer.fit(Oldest())))
    assert sorted(message[:6] for message in messages) == ["FUL102", "FUL102", "FUL102", "FUL104", "FUL104"]
    assert any("`Oldest.validation_epoch_end(outputs)`" in m and "on_validation_epoch_end(self)" in m for m in messages)
    advice.forget()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Oldest())
    old = [one for one in caught if issubclass(one.category, spelling.OldSpellingWarning)]
    assert {Path(one.filename).name for one in old} == {Path(__file__).name}


def test_modern_modules_get_no_callback_of_ours() -> None:
    class Modern(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch[0]).sum()
            self.log("loss", loss)
            return {"loss": loss}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = pl.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Modern(), Oldest().train_dataloader())
    assert trainer.callbacks == []
