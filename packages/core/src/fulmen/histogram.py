"""Histogram: how many values lie in each of some ranges, as every logger gets it (stable interface)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fulmen.errors import MisconfigurationException

#: Ranges, unless somebody asks for another number; as W&B's own.
BINS = 64


@dataclass(frozen=True)
class Histogram:
    """Counts of values in adjoining ranges.

    Raises:
        MisconfigurationException: there is not one edge more than there are counts, or the edges do not rise.
    """

    edges: tuple[float, ...]  #: n + 1 rising numbers
    counts: tuple[float, ...]  #: n numbers; that at i counts the values between the edges i and i + 1
    left_out: int = 0  #: values that are NaN or infinite, and in no range

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1 or not self.counts:
            raise MisconfigurationException(
                f"a histogram needs one edge more than it has counts, but has {len(self.edges)} edges and "
                f"{len(self.counts)} counts; numpy.histogram returns both, the counts first"
            )
        if any(not left < right for left, right in pairwise(self.edges)):
            raise MisconfigurationException(f"the edges of a histogram must rise, but are {self.edges!s:.80}")

    @classmethod
    def of(cls, values: Any, bins: int = BINS) -> Histogram:
        """Make a histogram of what the user holds.

        Args:
            values: a ``Histogram``; a tensor, array or sequence of numbers of any shape; or ``(counts, edges)`` as
                ``numpy.histogram`` returns them. NaN and infinities are left out.
            bins: how many ranges, all of one width, from the lowest value to the highest.

        Raises:
            MisconfigurationException: there are no values, or they are no numbers.
        """
        made = ready_made(values)
        return made if made is not None else unpacked(counted(values, bins))


def ready_made(values: Any) -> Histogram | None:
    """Return a histogram that was counted already: ours, or ``(counts, edges)`` of numpy; ``None`` for bare values."""
    if isinstance(values, Histogram):
        return values
    if isinstance(values, tuple) and len(values) == 2 and all(hasattr(part, "tolist") for part in values):
        counts, edges = (part.tolist() for part in values)
        if isinstance(counts, list) and isinstance(edges, list) and len(edges) == len(counts) + 1:
            return Histogram(tuple(map(float, edges)), tuple(map(float, counts)))
    return None


def counted(values: Any, bins: int = BINS) -> Tensor:
    """Count values where they are; nothing waits for their device.

    Args:
        values: a tensor, array or sequence of numbers of any shape.
        bins: how many ranges.

    Returns:
        A tensor of shape ``(bins + 3,)``: the counts, the number of values left out, the lowest and the highest value.

    Raises:
        MisconfigurationException: there are no values, or they are no numbers.
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise MisconfigurationException(f"`bins` must be a whole number >= 1, but is {bins!r}; {BINS} is the default")
    try:
        # Through numpy, for torch would make 32-bit floats of Python's.
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(np.ascontiguousarray(values))
        flat = tensor.detach().flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise MisconfigurationException(
            f"a histogram must be of numbers, but {values!r:.80} is a {type(values).__name__}; pass a tensor, an array "
            "or a list"
        ) from error
    if flat.numel() == 0:
        raise MisconfigurationException("a histogram was asked for of no values; log it where there are some")
    if flat.is_complex():
        raise MisconfigurationException("a histogram must be of real numbers, but they are complex; log their .abs()")
    flat = flat.to(torch.float32 if flat.device.type == "mps" else torch.float64)
    # A mask of the finite values would have the host wait for their number; so would torch.histc for the range.
    finite = flat.isfinite()
    low = torch.where(finite, flat, math.inf).min()
    high = torch.where(finite, flat, -math.inf).max()
    scale = bins / (high / 2 - low / 2)  # halves, as the difference of huge numbers would be infinite
    index = ((flat / 2 - low / 2) * scale).nan_to_num(0.0).clamp(0, bins - 1).long()
    index = torch.where(finite, index, bins)
    counts = torch.zeros(bins + 1, dtype=flat.dtype, device=flat.device)
    counts.scatter_add_(0, index, torch.ones_like(flat))
    return torch.cat([counts, low.reshape(1), high.reshape(1)])


def unpacked(packed: Tensor) -> Histogram:
    """Return the histogram of which :func:`counted` returned the tensor; waits for its device."""
    *counts, left_out, low, high = packed.tolist()
    if not low <= high:  # no value was finite
        low, high = 0.0, 1.0
    elif low == high:  # all values are equal; the range is numpy's
        low, high = low - 0.5, high + 0.5
        counts = _centred(counts)
    edges = _edges(low, high, len(counts))
    return Histogram(edges, tuple(counts), int(left_out))


def _edges(low: float, high: float, bins: int) -> tuple[float, ...]:
    edges = [low * (1 - number / bins) + high * (number / bins) for number in range(bins)] + [high]
    if all(left < right for left, right in pairwise(edges)):
        return tuple(edges)
    # So close together, or so far from zero, that there are not enough floats between them.
    margin = max(abs(low), abs(high)) * bins * 2e-15 + 5e-324 * bins
    return _edges(low - margin, high + margin, bins)


def _centred(counts: Sequence[float]) -> list[float]:
    total, bins = sum(counts), len(counts)
    return [total if number == bins // 2 else 0.0 for number in range(bins)]
