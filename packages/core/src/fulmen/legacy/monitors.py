"""What callbacks monitored by default: the first of a few names that the program logs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def choose_monitors(callbacks: Iterable[Any], literals: frozenset[str]) -> None:
    """Give callbacks that were made in an old way the metric that the module's code names.

    A checkpoint whose module names none keeps the newest, as it then did.
    """
    for callback in callbacks:
        by_default = getattr(callback, "_monitors_by_default", ())
        if not by_default:
            continue
        callback.monitor = next((name for name in by_default if name in literals), None)
        if callback.monitor is None and hasattr(callback, "save_top_k"):
            callback.save_top_k = min(callback.save_top_k, 1)
        elif callback.monitor is None:
            callback.monitor = by_default[-1]
