"""``fulmen.callbacks.ProgressBar``: since 1.5 the class that bars derive from, until then the bar that tqdm draws.

Imported when a program names it, this lets the class be used in both ways: ``ProgressBar(refresh_rate=20)`` makes a
``TQDMProgressBar``, and a class with ``init_train_tqdm`` or its like derives from that one.
"""

from __future__ import annotations

from typing import Any

from fulmen.callback import ProgressBar
from fulmen.legacy.spelling import say_old

__all__ = ["ProgressBar"]


def _tqdm_bar() -> Any:
    from fulmen.registry import CALLBACKS, load

    return load(CALLBACKS, "tqdm_progress_bar")


def _make(cls: type, *args: Any, **kwargs: Any) -> Any:
    if cls is not ProgressBar or not (args or kwargs):
        return object.__new__(cls)
    words = ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
    say_old("FUL106", f"`ProgressBar({words})`", f"`TQDMProgressBar({words})`")
    return _tqdm_bar()(*args, **kwargs)


def _derive(cls: Any, /, **kwargs: Any) -> None:
    super(ProgressBar, cls).__init_subclass__(**kwargs)
    draws = any(name.startswith("init_") and name.endswith("_tqdm") for name in vars(cls))
    if draws and ProgressBar in cls.__bases__ and not cls.__module__.startswith("fulmen"):
        say_old("FUL106", f"`class {cls.__name__}(ProgressBar)`", f"`class {cls.__name__}(TQDMProgressBar)`")
        cls.__bases__ = tuple(_tqdm_bar() if base is ProgressBar else base for base in cls.__bases__)


setattr(ProgressBar, "__new__", staticmethod(_make))  # noqa: B010  mypy knows no assignment to a method
setattr(ProgressBar, "__init_subclass__", classmethod(_derive))  # noqa: B010
