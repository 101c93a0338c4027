"""The errors that Fulmen raises on purpose: each message says what, the value and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FulmenError(Exception):
    """Base of every error that Fulmen raises on purpose."""


class MisconfigurationException(FulmenError):
    """The program asks for something that cannot work; the message names the value and the fix.

    The name is the one that users of the field catch already.
    """


class PluginError(FulmenError):
    """A logger, callback, metric or strategy could not be found or loaded by name."""


class MissingPackageError(PluginError, ImportError):
    """A plug-in was named whose SDK is not installed; the message is the command that installs it."""


class CheckpointError(FulmenError):
    """A checkpoint could not be written or read."""


class LoggerError(FulmenError):
    """A tracker could not be opened or written to; the points stay in the run's journal."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word nearest to ``word``, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
