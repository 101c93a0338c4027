"""EarlyStopping: end training when a metric no longer improves."""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.rank import rank_zero_info, rank_zero_warn
from fulmen_callbacks._old_arguments import of_early_stopping, with_old_arguments
from fulmen_callbacks._schedule import fits, looks_at_epoch_end, missing_monitor

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.preflight import Plan
    from fulmen.trainer import Trainer

_log = logging.getLogger("fulmen")
_IS_BETTER = {"min": torch.lt, "max": torch.gt}
_SIGN = {"min": "<", "max": ">"}
_WORST = {"min": torch.inf, "max": -torch.inf}


class EarlyStoppingReason(Enum):
    """Why training was stopped."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


class EarlyStopping(Callback):
    """End training when a logged metric has stopped improving.

    The metric is looked at once at the end of every epoch; where validation does not run exactly once an
    epoch (``val_check_interval``, ``check_val_every_n_epoch``), at the end of every validation. ``patience``
    counts these looks, not epochs. A resumed run keeps the best value and the count; the arguments are those
    given here.

    Args:
        monitor: name of the metric.
        min_delta: how much better than the best value, in the metric's own unit, counts as an improvement; an
            equal difference does not.
        patience: after how many looks in a row without improvement training ends.
        verbose: say each improvement and why training ends.
        mode: ``"min"`` where less is better, ``"max"`` where more is.
        strict: raise where the metric was not logged; with ``False`` that look is left out.
        check_finite: end training when the metric is NaN or infinite.
        stopping_threshold: end training as soon as the metric is better than this.
        divergence_threshold: end training as soon as the metric is worse than this.
        check_on_train_epoch_end: look at the end of each training epoch (``True``) or of each validation
            (``False``); ``None`` decides as described above.
        log_rank_zero_only: with ``verbose``, say it in the first process only.

    Attributes:
        best_score: the best value so far, a 0-d tensor.
        wait_count: looks since then.
        stopped_epoch: the epoch in which training was stopped; 0 if it was not.
        stopping_reason: an :class:`EarlyStoppingReason`.
        stopping_reason_message: the reason in words, or ``None``.

    Raises:
        MisconfigurationException: ``mode`` is unknown, or ``monitor`` was not logged and ``strict`` is true.
    """

    interface = (1, 0)
    run_order = 1

    @with_old_arguments(of_early_stopping)
    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        if mode not in _IS_BETTER:
            raise MisconfigurationException(f"`mode` must be 'min' or 'max', but is {mode!r}")
        self.monitor = monitor
        # Signed, as programs that read it expect: what a value must pass is `best_score + min_delta`.
        self.min_delta = min_delta if mode == "max" else -min_delta
        self.patience = patience
        self.verbose = verbose
        self.mode = mode
        self.strict = strict
        self.check_finite = check_finite
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.log_rank_zero_only = log_rank_zero_only
        self.best_score = torch.tensor(_WORST[mode])
        self.wait_count = 0
        self.stopped_epoch = 0
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None
        self._check_on_train_epoch_end = check_on_train_epoch_end

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    def on_preflight(self, trainer: Trainer, pl_module: LightningModule, plan: Plan) -> None:
        owner = f"EarlyStopping(monitor={self.monitor!r})"
        if not self._looks_at_epoch_end(trainer) and not plan.validates:
            plan.never(owner, "it looks after each validation, and there is none")
        elif self.strict:
            plan.needs(self.monitor, owner)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if fits(trainer) and self._looks_at_epoch_end(trainer):
            self._look(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if fits(trainer) and not self._looks_at_epoch_end(trainer):
            self._look(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.best_score,
            "patience": self.patience,  # for other trainers that read this checkpoint; not taken back here
            "stopping_reason": self.stopping_reason.value,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.wait_count = state_dict["wait_count"]
        self.stopped_epoch = state_dict["stopped_epoch"]
        self.best_score = torch.as_tensor(state_dict["best_score"])
        self.stopping_reason = EarlyStoppingReason(state_dict.get("stopping_reason", 0))
        self.stopping_reason_message = state_dict.get("stopping_reason_message")

    # ------------------------------------------------------------------------------------------- one look

    def _looks_at_epoch_end(self, trainer: Trainer) -> bool:
        chosen = self._check_on_train_epoch_end
        return looks_at_epoch_end(trainer) if chosen is None else chosen

    def _look(self, trainer: Trainer) -> None:
        logged = trainer.callback_metrics
        if self.monitor not in logged:
            message = missing_monitor(type(self).__name__, self.monitor, logged)
            if self.strict:
                raise MisconfigurationException(message)
            if self.verbose:
                rank_zero_warn(message, category=RuntimeWarning)
            return
        stops, message = self._judge(torch.as_tensor(logged[self.monitor]).squeeze())
        if stops:
            trainer.should_stop = True
            self.stopped_epoch = trainer.current_epoch
            self.stopping_reason_message = message
        if message and self.verbose:
            self._say(trainer, message)

    def _judge(self, current: Tensor) -> tuple[bool, str]:
        """Take one value into account; return whether training ends, and what there is to say about it."""
        # Compared as tensors of the metric's own dtype: Python floats would decide some float32 ties
        # otherwise.
        is_better = _IS_BETTER[self.mode]
        name = self.monitor
        if self.check_finite and not torch.isfinite(current):
            self.stopping_reason = EarlyStoppingReason.NON_FINITE_METRIC
            return True, f"{name} = {current} is not finite (best was {self.best_score:.4g}); training stops"
        if self.stopping_threshold is not None and is_better(current, self.stopping_threshold):
            self.stopping_reason = EarlyStoppingReason.STOPPING_THRESHOLD
            threshold = f"{_SIGN[self.mode]} stopping_threshold = {self.stopping_threshold}"
            return True, f"{name} = {current} {threshold}: reached; training stops"
        if self.divergence_threshold is not None and is_better(-current, -self.divergence_threshold):
            self.stopping_reason = EarlyStoppingReason.DIVERGENCE_THRESHOLD
            return True, (
                f"{name} = {current} is worse than divergence_threshold = {self.divergence_threshold}; training stops"
            )
        if is_better(current - self.min_delta, self.best_score.to(current.device)):
            before, self.best_score = self.best_score, current.detach().clone()
            self.wait_count = 0
            was = f", was {before:.4g}" if torch.isfinite(before) else ""
            return False, f"{name} = {current:.4g} is the best so far{was}"
        self.wait_count += 1
        if self.wait_count >= self.patience:
            self.stopping_reason = EarlyStoppingReason.PATIENCE_EXHAUSTED
            return True, (
                f"{name} did not improve in {self.wait_count} checks (best was {self.best_score:.4g}); training stops"
            )
        return False, ""

    def _say(self, trainer: Trainer, message: str) -> None:
        if self.log_rank_zero_only or trainer.world_size == 1:
            rank_zero_info(message)
        else:
            _log.info("[rank %d] %s", trainer.global_rank, message)
