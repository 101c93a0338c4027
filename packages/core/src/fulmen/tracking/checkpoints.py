"""Checkpoints on their way to services: which go there, and a second name for each file until they are there."""

from __future__ import annotations

import logging
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fulmen.callback import Checkpoint
from fulmen.errors import LoggerError

_log = logging.getLogger("fulmen")

_SETTINGS = ("monitor", "mode", "save_last", "save_top_k", "save_weights_only", "every_n_train_steps")
_MOST_HELD = 3  # files of one logger that only we still keep; each may be large


class Checkpoints:
    """The checkpoint files that one logger has to get.

    The file that a callback wrote may be removed or replaced before the service has it. So it gets a second name in the
    run's folder until then, which costs no copy; where that is impossible, as on another disk, it is copied.

    Args:
        run_folder: the run's folder.
        key: the logger's key among the run's loggers.
        log_model: ``True`` for those that are kept at the end, ``"all"`` for each.
    """

    def __init__(self, run_folder: Path, key: str, log_model: Any) -> None:
        self._run_folder = run_folder
        self._folder = run_folder / "media" / "checkpoints"
        self._key = key
        self._log_model = log_model
        self._known: dict[str, int] = {}  # path -> time of its newest content that was recorded
        self._callbacks: dict[int, Checkpoint] = {}
        self._held: deque[Path] = deque()
        self._number = 0
        self._has_said = False

    def written(self, callback: Checkpoint) -> Iterator[dict[str, Any]]:
        """Yield what records say of the files that a callback has just written, if they go to the service now."""
        self._callbacks[id(callback)] = callback
        if self._log_model == "all" or callback.save_top_k == -1:
            yield from self._new_files(callback)

    def kept(self) -> Iterator[dict[str, Any]]:
        """Yield what records say of the files that callbacks have kept, at the end of training."""
        for callback in self._callbacks.values():
            yield from self._new_files(callback)
        self._callbacks.clear()

    def _new_files(self, callback: Checkpoint) -> Iterator[dict[str, Any]]:
        scores: dict[str, Any] = {callback.last_model_path: callback.current_score}
        scores |= {callback.best_model_path: callback.best_model_score, **callback.best_k_models}
        found = []
        for path, score in scores.items():
            if not path:
                continue
            if "://" in path:
                self._say_once(f"the checkpoint {path} is not on this machine, so it is not uploaded")
            elif os.path.exists(path):
                found.append((os.stat(path).st_mtime_ns, path, score))
        for time_ns, path, score in sorted(found, key=lambda one: one[0]):
            if self._known.get(path) == time_ns:
                continue
            self._known[path] = time_ns
            yield {
                "name": os.path.basename(path),
                "path": path,
                "file": self._hold(Path(path)),
                "aliases": ["latest", "best"] if path == callback.best_model_path else ["latest"],
                "score": None if score is None else float(score),
                "callback": {"type": type(callback).__name__, **_settings(callback)},
            }

    def _hold(self, path: Path) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        while (target := self._folder / f"{self._key}-{self._number}-{path.name}").exists():
            self._number += 1
        if path.is_dir():
            shutil.copytree(path, target, copy_function=_link)
        else:
            _link(path, target)
        self._held.append(target)
        self._let_go_of_the_oldest()
        return target.relative_to(self._run_folder).as_posix()

    def _let_go_of_the_oldest(self) -> None:
        """Keep a service that is away from filling the disk."""
        self._held = deque(path for path in self._held if path.exists())
        while len(self._held) > _MOST_HELD:
            _remove(self._held.popleft())
            self._say_once(
                f"more than {_MOST_HELD} checkpoints wait for {self._key}, which gets the oldest only if they are not "
                "removed otherwise"
            )

    def _say_once(self, message: str) -> None:
        if not self._has_said:
            self._has_said = True
            _log.warning("%s", message)


def held_file(run_folder: Path, data: Mapping[str, Any]) -> Path:
    """Return where the checkpoint lies of which a record says ``data``.

    Raises:
        LoggerError: it is gone.
    """
    for path in (run_folder / data["file"], Path(data["path"])):
        if path.exists():
            return path
    raise LoggerError(f"the checkpoint {data['path']} was removed before it could be delivered")


def release(run_folder: Path, data: Mapping[str, Any]) -> None:
    """Remove the second name of a checkpoint that the service has."""
    _remove(run_folder / data["file"])


def _settings(callback: Checkpoint) -> dict[str, Any]:
    found = {name: getattr(callback, name, None) for name in _SETTINGS}
    return {name: value for name, value in found.items() if isinstance(value, (str, int, float)) or value is None}


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another disk, or a file system without a second name
        shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
