"""Worker processes of loaders: how many the machine has room for."""

from __future__ import annotations

import os

from fulmen.errors import MisconfigurationException


def suggested_max_num_workers(local_world_size: int) -> int:
    """Return how many worker processes a ``DataLoader`` can use well, at most: the CPU cores of a process less its own.

    Args:
        local_world_size: training processes on this machine, which is the trainer's ``num_devices``.

    Raises:
        MisconfigurationException: it is below 1.
    """
    if local_world_size < 1:
        raise MisconfigurationException(
            f"`local_world_size` must be >= 1, but is {local_world_size}; pass the number of devices of this machine"
        )
    return max(1, available_cpus() // local_world_size - 1)


def available_cpus() -> int:
    """Return the number of CPU cores that this process may use, which a scheduler may have limited."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
