"""What ``self.log`` collected: reduction over an epoch, means, and the keys under which values go out.

A value stays on its device as a detached tensor. It is added up only at a log boundary or an epoch's end, all steps
at once, so that a call of ``self.log`` costs one copy of a scalar and no device sync.

The arithmetic of an epoch's mean is the field's standard: values weighted by batch size, summed in order in float32
(float64 where a value is), divided by the summed weights.

This file is longer than 400 lines because the checks of what users log stand beside the values that they guard.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fulmen.advice import advise
from fulmen.errors import MisconfigurationException
from fulmen.metric import Metric, step_value

Reduction = Literal["mean", "sum", "min", "max"] | Callable[[Tensor], Any]

#: Formats in which values are kept; others become the default one.
_KEPT_DTYPES = (torch.float32, torch.float64)

#: Values of one key that wait to be added up; bounds memory where log boundaries are far apart.
_MOST_PENDING = 512

_STEP_HOOKS = (
    "training_step",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "clip_gradients",
    "lr_scheduler_step",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_start",
    "on_train_batch_end",
)
_EVALUATION_HOOKS = tuple(
    hook.format(stage)
    for stage in ("validation", "test")
    for hook in ("{}_step", "on_{}_batch_start", "on_{}_batch_end")
)
_EPOCH_HOOKS = (
    "on_train_start",
    *(f"on_{stage}_epoch_{edge}" for stage in ("train", "validation", "test") for edge in ("start", "end")),
    "on_validation_start",
    "on_test_start",
)

#: hook -> (default of on_step, default of on_epoch, whether on_step is allowed); hooks not listed cannot log.
LOG_LEVELS: dict[str, tuple[bool, bool, bool]] = {
    **dict.fromkeys(_STEP_HOOKS, (True, False, True)),
    **dict.fromkeys(_EVALUATION_HOOKS, (False, True, True)),
    **dict.fromkeys(_EPOCH_HOOKS, (False, True, False)),
}


class Slot:
    """All values logged under one name in one hook (and by one of several loaders) during one epoch."""

    __slots__ = (
        "arguments",
        "dataloader_idx",
        "dtype",
        "epoch_key",
        "is_fresh",
        "key",
        "last",
        "logger",
        "metric",
        "on_epoch",
        "on_step",
        "pending",
        "prog_bar",
        "reduce",
        "results",
        "step_key",
        "total",
        "weight",
        "weights",
    )

    def __init__(
        self,
        results: Results,
        key: str,
        arguments: tuple[Any, ...],
        reduce: Reduction,
        on_step: bool,
        on_epoch: bool,
        dataloader_idx: int | None,
    ) -> None:
        self.results = results
        self.arguments = arguments
        self.prog_bar: bool = arguments[0]
        self.logger: bool = arguments[1] is not False
        self.reduce = reduce
        self.on_step = on_step
        self.on_epoch = on_epoch
        self.dataloader_idx = dataloader_idx
        self.key = key
        forks = on_step and on_epoch
        self.step_key, self.epoch_key = (f"{key}_step", f"{key}_epoch") if forks else (key, key)
        if dataloader_idx is not None and arguments[5]:
            suffix = f"/dataloader_idx_{dataloader_idx}"
            self.key += suffix
            self.step_key += suffix
            self.epoch_key += suffix
        self.metric: Metric | None = None
        #: the least precise format in which values are added up
        self.dtype = _default_dtype()
        self.reset()

    def reset(self) -> None:
        """Forget everything; the values of the next epoch follow."""
        self.last: Any = None  # the newest value
        self.pending: list[Any] = []  # values not yet added up
        self.weights: list[int] = []  # a weight for each of them
        self.total: Any = None  # numpy scalar, tensor on a device, or list of tensors for a callable reduction
        self.weight = 0
        self.is_fresh = False  # whether anything was logged since the last reset

    @property
    def reduction_name(self) -> str:
        """The name of the reduction; ``mean``, which leaves a single value as it is, for a function."""
        return self.reduce if isinstance(self.reduce, str) else "mean"

    def restore(self, last: Any, total: Any, weight: int) -> None:
        """Go on from where a checkpoint was written."""
        self.last, self.total, self.weight = last, total, weight
        self.is_fresh = True

    def add(self, value: Any, batch_size: int | None) -> None:
        """Add one value: a number, a one-element tensor, or a metric object."""
        if isinstance(value, Tensor):
            if value.numel() != 1:
                raise _not_a_scalar(self.key, value)
            # A copy, for the user may change theirs in place after logging it.
            if type(value) is Tensor and value.is_cpu and value.dtype is torch.float32:
                value = value.data.numpy().item()  # a third quicker than a clone, and quicker to add up
            else:
                value = _own_copy(value)
        elif not isinstance(value, (float, int)):
            if isinstance(value, Metric):
                self._add_metric(value)
                return
            if not isinstance(value, (np.number, np.bool_)):
                raise _cannot_be_logged(self.key, value)
            value = float(value)
        self.last = value
        self.is_fresh = True
        if self.on_epoch:
            self.pending.append(value)
            if self.reduce == "mean":
                if batch_size is None:
                    results = self.results
                    batch_size = results.known_batch_size or results.batch_size()
                self.weights.append(batch_size)
            if len(self.pending) >= _MOST_PENDING:
                self.fold()

    def _add_metric(self, metric: Metric) -> None:
        self.metric = metric
        self.is_fresh = True
        if self.on_step:
            value = step_value(metric)
            self.last = _own_copy(value) if isinstance(value, Tensor) and value.numel() == 1 else None

    def fold(self) -> None:
        """Add up what is pending, without waiting for a device."""
        if not self.pending:
            return
        pending, weights, self.pending, self.weights = self.pending, self.weights, [], []
        if not isinstance(self.reduce, str):
            self.total = [*(self.total or ()), *(_as_tensor(value) for value in pending)]
            return
        values: Any
        tensors = [value for value in pending if isinstance(value, Tensor)]
        # A subclass of Tensor may have no numpy array either.
        device = next((one.device for one in tensors if one.device.type != "cpu" or type(one) is not Tensor), None)
        if device is not None:
            values = torch.stack([_as_tensor(value).to(device) for value in pending])
            on_device = None if self.total is None else _as_tensor(self.total).to(device)
            self.total = _fold_on_device(self.reduce, on_device, values, weights)
        else:
            if tensors:
                values = torch.stack([_as_tensor(value, self.dtype) for value in pending])
                values = values.to(torch.promote_types(values.dtype, self.dtype)).numpy()
            else:
                with np.errstate(over="ignore"):  # a number beyond float32 is inf, as torch has it
                    values = np.array(pending, dtype=np.float64 if self.dtype is torch.float64 else np.float32)
            total = self.total.numpy()[()] if isinstance(self.total, Tensor) else self.total  # one of a checkpoint
            self.total = _fold_on_host(self.reduce, total, values, weights)
        self.weight += sum(weights)

    def step_value(self) -> Any:
        """The newest value, on its device; ``None`` where a metric object keeps none for a single batch."""
        if self.dtype is torch.float64 and isinstance(self.last, (int, float)):
            return torch.tensor(self.last, dtype=torch.float64)
        return self.last

    def epoch_value(self) -> Any:
        """The value over the epoch so far, as a tensor on its device."""
        if self.metric is not None:
            value = self.metric.compute()
            if isinstance(value, Tensor) and value.numel() == 1:
                return _own_copy(value)
            if isinstance(value, (int, float, np.number)):
                return torch.tensor(float(value))
            raise MisconfigurationException(
                f"`self.log({self.key!r}, ...)` was given a metric whose `compute()` returned "
                f"{_describe(value)}; a logged metric must give one number: log the parts with `self.log_dict`"
            )
        self.fold()
        if not isinstance(self.reduce, str):
            reduced = self.reduce(torch.stack(self.total))
            if isinstance(reduced, Tensor) and reduced.numel() == 1:
                return reduced.reshape(())
            if isinstance(reduced, (int, float, np.number)):
                return _as_tensor(float(reduced))
            raise MisconfigurationException(
                f"`reduce_fx` of `self.log({self.key!r}, ...)` returned {_describe(reduced)}; it must make one "
                "number of the stacked values"
            )
        total = self.total
        if self.reduce == "mean":
            with np.errstate(all="ignore"):  # nothing but empty batches gives 0 / 0, which is nan
                total = total / type(total)(self.weight) if isinstance(total, np.number) else total / self.weight
        return total if isinstance(total, Tensor) else torch.from_numpy(np.asarray(total))


def _value_of_function(slot: Slot) -> Any:
    """Return what the user's function makes of the values so far; ``None`` where it needs more of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return slot.epoch_value()
        except Exception:
            return None


