"""Seeds: one call that makes python, numpy and torch start from a number."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fulmen.checkpoint.random_state import get_random_state, set_random_state

_LARGEST = int(np.iinfo(np.uint32).max)


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed ``random``, ``numpy.random`` and ``torch`` (all devices).

    Args:
        seed: 0 to 2**32 - 1; ``None`` reads ``PL_GLOBAL_SEED`` and falls back to 0.
        workers: accepted for programs that pass it; torch itself seeds ``random``, numpy and torch in each loader
            worker, differently, from the seed of this process.
        verbose: accepted for programs that pass it; the seed is returned, not printed.

    Returns:
        The seed that was used.

    Raises:
        ValueError: the seed is outside of the range.
    """
    if seed is None:
        text = os.environ.get("PL_GLOBAL_SEED", "0")
        try:
            seed = int(text)
        except ValueError:
            raise ValueError(f"PL_GLOBAL_SEED must be a whole number, but is {text!r}") from None
    try:
        number = int(seed)
    except (TypeError, ValueError):
        raise ValueError(f"seed must be a whole number between 0 and {_LARGEST}, but is {seed!r}") from None
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"seed must be between 0 and {_LARGEST}, but is {seed}; use e.g. {number % (_LARGEST + 1)}")
    seed = number
    os.environ["PL_GLOBAL_SEED"] = str(seed)
    os.environ["PL_SEED_WORKERS"] = str(int(workers))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def seed_worker(worker_id: int) -> None:
    """Seed numpy and ``random`` in a loader worker from the seed that torch gave it."""
    worker_seed = torch.initial_seed() % 2**32
    random.seed(worker_seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(worker_seed)


@contextmanager
def isolate_rng(include_cuda: bool = True) -> Iterator[None]:
    """Give every random state back as it was when the block ends."""
    state = get_random_state(include_cuda=include_cuda)
    try:
        yield
    finally:
        set_random_state(state)
