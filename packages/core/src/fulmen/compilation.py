"""``Trainer(compile=...)``: the module's computations through ``torch.compile``, in place."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from fulmen.errors import MisconfigurationException, nearest
from fulmen.hooks import is_overridden
from fulmen.module import LightningModule

_OPTIONS = tuple(name for name in inspect.signature(torch.compile).parameters if name not in ("model", "disable"))


def compile_options(value: Any) -> dict[str, Any] | None:
    """Return the arguments for ``torch.compile`` that ``Trainer(compile=...)`` stands for; ``None`` for not at all.

    Raises:
        MisconfigurationException: it is neither a switch nor a dict of those arguments.
    """
    if value is None or value is False:
        return None
    if value is True:
        return {}
    if not isinstance(value, Mapping):
        raise MisconfigurationException(
            f"`compile` must be True, False or a dict of arguments for torch.compile, but is {value!r:.80}"
        )
    for name in value:
        if name not in _OPTIONS:
            raise MisconfigurationException(
                f"`compile` has the argument {name!r}{nearest(str(name), _OPTIONS)}; torch.compile takes: "
                f"{', '.join(_OPTIONS)}"
            )
    return dict(value)


def compile_in_place(module: LightningModule, options: Mapping[str, Any]) -> None:
    """Compile what a step computes with: the module's ``forward``, and each of its parts that has parameters.

    The module stays the same object with the same keys in its ``state_dict``. Steps and hooks themselves are not
    compiled, so that ``self.log``, prints and branches in them cost no recompilation. What is compiled already is left.

    Raises:
        MisconfigurationException: torch cannot compile with these options.
    """
    parts = list(_parts(module))
    if is_overridden("forward", module, LightningModule):
        parts.append(module)
    for part in parts:
        if part._compiled_call_impl is not None:
            continue
        try:
            _compile(part, functools.partial(torch.compile, **options))
        except Exception as error:
            raise MisconfigurationException(
                f"`compile={dict(options) or True!r}` does not work: {error}; choose another backend, or leave it off"
            ) from error


def uncompiled(model: Any) -> Any:
    """Return the module that ``torch.compile(module)`` wraps, its parts compiled as that says; others as they are."""
    dynamo = sys.modules.get("torch._dynamo")  # imported by the first `torch.compile`, and not by us
    if dynamo is None or not isinstance(model, dynamo.OptimizedModule):
        return model
    module = model._orig_mod
    if isinstance(module, LightningModule):
        for part in [*_parts(module), *([module] if is_overridden("forward", module, LightningModule) else [])]:
            _compile(part, model.dynamo_ctx)
    return module


def _compile(part: nn.Module, compiled: Callable[[Callable[..., Any]], Any]) -> None:
    def call(*args: Any, **kwargs: Any) -> Any:
        return part._call_impl(*args, **kwargs)

    # torch keeps what it compiled with the code, and only so many forms of one: each part has a copy of its own.
    call.__code__ = call.__code__.replace()
    # `part.compile()` compiles `_call_impl` itself, which torch skips for its own layers, such as a Sequential.
    part._compiled_call_impl = compiled(call)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest submodules that are called: those in lists and dicts of modules count for themselves."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _parts(child)
        elif next(child.parameters(), None) is not None:  # metrics and plain losses have none
            yield child
