"""Batches onto a device: whatever holds tensors, nested as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move_data_to_device(item, device) for item in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(move_data_to_device(item, device) for item in batch)
    if isinstance(batch, Mapping):
        moved_items = {key: move_data_to_device(item, device) for key, item in batch.items()}
        return moved_items if type(batch) is dict else type(batch)(moved_items)  # type: ignore[call-arg]
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {
            field.name: move_data_to_device(getattr(batch, field.name), device)
            for field in dataclasses.fields(batch)
            if field.init
        }
        return dataclasses.replace(batch, **fields)
    return batch
