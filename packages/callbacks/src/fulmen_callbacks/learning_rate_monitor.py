"""LearningRateMonitor: log the learning rates, and if asked momentum and weight decay, as they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor
from torch.optim import Optimizer

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen_callbacks._schedule import log_is_due

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.preflight import Plan
    from fulmen.trainer import Trainer

_FIRST_GROUP = "/pg1"


class LearningRateMonitor(Callback):
    """Log the learning rate of every parameter group of every optimizer.

    The keys are ``lr-Adam``; ``lr-Adam-1`` for a second optimizer of that class; ``lr-Adam/pg1``, ``lr-Adam/pg2``
    where it has several parameter groups, or the groups' own names where they have a ``name``. A scheduler's
    ``name`` in ``configure_optimizers`` takes the place of ``lr-Adam``. The values are also in
    ``trainer.callback_metrics``.

    Args:
        logging_interval: ``"step"`` for the rate of each step at a log boundary (``log_every_n_steps``), ``"epoch"``
            for that at each epoch's beginning; ``None`` for whichever the optimizer's scheduler steps by, and both
            where it has none.
        log_momentum: also log momentum, or the first of the betas, as ``lr-Adam-momentum``.
        log_weight_decay: also log weight decay, as ``lr-Adam-weight_decay``.
        log_key_prefix: put this before every key.

    Attributes:
        lrs: key -> all rates that were logged in this fit.
        last_momentum_values: key -> the last momentum that was logged.
        last_weight_decay_values: key -> the last weight decay that was logged.

    Raises:
        MisconfigurationException: ``logging_interval`` is unknown; or, when training begins, two parameter groups of
            one optimizer have the same name.
    """

    interface = (1, 0)

    def __init__(
        self,
        logging_interval: Literal["step", "epoch"] | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
        log_key_prefix: str | None = None,
    ) -> None:
        if logging_interval not in (None, "step", "epoch"):
            raise MisconfigurationException(
                f"`logging_interval` must be 'step', 'epoch' or None, but is {logging_interval!r}"
            )
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self.log_key_prefix = log_key_prefix or ""
        self.lrs: dict[str, list[Any]] = {}
        self.last_momentum_values: dict[str, Any] = {}
        self.last_weight_decay_values: dict[str, Any] = {}

    def wants(self, hook: str) -> bool:
        needless = {"step": "on_train_epoch_start", "epoch": "on_train_batch_start"}
        return self.logging_interval is None or hook != needless[self.logging_interval]

    def on_preflight(self, trainer: Trainer, pl_module: LightningModule, plan: Plan) -> None:
        plan.logs(self, *(f"{key}*" for _, _, keys in self._named(trainer) for key in keys))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        keys = [key for _, _, keys in self._named(trainer) for key in keys]
        self.lrs = {key: [] for key in keys}
        self.last_momentum_values = {f"{key}-momentum": None for key in keys}
        self.last_weight_decay_values = {f"{key}-weight_decay": None for key in keys}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, "epoch")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if log_is_due(trainer) and batch_idx % trainer.accumulate_grad_batches == 0:
            self._log(trainer, "step")

    def _log(self, trainer: Trainer, interval: str) -> None:
        """Log the rates of all optimizers whose turn it is."""
        values: dict[str, Any] = {}
        for optimizer, scheduler_interval, keys in self._named(trainer):
            if self.logging_interval is None and scheduler_interval not in (None, interval):
                continue
            for group, key in zip(optimizer.param_groups, keys, strict=True):
                values[key] = _own(group["lr"])
                self._history(key).append(values[key])
                if self.log_momentum:
                    momentum = group["betas"][0] if "betas" in group else group.get("momentum", 0)
                    values[f"{key}-momentum"] = self.last_momentum_values[f"{key}-momentum"] = _own(momentum)
                if self.log_weight_decay:
                    decay = _own(group.get("weight_decay", 0))
                    values[f"{key}-weight_decay"] = self.last_weight_decay_values[f"{key}-weight_decay"] = decay
        if values:
            trainer.log_metrics(values)

    def _history(self, key: str) -> list[Any]:
        """Return the rates logged under a key; the only group becomes the first when another one joins it."""
        if key not in self.lrs:
            before = key.removesuffix(_FIRST_GROUP)
            self.lrs[key] = self.lrs.pop(before, []) if key.endswith(_FIRST_GROUP) else []
        return self.lrs[key]

    # -------------------------------------------------------------------------------------------- names

    def _named(self, trainer: Trainer) -> Iterator[tuple[Optimizer, str | None, list[str]]]:
        """Yield each optimizer with the interval of its scheduler, if it has one, and a key for each group."""
        unnamed: Counter[type[Optimizer]] = Counter()
        scheduled: set[int] = set()
        for config in trainer.lr_scheduler_configs:
            optimizer = config.scheduler.optimizer
            scheduled.add(id(optimizer))
            yield optimizer, config.interval, self._keys(optimizer, config.name, unnamed)
        for optimizer in trainer.optimizers:
            if id(optimizer) not in scheduled:
                yield optimizer, None, self._keys(optimizer, None, unnamed)

    def _keys(self, optimizer: Optimizer, name: str | None, unnamed: Counter[type[Optimizer]]) -> list[str]:
        if name is None:
            unnamed[type(optimizer)] += 1
            count = unnamed[type(optimizer)]
            name = f"lr-{type(optimizer).__name__}" + (f"-{count - 1}" if count > 1 else "")
        name = self.log_key_prefix + name
        groups = optimizer.param_groups
        if len(groups) == 1:
            only = groups[0].get("name")
            return [f"{name}/{only}" if only else name]
        names = [str(group.get("name", f"pg{number}")) for number, group in enumerate(groups, start=1)]
        repeated = sorted(one for one, count in Counter(names).items() if count > 1)
        if repeated:
            raise MisconfigurationException(
                f"several parameter groups of {type(optimizer).__name__} are named {', '.join(map(repr, repeated))}, "
                "so their learning rates cannot be told apart; give each `name` once"
            )
        return [f"{name}/{one}" for one in names]


def _own(value: Any) -> Any:
    """Return a value that does not change when its owner changes theirs: rates may be tensors."""
    return value.detach().clone() if isinstance(value, Tensor) else value
