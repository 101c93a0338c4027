"""Logger: how a tracker joins a run (stable interface).

This file is longer than 400 lines because a logger's author finds all in one place: what to write, what users call,
what core does for both, and the capabilities.

Whoever writes a logger fills in ``open``, ``log_metrics``, ``log_hyperparams`` and ``close``, and a method for each
further thing that the service can show (``LogsImages``, ``LogsText``, ...). Everything else is core's: the run's
journal gets each record first, and a delivery thread of the logger's own calls these methods, in order, with retries,
so that a slow or dead service never slows, stops or robs a run.

A user may call the same methods (``trainer.logger.log_metrics({"a": 1.0}, step=3)``): while a run is on, such a call
is recorded in the journal and delivered like everything else; without a run it goes straight to the service.
"""

from __future__ import annotations

import functools
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from fulmen.rank import is_global_zero

if TYPE_CHECKING:
    from torch import nn

    from fulmen.callback import Checkpoint
    from fulmen.graph import Graph
    from fulmen.watch import Watch

_log = logging.getLogger("fulmen")

#: Version of this interface: a plug-in declares the one that it was written for, ``interface = (1, 0)``.
LOGGER_INTERFACE = (1, 0)


@dataclass(frozen=True)
class RunInfo:
    """What a logger is told when a run opens."""

    folder: Path  #: the run's folder on this machine
    name: str  #: the run's name, ``lightning_logs`` unless chosen
    version: str  #: the run's version, such as ``version_3``
    resume_id: str | None = None  #: the service's id of the run that this one continues, from ``Logger.run_id``


