"""Trainings that a callback logs or changes, for any library that speaks the API; Lightning's outcomes are kept.

``python trainings.py`` in an environment with lightning 2.6 writes ``lightning_trainings.json``; the tests play the
same trainings with Fulmen and compare. Weights start fixed and data are fixed, so that two libraries that do the same
come to the same numbers.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

NAN, INF = float("nan"), float("inf")
Case = dict[str, Any]


def network() -> nn.Sequential:
    """Return a small network with weights that are always the same."""
    layers = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for number, parameter in enumerate(layers.parameters()):
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).sin().reshape(parameter.shape) + 0.1 * number)
    return layers


def loader(batches: int = 4) -> Any:
    """Return a loader of batches of 4 inputs ``(4, 4)`` and targets ``(4, 2)``, in order."""
    inputs = torch.linspace(0, 7, batches * 16).cos().reshape(-1, 4)
    targets = torch.linspace(0, 3, batches * 8).sin().reshape(-1, 2)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=4)


def module_of(pl: ModuleType, optimizers: Callable[[Any], Any], **attributes: Any) -> Any:
    """Return a module that trains :func:`network` with what ``optimizers(module)`` returns."""

    class Module(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.backbone = network()
            self.head = nn.Linear(2, 2)
            with torch.no_grad():
                self.head.weight.copy_(torch.eye(2) * 0.5)
                self.head.bias.zero_()
            for name, value in attributes.items():
                setattr(self, name, value)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.head(self.backbone(inputs))
            return outputs

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = nn.functional.mse_loss(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", nn.functional.mse_loss(self(batch[0]), batch[1]))

        def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
            outputs: Tensor = self(batch[0])
            return outputs

        def configure_optimizers(self) -> Any:
            return optimizers(self)

    return Module()


def sgd(module: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1)


def logger_of(pl: ModuleType) -> Any:
    """Return a logger of the library that keeps what it is given in ``rows``: [step, values]."""

    class Rows(pl.loggers.Logger):  # type: ignore[misc,name-defined]
        interface = (1, 0)

        def __init__(self) -> None:
            super().__init__()
            self.rows: list[Any] = []

        name = version = property(lambda self: None)

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            self.rows.append([step, {key: float(value) for key, value in metrics.items()}])

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            pass

    return Rows()


def trainer_of(pl: ModuleType, folder: Path, callbacks: list[Any], **options: Any) -> Any:
    return pl.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        default_root_dir=str(folder),
        **{
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": False,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 0,
            "max_epochs": 3,
            **options,
        },
    )


def floats(state: Any) -> dict[str, list[float]]:
    """Return sum and sum of squares of each tensor that holds floating-point numbers."""
    return {
        name: [float(value.double().sum()), float((value.double() ** 2).sum())]
        for name, value in sorted(state.items())
        if value.is_floating_point()
    }


def rows_with(logger: Any, word: str) -> list[list[Any]]:
    """Return the logged values whose keys contain a word, each step's put together, in the order of steps."""
    found: dict[int, dict[str, float]] = {}
    for step, values in logger.rows:
        wanted = {key: round(value, 12) for key, value in values.items() if word in key}
        if wanted:
            found.setdefault(step, {}).update(wanted)
    return [[step, dict(sorted(found[step].items()))] for step in sorted(found)]


# -------------------------------------------------------------------------------------- LearningRateMonitor


def _adam_with_exponential(module: Any) -> Any:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1, weight_decay=0.01)
    return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


