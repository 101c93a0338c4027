"""Old hooks of modules: ``validation_epoch_end(outputs)`` and its likes, and steps that return what they log."""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from fulmen.callback import Callback
from fulmen.legacy.spelling import say_old

if TYPE_CHECKING:
    from fulmen.module import LightningModule

#: stage -> the names that its epoch-end hook had, the youngest first
_EPOCH_ENDS = {
    "training": ("training_epoch_end", "training_end"),
    "validation": ("validation_epoch_end", "validation_end"),
    "test": ("test_epoch_end", "test_end"),
}
#: keys of a returned dictionary that held what to log
_LOG_KEYS = ("log", "progress_bar")


def callbacks_for(module: LightningModule) -> list[Callback]:
    """Return the callbacks that serve a module's old hooks; none for a modern module."""
    ends = {stage: name for stage, names in _EPOCH_ENDS.items() for name in names[::-1] if hasattr(module, name)}
    returns = _functions_with(type(module), _LOG_KEYS)
    if not ends and not returns:
        return []
    for name in ends.values():
        code = getattr(getattr(module, name), "__code__", None)
        word = name.split("_")[0].replace("training", "train")
        modern = (
            f"`on_{word}_epoch_end(self)`, with the steps' outputs kept by the module and `self.log` for the results"
        )
        say_old("FUL102", f"`{type(module).__name__}.{name}(outputs)`", modern, code)
    return [OldHooks(ends, {function.__name__: function.__code__ for function in returns})]


class OldHooks(Callback):
    """Calls a module's old epoch-end hooks, and logs what its steps and these hooks return under ``"log"``.

    Args:
        ends: stage -> the name of the module's epoch-end hook.
        returns: name -> code of the module's functions that may return something to log.
    """

    def __init__(self, ends: Mapping[str, str], returns: Mapping[str, CodeType]) -> None:
        self._ends = ends
        self._returns = returns
        self._outputs: dict[str, list[list[Any]]] = {}

    @property
    def state_key(self) -> str:
        """Nothing of this callback is kept in a checkpoint."""
        return "fulmen.legacy.OldHooks"

    def wants(self, hook: str) -> bool:
        """Batch hooks are needed where outputs are collected, or where a step may return something to log."""
        if hook == "on_train_batch_end":
            return "training" in self._ends or bool(self._returns)
        if hook in ("on_validation_batch_end", "on_test_batch_end"):
            return hook.split("_")[1] in self._ends
        return True

    # ------------------------------------------------------------------------------------- training

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._outputs["training"] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not isinstance(outputs, Mapping):
            return
        self._log_returned(pl_module, outputs, "training_step")
        if "training" in self._ends:
            kept = {key: value for key, value in outputs.items() if key not in _LOG_KEYS}
            self._collect("training", kept, 0)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end("training", pl_module)

    # ----------------------------------------------------------------------------------- evaluation

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._outputs["validation"] = []

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._collect("validation", outputs, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end("validation", pl_module)

    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._outputs["test"] = []

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._collect("test", outputs, dataloader_idx)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end("test", pl_module)

    # -------------------------------------------------------------------------------------- parts

    def _collect(self, stage: str, output: Any, dataloader_idx: int) -> None:
        if output is None:
            return
        of_loaders = self._outputs.setdefault(stage, [])
        while len(of_loaders) <= dataloader_idx:
            of_loaders.append([])
        of_loaders[dataloader_idx].append(_detached(output))

    def _end(self, stage: str, module: Any) -> None:
        """Call the module's epoch-end hook with all outputs, a list for each loader where there are several."""
        of_loaders = self._outputs.pop(stage, [])
        name = self._ends.get(stage)
        if name is None or not of_loaders:
            return
        returned = getattr(module, name)(of_loaders[0] if len(of_loaders) == 1 else of_loaders)
        if isinstance(returned, Mapping):
            plain = {key: value for key, value in returned.items() if key not in _LOG_KEYS}
            self._log_returned(module, returned, name, plain)

    def _log_returned(
        self, module: Any, returned: Mapping[str, Any], name: str, for_callbacks: Mapping[str, Any] | None = None
    ) -> None:
        """Log a returned dictionary's ``"log"`` and ``"progress_bar"``; other values are for callbacks only."""
        to_log, in_bar = ({**(returned.get(key) or {})} for key in _LOG_KEYS)
        if to_log or in_bar:
            modern = "`self.log('loss', loss, prog_bar=True)` for each value"
            say_old(
                "FUL104", f"`{name}` returning a dict with 'log' or 'progress_bar'", modern, self._returns.get(name)
            )
        values = {**(for_callbacks or {}), **in_bar, **to_log}
        for key, value in values.items():
            if _is_number(value):
                module.log(key, value, prog_bar=key in in_bar, logger=key in to_log)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (hasattr(value, "numel") and value.numel() == 1)


def _detached(output: Any) -> Any:
    """Return outputs without graphs, on their device."""
    if hasattr(output, "detach"):
        return output.detach()
    if isinstance(output, Mapping):
        return {key: _detached(value) for key, value in output.items()}
    if isinstance(output, (list, tuple)):
        return type(output)(_detached(value) for value in output)
    return output


def _functions_with(cls: type, words: tuple[str, ...]) -> list[FunctionType]:
    """Return the functions of a user's class in whose code one of ``words`` stands as a literal."""
    from fulmen.module import LightningModule

    found: list[FunctionType] = []
    for base in cls.__mro__:
        if base is LightningModule or base in LightningModule.__mro__:
            continue
        functions = [value for value in vars(base).values() if isinstance(value, FunctionType)]
        found += [function for function in functions if any(word in _literals(function.__code__) for word in words)]
    return found


def _literals(code: CodeType) -> set[Any]:
    """Return the strings that stand in a function's code, those of dictionary keys included."""
    literals: set[Any] = set()
    for constant in code.co_consts:
        if isinstance(constant, str):
            literals.add(constant)
        elif isinstance(constant, tuple):
            literals.update(item for item in constant if isinstance(item, str))
        elif isinstance(constant, CodeType):
            literals |= _literals(constant)
    return literals