def _fold_on_host(reduce: str, total: Any, values: np.ndarray[Any, Any], weights: Sequence[int]) -> np.number[Any]:
    """Add ``values`` to ``total`` one after the other, in their own precision."""
    with np.errstate(all="ignore"):  # a loss that overflows is inf or nan, as torch has it
        if reduce == "mean":
            values = values * np.asarray(weights, dtype=values.dtype)
        if total is not None:
            values = np.concatenate([np.asarray(total)[None], values])
        if reduce in ("min", "max"):
            ufunc = np.minimum if reduce == "min" else np.maximum
            least: np.number[Any] = ufunc.reduce(values)
            return least
        # `accumulate` adds strictly in order, which `sum` does not.
        summed: np.number[Any] = np.add.accumulate(values)[-1]
        return summed


def _fold_on_device(reduce: str, total: Tensor | None, values: Tensor, weights: Sequence[int]) -> Tensor:
    if reduce == "mean":
        if len(set(weights)) == 1:
            values = values * weights[0]
        else:
            values = values * torch.tensor(weights, dtype=values.dtype).to(values.device, non_blocking=True)
    if total is not None:
        values = torch.cat([total.reshape(1), values])
    if reduce in ("min", "max"):
        return values.amin() if reduce == "min" else values.amax()
    return values.sum()


