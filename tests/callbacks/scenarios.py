"""Trainings with made metrics, for any library that speaks the API; what PyTorch Lightning did is kept.

``python scenarios.py`` in an environment with lightning 2.6 writes ``lightning.json``: for each scenario what
``EarlyStopping`` decided at every look, or which checkpoints ``ModelCheckpoint`` wrote, kept and called best.
The tests run the same scenarios with Fulmen and compare. Each metric's series is fixed here, so that nothing
depends on training.
"""

from __future__ import annotations

import importlib
import json
import random
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

INF, NAN = float("inf"), float("nan")
UP_AND_DOWN = [1.0, 0.9, 0.95, 0.85, 0.86, 0.87, 0.88, 0.5, 0.6, 0.4]

#: Each: the metric's series, the callback's arguments, and what else differs from `run`'s defaults.
EARLY_STOPPING: list[dict[str, Any]] = [
    {"series": UP_AND_DOWN, "args": {}},
    {"series": UP_AND_DOWN, "args": {"patience": 0}},
    {"series": UP_AND_DOWN, "args": {"patience": 1}},
    {"series": UP_AND_DOWN, "args": {"patience": 2}},
    {"series": UP_AND_DOWN, "args": {"mode": "max"}},
    {"series": UP_AND_DOWN, "args": {"mode": "max", "patience": 5}},
    {"series": UP_AND_DOWN, "args": {"min_delta": 0.1, "patience": 2}},
    {"series": [1.0, 0.9, 0.8, 0.7, 0.6], "args": {"min_delta": 0.1, "patience": 2}},
    {"series": [0.1, 0.2, 0.3, 0.4, 0.5], "args": {"min_delta": 0.1, "patience": 2, "mode": "max"}},
    {"series": [1.0, NAN, 0.5], "args": {}},
    {"series": [1.0, NAN, NAN, NAN, 0.5], "args": {"check_finite": False}},
    {"series": [NAN, 0.4], "args": {"check_finite": False}},
    {"series": [1.0, -INF, 0.5], "args": {}},
    {"series": [1.0, INF, 0.5, INF, INF, INF], "args": {"check_finite": False, "patience": 2}},
    {"series": UP_AND_DOWN, "args": {"stopping_threshold": 0.86}},
    {"series": UP_AND_DOWN, "args": {"stopping_threshold": 0.85}},
    {"series": [0.5, 0.6, 0.9, 0.95], "args": {"stopping_threshold": 0.9, "mode": "max"}},
    {"series": [0.5, 0.6, 1.9, 0.2], "args": {"divergence_threshold": 1.5}},
    {"series": [0.5, 0.6, 1.5, 0.2], "args": {"divergence_threshold": 1.5}},
    {"series": [0.5, 0.6, -1.9, 0.2], "args": {"divergence_threshold": -1.0, "mode": "max", "patience": 9}},
    {"series": [0.5] * 5, "args": {"patience": 3}},
    {"series": UP_AND_DOWN, "args": {"patience": 2}, "on_train": True},
    {"series": UP_AND_DOWN, "args": {"patience": 2}, "on_train": True, "trainer": {"limit_val_batches": 0}},
    {"series": UP_AND_DOWN, "args": {"patience": 2}, "trainer": {"val_check_interval": 0.5}},
    {"series": UP_AND_DOWN, "args": {"patience": 2}, "trainer": {"check_val_every_n_epoch": 2}},
    {
        "series": UP_AND_DOWN,
        "args": {"patience": 2},
        "trainer": {"check_val_every_n_epoch": None, "val_check_interval": 3, "max_epochs": 15},
    },
    {"series": UP_AND_DOWN, "args": {"patience": 1}, "trainer": {"min_epochs": 5}},
    {"series": UP_AND_DOWN, "args": {"patience": 2, "check_on_train_epoch_end": False}},
    {
        "series": UP_AND_DOWN,
        "args": {"patience": 2, "check_on_train_epoch_end": True},
        "trainer": {"val_check_interval": 0.5, "max_epochs": 5},
    },
]
_draw = random.Random(0)
for _ in range(10):
    EARLY_STOPPING.append(
        {
            "series": [round(1 / (k + 1) + _draw.gauss(0, 0.15), 3) for k in range(12)],
            "args": {
                "patience": _draw.choice([1, 2, 3, 4]),
                "min_delta": _draw.choice([0.0, 0.01, 0.05]),
                "mode": _draw.choice(["min", "min", "max"]),
            },
        }
    )

