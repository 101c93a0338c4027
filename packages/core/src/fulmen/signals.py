"""Ctrl-C and SIGTERM: training ends between two batches, with everything recorded and the state whole.

A signal that arrives while a batch is trained on is kept until that batch is done, so that what is saved then can be
resumed from exactly. A second Ctrl-C, and a signal that arrives anywhere else, stops at once.
"""

from __future__ import annotations

import builtins
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fulmen.errors import SIGTERMException
from fulmen.rank import rank_zero_info
from fulmen.state import RunningStage, TrainerState


@contextmanager
def ending_between_batches(state: TrainerState) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what runs inside as above; handlers of the program's own stay.

    Signals can be handled in the main thread only; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def end(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked loader worker: its parent ends it
            if signum != signal.SIGINT:
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            return
        error: BaseException = KeyboardInterrupt()
        if signum == signal.SIGTERM:
            state.received_sigterm = True
            error = SIGTERMException()
        if not state.inside_batches or state.stage is not RunningStage.TRAINING or state.interruption is not None:
            state.interruption = None
            raise error
        state.interruption = error
        what = "Ctrl-C: stopping after this batch; press it again to stop at once"
        rank_zero_info(what if signum == signal.SIGINT else "SIGTERM: stopping after this batch")

    state.interruption = None
    state.received_sigterm = False
    before: dict[signal.Signals, Any] = {}
    for signum, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(signum) is default:
            before[signum] = signal.signal(signum, end)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def is_interactive() -> bool:
    """Return whether a person types the program as it runs: a notebook, IPython or Python's own prompt."""
    return hasattr(builtins, "__IPYTHON__") or hasattr(sys, "ps1") or bool(sys.flags.interactive)
