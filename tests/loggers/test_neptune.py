from __future__ import annotations

import base64
import csv
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fulmen.errors import MisconfigurationException
from fulmen.logger import Logger, RunInfo
from fulmen.testing import LoggerConformance, ReadBack
from fulmen.testing.logger_conformance import (
    StoredCheckpoint,
    StoredGraph,
    StoredHistogram,
    StoredImage,
    StoredMedia,
    StoredTable,
)

pytestmark = [
    # The libraries of Neptune 1.x, when they are imported.
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:pkg_resources is deprecated"),
]


def make_logger(folder: Path, client: str, **kwargs: Any) -> Any:
    from fulmen_loggers import NeptuneLogger

    return NeptuneLogger(save_dir=folder, client=client, **kwargs)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neptune 1.x writes into the working directory only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEPTUNE_PROJECT", raising=False)


class Found:
    """What was read from Neptune's files: the series and values of a run, by path."""

    def __init__(self) -> None:
        self.series: dict[str, list[tuple[int, Any]]] = {}
        self.values: dict[str, Any] = {}

    def read_back(self) -> ReadBack:
        """Return it in the terms of the kit, without the prefix ``training/``."""
        inside = {path.removeprefix("training/"): series for path, series in self.series.items()}
        values = {path.removeprefix("training/"): value for path, value in self.values.items()}
        back: dict[str, Any] = {name: [] for name in ("images", "texts", "tables", "histograms", "audios", "videos")}
        points: dict[str, list[tuple[int, float]]] = {}
        for path, series in inside.items():
            captions = dict(inside.get(f"{path}/caption", []))
            key = path.rpartition("/")[0] if path.rpartition("/")[2].isdigit() else path
            for step, value in series:
                if isinstance(value, float):
                    points.setdefault(path, []).append((step, value))
                elif isinstance(value, str):
                    if not path.endswith("/caption"):
                        back["texts"].append((path, step, value))
                elif isinstance(value, StoredHistogram):
                    back["histograms"].append(StoredHistogram(path, step, value.edges, value.counts))
                else:
                    content, caption = value
                    caption = captions.get(step, caption)
                    if content.startswith(b"\x89PNG"):
                        back["images"].append(StoredImage(key, step, content, caption))
                    elif content.startswith(b"RIFF"):
                        back["audios"].append(StoredMedia(key, step, content, caption))
                    elif content.startswith(b"GIF"):
                        back["videos"].append(StoredMedia(key, step, content, caption))
                    elif content.startswith(b"{"):
                        fields = json.loads(content)
                        back["histograms"].append(StoredHistogram(path, step, fields["edges"], fields["counts"]))
                    else:
                        columns, *rows = csv.reader(io.StringIO(content.decode()))
                        back["tables"].append(StoredTable(path, step, columns, rows))
        checkpoints = {
            path.removeprefix("model/checkpoints/"): content
            for path, content in values.items()
            if path.startswith("model/checkpoints/")
        }
        best, latest = values.get("model/best_model_path"), values.get("model/latest_model_path")
        graph = values.get("model/graph")
        return ReadBack(
            points,
            {path.removeprefix("hyperparams/"): v for path, v in values.items() if path.startswith("hyperparams/")},
            artifacts={
                path.removeprefix("artifacts/"): v for path, v in values.items() if path.startswith("artifacts/")
            },
            graph=None if graph is None else StoredGraph(graph),
            checkpoints=[
                StoredCheckpoint(
                    content,
                    ["best"] * (name == best) + ["latest"] * (name == latest),
                    values.get(f"model/scores/{name}"),
                )
                for name, content in checkpoints.items()
            ],
            **back,
        )


# -------------------------------------------------------------------------------------------------- neptune-scale


def _scale_operations(folder: Path, run_id: str) -> Iterator[tuple[Any, dict[str, Path]]]:
    """Yield each update of a run, by Neptune's own protobuf, with the files that it names by their destination."""
    from neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import UpdateRunSnapshot

    for path in sorted(folder.rglob("run_operations.sqlite3"), key=lambda path: path.parent.name.rpartition("_")[2]):
        with sqlite3.connect(path) as database:
            if database.execute("SELECT run_id FROM metadata").fetchone() != (run_id,):
                continue
            sources = database.execute("SELECT destination, source_path FROM file_upload_requests").fetchall()
            files = {destination: Path(source) for destination, source in sources}
            for (blob,) in database.execute(
                "SELECT operation FROM run_operations WHERE operation_type = 0 ORDER BY sequence_id"
            ).fetchall():
                yield UpdateRunSnapshot.FromString(blob), files


