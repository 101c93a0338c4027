"""Every installed callback's class by its name: ``from fulmen.callbacks import EarlyStopping``.

Only the one that is named gets imported; where something it needs is missing, the error says which command installs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.callback import Callback
from fulmen.registry import CALLBACKS, installed, load_class

if TYPE_CHECKING:
    from fulmen_callbacks.backbone_finetuning import BackboneFinetuning
    from fulmen_callbacks.base_finetuning import BaseFinetuning
    from fulmen_callbacks.base_prediction_writer import BasePredictionWriter
    from fulmen_callbacks.batch_size_finder import BatchSizeFinder
    from fulmen_callbacks.device_stats_monitor import DeviceStatsMonitor
    from fulmen_callbacks.early_stopping import EarlyStopping
    from fulmen_callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
    from fulmen_callbacks.gradient_stats import GradientStats
    from fulmen_callbacks.image_prediction_logger import ImagePredictionLogger
    from fulmen_callbacks.lambda_callback import LambdaCallback
    from fulmen_callbacks.learning_rate_finder import LearningRateFinder
    from fulmen_callbacks.learning_rate_monitor import LearningRateMonitor
    from fulmen_callbacks.model_checkpoint import ModelCheckpoint
    from fulmen_callbacks.model_pruning import ModelPruning
    from fulmen_callbacks.model_summary import ModelSummary
    from fulmen_callbacks.on_exception_checkpoint import OnExceptionCheckpoint
    from fulmen_callbacks.prediction_writer import PredictionWriter
    from fulmen_callbacks.rich_model_summary import RichModelSummary
    from fulmen_callbacks.rich_progress_bar import RichProgressBar
    from fulmen_callbacks.spike_detection import SpikeDetection
    from fulmen_callbacks.stochastic_weight_averaging import StochasticWeightAveraging
    from fulmen_callbacks.throughput_monitor import ThroughputMonitor
    from fulmen_callbacks.timer import Timer
    from fulmen_callbacks.tqdm_progress_bar import TQDMProgressBar
    from fulmen_callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "GradientStats",
    "ImagePredictionLogger",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelPruning",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "PredictionWriter",
    "RichModelSummary",
    "RichProgressBar",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
    "WeightAveraging",
]

#: ``legacy.import_paths`` finds the field's paths below this one, such as ``fulmen.callbacks.early_stopping``
__path__: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_class(CALLBACKS, name)


def __dir__() -> list[str]:
    return sorted({"Callback", *(entry.attr for entries in installed(CALLBACKS).values() for entry in entries)})
