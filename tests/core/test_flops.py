"""Operations of a forward and a backward pass, counted by hand."""

from __future__ import annotations

import torch
from torch import nn

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
