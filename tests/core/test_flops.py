"""Operations of a forward and a backward pass, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fulmen.flops import measure_flops


def test_a_matrix_product_takes_two_operations_an_element() -> None:
    with torch.device("meta"):
        model, x = nn.Linear(32, 8), torch.randn(5, 32)
    forward = 2 * 5 * 32 * 8
    assert measure_flops(model, lambda: model(x)) == forward
    # The backward pass makes the weight's gradient, as large a product; the input needs none.
    assert measure_flops(model, lambda: model(x), lambda y: y.sum()) == 2 * forward


def test_a_convolution_counts_each_of_its_outputs() -> None:
    model, x = nn.Conv2d(3, 4, kernel_size=3), torch.randn(2, 3, 8, 8)
    assert measure_flops(model, lambda: model(x)) == 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3)


@pytest.mark.parametrize("training", [True, False])
def test_attention_counts_on_the_cpu_in_both_modes(training: bool) -> None:
    batch, length, width = 2, 5, 8
    attention = nn.MultiheadAttention(width, num_heads=2, batch_first=True).train(training)
    x = torch.randn(batch, length, width)
    projections = 4 * 2 * batch * length * width * width  # queries, keys, values and the output
    weights_and_values = 2 * 2 * batch * length * length * width
    for need_weights in (True, False):
        with torch.no_grad():
            flops = measure_flops(attention, lambda: attention(x, x, x, need_weights=need_weights))  # noqa: B023
        assert flops == projections + weights_and_values
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_backward_pass_of_attention_counts() -> None:
    query, key, value = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    forward = 2 * (2 * 2 * 3 * 5 * 5 * 4)
    flops = measure_flops(nn.Identity(), lambda: functional.scaled_dot_product_attention(query, key, value), Tensor.sum)
    # Two products forward; backward computes the weights once more and has two products for each of both.
    assert flops == forward + 5 * forward // 2
