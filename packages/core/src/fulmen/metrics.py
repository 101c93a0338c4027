"""Every installed metric wrapper's class by its name: ``from fulmen.metrics import Metrics``.

Only the one that is named gets imported; where torchmetrics is missing, the error says which command installs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.metric import Metric
from fulmen.registry import METRICS, installed, load_class

if TYPE_CHECKING:
    from fulmen_metrics.metrics import Metrics

__all__ = ["Metric", "Metrics"]

#: ``legacy.import_paths`` finds the field's paths below this one, such as ``fulmen.metrics.functional``
__path__: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_class(METRICS, name)


def __dir__() -> list[str]:
    return sorted({"Metric", *(entry.attr for entries in installed(METRICS).values() for entry in entries)})
