"""What ``self.log`` accepts as a metric (stable interface).

A metric is any object that collects over batches: ``update`` adds a batch, ``compute`` gives the value over
everything since the last ``reset``. Every ``torchmetrics.Metric`` is one. Hand the object itself to ``self.log``
and the trainer computes it once at the end of the epoch and resets it.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

#: Version of this interface: a plug-in declares the one that it was written for.
METRIC_INTERFACE = (1, 0)


@runtime_checkable
class Metric(Protocol):
    """An object that collects over batches and gives one value for all of them."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add one batch."""

    def compute(self) -> Any:
        """Return the value over all batches since the last reset: a 0-d tensor or a number, to be logged."""

    def reset(self) -> None:
        """Forget all batches."""


def step_value(metric: Metric) -> Any:
    """Return the value that the metric had for the last batch alone, or ``None`` where it keeps none.

    torchmetrics keeps what ``metric(preds, target)`` returned; it has no public name for it.
    """
    return getattr(metric, "_forward_cache", None)
