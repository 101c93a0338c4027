"""Profilers: ``from fulmen.profilers import SimpleProfiler``; what ``Trainer(profiler=...)`` takes.

Each is imported when it is named, so that a program without a profiler does not load them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.profilers.advanced import AdvancedProfiler
    from fulmen.profilers.profiler import NoProfiler, PassThroughProfiler, Profiler
    from fulmen.profilers.pytorch import PyTorchProfiler, RegisterRecordFunction
    from fulmen.profilers.simple import SimpleProfiler
    from fulmen.profilers.xla import XLAProfiler

__all__ = [
    "AdvancedProfiler",
    "NoProfiler",
    "PassThroughProfiler",
    "Profiler",
    "PyTorchProfiler",
    "RegisterRecordFunction",
    "SimpleProfiler",
    "XLAProfiler",
]

_MODULE_OF = {
    "AdvancedProfiler": "advanced",
    "NoProfiler": "profiler",
    "PassThroughProfiler": "profiler",
    "Profiler": "profiler",
    "PyTorchProfiler": "pytorch",
    "RegisterRecordFunction": "pytorch",
    "SimpleProfiler": "simple",
    "XLAProfiler": "xla",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
