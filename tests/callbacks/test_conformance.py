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
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    DeviceStatsMonitor,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    GradientStats,
    ImagePredictionLogger,
    LambdaCallback,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    ModelSummary,
    OnExceptionCheckpoint,
    PredictionWriter,
    RichModelSummary,
    RichProgressBar,
    SpikeDetection,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
    TQDMProgressBar,
    WeightAveraging,
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


class HeadFirst(BaseFinetuning):
    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.net[1])

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.net[1], optimizer)


@pytest.mark.filterwarnings("ignore:Adam was given 2 parameters while they were frozen")
class TestBaseFinetuning(CallbackConformance):
    observes = False  # it says what trains

    def make(self) -> Callback:
        return HeadFirst()


class HeadFirstByBackbone(BackboneFinetuning):
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        pl_module.backbone = pl_module.net[1]
        super().setup(trainer, pl_module, stage)


@pytest.mark.filterwarnings("ignore:Adam was given 2 parameters while they were frozen")
class TestBackboneFinetuning(CallbackConformance):
    observes = False  # it says what trains

    def make(self) -> Callback:
        return HeadFirstByBackbone(1)


class TestWeightAveraging(CallbackConformance):
    observes = False  # training ends with the average

    def make(self) -> Callback:
        return WeightAveraging()


class TestEMAWeightAveraging(CallbackConformance):
    observes = False  # training ends with the average

    def make(self) -> Callback:
        return EMAWeightAveraging(decay=0.9)


class TestStochasticWeightAveraging(CallbackConformance):
    observes = False  # it changes rates, and training ends with the average

    def make(self) -> Callback:
        return StochasticWeightAveraging(0.05, swa_epoch_start=1, annealing_epochs=2)


class Writing(BasePredictionWriter):
    def write_on_batch_end(self, *arguments: Any) -> None:
        assert len(arguments) == 7

    def write_on_epoch_end(self, *arguments: Any) -> None:
        assert len(arguments) == 4


class TestBasePredictionWriter(CallbackConformance):
    def make(self) -> Callback:
        return Writing("batch_and_epoch")


class TestPredictionWriter(CallbackConformance):
    @pytest.fixture(autouse=True)
    def _folder(self) -> Any:
        with tempfile.TemporaryDirectory() as self.folder:
            yield

    def make(self) -> Callback:
        return PredictionWriter(self.folder)

    def make_another(self) -> Callback:
        return PredictionWriter(self.folder, filename="others")


class TestThroughputMonitor(CallbackConformance):
    def make(self) -> Callback:
        return ThroughputMonitor()


class TestDeviceStatsMonitor(CallbackConformance):
    def make(self) -> Callback:
        return DeviceStatsMonitor(cpu_stats=True)


class TestModelPruning(CallbackConformance):
    observes = False  # it prunes

    def make(self) -> Callback:
        return ModelPruning("l1_unstructured", amount=0.2)


class TestRichProgressBar(CallbackConformance):
    def make(self) -> Callback:
        pytest.importorskip("rich")
        return RichProgressBar()


class TestRichModelSummary(CallbackConformance):
    def make(self) -> Callback:
        pytest.importorskip("rich")
        return RichModelSummary()


class TestLearningRateFinder(CallbackConformance):
    def make(self) -> Callback:
        return LearningRateFinder(num_training_steps=14, update_attr=False)  # the kit's module has no such attribute

    def make_another(self) -> Callback:
        return LearningRateFinder(num_training_steps=5, mode="linear", update_attr=False)


class TestBatchSizeFinder(CallbackConformance):
    observes = False  # it changes the loaders

    def make(self) -> Callback:
        return _FindsForTheKit(max_trials=2)

    def make_another(self) -> Callback:
        return _FindsForTheKit(mode="binsearch", max_trials=1)


class _FindsForTheKit(BatchSizeFinder):
    """The kit's module has no batch size, so it is given one; its loaders stay as they are."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        pl_module.batch_size = 4


class TestGradientStats(CallbackConformance):
    def make(self) -> Callback:
        return GradientStats()

    def make_another(self) -> Callback:
        return GradientStats(float("inf"), depth=-1)
