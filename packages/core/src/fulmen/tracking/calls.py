"""Calls: what a logger is called with for each kind of record."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fulmen.graph import Graph
from fulmen.histogram import Histogram
from fulmen.logger import (
    Logger,
    LogsArtifacts,
    LogsAudio,
    LogsCheckpoints,
    LogsGraph,
    LogsHistograms,
    LogsImages,
    LogsTables,
    LogsText,
    LogsVideo,
    SavedCheckpoint,
)
from fulmen.tracking.checkpoints import held_file
from fulmen.tracking.media import MediaStore
from fulmen.tracking.record import Record

#: kind -> the capability that it needs, and what a logger without it cannot do
CAPABILITIES: dict[str, tuple[type, str]] = {
    "image": (LogsImages, "show images"),
    "text": (LogsText, "show text"),
    "table": (LogsTables, "show tables"),
    "artifact": (LogsArtifacts, "keep files"),
    "histogram": (LogsHistograms, "show histograms"),
    "audio": (LogsAudio, "play sounds"),
    "video": (LogsVideo, "play videos"),
    "graph": (LogsGraph, "show graphs"),
    "checkpoint": (LogsCheckpoints, "keep checkpoints"),
}


class Calls:
    """Says for each record how a logger is called.

    Args:
        logger: the logger.
        media: the run's pictures and files.
    """

    def __init__(self, logger: Logger, media: MediaStore) -> None:
        self._logger: Any = logger
        self._media = media
        self._takes_time = "time_s" in inspect.signature(logger.log_metrics).parameters

    def lacks(self, kind: str) -> str | None:
        """Return what the logger cannot do with a kind of record, ``None`` where it can."""
        if kind not in CAPABILITIES or isinstance(self._logger, CAPABILITIES[kind][0]):
            return None
        return CAPABILITIES[kind][1]

    def of(self, record: Record) -> Callable[[], object] | None:
        """Return the call that delivers a record; ``None`` for one that the logger has no use for."""
        logger, media = self._logger, self._media
        kind, data, step = record.kind, record.data, record.step
        if self.lacks(kind) is not None:
            return None
        if kind == "metrics" and data:
            time_s = {"time_s": record.time_s} if self._takes_time else {}
            return lambda: logger.log_metrics(data, step, **time_s)
        if kind == "hparams":
            return lambda: logger.log_hyperparams(data["params"])
        if kind == "image":
            return lambda: logger.log_image(
                data["key"],
                [media.image(kept) for kept in data["images"]],
                step,
                **media.value(data.get("options", {})),
            )
        if kind == "text":
            return lambda: logger.log_text(data["key"], data["text"], step)
        if kind == "table":
            return lambda: logger.log_table(data["key"], data["columns"], data["rows"], step)
        if kind == "artifact":
            return lambda: logger.log_artifact(media.path(data["file"]), data["name"])
        if kind == "histogram":
            return lambda: logger.log_histogram(
                data["key"], Histogram(tuple(data["edges"]), tuple(data["counts"]), data["left_out"]), step
            )
        if kind == "audio":
            return lambda: logger.log_audio(data["key"], [media.audio(kept) for kept in data["audios"]], step)
        if kind == "video":
            return lambda: logger.log_video(data["key"], [media.video(kept) for kept in data["videos"]], step)
        if kind == "graph":
            return lambda: logger.draw_graph(Graph.from_json(media.path(data["file"]).read_text(encoding="utf-8")))
        if kind == "checkpoint":
            return lambda: logger.log_checkpoint(
                SavedCheckpoint(
                    path=held_file(media.run_folder, data),
                    name=data["name"],
                    aliases=tuple(data["aliases"]),
                    step=step or 0,
                    score=data["score"],
                    callback=data["callback"],
                )
            )
        if kind == "status":
            return lambda: (logger.save(), logger.finalize(data["status"]))
        return None


def takes_options(method: Callable[..., Any]) -> bool:
    """Return whether a method takes any further argument."""
    kinds = [parameter.kind for parameter in inspect.signature(method).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds
