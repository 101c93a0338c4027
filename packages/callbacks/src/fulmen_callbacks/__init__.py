"""Callbacks for Fulmen; each is imported when it is named."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen_callbacks.backbone_finetuning import BackboneFinetuning
    from fulmen_callbacks.base_finetuning import BaseFinetuning
    from fulmen_callbacks.base_prediction_writer import BasePredictionWriter, WriteInterval
    from fulmen_callbacks.batch_size_finder import BatchSizeFinder
    from fulmen_callbacks.device_stats_monitor import DeviceStatsMonitor
    from fulmen_callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
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
    from fulmen_callbacks.rich_progress_bar import RichProgressBar, RichProgressBarTheme
    from fulmen_callbacks.spike_detection import SpikeDetection, TrainingSpikeException
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
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "EarlyStoppingReason",
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
    "RichProgressBarTheme",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
    "TrainingSpikeException",
    "WeightAveraging",
    "WriteInterval",
]

_MODULE_OF = {
    "BackboneFinetuning": "backbone_finetuning",
    "BaseFinetuning": "base_finetuning",
    "BasePredictionWriter": "base_prediction_writer",
    "DeviceStatsMonitor": "device_stats_monitor",
    "BatchSizeFinder": "batch_size_finder",
    "EMAWeightAveraging": "weight_averaging",
    "EarlyStopping": "early_stopping",
    "EarlyStoppingReason": "early_stopping",
    "GradientAccumulationScheduler": "gradient_accumulation_scheduler",
    "GradientStats": "gradient_stats",
    "ImagePredictionLogger": "image_prediction_logger",
    "LambdaCallback": "lambda_callback",
    "LearningRateFinder": "learning_rate_finder",
    "LearningRateMonitor": "learning_rate_monitor",
    "ModelCheckpoint": "model_checkpoint",
    "ModelPruning": "model_pruning",
    "ModelSummary": "model_summary",
    "OnExceptionCheckpoint": "on_exception_checkpoint",
    "PredictionWriter": "prediction_writer",
    "RichModelSummary": "rich_model_summary",
    "RichProgressBar": "rich_progress_bar",
    "RichProgressBarTheme": "rich_progress_bar",
    "SpikeDetection": "spike_detection",
    "StochasticWeightAveraging": "stochastic_weight_averaging",
    "TQDMProgressBar": "tqdm_progress_bar",
    "ThroughputMonitor": "throughput_monitor",
    "Timer": "timer",
    "TrainingSpikeException": "spike_detection",
    "WeightAveraging": "weight_averaging",
    "WriteInterval": "base_prediction_writer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
