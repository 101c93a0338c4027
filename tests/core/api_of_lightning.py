"""The names that programs of the field use: PyTorch Lightning's classes, attribute by attribute, are kept.

``python api_of_lightning.py`` in an environment with lightning 2.6 writes ``api_of_lightning.json``: class -> name ->
the parameters of a method with their kinds, or ``null`` for an attribute.
"""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

from torch import nn

CLASSES = ("LightningModule", "LightningDataModule", "Trainer", "Callback")


def names_of(cls: type) -> dict[str, list[str] | None]:
    """Return the public names of a class that are not ``nn.Module``'s, with the parameters of methods."""
    found: dict[str, list[str] | None] = {}
    for name in dir(cls):
        if name.startswith("_") or (hasattr(nn.Module, name) and name not in vars(cls)):
            continue
        member: Any = inspect.getattr_static(cls, name)
        function = getattr(member, "__func__", member)
        found[name] = None
        if callable(function):
            found[name] = [
                {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**", "KEYWORD_ONLY": "="}.get(parameter.kind.name, "") + name
                for name, parameter in list(inspect.signature(function).parameters.items())[1:]
            ]
    return found


def main() -> None:
    pl = importlib.import_module("lightning.pytorch")
    found = {name: names_of(getattr(pl, name)) for name in CLASSES}
    found["library"] = {f"lightning.pytorch {pl.__version__}": None}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