def _sgd_with_steps(module: Any) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=40)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _groups(module: Any) -> Any:
    groups = [{"params": module.backbone.parameters(), "lr": 0.01}, {"params": module.head.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]


def _named_groups(module: Any) -> Any:
    return torch.optim.AdamW(
        [
            {"params": module.backbone.parameters(), "lr": 0.01, "name": "body"},
            {"params": module.head.parameters(), "weight_decay": 0.0, "name": "head"},
        ],
        lr=0.1,
    )


def _named_scheduler(module: Any) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
    return [optimizer], [{"scheduler": scheduler, "name": "my-rate"}]


def _named_single_group(module: Any) -> Any:
    return torch.optim.SGD([{"params": module.parameters(), "name": "all"}], lr=0.1)


LEARNING_RATE_MONITOR: list[Case] = [
    {"optimizers": sgd, "args": {}},
    {"optimizers": _adam_with_exponential, "args": {}},
    {"optimizers": _adam_with_exponential, "args": {"logging_interval": "step"}},
    {"optimizers": _adam_with_exponential, "args": {"log_momentum": True, "log_weight_decay": True}},
    {"optimizers": _sgd_with_steps, "args": {}},
    {"optimizers": _sgd_with_steps, "args": {"logging_interval": "epoch"}},
    {"optimizers": _sgd_with_steps, "args": {"log_momentum": True}, "trainer": {"log_every_n_steps": 1}},
    {"optimizers": _sgd_with_steps, "args": {}, "trainer": {"log_every_n_steps": 3, "max_epochs": 4}},
    {"optimizers": _sgd_with_steps, "args": {}, "trainer": {"accumulate_grad_batches": 2, "log_every_n_steps": 2}},
    {"optimizers": _groups, "args": {}},
    {"optimizers": _groups, "args": {"logging_interval": "step"}},
    {"optimizers": _named_groups, "args": {"log_weight_decay": True}},
    {"optimizers": _named_scheduler, "args": {}},
    {"optimizers": _named_single_group, "args": {}},
]


def learning_rate_monitor(pl: ModuleType, case: Case, folder: Path) -> Any:
    callback = pl.callbacks.LearningRateMonitor(**case["args"])
    logger = logger_of(pl)
    options = {"log_every_n_steps": 2, **case.get("trainer", {})}
    trainer = trainer_of(pl, folder, [callback], logger=logger, **options)
    trainer.fit(module_of(pl, case["optimizers"]), loader())
    return {
        "rows": rows_with(logger, "lr-") or rows_with(logger, "my-rate"),
        "lrs": {key: len(set(values)) for key, values in sorted(callback.lrs.items())},
        "momentum": dict(sorted(callback.last_momentum_values.items())),
        "weight_decay": dict(sorted(callback.last_weight_decay_values.items())),
    }


# ---------------------------------------------------------------------------- GradientAccumulationScheduler

GRADIENT_ACCUMULATION_SCHEDULER: list[Case] = [
    {"scheduling": {0: 2}},
    {"scheduling": {1: 2}},
    {"scheduling": {0: 3, 2: 1}},
    {"scheduling": {1: 2, 3: 8}, "trainer": {"max_epochs": 5}},
    {"scheduling": {2: 4}, "trainer": {"max_epochs": 4, "limit_train_batches": 3}},
]


def gradient_accumulation_scheduler(pl: ModuleType, case: Case, folder: Path) -> Any:
    steps: list[list[int]] = []

    class Steps(pl.callbacks.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            steps.append([trainer.current_epoch, batch_idx, trainer.global_step])

    callback = pl.callbacks.GradientAccumulationScheduler(dict(case["scheduling"]))
    module = module_of(pl, sgd)
    trainer_of(pl, folder, [callback, Steps()], **case.get("trainer", {})).fit(module, loader())
    return {"steps": steps, "weights": floats(module.state_dict())}


# ----------------------------------------------------------------------------------------- BackboneFinetuning


def _trained_only(module: Any) -> Any:
    return torch.optim.SGD(filter(lambda p: p.requires_grad, module.parameters()), lr=0.1, momentum=0.9)


def _trained_only_with_steps(module: Any) -> Any:
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, module.parameters()), lr=0.05)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)]


