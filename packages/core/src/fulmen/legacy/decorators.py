"""Decorators of Lightning 0.x and 1.x."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from fulmen.legacy.spelling import say_old

F = TypeVar("F", bound=Callable[..., Any])


def data_loader(fn: F) -> F:
    """Return a loader hook as it is: it needs no mark any more."""
    say_old("FUL106", f"`@data_loader` on `{fn.__name__}`", "nothing: loader hooks need no decorator", fn.__code__)
    return fn


def auto_move_data(fn: F) -> F:
    """Let a method of a module, such as ``forward``, move its arguments to the module's device first."""
    say_old(
        "FUL106",
        f"`@auto_move_data` on `{fn.__name__}`",
        "nothing inside a Trainer, which moves batches; elsewhere `move_data_to_device(batch, model.device)`",
        fn.__code__,
    )

    @functools.wraps(fn)
    def moving(self: Any, *args: Any, **kwargs: Any) -> Any:
        from fulmen.data.transfer import move_data_to_device

        args, kwargs = move_data_to_device((args, kwargs), self.device)
        return fn(self, *args, **kwargs)

    return moving  # type: ignore[return-value]
