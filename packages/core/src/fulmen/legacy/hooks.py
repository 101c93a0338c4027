"""Old hooks: ``validation_epoch_end(outputs)`` and its likes, ``on_epoch_end``, ``on_batch_end`` and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fulmen.advice import code_of
from fulmen.callback import Callback
from fulmen.hooks import is_overridden, taking
from fulmen.legacy.adapted import argument_names, required_count
from fulmen.legacy.returned import Returned
from fulmen.legacy.spelling import say_old

if TYPE_CHECKING:
    from fulmen.module import LightningModule

#: stage -> the names that its epoch-end hook had, the youngest first
_EPOCH_ENDS = {
    "training": ("training_epoch_end",),
    "validation": ("validation_epoch_end", "validation_end", "Validation_epoch_end"),
    "test": ("test_epoch_end", "test_end", "testing_epoch_end"),
}
_EPOCH_STARTS = ("on_train_epoch_start", "on_validation_epoch_start", "on_test_epoch_start", "on_predict_epoch_start")

#: old hook of callbacks and modules -> the hooks of today in which it is called, and what to write
_OLD_HOOKS: dict[str, tuple[tuple[str, ...], str]] = {
    "on_epoch_start": (_EPOCH_STARTS, "`on_train_epoch_start`, `on_validation_epoch_start`..., each for its stage"),
    "on_epoch_end": (
        tuple(name.replace("start", "end") for name in _EPOCH_STARTS),
        "`on_train_epoch_end`, `on_validation_epoch_end`..., each for its stage",
    ),
    "on_batch_start": (("on_train_batch_start",), "`on_train_batch_start`"),
    "on_batch_end": (("on_train_batch_end",), "`on_train_batch_end`"),
    "on_pretrain_routine_start": (("on_fit_start",), "`on_fit_start`"),
    "on_pretrain_routine_end": (("on_fit_start",), "`on_fit_start`"),
    "on_keyboard_interrupt": (("on_exception",), "`on_exception`, with `isinstance(exception, KeyboardInterrupt)`"),
    "on_before_accelerator_backend_setup": (("setup",), "`setup`"),
    "on_configure_sharded_model": (("setup",), "`setup`"),
}
#: the same for those that a module had, but no longer has
_OLD_MODULE_HOOKS: dict[str, tuple[tuple[str, ...], str]] = {
    "on_sanity_check_start": (("on_sanity_check_start",), "a callback's `on_sanity_check_start`"),
    "on_sanity_check_end": (("on_sanity_check_end",), "a callback's `on_sanity_check_end`"),
}


class OldHooks(Callback):
    """Calls old hooks of modules and callbacks at their moments, and collects what steps return for those that get it.

    Args:
        returned: logs what an epoch-end hook returns.
    """

    def __init__(self, returned: Returned) -> None:
        self._returned = returned
        self._ends: dict[str, str] = {}
        self._calls: dict[str, list[Callable[..., Any]]] = {}
        self._collects: set[str] = set()
        self._outputs: dict[str, list[list[Any]]] = {}

    @property
    def state_key(self) -> str:
        """Nothing of this callback is kept in a checkpoint."""
        return "fulmen.legacy.OldHooks"

    # ------------------------------------------------------------------------------------- what there is

    @property
    def is_needed(self) -> bool:
        """Whether there is anything old to call or to collect."""
        return bool(self._ends or self._calls or self._collects)

    def collect(self, stage: str) -> None:
        """Keep what the steps of a stage return, for :meth:`outputs`."""
        self._collects.add(stage)

    def outputs(self, stage: str) -> list[Any]:
        """Return what the epoch's steps returned; one list for each loader or optimizer where there are several."""
        of_loaders = self._outputs.get(stage, [])
        return of_loaders[0] if len(of_loaders) == 1 else of_loaders

    def call(self, hook: str, old: Callable[..., Any]) -> None:
        """Call ``old`` in today's ``hook``, with that hook's arguments."""
        self._calls.setdefault(hook, []).append(old)

    def add(self, module: LightningModule, callbacks: Sequence[Callback]) -> None:
        """Take up the old hooks of a module and of callbacks."""
        from fulmen.module import LightningModule

        for stage, names in _EPOCH_ENDS.items():
            for name in names[::-1]:
                if is_overridden(name, module, LightningModule):
                    self._ends[stage] = name
                    self.collect(stage)
        for name in self._ends.values():
            word = name.split("_")[0].lower().replace("training", "train").replace("testing", "test")
            say_old(
                "FUL102",
                f"`{type(module).__name__}.{name}(outputs)`",
                f"`on_{word}_epoch_end(self)`, with the steps' outputs kept by the module and `self.log` for the "
                "results",
                code_of(getattr(module, name)),
            )
        for callback in callbacks:
            for name, (hooks, modern) in _OLD_HOOKS.items():
                if is_overridden(name, callback, Callback):
                    self._add_hook(name, hooks, modern, callback, _of_callback(getattr(callback, name)))
        for name, (hooks, modern) in {**_OLD_HOOKS, **_OLD_MODULE_HOOKS}.items():
            if is_overridden(name, module, LightningModule):
                self._add_hook(name, hooks, modern, module, _of_module(getattr(module, name)))
        end = getattr(module, "training_end", None)
        if end is not None and required_count(end) == 0:
            self._add_hook("training_end", ("on_train_end",), "`on_train_end`", module, _of_module(end))

    def _add_hook(self, name: str, hooks: Sequence[str], modern: str, owner: Any, call: Callable[..., Any]) -> None:
        say_old("FUL108", f"`{type(owner).__name__}.{name}`", modern, code_of(getattr(owner, name)))
        for hook in hooks:
            self.call(hook, _when_interrupted(call) if name == "on_keyboard_interrupt" else call)

    # ------------------------------------------------------------------------------------------- calling

    def wants(self, hook: str) -> bool:
        """Only the hooks in which something is called or collected are needed."""
        if hook in self._calls:
            return True
        word = hook.split("_")[1] if hook.startswith("on_") else ""
        stage = "training" if word == "train" else word
        if hook.endswith("_batch_end") or hook.endswith("_epoch_start"):
            return stage in self._collects
        return hook.endswith("_epoch_end") and stage in self._ends

    def _run(self, hook: str, *args: Any) -> list[Any]:
        return [call(*args) for call in self._calls.get(hook, ())]

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._run("setup", trainer, pl_module, stage)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._run("on_fit_start", trainer, pl_module)

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        self._run("on_sanity_check_start", trainer, pl_module)

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        self._run("on_sanity_check_end", trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._run("on_train_start", trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._run("on_train_end", trainer, pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._run("on_exception", trainer, pl_module, exception)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._outputs["training"] = []
        self._run("on_train_epoch_start", trainer, pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> Any:
        return -1 if -1 in self._run("on_train_batch_start", trainer, pl_module, batch, batch_idx) else None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if "training" in self._collects and isinstance(outputs, Mapping):
            for index, output in enumerate(_of_optimizers(outputs)):
                self._keep("training", self._returned.without_logs(output), index)
        self._run("on_train_batch_end", trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end("training", pl_module)
        self._run("on_train_epoch_end", trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._outputs["validation"] = []
        self._run("on_validation_epoch_start", trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._keep("validation", outputs, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end("validation", pl_module)
        self._run("on_validation_epoch_end", trainer, pl_module)

    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._outputs["test"] = []
        self._run("on_test_epoch_start", trainer, pl_module)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._keep("test", outputs, dataloader_idx)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end("test", pl_module)
        self._run("on_test_epoch_end", trainer, pl_module)

    def on_predict_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._run("on_predict_epoch_start", trainer, pl_module)

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._run("on_predict_epoch_end", trainer, pl_module)

    # --------------------------------------------------------------------------------------------- parts

    def _keep(self, stage: str, output: Any, index: int) -> None:
        if output is None or stage not in self._collects:
            return
        lists = self._outputs.setdefault(stage, [])
        while len(lists) <= index:
            lists.append([])
        lists[index].append(detached(output))

    def _end(self, stage: str, module: Any) -> None:
        """Call the module's epoch-end hook with all outputs, and log what it returns."""
        name = self._ends.get(stage)
        if name is not None and self._outputs.get(stage):
            self._returned.log_epoch(module, getattr(module, name), self._returned.collected(self.outputs(stage)))


def _of_callback(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callback's hook such that it can be called with more than ``trainer`` and ``pl_module``."""
    narrowed = taking(fn, 2)
    return lambda trainer, module, *_: narrowed(trainer, module)


def _of_module(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a module's hook such that it can be called as a callback's; it takes as many arguments as it likes."""
    names = argument_names(fn)
    count = None if names == ["*"] else len(names)
    return lambda trainer, module, *args: fn(*args[:count])


def _when_interrupted(call: Callable[..., Any]) -> Callable[..., Any]:
    def if_interrupted(trainer: Any, module: Any, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            call(trainer, module)

    return if_interrupted


def tell_of_init(trainer: Any, callbacks: Sequence[Callback]) -> None:
    """Call ``on_init_start`` and ``on_init_end`` of callbacks, which got the Trainer while it was made."""
    for name in ("on_init_start", "on_init_end"):
        for callback in callbacks:
            fn = getattr(callback, name, None)
            if fn is not None:
                say_old("FUL108", f"`{type(callback).__name__}.{name}`", "`setup`", code_of(fn))
                fn(trainer)


def _of_optimizers(outputs: Mapping[str, Any]) -> list[Any]:
    """Return what ``training_step`` returned for each optimizer, where several took their turn; else its one output."""
    from fulmen.legacy.alternating import PREFIX

    turns = {key: value for key, value in outputs.items() if str(key).startswith(PREFIX)}
    if not turns:
        return [outputs]
    by_index = {int(key[len(PREFIX) :]): value for key, value in turns.items()}
    return [by_index.get(index) for index in range(max(by_index) + 1)]


def detached(output: Any) -> Any:
    """Return outputs without graphs, on their device."""
    if hasattr(output, "detach"):
        return output.detach()
    if isinstance(output, Mapping):
        return {key: detached(value) for key, value in output.items()}
    if isinstance(output, (list, tuple)):
        return type(output)(detached(value) for value in output)
    return output
