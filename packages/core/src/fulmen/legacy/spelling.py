"""The warning that each old spelling gives, once."""

from __future__ import annotations

import os
import sys
import warnings
from types import CodeType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_said: set[str] = set()


class OldSpellingWarning(FutureWarning):
    """A program uses a spelling of Lightning 0.x or 1.x; it works, and the message has the modern line."""


def say_old(code: str, old: str, modern: str, where: CodeType | None = None) -> None:
    """Warn once that a spelling is old.

    Args:
        code: such as ``FUL101``; silence it with ``warnings.filterwarnings("ignore", message="FUL101")``.
        old: what the program has.
        modern: the line to write in its place.
        where: the function that has it; by default the line of the program that is running.
    """
    if code + old in _said:
        return
    _said.add(code + old)
    if where is not None:
        file, line = where.co_filename, where.co_firstlineno
    else:
        file, line = _calling_line()
    message = f"{code}: {old} is an old spelling; write {modern}"
    warnings.warn_explicit(message, OldSpellingWarning, file, line)


def forget() -> None:
    """Warn again of what was said; for tests."""
    _said.clear()


def _calling_line() -> tuple[str, int]:
    """Return file and line of the innermost frame that is not ours."""
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_OURS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
