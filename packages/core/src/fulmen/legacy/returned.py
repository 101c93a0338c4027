"""Steps and epoch-end hooks that return what they log: ``{"loss": loss, "log": {...}, "progress_bar": {...}}``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from fulmen.advice import code_of
from fulmen.legacy.adapted import Adapted
from fulmen.legacy.spelling import say_old
from fulmen.legacy.step_results import Result

if TYPE_CHECKING:
    from fulmen.module import LightningModule

#: keys of a returned dictionary that held what to log
_LOG_KEYS = ("log", "progress_bar")
_RESULT_NAMES = frozenset({"TrainResult", "EvalResult", "Result"})


class Returned:
    """Logs what a module's steps and epoch-end hooks return.

    Args:
        module: a step of its is replaced only where its class can return something to log, as far as the code shows.
    """

    def __init__(self, module: LightningModule, adapted: Adapted) -> None:
        self._module = module
        code = list(_code_of_class(type(module)))
        #: the attributes and functions that the program's code names
        self.names = frozenset(name for one in code for name in one.co_names)
        #: the strings that stand in it
        self.literals = frozenset(word for one in code for word in _literals(one))
        returns_dicts = not self.literals.isdisjoint(_LOG_KEYS)
        makes_results = not _RESULT_NAMES.isdisjoint(self.names)
        self._makes_results = makes_results
        for name in ("training_step", "validation_step", "test_step"):
            if (name == "training_step" and returns_dicts) or makes_results:
                adapted.replace(module, name, self._logging(getattr(module, name), name))

    def _logging(self, step: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return a step that logs what it returns for that; what it returns for training goes on."""
        code = code_of(step)

        def logging_step(*args: Any, **kwargs: Any) -> Any:
            returned = step(*args, **kwargs)
            if isinstance(returned, Result):
                returned.log_into(self._module)
            elif isinstance(returned, Mapping) and name == "training_step":
                self._log(returned, name, code, {key: value for key, value in returned.items() if key != "hiddens"})
            return returned

        logging_step.__name__ = name
        logging_step.__wrapped__ = step  # type: ignore[attr-defined]  # its signature says what it takes
        return logging_step

    def log_epoch(self, module: Any, end: Callable[..., Any], outputs: Any) -> None:
        """Call an epoch-end hook, and log what it returns."""
        returned = end(outputs)
        if isinstance(returned, Result):
            returned.log_into(module)
        elif isinstance(returned, Mapping):
            self._log(returned, end.__name__, code_of(end), returned)

    def _log(
        self, returned: Mapping[str, Any], name: str, code: CodeType | None, for_callbacks: Mapping[str, Any]
    ) -> None:
        """Log a dictionary's ``"log"`` and ``"progress_bar"``; its other numbers are for callbacks only."""
        to_log, in_bar = (dict(returned.get(key) or {}) for key in _LOG_KEYS)
        if to_log or in_bar:
            modern = "`self.log('loss', loss, prog_bar=True)` for each value"
            say_old("FUL104", f"`{name}` returning a dict with 'log' or 'progress_bar'", modern, code)
        elif name == "training_step":
            return  # a dict as modern steps return it
        numbers = {
            key: value
            for key, value in (*for_callbacks.items(), *in_bar.items())
            if key not in _LOG_KEYS and _is_number(value)
        }
        for key, value in {**numbers, **to_log}.items():
            self._module.log(key, value, prog_bar=key in in_bar, logger=None if key in to_log else False)

    def without_logs(self, output: Any) -> Any:
        """Return what a step returned without what it logged, as ``training_epoch_end`` got it."""
        if isinstance(output, Mapping) and not isinstance(output, Result):
            return {key: value for key, value in output.items() if key not in _LOG_KEYS}
        return output

    def collected(self, outputs: Any) -> Any:
        """Return the outputs of an epoch as its hook gets them: results are stacked into one."""
        if self._makes_results and outputs and all(isinstance(one, Mapping) for one in outputs):
            return Result.stacked(outputs)
        return outputs


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (hasattr(value, "numel") and value.numel() == 1)


def _code_of_class(cls: type) -> Iterator[CodeType]:
    """Yield the code of a user's class, and of the plain functions of the program that it names."""
    from fulmen.module import LightningModule

    seen: set[CodeType] = set()
    functions: list[FunctionType] = []
    for base in cls.__mro__:
        if base is LightningModule or base in LightningModule.__mro__:
            continue
        functions += [value for value in vars(base).values() if isinstance(value, FunctionType)]
    while functions:
        function = functions.pop()
        if function.__code__ in seen:
            continue
        seen.add(function.__code__)
        yield from _nested(function.__code__)
        package = (function.__module__ or "").partition(".")[0]
        for name in function.__code__.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, FunctionType) and value.__module__.partition(".")[0] == package:
                functions.append(value)


def _nested(code: CodeType) -> Iterable[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _literals(code: CodeType) -> set[Any]:
    """Return the strings that stand in a function's code, those of dictionary keys and keyword arguments included."""
    literals: set[Any] = set()
    for constant in code.co_consts:
        if isinstance(constant, str):
            literals.add(constant)
        elif isinstance(constant, tuple):
            literals.update(item for item in constant if isinstance(item, str))
    return literals
