"""The Trainer's options in small frozen groups, each validated once, before anything runs."""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fulmen.errors import MisconfigurationException

Limit = int | float


@dataclass(frozen=True)
class Limits:
    """How many batches of each loader are used: a count, or a fraction of its length."""

    train: Limit
    val: Limit
    test: Limit
    predict: Limit
    sanity_val_steps: float  #: batches tried before training; ``inf`` for all

    @classmethod
    def of(
        cls,
        train: Limit | None,
        val: Limit | None,
        test: Limit | None,
        predict: Limit | None,
        overfit: Limit,
        sanity: int | None,
    ) -> Limits:
        """Validate the ``limit_*_batches`` arguments and fill in their defaults."""
        overfit = _limit("overfit_batches", overfit, default=0.0)
        train, val = (overfit, overfit) if overfit else (train, val)
        sanity = 2 if sanity is None else sanity
        sanity = _plain(sanity)
        if isinstance(sanity, bool) or not isinstance(sanity, int) or sanity < -1:
            raise _bad("num_sanity_val_steps", sanity, "a whole number >= 0", "use -1 for all batches")
        return cls(
            train=_limit("limit_train_batches", train),
            val=_limit("limit_val_batches", val),
            test=_limit("limit_test_batches", test),
            predict=_limit("limit_predict_batches", predict),
            sanity_val_steps=float("inf") if sanity == -1 else sanity,
        )


@dataclass(frozen=True)
class Schedule:
    """When training ends, and when it validates, logs and steps."""

    max_epochs: int  #: -1 for no limit
    has_no_limit: bool  #: whether ``max_epochs`` is the default of a program that set no limit at all
    min_epochs: int
    max_steps: int  #: optimizer steps, -1 for no limit
    min_steps: int
    max_time_s: float | None
    val_check_interval: int | float  #: batches (int) or a fraction of an epoch (float)
    val_check_interval_s: float | None  #: validation by the clock instead
    check_val_every_n_epoch: int | None  #: ``None`` counts batches across epochs
    log_every_n_steps: int
    accumulate_grad_batches: int
    reload_dataloaders_every_n_epochs: int

    @classmethod
    def of(
        cls,
        *,
        max_epochs: int | None,
        min_epochs: int | None,
        max_steps: int,
        min_steps: int | None,
        max_time: Any,
        val_check_interval: Any,
        check_val_every_n_epoch: int | None,
        log_every_n_steps: int | None,
        accumulate_grad_batches: int,
        reload_dataloaders_every_n_epochs: int,
    ) -> Schedule:
        """Validate the arguments that say when things happen, and fill in their defaults."""
        max_steps = -1 if max_steps is None else max_steps
        max_steps = _whole("max_steps", max_steps, least=-1, fix="use -1 for no limit")
        has_no_limit = max_epochs is None and max_steps == -1 and max_time is None
        if max_epochs is None:
            max_epochs = 1000 if has_no_limit else -1
        max_epochs = _whole("max_epochs", max_epochs, least=-1, fix="use -1 for no limit")
        if min_epochs is None:  # with a least number of steps, the first epoch is finished
            min_epochs = 1 if min_steps and max_epochs != 0 else 0
        min_epochs = _whole("min_epochs", min_epochs, least=0)
        min_steps = _whole("min_steps", 0 if min_steps is None else min_steps, least=0)
        if max_epochs != -1 and min_epochs > max_epochs:
            raise _bad("min_epochs", min_epochs, f"at most max_epochs={max_epochs}", "lower it, or raise max_epochs")
        if check_val_every_n_epoch is not None:
            check_val_every_n_epoch = _whole(
                "check_val_every_n_epoch", check_val_every_n_epoch, least=1, fix="use None to count batches"
            )
        interval_s = None
        is_fraction = False
        if val_check_interval is None:
            val_check_interval = 1.0
        elif isinstance(val_check_interval, (str, timedelta, Mapping)):
            interval_s = seconds_of("val_check_interval", val_check_interval)
            val_check_interval = 1.0
        else:
            val_check_interval = _limit("val_check_interval", val_check_interval)
            if val_check_interval == 0:
                raise _bad("val_check_interval", 0, "> 0", "use limit_val_batches=0 to turn validation off")
            is_fraction = isinstance(val_check_interval, float)
        if check_val_every_n_epoch is None and is_fraction:
            raise MisconfigurationException(
                f"`check_val_every_n_epoch=None` counts batches across epochs, so `val_check_interval` must be a whole "
                f"number of batches, but is {val_check_interval}; use e.g. val_check_interval=1000"
            )
        return cls(
            max_epochs=max_epochs,
            has_no_limit=has_no_limit,
            min_epochs=min_epochs,
            max_steps=max_steps,
            min_steps=min_steps,
            max_time_s=None if max_time is None else seconds_of("max_time", max_time),
            val_check_interval=val_check_interval,
            val_check_interval_s=interval_s,
            check_val_every_n_epoch=check_val_every_n_epoch,
            log_every_n_steps=_whole(
                "log_every_n_steps",
                50 if log_every_n_steps is None else log_every_n_steps,
                least=0,
                fix="use 0 to log at the ends of epochs only",
            ),
            accumulate_grad_batches=_whole(
                "accumulate_grad_batches", accumulate_grad_batches, least=1, fix="use 1 to step on every batch"
            ),
            reload_dataloaders_every_n_epochs=_whole(
                "reload_dataloaders_every_n_epochs", reload_dataloaders_every_n_epochs, least=0
            ),
        )


