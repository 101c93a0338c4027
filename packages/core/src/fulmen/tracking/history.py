"""RunHistory: what a run's journal says that has happened: status, hyper-parameters, and the course of every number."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fulmen.errors import MisconfigurationException
from fulmen.tracking.record import Damage, read_records
from fulmen.tracking.rewind import Rewinds
from fulmen.tracking.run import is_written_elsewhere


@dataclass
class Series:
    """The values of one key, in the order in which they were logged."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def last(self) -> float:
        """The newest value."""
        return self.values[-1]

    def best(self, mode: str) -> tuple[float, int]:
        """Return the smallest or largest finite value with its step, ``mode`` being ``"min"`` or ``"max"``."""
        finite = [pair for pair in zip(self.values, self.steps, strict=True) if math.isfinite(pair[0])]
        if not finite:
            return self.values[-1], self.steps[-1]
        return min(finite) if mode == "min" else max(finite, key=lambda pair: (pair[0], -pair[1]))


@dataclass
class RunHistory:
    """A run as its journal has it; records that a resumed run replaced are left out."""

    folder: Path
    status: str  #: ``success``, ``failed``, ``interrupted``, ``running``, or ``killed`` where no end was recorded
    started_s: float  #: seconds since the epoch
    ended_s: float
    params: dict[str, Any]
    series: dict[str, Series]
    counts: Counter[str]  #: records by kind, those of numbers as ``metrics``
    processes: int  #: how many processes wrote it: one more with each resume
    damage: list[Damage]

    @property
    def duration_s(self) -> float:
        """Seconds between the first record and the last."""
        return self.ended_s - self.started_s

    @property
    def last_step(self) -> int | None:
        """The largest step of a number, ``None`` where there is none."""
        return max((max(series.steps) for series in self.series.values()), default=None)

    @classmethod
    def read(cls, folder: Path) -> RunHistory:
        """Read the journal in a run's folder.

        Raises:
            MisconfigurationException: there is none.
        """
        journal = folder / "journal.jsonl"
        if not journal.is_file():
            raise MisconfigurationException(
                f"{folder} holds no journal.jsonl, so it is not the folder of a run; pass one such as "
                "lightning_logs/version_3, or see `fulmen runs`"
            )
        rewinds = Rewinds.of(read_records(journal))
        found = cls(folder, "killed", 0.0, 0.0, {}, {}, Counter(), 0, [])
        for record in read_records(journal, on_damage=found.damage.append):
            found.started_s = found.started_s or record.time_s
            found.ended_s = record.time_s
            if record.kind == "open":
                found.processes += 1
                found.status = "killed"
            elif record.kind == "status":
                found.status = str(record.data["status"])
            elif record.kind not in ("close", "rewind") and not rewinds.replaces(record.n):
                found.counts[record.kind] += 1
                if record.kind == "hparams":
                    found.params.update(record.data["params"])
                elif record.kind == "metrics":
                    found._add(record.data, record.step)
        if found.status == "killed" and is_written_elsewhere(folder):
            found.status = "running"
        return found

    def _add(self, numbers: Any, step: int | None) -> None:
        for key, value in numbers.items():
            series = self.series.setdefault(key, Series())
            series.steps.append(step or 0)
            series.values.append(float(value))


def find_runs(root: Path, deepest: int = 4) -> Iterator[Path]:
    """Yield the folders of runs below ``root``, itself included."""
    for folder, below, files in os.walk(root):
        below.sort()
        if "journal.jsonl" in files:
            yield Path(folder)
            below.clear()
        elif len(Path(folder).relative_to(root).parts) >= deepest:
            below.clear()
