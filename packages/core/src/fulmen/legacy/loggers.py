"""What loggers of Lightning 0.x and 1.x were made of and called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from fulmen.legacy.spelling import say_old
from fulmen.logger import Logger
from fulmen.rank import is_global_zero


class LoggerCollection(list[Logger]):
    """Several loggers in one object; ``Trainer(logger=...)`` takes it as the list that it is."""

    def __init__(self, logger_iterable: Iterable[Logger]) -> None:
        super().__init__(logger_iterable)
        say_old("FUL106", "`LoggerCollection([...])`", "`Trainer(logger=[...])`, and `trainer.loggers` for all of them")

    @property
    def experiment(self) -> list[Any]:
        """The SDK's own object of each logger."""
        return [getattr(logger, "experiment", None) for logger in self]


class TestTubeLogger:
    """Makes a ``TensorBoardLogger``: test-tube wrote its files and a table of the metrics, which every run has here."""

    __test__ = False  # a logger, whatever pytest takes it for

    def __new__(
        cls,
        save_dir: str = ".",
        name: str = "default",
        description: str | None = None,
        debug: bool = False,
        version: int | None = None,
        create_git_tag: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the ``TensorBoardLogger``."""
        from fulmen.registry import LOGGERS, load

        say_old(
            "FUL106",
            "`TestTubeLogger(...)`",
            f"`TensorBoardLogger({save_dir!r}, name={name!r})`; every run has a metrics.csv beside it",
        )
        return load(LOGGERS, "tensorboard")(save_dir, name=name, version=version, **kwargs)


class _Nothing:
    """Takes every call and gives nothing, in the place of an SDK's object in all processes but the first."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> _Nothing:
        return self

    def __getitem__(self, key: Any) -> _Nothing:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def rank_zero_experiment(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Let a logger's ``experiment`` make its object in the first process only; elsewhere one that takes every call."""

    @functools.wraps(fn)
    def of_first_process(self: Any) -> Any:
        return (fn(self) or _Nothing()) if is_global_zero() else _Nothing()

    return of_first_process
