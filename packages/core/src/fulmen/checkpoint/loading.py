"""Modules and data modules made of a checkpoint: ``load_from_checkpoint``."""

from __future__ import annotations

import ast
import csv
import inspect
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import IO, Any, TypeVar

import torch
from torch import Tensor

from fulmen.checkpoint.described import describes_objects, make_described
from fulmen.checkpoint.format import is_url, name_of, read_checkpoint
from fulmen.checkpoint.kept_hyperparameters import kept_hyperparameters
from fulmen.checkpoint.training_state import load_weights
from fulmen.datamodule import LightningDataModule
from fulmen.errors import MisconfigurationException, nearest
from fulmen.hooks import is_overridden
from fulmen.hyperparameters import AttributeDict, HyperparametersMixin
from fulmen.module import LightningModule

Owner = TypeVar("Owner", bound=HyperparametersMixin)
M = TypeVar("M", bound=LightningModule)
D = TypeVar("D", bound=LightningDataModule)

#: where checkpoints of the field's first versions keep hyper-parameters
_OLD_KEYS = ("hparams", "module_arguments")


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
    checkpoint = read_checkpoint(path, saved_place if map_location is None else map_location, weights_only)
    module = _make(cls, checkpoint, path, hparams_file, weights_only, overrides)
    if is_overridden("configure_model", module, LightningModule):
        module.configure_model()
    module.on_load_checkpoint(checkpoint)
    for value in (checkpoint.get("state_dict") or {}).values():
        if isinstance(value, Tensor):
            module.to(value.device)
            break
    load_weights(module, checkpoint, name_of(path), module.strict_loading if strict is None else strict)
    return module


def load_datamodule(
    cls: type[D],
    path: Any,
    map_location: Any,
    hparams_file: str | os.PathLike[str] | None,
    weights_only: bool | None,
    overrides: Mapping[str, Any],
) -> D:
    """Make a data module of class ``cls``; see :meth:`LightningDataModule.load_from_checkpoint`."""
    checkpoint = read_checkpoint(path, saved_place if map_location is None else map_location, weights_only)
    datamodule = _make(cls, checkpoint, path, hparams_file, weights_only, overrides)
    if cls.__qualname__ in checkpoint:
        datamodule.load_state_dict(checkpoint[cls.__qualname__])
    return datamodule


def saved_place(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage | None:
    """Leave a tensor where it was saved, for ``torch.load``; on the CPU where that device is not here."""
    kind, _, index = location.partition(":")
    if kind == "cuda":
        is_here = torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count()
    elif kind == "mps":
        is_here = torch.backends.mps.is_available()
    else:
        is_here = kind in ("cpu", "meta")
    return None if is_here else storage


def _make(
    cls: type[Owner],
    checkpoint: dict[str, Any],
    path: str | os.PathLike[str] | IO[bytes],
    hparams_file: str | os.PathLike[str] | None,
    weights_only: bool | None,
    overrides: Mapping[str, Any],
) -> Owner:
    """Make an object of a class with a checkpoint's hyper-parameters, or a file's, and the caller's."""
    if hparams_file is not None:
        hparams = _read_hparams(hparams_file)
    else:
        hparams = kept_hyperparameters(cls, checkpoint, name_of(path), weights_only is False, overrides)
        for key in _OLD_KEYS if issubclass(cls, LightningModule) else ():
            hparams = {**(checkpoint.get(key) or {}), **hparams}
    hparams.pop("_instantiator", None)
    class_path = hparams.pop("_class_path", None)
    described = [name for name, value in hparams.items() if name not in overrides and describes_objects(value)]
    if described:  # by a command line: names of code to import
        if weights_only is not False:
            raise MisconfigurationException(
                f"{name_of(path)} was made by a command line, and its hyper-parameter `{described[0]}` names classes "
                f"to import: {str(hparams[described[0]])!r:.120}. Pass the object, "
                f"`{cls.__name__}.load_from_checkpoint(path, {described[0]}=...)`, or weights_only=False if you trust "
                "whoever wrote the file"
            )
        return make_described(cls, class_path, {**hparams, **overrides})
    arguments = _arguments(cls, hparams, checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_NAME), overrides)
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise MisconfigurationException(
            f"`{cls.__name__}` cannot be made from {name_of(path)}: {error}; the file has "
            f"{', '.join(hparams) or 'no hyper-parameters'}. Pass what is missing: "
            f"`{cls.__name__}.load_from_checkpoint(path, argument=value)`, and call `self.save_hyperparameters()` in "
            "`__init__` to have it kept"
        ) from error
    return cls(**arguments)


def _arguments(cls: type, hparams: dict[str, Any], name: str | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters that ``__init__`` takes, by name or as the one argument they were saved from."""
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return {**hparams, **overrides}
    named = [p.name for p in parameters.values() if p.kind is not p.VAR_POSITIONAL]
    if name in named:
        config = AttributeDict({**hparams, **overrides})
        return {str(name): config, **{key: value for key, value in overrides.items() if key in named}}
    for key in overrides:
        if key not in named:
            raise MisconfigurationException(
                f"`{cls.__name__}.load_from_checkpoint({key}=...)`: `{cls.__name__}.__init__` has no argument `{key}`"
                f"{nearest(key, named)}; it has: {', '.join(named) or 'none'}"
            )
    return {**{key: value for key, value in hparams.items() if key in named}, **overrides}


def _read_hparams(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the hyper-parameters in a YAML file, or in a CSV file of keys and values."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in (".yaml", ".yml", ".csv"):
        raise MisconfigurationException(
            f"`hparams_file` must be a .yaml, .yml or .csv file, but is {os.fspath(path)!r}; give it one of these names"
        )
    with _open_text(path) as file:
        if suffix == ".csv":
            rows = list(csv.reader(file))[1:]
            return {row[0]: _literal(row[1]) for row in rows if row}
        import yaml  # only where it is used, for the sake of `import fulmen`

        class Loader(yaml.SafeLoader):
            """Reads tuples too, as the field's trainers write them."""

            def construct_tuple(self, node: yaml.SequenceNode) -> tuple[Any, ...]:
                return tuple(self.construct_sequence(node, deep=True))

        Loader.add_constructor("tag:yaml.org,2002:python/tuple", Loader.construct_tuple)
        return dict(yaml.load(file, Loader=Loader) or {})


def _open_text(path: str | os.PathLike[str]) -> AbstractContextManager[IO[str]]:
    if is_url(path):
        import fsspec

        opened: AbstractContextManager[IO[str]] = fsspec.open(os.fspath(path), "r", encoding="utf-8")
        return opened
    return open(path, encoding="utf-8", newline="")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
