"""Hyper-parameters: what a module or data module was made with, kept with the run and its checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import types
from argparse import Namespace
from collections.abc import Iterable, MutableMapping
from typing import Any

from torch import nn

from fulmen.advice import advise
from fulmen.errors import MisconfigurationException


class AttributeDict(dict[str, Any]):
    """A dict whose keys are attributes too: ``hparams.lr``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no hyper-parameter {name!r}; there are: {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        width = max(map(len, map(str, self)), default=0)
        return "\n".join(f'"{key}":{" " * (width - len(str(key)) + 1)}{value}' for key, value in self.items())


def is_picklable(obj: object) -> bool:
    """Return whether ``pickle`` can write an object; a lambda, a lock or an open file it cannot."""
    try:
        pickle.dumps(obj)
    except (pickle.PickleError, AttributeError, RuntimeError, TypeError):
        return False
    return True


class HyperparametersMixin:
    """Gives ``save_hyperparameters`` and ``hparams``; shared by modules and data modules, holds no other state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log_hyperparams = False

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: types.FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep the arguments of ``__init__`` as ``self.hparams``, for loggers and checkpoints.

        Args:
            args: names of the arguments to keep, or one dict, ``Namespace`` or dataclass object; all by default.
            ignore: names to leave out.
            frame: the frame of ``__init__``, where this is called from elsewhere.
            logger: whether loggers get them too.

        Raises:
            MisconfigurationException: a name is none of the arguments, or what was passed is of another kind.
        """
        if frame is None:
            current = inspect.currentframe()
            frame = current.f_back if current is not None else None
        ignored = {ignore} if isinstance(ignore, str) else set(ignore or ())
        if len(args) == 1 and not isinstance(args[0], str):
            found = _as_dict(args[0])
            self._hparams_name: str | None = next(
                (name for name, value in _init_arguments(frame, self).items() if value is args[0]), "kwargs"
            )
        else:
            found = _init_arguments(frame, self)
            unknown = [name for name in args if name not in found]
            if unknown:
                raise MisconfigurationException(
                    f"`save_hyperparameters({unknown[0]!r})`: `{type(self).__name__}.__init__` has no such argument; "
                    f"it has: {', '.join(found) or 'none'}"
                )
            if args:
                found = {name: found[name] for name in args}
            self._hparams_name = "kwargs" if found else None
        found = {name: value for name, value in found.items() if name not in ignored}
        modules = [name for name, value in found.items() if isinstance(value, nn.Module)]
        if modules:
            advise(
                "FUL022",
                f"the hyper-parameter {modules[0]!r} of `{type(self).__name__}` is a module, whose weights are in each "
                f"checkpoint anyway; use `self.save_hyperparameters(ignore={modules!r})`",
            )
        self._log_hyperparams = logger
        self.hparams.update(found)
        self._hparams_initial = {name: _apart(value) for name, value in self.hparams.items()}

    @property
    def hparams(self) -> AttributeDict:
        """The hyper-parameters; changing them changes what the next checkpoint keeps."""
        hparams = self.__dict__.get("_hparams")
        if hparams is None:
            hparams = AttributeDict()
            self.__dict__["_hparams"] = hparams
        return hparams

    @property
    def hparams_initial(self) -> AttributeDict:
        """The hyper-parameters as they were saved first, whatever was changed since."""
        return AttributeDict(copy.copy(self.__dict__.get("_hparams_initial", {})))


def _apart(value: Any) -> Any:
    """Return a copy of a collection, which the program may change later; objects, which may be large, as they are."""
    if not isinstance(value, (list, tuple, dict, set)):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # something in it cannot be copied, such as an open file
        return value


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Namespace):
        return dict(vars(value))
    if isinstance(value, MutableMapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise MisconfigurationException(
        f"`save_hyperparameters` takes names, a dict, a Namespace or a dataclass object, but got a "
        f"{type(value).__name__}: {value!r:.80}"
    )


def _init_arguments(frame: types.FrameType | None, instance: object) -> dict[str, Any]:
    """Return the arguments of every ``__init__`` of ``instance`` that is running, the most derived winning."""
    frames = []
    while frame is not None:
        if frame.f_code.co_name == "__init__" and _first_argument(frame) is instance:
            frames.append(frame)
        elif frames:
            break
        frame = frame.f_back
    if not frames and dataclasses.is_dataclass(instance):
        return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance) if field.init}
    found: dict[str, Any] = {}
    for init_frame in frames:
        found.update(_arguments_of(init_frame))
    return found


def _first_argument(frame: types.FrameType) -> Any:
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if names and frame.f_code.co_argcount else None


def _arguments_of(frame: types.FrameType) -> dict[str, Any]:
    info = inspect.getargvalues(frame)
    found = {name: info.locals[name] for name in info.args[1:] if name in info.locals}
    code = frame.f_code
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    found.update({name: info.locals[name] for name in keyword_only if name in info.locals})
    if info.keywords is not None:
        found.update(info.locals.get(info.keywords, {}))
    return {name: value for name, value in found.items() if not name.startswith("__")}
