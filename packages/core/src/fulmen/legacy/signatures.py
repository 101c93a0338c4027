"""Hooks with the arguments that they had in Lightning 0.x and 1.x, callable with those of today."""

from __future__ import annotations

import dis
from collections.abc import Callable, Mapping
from typing import Any

from fulmen.advice import code_of
from fulmen.callback import Callback
from fulmen.hooks import is_overridden, taking
from fulmen.legacy.adapted import Adapted, argument_names, required_count
from fulmen.legacy.alternating import Alternating
from fulmen.legacy.hooks import OldHooks
from fulmen.legacy.spelling import say_old

Adapter = Callable[..., Any]


class Signatures:
    """Puts adapters in place of methods with old arguments.

    Args:
        alternating: knows the number of the optimizer at work.
        hooks: knows what the steps of an epoch returned.
    """

    def __init__(self, trainer: Any, adapted: Adapted, alternating: Alternating, hooks: OldHooks) -> None:
        self._trainer = trainer
        self._adapted = adapted
        self._alternating = alternating
        self._hooks = hooks

    # -------------------------------------------------------------------------------------------- modules

    def adapt_module(self, module: Any) -> None:
        """Adapt a module's methods."""
        from fulmen.module import LightningModule

        adapters: dict[str, tuple[Callable[[Any, Any], Adapter | None], str]] = {
            "optimizer_step": (self._optimizer_step, "(self, epoch, batch_idx, optimizer, optimizer_closure)"),
            "optimizer_zero_grad": (self._zero_grad, "(self, epoch, batch_idx, optimizer)"),
            "backward": (self._backward, "(self, loss)"),
            "configure_gradient_clipping": (
                self._clipping,
                "(self, optimizer, gradient_clip_val, gradient_clip_algorithm)",
            ),
            "lr_scheduler_step": (self._scheduler_step, "(self, scheduler, metric)"),
            "on_before_optimizer_step": (self._with_index(1), "(self, optimizer)"),
            "on_train_batch_start": (_with_loader(2), "(self, batch, batch_idx)"),
            "on_train_batch_end": (_with_loader(3), "(self, outputs, batch, batch_idx)"),
            "on_train_epoch_end": (self._with_outputs("training", 0), "(self)"),
            "on_validation_epoch_end": (self._with_outputs("validation", 0), "(self)"),
            "on_test_epoch_end": (self._with_outputs("test", 0), "(self)"),
            "transfer_batch_to_device": (_fewer(3), "(self, batch, device, dataloader_idx)"),
            "on_before_batch_transfer": (_fewer(2), "(self, batch, dataloader_idx)"),
            "on_after_batch_transfer": (_fewer(2), "(self, batch, dataloader_idx)"),
        }
        for name, (adapt, modern) in adapters.items():
            if is_overridden(name, module, LightningModule):
                self._put(module, name, adapt, modern)

    def adapt_datamodule(self, datamodule: Any) -> None:
        """Adapt a data module's methods."""
        from fulmen.datamodule import LightningDataModule

        for name, count in (
            ("transfer_batch_to_device", 3),
            ("on_before_batch_transfer", 2),
            ("on_after_batch_transfer", 2),
        ):
            if is_overridden(name, datamodule, LightningDataModule):
                self._put(datamodule, name, _fewer(count), "(self, batch, ..., dataloader_idx)")

    def adapt_callback(self, callback: Callback) -> None:
        """Adapt a callback's methods."""
        adapters: dict[str, tuple[Callable[[Any, Any], Adapter | None], str]] = {
            "on_before_optimizer_step": (self._with_index(3), "(self, trainer, pl_module, optimizer)"),
            "on_train_batch_start": (_with_loader(4), "(self, trainer, pl_module, batch, batch_idx)"),
            "on_train_batch_end": (_with_loader(5), "(self, trainer, pl_module, outputs, batch, batch_idx)"),
            "on_train_epoch_end": (self._with_outputs("training", 2), "(self, trainer, pl_module)"),
            "on_validation_epoch_end": (self._with_outputs("validation", 2), "(self, trainer, pl_module)"),
            "on_test_epoch_end": (self._with_outputs("test", 2), "(self, trainer, pl_module)"),
            "on_save_checkpoint": (_saving_state, "`state_dict(self)`, which returns what is kept"),
            "on_load_checkpoint": (_loading_state, "`load_state_dict(self, state_dict)`"),
        }
        for name, (adapt, modern) in adapters.items():
            if is_overridden(name, callback, Callback):
                self._put(callback, name, adapt, modern)

    def _put(self, owner: Any, name: str, adapt: Callable[[Any, Any], Adapter | None], modern: str) -> None:
        fn = getattr(owner, name)
        adapter = adapt(owner, fn)
        if adapter is None:
            return
        if modern[0] == "(":
            old = f"`{type(owner).__name__}.{name}({', '.join(['self', *argument_names(fn)])})`"
            say_old("FUL109", old, f"`{name}{modern}`", code_of(fn))
        self._adapted.replace(owner, name, adapter)

    # ------------------------------------------------------------------------------------------- adapters

    def _index_of(self, optimizer: Any) -> int:
        bare = getattr(optimizer, "optimizer", optimizer)
        return next((index for index, one in enumerate(self._trainer.optimizers) if one is bare), 0)

    def _optimizer_step(self, module: Any, fn: Any) -> Adapter | None:
        """``(epoch, batch_idx, optimizer, optimizer_idx, closure, on_tpu, using_native_amp, using_lbfgs)``."""
        names = argument_names(fn)
        if len(names) < 4 or "closure" in names[3]:
            return None
        closure_name = next((name for name in names if "closure" in name), None)
        # Until 0.9 the gradients were there already, and the closure was for optimizers of second order alone.
        runs_first = closure_name is None or not _reads(fn, closure_name)

        def optimizer_step(epoch: int, batch_idx: int, optimizer: Any, closure: Callable[[], Any]) -> None:
            ran: list[Any] = []

            def once() -> Any:
                if not ran or _evaluates_often(optimizer):
                    ran[:] = [closure()]
                return ran[0]

            if runs_first:
                once()
            index = self._index_of(optimizer)
            values = [epoch, batch_idx, optimizer, index]
            for name in names[4:]:
                if "closure" in name:
                    values.append(None if runs_first else once)
                elif "lbfgs" in name:
                    values.append(_evaluates_often(optimizer))
                else:
                    values.append("amp" in name and "mixed" in self._trainer.precision)
            fn(*values)
            if not ran:
                once()  # a program that skips a step still runs the batch

        return optimizer_step

    def _zero_grad(self, module: Any, fn: Any) -> Adapter | None:
        if required_count(fn) < 4:
            return None
        return lambda epoch, batch_idx, optimizer: fn(epoch, batch_idx, optimizer, self._index_of(optimizer))

    def _backward(self, module: Any, fn: Any) -> Adapter | None:
        """``(loss, optimizer, optimizer_idx)``, in 0.8 and 0.9 with the trainer before, in 0.7 with ``use_amp``."""
        names = argument_names(fn)
        if required_count(fn) < 2:
            return None

        def backward(loss: Any, *args: Any, **kwargs: Any) -> None:
            index = self._alternating.index
            optimizer = self._trainer.optimizers[index] if self._trainer.optimizers else None
            first = {"trainer": [self._trainer], "use_amp": ["mixed" in self._trainer.precision]}.get(names[0], [])
            values = [*first, loss, optimizer, index]
            fn(*values[: len(names)])

        return backward

    def _clipping(self, module: Any, fn: Any) -> Adapter | None:
        names = argument_names(fn)
        if len(names) < 2 or not names[1].startswith("opt"):
            return None
        return lambda optimizer, value=None, algorithm=None: fn(optimizer, self._index_of(optimizer), value, algorithm)

    def _scheduler_step(self, module: Any, fn: Any) -> Adapter | None:
        if required_count(fn) < 3:
            return None
        return lambda scheduler, metric: fn(scheduler, self._index_of(scheduler.optimizer), metric)

    def _with_index(self, count: int) -> Callable[[Any, Any], Adapter | None]:
        def adapt(owner: Any, fn: Any) -> Adapter | None:
            if required_count(fn) <= count:
                return None
            return lambda *args: fn(*args, self._index_of(args[-1]))

        return adapt

    def _with_outputs(self, stage: str, count: int) -> Callable[[Any, Any], Adapter | None]:
        def adapt(owner: Any, fn: Any) -> Adapter | None:
            if required_count(fn) <= count and "outputs" not in argument_names(fn):
                return None
            self._hooks.collect(stage)
            return lambda *args: fn(*args, self._hooks.outputs(stage))

        return adapt


