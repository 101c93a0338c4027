"""Optimizers and schedulers: what ``configure_optimizers`` may return, and the wrappers for manual optimization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fulmen.advice import advise
from fulmen.errors import MisconfigurationException, nearest


@dataclass
class SchedulerConfig:
    """A learning-rate scheduler and when it steps."""

    scheduler: Any
    name: str | None = None
    interval: str = "epoch"  #: ``epoch`` or ``step``
    frequency: int = 1  #: every so many epochs or steps
    reduce_on_plateau: bool = False
    monitor: str | None = None  #: the logged key that a plateau scheduler looks at
    strict: bool = True  #: whether a missing key is an error


_CONFIG_KEYS = tuple(field.name for field in fields(SchedulerConfig))
_OPTIMIZER_KEYS = ("optimizer", "lr_scheduler", "monitor", "frequency")
_NAMED_KEYS = (*_OPTIMIZER_KEYS, "due", "step")

_ACCEPTED = (
    "an optimizer, a list of them, (optimizers, schedulers), a dict with 'optimizer' and 'lr_scheduler', a list of "
    "such dicts, a dict of name -> optimizer or such a dict, or None"
)


@dataclass
class NamedOptimizer:
    """One of several optimizers that automatic optimization steps, each with its own step function."""

    name: str
    optimizer: Optimizer
    frequency: int = 1  #: steps in every n-th optimization step
    #: whether it takes part in the optimizer step of this number, 1 being the first; in place of a frequency
    due: Callable[[int], bool] | None = None
    step: Any = None  #: its step function or that method's name; ``None`` for ``training_step_NAME``


def parse_optimizers(returned: Any, automatic: bool) -> tuple[list[Optimizer], list[SchedulerConfig]]:
    """Return the optimizers and schedulers that ``configure_optimizers`` returned, whichever form it used.

    Raises:
        MisconfigurationException: the form is not known, or a scheduler's settings do not go together.
    """
    monitor = None
    schedulers: list[Any] = []
    if returned is None:
        advise(
            "FUL011",
            "`configure_optimizers` returned None, so no weights are trained; return an optimizer unless that is meant",
        )
        optimizers: list[Any] = []
    elif _is_optimizer(returned):
        optimizers = [returned]
    elif is_named(returned):
        optimizers = []
        for item in returned.values():
            own, theirs = (
                _of_dict(item, (*_OPTIMIZER_KEYS, "due", "step")) if isinstance(item, Mapping) else ([item], [])
            )
            optimizers += own
            schedulers += theirs
    elif isinstance(returned, Mapping):
        optimizers, schedulers = _of_dict(returned)
        monitor = returned.get("monitor")
    elif isinstance(returned, (list, tuple)) and len(returned) == 2 and _are_pairs(returned):
        first, second = returned
        optimizers = list(first) if isinstance(first, (list, tuple)) else [first]
        schedulers = list(second) if isinstance(second, (list, tuple)) else [second]
    elif isinstance(returned, (list, tuple)) and all(isinstance(item, Mapping) for item in returned):
        optimizers = []
        for item in returned:
            own, theirs = _of_dict(item)
            optimizers += own
            schedulers += theirs
    elif isinstance(returned, (list, tuple)):
        optimizers = list(returned)
    else:
        raise _bad_form(returned)
    for optimizer in optimizers:
        if not _is_optimizer(optimizer):
            raise _bad_form(optimizer)
    configs = [_config(item, monitor, automatic) for item in schedulers if item is not None]
    return optimizers, configs


def is_named(returned: Any) -> bool:
    """Return whether ``configure_optimizers`` returned optimizers by name: ``{"generator": ..., "critic": ...}``."""
    return (
        isinstance(returned, Mapping)
        and len(returned) > 0
        and "optimizer" not in returned
        and all(
            _is_optimizer(item) or (isinstance(item, Mapping) and "optimizer" in item) for item in returned.values()
        )
    )


def named_optimizers(returned: Mapping[str, Any]) -> list[NamedOptimizer]:
    """Return the optimizers of a dict of names, in its order.

    Raises:
        MisconfigurationException: a name is no identifier, or a frequency is no whole number >= 1.
    """
    named = []
    for name, item in returned.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise MisconfigurationException(
                f"`configure_optimizers` named an optimizer {name!r}; use a word that can end a method's name, such as "
                "'generator' for `training_step_generator`"
            )
        settings = item if isinstance(item, Mapping) else {"optimizer": item}
        frequency = settings.get("frequency", 1)
        if isinstance(frequency, bool) or not isinstance(frequency, int) or frequency < 1:
            raise MisconfigurationException(
                f"the `frequency` of the optimizer {name!r} must be a whole number >= 1, but is {frequency!r}; 5 steps "
                "it in every fifth step"
            )
        named.append(NamedOptimizer(name, settings["optimizer"], frequency, settings.get("due"), settings.get("step")))
    return named


def _is_optimizer(value: Any) -> bool:
    """An optimizer of torch's, or a class of the user's with the methods that training calls."""
    return isinstance(value, Optimizer) or (
        all(callable(getattr(value, name, None)) for name in ("step", "zero_grad", "state_dict"))
        and hasattr(value, "param_groups")
    )


def _are_pairs(returned: Any) -> bool:
    first, second = returned
    return isinstance(first, (list, tuple)) or (
        isinstance(second, (list, tuple)) and not _is_optimizer(second) and not isinstance(first, Mapping)
    )


def _of_dict(returned: Mapping[str, Any], keys: tuple[str, ...] = _OPTIMIZER_KEYS) -> tuple[list[Any], list[Any]]:
    unknown = [key for key in returned if key not in keys]
    if unknown:
        advise(
            "FUL013",
            f"`configure_optimizers` returned the key {unknown[0]!r}{nearest(unknown[0], keys)}, which is "
            f"not looked at; known are: {', '.join(keys)}",
        )
    if "optimizer" not in returned:
        raise _bad_form(returned)
    scheduler = returned.get("lr_scheduler")
    schedulers = list(scheduler) if isinstance(scheduler, (list, tuple)) else [scheduler]
    if returned.get("monitor") is not None:
        schedulers = [
            {"monitor": returned["monitor"], **(item if isinstance(item, Mapping) else {"scheduler": item})}
            for item in schedulers
            if item is not None
        ]
    return [returned["optimizer"]], schedulers


def _config(given: Any, monitor: str | None, automatic: bool) -> SchedulerConfig:
    settings: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    scheduler = settings.get("scheduler")
    if scheduler is None:
        raise MisconfigurationException(
            f"the scheduler's dict must hold the scheduler as 'scheduler', but has only: {', '.join(settings)}"
        )
    has_methods = all(callable(getattr(scheduler, name, None)) for name in ("step", "state_dict"))
    if isinstance(scheduler, type) or not has_methods:
        raise MisconfigurationException(
            f"a scheduler needs the methods `step` and `state_dict`, but `configure_optimizers` returned "
            f"{scheduler!r:.80}, a {type(scheduler).__name__}; return one of torch.optim.lr_scheduler, or a class of "
            "your own with them"
        )
    unknown = [key for key in settings if key not in _CONFIG_KEYS]
    if unknown:
        advise(
            "FUL013",
            f"the scheduler's setting {unknown[0]!r}{nearest(unknown[0], _CONFIG_KEYS)} is not known and ignored; "
            f"known are: {', '.join(_CONFIG_KEYS)}",
        )
    settings = {key: value for key, value in settings.items() if key in _CONFIG_KEYS}
    idle = [key for key in settings if key not in ("scheduler", "name")]
    if idle and not automatic:
        advise(
            "FUL014",
            f"the scheduler's {', '.join(map(repr, idle))} {'has' if len(idle) == 1 else 'have'} no effect in manual "
            "optimization, where you call `self.lr_schedulers().step()` yourself; leave them off",
        )
    if isinstance(scheduler, ReduceLROnPlateau):
        settings["reduce_on_plateau"] = True
    config = SchedulerConfig(**settings)
    config.monitor = config.monitor or monitor
    if config.interval not in ("epoch", "step"):
        raise MisconfigurationException(
            f"the scheduler's `interval` must be 'epoch' or 'step', but is {config.interval!r}"
        )
    if isinstance(config.frequency, bool) or not isinstance(config.frequency, int) or config.frequency < 1:
        raise MisconfigurationException(
            f"the scheduler's `frequency` must be a whole number >= 1, but is {config.frequency!r}"
        )
    if config.reduce_on_plateau and config.monitor is None and automatic:
        raise MisconfigurationException(
            "ReduceLROnPlateau needs to know which logged value to look at; return {'optimizer': ..., 'lr_scheduler': "
            "{'scheduler': ..., 'monitor': 'val_loss'}} from `configure_optimizers`"
        )
    return config


def _bad_form(value: Any) -> MisconfigurationException:
    return MisconfigurationException(
        f"`configure_optimizers` must return {_ACCEPTED}, but returned {type(value).__name__}: {value!r:.100}"
    )


class LightningOptimizer:
    """An optimizer as manual optimization gets it: ``step`` counts, calls the hooks and obeys the precision.

    Everything else is the optimizer's own, its class for ``isinstance`` too: a scheduler accepts it.
    """

    def __init__(self, optimizer: Optimizer, step: Callable[[Optimizer, Callable[[], Any] | None], Any]) -> None:
        self._optimizer = optimizer
        self._step = step
        self._toggle: Callable[[Optimizer], None] = lambda _: None
        self._untoggle: Callable[[Optimizer], None] = lambda _: None

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._optimizer)

    @property
    def optimizer(self) -> Optimizer:
        """The bare optimizer."""
        return self._optimizer

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Step the optimizer; ``closure`` computes the loss and its gradients, where the optimizer wants one."""
        return self._step(self._optimizer, closure)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Let only this optimizer's parameters require gradients inside the block."""
        self._toggle(self._optimizer)
        try:
            yield
        finally:
            self._untoggle(self._optimizer)

    def __getattr__(self, name: str) -> Any:
        if name == "_optimizer":  # asked for by `copy` and `pickle` before there is one
            raise AttributeError(name)
        return getattr(self._optimizer, name)

    def __repr__(self) -> str:
        return f"LightningOptimizer({self._optimizer!r})"
