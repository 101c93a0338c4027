"""Hyper-parameters in a checkpoint: plain values that load safely, and beside them what only trusted loading may read.

A checkpoint must load with ``weights_only=True`` whatever a program keeps as hyper-parameters. A value without a plain
form (a class, a function, a module) is therefore pickled into a tensor of bytes, which nothing unpickles unless the
caller trusts the file. A value with a plain form of another type (a dataclass, an enum, a path) is kept in both ways.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import pickle
import types
import typing
from argparse import Namespace
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from fulmen.advice import advise
from fulmen.checkpoint.format import plain_form
from fulmen.errors import CheckpointError
from fulmen.hyperparameters import AttributeDict, HyperparametersMixin

_PICKLED = "_pickled"
_ATOMS = (type(None), bool, int, float, complex, str, bytes, Tensor, torch.Size, torch.dtype, torch.device)


def keep_hyperparameters(owner: HyperparametersMixin, checkpoint: dict[str, Any]) -> None:
    """Put the hyper-parameters of a module or data module into a checkpoint, under its class's keys."""
    if not owner.hparams:
        return
    plain: dict[str, Any] = {}
    pickled: dict[str, Tensor] = {}
    lost: list[str] = []
    for name, value in owner.hparams.items():
        if _is_plain(value):
            plain[name] = value
            continue
        form, has_form = plain_form(value)
        if has_form:
            plain[name] = form
        try:
            pickled[name] = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        except Exception as error:  # of any kind: the object's own code runs
            if not has_form:
                lost.append(f"`{name}` ({error})")
    if lost:
        advise(
            "FUL023",
            f"the checkpoint cannot keep the hyper-parameters {', '.join(lost)}; leave them out with "
            "`self.save_hyperparameters(ignore=[...])`, and pass them to `load_from_checkpoint`",
        )
    checkpoint[owner.CHECKPOINT_HYPER_PARAMS_NAME] = owner._hparams_name
    checkpoint[owner.CHECKPOINT_HYPER_PARAMS_KEY] = plain
    if pickled:
        checkpoint[owner.CHECKPOINT_HYPER_PARAMS_KEY + _PICKLED] = pickled


def kept_hyperparameters(
    cls: type[HyperparametersMixin],
    checkpoint: Mapping[str, Any],
    path: str,
    trusted: bool,
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the hyper-parameters in a checkpoint for ``cls``.

    Args:
        cls: the class that will be made of them; its annotations say which class a kept dataclass or enum had.
        checkpoint: what the file holds.
        path: the file, for messages.
        trusted: whether pickled values may be unpickled, which can run code.
        overrides: what the caller passes itself, and which therefore need not be had.

    Raises:
        CheckpointError: a value is kept pickled only, and the file is not trusted.
    """
    key = cls.CHECKPOINT_HYPER_PARAMS_KEY
    hparams = dict(checkpoint.get(key) or {})
    hints = _hints(cls)
    pickled: Mapping[str, Tensor] = checkpoint.get(key + _PICKLED) or {}
    for name, data in pickled.items():
        if name in overrides:
            continue
        if trusted:
            hparams[name] = pickle.load(io.BytesIO(data.cpu().numpy().tobytes()))
        elif name in hparams:
            hparams[name] = _shaped(hparams[name], hints.get(name))
        else:
            raise CheckpointError(
                f"{path} keeps the hyper-parameter `{name}` of `{cls.__name__}` as an object, and loading that could "
                f"run code; pass it yourself: `load_from_checkpoint(path, {name}=...)`, or weights_only=False if you "
                "trust whoever wrote the file"
            )
    return hparams


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple, set):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return type(value) in _ATOMS


def _hints(cls: type) -> dict[str, Any]:
    """Return the annotations of ``__init__`` as types, where they can be had."""
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except Exception:  # a name that is only there for type checkers, say
        parameters = inspect.signature(cls).parameters.values()
        return {one.name: one.annotation for one in parameters if isinstance(one.annotation, type)}


def _shaped(form: Any, hint: Any) -> Any:
    """Return a plain form in the type that the annotation names; mappings without one have their keys as attributes."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for option in typing.get_args(hint):
            with contextlib.suppress(ValueError):  # not this option's form
                shaped, kind = _shaped(form, option), typing.get_origin(option) or option
                if isinstance(kind, type) and isinstance(shaped, kind):
                    return shaped
        return _shaped(form, None)
    if isinstance(hint, type):
        if issubclass(hint, (Enum, PurePath)) and not isinstance(form, Mapping):
            return hint(form)
        if dataclasses.is_dataclass(hint) and isinstance(form, Mapping):
            hints = typing.get_type_hints(hint)
            fields = [field.name for field in dataclasses.fields(hint) if field.init and field.name in form]
            return hint(**{name: _shaped(form[name], hints.get(name)) for name in fields})
        if issubclass(hint, Namespace) and isinstance(form, Mapping):
            return hint(**form)
    if isinstance(form, Mapping):
        return AttributeDict({name: _shaped(item, None) for name, item in form.items()})
    if isinstance(form, (list, tuple)):
        arguments = typing.get_args(hint)
        return type(form)(_shaped(item, arguments[0] if arguments else None) for item in form)
    return form
