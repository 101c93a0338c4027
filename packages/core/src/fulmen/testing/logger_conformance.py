"""LoggerConformance: what every logger has to do, as tests that its author runs.

This file is longer than 400 lines because a kit is read in one place::

    class TestCSVLogger(LoggerConformance):
        def make(self, folder):
            return CSVLogger(folder)

        def read_back(self, folder, logger):
            rows = csv.DictReader(open(f"{logger.log_dir}/metrics.csv"))
            ...
            return ReadBack(points={"loss": [(0, 0.25), (1, 0.125)]})
"""

# ruff: noqa: D102 - the names of the tests say what they check; a kit has many
from __future__ import annotations

import copy
import enum
import functools
import io
import itertools
import math
import pickle
import socket
import struct
import subprocess
import sys
import threading
import wave
import zlib
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from fulmen.audio import Audio
from fulmen.graph import Graph, Node
from fulmen.histogram import Histogram
from fulmen.logger import (
    Logger,
    LogsArtifacts,
    LogsAudio,
    LogsCheckpoints,
    LogsGraph,
    LogsHistograms,
    LogsImages,
    LogsMetricBatches,
    LogsTables,
    LogsText,
    LogsVideo,
    MetricPoint,
    NoExperiment,
    RunInfo,
    SavedCheckpoint,
)
from fulmen.media import Image
from fulmen.registry import LOGGERS, check_interface
from fulmen.testing.conformance import Conformance
from fulmen.tracking.run import Run
from fulmen.tracking.service import Backoff
from fulmen.video import Video

#: One black dot.
_GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")

Points = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class StoredImage:
    """A picture as the service has it."""

    key: str
    step: int
    png: bytes = field(repr=False)
    caption: str | None = None


@dataclass(frozen=True)
class StoredTable:
    """A table as the service has it; cells may be what they were, or words."""

    key: str
    step: int
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class StoredHistogram:
    """A histogram as the service has it."""

    key: str
    step: int
    edges: Sequence[float]
    counts: Sequence[float]


@dataclass(frozen=True)
class StoredMedia:
    """A sound or a video as the service has it."""

    key: str
    step: int
    content: bytes = field(repr=False)  #: of the file
    caption: str | None = None


