"""LearningRateMonitor: what goes beyond the values in ``test_same_trainings.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import RecordingLogger, TinyClassifier
from fulmen_callbacks import LearningRateMonitor, ModelCheckpoint


def fit(module: fulmen.LightningModule, folder: Path, *callbacks: Callback, **options: Any) -> RecordingLogger:
    logger = RecordingLogger()
    options = {"max_epochs": 2, "log_every_n_steps": 2, "enable_checkpointing": None, **options}
    fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        **{"logger": logger, **options},
    ).fit(module)
    return logger


def keys(logger: RecordingLogger) -> list[str]:
    return sorted({key for metrics, _ in logger.metrics for key in metrics if "lr-" in key})


class ByHand(TinyClassifier):
    """Two optimizers of one class, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        loss, _ = self._loss(batch)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self) -> Any:
        first, second = list(self.net[1].parameters()), list(self.net[5].parameters())
        return [torch.optim.Adam(first, lr=0.1), torch.optim.Adam(second, lr=0.2)]


def test_several_optimizers_of_one_class(tmp_path: Path) -> None:
    logger = fit(ByHand(), tmp_path, LearningRateMonitor())
    assert keys(logger) == ["lr-Adam", "lr-Adam-1"]
    rates = [metrics for metrics, _ in logger.metrics if "lr-Adam" in metrics]
    assert (rates[0]["lr-Adam"], rates[0]["lr-Adam-1"]) == (0.1, 0.2)


def test_prefix_and_other_instances(tmp_path: Path) -> None:
    logger = fit(TinyClassifier(), tmp_path, LearningRateMonitor(), LearningRateMonitor(log_key_prefix="rates/"))
    assert keys(logger) == ["lr-Adam", "rates/lr-Adam"]


def test_a_checkpoint_may_monitor_a_rate(tmp_path: Path) -> None:
    class Falling(TinyClassifier):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    checkpoint = ModelCheckpoint(tmp_path, monitor="lr-Adam", filename="{lr-Adam:.4f}", save_top_k=1)
    fit(Falling(), tmp_path, LearningRateMonitor(), checkpoint)
    assert Path(checkpoint.best_model_path).name == "lr-Adam=0.0050.ckpt"


def test_a_rate_that_is_a_tensor_is_logged_as_it_was(tmp_path: Path) -> None:
    class WithTensor(TinyClassifier):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=torch.tensor(0.5), capturable=False, foreach=False)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    logger = fit(WithTensor(), tmp_path, LearningRateMonitor("epoch"), max_epochs=3)
    assert [metrics["lr-Adam"] for metrics, _ in logger.metrics if "lr-Adam" in metrics] == [0.5, 0.25, 0.125]


def test_a_group_that_joins_later(tmp_path: Path) -> None:
    class Joining(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.optimizers[0].add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.7})

    monitor = LearningRateMonitor("epoch")
    logger = fit(TinyClassifier(), tmp_path, Joining(), monitor)
    assert keys(logger) == ["lr-Adam", "lr-Adam/pg1", "lr-Adam/pg2"]
    assert monitor.lrs == {"lr-Adam/pg1": [0.01, 0.01], "lr-Adam/pg2": [0.7]}


def test_groups_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    class Ambiguous(TinyClassifier):
        def configure_optimizers(self) -> Any:
            layers = [self.net[1], self.net[5]]
            return torch.optim.SGD([{"params": one.parameters(), "name": "same"} for one in layers], lr=0.1)

    with pytest.raises(MisconfigurationException, match="several parameter groups of SGD are named 'same'"):
        fit(Ambiguous(), tmp_path, LearningRateMonitor())


def test_optimizers_without_momentum_or_decay(tmp_path: Path) -> None:
    class Plain(TinyClassifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.Rprop(self.parameters(), lr=0.1)

    monitor = LearningRateMonitor(log_momentum=True, log_weight_decay=True)
    fit(Plain(), tmp_path, monitor)
    assert monitor.last_momentum_values == {"lr-Rprop-momentum": 0}
    assert monitor.last_weight_decay_values == {"lr-Rprop-weight_decay": 0}


def test_unknown_interval() -> None:
    with pytest.raises(MisconfigurationException, match="'step', 'epoch' or None, but is 'batch'"):
        LearningRateMonitor("batch")  # type: ignore[arg-type]
