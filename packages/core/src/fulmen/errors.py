"""The errors that Fulmen raises on purpose, and the classes of its warnings; messages say what, the value, the fix."""

from __future__ import annotations

import difflib
import warnings
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


class SIGTERMException(SystemExit):
    """The process was asked to end by SIGTERM; its exit status is 143 where nobody catches this."""

    def __init__(self) -> None:
        super().__init__(143)


class LoggerError(FulmenError):
    """A tracker could not be opened or written to; the points stay in the run's journal."""


class FulmenDeprecationWarning(DeprecationWarning):
    """Something works now and goes away in a later version; the message has the line to write in its place."""


class PossibleUserWarning(UserWarning):
    """A warning about what is often, but not always, a mistake; see :func:`disable_possible_user_warnings`."""


def disable_possible_user_warnings(module: str = "") -> None:
    """Silence the warnings that may be false alarms; ``POSSIBLE_USER_WARNINGS=off`` does so from outside.

    Args:
        module: only those whose line lies in modules with this regular expression as beginning; all by default.
    """
    warnings.filterwarnings("ignore", category=PossibleUserWarning, module=module)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word nearest to ``word``, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