def _with_loader(count: int) -> Callable[[Any, Any], Adapter | None]:
    """Add the number of the training loader, which was always 0."""

    def adapt(owner: Any, fn: Any) -> Adapter | None:
        return (lambda *args: fn(*args, 0)) if required_count(fn) == count + 1 else None

    return adapt


def _fewer(count: int) -> Callable[[Any, Any], Adapter | None]:
    def adapt(owner: Any, fn: Any) -> Adapter | None:
        names = argument_names(fn)
        return None if names == ["*"] or len(names) >= count else (lambda *args: fn(*args[: len(names)]))

    return adapt


def _saving_state(callback: Any, fn: Any) -> Adapter | None:
    """``on_save_checkpoint`` that returns the callback's state, with the checkpoint as an argument or without it."""
    if is_overridden("state_dict", callback, Callback):
        return None
    call = taking(fn, 3)

    def on_save_checkpoint(trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        returned = call(trainer, module, checkpoint)
        if isinstance(returned, Mapping):
            say_old(
                "FUL109",
                f"`{type(callback).__name__}.on_save_checkpoint` returning the callback's state",
                "`state_dict(self)`, which returns it, and `load_state_dict(self, state_dict)`",
                code_of(fn),
            )
            checkpoint.setdefault("callbacks", {})[callback.state_key] = dict(returned)

    return on_save_checkpoint


def _loading_state(callback: Any, fn: Any) -> Adapter | None:
    """``on_load_checkpoint`` that gets the callback's state, alone or behind trainer and module."""
    names = argument_names(fn)
    if names == ["*"] or is_overridden("load_state_dict", callback, Callback) or "checkpoint" in names[-1:]:
        return None

    def on_load_checkpoint(trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("callbacks", {}).get(callback.state_key)
        if state is not None:
            fn(*(trainer, module, state)[-len(names) :])

    return on_load_checkpoint


def _reads(fn: Callable[..., Any], name: str) -> bool:
    """Return whether a function's code looks at one of its arguments."""
    code = code_of(fn)
    if code is None or name in code.co_cellvars:
        return True
    reading = (one for one in dis.get_instructions(code) if one.opname.startswith("LOAD_FAST"))
    return any(name == one.argval or (isinstance(one.argval, tuple) and name in one.argval) for one in reading)


def _evaluates_often(optimizer: Any) -> bool:
    from torch.optim import LBFGS

    return isinstance(getattr(optimizer, "optimizer", optimizer), LBFGS)
