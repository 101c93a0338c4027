"""Loggers for Fulmen: CSV, TensorBoard, Weights & Biases, MLflow, Neptune, Comet, Trackio.

Each class imports its tracker's SDK when it is named, ``from fulmen_loggers import WandbLogger``, never
before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen_loggers.comet import CometLogger
    from fulmen_loggers.csv_logger import CSVLogger
    from fulmen_loggers.mlflow import MLFlowLogger
    from fulmen_loggers.neptune import NeptuneLogger
    from fulmen_loggers.tensorboard import TensorBoardLogger
    from fulmen_loggers.trackio import TrackioLogger
    from fulmen_loggers.wandb import WandbLogger

__all__ = [
    "CSVLogger",
    "CometLogger",
    "MLFlowLogger",
    "NeptuneLogger",
    "TensorBoardLogger",
    "TrackioLogger",
    "WandbLogger",
]

_MODULES = {
    "CometLogger": "comet",
    "CSVLogger": "csv_logger",
    "MLFlowLogger": "mlflow",
    "NeptuneLogger": "neptune",
    "TensorBoardLogger": "tensorboard",
    "TrackioLogger": "trackio",
    "WandbLogger": "wandb",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
