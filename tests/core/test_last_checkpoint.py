"""What ``ckpt_path="last"`` stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import fulmen
from fulmen.callback import Checkpoint


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Saves(Checkpoint):
    """Saves at the end of each epoch into the run's folder; enough of a ModelCheckpoint."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        path = Path(trainer.log_dir, "checkpoints", f"epoch={trainer.current_epoch}.ckpt")
        trainer.save_checkpoint(path)
        self.last_model_path = str(path)


class Nothing(fulmen.loggers.Logger):
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any) -> None:
        pass


def fit(root: Path, max_epochs: int, logger: Any, ckpt_path: str | None = None) -> fulmen.Trainer:
    trainer = fulmen.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        default_root_dir=root,
        callbacks=[Saves()],
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Model(), DataLoader(torch.randn(8, 4), batch_size=4), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("has_logger", [True, False])
def test_a_program_that_is_started_again_goes_on_where_its_last_run_was(tmp_path: Path, has_logger: bool) -> None:
    def logger() -> Any:
        return Nothing() if has_logger else False

    first = fit(tmp_path, 2, logger())
    again = fit(tmp_path, 5, logger(), "last")  # another Trainer, as in another process
    assert again.ckpt_path == str(Path(first.log_dir, "checkpoints", "epoch=1.ckpt"))
    assert (again.current_epoch, again.global_step) == (5, 10)
    assert (first.log_dir == again.log_dir) is not has_logger


def test_the_newest_of_all_runs_is_the_last(tmp_path: Path) -> None:
    for epochs in (3, 1):
        fit(tmp_path, epochs, Nothing())
    newer = tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "epoch=0.ckpt"
    assert fit(tmp_path, 4, Nothing(), "last").ckpt_path == str(newer)
    os.utime(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "epoch=2.ckpt", (4e9, 4e9))
    assert Path(str(fit(tmp_path, 4, Nothing(), "last").ckpt_path)).name == "epoch=2.ckpt"


def test_the_first_run_starts_from_the_beginning_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no checkpoint was found, so training starts from the beginning"):
        trainer = fit(tmp_path, 1, False, "last")
    assert trainer.ckpt_path is None
