"""AdvancedProfiler: which Python functions each action spends its time in."""

from __future__ import annotations

import cProfile
import io
import marshal
import os
import pstats
from typing import Any

from fulmen.errors import MisconfigurationException
from fulmen.profilers.profiler import Profiler, open_file


class AdvancedProfiler(Profiler):
    """Runs each action under ``cProfile``; the report lists the functions of each, those first that took the longest.

    An action that begins inside another interrupts that one's measurement until it ends, since Python profiles into one
    place at a time: a function is found under the innermost action that called it.

    Args:
        dirpath: the folder of the report; by default the run's.
        filename: the report is written to ``dirpath/fit-filename.txt``; by default it is printed.
        line_count_restriction: functions listed of each action: a whole number, or a fraction between 0.0 and 1.0.
        dump_stats: write ``dirpath/fit-filename-ACTION.prof`` for each action too, which ``pstats`` and its viewers
            (snakeviz, tuna) read.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        super().__init__(dirpath, filename)
        self.line_count_restriction = line_count_restriction
        self.dump_stats = dump_stats
        self.profiled_actions: dict[str, cProfile.Profile] = {}
        self._under_way: list[str] = []

    def start(self, action_name: str) -> None:
        """Begin to measure an action; the one around it pauses.

        Raises:
            MisconfigurationException: another profiler of Python's is at work.
        """
        if self._under_way:
            self.profiled_actions[self._under_way[-1]].disable()
        self._under_way.append(action_name)
        profile = self.profiled_actions.setdefault(action_name, cProfile.Profile())
        try:
            profile.enable()
        except ValueError as error:  # Python 3.12 and newer let one profiler work at a time
            self._under_way.pop()
            raise MisconfigurationException(
                f"AdvancedProfiler cannot start: {error}; run the program without that one, or use SimpleProfiler"
            ) from error

    def stop(self, action_name: str) -> None:
        """End measuring an action; the one around it goes on.

        Raises:
            ValueError: it was not started.
        """
        if action_name not in self._under_way:
            raise ValueError(f"the action {action_name!r} was stopped, but it was not started; start it first")
        self.profiled_actions[self._under_way[-1]].disable()
        last = len(self._under_way) - 1 - self._under_way[::-1].index(action_name)
        del self._under_way[last]
        if self._under_way:
            self.profiled_actions[self._under_way[-1]].enable()

    def summary(self) -> str:
        """Return the functions of each action; with ``dump_stats``, write its file too."""
        texts = {}
        for action, profile in self.profiled_actions.items():
            if self.dump_stats:
                self._dump(action, profile)
            text = io.StringIO()
            stats = pstats.Stats(profile, stream=text).strip_dirs().sort_stats("cumulative")
            stats.print_stats(self.line_count_restriction)
            texts[action] = text.getvalue()
        return self._stats_to_str(texts)

    def _dump(self, action: str, profile: cProfile.Profile) -> None:
        if not self.dirpath:
            raise MisconfigurationException(
                "`AdvancedProfiler(dump_stats=True)` has no folder to write to; pass `dirpath`, or use it in a Trainer"
            )
        profile.create_stats()
        with open_file(os.path.join(self.dirpath, self._prepare_filename(action, ".prof")), "wb") as file:
            file.write(marshal.dumps(profile.stats))

    def teardown(self, stage: str | None) -> None:
        """Forget what was reported."""
        super().teardown(stage)
        for action in self._under_way:
            self.profiled_actions[action].disable()
        self._under_way.clear()
        self.profiled_actions.clear()

    def __getstate__(self) -> dict[str, Any]:
        # cProfile's objects can be neither copied nor pickled.
        return {**super().__getstate__(), "profiled_actions": {}, "_under_way": []}
