"""The public kit, passed by all five."""

from __future__ import annotations

import torch

from fulmen.callback import Callback
from fulmen.testing import CallbackConformance
from fulmen_callbacks import (
    EarlyStopping,
    ImagePredictionLogger,
    ModelCheckpoint,
    ModelSummary,
    TQDMProgressBar,
)


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
