"""What stands in place of a program's old methods while an entry point runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_ABSENT = object()


class Adapted:
    """Methods of a program's objects, replaced by ones that today's callers can call, until :meth:`undo`.

    A replacement is an attribute of the object, not of its class: other objects, subclasses and pickles never see it.
    """

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        """Let ``owner.name`` be ``call``."""
        attributes = vars(owner)
        self._before.append((owner, name, attributes.get(name, _ABSENT)))
        attributes[name] = call

    def undo(self) -> None:
        """Give every object its own methods back."""
        while self._before:
            owner, name, before = self._before.pop()
            if before is _ABSENT:
                vars(owner).pop(name, None)
            else:
                vars(owner)[name] = before


def argument_names(fn: Callable[..., Any]) -> list[str]:
    """Return the names of a method's positional arguments, without ``self``; ``["*"]`` where it takes any number."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return ["*"]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ["*"]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def required_count(fn: Callable[..., Any]) -> int:
    """Return how many positional arguments a method cannot be called without."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return 0
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters)
