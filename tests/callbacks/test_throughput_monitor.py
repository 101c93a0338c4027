"""ThroughputMonitor: rates by a clock that the test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import RecordingLogger, TinyClassifier
from fulmen_callbacks import ThroughputMonitor, _peak_flops, throughput_monitor


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as the monitor sees it."""
    now = [10.0]

    class Clock:
        perf_counter = staticmethod(lambda: now[0])

    monkeypatch.setattr(throughput_monitor, "time", Clock)
    return now


class Ticking(Callback):
    """A training batch takes half a second, one of evaluation two."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.clock[0] += 0.5

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.clock[0] += 2

    def on_predict_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.clock[0] += 2


def fit(folder: Path, *callbacks: Callback, **options: Any) -> tuple[fulmen.Trainer, RecordingLogger]:
    logger = RecordingLogger()
    options = {"max_epochs": 2, "log_every_n_steps": 3, **options}
    trainer = fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=logger,
        **options,
    )
    trainer.fit(TinyClassifier())
    return trainer, logger


def of_stage(logger: RecordingLogger, stage: str) -> list[tuple[int | None, dict[str, float]]]:
    return [
        (step, {key: value for key, value in metrics.items() if key.startswith(f"{stage}/")})
        for metrics, step in logger.metrics
        if f"{stage}/time" in metrics
    ]


def test_rates_at_log_boundaries_without_the_time_of_validation(tmp_path: Path, clock: list[float]) -> None:
    monitor = ThroughputMonitor(length_fn=lambda batch: batch[0].numel(), window_size=4)
    _, logger = fit(tmp_path, Ticking(clock), monitor)
    points = of_stage(logger, "train")
    assert [step for step, _ in points] == [2, 5, 8, 11]
    assert points[-1][1] == {
        "train/time": 6.0,
        "train/batches": 12,
        "train/samples": 48,
        "train/lengths": 12 * 256,
        "train/device/batches_per_sec": 2.0,
        "train/device/samples_per_sec": 8.0,
        "train/device/items_per_sec": 512.0,
    }
    assert of_stage(logger, "validate")[-1][1]["validate/device/batches_per_sec"] == 0.5


def test_the_same_rates_as_lightnings(tmp_path: Path, clock: list[float]) -> None:
    # Of Lightning 2.6.6 with this clock, window_size=3, flops_per_batch=100, a peak of 1000.
    monitor = ThroughputMonitor(lambda batch: len(batch[0]), window_size=3, flops_per_batch=100, peak_flops=1000)
    _, logger = fit(tmp_path, Ticking(clock), monitor, max_epochs=1)
    assert of_stage(logger, "train")[-1][1] == {
        "train/time": 3.0,
        "train/batches": 6,
        "train/samples": 24,
        "train/device/batches_per_sec": 2.0,
        "train/device/samples_per_sec": 8.0,
        "train/device/flops_per_sec": 200.0,
        "train/device/mfu": 0.2,
    }


def test_flops_of_the_module_and_accumulation(tmp_path: Path, clock: list[float]) -> None:
    monitor = ThroughputMonitor(flops_per_batch=10)
    _, logger = fit(tmp_path, Ticking(clock), monitor, accumulate_grad_batches=2, log_every_n_steps=1)
    assert [values["train/batches"] for _, values in of_stage(logger, "train")] == [2, 4, 6, 8, 10, 12]
    assert of_stage(logger, "train")[-1][1]["train/device/flops_per_sec"] == 20.0


def test_prediction_is_measured(tmp_path: Path, clock: list[float]) -> None:
    trainer, logger = fit(tmp_path, Ticking(clock), ThroughputMonitor(), max_epochs=1)
    trainer.predict(TinyClassifier())
    trainer.test(TinyClassifier(), verbose=False)
    assert of_stage(logger, "predict")[-1][1]["predict/device/samples_per_sec"] == 2.0
    assert of_stage(logger, "test")[-1][1]["test/batches"] == 2


def test_several_processes(tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = ThroughputMonitor()
    trainer, _ = fit(tmp_path, Ticking(clock), monitor)
    seen: dict[str, float] = {}

    class Four:
        world_size = 4
        log_metrics = staticmethod(seen.update)

    monitor._log("train", Four())  # type: ignore[arg-type]
    assert seen["train/batches_per_sec"] == 4 * seen["train/device/batches_per_sec"]
    assert trainer.world_size == 1


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "half", 989.4e12),
        ("NVIDIA H100 PCIe", "half", 756e12),
        ("NVIDIA H200", "half", 989.4e12),
        ("NVIDIA A100-SXM4-40GB", "tf32", 156e12),
        ("NVIDIA L4", "half", 121e12),
        ("NVIDIA L40S", "half", 362e12),
        ("Tesla T4", "fp32", 8.1e12),
        ("Tesla T4", "fp64", None),
        ("NVIDIA GeForce 256", "half", None),
    ],
)
def test_peaks_are_those_of_dense_products(name: str, kind: str, expected: float | None) -> None:
    assert _peak_flops.peak_of_chip(name, kind) == expected


def test_no_peak_is_known_of_a_host() -> None:
    assert _peak_flops.peak_flops(torch.device("cpu"), "32-true") is None
    assert [_peak_flops._kind(one) for one in ("bf16-mixed", "16-true", "64-true", "32-true")] == [
        "half",
        "half",
        "fp64",
        "fp32",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window_size": 1}, "`window_size` must be >= 2, but is 1"),
        ({"flops_per_batch": 0}, "`flops_per_batch` must be > 0, but is 0"),
        ({"peak_flops": -1.0}, "`peak_flops` must be > 0, but is -1.0"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        ThroughputMonitor(**arguments)
