"""Callbacks for Fulmen; each is imported when it is named."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen_callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
    from fulmen_callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
    from fulmen_callbacks.image_prediction_logger import ImagePredictionLogger
    from fulmen_callbacks.lambda_callback import LambdaCallback
    from fulmen_callbacks.learning_rate_monitor import LearningRateMonitor
    from fulmen_callbacks.model_checkpoint import ModelCheckpoint
    from fulmen_callbacks.model_summary import ModelSummary
    from fulmen_callbacks.on_exception_checkpoint import OnExceptionCheckpoint
    from fulmen_callbacks.spike_detection import SpikeDetection, TrainingSpikeException
    from fulmen_callbacks.timer import Timer
    from fulmen_callbacks.tqdm_progress_bar import TQDMProgressBar

__all__ = [
    "EarlyStopping",
    "EarlyStoppingReason",
    "GradientAccumulationScheduler",
    "ImagePredictionLogger",
    "LambdaCallback",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "SpikeDetection",
    "TQDMProgressBar",
    "Timer",
    "TrainingSpikeException",
]

_MODULE_OF = {
    "EarlyStopping": "early_stopping",
    "EarlyStoppingReason": "early_stopping",
    "GradientAccumulationScheduler": "gradient_accumulation_scheduler",
    "ImagePredictionLogger": "image_prediction_logger",
    "LambdaCallback": "lambda_callback",
    "LearningRateMonitor": "learning_rate_monitor",
    "ModelCheckpoint": "model_checkpoint",
    "ModelSummary": "model_summary",
    "OnExceptionCheckpoint": "on_exception_checkpoint",
    "SpikeDetection": "spike_detection",
    "TQDMProgressBar": "tqdm_progress_bar",
    "Timer": "timer",
    "TrainingSpikeException": "spike_detection",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
