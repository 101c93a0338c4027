"""The journal: what is put into it comes back, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fulmen.tracking import journal as journal_module
from fulmen.tracking.journal import Entry, Journal
from fulmen.tracking.record import Damage, Record, encode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def metrics(step: int, **numbers: float) -> Entry:
    return Entry("metrics", 1769000000.5 + step, step, numbers)


def write(path: Path, *entries: Entry) -> None:
    journal = Journal(path)
    journal.start()
    for entry in entries:
        journal.put(entry)
    journal.close()


def read(path: Path, **kwargs: Any) -> list[Record]:
    return [record for record in Journal.read(path, **kwargs) if record.kind != "open"]


def fake_os(**functions: Any) -> SimpleNamespace:
    """The module `os` as the journal sees it, with some functions replaced."""
    return SimpleNamespace(**{**vars(os), **functions})


# ------------------------------------------------------------------------------------------------ the format


def test_a_line_is_strict_json_with_a_checksum_over_the_bytes_before_it(path: Path) -> None:
    write(path, Entry("metrics", 1769000000.123, 49, {"loss": 0.25, "né": math.nan}, "csv-0"))
    line = path.read_bytes().splitlines()[1]

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    fields = json.loads(line, parse_constant=refuse)
    body, tail = line[: line.rindex(b',"crc"')], line[line.rindex(b',"crc"') :]
    assert tail == b',"crc":"%08x"}' % zlib.crc32(body)
    del fields["crc"]
    assert fields == {
        "n": 1,
        "t": 1769000000.123,
        "kind": "metrics",
        "step": 49,
        "data": {"loss": 0.25, "né": "NaN"},
        "only": "csv-0",
    }


def test_each_process_begins_with_a_record_of_itself(path: Path) -> None:
    write(path)
    write(path)
    records = list(Journal.read(path))
    assert [(record.n, record.kind) for record in records] == [(0, "open"), (1, "open")]
    assert records[0].data["pid"] == os.getpid()
    assert records[0].data["format"] == 1
    assert records[0].data["utc"].endswith("+00:00")
    assert records[0].data["host"]


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**70), 2**70)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    """Equal, with nan equal to nan and 0.0 unlike -0.0."""
    return repr(left) == repr(right)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), numbers, max_size=5), st.dictionaries(st.text(), values, max_size=4))
def test_whatever_is_put_comes_back(tmp_path: Path, points: dict[str, float], params: dict[str, Any]) -> None:
    path = tmp_path / "round-trip.jsonl"
    path.unlink(missing_ok=True)
    write(path, Entry("metrics", 1.0, 7, points), Entry("hparams", 2.0, None, {"params": params}, "a-0"))
    first, second = read(path)
    assert same(first.data, points)
    assert (first.kind, first.step, first.time_s, first.only) == ("metrics", 7, 1.0, None)
    assert same(second.data, {"params": params})
    assert (second.kind, second.step, second.only) == ("hparams", None, "a-0")


def test_a_reader_can_begin_at_a_number_or_at_the_place_of_a_record(path: Path) -> None:
    write(path, *(metrics(step, loss=step / 2) for step in range(20)))
    whole = list(Journal.read(path))
    assert [record.n for record in Journal.read(path, start=15)] == list(range(15, 21))
    for record in whole:
        assert next(Journal.read(path, offset=record.offset)) == record
    assert [record.end for record in whole[:-1]] == [record.offset for record in whole[1:]]
    assert whole[-1].end == path.stat().st_size


# ------------------------------------------------------------------------------------------- damaged files


def test_a_journal_cut_at_any_byte_opens_and_goes_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, *(Entry("text", 1.0, step, {"key": "ü\n", "text": '","crc":"'}) for step in range(4)))
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole_lines = content[:size].count(b"\n")
        torn = size - (content.rfind(b"\n", 0, size) + 1)
        caplog.clear()
        write(path, metrics(9, loss=0.5))
        damage: list[Damage] = []
        records = list(Journal.read(path, on_damage=damage.append))
        assert damage == []
        assert [record.n for record in records] == list(range(whole_lines + 2)), size
        assert records[-1].data == {"loss": 0.5}
        said = [message for message in caplog.messages if "torn last line" in message]
        assert len(said) == (1 if torn else 0)
        if torn:
            assert f"{torn} bytes" in said[0]


def test_a_damaged_byte_costs_its_line_only_and_is_said_with_its_place(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, *(metrics(step, loss=step / 3) for step in range(6)))
    content = path.read_bytes()
    whole = read(path)
    victim = whole[2]
    for place in range(victim.offset, victim.end - 1):
        flipped = bytes([content[place] ^ 0x40])
        if flipped == b"\n":
            continue
        path.write_bytes(content[:place] + flipped + content[place + 1 :])
        damage: list[Damage] = []
        assert read(path, on_damage=damage.append) == [record for record in whole if record is not victim]
        assert [(found.line, found.offset) for found in damage] == [(4, victim.offset)]

    caplog.clear()
    write(path, metrics(6, loss=2.0))
    assert [record.n for record in read(path)] == [1, 2, 4, 5, 6, 8]
    (message,) = caplog.messages
    assert str(path) in message
    assert f"line 4 at byte {victim.offset}" in message


def test_a_lost_line_end_costs_two_lines(path: Path) -> None:
    write(path, *(metrics(step, loss=1.0) for step in range(4)))
    whole = read(path)
    content = bytearray(path.read_bytes())
    content[whole[1].end - 1] = ord(" ")
    path.write_bytes(content)
    damage: list[Damage] = []
    assert read(path, on_damage=damage.append) == [whole[0], whole[3]]
    assert [(found.offset, found.size) for found in damage] == [(whole[1].offset, whole[2].end - whole[1].offset)]


def test_a_whole_last_line_with_a_wrong_checksum_is_cut_off(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, metrics(0, loss=1.0), metrics(1, loss=2.0))
    content = path.read_bytes()
    last = read(path)[-1]
    path.write_bytes(content.replace(b'"loss":2.0', b'"loss":3.0'))
    write(path)
    assert [record.n for record in Journal.read(path)] == [0, 1, 2]
    (message,) = caplog.messages
    assert f"{last.end - last.offset} bytes from byte {last.offset}" in message


def test_an_intact_line_that_is_no_record_is_damage(path: Path) -> None:
    body = b'{"n":0,"kind":"metrics"'
    path.write_bytes(body + b',"crc":"%08x"}\n' % zlib.crc32(body) + encode(1, 1.0, "status", None, {}, None))
    damage: list[Damage] = []
    assert [record.n for record in Journal.read(path, on_damage=damage.append)] == [1]
    assert [found.line for found in damage] == [1]


def test_a_line_that_is_being_written_is_no_damage(path: Path) -> None:
    path.write_bytes(encode(0, 1.0, "metrics", 0, {"a": 1}, None) + b'{"n":1,"t":')
    damage: list[Damage] = []
    assert [record.n for record in Journal.read(path, on_damage=damage.append)] == [0]
    assert damage == []


KILLED = """
import sys, time
from pathlib import Path
from fulmen.tracking.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]))
journal.start()
step = 0
while True:
    journal.put(Entry("metrics", time.time(), step, {"loss": step / 7, "accuracy": 0.5}))
    step += 1
    if step % 100 == 0:
        time.sleep(0.001)
    if step == 2000:
        journal.sync()
        print("synced", flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_synced(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "synced\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    damage: list[Damage] = []
    records = read(path, on_damage=damage.append)
    assert damage == []
    assert len(records) >= 2000
    assert [record.n for record in records] == list(range(1, len(records) + 1))
    assert [record.step for record in records] == list(range(len(records)))
    assert records[-1].data == {"loss": (len(records) - 1) / 7, "accuracy": 0.5}


# ---------------------------------------------------------------------------------------------- the disk


def test_a_write_that_takes_only_some_bytes_is_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(journal_module, "os", fake_os(write=lambda fd, data: real(fd, bytes(data[:7]))))
    write(path, *(metrics(step, loss=step) for step in range(10)))
    assert [record.step for record in read(path)] == list(range(10))


class Disk:
    """A disk that takes a few more bytes and is then full, until there is room again."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.refusals = 0
        self.refused = threading.Event()

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room <= 0:
            self.refusals += 1
            self.refused.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = os.write(descriptor, bytes(data[: self.room]))
        self.room -= taken
        return taken


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(room=50)  # ends in the middle of the first line
    monkeypatch.setattr(journal_module, "os", fake_os(write=disk.write))
    monkeypatch.setattr(journal_module, "_RETRY_S", 0.001)
    return disk


def test_a_full_disk_delays_records_and_is_said_once(path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(path)
    journal.start()
    journal.put(metrics(0, loss=1.0))
    journal.sync()  # returns, although nothing could be written
    for step in range(1, 5):
        journal.put(metrics(step, loss=1.0))
        assert journal.sync() == step + 2
    assert disk.refusals >= 5
    assert path.stat().st_size == 50
    disk.room = 1 << 20
    journal.close()
    assert [record.n for record in Journal.read(path)] == list(range(6))
    refusals = [message for message in caplog.messages if "cannot be written" in message]
    returns = [message for message in caplog.messages if "written again" in message]
    assert len(refusals) == len(returns) == 1
    assert "No space left on device" in refusals[0]
    assert "nothing was lost" in returns[0]


def test_memory_is_bounded_while_the_disk_is_full_and_what_is_lost_is_counted(
    path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_MOST_UNWRITTEN_BYTES", 1000)
    journal = Journal(path)
    journal.start()
    for step in range(100):
        journal.put(metrics(step, loss=1.0))
    journal.sync()
    assert len(journal._bytes) < 1200
    disk.room = 1 << 20
    journal.close()
    kept = read(path)
    assert [record.n for record in kept] == list(range(1, len(kept) + 1))
    assert 5 <= len(kept) < 12
    assert any(f"{100 - len(kept)} records were lost" in message for message in caplog.messages)


def test_a_disk_that_stays_full_is_said_at_the_end(path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(path)
    journal.start()
    journal.put(metrics(0, loss=1.0))
    journal.close()
    assert caplog.messages[-1].endswith("2 records were lost")


def test_a_record_whose_file_cannot_be_written_waits_while_others_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_RETRY_S", 0.001)
    is_full = True

    def keep_picture() -> dict[str, Any]:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return {"file": "x.png"}

    journal = Journal(path)
    journal.start()
    journal.put(Entry("image", 1.0, 0, keep_picture))
    journal.put(metrics(1, loss=1.0))
    journal.sync()
    assert [record.kind for record in read(path)] == ["metrics"]
    is_full = False
    journal.close()
    assert [(record.n, record.kind) for record in read(path)] == [(1, "metrics"), (2, "image")]


def test_sync_writes_before_it_syncs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def fsync(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        os.fsync(descriptor)

    monkeypatch.setattr(journal_module, "os", fake_os(fsync=fsync))
    journal = Journal(path)
    journal.start()
    journal.put(metrics(0, loss=1.0))
    assert journal.sync() == 2
    assert sizes == [path.stat().st_size]
    assert len(read(path)) == 1
    journal.close()
    assert len(sizes) == 2


# ------------------------------------------------------------------------------------------ the thread


def test_entries_at_hand_are_written_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []

    def count(descriptor: int, data: bytes) -> int:
        writes.append(len(data))
        return os.write(descriptor, data)

    monkeypatch.setattr(journal_module, "os", fake_os(write=count))
    journal = Journal(path)
    for step in range(1000):
        journal.put(metrics(step, loss=1.0))
    journal.start()
    journal.sync()
    assert len(writes) == 1
    journal.close()


def test_without_a_sync_records_come_to_the_file_all_the_same(path: Path) -> None:
    written = threading.Event()
    journal = Journal(path)
    journal.start(on_written=lambda records: written.set() if records[-1].kind == "metrics" else None)
    journal.put(metrics(0, loss=1.0))
    assert written.wait(30)
    assert [record.step for record in read(path)] == [0]
    journal.close()


def test_records_are_handed_on_only_when_the_file_has_them(path: Path) -> None:
    missing: list[Record] = []
    handed: list[Record] = []

    def check(records: list[Record]) -> None:
        in_file = list(Journal.read(path))
        missing.extend(record for record in records if record not in in_file)
        handed.extend(records)

    journal = Journal(path)
    journal.start(on_written=check)  # type: ignore[arg-type]
    for step in range(10):
        journal.put(metrics(step, loss=step, nan=math.inf))
        journal.position()
    journal.close()
    assert missing == []
    assert [record.n for record in handed] == list(range(11))


def test_data_can_be_made_on_the_journals_thread(path: Path) -> None:
    threads: list[str] = []

    def make() -> dict[str, float]:
        threads.append(threading.current_thread().name)
        return {"loss": 0.125}

    write(path, Entry("metrics", 1.0, 0, make))
    assert threads == ["fulmen-journal"]
    assert read(path)[0].data == {"loss": 0.125}


def fail() -> dict[str, float]:
    raise RuntimeError("the device is gone")


@pytest.mark.parametrize("data", [fail, {"bad": object()}], ids=["raises", "is no JSON"])
def test_a_record_that_cannot_be_made_is_said_and_takes_no_number(
    path: Path, data: Callable[[], dict[str, float]] | dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    write(path, Entry("metrics", 1.0, 0, data), metrics(1, loss=1.0))
    assert [(record.n, record.step) for record in read(path)] == [(1, 1)]
    (logged,) = caplog.records
    assert logged.levelno == logging.ERROR
    assert logged.exc_info is not None


def test_many_threads_lose_and_double_nothing(path: Path) -> None:
    journal = Journal(path)
    journal.start()

    def put(thread: int) -> None:
        for step in range(500):
            journal.put(Entry("metrics", 1.0, step, {"thread": thread}))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.position() == 2001
    journal.close()
    records = read(path)
    assert [record.n for record in records] == list(range(1, 2001))
    for number in range(4):
        assert [record.step for record in records if record.data["thread"] == number] == list(range(500))


def test_close_is_harmless_twice_and_a_record_after_it_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(path)
    journal.start()
    journal.close()
    size = path.stat().st_size
    journal.close()
    assert journal.position() == journal.sync() == 1
    journal.put(metrics(0, loss=1.0))
    assert path.stat().st_size == size
    assert "after" in caplog.messages[0]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and newer say so
def test_a_forked_child_writes_nothing(path: Path) -> None:
    journal = Journal(path)
    journal.start()
    journal.put(metrics(0, loss=1.0))
    journal.sync()
    child = os.fork()
    if child == 0:  # a failure here must not run pytest a second time
        try:
            journal.put(metrics(1, loss=1.0))
            journal.sync()
            journal.position()
            journal.close()
        finally:
            os._exit(0 if journal._queue.empty() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    journal.put(metrics(2, loss=1.0))
    journal.close()
    assert [(record.n, record.step) for record in read(path)] == [(1, 0), (2, 2)]
