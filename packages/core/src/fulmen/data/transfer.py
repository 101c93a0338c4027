"""Batches onto a device: whatever holds tensors, nested as it is."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Movable(Protocol):
    """A batch class of the user's that knows how to move itself."""

    def to(self, device: Any, *args: Any, **kwargs: Any) -> Any:
        """Return itself on ``device``."""


def move_data_to_device(batch: Any, device: torch.device | str) -> Any:
    """Return ``batch`` with every tensor in it on ``device``.

    Tensors, modules and objects with ``.to(device)`` are moved; lists, tuples, named tuples, mappings and dataclasses
    are rebuilt around what was moved; everything else is handed on as it is.
    """
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=torch.device(device).type != "cpu")
    if isinstance(batch, Movable) and not isinstance(batch, type):
        moved = batch.to(device)
        return batch if moved is None else moved
    return rebuilt(batch, lambda item: move_data_to_device(item, device))


def rebuilt(batch: Any, change: Callable[[Any], Any]) -> Any:
    """Return a list, tuple, mapping or dataclass object like ``batch`` with each item changed; others as they are."""
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(change(item) for item in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(change(item) for item in batch)
    if isinstance(batch, Mapping):
        items = {key: change(item) for key, item in batch.items()}
        if type(batch) is dict:
            return items
        if not isinstance(batch, MutableMapping):
            return type(batch)(items)  # type: ignore[call-arg]
        changed = copy.copy(batch)  # a defaultdict, say, keeps its factory
        for key, item in items.items():
            changed[key] = item
        return changed
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        # Neither `__init__` nor `__post_init__` runs again: they may compute what was changed since.
        like: Any = object.__new__(type(batch))
        getattr(like, "__dict__", {}).update(getattr(batch, "__dict__", {}))
        for field in dataclasses.fields(batch):
            if hasattr(batch, field.name):
                object.__setattr__(like, field.name, change(getattr(batch, field.name)))
        return like
    return batch
