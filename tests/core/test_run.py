"""Run: what is recorded comes into the journal and to the loggers, and no service hurts the run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fulmen.errors import LoggerError, MisconfigurationException
from fulmen.logger import Logger, RunInfo
from fulmen.media import Image
from fulmen.tracking.journal import Journal
from fulmen.tracking.keys import logger_keys
from fulmen.tracking.record import Record
from fulmen.tracking.run import Run
from fulmen.tracking.service import Backoff

PATIENCE_S = 60.0  # longer than anything here takes; only a failing test waits for it


class MemoryLogger(Logger):
    """Keeps in memory what it gets; `trouble` raises or blocks before a call counts."""

    interface = (1, 0)

    def __init__(self, trouble: Callable[[str], None] = lambda call: None) -> None:
        self.trouble = trouble
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[str] = set()

    def _called(self, *call: Any) -> None:
        self.trouble(call[0])
        self.threads.add(threading.current_thread().name)
        self.calls.append(call)

    def open(self, run: RunInfo) -> None:
        self._called("open", run)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._called("metrics", dict(metrics), step)

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        self._called("hparams", params)

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        self._called("image", key, list(images), step)

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self._called("text", key, text, step)

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        self._called("table", key, columns, data, step)

    def log_artifact(self, path: Any, name: str | None = None) -> None:
        self._called("artifact", Path(path).read_bytes(), name)

    def finalize(self, status: str) -> None:
        self._called("finalize", status)

    def close(self, status: str) -> None:
        self._called("close", status)

    @property
    def experiment(self) -> str:
        self.ensure_open()
        return "the SDK's own object"

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == kind]

    @property
    def steps(self) -> list[int]:
        return [step for _, step in self.of("metrics")]


class Gate:
    """Trouble: a call hangs until the gate is opened."""

    def __init__(self, call: str) -> None:
        self.call = call
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, called: str) -> None:
        if called == self.call:
            self.reached.set()
            assert self.released.wait(PATIENCE_S)


def start(folder: Path, *loggers: Logger, **options: Any) -> Run:
    quick = Backoff(first_s=0.0005, longest_s=0.002)
    return Run(
        folder,
        loggers,
        name="digits",
        version="version_0",
        **{"finish_timeout_s": PATIENCE_S, "backoff": quick, **options},
    )


def records(run: Run) -> list[Record]:
    return [record for record in Journal.read(run.folder / "journal.jsonl") if record.kind != "open"]


# ---------------------------------------------------------------------------------------------- recording


def test_what_is_recorded_comes_into_the_journal_and_to_every_logger(tmp_path: Path) -> None:
    first, second = MemoryLogger(), MemoryLogger()
    run = start(tmp_path / "run", first, second)
    run.log_metrics({"loss": 0.5, "nan": math.nan}, step=3)
    run.close("success")
    for index, logger in enumerate((first, second)):
        assert repr(logger.of("metrics")) == "[({'loss': 0.5, 'nan': nan}, 3)]"
        assert logger.of("open") == [(RunInfo(tmp_path / "run", "digits", "version_0"),)]
        assert logger.of("close") == [("success",)]
        assert logger.threads == {f"fulmen-memory-{index}"}
    assert [(record.kind, record.step) for record in records(run)] == [("metrics", 3), ("close", None)]


def test_a_users_own_call_is_recorded_and_delivered_once_to_its_logger(tmp_path: Path) -> None:
    first, second = MemoryLogger(), MemoryLogger()
    run = start(tmp_path, first, second)
    run.log_metrics({"a": 1.0}, 1)
    second.log_metrics({"b": 2.0}, step=2)
    second.log_hyperparams({"lr": 0.1})
    second.log_text("note", "hello", 4)
    run.log_metrics({"c": 3.0}, 3, only=first)
    run.close()
    assert first.of("metrics") == [({"a": 1.0}, 1), ({"c": 3.0}, 3)]
    assert second.of("metrics") == [({"a": 1.0}, 1), ({"b": 2.0}, 2)]
    assert second.of("hparams") == [({"lr": 0.1},)]
    assert second.of("text") == [("note", "hello", 4)]
    assert first.of("text") == first.of("hparams") == []
    assert [record.only for record in records(run)] == [
        None, "memory-1", "memory-1", "memory-1", "memory-0", None,
    ]  # fmt: skip
    second.log_metrics({"d": 4.0}, step=5)  # the run is over: straight to the service
    assert second.of("metrics")[-1] == ({"d": 4.0}, 5)
    assert "MainThread" in second.threads


def test_a_logger_of_another_run_is_refused(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(MisconfigurationException, match="MemoryLogger is not a logger of this run"):
        run.log_metrics({"a": 1.0}, only=MemoryLogger())
    run.close()


def test_a_step_that_is_not_given_is_the_last_one(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    run.log_metrics({"a": 1.0})
    run.log_metrics({"a": 2.0}, torch.tensor(7))  # type: ignore[arg-type]
    run.log_text("key", "words")
    run.log_metrics({"a": 3.0})
    run.close()
    assert logger.of("metrics") == [({"a": 1.0}, 0), ({"a": 2.0}, 7), ({"a": 3.0}, 7)]
    assert logger.of("text") == [("key", "words", 7)]


def test_a_callable_is_evaluated_on_the_journals_thread(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    ready, threads = threading.Event(), []

    def metrics() -> dict[str, Any]:
        assert ready.wait(PATIENCE_S)  # a copy from the device that is still under way
        threads.append(threading.current_thread().name)
        return {"loss": torch.tensor(0.25), "accuracy": np.float32(0.5)}

    run.log_metrics(metrics, 1)
    run.log_metrics({"after": 1.0}, 2)
    ready.set()
    run.close()
    assert threads == ["fulmen-journal"]
    assert logger.of("metrics") == [({"loss": 0.25, "accuracy": 0.5}, 1), ({"after": 1.0}, 2)]


def test_numbers_of_all_kinds_become_pythons_own(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    run.log_metrics(
        {
            "tensor": torch.tensor(0.5, requires_grad=True),
            "bfloat16": torch.tensor([1.5], dtype=torch.bfloat16),
            "integer": torch.tensor(3),
            "numpy": np.float64(0.25),
            "array": np.array([[7]]),
            "bool": True,
            "nested": {"train": 1, "val": {"a": 2.5}},
        },
        1,
    )
    run.close()
    ((numbers, _),) = logger.of("metrics")
    expected = {
        "tensor": 0.5,
        "bfloat16": 1.5,
        "integer": 3,
        "numpy": 0.25,
        "array": 7,
        "bool": 1,
        "nested/train": 1,
        "nested/val/a": 2.5,
    }
    assert numbers == expected
    assert {type(value) for value in numbers.values()} == {int, float}
    assert dict(records(run)[0].data) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 3), r"'x' must be one number, but has shape \(2, 3\)"),
        (np.zeros(4), r"'x' must be one number, but has shape \(4,\)"),
        ("high", "'x' must be one number, but is 'high'"),
        (None, "'x' must be one number, but is None"),
        (torch.tensor(1j), "'x' must be one number"),
    ],
)
def test_what_is_not_one_number_is_refused_where_it_is_logged(tmp_path: Path, value: Any, message: str) -> None:
    run = start(tmp_path)
    with pytest.raises(MisconfigurationException, match=message):
        run.log_metrics({"x": value}, 1)
    run.close()


def test_what_counts_is_the_value_at_the_call(tmp_path: Path) -> None:
    gate = Gate("open")
    logger = MemoryLogger(gate)
    run = start(tmp_path, logger)
    tensor, numbers, picture = torch.tensor(1.0), {"a": 1.0}, np.zeros((2, 2), np.uint8)
    params, file = {"layers": [1, 2]}, tmp_path / "notes.txt"
    file.write_text("first")
    run.log_metrics({"x": tensor}, 0)
    run.log_metrics(numbers, 1)
    run.log_image("picture", [picture], 1)
    run.log_hyperparams(params)
    run.log_artifact(file)
    tensor += 1
    numbers["a"] = 2.0
    picture += 255
    params["layers"].append(3)
    file.write_text("second")
    gate.released.set()
    run.close()
    assert logger.of("metrics") == [({"x": 1.0}, 0), ({"a": 1.0}, 1)]
    assert logger.of("image")[0][1] == [Image.of(np.zeros((2, 2), np.uint8))]
    assert logger.of("hparams") == [({"layers": [1, 2]},)]
    assert logger.of("artifact") == [(b"first", "notes.txt")]


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)


def test_hyperparameters_of_all_kinds_become_plain_and_are_kept_for_people(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    run.log_hyperparams(argparse.Namespace(optimizer=Optimizer(), size=np.float64(2.5), folder=Path("data")))
    run.log_hyperparams({"size": 3, "inf": math.inf, 1: {"name": "ü"}, "seeds": [torch.tensor(4)]})
    run.log_hyperparams(Optimizer(lr=0.2))
    run.close()
    expected = [
        {"optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}, "size": 2.5, "folder": "data"},
        {"size": 3, "inf": math.inf, "1": {"name": "ü"}, "seeds": [4]},
        {"lr": 0.2, "betas": [0.9, 0.999]},
    ]
    assert [params for (params,) in logger.of("hparams")] == expected
    assert [record.data["params"] for record in records(run)[:3]] == expected
    kept = yaml.safe_load((tmp_path / "hparams.yaml").read_text(encoding="utf-8"))
    assert kept == {**expected[0], **expected[1], **expected[2]}


def test_numbers_that_belong_to_hyperparameters_are_metrics(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    run.log_hyperparams({"lr": 0.1}, {"score": 0.5})
    logger.log_hyperparams({"lr": 0.1}, metrics=0.75)  # type: ignore[call-arg]
    run.close()
    assert logger.of("metrics") == [({"score": 0.5}, 0), ({"hp_metric": 0.75}, 0)]


def test_hyperparameters_must_be_a_mapping(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(MisconfigurationException, match=r"must be a mapping, a Namespace or a dataclass, but are 3"):
        run.log_hyperparams(3)
    run.close()


def test_pictures_are_kept_once_by_their_content(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    black, white = np.zeros((3, 4, 5), np.uint8), torch.ones(3, 4, 5)
    run.log_image("a", [black, white], 1, captions=["black", None])
    run.log_image("b", [black], 2, caption=["again"])
    run.log_image("batch", torch.zeros(2, 1, 4, 5), 3)  # type: ignore[arg-type]
    run.close()
    assert logger.of("image") == [
        ("a", [Image.of(black, "black"), Image.of(white)], 1),
        ("b", [Image.of(black, "again")], 2),
        ("batch", [Image.of(torch.zeros(1, 4, 5))] * 2, 3),
    ]
    files = sorted(path.name for path in (tmp_path / "media").iterdir())
    assert len(files) == 3
    first = records(run)[0].data["images"][0]
    assert (tmp_path / first["file"]).read_bytes() == Image.of(black).png
    assert {key: first[key] for key in ("width", "height", "caption")} == {
        "width": 5, "height": 4, "caption": "black",
    }  # fmt: skip


def test_captions_must_fit_the_pictures(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(MisconfigurationException, match="2 captions for the 1 images of 'a'"):
        run.log_image("a", [np.zeros((2, 2))], captions=["x", "y"])
    run.close()


def test_an_argument_of_one_tracker_only_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = start(tmp_path)
    run.log_image("a", [np.zeros((2, 2))], masks=[1])
    run.log_image("a", [np.zeros((2, 2))], masks=[2])
    run.close()
    assert len(caplog.messages) == 1
    assert "log_image(masks=...)" in caplog.messages[0]


def test_tables_and_files_are_recorded(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    run.log_table("t", ["a", "b"], [(1, "x"), (np.float32(0.5), None)], 4)
    run.log_table("t", dataframe=pandas.DataFrame({"c": [1, 2]}))
    (tmp_path / "model.onnx").write_bytes(b"123")
    run.log_artifact(str(tmp_path / "model.onnx"), "best")
    run.close()
    assert logger.of("table") == [
        ("t", ["a", "b"], [[1, "x"], [0.5, None]], 4),
        ("t", ["c"], [[1], [2]], 4),
    ]
    assert logger.of("artifact") == [(b"123", "best")]
    kept = records(run)[2].data
    assert (kept["name"], kept["size"]) == ("best", 3)
    assert (tmp_path / kept["file"]).suffix == ".onnx"


def test_an_artifact_that_is_no_file_is_refused(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(MisconfigurationException, match="is not a file"):
        run.log_artifact(tmp_path)
    run.close()


def test_a_picture_whose_file_went_away_is_refused_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate("open")
    logger = MemoryLogger(gate)
    run = start(tmp_path, logger)
    run.log_image("a", [np.zeros((2, 2))], 1)
    run.log_metrics({"x": 1.0}, 2)
    run.sync()
    for path in (tmp_path / "media").iterdir():
        path.unlink()
    gate.released.set()
    run.close()
    assert logger.of("image") == []
    assert logger.steps == [2]
    assert "is not there any more" in caplog.messages[0]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MisconfigurationException, match=r"run's folder .* cannot be written"):
        start(tmp_path / "file" / "run")


# ------------------------------------------------------------------------------------------ services and time


def test_a_hanging_service_blocks_no_call_and_no_checkpoint(tmp_path: Path) -> None:
    gate = Gate("open")
    logger = MemoryLogger(gate)
    run = start(tmp_path, logger)
    assert gate.reached.wait(PATIENCE_S)
    for step in range(5000):
        logger.log_metrics({"loss": step / 2}, step)
    assert run.position() == 5001
    run.sync()
    assert [record.step for record in records(run)] == list(range(5000))
    assert logger.calls == []
    gate.released.set()
    run.close()
    assert logger.steps == list(range(5000))


def test_the_experiment_waits_until_the_service_is_open(tmp_path: Path) -> None:
    gate = Gate("open")
    logger = MemoryLogger(gate)
    run = start(tmp_path, logger)
    got: list[str] = []
    user = threading.Thread(target=lambda: got.append(logger.experiment))
    user.start()
    assert gate.reached.wait(PATIENCE_S)
    assert got == []
    gate.released.set()
    user.join(PATIENCE_S)
    assert got == ["the SDK's own object"]
    assert len(logger.of("open")) == 1
    assert logger.threads == {"fulmen-memory-0"}
    run.close()


def test_the_experiment_of_a_service_that_is_away_is_an_error_in_time(tmp_path: Path) -> None:
    def trouble(call: str) -> None:
        if call == "open":
            raise ConnectionError("no route to host")

    logger = MemoryLogger(trouble)
    run = start(tmp_path, logger, open_timeout_s=0.5, finish_timeout_s=0.01)
    with pytest.raises(LoggerError, match="ConnectionError: no route to host"):
        _ = logger.experiment
    run.log_metrics({"a": 1.0}, 1)
    run.close()
    assert [record.kind for record in records(run)] == ["metrics", "close"]


def test_the_end_waits_a_limited_time_and_names_the_command_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate("metrics")
    hanging, healthy = MemoryLogger(gate), MemoryLogger()
    run = start(tmp_path, hanging, healthy, finish_timeout_s=0.05)
    run.log_metrics({"a": 1.0}, 1)
    run.log_metrics({"a": 2.0}, 2)
    run.log_metrics({"b": 2.0}, 3, only=healthy)
    run.finalize("success")
    (message,) = caplog.messages
    assert message.startswith("MemoryLogger did not take 2 records within 0.05 s")
    assert message.endswith(f"fulmen sync {tmp_path} --to memory")
    assert [call[0] for call in healthy.calls] == ["open", "metrics", "metrics", "metrics", "finalize"]
    run.close()
    assert len(caplog.messages) == 1
    assert healthy.of("close") == [("success",)]
    assert hanging._recorder is healthy._recorder is None
    gate.released.set()


def test_the_end_names_the_error_and_the_installed_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        value = f"{MemoryLogger.__module__}:{MemoryLogger.__qualname__}"

    monkeypatch.setattr("fulmen.tracking.keys.installed", lambda group: {"ram": [Entry()]})

    def trouble(call: str) -> None:
        if call == "metrics":
            raise ConnectionError("no route")

    run = start(tmp_path, MemoryLogger(trouble), finish_timeout_s=0.2)
    run.log_metrics({"a": 1.0}, 1)
    run.close()
    assert "did not take 1 records within 0.2 s (ConnectionError: no route)" in caplog.messages[-1]
    assert caplog.messages[-1].endswith("--to ram")


def test_a_service_that_pauses_between_tries_is_tried_at_the_end(tmp_path: Path) -> None:
    failed = threading.Event()

    def trouble(call: str) -> None:
        if call == "metrics" and not failed.is_set():
            failed.set()
            raise ConnectionError("gone")

    logger = MemoryLogger(trouble)
    run = start(tmp_path, logger, backoff=Backoff(first_s=10 * PATIENCE_S))
    run.log_metrics({"a": 1.0}, 1)
    assert failed.wait(PATIENCE_S)
    run.finalize("success")
    assert logger.steps == [1]
    run.close()


# --------------------------------------------------------------------------------------------------- the end


def test_a_run_goes_on_after_an_entry_point_ended(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    run.log_metrics({"a": 1.0}, 1)
    run.finalize("success")
    assert logger.steps == [1]  # it waited
    run.log_metrics({"b": 2.0}, 2)
    run.finalize("failed")
    run.close()
    assert [call[0] for call in logger.calls] == [
        "open",
        "metrics",
        "finalize",
        "metrics",
        "finalize",
        "close",
    ]
    assert logger.of("finalize") == [("success",), ("failed",)]
    assert logger.of("close") == [("failed",)]
    kinds = [record.kind for record in records(run)]
    assert kinds == ["metrics", "status", "metrics", "status", "close"]


def test_close_is_harmless_twice_and_from_another_thread(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    assert logger._recorder is run
    run.log_metrics({"a": 1.0}, 1)
    thread = threading.Thread(target=run.close, args=("success",))
    thread.start()
    thread.join(PATIENCE_S)
    run.close("failed")
    run.finalize("failed")
    run.sync()
    assert logger.of("close") == [("success",)]
    assert logger._recorder is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fulmen-memory")]


def test_a_run_that_never_ended_an_entry_point_was_interrupted(tmp_path: Path) -> None:
    logger = MemoryLogger()
    start(tmp_path, logger).close()
    assert logger.of("close") == [("interrupted",)]


def test_a_folder_can_be_continued(tmp_path: Path) -> None:
    first, second = MemoryLogger(), MemoryLogger()
    run = start(tmp_path, first)
    run.log_metrics({"a": 1.0}, 1)
    run.close()
    run = start(tmp_path, second)
    run.log_metrics({"a": 2.0}, 2)
    assert run.position() == 5  # open, metrics, close, open, metrics
    run.close()
    assert (first.steps, second.steps) == ([1], [2])
    assert [record.n for record in Journal.read(tmp_path / "journal.jsonl")] == list(range(6))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and newer say so
def test_a_forked_child_records_and_ends_nothing(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    run.log_metrics({"a": 1.0}, 1)
    run.finalize("success")
    before = (tmp_path / "journal.jsonl").read_bytes()
    child = os.fork()
    if child == 0:  # a failure here must not run pytest a second time
        status = 1
        try:
            logger.log_metrics({"a": 2.0}, 2)
            run.log_hyperparams({"lr": 0.1})
            run.log_image("a", [np.zeros((2, 2))])
            run.log_artifact(tmp_path / "journal.jsonl")
            run.sync()
            run.finalize("success")
            run.close()
            try:
                run.wait_until_open(logger)
            except LoggerError:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    assert not (tmp_path / "media").exists()
    run.log_metrics({"a": 3.0}, 3)
    run.close()
    assert logger.steps == [1, 3]


AT_EXIT = """
import atexit, sys, threading
from pathlib import Path
from fulmen.logger import Logger
from fulmen.tracking.run import Run

