"""Journal: the append-only file that gets every record of a run before any tracker does.

One thread writes it. Whoever records puts an entry on a queue, which costs about a microsecond; the thread
gathers entries for a tenth of a second and hands them to the operating system in one write. There is no lock
that a forked child could inherit locked: a child never reaches the queue, because the process id is compared
first.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import os
import queue
import re
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fulmen.tracking.disk import sync_path
from fulmen.tracking.record import FORMAT, Damage, Record, encode, is_intact, read_lines, read_records

_log = logging.getLogger("fulmen")

_GATHER_S = 0.1  # how long entries are gathered before they are written
_RETRY_S = 1.0  # how long a failed write waits before it is tried again
_MOST_AT_ONCE_BYTES = 1 << 20  # of one write
_MOST_UNWRITTEN_BYTES = 64 << 20  # what is kept in memory while the disk refuses to take it
_MOST_STALLED = 256  # records whose picture or file waits in memory for the disk
_MOST_DAMAGE_SAID = 10
_NUMBER = re.compile(rb'\{"n":(\d+),')


class Entry(NamedTuple):
    """What is to be recorded."""

    kind: str
    time_s: float
    step: int | None
    #: The data, or what returns them when called on the journal's thread.
    data: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    only: str | None = None


class _Barrier:
    """A place in the queue, at which somebody waits until all before it is written."""

    def __init__(self, fsync: bool, last: bool) -> None:
        self.fsync = fsync
        self.last = last
        self.position = 0
        self.reached = threading.Event()


class Journal:
    """A run's journal, open for writing in one process only. Nothing is written before ``start``.

    Args:
        path: the file; it is continued if it exists. A torn last line is cut off, which is said once; any other
            damage is said with its place and left as it is.
        rewind_to: number of the first record that does not count any more; ``None`` for all do.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, rewind_to: int | None = None) -> None:
        self.path = path
        self._on_written: Callable[[Sequence[Record]], None] = lambda records: None
        self._on_sync: Callable[[], None] = lambda: None
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[Entry | _Barrier] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._closed = False

        self._position, self._size = _repair(path)
        self.first = self._position  #: the number of the first record of this process
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        sync_path(path.parent)
        # Records whose lines are not all with the operating system, and the bytes that it has not taken.
        self._unwritten: deque[Record] = deque()
        self._bytes = bytearray()
        self._taken = self._size
        self._stalled: deque[Entry] = deque()
        self._closed_file = False
        self._failed_at_s: float | None = None
        self._lost = 0

        self._thread = threading.Thread(target=self._work, name="fulmen-journal", daemon=True)
        self.put(Entry("open", time.time(), None, _describe_process()))
        if rewind_to is not None:
            self.put(Entry("rewind", time.time(), None, {"to": rewind_to}))

    # ------------------------------------------------------------------------------------- any thread

    def start(
        self,
        on_written: Callable[[Sequence[Record]], None] = lambda records: None,
        on_sync: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the thread that writes; what was put before is not lost.

        Args:
            on_written: called on that thread with records that the operating system has taken.
            on_sync: called on that thread at each ``sync``, before the journal itself is synced.
        """
        self._on_written, self._on_sync = on_written, on_sync
        self._thread.start()

    def is_current_thread(self) -> bool:
        """Return whether the calling thread is the one that writes."""
        return self._thread.ident == threading.get_ident()

    def put(self, entry: Entry) -> None:
        """Record ``entry``; returns at once, and does nothing in a forked child."""
        if os.getpid() != self._pid:
            return
        if self._closed:
            _log.warning("a record of kind %r came after %s was closed; it is not kept", entry.kind, self.path)
            return
        self._queue.put(entry)

    def position(self) -> int:
        """Return the number of the next record: all that was put before has a lower one."""
        return self._position if self._is_out_of_use() else self._wait(_Barrier(fsync=False, last=False))

    def sync(self) -> int:
        """Wait until the disk holds all that was put so far, or has refused it; return the position."""
        return self._position if self._is_out_of_use() else self._wait(_Barrier(fsync=True, last=False))

    def close(self) -> None:
        """Write and sync the rest, and end; harmless when called again, at exit, or in a forked child."""
        if os.getpid() != self._pid or self._closed:
            return
        self._closed = True
        self._wait(_Barrier(fsync=True, last=True))

    @staticmethod
    def read(
        path: Path, start: int = 0, offset: int = 0, on_damage: Callable[[Damage], None] = lambda damage: None
    ) -> Iterator[Record]:
        """Yield the records of a journal, written or being written, from number ``start`` on.

        Args:
            path: the journal's file.
            start: records with lower numbers are passed over.
            offset: the byte at which to begin; the start of a line.
            on_damage: told of each line that is not what was written; it is passed over.
        """
        return (record for record in read_records(path, offset, on_damage) if record.n >= start)

    def _is_out_of_use(self) -> bool:
        return self._closed or os.getpid() != self._pid

    def _wait(self, barrier: _Barrier) -> int:
        self._queue.put(barrier)
        self._hurry.set()
        while not barrier.reached.wait(1.0):
            # Daemon threads stand still once the interpreter goes down; waiting for one would never end.
            if not self._thread.is_alive() or sys.is_finalizing():
                return self._position
        return barrier.position

    # --------------------------------------------------------------------------- the journal's thread

    def _work(self) -> None:
        try:
            while not self._closed_file:
                self._write_what_comes()
        except BaseException:
            _log.exception("the journal %s stopped; this is a bug in Fulmen, please report it", self.path)

    def _write_what_comes(self) -> None:
        try:
            item = self._queue.get(timeout=None if self._failed_at_s is None else _RETRY_S)
        except queue.Empty:
            self._write()
            return
        if isinstance(item, Entry):
            self._hurry.wait(_GATHER_S)
            self._hurry.clear()
        while True:
            if isinstance(item, Entry):
                self._add(item)
            else:
                self._pass(item)
            if self._queue.empty() or len(self._bytes) >= _MOST_AT_ONCE_BYTES:
                break
            item = self._queue.get()
        self._write()

    def _add(self, entry: Entry) -> None:
        """Give an entry its number and make a line of it."""
        try:
            data = entry.data() if callable(entry.data) else entry.data
        except OSError as error:  # what belongs to the record, a picture for example, could not be written
            if len(self._stalled) < _MOST_STALLED:
                self._stalled.append(entry)
            else:
                self._lost += 1
            self._fail(error)
            return
        except Exception:
            _log.exception("a record of kind %r could not be made; it is not kept", entry.kind)
            return
        if len(self._bytes) >= _MOST_UNWRITTEN_BYTES:
            self._lost += 1
            return
        time_s = round(entry.time_s, 6)
        try:
            line = encode(self._position, time_s, entry.kind, entry.step, data, entry.only)
        except Exception:
            _log.exception("a record of kind %r cannot be written as JSON; it is not kept", entry.kind)
            return
        end = self._size + len(line)
        record = Record(self._position, time_s, entry.kind, entry.step, data, entry.only, self._size, end)
        self._position += 1
        self._size = end
        self._bytes += line
        self._unwritten.append(record)

    def _pass(self, barrier: _Barrier) -> None:
        """Write all that came before a barrier, and let go who waits at it."""
        while barrier.last and not self._queue.empty():  # put by another thread while this one closed
            item = self._queue.get()
            if isinstance(item, Entry):
                self._add(item)
            else:
                item.reached.set()
        self._write(at_once=True)
        if barrier.fsync:
            try:
                self._on_sync()
                os.fsync(self._descriptor)
            except OSError as error:
                self._fail(error)
        if barrier.last:
            self._end()
        barrier.position = self._position
        barrier.reached.set()

    def _write(self, at_once: bool = False) -> None:
        """Hand over to the operating system what it has not taken, unless it refused just now."""
        if self._failed_at_s is not None:
            if not at_once and time.monotonic() - self._failed_at_s < _RETRY_S:
                return
            stalled, self._stalled = self._stalled, deque()
            for entry in stalled:
                self._add(entry)
        try:
            while self._bytes:
                taken = os.write(self._descriptor, self._bytes)
                del self._bytes[:taken]
                self._taken += taken
        except OSError as error:
            self._fail(error)
        else:
            self._recover()
        written = []
        while self._unwritten and self._unwritten[0].end <= self._taken:
            written.append(self._unwritten.popleft())
        if written:
            self._on_written(written)

    def _fail(self, error: OSError) -> None:
        if self._failed_at_s is None:
            _log.warning(
                "the run's journal cannot be written: %s (%s). Training goes on, records wait in memory, and "
                "writing is tried again every second; make room on the disk",
                error,
                self.path,
            )
        self._failed_at_s = time.monotonic()

    def _recover(self) -> None:
        if self._failed_at_s is None or self._stalled:
            return
        self._failed_at_s = None
        _log.warning("the run's journal is written again (%s); %s", self.path, self._losses())
        self._lost = 0

    def _losses(self) -> str:
        return f"{self._lost} records were lost" if self._lost else "nothing was lost"

    def _end(self) -> None:
        self._lost += len(self._unwritten) + len(self._stalled)
        if self._failed_at_s is not None:
            _log.warning("the run's journal could not be written to its end (%s); %s", self.path, self._losses())
        os.close(self._descriptor)
        self._closed_file = True


def _repair(path: Path) -> tuple[int, int]:
    """Cut off a torn last line, say what else is damaged, and return the next number and the file's size."""
    if not path.exists():
        return 0, 0
    position, size = 0, 0
    damage: list[Damage] = []
    torn: Damage | None = None
    for number, (offset, line) in enumerate(read_lines(path), 1):
        if torn is not None:  # it was not the last line
            damage.append(torn)
            torn = None
        size = offset + len(line)
        match = _NUMBER.match(line)
        if match and line.endswith(b"\n") and is_intact(line[:-1]):
            position = max(position, int(match[1]) + 1)
        else:
            reason = "the checksum does not fit the line" if line.endswith(b"\n") else "the line has no end"
            torn = Damage(number, offset, len(line), reason)
    for found in damage[:_MOST_DAMAGE_SAID]:
        _log.warning("%s is damaged: %s; this record is passed over", path, found)
    if len(damage) > _MOST_DAMAGE_SAID:
        _log.warning("%s is damaged in %d more lines", path, len(damage) - _MOST_DAMAGE_SAID)
    if torn is not None:
        os.truncate(path, torn.offset)
        size = torn.offset
        _log.warning("cut the torn last line off %s: %d bytes from byte %d", path, torn.size, torn.offset)
    return position, size


def _describe_process() -> dict[str, Any]:
    try:
        version = importlib.metadata.version("fulmen-core")
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        version = "unknown"
    return {
        "format": FORMAT,
        "fulmen": version,
        "utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
