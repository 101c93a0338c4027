"""torchvision, importable also where its wheel was built for another variant of torch.

On Linux, torchvision's wheel on PyPI is built for CUDA. Beside a CPU-only torch its import stops at
"operator torchvision::nms does not exist", although data sets, transforms, models and ``make_grid`` do without it.
``from fulmen.vision import torchvision`` imports it there as well, without the operators that are missing. Let it be
the first import of the program: other packages (torchmetrics, for one) import torchvision where they find it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def import_torchvision() -> ModuleType:
    """Import torchvision and return it; the registrations of operators that are missing are skipped.

    Raises:
        MissingPackageError: torchvision is not installed; the message is the command that installs it.
    """
    from fulmen.errors import MissingPackageError

    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise MissingPackageError('torchvision is not installed: pip install "fulmen[vision]"') from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torch.library

    registers = torch.library.register_fake

    def register_if_there(op: Any, *args: Any, **kwargs: Any) -> Any:
        """Skip torchvision's registrations for operators that this build of torch cannot load."""
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda fn: fn
        return registers(op, *args, **kwargs)

    torch.library.register_fake = register_if_there
    try:
        return importlib.import_module("torchvision")
    finally:
        torch.library.register_fake = registers


def __getattr__(name: str) -> Any:
    if name == "torchvision":
        return import_torchvision()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
