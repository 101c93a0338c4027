"""Profiler: what measures named actions. ``NoProfiler`` stands in where nobody measures.

A trainer asks once, before a loop, for each call with its profiler around it (:meth:`Profiler.wrap`). The null object
gives the bare call back, so a run that is not profiled has neither a context manager nor a call more.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from fulmen.errors import MisconfigurationException, nearest
from fulmen.rank import rank_zero_info

if TYPE_CHECKING:
    from fulmen.module import LightningModule

T = TypeVar("T")
Fn = TypeVar("Fn", bound=Callable[..., Any])

#: word of ``Trainer(profiler=...)`` -> class in this package
_BY_NAME = {
    "simple": "SimpleProfiler",
    "advanced": "AdvancedProfiler",
    "pytorch": "PyTorchProfiler",
    "xla": "XLAProfiler",
}
_UNSAFE_IN_FILE_NAMES = re.compile(r"[\\/:*?\"<>|\s]+")


class Profiler(ABC):
    """Base of all profilers: override ``start`` and ``stop``, and ``summary`` for the report.

    Usable alone too, without a Trainer::

        profiler = SimpleProfiler()
        with profiler.profile("load the data"):
            ...
        profiler.describe()

    Args:
        dirpath: the folder of the report; by default the run's.
        filename: the report is written to ``dirpath/fit-filename.txt`` (and ``validate-``, ``test-``, ``predict-``);
            by default it is printed.
    """

    #: what runs, told by the Trainer; a weak reference
    _lightning_module: LightningModule | None = None

    def __init__(self, dirpath: str | os.PathLike[str] | None = None, filename: str | None = None) -> None:
        self.dirpath: str | None = None if dirpath is None else os.fspath(dirpath)
        self.filename = filename
        self._lies_with_the_run = dirpath is None
        self._stage: str | None = None
        self._local_rank: int | None = None

    # -------------------------------------------------------------------------------------- what it measures

    @abstractmethod
    def start(self, action_name: str) -> None:
        """Begin to measure an action."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """End measuring an action."""

    def summary(self) -> str:
        """Return the report."""
        return ""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """Measure what runs inside of the block as this action."""
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def wrap(self, action_name: str, fn: Fn) -> Fn:
        """Return ``fn`` such that each call of it is this action."""

        def profiled(*args: Any, **kwargs: Any) -> Any:
            self.start(action_name)
            try:
                return fn(*args, **kwargs)
            finally:
                self.stop(action_name)

        return profiled  # type: ignore[return-value]  # takes and returns what `fn` does

    def wrap_iterator(self, action_name: str, iterator: Iterator[T]) -> Iterator[T]:
        """Return ``iterator`` such that each wait for its next item is this action."""
        while True:
            self.start(action_name)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.stop(action_name)
            yield item

    # -------------------------------------------------------------------------------------------- around a run

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """Begin an entry point of the Trainer.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
            local_rank: the rank of this process where there are several; it becomes part of file names.
            log_dir: the run's folder, for a profiler that was not given one.
        """
        self._stage = stage
        self._local_rank = local_rank
        if self._lies_with_the_run:
            self.dirpath = log_dir

    def teardown(self, stage: str | None) -> None:
        """End an entry point, after the report."""

    def describe(self) -> None:
        """Write the report to its file, or print it."""
        summary = self.summary()
        if summary and self.filename and self.dirpath:
            with open_file(os.path.join(self.dirpath, self._prepare_filename()), "a") as file:
                file.write(summary)
        elif summary and self._local_rank in (None, 0):
            rank_zero_info("%s", summary)
        self.teardown(self._stage)

    @property
    def local_rank(self) -> int:
        """The rank of this process on its machine."""
        return self._local_rank or 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lightning_module"}

    def _prepare_filename(self, action_name: str | None = None, extension: str = ".txt") -> str:
        """Return a file's name: stage, ``filename``, rank and action, those that there are."""
        rank = None if self._local_rank is None else str(self._local_rank)
        parts = [part for part in (self._stage, self.filename, rank, action_name) if part]
        return (_UNSAFE_IN_FILE_NAMES.sub("_", "-".join(parts)) or "profile") + extension

    def _title(self) -> str:
        return f"{self._stage.upper()} Profiler Report" if self._stage else "Profiler Report"

    def _stats_to_str(self, stats: Mapping[str, str]) -> str:
        """Return a report of one text an action."""
        rank = "" if self._local_rank is None else f" rank: {self._local_rank}"
        parts = [f"Profile stats for: {action}{rank}\n{text}" for action, text in stats.items()]
        return "\n".join([self._title(), *parts])


