"""Modules made of a checkpoint: ``LightningModule.load_from_checkpoint``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from fulmen.checkpoint.format import read_checkpoint
from fulmen.checkpoint.training_state import load_weights
from fulmen.errors import MisconfigurationException
from fulmen.module import LightningModule

M = TypeVar("M", bound=LightningModule)


def load_module(
    cls: type[M],
    path: Any,
    map_location: Any,
    hparams_file: str | os.PathLike[str] | None,
    strict: bool | None,
    weights_only: bool | None,
    overrides: Mapping[str, Any],
) -> M:
    """Make a module of class ``cls``; see :meth:`LightningModule.load_from_checkpoint`."""
    checkpoint = read_checkpoint(path, "cpu" if map_location is None else map_location, weights_only)
    hparams = dict(checkpoint.get("hyper_parameters", {}))
    if hparams_file is not None:
        import yaml  # only where it is used, for the sake of `import fulmen`

        with open(hparams_file, encoding="utf-8") as file:
            hparams.update(yaml.safe_load(file) or {})
    hparams.pop("_instantiator", None)  # names code to import; never followed
    arguments = {**_accepted(cls, hparams, checkpoint.get("hparams_name")), **overrides}
    try:
        module = cls(**arguments)
    except TypeError as error:
        raise MisconfigurationException(
            f"`{cls.__name__}` cannot be made from {path}: {error}; the file has "
            f"{', '.join(hparams) or 'no hyper-parameters'}. Pass what is missing: "
            f"`{cls.__name__}.load_from_checkpoint(path, argument=value)`, and call `self.save_hyperparameters()` in "
            "`__init__` to have it kept"
        ) from error
    module.on_load_checkpoint(checkpoint)
    load_weights(module, checkpoint, os.fspath(path), module.strict_loading if strict is None else strict)
    return module


def _accepted(cls: type, hparams: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return the hyper-parameters that ``__init__`` takes, by name or as the one argument they were saved from."""
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(hparams)
    if name not in (None, "kwargs") and name in parameters:
        from fulmen.hyperparameters import AttributeDict

        return {str(name): AttributeDict(hparams)}
    return {key: value for key, value in hparams.items() if key in parameters}