def read_scale(folder: Path, run_id: str) -> Found:
    found = Found()
    for update, files in _scale_operations(folder, run_id):
        step = update.step.whole
        assert update.step.micro == 0
        for path, value in update.append.items():
            kind = value.WhichOneof("value")
            stored: Any = getattr(value, kind)
            if kind == "histogram":
                stored = StoredHistogram(path, step, stored.bin_edges, list(map(float, stored.counts.values)))
            elif kind == "file_ref":
                stored = (files[stored.path].read_bytes(), None)
            found.series.setdefault(path, []).append((step, stored))
        for path, value in update.assign.items():
            kind = value.WhichOneof("value")
            stored = getattr(value, kind)
            found.values[path] = files[stored.path].read_bytes() if kind == "file_ref" else stored
    return found


@pytest.mark.sdk("neptune_scale")
class TestNeptuneScaleConforms(LoggerConformance):
    sdk_modules = ("neptune", "neptune_scale")

    def make(self, folder: Path) -> Logger:
        logger: Logger = make_logger(folder, "neptune-scale")
        return logger

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        return read_scale(folder, str(logger.run_id)).read_back()


# ----------------------------------------------------------------------------------------------------- neptune 1.x


def _classic_operations(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the operations in one offline folder: JSON objects, one after the other."""
    for path in sorted(folder.glob("data-*.log"), key=lambda path: int(path.stem.partition("-")[2])):
        text, position, decoder = path.read_text(encoding="utf-8"), 0, json.JSONDecoder()
        while position < len(text):
            found, position = decoder.raw_decode(text, position)
            yield found["obj"]
            position += len(text[position:]) - len(text[position:].lstrip())


def read_classic(root: Path, run_id: str) -> Found:
    found = Found()
    folders = sorted(root.glob("offline/run__*"), key=lambda path: (path / "metadata.json").stat().st_mtime_ns)
    for folder in folders:
        operations = list(_classic_operations(folder))
        ids = [one["value"] for one in operations if one["path"] == ["fulmen", "run_id"]]
        if ids != [run_id]:
            continue
        for one in operations:
            path, kind = "/".join(one["path"]), one["type"]
            if kind.startswith("Assign"):
                found.values[path] = one["value"]
            elif kind.startswith("Log"):
                for entry in one["values"]:
                    value = entry["value"]
                    if kind == "LogImages":
                        value = (base64.b64decode(value["data"]), value["description"])
                    found.series.setdefault(path, []).append((int(entry["step"] or 0), value))
            elif kind == "UploadFile":
                content = (folder / "upload_path" / one["tmp_file_name"]).read_bytes()
                stem, _, step = path.rpartition("/step_")
                if stem:
                    found.series.setdefault(stem, []).append((int(step), (content, None)))
                else:
                    found.values[path] = content
    return found


@pytest.mark.sdk("neptune")
class TestNeptuneClassicConforms(LoggerConformance):
    sdk_modules = ("neptune", "neptune_scale")
    expected_failures: ClassVar[Mapping[str, str]] = {
        "test_nan_is_kept": "Neptune 1.x drops it",
        "test_infinities_are_kept": "Neptune 1.x drops them",
    }

    def make(self, folder: Path) -> Logger:
        logger: Logger = make_logger(folder, "neptune")
        return logger

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        return read_classic(Path(".neptune"), str(logger.run_id)).read_back()


# ------------------------------------------------------------------------------------------------------- for both

both = pytest.mark.parametrize(
    "client",
    [
        pytest.param("neptune-scale", marks=pytest.mark.sdk("neptune_scale")),
        pytest.param("neptune", marks=pytest.mark.sdk("neptune")),
    ],
)


def _read(client: str, folder: Path, run_id: str) -> Found:
    return read_scale(folder, run_id) if client == "neptune-scale" else read_classic(Path(".neptune"), run_id)


@both
def test_it_says_once_what_it_can_and_cannot_do(
    tmp_path: Path, client: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fulmen_loggers import NeptuneLogger

    monkeypatch.setattr(NeptuneLogger, "_has_said", False)
    for _ in range(2):
        logger = make_logger(tmp_path, client)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.shut("success")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("fulmen")]
    assert len(said) == 1
    assert "ended on 5 March 2026" in said[0]
    assert f"writes with {client} " in said[0]
    assert "fulmen import neptune" in said[0]


@both
def test_paths_are_those_that_users_of_neptune_know(tmp_path: Path, client: str) -> None:
    logger = make_logger(tmp_path, client, prefix="mine", name="a run", run_id="chosen", project="team/digits")
    assert (logger.name, logger.version, logger.run_id) == ("a run", "chosen", "chosen")
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.log_hyperparams({"optimizer": {"lr": 0.1}, "many": 2**80})
    logger.shut("success")
    found = _read(client, tmp_path, "chosen")
    assert found.series == {"mine/loss": [(1, 0.5)]}
    assert found.values["mine/hyperparams/optimizer/lr"] == 0.1
    assert found.values["mine/hyperparams/many"] == str(2**80)


@both
def test_the_time_is_that_at_which_it_was_logged(tmp_path: Path, client: str) -> None:
    logger = make_logger(tmp_path, client)
    logger.log_metrics({"loss": 0.5}, 1, 1.5e9)
    logger.shut("success")
    if client == "neptune":
        (folder,) = Path(".neptune").glob("offline/run__*")
        times = [op["values"][0]["ts"] for op in _classic_operations(folder) if op["type"] == "LogFloats"]
    else:
        times = [
            update.timestamp.seconds for update, _ in _scale_operations(tmp_path, str(logger.run_id)) if update.append
        ]
    assert times == [1.5e9]


@both
@pytest.mark.parametrize("mode", ["debug", "disabled"])
def test_debug_mode_writes_nothing(tmp_path: Path, client: str, mode: str) -> None:
    logger = make_logger(tmp_path, client, mode=mode)
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.log_image("picture", [[[0.5]]], step=1)
    logger.log_table("table", ["a"], [[1]], step=1)
    logger.shut("success")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@both
def test_a_run_of_the_user_is_used_and_left_open(tmp_path: Path, client: str) -> None:
    if client == "neptune":
        import neptune

        run: Any = neptune.init_run(mode="offline", project="a/b", capture_hardware_metrics=False)
        run["fulmen/run_id"] = "mine"
    else:
        import neptune_scale

        run = neptune_scale.Run(run_id="mine", project="a/b", mode="offline", log_directory=tmp_path)
    logger = make_logger(tmp_path, client, run=run)
    logger.log_metrics({"loss": 0.5}, step=1)
    assert logger.experiment is logger.run is run
    logger.shut("success")
    logger.log_metrics({"loss": 0.25}, step=2)
    logger.shut("success")
    run.stop() if client == "neptune" else run.close()
    assert _read(client, tmp_path, "mine").series["training/loss"] == [(1, 0.5), (2, 0.25)]


@both
def test_a_killed_process_loses_nothing_that_was_saved(tmp_path: Path, client: str) -> None:
    program = f"""
import os
from fulmen_loggers import NeptuneLogger
logger = NeptuneLogger(save_dir={str(tmp_path)!r}, client={client!r}, run_id="killed")
for step in range(200):
    logger.log_metrics({{"loss": float(step)}}, step)
logger.save()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False)
    stored = _read(client, tmp_path, "killed").series["training/loss"]
    assert stored == [(step, float(step)) for step in range(200)]