WITH_NAN = [NAN, 0.9, NAN, 0.5, 0.7]
MODEL_CHECKPOINT: list[dict[str, Any]] = [
    {"args": {}},
    {"args": {}, "trainer": {"limit_val_batches": 0}},
    {"args": {"save_top_k": -1}},
    {"args": {"save_top_k": 0}},
    {"args": {"monitor": "metric"}},
    {"args": {"monitor": "metric", "save_top_k": 2}},
    {"args": {"monitor": "metric", "save_top_k": 3, "mode": "max"}},
    {"args": {"monitor": "metric", "save_top_k": -1}},
    {"args": {"monitor": "metric", "save_top_k": 20}},
    {"args": {"monitor": "metric", "save_top_k": 2}, "series": WITH_NAN},
    {"args": {"monitor": "metric", "save_top_k": 2, "mode": "max"}, "series": WITH_NAN},
    {"args": {"monitor": "metric"}, "series": [INF, NAN, INF, 1.0, -INF, NAN]},
    {"args": {"monitor": "metric"}, "series": [0.5, 0.5, 0.5]},
    {"args": {"every_n_epochs": 2, "save_top_k": -1}},
    {"args": {"every_n_epochs": 0, "save_top_k": -1}},
    {"args": {"every_n_epochs": 3, "monitor": "metric", "save_top_k": 2}},
    {"args": {"every_n_train_steps": 3, "save_top_k": -1}},
    {"args": {"every_n_train_steps": 3}},
    {
        "args": {"every_n_train_steps": 1, "save_top_k": -1},
        "trainer": {"accumulate_grad_batches": 2, "max_epochs": 3},
    },
    {"args": {"filename": "{epoch:02d}-{metric:.2f}", "monitor": "metric", "save_top_k": 2}},
    {"args": {"filename": "e{epoch}_m{metric:.3f}", "auto_insert_metric_name": False, "save_top_k": -1}},
    {"args": {"filename": "fixed", "monitor": "metric", "save_top_k": 3}},
    {"args": {"filename": "fixed", "save_top_k": -1, "enable_version_counter": False}},
    {"args": {"filename": "{epoch}-{absent:.1f}"}},
    {
        "args": {"save_top_k": -1},
        "there": ["epoch=0-step=2.ckpt", "epoch=2-step=6.ckpt", "epoch=2-step=6-v1.ckpt"],
    },
    {"args": {"monitor": "metric"}, "there": ["epoch=1-step=4.ckpt", "notes.txt"]},
    {"args": {"save_on_train_epoch_end": True, "monitor": "metric", "save_top_k": -1}},
    {"args": {"save_on_train_epoch_end": False, "monitor": "metric", "save_top_k": -1}},
    {"args": {"monitor": "metric", "save_top_k": 2}, "trainer": {"val_check_interval": 0.5, "max_epochs": 5}},
    {"args": {"monitor": "metric", "save_top_k": 2}, "trainer": {"check_val_every_n_epoch": 2}},
    {"args": {"save_top_k": -1}, "trainer": {"check_val_every_n_epoch": 3}},
    {"args": {"monitor": "metric", "save_top_k": -1, "save_last": True}},
    {"args": {"save_last": True}, "trainer": {"max_epochs": 3}},
    {"args": {"save_last": "link"}, "trainer": {"max_epochs": 3}},
    {
        "args": {"save_last": True, "every_n_train_steps": 2},
        "there": ["last.ckpt"],
        "trainer": {"max_epochs": 3},
    },
    {"args": {"save_top_k": -1}, "trainer": {"max_steps": 5}},
    {"args": {"save_top_k": -1, "save_weights_only": True}, "trainer": {"max_epochs": 2}},
]