class FileLogger(Logger):
    interface = (1, 0)
    def log_metrics(self, metrics, step=None):
        HANG
        with open(sys.argv[1] + "/got", "a") as file:
            file.write(f"{step}\\n")
    def log_hyperparams(self, params):
        pass
    def close(self, status):
        with open(sys.argv[1] + "/got", "a") as file:
            file.write(status)

run = Run(Path(sys.argv[1]) / "run", [FileLogger()], name="a", version="b", finish_timeout_s=TIMEOUT)
atexit.register(run.close)
for step in range(100):
    run.log_metrics({"loss": 0.5}, step)
sys.exit(ENDING)
"""


def run_program(folder: Path, **names: str) -> subprocess.CompletedProcess[str]:
    program = AT_EXIT
    for name, value in names.items():
        program = program.replace(name, value)
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize(("ending", "status"), [("0", 0), ("'it ends abruptly'", 1)])
def test_a_run_that_is_closed_at_exit_has_everything(tmp_path: Path, ending: str, status: int) -> None:
    result = run_program(tmp_path, HANG="pass", TIMEOUT="60", ENDING=ending)
    assert result.returncode == status, result.stderr
    assert "Exception" not in result.stderr
    assert (tmp_path / "got").read_text() == "".join(f"{step}\n" for step in range(100)) + "interrupted"
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert kinds == ["open", *["metrics"] * 100, "close"]


def test_a_program_ends_in_time_although_a_service_hangs(tmp_path: Path) -> None:
    result = run_program(tmp_path, HANG="threading.Event().wait()", TIMEOUT="0.1", ENDING="0")
    assert result.returncode == 0, result.stderr
    # Nobody set logging up: the warning comes on stderr all the same.
    assert f"fulmen sync {tmp_path / 'run'} --to file" in result.stderr
    assert "did not take 100 records" in result.stderr


def test_keys_are_short_stable_and_fit_for_file_names() -> None:
    class CSVLogger(MemoryLogger):
        pass

    class TensorBoardLogger(MemoryLogger):
        pass

    foreign = type("Größe", (MemoryLogger,), {})
    loggers = [CSVLogger(), TensorBoardLogger(), CSVLogger(), foreign()]
    assert logger_keys(loggers) == ["csv-0", "tensorboard-0", "csv-1", "gre-0"]


def test_a_logger_that_is_given_twice_is_one(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger, logger)
    assert run.loggers == [logger]
    run.log_metrics({"a": 1.0}, 1)
    run.close()
    assert logger.steps == [1]


def test_a_chdir_of_the_program_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    logger = MemoryLogger()
    run = start(Path("run"), logger)
    monkeypatch.chdir(tmp_path / "elsewhere")
    run.log_image("a", [np.zeros((2, 2))], 1)
    run.log_hyperparams({"lr": 0.1})
    run.close()
    assert len(logger.of("image")) == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        ".journal.lock", "cursors", "hparams.yaml", "journal.jsonl", "media",
    ]  # fmt: skip
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, for the copy from it is tested")
def test_values_on_a_device_are_copied_without_waiting(tmp_path: Path) -> None:
    logger = MemoryLogger()
    run = start(tmp_path, logger)
    value = torch.ones((), device="cuda")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(2_000_000_000)  # about a second: the stream is busy when the values are logged
        value += 1
        run.log_metrics({"loss": value, "plain": 0.5}, 1)
        assert not stream.query()  # nobody waited
        value += 1
    run.close()
    assert logger.of("metrics") == [({"loss": 2.0, "plain": 0.5}, 1)]


@pytest.mark.parametrize("where", ["journal", "delivery"])
def test_a_run_that_is_closed_on_one_of_its_own_threads_ends_all_the_same(tmp_path: Path, where: str) -> None:
    # The garbage collector may find a trainer gone, and close its run, while any thread runs.
    class Closes(MemoryLogger):
        def log_text(self, key: str, text: str, step: int | None = None) -> None:
            run.close("success")

    logger = Closes()
    run = start(tmp_path, logger)
    if where == "journal":
        run.log_metrics(lambda: run.close("success") or {"a": 1.0}, 0)  # type: ignore[func-returns-value]
    else:
        run.log_text("a", "b", 0)
    deadline_s = time.monotonic() + 20
    while logger._recorder is not None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert logger._recorder is None
    assert [record.kind for record in Journal.read(tmp_path / "journal.jsonl")][-1] == "close"
