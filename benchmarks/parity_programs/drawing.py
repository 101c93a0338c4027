"""Options of programs drawn at random; it imports nothing, so that the driver can draw them too."""

from __future__ import annotations

import random
from typing import Any

OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "lbfgs")
SCHEDULERS = ("step", "exponential", "cosine", "warm_restarts", "lambda", "cyclic", "chained", "plateau")
REDUCTIONS = ("mean", "mean", "mean", "sum", "min", "max")
#: hook -> whether it runs for each batch
LOGGING_HOOKS = {
    "training_step": True,
    "on_train_batch_start": True,
    "on_train_batch_end": True,
    "on_before_optimizer_step": True,
    "on_after_backward": True,
    "on_train_epoch_start": False,
    "on_train_epoch_end": False,
    "validation_step": True,
    "on_validation_batch_end": True,
    "on_validation_epoch_start": False,
    "on_validation_epoch_end": False,
}
LEVELS = tuple(
    {"on_step": on_step, "on_epoch": on_epoch}
    for on_step, on_epoch in ((None, None), (True, None), (None, True), (True, True), (True, False), (False, True))
)


def draw(seed: int) -> dict[str, Any]:
    """Return the options of one random program, as JSON can hold them."""
    dice = random.Random(seed)

    def maybe(chance: float, *values: Any) -> Any:
        return dice.choice(values) if dice.random() < chance else None

    def loader() -> dict[str, Any]:
        return {
            "count": dice.randint(5, 40),
            "batch_size": dice.randint(1, 6),
            "shuffle": dice.random() < 0.6,
            "drop_last": dice.random() < 0.2,
            "stream": dice.random() < 0.15,
            "seed": dice.randint(0, 99),
        }

    manual = dice.random() < 0.25
    validates = dice.random() < 0.75
    options: dict[str, Any] = {
        "seed": seed,
        "manual": manual,
        "train": [loader() for _ in range(dice.choice([1, 1, 1, 1, 2, 3]))],
        "train_nesting": dice.choice(["dict", "list"]),
        "val": [loader() for _ in range(dice.choice([1, 1, 1, 2]) if validates else 0)],
        "optimizers": [dice.choice(OPTIMIZERS) for _ in range(dice.choice([1, 2]) if manual else 1)],
        "dropout": dice.choice([0.0, 0.2]),
        "returns": dice.choice(["loss", "loss", "dict"]),
        "skips": maybe(0.1, 1, 2, 5),  # training_step returns None at this batch
        "ends_epoch": maybe(0.08, 0, 1, 3),  # on_train_batch_start returns -1 at this batch
        "stops": maybe(0.1, 2, 5, 9),  # should_stop is set at this batch
        "own_optimizer_step": not manual and dice.random() < 0.12,
        "tests": dice.random() < 0.2,
        "schedulers": [
            {
                "kind": dice.choice(SCHEDULERS),
                "interval": dice.choice(["step", "epoch"]),
                "frequency": dice.choice([1, 1, 2, 3]),
                "monitor": dice.choice(["loss", "val_loss"]) if validates else "loss",
                "strict": dice.random() < 0.7,
            }
            for _ in range(dice.choice([0, 1, 1, 2]))
        ],
        "logs": [
            {
                "hook": hook,
                "name": f"{hook}_{index}",
                **dice.choice(LEVELS if LOGGING_HOOKS[hook] else LEVELS[:1]),
                "reduce_fx": dice.choice(REDUCTIONS),
                "prog_bar": dice.random() < 0.3,
                "logger": dice.random() < 0.8,
                "batch_size": maybe(0.3, 1, 3),
                "value": dice.choice(["float", "tensor", "int"]),
            }
            for index, hook in enumerate(dice.choices(list(LOGGING_HOOKS), k=dice.randint(0, 6)))
        ],
    }
    trainer: dict[str, Any] = {
        "max_epochs": dice.randint(1, 4),
        "log_every_n_steps": dice.choice([1, 1, 2, 3, 5, 50]),
        "check_val_every_n_epoch": dice.choice([1, 1, 1, 2, None]),
        "num_sanity_val_steps": dice.choice([0, 1, 2, -1]),
        "accumulate_grad_batches": dice.choice([1, 1, 2, 3, 4]),
        "gradient_clip_val": maybe(0.4, 0.05, 0.5, 2.0),
        "gradient_clip_algorithm": maybe(0.5, "norm", "value"),
        "max_steps": maybe(0.2, 1, 3, 7, 12),
        "min_epochs": maybe(0.1, 1, 2),
        "min_steps": maybe(0.1, 4, 9),
        "val_check_interval": maybe(0.4, 1, 2, 3, 0.25, 0.5, 0.34, 1.0),
        "limit_train_batches": maybe(0.3, 1, 3, 5, 0.5, 0.8, 1.0),
        "limit_val_batches": maybe(0.3, 1, 2, 0.5, 1.0, 0),
        "overfit_batches": maybe(0.05, 1, 2, 0.5),
        "fast_dev_run": maybe(0.05, True, 3),
        "reload_dataloaders_every_n_epochs": maybe(0.15, 1, 2),
        "precision": maybe(0.1, "bf16-mixed", "64-true"),
        "inference_mode": maybe(0.1, False),
        "enable_checkpointing": maybe(0.25, True),
    }
    stops_early = dice.random() < 0.25
    options["early_stopping"] = {
        "monitor": dice.choice(["val_loss", "val_loss", "loss"]),
        "patience": dice.choice([0, 1, 2]),
        "check_on_train_epoch_end": dice.choice([None, True, False]),
        "mode": dice.choice(["min", "max"]),
    }
    monitor = dice.choice([None, "val_loss", "loss"])
    options["checkpoint"] = {
        "monitor": monitor,
        "save_top_k": dice.choice([1, 2, -1] if monitor else [1, -1]),
        "mode": dice.choice(["min", "max"]),
    }
    _leave_out_what_both_refuse(options, trainer)
    _leave_out_intended_differences(options, trainer)
    validates = options["val"] and trainer["limit_val_batches"] != 0
    if not stops_early or not validates:
        del options["early_stopping"]
    if not trainer["enable_checkpointing"] or (monitor == "val_loss" and not validates):
        del options["checkpoint"]
        trainer["enable_checkpointing"] = None
    if ("early_stopping" in options or "checkpoint" in options) and trainer["val_check_interval"] == 1:
        trainer["val_check_interval"] = None  # Lightning's callbacks take validation after each batch (1) for 1.0
    unset = [name for name, value in trainer.items() if value is None and name != "check_val_every_n_epoch"]
    options["trainer"] = {name: value for name, value in trainer.items() if name not in unset}
    return options


