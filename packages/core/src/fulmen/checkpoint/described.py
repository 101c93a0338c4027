"""Hyper-parameters of command lines, which describe objects: ``{"class_path": ..., "init_args": ...}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fulmen.errors import MissingPackageError
from fulmen.hyperparameters import given_hyperparameters

T = TypeVar("T")


def describes_objects(value: Any) -> bool:
    """Whether a configuration's value stands for objects to make."""
    if isinstance(value, Mapping):
        return "class_path" in value or any(map(describes_objects, value.values()))
    return isinstance(value, (list, tuple)) and any(map(describes_objects, value))


def make_described(cls: type[T], class_path: str | None, hparams: Mapping[str, Any]) -> T:
    """Make a module or data module of hyper-parameters that a command line kept; imports the classes that they name.

    Args:
        cls: its class, or the one that it derives from.
        class_path: its own class where the user chose it.
        hparams: the arguments of ``__init__``; objects may stand as ``{"class_path": ..., "init_args": ...}``.
    """
    try:
        from jsonargparse import ArgumentParser
    except ImportError as error:
        raise MissingPackageError('this checkpoint was made by a command line: pip install "fulmen[cli]"') from error
    parser = ArgumentParser(exit_on_error=False)
    if class_path is None:
        parser.add_class_arguments(cls, "owner", fail_untyped=False)
        config: dict[str, Any] = dict(hparams)
    else:
        parser.add_subclass_arguments(cls, "owner", fail_untyped=False)
        config = {"class_path": class_path, "dict_kwargs": dict(hparams)}
    with given_hyperparameters(hparams):
        made: T = parser.instantiate(parser.parse_object({"owner": config}))["owner"]
    return made
