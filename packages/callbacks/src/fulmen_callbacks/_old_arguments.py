"""Arguments that ModelCheckpoint and EarlyStopping had in earlier versions of the field's API, in today's words."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from fulmen.legacy.spelling import say_old

Arguments = dict[str, Any]


def with_old_arguments(
    translate: Callable[[tuple[Any, ...], Arguments], tuple[tuple[Any, ...], tuple[str, ...]]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let an ``__init__`` take old arguments as well.

    Args:
        translate: gets positional and keyword arguments, puts today's in place of old ones among the latter, and
            returns the positional ones that are left, and the names of metrics that were monitored by default.
    """

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(init)
        def translating(self: Any, *args: Any, **kwargs: Any) -> None:
            args, by_default = translate(args, kwargs)
            init(self, *args, **kwargs)
            # Whoever sees the module chooses among these the one that it logs; see `fulmen.legacy.monitors`.
            self._monitors_by_default = by_default

        return translating

    return decorate


def of_checkpoint(args: tuple[Any, ...], kwargs: Arguments) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Translate ``filepath``, ``prefix``, ``period``, ``every_n_val_epochs`` and ``mode="auto"``."""
    if args and isinstance(args[0], str) and "{" in os.path.basename(args[0]):
        kwargs["filepath"] = args[0]  # a template in first place, where the folder stands today
        args = args[1:]
        if args:  # the monitor came second
            kwargs["monitor"], args = args[0], args[1:]
    old: Arguments = {
        name: kwargs.pop(name) for name in ("filepath", "prefix", "period", "every_n_val_epochs") if name in kwargs
    }
    if "filepath" in old or "prefix" in old:
        folder, filename = _split(old.get("filepath"))
        if folder is not None:
            kwargs["dirpath"] = folder
        if old.get("prefix"):
            filename = f"{old['prefix']}-{filename or kwargs.get('filename') or '{epoch}'}"
        if filename:
            kwargs["filename"] = filename
    for name in ("period", "every_n_val_epochs"):
        if name in old:
            kwargs["every_n_epochs"] = old[name]
    if old:
        changed: Arguments = {
            name: kwargs[name] for name in ("dirpath", "filename", "every_n_epochs") if name in kwargs
        }
        _say("ModelCheckpoint", old, changed)
    _choose_mode("ModelCheckpoint", kwargs.get("monitor"), kwargs)
    if ("filepath" in old or "prefix" in old) and kwargs.get("monitor") is None and len(args) < 3:
        kwargs["monitor"] = "val_loss"
        return args, ("checkpoint_on", "val_loss")
    return args, ()


def of_early_stopping(args: tuple[Any, ...], kwargs: Arguments) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Translate a missing ``monitor`` and ``mode="auto"``."""
    monitor = args[0] if args else kwargs.get("monitor")
    by_default: tuple[str, ...] = ()
    if monitor is None:
        say_old("FUL112", "`EarlyStopping()` without `monitor`", "`EarlyStopping('val_loss')`")
        monitor = kwargs["monitor"] = "val_loss"
        by_default = ("early_stop_on", "val_loss")
    _choose_mode("EarlyStopping", monitor, kwargs)
    return args, by_default


def _split(filepath: str | None) -> tuple[str | None, str | None]:
    """Return folder and file name of ``filepath``, which is a folder where there is one of that name."""
    if filepath is None:
        return None, None
    if os.path.isdir(filepath):
        return filepath, None
    folder, name = os.path.split(filepath)
    return folder or ".", name.removesuffix(".ckpt") or None


def _choose_mode(callback: str, monitor: str | None, kwargs: Arguments) -> None:
    if kwargs.get("mode") == "auto":
        kwargs["mode"] = "max" if "acc" in (monitor or "") or (monitor or "").startswith("fmeasure") else "min"
        _say(callback, {"mode": "auto"}, {"mode": kwargs["mode"]})


def _say(callback: str, old: Arguments, modern: Arguments) -> None:
    words = (", ".join(f"{name}={value!r}" for name, value in one.items()) for one in (old, modern))
    before, after = words
    say_old("FUL112", f"`{callback}({before})`", f"`{callback}({after})`")
