"""DeviceStatsMonitor: log memory and load of the device, and of the host."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fulmen.callback import Callback
from fulmen.errors import MissingPackageError
from fulmen_callbacks._schedule import log_is_due

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer

_STAT, _MEMORY = Path("/proc/stat"), Path("/proc/meminfo")


class DeviceStatsMonitor(Callback):
    """Log the statistics of the device before and after batches, at log boundaries.

    Of a CUDA device they are those of ``torch.cuda.memory_stats``; of the host ``cpu_percent`` (load since the last
    look), ``cpu_vm_percent`` (memory in use) and ``cpu_swap_percent``. A key is
    ``DeviceStatsMonitor.on_train_batch_end/cpu_percent``.

    Args:
        cpu_stats: log the host's: ``None`` where the model is on the host, ``True`` always, ``False`` never.
        filter_keys: log only those whose name is one of these or begins with one: ``{"allocated_bytes.all"}``.

    Raises:
        MissingPackageError: when ``fit`` begins, where the host's statistics are asked for on a system that is not
            Linux, and psutil is not installed.
    """

    interface = (1, 0)

    def __init__(self, cpu_stats: bool | None = None, filter_keys: Collection[str] | None = None) -> None:
        self._cpu_stats = cpu_stats
        self.filter_keys = None if filter_keys is None else tuple(filter_keys)
        self._cpu_times: tuple[float, float] = (0.0, 0.0)  # busy and all, since the machine started

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self._reads_host(trainer) or importlib.util.find_spec("psutil") is not None:
            return
        if not (_STAT.exists() and _MEMORY.exists()):
            raise MissingPackageError("`DeviceStatsMonitor` needs psutil on this system: pip install psutil")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._log(trainer, "on_train_batch_start")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._log(trainer, "on_train_batch_end")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0 and not trainer.sanity_checking:
            self._log(trainer, "on_validation_batch_start", always=True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log(trainer, "on_validation_epoch_end", always=True)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self._log(trainer, "on_test_batch_start", always=True)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, "on_test_epoch_end", always=True)

    def _reads_host(self, trainer: Trainer) -> bool:
        is_host = trainer.strategy.root_device.type == "cpu"
        return is_host if self._cpu_stats is None else self._cpu_stats

    def _log(self, trainer: Trainer, hook: str, always: bool = False) -> None:
        if not (always or log_is_due(trainer)):
            return
        device = trainer.strategy.root_device
        stats: dict[str, float] = {}
        if device.type == "cuda":
            stats.update(torch.cuda.memory_stats(device))
        elif device.type == "mps":
            stats["mps_allocated_bytes"] = torch.mps.current_allocated_memory()
            stats["mps_driver_bytes"] = torch.mps.driver_allocated_memory()
        if self._reads_host(trainer):
            stats.update(self._of_host())
        if self.filter_keys is not None:
            stats = {key: value for key, value in stats.items() if key.startswith(self.filter_keys)}
        if stats:
            prefix = f"{type(self).__qualname__}.{hook}"
            trainer.log_metrics({f"{prefix}/{key}": float(value) for key, value in stats.items()})

    def _of_host(self) -> dict[str, float]:
        """Return load and memory of the host in percent."""
        if importlib.util.find_spec("psutil") is not None:
            import psutil

            return {
                "cpu_percent": psutil.cpu_percent(),
                "cpu_vm_percent": psutil.virtual_memory().percent,
                "cpu_swap_percent": psutil.swap_memory().percent,
            }
        times = [float(word) for word in _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        total, idle = sum(times), times[3] + times[4]
        (busy_before, total_before), self._cpu_times = self._cpu_times, (total - idle, total)
        elapsed = total - total_before
        lines = (line.split() for line in _MEMORY.read_text(encoding="ascii").splitlines())
        memory = {words[0].rstrip(":"): float(words[1]) for words in lines}
        return {
            "cpu_percent": 100 * (total - idle - busy_before) / elapsed if elapsed else 0.0,
            "cpu_vm_percent": 100 * (1 - memory["MemAvailable"] / memory["MemTotal"]),
            "cpu_swap_percent": 100 * (1 - memory["SwapFree"] / memory["SwapTotal"]) if memory["SwapTotal"] else 0.0,
        }
