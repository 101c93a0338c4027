"""Rewind: a resumed run goes on at its checkpoint, and the records from there on are replaced by those that follow.

The journal keeps every line. A record of kind ``rewind`` says from which number on the earlier ones do not count any
more; whoever reads the journal passes those over. What a service got of them before is not sent to it again:
:class:`Had` knows which points these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fulmen.tracking.record import PAYLOAD_KINDS, Record, read_records

#: A number: ``("metrics", key, step)``; or another record with its kind, as a whole.
Point = tuple[str, str, int | None]


class Rewinds:
    """The ranges of a journal's records that do not count any more."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges = list(ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def add(self, to: int, at: int) -> None:
        """Let record ``at`` replace the records from ``to`` on."""
        self._ranges.append((to, at))

    def replaces(self, n: int) -> bool:
        """Return whether the record with this number does not count any more."""
        return any(to <= n < at for to, at in self._ranges)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Rewinds:
        """Return the rewinds among records."""
        return cls((int(record.data["to"]), record.n) for record in records if record.kind == "rewind")


def read_what_counts(path: Path) -> Iterator[Record]:
    """Yield the intact records of a journal that no rewind has replaced."""
    rewinds = Rewinds.of(read_records(path))
    return (record for record in read_records(path) if not rewinds.replaces(record.n))


#: what every record of numbers has beside them; it goes with them, and several records of one step have it
_COMPANION = "epoch"


def points_of(record: Record) -> list[Point]:
    """Return what a record puts before a service's users; none for a record of the journal's own."""
    if record.kind == "metrics":
        return [("metrics", key, record.step) for key in record.data if key != _COMPANION]
    if record.kind in PAYLOAD_KINDS:
        return [(record.kind, str(record.data.get("key", record.data.get("name", ""))), record.step)]
    return []


class Had:
    """Points that a service has, although the records that come now bring them again."""

    def __init__(self) -> None:
        self._points: Counter[Point] = Counter()

    def __bool__(self) -> bool:
        return bool(self._points)

    def add(self, points: Iterable[Point]) -> None:
        """Note points that the service has."""
        self._points.update(points)

    def rest(self, record: Record) -> Mapping[str, Any]:
        """Return the data of a record without what the service has; each point that it has is left out once."""
        if not self._points:
            return record.data
        known = [point for point in points_of(record) if self._points[point] > 0]
        if not known:
            return record.data
        self._points.subtract(known)
        self._points += Counter()  # forgets what is used up
        if record.kind != "metrics":
            return {}
        keys = {key for _, key, _ in known}
        rest = {key: value for key, value in record.data.items() if key not in keys}
        return rest if rest.keys() - {_COMPANION} else {}
