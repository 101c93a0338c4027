"""TrackioLogger: runs in Trackio's own database on this machine, on a Trackio server or in a Hugging Face Space."""

from __future__ import annotations

import contextvars
import hashlib
import inspect
import json
import os
import re
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import trackio
from trackio.sqlite_storage import SQLiteStorage
from trackio.utils import RESERVED_KEYS, TRACKIO_DIR, get_storage_mode

from fulmen.audio import Audio
from fulmen.errors import MisconfigurationException, nearest
from fulmen.histogram import Histogram
from fulmen.logger import Logger, MetricPoint, RunInfo, SavedCheckpoint
from fulmen.media import Image, Table
from fulmen.video import Video
from fulmen_loggers.values import plain_params, scalars, with_prefix

_OPTIONS = frozenset(inspect.signature(trackio.init).parameters) - {"project", "name", "config", "resume"}


class TrackioLogger(Logger):
    """Logs to Trackio: into its database on this machine, unless a Space or a server is named.

    ``trackio show --project PROJECT`` shows it. The database lies where Trackio keeps it for all programs; the
    environment variable ``TRACKIO_DIR``, set before Python starts, moves it.

    On this machine, rows are written at once and with the time at which they were logged, a thousand at a time; a row
    that is delivered a second time is not kept twice. A Space or server gets them through Trackio's own queue.

    Trackio keeps the keys ``project``, ``run``, ``timestamp``, ``step``, ``time`` and ``metrics`` for itself: such a
    metric is called ``__time``. Several pictures of one key are ``KEY/0``, ``KEY/1``, ...; texts are Markdown. A file
    is an artifact ``RUN-NAME``, a checkpoint a version of the artifact ``model-RUN``.

    Args:
        project: the project.
        name: the run's name; Trackio invents one otherwise.
        prefix: put before each key, with a ``-``.
        log_model: upload what ``ModelCheckpoint`` keeps at the end (``True``), or all that it writes (``"all"``).
        checkpoint_name: the name of the checkpoints' artifact.
        experiment: a run of yours to log into, which is left open.
        kwargs: for ``trackio.init``, such as ``space_id``, ``server_url``, ``group`` or ``auto_log_gpu``.

    Raises:
        MisconfigurationException: ``trackio.init`` has no such argument.
    """

    interface = (1, 0)

    def __init__(
        self,
        project: str = "lightning_logs",
        name: str | None = None,
        *,
        prefix: str = "",
        log_model: bool | Literal["all"] = False,
        checkpoint_name: str | None = None,
        experiment: Any = None,
        **kwargs: Any,
    ) -> None:
        for unknown in kwargs.keys() - _OPTIONS:
            raise MisconfigurationException(
                f"TrackioLogger has no argument {unknown!r}{nearest(unknown, _OPTIONS)}; see `trackio.init`"
            )
        self.log_model = log_model
        self._project = project if experiment is None else str(experiment.project)
        self._run_name = name if experiment is None else str(experiment.name)
        self._id: str | None = None if experiment is None else str(experiment.id)
        self._prefix = prefix
        self._checkpoint_name = checkpoint_name
        self._options = {"embed": False, **kwargs}
        self._run: Any = experiment
        self._is_own = experiment is None
        self._config: dict[str, Any] = {}
        self._is_config_due = False

    def open(self, run: RunInfo) -> None:
        self._id = self._id or run.resume_id
        if self._run is None:
            # In a context of its own: `trackio.init` would end the run that another logger of this thread has begun.
            self._run = contextvars.Context().run(self._begin)
        self._id = str(self._run.id)
        self._run_name = str(self._run.name)
        # On a network disk Trackio writes fragments in place of its database, and a remote run has none here.
        self._is_direct = bool(self._run._is_local) and get_storage_mode() == "sqlite"
        self._config = dict(self._run.config)
        if self._is_direct:
            self._config |= SQLiteStorage.get_run_config(self._project, self._run_name, run_id=self._id) or {}

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, time_s: float | None = None) -> None:
        values = scalars(metrics, "")
        self.log_metric_batch([MetricPoint(values, step, time.time() if time_s is None else time_s)])

    def log_metric_batch(self, points: Sequence[MetricPoint]) -> None:
        rows = [{self._key(key): value for key, value in point.metrics.items()} for point in points]
        self._write(rows, [point.step for point in points], [point.time_s for point in points])

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        # A name that begins with an underscore is Trackio's own.
        self._config.update({key.lstrip("_") or "_": value for key, value in plain_params(params).items()})
        self._is_config_due = True

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        pictures = [Image.of(image) for image in images]
        files = [(picture.png, "png", picture.caption) for picture in pictures]
        self._write_media(key, trackio.Image, files, step)

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None) -> None:
        sounds = [Audio.of(audio) for audio in audios]
        self._write_media(key, trackio.Audio, [(sound.data, sound.format, sound.caption) for sound in sounds], step)

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None) -> None:
        clips = [Video.of(video) for video in videos]
        self._write_media(key, trackio.Video, [(clip.data, clip.format, clip.caption) for clip in clips], step)

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self._write_value(key, trackio.Markdown(text), step)

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        table = Table.of(columns, data)
        rows = [list(row) for row in table.rows]
        self._write_value(key, trackio.Table(columns=list(table.columns), data=rows), step)

    def log_histogram(self, key: str, values: Any, step: int | None = None) -> None:
        histogram = Histogram.of(values)
        self._write_value(key, trackio.Histogram(np_histogram=(histogram.counts, histogram.edges)), step)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        name = name or Path(path).name
        artifact = trackio.Artifact(_legal(f"{self._run_name}-{name}"), type="file")
        artifact.add_file(os.fspath(path), name=name)
        self._open_run.log_artifact(artifact)

    def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        name = self._checkpoint_name or f"model-{self._run_name}"
        artifact = trackio.Artifact(_legal(name), type="model", metadata=checkpoint.metadata)
        if checkpoint.path.is_dir():
            artifact.add_dir(checkpoint.path, name="model.ckpt")
        else:
            artifact.add_file(checkpoint.path, name="model.ckpt")
        # `latest` is Trackio's own: it follows the newest version.
        aliases = [alias for alias in checkpoint.aliases if alias != "latest"]
        self._open_run.log_artifact(artifact, aliases=aliases)

    def save(self) -> None:
        if self._run is not None and self._is_config_due:
            self._write([{}], [0], [0.0])  # no metric came that could take the hyper-parameters along

    def close(self, status: str) -> None:
        self.save()
        run, self._run = self._run, (None if self._is_own else self._run)
        if run is not None and self._is_own:
            run.finish()

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str | None:
        """The run's name; ``None`` before it is open, unless it was chosen."""
        return self._run_name

    @property
    def run_id(self) -> str | None:
        """The run's id; ``None`` before it is open."""
        return self._id

    @property
    def save_dir(self) -> str:
        """The folder of Trackio's databases."""
        return str(TRACKIO_DIR)

    @property
    def experiment(self) -> Any:
        """Trackio's ``Run``."""
        self.ensure_open()
        return self._open_run

    @property
    def _open_run(self) -> Any:
        if self._run is None:
            raise RuntimeError("TrackioLogger is closed; use `logger.experiment`, which opens it")
        return self._run

    def _begin(self) -> Any:
        """Begin a run, or continue the one that this logger, or an earlier process, has begun."""
        if self._id is None:
            return trackio.init(self._project, self._run_name, **self._options)
        known = {record["id"]: record["name"] for record in SQLiteStorage.get_run_records(self._project)}
        self._run_name = known.get(self._id, self._run_name)
        run = trackio.init(self._project, self._run_name, resume="allow", **self._options)
        run.id = self._id  # of several runs with this name, the one
        return run

    def _write_media(self, key: str, kind: type, files: Sequence[tuple[bytes, str, str | None]], step: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for index, (data, suffix, caption) in enumerate(files):
                path = Path(folder, f"{index}.{suffix}")
                path.write_bytes(data)
                name = key if len(files) == 1 else f"{key}/{index}"
                self._write_value(name, kind(path, caption=caption), step, data)

    def _write_value(self, key: str, value: Any, step: int | None, content: bytes | None = None) -> None:
        run = self._open_run
        if not self._is_direct:
            run.log({self._key(key): value}, step=step)
            return
        if content is not None:
            value._save(run.project, run.name, step or 0)
        place = (run.project, run.name) if isinstance(value, trackio.Table) else ()
        stored = value._to_dict(*place)
        # The file's name is drawn by chance; its content tells whether it came before.
        identity = hashlib.sha256(content).hexdigest() if content is not None else None
        self._write([{self._key(key): stored}], [step], [time.time()], identity or json.dumps(stored))

    def _write(
        self,
        rows: Sequence[dict[str, Any]],
        steps: Sequence[Any],
        times_s: Sequence[float],
        identity: str | None = None,
    ) -> None:
        """Write rows with their steps and times; rows that are known, by ``identity`` or their time, are left out."""
        run = self._open_run
        if not self._is_direct:
            run.config = {**run.config, **self._config}
            if self._is_config_due:
                run._config_logged = False
            for row, step in zip(rows, steps, strict=True):
                run.log(row, step=step)
        else:
            whole = zip(rows, steps, times_s, strict=True)
            ids = [
                hashlib.sha256(
                    json.dumps([run.id, step, *([list(row), identity] if identity else [row, time_s])]).encode()
                ).hexdigest()
                for row, step, time_s in whole
            ]
            SQLiteStorage.bulk_log(
                project=run.project,
                run=run.name,
                run_id=run.id,
                metrics_list=list(rows),
                steps=list(steps),  # None is the step after the last
                timestamps=[datetime.fromtimestamp(time_s, timezone.utc).isoformat() for time_s in times_s],
                config=self._config if self._is_config_due else None,
                log_ids=ids,
            )
        self._is_config_due = False

    def _key(self, key: str) -> str:
        key = with_prefix(self._prefix, key)
        return f"__{key}" if key in RESERVED_KEYS or key.startswith("__") else key

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_run": None, "_is_own": True}


def _legal(name: str) -> str:
    """Return a name that Trackio takes for an artifact."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)
