"""Hyper-parameters: what a module or data module was made with, kept with the run and its checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import types
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

from fulmen.advice import advise
from fulmen.errors import MisconfigurationException, nearest


class AttributeDict(dict[str, Any]):
    """A dict whose keys are attributes too: ``hparams.lr``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no hyper-parameter {name!r}; there are: {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"there is no hyper-parameter {name!r}; there are: {', '.join(self)}")
        del self[name]

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


_given: ContextVar[Mapping[str, Any] | None] = ContextVar(
    "hyper-parameters of the object that is being made", default=None
)


@contextmanager
def given_hyperparameters(hparams: Mapping[str, Any]) -> Iterator[None]:
    """Have ``save_hyperparameters()`` inside keep these, whatever ``__init__`` was called with."""
    token = _given.set(hparams)
    try:
        yield
    finally:
        _given.reset(token)


class HyperparametersMixin:
    """Gives ``save_hyperparameters`` and ``hparams``; shared by modules and data modules, holds no other state."""

    #: the keys of a checkpoint under which hyper-parameters stand
    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "hparams_type"

    _log_hyperparams: bool = False  # whether loggers get them
    _hparams_name: str | None = None  # the one argument that held them all, or "kwargs"

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: types.FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep the arguments of ``__init__`` as ``self.hparams``, for loggers and checkpoints.

        Subclasses whose ``__init__`` is running have their arguments kept as well; theirs win. Several calls add up.

        Args:
            args: names of the arguments to keep, or one dict, ``Namespace`` or dataclass object; all by default.
            ignore: names to leave out, also of what a parent class kept.
            frame: the frame of ``__init__``, where this is called from elsewhere.
            logger: whether loggers get them too.

        Raises:
            MisconfigurationException: a name is none of the arguments, or what was passed is of another kind.
        """
        self._log_hyperparams = logger
        if len(args) == 1 and (args[0] is None or args[0] == {}):
            return
        given = _given.get()
        if given is not None and not args:
            kept = [ignore] if isinstance(ignore, str) else list(ignore or ())
            self._hparams_name = "kwargs"
            self.hparams.update((name, value) for name, value in given.items() if name not in kept)
            self._hparams_initial = {name: _apart(value) for name, value in self.hparams.items()}
            return
        if frame is None:
            current = inspect.currentframe()
            frame = current.f_back if current is not None else None
        arguments = _init_arguments(frame, self)
        if all(isinstance(name, str) for name in args):
            found = {name: _argument(arguments, name, type(self)) for name in args} if args else arguments
            self._hparams_name = "kwargs" if found else None
        elif len(args) == 1:
            found = _as_dict(args[0])
            self._hparams_name = next((name for name, value in arguments.items() if _same(value, args[0])), None)
        else:
            raise MisconfigurationException(
                f"`save_hyperparameters` takes names, or one configuration object, but got both or several: "
                f"{args!r:.120}; call it once for the names and once for the object"
            )
        ignored = [ignore] if isinstance(ignore, str) else list(ignore or ())
        self.hparams.update((name, value) for name, value in found.items() if name not in ignored)
        self.remove_ignored_hparams(ignored)
        self._hparams_initial = {name: _apart(value) for name, value in self.hparams.items()}
        modules = [name for name, value in self.hparams.items() if isinstance(value, nn.Module)]
        if modules:
            advise(
                "FUL022",
                f"the hyper-parameter {modules[0]!r} of `{type(self).__name__}` is a module, whose weights are in each "
                f"checkpoint anyway; use `self.save_hyperparameters(ignore={modules!r})`",
            )

    def remove_ignored_hparams(self, ignore_list: Iterable[str]) -> None:
        """Drop hyper-parameters that were kept, such as those of a parent class."""
        for name in ignore_list:
            self.hparams.pop(name, None)

    @property
    def hparams(self) -> AttributeDict:
        """The hyper-parameters; changing them changes what the next checkpoint keeps."""
        hparams = self.__dict__.get("_hparams")
        if hparams is None:
            hparams = AttributeDict()
            self.__dict__["_hparams"] = hparams
        return hparams

    @hparams.setter
    def hparams(self, hparams: Any) -> None:
        """Keep hyper-parameters as programs of the field once did, by assigning them; see ``save_hyperparameters``."""
        from fulmen.legacy.spelling import say_old

        say_old("FUL107", "`self.hparams = hparams`", "`self.save_hyperparameters(hparams)`")
        self.save_hyperparameters(hparams, frame=inspect.currentframe())

    @property
    def hparams_initial(self) -> AttributeDict:
        """The hyper-parameters as they were saved, whatever was changed since; a copy."""
        return AttributeDict({name: _apart(value) for name, value in self.__dict__.get("_hparams_initial", {}).items()})


def merged_hyperparameters(owners: Iterable[HyperparametersMixin]) -> dict[str, Any]:
    """Return what loggers get of several that keep hyper-parameters, such as a module and its data module.

    Raises:
        MisconfigurationException: two of them have different values under one name.
    """
    merged: dict[str, Any] = {}
    kept_by: dict[str, str] = {}
    for owner in owners:
        for name, value in owner.hparams_initial.items():
            if name in merged and not (value is merged[name] or _same(value, merged[name])):
                raise MisconfigurationException(
                    f"`{kept_by[name]}` and `{type(owner).__name__}` both keep the hyper-parameter `{name}`, as "
                    f"{merged[name]!r:.60} and {value!r:.60}, so loggers could show only one; leave it out of one of "
                    f"them: `self.save_hyperparameters(ignore=[{name!r}])`, or keep one from loggers: `logger=False`"
                )
            merged[name], kept_by[name] = value, type(owner).__name__
    return merged


def _apart(value: Any) -> Any:
    """Return a copy of a collection, which the program may change later; objects, which may be large, as they are."""
    if not isinstance(value, (list, tuple, dict, set)):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # something in it cannot be copied, such as an open file
        return value


def _argument(arguments: dict[str, Any], name: str, cls: type) -> Any:
    if name not in arguments:
        raise MisconfigurationException(
            f"`save_hyperparameters({name!r})`: `{cls.__name__}.__init__` has no such argument"
            f"{nearest(name, arguments)}; it has: {', '.join(arguments) or 'none'}"
        )
    return arguments[name]


def _same(value: Any, config: Any) -> bool:
    """Whether an argument is the configuration object, or what that is a copy of."""
    if value is config:
        return True
    try:
        return type(value) is type(config) and bool(value == config)
    except Exception:  # arrays and tensors in it have no one truth value
        return False


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Namespace):
        return dict(vars(value))
    if isinstance(value, Mapping):
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