class Scope:
    """The hook in which ``self.log`` is called now (and the loader, where there are several)."""

    __slots__ = ("dataloader_idx", "hook", "slots")

    def __init__(self, hook: str, dataloader_idx: int | None) -> None:
        self.hook = hook
        self.dataloader_idx = dataloader_idx
        self.slots: dict[str, Slot] = {}


class Results:
    """Everything that was logged during one epoch of training, validation or testing."""

    def __init__(self, *, training: bool, has_logger: bool = True) -> None:
        self.training = training
        self.has_logger = has_logger
        self._size_of: Callable[[Any], int] = self._size_of_first_batch
        self.batch: Any = None
        self.known_batch_size: int | None = None
        #: whether anything is logged per step
        self.has_step_values = False
        self._scopes: dict[tuple[str, int | None], Scope] = {}
        self.scope = self.scope_of("setup")
        self._slots: list[Slot] = []
        self._restored: dict[tuple[str, int | None, str], Mapping[str, Any]] = {}  # of slots that stand in

    def scope_of(self, hook: str, dataloader_idx: int | None = None) -> Scope:
        """Return the scope of a hook; a loop looks its scopes up once and then assigns ``results.scope``."""
        key = (hook, dataloader_idx)
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(hook, dataloader_idx)
        return scope

    def begin_batch(self, batch: Any) -> None:
        """Note the batch whose size weights the values that are logged next."""
        self.batch = batch
        self.known_batch_size = None

    def batch_size(self) -> int:
        """The number of samples in the batch: the first dimension of its first tensor; 1 outside of batches."""
        if self.known_batch_size is None:
            self.known_batch_size = self._size_of(self.batch) if self.batch is not None else 1
        return self.known_batch_size

    def _size_of_first_batch(self, batch: Any) -> int:
        """Guess the size of the first batch, and say where others could be meant; the batches after it are alike."""
        self._size_of = guess_batch_size
        size = guess_batch_size(batch)
        others = sorted(set(_sizes(batch)) - {size})
        if others:
            advise(
                "FUL017",
                f"means over an epoch weigh a batch as {size} samples, the size of its first tensor, but others in it "
                f"have {', '.join(map(str, others[:3]))}; pass `self.log(..., batch_size=...)` if it is not {size}",
            )
        return size

    def declare(self, name: str, value: Any, arguments: tuple[Any, ...]) -> Slot:
        """Make the slot for a name that this hook logs for the first time.

        ``arguments`` are those of ``self.log`` in its order, from ``prog_bar`` on: prog_bar, logger, on_step,
        on_epoch, reduce_fx, add_dataloader_idx, sync_dist.

        Raises:
            MisconfigurationException: the hook cannot log, the level or reduction is not possible here, the name is
                no string, or the name was logged in this hook before with other arguments.
        """
        scope = self.scope
        existing = scope.slots.get(name)
        state = self._restored.pop((scope.hook, scope.dataloader_idx, name), None)
        if existing is not None and state is not None:
            self._slots.remove(existing)  # it stood in until the program says with which function it reduces
        elif existing is not None:
            raise MisconfigurationException(
                f"`self.log({name!r}, ...)` was called twice in `{scope.hook}` with different arguments "
                f"({_differing(existing.arguments, arguments)}); use the same ones, or another name"
            )
        on_step, on_epoch = self._levels(name, arguments[2], arguments[3])
        if not isinstance(name, str):
            raise MisconfigurationException(f"`self.log(name, ...)` needs a string as name, but got {name!r}")
        reduce = arguments[4]
        if isinstance(reduce, str):
            if reduce not in ("mean", "sum", "min", "max"):
                raise MisconfigurationException(
                    f"`self.log({name!r}, reduce_fx={reduce!r})` is not known; use 'mean', 'sum', 'min', 'max' or a "
                    "function of the stacked values"
                )
        else:
            by_function = {torch.mean: "mean", torch.sum: "sum", torch.min: "min", torch.max: "max"}
            reduce = by_function.get(reduce, reduce)
        if "/dataloader_idx_" in name and arguments[5]:
            raise MisconfigurationException(
                f"`self.log({name!r}, ...)`: the loader's number is added to the name; log "
                f"{name.partition('/')[0]!r}, or pass add_dataloader_idx=False"
            )
        if isinstance(value, Tensor) and not value.is_floating_point() and on_epoch:
            advise(
                "FUL018",
                f"`self.log({name!r}, ...)` in `{scope.hook}` got {value.dtype}; it is averaged as {_default_dtype()}: "
                "log `value.float()`",
            )
        if arguments[1] is True and not self.has_logger:
            advise(
                "FUL020",
                f"`self.log({name!r}, ..., logger=True)`: the Trainer has no logger, so it is recorded nowhere; pass "
                "Trainer(logger=True), or leave logger=True off",
            )
        slot = Slot(self, name, arguments, reduce, on_step, on_epoch, scope.dataloader_idx)
        scope.slots[name] = slot
        self._slots.append(slot)
        self.has_step_values = self.has_step_values or (slot.on_step and slot.logger)
        if state is not None:
            slot.restore(state["last"], state["total"], state["weight"])
        return slot

    def _levels(self, name: str, on_step: bool | None, on_epoch: bool | None) -> tuple[bool, bool]:
        hook = self.scope.hook
        levels = LOG_LEVELS.get(hook)
        if levels is None:
            raise MisconfigurationException(
                f"`self.log({name!r}, ...)` cannot be used in `{hook}`, where no step or epoch is under way; log in "
                "`training_step`, `on_train_epoch_end`, `validation_step` or `test_step`, or use "
                "`self.logger.log_metrics({...}, step=...)`"
            )
        step_default, epoch_default, step_allowed = levels
        if on_step and not step_allowed:
            raise MisconfigurationException(
                f"`self.log({name!r}, on_step=True)` cannot be used in `{hook}`, which runs once an epoch; leave "
                "on_step off"
            )
        if on_epoch is False and not step_allowed:
            raise MisconfigurationException(
                f"`self.log({name!r}, on_epoch=False)` cannot be used in `{hook}`, which runs once an epoch; leave "
                "on_epoch off"
            )
        on_step = step_default if on_step is None else on_step
        on_epoch = epoch_default if on_epoch is None else on_epoch
        if not on_step and not on_epoch:
            raise MisconfigurationException(
                f"`self.log({name!r}, ...)` in `{hook}` has on_step=False and on_epoch=False, so its values would go "
                "nowhere; set one of them to True, or leave the line out"
            )
        return on_step, on_epoch

    # -------------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> list[dict[str, Any]]:
        """Return what was logged in the epoch under way, as tensors and plain values; metric objects are left out."""
        self.fold()
        return [
            {
                "hook": scope.hook,
                "dataloader_idx": scope.dataloader_idx,
                "name": name,
                "arguments": [*slot.arguments[:4], slot.reduction_name, *slot.arguments[5:]],
                "last": slot.last,
                "total": torch.from_numpy(np.asarray(slot.total)) if isinstance(slot.total, np.number) else slot.total,
                "weight": slot.weight,
                # A function is not kept: should the program log no more in this epoch, this is its value.
                "value": _value_of_function(slot) if slot.on_epoch and not isinstance(slot.reduce, str) else None,
            }
            for scope in self._scopes.values()
            for name, slot in scope.slots.items()
            if slot.is_fresh and slot.metric is None
        ]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take back what :meth:`state_dict` returned; the epoch's values go on from there."""
        for state in states:
            hook, dataloader_idx, name = state["hook"], state["dataloader_idx"], state["name"]
            self.scope = self.scope_of(hook, dataloader_idx)
            slot = self.declare(name, 0.0, tuple(state["arguments"]))
            is_list = isinstance(state["total"], list)  # the values for a function
            slot.restore(state["last"], *((state["value"], 1) if is_list else (state["total"], state["weight"])))
            slot.is_fresh = slot.total is not None or not slot.on_epoch
            self._restored[hook, dataloader_idx, name] = state

    # ------------------------------------------------------------------------------------ reading

    def epoch_keys(self) -> set[str]:
        """Return the keys under which callbacks find what was logged here over an epoch, now or in an epoch before."""
        return {key for slot in self._slots if slot.on_epoch for key in (slot.key, slot.epoch_key)}

    def fold(self) -> None:
        """Add up what is pending in every slot."""
        for slot in self._slots:
            if slot.pending:
                slot.fold()

    def for_logger(self, on_step: bool, dataloader_idx: int | None = None) -> dict[str, Any]:
        """Return key -> value on its device, for the loggers: newest values, or values over the epoch."""
        return self._for_logger(self._values(on_step, dataloader_idx), on_step)

    def for_callbacks(self, on_step: bool, dataloader_idx: int | None = None) -> dict[str, Any]:
        """Return what ``trainer.callback_metrics`` gets: each key plain and, where it forks, forked."""
        return self._for_callbacks(self._values(on_step, dataloader_idx), on_step)

    def for_progress_bar(self, on_step: bool, dataloader_idx: int | None = None) -> dict[str, Any]:
        """Return what ``trainer.progress_bar_metrics`` gets."""
        return self._for_progress_bar(self._values(on_step, dataloader_idx), on_step)

    def for_all(self, on_step: bool, dataloader_idx: int | None = None) -> tuple[dict[str, Any], ...]:
        """Return what loggers, callbacks and progress bar get; a metric object is computed once for all three."""
        values = self._values(on_step, dataloader_idx)
        return (
            self._for_logger(values, on_step),
            self._for_callbacks(values, on_step),
            self._for_progress_bar(values, on_step),
        )

    def _for_logger(self, values: list[tuple[Slot, Any]], on_step: bool) -> dict[str, Any]:
        return {slot.step_key if on_step else slot.epoch_key: value for slot, value in values if slot.logger}

    def _for_callbacks(self, values: list[tuple[Slot, Any]], on_step: bool) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        if self.training or not on_step:
            for slot, value in values:
                metrics[slot.key] = value
                metrics[slot.step_key if on_step else slot.epoch_key] = value
        return metrics

    def _for_progress_bar(self, values: list[tuple[Slot, Any]], on_step: bool) -> dict[str, Any]:
        return {slot.step_key if on_step else slot.epoch_key: value for slot, value in values if slot.prog_bar}

    def _values(self, on_step: bool, dataloader_idx: int | None) -> list[tuple[Slot, Any]]:
        found = []
        for slot in self._slots:
            if not slot.is_fresh or slot.dataloader_idx != dataloader_idx:
                continue
            if on_step:
                value = slot.step_value() if slot.on_step else None
            else:
                value = slot.epoch_value() if slot.on_epoch else None
            if value is not None:
                found.append((slot, value))
        return found

    def reset(self) -> None:
        """Forget everything, and reset the metric objects: the next epoch begins."""
        for hook, dataloader_idx, name in self._restored:  # these only stood in
            self._slots.remove(self._scopes[hook, dataloader_idx].slots.pop(name))
        self._restored.clear()
        for slot in self._slots:
            if slot.metric is not None and slot.is_fresh:
                slot.metric.reset()
            slot.reset()
        self.batch = None
        self.known_batch_size = None


