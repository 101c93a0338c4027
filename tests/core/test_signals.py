"""Ctrl-C and SIGTERM end training between two batches, and the run that is resumed equals one that was let alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.errors import SIGTERMException

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}
BATCHES = [torch.full((2, 3), float(number)) for number in range(6)]


@pytest.fixture(autouse=True)
def _listen_to_ctrl_c() -> Iterator[None]:
    """What runs in the background, as CI may, ignores Ctrl-C from its start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Model(fulmen.LightningModule):
    """Sends itself a signal in one of its hooks."""

    def __init__(self, where: str = "", signum: signal.Signals = signal.SIGINT, times: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.dropout = nn.Dropout(0.5)
        self.where, self.signum, self.times = where, signum, times
        self.seen: list[str] = []

    def note(self, what: str) -> None:
        self.seen.append(what)
        if what == self.where:
            for _ in range(self.times):
                os.kill(os.getpid(), self.signum)
                self.seen.append("after the signal")

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.dropout(self.layer(batch)).pow(2).mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.note(f"train {self.current_epoch} {batch_idx}")
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.note(f"end {self.current_epoch} {batch_idx}")

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).pow(2).mean())
        self.note(f"val {self.current_epoch} {batch_idx}")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class SaveOnException(fulmen.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        trainer.save_checkpoint(self.path)


def fit(model: Model, ckpt_path: Path | None = None, **options: Any) -> fulmen.Trainer:
    torch.manual_seed(1)
    trainer = fulmen.Trainer(max_epochs=2, val_check_interval=3, num_sanity_val_steps=0, **QUIET, **options)
    trainer.fit(model, BATCHES, BATCHES[:2], ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("where", ["train 0 1", "end 0 2", "train 1 0", "train 0 5"])
def test_ctrl_c_lets_the_batch_end_and_the_resumed_run_is_whole(where: str, tmp_path: Path) -> None:
    whole = Model()
    of_whole = fit(whole)
    model = Model(where)
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[SaveOnException(tmp_path / "stopped.ckpt")])
    assert model.seen[-1] in ("after the signal", where.replace("train", "end")), "the batch's last hook ran"
    assert model.trainer.interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    resumed = Model()
    trainer = fit(resumed, tmp_path / "stopped.ckpt")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert trainer.callback_metrics == of_whole.callback_metrics
    done = [what for what in model.seen if what != "after the signal"]
    assert done + resumed.seen == whole.seen


def test_a_second_ctrl_c_stops_at_once() -> None:
    model = Model("train 0 1", times=3)
    with pytest.raises(KeyboardInterrupt):
        fit(model)
    assert model.seen[-2:] == ["train 0 1", "after the signal"]


def test_ctrl_c_in_validation_stops_at_once() -> None:
    model = Model("val 0 1")
    with pytest.raises(KeyboardInterrupt):
        fit(model)
    assert model.seen[-1] == "val 0 1"


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_ctrl_c_in_evaluation_reaches_the_caller(method: str) -> None:
    class Evaluated(Model):
        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            self.note("here")

        predict_step = validation_step = test_step

    trainer = fulmen.Trainer(**QUIET)
    with pytest.raises(KeyboardInterrupt):
        getattr(trainer, method)(Evaluated("here"), BATCHES)
    assert trainer.interrupted


def test_a_person_at_the_prompt_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    model = Model("train 1 2")
    trainer = fit(model)
    assert trainer.interrupted
    assert trainer.global_step == 9
    assert "stopped in epoch 1 after step 9" in caplog.text
    trainer.validate(model, BATCHES, verbose=False)
    assert not trainer.interrupted


def test_sigterm_ends_the_process_with_its_status_after_the_batch() -> None:
    model = Model("train 0 4", signal.SIGTERM)
    with pytest.raises(SIGTERMException) as caught:
        fit(model)
    assert caught.value.code == 143
    assert model.seen[-1] == "end 0 4"
    assert model.trainer.received_sigterm
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_handlers_of_the_program_stay() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: got.append(signum))
    try:
        model = Model("train 0 4", signal.SIGTERM)
        fit(model)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]
    assert model.trainer.global_step == 12


def test_a_fit_in_another_thread_leaves_signals_alone() -> None:
    trainers: list[fulmen.Trainer] = []
    thread = threading.Thread(target=lambda: trainers.append(fit(Model())))
    thread.start()
    thread.join()
    assert trainers[0].global_step == 12


PROGRAM = """
import os, signal, sys, torch
signal.signal(signal.SIGINT, signal.default_int_handler)
from torch.utils.data import DataLoader, Dataset
import fulmen

class Data(Dataset):
    def __len__(self):
        return 4000
    def __getitem__(self, index):
        return torch.ones(3)

class Model(fulmen.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, batch_idx):
        if batch_idx == 5:
            print("ready", flush=True)
        return self.layer(batch).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

trainer = fulmen.Trainer(max_epochs=10000, logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(Model(), DataLoader(Data(), batch_size=2, num_workers=2))
print("went on")
"""


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_script_with_loader_workers_ends(signum: signal.Signals, status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "ready" in line:
            break
    os.killpg(process.pid, signum) if signum == signal.SIGINT else process.send_signal(signum)  # as a terminal does
    out, err = process.communicate(timeout=120)
    assert "went on" not in out
    assert "stopping after this batch" in err
    assert process.returncode in (status, 130 if signum == signal.SIGINT else status), err[-2000:]
    with pytest.raises(ProcessLookupError):  # no worker is left
        os.killpg(process.pid, 0)