def _leave_out_what_both_refuse(options: dict[str, Any], trainer: dict[str, Any]) -> None:
    """Change what is an error in both, so that a run is not spent on it (some remain)."""
    if options["manual"]:
        trainer["accumulate_grad_batches"] = trainer["gradient_clip_val"] = None
    if trainer["gradient_clip_val"] is None:
        trainer["gradient_clip_algorithm"] = None
    if trainer["check_val_every_n_epoch"] is None and isinstance(trainer["val_check_interval"], float):
        trainer["val_check_interval"] = None
    if any(one["stream"] for one in options["train"]):
        trainer["overfit_batches"] = None
        for name in ("limit_train_batches", "val_check_interval"):
            if isinstance(trainer[name], float):
                trainer[name] = 1.0
    if any(one["stream"] for one in options["val"]) and isinstance(trainer["limit_val_batches"], float):
        trainer["limit_val_batches"] = 1.0


def _leave_out_intended_differences(options: dict[str, Any], trainer: dict[str, Any]) -> None:
    """Change what differs on purpose; docs/differences.md has the reasons."""
    validates = options["val"] and trainer["limit_val_batches"] != 0
    trainer["min_epochs"] = min(trainer["min_epochs"] or 0, trainer["max_epochs"]) or None
    if len(options["optimizers"]) > 1:  # `global_step` counts the steps of the first one
        trainer["max_steps"] = trainer["min_steps"] = trainer["fast_dev_run"] = None
    if not validates:  # a checkpoint at the end of each epoch, whatever `check_val_every_n_epoch` says
        trainer["check_val_every_n_epoch"] = 1
    if options["ends_epoch"] is not None:  # a batch that is skipped steps no scheduler
        options["schedulers"] = [one for one in options["schedulers"] if one["interval"] == "epoch"]
    # Where a hook runs several times in the first batch, only the last of its values is in Lightning's epoch's mean.
    runs_again = options["manual"] or "lbfgs" in options["optimizers"]
    for log in options["logs"]:
        if runs_again and log["hook"] in ("training_step", "on_after_backward", "on_before_optimizer_step"):
            log["on_step"] = log["on_epoch"] = None
    if trainer["reload_dataloaders_every_n_epochs"]:
        # Lightning starts a loader that was asked for anew twice, and one without a length draws a batch each time.
        for one in (*options["train"], *options["val"]):
            one["stream"] = False
        # Its x-axis of validation batches starts at 0 again.
        for log in options["logs"]:
            if LOGGING_HOOKS[log["hook"]] and "validation" in log["hook"]:
                log["on_step"] = False if log["on_epoch"] is not False else None
                log["on_epoch"] = None
