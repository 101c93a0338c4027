"""CSVLogger: metrics in a text file, for every tool that reads tables."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fulmen.logger import FolderLogger, RunInfo
from fulmen_loggers.values import plain_params, scalars, with_prefix, write_hparams_file


class MetricsFile:
    """A CSV file that grows by rows and, where a metric is new, by columns.

    A process that dies leaves whole rows, at worst with a torn last one, which is cut off when the file is
    next opened.

    Args:
        path: the file; where it exists, rows are added below those that it holds.
        flush_every: rows that may wait in memory before they are written.
    """

    def __init__(self, path: str | os.PathLike[str], flush_every: int = 1) -> None:
        self.path = Path(path)
        self.columns: list[str] = []
        self.row_count = 0  #: rows in the file and in memory
        self._flush_every = flush_every
        self._waiting_rows = 0
        self._waiting = b""
        if self.path.exists():
            self._adopt()

    def append(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Add a row.

        Args:
            values: the numbers by column; one called ``step`` is the row's step.
            step: the row's step; ``None`` for the number of rows before it.
        """
        row: dict[str, Any] = {"step": self.row_count if step is None else step, **values}
        if self._waiting_rows >= self._flush_every or not row.keys() <= set(self.columns):
            self.flush()
        # Everything that can fail comes before the row counts as added: whoever tries again adds it once.
        self._grow([key for key in row if key not in self.columns])
        self._waiting += _line([_text(row.get(column, "")) for column in self.columns])
        self._waiting_rows += 1
        self.row_count += 1

    def flush(self) -> None:
        """Write the rows that wait."""
        if not self._waiting:
            return
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(descriptor, self._waiting) :]
        finally:
            os.close(descriptor)
        self._waiting_rows = 0

    def points(self) -> set[tuple[str, int | None]]:
        """Return the column and the step of each number in the file."""
        self.flush()
        if not self.columns:
            return set()
        with open(self.path, newline="", encoding="utf-8") as file:
            return {
                (column, int(row["step"])) for row in csv.DictReader(file) for column in self.columns if row[column]
            }

    def _grow(self, new_columns: Sequence[str]) -> None:
        """Rewrite the file with more columns, empty in the rows so far."""
        if not new_columns:
            return
        columns = [*self.columns, *new_columns]
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with open(temporary, "wb") as file:
            file.write(_line(columns))
            if self.columns:
                with open(self.path, newline="", encoding="utf-8") as old_file:
                    old_rows = csv.reader(old_file)
                    next(old_rows)
                    for row in old_rows:
                        file.write(_line([*row, *[""] * (len(columns) - len(row))]))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self.columns = columns

    def _adopt(self) -> None:
        """Take over a file that an earlier process wrote."""
        content = self.path.read_bytes()
        torn = len(content) - content.rfind(b"\n") - 1
        if torn:
            os.truncate(self.path, len(content) - torn)
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            self.columns = next(rows, [])
            self.row_count = sum(1 for _ in rows)


class CSVLogger(FolderLogger):
    """Writes ``metrics.csv``, a row for each step, and ``hparams.yaml`` into the run's folder.

    Values are written such that they read back exactly. In a folder that holds a ``metrics.csv`` already,
    rows are added to it.

    Args:
        save_dir: the root folder; ``None`` for the working directory.
        name: the folder below it.
        version: a number N for ``version_N``, a folder's name, or ``None`` for the first number that is free.
        prefix: put before each metric's name, with a ``-``.
        flush_logs_every_n_steps: rows that may wait in memory; they are also written whenever no more are
            queued.
    """

    interface = (1, 0)

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version)
        self._prefix = prefix
        self._flush_every = flush_logs_every_n_steps
        self._file: MetricsFile | None = None
        self.hparams: dict[str, Any] = {}

    def open(self, run: RunInfo) -> None:
        os.makedirs(self.log_dir, exist_ok=True)
        if self._file is None:  # else it could not be closed, and holds rows that were not written
            self._file = MetricsFile(os.path.join(self.log_dir, "metrics.csv"), self._flush_every)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._metrics_file.append(scalars(metrics, self._prefix), step)

    def tell_points(self, points: Sequence[tuple[str, int | None]]) -> Iterable[tuple[str, int | None]]:
        """Return those of these points, each a key and a step, that are in the file."""
        there = self._metrics_file.points()
        return [(key, step) for key, step in points if (with_prefix(self._prefix, key), step) in there]

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        self.hparams.update(plain_params(params))
        if not self.is_recorded:  # a run keeps the file itself
            write_hparams_file(self.log_dir, self.hparams)

    def save(self) -> None:
        if self._file is not None:
            self._file.flush()

    def finalize(self, status: str) -> None:
        self.save()

    def close(self, status: str) -> None:
        self.save()
        self._file = None

    @property
    def experiment(self) -> MetricsFile:
        """The file of metrics, open for more rows."""
        self.ensure_open()
        return self._metrics_file

    @property
    def _metrics_file(self) -> MetricsFile:
        if self._file is None:
            raise RuntimeError("CSVLogger is closed; use `logger.experiment`, which opens it")
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_file": None}


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode("utf-8")
