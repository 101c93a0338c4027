"""The public kit, passed by all."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
import torch

import fulmen_callbacks
from fulmen.callback import Callback
from fulmen.testing import CallbackConformance
from fulmen_callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    ImagePredictionLogger,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    OnExceptionCheckpoint,
    SpikeDetection,
    Timer,
    TQDMProgressBar,
)


def test_every_callback_is_proven_here() -> None:
    proven = {name.removeprefix("Test") for name in globals() if name.startswith("Test")}
    classes = {name: getattr(fulmen_callbacks, name) for name in fulmen_callbacks.__all__}
    assert {name for name, one in classes.items() if issubclass(one, Callback)} == proven


class TestEarlyStopping(CallbackConformance):
    observes = False  # it stops training

    def make(self) -> Callback:
        return EarlyStopping("val_loss", patience=1)

    def make_another(self) -> Callback:
        return EarlyStopping("val_acc", mode="max")


class TestModelCheckpoint(CallbackConformance):
    def make(self) -> Callback:
        return ModelCheckpoint(monitor="val_loss", save_last=True)

    def make_another(self) -> Callback:
        return ModelCheckpoint(every_n_train_steps=2, save_top_k=-1)


class TestTQDMProgressBar(CallbackConformance):
    def make(self) -> Callback:
        return TQDMProgressBar()


class TestModelSummary(CallbackConformance):
    def make(self) -> Callback:
        return ModelSummary(max_depth=2)

    def make_another(self) -> Callback:
        return ModelSummary(max_depth=-1)


class TestImagePredictionLogger(CallbackConformance):
    def make(self) -> Callback:
        return ImagePredictionLogger(num_samples=6)

    def make_another(self) -> Callback:
        return ImagePredictionLogger((torch.rand(4, 1, 8, 8), torch.arange(4) % 3), key="others")


class TestGradientAccumulationScheduler(CallbackConformance):
    observes = False  # it changes how many batches make a step

    def make(self) -> Callback:
        return GradientAccumulationScheduler({1: 2})


def _ignore(trainer: Any, pl_module: Any) -> None:
    """Do nothing; a function of the module, so that it pickles."""


class TestLambdaCallback(CallbackConformance):
    def make(self) -> Callback:
        return LambdaCallback(on_train_batch_end=_ignore, setup=_ignore, on_exception=_ignore)


class TestLearningRateMonitor(CallbackConformance):
    def make(self) -> Callback:
        return LearningRateMonitor(log_momentum=True, log_weight_decay=True)

    def make_another(self) -> Callback:
        return LearningRateMonitor("step", log_key_prefix="rates/")


class TestOnExceptionCheckpoint(CallbackConformance):
    @pytest.fixture(autouse=True)
    def _folder(self) -> Any:
        with tempfile.TemporaryDirectory() as self.folder:
            yield

    def make(self) -> Callback:
        return OnExceptionCheckpoint(self.folder)

    def make_another(self) -> Callback:
        return OnExceptionCheckpoint(self.folder, "another")


class TestSpikeDetection(CallbackConformance):
    def make(self) -> Callback:
        return SpikeDetection()


class TestTimer(CallbackConformance):
    def make(self) -> Callback:
        return Timer("00:01:00:00")
