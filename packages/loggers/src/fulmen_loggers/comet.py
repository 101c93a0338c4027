"""CometLogger: experiments at Comet, online or in offline archives."""

from __future__ import annotations

import csv
import inspect
import io
import os
import secrets
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

# Read when comet_ml is imported: without it Comet patches torch, and warns that it came too late for that.
os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")

import comet_ml
from comet_ml.config import get_config, set_global_experiment
from comet_ml.data_structure import Histogram as CometHistogram

from fulmen.audio import Audio
from fulmen.errors import MisconfigurationException, nearest
from fulmen.graph import Graph
from fulmen.histogram import Histogram
from fulmen.logger import Logger, RunInfo, SavedCheckpoint
from fulmen.media import Image, Table
from fulmen.video import Video
from fulmen_loggers.values import flatten, plain_params, scalars

_OPTIONS = frozenset(inspect.signature(comet_ml.ExperimentConfig).parameters) - {"disabled", "offline_directory"}

#: What Comet would do by itself from our thread, where it finds neither the user's program nor its output.
_QUIET = {"auto_output_logging": False, "log_code": False, "parse_args": False, "auto_log_co2": False}

#: Old names of arguments that programs still use.
_OLD_NAMES = {"project_name": "project", "experiment_name": "name", "offline_directory": "save_dir"}


