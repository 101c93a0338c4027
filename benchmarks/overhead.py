"""What a trainer costs on top of a hand-written loop: microseconds a step and the ratio, measured in one run.

Every contender trains the same model on the same batches, one thread, and the rounds are interleaved, so that whatever
else the machine does hits all of them alike. Absolute times mean little; compare within one table.

    python benchmarks/overhead.py                 the whole table
    python benchmarks/overhead.py --quick W1      one workload, fewer steps
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

import fulmen
from fulmen import Callback

STEPS = 2000
BATCH = (8, 32)  # samples, features


class Batches:
    """A loader of batches that were made before anything is timed."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batches = [torch.randn(*BATCH, generator=generator) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.batches)


# ----------------------------------------------------------------------------------- the hand-written loop


def raw_training(batches: Batches, writer: Any = None) -> float:
    """Train by hand; with a writer, the loss goes to TensorBoard every 50 steps."""
    torch.manual_seed(0)
    model = nn.Linear(32, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    total = torch.zeros(())
    start = time.perf_counter()
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        loss = model(batch).sum()
        loss.backward()
        optimizer.step()
        if writer is not None:
            total += loss.detach()
            if (step + 1) % 50 == 0:
                writer.add_scalar("loss", loss.item(), step)
    return time.perf_counter() - start


def raw_evaluation(batches: Batches) -> float:
    """Evaluate by hand."""
    model = nn.Linear(32, 2)
    model.eval()
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            model(batch).sum()
    return time.perf_counter() - start


# -------------------------------------------------------------------------------------------- the trainers


def module_class(base: type, logs: int, stamp: list[float]) -> type:
    """A module that trains the same thing, and notes when its loop starts and ends."""

    class Module(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 2)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss = self.layer(batch).sum()
            for index in range(logs):
                self.log(f"loss{index}", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            self.layer(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def on_train_start(self) -> None:
            stamp[:] = [time.perf_counter()]

        def on_train_end(self) -> None:
            stamp.append(time.perf_counter())

        on_validation_start = on_train_start
        on_validation_end = on_train_end

    return Module


class NoBatchHooks(Callback):
    """A callback that overrides nothing that runs per batch."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pass


class ThreeBatchHooks(Callback):
    """A callback with three hooks that run per batch."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pass

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pass

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        pass


BARE = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def with_trainer(library: Any, batches: Batches, *, logs: int = 0, evaluate: bool = False, **options: Any) -> float:
    """Train or evaluate with a ``Trainer`` of ``library`` (fulmen, or lightning.pytorch)."""
    torch.manual_seed(0)
    stamp: list[float] = []
    module = module_class(library.LightningModule, logs, stamp)()
    with tempfile.TemporaryDirectory() as folder:
        trainer = library.Trainer(
            accelerator="cpu", devices=1, max_epochs=1, default_root_dir=folder, num_sanity_val_steps=0, **options
        )
        if evaluate:
            trainer.validate(module, batches, verbose=False)
        else:
            trainer.fit(module, batches)
        del trainer
    return stamp[1] - stamp[0]


def with_accelerate(batches: Batches) -> float:
    """Train by hand with what accelerate prepares."""
    from accelerate import Accelerator

    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    model = nn.Linear(32, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    start = time.perf_counter()
    for batch in batches:
        with accelerator.accumulate(model):
            optimizer.zero_grad()
            accelerator.backward(model(batch).sum())
            optimizer.step()
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------ the table

Contender = Callable[[Batches], float]


def contenders() -> dict[str, dict[str, Contender]]:
    """Workload -> contender -> what trains; the first of each is the hand-written loop."""

    def ours(**options: Any) -> Contender:
        return lambda batches: with_trainer(fulmen, batches, **options)

    table: dict[str, dict[str, Contender]] = {
        "W1 training, nothing logged": {
            "hand-written": raw_training,
            "fulmen, bare": ours(**BARE),
            "fulmen, bare, 10 callbacks without batch hooks": ours(
                **BARE, callbacks=[NoBatchHooks() for _ in range(10)]
            ),
            "fulmen, bare, a callback with 3 batch hooks": ours(**BARE, callbacks=[ThreeBatchHooks()]),
            "fulmen, as it comes": ours(),
        },
        "W2 training, logged every step": {
            "hand-written": _with_writer,
            "fulmen, 1 log": ours(logs=1, **{**BARE, "logger": True}),
            "fulmen, 5 logs": ours(logs=5, **{**BARE, "logger": True}),
            "fulmen, as it comes, 1 log": ours(logs=1),
        },
        "W4 evaluation": {
            "hand-written": raw_evaluation,
            "fulmen, bare": ours(evaluate=True, **BARE),
            "fulmen, as it comes": ours(evaluate=True),
        },
    }
    with contextlib.suppress(ImportError):
        import lightning.pytorch as lightning

        def theirs(**options: Any) -> Contender:
            return lambda batches: with_trainer(lightning, batches, **options)

        table["W1 training, nothing logged"]["lightning, bare"] = theirs(**BARE)
        table["W1 training, nothing logged"]["lightning, as it comes"] = theirs()
        table["W2 training, logged every step"]["lightning, 1 log"] = theirs(logs=1, **{**BARE, "logger": True})
        table["W2 training, logged every step"]["lightning, 5 logs"] = theirs(logs=5, **{**BARE, "logger": True})
        table["W4 evaluation"]["lightning, bare"] = theirs(evaluate=True, **BARE)
    with contextlib.suppress(ImportError):
        import accelerate  # noqa: F401

        table["W1 training, nothing logged"]["accelerate"] = with_accelerate
    return table


def _with_writer(batches: Batches) -> float:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return raw_training(batches)
    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        return raw_training(batches, writer)


def quiet(contender: Contender, batches: Batches) -> float:
    """Run a contender with what it prints thrown away; a progress bar still draws, into nowhere."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return contender(batches)


def measure(workload: dict[str, Contender], steps: int, rounds: int) -> dict[str, list[float]]:
    """Return microseconds a step of each contender in each round."""
    batches, few = Batches(steps), Batches(100)
    for contender in workload.values():
        quiet(contender, few)
    timings: dict[str, list[float]] = {name: [] for name in workload}
    for _ in range(rounds):
        for name, contender in workload.items():
            timings[name].append(quiet(contender, batches) / steps * 1e6)
    return timings


def main() -> None:
    """Print a table for each workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help="W1, W2, W4; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    steps, rounds = (500, 3) if arguments.quick else (STEPS, 7)
    print(f"torch {torch.__version__}, one thread, {steps} steps, medians of {rounds} interleaved rounds\n")
    for title, workload in contenders().items():
        if arguments.workloads and title.split()[0] not in arguments.workloads:
            continue
        timings = measure(workload, steps, rounds)
        base = next(iter(timings.values()))
        print(f"| {title} | us a step | over the hand-written loop | ratio |\n|---|---|---|---|")
        for name, values in timings.items():
            # Each round's difference and ratio are taken within that round, then the middle one is shown.
            over = statistics.median(value - raw for value, raw in zip(values, base, strict=True))
            ratio = statistics.median(value / raw for value, raw in zip(values, base, strict=True))
            print(f"| {name} | {statistics.median(values):.1f} | {over:+.1f} | {ratio:.2f} |")
        print()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
