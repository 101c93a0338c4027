"""Accumulation that is correct by items, such as tokens: the gradient of several batches is that of one big batch.

A step that returns ``{"loss": sum, "weight": n}`` says that its loss is the sum over n items. The accumulated gradient
is then that of ``sum of losses / sum of weights``, where averaging the batches' means weighs an item of a short batch
more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.errors import MisconfigurationException


class WindowWeights:
    """The weights of the batches whose gradients make one optimizer step; they stay on the device.

    Args:
        step_name: the step that returns them, for messages.
    """

    def __init__(self, step_name: str) -> None:
        self._step_name = step_name
        #: what the step returned for this batch, ``None`` for nothing
        self.of_batch: Any = None
        #: the sum over the window so far, ``None`` where nothing is weighted
        self.total: Any = None
        #: whether a batch of this window came without
        self.has_unweighted = False
        self._first: Any = None

    def start(self) -> None:
        """Begin a window."""
        self.total = None
        self.has_unweighted = False

    def weigh(self, loss: Tensor) -> Tensor:
        """Return what to run backward on for a loss that is a sum.

        Dividing by the first batch's weight keeps the numbers small; :meth:`finish` does the rest.

        Raises:
            MisconfigurationException: the weight is no number >= 0, or earlier batches of the window had none.
        """
        weight, self.of_batch = self.of_batch, None
        is_tensor = isinstance(weight, Tensor) and weight.numel() == 1
        if not is_tensor and not (isinstance(weight, (int, float)) and weight >= 0):
            raise MisconfigurationException(
                f"`{self._step_name}` returned as 'weight' {weight!r:.80}; return the number of items that the loss is "
                "the sum of"
            )
        if self.has_unweighted:
            raise self._mixed()
        if is_tensor:
            weight = weight.detach().reshape(()).to(loss.device, non_blocking=True)
        if self.total is None:
            self._first = _one_for_zero(weight)
            self.total = weight
        else:
            self.total = self.total + weight
        weighed: Tensor = loss / self._first
        return weighed

    def finish(self, optimizer: Optimizer, batches: int) -> None:
        """Turn the window's gradients into those of the mean over all its items.

        Raises:
            MisconfigurationException: some batches of the window had no weight.
        """
        if self.has_unweighted:
            raise self._mixed()
        if batches == 1:
            return  # `weigh` divided already
        factor = self._first / _one_for_zero(self.total)
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if grads:
            torch._foreach_mul_(grads, factor)

    def _mixed(self) -> MisconfigurationException:
        return MisconfigurationException(
            f"`{self._step_name}` returned 'weight' in some batches of an optimizer step and not in others; return it "
            "from every batch"
        )


def _one_for_zero(weight: Any) -> Any:
    """Return a weight to divide by: a sum over no items is 0, and stays so."""
    if isinstance(weight, Tensor):
        return torch.where(weight == 0, torch.ones_like(weight), weight)
    return weight or 1
