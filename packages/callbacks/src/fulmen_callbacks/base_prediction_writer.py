"""BasePredictionWriter: write what ``predict_step`` returns, in a form of your own."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class WriteInterval(str, Enum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    __str__ = str.__str__

    @property
    def on_batch(self) -> bool:
        """Whether after each batch."""
        return self in (self.BATCH, self.BATCH_AND_EPOCH)

    @property
    def on_epoch(self) -> bool:
        """Whether at the end, all at once."""
        return self in (self.EPOCH, self.BATCH_AND_EPOCH)


class BasePredictionWriter(Callback):
    """Write predictions: define :meth:`write_on_batch_end`, :meth:`write_on_epoch_end`, or both.

    With ``trainer.predict(..., return_predictions=False)`` the trainer itself keeps none of them.

    Args:
        write_interval: ``"batch"`` to be called after each batch, ``"epoch"`` once with all of them, or
            ``"batch_and_epoch"``.

    Raises:
        MisconfigurationException: ``write_interval`` is unknown.
    """

    interface = (1, 0)
    reads_batch_indices: ClassVar[bool] = True

    def __init__(self, write_interval: Literal["batch", "epoch", "batch_and_epoch"] = "batch") -> None:
        choices = [one.value for one in WriteInterval]
        if write_interval not in choices:
            raise MisconfigurationException(
                f"`write_interval` must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}, but is "
                f"{write_interval!r}"
            )
        self.interval = WriteInterval(write_interval)
        self._predictions: list[list[Any]] = []  # of each loader

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the prediction of one batch.

        Args:
            trainer: the trainer.
            pl_module: the module.
            prediction: what ``predict_step`` returned.
            batch_indices: the samples of the batch, as indices into its dataset; ``None`` where the loader has none.
            batch: the batch.
            batch_idx: its number, counted within its loader.
            dataloader_idx: the number of its loader.
        """
        raise NotImplementedError(f"`{type(self).__name__}` writes after each batch: define `write_on_batch_end`")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write all predictions.

        Args:
            trainer: the trainer.
            pl_module: the module.
            predictions: what ``predict_step`` returned, in order; one list for each loader where there are several.
            batch_indices: for each loader a list with the samples of each batch, as indices into its dataset.
        """
        raise NotImplementedError(f"`{type(self).__name__}` writes at the end: define `write_on_epoch_end`")

    # --------------------------------------------------------------------------------------------- hooks

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._predictions = [[] for _ in trainer.num_predict_batches]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.interval.on_epoch:
            self._predictions[dataloader_idx].append(outputs)
        if self.interval.on_batch:
            indices = trainer.predict_loop.current_batch_indices
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.interval.on_epoch:
            predictions, self._predictions = self._predictions, []
            indices = trainer.predict_loop.epoch_batch_indices
            self.write_on_epoch_end(
                trainer, pl_module, predictions if len(predictions) > 1 else predictions[0], indices
            )
