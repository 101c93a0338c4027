"""When callbacks look: those that act on a metric at the end of an epoch or validation, others at log boundaries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fulmen.errors import nearest

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


def fits(trainer: Trainer) -> bool:
    """Return whether this is training: not the sanity check, not ``validate``, and not a ``fast_dev_run``."""
    return trainer.state.fn == "fit" and not trainer.sanity_checking and not trainer.fast_dev_run


def validates(trainer: Trainer) -> bool:
    """Return whether ``fit`` runs validation batches at all."""
    return bool(trainer.enable_validation) and sum(trainer.num_val_batches) > 0


def looks_at_epoch_end(trainer: Trainer) -> bool:
    """Return whether the end of each training epoch is the time to look.

    It is where nothing is validated, and where validation runs exactly once in every epoch: the metrics of
    the epoch's training and of its validation are then both there. With any other schedule the end of each
    validation is the time.
    """
    if not validates(trainer):
        return True
    if trainer.val_check_interval_s is not None:
        return False
    interval = trainer.val_check_interval
    # The integer 1 is a validation after each batch, the float 1.0 one after each epoch.
    return trainer.check_val_every_n_epoch == 1 and isinstance(interval, float) and interval == 1.0


def validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a validation runs right after training batch ``batch_idx``, before the next batch."""
    if not validates(trainer):
        return False
    every_n_epochs = trainer.check_val_every_n_epoch
    if every_n_epochs is not None and (trainer.current_epoch + 1) % every_n_epochs != 0:
        return False
    if trainer.val_check_interval_s is not None:
        return False  # nobody knows; the metric of the validation before is used
    if trainer.val_check_batch == math.inf:
        return bool(trainer.is_last_batch)
    done = batch_idx + 1
    if every_n_epochs is None:  # the interval counts on across epochs
        done += trainer.current_epoch * int(trainer.num_training_batches)
    return done % int(trainer.val_check_batch) == 0


def log_is_due(trainer: Trainer) -> bool:
    """Return whether the training step that is under way, or was just taken, ends at a log boundary."""
    every = trainer.log_every_n_steps
    return every > 0 and (trainer.logging_step + 1) % every == 0


def missing_monitor(owner: str, monitor: str, logged: Iterable[str]) -> str:
    """Say that ``monitor`` was not logged, what was, and what to do."""
    names = sorted(logged)
    return (
        f"`{owner}(monitor={monitor!r})`: nothing was logged under that name{nearest(monitor, names)}; "
        f"logged are: {', '.join(map(repr, names)) or 'no metrics'}. Call `self.log({monitor!r}, value)` in "
        f"the module, or monitor one of these"
    )
