"""What a step costs, in counts: frames of ours, waits for the device, calls of Python functions."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

import fulmen

OURS = str(Path(fulmen.__file__).parent)
STEPS = 100


class Model(fulmen.LightningModule):
    def __init__(self, logs: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.logs = logs

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch[0]).sum()
        for index in range(self.logs):
            self.log(f"loss{index}", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader() -> Any:
    return DataLoader(TensorDataset(torch.randn(STEPS * 2, 4)), batch_size=2)


def trainer(tmp_path: Path, **options: Any) -> fulmen.Trainer:
    defaults = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return fulmen.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, **{**defaults, **options})


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_at_most_six_frames_of_ours_lie_between_fit_and_training_step(tmp_path: Path, precision: str) -> None:
    depths = set()

    class Deep(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            frame, count = sys._getframe(1), 0
            while frame is not None:
                count += frame.f_code.co_filename.startswith(OURS)
                frame = frame.f_back
            depths.add(count)
            return super().training_step(batch, batch_idx)

    trainer(tmp_path, logger=False, precision=precision).fit(Deep(), loader())
    assert max(depths) <= 6


class Syncs(TorchDispatchMode):
    """Counts the operations that make the host wait for a device's value."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket._qualified_op_name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("has_logger", [True, False])
def test_nothing_waits_for_the_device_while_training_and_logging(tmp_path: Path, has_logger: bool) -> None:
    syncs = Syncs()

    class Watched(Model):
        def on_train_epoch_start(self) -> None:
            syncs.__enter__()

        def on_train_epoch_end(self) -> None:
            syncs.__exit__(None, None, None)

    run = trainer(tmp_path, logger=None if has_logger else False, log_every_n_steps=10)
    run.fit(Watched(logs=3), loader())
    assert syncs.counts["aten::linear"] or syncs.counts["aten::addmm"] == STEPS
    assert syncs.counts["aten::_local_scalar_dense"] == 0
    assert syncs.counts["aten::is_nonzero"] == syncs.counts["aten::equal"] == 0


def calls_while(fit: Any) -> float:
    """Return how many Python functions start while ``fit`` runs."""
    count = 0

    def watch(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    gc.collect()
    gc.disable()  # what the collector finds, such as the end of another test's run, would be counted too
    sys.setprofile(watch)
    try:
        fit()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_a_step_starts_few_functions_of_ours(tmp_path: Path) -> None:
    batches = loader()

    def by_hand(steps: int) -> None:
        model = Model()
        optimizer = model.configure_optimizers()
        for index, batch in enumerate(batches):
            if index == steps:
                break
            optimizer.zero_grad()
            model.training_step(batch, index).backward()
            optimizer.step()

    def with_trainer(steps: int, logs: int) -> None:
        run = trainer(tmp_path, logger=False, limit_train_batches=steps)
        run.fit(Model(logs), batches)

    def in_a_step(fit: Any) -> float:
        # The difference of a long and a short fit is what the steps cost, without the set-up.
        fit(10)
        return (calls_while(lambda: fit(90)) - calls_while(lambda: fit(10))) / 80

    raw = in_a_step(by_hand)
    silent = in_a_step(lambda steps: with_trainer(steps, 0))
    one_log = in_a_step(lambda steps: with_trainer(steps, 1))
    assert silent - raw <= 60
    assert one_log - silent <= 40


def test_a_callback_without_batch_hooks_costs_no_call(tmp_path: Path) -> None:
    class Quiet(fulmen.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pass

    class Unwanted(fulmen.Callback):
        def wants(self, hook: str) -> bool:
            return hook != "on_train_batch_end"

        def on_train_batch_end(self, *args: Any) -> None:
            raise AssertionError("a hook ran that its callback did not want")

    batches = loader()

    def calls(callbacks: list[fulmen.Callback], steps: int) -> float:
        run = trainer(tmp_path, logger=False, callbacks=callbacks, limit_train_batches=steps)
        return calls_while(lambda: run.fit(Model(), batches))

    def in_steps(callbacks: list[fulmen.Callback]) -> float:
        calls(callbacks, 10)
        return calls(callbacks, 90) - calls(callbacks, 10)

    assert in_steps([*(Quiet() for _ in range(10)), Unwanted()]) == in_steps([])


def test_gradients_and_modes_are_given_back_after_validation(tmp_path: Path) -> None:
    modes = []

    class Frozen(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val", self.layer(batch[0]).sum(), prog_bar=True)

        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.BatchNorm1d(2)
            self.frozen.eval()

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            modes.append((self.training, self.frozen.training, torch.is_grad_enabled()))

        def on_train_start(self) -> None:
            self.frozen.eval()

    trainer(tmp_path, logger=False, val_check_interval=25).fit(Frozen(), loader(), loader())
    assert set(modes) == {(True, False, True)}


def test_a_whole_fit_runs_on_tensors_that_have_no_values() -> None:
    # A fake tensor raises as soon as anybody asks for its value, as a sync with a device would be.
    from torch._subclasses.fake_tensor import FakeTensorMode

    options = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    with FakeTensorMode():
        run = fulmen.Trainer(accelerator="cpu", max_epochs=1, logger=False, gradient_clip_val=0.5, **options)
        run.fit(Model(logs=2), [(torch.randn(2, 4),) for _ in range(4)])
    assert run.global_step == 4
