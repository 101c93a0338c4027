from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fulmen.errors import MisconfigurationException
from fulmen.logger import Logger, MetricPoint, RunInfo
from fulmen.testing import LoggerConformance, ReadBack
from fulmen.testing.logger_conformance import (
    StoredCheckpoint,
    StoredHistogram,
    StoredImage,
    StoredMedia,
    StoredTable,
)

pytestmark = pytest.mark.sdk("trackio")

# Trackio asks for its folder when it is imported, and never again: all tests share one, and have runs of their own.
_home = tempfile.TemporaryDirectory(prefix="fulmen-trackio-")
os.environ["TRACKIO_DIR"] = _home.name
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def _is_alone() -> None:
    import trackio.utils

    assert str(trackio.utils.TRACKIO_DIR) == _home.name, "trackio was imported before this module"


def make_logger(**kwargs: Any) -> Any:
    from fulmen_loggers import TrackioLogger

    return TrackioLogger("kit", **{"auto_log_cpu": False, "auto_log_gpu": False, **kwargs})


def _rows(run_id: str) -> list[dict[str, Any]]:
    from trackio.sqlite_storage import SQLiteStorage

    return SQLiteStorage.get_logs("kit", run_id=run_id)


def _several(key: str) -> str:
    """`pictures/set/1` -> `pictures/set`"""
    stem, _, last = key.rpartition("/")
    return stem if last.isdigit() else key


class TestTrackioLoggerConforms(LoggerConformance):
    sdk_modules = ("trackio",)

    def make(self, folder: Path) -> Logger:
        logger: Logger = make_logger()
        return logger

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        from trackio.sqlite_storage import SQLiteStorage

        run_id = str(logger.run_id)
        points: dict[str, list[tuple[int, float]]] = {}
        media: dict[str, list[Any]] = {kind: [] for kind in ("image", "audio", "video")}
        texts, tables, histograms = [], [], []
        for row in _rows(run_id):
            step = row["step"]
            for key, value in row.items():
                if key in ("timestamp", "step"):
                    continue
                if not isinstance(value, dict):
                    points.setdefault(key, []).append((step, float(value)))
                    continue
                kind = value["_type"].removeprefix("trackio.")
                if kind in media:
                    content = Path(_home.name, "media", value["file_path"]).read_bytes()
                    stored = StoredImage if kind == "image" else StoredMedia
                    media[kind].append(stored(_several(key), step, content, value["caption"]))
                elif kind == "markdown":
                    texts.append((key, step, value["_value"]))
                elif kind == "table":
                    cells = value["_value"]
                    tables.append(StoredTable(key, step, list(cells[0]), [list(row.values()) for row in cells]))
                elif kind == "histogram":
                    histograms.append(StoredHistogram(key, step, value["bins"], value["values"]))
        artifacts, checkpoints = self._artifacts(run_id)
        config = SQLiteStorage.get_run_config("kit", run_id=run_id) or {}
        return ReadBack(
            points,
            {key: value for key, value in config.items() if not key.startswith("_")},
            media["image"],
            texts,
            tables,
            artifacts,
            histograms,
            media["audio"],
            media["video"],
            None,
            checkpoints,
        )

    def _artifacts(self, run_id: str) -> tuple[dict[str, bytes], list[StoredCheckpoint]]:
        from trackio import cas
        from trackio.sqlite_storage import SQLiteStorage

        files, checkpoints = {}, []
        for artifact in SQLiteStorage.list_artifacts("kit"):
            for version in sorted(artifact["versions"], key=lambda one: one["version"]):
                whole = SQLiteStorage.get_artifact_manifest("kit", artifact["name"], f"v{version['version']}")
                if whole["producer_run_id"] != run_id:
                    continue
                for entry in whole["manifest"]:
                    content = cas.blob_path("kit", entry["digest"]).read_bytes()
                    if artifact["type"] == "model":
                        checkpoints.append(StoredCheckpoint(content, whole["aliases"], whole["metadata"]["score"]))
                    else:
                        files[entry["path"]] = content
        return files, checkpoints


def _times(run_id: str) -> list[str]:
    with sqlite3.connect(Path(_home.name, "kit.db")) as database:
        found = database.execute("SELECT timestamp FROM metrics WHERE run_id = ? ORDER BY step", [run_id]).fetchall()
    return [time for (time,) in found]


def test_rows_have_the_time_at_which_they_were_logged(tmp_path: Path) -> None:
    logger = make_logger()
    logger.log_metrics({"loss": 1.0}, 0, 1.5e9)
    logger.shut("success")
    assert _times(logger.run_id) == ["2017-07-14T02:40:00+00:00"]


def test_what_is_delivered_again_is_not_kept_twice() -> None:
    """As after a crash between a delivery and the note that it was made."""
    logger = make_logger()
    logger.ensure_open()
    points = [MetricPoint({"loss": float(step)}, step, 1.5e9 + step) for step in range(5)]
    logger.log_metric_batch(points)
    logger.log_text("note", "words", 7)
    logger.shut("interrupted")
    again = make_logger()
    again.ensure_open(RunInfo(Path(), "kit", "version_0", resume_id=logger.run_id))
    again.log_metric_batch(points[3:])
    again.log_text("note", "words", 7)
    again.shut("success")
    rows = _rows(logger.run_id)
    assert [row["loss"] for row in rows if "loss" in row] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len([row for row in rows if "note" in row]) == 1


