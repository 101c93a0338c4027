"""Histograms: counts as numpy makes them, without a wait for a device, for values of all sizes."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from fulmen.errors import MisconfigurationException
from fulmen.histogram import Histogram


@pytest.mark.parametrize("bins", [1, 7, 64])
def test_counts_and_edges_are_those_of_numpy(bins: int) -> None:
    values = np.random.default_rng(0).normal(3.0, 10.0, 5000)
    counts, edges = np.histogram(values, bins)
    for given in (values, torch.from_numpy(values), values.tolist(), values.reshape(50, 100)[::-1]):
        made = Histogram.of(given, bins)
        assert made.counts == tuple(counts)
        np.testing.assert_allclose(made.edges, edges, rtol=1e-12)
        assert made.left_out == 0


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([1.0, 2.0, 2.0], dtype=torch.bfloat16),
        torch.tensor([1.0, 2.0, 2.0], dtype=torch.float16, requires_grad=True),
        torch.tensor([[1, 2, 2]]),
        np.array([1, 2, 2], np.uint8),
        [1, 2, 2],
        (torch.tensor(1), torch.tensor(2), torch.tensor(2)),
    ],
)
def test_takes_numbers_of_all_types(given: object) -> None:
    assert Histogram.of(given, 2) == Histogram((1.0, 1.5, 2.0), (1.0, 2.0))


def test_nan_and_infinities_are_left_out_and_counted() -> None:
    assert Histogram.of([math.nan, math.inf, 0.0, -math.inf, 1.0], 2) == Histogram((0.0, 0.5, 1.0), (1.0, 1.0), 3)
    nothing = Histogram.of([math.nan], 2)
    assert (nothing.counts, nothing.left_out) == ((0.0, 0.0), 1)


@pytest.mark.parametrize(
    "values", [[3.0, 3.0], [1e300, 1e300], [1.0, 1.0 + 4e-16], [0.0, 5e-324], [-1.7e308, 1.7e308], [7]]
)
def test_edges_rise_and_nothing_is_lost_at_the_ends_of_what_floats_can_do(values: list[float]) -> None:
    made = Histogram.of(values)
    assert all(left < right for left, right in pairwise(made.edges))
    assert made.edges[0] <= min(values)
    assert made.edges[-1] >= max(values)
    assert sum(made.counts) == len(values)


def test_what_was_counted_already_is_taken_as_it_is() -> None:
    counts, edges = np.histogram([1.0, 2.0, 4.0], 3)
    made = Histogram.of((counts, edges))
    assert made == Histogram((1.0, 2.0, 3.0, 4.0), (1.0, 1.0, 1.0))
    assert Histogram.of(made) is made


@pytest.mark.parametrize(
    ("values", "bins", "message"),
    [
        ([], 64, "no values"),
        (torch.empty(0), 64, "no values"),
        (["a"], 64, "must be of numbers"),
        ([1.0, [2.0]], 64, "must be of numbers"),
        ([1 + 2j], 64, "real numbers"),
        ([1.0], 0, "`bins` must be a whole number >= 1, but is 0"),
        ([1.0], 2.5, "`bins`"),
    ],
)
def test_what_cannot_be_counted_is_said(values: object, bins: int, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Histogram.of(values, bins)


@pytest.mark.parametrize(("edges", "counts"), [((0.0, 1.0), (1.0, 2.0)), ((0.0, 0.0), (1.0,)), ((1.0,), ())])
def test_a_histogram_that_is_none_is_refused(edges: tuple[float, ...], counts: tuple[float, ...]) -> None:
    with pytest.raises(MisconfigurationException, match="edge"):
        Histogram(edges, counts)
