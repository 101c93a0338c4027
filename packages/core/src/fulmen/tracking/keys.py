"""What a run calls its loggers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from fulmen.logger import Logger
from fulmen.registry import LOGGERS, installed


def logger_keys(loggers: Sequence[Logger]) -> list[str]:
    """Return a key for each logger: its class's short name and its place among those, ``"csv-0"``.

    Equal lists give equal keys in every process, so that a cursor is found again.
    """
    counts: Counter[str] = Counter()
    keys = []
    for logger in loggers:
        name = _short_name(type(logger))
        keys.append(f"{name}-{counts[name]}")
        counts[name] += 1
    return keys


def registered_name(logger: Logger) -> str:
    """Return the name under which a logger's class is installed; its short name if it is not."""
    cls = type(logger)
    for name, entries in installed(LOGGERS).items():
        if any(entry.value == f"{cls.__module__}:{cls.__qualname__}" for entry in entries):
            return name
    return _short_name(cls)


def _short_name(cls: type[Logger]) -> str:
    """``TensorBoardLogger`` -> ``tensorboard``; only what any file system takes in a name."""
    return re.sub(r"[^a-z0-9_]", "", cls.__name__.removesuffix("Logger").lower()) or "logger"