def test_hyperparameters_without_a_metric_are_kept() -> None:
    from trackio.sqlite_storage import SQLiteStorage

    logger = make_logger(name="only hyper-parameters")
    logger.log_hyperparams({"lr": 0.1, "_private": 1})
    logger.save()
    config = SQLiteStorage.get_run_config("kit", run_id=logger.run_id)
    assert config is not None
    assert (config["lr"], config["private"]) == (0.1, 1)
    logger.shut("success")


def test_a_continued_run_keeps_its_hyperparameters() -> None:
    from trackio.sqlite_storage import SQLiteStorage

    logger = make_logger()
    logger.log_hyperparams({"lr": 0.1})
    logger.shut("success")
    again = make_logger()
    again.ensure_open(RunInfo(Path(), "kit", "version_0", resume_id=logger.run_id))
    again.log_hyperparams({"depth": 3})
    again.shut("success")
    config = SQLiteStorage.get_run_config("kit", run_id=logger.run_id) or {}
    assert (config["lr"], config["depth"], again.version) == (0.1, 3, logger.version)


def test_keys_that_trackio_keeps_for_itself_get_another_name() -> None:
    logger = make_logger(prefix="p")
    logger.log_metrics({"time": 1.0}, step=0)
    logger.shut("success")
    assert _rows(logger.run_id)[0]["p-time"] == 1.0
    logger = make_logger()
    logger.log_metrics({"time": 1.0, "step": 3.0}, step=0)
    logger.shut("success")
    row = _rows(logger.run_id)[0]
    assert (row["__time"], row["__step"], row["step"]) == (1.0, 3.0, 0)


def test_a_run_of_the_user_is_used_and_left_open() -> None:
    import trackio

    run = trackio.init("kit", auto_log_cpu=False, embed=False)
    logger = make_logger(experiment=run)
    assert (logger.name, logger.version, logger.run_id) == ("kit", run.name, run.id)
    logger.log_metrics({"loss": 1.0}, step=0)
    assert logger.experiment is run
    logger.shut("success")
    run.log({"own": 2.0}, step=1)
    run.finish()
    assert [(row["step"], row.get("loss"), row.get("own")) for row in _rows(run.id)] == [(0, 1.0, None), (1, None, 2.0)]


def test_a_second_logger_does_not_end_the_run_of_the_first() -> None:
    first, second = make_logger(), make_logger()
    first_run, second_run = first.experiment, second.experiment
    first_run.log({"own": 1.0}, step=0)
    second_run.log({"own": 2.0}, step=0)
    for logger in (first, second):
        logger.shut("success")
    assert [row["own"] for logger in (first, second) for row in _rows(logger.run_id)] == [1.0, 2.0]


def test_on_a_network_disk_rows_go_to_trackios_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    from trackio import fragments

    monkeypatch.setenv("TRACKIO_STORAGE_MODE", "jsonl")
    logger = make_logger()
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"loss": 1.0}, step=3)
    logger.log_text("note", "words", 4)
    logger.shut("success")
    monkeypatch.delenv("TRACKIO_STORAGE_MODE")
    assert not _rows(logger.run_id)
    fragments.import_inbox_dir()
    assert [(row["step"], row.get("loss")) for row in _rows(logger.run_id)] == [(3, 1.0), (4, None)]


def test_an_argument_that_trackio_lacks_is_said_at_once() -> None:
    with pytest.raises(MisconfigurationException, match="no argument 'space'; did you mean 'space_id'"):
        make_logger(space="a")


def test_names(tmp_path: Path) -> None:
    logger = make_logger(name="chosen")
    assert (logger.name, logger.version, logger.run_id, logger.save_dir) == ("kit", "chosen", None, _home.name)
    assert logger.log_dir is None


_SERVER = """
import time, trackio
trackio.show(project="kit", open_browser=False, block_thread=False, share=False)
time.sleep(600)
"""


def test_a_server_of_ones_own_gets_everything(tmp_path: Path) -> None:
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path), "TRACKIO_WRITE_TOKEN": "secret"}
    command = [sys.executable, "-u", "-c", _SERVER]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            shown = next(found for line in server.stdout if (found := re.search(r"http://127.0.0.1:\d+", line)))
            logger = make_logger(server_url=f"{shown[0]}?write_token=secret")
            logger.log_hyperparams({"lr": 0.1})
            logger.log_metrics({"loss": 0.5}, step=2)
            logger.log_text("note", "words", 3)
            artifact = tmp_path / "a.txt"
            artifact.write_text("a file")
            logger.log_artifact(artifact)
            logger.shut("success")
        finally:
            server.kill()
    with sqlite3.connect(tmp_path / "kit.db") as database:
        rows = database.execute("SELECT step, metrics FROM metrics WHERE run_id = ?", [logger.run_id]).fetchall()
        (config,) = database.execute("SELECT config FROM configs").fetchone()
        (manifest,) = database.execute("SELECT manifest FROM artifact_versions").fetchone()
    assert [(step, json.loads(row)) for step, row in rows] == [
        (2, {"loss": 0.5}),
        (3, {"note": {"_type": "trackio.markdown", "_value": "words"}}),
    ]
    assert json.loads(config)["lr"] == 0.1
    assert json.loads(manifest)[0]["path"] == "a.txt"
