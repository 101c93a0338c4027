"""WandbLogger: runs at Weights & Biases, online or offline.

This file is longer than 400 lines because W&B can show nearly everything, and its users know many methods.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import re
import secrets
import shutil
import string
import tempfile
import weakref
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import wandb

from fulmen.audio import Audio
from fulmen.errors import MisconfigurationException, nearest
from fulmen.graph import Graph
from fulmen.histogram import Histogram
from fulmen.logger import Logger, RunInfo, SavedCheckpoint
from fulmen.media import Image, Table
from fulmen.video import Video
from fulmen_loggers.values import plain_params, scalars, with_prefix

if TYPE_CHECKING:
    from torch import nn

_OPTIONS = frozenset(inspect.signature(wandb.init).parameters)

#: The x axis of all charts. W&B's own step is never given: it drops rows whose step is lower than one before,
#: and numbers the rows of a resumed offline run anew.
STEP_KEY = "trainer/global_step"

#: Seconds; used where this version of wandb has the setting and the user has not chosen. Without them a dead
#: server holds `init` for 90 s and `finish` for ever, and a killed process loses the last 15 s of an offline
#: run.
_DEFAULT_SETTINGS = {"init_timeout": 30.0, "finish_timeout": 30.0, "x_transaction_log_flush_interval": 1.0}

_ID_LETTERS = string.ascii_lowercase + string.digits  # as W&B's own ids


class WandbLogger(Logger):
    """Logs to Weights & Biases.

    A run that was begun with ``wandb.init`` before, or is handed over as ``experiment``, is used and left
    open. A run that the logger begins itself stays open after ``fit``, for ``trainer.test()`` and for calls
    of your own, and is finished last; after a ``wandb.finish()`` of yours the next call continues it by its
    id.

    Two loggers of one process write into two runs; ``wandb.run`` and ``wandb.log`` mean the first that is
    open.

    Args:
        name: the run's name in the W&B interface.
        save_dir: the folder below which ``wandb/`` is made.
        version: the run's id; one that exists is continued.
        offline: keep the run on this machine, for ``wandb sync``.
        dir: the same as ``save_dir``.
        id: the same as ``version``.
        anonymous: let W&B make an account for somebody who has none.
        project: the project; the environment's ``WANDB_PROJECT``, or ``lightning_logs``, by default.
        log_model: upload what ``ModelCheckpoint`` keeps at the end (``True``), or all that it writes (``"all"``), as
            versions of one artifact with the aliases ``latest`` and ``best``. Offline, they are uploaded by
            ``wandb sync``.
        experiment: a run of yours to log into.
        prefix: put before each key, with a ``-``.
        checkpoint_name: the name of the checkpoints' artifact; ``model-ID`` by default.
        add_file_policy: accepted for programs that pass it: files are kept beside the run until W&B has them.
        kwargs: for ``wandb.init``, such as ``entity``, ``group``, ``tags``, ``job_type`` or ``settings``.

    Raises:
        MisconfigurationException: ``wandb.init`` has no such argument.
    """

    interface = (1, 0)

    #: The open runs that loggers of this process began, by id.
    _open_runs: ClassVar[dict[str, Any]] = {}
    #: All runs that they began: `wandb.run` may go on naming one that ended badly.
    _begun: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | os.PathLike[str] | None = ".",
        version: str | None = None,
        offline: bool = False,
        dir: str | os.PathLike[str] | None = None,
        id: str | None = None,
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: bool | Literal["all"] = False,
        experiment: Any = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: Literal["mutable", "immutable"] = "mutable",
        **kwargs: Any,
    ) -> None:
        for unknown in kwargs.keys() - _OPTIONS:
            raise MisconfigurationException(
                f"WandbLogger has no argument {unknown!r}{nearest(unknown, _OPTIONS)}; see `wandb.init`"
            )
        self.log_model = log_model
        self._offline = offline
        self._prefix = prefix
        self._checkpoint_name = checkpoint_name
        self._id = version or id
        self._run: Any = experiment
        self._init: dict[str, Any] = {
            "name": name,
            "dir": os.fspath(dir if dir is not None else save_dir or "."),
            "project": project or os.environ.get("WANDB_PROJECT") or "lightning_logs",
            "resume": "allow",
            **({"mode": "offline"} if offline else {}),
            **({"anonymous": "allow"} if anonymous else {}),
            **kwargs,
        }
        if experiment is not None:
            self._adopt(experiment)

    def open(self, run: RunInfo) -> None:
        self._id = self._id or run.resume_id
        current: Any = wandb.run
        if self._run is None and current is not None and current not in self._begun:
            self._run = current  # the user called `wandb.init` before
            self._adopt(current)
        self._open_run()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, time_s: float | None = None) -> None:
        row: dict[str, Any] = scalars(metrics, self._prefix)
        if time_s is not None:
            row["_timestamp"] = time_s
        self._log(row, step)

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        self._open_run().config.update(plain_params(params), allow_val_change=True)

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None, **kwargs: Sequence[Any]) -> None:
        """Deliver pictures.

        Args:
            key: the name of the panel.
            images: what :meth:`fulmen.media.Image.of` accepts.
            step: the trainer's step.
            kwargs: lists with a value for each picture: ``caption``, or another argument of ``wandb.Image``.
        """
        for name, values in kwargs.items():
            if len(values) != len(images):
                raise ValueError(f"log_image got {len(images)} images, but {len(values)} values of {name!r}")
        captions = kwargs.pop("caption", [None] * len(images))
        pictures = [Image.of(image, caption) for image, caption in zip(images, captions, strict=True)]
        with tempfile.TemporaryDirectory() as folder:
            shown = []
            for index, picture in enumerate(pictures):
                path = Path(folder, f"{index}.png")
                path.write_bytes(picture.png)
                options = {name: values[index] for name, values in kwargs.items()}
                shown.append(wandb.Image(str(path), caption=picture.caption, **options))
            self._log({with_prefix(self._prefix, key): shown}, step)

    def log_text(
        self,
        key: str,
        text: str | None = None,
        step: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        data: Any = None,
        dataframe: Any = None,
    ) -> None:
        """Deliver words, as a table of one cell; or a table of words by ``columns`` and ``data`` or ``dataframe``."""
        if columns is not None or data is not None or dataframe is not None:
            self.log_table(key, columns, data, step, dataframe)
        else:
            self.log_table(key, ["text"], [[text]], step=step)

    def log_histogram(self, key: str, values: Any, step: int | None = None) -> None:
        histogram = Histogram.of(values)
        shown = wandb.Histogram(np_histogram=(np.array(histogram.counts), np.array(histogram.edges)))
        self._log({with_prefix(self._prefix, key): shown}, step)

    def log_audio(
        self,
        key: str,
        audios: Sequence[Any],
        step: int | None = None,
        *,
        sample_rate: Sequence[int | None] | None = None,
        caption: Sequence[str | None] | None = None,
    ) -> None:
        rates, words = sample_rate or [None] * len(audios), caption or [None] * len(audios)
        sounds = [Audio.of(*one) for one in zip(audios, rates, words, strict=True)]
        if importlib.util.find_spec("soundfile") is None:  # or wandb raises what looks like an outage
            raise ValueError("W&B takes sounds only where soundfile is installed: pip install soundfile")
        self._log_clips(key, wandb.Audio, sounds, step)

    def log_video(
        self,
        key: str,
        videos: Sequence[Any],
        step: int | None = None,
        *,
        fps: Sequence[float] | None = None,
        caption: Sequence[str | None] | None = None,
    ) -> None:
        rates, words = fps or [4] * len(videos), caption or [None] * len(videos)
        clips = [Video.of(*one) for one in zip(videos, rates, words, strict=True)]
        self._log_clips(key, wandb.Video, clips, step)

    def _log_clips(self, key: str, kind: type, clips: Sequence[Audio | Video], step: int | None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shown = []
            for index, clip in enumerate(clips):
                path = Path(folder, f"{index}.{clip.format}")
                path.write_bytes(clip.data)
                options = {"format": clip.format} if isinstance(clip, Video) else {}
                shown.append(kind(str(path), caption=clip.caption, **options))
            self._log({with_prefix(self._prefix, key): shown}, step)

    def draw_graph(self, graph: Graph) -> None:
        if not graph.nodes:
            self._log({"graph_0/model": wandb.Table(columns=["text"], data=[[graph.text]])}, None)
            return
        shown: Any = wandb.Graph("torch")  # type: ignore[no-untyped-call]
        for node in graph.nodes:
            shown.add_node(id=node.name, name=node.name, class_name=node.op, output_shape=list(node.shape or ()))
        for node in graph.nodes:
            for source in node.inputs:
                shown.add_edge(shown[source], shown[node.name])
        self._log({"graph_0": shown}, None)

    def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        run = self._open_run()
        # The file goes away once this returns, but W&B may not have read it by then.
        folder = Path(run.dir).parent / "artifacts" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"{len(list(folder.iterdir()))}-{checkpoint.name}"
        name = re.sub(r"[^\w.-]", "-", self._checkpoint_name or f"model-{run.id}", flags=re.ASCII)
        artifact = wandb.Artifact(name, type="model", metadata=checkpoint.metadata)
        if checkpoint.path.is_dir():
            shutil.copytree(checkpoint.path, kept)
            artifact.add_dir(str(kept), name="model.ckpt", policy="immutable")
        else:
            try:
                os.link(checkpoint.path, kept)
            except OSError:  # another disk
                shutil.copyfile(checkpoint.path, kept)
            artifact.add_file(str(kept), name="model.ckpt", policy="immutable")
        run.log_artifact(artifact, aliases=list(checkpoint.aliases))

    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Any = None,
        step: int | None = None,
        dataframe: Any = None,
    ) -> None:
        """Deliver a table.

        Args:
            key: the name of the panel.
            columns: the names of the columns.
            data: rows of plain values.
            step: the trainer's step.
            dataframe: a pandas data frame in place of ``columns`` and ``data``.
        """
        table = Table.of(columns, data if dataframe is None else dataframe)
        rows = [list(row) for row in table.rows]
        shown = wandb.Table(columns=list(table.columns), data=rows, allow_mixed_types=True)
        self._log({with_prefix(self._prefix, key): shown}, step)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        run = self._open_run()
        name = name or Path(path).name
        # W&B stages artifacts in the user's cache folder, where those of an offline run are lost without a
        # word when the run is carried to another place. A copy beside the run's own files stays with it.
        kept = Path(run.dir).parent / "artifacts" / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, kept)
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"run-{run.id}-{name}", flags=re.ASCII), type="file")
        artifact.add_file(str(kept), name=name, policy="immutable")
        run.log_artifact(artifact)

    def watch(
        self, model: nn.Module, log: str | None = "gradients", log_freq: int = 100, log_graph: bool = True
    ) -> Any:
        """Log histograms as :meth:`fulmen.logger.Logger.watch` does, under the names that W&B's own ``watch`` has."""
        return super().watch(model, log, log_freq, log_graph)

    @staticmethod
    def download_artifact(
        artifact: str,
        save_dir: str | os.PathLike[str] | None = None,
        artifact_type: str | None = None,
        use_artifact: bool | None = True,
    ) -> str:
        """Download an artifact from W&B.

        Args:
            artifact: its path, such as ``"team/project/model:best"``.
            save_dir: where to; W&B's choice by default.
            artifact_type: its type.
            use_artifact: note that the open run, if there is one, uses it.

        Returns:
            The folder in which its files are.
        """
        if wandb.run is not None and use_artifact:
            found = wandb.run.use_artifact(artifact, type=artifact_type)
        else:
            found = wandb.Api().artifact(artifact, type=artifact_type)
        return str(found.download(root=None if save_dir is None else os.fspath(save_dir)))

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Any:
        """Note that the run uses an artifact, and return W&B's ``Artifact``."""
        return self.experiment.use_artifact(artifact, type=artifact_type)

    def close(self, status: str) -> None:
        run: Any = self._run
        if run is not None and run in self._open_runs.values():
            del self._open_runs[run.id]
            self._run = None
            try:
                run.finish(exit_code=0 if status == "success" else 1)  # nothing where the user has finished it
            except ConnectionError:
                # W&B's own process has died, and wandb would go on talking to it: the next run gets another.
                with contextlib.suppress(Exception):
                    wandb.teardown()
                raise

    @property
    def name(self) -> str:
        """The project."""
        return str(self._init["project"])

    @property
    def version(self) -> str | None:
        """The run's id; ``None`` before it is open, unless it was chosen."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run's id."""
        return self._id

    @property
    def save_dir(self) -> str:
        """The folder of ``wandb/``."""
        return str(self._init["dir"])

    @property
    def experiment(self) -> Any:
        """W&B's ``Run``."""
        self.ensure_open()
        return self._open_run()

    def _log(self, row: dict[str, Any], step: int | None) -> None:
        if step is not None:
            row[STEP_KEY] = step
        self._open_run().log(row)

    def _open_run(self) -> Any:
        """Return the run; begin it, or continue it by its id where the user has finished it."""
        if self._run is not None and not _is_finished(self._run):
            return self._run
        for id in [id for id, run in self._open_runs.items() if _is_finished(run)]:
            del self._open_runs[id]
        # The id is chosen here, so that a second attempt does not leave two runs behind.
        self._id = self._id or "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
        if self._id in self._open_runs:  # this logger is a copy of one that is open
            self._run = self._open_runs[self._id]
            return self._run
        beside = {"reinit": "create_new"} if self._open_runs else {}
        self._run = wandb.init(**{**beside, **self._init, "id": self._id, "settings": self._settings()})
        self._begun.add(self._run)
        self._id = self._run.id  # a sweep chooses it
        self._open_runs[self._run.id] = self._run
        self._run.define_metric(STEP_KEY)
        self._run.define_metric("*", step_metric=STEP_KEY, step_sync=True)
        return self._run

    def _adopt(self, run: Any) -> None:
        self._id = run.id
        self._init.update(project=run.project, entity=run.entity)

    def _settings(self) -> Any:
        """Return the user's settings, with ours where they chose none."""
        chosen: Any = self._init.get("settings") or {}
        is_dict = isinstance(chosen, dict)
        names = chosen if is_dict else chosen.model_fields_set
        ours = {
            name: value
            for name, value in _DEFAULT_SETTINGS.items()
            if name in getattr(wandb.Settings, "model_fields", ())
            and name not in names
            and f"WANDB_{name.upper()}" not in os.environ
        }
        return {**ours, **chosen} if is_dict else chosen.model_copy(update=ours)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_run": None}


def _is_finished(run: Any) -> bool:
    # W&B has no public word for it.
    return bool(getattr(run, "_is_finished", False))