class Recorder(Protocol):
    """What core attaches to a logger while a run is on; no logger needs to know it."""

    def is_delivering(self) -> bool:
        """Return whether the calling thread is the one that talks to the service."""
        ...

    def wait_until_open(self, logger: Logger) -> None:
        """Wait until the delivery thread has opened ``logger``; raise ``LoggerError`` where it could not."""

    def log_metrics(
        self,
        metrics: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        step: int | None = None,
        *,
        only: Logger | None = None,
    ) -> None:
        """Record numbers, or what returns them when the journal's thread calls it."""

    def log_hyperparams(self, params: Any, *args: Any, only: Logger | None = None, **kwargs: Any) -> None:
        """Record hyper-parameters."""

    def log_image(
        self,
        key: str,
        images: Sequence[Any],
        step: int | None = None,
        captions: Sequence[str | None] | None = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Record pictures."""

    def log_text(
        self, key: str, text: str, step: int | None = None, *, only: Logger | None = None, **kwargs: Any
    ) -> None:
        """Record words."""

    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Any = None,
        step: int | None = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Record a table."""

    def log_artifact(self, path: Any, name: str | None = None, *, only: Logger | None = None) -> None:
        """Record a file."""

    def log_histogram(
        self, key: str, values: Any, step: int | None = None, *, only: Logger | None = None, **kwargs: Any
    ) -> None:
        """Record how values are distributed."""

    def log_audio(
        self,
        key: str,
        audios: Sequence[Any],
        step: int | None = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Record sounds."""

    def log_video(
        self,
        key: str,
        videos: Sequence[Any],
        step: int | None = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Record videos."""

    def log_graph(self, graph: Graph, *, only: Logger | None = None) -> None:
        """Record a model's graph."""

    def log_checkpoints(self, callback: Checkpoint, *, only: Logger) -> None:
        """Record the checkpoints that a callback has written, now or at the end, as ``only.log_model`` says."""


#: Methods that a user may call as well as core: a call from outside the delivery thread is recorded first.
RECORDED_METHODS = (
    "log_metrics",
    "log_hyperparams",
    "log_image",
    "log_text",
    "log_table",
    "log_artifact",
    "log_histogram",
    "log_audio",
    "log_video",
)


def _recorded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``method`` such that a call made while a run is on goes through the run's journal.

    In other processes than the first it does nothing: the service is the first one's.
    """

    @functools.wraps(method)
    def call(self: Logger, *args: Any, **kwargs: Any) -> Any:
        recorder = self._recorder  # pyright: ignore[reportPrivateUsage]
        if recorder is None:
            if not is_global_zero():
                return None
            self.ensure_open()
            return method(self, *args, **kwargs)
        if recorder.is_delivering():
            return method(self, *args, **kwargs)
        return getattr(recorder, name)(*args, only=self, **kwargs)

    return call


class NoExperiment:
    """What ``logger.experiment`` is where nothing may be logged: all can be called, indexed and set, to no effect."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> NoExperiment:
        """Do nothing."""
        return self

    def __getitem__(self, key: Any) -> NoExperiment:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep nothing."""


def _first_process_only(experiment: property) -> property:
    """Return the property such that other processes than the first get a :class:`NoExperiment`."""

    def get(self: Logger) -> Any:
        return experiment.__get__(self) if is_global_zero() else NoExperiment()

    return property(get, doc=experiment.__doc__)


class Logger(ABC):
    """Base class of all loggers."""

    #: The interface version that the plug-in was written for, as ``(major, minor)``; every plug-in declares it.
    interface: ClassVar[tuple[int, int] | None] = None

    #: Whether the service gets the checkpoints that :class:`~fulmen.callbacks.ModelCheckpoint` writes: at the end those
    #: that are kept (``True``), each when it is written (``"all"``), or none. Needs :class:`LogsCheckpoints`.
    log_model: bool | Literal["all"] = False

    #: Whether the trainer shows the service the model when ``fit`` begins. Needs :class:`LogsGraph`.
    wants_graph: bool = False

    _recorder: Recorder | None = None
    _is_open: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in RECORDED_METHODS:
            method = vars(cls).get(name)
            if callable(method):
                setattr(cls, name, _recorded(name, method))
        experiment = vars(cls).get("experiment")
        if isinstance(experiment, property):
            cls.experiment = _first_process_only(experiment)  # type: ignore[assignment]

    # ------------------------------------------------------------------------------ what an author writes

    def open(self, run: RunInfo) -> None:
        """Connect to the service and start or continue a run there; called on the delivery thread.

        Raise anything if the service cannot be reached: core tries again and training goes on meanwhile. After several
        failed deliveries in a row core closes the logger and opens it again, with ``run.resume_id``.
        """

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Deliver numbers of one step: plain floats, ``nan`` and ``inf`` included.

        A logger that keeps wall times may take a third argument ``time_s``, seconds since the epoch at which the
        values were logged.
        """

    @abstractmethod
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Deliver hyper-parameters: a nested mapping of plain values."""

    def save(self) -> None:
        """Make all that was delivered visible to readers; called whenever the queue runs empty."""

    def finalize(self, status: str) -> None:
        """``fit``, ``validate``, ``test`` or ``predict`` ended with ``"success"``, ``"failed"`` or
        ``"interrupted"``; more may follow in the same run."""

    def close(self, status: str) -> None:
        """Release the service; called last, and before core opens the logger anew."""

    # ---------------------------------------------------------------------------------- what users call

    def log_graph(self, model: nn.Module, input_array: Any = None) -> None:
        """Show the graph of a model, recorded in one forward pass.

        Args:
            model: the module.
            input_array: what its ``forward`` takes; its ``example_input_array`` where this is not given. With neither,
                services show the model in words, if they can.
        """
        from fulmen.graph import Graph  # not needed by who draws none

        if not is_global_zero():
            return
        graph = Graph.of(model, input_array)
        recorder = self._recorder
        if recorder is not None:
            recorder.log_graph(graph, only=self)
        elif isinstance(self, LogsGraph):
            self.ensure_open()
            self.draw_graph(graph)
        else:
            _log.warning("%s cannot show graphs", type(self).__name__)

    def watch(
        self, model: nn.Module, log: str | None = "gradients", log_freq: int = 100, log_graph: bool = False
    ) -> Watch | None:
        """Log histograms of a module's gradients or parameters while it trains.

        They are counted on the module's device, and nothing waits for it. Needs :class:`LogsHistograms`.

        Args:
            model: the module.
            log: ``"gradients"``, ``"parameters"``, ``"all"``, or ``None`` for neither.
            log_freq: backward passes from one histogram of a parameter to its next.
            log_graph: show the module's graph too; see :meth:`log_graph`.

        Returns:
            What watches: its ``stop()`` ends it. ``None`` in other processes than the first.
        """
        from fulmen.watch import Watch

        if not is_global_zero():
            return None
        if log_graph:
            self.log_graph(model)
        return Watch(self, model, log, log_freq)

    def unwatch(self, model: nn.Module | None = None) -> None:
        """End what :meth:`watch` began for a module, or for all."""
        from fulmen.watch import stop_watching

        stop_watching(self, model)

    def after_save_checkpoint(self, checkpoint_callback: Checkpoint) -> None:
        """A callback has written a checkpoint; called in the first process.

        What there is to deliver is recorded, as ``log_model`` says, and reaches the service through ``log_checkpoint``.
        """
        if self._recorder is not None and self.log_model and isinstance(self, LogsCheckpoints):
            self._recorder.log_checkpoints(checkpoint_callback, only=self)

    # ---------------------------------------------------------------------------------- what users read

    @property
    def name(self) -> str | None:
        """The name of the experiment or project."""
        return None

    @property
    def version(self) -> int | str | None:
        """The version or id of the run."""
        return None

    @property
    def run_id(self) -> str | None:
        """The service's id of the run, by which a later process continues it; ``None`` where it has none."""
        return None

    @property
    def save_dir(self) -> str | None:
        """The folder below which this logger keeps local files, if it keeps any."""
        return None

    @property
    def log_dir(self) -> str | None:
        """The folder in which this run's local files lie, if there are any."""
        return None

    @property
    def root_dir(self) -> str | None:
        """The folder of all runs of this name, if there is one."""
        return None

    @property
    def group_separator(self) -> str:
        """What stands between the parts of a key."""
        return "/"

    @property
    def experiment(self) -> Any:
        """The SDK's own object, open and ready to be used; one without effect in other processes than the first."""
        self.ensure_open()
        return None

    @property
    def is_recorded(self) -> bool:
        """Whether a run is on that records what this logger gets, and keeps the run's ``hparams.yaml``."""
        return self._recorder is not None

    # ------------------------------------------------------------------------------------------- for core

    def ensure_open(self, run: RunInfo | None = None) -> None:
        """Open the service unless it is open.

        On the delivery thread and outside a run, this opens it; user code inside a run waits for the delivery thread.
        """
        if self._is_open:
            return
        recorder = self._recorder
        if recorder is not None and not recorder.is_delivering():
            recorder.wait_until_open(self)
            return
        if run is None:
            folder = Path(self.log_dir or self.save_dir or ".")
            run = RunInfo(folder=folder, name=str(self.name or "lightning_logs"), version=str(self.version or "0"))
        self.open(run)
        self._is_open = True

    def shut(self, status: str) -> None:
        """Close the service if it is open."""
        if self._is_open:
            self._is_open = False
            self.close(status)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_recorder", "_is_open")}


class FolderLogger(Logger):
    """A logger that writes into a folder ``save_dir/name/version_N`` of its own, such as CSV and TensorBoard.

    Args:
        save_dir: the root folder; ``None`` for the working directory.
        name: the folder below it; ``None`` or ``""`` for none.
        version: a number N for ``version_N``, a folder's name, or ``None`` for the first number that is free. The
            folder is made when the number is first asked for, so that no other process takes it.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
    ) -> None:
        self._save_dir = os.fspath(save_dir) if save_dir is not None else os.getcwd()
        self._name = name or ""
        self._version = version

    @property
    def name(self) -> str:
        """The folder between ``save_dir`` and the version."""
        return self._name

    @property
    def save_dir(self) -> str:
        """The root folder."""
        return self._save_dir

    @property
    def root_dir(self) -> str:
        """The folder of all versions: ``save_dir/name``."""
        return os.path.join(self._save_dir, self._name)

    @property
    def version(self) -> int | str:
        """The number or name of this run's folder; the first free number is taken when first asked for."""
        if self._version is None:
            self._version = allocate_version(Path(self.root_dir))
        return self._version

    @property
    def has_version(self) -> bool:
        """Whether a version was given, or taken already."""
        return self._version is not None

    def join(self, folder: Path) -> None:
        """Write into a run's folder, if it lies among this logger's versions and none was given or taken yet."""
        if self._version is None and Path(self.root_dir).absolute() == folder.absolute().parent:
            number = folder.name.removeprefix("version_")
            self._version = int(number) if number != folder.name and number.isdigit() else folder.name

    @property
    def log_dir(self) -> str:
        """The run's folder: ``save_dir/name/version_N``."""
        version = self.version
        return os.path.join(self.root_dir, version if isinstance(version, str) else f"version_{version}")


def allocate_version(root: Path) -> int:
    """Make the folder ``root/version_N`` for the first free N and return N; no two processes get the same.

    ``mkdir`` fails where the folder exists, on every file system, so the folder itself is the lock.
    """
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(p.name[8:]) for p in root.glob("version_*") if p.name[8:].isdigit()]
    number = max(taken, default=-1) + 1
    while True:
        try:
            (root / f"version_{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return number


# --------------------------------------------------------------------------------------------------- capabilities


@runtime_checkable
class LogsImages(Protocol):
    """A logger that can show pictures."""

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        """Deliver pictures under one key, each with its own caption; core hands over ``fulmen.media.Image``.

        Pass each through ``Image.of``, so that users may call this with tensors, arrays and figures too.
        """


@runtime_checkable
class LogsText(Protocol):
    """A logger that can show words."""

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        """Deliver words."""


@runtime_checkable
class LogsTables(Protocol):
    """A logger that can show tables."""

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        """Deliver a table: rows of plain values below named columns."""


@runtime_checkable
class LogsArtifacts(Protocol):
    """A logger that can keep files."""

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Deliver a file, under a name of its own or the file's."""


@runtime_checkable
class LogsHistograms(Protocol):
    """A logger that can show how values are distributed."""

    def log_histogram(self, key: str, values: Any, step: int | None = None) -> None:
        """Deliver a histogram; core hands over a ``fulmen.histogram.Histogram``.

        Pass it through ``Histogram.of``, so that users may call this with tensors and arrays too.
        """


@runtime_checkable
class LogsAudio(Protocol):
    """A logger that can play sounds."""

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None) -> None:
        """Deliver sounds under one key, each with its own caption; core hands over ``fulmen.audio.Audio``.

        Pass each through ``Audio.of``.
        """


@runtime_checkable
class LogsVideo(Protocol):
    """A logger that can play videos."""

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None) -> None:
        """Deliver videos under one key, each with its own caption; core hands over ``fulmen.video.Video``.

        Pass each through ``Video.of``.
        """