@dataclass(frozen=True)
class Clipping:
    """How gradients are clipped before the optimizer steps."""

    value: float | None
    algorithm: str  #: ``norm`` or ``value``

    @classmethod
    def of(cls, value: Any, algorithm: Any) -> Clipping:
        """Validate ``gradient_clip_val`` and ``gradient_clip_algorithm``."""
        value = _plain(value)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
            raise _bad("gradient_clip_val", value, "a number >= 0", "use None for no clipping")
        known = "norm" if algorithm is None else str(algorithm).lower()
        if known not in ("norm", "value"):
            raise _bad("gradient_clip_algorithm", algorithm, "'norm' or 'value'")
        return cls(value or None, known)


@dataclass(frozen=True)
class Debugging:
    """Switches for finding out what is wrong."""

    fast_dev_run: int  #: batches of each loader in a trial run that writes nothing; 0 for a real run
    overfit_batches: Limit
    detect_anomaly: bool
    barebones: bool  #: measure the bare loop: nothing is logged, shown or saved
    deterministic: bool | str | None
    benchmark: bool | None
    inference_mode: bool

    @classmethod
    def of(cls, fast_dev_run: Any, overfit_batches: Limit, **rest: Any) -> Debugging:
        """Validate the arguments that are for debugging."""
        fast_dev_run = _plain(fast_dev_run)
        if not isinstance(fast_dev_run, (bool, int)) or fast_dev_run < 0:
            raise _bad("fast_dev_run", fast_dev_run, "True, False or a number of batches >= 0")
        if not any(rest["deterministic"] is known for known in (None, True, False)) and rest["deterministic"] != "warn":
            raise _bad("deterministic", rest["deterministic"], "True, False or 'warn'")
        return cls(int(fast_dev_run), _limit("overfit_batches", overfit_batches, default=0.0), **rest)


def seconds_of(name: str, value: Any) -> float:
    """Return a duration in seconds from ``"DD:HH:MM:SS"``, a ``timedelta`` or a dict of its arguments."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        try:
            return timedelta(**value).total_seconds()
        except (TypeError, OverflowError) as error:
            raise _bad(name, value, "a dict of days, hours, minutes and seconds") from error
    parts = str(value).split(":")
    if isinstance(value, str) and len(parts) == 4 and all(part.isdigit() for part in parts):
        days, hours, minutes, seconds = map(int, parts)
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    raise _bad(name, value, "'DD:HH:MM:SS', a timedelta, or a dict such as {'hours': 2}")


def from_environment(name: str, given: Any, default: Any) -> Any:
    """Return an argument, or what ``FULMEN_TRAINER_<NAME>`` or ``PL_TRAINER_<NAME>`` says where it was not given.

    Raises:
        MisconfigurationException: the argument belongs to no group of this file and has a value that cannot work.
    """
    value = given
    if given is default or given == default:
        for prefix in ("FULMEN_TRAINER_", "PL_TRAINER_"):
            text = os.environ.get(prefix + name.upper())
            if text is not None:
                value = parsed(text)
                break
    if name in _SWITCHES:
        return _switch(name, value)
    if name == "finish_timeout":
        value = _plain(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise _bad(name, value, "a number of seconds >= 0")
    if name == "default_root_dir" and not isinstance(value, (str, os.PathLike, type(None))):
        raise _bad(name, value, "a path", "use None for the working directory")
    return value


def parsed(text: str) -> Any:
    """Return the boolean, ``None``, number or string that a text stands for."""
    """Return the value that a text stands for: a Python literal, true, false, none, or the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


#: the arguments that switch something on or off, and whether None stands for a default of theirs
_SWITCHES = {
    "enable_checkpointing": True,
    "enable_progress_bar": True,
    "enable_model_summary": True,
    "benchmark": True,
    "inference_mode": False,
    "use_distributed_sampler": False,
    "detect_anomaly": False,
    "barebones": False,
    "sync_batchnorm": False,
    "enable_autolog_hparams": False,
}


def _switch(name: str, value: Any) -> bool | None:
    value = _plain(value)
    if value is None and _SWITCHES[name]:
        return None
    if isinstance(value, int) and value in (0, 1):  # 0 and 1 too: environment variables are often written so
        return bool(value)
    raise _bad(name, value, "True or False")


def _plain(value: Any) -> Any:
    """Return a number of numpy's or a 0-d array or tensor as Python's own; everything else as it is."""
    if isinstance(value, (bool, int, float, str)) or getattr(value, "shape", None) != ():
        return value
    return value.item()


def _limit(name: str, value: Any, default: Limit = 1.0) -> Limit:
    if value is None:
        return default
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise _bad(name, value, "a whole number of batches >= 0, or a fraction between 0.0 and 1.0")
    if isinstance(value, float) and value > 1.0:
        if value != int(value):
            raise _bad(name, value, "a fraction between 0.0 and 1.0, or a whole number of batches")
        return int(value)  # files of settings often say 2.0 for 2
    return value


def _whole(name: str, value: Any, least: int, fix: str = "") -> int:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(name, value, f"a whole number >= {least}", fix)
    if value < least:
        raise _bad(name, value, f">= {least}", fix)
    return value


def _bad(name: str, value: Any, wanted: str, fix: str = "") -> MisconfigurationException:
    return MisconfigurationException(f"`{name}` must be {wanted}, but is {value!r}" + (f"; {fix}" if fix else ""))
