"""TQDMProgressBar: the live line of a run, drawn by tqdm.

It is longer than 400 lines only because programs customise the bar method by method, under names of long
standing.
"""

from __future__ import annotations

import logging
import math
import numbers
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm.auto import tqdm as _Tqdm

from fulmen.advice import advise
from fulmen.callback import ProgressBar

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer

_DRAW_INTERVAL_S = 0.1  #: between two redraws on a screen, where TQDM_MININTERVAL does not say otherwise
_LINE_INTERVAL_S = 30.0  #: between two lines in a file


class Tqdm(_Tqdm):  # type: ignore[misc]  # tqdm has no types
    """A tqdm bar without tqdm's watching thread, which would live on in every forked data worker."""

    monitor_interval = 0
    disable: bool


class LineTqdm(Tqdm):
    """A bar for files and pipes: it writes whole lines, when told to, and no control codes."""

    def print_line(self) -> None:
        """Write the bar as it is now."""
        self.fp.write(f"{self}\n")
        self.fp.flush()

    def display(self, *_: Any, **__: Any) -> bool:
        """Do nothing: only :meth:`print_line` writes."""
        return True

    def clear(self, *_: Any, **__: Any) -> None:
        """Do nothing: a line that is written stays."""

    def close(self) -> None:
        """Leave the list of bars."""
        if not getattr(self, "disable", True):  # also called for a bar whose making failed
            self.disable = True
            self._decr_instances(self)


