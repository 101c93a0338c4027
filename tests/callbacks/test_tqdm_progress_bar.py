"""TQDMProgressBar: what is seen, and how seldom anything is done for it."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import math
import sys
from typing import Any

import pytest
import torch

import fulmen
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import TQDMProgressBar, tqdm_progress_bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(tqdm_progress_bar.time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Console:
    """Runs a trainer's entry point with a terminal as its output, and keeps what was written."""

    def __init__(self) -> None:
        self.stream = Terminal()

    def run(self, entry_point: Any, *args: Any, **kwargs: Any) -> None:
        with contextlib.redirect_stdout(self.stream):  # here: pytest replaces the output after set-up
            entry_point(*args, **kwargs)

    @property
    def shown(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def terminal() -> Console:
    return Console()


def trainer_with(bar: TQDMProgressBar, folder: Any, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=[bar],
        default_root_dir=folder,
        enable_model_summary=False,
        enable_checkpointing=False,
        **{"max_epochs": 2, "logger": False, **options},
    )


class CountingBar(TQDMProgressBar):
    """Notes each time the logged values are read, which waits for a device."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.reads: list[int] = []

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        self.reads.append(trainer.global_step)
        return super().get_metrics(trainer, pl_module)


# ------------------------------------------------------------------------------------- in a file or pipe


def test_in_a_file_each_epoch_is_a_line_without_control_codes(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer_with(TQDMProgressBar(), tmp_path, logger="csv").fit(TinyClassifier())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for epoch, line in enumerate(lines):
        assert line.startswith(f"Epoch {epoch}: 100%|")
        assert "| 6/6 [" in line
        assert "v_num=0, train_loss=" in line
        assert "val_loss=" in line
        assert "\r" not in line
        assert "\x1b" not in line


def test_in_a_file_a_long_epoch_gives_a_line_now_and_then(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    class Slow(TinyClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            clock.now_s += 12
            return super().training_step(batch, batch_idx)

    trainer_with(TQDMProgressBar(), tmp_path, max_epochs=1, limit_val_batches=0).fit(Slow())
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("| ")[2].partition(" ")[0] for line in lines] == ["3/6", "6/6", "6/6"]


def test_in_a_file_every_entry_point_has_its_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = trainer_with(TQDMProgressBar(), tmp_path)
    trainer.validate(TinyClassifier(), verbose=False)
    trainer.test(TinyClassifier(), verbose=False)
    trainer.predict(TinyClassifier())
    starts = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert starts == ["Validation", "Testing", "Predicting"]


def test_several_loaders_are_told_apart(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Two(TinyClassifier):
        def test_dataloader(self) -> Any:
            return [super().test_dataloader(), super().val_dataloader()]

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            super().test_step(batch, batch_idx)

    trainer_with(TQDMProgressBar(), tmp_path).test(Two(), verbose=False)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("Testing DataLoader 1: 100%|")
    assert "| 3/3 [" in line


def test_a_loader_without_length(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Endless(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            for _ in range(3):
                yield torch.zeros(1, 8, 8), 0

    loader = torch.utils.data.DataLoader(Endless(), batch_size=3)
    trainer_with(TQDMProgressBar(), tmp_path, max_epochs=1, limit_val_batches=0).fit(TinyClassifier(), loader)
    assert "| 1/? [" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------- on a terminal


def test_on_a_terminal_the_bar_of_validation_comes_and_goes(tmp_path: Any, terminal: Console) -> None:
    terminal.run(trainer_with(TQDMProgressBar(), tmp_path, num_sanity_val_steps=1).fit, TinyClassifier())
    shown = terminal.shown
    assert "Sanity Checking:   0%|" in shown
    assert "Validation:   0%|" in shown
    assert "\x1b[A" in shown  # back up, from the nested bar to that of training
    assert "Epoch 1: 100%|" in shown.splitlines()[-1]
    assert shown.endswith("\n")


def test_messages_appear_above_the_bar(tmp_path: Any, terminal: Console) -> None:
    handler = logging.StreamHandler(terminal.stream)
    log = logging.getLogger("fulmen")
    log.addHandler(handler)

    class Talking(TinyClassifier):
        def on_train_epoch_end(self) -> None:
            self.print("said by print")
            log.warning("said by logging")

    try:
        terminal.run(trainer_with(TQDMProgressBar(), tmp_path, max_epochs=1, limit_val_batches=0).fit, Talking())
    finally:
        log.removeHandler(handler)
    for words in ("said by print", "said by logging"):
        before, _, after = terminal.shown.partition(words)
        assert before.endswith("\r")  # the bar's line was cleared
        assert after.startswith("\n")
    assert handler.stream is terminal.stream  # given back


def test_after_an_error_the_terminal_is_on_a_new_line(tmp_path: Any, terminal: Console) -> None:
    with pytest.raises(KeyboardInterrupt):
        terminal.run(trainer_with(TQDMProgressBar(), tmp_path).fit, TinyClassifier(interrupt_at="training_step"))
    assert terminal.shown.endswith("\n")


def test_leave_keeps_the_bar_of_each_epoch(tmp_path: Any, terminal: Console) -> None:
    trainer = trainer_with(TQDMProgressBar(leave=True), tmp_path, max_epochs=3, limit_val_batches=0)
    terminal.run(trainer.fit, TinyClassifier())
    kept = [line.rpartition("\r")[2] for line in terminal.shown.split("\n")]
    assert sum(line.startswith("Epoch ") and "6/6" in line for line in kept) == 3


def test_disabled_it_writes_nothing(tmp_path: Any, terminal: Console) -> None:
    terminal.run(trainer_with(TQDMProgressBar(refresh_rate=0), tmp_path).fit, TinyClassifier())
    bar = TQDMProgressBar()
    bar.disable()
    terminal.run(trainer_with(bar, tmp_path).fit, TinyClassifier())
    assert terminal.shown == ""


# ----------------------------------------------------------------------------------------- how seldom


def test_values_are_read_only_when_the_bar_is_redrawn(tmp_path: Any, terminal: Console, clock: Clock) -> None:
    bar = CountingBar()
    # The clock stands still: the first batch is drawn, and then only the end of each epoch.
    terminal.run(trainer_with(bar, tmp_path, max_epochs=3, limit_val_batches=0).fit, TinyClassifier())
    assert bar.reads == [1, 6, 12, 18]


def test_redraws_come_when_time_has_passed(tmp_path: Any, terminal: Console, clock: Clock) -> None:
    class Slow(TinyClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            clock.now_s += 0.06
            return super().training_step(batch, batch_idx)

    bar = CountingBar()
    terminal.run(trainer_with(bar, tmp_path, max_epochs=1, limit_val_batches=0).fit, Slow())
    assert bar.reads == [1, 3, 5, 6]


def test_refresh_rate_counts_batches(tmp_path: Any, terminal: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_MININTERVAL", "1e-9")
    bar = CountingBar(refresh_rate=4)
    terminal.run(trainer_with(bar, tmp_path, max_epochs=1, limit_val_batches=0).fit, TinyClassifier())
    assert bar.reads == [4, 6]


def test_miniters_of_tqdm_raises_the_refresh_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_MINITERS", "20")
    assert TQDMProgressBar().refresh_rate == 20
    assert TQDMProgressBar(refresh_rate=50).refresh_rate == 50
    assert TQDMProgressBar(refresh_rate=0).refresh_rate == 0


def test_a_batch_that_is_not_drawn_calls_nothing_but_the_clock() -> None:
    bar = TQDMProgressBar()
    calls: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            calls.append(getattr(argument, "__name__", frame.f_code.co_name))

    assert bar._next_draw_s == math.inf
    gc.disable()  # what the collector finds would be counted too
    sys.setprofile(note)
    try:
        bar.on_train_batch_end(None, None, None, None, 5)  # type: ignore[arg-type]
    finally:
        sys.setprofile(None)
        gc.enable()
    assert calls == ["on_train_batch_end", "monotonic", "setprofile"]


def test_no_thread_is_left_to_watch(tmp_path: Any, terminal: Console) -> None:
    import threading

    before = set(threading.enumerate())
    terminal.run(trainer_with(TQDMProgressBar(), tmp_path).fit, TinyClassifier())
    assert set(threading.enumerate()) <= before  # those of earlier tests may end meanwhile


# -------------------------------------------------------------------------------------------- subclasses


def test_a_subclass_changes_bar_and_values(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Mine(TQDMProgressBar):
        def init_test_tqdm(self) -> Any:
            bar = super().init_test_tqdm()
            bar.bar_format = "mine: {n_fmt} of {total_fmt}{postfix}"
            return bar

        def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
            values = super().get_metrics(trainer, pl_module)
            return {"loss": values["train_loss"], "word": "yes", "count": 3, "tensor": torch.tensor(0.25)}

    trainer = trainer_with(Mine(), tmp_path, max_epochs=1)
    trainer.fit(TinyClassifier())
    trainer.test(TinyClassifier(), verbose=False)
    first, last = capsys.readouterr().out.splitlines()
    assert ", word=yes, count=3, tensor=0.250]" in first
    assert last == "mine: 2 of 2"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.05, "1.05"),
        (1.1, "1.10"),
        (0.98765, "0.988"),
        (123.4, "123"),
        (1e-7, "1.00e-07"),
        (7, "7"),
        ("x", "x"),
    ],
)
def test_numbers_keep_their_width(value: Any, shown: str) -> None:
    assert tqdm_progress_bar._number(value) == shown
