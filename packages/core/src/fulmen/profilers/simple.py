"""SimpleProfiler: how often each action ran, and how long it took."""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from fulmen.profilers.profiler import Profiler

#: characters of an action in the report, beyond which the arguments of its callback are left out
_LONGEST = 80


class SimpleProfiler(Profiler):
    """Measures the seconds that each action takes; the report lists mean, calls, sum and share of the whole time.

    Actions lie inside each other (``run_training_batch`` holds ``backward``), so the shares add up to more than 100 %.
    Work that a GPU does after its call has returned counts for whichever action waits for it.

    Args:
        dirpath: the folder of the report; by default the run's.
        filename: the report is written to ``dirpath/fit-filename.txt``; by default it is printed.
        extended: with ``False`` the report has no calls and shares.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        extended: bool = True,
    ) -> None:
        super().__init__(dirpath, filename)
        self.extended = extended
        #: action -> when it began, of those that are under way
        self.current_actions: dict[str, float] = {}
        #: action -> the seconds of each of its calls, since the last report
        self.recorded_durations: dict[str, list[float]] = defaultdict(list)
        self.start_time = time.perf_counter()
        self._is_reported = False

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """Begin an entry point; what an earlier one reported is forgotten."""
        super().setup(stage, local_rank, log_dir)
        if self._is_reported:
            self._is_reported = False
            self.recorded_durations.clear()
            self.start_time = time.perf_counter()

    def start(self, action_name: str) -> None:
        """Begin to measure an action.

        Raises:
            ValueError: it is under way already.
        """
        if action_name in self.current_actions:
            raise ValueError(f"the action {action_name!r} was started, but it is under way already; stop it first")
        self.current_actions[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """End measuring an action.

        Raises:
            ValueError: it was not started.
        """
        now = time.perf_counter()
        if action_name not in self.current_actions:
            raise ValueError(f"the action {action_name!r} was stopped, but it was not started; start it first")
        self.recorded_durations[action_name].append(now - self.current_actions.pop(action_name))

    def summary(self) -> str:
        """Return a table of the actions: those first that took the longest in all, or on average if not extended."""
        whole_s = time.perf_counter() - self.start_time
        shown = _shortened(self.recorded_durations)
        of_actions = [
            (shown[action], math.fsum(durations) / len(durations), len(durations), math.fsum(durations))
            for action, durations in self.recorded_durations.items()
        ]
        if self.extended:
            header = ("Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %")
            calls = sum(count for _, _, count, _ in of_actions)
            rows = [("Total", "-", str(calls), f"{whole_s:.5}", "100 %")]
            for action, mean_s, count, sum_s in sorted(of_actions, key=lambda row: -row[3]):
                rows.append((action, f"{mean_s:.5}", str(count), f"{sum_s:.5}", f"{100 * sum_s / whole_s:.5}"))
            return f"{self._title()}\n\n{_table([header, *rows], rules_after=2)}\n"
        brief = [
            (action, f"{mean_s:.5}", f"{sum_s:.5}")
            for action, mean_s, _, sum_s in sorted(of_actions, key=lambda row: -row[1])
        ]
        return f"{self._title()}\n\n{_table([('Action', 'Mean duration (s)', 'Total time (s)'), *brief], 1)}\n"

    def describe(self) -> None:
        """Write or print the report."""
        super().describe()
        self._is_reported = True


def _shortened(actions: Iterable[str]) -> dict[str, str]:
    """Return for each action what is shown of it: without the arguments of its callback, where they fill the line."""
    short = {action: action if len(action) <= _LONGEST else re.sub(r"{.*}", "{...}", action) for action in actions}
    counts = Counter(short.values())
    return {action: text if counts[text] == 1 else action for action, text in short.items()}


def _table(rows: Sequence[Sequence[str]], rules_after: int) -> str:
    """Return rows in columns as wide as their widest word; a rule follows each of the first ``rules_after``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"|  {'  |  '.join(word.ljust(width) for word, width in zip(row, widths, strict=True))}  |" for row in rows
    ]
    rule = "-" * len(lines[0])
    ruled = [f"{line}\n{rule}" if index < rules_after else line for index, line in enumerate(lines)]
    return "\n".join([rule, *ruled, rule] if len(rows) > rules_after else [rule, *ruled])
