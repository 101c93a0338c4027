"""The conformance kit: how the author of a plug-in proves it (``pip install "fulmen-core[testing]"``).

Subclass ``LoggerConformance`` or ``CallbackConformance`` in the plug-in's tests, say how to make the plug-in,
and run pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.testing.callback_conformance import CallbackConformance
    from fulmen.testing.conformance import Conformance
    from fulmen.testing.logger_conformance import LoggerConformance, ReadBack, StoredImage

__all__ = ["CallbackConformance", "Conformance", "LoggerConformance", "ReadBack", "StoredImage"]

_MODULES = {
    "CallbackConformance": "callback_conformance",
    "Conformance": "conformance",
    "LoggerConformance": "logger_conformance",
    "ReadBack": "logger_conformance",
    "StoredImage": "logger_conformance",
}


def __getattr__(name: str) -> Any:
    # Lazily: pytest loads this package for its plug-in at every start, and the kits import torch.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
