"""What programs of the field read below ``trainer.fit_loop``: limits and counters, under the names that they know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fulmen.options import Schedule
from fulmen.progress import Progress


@dataclass(frozen=True)
class Counts:
    """How many were begun, and how many are done."""

    ready: int
    started: int
    processed: int
    completed: int


@dataclass(frozen=True)
class ProgressView:
    """Counts of the run (``total``) and of the epoch or fit under way (``current``)."""

    total: Counts
    current: Counts


class FitLoopView:
    """``trainer.fit_loop``: its limits can be set between two fits, everything else is read.

    Args:
        trainer: whose limits and counters it shows.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def _schedule(self) -> Schedule:
        schedule: Schedule = self._trainer._schedule
        return schedule

    @property
    def _progress(self) -> Progress:
        progress: Progress = self._trainer._progress
        return progress

    @property
    def max_epochs(self) -> int:
        """The most epochs to train; -1 for no limit."""
        return self._schedule.max_epochs

    @max_epochs.setter
    def max_epochs(self, value: int) -> None:
        self._trainer._schedule = replace(self._schedule, max_epochs=value)

    @property
    def min_epochs(self) -> int:
        """The fewest epochs to train."""
        return self._schedule.min_epochs

    @property
    def max_steps(self) -> int:
        """The most optimizer steps to take; -1 for no limit."""
        return self._schedule.max_steps

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self._trainer._schedule = replace(self._schedule, max_steps=value)

    @property
    def min_steps(self) -> int:
        """The fewest optimizer steps to take."""
        return self._schedule.min_steps

    @property
    def global_step(self) -> int:
        """Optimizer steps taken."""
        return self._progress.global_step

    @property
    def batch_idx(self) -> int:
        """The training batch under way, within its epoch."""
        return max(self._progress.batch_in_epoch - 1, 0)

    @property
    def total_batch_idx(self) -> int:
        """The training batch under way, over all epochs."""
        return self._progress.batches - 1

    @property
    def max_batches(self) -> float:
        """Training batches of an epoch."""
        return float(self._trainer.num_training_batches)

    @property
    def epoch_progress(self) -> ProgressView:
        """Epochs begun and done."""
        progress = self._progress
        begun = progress.epochs_trained + progress.inside_epoch
        counts = Counts(begun, begun, progress.epochs_trained, progress.epoch)
        return ProgressView(counts, counts)

    @property
    def batch_progress(self) -> ProgressView:
        """Training batches done, over all epochs and in this one."""
        progress = self._progress
        return ProgressView(Counts(*[progress.batches] * 4), Counts(*[progress.batch_in_epoch] * 4))

    @property
    def _batches_that_stepped(self) -> int:
        return self._progress.batches_that_stepped

    @property
    def epoch_loop(self) -> FitLoopView:
        """The same counters and limits, where programs look for them below ``epoch_loop``."""
        return self
