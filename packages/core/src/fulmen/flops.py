"""Floating-point operations: how many a computation takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode


def measure_flops(
    model: nn.Module, forward_fn: Callable[[], Any], loss_fn: Callable[[Any], Tensor] | None = None
) -> int:
    """Count the floating-point operations of a forward pass, and of the backward pass with it.

    Matrix products, convolutions and attention count, as in ``torch.utils.flop_counter``, recurrent layers do not; a
    multiplication and an addition are two operations. On the meta device nothing is computed:

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
    with counting_flops() as counter:
        output = forward_fn()
        if loss_fn is not None:
            loss_fn(output).backward()
    return counter.get_total_flops()


@contextmanager
def counting_flops() -> Iterator[FlopCounterMode]:
    """Count the operations in the block, those of attention on the CPU included, which torch's counter leaves out."""
    # Not with `import fulmen`: it is slow.
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(gradient, query, key, value))

    ops = torch.ops.aten
    formulas = {
        ops._scaled_dot_product_flash_attention_for_cpu: attention,
        ops._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    }
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a whole layer as one operation, which counts as nothing
    try:
        with counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