class NoProfiler(Profiler):
    """Measures nothing and costs nothing: what ``trainer.profiler`` is by default."""

    def start(self, action_name: str) -> None:
        """Measure nothing."""

    def stop(self, action_name: str) -> None:
        """Measure nothing."""

    def profile(self, action_name: str) -> AbstractContextManager[str]:  # type: ignore[override]
        """Return a context that does nothing."""
        return nullcontext(action_name)

    def wrap(self, action_name: str, fn: Fn) -> Fn:
        """Return ``fn`` itself."""
        return fn

    def wrap_iterator(self, action_name: str, iterator: Iterator[T]) -> Iterator[T]:
        """Return ``iterator`` itself."""
        return iterator


NO_PROFILER = NoProfiler()
#: the name under which programs of the field know it
PassThroughProfiler = NoProfiler


def make_profiler(profiler: Any) -> Profiler:
    """Return the profiler that ``Trainer(profiler=...)`` stands for.

    Args:
        profiler: ``None``, one of the words "simple", "advanced", "pytorch" and "xla", or a ``Profiler``.

    Raises:
        MisconfigurationException: it is something else.
        MissingPackageError: ``"xla"`` without torch_xla.
    """
    if profiler is None:
        return NO_PROFILER
    if isinstance(profiler, Profiler):
        return profiler
    if isinstance(profiler, str) and profiler.lower() in _BY_NAME:
        from fulmen import profilers

        made: Profiler = getattr(profilers, _BY_NAME[profiler.lower()])()
        return made
    words = ", ".join(map(repr, _BY_NAME))
    if isinstance(profiler, str):
        raise MisconfigurationException(
            f"`profiler` must be one of {words}, but is {profiler!r}{nearest(profiler.lower(), _BY_NAME)}"
        )
    what = "the class; make an object of it" if isinstance(profiler, type) else f"a {type(profiler).__name__}"
    raise MisconfigurationException(
        f"`profiler` must be one of {words}, or a fulmen.profilers.Profiler, but is {profiler!r:.80}, {what}"
    )


def action_of(owner: object, hook: str) -> str:
    """Return the action's name for a method of a module, a data module, a callback or a strategy."""
    from fulmen.callback import Callback  # imported late, as the two below: they lead back to this file
    from fulmen.datamodule import LightningDataModule
    from fulmen.module import LightningModule

    if isinstance(owner, Callback):
        return f"[Callback]{owner.state_key}.{hook}"
    kinds = ((LightningModule, "LightningModule"), (LightningDataModule, "LightningDataModule"))
    kind = next((name for cls, name in kinds if isinstance(owner, cls)), "Strategy")
    return f"[{kind}]{type(owner).__name__}.{hook}"


def open_file(path: str, mode: str) -> IO[Any]:
    """Open a local file, whose folder is made, or a URL that fsspec knows."""
    if "://" in path:
        import fsspec  # only where a URL is used

        file_system, remote = fsspec.core.url_to_fs(path)
        file_system.makedirs(os.path.dirname(remote), exist_ok=True)
        if mode.startswith("a") and not file_system.exists(remote):  # which some file systems refuse
            mode = mode.replace("a", "w")
        opened: IO[Any] = file_system.open(remote, mode, **({} if "b" in mode else {"encoding": "utf-8"}))
        return opened
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return open(path, mode, encoding=None if "b" in mode else "utf-8")
