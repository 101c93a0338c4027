from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

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

pytestmark = pytest.mark.sdk("comet_ml")


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    monkeypatch.setenv("COMET_CONFIG", str(tmp_path / "no.config"))


def make_logger(folder: Path, **kwargs: Any) -> Any:
    from fulmen_loggers import CometLogger

    return CometLogger(
        save_dir=folder / "comet", online=False, display_summary_level=0, log_env_details=False, **kwargs
    )


def _messages(folder: Path, key: str) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Yield type, payload and file of each message in the archives of an experiment, oldest archive first."""
    archives = sorted((folder / "comet").glob(f"{key}*.zip"), key=lambda path: path.stat().st_mtime_ns)
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            for line in archive.read("messages.json").decode().splitlines():
                message = json.loads(line)
                payload = message["payload"]
                file = archive.read(payload["file_path"]) if payload.get("file_path") else b""
                yield message["type"], payload, file


class TestCometLoggerConforms(LoggerConformance):
    sdk_modules = ("comet_ml",)
    own_points: ClassVar = frozenset({"process duration"})

    def make(self, folder: Path) -> Logger:
        logger: Logger = make_logger(folder)
        return logger

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        points: dict[str, list[tuple[int, float]]] = {}
        back: dict[str, Any] = {
            name: [] for name in ("images", "texts", "tables", "histograms", "audios", "videos", "checkpoints")
        }
        hparams: dict[str, Any] = {}
        artifacts: dict[str, bytes] = {}
        graph = None
        for kind, payload, file in _messages(folder, str(logger.run_id)):
            if kind == "metric_msg":
                metric = payload["metric"]
                points.setdefault(metric["metricName"], []).append((metric["step"] or 0, float(metric["metricValue"])))
            elif kind == "parameter_msg":
                param = payload.get("param") or payload["params"]
                hparams[param["paramName"]] = param["paramValue"]
            elif kind == "graph":
                graph = StoredGraph(payload["graph"])
            elif kind == "file_upload":
                details, more = payload["additional_params"], payload["metadata"] or {}
                step, upload = details.get("step") or 0, payload["upload_type"]
                caption = more.get("caption")
                if upload == "visualization":
                    back["images"].append(StoredImage(details["figName"], step, file, caption))
                elif details.get("type") == "text-sample":
                    back["texts"].append((more["key"], step, file.decode()))
                elif upload == "histogram3d":
                    shown = StoredHistogram(details["fileName"], step, more["edges"], more["counts"])
                    back["histograms"].append(shown)
                elif upload in ("audio", "video"):
                    back[f"{upload}s"].append(StoredMedia(more["key"], step, file, caption))
                elif upload == "model-element":
                    back["checkpoints"].append(StoredCheckpoint(file, more["aliases"], more["score"]))
                elif details["fileName"].endswith(".csv"):
                    columns, *rows = csv.reader(io.StringIO(file.decode()))
                    back["tables"].append(StoredTable(more["key"], step, columns, rows))
                else:
                    artifacts[details["fileName"]] = file
        return ReadBack(points, hparams, artifacts=artifacts, graph=graph, **back)


def test_without_a_key_it_is_offline(tmp_path: Path) -> None:
    from fulmen_loggers import CometLogger

    logger = CometLogger(save_dir=tmp_path / "comet", project="digits", display_summary_level=0, log_env_details=False)
    assert (logger.name, logger.version, logger.save_dir) == ("digits", None, str(tmp_path / "comet"))
    logger.log_metrics({"loss": 1.0, "epoch": 2}, step=3)
    logger.shut("success")
    assert len(str(logger.version)) == 32
    messages = _messages(tmp_path, str(logger.version))
    metrics = [payload["metric"] for kind, payload, _ in messages if kind == "metric_msg"]
    stored = [(one["metricName"], one["step"], one["epoch"]) for one in metrics if one["metricName"] == "loss"]
    assert stored == [("loss", 3, 2)]


def test_old_names_of_arguments(tmp_path: Path) -> None:
    from fulmen_loggers import CometLogger

    logger = CometLogger(project_name="digits", experiment_name="a", offline=True, offline_directory=tmp_path)
    assert (logger.name, logger.save_dir) == ("digits", str(tmp_path))


def test_an_argument_that_comet_lacks_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="no argument 'tagz'; did you mean 'tags'"):
        make_logger(tmp_path, tagz=["a"])


def test_a_prefix_is_put_before_metrics(tmp_path: Path) -> None:
    logger = make_logger(tmp_path, prefix="p")
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    messages = _messages(tmp_path, logger.run_id)
    names = [payload["metric"]["metricName"] for kind, payload, _ in messages if kind == "metric_msg"]
    assert "p_loss" in names
