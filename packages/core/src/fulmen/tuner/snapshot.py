"""Snapshot: all that a trial changes in a model and its training, kept by value and given back to the bit."""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fulmen.seed import isolate_rng


@contextmanager
def restored(trainer: Any, module: nn.Module, datamodule: Any) -> Iterator[None]:
    """Give everything back as it was when the block ends, well or not.

    That is: weights, buffers, gradients, modes, attributes and parts of the module; the trainer's optimizers,
    schedulers and loss scale; whose data module it is; and the random states. The trainer itself is not touched by a
    trial, which runs on another one.
    """
    objects: list[Any] = [*module.modules(), *trainer._optimizers, trainer.precision_plugin.scaler]
    for config in trainer._schedulers:
        objects += _with_nested(config.scheduler)
    had_trainer = getattr(datamodule, "trainer", None)
    with isolate_rng():
        with torch.inference_mode(False), torch.no_grad():
            kept = [_Attributes(one) for one in objects if one is not None]
            tensors = [_Values(one) for one in (*module.parameters(), *module.buffers())]
            states = [_OptimizerState(optimizer) for optimizer in trainer._optimizers]
        try:
            yield
        finally:
            with torch.inference_mode(False), torch.no_grad():
                for attributes in kept:
                    attributes.restore()
                for values in tensors:
                    values.restore()
                for state in states:
                    state.restore()
            if datamodule is not None:
                datamodule.trainer = had_trainer


class _Attributes:
    """The attributes of an object: tensors by value, collections by their items, everything else as it is."""

    def __init__(self, owner: Any) -> None:
        self._attributes: dict[str, Any] = vars(owner)
        self._kept = {
            name: (value, _copied(value) if _is_kept_by_value(value) else None)
            for name, value in self._attributes.items()
        }

    def restore(self) -> None:
        self._attributes.clear()
        for name, (value, items) in self._kept.items():
            if isinstance(value, Tensor) and items is not None:
                value = items
            elif items is not None:
                _refill(value, items)
            self._attributes[name] = value


class _Values:
    """A parameter or buffer: its values, where they lie, its gradient, and whether it trains."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._data = tensor.detach().clone()
        self._grad = None if tensor.grad is None else (tensor.grad, tensor.grad.detach().clone())
        self._requires_grad = tensor.requires_grad

    def restore(self) -> None:
        tensor, data = self._tensor, self._data
        if (tensor.device, tensor.dtype, tensor.shape) == (data.device, data.dtype, data.shape):
            tensor.detach().copy_(data)
        else:  # a trial moved the model to its device, or gave it another number format
            tensor.data = data
        if tensor.requires_grad != self._requires_grad:
            tensor.requires_grad_(self._requires_grad)
        tensor.grad = None
        if self._grad is not None:
            grad, values = self._grad
            tensor.grad = grad.detach().copy_(values)


class _OptimizerState:
    """An optimizer's settings of each group, and what it remembers of each parameter."""

    def __init__(self, optimizer: Any) -> None:
        self._groups = [(group, _copied(group)) for group in optimizer.param_groups]
        self._state = optimizer.state
        self._kept = {parameter: copy.deepcopy(state) for parameter, state in optimizer.state.items()}

    def restore(self) -> None:
        for group, items in self._groups:
            _refill(group, items)
        self._state.clear()
        self._state.update(self._kept)


def _with_nested(scheduler: Any) -> list[Any]:
    """Return a scheduler with those inside of it, as ``SequentialLR`` has them."""
    nested = getattr(scheduler, "_schedulers", ())
    return [scheduler, *(one for inner in nested for one in _with_nested(inner))]


def _is_kept_by_value(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not isinstance(value, nn.Parameter)
    return isinstance(value, (list, set, dict))


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else copy.copy(value)


def _refill(value: Any, items: Any) -> None:
    """Give a list, set or dict its items back; it stays the same object, for others may hold it."""
    value.clear()
    if isinstance(value, (MutableMapping, set)):
        value.update(items)
    else:
        value.extend(items)
