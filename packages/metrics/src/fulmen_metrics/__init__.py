"""Ready-made sets of torchmetrics for Fulmen; torchmetrics is imported when a set is made."""

from __future__ import annotations

from fulmen_metrics.metrics import Metrics

__all__ = ["Metrics"]
