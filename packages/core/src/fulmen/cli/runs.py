"""``fulmen runs`` and ``fulmen show``: what ran, and how it went."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fulmen.cli.plot import draw
from fulmen.errors import MisconfigurationException, nearest
from fulmen.tracking.history import RunHistory, Series, find_runs

_MOST_COLUMNS = 4  # of metrics, where the user names none
_HIDDEN = ("epoch", "hp_metric")


def list_runs(root: Path, metrics: Sequence[str], mode: str, as_json: bool) -> int:
    """Print the runs below a folder, the oldest first, with the last and the best value of metrics.

    Args:
        root: the folder.
        metrics: the keys to show; by default the first few that the runs have.
        mode: which value is the best one, ``"min"`` or ``"max"``.
        as_json: print JSON for machines.

    Raises:
        MisconfigurationException: there is no such folder.
    """
    if not root.is_dir():
        raise MisconfigurationException(f"there is no folder {root}; pass the one in which your runs lie")
    runs = sorted((RunHistory.read(folder) for folder in find_runs(root)), key=lambda run: run.started_s)
    if as_json:
        print(json.dumps([_as_json(run, mode) for run in runs], indent=2))
        return 0
    if not runs:
        print(f"there are no runs below {root}")
        return 0
    keys = list(metrics) or list(dict.fromkeys(key for run in runs for key in run.series if key not in _HIDDEN))
    keys = keys if metrics else keys[:_MOST_COLUMNS]
    rows = [["run", "status", "started", "duration", "steps", *[f"{key} (best {mode})" for key in keys]]]
    for run in runs:
        rows.append(
            [
                str(run.folder),
                run.status,
                datetime.fromtimestamp(run.started_s).strftime("%Y-%m-%d %H:%M"),
                _duration(run.duration_s),
                "" if run.last_step is None else str(run.last_step + 1),
                *[_last_and_best(run.series.get(key), mode) for key in keys],
            ]
        )
    _print_table(rows)
    return 0


def show_run(folder: Path, metrics: Sequence[str], mode: str, as_json: bool) -> int:
    """Print one run: status, hyper-parameters, a table of its metrics, and plots.

    Args:
        folder: the run's folder.
        metrics: the keys to plot; by default the first few.
        mode: which value is the best one, ``"min"`` or ``"max"``.
        as_json: print JSON for machines, with every value of the keys asked for.

    Raises:
        MisconfigurationException: it is not the folder of a run, or has no such metric.
    """
    run = RunHistory.read(folder)
    for key in metrics:
        if key not in run.series:
            raise MisconfigurationException(
                f"the run {folder} has no metric {key!r}{nearest(key, run.series)}; it has: "
                f"{', '.join(run.series) or 'none'}"
            )
    if as_json:
        print(json.dumps(_as_json(run, mode, metrics or list(run.series)), indent=2))
        return 0
    resumed = f", resumed {run.processes - 1} times" if run.processes > 1 else ""
    print(f"{run.folder}: {run.status} after {_duration(run.duration_s)}{resumed}")
    print("records: " + (", ".join(f"{count} {kind}" for kind, count in sorted(run.counts.items())) or "none"))
    for damage in run.damage:
        print(f"damaged: {damage}")
    if run.params:
        print("\nhyper-parameters")
        _print_table([[f"  {key}", str(value)] for key, value in _flat(run.params)])
    if run.series:
        print("\nmetrics")
        rows = [["  key", "values", "first", "last", f"best ({mode})", "at step"]]
        for key, series in run.series.items():
            best, step = series.best(mode)
            rows.append(
                [f"  {key}", str(len(series.values)), *map(_number, (series.values[0], series.last, best)), str(step)]
            )
        _print_table(rows)
    width = min(100, max(20, shutil.get_terminal_size().columns - 15))
    chosen = metrics or [key for key, series in run.series.items() if key not in _HIDDEN and len(series.steps) > 1][:2]
    for key in chosen:
        print(f"\n{key}")
        print("\n".join(draw(run.series[key].steps, run.series[key].values, width)))
    return 0


def _as_json(run: RunHistory, mode: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for key, series in run.series.items():
        best, step = series.best(mode)
        metrics[key] = {
            "last": _plain(series.last),
            "best": _plain(best),
            "best_step": step,
            "count": len(series.steps),
        }
        if key in keys:
            metrics[key] |= {"steps": series.steps, "values": [_plain(value) for value in series.values]}
    return {
        "folder": str(run.folder),
        "status": run.status,
        "started_s": run.started_s,
        "duration_s": run.duration_s,
        "last_step": run.last_step,
        "processes": run.processes,
        "params": run.params,
        "records": dict(run.counts),
        "metrics": metrics,
    }


def _plain(value: float) -> float | str:
    """Return a number as JSON can have it: what is not finite becomes a word."""
    return value if math.isfinite(value) else str(value)


def _last_and_best(series: Series | None, mode: str) -> str:
    return "" if series is None else f"{_number(series.last)} ({_number(series.best(mode)[0])})"


def _number(value: float) -> str:
    return f"{value:.5g}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _flat(params: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in params.items():
        nested = isinstance(value, Mapping) and value
        rows += _flat(value, f"{prefix}{key}/") if nested else [(f"{prefix}{key}", value)]
    return rows


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
