from __future__ import annotations

import ast
import json
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from fulmen.logger import Logger, MetricPoint, RunInfo
from fulmen.testing import LoggerConformance, ReadBack
from fulmen.testing.logger_conformance import (
    StoredCheckpoint,
    StoredImage,
    StoredMedia,
    StoredTable,
)

pytestmark = [
    pytest.mark.sdk("mlflow"),
    # MLflow's own database models, on SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one database for all tests: making one costs seconds, and each test has its own run."""
    return tmp_path_factory.mktemp("mlflow")


def make_logger(store: Path, **kwargs: Any) -> Any:
    from fulmen_loggers import MLFlowLogger

    return MLFlowLogger(save_dir=store, **kwargs)


def _client(store: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{store}/mlflow.db")


def _series(store: Path, run_id: str) -> dict[str, list[tuple[int, float]]]:
    client = _client(store)
    return {
        key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
        for key in client.get_run(run_id).data.metrics
    }


def _files(store: Path, run_id: str) -> dict[str, bytes]:
    """Return all files of a run by their path, through MLflow's own download."""
    client = _client(store)
    if not client.list_artifacts(run_id):
        return {}
    folder = Path(client.download_artifacts(run_id, ""))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


class TestMLFlowLoggerConforms(LoggerConformance):
    sdk_modules = ("mlflow",)
    expected_failures: ClassVar = {"test_infinities_are_kept": "MLflow's databases keep the largest float instead"}

    @pytest.fixture(autouse=True)
    def _share_the_store(self, store: Path) -> None:
        self.store = store

    def make(self, folder: Path) -> Logger:
        logger: Logger = make_logger(self.store)
        return logger

    def stored_key(self, key: str) -> str:
        return {'odd @ (50%), "q"': "odd _ _50___ _q_"}.get(key, key)

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        run_id = str(logger.run_id)
        images, texts, tables, audios, videos, checkpoints = [], [], [], [], [], []
        artifacts = {}
        files = _files(self.store, run_id)
        for name, content in files.items():
            key, _, file = name.rpartition("/")
            if not file.startswith("step_"):
                if f"{key}/aliases.txt" not in files:
                    artifacts[name] = content
                elif file.endswith(".ckpt"):
                    metadata = yaml.safe_load(files[f"{key}/metadata.yaml"])
                    aliases = ast.literal_eval(files[f"{key}/aliases.txt"].decode())
                    checkpoints.append(StoredCheckpoint(content, aliases, metadata["score"]))
                continue
            step = int(file.split(".")[0].split("_")[1])
            if file.endswith(".png"):
                caption = files.get(name.removesuffix("png") + "txt", b"").decode("utf-8")
                images.append(StoredImage(key, step, content, caption))
            elif file.endswith(".json"):
                table = json.loads(content)
                tables.append(StoredTable(key, step, table["columns"], table["data"]))
            elif file.endswith((".wav", ".gif")):
                caption = files.get(f"{name[:-3]}txt", b"").decode("utf-8") or None
                (audios if file.endswith(".wav") else videos).append(StoredMedia(key, step, content, caption))
            elif not any(f"{name[:-3]}{suffix}" in files for suffix in ("png", "wav", "gif")):
                texts.append((key, step, content.decode("utf-8")))
        tables.sort(key=lambda table: table.step)
        params = _client(self.store).get_run(run_id).data.params
        return ReadBack(
            _series(self.store, run_id),
            params,
            images,
            texts,
            tables,
            artifacts,
            audios=audios,
            videos=videos,
            checkpoints=checkpoints,
        )


@pytest.mark.parametrize(
    ("status", "shown"), [("success", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")]
)
def test_mlflow_is_told_how_it_ended(store: Path, status: str, shown: str) -> None:
    logger = make_logger(store)
    statuses = []

    def note() -> None:
        statuses.append(_client(store).get_run(logger.run_id).info.status)

    logger.log_metrics({"loss": 1.0}, step=0)
    note()
    logger.finalize(status)
    note()
    logger.log_metrics({"test_loss": 1.0}, step=1)
    note()
    logger.finalize("success")
    logger.shut("failed")
    note()
    assert statuses == ["RUNNING", shown, "RUNNING", "FINISHED"]


def test_replaying_a_batch_adds_nothing(store: Path) -> None:
    logger = make_logger(store)
    logger.ensure_open()
    points = [MetricPoint({"loss": float(n)}, n, 1.75e9 + n / 8) for n in range(1500)]
    logger.log_metric_batch(points)
    logger.log_metric_batch(points)
    logger.shut("success")
    history = _client(store).get_metric_history(logger.run_id, "loss")
    assert sorted((point.step, point.timestamp) for point in history) == [
        (n, 1_750_000_000_000 + n * 125) for n in range(1500)
    ]


def test_a_changed_parameter_is_a_tag_and_said_once(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = make_logger(store)
    with caplog.at_level(logging.WARNING, "fulmen_loggers.mlflow"):
        for depth in (1, 2, 3, 3):
            logger.log_hyperparams({"net": {"depth": depth}, "lr": 0.1})
    logger.shut("success")
    data = _client(store).get_run(logger.run_id).data
    assert data.params == {"net/depth": "1", "lr": "0.1"}
    assert data.tags["param/net/depth"] == "3"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "'net/depth' stays '1'" in said[0]


def test_parameters_of_a_continued_run_are_known(store: Path) -> None:
    first = make_logger(store)
    first.log_hyperparams({"depth": 1})
    first.shut("success")
    second = make_logger(store, run_id=first.run_id)
    second.log_hyperparams({"depth": 2})
    second.shut("success")
    data = _client(store).get_run(first.run_id).data
    assert (data.params["depth"], data.tags["param/depth"]) == ("1", "2")


def test_many_and_long_parameters(store: Path) -> None:
    logger = make_logger(store)
    logger.log_hyperparams({f"p{n}": n for n in range(250)} | {"long": "x" * 7000, "k" * 300: 1})
    logger.shut("success")
    params = _client(store).get_run(logger.run_id).data.params
    assert [params[f"p{n}"] for n in range(250)] == [str(n) for n in range(250)]
    assert len(params["long"]) == 6000
    assert params["long"].endswith("x... [cut: 7000 characters]")
    assert [key[:240] for key in params if key.startswith("kkk")] == ["k" * 240]


@pytest.mark.parametrize("key", ["../up", "/root", "a//b", "a/./b"])
def test_no_key_leads_out_of_the_run(store: Path, key: str) -> None:
    logger = make_logger(store)
    logger.log_metrics({key: 1.0}, step=0)
    logger.log_text(key, "words", step=1)
    logger.shut("success")
    legal = {"../up": "_/up", "/root": "_/root", "a//b": "a/_/b", "a/./b": "a/_/b"}[key]
    assert _series(store, logger.run_id) == {legal: [(0, 1.0)]}
    assert _files(store, logger.run_id) == {f"{legal}/step_1.txt": b"words"}


def test_names_and_tags(store: Path) -> None:
    logger = make_logger(store, experiment_name="mine", run_name="pretty", tags={"team": 7}, prefix="p")
    assert (logger.name, logger.run_id, logger.experiment_id) == ("mine", None, None)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    client = _client(store)
    run = client.get_run(logger.run_id)
    assert client.get_experiment(logger.experiment_id).name == "mine"
    assert (run.info.run_name, run.info.experiment_id) == ("pretty", logger.experiment_id)
    assert run.data.tags["team"] == "7"
    assert run.data.metrics == {"p-loss": 1.0}
    assert logger.save_dir == str(store)
    assert run.info.artifact_uri.startswith((store / "mlartifacts").as_uri())


def test_the_experiment_of_a_continued_run_is_its_own(store: Path) -> None:
    first = make_logger(store, experiment_name="own")
    first.ensure_open()
    first.shut("success")
    second = make_logger(store)
    second.ensure_open(RunInfo(folder=store, name="x", version="y", resume_id=first.run_id))
    second.shut("success")
    assert (second.name, second.experiment_id) == ("own", first.experiment_id)


def test_the_fluent_state_is_neither_used_nor_changed(store: Path, tmp_path: Path) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    logger = make_logger(store)
    logger.log_metrics({"loss": 1.0}, step=0)
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before
    logger.shut("success")


def test_the_environment_chooses_the_server(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
    logger = make_logger(tmp_path, artifact_location=(tmp_path / "files").as_uri())
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    assert _series(store, logger.run_id) == {"loss": [(0, 1.0)]}
    assert not (tmp_path / "mlflow.db").exists()


def test_what_mlflow_never_takes_is_a_value_error(store: Path) -> None:
    logger = make_logger(store)
    logger.log_metrics({"loss": 1.0}, step=0)
    _client(store).delete_run(logger.run_id)
    with pytest.raises(ValueError, match="MLflow does not take it"):
        logger.log_metrics({"loss": 1.0}, step=1)


@pytest.fixture
def closed_port() -> Iterator[int]:
    import socket

    with socket.socket() as reserved:  # bound, but it does not listen
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.mark.parametrize(("chosen", "expected"), [(None, "2"), ("0", "0")])
def test_a_dead_server_is_an_error_soon(
    closed_port: int, monkeypatch: pytest.MonkeyPatch, chosen: str | None, expected: str
) -> None:
    from mlflow.exceptions import MlflowException

    from fulmen_loggers import MLFlowLogger

    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    monkeypatch.setenv(name, "0")  # so that it is put back
    if chosen is None:
        monkeypatch.delenv(name)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    logger = MLFlowLogger(tracking_uri=f"http://127.0.0.1:{closed_port}")
    assert os.environ.get(name) == chosen
    with pytest.raises(MlflowException, match="Max retries exceeded"):
        logger.log_metrics({"loss": 1.0}, step=0)
    assert os.environ[name] == expected
    logger.shut("failed")


def test_two_processes_may_make_one_experiment(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    name = f"raced-{uuid.uuid4().hex}"
    find = MlflowClient.get_experiment_by_name
    made: list[str] = []

    def find_then_be_overtaken(client: Any, wanted: str) -> Any:
        found = find(client, wanted)
        if not made:
            made.append(client.create_experiment(wanted))
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", find_then_be_overtaken)
    logger = make_logger(store, experiment_name=name)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    assert [logger.experiment_id] == made
