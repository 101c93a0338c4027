"""Every installed logger's class by its name: ``from fulmen.loggers import WandbLogger``.

Only the one that is named gets imported; where its SDK is missing, the error says which command installs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.logger import Logger
from fulmen.registry import LOGGERS, installed, load_class

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
    "Logger",
    "MLFlowLogger",
    "NeptuneLogger",
    "TensorBoardLogger",
    "TrackioLogger",
    "WandbLogger",
]

#: ``legacy.import_paths`` finds the field's paths below this one, such as ``fulmen.loggers.wandb``
__path__: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_class(LOGGERS, name)


def __dir__() -> list[str]:
    return sorted({"Logger", *(entry.attr for entries in installed(LOGGERS).values() for entry in entries)})
