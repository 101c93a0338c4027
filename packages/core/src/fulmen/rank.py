"""Which process this is, and functions that run in the first process only."""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("fulmen")
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def global_rank() -> int:
    """Return the rank of this process among all that train together; 0 where there is only one."""
    for variable in _RANK_VARIABLES:
        value = os.environ.get(variable)
        if value is not None and value.isdigit():
            return int(value)
    return 0


def is_global_zero() -> bool:
    """Return whether this is the process that writes, prints and logs."""
    return global_rank() == 0


def rank_zero_only(fn: Callable[P, T]) -> Callable[P, T | None]:
    """Make ``fn`` a function that runs in the first process and returns ``None`` in every other."""

    @functools.wraps(fn)
    def first_process_only(*args: P.args, **kwargs: P.kwargs) -> T | None:
        return fn(*args, **kwargs) if is_global_zero() else None

    return first_process_only


def rank_zero_info(message: str, *args: Any) -> None:
    """Print ``message`` for the user, in the first process only."""
    if is_global_zero():
        _log.info(message, *args)


def rank_zero_warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 3) -> None:
    """Warn the user, in the first process only."""
    if is_global_zero():
        warnings.warn(message, category=category, stacklevel=stacklevel)