@dataclass(frozen=True)
class StoredGraph:
    """A model as the service has it: in words, or as nodes, or both."""

    text: str = ""
    nodes: Mapping[str, Collection[str]] = field(default_factory=dict)  #: name -> names of the nodes before it


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as the service has it."""

    content: bytes = field(repr=False)
    aliases: Collection[str] = ()
    score: float | None = None


@dataclass(frozen=True)
class ReadBack:
    """What the service has of one run, under the keys that were logged."""

    points: Points  #: key -> (step, value) in the order in which the service has them
    hparams: Mapping[str, Any] = field(default_factory=dict)  #: nested, or flat with keys such as ``optimizer/lr``
    images: Sequence[StoredImage] = ()
    texts: Sequence[tuple[str, int, str]] = ()  #: key, step, words
    tables: Sequence[StoredTable] = ()
    artifacts: Mapping[str, bytes] = field(default_factory=dict)  #: name -> content
    histograms: Sequence[StoredHistogram] = ()
    audios: Sequence[StoredMedia] = ()
    videos: Sequence[StoredMedia] = ()
    graph: StoredGraph | None = None
    checkpoints: Sequence[StoredCheckpoint] = ()  #: in the order in which they came


class Color(enum.Enum):
    """Something that people put into hyper-parameters."""

    RED = 1


class LoggerConformance(Conformance):
    """The standard tests of a logger; subclass it, supply :meth:`make` and :meth:`read_back`, run pytest."""

    #: How far a value read back may differ from the one that was logged, relative to it: 2**-24 for 32-bit
    #: floats.
    relative_tolerance: ClassVar[float] = 0.0

    #: Top-level modules of the service's SDK, which must not be imported with the plug-in's package.
    sdk_modules: ClassVar[Sequence[str]] = ()

    #: Whether :meth:`make` returns a logger that talks to a server, on this machine or elsewhere.
    is_online: ClassVar[bool] = False

    #: Keys of points that the service or the logger adds by itself.
    own_points: ClassVar[frozenset[str]] = frozenset()

    # ------------------------------------------------------------------------------- what a subclass supplies

    @abstractmethod
    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        """Read what the service has of the run of ``logger``, which is closed.

        Use the service's own reader or its files, never the logger's code: only what nobody shares can be
        compared.
        """

    def stored_key(self, key: str) -> str:
        """Return the key that the service has instead, where it does not take all characters."""
        return key

    # ----------------------------------------------------------------------------------------------- the door

    def test_declares_the_interface_it_was_written_for(self, tmp_path: Path) -> None:
        check_interface(LOGGERS, type(self._logger(tmp_path)), "this package")

    def test_is_made_without_a_service_and_without_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object) -> None:
            raise AssertionError("the logger connected to something before it was opened")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        self._logger(tmp_path)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_the_package_imports_no_sdk(self, tmp_path: Path) -> None:
        if not self.sdk_modules:
            pytest.skip("`sdk_modules` names no SDK")
        package = type(self._logger(tmp_path)).__module__.partition(".")[0]
        program = f"import sys, {package}; print(*sys.modules)"
        outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert set(self.sdk_modules).isdisjoint(outcome.stdout.split())

    def test_in_another_rank_it_is_silent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        logger = self._logger(tmp_path)
        before = set(tmp_path.rglob("*"))
        monkeypatch.setenv("RANK", "1")
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.log_hyperparams({"lr": 0.1})
        assert isinstance(logger.experiment, NoExperiment)
        logger.shut("success")
        assert set(tmp_path.rglob("*")) == before

    def test_without_a_server_it_needs_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if self.is_online:
            pytest.skip(f"{type(self._logger(tmp_path)).__name__} talks to a server here")
        asked: list[object] = []
        connect = socket.socket.connect

        def refuse(self: socket.socket, address: Any) -> None:
            # An SDK may talk to a process of its own on this machine.
            if self.family == getattr(socket, "AF_UNIX", None) or str(address[0]) in ("127.0.0.1", "localhost", "::1"):
                connect(self, address)
                return
            asked.append(address)
            raise OSError("there is no network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(
            socket, "create_connection", lambda address, *args, **kwargs: refuse(socket.socket(), address)
        )
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("success")
        assert not asked
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0)]})

    def test_experiment_opens_it(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        assert logger.experiment is not None
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0)]})

    def test_close_without_open_and_close_twice_are_harmless(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.shut("success")
        logger.close("success")
        logger.ensure_open()
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("success")
        logger.shut("success")
        logger.close("success")
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0)]})

    @pytest.mark.parametrize("status", ["success", "failed", "interrupted"])
    def test_points_survive_every_end(self, tmp_path: Path, status: str) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.finalize(status)
        logger.shut(status)
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0)]})

    def test_more_may_follow_finalize(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.finalize("success")
        logger.save()
        logger.log_metrics({"test_loss": 2.0}, step=1)
        logger.finalize("success")
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0)], "test_loss": [(1, 2.0)]})

    def test_two_runs_do_not_mix(self, tmp_path: Path) -> None:
        first, second = self._logger(tmp_path / "first"), self._logger(tmp_path / "second")
        for step in range(3):
            first.log_metrics({"loss": 1.0 + step}, step=step)
            second.log_metrics({"loss": 10.0 + step}, step=step)
        first.shut("success")
        second.log_metrics({"loss": 13.0}, step=3)
        second.shut("success")
        self._assert_points(tmp_path / "first", first, {"loss": [(0, 1.0), (1, 2.0), (2, 3.0)]})
        self._assert_points(tmp_path / "second", second, {"loss": [(0, 10.0), (1, 11.0), (2, 12.0), (3, 13.0)]})

    def test_a_closed_logger_continues_its_run(self, tmp_path: Path) -> None:
        """Core closes and opens a logger whose service has trouble."""
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("failed")
        logger.log_metrics({"loss": 2.0}, step=1)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0), (1, 2.0)]})

    def test_resume_id_continues_the_run(self, tmp_path: Path) -> None:
        first = self._logger(tmp_path)
        first.log_metrics({"loss": 1.0}, step=0)
        run_id = first.run_id
        first.shut("success")
        if run_id is None:
            pytest.skip(f"{type(first).__name__} has no run id; its folder is the run")
        second = self._logger(tmp_path)
        second.ensure_open(RunInfo(folder=tmp_path, name="kit", version="version_0", resume_id=run_id))
        second.log_metrics({"loss": 2.0}, step=1)
        second.shut("success")
        assert second.run_id == run_id
        self._assert_points(tmp_path, second, {"loss": [(0, 1.0), (1, 2.0)]})

    @pytest.mark.parametrize("way", ["pickle", "deepcopy"])
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_travels_to_another_process(self, tmp_path: Path, way: str, moment: str) -> None:
        """Strategies that start processes pickle the trainer; people copy theirs."""
        logger = self._logger(tmp_path)
        expected = {"loss": [(1, 2.0)]}
        if moment == "after":
            logger.log_metrics({"loss": 1.0}, step=0)
            expected = {"loss": [(0, 1.0), (1, 2.0)]}
        other = pickle.loads(pickle.dumps(logger)) if way == "pickle" else copy.deepcopy(logger)
        logger.shut("success")
        other.log_metrics({"loss": 2.0}, step=1)
        other.shut("success")
        self._assert_points(tmp_path, other, expected)

    # ------------------------------------------------------------------------------------------------ numbers

    def test_values_and_steps_are_kept(self, tmp_path: Path) -> None:
        values = [0.1, -1.5, 1e-12, 1.2345678901234567e12, 0.0, 3.0]
        logger = self._logger(tmp_path)
        for step, value in enumerate(values):
            logger.log_metrics({"loss": value, "twice": 2 * value}, step=10 * step)
        logger.shut("success")
        self._assert_points(
            tmp_path,
            logger,
            {
                "loss": [(10 * step, value) for step, value in enumerate(values)],
                "twice": [(10 * step, 2 * value) for step, value in enumerate(values)],
            },
        )

    def test_metrics_may_come_and_go(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"a": 1.0}, step=0)
        logger.log_metrics({"b": 2.0, "a": 3.0}, step=1)
        logger.log_metrics({"c": 4.0}, step=2)
        logger.log_metrics({}, step=3)
        logger.log_metrics({"a": 5.0}, step=4)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"a": [(0, 1.0), (1, 3.0), (4, 5.0)], "b": [(1, 2.0)], "c": [(2, 4.0)]})

    def test_a_step_need_not_be_given(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": 1.5})
        logger.shut("success")
        assert self._values(tmp_path, logger, "loss") == [1.5]

    def test_nan_is_kept(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": math.nan, "other": 1.0}, step=0)
        logger.log_metrics({"loss": 2.0}, step=1)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(0, math.nan), (1, 2.0)], "other": [(0, 1.0)]})

    def test_infinities_are_kept(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": math.inf}, step=0)
        logger.log_metrics({"loss": -math.inf}, step=1)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(0, math.inf), (1, -math.inf)]})

    def test_infinities_do_not_stop_it(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": math.inf}, step=0)
        logger.log_metrics({"loss": 1.0}, step=1)
        logger.shut("success")
        assert (1, 1.0) in self.read_back(tmp_path, logger).points["loss"]

    @pytest.mark.parametrize(
        "value",
        [7, True, np.float32(7), np.int64(7), torch.tensor(7), torch.tensor(7.0, dtype=torch.bfloat16)],
        ids=["int", "bool", "np.float32", "np.int64", "int tensor", "bfloat16 tensor"],
    )
    def test_takes_what_users_call_a_number(self, tmp_path: Path, value: Any) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": value}, step=2)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(2, 1.0 if value is True else 7.0)]})

    @pytest.mark.parametrize("value", ["words", None, torch.zeros(3)], ids=["words", "None", "vector"])
    def test_refuses_what_is_no_number(self, tmp_path: Path, value: Any) -> None:
        logger = self._logger(tmp_path)
        with pytest.raises((TypeError, ValueError), match="my_metric"):
            logger.log_metrics({"my_metric": value}, step=0)
        logger.log_metrics({"loss": 1.0}, step=1)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(1, 1.0)]})

    def test_keys_of_all_kinds(self, tmp_path: Path) -> None:
        keys = ["train/loss", "a b", "a.b", "a-b_c", "größe", "損失/平均", "x:y", 'odd @ (50%), "q"', "1"]
        logger = self._logger(tmp_path)
        logger.log_metrics({key: float(index) for index, key in enumerate(keys)}, step=0)
        logger.shut("success")
        expected = {self.stored_key(key): [(0, float(index))] for index, key in enumerate(keys)}
        assert len(expected) == len(keys), "two keys became one"
        self._assert_points(tmp_path, logger, expected)

    def test_a_very_long_key_is_stored_or_refused(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        refusal = ""
        try:
            logger.log_metrics({"k" * 1000: 0.75}, step=0)
        except (TypeError, ValueError) as error:
            refusal = str(error)
        logger.log_metrics({"loss": 1.0}, step=1)
        logger.shut("success")
        points = self.read_back(tmp_path, logger).points
        assert list(points["loss"]) == [(1, 1.0)]
        assert bool(refusal) != ([(0, 0.75)] in [list(series) for series in points.values()])

    def test_ten_thousand_points(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.ensure_open()
        points = [MetricPoint({"loss": 1.0 / (step + 1)}, step, 1.75e9 + 0.01 * step) for step in range(10_000)]
        if isinstance(logger, LogsMetricBatches):
            for start in range(0, len(points), 1000):
                logger.log_metric_batch(points[start : start + 1000])
        else:
            for point in points:
                logger.log_metrics(point.metrics, point.step)
        logger.shut("success")
        stored = self.read_back(tmp_path, logger).points["loss"]
        assert [step for step, _ in stored] == list(range(10_000))
        expected = [point.metrics["loss"] for point in points]
        assert [value for _, value in stored] == pytest.approx(expected, rel=self.relative_tolerance, abs=0)

    def test_the_same_key_twice_in_a_step(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.log_metrics({"loss": 2.0}, step=0)
        logger.shut("success")
        stored = list(self.read_back(tmp_path, logger).points["loss"])
        assert stored in ([(0, 1.0), (0, 2.0)], [(0, 2.0)])

    def test_a_step_lower_than_before_is_kept_or_refused(self, tmp_path: Path) -> None:
        """A run that resumes from an older checkpoint does some steps again."""
        logger = self._logger(tmp_path)
        logger.log_metrics({"loss": 1.0}, step=5)
        is_refused = False
        try:
            logger.log_metrics({"loss": 2.0}, step=3)
        except ValueError:
            is_refused = True
        logger.log_metrics({"loss": 3.0}, step=6)
        logger.shut("success")
        stored = sorted(self.read_back(tmp_path, logger).points["loss"])
        assert stored == ([(5, 1.0), (6, 3.0)] if is_refused else [(3, 2.0), (5, 1.0), (6, 3.0)])

    def test_batches_of_points(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsMetricBatches):
            pytest.skip(f"{type(logger).__name__} takes one point at a time")
        logger.ensure_open()
        points = [MetricPoint({"a": float(n), "b": -float(n)}, n, 1.75e9 + 0.01 * n) for n in range(700)]
        logger.log_metric_batch(points)
        logger.log_metric_batch([MetricPoint({"c": 1.0}, None, 1.75e9)])
        logger.shut("success")
        stored = self.read_back(tmp_path, logger).points
        assert sorted(stored["a"]) == [(n, float(n)) for n in range(700)]
        assert sorted(stored["b"]) == [(n, -float(n)) for n in range(700)]
        assert [value for _, value in stored["c"]] == [1.0]

    # --------------------------------------------------------------------------------------- hyper-parameters

    def test_hyperparams_of_all_kinds(self, tmp_path: Path) -> None:
        params = {
            "lr": 0.1,
            "layers": 3,
            "name": "größe",
            "nothing": None,
            "flag": True,
            "optimizer": {"betas": [0.9, 0.999], "inner": {"eps": 1e-8}},
            "path": Path("a/b"),
            "color": Color.RED,
            "tensor": torch.tensor(2),
            "array": np.arange(2),
            "function": len,
            "empty": {},
        }
        logger = self._logger(tmp_path)
        logger.log_hyperparams(params)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("success")
        stored = _flat(self.read_back(tmp_path, logger).hparams)
        expected = {
            "lr": 0.1,
            "layers": 3,
            "name": "größe",
            "nothing": None,
            "flag": True,
            "optimizer/betas": [0.9, 0.999],
            "optimizer/inner/eps": 1e-8,
            "path": "a/b",
            "color": "Color.RED",
            "tensor": 2,
            "array": [0, 1],
        }
        for key, value in expected.items():
            assert key in stored, f"{key} is missing; there are {sorted(stored)}"
            assert _is_same_param(stored[key], value), f"{key} is {stored[key]!r}, not {value!r}"
        assert "function" in stored

    def test_hyperparams_may_come_in_parts_and_change(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        logger.log_hyperparams({"lr": 0.1, "depth": 2})
        logger.log_hyperparams({"lr": 0.1, "depth": 3, "width": 4})
        logger.log_hyperparams({})
        logger.shut("success")
        stored = _flat(self.read_back(tmp_path, logger).hparams)
        assert _is_same_param(stored["lr"], 0.1)
        assert _is_same_param(stored["width"], 4)
        assert "depth" in stored

    # ------------------------------------------------------------------------------------------- capabilities

    def test_images(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsImages):
            pytest.skip(f"{type(logger).__name__} does not show pictures")
        color = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
        gray = torch.linspace(0, 1, 6).reshape(1, 1, 6)
        logger.log_image("pictures/set", [Image.of(color, "first ü"), Image.of(gray, "second")], step=3)
        logger.log_image("single", [torch.zeros(3, 7, 6)], step=4)
        logger.shut("success")
        stored = self.read_back(tmp_path, logger).images
        assert [(image.key, image.step) for image in stored] == [
            ("pictures/set", 3),
            ("pictures/set", 3),
            ("single", 4),
        ]
        assert [image.caption or None for image in stored] == ["first ü", "second", None]
        np.testing.assert_array_equal(_pixels(stored[0].png)[:, :, :3], color)
        np.testing.assert_array_equal(_pixels(stored[1].png)[:, :, :1], [[[0], [51], [102], [153], [204], [255]]])
        np.testing.assert_array_equal(_pixels(stored[2].png)[:, :, :3], np.zeros((7, 6, 3)))

    def test_text(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsText):
            pytest.skip(f"{type(logger).__name__} does not show words")
        logger.log_text("notes/a", "two\nlines, größe", step=1)
        logger.log_text("notes/a", "later", step=2)
        logger.shut("success")
        stored = self.read_back(tmp_path, logger).texts
        assert list(stored) == [("notes/a", 1, "two\nlines, größe"), ("notes/a", 2, "later")]

    def test_tables(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsTables):
            pytest.skip(f"{type(logger).__name__} does not show tables")
        logger.log_table("predictions", ["name", "score"], [["größe", 0.5], ["b", 2], [None, "x"]], step=1)
        logger.log_table("frame", data={"a": [1, 2], "b": [3, 4]}, step=2)
        logger.shut("success")
        first, second = self.read_back(tmp_path, logger).tables
        assert (first.key, first.step, list(first.columns)) == ("predictions", 1, ["name", "score"])
        assert [[str(cell) for cell in row] for row in first.rows] == [
            ["größe", "0.5"],
            ["b", "2"],
            ["None", "x"],
        ]
        assert (second.key, second.step, list(second.columns)) == ("frame", 2, ["a", "b"])
        assert [[str(cell) for cell in row] for row in second.rows] == [["1", "3"], ["2", "4"]]

    def test_artifacts(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsArtifacts):
            pytest.skip(f"{type(logger).__name__} does not keep files")
        source = tmp_path / "weights of a model.bin"
        source.write_bytes(bytes(range(256)))
        logger.log_artifact(source)
        logger.log_artifact(source, "folder/renamed.bin")
        source.unlink()
        logger.shut("success")
        stored = self.read_back(tmp_path, logger).artifacts
        assert stored["weights of a model.bin"] == bytes(range(256))
        assert stored["folder/renamed.bin"] == bytes(range(256))

    def test_histograms(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsHistograms):
            pytest.skip(f"{type(logger).__name__} does not show histograms")
        logger.log_histogram("weights/a", Histogram((-1.5, 0.0, 0.25, 4.0), (3.0, 0.0, 7.0)), step=1)
        logger.log_histogram("weights/a", torch.tensor([1.0, 2.0, 2.0, math.nan]), step=2)
        logger.shut("success")
        first, second = self.read_back(tmp_path, logger).histograms
        assert (first.key, first.step) == ("weights/a", 1)
        assert list(first.edges) == pytest.approx([-1.5, 0.0, 0.25, 4.0], rel=1e-6)
        assert list(first.counts) == [3.0, 0.0, 7.0]
        assert (second.key, second.step, sum(second.counts)) == ("weights/a", 2, 3.0)
        assert [second.edges[0], second.edges[-1]] == pytest.approx([1.0, 2.0], rel=1e-6)
        assert (second.counts[0], second.counts[-1]) == (1.0, 2.0)

    def test_audio(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsAudio):
            pytest.skip(f"{type(logger).__name__} plays no sounds")
        ramp, flat = np.linspace(-1, 1, 40, dtype=np.float32), np.zeros((30, 2), np.int16)
        logger.log_audio("sounds/a", [Audio.of(ramp, 8000, "a ramp, ü"), Audio.of(flat, 16000)], step=3)
        logger.shut("success")
        stored = self.read_back(tmp_path, logger).audios
        assert [(one.key, one.step, one.caption or None) for one in stored] == [
            ("sounds/a", 3, "a ramp, ü"),
            ("sounds/a", 3, None),
        ]
        for one, samples, rate in zip(stored, (np.rint(ramp * 32767)[:, None], flat), (8000, 16000), strict=True):
            with wave.open(io.BytesIO(one.content)) as file:
                assert (file.getframerate(), file.getnchannels()) == (rate, samples.shape[1])
                played = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(samples.shape)
            np.testing.assert_array_equal(played, samples)

    def test_video(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsVideo):
            pytest.skip(f"{type(logger).__name__} plays no videos")
        logger.log_video("clips/a", [Video(_GIF, "gif", "a dot, ü", 1, 1)], step=3)
        logger.shut("success")
        (stored,) = self.read_back(tmp_path, logger).videos
        assert (stored.key, stored.step, stored.caption, stored.content) == ("clips/a", 3, "a dot, ü", _GIF)

    def test_graph(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsGraph):
            pytest.skip(f"{type(logger).__name__} shows no graphs")
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
        logger.log_graph(model, torch.ones(1, 3))
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("success")
        stored = self.read_back(tmp_path, logger)
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0)]})
        graph = stored.graph
        assert graph is not None, "there is no graph"
        assert graph.text == str(model) or graph.nodes
        if graph.nodes:
            assert set(graph.nodes["0/linear"]) == {"input_0", "0/weight", "0/bias"}
            assert set(graph.nodes["1/relu"]) == {"0/linear"}
            assert set(graph.nodes["output_0"]) == {"1/relu"}

    def test_a_graph_without_nodes_stops_nothing(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsGraph):
            pytest.skip(f"{type(logger).__name__} shows no graphs")
        logger.log_graph(torch.nn.Linear(3, 2))
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("success")
        self._assert_points(tmp_path, logger, {"loss": [(0, 1.0)]})

    def test_checkpoints(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        if not isinstance(logger, LogsCheckpoints):
            pytest.skip(f"{type(logger).__name__} keeps no checkpoints")
        logger.ensure_open()
        settings = {"type": "ModelCheckpoint", "monitor": "val_loss", "mode": "min"}
        for name, content, aliases, score in (
            ("epoch=0-step=10 größe.ckpt", b"first", ("latest", "best"), 0.25),
            ("last.ckpt", b"second", ("latest",), 0.5),
        ):
            path = tmp_path / "held"  # its second name, as core hands it over
            path.write_bytes(content)
            logger.log_checkpoint(SavedCheckpoint(path, name, aliases, 10, score, settings))
            path.unlink()
        logger.shut("success")
        first, second = self.read_back(tmp_path, logger).checkpoints
        assert (first.content, second.content) == (b"first", b"second")
        assert "best" in first.aliases
        assert "best" not in second.aliases
        assert "latest" in second.aliases
        assert (first.score, second.score) == (0.25, 0.5)

    # --------------------------------------------------------------------------------------------- a real run

    def test_a_run_delivers_every_point_once(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        run = _run(tmp_path, logger)
        for step in range(30):
            run.log_metrics({"loss": 1.0 / (step + 1), "acc": step / 30}, step=step)
        logger.log_metrics({"own": 2.5}, step=30)  # as a user's program does
        run.log_hyperparams({"lr": 0.1, "net": {"depth": 2}})
        run.finalize("success")
        assert logger.experiment is not None
        run.log_metrics({"test_loss": 0.5}, step=31)
        run.finalize("success")
        run.close("success")
        self._assert_points(
            tmp_path,
            logger,
            {
                "loss": [(step, 1.0 / (step + 1)) for step in range(30)],
                "acc": [(step, step / 30) for step in range(30)],
                "own": [(30, 2.5)],
                "test_loss": [(31, 0.5)],
            },
        )
        stored = _flat(self.read_back(tmp_path, logger).hparams)
        assert _is_same_param(stored["lr"], 0.1)
        assert _is_same_param(stored["net/depth"], 2)

    @pytest.mark.parametrize("when", ["start", "middle", "close"])
    def test_an_outage_costs_no_point(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
        """The service is away when the run starts, comes and goes, or is away at the end."""
        logger = self._logger(tmp_path)
        methods = {"start": ["open"], "middle": ["log_metrics", "log_metric_batch", "save"], "close": ["close"]}[when]
        outages = {"start": {1, 2}, "middle": {1, 2, 4, 6, 7, 8, 9}, "close": {1}}[when]
        calls = itertools.count(1)

        def flaky(method: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(method)
            def call(self: Logger, *args: Any, **kwargs: Any) -> Any:
                if threading.current_thread().name.startswith("fulmen-") and next(calls) in outages:
                    raise ConnectionError("the service is away")
                return method(self, *args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in methods:
                if hasattr(type(logger), name):
                    patch.setattr(type(logger), name, flaky(getattr(type(logger), name)))
            run = _run(tmp_path, logger)
            for step in range(20):
                run.log_metrics({"loss": float(step)}, step=step)
                if step % 4 == 3:
                    run.finalize("success")
            run.close("success")
        logger.close("success")
        self._assert_points(tmp_path, logger, {"loss": [(step, float(step)) for step in range(20)]})

    def test_a_run_delivers_all_that_the_service_can_show(self, tmp_path: Path) -> None:
        logger = self._logger(tmp_path)
        run = _run(tmp_path, logger)
        source = tmp_path / "notes.txt"
        source.write_text("a file", encoding="utf-8")
        run.log_metrics({"loss": 1.0}, step=0)
        if isinstance(logger, LogsImages):
            run.log_image("picture", [np.full((4, 6, 3), 9, np.uint8)], step=1, captions=["words"])
        if isinstance(logger, LogsText):
            run.log_text("text", "words", step=2)
        if isinstance(logger, LogsTables):
            run.log_table("table", ["a"], [[1]], step=3)
        if isinstance(logger, LogsArtifacts):
            run.log_artifact(source)
        if isinstance(logger, LogsHistograms):
            run.log_histogram("histogram", [1.0, 2.0, 2.0], step=4, bins=2)
        if isinstance(logger, LogsAudio):
            run.log_audio("audio", np.zeros(8, np.int16), step=5, sample_rate=8000)
        if isinstance(logger, LogsVideo):
            run.log_video("video", Video(_GIF, "gif"), step=6)
        if isinstance(logger, LogsGraph):
            run.log_graph(Graph("words", (Node("input_0", "input"),)), only=logger)
        run.finalize("success")
        run.close("success")
        stored = self.read_back(tmp_path, logger)
        assert list(stored.points["loss"]) == [(0, 1.0)]
        assert [(image.key, image.step, image.caption) for image in stored.images] == (
            [("picture", 1, "words")] if isinstance(logger, LogsImages) else []
        )
        assert list(stored.texts) == ([("text", 2, "words")] if isinstance(logger, LogsText) else [])
        assert [(table.key, table.step, list(table.columns)) for table in stored.tables] == (
            [("table", 3, ["a"])] if isinstance(logger, LogsTables) else []
        )
        assert dict(stored.artifacts) == ({"notes.txt": b"a file"} if isinstance(logger, LogsArtifacts) else {})
        assert [(one.key, one.step, list(one.counts)) for one in stored.histograms] == (
            [("histogram", 4, [1.0, 2.0])] if isinstance(logger, LogsHistograms) else []
        )
        assert [(one.key, one.step) for one in stored.audios] == (
            [("audio", 5)] if isinstance(logger, LogsAudio) else []
        )
        assert [(one.key, one.step, one.content) for one in stored.videos] == (
            [("video", 6, _GIF)] if isinstance(logger, LogsVideo) else []
        )
        assert (stored.graph is not None) == isinstance(logger, LogsGraph)

    # ------------------------------------------------------------------------------------------------ helpers

    def _logger(self, folder: Path) -> Logger:
        folder.mkdir(parents=True, exist_ok=True)
        make: Any = getattr(self, "make", None)
        if make is None:
            raise TypeError(f"{type(self).__name__} needs `def make(self, folder)`, which returns a new logger")
        logger: Logger = make(folder)
        return logger

    def _values(self, folder: Path, logger: Logger, key: str) -> list[float]:
        return [value for _, value in self.read_back(folder, logger).points[key]]

    def _assert_points(self, folder: Path, logger: Logger, expected: Points) -> None:
        stored = self.read_back(folder, logger).points
        for key, series in expected.items():
            assert key in stored, f"{key!r} is missing; there are {sorted(stored)}"
            steps, expected_steps = [step for step, _ in stored[key]], [step for step, _ in series]
            assert steps == expected_steps, f"{key!r} has the steps {steps}, not {expected_steps}"
            values, expected_values = [value for _, value in stored[key]], [value for _, value in series]
            assert values == pytest.approx(expected_values, rel=self.relative_tolerance, abs=0, nan_ok=True), key
        extra = {key for key in stored if key not in expected and key not in self.own_points}
        assert not extra, f"there are points that nobody logged: {sorted(extra)}"


def _run(folder: Path, logger: Logger) -> Run:
    run_folder = Path(logger.log_dir) if logger.log_dir else folder / "run"
    return Run(run_folder, [logger], name="kit", version="version_0", backoff=Backoff(first_s=0.001, longest_s=0.01))


def _flat(params: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{parent}{key}/"))
        else:
            flat[f"{parent}{key}"] = value
    return flat


def _is_same_param(stored: Any, expected: Any) -> bool:
    """Compare by words where the service keeps words only."""
    if isinstance(stored, str) and isinstance(expected, (int, float)) and not isinstance(expected, bool):
        return float(stored) == expected
    if isinstance(expected, bool):
        return str(stored).lower() == str(expected).lower()
    return bool(stored == expected or str(stored) == str(expected))


def _pixels(png: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode a PNG file of 8 bits a channel, not interlaced, into shape ``(H, W, C)``.

    Source: PNG specification (second edition), sections 5 and 9; the kit brings no image library.
    """
    assert png[:8] == b"\x89PNG\r\n\x1a\n", "the stored picture is not a PNG file"
    data, position = b"", 8
    while position < len(png):
        size, kind = struct.unpack(">I4s", png[position : position + 8])
        if kind == b"IDAT":
            data += png[position + 8 : position + 8 + size]
        position += size + 12
    width, height, depth, color_type = struct.unpack(">IIBB", png[16:26])
    assert depth == 8, "the stored picture does not have 8 bits a channel"
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    rows = np.zeros((height + 1, (width + 1) * channels), np.int64)  # a row and a pixel of zeros before the first
    for y in range(height):
        kind_of_filter, above = int(lines[y, 0]), rows[y]
        for x in range(width * channels):
            left, up, corner = rows[y + 1, x], above[x + channels], above[x]
            by_distance = sorted((abs(int(n) - int(left + up - corner)), i) for i, n in enumerate((left, up, corner)))
            guess = (0, left, up, (left + up) // 2, (left, up, corner)[by_distance[0][1]])[kind_of_filter]
            rows[y + 1, x + channels] = (int(lines[y, 1 + x]) + int(guess)) % 256
    return rows[1:, channels:].reshape(height, width, channels).astype(np.uint8)
