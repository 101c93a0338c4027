"""Service: a logger that may be slow, broken or away, as something that is called until it works.

How a failed call is dealt with:

- ``FulmenError`` (so ``LoggerError``) and the errors of a wrong value or a wrong program (``ValueError``,
  ``TypeError``, ``LookupError``, ``AttributeError``, ``ImportError``, ...) would come again:
  :class:`Refused`.
- All else (``OSError``, so ``ConnectionError`` and ``TimeoutError`` too, and whatever an SDK raises) may
  pass: the call is made again, with growing pauses, until the run gives up. At every third failure in a row
  the logger is closed and opened anew, which helps where the SDK's own process or connection is broken.
- ``open`` is always tried again.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from fulmen.errors import FulmenError, LoggerError
from fulmen.logger import Logger, RunInfo

T = TypeVar("T")

_log = logging.getLogger("fulmen")

_REOPEN_EVERY = 3  # failures in a row
_ANNOUNCE_EVERY_S = 60.0  # a service that comes and goes is said no oftener

# A subclass of OSError that is also a ValueError, as `requests` has for an unreadable answer, may pass.
_MAY_PASS = (OSError, json.JSONDecodeError)
_COMES_AGAIN = (
    FulmenError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    Warning,  # the program makes errors of warnings
)


@dataclass(frozen=True)
class Backoff:
    """How long to wait before each new try: doubling, and a little at random to spread processes out."""

    first_s: float = 0.5
    longest_s: float = 30.0
    jitter: Callable[[], float] = random.random  #: in [0, 1): how much of the last quarter is waited

    def pauses(self) -> Iterator[float]:
        """Yield the pause before the second try, the third, and so on, in seconds."""
        pause_s = self.first_s
        while True:
            yield pause_s * (0.75 + 0.25 * self.jitter())
            pause_s = min(2 * pause_s, self.longest_s)


class Refused(Exception):
    """A call failed with an error that would come again."""


class GivenUp(Exception):
    """The run is over and waits no longer."""


class Service:
    """A logger, opened and called by one thread, until each call works.

    Args:
        logger: the logger.
        name: what messages call it.
        run: what it is told when it opens.
        resume_id: the service's id of the run, where an earlier process opened it.
        keeps: where the records are while the service is away, for messages.
        backoff: the pauses between tries.
        clock: seconds, for the intervals between messages.
    """

    def __init__(
        self,
        logger: Logger,
        name: str,
        *,
        run: RunInfo,
        resume_id: str | None,
        keeps: str,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.logger = logger
        self.name = name
        self.run_id = resume_id  #: the service's id of the run, once it is known
        self._run = run
        self._keeps = keeps
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._outage: BaseException | None = None
        self._announced_at_s = -math.inf
        self._is_announced = False
        self._given_up = threading.Event()
        self._hurried = threading.Event()
        self._changed = threading.Condition(threading.Lock())  # guards the next two
        self._is_open = False
        self._open_error: BaseException | None = None

    # --------------------------------------------------------------------------------------- other threads

    @property
    def last_error(self) -> BaseException | None:
        """What was raised last, unless a call has worked since."""
        return self._outage

    @property
    def has_given_up(self) -> bool:
        """Whether :meth:`give_up` was called."""
        return self._given_up.is_set()

    def wait_until_open(self, timeout_s: float) -> None:
        """Wait until the logger is open.

        Raises:
            LoggerError: it is not within ``timeout_s`` seconds, the run has given up, or opening failed with
                an error that would come again.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_open or comes_again(self._open_error) or self.has_given_up, timeout_s
            )
            if self._is_open:
                return
            error = self._open_error
        if error is None:
            raise LoggerError(f"{self.name} was not open within {timeout_s:g} s; its records stay in {self._keeps}")
        raise LoggerError(
            f"{self.name} could not be opened: {describe(error)}; its records stay in {self._keeps}"
        ) from error

    def hurry(self) -> None:
        """Cut the pause after a failed call short."""
        self._hurried.set()

    def give_up(self) -> None:
        """Have :meth:`attempt` raise ``GivenUp`` instead of trying again."""
        self._given_up.set()
        self.hurry()
        with self._changed:
            self._changed.notify_all()

    # --------------------------------------------------------------------------------- the delivery thread

    def attempt(self, call: Callable[[], T]) -> T:
        """Call, with the logger open, again and again until nothing is raised.

        Raises:
            Refused: the error would come again.
            GivenUp: the run waits no longer.
        """
        pauses = self._backoff.pauses()
        for failures in itertools.count(1):
            opened = False
            try:
                self._ensure_open()
                opened = True
                result = call()
            except BaseException as error:  # an SDK that calls sys.exit() must not end the thread either
                if opened and comes_again(error):
                    raise Refused(describe(error)) from error
                self._note_failure(error, opened)
                if opened and failures % _REOPEN_EVERY == 0:
                    self._close_to_reopen()
            else:
                self._note_success()
                return result
            if not self.has_given_up and self._hurried.wait(next(pauses)):
                self._hurried.clear()
                pauses = self._backoff.pauses()
            if self.has_given_up:
                raise GivenUp
        raise AssertionError("unreachable")

    def shut(self, status: str) -> None:
        """Close the logger if it is open; what that raises is said once."""
        try:
            self.logger.shut(status)
        except BaseException as error:
            _log.warning("%s failed to close: %s", self.name, describe(error))

    def _ensure_open(self) -> None:
        if self._is_open:
            return
        self.logger.ensure_open(replace(self._run, resume_id=self.run_id))
        self.run_id = self.logger.run_id
        with self._changed:
            self._is_open, self._open_error = True, None
            self._changed.notify_all()

    def _close_to_reopen(self) -> None:
        with self._changed:
            self._is_open = False
        try:
            self.logger.shut("interrupted")
        except BaseException as error:
            _log.debug("%s could not be closed before it is opened anew: %s", self.name, describe(error))

    def _note_failure(self, error: BaseException, opened: bool) -> None:
        if not opened:
            with self._changed:
                self._open_error = error
                self._changed.notify_all()
        now_s = self._clock()
        if self._outage is None and now_s - self._announced_at_s >= _ANNOUNCE_EVERY_S:
            self._announced_at_s = now_s
            self._is_announced = True
            _log.warning(
                "%s %s: %s. Training goes on, points stay in %s, and it is tried again",
                self.name,
                "did not take a record" if opened else "could not be opened",
                describe(error),
                self._keeps,
            )
        self._outage = error

    def _note_success(self) -> None:
        self._outage = None
        if self._is_announced:
            self._is_announced = False
            _log.warning("%s works again, and gets what waited", self.name)


def comes_again(error: BaseException | None) -> bool:
    """Return whether an error would come again, as the value or the program is wrong and not the service."""
    return isinstance(error, _COMES_AGAIN) and not isinstance(error, _MAY_PASS)


def describe(error: BaseException) -> str:
    """Return the type and the message of an error."""
    return f"{type(error).__name__}: {error}"
