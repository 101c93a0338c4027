"""A curve drawn with characters, for a terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character, by row and column


def draw(steps: Sequence[float], values: Sequence[float], width: int = 70, height: int = 10) -> list[str]:
    """Return the lines of a plot of values over steps; what is not finite is left out.

    Args:
        steps: the x-axis.
        values: as many numbers.
        width: characters across, without the labels.
        height: lines.
    """
    points = [(x, y) for x, y in zip(steps, values, strict=True) if math.isfinite(y)]
    if not points:
        return ["(no finite values)"]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    cells = [[0] * width for _ in range(height)]
    columns = [round((x - left) / ((right - left) or 1) * (2 * width - 1)) for x, _ in points]
    rows = [round((high - y) / ((high - low) or 1) * (4 * height - 1)) for _, y in points]
    for column, row in _joined(list(zip(columns, rows, strict=True))):
        cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    labels = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    lines = [
        f"{label:>{margin}} │" + "".join(chr(0x2800 + dots) for dots in row).rstrip("\u2800")
        for label, row in zip(labels, cells, strict=True)
    ]
    first, last = f"{left:g}", f"{right:g}"
    lines.append(" " * margin + " └" + "─" * width)
    lines.append(" " * (margin + 2) + first + last.rjust(width - len(first)))
    return lines


def _joined(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the dots of the straight lines from each point to the next."""
    dots = [points[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        count = max(1, abs(x1 - x0), abs(y1 - y0))
        dots += [(round(x0 + (x1 - x0) * i / count), round(y0 + (y1 - y0) * i / count)) for i in range(1, count + 1)]
    return dots
