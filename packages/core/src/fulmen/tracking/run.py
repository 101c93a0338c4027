"""Run: what a training run records, and the trackers that it is delivered to.

This file is longer than 400 lines because it has a method for each thing that can be recorded.

The recording calls put an entry on the journal's queue and return. What a value is when the call is made is
what gets recorded: mappings are copied, pictures, tables and files are converted or copied in the calling
thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fulmen.errors import LoggerError, MisconfigurationException
from fulmen.histogram import BINS, counted, ready_made, unpacked
from fulmen.logger import Logger, LogsCheckpoints, RunInfo
from fulmen.media import Table
from fulmen.tracking.calls import takes_options
from fulmen.tracking.checkpoints import Checkpoints
from fulmen.tracking.conversion import pictures, sounds, split_options
from fulmen.tracking.conversion import videos as clips
from fulmen.tracking.delivery import Delivery
from fulmen.tracking.hparams import HparamsFile
from fulmen.tracking.journal import Entry, Journal
from fulmen.tracking.keys import logger_keys, registered_name
from fulmen.tracking.lock import RunLock, is_locked
from fulmen.tracking.media import MediaStore
from fulmen.tracking.record import Record, read_records
from fulmen.tracking.rewind import Rewinds
from fulmen.tracking.service import Backoff, describe
from fulmen.tracking.snapshot import exact, numbers_of, snapshot_metrics, snapshot_params, to_host
from fulmen.tracking.window import Window

if TYPE_CHECKING:
    from fulmen.callback import Checkpoint
    from fulmen.graph import Graph

_log = logging.getLogger("fulmen")

_open_runs: weakref.WeakValueDictionary[Path, Run] = weakref.WeakValueDictionary()  # of this process, by folder

_GRACE_S = 1.0  # what a logger gets that was waited for in vain before
_KINDS_WITH_STEP = frozenset({"metrics", "image", "text", "table", "histogram", "audio", "video"})


class Run:
    """A run's folder, its journal and the delivery to its loggers; implements ``fulmen.logger.Recorder``.

    Args:
        folder: the run's folder, made if need be; an existing run is continued.
        loggers: the trackers; each is this run's until :meth:`close`.
        name: the run's name, for the trackers.
        version: the run's version, such as ``version_3``.
        finish_timeout_s: how long :meth:`finalize` and :meth:`close` wait for all trackers together.
        open_timeout_s: how long user code waits that asks for a tracker's own object before it is open.
        backoff: the pauses after failed calls.
        current_step: returns where training stands, for what is logged without a step; ``None`` for the last
            step that was given.
        companions: further loggers that the user did not ask for: what one of them cannot show is not said.
        rewind_to: the position that the checkpoint kept from which training continues: what this run recorded after it
            is recorded anew. ``None`` where nothing is.

    Raises:
        MisconfigurationException: the folder cannot be written, or another process writes into it.
    """

    def __init__(
        self,
        folder: Path,
        loggers: Sequence[Logger],
        *,
        name: str,
        version: str,
        finish_timeout_s: float = 30.0,
        open_timeout_s: float = 60.0,
        backoff: Backoff | None = None,
        current_step: Callable[[], int] | None = None,
        companions: Sequence[Logger] = (),
        rewind_to: int | None = None,
    ) -> None:
        self.folder = Path(folder).absolute()  # the program may change its working directory
        self.loggers = list({id(logger): logger for logger in (*loggers, *companions)}.values())
        self._finish_timeout_s = finish_timeout_s
        self._open_timeout_s = open_timeout_s
        self._pid = os.getpid()
        self._closing = threading.Lock()  # taken once, for good
        self.has_graph = False  #: whether a model was shown
        self.is_closed = False
        self._step = 0
        self._current_step = current_step
        self._checkpoints: dict[str, Checkpoints] = {}  # by the key of the logger that gets them
        self._status = "interrupted"
        self._hparams = HparamsFile(self.folder / "hparams.yaml")
        self._known_params: dict[str, Any] = {}  # what an earlier process told all loggers
        self._said: set[str] = set()
        self._named: dict[str, int] = {}  # key of a logger that was late -> its next record then
        self._media = MediaStore(self.folder)
        earlier = _open_runs.get(self.folder)
        if earlier is not None:  # of another trainer in this process
            earlier.close()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = RunLock(self.folder)
            self._journal = Journal(self.folder / "journal.jsonl", rewind_to)
        except OSError as error:
            raise MisconfigurationException(
                f"the run's folder {self.folder} cannot be written: {error}; choose another `default_root_dir`"
            ) from error
        window = Window(self._journal.first)
        rewinds, replaced = self._read_what_was_before(rewind_to)
        info = RunInfo(self.folder, name, version)
        self._deliveries = [
            Delivery(
                logger,
                key,
                run=info,
                journal=self._journal.path,
                window=window,
                media=self._media,
                cursor_path=self.folder / "cursors" / f"{key}.json",
                backoff=backoff,
                names_what_it_lacks=all(logger is not companion for companion in companions),
                rewinds=rewinds,
                replaced=replaced,
            )
            for logger, key in zip(self.loggers, logger_keys(self.loggers), strict=True)
        ]
        _open_runs[self.folder] = self
        self._journal.start(window.publish, self._media.sync)
        for delivery in self._deliveries:
            delivery.logger._recorder = self
            delivery.start()

    def _read_what_was_before(self, rewind_to: int | None) -> tuple[Rewinds, list[Record]]:
        """Return what rewinds replaced of the journal, this process's included, and these records."""
        path, first = self._journal.path, self._journal.first
        if first == 0:
            return Rewinds(), []
        rewinds = Rewinds.of(read_records(path))
        if rewind_to is not None:
            rewinds.add(rewind_to, first)
        replaced = []
        for record in read_records(path):
            if rewinds.replaces(record.n):
                replaced.append(record)
            elif record.kind == "hparams" and record.only is None:
                self._known_params.update(record.data["params"])
        return rewinds, replaced

    # ------------------------------------------------------------------------------------------- recording

    def log_metrics(
        self,
        metrics: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        step: int | None = None,
        *,
        only: Logger | None = None,
    ) -> None:
        """Record numbers.

        Args:
            metrics: name -> number, tensor or array of one element, or a mapping of such, whose names are
                joined with ``/``; or what returns this when called on the journal's thread, where it may wait
                for a device.
            step: the step that they belong to; ``None`` for where training stands.
            only: the logger that they are for; ``None`` for all.

        Raises:
            MisconfigurationException: a value is not one number.
        """
        if callable(metrics):
            call = metrics
            self._put("metrics", step, lambda: numbers_of(call()), only)
        else:
            self._put("metrics", step, snapshot_metrics(metrics), only)

    def log_hyperparams(self, params: Any, *args: Any, only: Logger | None = None, **kwargs: Any) -> None:
        """Record hyper-parameters, and keep all of the run in ``hparams.yaml``.

        Args:
            params: a mapping, ``argparse.Namespace`` or dataclass, nested as one likes.
            args: the first further argument, or the keyword ``metrics``, may give numbers that belong to
                them.
            only: the logger that they are for; ``None`` for all.
            kwargs: see ``args``.

        Raises:
            MisconfigurationException: ``params`` is none of these.
        """
        data = snapshot_params(params)

        def write() -> Mapping[str, Any]:
            self._hparams.update(data)
            return {"params": data}

        if only is None and data and data.items() <= self._known_params.items():
            self._hparams.update(self._known_params)  # the trackers of a continued run have them
        else:
            self._put("hparams", None, write, only)
        metrics = kwargs.pop("metrics", args[0] if args else None)
        self._say_unused("log_hyperparams", kwargs)
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics}, only=only)

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
        """Record pictures.

        Args:
            key: their name.
            images: pictures, as ``fulmen.media.Image.of`` accepts them; one picture, or a batch ``(N, C, H,
                W)``.
            step: the step that they belong to; ``None`` for where training stands.
            captions: the words below each; also accepted as ``caption``.
            only: the logger that they are for; ``None`` for all.
            kwargs: lists of what else the one logger accepts, such as W&B's ``masks``; for all loggers this is
                not recorded, which is said once.

        Raises:
            MisconfigurationException: a value is no picture, or the number of captions is not that of the
                pictures.
        """
        captions = kwargs.pop("caption", captions)
        if self._is_foreign():
            return
        converted = pictures(key, images, captions)
        options = self._options("log_image", key, kwargs, len(converted), only)
        keep = self._media.keep_image
        self._put("image", step, lambda: {"key": key, "images": [keep(image) for image in converted], **options}, only)

    def log_text(
        self, key: str, text: Any = None, step: Any = None, *, only: Logger | None = None, **kwargs: Any
    ) -> None:
        """Record words under the name ``key``.

        With ``columns`` and ``data``, or ``dataframe``, as W&B's users write it, it is a table of words.
        """
        if isinstance(text, (list, tuple)):  # columns and data, by their places
            kwargs, step = {"columns": text, "data": step, **kwargs}, None
        if kwargs.keys() & {"columns", "data", "dataframe"}:
            self.log_table(key, step=kwargs.pop("step", step), only=only, **kwargs)
            return
        self._say_unused("log_text", kwargs)
        self._put("text", step, {"key": key, "text": str(text)}, only)

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
        """Record a table: rows of plain values below named columns, or a data frame, also as ``dataframe``.

        Raises:
            MisconfigurationException: there are no columns, or a row is of another length.
        """
        data = kwargs.pop("dataframe", data)
        self._say_unused("log_table", kwargs)
        table = Table.of(columns, [] if data is None else data)
        rows = exact([list(row) for row in table.rows])
        self._put("table", step, {"key": key, "columns": list(table.columns), "rows": rows}, only)

    def log_artifact(self, path: Any, name: str | None = None, *, only: Logger | None = None) -> None:
        """Record a file: it is copied into the run's folder before this returns, for it may change later.

        Raises:
            MisconfigurationException: there is no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise MisconfigurationException(
                f"the artifact {str(path)!r} is not a file; log the files of a folder one by one"
            )
        if self._is_foreign():
            return
        kept = {"file": self._media.keep_file(path), "name": name or path.name, "size": path.stat().st_size}
        self._put("artifact", None, kept, only)

    def log_histogram(
        self,
        key: str,
        values: Any,
        step: int | None = None,
        bins: int = BINS,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Record how values are distributed; nothing waits for their device.

        Args:
            key: its name.
            values: what ``fulmen.histogram.Histogram.of`` accepts.
            step: the step that it belongs to; ``None`` for where training stands.
            bins: how many ranges.
            only: the logger that it is for; ``None`` for all.
            kwargs: what else a tracker may accept is not recorded, which is said once.

        Raises:
            MisconfigurationException: there are no values, or they are no numbers.
        """
        self._say_unused("log_histogram", kwargs)
        if self._is_foreign():
            return
        made = ready_made(values)
        arrive = to_host({} if made else {key: counted(values, bins)})

        def data() -> Mapping[str, Any]:
            return {"key": key, **asdict(made or unpacked(arrive()[key]))}

        self._put("histogram", step, data, only)

    def log_audio(
        self,
        key: str,
        audios: Any,
        step: int | None = None,
        sample_rate: Any = None,
        captions: Any = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Record sounds.

        Args:
            key: their name.
            audios: a sound, as ``fulmen.audio.Audio.of`` accepts it, or several.
            step: the step that they belong to; ``None`` for where training stands.
            sample_rate: frames a second, one for all or one for each.
            captions: the words below each; also accepted as ``caption``.
            only: the logger that they are for; ``None`` for all.
            kwargs: what else a tracker may accept is not recorded, which is said once.

        Raises:
            MisconfigurationException: a value is no sound, or the numbers of things do not fit.
        """
        captions = kwargs.pop("caption", captions)
        self._say_unused("log_audio", kwargs)
        if self._is_foreign():
            return
        converted = sounds(key, audios, sample_rate, captions)
        keep = self._media.keep_audio
        self._put("audio", step, lambda: {"key": key, "audios": [keep(audio) for audio in converted]}, only)

    def log_video(
        self,
        key: str,
        videos: Any,
        step: int | None = None,
        fps: Any = 4,
        captions: Any = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Record videos.

        Args:
            key: their name.
            videos: a video, as ``fulmen.video.Video.of`` accepts it, or several.
            step: the step that they belong to; ``None`` for where training stands.
            fps: frames a second, one for all or one for each.
            captions: the words below each; also accepted as ``caption``.
            only: the logger that they are for; ``None`` for all.
            kwargs: what else a tracker may accept is not recorded, which is said once.

        Raises:
            MisconfigurationException: a value is no video, or the numbers of things do not fit.
        """
        captions = kwargs.pop("caption", captions)
        if kwargs.get("format") in ("gif", ["gif"]):  # what W&B's users write, and what an array becomes
            del kwargs["format"]
        self._say_unused("log_video", kwargs)
        if self._is_foreign():
            return
        converted = clips(key, videos, fps, captions)
        keep = self._media.keep_video
        self._put("video", step, lambda: {"key": key, "videos": [keep(video) for video in converted]}, only)

    def log_graph(self, graph: Graph, *, only: Logger | None = None) -> None:
        """Record a model's graph."""
        if self._is_foreign():
            return
        self.has_graph = True
        keep = self._media.keep_bytes
        self._put("graph", None, lambda: {"file": keep(graph.to_json().encode(), ".json")}, only)

    def log_checkpoints(self, callback: Checkpoint, *, only: Logger) -> None:
        """Record the checkpoints that a callback has written, now or at the end, as ``only.log_model`` says."""
        if self._is_foreign():
            return
        for data in self._checkpoints_of(only).written(callback):
            self._put("checkpoint", self._now(), data, only)

    # ---------------------------------------------------------------------------- for loggers and checkpoints

    def is_delivering(self) -> bool:
        """Return whether the calling thread is one that talks to a service."""
        return any(delivery.is_current_thread() for delivery in self._deliveries)

    def wait_until_open(self, logger: Logger) -> None:
        """Wait until the delivery thread has opened ``logger``.

        Raises:
            LoggerError: it is not open in time, or opening it cannot work, or this is a forked process.
        """
        if self._is_foreign():
            raise LoggerError(
                f"{type(logger).__name__} belongs to process {self._pid}; this process, {os.getpid()}, was "
                "forked from it and cannot use it"
            )
        self._delivery_of(logger).wait_until_open(self._open_timeout_s)

    def position(self) -> int:
        """Return the number of the next record: all that was recorded before has a lower one."""
        return self._journal.position()

    def sync(self) -> int:
        """Wait until the disk holds all that was recorded so far, not for services; return the next record's number."""
        return self._journal.sync()

    # --------------------------------------------------------------------------------------------- the end

    def finalize(self, status: str) -> list[Logger]:
        """Record that an entry point ended, and wait a limited time until the loggers have everything.

        What a logger does not have by then is named once, with the command that delivers it. The run goes on.

        Args:
            status: ``"success"``, ``"failed"`` or ``"interrupted"``.

        Returns:
            The loggers that do not have everything.
        """
        if self._is_foreign():
            return []
        self._status = status
        for logger in self.loggers:
            if logger.log_model and isinstance(logger, LogsCheckpoints):
                for data in self._checkpoints_of(logger).kept():
                    self._put("checkpoint", self._now(), data, logger)
        self._put("status", None, {"status": status})
        position = self._journal.sync()
        for delivery in self._deliveries:
            delivery.ask_for(position)
        return self._wait(lambda delivery, timeout_s: delivery.wait_until_delivered(position, timeout_s))

    def close(self, status: str | None = None) -> None:
        """Deliver the rest within a limited time and close the loggers; harmless when called again.

        Args:
            status: how the run ended; ``None`` for how its last entry point did.
        """
        if self._is_foreign():
            return
        if self._journal.is_current_thread() or self.is_delivering():
            # The garbage collector found the trainer gone while one of our threads ran; it cannot wait for itself.
            threading.Thread(target=self.close, args=(status,), name="fulmen-close", daemon=True).start()
            return
        if not self._closing.acquire(blocking=False):
            return
        status = status or self._status
        self._put("close", None, {"status": status})
        position = self._journal.sync()
        for delivery in self._deliveries:
            delivery.finish(position, status)
        try:
            self._wait(lambda delivery, timeout_s: delivery.wait_until_finished(timeout_s))
        finally:  # somebody may press Ctrl-C rather than wait
            for delivery in self._deliveries:
                delivery.give_up()
            self._journal.close()
            self._lock.release()
            self.is_closed = True
            for logger in self.loggers:
                if logger._recorder is self:
                    logger._recorder = None

    def _wait(self, is_done: Callable[[Delivery, float], bool]) -> list[Logger]:
        """Wait for all deliveries together, name each that is late, once, and return their loggers."""
        deadline_s = time.monotonic() + self._finish_timeout_s
        late = []
        for delivery in self._deliveries:
            left_s = max(0.0, deadline_s - time.monotonic())
            is_known = self._named.get(delivery.key) == delivery.next  # named before, and has not moved since
            if is_done(delivery, min(left_s, _GRACE_S) if is_known else left_s):
                continue
            late.append(delivery.logger)
            if not is_known:
                self._named[delivery.key] = delivery.next
                self._name_undelivered(delivery)
        return late

    def _name_undelivered(self, delivery: Delivery) -> None:
        error = delivery.last_error
        _log.warning(
            "%s did not take %d records within %g s%s. They are in the run's journal; deliver them with\n"
            "    fulmen sync %s --to %s",
            type(delivery.logger).__name__,
            delivery.undelivered,
            self._finish_timeout_s,
            f" ({describe(error)})" if error is not None else "",
            self.folder,
            registered_name(delivery.logger),
        )

    # --------------------------------------------------------------------------------------------- parts

    def _put(
        self,
        kind: str,
        step: int | None,
        data: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        only: Logger | None = None,
    ) -> None:
        if step is not None:
            self._step = step = int(step)
        elif kind in _KINDS_WITH_STEP:
            step = self._now()
        key = None if only is None else self._delivery_of(only).key
        self._journal.put(Entry(kind, time.time(), step, data, key))

    def _now(self) -> int:
        """Return where training stands: as whoever trains says, else the last step that was given."""
        return self._step if self._current_step is None else self._current_step()

    def _checkpoints_of(self, logger: Logger) -> Checkpoints:
        key = self._delivery_of(logger).key
        if key not in self._checkpoints:
            self._checkpoints[key] = Checkpoints(self.folder, key, logger.log_model)
        return self._checkpoints[key]

    def _options(
        self, method: str, key: str, kwargs: Mapping[str, Any], count: int, only: Logger | None
    ) -> dict[str, Any]:
        """Return further arguments as a part of a record, if there are any and the logger takes them."""
        if not kwargs or only is None or not takes_options(getattr(only, method)):
            self._say_unused(method, kwargs)
            return {}
        return {"options": self._media.keep_value(split_options(key, kwargs, count))}

    def _say_unused(self, method: str, kwargs: Mapping[str, Any]) -> None:
        for name in kwargs.keys() - self._said:
            self._said.add(name)
            _log.warning(
                "%s(%s=...) is not recorded, as not every tracker has it; use `trainer.logger.experiment`",
                method,
                name,
            )

    def _is_foreign(self) -> bool:
        return os.getpid() != self._pid

    def _delivery_of(self, logger: Logger) -> Delivery:
        for delivery in self._deliveries:
            if delivery.logger is logger:
                return delivery
        raise MisconfigurationException(
            f"{type(logger).__name__} is not a logger of this run; pass it to the Trainer as `logger`"
        )


def is_written_elsewhere(folder: Path) -> bool:
    """Return whether another process writes the run in this folder."""
    # Asking for the lock of a run that is open here would give it up.
    return folder.absolute() not in _open_runs and is_locked(folder)
