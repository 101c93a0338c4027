"""SpikeDetection: stop training when the loss leaps, and say which batches to leave out."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from fulmen.callback import Callback
from fulmen.errors import FulmenError, MisconfigurationException

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class TrainingSpikeException(FulmenError, RuntimeError):
    """The loss leapt; ``batch_idx`` is the batch at which it did."""

    def __init__(self, batch_idx: int, message: str | None = None) -> None:
        super().__init__(message or f"the loss leapt in batch {batch_idx}")
        self.batch_idx = batch_idx


class SpikeDetection(Callback):
    """End training with a ``TrainingSpikeException`` when the loss leaps away from its running mean.

    A loss is a spike if it is worse than the one before and differs from the mean of the last ``window`` losses by at
    least ``atol`` and at least ``rtol`` times that mean. Which batches to leave out when training is tried again is
    written to a file: this one, whose data may be bad, and the one before, which may have spoilt the weights.

    Args:
        mode: ``"min"`` where a loss falls, ``"max"`` where it rises.
        window: how many losses the mean is taken of.
        warmup: how many batches of the run are not judged.
        atol: the least absolute difference; ``None`` for any.
        rtol: the least difference as a fraction of the mean; ``None`` for any.
        exclude_batches_path: the file (``.json``), or the folder of ``skip_batches.json``; by default the trainer's
            ``default_root_dir``.
        finite_only: whether a loss that is NaN or infinite is a spike; with ``False`` it is not taken into the mean.
        check_every_n_steps: judge every n-th batch only. To judge is to wait for the device; between, nothing waits.

    Attributes:
        bad_batches: the numbers of the batches to leave out, as they count within their epoch.

    Raises:
        MisconfigurationException: ``mode`` is unknown, or a count is out of range.
        TrainingSpikeException: in training, at a spike.
    """

    interface = (1, 0)

    def __init__(
        self,
        mode: Literal["min", "max"] = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        exclude_batches_path: str | os.PathLike[str] | None = None,
        finite_only: bool = True,
        check_every_n_steps: int = 1,
    ) -> None:
        if mode not in ("min", "max"):
            raise MisconfigurationException(f"`mode` must be 'min' or 'max', but is {mode!r}")
        counts = {"window": window, "warmup": warmup, "check_every_n_steps": check_every_n_steps}
        for name, value in counts.items():
            if value < (least := int(name != "warmup")):
                raise MisconfigurationException(f"`{name}` must be >= {least}, but is {value}")
        self.mode = mode
        self.window = window
        self.warmup = warmup
        self.atol = atol
        self.rtol = rtol
        self.exclude_batches_path = exclude_batches_path
        self.finite_only = finite_only
        self.check_every_n_steps = check_every_n_steps
        self.bad_batches: list[int] = []
        self._last: Tensor | None = None  # the loss before, on its device
        self._recent: deque[Tensor] = deque(maxlen=window)
        self._seen = 0  # batches of the run
        self._unread: list[tuple[int, Tensor]] = []  # (batch_idx, whether it is a spike), not yet read by the host

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Those of a checkpoint were read to the host.
        self._recent = deque((loss.to(pl_module.device) for loss in self._recent), maxlen=self.window)
        self._last = None if self._last is None else self._last.to(pl_module.device)
        self._unread = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return  # the batch was skipped, or the module optimizes by hand and returns none
        loss = loss.detach().reshape(())
        if self._seen >= self.warmup:
            self._unread.append((batch_idx, self._is_spike(loss)))
        self._seen += 1
        self._take(loss)
        if self._seen % self.check_every_n_steps == 0:
            self._read(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(trainer)

    def _is_spike(self, loss: Tensor) -> Tensor:
        """Return whether a loss is a spike, as a boolean on its device."""
        mean = torch.stack(list(self._recent)).nanmean() if self._recent else torch.full_like(loss, torch.nan)
        last = torch.zeros_like(loss) if self._last is None else self._last
        distance = (loss - mean).abs()
        is_worse = ~(loss <= last if self.mode == "min" else loss >= last)
        is_spike = is_worse
        if self.atol is not None:
            is_spike = is_spike & (distance >= abs(self.atol))
        if self.rtol is not None:
            is_spike = is_spike & (distance >= (self.rtol * mean).abs())
        return is_spike | ~torch.isfinite(loss) if self.finite_only else is_spike

    def _take(self, loss: Tensor) -> None:
        """Let the mean go on, without waiting for the device: one that is not finite counts for nothing in it."""
        is_finite = torch.isfinite(loss)
        self._recent.append(torch.where(is_finite, loss, torch.nan))
        self._last = torch.where(is_finite, loss, 0.0 if self._last is None else self._last)

    def _read(self, trainer: Trainer) -> None:
        unread, self._unread = self._unread, []
        if not unread:
            return
        is_spike = torch.stack([flag for _, flag in unread])
        # One process with a spike ends them all.
        flags = trainer.strategy.reduce(is_spike.float(), reduce_op="sum").tolist()
        for (batch_idx, _), flag in zip(unread, flags, strict=True):
            if flag:
                self.bad_batches.extend(number for number in (batch_idx - 1, batch_idx) if number >= 0)
                raise TrainingSpikeException(batch_idx, self._write(trainer, batch_idx))

    def _write(self, trainer: Trainer, batch_idx: int) -> str:
        """Write the batches to leave out; return what there is to say."""
        path = Path(self.exclude_batches_path or trainer.default_root_dir)
        path = path if path.suffix == ".json" else path / "skip_batches.json"
        leapt = f"the loss leapt in batch {batch_idx} of epoch {trainer.current_epoch}"
        if not trainer.is_global_zero:
            return leapt
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.bad_batches, indent=4), encoding="utf-8")
        except OSError as error:
            return f"{leapt}; leave out the batches {self.bad_batches} ({path} cannot be written: {error})"
        return f"{leapt}; the batches to leave out are in {path}"

    def state_dict(self) -> dict[str, Any]:
        return {
            "last_val": self._last,
            "running": list(self._recent),
            "seen": self._seen,
            "bad_batches": list(self.bad_batches),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.bad_batches = list(state_dict["bad_batches"])
        if "seen" in state_dict:  # another trainer's has other parts
            self._last = state_dict["last_val"]
            self._recent = deque(state_dict["running"], maxlen=self.window)
            self._seen = state_dict["seen"]