@both
def test_the_summary_of_a_model(tmp_path: Path, client: str) -> None:
    from torch import nn

    from fulmen import LightningModule

    class Model(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

    logger = make_logger(tmp_path, client)
    logger.log_model_summary(Model(), max_depth=-1)
    logger.shut("success")
    ((_, text),) = _read(client, tmp_path, str(logger.run_id)).series["training/model/summary"]
    assert "Linear" in text


@both
def test_what_cannot_work_is_said_at_once(tmp_path: Path, client: str) -> None:
    with pytest.raises(MisconfigurationException, match="`mode` must be 'offline' or 'debug', but is 'read-only'"):
        make_logger(tmp_path, client, mode="read-only")
    with pytest.raises(MisconfigurationException, match="no argument 'tagz'"):
        make_logger(tmp_path, client, tagz=["a"])


@pytest.mark.sdk("neptune_scale")
def test_an_unknown_client_is_said(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="`client` must be one of"):
        make_logger(tmp_path, "neptune-3")


@pytest.mark.sdk("neptune_scale")
def test_each_process_of_a_run_adds_to_it(tmp_path: Path) -> None:
    for step in range(2):
        logger = make_logger(tmp_path, "neptune-scale")
        logger.ensure_open(RunInfo(tmp_path, "a", "b", resume_id="same"))
        logger.log_metrics({"loss": float(step)}, step)
        logger.shut("success")
    assert len(list(tmp_path.rglob("run_operations.sqlite3"))) == 2
    assert read_scale(tmp_path, "same").series["training/loss"] == [(0, 0.0), (1, 1.0)]


def test_without_either_package_the_command_is_said() -> None:
    program = """
import sys
sys.modules["neptune"] = sys.modules["neptune_scale"] = None
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("neptune") else real(name, *rest)
from fulmen.loggers import NeptuneLogger
"""
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 'NeptuneLogger needs neptune_scale: pip install "fulmen[neptune-scale]"' in outcome.stderr
