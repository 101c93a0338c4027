"""``pl.metrics`` of Lightning 0.9 to 1.4, of which programs used the accuracy most; all others are torchmetrics'."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fulmen.legacy.spelling import say_old


def accuracy(preds: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the fraction of right predictions.

    Args:
        preds: classes ``(N, ...)``; or their probabilities or logits ``(N, C, ...)``, of which the largest counts; or
            probabilities ``(N, ...)`` of one class, right from 0.5 on.
        target: classes ``(N, ...)``.
        args, kwargs: what earlier versions took besides; classes and threshold are read off the shapes.
    """
    say_old("FUL106", "`pl.metrics.functional.accuracy`", _modern("functional.accuracy(preds, target, {})"))
    return _accuracy(preds, target)


def _accuracy(preds: Tensor, target: Tensor) -> Tensor:
    return (_classes(preds, target) == target).float().mean()


def _classes(preds: Tensor, target: Tensor) -> Tensor:
    if preds.ndim == target.ndim + 1:
        return preds.argmax(dim=1)
    return (preds >= 0.5).to(target.dtype) if preds.is_floating_point() else preds


class Accuracy(nn.Module):
    """The fraction of right predictions over all batches since the last reset; see :func:`accuracy`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        say_old("FUL106", "`pl.metrics.Accuracy()`", _modern("Accuracy({})"))
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._right: Tensor | float = 0.0
        self._total = 0
        self._forward_cache: Tensor | None = None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self._right = self._right + (_classes(preds, target) == target).float().sum().detach()
        self._total += target.numel()

    def compute(self) -> Tensor:
        """Return the accuracy, a 0-d tensor."""
        return torch.as_tensor(self._right) / max(self._total, 1)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        """Add a batch and return its accuracy."""
        self.update(preds, target)
        self._forward_cache = _accuracy(preds, target)
        return self._forward_cache


def _modern(call: str) -> str:
    arguments = "task='multiclass', num_classes=10"
    return f"`torchmetrics.{call.format(arguments)}`"
