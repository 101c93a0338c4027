"""The kit itself: a correct logger passes, and each fault is found by the test that is there for it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fulmen.logger import Logger, RunInfo
from fulmen.testing import LoggerConformance, ReadBack


class LinesLogger(Logger):
    """A correct logger in few lines: a JSON file, written at once."""

    interface = (1, 0)

    def __init__(self, folder: Path) -> None:
        self.path = folder / "points.jsonl"

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        for key, value in metrics.items():
            if isinstance(value, str):
                raise TypeError(f"{key} is no number")
            try:
                float(value)
            except Exception as error:
                raise TypeError(f"{key} is no number") from error
        self._write({"step": step or 0, "metrics": {key: float(value) for key, value in metrics.items()}})

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        from fulmen.media import plain

        self._write({"hparams": plain(params)})

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @property
    def experiment(self) -> Path:
        self.ensure_open()
        return self.path


def _read_back(path: Path) -> ReadBack:
    points: dict[str, list[tuple[int, float]]] = {}
    hparams: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        fields = json.loads(line)
        hparams.update(fields.get("hparams", {}))
        for key, value in fields.get("metrics", {}).items():
            points.setdefault(key, []).append((fields["step"], value))
    return ReadBack(points, hparams)


class LinesLoggerConforms(LoggerConformance):
    """Its name does not begin with Test: the plug-in of the kit collects it all the same."""

    def make(self, folder: Path) -> Logger:
        return LinesLogger(folder)

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        assert isinstance(logger, LinesLogger)
        return _read_back(logger.path)


class Undeclared(LinesLogger):
    interface = None


class Eager(LinesLogger):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path.touch()


class Forgetful(LinesLogger):
    def close(self, status: str) -> None:
        if status == "failed":
            self.path.unlink(missing_ok=True)


class Restarting(LinesLogger):
    def open(self, run: RunInfo) -> None:
        self.path.unlink(missing_ok=True)


class Mixing(LinesLogger):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = (folder.parent if folder.name in ("first", "second") else folder) / "points.jsonl"


class Unpicklable(LinesLogger):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.lock = (number for number in range(3))


class Monotonic(LinesLogger):
    last = -1

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if (step or 0) > self.last:
            self.last = step or 0
            super().log_metrics(metrics, step)


class WithoutNan(LinesLogger):
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        numbers = {key: value for key, value in metrics.items() if value == value}  # noqa: PLR0124
        super().log_metrics(numbers, step)


class Rounding(LinesLogger):
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        numbers = {key: round(value, 6) if isinstance(value, float) else value for key, value in metrics.items()}
        super().log_metrics(numbers, step)


class Splitting(LinesLogger):
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics({key.rpartition("/")[2]: value for key, value in metrics.items()}, step)


class Lenient(LinesLogger):
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics({key: value for key, value in metrics.items() if isinstance(value, float)}, step)


class Shallow(LinesLogger):
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        super().log_hyperparams({key: value for key, value in params.items() if not isinstance(value, Mapping)})


class Doubling(LinesLogger):
    def save(self) -> None:
        if self.path.exists():
            self.path.write_text(self.path.read_text(encoding="utf-8") * 2, encoding="utf-8")


class Pretending(LinesLogger):
    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        pass


FAULTS: list[tuple[type[LinesLogger], str, tuple[Any, ...]]] = [
    (Undeclared, "test_declares_the_interface_it_was_written_for", ()),
    (Eager, "test_is_made_without_a_service_and_without_files", ()),
    (Forgetful, "test_points_survive_every_end", ("failed",)),
    (Restarting, "test_a_closed_logger_continues_its_run", ()),
    (Mixing, "test_two_runs_do_not_mix", ()),
    (Unpicklable, "test_travels_to_another_process", ("pickle", "before")),
    (Monotonic, "test_a_step_lower_than_before_is_kept_or_refused", ()),
    (WithoutNan, "test_nan_is_kept", ()),
    (Rounding, "test_values_and_steps_are_kept", ()),
    (Splitting, "test_keys_of_all_kinds", ()),
    (Lenient, "test_takes_what_users_call_a_number", (7,)),
    (Lenient, "test_refuses_what_is_no_number", ("words",)),
    (Shallow, "test_hyperparams_of_all_kinds", ()),
    (Doubling, "test_more_may_follow_finalize", ()),
    (Doubling, "test_a_run_delivers_every_point_once", ()),
    (Pretending, "test_text", ()),
    (Pretending, "test_a_run_delivers_all_that_the_service_can_show", ()),
]


@pytest.mark.parametrize(("fault", "test", "arguments"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_each_fault_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[LinesLogger],
    test: str,
    arguments: tuple[Any, ...],
) -> None:
    class Kit(LinesLoggerConforms):
        def make(self, folder: Path) -> Logger:
            return fault(folder)

    further = (monkeypatch,) if test == "test_is_made_without_a_service_and_without_files" else ()
    check = getattr(Kit(), test)
    # The plug-in's error, an assertion of the kit, or pytest's "did not raise".
    with pytest.raises((Exception, pytest.fail.Exception)) as found:
        check(tmp_path, *further, *arguments)
    assert not isinstance(found.value, (NameError, pytest.skip.Exception))


def test_a_standard_test_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="overrides the standard test test_nan_is_kept"):

        class Replacing(LinesLoggerConforms):
            def test_nan_is_kept(self, tmp_path: Path) -> None:
                pass


def test_an_expected_failure_must_name_a_standard_test() -> None:
    with pytest.raises(TypeError, match="test_nan_is_lost"):

        class Unknown(LinesLoggerConforms):
            expected_failures: ClassVar = {"test_nan_is_lost": "no such test"}


def test_an_expected_failure_marks_one_plug_in_only() -> None:
    class Marked(LinesLoggerConforms):
        expected_failures: ClassVar = {"test_nan_is_kept": "a reason"}

    mark = Marked.test_nan_is_kept.pytestmark[0]  # type: ignore[attr-defined]
    assert (mark.name, mark.kwargs) == ("xfail", {"reason": "a reason", "strict": True})
    assert not hasattr(LoggerConformance.test_nan_is_kept, "pytestmark")


def test_an_expected_failure_that_passes_is_a_failure_and_every_kit_is_collected(tmp_path: Path) -> None:
    module = tmp_path / "test_plugin.py"
    module.write_text(
        Path(__file__).read_text(encoding="utf-8").partition("class Undeclared")[0]
        + "class Hopeless(LinesLoggerConforms):\n"
        "    expected_failures = {'test_nan_is_kept': 'a reason'}\n",
        encoding="utf-8",
    )
    is_installed = any(
        entry.value == "fulmen.testing.plugin" for entry in importlib.metadata.entry_points(group="pytest11")
    )
    plugin = [] if is_installed else ["-p", "fulmen.testing.plugin"]
    options = ["-q", "-p", "no:cacheprovider", "-k", "nan_is_kept or infinities_are_kept"]
    command = [sys.executable, "-m", "pytest", *plugin, *options, str(module)]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 3 passed" in outcome.stdout, outcome.stdout
    assert "[XPASS(strict)] a reason" in outcome.stdout


class Chatty(LinesLogger):
    """Asks somebody on the network."""

    def open(self, run: RunInfo) -> None:
        with contextlib.suppress(OSError), socket.socket() as connection:
            connection.connect(("192.0.2.1", 80))


class Everywhere(LinesLogger):
    """Writes from every rank."""

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        super().log_hyperparams(params)

    def ensure_open(self, run: RunInfo | None = None) -> None:
        super().ensure_open(run)
        self.path.touch()

    def shut(self, status: str) -> None:
        self.path.touch()


class Amnesic(LinesLogger):
    """Keeps rows in memory, and forgets them when it is opened anew."""

    def open(self, run: RunInfo) -> None:
        self.rows: list[tuple[dict[str, Any], int | None]] = []

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.rows.append((dict(metrics), step))

    def save(self) -> None:
        while self.rows:
            super().log_metrics(*self.rows.pop(0))

    def close(self, status: str) -> None:
        pass


class Slipping(LinesLogger):
    """Loses every 5000th row."""

    count = 0

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.count += 1
        if self.count % 5000:
            super().log_metrics(metrics, step)


@pytest.mark.parametrize(
    ("fault", "test", "arguments"),
    [
        (Chatty, "test_without_a_server_it_needs_no_network", ()),
        (Everywhere, "test_in_another_rank_it_is_silent", ()),
        (Amnesic, "test_an_outage_costs_no_point", ("middle",)),
        (Slipping, "test_ten_thousand_points", None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_faults_that_need_another_world_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[LinesLogger], test: str, arguments: Any
) -> None:
    class Kit(LinesLoggerConforms):
        def make(self, folder: Path) -> Logger:
            return fault(folder)

    further = () if arguments is None else (monkeypatch, *arguments)
    with pytest.raises((AssertionError, KeyError)):
        getattr(Kit(), test)(tmp_path, *further)
