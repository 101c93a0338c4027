"""Counters: how far a run has come. With loader and random state, this is the only resumable position."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Progress:
    """How far training has come."""

    epoch: int = 0  #: epochs ended, their hooks included: ``trainer.current_epoch``
    epochs_trained: int = 0  #: epochs whose batches are all done; one more than ``epoch`` in ``on_train_epoch_end``
    global_step: int = 0  #: optimizer steps of the first optimizer
    batches: int = 0  #: training batches over all epochs
    batch_in_epoch: int = 0  #: training batches of this epoch that are done
    batches_that_stepped: int = 0  #: batches at whose end optimizers stepped, those that are wholly over
    inside_epoch: bool = False  #: whether an epoch has started and its batches are not all done
    validated_at_batch: int = -1  #: ``batches`` when validation last ran
    recorded_steps: int = 0  #: ``batches_that_stepped`` when a log boundary was last passed

    #: 1 between the optimizer's step and the next batch, when what is logged still belongs to the step just taken
    looking_back: int = 0

    @property
    def logging_step(self) -> int:
        """The x-axis of what training and validation log: the step under way or just taken, the first being 0."""
        return self.batches_that_stepped - self.looking_back

    def state_dict(self) -> dict[str, Any]:
        """Return the counters as plain numbers."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the counters back; those that an older file lacks keep their start."""
        for name in asdict(self):
            if name in state:
                setattr(self, name, state[name])
