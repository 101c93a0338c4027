"""NeptuneLogger: runs in Neptune's own files on this machine; the hosted service is gone."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import logging
import os
import secrets
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fulmen.audio import Audio
from fulmen.errors import MisconfigurationException, nearest
from fulmen.graph import Graph
from fulmen.histogram import Histogram
from fulmen.logger import Logger, RunInfo, SavedCheckpoint
from fulmen.media import Image, Table
from fulmen.summary import summarize
from fulmen.video import Video
from fulmen_loggers.values import flatten, plain_params, scalars

if TYPE_CHECKING:
    from fulmen.module import LightningModule

_log = logging.getLogger(__name__)

#: Where the client for each of Neptune's two packages is; the first that is installed is used.
_CLIENTS = {
    "neptune-scale": ("neptune_scale", "_neptune_scale", "ScaleClient"),
    "neptune": ("neptune", "_neptune_classic", "ClassicClient"),
}
if all(importlib.util.find_spec(module) is None for module, _, _ in _CLIENTS.values()):
    raise ModuleNotFoundError("NeptuneLogger needs neptune-scale", name="neptune_scale")

_MODES = {"offline": True, "async": True, "sync": True, "debug": False, "disabled": False}


class NeptuneLogger(Logger):
    """Writes Neptune's own files on this machine.

    Neptune's hosted service ended on 5 March 2026, and what it held is deleted. This logger is for programs that have
    it and for tools that read its files: ``fulmen import neptune FOLDER`` makes a run of them, which ``fulmen sync``
    carries to any other tracker. It says so once.

    With ``neptune-scale`` the files are SQLite in ``save_dir/.neptune``, of each process that writes to a run one, and
    a killed process loses nothing. With ``neptune`` 1.x they are JSON below ``.neptune/offline`` in the working
    directory; it keeps neither NaN nor infinity.

    Metrics, pictures and texts are below ``training/``, hyper-parameters below ``training/hyperparams/``, checkpoints
    below ``training/model/checkpoints/``. A table is a CSV file, a sound or a video a file, of each step.

    Args:
        api_key: accepted for programs that pass it; nothing asks for it any more.
        project: ``workspace/project``; the environment's ``NEPTUNE_PROJECT``, or ``local/lightning_logs``, by default.
        name: the run's name.
        run: a run of yours to log into, which is left open.
        log_model_checkpoints: the same as ``log_model``.
        prefix: the path below which everything goes.
        log_model: keep a copy of what ``ModelCheckpoint`` keeps at the end (``True``), or of all that it writes
            (``"all"``).
        mode: ``"offline"``, or ``"debug"`` to write nothing. ``"async"`` and ``"sync"`` are taken for ``"offline"``.
        save_dir: the folder of neptune-scale's ``.neptune``; ``None`` for the working directory.
        run_id: the run's id; one that was used before is continued.
        client: ``"neptune-scale"`` or ``"neptune"``; ``None`` for the first of them that is installed.
        kwargs: for ``neptune_scale.Run`` or ``neptune.init_run``.

    Raises:
        MisconfigurationException: there is no such mode, client or argument.
    """

    interface = (1, 0)

    _has_said: ClassVar[bool] = False

    def __init__(
        self,
        *,
        api_key: str | None = None,
        project: str | None = None,
        name: str | None = None,
        run: Any = None,
        log_model_checkpoints: bool | Literal["all"] = False,
        prefix: str = "training",
        log_model: bool | Literal["all"] = False,
        mode: str = "offline",
        save_dir: str | os.PathLike[str] | None = None,
        run_id: str | None = None,
        client: str | None = None,
        **kwargs: Any,
    ) -> None:
        if mode not in _MODES:
            raise MisconfigurationException(f"`mode` must be 'offline' or 'debug', but is {mode!r}")
        if client is not None and client not in _CLIENTS:
            raise MisconfigurationException(f"`client` must be one of {tuple(_CLIENTS)}, but is {client!r}")
        self.log_model = log_model or log_model_checkpoints
        self._project = project or os.environ.get("NEPTUNE_PROJECT") or "local/lightning_logs"
        self._name = name
        self._prefix = prefix.strip("/")
        self._writes = _MODES[mode]
        self._save_dir = os.path.abspath(save_dir if save_dir is not None else ".")
        self._id = run_id
        installed = [kind for kind, (module, _, _) in _CLIENTS.items() if importlib.util.find_spec(module) is not None]
        self._kind = client or installed[0]
        self._run = run
        self._options = kwargs
        self._client: Any = None
        sdk = self._sdk
        for unknown in kwargs.keys() - sdk.OPTIONS:
            raise MisconfigurationException(
                f"NeptuneLogger has no argument {unknown!r}{nearest(unknown, sdk.OPTIONS)}; it writes with {sdk.NAME}"
            )

    def open(self, run: RunInfo) -> None:
        self._id = self._id or run.resume_id or secrets.token_hex(8)
        cls = getattr(self._sdk, _CLIENTS[self._kind][2])
        if self._run is not None:
            self._client = cls(self._run)
        else:
            self._client = cls.begin(self._id, self._project, self._name, self._folder, self._writes, self._options)
        self._say_what_it_is()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, time_s: float | None = None) -> None:
        values = {self._path(key): value for key, value in scalars(metrics, "").items()}
        self._open_client.metrics(values, step or 0, time.time() if time_s is None else time_s)

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        flat = flatten(plain_params(params))
        self._open_client.values({self._path(f"hyperparams/{key}"): _single(value) for key, value in flat.items()})

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        pictures = [Image.of(image) for image in images]
        for path, picture in self._paths(key, pictures):
            self._open_client.picture(path, picture.png, picture.caption, step or 0)

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self._open_client.text(self._path(key), text, step or 0)

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        table = Table.of(columns, data)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [table.columns, *([str(cell) for cell in row] for row in table.rows)]
        )
        self._open_client.content(self._path(key), text.getvalue().encode(), ".csv", step or 0)

    def log_histogram(self, key: str, values: Any, step: int | None = None) -> None:
        self._open_client.histogram(self._path(key), Histogram.of(values), step or 0)

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None) -> None:
        self._log_clips(key, [Audio.of(audio) for audio in audios], step)

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None) -> None:
        self._log_clips(key, [Video.of(video) for video in videos], step)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self._open_client.file(self._path(f"artifacts/{name or Path(path).name}"), Path(path))

    def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        client, folder = self._open_client, self._path("model/checkpoints")
        if checkpoint.path.is_dir():
            for file in sorted(path for path in checkpoint.path.rglob("*") if path.is_file()):
                client.file(f"{folder}/{checkpoint.name}/{file.relative_to(checkpoint.path).as_posix()}", file)
        else:
            client.file(f"{folder}/{checkpoint.name}", checkpoint.path)
        said: dict[str, Any] = {"latest_model_path": checkpoint.name}
        if checkpoint.score is not None:
            said[f"scores/{checkpoint.name}"] = checkpoint.score
        if "best" in checkpoint.aliases:
            said |= {"best_model_path": checkpoint.name, "best_model_score": _single(checkpoint.score)}
        client.values({self._path(f"model/{key}"): value for key, value in said.items()})

    def draw_graph(self, graph: Graph) -> None:
        self._open_client.values({self._path("model/graph"): graph.text})

    def log_model_summary(self, model: LightningModule, max_depth: int = -1) -> None:
        """Keep the table of a model's layers.

        Args:
            model: the model.
            max_depth: how many levels of submodules; -1 for all.
        """
        self.log_text("model/summary", str(summarize(model, max_depth)))

    def save(self) -> None:
        if self._client is not None:
            self._client.flush()

    def close(self, status: str) -> None:
        client, self._client = self._client, None
        if client is not None and self._run is None:
            client.close()

    @property
    def name(self) -> str | None:
        """The run's name."""
        return self._name

    @property
    def version(self) -> str | None:
        """The run's id; ``None`` before it is open, unless it was chosen."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run's id; ``None`` before it is open, unless it was chosen."""
        return self._id

    @property
    def save_dir(self) -> str:
        """The folder of ``.neptune``."""
        return self._save_dir

    @property
    def experiment(self) -> Any:
        """Neptune's ``Run``."""
        self.ensure_open()
        return self._open_client.run

    @property
    def run(self) -> Any:
        """The same as ``experiment``."""
        return self.experiment

    @property
    def _open_client(self) -> Any:
        if self._client is None:
            raise RuntimeError("NeptuneLogger is closed; use `logger.experiment`, which opens it")
        return self._client

    @property
    def _folder(self) -> str:
        return os.path.join(self._save_dir, ".neptune")

    @property
    def _sdk(self) -> Any:
        return importlib.import_module(f"fulmen_loggers.{_CLIENTS[self._kind][1]}")

    def _path(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _paths(self, key: str, values: Sequence[Any]) -> list[tuple[str, Any]]:
        """Return each of several values under one key with its path."""
        path = self._path(key)
        return [(path if len(values) == 1 else f"{path}/{index}", value) for index, value in enumerate(values)]

    def _log_clips(self, key: str, clips: Sequence[Audio | Video], step: int | None) -> None:
        for path, clip in self._paths(key, clips):
            self._open_client.content(path, clip.data, f".{clip.format}", step or 0)
            if clip.caption:
                self._open_client.text(f"{path}/caption", clip.caption, step or 0)

    def _say_what_it_is(self) -> None:
        folder = self._client.folder
        if NeptuneLogger._has_said or folder is None:
            return
        NeptuneLogger._has_said = True
        _log.warning(
            "Neptune's hosted service ended on 5 March 2026: NeptuneLogger writes with %s into %s and uploads nothing. "
            "`fulmen import neptune %s` reads it, and `fulmen sync RUN --to LOGGER` carries a run to another tracker",
            self._sdk.NAME,
            folder,
            folder,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_client": None, "_run": None}


def _single(value: Any) -> bool | int | float | str:
    """Return a value that both of Neptune's packages take."""
    is_small = isinstance(value, int) and abs(value) < 2**63
    return value if isinstance(value, (bool, float, str)) or is_small else str(value)
