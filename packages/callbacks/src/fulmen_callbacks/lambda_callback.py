"""LambdaCallback: a callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fulmen.callback import CALLBACK_HOOKS, Callback
from fulmen.errors import MisconfigurationException, nearest


class LambdaCallback(Callback):
    """A callback made of functions, one for each hook that is needed.

    Args:
        hooks: hook -> function that gets the hook's arguments without ``self``:
            ``on_train_end=lambda trainer, pl_module: ...``. It may take fewer, leaving off from the right. ``None``
            for a hook that is not needed.

    Raises:
        MisconfigurationException: there is no such hook, or what was given for it cannot be called.
    """

    interface = (1, 0)

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, function in hooks.items():
            if name not in CALLBACK_HOOKS:
                raise MisconfigurationException(
                    f"`LambdaCallback({name}=...)`: there is no hook {name!r}{nearest(name, CALLBACK_HOOKS)}"
                )
            if function is None:
                continue
            if not callable(function):
                raise MisconfigurationException(
                    f"`LambdaCallback({name}={function!r})` needs a function, but this is a {type(function).__name__}"
                )
            setattr(self, name, function)
