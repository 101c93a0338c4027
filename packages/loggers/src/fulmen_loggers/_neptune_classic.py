"""How NeptuneLogger writes with ``neptune`` 1.x: into a file of JSON operations, as its offline mode keeps them."""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import neptune
from neptune.types import File

from fulmen.histogram import Histogram

_log = logging.getLogger(__name__)

NAME = f"neptune {version('neptune')}"
OPTIONS = frozenset(inspect.signature(neptune.Run.__init__).parameters) - {"self", "kwargs", "with_id"}


class ClassicClient:
    """A run of neptune 1.x."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.folder: str | None = ".neptune/offline"
        self._has_said = False

    @classmethod
    def begin(
        cls, run_id: str, project: str, name: str | None, folder: str, writes: bool, options: Mapping[str, Any]
    ) -> ClassicClient:
        """Begin a run, or go on with it: each process that writes to a run has a folder of its own.

        Args:
            run_id: the run's id. Neptune draws another for each folder; ours is the value ``fulmen/run_id``.
            project: ``workspace/project``.
            name: the run's name.
            folder: has no effect: Neptune writes into ``.neptune`` in the working directory, or where
                ``NEPTUNE_DATA_DIRECTORY`` said when it was imported.
            writes: whether anything is written.
            options: for ``neptune.init_run``.
        """
        quiet = ("capture_stdout", "capture_stderr", "capture_hardware_metrics", "capture_traceback", "git_ref")
        ours: dict[str, Any] = {**dict.fromkeys(quiet, False), "source_files": [], "name": name}
        mode: Any = "offline" if writes else "debug"
        run = neptune.init_run(project=project, mode=mode, **{**ours, **options})
        run["fulmen/run_id"] = run_id
        return cls(run)

    def metrics(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Append numbers to their series; those that are not finite are said once, for Neptune drops them."""
        for path, value in values.items():
            if math.isfinite(value):
                self.run[path].append(value, step=step, timestamp=time_s)
            elif not self._has_said:
                self._has_said = True
                _log.warning("%s keeps neither NaN nor infinity; %s at step %d stays in the journal", NAME, path, step)

    def values(self, values: Mapping[str, Any]) -> None:
        """Set single values: numbers, booleans and words."""
        for path, value in values.items():
            self.run[path] = value

    def text(self, path: str, text: str, step: int) -> None:
        """Append words to a series."""
        self.run[path].append(text, step=step)

    def histogram(self, path: str, histogram: Histogram, step: int) -> None:
        """Keep a histogram as a JSON file, for Neptune 1.x has none."""
        self.content(path, json.dumps(asdict(histogram)).encode(), ".json", step)

    def picture(self, path: str, png: bytes, caption: str | None, step: int) -> None:
        """Append a picture with its words to a series."""
        self.run[path].append(File.from_content(png, extension="png"), step=step, description=caption)

    def content(self, path: str, data: bytes, suffix: str, step: int) -> None:
        """Keep a file's content; a series holds pictures only, so each step has a path of its own."""
        self.run[f"{path}/step_{step}"].upload(File.from_content(data, extension=suffix.removeprefix(".")))

    def file(self, path: str, source: Path) -> None:
        """Keep a copy of a file, for of a path Neptune itself keeps only where it was."""
        with source.open("rb") as stream:
            self.run[path].upload(File.from_stream(stream, extension=source.suffix.removeprefix(".") or "bin"))

    def flush(self) -> None:
        """Have the disk hold all that was written."""
        self.run.wait(disk_only=True)

    def close(self) -> None:
        """End the run."""
        self.run.stop()
