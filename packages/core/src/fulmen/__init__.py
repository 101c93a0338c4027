"""Fulmen trains PyTorch models: write a ``LightningModule``, hand it to a ``Trainer``.

Importing this package imports torch and nothing else that is large: no tracker, no torchvision, no rich.
"""

import importlib as _importlib
import logging as _logging
import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

__version__ = "0.1.0"

from fulmen import callbacks, loggers, metrics, profilers
from fulmen.callback import Callback
from fulmen.datamodule import LightningDataModule
from fulmen.errors import FulmenError, MisconfigurationException, disable_possible_user_warnings
from fulmen.legacy import import_paths as _import_paths
from fulmen.module import LightningModule
from fulmen.seed import seed_everything
from fulmen.trainer import Trainer

if _TYPE_CHECKING:
    from fulmen import tuner as tuner
    from fulmen import vision as vision

__all__ = [
    "Callback",
    "FulmenError",
    "LightningDataModule",
    "LightningModule",
    "MisconfigurationException",
    "Trainer",
    "callbacks",
    "disable_possible_user_warnings",
    "loggers",
    "metrics",
    "profilers",
    "seed_everything",
]


def _speak_when_nobody_listens() -> None:
    """Show our messages on the terminal unless the program has set up logging itself."""
    log = _logging.getLogger("fulmen")
    handler = _logging.StreamHandler()
    handler.addFilter(lambda record: not _logging.getLogger().handlers)
    log.addHandler(handler)
    if log.level == _logging.NOTSET:
        log.setLevel(_logging.INFO)


_speak_when_nobody_listens()
_import_paths.install()
if _os.environ.get("POSSIBLE_USER_WARNINGS", "").lower() in ("0", "off"):
    disable_possible_user_warnings()


def __getattr__(name: str) -> _Any:
    if name in ("tuner", "vision"):
        return _importlib.import_module(f"fulmen.{name}")
    found = _import_paths.found_in("", name)
    if found is not None:
        return found
    raise AttributeError(f"module 'fulmen' has no attribute {name!r}")
