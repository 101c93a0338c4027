"""Which process this is, and functions that run in the first process only."""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from fulmen.errors import FulmenDeprecationWarning

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("fulmen")
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def global_rank() -> int:
    """Return the rank of this process among all that train together; 0 where there is only one."""
    if rank_zero_only._told is not None:
        return rank_zero_only._told
    for variable in _RANK_VARIABLES:
        value = os.environ.get(variable)
        if value is not None and value.isdigit():
            return int(value)
    return 0


def is_global_zero() -> bool:
    """Return whether this is the process that writes, prints and logs."""
    return global_rank() == 0


class _RankZeroOnly:
    """The decorator ``rank_zero_only``: an object, for programs read its ``rank``."""

    _told: int | None = None

    @property
    def rank(self) -> int:
        """The rank of this process; by default what the launcher's variables say. Set it to say otherwise."""
        return global_rank()

    @rank.setter
    def rank(self, rank: int | None) -> None:
        self._told = rank

    @overload
    def __call__(self, fn: Callable[P, T]) -> Callable[P, T | None]: ...

    @overload
    def __call__(self, fn: Callable[P, T], default: T) -> Callable[P, T]: ...

    def __call__(self, fn: Callable[P, T], default: T | None = None) -> Callable[P, T | None]:
        @functools.wraps(fn)
        def first_process_only(*args: P.args, **kwargs: P.kwargs) -> T | None:
            return fn(*args, **kwargs) if is_global_zero() else default

        return first_process_only


#: Decorator: the function runs in the first process, and returns ``None`` (or ``default``) in every other.
rank_zero_only = _RankZeroOnly()


def rank_zero_debug(message: object, *args: Any, **kwargs: Any) -> None:
    """Log ``message`` for developers, in the first process only; arguments are those of ``logging.Logger.debug``."""
    if is_global_zero():
        _log.debug(message, *args, **kwargs)


def rank_zero_info(message: object, *args: Any, **kwargs: Any) -> None:
    """Print ``message`` for the user, in the first process only; arguments are those of ``logging.Logger.info``."""
    if is_global_zero():
        _log.info(message, *args, **kwargs)


def rank_zero_warn(message: str | Warning, stacklevel: int = 1, category: type[Warning] = UserWarning) -> None:
    """Warn the user, in the first process only.

    Args:
        message: what, the value, and the fix.
        stacklevel: whose line the warning names, as in ``warnings.warn``: 1 is the line that calls this function.
        category: the class of the warning.
    """
    if is_global_zero():
        warnings.warn(message, category=category, stacklevel=stacklevel + 1)


def rank_zero_deprecation(
    message: str | Warning, stacklevel: int = 1, category: type[Warning] = FulmenDeprecationWarning
) -> None:
    """Warn that something goes away in a later version, in the first process only; see :func:`rank_zero_warn`."""
    rank_zero_warn(message, stacklevel + 1, category)


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """Return ``message`` with the process that says it in front: ``[rank: 1] message``."""
    return message if rank is None else f"[rank: {rank}] {message}"


class WarningCache(set[str]):
    """Messages that were said: each is said once, in the first process only."""

    def warn(self, message: str, stacklevel: int = 1, category: type[Warning] = UserWarning) -> None:
        """Warn, unless this message was said before."""
        if self._is_new(message):
            rank_zero_warn(message, stacklevel + 1, category)

    def deprecation(self, message: str, stacklevel: int = 1) -> None:
        """Warn that something goes away, unless this message was said before."""
        if self._is_new(message):
            rank_zero_deprecation(message, stacklevel + 1)

    def info(self, message: str) -> None:
        """Print, unless this message was said before."""
        if self._is_new(message):
            rank_zero_info(message)

    def _is_new(self, message: str) -> bool:
        is_new = message not in self
        self.add(message)
        return is_new
