"""Modules made without the work of filling their weights, for those that a checkpoint is about to fill."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode


class EmptyInit(TorchFunctionMode):
    """While it is entered, ``torch.nn.init`` leaves tensors as they are, with whatever is in their memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        # Most functions of that module are not dispatched themselves, but the methods are that fill tensors in them.
        fills = func.__name__.endswith("_") and not func.__name__.endswith("__")
        if fills and sys._getframe(1).f_globals.get("__name__") == "torch.nn.init":
            return args[0]
        return func(*args, **kwargs)
