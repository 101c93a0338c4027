"""DeviceStatsMonitor: what is read, when, and under which keys."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.errors import MissingPackageError
from fulmen.testing.callback_conformance import RecordingLogger, TinyClassifier
from fulmen_callbacks import DeviceStatsMonitor, device_stats_monitor

NAMES = {"cpu_percent", "cpu_vm_percent", "cpu_swap_percent"}


def fit(callback: DeviceStatsMonitor, folder: Path, **options: Any) -> RecordingLogger:
    logger = RecordingLogger()
    options = {"max_epochs": 1, "log_every_n_steps": 3, **options}
    fulmen.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=logger,
        **options,
    ).fit(TinyClassifier())
    return logger


def points(logger: RecordingLogger, hook: str) -> dict[int | None, dict[str, float]]:
    prefix = f"DeviceStatsMonitor.{hook}/"
    found: dict[int | None, dict[str, float]] = {}
    for metrics, step in logger.metrics:
        values = {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}
        if values:
            found[step] = values
    return found


def test_the_hosts_at_log_boundaries(tmp_path: Path) -> None:
    logger = fit(DeviceStatsMonitor(), tmp_path)
    for hook in ("on_train_batch_start", "on_train_batch_end"):
        found = points(logger, hook)
        assert list(found) == [2, 5]
        for values in found.values():
            assert set(values) == NAMES
            assert all(0 <= value <= 100 for value in values.values())
    assert len(points(logger, "on_validation_epoch_end")) == 1


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    assert points(fit(DeviceStatsMonitor(cpu_stats=False), tmp_path), "on_train_batch_end") == {}
    found = points(fit(DeviceStatsMonitor(filter_keys={"cpu_vm"}), tmp_path), "on_train_batch_end")
    assert [set(values) for values in found.values()] == [{"cpu_vm_percent"}] * 2


def test_those_of_a_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"allocated_bytes.all.current": 5, "num_ooms": 0})
    seen: dict[str, float] = {}

    class Trainer:
        log_metrics = staticmethod(seen.update)

        class strategy:
            root_device = torch.device("cuda", 0)

    monitor = DeviceStatsMonitor()
    monitor._log(Trainer(), "on_train_batch_end", always=True)  # type: ignore[arg-type]
    assert seen == {
        "DeviceStatsMonitor.on_train_batch_end/allocated_bytes.all.current": 5.0,
        "DeviceStatsMonitor.on_train_batch_end/num_ooms": 0.0,
    }


def test_load_is_that_since_the_last_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    stat, memory = tmp_path / "stat", tmp_path / "meminfo"
    monkeypatch.setattr(device_stats_monitor, "_STAT", stat)
    monkeypatch.setattr(device_stats_monitor, "_MEMORY", memory)
    memory.write_text("MemTotal: 200 kB\nMemAvailable: 50 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
    monitor = DeviceStatsMonitor()
    stat.write_text("cpu 10 0 10 70 10 0 0 0 0 0\n")
    assert monitor._of_host() == {"cpu_percent": 20.0, "cpu_vm_percent": 75.0, "cpu_swap_percent": 0.0}
    stat.write_text("cpu 60 0 10 110 20 0 0 0 0 0\n")
    assert monitor._of_host()["cpu_percent"] == 50.0


def test_where_nothing_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "psutil" else real(name, *rest)
    )
    monkeypatch.setattr(device_stats_monitor, "_STAT", tmp_path / "nothing")
    with pytest.raises(MissingPackageError, match="needs psutil on this system: pip install psutil"):
        fit(DeviceStatsMonitor(), tmp_path)
