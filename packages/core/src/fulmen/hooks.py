"""HookTable: which hooks of the module and of each callback are overridden, resolved once before a loop runs.

A loop then calls ``for hook in table.on_train_batch_start: hook(batch, batch_idx)``; a hook that nobody overrides is
an empty tuple and costs nothing. Where a profiler is on, it is around each call.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fulmen.callback import CALLBACK_HOOKS, Callback
from fulmen.errors import MisconfigurationException, nearest
from fulmen.profilers.profiler import NO_PROFILER, Profiler, action_of

if TYPE_CHECKING:
    from fulmen.module import LightningModule

Hook = Callable[..., Any]


def is_overridden(name: str, instance: object, base: type) -> bool:
    """Return whether ``instance`` has a method ``name`` of its own, by its class or set on the instance."""
    if name in getattr(instance, "__dict__", ()):
        return True
    own = getattr(type(instance), name, None)
    return own is not None and own is not getattr(base, name, None)


def taking(fn: Hook, count: int) -> Hook:
    """Return ``fn`` such that it can be called with ``count`` arguments although it may take fewer."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return fn  # a builtin or mock without a signature takes what it is given
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return fn
    accepted = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if accepted >= count:
        return fn
    narrow: dict[int, Hook] = {  # a fixed number of names is quicker than slicing the arguments in every call
        0: lambda *_: fn(),
        1: lambda a, *_: fn(a),
        2: lambda a, b, *_: fn(a, b),
        3: lambda a, b, c, *_: fn(a, b, c),
    }
    return narrow.get(accepted, lambda *args: fn(*args[:accepted]))


def bound(fn: Hook, count: int, *first: Any) -> Hook:
    """Return ``fn`` with its first arguments filled in, callable with ``count`` more of which it may take fewer."""
    narrowed = taking(fn, len(first) + count)
    return functools.partial(narrowed, *first)


#: How many arguments each hook takes beyond ``trainer`` and ``pl_module``.
_ARGUMENT_COUNTS = {name: len(inspect.signature(getattr(Callback, name)).parameters) - 3 for name in CALLBACK_HOOKS}


class HookTable:
    """For each hook name a tuple of calls, callbacks before the module; empty where nobody overrides the hook.

    The names are those of ``Callback``; each call takes the hook's arguments without ``trainer`` and ``pl_module``.

    Args:
        trainer: handed on to callbacks.
        module: handed on to callbacks; its own hooks follow theirs.
        callbacks: in the order in which they run.
        profiler: what measures the calls.
    """

    def __init__(
        self,
        trainer: Any,
        module: LightningModule,
        callbacks: Sequence[Callback],
        profiler: Profiler = NO_PROFILER,
    ) -> None:
        from fulmen.module import LightningModule  # the interface; imported late, it imports this file's helpers

        self._trainer = trainer
        self._module = module
        self._callbacks = callbacks
        self.profiler = profiler
        for name in CALLBACK_HOOKS:
            if name in ("state_dict", "load_state_dict", "on_save_checkpoint", "on_load_checkpoint"):
                continue
            of_module: tuple[Hook, ...] = ()
            if hasattr(LightningModule, name) and is_overridden(name, module, LightningModule):
                of_module = (self.of_module(name, taking(getattr(module, name), _ARGUMENT_COUNTS[name])),)
            if name == "on_train_epoch_end":
                # Callbacks that decide by a metric must see what the module logs in this very hook.
                calls = (
                    *self._of_callbacks(name, [cb for cb in callbacks if cb.run_order == 0]),
                    *of_module,
                    *self._of_callbacks(name, [cb for cb in callbacks if cb.run_order > 0]),
                )
            else:
                calls = (*self._of_callbacks(name, callbacks), *of_module)
            setattr(self, name, calls)

    def __getattr__(self, name: str) -> tuple[Hook, ...]:
        raise AttributeError(f"there is no hook {name!r}{nearest(name, CALLBACK_HOOKS)}")

    def of_module(self, name: str, call: Hook) -> Hook:
        """Return a call of the module's, with the profiler around it where one is on."""
        return self.profiler.wrap(action_of(self._module, name), call)

    def of_strategy(self, name: str, call: Hook) -> Hook:
        """Return a call of what the strategy runs, with the profiler around it where one is on."""
        return self.profiler.wrap(action_of(self._trainer.strategy, name), call)

    def _of_callbacks(self, name: str, callbacks: Iterable[Callback]) -> tuple[Hook, ...]:
        count = _ARGUMENT_COUNTS[name]
        return tuple(
            self.profiler.wrap(
                action_of(callback, name), bound(getattr(callback, name), count, self._trainer, self._module)
            )
            for callback in callbacks
            if is_overridden(name, callback, Callback) and callback.wants(name)
        )


def check_hook_names(module: LightningModule, callbacks: Sequence[Callback], datamodule: Any) -> None:
    """Raise for a method that looks like a hook but is none, with the name that was meant.

    Raises:
        MisconfigurationException: such a method is found in the module's, a callback's or the data module's class.
    """
    from fulmen.datamodule import LightningDataModule
    from fulmen.module import LightningModule

    for callback in callbacks:
        _check_names(callback, Callback, "on_", CALLBACK_HOOKS)
    module_hooks = _hook_names(LightningModule)
    _check_names(module, LightningModule, "on_", module_hooks)
    if datamodule is not None:
        _check_names(datamodule, LightningDataModule, "on_", _hook_names(LightningDataModule))


def _hook_names(base: type) -> tuple[str, ...]:
    return tuple(name for name in dir(base) if name.startswith("on_"))


#: Hooks of earlier versions of the field's API; ``legacy`` answers for them, they are no misspellings.
_OLD_HOOKS = frozenset(
    [
        "on_epoch_start",
        "on_epoch_end",
        "on_batch_start",
        "on_batch_end",
        "on_keyboard_interrupt",
        "on_hpc_save",
        "on_hpc_load",
        "on_train_dataloader",
        "on_val_dataloader",
        "on_test_dataloader",
        "on_predict_dataloader",
        "on_configure_sharded_model",
        "on_init_start",
        "on_init_end",
        "on_before_accelerator_backend_setup",
        "on_pretrain_routine_start",
        "on_pretrain_routine_end",
        "on_load_state_dict",
    ]
)


def _check_names(instance: object, base: type, prefix: str, known: Sequence[str]) -> None:
    owners = itertools.takewhile(lambda cls: cls is not base and cls not in base.__mro__, type(instance).__mro__)
    methods: list[tuple[str, Mapping[str, Any]]] = [(cls.__name__, vars(cls)) for cls in owners]
    methods.append((type(instance).__name__, getattr(instance, "__dict__", {})))  # set on the object
    for owner, attributes in methods:
        for name, value in attributes.items():
            if not name.startswith(prefix) or name in known or name in _OLD_HOOKS:
                continue
            if not isinstance(value, (staticmethod, classmethod)) and not callable(value):
                continue
            # A method that is nearly a hook is a misspelling; one that is far from every hook is the user's own.
            meant = nearest(name, known)
            if meant and _looks_alike(name, known):
                raise MisconfigurationException(
                    f"`{owner}.{name}` is not a hook and would never run{meant}; rename it, or give it a name "
                    f"that does not start with {prefix!r} if it is your own"
                )


def _looks_alike(name: str, known: Sequence[str]) -> bool:
    import difflib

    return bool(difflib.get_close_matches(name, known, n=1, cutoff=0.85))