def module_of(pl: ModuleType, series: list[float], on_train: bool) -> Any:
    """Return a module that logs ``series`` as ``metric``: one value a validation, or one a training epoch."""

    class Scripted(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.validations = 0

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            if on_train:
                self.log("metric", torch.tensor(series[self.current_epoch]), on_step=False, on_epoch=True)
            loss: torch.Tensor = self.layer(batch).sum()
            return loss

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            pass

        def on_validation_epoch_end(self) -> None:
            if not on_train and not self.trainer.sanity_checking:
                self.log("metric", torch.tensor(series[self.validations]))
                self.validations += 1

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    return Scripted()


def run(pl: ModuleType, callback: Any, case: dict[str, Any], folder: Path) -> tuple[Any, list[list[Any]]]:
    """Train a case's module with a callback; return the trainer and what was saved: [step, file name]."""
    series = case.get("series", UP_AND_DOWN)
    options: dict[str, Any] = {"max_epochs": len(series), **case.get("trainer", {})}
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        default_root_dir=str(folder),
        enable_model_summary=False,
        enable_progress_bar=False,
        enable_checkpointing=any("Checkpoint" in cls.__name__ for cls in type(callback).__mro__),
        logger=False,
        **options,
    )
    saved: list[list[Any]] = []
    write = trainer.save_checkpoint

    def note(path: Any, *args: Any, **kwargs: Any) -> None:
        saved.append([trainer.global_step, Path(path).name])
        write(path, *args, **kwargs)

    trainer.save_checkpoint = note
    loader = torch.utils.data.DataLoader(torch.zeros(2, 1), batch_size=1)
    trainer.fit(module_of(pl, series, case.get("on_train", False)), loader, loader)
    return trainer, saved


def early_stopping(pl: ModuleType, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what ``EarlyStopping`` decided: after each look [global step, wait count, best score, stop]."""
    looks: list[list[Any]] = []

    class Traced(pl.callbacks.EarlyStopping):  # type: ignore[misc,name-defined]
        def _note(self, before: tuple[Any, ...], trainer: Any) -> None:
            if (self.wait_count, repr(float(self.best_score)), trainer.should_stop) != before:
                looks.append(
                    [
                        trainer.global_step,
                        self.wait_count,
                        repr(float(self.best_score)),
                        bool(trainer.should_stop),
                    ]
                )

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            before = self.wait_count, repr(float(self.best_score)), trainer.should_stop
            super().on_train_epoch_end(trainer, pl_module)
            self._note(before, trainer)

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            before = self.wait_count, repr(float(self.best_score)), trainer.should_stop
            super().on_validation_end(trainer, pl_module)
            self._note(before, trainer)

    callback = Traced("metric", **case["args"])
    trainer, _ = run(pl, callback, case, folder)
    return {
        "looks": looks,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "stopped_epoch": callback.stopped_epoch,
        "reason": callback.stopping_reason.name,
        "has_message": callback.stopping_reason_message is not None,
    }


def model_checkpoint(pl: ModuleType, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return which files ``ModelCheckpoint`` wrote, which are there at the end, and its attributes."""
    folder = folder.resolve()
    for name in case.get("there", ()):
        (folder / name).write_text("of somebody else")
    callback = pl.callbacks.ModelCheckpoint(dirpath=str(folder), **case["args"])
    _, saved = run(pl, callback, case, folder)

    def number(value: Any) -> str | None:
        return None if value is None else repr(float(value))

    def name(path: str) -> str:
        return Path(path).name

    return {
        "saved": saved,
        "files": sorted(path.name for path in folder.iterdir()),
        "best_model_path": name(callback.best_model_path),
        "best_model_score": number(callback.best_model_score),
        "best_k_models": {name(path): number(score) for path, score in sorted(callback.best_k_models.items())},
        "kth_best_model_path": name(callback.kth_best_model_path),
        "kth_value": number(callback.kth_value),
        "current_score": number(callback.current_score),
        "last_model_path": name(callback.last_model_path),
    }


def record(library: str) -> dict[str, Any]:
    """Run all scenarios with an installed library."""
    pl = importlib.import_module(library)
    outcome: dict[str, Any] = {"library": f"{library} {importlib.import_module('lightning').__version__}"}
    for name, cases, play in (
        ("early_stopping", EARLY_STOPPING, early_stopping),
        ("model_checkpoint", MODEL_CHECKPOINT, model_checkpoint),
    ):
        outcome[name] = []
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                outcome[name].append(play(pl, case, Path(folder)))
    return outcome


if __name__ == "__main__":
    lines = json.dumps(record("lightning.pytorch"), indent=None).replace('{"looks"', '\n{"looks"')
    Path(__file__).with_name("lightning.json").write_text(lines.replace('{"saved"', '\n{"saved"') + "\n")
