"""How NeptuneLogger writes with ``neptune-scale``: into a SQLite file that loses nothing when a process is killed."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Neptune would drop what it cannot write and go on. It must raise, so that core tries again and keeps the record.
os.environ.setdefault("NEPTUNE_LOG_FAILURE_ACTION", "raise")

import neptune_scale
from neptune_scale.types import File
from neptune_scale.types import Histogram as NeptuneHistogram

from fulmen.histogram import Histogram

NAME = f"neptune-scale {version('neptune-scale')}"
OPTIONS = frozenset(inspect.signature(neptune_scale.Run.__init__).parameters) - {"self", "kwargs"}

_PATH_BYTES = 1024


class ScaleClient:
    """A run of neptune-scale."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self._files = run._storage_directory_path  # Neptune has no public word for it
        self.folder = None if self._files is None else str(self._files)

    @classmethod
    def begin(
        cls, run_id: str, project: str, name: str | None, folder: str, writes: bool, options: Mapping[str, Any]
    ) -> ScaleClient:
        """Begin a run, or go on with it: each process that writes to a run has a SQLite file of its own.

        Args:
            run_id: the run's id.
            project: ``workspace/project``.
            name: the experiment's name.
            folder: where the files go.
            writes: whether anything is written.
            options: for ``neptune_scale.Run``.
        """
        ours = {"enable_console_log_capture": False, "source_tracking_config": None, "experiment_name": name}
        mode: Any = "offline" if writes else "disabled"
        return cls(
            neptune_scale.Run(run_id=run_id, project=project, mode=mode, log_directory=folder, **{**ours, **options})
        )

    def metrics(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Append numbers to their series."""
        self.run.log_metrics(dict(_checked(values)), step, timestamp=datetime.fromtimestamp(time_s, timezone.utc))

    def values(self, values: Mapping[str, Any]) -> None:
        """Set single values: numbers, booleans and words."""
        self.run.log_configs(dict(_checked(values)))

    def text(self, path: str, text: str, step: int) -> None:
        """Append words to a series."""
        self.run.log_string_series(dict(_checked({path: text})), step)

    def histogram(self, path: str, histogram: Histogram, step: int) -> None:
        """Append a histogram to a series."""
        shown = NeptuneHistogram(list(histogram.edges), [int(count) for count in histogram.counts])
        self.run.log_histograms(dict(_checked({path: shown})), step)

    def picture(self, path: str, png: bytes, caption: str | None, step: int) -> None:
        """Append a picture to a series, and its words to the series ``PATH/caption``."""
        self.run.log_files(dict(_checked({path: File(png, mime_type="image/png")})), step)
        if caption:
            self.text(f"{path}/caption", caption, step)

    def content(self, path: str, data: bytes, suffix: str, step: int) -> None:
        """Append a file's content to a series."""
        if self._files is not None:
            kept = self._place(path, f"{step}{suffix}")
            kept.write_bytes(data)
            self.run.log_files(dict(_checked({path: kept})), step)

    def file(self, path: str, source: Path) -> None:
        """Keep a copy of a file, for Neptune itself keeps only where it was."""
        if self._files is not None:
            parent, _, name = path.rpartition("/")
            kept = self._place(parent, name)
            shutil.copyfile(source, kept)
            self.run.assign_files(dict(_checked({path: File(kept, mime_type="application/octet-stream")})))

    def flush(self) -> None:
        """Do nothing: each call has reached the disk when it returns."""

    def close(self) -> None:
        """End the run."""
        log = logging.getLogger("neptune")
        log.addFilter(_is_true)
        try:
            self.run.close()
        finally:
            log.removeFilter(_is_true)

    def _place(self, path: str, name: str) -> Path:
        assert self._files is not None
        folder = Path(self._files, "kept", *[part for part in path.split("/") if part not in ("", ".", "..")])
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def _is_true(record: logging.LogRecord) -> bool:
    """Leave out the advice to run `neptune sync`, which has nowhere to go to."""
    return "neptune sync" not in record.getMessage()


def _checked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return values under paths that Neptune takes.

    Raises:
        ValueError: a path is too long.
    """
    for path in values:
        if len(path.encode()) > _PATH_BYTES:
            raise ValueError(f"Neptune takes no path of more than {_PATH_BYTES} bytes, but {path:.40}... has more")
    return values
