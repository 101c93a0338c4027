"""ThroughputMonitor: samples, items and batches a second, and how much of the device's peak that is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen_callbacks._peak_flops import peak_flops as known_peak
from fulmen_callbacks._schedule import log_is_due

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


@dataclass(frozen=True)
class _Point:
    """How much was done after so many seconds."""

    time_s: float = 0.0
    batches: int = 0
    samples: int = 0
    lengths: int = 0
    flops: float = 0.0


@dataclass
class _Stage:
    """What is measured of training, or of one kind of evaluation."""

    start_s: float
    now: _Point = field(default_factory=_Point)
    window: deque[_Point] = field(default_factory=deque)


class ThroughputMonitor(Callback):
    """Log how fast training is, at each log boundary, and how fast evaluation and prediction were, at their end.

    The keys begin with the stage, ``train/``, ``validate/``, ``test/`` or ``predict/``: ``time`` (seconds; of training
    without its validation), ``batches``, ``samples`` and ``lengths`` in all; ``device/batches_per_sec``,
    ``device/samples_per_sec``, ``device/items_per_sec``, ``device/flops_per_sec`` and ``device/mfu`` over the last
    ``window_size`` batches; and with several processes the first four of these without ``device/``, over all of them.
    MFU is the fraction of the device's peak, for dense products in the trainer's precision.

    Args:
        batch_size_fn: batch -> samples in it; by default the first dimension of its first tensor.
        length_fn: batch -> items in it, such as tokens; without it items are not counted.
        window_size: batches over which rates are taken.
        separator: stands between the parts of a key.
        flops_per_batch: floating-point operations of a batch, forward and backward, such as ``measure_flops`` gives
            them; by default the module's attribute of that name, if it has one.
        peak_flops: operations a second that the device can do, where its data sheet is not known here.

    Raises:
        MisconfigurationException: an argument is out of range.
    """

    interface = (1, 0)

    def __init__(
        self,
        batch_size_fn: Callable[[Any], int] | None = None,
        length_fn: Callable[[Any], int] | None = None,
        *,
        window_size: int = 100,
        separator: str = "/",
        flops_per_batch: float | None = None,
        peak_flops: float | None = None,
    ) -> None:
        if window_size < 2:
            raise MisconfigurationException(f"`window_size` must be >= 2, but is {window_size}; 100 is usual")
        for name, value in (("flops_per_batch", flops_per_batch), ("peak_flops", peak_flops)):
            if value is not None and value <= 0:
                raise MisconfigurationException(f"`{name}` must be > 0, but is {value}")
        self.batch_size_fn = batch_size_fn
        self.length_fn = length_fn
        self.window_size = window_size
        self.separator = separator
        self.flops_per_batch = flops_per_batch
        self.peak_flops = peak_flops
        #: operations a second that the device can do, as far as known
        self.available_flops: float | None = None
        self._stages: dict[str, _Stage] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        known = self.peak_flops or known_peak(trainer.strategy.root_device, trainer.precision)
        self.available_flops = known

    # ------------------------------------------------------------------------------------------ training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stages["train"] = _Stage(time.perf_counter())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        is_due = stepped and log_is_due(trainer)
        self._count("train", trainer, pl_module, batch, is_due)
        if is_due:
            self._log("train", trainer)

    # ---------------------------------------------------------------------------------------- evaluation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stages["validate"] = _Stage(time.perf_counter())

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count("validate", trainer, pl_module, batch, False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        elapsed = self._finish("validate", trainer, logs=not trainer.sanity_checking)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stages["train"].start_s += elapsed  # its clock stood still

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stages["test"] = _Stage(time.perf_counter())

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count("test", trainer, pl_module, batch, False)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("test", trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stages["predict"] = _Stage(time.perf_counter())

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count("predict", trainer, pl_module, batch, False)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("predict", trainer)

    # --------------------------------------------------------------------------------------- measurement

    @torch.no_grad()
    def _count(self, name: str, trainer: Trainer, pl_module: LightningModule, batch: Any, is_due: bool) -> None:
        stage, before = self._stages[name], self._stages[name].now
        device = trainer.strategy.root_device
        samples = _samples_of(batch) if self.batch_size_fn is None else self.batch_size_fn(batch)
        flops = self.flops_per_batch
        if flops is None:
            flops = getattr(pl_module, "flops_per_batch", None)
        # A device works behind the host: its time is right where the host waited for it, which is at log boundaries.
        is_exact = device.type == "cpu" or is_due
        if is_due:
            _wait_for(device)
        stage.now = _Point(
            time.perf_counter() - stage.start_s,
            before.batches + 1,
            before.samples + samples,
            before.lengths + (0 if self.length_fn is None else self.length_fn(batch)),
            before.flops + (flops or 0),
        )
        if is_exact:
            self._add(stage)

    def _add(self, stage: _Stage) -> None:
        window = stage.window
        window.append(stage.now)
        while len(window) > 2 and window[-1].batches - window[0].batches >= self.window_size:
            window.popleft()

    def _finish(self, name: str, trainer: Trainer, logs: bool = True) -> float:
        """Log a stage that is over; return its seconds."""
        stage = self._stages[name]
        _wait_for(trainer.strategy.root_device)
        elapsed = time.perf_counter() - stage.start_s
        if stage.now.batches and logs:
            stage.now = _Point(elapsed, *_counts(stage.now))
            stage.window = deque([_Point(), stage.now])
            self._log(name, trainer)
        return elapsed

    def _log(self, name: str, trainer: Trainer) -> None:
        stage = self._stages[name]
        values: dict[str, float] = {
            "time": stage.now.time_s,
            "batches": stage.now.batches,
            "samples": stage.now.samples,
        }
        if self.length_fn is not None:
            values["lengths"] = stage.now.lengths
        first, last = stage.window[0], stage.window[-1]
        seconds = last.time_s - first.time_s
        if seconds > 0:
            rates = {
                "batches_per_sec": (last.batches - first.batches) / seconds,
                "samples_per_sec": (last.samples - first.samples) / seconds,
            }
            if self.length_fn is not None:
                rates["items_per_sec"] = (last.lengths - first.lengths) / seconds
            if last.flops:
                rates["flops_per_sec"] = (last.flops - first.flops) / seconds
            values.update({f"device{self.separator}{key}": rate for key, rate in rates.items()})
            if trainer.world_size > 1:
                values.update({key: rate * trainer.world_size for key, rate in rates.items()})
            if last.flops and self.available_flops:
                values[f"device{self.separator}mfu"] = rates["flops_per_sec"] / self.available_flops
        trainer.log_metrics({f"{name}{self.separator}{key}": value for key, value in values.items()})


def _counts(point: _Point) -> tuple[int, int, int, float]:
    return point.batches, point.samples, point.lengths, point.flops


def _samples_of(batch: Any) -> int:
    """Return the first dimension of the first tensor in a batch, 1 where there is none."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else 1
    items: Iterable[Any] = ()
    if isinstance(batch, Mapping):
        items = batch.values()
    elif isinstance(batch, (list, tuple)):
        items = batch
    return next((_samples_of(item) for item in items if isinstance(item, (Tensor, Mapping, list, tuple))), 1)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
