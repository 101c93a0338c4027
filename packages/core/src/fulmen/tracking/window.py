"""Window: the newest records of a run, in memory, for those who deliver them."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence

from fulmen.tracking.record import PAYLOAD_KINDS, Record


class Window:
    """The newest records, shared by all delivery threads; one that lags further reads the journal itself.

    Its lock is held over a few operations on a deque, never over a call to anybody.

    Args:
        start: the number of the first record that will be published.
        most_records: how many records are held at most.
        most_bytes: how many bytes of the journal the held records may stand for; the newest is always held.
    """

    def __init__(self, start: int, most_records: int = 4096, most_bytes: int = 64 << 20) -> None:
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._end = start
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._changed = threading.Condition(threading.Lock())
        self._payloads: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> int:
        """The number of the oldest record that is held; that of the next one if none is."""
        with self._changed:
            return self._records[0].n if self._records else self._end

    @property
    def end(self) -> int:
        """The number after that of the newest record."""
        return self._end

    def payloads_for(self, key: str) -> int:
        """Return how many records meant for the logger with this key were published."""
        return self._payloads[None] + self._payloads[key]

    def publish(self, records: Sequence[Record]) -> None:
        """Add the next records, let go of the oldest, and wake who waits."""
        with self._changed:
            for record in records:
                self._records.append(record)
                self._bytes += record.end - record.offset
                if record.kind in PAYLOAD_KINDS:
                    self._payloads[record.only] += 1
            while len(self._records) > self._most_records or (
                self._bytes > self._most_bytes and len(self._records) > 1
            ):
                oldest = self._records.popleft()
                self._bytes -= oldest.end - oldest.offset
            self._end = records[-1].n + 1
            self._changed.notify_all()

    def after(self, n: int, most: int) -> list[Record] | None:
        """Return at most ``most`` records from number ``n`` on; ``None`` if some of them are held no more."""
        with self._changed:
            if n >= self._end:
                return []
            if not self._records or n < self._records[0].n:
                return None
            first = n - self._records[0].n  # records are numbered without gaps
            return list(itertools.islice(self._records, first, first + most))

    def wait(self, n: int, until: Callable[[], bool], timeout_s: float | None) -> None:
        """Wait until record ``n`` is published, ``until()`` (asked at ``poke``) is true, or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._end > n or until(), timeout_s)

    def poke(self) -> None:
        """Have those who wait look again."""
        with self._changed:
            self._changed.notify_all()
