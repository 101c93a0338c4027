"""Type aliases under the names of the field, for the annotations of programs: ``-> STEP_OUTPUT``.

``fulmen.utilities.types`` hands them out as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import NotRequired

from fulmen.metric import Metric
from fulmen.optimizers import SchedulerConfig

#: what ``training_step`` and its likes return: a loss, a dict with it as ``"loss"``, or ``None``
STEP_OUTPUT: TypeAlias = Tensor | Mapping[str, Any] | None
#: what ``train_dataloader`` returns: an iterable of batches, or a nested collection of them
TRAIN_DATALOADERS: TypeAlias = Any
#: what ``val_dataloader``, ``test_dataloader`` and ``predict_dataloader`` return
EVAL_DATALOADERS: TypeAlias = Any
#: what an epoch-end hook of earlier versions got: what the steps returned
EPOCH_OUTPUT: TypeAlias = list[STEP_OUTPUT]

#: what ``Trainer.validate`` and ``Trainer.test`` return: for each loader, the logged values over the epoch
_EVALUATE_OUTPUT: TypeAlias = list[Mapping[str, float]]
#: what ``Trainer.predict`` returns
_PREDICT_OUTPUT: TypeAlias = list[Any] | list[list[Any]]
_METRIC: TypeAlias = Metric | Tensor | int | float
_NUMBER: TypeAlias = int | float
_PATH: TypeAlias = str | os.PathLike[str]

LRSchedulerTypeUnion: TypeAlias = LRScheduler | ReduceLROnPlateau
LRSchedulerType: TypeAlias = type[LRScheduler] | type[ReduceLROnPlateau]
LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerPLType = LRSchedulerTypeUnion
LRSchedulerConfig = SchedulerConfig


class LRSchedulerConfigType(TypedDict, total=False):
    """A scheduler and when it steps, as a dict that ``configure_optimizers`` may return."""

    scheduler: LRSchedulerTypeUnion
    name: str | None
    interval: str
    frequency: int
    reduce_on_plateau: bool
    monitor: str | None
    strict: bool


class OptimizerConfig(TypedDict):
    """An optimizer, as a dict that ``configure_optimizers`` may return."""

    optimizer: Optimizer


class OptimizerLRSchedulerConfig(TypedDict):
    """An optimizer with its scheduler, as a dict that ``configure_optimizers`` may return."""

    optimizer: Optimizer
    lr_scheduler: LRSchedulerTypeUnion | LRSchedulerConfigType
    monitor: NotRequired[str]


#: what ``configure_optimizers`` returns
OptimizerLRScheduler: TypeAlias = (
    Optimizer
    | Sequence[Optimizer]
    | tuple[Sequence[Optimizer], Sequence[LRSchedulerTypeUnion | LRSchedulerConfigType]]
    | OptimizerConfig
    | OptimizerLRSchedulerConfig
    | Sequence[OptimizerConfig]
    | Sequence[OptimizerLRSchedulerConfig]
    | Mapping[str, Any]
    | None
)
