"""Advice: what works, but is probably not meant, or could be had better.

Each piece of advice is one warning with a code such as ``FUL012``, given once for each distinct message, with the value
and the fix. ``docs/advice.md`` explains every code. To silence one::

    warnings.filterwarnings("ignore", message="FUL012")  # by Python's own means
    fulmen.advice.silence("FUL012")  # the same in one word
    FULMEN_SILENCE=FUL012,FUL014 python train.py  # from outside; "all" for all

Codes from ``FUL101`` on belong to ``fulmen.legacy``, and are silenced in the same ways.
"""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any

from fulmen.errors import PossibleUserWarning, nearest
from fulmen.rank import is_global_zero

#: code -> what triggers it, in a few words; a code is never given another meaning
CODES: dict[str, str] = {
    "FUL001": "training waits for its loader",
    "FUL002": "a loader's workers start anew in every epoch",
    "FUL003": "an evaluation loader shuffles",
    "FUL004": "a distributed sampler repeats samples in evaluation",
    "FUL005": "overfitting turns shuffling off",
    "FUL006": "pinned memory, persistent workers and reloading together",
    "FUL007": "training ends before its first log boundary",
    "FUL008": "layers that train start in evaluation mode",
    "FUL009": "no limit is set",
    "FUL010": "half of what validation needs",
    "FUL011": "nothing optimizes",
    "FUL012": "a schedule of steps is stepped by the epoch",
    "FUL013": "an unknown key in what `configure_optimizers` returned",
    "FUL014": "scheduler settings without effect in manual optimization",
    "FUL015": "a plateau scheduler finds nothing to look at",
    "FUL016": "`training_step` returned None",
    "FUL017": "the size of a batch is ambiguous",
    "FUL018": "whole numbers are averaged",
    "FUL019": "logging outside of a run",
    "FUL020": "logging without a logger",
    "FUL021": "logging in a bare run",
    "FUL022": "a hyper-parameter is a module",
    "FUL023": "a checkpoint keeps what safe loading refuses",
    "FUL024": "the checkpoint folder holds files of others",
    "FUL025": "the checkpoint folder changed on resume",
    "FUL026": "callbacks of the checkpoint are missing",
    "FUL027": "several callbacks know a best checkpoint",
    "FUL028": "there is no last checkpoint",
    "FUL029": "a device lies idle",
    "FUL030": "tensor cores are not used",
    "FUL031": "float16 on the CPU",
    "FUL032": "a loader can be gone through once only",
    "FUL033": "a loader gave None in place of a batch",
    "FUL034": "a resumed epoch draws its data anew",
    "FUL035": "a monitored key that nothing seems to log",
    "FUL036": "a callback that never acts",
    "FUL037": "fewer batches than are accumulated",
    "FUL038": "a scheduler that never steps",
    "FUL039": "two values of one name in the progress bar",
    "FUL040": "arguments are given twice",
    "FUL041": "the command line replaces `configure_optimizers`",
}

_silent: set[str] = set()
_said: set[str] = set()


class AdviceWarning(PossibleUserWarning):
    """Something works, but is probably not meant; the message begins with its code."""


def advise(code: str, message: str, where: CodeType | None = None) -> None:
    """Give a piece of advice, once for each distinct message, in the first process only.

    Args:
        code: one of :data:`CODES`.
        message: what, the value, and the fix.
        where: the function that it is about; by default the line of the program that is running.
    """
    assert code in CODES, code
    say(code, message, AdviceWarning, where)


def say(code: str, message: str, category: type[Warning], where: CodeType | None = None) -> None:
    """Warn once of ``code: message``, at the place in the user's program."""
    text = f"{code}: {message}"
    if text in _said or is_silent(code) or not is_global_zero():
        return
    _said.add(text)
    file, line = (where.co_filename, where.co_firstlineno) if where is not None else calling_line()
    warnings.warn_explicit(text, category, file, line)


def silence(*codes: str) -> None:
    """Give no advice of these codes any more in this process; without codes, none at all.

    Raises:
        ValueError: there is no such code.
    """
    for code in codes:
        if code not in CODES and not code.startswith("FUL1"):
            raise ValueError(f"there is no advice {code!r}{nearest(code, CODES)}")
    _silent.update(codes or ("all",))


def is_silent(code: str) -> bool:
    """Return whether a code was silenced, by :func:`silence` or by the environment."""
    outside = os.environ.get("FULMEN_SILENCE", "").replace(",", " ").split()
    return not {code, "all"}.isdisjoint({*outside, *_silent})


def forget() -> None:
    """Speak again of everything, silenced codes included; for tests."""
    _said.clear()
    _silent.clear()


def calling_line() -> tuple[str, int]:
    """Return file and line of the innermost frame of the user's program: neither ours nor torch's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_machinery(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def code_of(function: Callable[..., Any]) -> CodeType | None:
    """Return the code of a function of the user's, for :func:`advise`; ``None`` where it is not plain Python."""
    return getattr(inspect.unwrap(function), "__code__", None)


def _is_machinery(module: str) -> bool:
    return module.partition(".")[0] in ("fulmen", "torch", "contextlib", "importlib") or module.startswith("fulmen_")
