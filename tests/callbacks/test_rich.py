"""RichProgressBar and RichModelSummary: what a terminal, a file and a pickle see of them."""

from __future__ import annotations

import importlib.util
import io
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen.errors import MissingPackageError
from fulmen.summary import summarize
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import ModelSummary, RichModelSummary, RichProgressBar, TQDMProgressBar

pytest.importorskip("rich")


def fit(bar: RichProgressBar, folder: Path, module: Any = None, **options: Any) -> None:
    fulmen.Trainer(
        accelerator="cpu",
        callbacks=[bar],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=False,
        **{"max_epochs": 2, **options},
    ).fit(module or TinyClassifier())


def terminal() -> tuple[io.StringIO, dict[str, Any]]:
    file = io.StringIO()
    return file, {"file": file, "force_terminal": True, "width": 140}


def test_a_terminal_sees_both_bars_and_the_last_line_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_MININTERVAL", "0.000001")
    file, console = terminal()
    fit(RichProgressBar(console_kwargs=console), tmp_path)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "Sanity Checking" in text
    assert "Epoch 0" in text
    assert "Validation" in text
    last = text.strip().splitlines()[-1]
    assert re.search(r"Epoch 1 .*6/6 0:00:\d\d • 0:00:00 .*it/s.*train_loss: \d\.\d{3}", last)


def test_what_is_printed_and_logged_stands_above(tmp_path: Path) -> None:
    class Talking(TinyClassifier):
        def on_train_epoch_end(self) -> None:
            self.print("[hello]")

    file, console = terminal()
    fit(RichProgressBar(console_kwargs=console), tmp_path, Talking())
    assert file.getvalue().count("[hello]") == 2


def test_a_file_gets_lines_without_control_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(RichProgressBar(), tmp_path)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "Epoch 1: 100%" in text


def test_no_bar_where_none_is_wanted(tmp_path: Path) -> None:
    file, console = terminal()
    fit(RichProgressBar(refresh_rate=0, console_kwargs=console), tmp_path)
    assert file.getvalue() == ""


def test_streams_are_given_back_after_a_failure(tmp_path: Path) -> None:
    class Failing(TinyClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ValueError("a mistake")

    _, console = terminal()
    bar, before = RichProgressBar(console_kwargs=console), sys.stdout
    with pytest.raises(ValueError, match="a mistake"):
        fit(bar, tmp_path, Failing())
    assert sys.stdout is before
    assert bar.progress is None
    assert isinstance(pickle.loads(pickle.dumps(RichProgressBar())), RichProgressBar)


def test_it_is_the_default_where_somebody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_trainer() -> list[type]:
        trainer = fulmen.Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False, max_epochs=1)
        return [type(one) for one in trainer.callbacks if isinstance(one, (TQDMProgressBar, ModelSummary))]

    assert of_trainer() == [TQDMProgressBar, ModelSummary]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert of_trainer() == [RichProgressBar, RichModelSummary]
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "rich" else real(name, *rest))
    assert of_trainer() == [TQDMProgressBar, ModelSummary]


def test_summary_is_a_table_with_the_totals_below() -> None:
    from rich.console import Console

    file = io.StringIO()
    model = TinyClassifier()
    model.net[5].requires_grad_(False)
    Console(file=file, width=100).print(RichModelSummary(max_depth=2).table(summarize(model, max_depth=2)))
    text = file.getvalue()
    assert re.search(r"net\.1\s+Linear\s+520\s+train", text)
    assert re.search(r"net\.5\s+Linear\s+27\s+train, frozen", text)
    assert "536 trainable parameters, 27 non-trainable, 563 in all" in text.replace("\n", " ")


def test_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(MissingPackageError, match=r'pip install "fulmen\[rich\]"'):
        RichModelSummary()
    with pytest.raises(MissingPackageError, match=r'pip install "fulmen\[rich\]"'):
        RichProgressBar()
