"""TrainerState: what the trainer is doing, and whether somebody asked it to stop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class TrainerFn(str, Enum):
    """The entry points; each equals its word, ``TrainerFn.FITTING == "fit"``."""

    FITTING = "fit"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"

    __str__ = str.__str__


class RunningStage(str, Enum):
    """What happens inside an entry point."""

    TRAINING = "train"
    SANITY_CHECKING = "sanity_check"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"

    __str__ = str.__str__


class TrainerStatus(str, Enum):
    """How the last entry point stands."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"

    __str__ = str.__str__


@dataclass
class TrainerState:
    """What the trainer is doing."""

    status: TrainerStatus = TrainerStatus.INITIALIZING
    fn: TrainerFn | None = None
    stage: RunningStage | None = None
    should_stop: bool = False  #: set by callbacks and users; training ends at the next batch once minimums are met
    inside_batches: bool = False  #: whether the batches of a training epoch are under way
    interruption: BaseException | None = None  #: raised after this batch: Ctrl-C, or SIGTERM
    received_sigterm: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last entry point ran to its end."""
        return self.status is TrainerStatus.FINISHED

    @property
    def stopped(self) -> bool:
        """Whether the last entry point ended, well or not."""
        return self.status in (TrainerStatus.FINISHED, TrainerStatus.INTERRUPTED)