@runtime_checkable
class LogsGraph(Protocol):
    """A logger that can show a model."""

    def draw_graph(self, graph: Graph) -> None:
        """Deliver a model's graph; one without nodes has only its words."""


@runtime_checkable
class LogsCheckpoints(Protocol):
    """A logger that can keep checkpoints, with words for the best and the latest."""

    def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Deliver a checkpoint."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint as it was when it was written, whatever has become of its file since."""

    path: Path  #: a file, or the folder of a sharded checkpoint
    name: str  #: the name that the callback gave it
    aliases: tuple[str, ...]  #: ``"latest"``, and ``"best"`` where it was the best of its callback
    step: int  #: where training stood
    score: float | None = None  #: its value of the metric that ranks
    callback: Mapping[str, Any] = field(
        default_factory=dict[str, Any]
    )  #: what wrote it: ``type``, ``monitor``, ``mode``, ...

    @property
    def metadata(self) -> dict[str, Any]:
        """What programs of this field find beside an uploaded checkpoint."""
        settings = {name: value for name, value in self.callback.items() if name != "type"}
        return {
            "score": self.score,
            "original_filename": self.name,
            str(self.callback.get("type", "ModelCheckpoint")): settings,
        }


@runtime_checkable
class LogsMetricBatches(Protocol):
    """A logger whose service takes many points at once; core then calls this in place of ``log_metrics``."""

    def log_metric_batch(self, points: Sequence[MetricPoint]) -> None:
        """Deliver the numbers of several steps, in order."""


@runtime_checkable
class TellsPoints(Protocol):
    """A logger that can tell which points its service has, so that none is sent twice after a crash."""

    def tell_points(self, points: Sequence[tuple[str, int | None]]) -> Iterable[tuple[str, int | None]]:
        """Return those of these points, each a key and a step, that the service has; called once, after ``open``."""
        ...


@dataclass(frozen=True)
class MetricPoint:
    """The numbers of one step."""

    metrics: Mapping[str, float]
    step: int | None
    time_s: float  #: seconds since the epoch at which they were logged
