"""The table of results that validation and testing print at their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def print_results(stage: str, outputs: Sequence[dict[str, float]], out: Callable[[str], None]) -> None:
    """Print one row a metric and one column a loader.

    Args:
        stage: ``validate`` or ``test``.
        outputs: for each loader, key -> value.
        out: prints a text.
    """
    keys = list(dict.fromkeys(key.partition("/dataloader_idx_")[0] for output in outputs for key in output))
    if not keys:
        return
    header = [f"{stage.capitalize()} metric", *(f"DataLoader {index}" for index in range(len(outputs)))]
    rows = [header]
    for key in keys:
        cells = []
        for index, output in enumerate(outputs):
            value = output.get(key, output.get(f"{key}/dataloader_idx_{index}"))
            cells.append("" if value is None else f"{value:.6g}")
        rows.append([key, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    out("\n".join([rule, lines[0], rule, *lines[1:], rule]))