class NoResults(Results):
    """What a bare run has in place of results: ``self.log`` does nothing, which is said once where ``advises``."""

    def __init__(self, *, training: bool, advises: bool = True) -> None:
        super().__init__(training=training)
        self._nowhere = _NoSlot(self, "", (False, None, None, None, "mean", True, False), "mean", False, False, None)
        self._is_said = not advises

    def declare(self, name: str, value: Any, arguments: tuple[Any, ...]) -> Slot:
        """Return a slot that takes everything and keeps nothing."""
        if not self._is_said:
            self._is_said = True
            advise("FUL021", f"`self.log({name!r}, ...)` does nothing in a bare run; leave Trainer(barebones=True) off")
        return self._nowhere


class _NoSlot(Slot):
    __slots__ = ()

    def add(self, value: Any, batch_size: int | None) -> None:
        pass


# ------------------------------------------------------------------------------------------- values


def guess_batch_size(batch: Any) -> int:
    """Return the first dimension of the first tensor in a batch, 1 for a 0-d tensor or where there is none."""
    size = _size_of_first_tensor(batch)
    return 1 if size is None else size


def _size_of_first_tensor(batch: Any) -> int | None:
    if isinstance(batch, Tensor):
        return batch.size(0) if batch.dim() else 1
    for item in _items_of(batch):
        size = _size_of_first_tensor(item)
        if size is not None:
            return size
    return None


