"""RichProgressBar: the live lines of a run, drawn by rich."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fulmen.errors import MissingPackageError
from fulmen_callbacks.tqdm_progress_bar import TQDMProgressBar, is_live

if TYPE_CHECKING:
    from rich.progress import Progress

    from fulmen.trainer import Trainer


@dataclass
class RichProgressBarTheme:
    """The styles of the bar's parts, in rich's words, and how its metrics are written."""

    description: str = ""
    progress_bar: str = "#6206E0"
    progress_bar_finished: str = "#6206E0"
    progress_bar_pulse: str = "#6206E0"  #: where the loader has no length
    batch_progress: str = ""
    time: str = "dim"
    processing_speed: str = "dim underline"
    metrics: str = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


class RichProgressBar(TQDMProgressBar):
    """Show how far training, validation, testing and prediction are, with the values logged with ``prog_bar=True``.

    It does what :class:`TQDMProgressBar` does, drawn by rich: redrawn at most ten times a second, validation below
    training, a line now and then where the output is a file, rich's widget in a notebook. It is the trainer's own bar
    where rich is installed and the output is a terminal or notebook.

    A subclass may change the columns (``configure_columns``) and what they show (``get_metrics``).

    Args:
        refresh_rate: redraw only after every so many batches; 0 for no bar.
        leave: leave the finished bar of every epoch on the screen, not only the last one.
        theme: styles of its parts.
        console_kwargs: arguments of ``rich.console.Console``.

    Raises:
        MissingPackageError: rich is not installed.
    """

    def __init__(
        self,
        refresh_rate: int = 1,
        leave: bool = False,
        theme: RichProgressBarTheme | None = None,
        console_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        _import_rich()
        super().__init__(refresh_rate, leave=leave)
        self.theme = theme or RichProgressBarTheme()
        self._console_kwargs = dict(console_kwargs or {})
        #: what rich draws, while there is a bar
        self.progress: Progress | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "progress": None}

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Return the columns of a bar, from left to right."""
        from rich.progress import BarColumn, TextColumn

        theme = self.theme
        return [
            TextColumn("{task.description}", style=theme.description or "none"),
            BarColumn(
                complete_style=theme.progress_bar,
                finished_style=theme.progress_bar_finished,
                pulse_style=theme.progress_bar_pulse,
            ),
            TextColumn("{task.fields[count]}", style=theme.batch_progress or "none"),
            TextColumn("{task.fields[clock]}", style=theme.time),
            TextColumn("{task.fields[speed]}", style=theme.processing_speed),
            TextColumn("{task.fields[metrics]}", style=theme.metrics, markup=False),
        ]

    def print(self, *args: Any, sep: str = " ", end: str = "\n", file: Any = None, **kwargs: Any) -> None:
        """Print above the bars; rich has redirected the streams while there are any."""
        print(*args, sep=sep, end=end, file=file, **kwargs)

    # ---------------------------------------------------------------------------------------- the bars

    def _new_bar(self, description: str, leave: bool, line: int = 0, **arguments: Any) -> Any:
        console = self._console_kwargs
        if self.is_disabled or not (is_live(sys.stdout) or console.get("force_terminal")):
            return super()._new_bar(description, leave, line)
        if self.progress is None:
            from rich.console import Console
            from rich.progress import Progress

            columns = self.configure_columns(self.trainer)
            self.progress = Progress(*columns, console=Console(**console), auto_refresh=False)
            self.progress.start()
        return _RichBar(self.progress, description, leave)

    def _in_words(self, metrics: Mapping[str, Any]) -> str:
        return self.theme.metrics_text_delimiter.join(f"{name}: {self._number(one)}" for name, one in metrics.items())

    def _number(self, value: Any) -> str:
        if isinstance(value, (int, str)):
            return str(value)
        try:
            return format(float(value), self.theme.metrics_format)
        except (TypeError, ValueError):
            return str(value)

    def _close(self, name: str) -> None:
        was_open = name in self._bars
        super()._close(name)
        if was_open and not self._bars and self.progress is not None:
            self.progress.refresh()
            self.progress.stop()
            self.progress = None

    def _redirect_messages(self) -> None:
        if self.progress is None:
            super()._redirect_messages()
            return
        for log in (logging.getLogger("fulmen"), logging.getLogger()):
            for handler in log.handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.__stdout__, sys.__stderr__):
                    self._redirected.append((handler, handler.stream))
                    handler.setStream(_AboveRich(self.progress.console))


class _AboveRich:
    """A stream whose text appears above the bars."""

    def __init__(self, console: Any) -> None:
        self._console = console

    def write(self, text: str) -> None:
        self._console.print(text, end="", markup=False, highlight=False, soft_wrap=True)

    def flush(self) -> None:
        """Nothing waits."""


class _RichBar:
    """A task of rich with the methods of a tqdm bar that the callback uses."""

    disable = False

    def __init__(self, progress: Progress, description: str, leave: bool) -> None:
        self._progress = progress
        self.leave = leave
        self.total: float | None = None
        self.n = 0
        self._description = description
        self._postfix = ""
        self._task = progress.add_task(description, total=None, count="", clock="", speed="", metrics="")

    def set_description(self, description: str, refresh: bool = True) -> None:
        self._description = description

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        self._postfix = text

    def reset(self) -> None:
        self.n = 0
        self._progress.reset(self._task, total=self.total, description=self._description)
        self.refresh()

    def refresh(self) -> None:
        task = next(task for task in self._progress.tasks if task.id == self._task)
        elapsed = task.elapsed or 0.0
        speed = self.n / elapsed if elapsed and self.n else None
        left = (self.total - self.n) / speed if speed and self.total is not None else None
        self._progress.update(
            self._task,
            completed=self.n,
            total=self.total,
            description=self._description,
            count=f"{self.n}/{'--' if self.total is None else int(self.total)}",
            clock=f"{_clock(elapsed)} • {_clock(left)}",
            speed="" if speed is None else f"{speed:.2f}it/s",
            metrics=self._postfix,
        )
        self._progress.refresh()

    def close(self) -> None:
        if not self.leave:
            self._progress.remove_task(self._task)


def _clock(seconds: float | None) -> str:
    return "-:--:--" if seconds is None else str(timedelta(seconds=int(seconds)))


def _import_rich() -> None:
    try:
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackageError('`rich` is not installed: pip install "fulmen[rich]"') from error
