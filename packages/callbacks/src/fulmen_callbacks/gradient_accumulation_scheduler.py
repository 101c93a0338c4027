"""GradientAccumulationScheduler: accumulate more, or fewer, batches from some epoch on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fulmen.callback import AccumulationSchedule
from fulmen.errors import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class GradientAccumulationScheduler(AccumulationSchedule):
    """Change how many batches make an optimizer step.

    ``trainer.estimated_stepping_batches`` counts the steps with it.

    Args:
        scheduling: epoch -> batches that make a step from this epoch on; the first epoch is 0, and 1 is what counts
            before the first that is given.

    Raises:
        MisconfigurationException: an epoch or a count is out of range; or, when training begins, the module steps
            its optimizers itself, or ``Trainer(accumulate_grad_batches=...)`` was given as well.
    """

    interface = (1, 0)

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        if not scheduling:
            raise MisconfigurationException(f"`scheduling` is {scheduling!r}; give it epochs, such as {{4: 2}}")
        for epoch, count in scheduling.items():
            if not isinstance(epoch, int) or epoch < 0:
                raise MisconfigurationException(
                    f"`scheduling={dict(scheduling)}` has the epoch {epoch!r}; epochs are whole numbers, the first is 0"
                )
            if not isinstance(count, int) or count < 1:
                raise MisconfigurationException(
                    f"`scheduling={dict(scheduling)}` accumulates {count!r} batches from epoch {epoch} on; use whole "
                    "numbers >= 1, 1 to step on every batch"
                )
        self.scheduling = {0: 1, **scheduling}
        self.epochs = sorted(self.scheduling)

    def going_to_accumulate_grad_batches(self) -> bool:
        """Return whether any epoch accumulates."""
        return any(count > 1 for count in self.scheduling.values())

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Return how many batches make a step in an epoch, the first being 0."""
        return self.scheduling[max(start for start in self.epochs if start <= epoch)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not pl_module.automatic_optimization:
            raise MisconfigurationException(
                f"`{type(pl_module).__name__}` has `automatic_optimization = False` and steps optimizers itself, so "
                "`GradientAccumulationScheduler` would change nothing; leave it out, and accumulate in `training_step`"
            )
        if trainer.accumulate_grad_batches != 1:
            raise MisconfigurationException(
                f"`Trainer(accumulate_grad_batches={trainer.accumulate_grad_batches})` was given together with a "
                "`GradientAccumulationScheduler`; leave one of them out"
            )
        # Where a run goes on inside an epoch, `on_train_epoch_start` does not come.
        self._apply(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._apply(trainer)

    def _apply(self, trainer: Trainer) -> None:
        trainer.accumulate_grad_batches = self.get_accumulate_grad_batches(trainer.current_epoch)