BACKBONE_FINETUNING: list[Case] = [
    {"args": {"unfreeze_backbone_at_epoch": 2}},
    {"args": {"unfreeze_backbone_at_epoch": 1, "backbone_initial_lr": 0.03, "lambda_func": lambda epoch: 1.5}},
    {"args": {"unfreeze_backbone_at_epoch": 1, "backbone_initial_ratio_lr": 0.5}},
    {"args": {"unfreeze_backbone_at_epoch": 1, "should_align": False, "backbone_initial_ratio_lr": 0.5}},
    {"args": {"unfreeze_backbone_at_epoch": 0}},
    {"args": {"unfreeze_backbone_at_epoch": 9}},
    {"args": {"unfreeze_backbone_at_epoch": 2, "train_bn": False}},
    {"args": {"unfreeze_backbone_at_epoch": 2}, "optimizers": _trained_only_with_steps},
    {"args": {"unfreeze_backbone_at_epoch": 1, "lambda_func": lambda epoch: 1 + 1 / epoch}},
]


def backbone_finetuning(pl: ModuleType, case: Case, folder: Path) -> Any:
    rates: list[Any] = []

    class Looking(pl.callbacks.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                rates.append([[group["lr"], len(group["params"])] for group in trainer.optimizers[0].param_groups])

    callback = pl.callbacks.BackboneFinetuning(**case["args"])
    module = module_of(pl, case.get("optimizers", _trained_only))
    trainer_of(pl, folder, [callback, Looking()], max_epochs=5).fit(module, loader())
    return {"rates": rates, "weights": floats(module.state_dict()), "last": callback.previous_backbone_lr}


# --------------------------------------------------------------------------------------- BasePredictionWriter


def _in_order(reversed_order: list[int]) -> Any:
    data = torch.utils.data.TensorDataset(torch.arange(20.0).reshape(5, 4), torch.zeros(5, 2))
    return torch.utils.data.DataLoader(data, batch_size=2, sampler=reversed_order)


BASE_PREDICTION_WRITER: list[Case] = [
    {"interval": "batch", "loaders": [loader]},
    {"interval": "epoch", "loaders": [loader]},
    {"interval": "batch_and_epoch", "loaders": [lambda: _in_order([4, 2, 0, 3, 1])]},
    {"interval": "batch_and_epoch", "loaders": [lambda: _in_order([4, 2, 0, 3, 1]), lambda: loader(1)]},
    {"interval": "epoch", "loaders": [loader], "trainer": {"limit_predict_batches": 2}},
]


def base_prediction_writer(pl: ModuleType, case: Case, folder: Path) -> Any:
    seen: list[Any] = []

    def shown(prediction: Any) -> Any:
        if isinstance(prediction, (list, tuple)):
            return [shown(one) for one in prediction]
        return [float(prediction.sum()), len(prediction)]

    class Writer(pl.callbacks.BasePredictionWriter):  # type: ignore[misc,name-defined]
        def write_on_batch_end(  # type: ignore[override]
            self, trainer: Any, module: Any, prediction: Any, indices: Any, batch: Any, batch_idx: int, loader: int
        ) -> None:
            seen.append([shown(prediction), list(indices), len(batch), batch_idx, loader])

        def write_on_epoch_end(  # type: ignore[override]
            self, trainer: Any, module: Any, predictions: Any, indices: Any
        ) -> None:
            seen.append([shown(predictions), [[list(one) for one in each] for each in indices]])

    loaders = [make() for make in case["loaders"]]
    trainer = trainer_of(pl, folder, [Writer(case["interval"])], **case.get("trainer", {}))
    module = module_of(pl, sgd)
    module.predict_step = lambda batch, batch_idx, dataloader_idx=0: module(batch[0])
    returned = trainer.predict(module, loaders[0] if len(loaders) == 1 else loaders, return_predictions=False)
    return {"seen": seen, "returned": returned}


# --------------------------------------------------------------------------------------------- ModelPruning

MODEL_PRUNING: list[Case] = [
    # The lottery once only: Lightning's copy of the first weights is trained on after it was used.
    {
        "args": {
            "pruning_fn": "l1_unstructured",
            "amount": 0.3,
            "use_lottery_ticket_hypothesis": lambda epoch: epoch == 2,
        }
    },
    {"args": {"pruning_fn": "l1_unstructured", "amount": 0.3, "use_lottery_ticket_hypothesis": False}},
    {
        "args": {
            "pruning_fn": "l1_unstructured",
            "amount": 0.4,
            "use_global_unstructured": False,
            "parameter_names": ["weight"],
            "use_lottery_ticket_hypothesis": False,
        }
    },
    {
        "args": {
            "pruning_fn": "ln_structured",
            "amount": 1,
            "use_global_unstructured": False,
            "pruning_dim": 0,
            "pruning_norm": 1,
            "parameter_names": ["weight"],
            "use_lottery_ticket_hypothesis": False,
            "apply_pruning": lambda epoch: epoch == 1,
        },
        "only": True,
    },
    {
        "args": {
            "pruning_fn": "l1_unstructured",
            "amount": lambda epoch: 0.1 * (epoch + 1),
            "use_lottery_ticket_hypothesis": lambda epoch: epoch == 0,
        }
    },
]


def model_pruning(pl: ModuleType, case: Case, folder: Path) -> Any:
    module = module_of(pl, sgd)
    arguments = dict(case["args"])
    if case.get("only"):  # structured pruning needs two dimensions
        arguments["parameters_to_prune"] = [(module.backbone[0], "weight"), (module.head, "weight")]
    callback = pl.callbacks.ModelPruning(**arguments)
    trainer = trainer_of(pl, folder, [callback], max_epochs=3)
    trainer.fit(module, loader())
    zeros = {name: int((value == 0).sum()) for name, value in module.named_parameters()}
    return {"weights": floats(module.state_dict()), "zeros": dict(sorted(zeros.items()))}


# ------------------------------------------------------------------------------------------- SpikeDetection

_CALM = [1.0, 0.9, 0.95, 0.8, 0.7, 0.75, 0.6, 0.5]
SPIKE_DETECTION: list[Case] = [
    {"losses": _CALM, "args": {}},
    {"losses": [*_CALM[:5], 5.0, 0.5], "args": {}},
    {"losses": [*_CALM[:5], 2.4, 0.5], "args": {}},
    {"losses": [*_CALM[:5], 2.7, 0.5], "args": {}},
    {"losses": [*_CALM[:5], 2.4, 0.5], "args": {"rtol": 1.0}},
    {"losses": [*_CALM[:5], 2.4, 0.5], "args": {"rtol": None, "atol": 1.0}},
    {"losses": [*_CALM[:5], 2.4, 0.5], "args": {"rtol": 1.0, "atol": 5.0}},
    {"losses": [*_CALM[:3], NAN, 0.5], "args": {}},
    {"losses": [*_CALM[:3], NAN, 0.5, 0.4], "args": {"finite_only": False}},
    {"losses": [*_CALM[:3], INF, 0.5, 0.4], "args": {"finite_only": False}},
    {"losses": [*_CALM[:3], -INF, 0.5, 0.4], "args": {"finite_only": False}},
    {"losses": [1.0, 50.0, 1.0], "args": {}},
    {"losses": [1.0, 50.0, 1.0, 1.0, 1.0], "args": {"warmup": 3}},
    {"losses": [1.0, 1.0, 1.0, 1.0, 60.0, 1.0], "args": {"warmup": 3}},
    {"losses": [9.0, 9.0, 1.0, 1.0, 1.0, 6.0, 1.0], "args": {"window": 3}},
    {"losses": [9.0, 9.0, 1.0, 1.0, 1.0, 6.0, 1.0], "args": {"window": 10}},
    {"losses": [0.5, 0.6, 0.7, 0.1, 0.8], "args": {"mode": "max", "rtol": 0.5}},
    {"losses": [0.5, 0.6, 0.7, 5.0, 0.8], "args": {"mode": "max", "rtol": 0.5}},
]


def spike_detection(pl: ModuleType, case: Case, folder: Path) -> Any:
    losses = case["losses"]

    class Scripted(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return losses[batch_idx] + 0 * self.weight

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    detection = importlib.import_module(f"{pl.__name__.replace('fulmen', 'fulmen_callbacks')}" + _SPIKE[pl.__name__])
    callback = detection.SpikeDetection(**case["args"], exclude_batches_path=str(folder / "skip.json"))
    trainer = trainer_of(pl, folder, [callback], max_epochs=1)
    error = None
    try:
        trainer.fit(Scripted(), torch.utils.data.DataLoader(torch.zeros(len(losses), 1)))
    except RuntimeError as raised:
        error = type(raised).__name__
    file = folder / "skip.json"
    return {
        "error": error,
        "bad_batches": callback.bad_batches,
        "file": json.loads(file.read_text()) if file.exists() else None,
    }


_SPIKE = {"fulmen": ".spike_detection", "lightning.pytorch": ".callbacks.spike"}


# ---------------------------------------------------------------------------------------------------- Timer

TIMER: list[Case] = [
    {"args": {"duration": "00:00:00:07"}},
    {"args": {"duration": {"seconds": 7}, "interval": "epoch"}},
    {"args": {"duration": timedelta(seconds=4)}},
    {"args": {"duration": timedelta(seconds=1), "interval": "epoch"}},
    {"args": {"duration": timedelta(minutes=2)}},
    {"args": {}},
    {"args": {"duration": "00:00:00:03"}, "trainer": {"min_epochs": 2}},
    {"args": {"duration": "00:00:00:09"}, "trainer": {"limit_val_batches": 1.0}},
]


class Clock:
    """A clock that goes on only when it is told to; it stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    perf_counter = monotonic


def timer(pl: ModuleType, case: Case, folder: Path) -> Any:
    clock = Clock()
    callback = pl.callbacks.Timer(**case["args"])
    source = importlib.import_module(type(callback).__module__)

    class Ticking(pl.callbacks.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            clock.now_s += 1

        def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            clock.now_s += 0.25

    real, source.time = source.time, clock  # type: ignore[attr-defined]
    try:
        trainer = trainer_of(pl, folder, [Ticking(), callback], **case.get("trainer", {}))
        trainer.fit(module_of(pl, sgd), loader(), loader())
        return {
            "steps": trainer.global_step,
            "elapsed": [callback.time_elapsed(stage) for stage in ("train", "validate", "test")],
            "bounds": [callback.start_time("train"), callback.end_time("train"), callback.start_time("test")],
            "remaining": callback.time_remaining(),
            "state": callback.state_dict(),
        }
    finally:
        source.time = real  # type: ignore[attr-defined]


# -------------------------------------------------------------------------------------------- WeightAveraging

WEIGHT_AVERAGING: list[Case] = [
    {"class": "WeightAveraging", "args": {}},
    {"class": "WeightAveraging", "args": {"use_buffers": False}},
    {"class": "WeightAveraging", "args": {"avg_fn": lambda average, value, count: 0.75 * average + 0.25 * value}},
    {"class": "WeightAveraging", "args": {}, "trainer": {"accumulate_grad_batches": 3}, "after": 1},
    {"class": "EMAWeightAveraging", "args": {}},
    {"class": "EMAWeightAveraging", "args": {"decay": 0.5}},
    {"class": "EMAWeightAveraging", "args": {"decay": 0.5, "update_every_n_steps": 3, "use_buffers": False}},
    {"class": "EMAWeightAveraging", "args": {"decay": 0.9, "update_starting_at_step": 5}, "after": 5},
    {
        "class": "EMAWeightAveraging",
        "args": {"decay": 0.5, "update_every_n_steps": 0, "update_starting_at_epoch": 1},
        "after": 8,
    },
]


def weight_averaging(pl: ModuleType, case: Case, folder: Path) -> Any:
    logger = logger_of(pl)
    callback = getattr(pl.callbacks, case["class"])(**case["args"])
    module = module_of(pl, sgd)
    options = {"limit_val_batches": 1.0, "val_check_interval": 2, "logger": logger, "max_epochs": 4}
    trainer = trainer_of(pl, folder, [callback], **{**options, **case.get("trainer", {})})
    trainer.fit(module, loader(), loader(1))
    trainer.save_checkpoint(folder / "end.ckpt")
    checkpoint = torch.load(folder / "end.ckpt", weights_only=True)
    return {
        # Before there is an average, Lightning validates the weights of the start.
        "val_loss": [row for row in rows_with(logger, "val_loss") if row[0] >= case.get("after", 0)],
        "weights": floats(module.state_dict()),
        "saved": floats(checkpoint["state_dict"]),
        "n_averaged": int(checkpoint["averaging_state"]["n_averaged"]),
    }


# ---------------------------------------------------------------------------------- StochasticWeightAveraging

STOCHASTIC_WEIGHT_AVERAGING: list[Case] = [
    {"args": {"swa_lrs": 0.05}},
    {"args": {"swa_lrs": 0.05, "swa_epoch_start": 2, "annealing_epochs": 2}},
    {"args": {"swa_lrs": 0.3, "swa_epoch_start": 3, "annealing_epochs": 3, "annealing_strategy": "linear"}},
    {"args": {"swa_lrs": [0.02, 0.2], "swa_epoch_start": 0.5}, "optimizers": _groups},
    {"args": {"swa_lrs": 0.05, "swa_epoch_start": 1, "annealing_epochs": 1}, "optimizers": _adam_with_exponential},
    {
        "args": {
            "swa_lrs": 0.05,
            "swa_epoch_start": 2,
            "avg_fn": lambda average, value, count: (average * count + value) / (count + 1.0),
        }
    },
]


def stochastic_weight_averaging(pl: ModuleType, case: Case, folder: Path) -> Any:
    """The average as it is before the last epoch's weights join it, which they do not with Lightning."""
    epochs = 6
    rates: list[Any] = []
    averages: list[Any] = []
    callback = pl.callbacks.StochasticWeightAveraging(**case["args"])

    class Looking(pl.callbacks.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch >= epochs:
                return  # Lightning's own epoch for batch norms
            rates.append([round(group["lr"], 9) for group in trainer.optimizers[0].param_groups])
            if batch_idx == 0:
                state = callback.state_dict()
                names = dict(pl_module.named_parameters())
                average = state["average_model_state"] if state["n_averaged"] else {}
                kept = {name: value for name, value in (average or {}).items() if name in names}
                averages.append([state["n_averaged"], state["latest_update_epoch"], floats(kept)])

    module = module_of(pl, case.get("optimizers", sgd))
    trainer = trainer_of(pl, folder, [callback, Looking()], max_epochs=epochs)
    trainer.fit(module, loader())
    return {"rates": rates, "averages": averages}


# ---------------------------------------------------------------------------------------------- all of them

PLAYS: dict[str, tuple[Callable[[ModuleType, Case, Path], Any], list[Case]]] = {
    "backbone_finetuning": (backbone_finetuning, BACKBONE_FINETUNING),
    "learning_rate_monitor": (learning_rate_monitor, LEARNING_RATE_MONITOR),
    "base_prediction_writer": (base_prediction_writer, BASE_PREDICTION_WRITER),
    "gradient_accumulation_scheduler": (gradient_accumulation_scheduler, GRADIENT_ACCUMULATION_SCHEDULER),
    "model_pruning": (model_pruning, MODEL_PRUNING),
    "spike_detection": (spike_detection, SPIKE_DETECTION),
    "stochastic_weight_averaging": (stochastic_weight_averaging, STOCHASTIC_WEIGHT_AVERAGING),
    "timer": (timer, TIMER),
    "weight_averaging": (weight_averaging, WEIGHT_AVERAGING),
}


def record(library: str) -> dict[str, Any]:
    """Play all trainings with an installed library."""
    pl = importlib.import_module(library)
    outcome: dict[str, Any] = {"library": f"{library} {importlib.import_module('lightning').__version__}"}
    for name, (play, cases) in PLAYS.items():
        outcome[name] = []
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                outcome[name].append(play(pl, case, Path(folder)))
    return outcome


if __name__ == "__main__":
    recorded = record("lightning.pytorch")
    library = json.dumps(recorded.pop("library"))
    parts = [f'"{name}": [\n' + ",\n".join(map(json.dumps, each)) + "\n]" for name, each in recorded.items()]
    text = f'{{"library": {library},\n' + ",\n".join(parts) + "}\n"
    Path(__file__).with_name("lightning_trainings.json").write_text(text)
