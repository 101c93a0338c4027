"""SingleDeviceStrategy: one process, one device, nothing shared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fulmen.data.transfer import move_data_to_device


class SingleDeviceStrategy:
    """One process trains on one device.

    Args:
        device: where the model and its batches go.
    """

    world_size = 1
    global_rank = 0
    local_rank = 0
    node_rank = 0

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.root_device = torch.device(device)

    @property
    def is_global_zero(self) -> bool:
        """Whether this process writes, prints and logs."""
        return True

    def move_module(self, module: nn.Module) -> None:
        """Move the model to its device, unless all of it is there."""
        if any(tensor.device != self.root_device for tensor in (*module.parameters(), *module.buffers())):
            module.to(self.root_device)

    @property
    def moves_batches(self) -> bool:
        """Whether a batch must be moved; one from the CPU to the CPU need not be looked at."""
        return self.root_device.type != "cpu"

    def batch_to_device(self, batch: Any) -> Any:
        """Return a batch on the device."""
        return move_data_to_device(batch, self.root_device)

    def barrier(self, name: str | None = None) -> None:
        """Wait for the other processes, of which there are none."""

    def broadcast(self, value: Any, src: int = 0) -> Any:
        """Return the value of process ``src``, which is this one."""
        return value

    def reduce(self, value: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Return the value over all processes, which is this one's."""
        return value

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Return the tensors of all processes, which are this one's."""
        return tensor
