"""Floating-point operations: how many a computation takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def measure_flops(
    model: nn.Module, forward_fn: Callable[[], Any], loss_fn: Callable[[Any], Tensor] | None = None
) -> int:
    """Count the floating-point operations of a forward pass, and of the backward pass with it.

    Matrix products, convolutions and attention count, as in ``torch.utils.flop_counter``; a multiplication and an
    addition are two operations. On the meta device nothing is computed:

        with torch.device("meta"):
            model, x = MyModel(), torch.randn(2, 32)
        flops = measure_flops(model, lambda: model(x), lambda output: output.sum())

    Args:
        model: the model; accepted for the sake of the field's signature, what runs is counted.
        forward_fn: runs the model and returns its output.
        loss_fn: makes a loss of the output; its backward pass is counted too.

    Returns:
        Floating-point operations.
    """
    from torch.utils.flop_counter import FlopCounterMode  # not with `import fulmen`: it loads much of torch

    counter = FlopCounterMode(display=False)
    with counter:
        output = forward_fn()
        if loss_fn is not None:
            loss_fn(output).backward()
    return counter.get_total_flops()
