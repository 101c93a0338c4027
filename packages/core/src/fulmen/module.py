"""LightningModule: the model, what a step of training, validation, testing and prediction does, and its optimizers.

This file is longer than 400 lines because it is the list of all hooks and methods that users may override or call,
each with its meaning.
"""

from __future__ import annotations

import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import Self

from fulmen.advice import advise
from fulmen.class_only import class_only
from fulmen.data.transfer import move_data_to_device, rebuilt
from fulmen.errors import MisconfigurationException
from fulmen.hyperparameters import HyperparametersMixin
from fulmen.rank import is_global_zero, rank_zero_deprecation

if TYPE_CHECKING:
    from fulmen.logger import Logger, Recorder
    from fulmen.results import Results
    from fulmen.trainer import Trainer


class LightningModule(HyperparametersMixin, nn.Module):
    """Base class of all models that a ``Trainer`` runs; an ``nn.Module`` with steps and hooks.

    Define ``training_step`` and ``configure_optimizers``; everything else is there to be overridden when needed.
    """

    #: ``False`` gives ``training_step`` charge of backward and optimizer steps
    automatic_optimization: bool = True
    #: an input for which ``ModelSummary`` shows shapes and loggers draw the graph
    example_input_array: Any = None
    #: run ``prepare_data`` once on each machine rather than once in all
    prepare_data_per_node: bool = True
    #: whether a checkpoint's keys must match this module's exactly
    strict_loading: bool = True
    allow_zero_length_dataloader_with_multiple_devices: bool = False

    # Set by the trainer for the time of a run, on the instance's `__dict__`; never saved or copied.
    _trainer: Trainer | None = None
    _results: Results | None = None
    _optimizer_wrappers: Sequence[Any] = ()

    #: the mesh of devices over which a distributed strategy lays the weights; there is none on a single device
    device_mesh: Any = None
    #: what runs a module without a trainer, in Lightning; there is no such thing here
    fabric: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        run_time = ("_trainer", "_results", "_optimizer_wrappers", "_compiled_call_impl")
        return {name: value for name, value in self.__dict__.items() if name not in run_time}

    # ------------------------------------------------------------------------------------------- the run

    @property
    def trainer(self) -> Trainer:
        """The trainer that runs this module.

        Raises:
            RuntimeError: no trainer does.
        """
        if self._trainer is None:
            if _is_asked_by_torchscript():
                return None  # type: ignore[return-value]
            raise RuntimeError(f"`{type(self).__name__}` is not attached to a Trainer; pass it to `Trainer.fit` first")
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        for module in self.modules():
            if isinstance(module, LightningModule):
                module.__dict__["_trainer"] = trainer

    @property
    def device(self) -> torch.device:
        """The device of the first parameter or buffer; without any, where the module was moved to."""
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            return tensor.device
        return self._stand_in.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating-point parameter or buffer; without any, what the module was converted to."""
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
        return self._stand_in.dtype

    @property
    def _stand_in(self) -> Tensor:
        """An empty tensor that goes wherever a module without tensors is moved."""
        stand_in: Tensor | None = self.__dict__.get("_stand_in_tensor")
        return torch.empty(0) if stand_in is None else stand_in

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        if next(itertools.chain(self.parameters(), self.buffers()), None) is None:
            self.__dict__["_stand_in_tensor"] = fn(self._stand_in)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def current_epoch(self) -> int:
        """Epochs completed; 0 outside of a run."""
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """Optimizer steps taken; 0 outside of a run."""
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        """The rank of this process among all that train together."""
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        """The rank of this process on its machine."""
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def on_gpu(self) -> bool:
        """Whether the module is on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def logger(self) -> Logger | None:
        """The trainer's first logger."""
        return self._trainer.logger if self._trainer is not None else None

    @property
    def loggers(self) -> list[Logger]:
        """The trainer's loggers."""
        return self._trainer.loggers if self._trainer is not None else []

    # ------------------------------------------------------------------------------------------- logging

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log a value under a name.

        Args:
            name: the key; where a value is logged per step and per epoch, ``name_step`` and ``name_epoch`` go out.
            value: a number, a tensor of one element, or a metric object such as a torchmetrics one, which is
                computed at the end of the epoch and then reset.
            prog_bar: show it in the progress bar.
            logger: send it to the loggers; the default.
            on_step: log the value of this step. Default: in training steps and hooks.
            on_epoch: log the value over the epoch. Default: in validation and test steps, and in epoch hooks.
            reduce_fx: how the epoch's values become one: ``"mean"`` (weighted by batch size), ``"sum"``, ``"min"``,
                ``"max"``, or a function of the stacked values, shape ``(steps,)``.
            enable_graph: accepted for programs that pass it; logged values are always detached.
            sync_dist: reduce over all processes first.
            sync_dist_group: the group of processes.
            add_dataloader_idx: with several loaders, end the key in ``/dataloader_idx_N``.
            batch_size: the weight of this value in the mean; by default the size of the batch's first tensor.
            metric_attribute: accepted for programs that pass it; not needed.
            rank_zero_only: this call happens in the first process only.

        Raises:
            MisconfigurationException: this hook cannot log, the value is not one number, or the name was logged here
                with other arguments.
        """
        results = self._results
        if results is None:
            results = self._results_of_root()
            if results is None:
                _warn_no_trainer(name)
                return
        arguments = (prog_bar, logger, on_step, on_epoch, reduce_fx, add_dataloader_idx, sync_dist)
        slot = results.scope.slots.get(name)
        if slot is None or slot.arguments != arguments:
            slot = results.declare(name, value, arguments)
        slot.add(value, batch_size)

    def _results_of_root(self) -> Results | None:
        """Return where a module inside another one logs."""
        root = self._trainer._module if self._trainer is not None else None
        return root._results if root is not None and root is not self else None

    def log_dict(
        self,
        dictionary: Mapping[str, Any],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log several values; the arguments are those of :meth:`log`."""
        for name, value in dictionary.items():
            self.log(
                name,
                value,
                prog_bar,
                logger,
                on_step,
                on_epoch,
                reduce_fx,
                enable_graph,
                sync_dist,
                sync_dist_group,
                add_dataloader_idx,
                batch_size,
                None,
                rank_zero_only,
            )

    def log_image(
        self,
        key: str,
        images: Any,
        captions: Sequence[str | None] | None = None,
        step: int | None = None,
    ) -> None:
        """Show pictures in every logger that can show them.

        Args:
            key: the name under which they appear.
            images: one picture or a list: tensors or arrays ``(C, H, W)``, ``(H, W, C)`` or ``(H, W)``, ``uint8`` or
                floating point in 0..1; PIL images; matplotlib figures; paths of PNG files.
            captions: words for each picture.
            step: the x-axis; by default where training stands.
        """
        run = self._run_to_record(key)
        if run is not None:
            run.log_image(key, images, self._logging_step(step), captions)

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        """Show words in every logger that can show them."""
        run = self._run_to_record(key)
        if run is not None:
            run.log_text(key, text, self._logging_step(step))

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        """Show a table in every logger that can show one: rows below named columns, or a data frame as ``data``."""
        run = self._run_to_record(key)
        if run is not None:
            run.log_table(key, columns, data, self._logging_step(step))

    def log_figure(
        self, key: str, figure: Any, caption: str | None = None, step: int | None = None, close: bool = False
    ) -> None:
        """Show a matplotlib figure in every logger that can show pictures.

        Args:
            key: the name under which it appears.
            figure: the figure, as it is now.
            caption: words for it.
            step: the x-axis; by default where training stands.
            close: close the figure in pyplot afterwards, for those that are made again and again.
        """
        if not hasattr(figure, "savefig"):
            raise MisconfigurationException(
                f"`log_figure` needs a matplotlib figure, but got a {type(figure).__name__}; use `log_image` for others"
            )
        self.log_image(key, [figure], [caption], step)
        if close:
            import matplotlib.pyplot

            matplotlib.pyplot.close(figure)

    def log_histogram(self, key: str, values: Any, bins: int = 64, step: int | None = None) -> None:
        """Show how values are distributed, in every logger that can show histograms; waits for no device.

        Args:
            key: the name under which it appears.
            values: a tensor, array or list of numbers of any shape, or ``(counts, edges)`` of ``numpy.histogram``. NaN
                and infinities are left out.
            bins: how many ranges.
            step: the x-axis; by default where training stands.
        """
        run = self._run_to_record(key)
        if run is not None:
            run.log_histogram(key, values, self._logging_step(step), bins=bins)

    def log_audio(
        self,
        key: str,
        audios: Any,
        sample_rate: int | None = None,
        captions: Sequence[str | None] | None = None,
        step: int | None = None,
    ) -> None:
        """Let sounds be heard in every logger that can play them.

        Args:
            key: the name under which they appear.
            audios: one sound or a list: tensors or arrays ``(frames,)`` or ``(channels, frames)``, floating point in
                -1..1 or ``int16``; paths of WAV, MP3, FLAC, OGG or M4A files.
            sample_rate: frames a second; tensors and arrays need it.
            captions: words for each sound.
            step: the x-axis; by default where training stands.
        """
        run = self._run_to_record(key)
        if run is not None:
            run.log_audio(key, audios, self._logging_step(step), sample_rate=sample_rate, captions=captions)

    def log_video(
        self,
        key: str,
        videos: Any,
        fps: float = 4,
        captions: Sequence[str | None] | None = None,
        step: int | None = None,
    ) -> None:
        """Show videos in every logger that can play them.

        Args:
            key: the name under which they appear.
            videos: one video or a list: tensors or arrays ``(frames, C, H, W)``, which become GIFs and need Pillow;
                paths of GIF, MP4, WebM or OGG files.
            fps: frames a second of tensors and arrays.
            captions: words for each video.
            step: the x-axis; by default where training stands.
        """
        run = self._run_to_record(key)
        if run is not None:
            run.log_video(key, videos, self._logging_step(step), fps=fps, captions=captions)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Keep a file with the run, in every logger that can keep files."""
        run = self._run_to_record(str(path))
        if run is not None:
            run.log_artifact(path, name)

    def _run_to_record(self, key: str) -> Recorder | None:
        """Return where a record goes: nowhere outside of a run, in the sanity check, and in other ranks."""
        trainer = self._trainer
        if trainer is None:
            _warn_no_trainer(key)
            return None
        return trainer.recorder if trainer.is_global_zero and not trainer.sanity_checking else None

    def _logging_step(self, step: int | None) -> int:
        return self.trainer.logging_step if step is None else step

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print in the first process only, without breaking the progress bar."""
        if self._trainer is not None:
            self._trainer.print(*args, **kwargs)
        elif is_global_zero():
            print(*args, **kwargs)

    # --------------------------------------------------------------------------------------------- steps

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output for an input; what ``model(x)`` calls, and ``predict_step`` by default."""
        return super().forward(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the loss of a batch: ``training_step(self, batch, batch_idx)``.

        Returns:
            The loss, a 0-d tensor with a graph; or a dict with it as ``"loss"``; or ``None`` to skip the batch. A dict
            with ``"weight"`` says that the loss is the sum over so many items: the gradient is that of their mean,
            over all batches that make one optimizer step.
        """
        raise NotImplementedError(f"`{type(self).__name__}` must define `training_step` to be used with fit")

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Do what validation does with a batch: ``validation_step(self, batch, batch_idx, dataloader_idx=0)``."""

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Do what testing does with a batch: ``test_step(self, batch, batch_idx, dataloader_idx=0)``."""

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Return the prediction for a batch: ``predict_step(self, batch, batch_idx, dataloader_idx=0)``.

        By default the batch goes through ``forward``.
        """
        return self(args[0] if args else kwargs["batch"])

    # ------------------------------------------------------------------------------------ what to set up

    def configure_optimizers(self) -> Any:
        """Return an optimizer; or several, with schedulers; or ``None`` to train without.

        Accepted are: an optimizer; a list of them; ``(optimizers, schedulers)``; a dict ``{"optimizer": ...,
        "lr_scheduler": ...}``, where the scheduler may be a dict of scheduler, interval, frequency, monitor, strict
        and name; a list of such dicts; a dict of names, ``{"critic": optimizer, "generator": {"optimizer": ...,
        "frequency": 5}}``, where each has a step of its own, ``training_step_critic(self, batch, batch_idx)``.
        """
        raise NotImplementedError(f"`{type(self).__name__}` must define `configure_optimizers` to be used with fit")

    def configure_callbacks(self) -> Any:
        """Return callbacks that this module brings; one of the same type replaces the trainer's."""
        return []

    def configure_model(self) -> None:
        """Make layers that are too large to make in ``__init__``: they are made on the device, in the right precision.

        It runs before every ``fit``, ``validate``, ``test`` and ``predict``, and in ``load_from_checkpoint``; so it
        must leave layers that are there: ``if self.net is not None: return``.
        """

    def configure_sharded_model(self) -> None:
        """Make layers, in programs of Lightning 1; deprecated: use :meth:`configure_model`."""

    def prepare_data(self) -> None:
        """Download or write data; runs in one process, so assign nothing to ``self`` here."""

    def setup(self, stage: str) -> None:
        """Run at the start of ``fit``, ``validate``, ``test`` and ``predict``; ``stage`` is that word."""

    def teardown(self, stage: str) -> None:
        """Run at the end of ``fit``, ``validate``, ``test`` and ``predict``."""

    def train_dataloader(self) -> Any:
        """Return the loader, or nested loaders, to train on."""
        raise NotImplementedError(f"`{type(self).__name__}` does not define `train_dataloader`")

    def val_dataloader(self) -> Any:
        """Return the loader or loaders to validate on."""
        raise NotImplementedError(f"`{type(self).__name__}` does not define `val_dataloader`")

    def test_dataloader(self) -> Any:
        """Return the loader or loaders to test on."""
        raise NotImplementedError(f"`{type(self).__name__}` does not define `test_dataloader`")

    def predict_dataloader(self) -> Any:
        """Return the loader or loaders to predict on."""
        raise NotImplementedError(f"`{type(self).__name__}` does not define `predict_dataloader`")

    # ------------------------------------------------------------------------------------- batch transfer

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it goes to the device."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device; override it for batches of your own types."""
        return move_data_to_device(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device, such as augmenting it there."""
        return batch

    # -------------------------------------------------------------------------------------- optimization

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """Return the optimizer, or a list where there are several.

        Args:
            use_pl_optimizer: give the trainer's wrappers, whose ``step`` counts and calls the hooks in manual
                optimization; ``False`` gives the bare optimizers.

        Raises:
            RuntimeError: no trainer runs this module.
        """
        bare = self.trainer.optimizers
        optimizers = (self._optimizer_wrappers if use_pl_optimizer else ()) or bare
        return optimizers[0] if len(optimizers) == 1 else list(optimizers)

    def lr_schedulers(self) -> Any:
        """Return the scheduler, a list where there are several, or ``None``."""
        schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        return None if not schedulers else schedulers[0] if len(schedulers) == 1 else schedulers

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run backward in manual optimization, with the precision's loss scaling and all hooks."""
        self.trainer.manual_backward(loss, *args, **kwargs)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients of the loss."""
        loss.backward(*args, **kwargs)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
        *old: Any,
        **flags: Any,
    ) -> None:
        """Step the optimizer; ``optimizer_closure`` runs ``training_step``, zeroes gradients and runs backward.

        Programs of earlier versions pass the optimizer's number before the closure, and flags after it.
        """
        optimizer.step(closure=old[0] if old else optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear the gradients."""
        optimizer.zero_grad()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients as the trainer's arguments say; override it to clip in another way."""
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of an optimizer's parameters by their norm or by value."""
        self.trainer.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a scheduler; ``metric`` is the monitored value, ``None`` for schedulers that take none."""
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    def toggle_optimizer(self, optimizer: Any) -> None:
        """Let only this optimizer's parameters require gradients, until :meth:`untoggle_optimizer`."""
        self.trainer.toggle_optimizer(getattr(optimizer, "optimizer", optimizer))

    def untoggle_optimizer(self, optimizer: Any) -> None:
        """Let the parameters of all other optimizers require gradients again, those that did before."""
        self.trainer.untoggle_optimizer(getattr(optimizer, "optimizer", optimizer))

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Iterator[None]:
        """Let only this optimizer's parameters require gradients inside the block."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Gather tensors of all processes; all of them must call it.

        Args:
            data: a tensor, a number, an array, or lists, tuples, mappings and dataclass objects that hold some.
            group: the processes that take part; all by default.
            sync_grads: let gradients flow back to the process that each tensor came from.

        Returns:
            ``data`` with each tensor, number and array as a tensor on this module's device, with the processes as
            first dimension, shape ``(world_size, ...)``; without that dimension where there is one process only.
        """
        if isinstance(data, Tensor):
            tensor = data.to(self.device)
        elif isinstance(data, (bool, int, float)):
            dtype = torch.uint8 if isinstance(data, bool) else torch.int if isinstance(data, int) else torch.float
            tensor = torch.tensor(data, dtype=dtype, device=self.device)
        elif isinstance(data, np.ndarray):
            tensor = torch.from_numpy(data).to(self.device)
        else:
            return rebuilt(data, lambda item: self.all_gather(item, group, sync_grads))
        return self.trainer.strategy.all_gather(tensor, group=group, sync_grads=sync_grads)

    # --------------------------------------------------------------------------------------------- hooks

    def on_fit_start(self) -> None:
        """Run when ``fit`` begins, after ``setup``."""

    def on_fit_end(self) -> None:
        """Run when ``fit`` ends."""

    def on_train_start(self) -> None:
        """Run when training begins, after the sanity check."""

    def on_train_end(self) -> None:
        """Run when training ends."""

    def on_train_epoch_start(self) -> None:
        """Run when a training epoch begins."""

    def on_train_epoch_end(self) -> None:
        """Run when a training epoch ends, after its validation."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Run before ``training_step``; return -1 to skip the rest of the epoch."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Run after the optimizer step; ``outputs`` is what ``training_step`` returned, as a dict."""

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """Run before the gradients are cleared."""

    def on_before_backward(self, loss: Tensor) -> None:
        """Run before ``loss.backward()``."""

    def on_after_backward(self) -> None:
        """Run after ``loss.backward()``, before the optimizer steps."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Run before the optimizer steps, with the gradients not yet clipped."""

    def on_validation_start(self) -> None:
        """Run when validation begins."""

    def on_validation_end(self) -> None:
        """Run when validation ends."""

    def on_validation_epoch_start(self) -> None:
        """Run when a validation epoch begins."""

    def on_validation_epoch_end(self) -> None:
        """Run when all validation batches are done."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run before ``validation_step``."""

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run after ``validation_step``."""

    def on_validation_model_eval(self) -> None:
        """Put the module in evaluation mode before validation."""
        self.eval()

    def on_validation_model_train(self) -> None:
        """Put the module back into training mode; by default every submodule gets the mode that it had."""
        self.train()  # for those who override this and call it; the loop restores the modes where nobody does

    def on_validation_model_zero_grad(self) -> None:
        """Free the gradients' memory before validation inside training."""
        self.zero_grad()

    def on_test_start(self) -> None:
        """Run when testing begins."""

    def on_test_end(self) -> None:
        """Run when testing ends."""

    def on_test_epoch_start(self) -> None:
        """Run when a test epoch begins."""

    def on_test_epoch_end(self) -> None:
        """Run when all test batches are done."""

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run before ``test_step``."""

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run after ``test_step``."""

    def on_test_model_eval(self) -> None:
        """Put the module in evaluation mode before testing."""
        self.eval()

    def on_test_model_train(self) -> None:
        """Put the module back after testing; by default every submodule gets the mode that it had."""
        self.train()

    def on_predict_start(self) -> None:
        """Run when prediction begins."""

    def on_predict_end(self) -> None:
        """Run when prediction ends."""

    def on_predict_epoch_start(self) -> None:
        """Run when a prediction epoch begins."""

    def on_predict_epoch_end(self) -> None:
        """Run when all batches are predicted."""

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run before ``predict_step``."""

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run after ``predict_step``."""

    def on_predict_model_eval(self) -> None:
        """Put the module in evaluation mode before prediction."""
        self.eval()

    # ------------------------------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to or change a checkpoint before it is written."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Look at a checkpoint after it was read, before anything is restored from it."""

    @class_only
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | os.PathLike[str] | IO[bytes],
        map_location: Any = None,
        hparams_file: str | os.PathLike[str] | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a module of this class with a checkpoint's hyper-parameters and weights; call it on the class.

        Args:
            checkpoint_path: the file: a path, a URL that fsspec knows, or one that is open for reading.
            map_location: where its tensors and the module go, as in ``torch.load``; by default where they were saved,
                or the CPU where that device is not here.
            hparams_file: a YAML or CSV file whose hyper-parameters stand in for the checkpoint's.
            strict: whether the keys must match exactly; ``strict_loading`` by default.
            weights_only: ``False`` unpickles anything, which can run code: only for files that you trust.
            kwargs: arguments of ``__init__`` that win over the checkpoint's.

        Returns:
            The module, in training mode. ``configure_model`` was called, where it is defined.

        Raises:
            CheckpointError: the file cannot be read, its weights are not this class's, or it keeps an argument as an
                object that only trusted loading can make.
            MisconfigurationException: ``__init__`` needs an argument that neither the file nor ``kwargs`` has, or
                ``kwargs`` has one that it does not take.
            TypeError: it was called on an object.
        """
        from fulmen.checkpoint.loading import load_module

        return load_module(cls, checkpoint_path, map_location, hparams_file, strict, weights_only, kwargs)

    # ------------------------------------------------------------------------------------------------ other

    def freeze(self) -> Self:
        """Stop all gradients and put the module in evaluation mode; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        return self.eval()

    def unfreeze(self) -> Self:
        """Let all parameters require gradients and put the module in training mode; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = True
        return self.train()

    # ----------------------------------------------------------------------------------------------- export

    def to_onnx(
        self,
        file_path: str | os.PathLike[str] | IO[bytes] | None = None,
        input_sample: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Export ``forward`` to ONNX, in evaluation mode.

        Args:
            file_path: where to write it: a path or a file open for writing; ``None`` to write nothing.
            input_sample: an argument of ``forward``, a tuple of them, or a dict of keyword arguments; by default
                ``example_input_array``.
            kwargs: arguments of ``torch.onnx.export``.

        Returns:
            The ``torch.onnx.ONNXProgram``; ``None`` with ``dynamo=False``.

        Raises:
            MissingPackageError: onnx or onnxscript is not installed.
            MisconfigurationException: there is no input.
        """
        from fulmen.export import to_onnx

        return to_onnx(self, file_path, input_sample, **kwargs)

    def to_exported_program(
        self,
        file_path: str | os.PathLike[str] | IO[bytes] | None = None,
        input_sample: Any = None,
        **kwargs: Any,
    ) -> torch.export.ExportedProgram:
        """Export ``forward`` with ``torch.export``, in evaluation mode.

        Args:
            file_path: where to write it, ``.pt2`` by custom: a path, a URL that fsspec knows, or a file open for
                writing; ``None`` to write nothing. ``torch.export.load`` reads it.
            input_sample: an argument of ``forward``, a tuple of them, or a dict of keyword arguments; by default
                ``example_input_array``.
            kwargs: arguments of ``torch.export.export``, such as ``dynamic_shapes``.

        Raises:
            MisconfigurationException: there is no input.
        """
        from fulmen.export import to_exported_program

        program: torch.export.ExportedProgram = to_exported_program(self, file_path, input_sample, **kwargs)
        return program

    def to_torchscript(
        self,
        file_path: str | os.PathLike[str] | IO[bytes] | None = None,
        method: str | None = "script",
        example_inputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Turn ``forward`` into TorchScript, in evaluation mode. Deprecated by torch: :meth:`to_exported_program`.

        Args:
            file_path: where to write it: a path, a URL that fsspec knows, or a file open for writing.
            method: ``"script"`` compiles the code, ``"trace"`` records one call.
            example_inputs: what to trace with: an argument of ``forward``, a tuple of them, or a dict of keyword
                arguments; by default ``example_input_array``.
            kwargs: arguments of ``torch.jit.script`` or ``torch.jit.trace``.

        Returns:
            The ``torch.jit.ScriptModule``.

        Raises:
            MisconfigurationException: ``method`` is another word, or there is no input to trace with.
        """
        rank_zero_deprecation(
            "`to_torchscript`: torch has deprecated TorchScript; use `to_exported_program`, which `torch.export.load` "
            "reads",
            stacklevel=2,
        )
        from fulmen.export import to_torchscript

        return to_torchscript(self, file_path, method, example_inputs, **kwargs)

    def to_tensorrt(
        self,
        file_path: str | os.PathLike[str] | IO[bytes] | None = None,
        input_sample: Any = None,
        ir: str = "default",
        output_format: str = "exported_program",
        retrace: bool = False,
        default_device: str | torch.device = "cuda",
        **compile_kwargs: Any,
    ) -> Any:
        """Compile ``forward`` with TensorRT, in evaluation mode, on a CUDA device.

        Args:
            file_path: where to write it; ``None`` to write nothing.
            input_sample: an argument of ``forward``, a tuple of them, or a dict of keyword arguments; by default
                ``example_input_array``.
            ir: how torch_tensorrt gets at the computation: ``"default"``, ``"dynamo"`` or ``"ts"``.
            output_format: what is written: ``"exported_program"``, or ``"torchscript"``, which ``ir="ts"`` needs.
            retrace: export the compiled module anew as it is written.
            default_device: where a module that is on no CUDA device goes for the time of it.
            compile_kwargs: arguments of ``torch_tensorrt.compile``.

        Returns:
            What ``torch_tensorrt.compile`` returns.

        Raises:
            MissingPackageError: torch_tensorrt is not installed.
            MisconfigurationException: there is no CUDA device or no input, or the formats do not go together.
        """
        from fulmen.export import to_tensorrt

        return to_tensorrt(self, file_path, input_sample, ir, output_format, retrace, default_device, **compile_kwargs)


def _is_asked_by_torchscript() -> bool:
    """Whether TorchScript, which looks at each attribute of a module and stops at an error, asks for a property."""
    name: str = sys._getframe(2).f_globals.get("__name__", "")
    return name.startswith(("torch.jit.", "torch._jit_internal"))


_PROPERTIES = [name for name, _ in inspect.getmembers(LightningModule, lambda member: isinstance(member, property))]
#: what TorchScript must not compile: our properties, and attributes that it could give no type
LightningModule.__jit_unused_properties__ = _PROPERTIES  # type: ignore[attr-defined]
LightningModule.__jit_ignored_attributes__ = [  # type: ignore[attr-defined]
    *_PROPERTIES,
    *LightningModule.__annotations__,
    *HyperparametersMixin.__annotations__,
    "_hparams",
    "_hparams_initial",
    "_stand_in_tensor",
]


def _warn_no_trainer(name: str) -> None:
    advise(
        "FUL019",
        f"`self.log({name!r}, ...)` was called outside of a Trainer's run; nothing was logged: run the module with a "
        "Trainer, or log inside its steps",
    )


def require_scalar_loss(loss: Any, name: str) -> None:
    """Raise for a loss that backward could not use.

    Raises:
        MisconfigurationException: it is no tensor, has several elements, or has no graph.
    """
    if not isinstance(loss, Tensor):
        raise MisconfigurationException(
            f"`{name}` must return a loss tensor, a dict with one as 'loss', or None, but returned a "
            f"{type(loss).__name__}: {loss!r:.80}"
        )
    if loss.numel() != 1:
        raise MisconfigurationException(
            f"`{name}` returned a loss of shape {tuple(loss.shape)}, but a loss is one number; return `loss.mean()`"
        )
    if not loss.requires_grad:
        raise MisconfigurationException(
            f"`{name}` returned a loss that needs no gradient (value {float(loss):.6g}): it does not depend on any "
            "parameter that requires one; check for `.detach()`, `.item()`, `torch.no_grad()` or frozen parameters"
        )
