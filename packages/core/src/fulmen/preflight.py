"""Preflight: what can be known to be wrong before the first batch, said before an epoch is spent.

``check_fit`` runs once per fit, after the sanity check, when loaders, optimizers and callbacks are there. It raises for
what is sure to fail later, and advises (``fulmen.advice``) of what will never happen. A callback takes part through
``Callback.on_preflight``, which gets the :class:`Plan`.

Misspelled hooks are looked for earlier still, by ``fulmen.hooks.check_hook_names``, and loaders without a batch where
loaders are set up (``fulmen.data.loaders.check_not_empty``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import torch
from torch.optim.lr_scheduler import OneCycleLR

from fulmen.advice import advise, code_of
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException, nearest
from fulmen.hardware.accelerators import available
from fulmen.hooks import HookTable
from fulmen.log_calls import LogCalls
from fulmen.module import LightningModule
from fulmen.optimizers import SchedulerConfig


@dataclass
class Plan:
    """What a fit is about to do, as far as it can be known; numbers that nobody knows are ``inf``."""

    first_epoch: int  #: epochs done before this fit: more than 0 where it resumes
    last_epoch: float  #: epochs done when it has reached all its limits
    first_step: int  #: optimizer steps done before
    last_step: float  #: optimizer steps done then, at most
    batches: float  #: training batches of an epoch
    validates: bool  #: whether validation runs at all, beside the sanity check
    seconds: float  #: the time limit
    accumulate: int  #: batches of an optimizer step
    _needed: list[tuple[str, str]] = field(default_factory=list)
    _told: dict[Callback, tuple[str, ...]] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return self.last_epoch > self.first_epoch and self.last_step > self.first_step and self.batches > 0

    def needs(self, key: str, owner: str) -> None:
        """Tell that ``owner`` (as ``"EarlyStopping(monitor='val_loss')"``) fails where nobody logs ``key``."""
        self._needed.append((key, owner))

    def logs(self, callback: Callback, *names: str) -> None:
        """Tell which names a callback logs, where its code does not show it; ``*`` stands for anything."""
        self._told[callback] = names

    def never(self, owner: str, why: str) -> None:
        """Advise that ``owner`` does nothing in this fit, and why."""
        advise("FUL036", f"`{owner}` never acts in this fit: {why}")

    def has_epoch(self, every: int) -> bool:
        """Return whether an epoch of this fit ends at a multiple of ``every``."""
        return _has_multiple(self.first_epoch, self.last_epoch, every)

    def has_step(self, every: int) -> bool:
        """Return whether an optimizer step of this fit can be at a multiple of ``every``."""
        return _has_multiple(self.first_step, self.last_step, every)


def check_fit(
    plan: Plan,
    module: LightningModule,
    hooks: HookTable,
    callbacks: Sequence[Callback],
    schedulers: Sequence[SchedulerConfig],
    logged: Collection[str],
) -> None:
    """Look at a fit before its first batch.

    Args:
        plan: what it is about to do.
        module: what trains.
        hooks: which hooks are overridden; callbacks are asked through it.
        callbacks: all callbacks, which may log too.
        schedulers: the learning-rate schedulers.
        logged: the keys that the sanity check logged, and those of a resumed run.

    Raises:
        MisconfigurationException: something looks at a logged value that nothing can log.
    """
    for hook in hooks.on_preflight:
        hook(plan)
    if module.automatic_optimization:
        _look_at_schedulers(plan, module, schedulers)
    if plan.accumulate > plan.batches > 0:
        advise(
            "FUL037",
            f"`accumulate_grad_batches={plan.accumulate}` is more than the {plan.batches:.0f} batches of an epoch, "
            f"whose last batch always steps; use at most {plan.batches:.0f}, or more batches",
        )
    missing = [(key, owner) for key, owner in plan._needed if key not in logged]
    if missing:
        unread = [callback for callback in callbacks if callback not in plan._told]
        calls = LogCalls([(module, LightningModule), *((callback, Callback) for callback in unread)])
        for names in plan._told.values():
            for name in names:
                calls.add_name(name)
        for key, owner in missing:
            _explain_missing(key, owner, calls, logged)


def _has_multiple(first: int, last: float, every: int) -> bool:
    return last == math.inf or last // every > first // every


def _look_at_schedulers(plan: Plan, module: LightningModule, schedulers: Sequence[SchedulerConfig]) -> None:
    where = code_of(module.configure_optimizers)
    for config in schedulers:
        scheduler, every = config.scheduler, config.frequency
        name = type(scheduler).__name__
        if config.reduce_on_plateau and config.strict and config.monitor is not None:
            plan.needs(config.monitor, f"{name}(monitor={config.monitor!r})")
        if isinstance(scheduler, OneCycleLR) and config.interval == "epoch" and scheduler.total_steps > plan.last_epoch:
            advise(
                "FUL012",
                f"OneCycleLR has {scheduler.total_steps} steps, but is stepped once an epoch, and there are "
                f"{plan.last_epoch:.0f} epochs; return it as {{'scheduler': ..., 'interval': 'step'}}",
                where,
            )
        elif config.interval == "epoch" and not plan.has_epoch(every):
            advise(
                "FUL038",
                f"{name} steps every {every} epochs, but training ends after {plan.last_epoch:.0f}; lower "
                "'frequency', or leave the scheduler out",
                where,
            )
        elif config.interval == "step" and every > plan.batches:
            advise(
                "FUL038",
                f"{name} steps every {every} batches of an epoch, but an epoch has {plan.batches:.0f}; lower "
                "'frequency', or leave the scheduler out",
                where,
            )


# ------------------------------------------------------------------------------------------------- keys


def _explain_missing(key: str, owner: str, calls: LogCalls, logged: Collection[str]) -> None:
    """Raise for a key that nothing can log; advise of one that nothing seems to log."""
    known = {*logged, *calls.names}
    of_loader = f"{key}/dataloader_idx_0"
    if of_loader in logged:
        _say_missing(key, owner, f"; did you mean {of_loader!r}? It is logged for each loader", known - {key})
    elif calls.can_log(key):
        return
    elif calls.is_complete:
        raise MisconfigurationException(
            f"`{owner}`: nothing logs {key!r}{nearest(key, known)}{_listed(known)}; call "
            f"`self.log({key!r}, value)`, or monitor what is logged"
        )
    elif not calls.mentions(key) and get_close_matches(key, known, n=1, cutoff=0.8):
        _say_missing(key, owner, nearest(key, known), known)


def _say_missing(key: str, owner: str, meant: str, logged: Iterable[str]) -> None:
    advise("FUL035", f"`{owner}`: nothing seems to log {key!r}{meant}{_listed(logged)}")


def _listed(keys: Iterable[str]) -> str:
    names = ", ".join(map(repr, sorted(keys)))
    return f"; logged are: {names}" if names else ""


# --------------------------------------------------------------------------------------------- hardware


def look_at_device(kind: str, precision: str) -> None:
    """Advise on a device that lies idle, or is used below its speed.

    Args:
        kind: ``cpu``, ``cuda`` or ``mps``, which training uses.
        precision: the name of its precision.
    """
    if kind == "cpu":
        found = available()
        idle = next((name for name in ("cuda", "mps") if found[name]), None)
        if idle is not None:
            advise(
                "FUL029",
                f"training runs on the CPU, although there are {found[idle]} {idle} device(s); use "
                "Trainer(accelerator='auto')",
            )
        if precision == "16-mixed":
            advise(
                "FUL031",
                "precision='16-mixed' on the CPU is slow, and float16 overflows easily; use precision='bf16-mixed'",
            )
    elif kind == "cuda" and precision == "32-true" and _multiplies_exactly():
        name = torch.cuda.get_device_name()
        advise(
            "FUL030",
            f"{name} has tensor cores, which float32 matrix products do not use; call "
            "`torch.set_float32_matmul_precision('high')` to trade the last digits for speed",
        )


def _multiplies_exactly() -> bool:
    """Whether the CUDA device could multiply float32 matrices faster, were fewer digits wanted."""
    major, _ = torch.cuda.get_device_capability()
    return major >= 8 and torch.get_float32_matmul_precision() == "highest"
