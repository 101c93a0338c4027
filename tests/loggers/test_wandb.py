from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from fulmen.errors import MisconfigurationException
from fulmen.logger import Logger
from fulmen.testing import LoggerConformance, ReadBack
from fulmen.testing.logger_conformance import (
    StoredCheckpoint,
    StoredGraph,
    StoredHistogram,
    StoredImage,
    StoredMedia,
    StoredTable,
)

pytestmark = pytest.mark.sdk("wandb")

STEP = "trainer/global_step"
_BLOCK = 32768  # bytes


@pytest.fixture(autouse=True)
def _only_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Offline, silent, all files below the test's folder; no run stays open for the next test."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for folder in ("CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{folder}", str(tmp_path / "wandb-home" / folder))
    yield
    import wandb

    while wandb.run is not None:
        wandb.finish()


def make_logger(folder: Path, **kwargs: Any) -> Any:
    from fulmen_loggers import WandbLogger

    return WandbLogger(save_dir=folder, offline=True, **kwargs)


# ------------------------------------------------------------------------------ the reader, which no SDK has
# any more


def _payloads(path: Path) -> Iterator[bytes]:
    """Yield the records of a `.wandb` file: LevelDB's log format behind a header of 7 bytes."""
    content = path.read_bytes()
    if len(content) < 7:
        return  # still being made
    assert content[:4] == b":W&B"
    position, parts = 7, b""
    while position + 7 <= len(content):
        if _BLOCK - position % _BLOCK < 7:  # no room for a header: the rest of the block is padding
            position += _BLOCK - position % _BLOCK
            continue
        checksum, size, kind = struct.unpack("<IHB", content[position : position + 7])
        payload = content[position + 7 : position + 7 + size]
        if len(payload) < size:
            return  # still being written
        assert zlib.crc32(payload, zlib.crc32(bytes([kind]))) == checksum, f"damage at byte {position}"
        position += 7 + size
        parts += payload
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def _records(folder: Path, run_id: str, ended: Path | None = None) -> Iterator[tuple[Path, Any]]:
    """Yield the folder and each record of all files of a run, oldest file first.

    All of them must have an end, or only the one in the folder `ended`.
    """
    from wandb.proto import wandb_internal_pb2

    files = sorted(folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb"), key=lambda path: path.stat().st_ctime_ns)
    for path in files:
        # `finish` of wandb 0.31 now and then returns before its other process has written the file.
        deadline_s = time.monotonic() + 20
        while True:
            records = [wandb_internal_pb2.Record.FromString(payload) for payload in _payloads(path)]
            if any(record.WhichOneof("record_type") == "exit" for record in records):
                break
            if ended not in (None, path.parent):
                break
            assert time.monotonic() < deadline_s, f"{path} has no end"
            time.sleep(0.02)
        yield from ((path.parent, record) for record in records)


def _items(items: Any) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for item in items:
        *parents, key = list(item.nested_key) or [item.key]
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[key] = json.loads(item.value_json)
    return nested


def _rows(folder: Path, run_id: str, ended: Path | None = None) -> list[tuple[Path, dict[str, Any]]]:
    return [
        (run, _items(record.history.item))
        for run, record in _records(folder, run_id, ended)
        if record.WhichOneof("record_type") == "history"
    ]


def _config(folder: Path, run_id: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for _, record in _records(folder, run_id):
        kind = record.WhichOneof("record_type")
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            config.update(_items(update))
    return {key: value for key, value in config.items() if not key.startswith("_wandb")}


class TestWandbLoggerConforms(LoggerConformance):
    sdk_modules = ("wandb",)

    def make(self, folder: Path) -> Logger:
        logger: Logger = make_logger(folder)
        return logger

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        run_id = str(logger.run_id)
        points: dict[str, list[tuple[int, float]]] = {}
        images, texts, tables, histograms, audios, videos, checkpoints = [], [], [], [], [], [], []
        artifacts, graph = {}, None
        for run, row in _rows(folder, run_id):
            step = int(row.get(STEP, -1))
            for key, value in row.items():
                if key.startswith("_") or key == STEP:
                    continue
                if not isinstance(value, dict):
                    points.setdefault(key, []).append((step, float(value)))
                elif value["_type"] == "images/separated":
                    captions = value.get("captions") or [None] * len(value["filenames"])
                    for name, caption in zip(value["filenames"], captions, strict=True):
                        images.append(StoredImage(key, step, (run / "files" / name).read_bytes(), caption))
                elif value["_type"] == "histogram":
                    histograms.append(StoredHistogram(key, step, value["bins"], value["values"]))
                elif value["_type"] in ("audio", "videos"):
                    kind = audios if value["_type"] == "audio" else videos
                    several = value.get("audio") or value["videos"]
                    captions = value.get("captions") or [one.get("caption") for one in several]
                    for one, caption in zip(several, captions, strict=True):
                        kind.append(StoredMedia(key, step, (run / "files" / one["path"]).read_bytes(), caption))
                elif value["_type"] == "graph-file":
                    drawn = json.loads((run / "files" / value["path"]).read_text(encoding="utf-8"))
                    nodes: dict[str, list[str]] = {node["id"]: [] for node in drawn["nodes"]}
                    for source, target in drawn["edges"]:
                        nodes[target].append(source)
                    graph = StoredGraph(nodes=nodes)
                elif value["_type"] == "table-file":
                    table = json.loads((run / "files" / value["path"]).read_text(encoding="utf-8"))
                    if table["columns"] == ["text"]:
                        texts.append((key, step, table["data"][0][0]))
                    else:
                        tables.append(StoredTable(key, step, table["columns"], table["data"]))
        for _, record in _records(folder, run_id):
            if record.WhichOneof("record_type") == "artifact":
                for entry in record.artifact.manifest.contents:
                    if record.artifact.type == "model":
                        content = Path(entry.local_path).read_bytes()
                        score = json.loads(record.artifact.metadata)["score"]
                        checkpoints.append(StoredCheckpoint(content, list(record.artifact.aliases), score))
                    elif "run_table" not in record.artifact.type:
                        artifacts[entry.path] = Path(entry.local_path).read_bytes()
        return ReadBack(
            points,
            _config(folder, run_id),
            images,
            texts,
            tables,
            artifacts,
            histograms,
            audios,
            videos,
            graph,
            checkpoints,
        )


def test_the_first_logger_is_the_run_of_the_process(tmp_path: Path) -> None:
    import wandb

    logger = make_logger(tmp_path)
    assert wandb.run is None
    logger.log_metrics({"loss": 1.0}, step=0)
    assert wandb.run is not None
    assert wandb.run.id == logger.run_id == logger.version
    logger.shut("success")
    assert wandb.run is None


def test_step_is_an_axis_and_not_the_step_of_wandb(tmp_path: Path) -> None:
    logger = make_logger(tmp_path)
    for step in (10, 20, 15):
        logger.log_metrics({"loss": 1.0}, step=step)
    logger.shut("success")
    rows = [row for _, row in _rows(tmp_path, logger.run_id)]
    assert [(row["_step"], row[STEP]) for row in rows] == [(0, 10), (1, 20), (2, 15)]
    axes = {
        record.metric.glob_name or record.metric.name: record.metric.step_metric
        for _, record in _records(tmp_path, logger.run_id)
        if record.WhichOneof("record_type") == "metric"
    }
    assert axes["*"] == STEP


def test_wall_time_is_the_time_at_which_it_was_logged(tmp_path: Path) -> None:
    logger = make_logger(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0, 1.5e9)
    logger.shut("success")
    assert [row["_timestamp"] for _, row in _rows(tmp_path, logger.run_id)] == [1.5e9]


def test_a_run_of_the_user_is_used_and_left_open(tmp_path: Path) -> None:
    import wandb

    with wandb.init(dir=tmp_path, project="mine") as run:
        for logger in (make_logger(tmp_path), make_logger(tmp_path, experiment=run)):
            logger.log_metrics({"loss": 1.0}, step=0)
            assert logger.experiment is run
            assert (logger.name, logger.version) == ("mine", run.id)
            logger.finalize("success")
            logger.shut("success")
        run.log({"own": 2.0})
    rows = [row for _, row in _rows(tmp_path, run.id)]
    assert [row.get("loss", row.get("own")) for row in rows] == [1.0, 1.0, 2.0]


def test_a_run_that_the_user_finished_is_continued_by_its_id(tmp_path: Path) -> None:
    import wandb

    logger = make_logger(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    run_id = logger.run_id
    logger.finalize("success")
    wandb.finish()
    logger.log_metrics({"loss": 2.0}, step=1)
    logger.experiment.log({"own": 3.0})
    wandb.finish()
    logger.shut("success")
    assert logger.run_id == run_id
    rows = [row for _, row in _rows(tmp_path, run_id)]
    assert [row.get("loss", row.get("own")) for row in rows] == [1.0, 2.0, 3.0]


def test_finalize_leaves_the_run_open(tmp_path: Path) -> None:
    logger = make_logger(tmp_path)
    run = logger.experiment
    logger.finalize("success")
    run.log({"own": 1.0})
    assert logger.experiment is run
    logger.shut("success")
    assert [row["own"] for _, row in _rows(tmp_path, logger.run_id)] == [1.0]


@pytest.mark.parametrize(("status", "exit_code"), [("success", 0), ("failed", 1), ("interrupted", 1)])
def test_wandb_is_told_how_it_ended(tmp_path: Path, status: str, exit_code: int) -> None:
    logger = make_logger(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut(status)
    kinds = [(record.WhichOneof("record_type"), record.exit) for _, record in _records(tmp_path, logger.run_id)]
    assert [end.exit_code for kind, end in kinds if kind == "exit"] == [exit_code]


def test_name_project_and_further_arguments_reach_wandb(tmp_path: Path) -> None:
    logger = make_logger(tmp_path, name="pretty", project="p", version="abc", job_type="train", tags=["t"])
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    runs = [record.run for _, record in _records(tmp_path, "abc") if record.WhichOneof("record_type") == "run"]
    assert (runs[0].display_name, runs[0].project, runs[0].job_type) == ("pretty", "p", "train")
    assert list(runs[0].tags) == ["t"]
    assert (logger.name, logger.version, logger.save_dir) == ("p", "abc", str(tmp_path))


def test_settings_of_the_user_come_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "50")
    logger = make_logger(tmp_path, settings=wandb.Settings(init_timeout=7, console="off"))
    settings = logger.experiment.settings
    logger.shut("success")
    assert (settings.init_timeout, settings.console) == (7, "off")
    # The environment is read once a process, so W&B itself need not have seen it here; ours must not replace
    # it.
    if hasattr(settings, "finish_timeout"):
        assert settings.finish_timeout == wandb.setup().settings.finish_timeout != 30
    assert getattr(settings, "x_transaction_log_flush_interval", 1.0) == 1.0


def test_the_mode_of_the_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    logger = make_logger(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    assert "WANDB_MODE" not in os.environ


def test_pictures_take_the_arguments_of_lightning(tmp_path: Path) -> None:
    import numpy as np

    logger = make_logger(tmp_path, prefix="p")
    pictures = [np.zeros((4, 5, 3), np.uint8)] * 2
    logger.log_image("set", pictures, step=2, caption=["one", "two"])
    with pytest.raises(ValueError, match="2 images, but 1 values of 'caption'"):
        logger.log_image("set", pictures, caption=["one"])
    logger.shut("success")
    ((_, row),) = _rows(tmp_path, logger.run_id)
    assert row["p-set"]["captions"] == ["one", "two"]
    assert row[STEP] == 2


def test_tables_take_a_data_frame(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
    logger = make_logger(tmp_path)
    logger.log_table("scores", dataframe=pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    logger.shut("success")
    ((run, row),) = _rows(tmp_path, logger.run_id)
    table = json.loads((run / "files" / row["scores"]["path"]).read_text(encoding="utf-8"))
    assert (table["columns"], table["data"]) == (["a", "b"], [[1, "x"], [2, "y"]])


def test_files_stay_with_an_offline_run(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("kept", encoding="utf-8")
    logger = make_logger(tmp_path)
    logger.log_artifact(source)
    logger.shut("success")
    source.unlink()
    entries = [
        (run, entry)
        for run, record in _records(tmp_path, logger.run_id)
        if record.WhichOneof("record_type") == "artifact"
        for entry in record.artifact.manifest.contents
    ]
    ((run, entry),) = entries
    assert Path(entry.local_path).is_relative_to(run)
    assert Path(entry.local_path).read_text(encoding="utf-8") == "kept"


def test_watch_logs_gradients(tmp_path: Path) -> None:
    import torch

    logger = make_logger(tmp_path)
    model = torch.nn.Linear(2, 1)
    logger.watch(model, log_freq=1, log_graph=False)
    model(torch.ones(1, 2)).sum().backward()
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    shown = {key: value for _, row in _rows(tmp_path, logger.run_id) for key, value in row.items()}
    assert shown["gradients/weight"]["_type"] == "histogram"


def test_an_argument_that_wandb_lacks_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="no argument 'tagz'; did you mean 'tags'"):
        make_logger(tmp_path, tagz=["a"])


def test_text_as_a_table(tmp_path: Path) -> None:
    logger = make_logger(tmp_path)
    logger.log_text("words", columns=["a", "b"], data=[["x", "y"]], step=1)
    logger.shut("success")
    ((_, row),) = _rows(tmp_path, logger.run_id)
    assert (row["words"]["ncols"], row["words"]["nrows"], row[STEP]) == (2, 1, 1)


def test_the_death_of_the_process_of_wandb_is_survived(tmp_path: Path) -> None:
    import wandb

    program = """
import os, signal, subprocess, sys, time
from fulmen_loggers import WandbLogger

logger = WandbLogger(save_dir=sys.argv[1], offline=True, version="abc")
logger.log_metrics({"loss": 0.0}, 0)
mine = ["pgrep", "-P", str(os.getpid())]
for pid in subprocess.run(mine, capture_output=True, text=True).stdout.split():
    if "wandb" in open(f"/proc/{pid}/cmdline").read():
        os.kill(int(pid), signal.SIGKILL)
failures, step = 0, 1
deadline_s = time.monotonic() + 20
while step < 4:  # as core does: at the third failure in a row, closed and opened anew
    try:
        logger.log_metrics({"loss": float(step)}, step)
        if failures or time.monotonic() > deadline_s:
            step += 1
        else:  # what is handed over before wandb notices is lost there; the run's journal has it
            time.sleep(0.05)
    except OSError:
        failures += 1
        assert failures < 20
        if failures % 3 == 0:
            try:
                logger.shut("interrupted")
            except OSError:
                pass
logger.shut("success")
print("failures:", failures)
"""
    if shutil.which("pgrep") is None:
        pytest.skip("needs the command pgrep, to find the process of wandb")
    command = [sys.executable, "-c", program, str(tmp_path)]
    # Else it would share the process of wandb that this one has.
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    if "failures: 0" in outcome.stdout and Version(wandb.__version__) < Version("0.31"):
        pytest.skip(f"wandb {wandb.__version__} itself does not notice the death of its process")
    assert "failures: 0" not in outcome.stdout
    last = max(tmp_path.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_ctime_ns)
    rows = [row for run, row in _rows(tmp_path, "abc", ended=last) if run == last]
    assert [(row[STEP], row["loss"]) for row in rows][-1] == (3, 3.0)
