"""Small trainings, one for each corner of a Trainer's argument, for any library that speaks the API.

``python trainer_scenarios.py`` in an environment with lightning 2.6 writes ``trainer_scenarios.json``: what each
did. ``test_trainer_arguments.py`` runs the same with Fulmen and compares.

The program is the same throughout: 6 batches to train on, 3 to validate, test and predict on, a loss that is known. Its
trace has a letter for each thing that happens: ``S`` a batch of the sanity check, ``T`` of training, ``V`` of
validation, ``E`` of testing, ``P`` of prediction, ``|`` the end of an epoch.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import tempfile
import warnings
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

Case = dict[str, Any]

FIT: list[Case] = [
    # how long
    *({"max_epochs": value} for value in (0, 1, 3)),
    {"max_epochs": -1, "max_steps": 8},
    {"max_epochs": 2, "max_steps": 100},
    {"max_epochs": 2, "max_steps": 8},
    *({"max_steps": value} for value in (0, 1, 6, 7, 12)),
    {"max_steps": 3, "accumulate_grad_batches": 4},
    {"max_steps": -1, "max_epochs": 1},
    {"max_time": {"milliseconds": 0}, "max_epochs": 2},
    {"max_time": "00:00:01:00", "max_epochs": 2},
    {"max_time": timedelta(hours=1), "max_epochs": 1},
    {"max_time": {"hours": 1}, "max_steps": 2},
    {"min_epochs": 2, "max_epochs": 4, "stop": "T1"},
    {"min_epochs": 2, "max_epochs": 4, "stop": "|1"},
    {"min_steps": 8, "max_epochs": 4, "stop": "T1"},
    {"min_steps": 6, "max_epochs": 4, "stop": "T1"},
    {"min_epochs": 1, "min_steps": 8, "max_epochs": 4, "stop": "T1"},
    {"max_epochs": 4, "stop": "T1"},
    {"max_epochs": 4, "stop": "T6"},
    {"max_epochs": 4, "stop": "T8"},
    {"max_epochs": 4, "stop": "V2"},
    {"max_epochs": 4, "stop": "V2", "val_check_interval": 2},
    {"max_epochs": 4, "stop": "|2"},
    {"max_epochs": 4, "stop": "on_train_start"},
    {"max_epochs": 4, "stop": "on_train_epoch_start"},
    {"max_epochs": 4, "stop": "T1", "accumulate_grad_batches": 4},
    {"max_epochs": 4, "stop": "T2", "limit_val_batches": 0},
    # limits
    *({"limit_train_batches": value} for value in (0, 0.0, 1, 1.0, 2, 0.5, 0.34, 100, 0.1, 2.0, 1.5, -1, "half")),
    *({"limit_val_batches": value} for value in (0, 0.0, 1, 1.0, 2, 0.5, 100, 0.1, 2.0, 1.5, -1)),
    {"limit_train_batches": 2, "limit_val_batches": 1, "max_epochs": 3},
    {"limit_train_batches": 4, "train": "endless"},
    {"limit_train_batches": 0.5, "train": "endless"},
    {"limit_val_batches": 2, "val": "endless"},
    {"limit_val_batches": 0.5, "val": "endless"},
    {"limit_train_batches": 4, "train": "unsized"},
    {"train": "unsized"},
    {"train": "unsized", "accumulate_grad_batches": 4},
    {"train": "unsized", "val_check_interval": 2},
    {"train": "unsized", "val_check_interval": 0.5},
    {"train": "unsized", "val_check_interval": 1.0, "check_val_every_n_epoch": 2},
    *({"overfit_batches": value} for value in (0, 1, 2, 0.5, 1.0, 100, 0.1, -1)),
    {"overfit_batches": 2, "limit_train_batches": 4, "limit_val_batches": 3},
    {"overfit_batches": 2, "fast_dev_run": 1},
    # validation
    *({"val_check_interval": value} for value in (1, 1.0, 0.5, 0.25, 0.3, 0.9, 2, 4, 6, 7, 0, 0.0, -1, 1.5, 2.0)),
    *({"val_check_interval": value, "accumulate_grad_batches": 4} for value in (1, 3, 0.5)),
    *({"val_check_interval": value, "check_val_every_n_epoch": None} for value in (4, 7, 13, 6, 1, 1.0, 0.5)),
    {"val_check_interval": 4, "check_val_every_n_epoch": None, "accumulate_grad_batches": 4},
    {"val_check_interval": 4, "check_val_every_n_epoch": None, "limit_train_batches": 3, "max_epochs": 4},
    {"val_check_interval": 2, "check_val_every_n_epoch": 2},
    {"val_check_interval": 7, "limit_val_batches": 0},
    {"val_check_interval": {"hours": 1}},
    {"val_check_interval": "00:01:00:00"},
    {"val_check_interval": timedelta(0)},
    {"val_check_interval": timedelta(0), "accumulate_grad_batches": 4},
    {"val_check_interval": timedelta(0), "check_val_every_n_epoch": 2},
    {"val_check_interval": timedelta(0), "check_val_every_n_epoch": None},
    {"val_check_interval": "often"},
    *({"check_val_every_n_epoch": value, "max_epochs": 4} for value in (1, 2, 3, 5, 0, -1, 1.5)),
    *({"num_sanity_val_steps": value} for value in (0, 1, 2, -1, 100)),
    {"num_sanity_val_steps": 2, "limit_val_batches": 1},
    {"num_sanity_val_steps": 2, "limit_val_batches": 0},
    {"num_sanity_val_steps": 2, "val": "two"},
    {"num_sanity_val_steps": -1, "val": "two", "limit_val_batches": 2},
    {"num_sanity_val_steps": 2, "val": "none"},
    {"num_sanity_val_steps": 2, "max_epochs": 0},
    {"num_sanity_val_steps": 2, "max_steps": 0},
    {"val": "two", "val_check_interval": 0.5},
    # trying out
    *({"fast_dev_run": value} for value in (True, False, 0, 1, 3, 100, -1)),
    {"fast_dev_run": 2, "max_epochs": 5, "max_steps": 50, "val_check_interval": 0.5, "num_sanity_val_steps": 2},
    {"fast_dev_run": 2, "accumulate_grad_batches": 4},
    {"fast_dev_run": 2, "check_val_every_n_epoch": 3},
    {"fast_dev_run": 2, "limit_train_batches": 1},
    {"fast_dev_run": 3, "val": "endless", "train": "endless"},
    # steps
    *({"accumulate_grad_batches": value, "max_epochs": 2} for value in (1, 2, 4, 6, 10, 0, -1, 1.5)),
    *({"log_every_n_steps": value, "logger": True} for value in (1, 2, 4, 50, 0)),
    {"log_every_n_steps": 2, "logger": True, "accumulate_grad_batches": 2},
    {"log_every_n_steps": 5, "logger": True, "max_epochs": 3},
    {"log_every_n_steps": 2, "logger": True, "val_check_interval": 3},
    {"log_every_n_steps": 2, "logger": True, "stop": "T3"},
    {"log_every_n_steps": 1, "logger": True, "max_steps": 3},
    {"log_every_n_steps": 2, "logger": True, "fast_dev_run": 2},
    # loaders
    *({"reload_dataloaders_every_n_epochs": value, "max_epochs": 4} for value in (0, 1, 2, 3, -1)),
    {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 4, "check_val_every_n_epoch": 2},
    {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 2, "num_sanity_val_steps": 2},
    {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 2, "val_check_interval": 0.5},
    {"reload_dataloaders_every_n_epochs": 2, "max_epochs": 5, "check_val_every_n_epoch": 2},
    {"reload_dataloaders_every_n_epochs": 1.5, "max_epochs": 1},
    # switches
    *({"inference_mode": value} for value in (True, False)),
    *({"detect_anomaly": value} for value in (True, False)),
    *({"deterministic": value} for value in (True, False, "warn", None, "yes")),
    *({"benchmark": value} for value in (True, False, None)),
    {"deterministic": True, "benchmark": None},
    # clipping
    *({"gradient_clip_val": value} for value in (0, 0.1, 1, "a", None)),
    *({"gradient_clip_val": 0.1, "gradient_clip_algorithm": value} for value in ("norm", "value", "NORM", "max", None)),
    # a bare run
    {"barebones": True},
    *(
        {"barebones": True, name: value}
        for name, value in (
            ("enable_checkpointing", True),
            ("logger", True),
            ("enable_progress_bar", True),
            ("enable_model_summary", True),
            ("num_sanity_val_steps", 2),
            ("log_every_n_steps", 10),
            ("fast_dev_run", True),
            ("detect_anomaly", True),
            ("profiler", "simple"),
            ("num_sanity_val_steps", 0),
            ("log_every_n_steps", 0),
        )
    ),
    # the device
    *({"devices": value} for value in (1, "1", "auto", [0], 0, "x", -1)),
    *({"accelerator": value} for value in ("auto", "cpu", "gpu", "tpu", "nonsense")),
    *({"strategy": value} for value in ("auto", "single_device", "nonsense")),
    *({"precision": value} for value in (32, "32", "32-true", "64", "bf16-mixed", "bf16", "64-true", "nonsense", 8)),
    *({"num_nodes": value} for value in (1, 0)),
    {"logger": [], "log_every_n_steps": 1},
    {"callbacks": []},
    {"enable_checkpointing": False},
    {"nonsense": 3},
]

#: What the environment says, and the attribute that shows it.
ENVIRONMENT: list[tuple[str, str, str]] = [
    ("MAX_EPOCHS", "3", "max_epochs"),
    ("MAX_STEPS", "7", "max_steps"),
    ("MIN_EPOCHS", "2", "min_epochs"),
    ("MIN_STEPS", "2", "min_steps"),
    ("LIMIT_TRAIN_BATCHES", "0.5", "limit_train_batches"),
    ("LIMIT_VAL_BATCHES", "2", "limit_val_batches"),
    ("LIMIT_TEST_BATCHES", "1.0", "limit_test_batches"),
    ("LIMIT_PREDICT_BATCHES", "3", "limit_predict_batches"),
    ("OVERFIT_BATCHES", "2", "overfit_batches"),
    ("VAL_CHECK_INTERVAL", "0.25", "val_check_interval"),
    ("CHECK_VAL_EVERY_N_EPOCH", "2", "check_val_every_n_epoch"),
    ("NUM_SANITY_VAL_STEPS", "0", "num_sanity_val_steps"),
    ("LOG_EVERY_N_STEPS", "5", "log_every_n_steps"),
    ("ACCUMULATE_GRAD_BATCHES", "4", "accumulate_grad_batches"),
    ("GRADIENT_CLIP_VAL", "0.5", "gradient_clip_val"),
    ("FAST_DEV_RUN", "True", "fast_dev_run"),
    ("FAST_DEV_RUN", "3", "fast_dev_run"),
    ("BAREBONES", "True", "barebones"),
    ("PRECISION", "bf16-mixed", "precision"),
    ("PRECISION", "64", "precision"),
    ("RELOAD_DATALOADERS_EVERY_N_EPOCHS", "2", "reload_dataloaders_every_n_epochs"),
    ("DEVICES", "1", "num_devices"),
    ("ACCELERATOR", "cpu", "num_devices"),
    ("MAX_EPOCHS", "", "max_epochs"),
]

#: Entry points one after the other, each `(method, which module, options of the call)`.
SEQUENCES: dict[str, list[Any]] = {
    "fit twice": [("fit", 0), ("fit", 0)],
    "fit twice with a higher limit": [("fit", 0), ("raise", 4), ("fit", 0)],
    "fit twice with a higher limit of steps": [("fit", 0), ("raise_steps", 20), ("fit", 0)],
    "fit after test": [("test", 0), ("fit", 0)],
    "fit after validate": [("validate", 0), ("fit", 0)],
    "fit after predict": [("predict", 0), ("fit", 0)],
    "another module": [("fit", 0), ("fit", 1)],
    "another module and back": [("fit", 0), ("fit", 1), ("fit", 0)],
    "all entry points": [("fit", 0), ("validate", 0), ("test", 0), ("predict", 0)],
    "all entry points without a module": [("fit", 0), ("validate", None), ("test", None), ("predict", None)],
    "evaluating another module": [("fit", 0), ("test", 1), ("fit", 0)],
    "validate twice": [("validate", 0), ("validate", 0)],
    "validate between fits": [("fit", 0), ("validate", 0), ("raise", 4), ("fit", 0)],
    "test without a module before fit": [("test", None)],
}

#: What `estimated_stepping_batches` is, inside `configure_optimizers`.
ESTIMATES: list[Case] = [
    {"max_epochs": 3},
    {"max_epochs": 3, "accumulate_grad_batches": 4},
    {"max_epochs": 3, "limit_train_batches": 0.5},
    {"max_epochs": 3, "limit_train_batches": 4, "accumulate_grad_batches": 3},
    {"max_epochs": -1, "max_steps": 7},
    {"max_epochs": 3, "max_steps": 7},
    {"max_epochs": 3, "max_steps": 100},
    {"max_epochs": -1, "max_time": "00:00:00:00"},
    {"max_epochs": 3, "train": "unsized"},
    {"max_steps": 3, "max_epochs": -1, "train": "unsized"},
    {"max_epochs": 3, "overfit_batches": 2},
    {"fast_dev_run": 2},
    {"max_epochs": 0},
]

LETTERS = {"sanity": "S", "train": "T", "validation": "V", "test": "E", "predict": "P"}


class Unsized(IterableDataset[Any]):
    """Batches without a length; endlessly many for `None`."""

    def __init__(self, batches: int | None) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        count = 0
        while self.batches is None or count < 2 * self.batches:
            yield torch.full((4,), count / 10)
            count += 1


def loader(batches: int) -> DataLoader[Any]:
    return DataLoader(torch.arange(batches * 8.0).reshape(batches * 2, 4) / 100, batch_size=2)


def loaders_of(kind: str | None, batches: int) -> Any:
    if kind == "endless":
        return DataLoader(Unsized(None), batch_size=2)
    if kind == "unsized":
        return DataLoader(Unsized(batches), batch_size=2)
    if kind == "two":
        return [loader(batches), loader(2)]
    return None if kind == "none" else loader(batches)


def make_module(pl: ModuleType, case: Case) -> Any:
    class Module(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.layer = nn.Linear(4, 1)
            self.trace: list[str] = []
            self.counts: dict[str, int] = {}
            self.asked: list[str] = []
            self.flags: dict[str, Any] = {}
            self.estimate: Any = None

        def note(self, letter: str) -> None:
            self.trace.append(letter)
            self.counts[letter] = self.counts.get(letter, 0) + 1
            if case.get("stop") == f"{letter}{self.counts[letter]}":
                self.trainer.should_stop = True

        def on_train_start(self) -> None:
            if case.get("stop") == "on_train_start":
                self.trainer.should_stop = True

        def on_train_epoch_start(self) -> None:
            if case.get("stop") == "on_train_epoch_start":
                self.trainer.should_stop = True

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.note("T")
            loss = self.layer(batch).sum()
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.flags["anomaly"] = torch.is_anomaly_enabled()
            self.flags["deterministic"] = torch.are_deterministic_algorithms_enabled()
            self.flags["warn_only"] = torch.is_deterministic_algorithms_warn_only_enabled()
            self.flags["benchmark"] = torch.backends.cudnn.benchmark
            return loss

        def on_train_epoch_end(self) -> None:
            self.note("|")

        def evaluate(self, batch: Any, name: str) -> None:
            self.note(LETTERS["sanity" if self.trainer.sanity_checking else name])
            self.flags["inference"] = torch.is_inference_mode_enabled()
            self.log(f"{name}_loss", self.layer(batch).sum())

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.evaluate(batch, "validation")

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.evaluate(batch, "test")

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            self.note("P")
            return self.layer(batch)

        def configure_optimizers(self) -> Any:
            if case.get("estimates"):
                self.estimate = self.trainer.estimated_stepping_batches
            return torch.optim.SGD(self.parameters(), lr=0.01)

        def train_dataloader(self) -> Any:
            self.asked.append("train")
            return loaders_of(case.get("train"), 6)

        def val_dataloader(self) -> Any:
            self.asked.append("val")
            return loaders_of(case.get("val"), 3)

        def test_dataloader(self) -> Any:
            return loader(3)

        def predict_dataloader(self) -> Any:
            return loader(3)

    if case.get("val") == "none":
        del Module.val_dataloader
    return Module()


def make_logger(pl: ModuleType) -> Any:
    class Keeps(pl.loggers.Logger):  # type: ignore[name-defined, misc]
        name, version, experiment = "kept", 0, None

        def __init__(self) -> None:
            super().__init__()
            self.points: list[tuple[int, list[str]]] = []

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            self.points.append((int(step or 0), sorted(metrics)))

        def log_hyperparams(self, *_: Any, **__: Any) -> None:
            pass

    return Keeps()


def make_trainer(pl: ModuleType, case: Case, folder: Path) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    if case.get("barebones"):
        quiet = {}
    options = {name: value for name, value in case.items() if name not in ("stop", "train", "val", "estimates")}
    if options.get("logger") is True and not case.get("barebones"):
        options["logger"] = make_logger(pl)
    if not case.get("barebones") and "enable_checkpointing" not in case:
        options["enable_checkpointing"] = False
    return pl.Trainer(
        **{"accelerator": "cpu", "max_epochs": 2 if "max_steps" not in case else None, **quiet, **options},
        default_root_dir=folder,
    )


def fit(pl: ModuleType, case: Case, folder: Path) -> dict[str, Any]:
    """Train as the case says; return what happened."""
    module = make_module(pl, case)
    with _quietly():
        try:
            trainer = make_trainer(pl, case, folder)
        except Exception as error:
            return {"refuses": "arguments", "message": str(error)}
        try:
            trainer.fit(module)
        except Exception as error:
            return {"refuses": "fit", "message": str(error), "trace": "".join(module.trace)}
    outcome = {
        "trace": "".join(module.trace),
        "step": trainer.global_step,
        "epoch": trainer.current_epoch,
        "should_stop": trainer.should_stop,
        "max_epochs": trainer.max_epochs,
        "metrics": {key: _rounded(value) for key, value in sorted(trainer.callback_metrics.items())},
        "batches": [_number(trainer.num_training_batches), [_number(count) for count in trainer.num_val_batches]],
        "sanity": [_number(count) for count in trainer.num_sanity_val_batches],
        "asked": "".join(word[0] for word in module.asked),
        "flags": module.flags,
        "weights": [_rounded(value) for value in module.layer.weight.detach().flatten()],
    }
    if case.get("logger") is True and not case.get("fast_dev_run"):
        outcome["points"] = [list(point) for point in trainer.logger.points]
    return outcome


def read_environment(pl: ModuleType, variable: str, text: str, attribute: str) -> Any:
    """Return an attribute of a Trainer whose argument the environment sets."""
    os.environ[f"PL_TRAINER_{variable}"] = text
    try:
        with _quietly():
            value = getattr(pl.Trainer(**({} if variable == "BAREBONES" else {"logger": False})), attribute)
        return _number(value) if isinstance(value, (bool, int, float, str, type(None))) else str(value)
    except Exception as error:
        return {"refuses": "arguments", "message": str(error)}
    finally:
        del os.environ[f"PL_TRAINER_{variable}"]


def sequence(pl: ModuleType, calls: list[Any], folder: Path) -> list[Any]:
    """Call entry points one after the other; return what each did."""
    modules = [make_module(pl, {}), make_module(pl, {})]
    trainer = make_trainer(pl, {"max_epochs": 2}, folder)
    outcomes: list[Any] = []
    for method, which in calls:
        if method == "raise":
            trainer.fit_loop.max_epochs = which
            continue
        if method == "raise_steps":
            trainer.fit_loop.max_epochs, trainer.fit_loop.epoch_loop.max_steps = -1, which
            continue
        for module in modules:
            module.trace.clear()
        with _quietly():
            try:
                returned = getattr(trainer, method)(*([] if which is None else [modules[which]]))
            except Exception as error:
                outcomes.append({"refuses": method, "message": str(error)})
                continue
        outcomes.append(
            {
                "traces": ["".join(module.trace) for module in modules],
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "returned": _plain(returned),
                "metrics": sorted(trainer.callback_metrics),
                "modes": [module.training for module in modules],
                "grad": torch.is_grad_enabled(),
                "status": str(getattr(trainer.state.status, "value", trainer.state.status)),
            }
        )
    return outcomes


def estimate(pl: ModuleType, case: Case, folder: Path) -> Any:
    """Return `estimated_stepping_batches` as `configure_optimizers` sees it, and after training."""
    module = make_module(pl, {**case, "estimates": True})
    with _quietly():
        try:
            trainer = make_trainer(pl, case, folder)
            trainer.fit(module)
        except Exception as error:
            return {"refuses": "fit", "message": str(error)}
    return [_number(module.estimate), _number(trainer.estimated_stepping_batches)]


@contextlib.contextmanager
def _quietly() -> Any:
    flags = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = flags[0]
            torch.use_deterministic_algorithms(flags[1])


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def _number(value: Any) -> Any:
    return "inf" if value == float("inf") else value


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return [_rounded(one) for one in value.flatten()]
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def name_of(case: Case) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in case.items()) or "defaults"


def all_of(pl: ModuleType, folder: Path) -> dict[str, Any]:
    return {
        "fit": {name_of(case): fit(pl, case, folder) for case in FIT},
        "environment": {f"{one[0]}={one[1]}": read_environment(pl, *one) for one in ENVIRONMENT},
        "sequences": {name: sequence(pl, calls, folder) for name, calls in SEQUENCES.items()},
        "estimates": {name_of(case): estimate(pl, case, folder) for case in ESTIMATES},
    }


if __name__ == "__main__":
    import logging
    import sys

    logging.disable(logging.INFO)
    library = importlib.import_module(sys.argv[1] if len(sys.argv) > 1 else "lightning.pytorch")
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_suffix(".json")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as temporary:
        found = all_of(library, Path(temporary))
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