class AboveBars:
    """A stream whose text appears above the bars, in place of breaking them."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """Write text, bars cleared meanwhile."""
        Tqdm.write(text, file=self.stream, end="")

    def flush(self) -> None:
        """Hand what was written to the terminal."""
        self.stream.flush()


class TQDMProgressBar(ProgressBar):
    """Show how far training, validation, testing and prediction are, with the values logged with
    ``prog_bar=True``.

    On a screen the bar is redrawn at most ten times a second (``TQDM_MININTERVAL`` seconds apart, where that
    is set), and only then are the logged values read, so that it costs a fast loop nothing. Where the output
    is a file or a pipe, a line is written every 30 s and at the end of each epoch. In a notebook it is tqdm's
    widget.

    A subclass may change the bars (``init_train_tqdm`` and its likes) and what they show (``get_metrics``).

    Args:
        refresh_rate: redraw only after every so many batches; 0 for no bar. ``TQDM_MINITERS`` raises it.
        process_position: how many pairs of lines to stay below the top, where other bars are shown too.
        leave: leave the finished bar of every epoch on the screen, not only the last one.
    """

    interface = (1, 0)

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        self._refresh_rate = max(refresh_rate, int(os.environ.get("TQDM_MINITERS", "0"))) if refresh_rate else 0
        self._process_position = process_position
        self._leave = leave
        self._enabled = True
        self._trainer: Trainer | None = None
        self._run_version: int | str | None = None
        self._bars: dict[str, Any] = {}
        self._redirected: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._train_n = 0  # batches done in this epoch
        self._n = 0  # batches done with this loader, in whatever is not training
        self._loader_idx = 0
        self._next_draw_s = math.inf  # time.monotonic() from which a redraw is due
        self._interval_s = _DRAW_INTERVAL_S

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_trainer": None, "_bars": {}, "_redirected": []}

    # --------------------------------------------------------------------------- what subclasses change

    def init_sanity_tqdm(self) -> Any:
        """Make the bar of the sanity check."""
        return self._new_bar(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Any:
        """Make the bar of training."""
        return self._new_bar(self.train_description, leave=True, smoothing=0)

    def init_validation_tqdm(self) -> Any:
        """Make the bar of validation, one line below that of training if there is one."""
        is_nested = "train" in self._bars
        return self._new_bar(self.validation_description, leave=not is_nested, line=int(is_nested))

    def init_test_tqdm(self) -> Any:
        """Make the bar of testing."""
        return self._new_bar(self.test_description, leave=True)

    def init_predict_tqdm(self) -> Any:
        """Make the bar of prediction."""
        return self._new_bar(self.predict_description, leave=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what the bar ends with: the run's version and the values logged with ``prog_bar=True``."""
        version = {} if self._run_version is None else {"v_num": self._run_version}
        logged = trainer.progress_bar_metrics
        if version and "v_num" in logged:
            advise("FUL039", "`self.log('v_num', ..., prog_bar=True)` hides the run's version in the bar; rename it")
        return {**version, **logged}

    @property
    def sanity_check_description(self) -> str:
        """The word before the bar of the sanity check."""
        return "Sanity Checking"

    @property
    def train_description(self) -> str:
        """The word before the bar of training, until the first epoch begins."""
        return "Training"

    @property
    def validation_description(self) -> str:
        """The word before the bar of validation."""
        return "Validation"

    @property
    def test_description(self) -> str:
        """The word before the bar of testing."""
        return "Testing"

    @property
    def predict_description(self) -> str:
        """The word before the bar of prediction."""
        return "Predicting"

    def _new_bar(self, description: str, leave: bool, line: int = 0, **arguments: Any) -> Any:
        if self.is_disabled:
            arguments["disable"] = True  # only then is it named: TQDM_DISABLE decides otherwise
        return (Tqdm if is_live(sys.stdout) else LineTqdm)(
            desc=description,
            position=2 * self._process_position + line,
            leave=leave,
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format=self.BAR_FORMAT,
            **arguments,
        )

    # ----------------------------------------------------------------------------------- what users read

    @property
    def trainer(self) -> Trainer:
        """The trainer that this bar belongs to."""
        if self._trainer is None:
            raise RuntimeError(f"`{type(self).__name__}.trainer` is there only while a Trainer runs")
        return self._trainer

    @property
    def refresh_rate(self) -> int:
        """After how many batches the bar may be redrawn."""
        return self._refresh_rate

    @property
    def process_position(self) -> int:
        """How many pairs of lines this bar stays below the top."""
        return self._process_position

    @property
    def is_enabled(self) -> bool:
        """Whether anything is shown."""
        return self._enabled and self._refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is shown."""
        return not self.is_enabled

    def disable(self) -> None:
        """Show nothing from the next bar on."""
        self._enabled = False

    def enable(self) -> None:
        """Show bars again."""
        self._enabled = True

    @property
    def train_progress_bar(self) -> Any:
        """The tqdm object of training."""
        return self._bars["train"]

    @train_progress_bar.setter
    def train_progress_bar(self, bar: Any) -> None:
        self._bars["train"] = bar

    @property
    def val_progress_bar(self) -> Any:
        """The tqdm object of validation or of the sanity check."""
        return self._bars["val"]

    @val_progress_bar.setter
    def val_progress_bar(self, bar: Any) -> None:
        self._bars["val"] = bar

    @property
    def test_progress_bar(self) -> Any:
        """The tqdm object of testing."""
        return self._bars["test"]

    @test_progress_bar.setter
    def test_progress_bar(self, bar: Any) -> None:
        self._bars["test"] = bar

    @property
    def predict_progress_bar(self) -> Any:
        """The tqdm object of prediction."""
        return self._bars["predict"]

    @predict_progress_bar.setter
    def predict_progress_bar(self, bar: Any) -> None:
        self._bars["predict"] = bar

    def print(self, *args: Any, sep: str = " ", end: str = "\n", file: Any = None, **kwargs: Any) -> None:
        """Print above the bars, as ``print`` does where there are none."""
        if any(isinstance(bar, Tqdm) and not bar.disable for bar in self._bars.values()):
            Tqdm.write(sep.join(map(str, args)), end=end, file=file)
        else:
            print(*args, sep=sep, end=end, file=file, **kwargs)

    # ------------------------------------------------------------------------------------------ the run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._trainer = trainer
        self._run_version = _version_number(trainer)
        if not trainer.is_global_zero:
            self.disable()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close_all()
        self._trainer = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close_all()  # what is printed about it begins on a line of its own

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open("train", self.init_train_tqdm())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._leave and self._train_n:
            self._close("train")
            self._open("train", self.init_train_tqdm())
        self._train_n = 0
        self._restart("train", f"Epoch {trainer.current_epoch}", trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._train_n = n = batch_idx + 1
        if time.monotonic() >= self._next_draw_s and n % self._refresh_rate == 0:
            self._draw("train", n, self.get_metrics(trainer, pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._bars["train"].disable:
            self._draw("train", self._train_n, self.get_metrics(trainer, pl_module), is_end=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close("train")

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open("val", self.init_sanity_tqdm())

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close("val")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            self._begin_loader("val", self.sanity_check_description, 0, trainer.num_sanity_val_batches)
            return
        train_bar = self._bars.get("train")
        if train_bar is not None and not train_bar.disable:
            self._draw("train", self._train_n, None)
        self._open("val", self.init_validation_tqdm())
        self._begin_loader("val", self.validation_description, 0, trainer.num_val_batches)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx != self._loader_idx:
            is_sanity = trainer.sanity_checking
            word = self.sanity_check_description if is_sanity else self.validation_description
            totals = trainer.num_sanity_val_batches if is_sanity else trainer.num_val_batches
            self._begin_loader("val", word, dataloader_idx, totals)
        self._step("val", batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._finish("val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open("test", self.init_test_tqdm())
        self._begin_loader("test", self.test_description, 0, trainer.num_test_batches)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx != self._loader_idx:
            self._begin_loader("test", self.test_description, dataloader_idx, trainer.num_test_batches)
        self._step("test", batch_idx)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open("predict", self.init_predict_tqdm())
        self._begin_loader("predict", self.predict_description, 0, trainer.num_predict_batches)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx != self._loader_idx:
            self._begin_loader("predict", self.predict_description, dataloader_idx, trainer.num_predict_batches)
        self._step("predict", batch_idx)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("predict")

    # ---------------------------------------------------------------------------------------- the bars

    def _open(self, name: str, bar: Any) -> None:
        self._close(name)
        self._bars[name] = bar
        if bar.disable:
            self._next_draw_s = math.inf
        elif isinstance(bar, LineTqdm):
            self._interval_s = _LINE_INTERVAL_S
            self._next_draw_s = time.monotonic() + self._interval_s
        else:
            self._interval_s = float(os.environ.get("TQDM_MININTERVAL") or _DRAW_INTERVAL_S)
            self._next_draw_s = 0.0
            self._redirect_messages()

    def _restart(self, name: str, description: str, total: float) -> None:
        bar = self._bars[name]
        bar.total = None if math.isinf(total) else total
        bar.set_description(description, refresh=False)
        bar.reset()  # draws it, empty

    def _begin_loader(self, name: str, word: str, loader_idx: int, totals: Sequence[float]) -> None:
        self._loader_idx = loader_idx
        self._n = 0
        description = f"{word} DataLoader {loader_idx}" if len(totals) > 1 else word
        self._restart(name, description, totals[loader_idx] if loader_idx < len(totals) else math.inf)

    def _step(self, name: str, batch_idx: int) -> None:
        self._n = n = batch_idx + 1
        if time.monotonic() >= self._next_draw_s and n % self._refresh_rate == 0:
            self._draw(name, n, None)

    def _draw(self, name: str, n: int, metrics: Mapping[str, Any] | None, is_end: bool = False) -> None:
        bar = self._bars[name]
        bar.n = n
        if metrics is not None:
            bar.set_postfix_str(self._in_words(metrics), refresh=False)
        now_s = time.monotonic()
        if not isinstance(bar, LineTqdm):
            bar.refresh()
        elif is_end or now_s >= self._next_draw_s:
            bar.print_line()
        else:
            return
        self._next_draw_s = now_s + self._interval_s

    def _in_words(self, metrics: Mapping[str, Any]) -> str:
        return _in_words(metrics)

    def _finish(self, name: str) -> None:
        """Draw the end of what stands alone; what is nested only vanishes."""
        bar = self._bars[name]
        if not bar.disable and bar.leave:
            self._draw(name, self._n, None, is_end=True)
        self._close(name)

    def _close(self, name: str) -> None:
        if name in self._bars:
            self._bars.pop(name).close()
            if not self._bars:
                self._restore_messages()

    def _close_all(self) -> None:
        for name in list(self._bars):
            self._close(name)
        self._next_draw_s = math.inf

    def _redirect_messages(self) -> None:
        """Have what is logged to the terminal appear above the bars."""
        if self._redirected:
            return
        for log in (logging.getLogger("fulmen"), logging.getLogger()):
            for handler in log.handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
                    self._redirected.append((handler, handler.stream))
                    handler.setStream(AboveBars(handler.stream))

    def _restore_messages(self) -> None:
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected = []


def is_live(stream: Any) -> bool:
    """Return whether ``stream`` can show a line that changes: a terminal or a notebook."""
    return "ipykernel" in sys.modules or bool(getattr(stream, "isatty", lambda: False)())


def _version_number(trainer: Trainer) -> int | str | None:
    """Return N of the run's folder ``version_N``, or the last places of another name."""
    if not trainer.loggers:
        return None
    name = os.path.basename(os.path.normpath(trainer.log_dir))
    number = name.removeprefix("version_")
    return int(number) if number.isdigit() else name[-4:]


def _in_words(metrics: Mapping[str, Any]) -> str:
    """Return ``name=value`` for each metric, numbers at a width that changes little."""
    return ", ".join(f"{name}={_number(value)}" for name, value in metrics.items())


def _number(value: Any) -> str:
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        # Trailing zeros stay, so that 1.05 and 1.10 are as long as each other; a trailing point does not.
        return f"{float(value):#.3g}".rstrip(".")
    return str(value)
