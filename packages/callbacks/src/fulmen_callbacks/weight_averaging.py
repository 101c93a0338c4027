"""WeightAveraging: train as usual, and validate, save and end with an average of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen_callbacks._averaging import Rule, WeightAverage, equally, one_by_one

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class WeightAveraging(Callback):
    """Keep a running average of the weights beside those that train.

    Validation sees the average; a checkpoint's ``state_dict`` is the average, with the weights that train under
    ``current_model_state``, so that a run resumes exactly; when training ends, the module holds the average. Before
    the first update all of this is as it is without the callback.

    A subclass decides by :meth:`should_update` when the average takes in the weights; here, after every optimizer step.

    Args:
        device: where the average is kept; ``None`` for the module's device.
        use_buffers: average buffers, such as batch norm statistics, as well; with ``False``
            they are copied at each update.
        avg_fn: ``avg_fn(average, value, count)`` returns the new average of one tensor, where ``count`` were averaged
            before. By default all weigh the same.
        multi_avg_fn: the same for a list of tensors and a list of values, changing the averages in place.

    Raises:
        MisconfigurationException: both ``avg_fn`` and ``multi_avg_fn`` are given.
    """

    interface = (1, 0)

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Rule | None = None,
    ) -> None:
        if avg_fn is not None and multi_avg_fn is not None:
            raise MisconfigurationException(
                "`avg_fn` and `multi_avg_fn` are two ways to say the same; give one of them"
            )
        self._device = device
        self._use_buffers = use_buffers
        self._avg_fn = avg_fn
        self._multi_avg_fn = multi_avg_fn
        self._average: WeightAverage | None = None  # from the first update on
        self._is_swapped = False  # whether the module holds the average, and `_average` the weights that train
        self._latest_update_step = 0
        self._latest_update_epoch = -1
        self._kept: tuple[dict[str, Tensor], int] | None = None  # a checkpoint's average, until `fit` begins

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the average takes in the weights now; asked after each optimizer step and each epoch.

        Args:
            step_idx: the number of the step just taken, the first being 0; ``None`` at the end of an epoch.
            epoch_idx: the number of the epoch that ends; ``None`` after a step.
        """
        return step_idx is not None

    def _rule(self) -> Rule:
        """Return how the average takes in the weights."""
        if self._avg_fn is not None:
            return one_by_one(self._avg_fn)
        return self._multi_avg_fn or equally

    # --------------------------------------------------------------------------------------------- hooks

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._average, self._is_swapped = None, False
        if self._kept is not None:
            (values, count), self._kept = self._kept, None
            self._average = WeightAverage(pl_module, self._device, "averaged" if self._use_buffers else "copied")
            self._average.load(values, count)
        elif trainer.ckpt_path is None:
            self._latest_update_step, self._latest_update_epoch = trainer.global_step, trainer.current_epoch - 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self._latest_update_step = step
            self._update(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self._latest_update_epoch = epoch
            self._update(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._swap(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._is_swapped and trainer.state.fn == "fit":  # it happened in validation
            self._swap(pl_module)

    def _update(self, pl_module: LightningModule) -> None:
        if self._average is None:
            self._average = WeightAverage(pl_module, self._device, "averaged" if self._use_buffers else "copied")
        else:
            self._average.update(pl_module, self._rule())

    def _swap(self, pl_module: LightningModule) -> None:
        if self._average is not None:
            self._average.swap(pl_module)
            self._is_swapped = not self._is_swapped

    # --------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "latest_update_step": self._latest_update_step,
            "latest_update_epoch": self._latest_update_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest_update_step = state_dict["latest_update_step"]
        self._latest_update_epoch = state_dict.get("latest_update_epoch", -1)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._average is None:
            return
        of_module = checkpoint["state_dict"]
        other = {name: self._average.values.get(name, value) for name, value in of_module.items()}
        average, current = (of_module, other) if self._is_swapped else (other, of_module)
        checkpoint["state_dict"], checkpoint["current_model_state"] = average, current
        checkpoint["averaging_state"] = {"n_averaged": torch.tensor(self._average.count)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._kept = None
        if trainer.state.fn != "fit" or "current_model_state" not in checkpoint:
            return
        count = int(checkpoint["averaging_state"]["n_averaged"])
        if count > 0:  # other trainers keep an average that nothing was taken into yet
            self._kept = dict(checkpoint["state_dict"]), count
        pl_module.load_state_dict(checkpoint["current_model_state"], strict=pl_module.strict_loading)


class EMAWeightAveraging(WeightAveraging):
    """Keep an exponential moving average of the weights: ``decay * average + (1 - decay) * weights``.

    For what is done with it, see :class:`WeightAveraging`.

    Args:
        device: where the average is kept; ``None`` for the module's device.
        use_buffers: average buffers as well.
        decay: how much of the average stays at an update, 0 to 1.
        update_every_n_steps: update after the first of every so many optimizer steps; 0 for never after a step.
        update_starting_at_step: not before this step; the first is 0.
        update_starting_at_epoch: also update at the end of each epoch, from this one on; the first is 0.

    Raises:
        MisconfigurationException: an argument is out of range.
    """

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        if not 0 <= decay <= 1:
            raise MisconfigurationException(f"`decay` must be between 0 and 1, but is {decay}; 0.999 is usual")
        if update_every_n_steps < 0:
            raise MisconfigurationException(
                f"`update_every_n_steps` must be >= 0, but is {update_every_n_steps}; use 1 for every step"
            )
        super().__init__(device, use_buffers)
        self.decay = decay
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the average takes in the weights now, by the three ``update_`` arguments."""
        if step_idx is not None:
            every, first = self.update_every_n_steps, self.update_starting_at_step
            return every > 0 and step_idx % every == 0 and (first is None or step_idx >= first)
        first = self.update_starting_at_epoch
        return epoch_idx is not None and first is not None and epoch_idx >= first

    def _rule(self) -> Rule:
        weight = 1 - self.decay

        def exponentially(averages: list[Tensor], values: list[Tensor], count: int) -> None:
            torch._foreach_lerp_(averages, values, weight)

        return exponentially
