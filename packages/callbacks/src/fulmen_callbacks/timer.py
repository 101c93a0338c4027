"""Timer: how long training, validation and testing take, and an end to training after a given time."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.rank import rank_zero_info

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer

_STAGES = ("train", "sanity_check", "validate", "test", "predict")


class Timer(Callback):
    """Measure the time of each stage, and end training when its time is over.

    Training that is resumed goes on with the time that it had used.

    Args:
        duration: the time that training may take, validation included: ``"DD:HH:MM:SS"``, a ``timedelta``, or a dict
            of its arguments; ``None`` for no limit.
        interval: look at the clock after each ``"step"`` or each ``"epoch"``.
        verbose: say when the time is over.

    Raises:
        MisconfigurationException: ``duration`` is no time, or ``interval`` is unknown.
    """

    interface = (1, 0)

    def __init__(
        self,
        duration: str | timedelta | Mapping[str, int] | None = None,
        interval: str = "step",
        verbose: bool = True,
    ) -> None:
        if interval not in ("step", "epoch"):
            raise MisconfigurationException(f"`interval` must be 'step' or 'epoch', but is {interval!r}")
        self._duration_s = None if duration is None else _seconds(duration)
        self._interval = str(interval)
        self._verbose = verbose
        self._start_s: dict[str, float | None] = dict.fromkeys(_STAGES)
        self._end_s: dict[str, float | None] = dict.fromkeys(_STAGES)
        self._before_s = 0.0  # training before it was resumed

    def wants(self, hook: str) -> bool:
        looks = {"on_train_batch_end": "step", "on_train_epoch_end": "epoch"}
        return hook not in looks or (self._duration_s is not None and looks[hook] == self._interval)

    # ------------------------------------------------------------------------------------------ reading

    def start_time(self, stage: str = "train") -> float | None:
        """Return when a stage last began, in seconds of ``time.monotonic()``; ``None`` before."""
        return self._start_s[_known(stage)]

    def end_time(self, stage: str = "train") -> float | None:
        """Return when a stage last ended, in seconds of ``time.monotonic()``; ``None`` before."""
        return self._end_s[_known(stage)]

    def time_elapsed(self, stage: str = "train") -> float:
        """Return how long a stage has taken, in seconds."""
        start, end = self.start_time(stage), self.end_time(stage)
        before = self._before_s if stage == "train" else 0.0
        if start is None:
            return before
        return (time.monotonic() if end is None else end) - start + before

    def time_remaining(self, stage: str = "train") -> float | None:
        """Return how many seconds of ``duration`` are left; ``None`` without one."""
        return None if self._duration_s is None else self._duration_s - self.time_elapsed(stage)

    # ------------------------------------------------------------------------------------------- hooks

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_s["train"] = self._end_s["train"] = None
        self._check(trainer)  # a run may be resumed whose time is over

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("train")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_s["train"] = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("sanity_check" if trainer.sanity_checking else "validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_s["sanity_check" if trainer.sanity_checking else "validate"] = time.monotonic()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_s["test"] = time.monotonic()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("predict")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_s["predict"] = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in _STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before_s = float(state_dict.get("time_elapsed", {}).get("train", 0.0))

    def _begin(self, stage: str) -> None:
        self._start_s[stage], self._end_s[stage] = time.monotonic(), None

    def _check(self, trainer: Trainer) -> None:
        if self._duration_s is None:
            return
        # The clocks of processes differ, and all must stop at the same batch.
        if not trainer.strategy.broadcast(self.time_elapsed() >= self._duration_s):
            return
        if self._verbose and not trainer.should_stop:
            elapsed = timedelta(seconds=int(self.time_elapsed()))
            rank_zero_info("training stops: its time, %s, is over (%s)", timedelta(seconds=self._duration_s), elapsed)
        trainer.should_stop = True


def _known(stage: str) -> str:
    if stage not in _STAGES:
        raise MisconfigurationException(f"there is no stage {stage!r}; use one of {', '.join(map(repr, _STAGES))}")
    return str(stage)


def _seconds(duration: Any) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, Mapping):
        try:
            return timedelta(**duration).total_seconds()
        except TypeError as error:
            raise MisconfigurationException(f"`duration={dict(duration)}` is no time: {error}") from error
    parts = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", duration.strip()) if isinstance(duration, str) else None
    if parts is None:
        raise MisconfigurationException(
            f"`duration` must be 'DD:HH:MM:SS', a timedelta, or a dict such as {{'hours': 2}}, but is {duration!r}"
        )
    days, hours, minutes, seconds = map(int, parts.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