class CometLogger(Logger):
    """Logs to Comet; without an API key into an archive on this machine, which ``comet upload`` carries to Comet.

    An archive is written when the experiment ends: of a killed process Comet has nothing, and
    ``fulmen sync RUN --to comet`` writes it anew from the run's journal. An experiment that is continued offline has
    one archive more.

    A picture's caption, and the exact edges and counts of a histogram (Comet has bins of its own), are the metadata of
    the asset. Tables are CSV assets ``KEY/step_N.csv``.

    Args:
        api_key: Comet's key; ``COMET_API_KEY`` or Comet's own configuration by default.
        workspace: the workspace.
        project: the project.
        experiment_key: the experiment's key, 32 to 50 letters and digits; one that exists is continued.
        mode: ``"get_or_create"``, ``"get"`` or ``"create"``; for ``comet_ml.start``.
        online: log to Comet's server, or not; by default where there is a key.
        prefix: put before the name of each metric, with a ``_``.
        log_model: upload what ``ModelCheckpoint`` keeps at the end (``True``), or all that it writes (``"all"``).
        save_dir: the folder of the archives; ``None`` for ``.cometml-runs`` in the working directory.
        kwargs: for ``comet_ml.ExperimentConfig``, such as ``name``, ``tags`` or ``log_code``.

    Raises:
        MisconfigurationException: ``comet_ml.ExperimentConfig`` has no such argument.
    """

    interface = (1, 0)
    wants_graph = True

    def __init__(
        self,
        *,
        api_key: str | None = None,
        workspace: str | None = None,
        project: str | None = None,
        experiment_key: str | None = None,
        mode: Literal["get_or_create", "get", "create"] | None = None,
        online: bool | None = None,
        prefix: str | None = None,
        log_model: bool | Literal["all"] = False,
        save_dir: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        old = {new: kwargs.pop(name) for name, new in _OLD_NAMES.items() if name in kwargs}
        if "offline" in kwargs:
            online = not kwargs.pop("offline")
        project, save_dir = project or old.get("project"), save_dir or old.get("save_dir")
        if "name" in old:
            kwargs.setdefault("name", old["name"])
        for unknown in kwargs.keys() - _OPTIONS:
            raise MisconfigurationException(
                f"CometLogger has no argument {unknown!r}{nearest(unknown, _OPTIONS)}; see `comet_ml.ExperimentConfig`"
            )
        self.log_model = log_model
        self._start: dict[str, Any] = {"api_key": api_key, "workspace": workspace, "project": project}
        self._key = experiment_key
        self._mode = mode
        self._online = online
        self._prefix = prefix
        self._save_dir = None if save_dir is None else os.path.abspath(save_dir)
        self._options = kwargs
        self._experiment: Any = None

    def open(self, run: RunInfo) -> None:
        continues = run.resume_id is not None or self._has_begun
        # The key is chosen here, so that a second attempt does not leave two experiments behind.
        self._key = self._key or run.resume_id or secrets.token_hex(16)
        online = self._online
        if online is None:
            online = bool(self._start["api_key"] or get_config("comet.api_key"))
        # A new experiment would end the one that the process has, which may be another logger's or the user's.
        before = comet_ml.get_global_experiment()
        set_global_experiment(None)
        try:
            self._experiment = self._begin_online(continues) if online else self._begin_offline(continues)
        finally:
            if before is not None and before.alive:
                set_global_experiment(before)
        self._key = self._experiment.get_key()
        self._has_begun = True

    def _begin_online(self, continues: bool) -> Any:
        config = comet_ml.ExperimentConfig(**{**_QUIET, **self._options})
        mode = "get_or_create" if continues else self._mode
        return comet_ml.start(**self._start, experiment_key=self._key, mode=mode, online=True, experiment_config=config)

    def _begin_offline(self, continues: bool) -> Any:
        cls = comet_ml.ExistingOfflineExperiment if continues or self._mode == "get" else comet_ml.OfflineExperiment
        given = inspect.signature(cls.__init__).parameters
        options = {**_QUIET, "log_env_host": False, "log_env_network": False, **self._options}
        key: dict[str, Any] = {
            "previous_experiment" if cls is comet_ml.ExistingOfflineExperiment else "experiment_key": self._key
        }
        experiment = cls(
            workspace=self._start["workspace"],
            project_name=self._start["project"],
            offline_directory=self._save_dir,
            **key,
            **{name: value for name, value in options.items() if name in given},
        )
        if self._options.get("name"):
            experiment.set_name(self._options["name"])
        for tag in self._options.get("tags") or ():
            experiment.add_tag(tag)
        return experiment

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        values = scalars(metrics, "")
        if self._prefix:
            values = {f"{self._prefix}_{key}": value for key, value in values.items()}
        epoch = metrics.get("epoch")
        self._open_experiment.log_metrics(values, step=step, epoch=None if epoch is None else int(epoch))

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        self._open_experiment.log_parameters(flatten(plain_params(params)), nested_support=False)

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        for picture in [Image.of(image) for image in images]:
            self._open_experiment.log_image(
                io.BytesIO(picture.png), name=key, step=step, metadata=_caption(picture.caption)
            )

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self._open_experiment.log_text(text, step=step, metadata={"key": key})

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        table = Table.of(columns, data)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([table.columns, *([str(cell) for cell in row] for row in table.rows)])
        name = f"{key}/step_{step or 0}.csv"
        self._open_experiment.log_asset_data(text.getvalue(), name=name, step=step, metadata={"key": key})

    def log_histogram(self, key: str, values: Any, step: int | None = None) -> None:
        histogram = Histogram.of(values)
        centres = [(left + right) / 2 for left, right in pairwise(histogram.edges)]
        shown = CometHistogram()
        shown.add(centres, [int(count) for count in histogram.counts])
        exact = {"edges": list(histogram.edges), "counts": list(histogram.counts)}
        self._open_experiment.log_histogram_3d(shown, name=key, step=step, metadata=exact)

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for index, sound in enumerate(Audio.of(audio) for audio in audios):
                path = Path(folder, f"{index}.{sound.format}")
                path.write_bytes(sound.data)
                self._open_experiment.log_audio(
                    str(path),
                    sample_rate=sound.sample_rate,
                    file_name=f"{key}/step_{step or 0}_{index}.{sound.format}",
                    metadata={"key": key, **_caption(sound.caption)},
                    step=step,
                )
            self._open_experiment.flush()  # until Comet has read the files

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None) -> None:
        for index, clip in enumerate(Video.of(video) for video in videos):
            self._open_experiment.log_video(
                io.BytesIO(clip.data),
                name=f"{key}/step_{step or 0}_{index}.{clip.format}",
                format=clip.format,
                metadata={"key": key, **_caption(clip.caption)},
                step=step,
            )

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        with open(path, "rb") as file:
            self._open_experiment.log_asset(file, file_name=name or Path(path).name, copy_to_tmp=True)

    def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        model, metadata = Path(checkpoint.name).stem, {**checkpoint.metadata, "aliases": list(checkpoint.aliases)}
        if checkpoint.path.is_dir():
            self._open_experiment.log_model(model, str(checkpoint.path), metadata=metadata)
            return
        with checkpoint.path.open("rb") as file:
            self._open_experiment.log_model(
                model, file, file_name=checkpoint.name, overwrite=True, metadata=metadata, copy_to_tmp=True
            )

    def draw_graph(self, graph: Graph) -> None:
        self._open_experiment.set_model_graph(graph.text, overwrite=True)

    def save(self) -> None:
        if self._experiment is not None:
            self._experiment.flush()

    def close(self, status: str) -> None:
        experiment, self._experiment = self._experiment, None
        if experiment is not None:
            experiment.end()

    @property
    def name(self) -> str | None:
        """The project."""
        name: str | None = self._start["project"]
        return name

    @property
    def version(self) -> str | None:
        """The experiment's key; ``None`` before it is open, unless it was chosen."""
        return self._key

    @property
    def run_id(self) -> str | None:
        """The experiment's key; ``None`` before it is open, unless it was chosen."""
        return self._key

    @property
    def save_dir(self) -> str | None:
        """The folder of offline archives, if one was chosen."""
        return self._save_dir

    @property
    def experiment(self) -> Any:
        """Comet's experiment."""
        self.ensure_open()
        return self._open_experiment

    _has_begun: bool = False

    @property
    def _open_experiment(self) -> Any:
        if self._experiment is None:
            raise RuntimeError("CometLogger is closed; use `logger.experiment`, which opens it")
        return self._experiment

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_experiment": None}


def _caption(words: str | None) -> dict[str, str]:
    return {"caption": words} if words else {}
