"""Delivery: a logger gets every record once and in order, however its service (a fake) behaves."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fulmen.errors import LoggerError, MisconfigurationException
from fulmen.logger import Logger, MetricPoint, RunInfo
from fulmen.media import Image
from fulmen.tracking.delivery import Delivery
from fulmen.tracking.journal import Entry, Journal
from fulmen.tracking.media import MediaStore
from fulmen.tracking.service import Backoff, comes_again
from fulmen.tracking.window import Window

PATIENCE_S = 60.0  # longer than anything here takes; only a failing test waits for it
QUICK = Backoff(first_s=0.0005, longest_s=0.002)


class PlainLogger(Logger):
    """The smallest logger; its service misbehaves: `trouble` raises or blocks before a call counts."""

    interface = (1, 0)

    def __init__(self, trouble: Callable[[str, Any], None] = lambda call, what: None) -> None:
        self.trouble = trouble
        self.opened: list[RunInfo] = []
        self.calls: list[tuple[Any, ...]] = []
        self.closed: list[str] = []

    def open(self, run: RunInfo) -> None:
        self.trouble("open", run)
        self.opened.append(run)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.trouble("log_metrics", step)
        self.calls.append(("metrics", dict(metrics), step))

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        self.trouble("log_hyperparams", params)
        self.calls.append(("hparams", dict(params)))

    def save(self) -> None:
        self.trouble("save", None)
        self.calls.append(("save",))

    def finalize(self, status: str) -> None:
        self.calls.append(("finalize", status))

    def close(self, status: str) -> None:
        self.trouble("close", status)
        self.closed.append(status)

    @property
    def run_id(self) -> str | None:
        return "the-run" if self.opened else None

    @property
    def steps(self) -> list[int]:
        return [call[2] for call in self.calls if call[0] == "metrics"]


class Desk:
    """A journal and the deliveries that follow it, as a run puts them together."""

    def __init__(self, folder: Path, *loggers: Logger, most_records: int = 4096, **options: Any) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal.jsonl")
        self.window = Window(self.journal.first, most_records)
        self.media = MediaStore(folder)
        self.deliveries = [
            Delivery(
                logger,
                f"plain-{index}",
                run=RunInfo(folder, "digits", "version_0"),
                journal=self.journal.path,
                window=self.window,
                media=self.media,
                cursor_path=folder / "cursors" / f"plain-{index}.json",
                **{"backoff": QUICK, **options},
            )
            for index, logger in enumerate(loggers)
        ]
        self.journal.start(self.window.publish, self.media.sync)
        for delivery in self.deliveries:
            delivery.start()

    def put(self, kind: str, step: int | None = None, only: str | None = None, **data: Any) -> None:
        self.journal.put(Entry(kind, time.time(), step, data, only))

    def metrics(self, *steps: int) -> None:
        for step in steps:
            self.put("metrics", step, loss=step / 2)

    def deliver(self, *deliveries: Delivery) -> None:
        position = self.journal.sync()
        for delivery in deliveries or self.deliveries:
            delivery.ask_for(position)
            assert delivery.wait_until_delivered(position, PATIENCE_S)

    def close(self, status: str = "success") -> None:
        position = self.journal.sync()
        for delivery in self.deliveries:
            delivery.finish(position, status)
            assert delivery.wait_until_finished(PATIENCE_S)
        self.journal.close()


def failing(call: str, *errors: BaseException, step: int | None = None) -> Callable[[str, Any], None]:
    """Trouble: the first calls raise these errors, one after the other."""
    left = list(errors)

    def trouble(called: str, what: Any) -> None:
        if left and called == call and step in (None, what):
            raise left.pop(0)

    return trouble


class Gate:
    """Trouble: a call hangs until the gate is opened."""

    def __init__(self, call: str) -> None:
        self.call = call
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, called: str, what: Any) -> None:
        if called == self.call:
            self.reached.set()
            assert self.released.wait(PATIENCE_S)


# ------------------------------------------------------------------------------------------ what is delivered


class WholeLogger(PlainLogger):
    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        self.calls.append(("image", key, list(images), step))

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self.calls.append(("text", key, text, step))

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        self.calls.append(("table", key, columns, data, step))

    def log_artifact(self, path: Any, name: str | None = None) -> None:
        self.calls.append(("artifact", Path(path).read_bytes(), name))


def put_one_of_each(desk: Desk) -> Image:
    picture = Image.of(np.arange(12, dtype=np.uint8).reshape(2, 6), "a caption")
    (desk.folder / "weights.bin").write_bytes(b"12345")
    desk.put("hparams", params={"lr": 0.1})
    desk.put("metrics", 3, loss=0.5)
    desk.put("image", 4, key="pictures", images=[desk.media.keep_image(picture)])
    desk.put("text", 5, key="words", text="hello")
    desk.put("table", 6, key="rows", columns=["a", "b"], rows=[[1, "x"]])
    desk.put("artifact", file=desk.media.keep_file(desk.folder / "weights.bin"), name="weights.bin")
    desk.put("status", status="success")
    return picture


def test_each_kind_of_record_comes_as_its_call(tmp_path: Path) -> None:
    logger = WholeLogger()
    desk = Desk(tmp_path, logger)
    picture = put_one_of_each(desk)
    desk.close("success")
    assert logger.calls == [
        ("hparams", {"lr": 0.1}),
        ("metrics", {"loss": 0.5}, 3),
        ("image", "pictures", [picture], 4),
        ("text", "words", "hello", 5),
        ("table", "rows", ["a", "b"], [[1, "x"]], 6),
        ("artifact", b"12345", "weights.bin"),
        ("save",),
        ("finalize", "success"),
        ("save",),
    ]
    assert logger.opened == [RunInfo(tmp_path, "digits", "version_0", None)]
    assert logger.closed == ["success"]


def test_what_a_logger_cannot_show_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = PlainLogger()
    desk = Desk(tmp_path, logger)
    put_one_of_each(desk)
    put_one_of_each(desk)
    desk.close()
    assert [call[0] for call in logger.calls if call[0] not in {"save", "finalize"}] == [
        "hparams",
        "metrics",
    ] * 2
    for what in ("show images", "show text", "show tables", "keep files"):
        assert sum(f"PlainLogger (plain-0) cannot {what}" in message for message in caplog.messages) == 1
    assert len(caplog.messages) == 4


def test_a_logger_that_asks_for_the_time_gets_it(tmp_path: Path) -> None:
    class TimedLogger(PlainLogger):
        times: list[float]

        def log_metrics(
            self, metrics: Mapping[str, float], step: int | None = None, time_s: float | None = None
        ) -> None:
            self.calls.append((metrics["loss"], step, time_s))

    logger = TimedLogger()
    desk = Desk(tmp_path, logger)
    desk.journal.put(Entry("metrics", 1769000000.125, 3, {"loss": 1.0}))
    desk.close()
    assert logger.calls[0] == (1.0, 3, 1769000000.125)


class BatchLogger(PlainLogger):
    def log_metric_batch(self, points: Sequence[MetricPoint]) -> None:
        for point in points:
            self.trouble("log_metrics", point.step)
        self.calls.extend(("metrics", dict(point.metrics), point.step) for point in points)
        self.calls.append(("batch", len(points)))


def test_a_logger_that_takes_batches_gets_what_is_at_hand(tmp_path: Path) -> None:
    gate = Gate("open")
    logger = BatchLogger(gate)
    desk = Desk(tmp_path, logger)
    assert gate.reached.wait(PATIENCE_S)
    desk.metrics(*range(1500))
    desk.put("hparams", params={"lr": 0.1})
    desk.metrics(*range(1500, 1600))
    desk.journal.sync()
    gate.released.set()
    desk.close()
    assert logger.steps == list(range(1600))
    assert max(call[1] for call in logger.calls if call[0] == "batch") == 999  # 1000 records, one of them "open"
    assert [call[1] for call in logger.calls if call[0] == "batch"] == [999, 501, 100]
    assert [call[0] for call in logger.calls].index("hparams") == 1502  # in its place between the others


def test_each_logger_gets_what_is_meant_for_it(tmp_path: Path) -> None:
    first, second = PlainLogger(), BatchLogger()
    desk = Desk(tmp_path, first, second)
    desk.metrics(0)
    desk.put("metrics", 1, only="plain-0", loss=1.0)
    desk.put("metrics", 2, only="plain-1", loss=1.0)
    desk.put("hparams", only="plain-1", params={"lr": 0.1})
    desk.metrics(3)
    desk.close()
    assert first.steps == [0, 1, 3]
    assert second.steps == [0, 2, 3]
    assert ("hparams", {"lr": 0.1}) in second.calls
    assert ("hparams", {"lr": 0.1}) not in first.calls


def test_a_kind_from_a_later_version_is_passed_over(tmp_path: Path) -> None:
    logger = PlainLogger()
    desk = Desk(tmp_path, logger)
    desk.put("hologram", 1, shape="cube")
    desk.metrics(1)
    desk.close()
    assert logger.steps == [1]


# ------------------------------------------------------------------------------------ services that misbehave


def test_a_service_that_fails_for_a_while_gets_everything_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [ConnectionError("no route"), TimeoutError("slow"), RuntimeError("the SDK's own")] * 3
    logger = PlainLogger(failing("log_metrics", *errors, step=2))
    desk = Desk(tmp_path, logger)
    desk.metrics(*range(5))
    desk.close()
    assert logger.steps == list(range(5))
    assert [message for message in caplog.messages if "did not take a record" in message] == [caplog.messages[0]]
    assert "PlainLogger (plain-0)" in caplog.messages[0]
    assert "ConnectionError: no route" in caplog.messages[0]
    assert "Training goes on" in caplog.messages[0]
    assert str(desk.journal.path) in caplog.messages[0]
    assert "works again" in caplog.messages[1]
    assert len(caplog.messages) == 2


def test_a_service_that_comes_late_gets_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A wrong value is no reason either to stop trying to open: nothing would be delivered at all.
    logger = PlainLogger(failing("open", ConnectionRefusedError("not yet"), ValueError("no"), OSError("not yet")))
    desk = Desk(tmp_path, logger)
    desk.metrics(*range(5))
    desk.close()
    assert logger.steps == list(range(5))
    assert len(logger.opened) == 1
    assert "could not be opened: ConnectionRefusedError: not yet" in caplog.messages[0]
    assert "works again" in caplog.messages[1]
    assert len(caplog.messages) == 2


def test_a_service_that_comes_and_goes_is_said_once_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now_s = [1000.0]
    odd_calls = itertools.count()

    def trouble(call: str, step: Any) -> None:
        if call == "log_metrics" and next(odd_calls) % 2 == 0:
            now_s[0] += 25.0
            raise ConnectionError("gone")

    logger = PlainLogger(trouble)
    desk = Desk(tmp_path, logger, clock=lambda: now_s[0])
    desk.metrics(*range(6))
    desk.close()
    assert logger.steps == list(range(6))
    # Outages at 25, 50, 75, ... s: said at 25 s and at 100 s.
    assert [("works again" in message) for message in caplog.messages] == [False, True, False, True]


def test_a_long_outage_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now_s = itertools.count(0.0, 100.0)
    logger = PlainLogger(failing("log_metrics", *[ConnectionError("gone")] * 8))
    desk = Desk(tmp_path, logger, clock=lambda: next(now_s))
    desk.metrics(0)
    desk.close()
    assert [("works again" in message) for message in caplog.messages] == [False, True]


def test_after_three_failures_the_logger_is_opened_anew(tmp_path: Path) -> None:
    broken_pipe = [BrokenPipeError("the SDK's process died")] * 3
    logger = PlainLogger(failing("log_metrics", *broken_pipe, step=1))
    desk = Desk(tmp_path, logger)
    desk.metrics(*range(3))
    desk.close("success")
    assert logger.steps == [0, 1, 2]
    assert logger.closed == ["interrupted", "success"]
    assert [run.resume_id for run in logger.opened] == [None, "the-run"]


def test_a_logger_that_cannot_be_closed_is_opened_anew_all_the_same(tmp_path: Path) -> None:
    calls = failing("log_metrics", *[BrokenPipeError("dead")] * 3)
    closes = failing("close", BrokenPipeError("dead"))

    def trouble(call: str, what: Any) -> None:
        calls(call, what)
        closes(call, what)

    logger = PlainLogger(trouble)
    desk = Desk(tmp_path, logger)
    desk.metrics(0)
    desk.close("success")
    assert logger.steps == [0]
    assert len(logger.opened) == 2


@pytest.mark.parametrize("kind", [PlainLogger, BatchLogger])
@pytest.mark.parametrize(
    "error", [ValueError("too long"), LoggerError("no"), KeyError("x"), UserWarning("old"), TypeError("step")]
)
def test_a_record_that_is_refused_is_skipped_and_said_once_a_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, kind: type[PlainLogger]
) -> None:
    def trouble(call: str, what: Any) -> None:
        if call == "log_hyperparams" or (call == "log_metrics" and what % 3 == 1):
            raise error

    logger = kind(trouble)
    desk = Desk(tmp_path, logger)
    desk.metrics(*range(9))
    desk.put("hparams", params={"lr": 0.1})
    desk.close()
    assert logger.steps == [0, 2, 3, 5, 6, 8]
    refusals = [message for message in caplog.messages if "refused record" in message]
    assert len(refusals) == 2
    assert "refused record 2 (metrics, step 1)" in refusals[0]
    assert "refused record 10 (hparams" in refusals[1]
    assert "refused 4 records in all" in caplog.messages[-1]
    assert desk.deliveries[0].undelivered == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionError(), False),
        (TimeoutError(), False),
        (OSError(), False),
        (RuntimeError(), False),
        (Exception(), False),
        (json.JSONDecodeError("a proxy's page", "<html>", 0), False),
        (type("InvalidJSONError", (OSError, ValueError), {})(), False),
        (ValueError(), True),
        (UnicodeError(), True),
        (TypeError(), True),
        (AttributeError(), True),
        (KeyError(), True),
        (ImportError(), True),
        (NotImplementedError(), True),
        (DeprecationWarning(), True),
        (LoggerError(), True),
        (MisconfigurationException(), True),
    ],
)
def test_which_errors_would_come_again(error: BaseException, expected: bool) -> None:
    assert comes_again(error) is expected


def test_an_sdk_that_exits_does_not_end_the_thread(tmp_path: Path) -> None:
    logger = PlainLogger(failing("log_metrics", SystemExit(1)))
    desk = Desk(tmp_path, logger)
    desk.metrics(0, 1)
    desk.close()
    assert logger.steps == [0, 1]


def test_a_save_that_fails_is_tried_again_before_the_cursor_moves(tmp_path: Path) -> None:
    gate = Gate("save")
    fails = failing("save", OSError("disk"), OSError("disk"))

    def trouble(call: str, what: Any) -> None:
        gate(call, what)
        fails(call, what)

    logger = PlainLogger(trouble)
    desk = Desk(tmp_path, logger)
    desk.metrics(0)
    desk.deliveries[0].ask_for(desk.journal.sync())
    assert gate.reached.wait(PATIENCE_S)
    assert logger.steps == [0]
    assert json.loads((tmp_path / "cursors" / "plain-0.json").read_text())["next"] == 0
    gate.released.set()
    desk.deliver()
    assert json.loads((tmp_path / "cursors" / "plain-0.json").read_text())["next"] == 2
    desk.close()


def test_a_save_that_is_refused_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = PlainLogger(failing("save", *[ValueError("no")] * 9))
    desk = Desk(tmp_path, logger)
    desk.metrics(0)
    desk.deliver()
    desk.metrics(1)
    desk.close()
    assert [message for message in caplog.messages if "could not save: ValueError: no" in message] == caplog.messages
    assert len(caplog.messages) == 1


def test_a_close_that_fails_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(tmp_path, PlainLogger(failing("close", ConnectionError("gone"))))
    desk.close()
    assert "failed to close: ConnectionError: gone" in caplog.messages[0]


# ---------------------------------------------------------------------------------------- hanging and lagging


def test_a_hanging_logger_holds_up_nobody_and_memory_stays_bounded(tmp_path: Path) -> None:
    gate = Gate("log_metrics")
    hanging, healthy = PlainLogger(gate), PlainLogger()
    desk = Desk(tmp_path, hanging, healthy, most_records=50)
    desk.metrics(0)
    assert gate.reached.wait(PATIENCE_S)
    for start in range(1, 3000, 100):
        desk.metrics(*range(start, start + 100))
        desk.journal.sync()
        assert len(desk.window) <= 50
    desk.deliver(desk.deliveries[1])
    assert healthy.steps == list(range(3001))
    assert hanging.steps == []
    assert desk.deliveries[0].undelivered == 3001
    gate.released.set()
    desk.close()
    assert hanging.steps == list(range(3001))  # most of them were in the journal only
    assert desk.deliveries[0].undelivered == 0


def test_a_window_lets_go_of_the_oldest_by_number_and_by_size(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    window = Window(journal.first, most_records=10, most_bytes=1000)
    journal.start(window.publish)
    for step in range(30):
        journal.put(Entry("metrics", 1.0, step, {}))
    journal.position()
    assert len(window) == 10
    assert window.first == 21
    assert window.after(20, 5) is None
    assert [record.n for record in window.after(25, 3) or ()] == [25, 26, 27]
    assert window.after(31, 3) == []
    journal.put(Entry("text", 1.0, 0, {"key": "k", "text": "x" * 5000}))
    journal.position()
    assert len(window) == 1
    journal.close()


def test_a_record_that_is_damaged_before_a_lagging_logger_reads_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate("open")
    logger = PlainLogger(gate)
    desk = Desk(tmp_path, logger, most_records=5)
    desk.metrics(*range(30))
    desk.journal.sync()
    content = desk.journal.path.read_bytes()
    assert content.count(b'"loss":3.5') == 1
    place = content.index(b'"loss":3.5')
    with desk.journal.path.open("r+b") as file:
        file.seek(place)
        file.write(b'"lass"')
    gate.released.set()
    desk.close()
    assert logger.steps == [step for step in range(30) if step != 7]
    line_start = content.rindex(b"\n", 0, place) + 1
    assert any(f"does not get the record at byte {line_start}" in message for message in caplog.messages)


def test_records_that_are_all_damaged_are_passed_over(tmp_path: Path) -> None:
    gate = Gate("open")
    logger = PlainLogger(gate)
    desk = Desk(tmp_path, logger, most_records=1)
    desk.metrics(0, 1, 2)
    desk.journal.sync()
    content = desk.journal.path.read_bytes()
    last_line = content.rindex(b"\n", 0, -1) + 1
    with desk.journal.path.open("r+b") as file:
        file.write(content[:last_line].replace(b'"n"', b'"m"'))
    gate.released.set()
    desk.close()
    assert logger.steps == [2]


# -------------------------------------------------------------------------------------------------- cursors


def cursor(folder: Path) -> dict[str, Any]:
    fields = json.loads((folder / "cursors" / "plain-0.json").read_text())
    assert isinstance(fields, dict)
    return fields


def test_a_later_process_delivers_the_rest_exactly_once(tmp_path: Path) -> None:
    # The service goes away for good after step 4: what follows is left to a later process.
    gate = Gate("log_metrics")
    first = PlainLogger(lambda call, step: gate(call, step) if step == 5 else None)
    desk = Desk(tmp_path, first)
    desk.metrics(*range(5))
    desk.deliver()
    desk.metrics(*range(5, 10))
    desk.journal.sync()
    assert gate.reached.wait(PATIENCE_S)
    assert cursor(tmp_path) == {
        "next": 6,
        "offset": desk.journal.path.read_bytes().index(b'{"n":6,'),
        "run_id": "the-run",
        "logger": f"{__name__}.PlainLogger",
        "sent": 11,  # the call that hangs may have been told of all of them
    }
    content = desk.journal.path.read_bytes()
    desk.journal.close()

    later = tmp_path / "later"  # as a killed process left it
    (later / "cursors").mkdir(parents=True)
    (later / "journal.jsonl").write_bytes(content)
    (later / "cursors" / "plain-0.json").write_bytes((tmp_path / "cursors" / "plain-0.json").read_bytes())
    second = PlainLogger()
    resumed = Desk(later, second)
    resumed.metrics(10, 11)
    resumed.close()
    assert first.steps == [0, 1, 2, 3, 4]
    assert second.steps == [5, 6, 7, 8, 9, 10, 11]
    assert [run.resume_id for run in second.opened] == ["the-run"]

    third = PlainLogger()
    Desk(later, third).close()
    assert third.steps == []

    gate.released.set()  # lets the first thread end
    desk.deliveries[0].give_up()
    assert desk.deliveries[0].wait_until_finished(PATIENCE_S)


def test_a_logger_that_is_new_to_a_run_gets_it_from_the_start(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PlainLogger())
    desk.metrics(*range(5))
    desk.close()
    (tmp_path / "cursors" / "plain-0.json").write_text(
        json.dumps({**cursor(tmp_path), "logger": "other.Logger", "run_id": "foreign"})
    )
    logger = PlainLogger()
    Desk(tmp_path, logger).close()
    assert logger.steps == list(range(5))
    assert logger.opened[0].resume_id is None


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"next": "x"}', "\x00\x00"])
def test_a_spoilt_cursor_is_one_at_the_start(tmp_path: Path, spoilt: str) -> None:
    desk = Desk(tmp_path, PlainLogger())
    desk.metrics(0, 1)
    desk.close()
    (tmp_path / "cursors" / "plain-0.json").write_text(spoilt)
    logger = PlainLogger()
    Desk(tmp_path, logger).close()
    assert logger.steps == [0, 1]


def test_a_cursor_whose_offset_is_wrong_goes_by_its_number(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PlainLogger())
    desk.metrics(*range(5))
    desk.close()
    fields = {**cursor(tmp_path), "next": 4}
    (tmp_path / "cursors" / "plain-0.json").write_text(json.dumps({**fields, "offset": fields["offset"] - 9}))
    logger = PlainLogger()
    Desk(tmp_path, logger).close()
    assert logger.steps == [3, 4]  # record 0 is the process's own


def test_records_that_follow_a_journal_that_lost_its_end_are_delivered(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PlainLogger())
    desk.metrics(*range(5))
    desk.close()
    path = tmp_path / "journal.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b'{"n":3,')])  # the computer went down before the disk had the rest
    logger = PlainLogger()
    desk = Desk(tmp_path, logger)
    desk.metrics(20, 21)
    desk.close()
    assert logger.steps == [20, 21]


def test_the_services_id_is_kept_as_soon_as_it_is_known(tmp_path: Path) -> None:
    gate = Gate("log_metrics")
    desk = Desk(tmp_path, PlainLogger(gate))
    desk.metrics(0)
    assert gate.reached.wait(PATIENCE_S)
    assert cursor(tmp_path)["run_id"] == "the-run"
    gate.released.set()
    desk.close()


def test_saves_come_when_the_queue_is_empty_at_most_once_a_second(tmp_path: Path) -> None:
    now_s = [0.0]
    delivered = threading.Semaphore(0)
    logger = PlainLogger(lambda call, what: delivered.release() if call == "log_metrics" else None)
    desk = Desk(tmp_path, logger, clock=lambda: now_s[0], save_every_s=1.0)
    for step in range(5):  # the clock stands still
        desk.metrics(step)
        assert delivered.acquire(timeout=PATIENCE_S)
    assert ("save",) not in logger.calls
    saved = threading.Event()
    logger.trouble = lambda call, what: saved.set() if call == "save" else None
    now_s[0] = 1.0
    desk.metrics(5)
    assert saved.wait(PATIENCE_S)
    desk.close()
    assert logger.calls.count(("save",)) == 2


# -------------------------------------------------------------------------------------- opening and giving up


def test_who_waits_for_a_logger_gets_it_when_it_is_open(tmp_path: Path) -> None:
    gate = Gate("open")
    desk = Desk(tmp_path, PlainLogger(gate))
    (delivery,) = desk.deliveries
    with pytest.raises(LoggerError, match=r"PlainLogger \(plain-0\) was not open within 0.01 s"):
        delivery.wait_until_open(0.01)
    gate.released.set()
    delivery.wait_until_open(PATIENCE_S)
    desk.close()


def test_who_waits_for_a_logger_that_cannot_open_gets_its_error(tmp_path: Path) -> None:
    never = itertools.repeat(MisconfigurationException("the project has no such name"))

    def trouble(call: str, what: Any) -> None:
        if call == "open":
            raise next(never)

    desk = Desk(tmp_path, PlainLogger(trouble))
    (delivery,) = desk.deliveries
    with pytest.raises(LoggerError, match="the project has no such name") as caught:
        delivery.wait_until_open(PATIENCE_S)
    assert isinstance(caught.value.__cause__, MisconfigurationException)
    delivery.give_up()
    assert delivery.wait_until_finished(PATIENCE_S)
    desk.journal.close()


def test_giving_up_ends_the_thread_and_leaves_the_rest_for_later(tmp_path: Path) -> None:
    def trouble(call: str, step: Any) -> None:
        if call == "log_metrics" and step >= 3:
            raise ConnectionError("gone for good")

    logger = PlainLogger(trouble)
    desk = Desk(tmp_path, logger, backoff=Backoff(first_s=PATIENCE_S))
    desk.metrics(*range(6))
    position = desk.journal.sync()
    (delivery,) = desk.deliveries
    while delivery.last_error is None:
        time.sleep(0.001)
    assert not delivery.wait_until_delivered(position, 0.0)
    assert delivery.undelivered == 3
    delivery.finish(position, "failed")
    delivery.give_up()
    assert delivery.wait_until_finished(PATIENCE_S)
    assert logger.closed == ["failed"]
    assert cursor(tmp_path)["next"] == 4
    desk.journal.close()
    later = PlainLogger()
    Desk(tmp_path, later).close()
    assert later.steps == [3, 4, 5]


def test_a_bug_of_ours_is_said_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Delivery, "_take", lambda self: 1 / 0)
    desk = Desk(tmp_path, PlainLogger())
    assert desk.deliveries[0].wait_until_finished(PATIENCE_S)
    assert not desk.deliveries[0].wait_until_delivered(99, PATIENCE_S)  # returns at once
    assert caplog.records[0].exc_info is not None
    assert "bug in Fulmen" in caplog.messages[0]
    desk.journal.close()


def test_pauses_double_up_to_the_longest_with_some_chance() -> None:
    def first(count: int, pauses: Iterator[float]) -> list[float]:
        return list(itertools.islice(pauses, count))

    assert first(8, Backoff(jitter=lambda: 1.0).pauses()) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert first(3, Backoff(jitter=lambda: 0.0).pauses()) == [0.375, 0.75, 1.5]
    assert all(0.375 <= pause <= 0.5 for pause in (next(Backoff().pauses()) for _ in range(100)))
