"""Tape: writes down everything that a user can see of a run, exactly, so that two libraries can be compared.

It is a callback with every hook, and a logger, as a user would write them.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

HOOKS = (
    "setup",
    "teardown",
    "on_fit_start",
    "on_fit_end",
    "on_sanity_check_start",
    "on_sanity_check_end",
    "on_train_start",
    "on_train_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_validation_start",
    "on_validation_end",
    "on_validation_epoch_start",
    "on_validation_epoch_end",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_test_start",
    "on_test_end",
    "on_test_epoch_start",
    "on_test_epoch_end",
    "on_test_batch_start",
    "on_test_batch_end",
    "on_predict_start",
    "on_predict_end",
    "on_predict_epoch_start",
    "on_predict_epoch_end",
    "on_predict_batch_start",
    "on_predict_batch_end",
)


def exact(value: Any) -> Any:
    """Return a value such that JSON keeps every bit of it."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        numbers = value.detach().cpu().double().flatten().tolist()
        return f"{dtype}{list(value.shape)}:" + ",".join(map(float.hex, numbers))
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    return value if isinstance(value, (int, str, bool, type(None))) else type(value).__name__


def described(argument: Any) -> Any:
    """Return what matters of a hook's argument."""
    if isinstance(argument, torch.optim.Optimizer):
        return [group["lr"].hex() for group in argument.param_groups]
    return exact(argument)


class Tape(pl.Callback):
    """Keeps a line for each hook: its arguments, the counters, the learning rates, and the three dictionaries."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.series = Series()
        self.results: dict[str, Any] = {}

    def write(self, hook: str, trainer: Any, arguments: tuple[Any, ...]) -> None:
        self.events.append(
            {
                "hook": hook,
                "arguments": [described(argument) for argument in arguments],
                "epoch": trainer.current_epoch,
                "global_step": trainer.global_step,
                "is_last_batch": "train_batch" in hook and bool(trainer.is_last_batch),
                "lr": [group["lr"].hex() for one in trainer.optimizers for group in one.param_groups],
                "callback_metrics": exact(dict(trainer.callback_metrics)),
                "logged_metrics": exact(dict(trainer.logged_metrics)),
                "progress_bar_metrics": exact(dict(trainer.progress_bar_metrics)),
            }
        )

    def trainer(self, **options: Any) -> Any:
        """Return a quiet Trainer that this tape listens to."""
        quiet = {
            "accelerator": "cpu",
            "logger": self.series,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
        }
        callbacks = [self, *options.pop("callbacks", [])]
        return pl.Trainer(**{**quiet, **options}, callbacks=callbacks)

    def keep(self, **results: Any) -> None:
        """Keep what an entry point returned, or a program found out."""
        self.results.update({name: exact(value) for name, value in results.items()})

    def keep_state(self, trainer: Any, model: Any) -> None:
        """Keep the weights, the optimizers' and schedulers' states, and the counters at the end."""
        self.keep(
            weights=dict(model.state_dict()),
            modes=[module.training for module in model.modules()],
            requires_grad=[parameter.requires_grad for parameter in model.parameters()],
            optimizers=[optimizer.state_dict() for optimizer in trainer.optimizers],
            schedulers=[config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
            epoch=trainer.current_epoch,
            global_step=trainer.global_step,
            callback_metrics=dict(trainer.callback_metrics),
            logged_metrics=dict(trainer.logged_metrics),
            progress_bar_metrics=dict(trainer.progress_bar_metrics),
            random_state=torch.get_rng_state().double().sum().item(),
        )


def _writing(hook: str) -> Any:
    def write(self: Tape, trainer: Any, pl_module: Any, *arguments: Any, **named: Any) -> None:
        self.write(hook, trainer, (*arguments, *named.values()))

    def write_start(
        self: Tape, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.write(hook, trainer, (batch, batch_idx, dataloader_idx))

    def write_end(
        self: Tape, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.write(hook, trainer, (outputs, batch, batch_idx, dataloader_idx))

    if hook.startswith("on_train"):
        return write
    return write_start if hook.endswith("batch_start") else write_end if hook.endswith("batch_end") else write


for _hook in HOOKS:
    setattr(Tape, _hook, _writing(_hook))


class Series(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    @property
    def name(self) -> str:
        return "series"

    @property
    def version(self) -> str:
        return "0"

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.records.append([step, {key: float(value).hex() for key, value in metrics.items()}])

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass
