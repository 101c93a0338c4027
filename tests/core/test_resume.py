"""A run that was stopped and resumed ends bit for bit where an uninterrupted one does."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import fulmen

BATCHES, EPOCHS = 7, 3


class Augmented(Dataset[Any]):
    """Samples with noise from each of the three random generators, as augmentation has it."""

    def __len__(self) -> int:
        return BATCHES * 4

    def __getitem__(self, index: int) -> Any:
        noise = torch.randn(4) * 0.1 + random.random() + float(np.random.rand())
        return torch.full((4,), float(index)) / 10 + noise, index % 2


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("spread", loss, on_step=False, on_epoch=True, reduce_fx=torch.std)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class SavesAt(fulmen.Callback):
    """Writes a checkpoint when so many batches are over, in the hook that is named."""

    def __init__(self, batches: int, path: Path, hook: str = "on_train_batch_end") -> None:
        self.batches, self.path, self.hook = batches, path, hook
        self.seen = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.seen += 1
        self._save(trainer, "on_train_batch_end")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._save(trainer, "on_validation_end")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._save(trainer, "on_train_epoch_end")

    def _save(self, trainer: Any, hook: str) -> None:
        if hook == self.hook and self.seen == self.batches and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)


class Nothing(fulmen.loggers.Logger):
    """A tracker that keeps nothing: what counts is the run's journal."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any) -> None:
        pass


def points_of(trainer: fulmen.Trainer, before: int | None = None) -> list[Any]:
    """Return what a run recorded, up to the record of a number."""
    lines = Path(trainer.log_dir, "journal.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["kind"] == "metrics"]
    return [(record["step"], record["data"]) for record in records if before is None or record["n"] < before]


def fit(
    model: Model,
    root: Path,
    workers: int = 0,
    callbacks: Any = (),
    ckpt_path: Any = None,
    logs: bool = False,
    **options: Any,
) -> fulmen.Trainer:
    trainer = fulmen.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        default_root_dir=root,
        logger=Nothing() if logs else False,
        log_every_n_steps=2,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    train = DataLoader(Augmented(), batch_size=4, shuffle=True, num_workers=workers)
    val = DataLoader(Augmented(), batch_size=4)
    trainer.fit(model, train, val, ckpt_path=ckpt_path)
    return trainer


def weights_of(model: Model) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize(
    ("batches", "hook", "workers"),
    [
        (1, "on_train_batch_end", 0),
        (5, "on_train_batch_end", 0),
        (7, "on_validation_end", 0),
        (7, "on_train_epoch_end", 0),
        (14, "on_train_batch_end", 0),
        (17, "on_train_batch_end", 0),
        (5, "on_train_batch_end", 2),
        (7, "on_validation_end", 2),
    ],
)
def test_resume_gives_the_losses_and_weights_of_an_uninterrupted_run(
    tmp_path: Path, batches: int, hook: str, workers: int
) -> None:
    fulmen.seed_everything(3)
    whole = Model()
    path = tmp_path / "a.ckpt"
    trainer = fit(whole, tmp_path, workers, [SavesAt(batches, path, hook)], logs=True)

    fulmen.seed_everything(99)  # what the process did before must not matter
    resumed = Model()
    again = fit(resumed, tmp_path, workers, ckpt_path=path, logs=True)

    assert resumed.losses == whole.losses[batches:]
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert (again.global_step, again.current_epoch) == (trainer.global_step, trainer.current_epoch)
    assert again.callback_metrics == trainer.callback_metrics
    assert again.logged_metrics == trainer.logged_metrics
    position = torch.load(path, weights_only=True)["fulmen"]["journal_position"]
    assert points_of(trainer, position) + points_of(again) == points_of(trainer)


def test_resume_inside_accumulation_and_with_validation_inside_the_epoch(tmp_path: Path) -> None:
    options = {"accumulate_grad_batches": 2, "val_check_interval": 3}
    fulmen.seed_everything(3)
    whole = Model()
    path = tmp_path / "a.ckpt"
    trainer = fit(whole, tmp_path, 0, [SavesAt(6, path, "on_validation_end")], **options)
    fulmen.seed_everything(99)
    resumed = Model()
    again = fit(resumed, tmp_path, 0, ckpt_path=path, **options)
    assert resumed.losses == whole.losses[6:]
    assert again.callback_metrics == trainer.callback_metrics
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_the_same_trainer_goes_on_where_it_stopped(tmp_path: Path) -> None:
    fulmen.seed_everything(3)
    whole = Model()
    fit(whole, tmp_path)
    fulmen.seed_everything(3)
    parts = Model()
    trainer = fulmen.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    train = DataLoader(Augmented(), batch_size=4, shuffle=True)
    trainer.fit(parts, train, DataLoader(Augmented(), batch_size=4))
    assert trainer.current_epoch == 1
    assert parts.losses == whole.losses[:BATCHES]


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import fulmen, test_resume as t

root, die_at = Path(sys.argv[2]), int(sys.argv[3])

class Dies(t.Model):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        if len(self.losses) == die_at:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)

class SavesEveryBatch(fulmen.Callback):
    run_order = 0
    def on_train_batch_end(self, trainer, pl_module, *rest):
        trainer.save_checkpoint(root / "last.ckpt")

fulmen.seed_everything(3)
t.fit(Dies(), root, callbacks=[SavesEveryBatch()])
"""


@pytest.mark.parametrize("die_at", [1, 8, 13])
def test_a_killed_process_resumes_bit_for_bit(tmp_path: Path, die_at: int) -> None:
    fulmen.seed_everything(3)
    whole = Model()
    fit(whole, tmp_path)
    arguments = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path), str(die_at)]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    resumed = Model()
    fit(resumed, tmp_path, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.losses == whole.losses[die_at:]
    assert torch.equal(weights_of(resumed), weights_of(whole))
