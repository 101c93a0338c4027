"""Callbacks for Fulmen; each is imported when it is named."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen_callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
    from fulmen_callbacks.image_prediction_logger import ImagePredictionLogger
    from fulmen_callbacks.model_checkpoint import ModelCheckpoint
    from fulmen_callbacks.model_summary import ModelSummary
    from fulmen_callbacks.tqdm_progress_bar import TQDMProgressBar

__all__ = [
    "EarlyStopping",
    "EarlyStoppingReason",
    "ImagePredictionLogger",
    "ModelCheckpoint",
    "ModelSummary",
    "TQDMProgressBar",
]

_MODULE_OF = {
    "EarlyStopping": "early_stopping",
    "EarlyStoppingReason": "early_stopping",
    "ImagePredictionLogger": "image_prediction_logger",
    "ModelCheckpoint": "model_checkpoint",
    "ModelSummary": "model_summary",
    "TQDMProgressBar": "tqdm_progress_bar",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
