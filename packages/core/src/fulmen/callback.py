"""Callback: the hooks at which a program of its own joins a run (stable interface).

Override only the hooks that you need. A hook may take fewer arguments than are passed here: leave off from the right.
A method whose name looks like a hook but is none (``on_train_epoch_ends``) is an error before training starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fulmen.module import LightningModule
    from fulmen.preflight import Plan
    from fulmen.trainer import Trainer

#: Version of this interface: a plug-in declares the one that it was written for, ``interface = (1, 0)``.
CALLBACK_INTERFACE = (1, 0)


class Callback:
    """Base class of all callbacks; every hook does nothing until it is overridden."""

    #: The version of the callback interface that a plug-in was written for, as ``(major, minor)``.
    interface: ClassVar[tuple[int, int] | None] = None

    #: Callbacks run in the order of this number, those of one number in the user's order: 0 for most, 1 for those that
    #: decide by a logged metric (they follow the module's own ``on_train_epoch_end``), 2 for those that save.
    run_order: ClassVar[int] = 0

    #: Whether training ends with other weights than its last epoch, so that who keeps the last ones saves once more.
    changes_final_weights: ClassVar[bool] = False

    #: Whether ``trainer.predict_loop`` shall note which samples are in each batch.
    reads_batch_indices: ClassVar[bool] = False

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint; make it differ between several of one class."""
        return type(self).__qualname__

    def wants(self, hook: str) -> bool:
        """Return whether a hook that this class overrides is needed by this object, as it is set up now.

        Asked for each overridden hook before a loop starts; a hook that is not wanted costs nothing.
        """
        return True

    def _generate_state_key(self, **kwargs: Any) -> str:
        """Return a state key that tells callbacks of one class apart by their arguments."""
        return f"{type(self).__qualname__}{kwargs!r}"

    # ------------------------------------------------------------------------------------------- logging

    def log(self, name: str, value: Any, **kwargs: Any) -> None:
        """Log a value, as ``LightningModule.log`` does; usable inside every hook in which that is."""
        self._logging_module("log").log(name, value, **kwargs)

    def log_dict(self, dictionary: Mapping[str, Any], **kwargs: Any) -> None:
        """Log several values, as ``LightningModule.log_dict`` does."""
        self._logging_module("log_dict").log_dict(dictionary, **kwargs)

    _pl_module: LightningModule | None = None

    def _logging_module(self, method: str) -> LightningModule:
        if self._pl_module is None:
            raise RuntimeError(
                f"`{type(self).__name__}.{method}` was called outside a run; call it in a hook while a Trainer runs"
            )
        return self._pl_module

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pl_module"}

    # ------------------------------------------------------------------------------------- start and end

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Run at the start of ``fit``, ``validate``, ``test`` and ``predict``; ``stage`` is that word."""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Run at the end of ``fit``, ``validate``, ``test`` and ``predict``."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when ``fit`` begins, after ``setup``."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when ``fit`` ends."""

    def on_preflight(self, trainer: Trainer, pl_module: LightningModule, plan: Plan) -> None:
        """Run once before the first batch, after the sanity check: the time to say what cannot work.

        Raise ``fulmen.errors.MisconfigurationException`` for what is sure to fail later. Call ``plan.needs(key,
        owner)`` for a logged key that must be there, and ``plan.never(owner, why)`` where this callback will do
        nothing. Not called in a ``fast_dev_run``.
        """

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run before the validation batches that ``fit`` tries first."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run after the validation batches that ``fit`` tries first."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Run when anything raises during a run, ``KeyboardInterrupt`` included."""

    # -------------------------------------------------------------------------------------------- training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when training begins, after the sanity check."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when training ends."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when a training epoch begins."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when a training epoch ends, after its validation."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Run before ``training_step``, with the batch on its device."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Run after the optimizer step; ``outputs`` is what ``training_step`` returned, as a dict."""

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Run before the gradients are cleared."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Run before ``loss.backward()``."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run after ``loss.backward()``, before the optimizer steps."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Run before the optimizer steps, with the gradients not yet clipped."""

    # ------------------------------------------------------------------------------------------ validation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when validation begins."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when validation ends."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when a validation epoch begins."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when all validation batches are done."""

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Run before ``validation_step``."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Run after ``validation_step``; ``outputs`` is what it returned."""

    # ------------------------------------------------------------------------------------------------ test

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when testing begins."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when testing ends."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when a test epoch begins."""

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when all test batches are done."""

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Run before ``test_step``."""

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Run after ``test_step``; ``outputs`` is what it returned."""

    # ------------------------------------------------------------------------------------------ prediction

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when prediction begins."""

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when prediction ends."""

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when a prediction epoch begins."""

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run when all batches are predicted."""

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Run before ``predict_step``."""

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Run after ``predict_step``; ``outputs`` is what it returned."""

    # --------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this callback: tensors, numbers, strings, lists and dicts."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add to or change a checkpoint before it is written."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look at a checkpoint after it was read, before anything is restored from it."""


class Checkpoint(Callback):
    """A callback that saves checkpoints; the trainer finds ``"best"`` and ``"last"`` through it."""

    run_order: ClassVar[int] = 2

    #: Whether it keeps a run's checkpoints, so that the Trainer needs no ``ModelCheckpoint`` of its own beside it.
    keeps_run: ClassVar[bool] = True

    best_model_path: str = ""  #: the best checkpoint so far, ``""`` while there is none
    last_model_path: str = ""  #: the newest ``last`` checkpoint, ``""`` while there is none
    best_model_score: Any = None  #: the metric of the best, a number or 0-d tensor
    current_score: Any = None  #: the metric of the newest
    best_k_models: Mapping[str, Any] = MappingProxyType({})  #: path -> metric of all that are kept
    save_top_k: int = 1  #: how many are kept; -1 for all

    @property
    def resume_path(self) -> str:
        """The checkpoint from which ``fit`` goes on where it is given none; ``""`` to start anew."""
        return ""


class AccumulationSchedule(Callback):
    """A callback that changes between epochs how many batches make an optimizer step; the trainer asks it to count."""

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Return how many batches make a step in an epoch, the first being 0."""
        raise NotImplementedError


class ProgressBar(Callback):
    """A callback that shows progress; the trainer prints through it, so that lines and bar do not mix."""

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line."""
        print(*args, **kwargs)


#: Names of all hooks, in the order of this file.
CALLBACK_HOOKS: tuple[str, ...] = tuple(
    name
    for name, value in vars(Callback).items()
    if callable(value) and (name.startswith("on_") or name in ("setup", "teardown", "state_dict", "load_state_dict"))
)
