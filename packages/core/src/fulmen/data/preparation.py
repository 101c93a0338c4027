"""How a batch gets from its loader to the step: converted, moved, and through the hooks that somebody overrides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.hooks import is_overridden
from fulmen.profilers.profiler import NO_PROFILER, Profiler, action_of

if TYPE_CHECKING:
    from fulmen.datamodule import LightningDataModule
    from fulmen.module import LightningModule

Prepare = Callable[[Any, int], Any]


def overrides_transfer(module: LightningModule, datamodule: LightningDataModule | None) -> bool:
    """Return whether a hook of batch transfer is overridden."""
    from fulmen.datamodule import LightningDataModule
    from fulmen.module import LightningModule

    hooks = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
    return any(
        is_overridden(hook, module, LightningModule)
        or (datamodule is not None and is_overridden(hook, datamodule, LightningDataModule))
        for hook in hooks
    )


def preparation(
    module: LightningModule,
    datamodule: LightningDataModule | None,
    convert: Callable[[Any], Any] | None,
    move: Callable[[Any], Any] | None,
    device: Any,
    profiler: Profiler = NO_PROFILER,
) -> Prepare | None:
    """Return the function that prepares a batch, ``prepare(batch, dataloader_idx)``; ``None`` where nothing is to do.

    Args:
        module: its three transfer hooks run, unless the data module overrides them.
        datamodule: its three transfer hooks run where it overrides them.
        convert: changes the number format of a batch, ``None`` where the precision leaves it.
        move: moves a batch to the device, ``None`` where it is there already.
        device: what ``transfer_batch_to_device`` is told.
        profiler: what measures the hooks.
    """
    from fulmen.datamodule import LightningDataModule
    from fulmen.module import LightningModule

    def owner_of(hook: str) -> Any:
        if datamodule is not None and is_overridden(hook, datamodule, LightningDataModule):
            return datamodule
        return module if is_overridden(hook, module, LightningModule) else None

    def call(owner: Any, hook: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(owner, hook)
        return profiler.wrap(action_of(owner, hook), method)

    stages: list[Prepare] = []
    if convert is not None:
        stages.append(lambda batch, _: convert(batch))
    before, transfer, after = map(
        owner_of, ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
    )
    if before is not None:
        stages.append(call(before, "on_before_batch_transfer"))
    if transfer is not None:
        transfer_batch = call(transfer, "transfer_batch_to_device")
        stages.append(lambda batch, idx: transfer_batch(batch, device, idx))
    elif move is not None:
        stages.append(lambda batch, _: move(batch))
    if after is not None:
        stages.append(call(after, "on_after_batch_transfer"))
    if not stages:
        return None
    if len(stages) == 1:
        return stages[0]

    def prepare(batch: Any, dataloader_idx: int) -> Any:
        for stage in stages:
            batch = stage(batch, dataloader_idx)
        return batch

    return prepare
