"""MLFlowLogger: runs on an MLflow server or in a local database."""

from __future__ import annotations

import logging
import os
import posixpath
import re
import shutil
import tempfile
import time
import zlib
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags

from fulmen.audio import Audio
from fulmen.logger import Logger, MetricPoint, RunInfo, SavedCheckpoint
from fulmen.media import Image, Table
from fulmen.video import Video
from fulmen_loggers.values import flatten, plain_params, scalars, with_prefix

_log = logging.getLogger(__name__)

_STATUSES = {"success": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}

# What one call may carry, by MLflow's own rules.
_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
_KEY_CHARACTERS = 250
_VALUE_CHARACTERS = 6000

_RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class MLFlowLogger(Logger):
    """Logs to MLflow, on a server or in a local database.

    It has a client of its own: ``mlflow.active_run()`` and the like are neither used nor changed. Without a
    server, the run goes into the database ``save_dir/mlflow.db``, with its files below
    ``save_dir/mlartifacts``; ``mlflow ui --backend-store-uri sqlite:///mlflow.db`` shows it.

    MLflow takes no characters but letters, digits, ``_ - . / :`` and spaces in a key: others become ``_``. It
    keeps no infinity in a database (it becomes the largest float), and no change of a hyper-parameter: a
    changed value is kept as the tag ``param/KEY``. Pictures, texts and tables are files of the run:
    ``KEY/step_N_I.png`` (caption: ``KEY/step_N_I.txt``), ``KEY/step_N.txt``, ``KEY/step_N.json``.

    With a server, opening sets the environment variable ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` to 2 unless it is
    set: MLflow's own 7 make a call to a dead server last four minutes, and delivery is tried again anyway.
    MLflow has no narrower place for it, so calls of your own in this process then try 2 times as well.

    Args:
        experiment_name: the experiment; made where it does not exist.
        run_name: the run's name; MLflow invents one otherwise.
        tracking_uri: a server or database; ``MLFLOW_TRACKING_URI``, or the local database, by default.
        tags: tags of the run.
        save_dir: the folder of the local database; ``None`` for the working directory.
        log_model: upload what ``ModelCheckpoint`` keeps at the end (``True``), or all that it writes (``"all"``), each
            into a folder of its name with ``metadata.yaml`` and ``aliases.txt``.
        prefix: put before each key, with a ``-``.
        artifact_location: where the files of a new experiment go; the server's choice by default.
        run_id: a run to continue.
        synchronous: accepted for programs that have it; training never waits for MLflow, and no point is left
            to MLflow's own queue, which loses them when the process ends.
    """

    interface = (1, 0)

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        log_model: bool | Literal["all"] = False,
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
    ) -> None:
        self.log_model = log_model
        self._experiment_name = experiment_name
        self._run_name = run_name
        self._tags = dict(tags or {})
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._prefix = prefix
        self._artifact_location = artifact_location
        self._tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
        self._is_local = not self._tracking_uri
        if self._is_local:
            self._save_dir = os.path.abspath(self._save_dir or ".")
            self._tracking_uri = f"sqlite:///{Path(self._save_dir, 'mlflow.db').as_posix()}"
            self._artifact_location = artifact_location or Path(self._save_dir, "mlartifacts").as_uri()
        self._client: MlflowClient | None = None
        self._experiment_id: str | None = None
        self._run_id = run_id
        self._params: dict[str, str] = {}  # what the run has, and will keep
        self._changed_params: set[str] = set()
        self._is_running = False

    def open(self, run: RunInfo) -> None:
        if self._tracking_uri.startswith("http"):
            os.environ.setdefault(_RETRIES_VARIABLE, "2")
        if self._is_local and self._save_dir is not None:
            os.makedirs(self._save_dir, exist_ok=True)
        client = MlflowClient(self._tracking_uri)
        self._run_id = self._run_id or run.resume_id
        if self._run_id is None:
            self._experiment_id = self._find_or_make_experiment(client)
            tags = {key: str(value) for key, value in resolve_tags(self._tags).items()}
            made = client.create_run(self._experiment_id, tags=tags, run_name=self._run_name)
            self._run_id = made.info.run_id
            self._is_running = True
        else:
            found = client.get_run(self._run_id)
            self._experiment_id = found.info.experiment_id
            self._experiment_name = client.get_experiment(self._experiment_id).name
            self._params = dict(found.data.params)
            self._is_running = False
        self._client = client

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, time_s: float | None = None) -> None:
        values = scalars(metrics, "")
        self.log_metric_batch([MetricPoint(values, step, time.time() if time_s is None else time_s)])

    def log_metric_batch(self, points: Sequence[MetricPoint]) -> None:
        # A database drops what it has already, down to the millisecond: a batch may be delivered a second
        # time.
        metrics = [
            Metric(self._key(key), value, round(point.time_s * 1000), point.step or 0)
            for point in points
            for key, value in point.metrics.items()
        ]
        client = self._running_client()
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            with _refusals():
                client.log_batch(self._run, metrics=metrics[start : start + _METRICS_PER_CALL], synchronous=True)

    def tell_points(self, points: Sequence[tuple[str, int | None]]) -> Iterable[tuple[str, int | None]]:
        """Return those of these points, each a key and a step, that the run has."""
        client = self._running_client()
        steps = {
            key: {metric.step for metric in client.get_metric_history(self._run, self._key(key))}
            for key in {key for key, _ in points}
        }
        return [(key, step) for key, step in points if (step or 0) in steps[key]]

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        client = self._running_client()
        values = {_legal(key): _cut(str(value)) for key, value in flatten(plain_params(params)).items()}
        new = [Param(key, value) for key, value in values.items() if key not in self._params]
        for start in range(0, len(new), _PARAMS_PER_CALL):
            with _refusals():
                client.log_batch(self._run, params=new[start : start + _PARAMS_PER_CALL], synchronous=True)
        self._params.update({param.key: param.value for param in new})
        for key, value in values.items():
            if self._params[key] != value:
                with _refusals():
                    client.set_tag(self._run, _legal(f"param/{key}"), value)
                if key not in self._changed_params:
                    self._changed_params.add(key)
                    _log.warning(
                        "MLflow keeps the first value of a parameter: %r stays %r, and the new %r is the tag %r",
                        key,
                        self._params[key],
                        value,
                        f"param/{key}",
                    )

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        # `MlflowClient.log_image` names its files by chance, so a second attempt would show the pictures
        # twice.
        with self._files(posixpath.dirname(f"{self._key(key)}/")) as folder:
            for index, image in enumerate(images):
                picture = Image.of(image)
                stem = f"step_{step or 0}_{index}"
                (folder / f"{stem}.png").write_bytes(picture.png)
                if picture.caption:
                    (folder / f"{stem}.txt").write_text(picture.caption, encoding="utf-8")

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self._running_client().log_text(self._run, text, f"{self._key(key)}/step_{step or 0}.txt")

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        # The layout of `MlflowClient.log_table`, which needs pandas, and adds the rows once more at a second
        # attempt.
        table = Table.of(columns, data)
        content = {"columns": list(table.columns), "data": [list(row) for row in table.rows]}
        self._running_client().log_dict(self._run, content, f"{self._key(key)}/step_{step or 0}.json")

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None) -> None:
        self._log_clips(key, [Audio.of(audio) for audio in audios], step)

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None) -> None:
        self._log_clips(key, [Video.of(video) for video in videos], step)

    def _log_clips(self, key: str, clips: Sequence[Audio | Video], step: int | None) -> None:
        with self._files(posixpath.dirname(f"{self._key(key)}/")) as folder:
            for index, clip in enumerate(clips):
                stem = f"step_{step or 0}_{index}"
                (folder / f"{stem}.{clip.format}").write_bytes(clip.data)
                if clip.caption:
                    (folder / f"{stem}.txt").write_text(clip.caption, encoding="utf-8")

    def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        import yaml

        # The layout that programs of this field know.
        with self._files(Path(checkpoint.name).stem) as folder:
            (folder / "metadata.yaml").write_text(yaml.safe_dump(checkpoint.metadata), encoding="utf-8")
            (folder / "aliases.txt").write_text(str(list(checkpoint.aliases)), encoding="utf-8")
            target = folder / checkpoint.name
            if checkpoint.path.is_dir():
                shutil.copytree(checkpoint.path, target)
            else:
                try:
                    os.link(checkpoint.path, target)
                except OSError:  # another disk
                    shutil.copyfile(checkpoint.path, target)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        name = name or Path(path).name
        with self._files(posixpath.dirname(name)) as folder:
            shutil.copyfile(path, folder / posixpath.basename(name))

    def finalize(self, status: str) -> None:
        if self._client is not None and self._is_running:
            self._client.set_terminated(self._run, _STATUSES[status])
            self._is_running = False

    def close(self, status: str) -> None:
        self.finalize(status)
        self._client = None

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self._experiment_name

    @property
    def version(self) -> str | None:
        """The run's id; ``None`` before it is open, unless it was chosen."""
        return self._run_id

    @property
    def run_id(self) -> str | None:
        """The run's id; ``None`` before it is open, unless it was chosen."""
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id; ``None`` before the run is open."""
        return self._experiment_id

    @property
    def save_dir(self) -> str | None:
        """The folder of the local database, if there is one."""
        return self._save_dir

    @property
    def experiment(self) -> MlflowClient:
        """The ``MlflowClient``; its methods want ``logger.run_id``."""
        self.ensure_open()
        return self._open_client

    @property
    def _open_client(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError("MLFlowLogger is closed; use `logger.experiment`, which opens it")
        return self._client

    @property
    def _run(self) -> str:
        return str(self._run_id)

    def _running_client(self) -> MlflowClient:
        """Return the client; a run that was ended is running again."""
        client = self._open_client
        if not self._is_running:
            client.update_run(self._run, status="RUNNING")
            self._is_running = True
        return client

    def _find_or_make_experiment(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self._experiment_name)
        if found is None:
            try:
                return str(client.create_experiment(self._experiment_name, self._artifact_location))
            except MlflowException:
                found = client.get_experiment_by_name(self._experiment_name)
                if found is None:
                    raise  # else another process made it in the meantime
        return str(found.experiment_id)

    @contextmanager
    def _files(self, artifact_path: str) -> Iterator[Path]:
        """Give a folder, and upload all that is put into it."""
        client = self._running_client()
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            client.log_artifacts(self._run, folder, artifact_path or None)

    def _key(self, key: str) -> str:
        return _legal(with_prefix(self._prefix, key))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_client": None}


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn an answer that will always be the same into a ``ValueError``, which core does not try again."""
    try:
        yield
    except MlflowException as error:
        # 401, 403, 408 and 429 may pass: a new token, a pause.
        if error.get_http_status_code() in (400, 404, 413, 422):
            raise ValueError(f"MLflow does not take it: {error.message}") from error
        raise


def _legal(key: str) -> str:
    """Return a key that MLflow takes: no other characters, no path that leads elsewhere, not too long."""
    legal = re.sub(r"[^/\w.\- :]", "_", key)
    legal = "/".join("_" if part in ("", ".", "..") else part for part in legal.split("/"))
    if len(legal) <= _KEY_CHARACTERS:
        return legal
    return f"{legal[: _KEY_CHARACTERS - 9]}-{zlib.crc32(key.encode()):08x}"


def _cut(value: str) -> str:
    """Return a value that MLflow takes, and say in it what is missing."""
    if len(value) <= _VALUE_CHARACTERS:
        return value
    note = f"... [cut: {len(value)} characters]"
    return value[: _VALUE_CHARACTERS - len(note)] + note
