"""StochasticWeightAveraging: in the last epochs, average the weights of each epoch at a high learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import SWALR

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.optimizers import SchedulerConfig
from fulmen.rank import rank_zero_info
from fulmen_callbacks._averaging import WeightAverage, equally, named_tensors, one_by_one

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer

_BatchNorm = nn.modules.batchnorm._BatchNorm


class StochasticWeightAveraging(Callback):
    """From some epoch on, train at a high learning rate and average the weights: Stochastic Weight Averaging.

    In the average are the weights with which the first of these epochs begins, and those with which each of them ends.
    When training ends, the module holds the average, and batch norms get new statistics in one more pass over the
    training data. Until then validation and checkpoints see the weights that train; ``ModelCheckpoint(save_last=True)``
    keeps the average.

    The algorithm is that of Izmailov, Podoprikhin, Garipov, Vetrov and Wilson: Averaging Weights Leads to Wider Optima
    and Better Generalization, UAI 2018 (arXiv 1803.05407).

    Args:
        swa_lrs: the learning rate of these epochs, or one for each parameter group.
        swa_epoch_start: the first of these epochs: a whole number, the first epoch being 1, or a fraction of
            ``max_epochs``.
        annealing_epochs: epochs in which the learning rate goes over to ``swa_lrs``.
        annealing_strategy: how it does: ``"cos"`` or ``"linear"``.
        avg_fn: ``avg_fn(average, value, count)`` returns the new average of one tensor, where ``count`` were averaged
            before. By default all weigh the same.
        device: where the average is kept; ``None`` for the module's device.

    Attributes:
        n_averaged: how many moments are in the average.

    Raises:
        MisconfigurationException: an argument is out of range; or, when ``fit`` begins, there is not one optimizer and
            at most one scheduler, or the module steps its optimizer itself.
    """

    interface = (1, 0)
    changes_final_weights: ClassVar[bool] = True

    def __init__(
        self,
        swa_lrs: float | list[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: Literal["cos", "linear"] = "cos",
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        device: torch.device | str | None = "cpu",
    ) -> None:
        rates = swa_lrs if isinstance(swa_lrs, list) else [swa_lrs]
        if not rates or not all(isinstance(rate, (int, float)) and rate > 0 for rate in rates):
            raise MisconfigurationException(
                f"`swa_lrs` must be a number > 0, or one for each parameter group, but is {swa_lrs!r}"
            )
        is_fraction = isinstance(swa_epoch_start, float)
        if swa_epoch_start < (0 if is_fraction else 1) or (is_fraction and swa_epoch_start > 1):
            raise MisconfigurationException(
                "`swa_epoch_start` must be a whole number >= 1 (the first epoch is 1) or a fraction between 0.0 and "
                f"1.0, but is {swa_epoch_start!r}"
            )
        if annealing_strategy not in ("cos", "linear"):
            raise MisconfigurationException(
                f"`annealing_strategy` must be 'cos' or 'linear', not {annealing_strategy!r}"
            )
        if annealing_epochs < 0:
            raise MisconfigurationException(f"`annealing_epochs` must be >= 0, but is {annealing_epochs}")
        if avg_fn is not None and not callable(avg_fn):
            raise MisconfigurationException(f"`avg_fn` must be a function, but is {avg_fn!r}")
        self._swa_lrs = swa_lrs
        self._swa_epoch_start = swa_epoch_start
        self._annealing_epochs = annealing_epochs
        self._annealing_strategy = annealing_strategy
        self._avg_fn = avg_fn
        self._device = device
        self._start = 0  # the first of the epochs that are averaged, counted from 0
        self._max_epochs = -1
        self._scheduler: SWALR | None = None
        self._scheduler_state: dict[str, Any] | None = None  # of one that is over
        self._average: WeightAverage | None = None
        self._latest_update_epoch = -1
        self._loaded: dict[str, Any] | None = None  # a checkpoint's state, until `fit` begins
        self._before_transfer: dict[str, Tensor] | None = None  # the weights that trained, once the average is in place

    @property
    def n_averaged(self) -> int:
        """How many moments are in the average."""
        return 0 if self._average is None else self._average.count

    @property
    def swa_start(self) -> int:
        """The first epoch that is averaged, counted from 0."""
        return self._start

    @property
    def swa_end(self) -> float:
        """The last epoch that is averaged, counted from 0; ``inf`` where training has no end."""
        return float("inf") if self._max_epochs == -1 else self._max_epochs - 1

    # --------------------------------------------------------------------------------------------- hooks

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)
        self._max_epochs = trainer.max_epochs
        start = self._swa_epoch_start
        first = int(trainer.max_epochs * start) if isinstance(start, float) else start
        self._start = max(first - 1, 0)
        state, self._loaded = self._loaded, None
        self._average = self._scheduler = self._scheduler_state = self._before_transfer = None
        self._latest_update_epoch = -1
        if state is None:
            return
        self._latest_update_epoch = state["latest_update_epoch"]
        if state["n_averaged"]:
            self._average = WeightAverage(pl_module, self._device, "left")
            self._average.load(state["average_model_state"], state["n_averaged"])
        if state["scheduler_state"] is not None:
            # In its place before the trainer gives the schedulers their state back, which it gives to this one, then.
            self._take_over_learning_rate(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if not self._start <= epoch <= self.swa_end:
            return
        if self._scheduler is None:
            self._take_over_learning_rate(trainer)
        if epoch > self._latest_update_epoch:
            self._latest_update_epoch = epoch
            self._update(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._average is None:
            return
        if trainer.current_epoch > self._latest_update_epoch:  # an epoch was trained since
            self._latest_update_epoch = trainer.current_epoch
            self._update(pl_module)
        self._before_transfer = {
            name: value.detach().to(self._device or value.device, copy=True)
            for name, value in named_tensors(pl_module, buffers=True).items()
        }
        self._average.swap(pl_module)
        batch_norms = [one for one in pl_module.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
        if batch_norms:
            with _new_statistics(batch_norms):
                trainer.pass_over_training_data()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._scheduler is not None:
            self._scheduler_state, self._scheduler = self._scheduler.state_dict(), None

    def _update(self, pl_module: LightningModule) -> None:
        if self._average is None:
            self._average = WeightAverage(pl_module, self._device, "left")
        else:
            self._average.update(pl_module, equally if self._avg_fn is None else one_by_one(self._avg_fn))

    def _take_over_learning_rate(self, trainer: Trainer) -> None:
        """Put the schedule of these epochs in place of the user's."""
        optimizer = trainer.optimizers[0]
        groups = optimizer.param_groups
        rates = self._swa_lrs if isinstance(self._swa_lrs, list) else [self._swa_lrs] * len(groups)
        if len(rates) != len(groups):
            raise MisconfigurationException(
                f"`swa_lrs={self._swa_lrs}` has {len(rates)} rates, but the optimizer has {len(groups)} parameter "
                "groups; give one for each, or a single number"
            )
        for rate, group in zip(rates, groups, strict=True):
            group["initial_lr"] = rate
        self._scheduler = SWALR(
            optimizer,
            swa_lr=rates,  # type: ignore[arg-type]  # torch accepts a list
            anneal_epochs=self._annealing_epochs,
            anneal_strategy=self._annealing_strategy,
            last_epoch=trainer.max_epochs if self._annealing_strategy == "cos" else -1,
        )
        configs = trainer.lr_scheduler_configs
        if configs:
            rank_zero_info(
                "from epoch %d on, the learning rate is that of StochasticWeightAveraging, no longer of %s",
                trainer.current_epoch,
                type(configs[0].scheduler).__name__,
            )
        configs[:] = [SchedulerConfig(self._scheduler)]

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        name = type(pl_module).__name__
        if not pl_module.automatic_optimization:
            raise MisconfigurationException(
                f"`StochasticWeightAveraging` needs automatic optimization, but `{name}` steps its optimizers itself"
            )
        for what, count, fits in (
            ("optimizers", len(trainer.optimizers), len(trainer.optimizers) == 1),
            ("schedulers", len(trainer.lr_scheduler_configs), len(trainer.lr_scheduler_configs) <= 1),
        ):
            if not fits:
                raise MisconfigurationException(
                    f"`StochasticWeightAveraging` works with one optimizer and at most one scheduler, but `{name}` has "
                    f"{count} {what}"
                )
        if isinstance(self._swa_epoch_start, float) and trainer.max_epochs == -1:
            raise MisconfigurationException(
                f"`swa_epoch_start={self._swa_epoch_start}` is a fraction of `max_epochs`, but training has no end; "
                "give the number of an epoch"
            )

    # --------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        state = {
            "n_averaged": self.n_averaged,
            "latest_update_epoch": self._latest_update_epoch,
            "scheduler_state": self._scheduler_state if self._scheduler is None else self._scheduler.state_dict(),
            "average_model_state": None if self._average is None else dict(self._average.values),
        }
        if self._before_transfer is not None:
            # The average has left its place: it is the module's, and those of the module are here.
            state["average_model_state"] = None
            state["current_model_state"] = self._before_transfer
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("callbacks", {}).get(self.state_key) or {}
        if trainer.state.fn == "fit" and state.get("current_model_state") is not None:
            # Training goes on where it ended, not from the average that it ended with.
            state["average_model_state"] = dict(checkpoint["state_dict"])
            for name, value in named_tensors(pl_module, buffers=True).items():
                if name in state["current_model_state"]:
                    value.detach().copy_(state["current_model_state"][name])


@contextmanager
def _new_statistics(batch_norms: list[Any]) -> Iterator[None]:
    """Let batch norms average the statistics of all batches inside, and nothing from before."""
    before = [(layer.momentum, layer.training) for layer in batch_norms]
    for layer in batch_norms:
        layer.reset_running_stats()
        layer.momentum = None  # all batches weigh the same
        layer.training = True
    try:
        yield
    finally:
        for layer, (momentum, training) in zip(batch_norms, before, strict=True):
            layer.momentum, layer.training = momentum, training
