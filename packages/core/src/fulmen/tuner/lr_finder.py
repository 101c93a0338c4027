"""LRFinder: the range test of learning rates; what it saw, and what it suggests.

The learning rate grows with each step while the smoothed loss is watched (Smith, "Cyclical Learning Rates for Training
Neural Networks", 2017). The suggestion is where the loss falls most steeply.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.hooks import HookTable
from fulmen.optimizers import SchedulerConfig
from fulmen.rank import rank_zero_info

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fulmen.trainer import Trainer

_log = logging.getLogger("fulmen")
MODES = ("exponential", "linear")
_SMOOTHING = 0.98


class LRFinder:
    """The outcome of ``Tuner.lr_find``.

    Args:
        mode: how the rate grew: ``"exponential"`` or ``"linear"``.
        lr_min: the rate of the first step.
        lr_max: the rate of the last step.
        num_training: steps.

    Attributes:
        results: ``"lr"`` and ``"loss"``: the rate of each step, and its loss, smoothed.
    """

    def __init__(self, mode: str, lr_min: float, lr_max: float, num_training: int) -> None:
        self.mode = mode
        self.lr_min = lr_min
        self.lr_max = lr_max
        self.num_training = num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}
        self._optimal_idx: int | None = None

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """Return the rate at which the loss fell most steeply.

        Args:
            skip_begin: steps left out at the beginning, where the smoothed loss still swings.
            skip_end: steps left out at the end, where the loss diverges.

        Returns:
            The rate; ``None`` where fewer than two steps with a finite loss are left.
        """
        end = len(self.results["loss"]) - skip_end
        indices = [i for i in range(skip_begin, end) if math.isfinite(self.results["loss"][i])]
        if len(indices) < 2:
            self._optimal_idx = None
            _log.error(
                "no learning rate can be suggested: of %d steps %d are left after skip_begin=%d and skip_end=%d, but 2 "
                "are needed; give the trial more steps (num_training, max_epochs, more data)",
                len(self.results["loss"]),
                len(indices),
                skip_begin,
                skip_end,
            )
            return None
        losses = torch.tensor([self.results["loss"][i] for i in indices])
        rates = torch.tensor([self.results["lr"][i] for i in indices])
        slopes = torch.gradient(losses, spacing=(rates,))[0]
        self._optimal_idx = indices[int(torch.argmin(slopes))]
        return self.results["lr"][self._optimal_idx]

    def plot(self, suggest: bool = False, show: bool = False, ax: Axes | None = None) -> Any:
        """Draw the loss over the learning rate.

        Args:
            suggest: mark the suggestion with a red point.
            show: open the window.
            ax: draw into this one; by default into a new figure.

        Returns:
            The figure.

        Raises:
            MissingPackageError: matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ModuleNotFoundError as error:
            raise MissingPackageError("`LRFinder.plot` needs matplotlib: pip install matplotlib") from error
        rates, losses = self.results["lr"], self.results["loss"]
        if ax is None:
            _, ax = plt.subplots()
        ax.plot(rates, losses)
        if self.mode == "exponential":
            ax.set_xscale("log")
        ax.set_xlabel("Learning rate")
        ax.set_ylabel("Loss")
        if suggest:
            self.suggestion()
            if self._optimal_idx is not None:
                at = self._optimal_idx
                ax.plot(rates[at], losses[at], markersize=10, marker="o", color="red")
        if show:
            plt.show()
        return ax.figure


def find_learning_rate(trainer: Trainer, finder: LRFinder, early_stop_threshold: float | None) -> None:
    """Run the range test on a trainer whose optimizers are configured, and fill ``finder``.

    It changes the model, its optimizer and the random states: run it inside of ``restored``.

    Raises:
        MisconfigurationException: there is not just one optimizer, or the module steps it by hand.
    """
    module = trainer.lightning_module
    if not module.automatic_optimization:
        raise MisconfigurationException(
            f"`{type(module).__name__}` optimizes by hand, so nobody could change its learning rate from step to step; "
            "the learning-rate finder needs automatic optimization"
        )
    if len(trainer.optimizers) != 1:
        raise MisconfigurationException(
            f"`configure_optimizers` returned {len(trainer.optimizers)} optimizers, but the learning-rate finder works "
            "with one"
        )
    optimizer = trainer.optimizers[0]
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = finder.lr_min
    growth = _Growth(optimizer, finder)
    trial = trainer._trial()
    step = trial._progress.global_step
    # Validation goes on, for a loader that draws random numbers draws those of the next epoch's, too.
    trial._limits = dataclasses.replace(trial._limits, val=finder.num_training if trial._limits.val else 0)
    trial._schedule = dataclasses.replace(
        trial._schedule, max_steps=step + finder.num_training, min_epochs=0, min_steps=0, max_time_s=None
    )
    trial._schedulers = [SchedulerConfig(growth, interval="step")]
    trial._callbacks += [_Watch(finder, growth, early_stop_threshold, step)]
    rank_zero_info(
        "looking for a learning rate: %d steps from %g to %g", finder.num_training, finder.lr_min, finder.lr_max
    )
    train(trial)
    taken = trial.global_step - step
    if taken < finder.num_training:
        why = "the loss diverged" if trial.should_stop else f"max_epochs={trial.max_epochs} was reached"
        rank_zero_info("the search ended after %d of %d steps: %s", taken, finder.num_training, why)


def train(trial: Trainer) -> None:
    """Train on a trial's trainer, from ``on_train_start`` to ``on_train_end``."""
    module = trial.lightning_module
    module.__dict__["_trainer"] = trial
    if trial.datamodule is not None:
        trial.datamodule.trainer = trial
    hooks = trial._hooks = HookTable(trial, module, trial._callbacks)
    results = trial._results = trial._logged.new_results(training=True)
    loop = trial._new_fit_loop(hooks, results)
    module.__dict__["_results"] = results
    with torch.enable_grad():
        loop.set_up()
        loop.run()


class _Growth(LRScheduler):
    """The learning rate grows from the optimizer's own to the finder's ``lr_max``, which the last step has."""

    def __init__(self, optimizer: torch.optim.Optimizer, finder: LRFinder) -> None:
        self._finder = finder
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        first, last = self._finder.lr_min, self._finder.lr_max
        share = (self.last_epoch + 1) / self._finder.num_training
        if self.last_epoch == 0:
            rate = first
        elif self._finder.mode == "linear":
            rate = first + share * (last - first)
        else:
            rate = first * (last / first) ** share
        self.rate = rate
        return [rate] * len(self.base_lrs)


class _Watch(Callback):
    """Notes the learning rate and the smoothed loss of each step; stops where the loss diverges."""

    def __init__(self, finder: LRFinder, growth: _Growth, threshold: float | None, first_step: int) -> None:
        self._finder = finder
        self._growth = growth
        self._threshold = threshold
        self._first_step = first_step
        self._average = 0.0
        self._best = 0.0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._finder.results["lr"].append(self._growth.rate)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches != 0:
            return
        losses = self._finder.results["loss"]
        if not outputs:  # the step skipped its batch; its rate was noted already
            losses.append(float("nan"))
            return
        step = trainer.global_step - self._first_step
        self._average = _SMOOTHING * self._average + (1 - _SMOOTHING) * float(outputs["loss"])
        smoothed = self._average / (1 - _SMOOTHING ** (step + 1))
        if self._threshold is not None and step > 1 and smoothed > self._threshold * self._best:
            trainer.should_stop = True
        if smoothed < self._best or step == 1:
            self._best = smoothed
        losses.append(smoothed)
