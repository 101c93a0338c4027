"""What a checkpoint holds of a run, and how a run takes it back."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fulmen.advice import advise
from fulmen.callback import Callback
from fulmen.checkpoint.format import LAYOUT_VERSION, VERSION_KEY, plain_state
from fulmen.checkpoint.kept_hyperparameters import keep_hyperparameters
from fulmen.checkpoint.random_state import get_random_state
from fulmen.errors import CheckpointError
from fulmen.hooks import taking
from fulmen.progress import Progress
from fulmen.rank import rank_zero_info

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from fulmen.datamodule import LightningDataModule
    from fulmen.hardware.precision import Precision
    from fulmen.logged import LoggedMetrics
    from fulmen.module import LightningModule
    from fulmen.optimizers import SchedulerConfig
    from fulmen.results import Results


@dataclass
class RunParts:
    """The parts of a run that have state."""

    trainer: Any  #: handed on to the hooks
    module: LightningModule
    datamodule: LightningDataModule | None
    callbacks: Sequence[Callback]
    optimizers: Sequence[Optimizer]
    schedulers: Sequence[SchedulerConfig]
    precision: Precision
    progress: Progress
    results: Results | None  #: of training; ``None`` outside of fit
    logged: LoggedMetrics


def collect(
    parts: RunParts,
    weights_only: bool,
    epoch_random_state: Mapping[str, Any] | None,
    journal_position: int,
    run_folder: str | None,
) -> dict[str, Any]:
    """Return a checkpoint: the field's keys, and ours under ``"fulmen"``.

    Args:
        parts: what has state.
        weights_only: leave out what only training needs.
        epoch_random_state: random states when this epoch's loader was started.
        journal_position: the number of the run's next record.
        run_folder: where the run's journal is, ``None`` where nothing is recorded.
    """
    module, datamodule, progress = parts.module, parts.datamodule, parts.progress
    checkpoint: dict[str, Any] = {
        "epoch": progress.epoch,
        "global_step": progress.global_step,
        VERSION_KEY: LAYOUT_VERSION,
        "state_dict": module.state_dict(),
    }
    if not weights_only:
        checkpoint["loops"] = {}
        checkpoint["callbacks"] = {
            callback.state_key: plain_state(state, f"the state of {type(callback).__name__}")
            for callback in parts.callbacks
            if (state := callback.state_dict())
        }
        checkpoint["optimizer_states"] = [optimizer.state_dict() for optimizer in parts.optimizers]
        checkpoint["lr_schedulers"] = [
            plain_state(config.scheduler.state_dict(), "a scheduler") for config in parts.schedulers
        ]
        if parts.precision.scaler is not None:
            checkpoint["MixedPrecision"] = parts.precision.state_dict()
        checkpoint["fulmen"] = {
            "version": importlib.metadata.version("fulmen-core"),
            "progress": progress.state_dict(),
            "random_state": get_random_state(),
            "epoch_random_state": dict(epoch_random_state) if epoch_random_state else None,
            "journal_position": journal_position,
            "run_folder": run_folder,
            "results": parts.results.state_dict() if parts.results is not None else [],
            "logged": parts.logged.state_dict(),
        }
    keep_hyperparameters(module, checkpoint)
    if datamodule is not None:
        keep_hyperparameters(datamodule, checkpoint)
        if not weights_only and (state := datamodule.state_dict()):
            checkpoint[type(datamodule).__qualname__] = plain_state(state, "the state of the data module")
    if not weights_only:
        for callback in parts.callbacks:
            taking(callback.on_save_checkpoint, 3)(parts.trainer, module, checkpoint)
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def restore_weights(parts: RunParts, checkpoint: dict[str, Any], source: str) -> None:
    """Give the module a checkpoint's weights, after its hooks and the data module's state."""
    datamodule, module = parts.datamodule, parts.module
    if datamodule is not None and type(datamodule).__qualname__ in checkpoint:
        datamodule.load_state_dict(checkpoint[type(datamodule).__qualname__])
    module.on_load_checkpoint(checkpoint)
    load_weights(module, checkpoint, source, module.strict_loading)


def load_weights(module: LightningModule, checkpoint: Mapping[str, Any], source: str, strict: bool) -> None:
    """Load ``checkpoint["state_dict"]`` into a module.

    Raises:
        CheckpointError: there are no weights, or their names or shapes are not the module's.
    """
    if "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{source} holds no weights under 'state_dict' (its keys: {', '.join(map(str, list(checkpoint)[:8]))}); "
            "pass a file that a Trainer saved"
        )
    try:
        found = module.load_state_dict(checkpoint["state_dict"], strict=strict)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in {source} are not those of `{type(module).__name__}`: {error}\n"
            "Load it into the class and with the arguments that it was saved with, or with strict=False"
        ) from error
    if found is not None:  # a `load_state_dict` of the user's own may return nothing
        for names, what in ((found.missing_keys, "not in the file"), (found.unexpected_keys, "in the file only")):
            if names:
                rank_zero_info("%s was loaded with strict=False; %s: %s", source, what, ", ".join(names))


def restore_callbacks(parts: RunParts, checkpoint: dict[str, Any]) -> None:
    """Give each callback the state that was kept under its key."""
    states = checkpoint.get("callbacks", {})
    for callback in parts.callbacks:
        taking(callback.on_load_checkpoint, 3)(parts.trainer, parts.module, checkpoint)
    for callback in parts.callbacks:
        state = states.get(callback.state_key, states.get(type(callback)))
        if state:
            callback.load_state_dict(dict(state))
    known = {callback.state_key for callback in parts.callbacks}
    unused = [str(key) for key in states if key not in known]
    if unused:
        advise(
            "FUL026",
            f"the checkpoint has the state of callbacks that this Trainer does not have: {', '.join(unused)}; add them "
            "if they should go on",
        )


def restore_training(parts: RunParts, checkpoint: Mapping[str, Any], source: str) -> None:
    """Give optimizers, schedulers, loss scaling and counters their state back.

    Raises:
        CheckpointError: the file holds weights only, or was written with other optimizers.
    """
    if "optimizer_states" not in checkpoint:
        raise CheckpointError(
            f"{source} holds weights only, so training cannot continue from it; load the weights with "
            f"`{type(parts.module).__name__}.load_from_checkpoint` and start a new fit"
        )
    states = checkpoint["optimizer_states"]
    if len(states) != len(parts.optimizers):
        raise CheckpointError(
            f"{source} has the state of {len(states)} optimizer(s), but `configure_optimizers` returned "
            f"{len(parts.optimizers)}; return the same ones as when it was saved"
        )
    try:
        for optimizer, state in zip(parts.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
    except ValueError as error:
        raise CheckpointError(
            f"an optimizer does not fit its state in {source}: {error}; return the same ones as when it was saved"
        ) from error
    for config, state in zip(parts.schedulers, checkpoint.get("lr_schedulers", ()), strict=False):
        config.scheduler.load_state_dict(state)
    if "MixedPrecision" in checkpoint:
        parts.precision.load_state_dict(checkpoint["MixedPrecision"])
    ours = checkpoint.get("fulmen")
    if ours is not None:
        parts.progress.load_state_dict(ours["progress"])
        parts.logged.load_state_dict(ours["logged"])
        if parts.results is not None:
            parts.results.load_state_dict(ours["results"])
    else:
        _progress_of_lightning(parts.progress, checkpoint)


def _progress_of_lightning(progress: Progress, checkpoint: Mapping[str, Any]) -> None:
    """Fill the counters from a checkpoint of the field's standard trainer."""
    progress.global_step = int(checkpoint.get("global_step", 0))
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    current = loop.get("epoch_progress", {}).get("current", {})
    progress.epochs_trained = int(current.get("processed", checkpoint.get("epoch", -1) + 1))
    progress.epoch = progress.epochs_trained
    batches = loop.get("epoch_loop.batch_progress", {})
    progress.batches = int(batches.get("total", {}).get("ready", progress.global_step))
    progress.batches_that_stepped = progress.global_step
    if not current.get("processed", 1) >= current.get("ready", 1):
        progress.inside_epoch = True
        progress.batch_in_epoch = int(batches.get("current", {}).get("ready", 0))
