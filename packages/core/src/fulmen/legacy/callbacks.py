"""Callbacks that arguments of the old Trainer stood for, and old names of callbacks."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.gradients import grad_norm
from fulmen.legacy.spelling import say_old


class TerminateOnNaN(Callback):
    """Ends training with an error when the loss is NaN or infinite; it waits for the device on every batch."""

    _fulmen_spelling = "Trainer(detect_anomaly=True), which names the operation"

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look at the loss."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if loss is not None and not torch.isfinite(loss).all():
            raise ValueError(
                f"the loss of batch {batch_idx} in epoch {trainer.current_epoch} is {float(loss)}; "
                "`detect_anomaly=True` names the operation that made it so"
            )


class TrackGradNorm(Callback):
    """Logs the gradients' norms before each optimizer step.

    Args:
        norm_type: the order of the norm, such as 2 or ``"inf"``.
    """

    def __init__(self, norm_type: float | str) -> None:
        self._norm_type = norm_type
        self._fulmen_spelling = (
            f"`self.log_dict(grad_norm(self, norm_type={norm_type!r}))` in `on_before_optimizer_step`"
        )

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Log the norms."""
        pl_module.log_dict(grad_norm(pl_module, self._norm_type))


class GPUStatsMonitor:
    """Makes a ``DeviceStatsMonitor``, which measures what there is; ``XLAStatsMonitor`` as well."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the ``DeviceStatsMonitor``."""
        from fulmen.registry import CALLBACKS, load

        say_old("FUL106", f"`{cls.__name__}(...)`", "`DeviceStatsMonitor()`")
        return load(CALLBACKS, "device_stats_monitor")()


class XLAStatsMonitor(GPUStatsMonitor):
    """Makes a ``DeviceStatsMonitor``."""


class QuantizationAwareTraining:
    """Is no more."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Say what there is.

        Raises:
            MisconfigurationException: always.
        """
        raise MisconfigurationException(
            "there is no QuantizationAwareTraining any more; prepare the model with torch.ao.quantization.prepare_qat "
            "in `configure_model`, and convert it after fit"
        )