def _sizes(batch: Any) -> Iterator[int]:
    """Yield the first dimension of every tensor in a batch that has one."""
    if isinstance(batch, Tensor):
        if batch.dim():
            yield batch.size(0)
        return
    for item in _items_of(batch):
        yield from _sizes(item)


def _items_of(batch: Any) -> Iterable[Any]:
    if isinstance(batch, (list, tuple)):
        return batch
    if isinstance(batch, Mapping):
        return batch.values()
    if hasattr(batch, "__dataclass_fields__"):
        return (getattr(batch, name, None) for name in batch.__dataclass_fields__)
    return ()


def to_number(value: Any) -> float:
    """Return a logged value as a number; a tensor on the CPU costs no dispatch."""
    if isinstance(value, Tensor):
        return float(value.numpy()) if value.device.type == "cpu" else float(value)
    return value if type(value) is int else float(value)


def _as_tensor(value: Any, dtype: torch.dtype | None = None) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=dtype or _default_dtype())


def as_tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return logged values as 0-d tensors, as ``trainer.callback_metrics`` shows them."""
    return {key: _as_tensor(value, torch.float32) for key, value in values.items()}


def _own_copy(value: Tensor) -> Tensor:
    """Return a one-element tensor apart from the one that its owner may change in place, in a format that is kept."""
    value = value.detach().clone().reshape(())
    return value if value.dtype in _KEPT_DTYPES else value.to(_default_dtype())


def _default_dtype() -> torch.dtype:
    dtype = torch.get_default_dtype()
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _not_a_scalar(name: str, value: Tensor) -> MisconfigurationException:
    return MisconfigurationException(
        f"`self.log({name!r}, ...)` got a tensor of shape {tuple(value.shape)}; a logged value is one number: log "
        "`value.mean()`, or several with `self.log_dict`"
    )


def _cannot_be_logged(name: str, value: Any) -> MisconfigurationException:
    fix = "use `self.log_dict`" if isinstance(value, Mapping) else "log a number, a tensor of one element or a metric"
    return MisconfigurationException(f"`self.log({name!r}, ...)` got {_describe(value)}: {value!r:.80}; {fix}")


def _differing(first: tuple[Any, ...], second: tuple[Any, ...]) -> str:
    names = ("prog_bar", "logger", "on_step", "on_epoch", "reduce_fx", "add_dataloader_idx", "sync_dist")
    return ", ".join(f"{name}={b!r}, before {a!r}" for name, a, b in zip(names, first, second, strict=False) if a != b)
