"""A run that is killed at random moments and resumed: each point is once in every tracker."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fulmen.tracking.rewind import read_what_counts

pytest.importorskip("tensorboard", reason='needs tensorboard: pip install "fulmen[tensorboard]"')
pytest.importorskip("mlflow", reason='needs mlflow: pip install "fulmen[mlflow]"')

PROGRAM = """
import sys, time, torch
import fulmen
from fulmen.callback import Callback, Checkpoint

class Saves(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step % 7 == 0:
            trainer.save_checkpoint("last.ckpt")
        time.sleep(0.03)

class Model(fulmen.LightningModule):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"lr": 0.1})
        self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.dropout(self.layer(batch)).mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log_dict({"a": float(batch_idx), "b": 2.0 * batch_idx})
        return loss
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch).mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

fulmen.seed_everything(3)
import os
path = "last.ckpt" if os.path.exists("last.ckpt") else None
trainer = fulmen.Trainer(
    max_epochs=4, log_every_n_steps=1, val_check_interval=10, num_sanity_val_steps=0, callbacks=[Saves()],
    logger=sys.argv[1].split(","), enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)
data = [torch.randn(2, 3, generator=torch.Generator().manual_seed(n)) for n in range(25)]
print("started", flush=True)
trainer.fit(Model(), data, data[:2], ckpt_path=path)
print("finished", flush=True)
"""


def run(folder: Path, loggers: str, kill_after_s: float | None = None) -> bool:
    """Run the program, kill it so long after it starts and has a checkpoint; return whether it came to its end."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, loggers],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": "", "GIT_PYTHON_REFRESH": "quiet"},
    )
    assert process.stdout is not None
    if kill_after_s is not None:
        process.stdout.readline()
        while not (folder / "last.ckpt").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(kill_after_s)
        process.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert kill_after_s is not None or process.returncode == 0, err[-3000:]
    return "finished" in out


def points_in_csv(folder: Path) -> Counter[Any]:
    with open(folder / "lightning_logs/version_0/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return Counter((key, int(row["step"]), float(value)) for row in rows for key, value in row.items() if value)


def points_in_tensorboard(folder: Path) -> Counter[Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "lightning_logs/version_0"), size_guidance={"scalars": 0})
    reader.Reload()
    tags = reader.Tags()["scalars"]
    return Counter((tag, point.step, point.value) for tag in tags for point in reader.Scalars(tag))


def points_in_mlflow(folder: Path) -> Counter[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'lightning_logs'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    return Counter(
        (key, metric.step, metric.value)
        for key in found.data.metrics
        for metric in client.get_metric_history(found.info.run_id, key)
    )


def points_in_journal(folder: Path) -> Counter[Any]:
    path = folder / "lightning_logs/version_0/journal.jsonl"
    return Counter(
        (key, record.step, value)
        for record in read_what_counts(path)
        if record.kind == "metrics"
        for key, value in record.data.items()
    )


READERS = {
    "journal": points_in_journal,
    "csv": points_in_csv,
    "tensorboard": points_in_tensorboard,
    "mlflow": points_in_mlflow,
}


def check(tmp_path: Path, loggers: str, kills: int, longest_s: float) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole, loggers)
    moments = random.Random(os.environ.get("FULMEN_KILL_SEED", "11"))
    count = 0
    while count < kills and not run(killed, loggers, moments.uniform(0.05, longest_s)):
        count += 1
    assert count == kills, f"only {count} kills came before its end"
    assert run(killed, loggers)
    assert [path.name for path in (killed / "lightning_logs").iterdir()] == ["version_0"], "one run, one folder"
    for name in ["journal", *loggers.split(",")]:
        expected, found = READERS[name](whole), READERS[name](killed)
        assert found == expected, f"{name}: too many {found - expected}, missing {expected - found}"


@pytest.mark.timeout(600)
def test_each_point_is_once_after_kills(tmp_path: Path) -> None:
    check(tmp_path, "csv,tensorboard", kills=3, longest_s=0.6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_each_point_is_once_after_twenty_kills(tmp_path: Path) -> None:
    check(tmp_path, "csv,tensorboard,mlflow", kills=20, longest_s=1.0)
