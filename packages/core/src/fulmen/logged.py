"""LoggedMetrics: the newest values of everything logged, for callbacks, bar and user; and their way to the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from fulmen.logger import Recorder
from fulmen.progress import Progress
from fulmen.results import NoResults, Results, as_tensors, to_number


class LoggedMetrics:
    """The dictionaries that a Trainer shows, filled from the results of whichever loop is at work.

    They are brought up to date when somebody reads them, not when somebody logs.

    Args:
        progress: the counters; ``epoch`` and the x-axis of what is logged come from it.
        every_n_steps: the steps between two log boundaries; 0 for none but the ends of epochs.
        is_bare: log nothing at all, to measure the bare loop.
    """

    def __init__(self, progress: Progress, every_n_steps: int, is_bare: bool = False) -> None:
        self._progress = progress
        self.every_n_steps = every_n_steps
        self._is_bare = is_bare
        #: whether the trainer has loggers
        self.has_loggers = True
        #: where values go; set when a run opens
        self.recorder: Recorder | None = None
        #: the results of the loop at work, and whether it is inside its batches
        self.active: Results | None = None
        self.inside_batches = False
        self.dataloader_idx: int | None = None
        self._callback: dict[str, Any] = {}
        self._logged: dict[str, Any] = {}
        self._progress_bar: dict[str, Any] = {}

    @property
    def step(self) -> int:
        """The x-axis of what is logged now: batches at whose end optimizers stepped, the first being 0."""
        return self._progress.logging_step

    def new_results(self, *, training: bool) -> Results:
        """Return what ``self.log`` fills in a loop that is about to start."""
        return (
            NoResults(training=training) if self._is_bare else Results(training=training, has_logger=self.has_loggers)
        )

    # ---------------------------------------------------------------------------------------- reading

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Key -> 0-d tensor: what callbacks monitor. What a program writes into it stays."""
        if self.active is not None:
            self._callback.update(self.active.for_callbacks(self.inside_batches, self.dataloader_idx))
        self._callback.update(as_tensors(self._callback))
        return self._callback

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """Key -> 0-d tensor: what loggers get."""
        if self.active is not None:
            self._logged.update(self.active.for_logger(self.inside_batches, self.dataloader_idx))
        return as_tensors(self._logged)

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """Key -> number: what the progress bar shows; reading waits for the device."""
        if self.active is not None:
            self._progress_bar.update(self.active.for_progress_bar(self.inside_batches, self.dataloader_idx))
        return {key: to_number(value) for key, value in self._progress_bar.items()}

    def collect(self, results: Results, on_step: bool, dataloader_idx: int | None = None) -> dict[str, Any]:
        """Keep the newest values of a loop, before it resets or another one takes over; return the loggers' part."""
        for_logger, for_callbacks, for_progress_bar = results.for_all(on_step, dataloader_idx)
        self._logged.update(for_logger)
        self._callback.update(for_callbacks)
        self._progress_bar.update(for_progress_bar)
        return for_logger

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Show what is logged inside the block, as the sanity check does, but record nothing and forget it then."""
        recorder, self.recorder = self.recorder, None
        before = self._callback, self._logged, self._progress_bar
        self._callback, self._logged, self._progress_bar = map(dict, before)
        try:
            yield
        finally:
            self.recorder = recorder
            self._callback, self._logged, self._progress_bar = before

    def clear(self) -> None:
        """Forget all values: another entry point begins."""
        self._callback, self._logged, self._progress_bar = {}, {}, {}
        self.active = None

    def state_dict(self) -> dict[str, Any]:
        """Return the newest values for a checkpoint."""
        return {
            "callback": self.callback_metrics,
            "logged": self.logged_metrics,
            "progress_bar": self.progress_bar_metrics,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._callback, self._logged = dict(state["callback"]), dict(state["logged"])
        self._progress_bar = dict(state["progress_bar"])

    # ----------------------------------------------------------------------------------------- sending

    def send_step(self, results: Results, step: int) -> None:
        """Send the newest values of a training step to the run, at a log boundary."""
        results.fold()
        self.send(results.for_logger(on_step=True), step)

    def send(self, values: Mapping[str, Any], step: int) -> None:
        """Send values to the run, with the epoch; the journal's thread, not this one, waits for the device.

        Args:
            values: key -> number or 0-d tensor that nobody changes any more. A key ``step`` replaces the x-axis.
            step: the x-axis.
        """
        if not values or self.recorder is None:
            return
        self._logged.update(values)
        values = dict(values)
        if "step" in values:
            step = int(to_number(values.pop("step")))
        values.setdefault("epoch", self._progress.epoch)
        self.recorder.log_metrics(_numbers_later(values), step)

    def send_measured(self, values: Mapping[str, Any], step: int) -> None:
        """Send values that a callback measured by itself, and show them among ``callback_metrics``."""
        self._callback.update(values)
        self.send(values, step)

    def send_evaluation_step(self, values: Mapping[str, Any], step: int) -> None:
        """Send the values of one evaluation batch, whose x-axis counts the batches of its loader."""
        self._logged.update(values)
        if values and self.recorder is not None:
            self.recorder.log_metrics(_numbers_later(dict(values)), step)


def _numbers_later(values: dict[str, Any]) -> Mapping[str, Any] | Callable[[], Mapping[str, Any]]:
    """Return values such that this thread neither waits for a device nor converts numbers."""
    if any(isinstance(value, Tensor) and value.device.type != "cpu" for value in values.values()):
        return values  # the run starts one copy to the host for all of them
    return lambda: {key: to_number(value) for key, value in values.items()}
