"""Delivery: the one thread that talks to one tracker, so that nobody else ever waits for it.

It takes the run's records in order, from memory or, when it lags, from the journal, and hands them to the
logger. A call that fails is made again, or its record is skipped with a warning
(:mod:`fulmen.tracking.service` says when); a call that hangs blocks this thread only.

How far it came is kept in a cursor, written after the logger's ``save``. What a crash leaves unsaved is unsure: a
logger that can tell (``TellsPoints``) is asked what it has of it; another one gets it again.

This file is longer than 400 lines because a reader should find all that one thread does, and what others may ask of it,
in one place.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fulmen.logger import Logger, LogsMetricBatches, MetricPoint, RunInfo, TellsPoints
from fulmen.tracking.calls import Calls
from fulmen.tracking.checkpoints import release
from fulmen.tracking.cursor import Cursor
from fulmen.tracking.media import MediaStore
from fulmen.tracking.record import PAYLOAD_KINDS, Damage, Record, read_records
from fulmen.tracking.rewind import Had, Rewinds, points_of
from fulmen.tracking.service import Backoff, GivenUp, Refused, Service, describe
from fulmen.tracking.window import Window

_log = logging.getLogger("fulmen")

_MOST_AT_ONCE = 1000  # records taken, and points of one batch


class Delivery:
    """The thread that delivers a run's records to one logger.

    Args:
        logger: the tracker's logger.
        key: its key among the run's loggers, such as ``"csv-0"``.
        run: what the logger is told when it opens.
        journal: the journal's file, read when the thread lags behind ``window``.
        window: the newest records.
        media: the run's pictures and files.
        cursor_path: the file that keeps how far delivery came; an existing one is continued.
        backoff: the pauses between tries.
        clock: seconds, for the intervals between saves.
        save_every_s: a save comes no sooner than this after the last; ten times as late while there is a
            queue.
        names_what_it_lacks: whether to say what the logger cannot do.
        rewinds: which records of the journal do not count any more.
        replaced: these records.
    """

    def __init__(
        self,
        logger: Logger,
        key: str,
        *,
        run: RunInfo,
        journal: Path,
        window: Window,
        media: MediaStore,
        cursor_path: Path,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        save_every_s: float = 1.0,
        names_what_it_lacks: bool = True,
        rewinds: Rewinds | None = None,
        replaced: Sequence[Record] = (),
    ) -> None:
        self.logger = logger
        self._names_what_it_lacks = names_what_it_lacks
        self.key = key
        self._name = f"{type(logger).__name__} ({key})"
        self._journal = journal
        self._window = window
        self._media = media
        self._clock = clock
        self._save_every_s = save_every_s
        self._cursor_path = cursor_path
        cls = type(logger)
        self._cursor = Cursor.load(cursor_path, f"{cls.__module__}.{cls.__qualname__}").within(journal, window.end)
        self._service = Service(
            logger,
            self._name,
            run=run,
            resume_id=self._cursor.run_id,
            keeps=f"the run's journal {journal}",
            backoff=backoff,
            clock=clock,
        )
        self._rewinds = rewinds or Rewinds()
        self._had = Had()
        self._replaced = [record for record in replaced if record.is_for(key)]
        self._left_before = window.end - self._cursor.next
        self._passed = 0  # records for this logger that were delivered or skipped
        self._refused = 0
        self._said: set[str] = set()
        self._saved_at_s = clock()
        self._is_dirty = False
        self._calls = Calls(logger, media)
        self._delivered_checkpoints: list[Record] = []
        self._takes_batches = isinstance(logger, LogsMetricBatches)

        # Where the last save stood.
        self._saved_next, self._saved_offset = self._cursor.next, self._cursor.offset
        self._status = ""
        self._awaited = 0  # somebody waits until the records below this number are saved
        self._finish_at: int | None = None
        self._changed = threading.Condition(threading.Lock())  # guards the next two
        self._settled = 0  # the records below this number are delivered and saved
        self._is_finished = False
        self._thread = threading.Thread(target=self._work, name=f"fulmen-{key}", daemon=True)

    # --------------------------------------------------------------------------------------- other threads

    def start(self) -> None:
        """Start the thread, which opens the logger."""
        self._thread.start()

    def is_current_thread(self) -> bool:
        """Return whether the calling thread is the one that talks to the service."""
        return self._thread.ident == threading.get_ident()

    @property
    def next(self) -> int:
        """Number of the next record to deliver."""
        return self._cursor.next

    @property
    def undelivered(self) -> int:
        """How many records for this logger the service does not have."""
        return max(0, self._left_before + self._window.payloads_for(self.key) - self._passed)

    @property
    def last_error(self) -> BaseException | None:
        """What the service raised last, unless a call has worked since."""
        return self._service.last_error

    def wait_until_open(self, timeout_s: float) -> None:
        """Wait until the logger is open.

        Raises:
            LoggerError: it is not within ``timeout_s`` seconds, or opening it cannot work.
        """
        self._service.wait_until_open(timeout_s)

    def ask_for(self, position: int) -> None:
        """Have all records below number ``position`` delivered and saved soon; no pause after a failure."""
        self._awaited = position
        self._service.hurry()
        self._window.poke()

    def wait_until_delivered(self, position: int, timeout_s: float) -> bool:
        """Wait until all records below number ``position`` are delivered and saved; return whether so."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled >= position or self._is_finished, timeout_s)
            return self._settled >= position

    def finish(self, position: int, status: str) -> None:
        """Have the thread close the logger and end once all records below ``position`` are delivered."""
        self._status = status
        self._finish_at = position
        self.ask_for(position)

    def wait_until_finished(self, timeout_s: float) -> bool:
        """Wait until the thread has closed the logger; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_finished, timeout_s)

    def give_up(self) -> None:
        """Have the thread end after the call that it is in; what is undelivered stays in the journal."""
        self._service.give_up()
        self._window.poke()

    # ------------------------------------------------------------------------------------ the thread itself

    def _work(self) -> None:
        try:
            try:
                self._service.attempt(lambda: None)  # opens the logger
                self._find_what_it_has()
                self._write_cursor()  # so that a later process continues the service's run
                while (records := self._take()) is not None:
                    self._deliver(records)
                self._save(durable=True)
            except GivenUp:
                self._save_if_it_works()
            self._service.shut(self._status)
            if self._refused > 1:
                self._say_once(f"refused {self._refused} records in all; they stay in {self._journal}")
        except BaseException:
            _log.exception(
                "delivery to %s stopped; this is a bug in Fulmen, please report it. Its records stay in %s",
                self._name,
                self._journal,
            )
        finally:
            with self._changed:
                self._is_finished = True
                self._changed.notify_all()

    def _take(self) -> Sequence[Record] | None:
        """Wait for the next records and return them; ``None`` once the run is over and all is delivered."""
        while True:
            if self._service.has_given_up:
                raise GivenUp
            records = self._window.after(self._cursor.next, _MOST_AT_ONCE)
            if records is None:
                records = self._service.attempt(self._read_behind)
            since_save_s = self._clock() - self._saved_at_s
            if records:
                if self._is_dirty and since_save_s >= 10 * self._save_every_s:
                    self._save()
                self._announce(records)
                return records
            if self._is_over():
                return None
            if self._is_dirty and (since_save_s >= self._save_every_s or self._is_awaited()):
                self._save()
            else:
                due_s = self._save_every_s - since_save_s if self._is_dirty else None
                self._window.wait(
                    self._cursor.next,
                    lambda: self._is_over() or self._is_awaited() or self._service.has_given_up,
                    due_s,
                )

    def _is_over(self) -> bool:
        return self._finish_at is not None and self._cursor.next >= self._finish_at

    def _is_awaited(self) -> bool:
        return self._settled < self._awaited <= self._cursor.next

    def _read_behind(self) -> list[Record]:
        """Return the next of the records that are in memory no more, from the journal."""
        held_from = self._window.first
        records: list[Record] = []
        for record in read_records(self._journal, self._cursor.offset, self._report_damage):
            if record.n >= held_from or len(records) == _MOST_AT_ONCE:
                break
            if record.n >= self._cursor.next:
                records.append(record)
        if not records:  # all of them are damaged
            self._cursor = replace(self._cursor, next=held_from)
        return records

    def _report_damage(self, damage: Damage) -> None:
        self._say_once(f"does not get the record at byte {damage.offset} of {self._journal}, which is damaged")

    def _find_what_it_has(self) -> None:
        """Learn which points must not be sent: those that it got before a rewind, or just before a crash."""
        cursor = self._cursor
        for record in self._replaced:
            if record.n < cursor.next:
                self._had.add(points_of(record))
        if cursor.sent <= cursor.next or not isinstance(self.logger, TellsPoints):
            return
        tells = self.logger
        unsure = [
            (key, step)
            for record in read_records(self._journal, cursor.offset)
            if cursor.next <= record.n < cursor.sent and record.is_for(self.key)
            for kind, key, step in points_of(record)
            if kind == "metrics"
        ]
        if unsure:
            try:
                there = self._service.attempt(lambda: tells.tell_points(unsure))
            except Refused as refused:
                self._say_once(f"may get points twice that it got just before a crash: {refused}")
                return
            self._had.add(("metrics", key, step) for key, step in there)

    def _announce(self, records: Sequence[Record]) -> None:
        """Keep how far delivery may come now, so that after a crash it is known which records are unsure."""
        sent = records[-1].n + 1
        if sent <= self._cursor.sent:
            return
        self._cursor = replace(self._cursor, sent=sent)
        with contextlib.suppress(OSError):  # `_write_cursor` says so
            # `next` is that of the last save: what came since is unsure too.
            replace(self._cursor, next=self._saved_next, offset=self._saved_offset).save(self._cursor_path)

    def _data_for(self, record: Record) -> Mapping[str, Any]:
        """Return the data of a record that the service is to get; nothing where it is not to get the record."""
        if not record.is_for(self.key) or self._rewinds.replaces(record.n):
            return {}
        return self._had.rest(record)

    def _deliver(self, records: Sequence[Record]) -> None:
        def goes_into_a_batch(record: Record) -> bool:
            return self._takes_batches and record.kind == "metrics"

        for batched, group in itertools.groupby(records, goes_into_a_batch):
            if batched:
                self._deliver_batch(list(group))
            else:
                for record in group:
                    self._deliver_one(record)

    def _deliver_batch(self, records: Sequence[Record]) -> None:
        logger: Any = self.logger
        mine = [(record, data) for record in records if (data := self._data_for(record))]
        points = [MetricPoint(data, record.step, record.time_s) for record, data in mine]
        try:
            if points:
                self._service.attempt(lambda: logger.log_metric_batch(points))
        except Refused as refused:
            if len(points) == 1:
                self._say_refused(mine[0][0], refused)
            for (record, _), point in zip(mine, points, strict=True) if len(points) > 1 else ():
                self._deliver_point(record, point)  # most of them may be fine
        self._advance(records)

    def _deliver_point(self, record: Record, point: MetricPoint) -> None:
        logger: Any = self.logger
        try:
            self._service.attempt(lambda: logger.log_metric_batch([point]))
        except Refused as refused:
            self._say_refused(record, refused)

    def _deliver_one(self, record: Record) -> None:
        data = self._data_for(record)
        is_due = bool(data) or record.kind not in PAYLOAD_KINDS
        call = self._call_for(replace(record, data=data or record.data)) if is_due else None
        try:
            if call is not None:
                self._service.attempt(call)
        except Refused as refused:
            self._say_refused(record, refused)
        self._advance([record])
        if record.kind == "status":  # its call has saved
            self._write_cursor(durable=True)
        if self._service.has_given_up:
            raise GivenUp

    def _call_for(self, record: Record) -> Callable[[], object] | None:
        """Return the call that delivers a record; ``None`` for one that this logger has no use for."""
        lacking = self._calls.lacks(record.kind)
        if lacking is not None and self._names_what_it_lacks:
            self._say_once(f"cannot {lacking}; they stay in the run's journal {self._journal}")
        return self._calls.of(record)

    def _advance(self, records: Sequence[Record]) -> None:
        last = records[-1]
        self._passed += sum(record.kind in PAYLOAD_KINDS and record.is_for(self.key) for record in records)
        self._cursor = replace(self._cursor, next=last.n + 1, offset=last.end)
        self._is_dirty = True
        if last.kind == "checkpoint" and last.is_for(self.key):
            self._delivered_checkpoints.append(last)

    def _save(self, durable: bool = False) -> None:
        try:
            self._service.attempt(self.logger.save)
        except Refused as refused:
            self._say_once(f"could not save: {refused}")
        self._write_cursor(durable)

    def _save_if_it_works(self) -> None:
        """Save once; if that fails, the cursor stays where it was last saved."""
        try:
            if self._is_dirty:
                self.logger.save()
        except BaseException as error:
            self._say_once(f"could not save: {describe(error)}")
        else:
            self._write_cursor(durable=True)

    def _write_cursor(self, durable: bool = False) -> None:
        self._cursor = replace(self._cursor, run_id=self._service.run_id)
        self._saved_next, self._saved_offset = self._cursor.next, self._cursor.offset
        self._saved_at_s = self._clock()
        self._is_dirty = False
        try:
            self._cursor.save(self._cursor_path, durable)
        except OSError as error:
            if not self._journal.exists():
                return  # the run's folder was removed: there is no run to resume, and nobody to tell
            self._say_once(f"may get records twice after a crash, for its cursor cannot be written: {error}")
        else:
            while self._delivered_checkpoints:
                release(self._media.run_folder, self._delivered_checkpoints.pop().data)
        with self._changed:
            self._settled = self._cursor.next
            self._changed.notify_all()

    def _say_refused(self, record: Record, refused: Refused) -> None:
        self._refused += 1
        if record.kind not in self._said:
            self._said.add(record.kind)
            _log.warning(
                "%s refused record %d (%s, step %s): %s. It stays in the run's journal %s; further records "
                "of this kind that it refuses are counted only",
                self._name,
                record.n,
                record.kind,
                record.step,
                refused,
                self._journal,
            )

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            _log.warning("%s %s", self._name, message)
