"""Trainer: options in, entry points, read-only state. It composes the parts of a run and computes nothing itself.

This file is longer than 400 lines because it is the list of all arguments, entry points and properties that users know,
each with its meaning.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import functools
import inspect
import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen import defaults, preflight
from fulmen.advice import advise
from fulmen.callback import AccumulationSchedule, Callback, Checkpoint, ProgressBar
from fulmen.checkpoint.random_state import set_random_state
from fulmen.checkpoint.training_state import (
    RunParts,
    collect,
    restore_callbacks,
    restore_training,
    restore_weights,
)
from fulmen.compilation import compile_in_place, compile_options, uncompiled
from fulmen.data.combined import is_collection
from fulmen.data.dataloader_iter import check_dataloader_iter, takes_dataloader_iter
from fulmen.data.loaders import LoaderSource
from fulmen.data.preparation import Prepare, overrides_transfer, preparation
from fulmen.datamodule import LightningDataModule
from fulmen.errors import MisconfigurationException
from fulmen.graph import Graph
from fulmen.hardware.accelerators import Accelerator
from fulmen.hardware.empty_init import EmptyInit
from fulmen.hardware.precision import Precision
from fulmen.hardware.strategies.single_device import SingleDeviceStrategy
from fulmen.hooks import HookTable, check_hook_names, is_overridden, taking
from fulmen.hyperparameters import merged_hyperparameters
from fulmen.logged import LoggedMetrics
from fulmen.logger import FolderLogger, Logger, allocate_version
from fulmen.loop_views import FitLoopView
from fulmen.loops.evaluate import EvaluationLoop
from fulmen.loops.fit import FitLoop
from fulmen.loops.optimization import Optimization, clip_gradients
from fulmen.loops.predict import PredictionLoop
from fulmen.loops.turns import Turns
from fulmen.module import LightningModule
from fulmen.optimizers import SchedulerConfig, is_named, named_optimizers, parse_optimizers
from fulmen.options import Clipping, Debugging, Limits, Schedule, from_environment
from fulmen.profilers.profiler import NO_PROFILER, NoProfiler, Profiler, action_of, make_profiler
from fulmen.progress import Progress
from fulmen.rank import rank_zero_deprecation, rank_zero_info, rank_zero_warn
from fulmen.results import Results
from fulmen.results_table import print_results
from fulmen.seed import isolate_rng
from fulmen.signals import ending_between_batches, is_interactive
from fulmen.state import RunningStage, TrainerFn, TrainerState, TrainerStatus
from fulmen.tracking.no_run import DummyLogger, NoRun
from fulmen.tracking.run import Run, is_written_elsewhere

#: ``legacy.import_paths`` finds the field's paths below this one, such as ``fulmen.trainer.states``
__path__: list[str] = []

_log = logging.getLogger("fulmen")
_STAGES = {TrainerFn.VALIDATING: "validation", TrainerFn.TESTING: "test"}


class Trainer:
    """Runs a ``LightningModule``: training, validation, testing and prediction.

    All arguments are keywords; each can also be set by an environment variable, ``FULMEN_TRAINER_MAX_EPOCHS=3``
    (``PL_TRAINER_...`` works too), which counts where the program leaves the argument at its default.

    Args:
        accelerator: ``"auto"``, ``"cpu"``, ``"gpu"``, ``"cuda"`` or ``"mps"``, or an ``Accelerator``.
        strategy: ``"auto"`` or ``"single_device"``: one process on one device.
        devices: a count, a list of indices, ``-1`` or ``"auto"`` for all that there are.
        num_nodes: machines that train together.
        precision: ``"32-true"`` (default), ``"64-true"``, ``"16-mixed"``, ``"bf16-mixed"``, ``"16-true"``,
            ``"bf16-true"``.
        logger: ``True`` for TensorBoard if it is installed and CSV otherwise, ``False`` for none, a name such as
            ``"wandb"``, a ``Logger``, or a list of names and loggers. The environment's ``FULMEN_LOGGER`` overrides it.
        callbacks: a callback or a list of them; a name of an installed one is accepted as well.
        fast_dev_run: run this many batches of everything (``True``: 1) and write nothing, to see whether it runs.
        max_epochs: stop after so many epochs; 1000 if no limit is given, -1 for none.
        min_epochs: train at least so many.
        max_steps: stop after so many optimizer steps; -1 for no limit.
        min_steps: take at least so many.
        max_time: stop after this time: ``"DD:HH:MM:SS"``, a ``timedelta``, or a dict of its arguments.
        limit_train_batches: use so many batches (whole number) or this fraction of them (0.0 to 1.0) an epoch.
        limit_val_batches: the same for validation.
        limit_test_batches: the same for testing.
        limit_predict_batches: the same for prediction.
        overfit_batches: train and validate on so many, always the same, to see whether the model can learn at all.
        val_check_interval: validate after so many training batches, this fraction of an epoch, or this time.
        check_val_every_n_epoch: validate in every n-th epoch; ``None`` counts batches across epochs.
        num_sanity_val_steps: validation batches tried before training; -1 for all.
        log_every_n_steps: steps between two records of what ``self.log`` got; 0 for the ends of epochs only.
        enable_checkpointing: save checkpoints, by a ``ModelCheckpoint`` if ``callbacks`` has none.
        enable_progress_bar: show a progress bar.
        enable_model_summary: print the model's layers when ``fit`` begins.
        accumulate_grad_batches: batches whose gradients make one optimizer step.
        gradient_clip_val: clip gradients to this; ``None`` for not at all.
        gradient_clip_algorithm: ``"norm"`` (default) or ``"value"``.
        deterministic: use deterministic algorithms; ``"warn"`` only warns where there is none.
        benchmark: let cuDNN search for the fastest algorithm.
        inference_mode: evaluate under ``torch.inference_mode``; ``False`` for ``torch.no_grad``, under which
            validation inside ``fit`` always runs.
        use_distributed_sampler: give each process its part of the data.
        profiler: measure where time goes: ``"simple"``, ``"advanced"``, ``"pytorch"``, ``"xla"``, or a ``Profiler``.
        detect_anomaly: let autograd name the operation that made a NaN; slow.
        compile: fit through ``torch.compile``: the module's ``forward`` and its parts are compiled in place; a dict
            holds arguments of ``torch.compile``, such as ``{"mode": "max-autotune"}``.
        barebones: switch off everything that costs time, to measure the bare loop.
        plugins: parts of your own, one or a list: a ``Precision`` (in place of ``precision``), a ``CheckpointIO``.
        sync_batchnorm: share batch statistics between processes.
        reload_dataloaders_every_n_epochs: ask for the loaders anew every n epochs; 0 for never.
        default_root_dir: the folder below which runs lie; the working directory by default.
        enable_autolog_hparams: send ``save_hyperparameters`` of module and data module to the loggers.
        finish_timeout: seconds to wait at the end of an entry point for slow trackers; what they do not have by then
            is in the run's journal.

    Raises:
        MisconfigurationException: an argument has a value that cannot work; the message names the fix.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: Any = "auto",
        devices: int | str | list[int] = "auto",
        num_nodes: int = 1,
        precision: int | str | None = None,
        logger: bool | str | Logger | Iterable[str | Logger] | None = None,
        callbacks: str | Callback | Sequence[str | Callback] | None = None,
        fast_dev_run: bool | int = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | dict[str, int] | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | str | timedelta | dict[str, int] | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | str | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        profiler: str | Profiler | None = None,
        detect_anomaly: bool = False,
        compile: bool | dict[str, Any] = False,
        barebones: bool = False,
        plugins: Any = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        default_root_dir: str | os.PathLike[str] | None = None,
        enable_autolog_hparams: bool = True,
        finish_timeout: float = 30.0,
        **old: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "old")}
        from fulmen.legacy import seam  # programs of earlier versions; imported here to keep `import fulmen` short

        given, self._carried = seam.modern_arguments(given, old)
        parameters = inspect.signature(Trainer.__init__).parameters
        option = {name: from_environment(name, value, parameters[name].default) for name, value in given.items()}
        self._debugging = Debugging.of(
            option["fast_dev_run"],
            option["overfit_batches"],
            detect_anomaly=option["detect_anomaly"],
            barebones=option["barebones"],
            deterministic=option["deterministic"],
            benchmark=option["benchmark"],
            inference_mode=option["inference_mode"],
        )
        defaults.apply_debugging(option, self._debugging)
        self._limits = Limits.of(
            option["limit_train_batches"],
            option["limit_val_batches"],
            option["limit_test_batches"],
            option["limit_predict_batches"],
            option["overfit_batches"],
            option["num_sanity_val_steps"],
        )
        self._schedule = Schedule.of(
            **{name: option[name] for name in inspect.signature(Schedule.of).parameters if name in option}
        )
        self._compile_options = compile_options(option["compile"])
        self._clipping = Clipping.of(option["gradient_clip_val"], option["gradient_clip_algorithm"])
        kind = option["accelerator"]
        self._accelerator = kind if isinstance(kind, Accelerator) else Accelerator(kind, option["devices"])
        defaults.check_single_process(option, self._accelerator)
        own = option["strategy"] if isinstance(option["strategy"], SingleDeviceStrategy) else None
        self._strategy = own or SingleDeviceStrategy(self._accelerator.root_device)
        self._precision, self._checkpoint_io = defaults.make_plugins(
            option["plugins"], option["precision"], self._strategy.root_device.type
        )
        self._default_root_dir = os.fspath(option["default_root_dir"] or os.getcwd())
        self._finish_timeout_s = float(option["finish_timeout"])
        self._autolog_hparams: bool = option["enable_autolog_hparams"]
        defaults.apply_determinism(self._debugging)

        #: what measures this trainer's runs; ``with trainer.profiler.profile("my part"):`` adds to its report
        self.profiler = make_profiler(option["profiler"])
        self.state = TrainerState()
        self._progress = Progress()
        self._logged = LoggedMetrics(self._progress, self._schedule.log_every_n_steps, self._debugging.barebones)
        self._loggers = defaults.make_loggers(option["logger"], self._default_root_dir, self._debugging)
        self._callbacks = defaults.make_callbacks(option, self._debugging)
        self._run: Run | None = None
        self._close_run: Any = None  # closes the run when nobody uses this trainer any more
        self._folder: Path | None = None
        self._module: LightningModule | None = None
        self._datamodule: LightningDataModule | None = None
        self._optimizers: list[Optimizer] = []
        self._schedulers: list[SchedulerConfig] = []
        self._hooks: HookTable | None = None
        self._results: Results | None = None
        self._optimization: Optimization | Turns | None = None
        self._fit_loop: FitLoop | None = None
        self._evaluation: EvaluationLoop | None = None
        self._prediction: PredictionLoop | None = None
        self._ckpt_path: str | None = None
        self._adapted = seam.Adapted()
        seam.tell_of_init(self, self._callbacks)

    # -------------------------------------------------------------------------------------- entry points

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
        **old: Any,
    ) -> None:
        """Train a module.

        Args:
            model: what trains.
            train_dataloaders: a loader of batches, or several in lists and dicts; a data module is accepted too.
            val_dataloaders: a loader or several to validate on.
            datamodule: the data, in place of loaders.
            ckpt_path: continue from this checkpoint: a path, a URL that fsspec knows, ``"best"``, ``"last"``, or
                ``"hpc"`` for the newest that a cluster's job left in ``default_root_dir``.
            weights_only: ``False`` lets the checkpoint run code as it loads: only for files that you trust.

        Raises:
            MisconfigurationException: the module or data lack something; said before training starts.
            CheckpointError: the checkpoint cannot be read.
        """
        if old:
            train_dataloaders = _loaders_of("fit", train_dataloaders, old, "train_dataloader", "train_dataloaders")
        train_dataloaders, datamodule = _split_datamodule(train_dataloaders, datamodule, val_dataloaders)
        with self._entry(TrainerFn.FITTING, model, datamodule):
            self._check_can_fit(train_dataloaders)
            path = self._carried.resume_from if ckpt_path is None else ckpt_path
            if path is None:
                path = next((one.resume_path for one in self.checkpoint_callbacks if one.resume_path), None)
                if path is not None:
                    rank_zero_info("continuing from %s, which a fit left that failed; remove it to start anew", path)
            self._fit(train_dataloaders, val_dataloaders, path, weights_only)

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
        **old: Any,
    ) -> list[dict[str, float]]:
        """Run one pass over the validation loaders.

        Args:
            model: what to validate; by default what was fitted last, with its best checkpoint if there is one.
            dataloaders: the loaders; by default those of the data module or module.
            ckpt_path: take the weights from this checkpoint: a path, ``"best"`` or ``"last"``.
            verbose: print a table of the results.
            datamodule: the data, in place of loaders.
            weights_only: as in :meth:`fit`.

        Returns:
            For each loader, the logged values over the epoch.
        """
        if old:
            dataloaders = _loaders_of("validate", dataloaders, old, "val_dataloaders", "dataloaders")
        return self._evaluate(TrainerFn.VALIDATING, model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
        **old: Any,
    ) -> list[dict[str, float]]:
        """Run one pass over the test loaders; arguments and result are those of :meth:`validate`."""
        if old:
            dataloaders = _loaders_of("test", dataloaders, old, "test_dataloaders", "dataloaders")
        return self._evaluate(TrainerFn.TESTING, model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
    ) -> list[Any] | None:
        """Run ``predict_step`` over the prediction loaders.

        Args:
            model: what predicts; by default what was fitted last, with its best checkpoint if there is one.
            dataloaders: the loaders; by default those of the data module or module.
            datamodule: the data, in place of loaders.
            return_predictions: ``False`` leaves the predictions to callbacks, and saves their memory.
            ckpt_path: take the weights from this checkpoint: a path, ``"best"`` or ``"last"``.
            weights_only: as in :meth:`fit`.

        Returns:
            What ``predict_step`` returned, in order; one list for each loader where there are several.
        """
        dataloaders, datamodule = _split_datamodule(dataloaders, datamodule)
        fitted = model is None
        with self._entry(TrainerFn.PREDICTING, model, datamodule):
            self.state.stage = RunningStage.PREDICTING
            module = self.lightning_module
            self._given_loaders = dataloaders
            source = self._source("predict_dataloader", dataloaders)
            self._check_source(source, "predict")
            self._set_up_module()
            self._load_for_evaluation(ckpt_path, fitted, weights_only)
            self._hooks = HookTable(self, module, self._callbacks, self.profiler)
            limit = self._limits.predict
            loop = PredictionLoop(module, self._hooks, source, self._prepare("predict_step"), self._precision, limit)
            self._prediction = loop
            self._logged.clear()
            loop.set_up()
            if any(callback.reads_batch_indices for callback in self._callbacks):
                loop.note_samples()
            with self._without_gradients():
                predictions = loop.run(keep=return_predictions is not False)
            return None if return_predictions is False else predictions

    # --------------------------------------------------------------------------------- what they share

    @contextmanager
    def _entry(
        self, fn: TrainerFn, model: LightningModule | None, datamodule: LightningDataModule | None
    ) -> Iterator[None]:
        """Begin an entry point; end it well, or with the exception's hooks, and always with a finished record."""
        module = self._module if model is None else uncompiled(model)
        if module is None:
            raise MisconfigurationException(
                f"`Trainer.{fn}` was called without a model, and nothing was fitted yet; pass the module"
            )
        if not isinstance(module, LightningModule):
            raise MisconfigurationException(
                f"`Trainer.{fn}` needs a LightningModule, but got a {type(module).__name__}: {module!r:.80}"
            )
        if datamodule is not None or model is not None:
            self._datamodule = datamodule
        self._module = module
        self.state.fn, self.state.status = fn, TrainerStatus.RUNNING
        self.state.should_stop = False
        self._logged.has_loggers = bool(self._loggers)
        module.trainer = self
        if self._datamodule is not None:
            self._datamodule.trainer = self
        self._add_callbacks_of(module)
        for callback in self._callbacks:
            callback._pl_module = module
        status = "failed"
        try:
            check_hook_names(module, self._callbacks, self._datamodule)
            with ending_between_batches(self.state):
                yield
                self._teardown(fn)
            status, self.state.status = "success", TrainerStatus.FINISHED
        except BaseException as error:
            self.state.status = TrainerStatus.INTERRUPTED
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                status = "interrupted"
            self._tell_of(error)
            if isinstance(error, KeyboardInterrupt) and fn is TrainerFn.FITTING:
                self._say_where_it_stopped()
                if is_interactive():
                    return  # whoever pressed Ctrl-C is there, and goes on with what was trained
            raise
        finally:
            self.state.stage = None
            self.state.inside_batches = False
            self._checkpoint_io.teardown()
            self._adapted.undo()
            self._logged.active = None
            module.__dict__["_results"] = None
            torch.set_grad_enabled(True)
            self._describe_profile()
            if self._run is not None:
                self._run.finalize(status)
                # The trackers' SDKs have hooks of their own for the interpreter's exit; ours must run before them.
                atexit.unregister(self._close_run)
                atexit.register(self._close_run)

    def _say_where_it_stopped(self) -> None:
        saved = defaults.newest_of(self.checkpoint_callbacks)
        continues = f"; fit(..., ckpt_path={saved!r}) continues from what was saved last" if saved else ""
        rank_zero_info("stopped in epoch %d after step %d%s", self.current_epoch, self.global_step, continues)

    def _tell_of(self, error: BaseException) -> None:
        """Run the hooks of an exception; one that fails itself hides neither the first error nor the next hook."""
        module = self.lightning_module
        calls: list[Callable[[], None]] = [
            functools.partial(taking(callback.on_exception, 3), self, module, error) for callback in self._callbacks
        ]
        if self._datamodule is not None:
            calls.append(functools.partial(self._datamodule.on_exception, error))
        if self._fit_loop is not None and self.state.fn is TrainerFn.FITTING:
            calls.insert(0, self._fit_loop.send_due_step)
        for call in calls:
            try:
                call()
            except Exception as another:
                _log.exception("while the run ended with %s: %s", type(error).__name__, another)

    def _fit(
        self,
        train_dataloaders: Any,
        val_dataloaders: Any,
        ckpt_path: str | os.PathLike[str] | None,
        weights_only: bool | None,
    ) -> None:
        module = self.lightning_module
        self.state.stage = RunningStage.TRAINING
        self._given_train_loaders, self._given_val_loaders = train_dataloaders, val_dataloaders
        path, checkpoint = self._read(ckpt_path, weights_only)
        if checkpoint is not None:
            self._continue_run(checkpoint, path)
        self._reset_progress()
        self._set_up_module()
        if checkpoint is not None:
            restore_weights(self._parts(), checkpoint, path)
            restore_callbacks(self._parts(), checkpoint)
        self._configure_optimizers()
        hooks = self._hooks = HookTable(self, module, self._callbacks, self.profiler)
        results = self._results = self._logged.new_results(training=True)
        results.scope = results.scope_of("on_fit_start")
        module.__dict__["_results"] = results
        for hook in hooks.on_fit_start:
            hook()
        self._log_hyperparameters()
        self._log_graph(module)
        loop = self._new_fit_loop(hooks, results)
        self._logged.clear()
        if checkpoint is not None:
            restore_training(self._parts(), checkpoint, path)
        torch.set_grad_enabled(True)
        self._sanity_check(loop)
        loop.set_up()
        if checkpoint is not None:
            ours = checkpoint.get("fulmen") or {}
            loop.resume(ours.get("epoch_random_state"))
            if ours.get("random_state") is not None:
                set_random_state(ours["random_state"])
            del checkpoint, ours
        self.state.stage = RunningStage.TRAINING
        self._preflight(loop)
        with torch.autograd.set_detect_anomaly(self._debugging.detect_anomaly):
            loop.run()
        for hook in hooks.on_fit_end:
            hook()

    def _configure_optimizers(self) -> None:
        module = self.lightning_module
        if self._compile_options is not None:
            compile_in_place(module, self._compile_options)
        self._configured = self._call(module, "configure_optimizers")
        self._optimizers, self._schedulers = parse_optimizers(self._configured, module.automatic_optimization)
        self._check_optimizers(self._takes_turns)
        module.__dict__["_optimizer_wrappers"] = ()  # those of an earlier fit

    @property
    def _takes_turns(self) -> bool:
        return self.lightning_module.automatic_optimization and is_named(self._configured)

    def _new_fit_loop(self, hooks: HookTable, results: Results) -> FitLoop:
        """Return the loop of a fit whose optimizers are configured."""
        module = self.lightning_module
        parts = (module, hooks, results, self._precision, self._clipping, self._progress)
        if self._takes_turns:
            self._optimization = Turns(named_optimizers(self._configured), *parts)
        else:
            self._optimization = Optimization(self._optimizers, *parts)
        self._optimization.accumulate = self._schedule.accumulate_grad_batches
        loop = self._fit_loop = FitLoop(
            module=module,
            hooks=hooks,
            source=self._source("train_dataloader", self._given_train_loaders),
            limit=self._limits.train,
            prepare=self._prepare("training_step"),
            optimization=self._optimization,
            schedulers=self._schedulers,
            validation=self._validation_loop(self._given_val_loaders),
            results=results,
            logged=self._logged,
            schedule=self._schedule,
            debugging=self._debugging,
            progress=self._progress,
            state=self.state,
        )
        loop.run_validation = self._run_validation
        loop.loader_mode = self._carried.loader_mode
        return loop

    def _evaluate(
        self,
        fn: TrainerFn,
        model: LightningModule | None,
        dataloaders: Any,
        ckpt_path: str | os.PathLike[str] | None,
        verbose: bool,
        datamodule: LightningDataModule | None,
        weights_only: bool | None,
    ) -> list[dict[str, float]]:
        dataloaders, datamodule = _split_datamodule(dataloaders, datamodule)
        stage = _STAGES[fn]
        fitted = model is None
        with self._entry(fn, model, datamodule):
            module = self.lightning_module
            self.state.stage = RunningStage(fn.value)
            if not is_overridden(f"{stage}_step", module, LightningModule):
                raise MisconfigurationException(
                    f"`{type(module).__name__}` defines no `{stage}_step`, so there is nothing to {fn}; define "
                    f"`{stage}_step(self, batch, batch_idx)`"
                )
            hook = "val_dataloader" if fn is TrainerFn.VALIDATING else "test_dataloader"
            self._given_loaders = dataloaders
            source = self._source(hook, dataloaders)
            self._check_source(source, fn.value)
            self._set_up_module()
            self._load_for_evaluation(ckpt_path, fitted, weights_only)
            hooks = self._hooks = HookTable(self, module, self._callbacks, self.profiler)
            self._log_hyperparameters()
            loop = self._new_evaluation_loop(hooks, source)
            self._logged.clear()
            loop.set_up()
            if loop.skip:
                return []
            with self._without_gradients():
                outputs = loop.run(epoch=self.current_epoch)
            if verbose and self.is_global_zero:
                print_results(fn.value, outputs, self.print)
            return outputs

    def _new_evaluation_loop(self, hooks: HookTable, source: LoaderSource) -> EvaluationLoop:
        """Return the loop of ``validate`` or ``test``."""
        if self.state.fn is TrainerFn.VALIDATING:
            stage, limit, name = "validation", self._limits.val, "limit_val_batches"
        else:
            stage, limit, name = "test", self._limits.test, "limit_test_batches"
        module = self.lightning_module
        self._evaluation = EvaluationLoop(
            stage, module, hooks, source, self._prepare(f"{stage}_step"), self._precision, self._logged, limit, name
        )
        return self._evaluation

    def _trial(self) -> Trainer:
        """Return a trainer like this one for a tuner to try things on.

        It has counters and values of its own, and neither callbacks nor a run: what it does shows nowhere.
        """
        from fulmen.legacy import seam

        trial = copy.copy(self)
        trial._is_trial = True
        trial.profiler = NO_PROFILER
        trial.state = dataclasses.replace(self.state, should_stop=False)
        trial._progress = copy.copy(self._progress)
        trial._logged = LoggedMetrics(trial._progress, self._schedule.log_every_n_steps, self._debugging.barebones)
        trial._loggers = [DummyLogger()] if self._loggers else []
        trial._callbacks = [one for one in self._callbacks if isinstance(one, seam.OldHooks)]
        trial._run = trial._close_run = None
        trial._optimizers, trial._schedulers = list(self._optimizers), list(self._schedulers)
        trial._hooks = trial._results = trial._optimization = None
        trial._fit_loop = trial._evaluation = trial._prediction = None
        return trial

    _is_trial = False

    def _set_up_module(self) -> None:
        """Run the hooks that come before a loop, in the standard order, and move the module to its device."""
        module, datamodule, fn = self.lightning_module, self._datamodule, str(self.state.fn)
        self._set_up_profiler()
        if datamodule is not None:
            self._call(datamodule, "prepare_data")
        self._call(module, "prepare_data")
        self._open_run()
        if datamodule is not None:
            self._call(datamodule, "setup", fn)
        for callback in self._callbacks:
            self._call(callback, "setup", self, module, fn)
        self._call(module, "setup", fn)
        if is_overridden("configure_sharded_model", module, LightningModule):
            rank_zero_deprecation(
                f"`{type(module).__name__}.configure_sharded_model` still runs, but goes away; name it configure_model"
            )
            self._call(module, "configure_sharded_model")
        if is_overridden("configure_model", module, LightningModule):
            with self.init_module():
                self._call(module, "configure_model")
        module.trainer = self  # also of the modules that these made
        self._accelerator.set_up()
        self._precision.convert_module(module)
        self._strategy.move_module(module)

    def _teardown(self, fn: TrainerFn) -> None:
        module = self.lightning_module
        if self._datamodule is not None:
            self._call(self._datamodule, "teardown", fn.value)
        for callback in self._callbacks:
            self._call(callback, "teardown", self, module, fn.value)
        self._call(module, "teardown", fn.value)

    def _call(self, owner: Any, hook: str, *args: Any) -> Any:
        """Call a hook outside of the loops, for which the ``HookTable`` is built."""
        call = taking(getattr(owner, hook), len(args))
        base = next(cls for cls in (LightningModule, LightningDataModule, Callback) if isinstance(owner, cls))
        if is_overridden(hook, owner, base):
            call = self.profiler.wrap(action_of(owner, hook), call)
        return call(*args)

    def _set_up_profiler(self) -> None:
        if isinstance(self.profiler, NoProfiler):
            return
        self.profiler._lightning_module = weakref.proxy(self.lightning_module)  # type: ignore[assignment]
        rank = self.local_rank if self.world_size > 1 else None
        self.profiler.setup(str(self.state.fn), rank, self.log_dir)
        self._is_profiled = True

    _is_profiled = False

    def _describe_profile(self) -> None:
        """Write the profiler's report, of an entry point that failed too; it is no reason to fail."""
        if self._is_profiled:
            self._is_profiled = False
            try:
                self.profiler.describe()
            except Exception:
                _log.exception("the report of %s could not be written", type(self.profiler).__name__)

    def _sanity_check(self, loop: FitLoop) -> None:
        """Try a few validation batches, so that a mistake in validation shows before an epoch is spent."""
        validation, hooks = loop.validation, self._hooks
        if validation is None or self._limits.sanity_val_steps <= 0:
            return
        assert hooks is not None
        self.state.stage = RunningStage.SANITY_CHECKING
        with isolate_rng(), self._logged.trying():
            for hook in hooks.on_sanity_check_start:
                hook()
            validation.set_up()
            if not validation.skip:
                with self._without_gradients():
                    validation.try_out(self._limits.sanity_val_steps)
            for hook in hooks.on_sanity_check_end:
                hook()

    def _preflight(self, loop: FitLoop) -> None:
        """Say what is known to be wrong before an epoch is spent on it."""
        plan = loop.plan()
        if self._debugging.fast_dev_run or not plan.trains:
            return
        if self._schedule.has_no_limit and not self.early_stopping_callbacks:
            advise(
                "FUL009",
                "none of max_epochs, max_steps and max_time is set, so training ends after 1000 epochs; set one, "
                "max_epochs=-1 for no limit",
            )
        preflight.look_at_device(self._accelerator.kind, self._precision.name)
        validation = loop.validation.results.epoch_keys() if loop.validation is not None else set()
        logged = {*self._logged.callback_metrics, *validation}
        assert self._hooks is not None
        preflight.check_fit(plan, self.lightning_module, self._hooks, self._callbacks, self._schedulers, logged)

    def _run_validation(self, validation: EvaluationLoop) -> None:
        with self._without_gradients():
            validation.run(epoch=self._progress.epoch)

    def _validation_loop(self, val_dataloaders: Any) -> EvaluationLoop | None:
        module = self.lightning_module
        source = self._source("val_dataloader", val_dataloaders)
        has_step = is_overridden("validation_step", module, LightningModule)
        if self._limits.val == 0:
            return None
        if has_step != source.is_defined:
            there, missing = (
                ("validation_step", "val_dataloader") if has_step else ("val_dataloader", "validation_step")
            )
            advise("FUL010", f"there is a `{there}` but no `{missing}`, so nothing is validated; define both or none")
        if not (has_step and source.is_defined):
            return None
        hooks = self._hooks
        assert hooks is not None
        return EvaluationLoop(
            "validation",
            module,
            hooks,
            source,
            self._prepare("validation_step"),
            self._precision,
            self._logged,
            self._limits.val,
            "limit_val_batches",
        )

    def _without_gradients(self) -> Any:
        # Inside fit, a tensor that validation makes and keeps must still be good for training afterwards.
        fits = self.state.fn is TrainerFn.FITTING
        return torch.inference_mode() if self._debugging.inference_mode and not fits else torch.no_grad()

    def _prepare(self, step: str) -> Prepare | None:
        """Return what brings a batch to a step; ``None`` where nothing does, or the step fetches by itself."""
        if takes_dataloader_iter(getattr(self.lightning_module, step)):
            overridden = overrides_transfer(self.lightning_module, self._datamodule)
            again = step == "training_step" and any(isinstance(one, torch.optim.LBFGS) for one in self._optimizers)
            check_dataloader_iter(step, overridden, again)
            return None
        move = self.profiler.wrap(action_of(self._strategy, "batch_to_device"), self._strategy.batch_to_device)
        return preparation(
            self.lightning_module,
            self._datamodule,
            self._precision.convert_input if self._precision.changes_inputs else None,
            move if self._strategy.moves_batches else None,
            self._strategy.root_device,
            self.profiler,
        )

    def _source(self, hook: str, given: Any) -> LoaderSource:
        module, datamodule = self.lightning_module, self._datamodule
        make: Callable[[], Any] | None = None
        if datamodule is not None and is_overridden(hook, datamodule, LightningDataModule):
            make = functools.partial(self._call, datamodule, hook)
        elif is_overridden(hook, module, LightningModule):
            make = functools.partial(self._call, module, hook)
        overfits = bool(self._debugging.overfit_batches) and self.state.fn is TrainerFn.FITTING
        return LoaderSource(hook, given, make, in_order=overfits)

    def _check_source(self, source: LoaderSource, fn: str) -> None:
        if not source.is_defined:
            raise MisconfigurationException(
                f"`Trainer.{fn}` has no data: pass dataloaders or a datamodule, or define `{source.name}`"
            )

    def _check_can_fit(self, train_dataloaders: Any) -> None:
        module = self.lightning_module
        if not is_overridden("configure_optimizers", module, LightningModule):
            raise _lacks(module, "configure_optimizers", "self")
        if not any(name.startswith("training_step_") for name in dir(module)):  # those of named optimizers
            self._check_training_step()
        self._check_source(self._source("train_dataloader", train_dataloaders), "fit")
        if not module.automatic_optimization and (
            self._clipping.value is not None or self._schedule.accumulate_grad_batches > 1
        ):
            raise MisconfigurationException(
                "`gradient_clip_val` and `accumulate_grad_batches` belong to automatic optimization; with "
                "`self.automatic_optimization = False` clip and accumulate in `training_step`"
            )

    def _check_training_step(self) -> None:
        if not is_overridden("training_step", self.lightning_module, LightningModule):
            raise _lacks(self.lightning_module, "training_step", "self, batch, batch_idx")

    def _check_optimizers(self, in_turns: bool) -> None:
        if in_turns:
            return
        self._check_training_step()
        if self.lightning_module.automatic_optimization and len(self._optimizers) > 1:
            raise MisconfigurationException(
                f"`configure_optimizers` returned {len(self._optimizers)} optimizers without names; return "
                "{'generator': ..., 'critic': ...} and define `training_step_generator` and `training_step_critic`, or "
                "set `self.automatic_optimization = False` and step them in `training_step`"
            )

    def _add_callbacks_of(self, module: LightningModule) -> None:
        """Take the module's own callbacks; one of a type that is there already takes its place."""
        from fulmen.legacy import seam

        own = [] if self._is_trial else _as_list(module.configure_callbacks())
        types = {seam.OldHooks, *(type(callback) for callback in own)}
        kept = [callback for callback in self._callbacks if type(callback) not in types]
        self._adapted, of_old = seam.adapt(self, self._carried, module, [*kept, *own], self._datamodule)
        self._callbacks = sorted([*of_old, *kept, *own], key=lambda callback: callback.run_order)

    def _reset_progress(self) -> None:
        """Start the counters anew for another module; the same module goes on where it stands."""
        if self._fitted_module() is not self._module:
            self._progress.load_state_dict(Progress().state_dict())
        self._fitted = weakref.ref(self.lightning_module)

    _fitted: Callable[[], LightningModule | None] | None = None

    def _fitted_module(self) -> LightningModule | None:
        return self._fitted() if self._fitted is not None else None

    # ------------------------------------------------------------------------------------------ the run

    def _open_run(self) -> None:
        """Open the run's folder and journal, and start delivering to the loggers."""
        is_open = self._run is not None and not self._run.is_closed
        if is_open or not self._loggers or self._debugging.fast_dev_run or not self.is_global_zero or self._is_trial:
            return
        folder = self._run_folder()
        for logger in self._loggers:
            if isinstance(logger, FolderLogger) and type(logger) is not type(self._folder_logger()):
                logger.join(folder)
            if isinstance(logger._recorder, Run):
                logger._recorder.close()  # another trainer's run, which is over now
        self._run = Run(
            folder,
            self._loggers,
            name=self._run_name(),
            version=folder.name,
            finish_timeout_s=self._finish_timeout_s,
            current_step=self._current_step(),
            companions=defaults.companions(self._loggers, folder),
            rewind_to=self._rewind_to,
        )
        self._rewind_to = None
        self._logged.recorder = self._run
        self._close_run = weakref.finalize(self, self._run.close)
        self._close_run.atexit = False  # see `_entry`

    def _continue_run(self, checkpoint: dict[str, Any], path: str) -> None:
        """Go on in the run that a checkpoint is of, where that ended before its time, or where its folder is named."""
        if self._run is not None or not self._loggers or not self.is_global_zero:
            return
        found = defaults.run_of(checkpoint, path)
        if found is None or is_written_elsewhere(found[0]):
            return
        folder, position, has_succeeded = found
        own = self._folder_logger()
        is_named = False
        if not has_succeeded and own is not None:
            own.join(folder)
        if own is not None:
            is_named = own.has_version and Path(own.log_dir).absolute() == folder
        elif not has_succeeded and self._folder is None and self._runs_folder().absolute() == folder.parent:
            self._folder, is_named = folder, True
        if is_named:
            self._rewind_to = position
            rank_zero_info("the run in %s goes on at its record %d", folder, position)

    _rewind_to: int | None = None

    def _current_step(self) -> Callable[[], int]:
        progress = self._progress  # the run outlives the trainer
        return lambda: progress.logging_step

    def _run_folder(self) -> Path:
        """Return the run's folder: that of the first logger which has one, else ``lightning_logs/version_N``."""
        if self._folder is None:
            own = self._folder_logger()
            if own is not None:
                self._folder = Path(own.log_dir)
            else:
                root = self._runs_folder()
                self._folder = root / f"version_{allocate_version(root)}"
        return self._folder

    def _runs_folder(self) -> Path:
        """Return the folder in which this run lies beside others."""
        own = self._folder_logger()
        if own is not None:
            return Path(own.root_dir)
        return Path(self._default_root_dir, "lightning_logs" if self._loggers else "")

    def _folder_logger(self) -> FolderLogger | None:
        return next((logger for logger in self._loggers if isinstance(logger, FolderLogger)), None)

    def _run_name(self) -> str:
        names = [str(logger.name) for logger in self._loggers if logger.name]
        return names[0] if names else "lightning_logs"

    @property
    def recorder(self) -> Any:
        """Where records go: the run, or nowhere where nothing is recorded."""
        return self._run if self._run is not None else _NO_RUN

    @property
    def logging_step(self) -> int:
        """The x-axis of what is logged now."""
        return self._progress.logging_step

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send numbers to every logger now, and show them among ``callback_metrics``.

        For callbacks that measure by themselves, at moments of their own; ``self.log`` is for values of batches.

        Args:
            metrics: key -> number or 0-d tensor that nobody changes any more.
            step: the x-axis; by default where training stands.
        """
        self._logged.send_measured(metrics, self._progress.logging_step if step is None else step)

    def _log_hyperparameters(self) -> None:
        if self._run is None or not self._autolog_hparams:
            return
        owners = [one for one in (self._datamodule, self._module) if one is not None and one._log_hyperparams]
        self._run.log_hyperparams(merged_hyperparameters(owners))

    def _log_graph(self, module: LightningModule) -> None:
        """Show the model to the loggers that want it; a model that cannot be shown is no reason not to train it."""
        wanting = [logger for logger in self._loggers if logger.wants_graph]
        if self._run is None or not wanting or self._run.has_graph:
            return
        try:
            graph = Graph.of(module)
        except Exception as error:
            rank_zero_warn(f"the model's graph is not logged: running it on `example_input_array` raised {error!r}")
            return
        for logger in wanting:
            self._run.log_graph(graph, only=logger)

    # --------------------------------------------------------------------------------------- checkpoints

    def save_checkpoint(
        self, filepath: str | os.PathLike[str], weights_only: bool | None = None, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; the file appears whole or not at all.

        Args:
            filepath: a path, or a URL that fsspec knows.
            weights_only: leave out what only training needs.
            storage_options: a dict of arguments for a URL's file system, such as keys and an endpoint.

        Raises:
            MisconfigurationException: there is nothing to save yet.
            CheckpointError: it cannot be written.
        """
        if self._module is None:
            raise MisconfigurationException("`save_checkpoint` was called before fit; there is no model to save yet")
        self.profiler.wrap("save_checkpoint", self._save)(filepath, weights_only, storage_options)

    def _save(self, filepath: str | os.PathLike[str], weights_only: bool | None, storage_options: Any) -> None:
        # What the checkpoint counts as logged must be on disk first: a resumed run relies on it.
        position = self.recorder.sync()
        results = self.lightning_module._results
        scope = results.scope if results is not None else None
        if results is not None:
            results.scope = results.scope_of("on_save_checkpoint")
        epoch_random_state = self._fit_loop.epoch_random_state if self._fit_loop is not None else None
        run_folder = str(self._run.folder) if self._run is not None else None
        checkpoint = collect(self._parts(), bool(weights_only), epoch_random_state, position, run_folder)
        if results is not None and scope is not None:
            results.scope = scope
        self._checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options)

    def remove_checkpoint(self, filepath: str | os.PathLike[str]) -> None:
        """Remove a checkpoint that this trainer wrote, however it was written."""
        self._checkpoint_io.remove_checkpoint(filepath)

    def _parts(self) -> RunParts:
        return RunParts(
            self,
            self.lightning_module,
            self._datamodule,
            self._callbacks,
            self._optimizers,
            self._schedulers,
            self._precision,
            self._progress,
            self._results,
            self._logged,
        )

    def _read(
        self, ckpt_path: str | os.PathLike[str] | None, weights_only: bool | None
    ) -> tuple[str, dict[str, Any] | None]:
        path = self._resolve(ckpt_path)
        self._ckpt_path = path
        if path is None:
            return "", None
        return path, self._checkpoint_io.load_checkpoint(path, "cpu", weights_only)

    def _resolve(self, ckpt_path: str | os.PathLike[str] | None) -> str | None:
        """Return the path that ``"best"`` and ``"last"`` stand for; other paths as they are."""
        if ckpt_path is None:
            return None
        if not isinstance(ckpt_path, (str, os.PathLike)):
            raise MisconfigurationException(
                f"`ckpt_path` must be a path, 'best', 'last' or 'hpc', but is {ckpt_path!r}"
            )
        path = os.fspath(ckpt_path)
        if path == "hpc":
            return defaults.hpc_checkpoint(self._default_root_dir)
        if path not in ("best", "last"):
            return path
        checkpoints = self.checkpoint_callbacks
        if path == "best":
            if len(checkpoints) > 1:
                advise(
                    "FUL027",
                    f"`ckpt_path='best'`: {len(checkpoints)} callbacks save, and the best of the first that has one is "
                    "taken; pass a callback's `best_model_path` for another",
                )
            found = next((callback.best_model_path for callback in checkpoints if callback.best_model_path), None)
        else:
            found = defaults.last_checkpoint(checkpoints, self._runs_folder())
        if found:
            rank_zero_info("continuing from %s" if path == "last" else "using the weights of %s", found)
            return found
        if path == "last" and self.state.fn is TrainerFn.FITTING:
            advise("FUL028", "`ckpt_path='last'`: no checkpoint was found, so training starts from the beginning")
            return None
        raise MisconfigurationException(
            f"`ckpt_path={path!r}`: no checkpoint was saved yet; pass a path, or fit with a ModelCheckpoint first"
        )

    def _load_for_evaluation(
        self, ckpt_path: str | os.PathLike[str] | None, fitted: bool, weights_only: bool | None
    ) -> None:
        """Load the asked-for weights; without a model and a path, those of the best checkpoint of the last fit."""
        if ckpt_path is None and fitted and any(callback.best_model_path for callback in self.checkpoint_callbacks):
            ckpt_path = "best"
        path, checkpoint = self._read(ckpt_path, weights_only)
        if checkpoint is not None:
            restore_weights(self._parts(), checkpoint, path)
            restore_callbacks(self._parts(), checkpoint)

    @property
    def ckpt_path(self) -> str | None:
        """The checkpoint that the last entry point loaded."""
        return self._ckpt_path

    @ckpt_path.setter
    def ckpt_path(self, path: str | os.PathLike[str] | None) -> None:
        self._ckpt_path = None if path is None else os.fspath(path)

    # ------------------------------------------------------------------------- for modules and callbacks

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """Make tensors on this trainer's device and in its precision inside the block.

        A large model is made where it will train, rather than on the CPU in float32 first:

            with trainer.init_module(empty_init=True):
                model = LargeModel()
            trainer.fit(model, ckpt_path=path)

        Args:
            empty_init: leave the weights as their memory is, which saves time where a checkpoint fills them.
        """
        weights = EmptyInit() if empty_init else nullcontext()
        with torch.device(self._strategy.root_device), self._precision.init_context(), weights:
            yield

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print in the first process only, without breaking the progress bar."""
        if self.is_global_zero:
            bar = self.progress_bar_callback
            (print if bar is None else bar.print)(*args, **kwargs)

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run backward for ``LightningModule.manual_backward``."""
        self._running_optimization("manual_backward").manual_backward(loss, *args, **kwargs)

    def pass_over_training_data(self) -> None:
        """Run ``training_step`` on one more epoch of batches, for what a forward pass leaves behind in the module.

        There are no gradients, no optimizer steps and no hooks, nothing is logged, and random numbers are given back.
        For callbacks that change the weights and need new batch norm statistics.
        """
        if self._fit_loop is None or not self.lightning_module.automatic_optimization:
            raise MisconfigurationException(
                "`pass_over_training_data` needs a fit under way, and a `training_step` that does not step by itself"
            )
        self._fit_loop.pass_over_data()

    def toggle_optimizer(self, optimizer: Optimizer) -> None:
        """Let only this optimizer's parameters require gradients."""
        self._running_optimization("toggle_optimizer").toggle(optimizer)

    def untoggle_optimizer(self, optimizer: Optimizer) -> None:
        """Undo :meth:`toggle_optimizer`."""
        self._running_optimization("untoggle_optimizer").untoggle(optimizer)

    def clip_gradients(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients of an optimizer's parameters; to the trainer's own arguments where none are given."""
        value = self._clipping.value if gradient_clip_val is None else gradient_clip_val
        algorithm = self._clipping.algorithm if gradient_clip_algorithm is None else gradient_clip_algorithm
        clip_gradients(getattr(optimizer, "optimizer", optimizer), value, algorithm)

    def _running_optimization(self, method: str) -> Optimization | Turns:
        if self._optimization is None:
            raise MisconfigurationException(f"`{method}` was called outside of fit; call it in `training_step`")
        return self._optimization

    # ------------------------------------------------------------------------------------------- state

    @property
    def should_stop(self) -> bool:
        """Set it to end training after this batch, once ``min_epochs`` and ``min_steps`` are met."""
        return self.state.should_stop

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self.state.should_stop = value

    @property
    def interrupted(self) -> bool:
        """Whether the last entry point ended by Ctrl-C, a signal or an error."""
        return self.state.status is TrainerStatus.INTERRUPTED

    @property
    def received_sigterm(self) -> bool:
        """Whether the process was asked to end by SIGTERM."""
        return self.state.received_sigterm

    @property
    def training(self) -> bool:
        """Whether a training batch or epoch hook is running."""
        return self.state.stage is RunningStage.TRAINING

    @property
    def sanity_checking(self) -> bool:
        """Whether the validation batches before training are running."""
        return self.state.stage is RunningStage.SANITY_CHECKING

    @property
    def validating(self) -> bool:
        """Whether validation is running."""
        return self.state.stage is RunningStage.VALIDATING

    @property
    def testing(self) -> bool:
        """Whether testing is running."""
        return self.state.stage is RunningStage.TESTING

    @property
    def predicting(self) -> bool:
        """Whether prediction is running."""
        return self.state.stage is RunningStage.PREDICTING

    @property
    def evaluating(self) -> bool:
        """Whether validation, the sanity check or testing is running."""
        return self.validating or self.sanity_checking or self.testing

    @property
    def current_epoch(self) -> int:
        """Epochs completed."""
        return self._progress.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps taken; of the first optimizer where there are several."""
        return self._progress.global_step

    @property
    def max_epochs(self) -> int:
        """The most epochs to train; -1 for no limit."""
        return self._schedule.max_epochs

    @property
    def min_epochs(self) -> int | None:
        """The fewest epochs to train."""
        return self._schedule.min_epochs or None

    @property
    def max_steps(self) -> int:
        """The most optimizer steps to take; -1 for no limit."""
        return self._schedule.max_steps

    @property
    def min_steps(self) -> int | None:
        """The fewest optimizer steps to take."""
        return self._schedule.min_steps or None

    @property
    def is_last_batch(self) -> bool:
        """Whether the training batch under way is the last of its epoch."""
        return self._fit_loop.is_last_batch if self._fit_loop is not None else False

    @property
    def log_every_n_steps(self) -> int:
        """Steps between two log boundaries."""
        return self._schedule.log_every_n_steps

    @property
    def check_val_every_n_epoch(self) -> int | None:
        """Validate in every n-th epoch."""
        return self._schedule.check_val_every_n_epoch

    @property
    def val_check_interval(self) -> int | float:
        """Validate after so many batches, or this fraction of an epoch."""
        return self._schedule.val_check_interval

    @property
    def val_check_batch(self) -> float:
        """Training batches between two validations."""
        return self._fit_loop.val_check_batch if self._fit_loop is not None else float("inf")

    @property
    def reload_dataloaders_every_n_epochs(self) -> int:
        """Ask for the loaders anew every so many epochs; 0 for never."""
        return self._schedule.reload_dataloaders_every_n_epochs

    @property
    def val_check_interval_s(self) -> float | None:
        """Seconds between two validations, where they go by the clock."""
        return self._schedule.val_check_interval_s

    @property
    def accumulate_grad_batches(self) -> int:
        """Batches whose gradients make one optimizer step; callbacks may set it between epochs."""
        return self._optimization.accumulate if self._optimization else self._schedule.accumulate_grad_batches

    @accumulate_grad_batches.setter
    def accumulate_grad_batches(self, value: int) -> None:
        self._running_optimization("accumulate_grad_batches").accumulate = value

    @property
    def gradient_clip_val(self) -> float | None:
        """What gradients are clipped to."""
        return self._clipping.value

    @property
    def gradient_clip_algorithm(self) -> str | None:
        """How gradients are clipped."""
        return self._clipping.algorithm if self._clipping.value is not None else None

    @property
    def fast_dev_run(self) -> int:
        """Batches of a trial run; 0 in a real one."""
        return self._debugging.fast_dev_run

    @property
    def overfit_batches(self) -> int | float:
        """Batches to overfit on."""
        return self._debugging.overfit_batches

    @property
    def barebones(self) -> bool:
        """Whether everything that costs time is off."""
        return self._debugging.barebones

    @property
    def limit_train_batches(self) -> int | float:
        """Batches of training used an epoch."""
        return self._limits.train

    @property
    def limit_val_batches(self) -> int | float:
        """Batches of validation used."""
        return self._limits.val

    @property
    def limit_test_batches(self) -> int | float:
        """Batches of testing used."""
        return self._limits.test

    @property
    def limit_predict_batches(self) -> int | float:
        """Batches of prediction used."""
        return self._limits.predict

    @property
    def num_sanity_val_steps(self) -> float:
        """Validation batches tried before training."""
        return self._limits.sanity_val_steps

    @property
    def num_training_batches(self) -> float:
        """Training batches of an epoch; ``inf`` where the loader has no length."""
        return self._fit_loop.max_batches if self._fit_loop is not None else float("inf")

    @property
    def num_val_batches(self) -> list[float]:
        """Validation batches of each loader."""
        loop = self._evaluation if self.state.fn is TrainerFn.VALIDATING else self._validation
        return list(loop.max_batches) if loop is not None else []

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches of each validation loader that are tried before training."""
        return [min(self._limits.sanity_val_steps, count) for count in self.num_val_batches]

    @property
    def num_test_batches(self) -> list[float]:
        """Test batches of each loader."""
        loop = self._evaluation
        return list(loop.max_batches) if loop is not None and loop.stage == "test" else []

    @property
    def num_predict_batches(self) -> list[float]:
        """Prediction batches of each loader."""
        return list(self._prediction.max_batches) if self._prediction is not None else []

    @property
    def estimated_stepping_batches(self) -> float:
        """Optimizer steps that the whole fit takes, for schedulers; ``inf`` where nobody can know.

        Usable inside ``configure_optimizers``: the training loader is asked for then.
        """
        max_steps, max_epochs = self._schedule.max_steps, self._schedule.max_epochs
        loop = self._fit_loop
        batches = loop.max_batches if loop is not None and loop.loader is not None else self._count_batches()
        changing = next((one for one in self._callbacks if isinstance(one, AccumulationSchedule)), None)
        if max_epochs < 0 or batches == float("inf"):
            steps = float("inf")
        elif changing is None:
            steps = -(-batches // self._schedule.accumulate_grad_batches) * max_epochs
        else:
            steps = sum(-(-batches // changing.get_accumulate_grad_batches(epoch)) for epoch in range(max_epochs))
        steps = min(steps, max_steps) if max_steps >= 0 else steps
        return int(steps) if steps != float("inf") else steps

    def _count_batches(self) -> float:
        from fulmen.data.loaders import combine, limited

        loaders = self._source("train_dataloader", self._given_train_loaders).request()
        combined = combine(loaders, "max_size_cycle")
        try:
            length = float(len(combined))
        except TypeError:
            length = float("inf")
        return limited(length, self._limits.train, "limit_train_batches")

    _given_train_loaders: Any = None
    _given_val_loaders: Any = None
    _given_loaders: Any = None  # to an entry point other than fit
    _configured: Any = None  # what `configure_optimizers` returned

    @property
    def _validation(self) -> EvaluationLoop | None:
        return self._fit_loop.validation if self._fit_loop is not None else None

    @property
    def enable_validation(self) -> bool:
        """Whether fit validates."""
        return self._validation is not None

    @property
    def train_dataloader(self) -> Any:
        """The training loader, once fit has asked for it."""
        loader = self._fit_loop.loader if self._fit_loop is not None else None
        return getattr(loader, "iterables", loader)

    @property
    def val_dataloaders(self) -> Any:
        """The validation loaders, once they were asked for."""
        loop = self._evaluation if self.state.fn is TrainerFn.VALIDATING else self._validation
        return loop.combined.iterables if loop is not None and loop.combined is not None else None

    @property
    def test_dataloaders(self) -> Any:
        """The test loaders, once they were asked for."""
        loop = self._evaluation
        return loop.combined.iterables if loop is not None and loop.combined is not None else None

    @property
    def predict_dataloaders(self) -> Any:
        """The prediction loaders, once they were asked for."""
        loop = self._prediction
        return loop.combined.iterables if loop is not None and loop.combined is not None else None

    @property
    def fit_loop(self) -> FitLoopView:
        """Limits and counters of training, under the names that programs read: ``fit_loop.max_epochs``."""
        return FitLoopView(self)

    @property
    def predict_loop(self) -> PredictionLoop:
        """The loop of the last or present prediction; its ``current_batch_indices`` are for those that write them.

        Raises:
            MisconfigurationException: nothing was predicted yet.
        """
        if self._prediction is None:
            raise MisconfigurationException("`predict_loop` is there only once `predict` was called")
        return self._prediction

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Key -> newest value of everything logged, as 0-d tensors."""
        return self._logged.callback_metrics

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """Key -> newest value of what loggers get."""
        return self._logged.logged_metrics

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """Key -> newest value of what the progress bar shows."""
        return self._logged.progress_bar_metrics

    # ------------------------------------------------------------------------- programs of earlier versions

    @classmethod
    def add_argparse_args(cls, parent_parser: Any, **kwargs: Any) -> Any:
        """Add options for the Trainer's arguments to a parser, as programs of earlier versions do."""
        from fulmen.legacy import seam

        return seam.add_argparse_args(cls, parent_parser, **kwargs)

    @classmethod
    def from_argparse_args(cls, args: Any, **kwargs: Any) -> Trainer:
        """Make a Trainer of parsed arguments, as programs of earlier versions do."""
        from fulmen.legacy import seam

        return seam.from_argparse_args(cls, args, **kwargs)  # type: ignore[no-any-return]

    @classmethod
    def parse_argparser(cls, arg_parser: Any) -> Any:
        """Return parsed arguments, as programs of earlier versions do."""
        from fulmen.legacy import seam

        return seam.parse_argparser(arg_parser)

    @classmethod
    def default_attributes(cls) -> dict[str, Any]:
        """Return the arguments with their defaults, as programs of earlier versions do."""
        from fulmen.legacy import seam

        return seam.default_attributes(cls)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            from fulmen.legacy import seam

            return seam.trainer_attribute(self, name)

    # ------------------------------------------------------------------------------------------- parts

    @property
    def lightning_module(self) -> LightningModule:
        """The module."""
        assert self._module is not None, "no module yet"
        return self._module

    @property
    def model(self) -> LightningModule | None:
        """The module."""
        return self._module

    @property
    def datamodule(self) -> LightningDataModule | None:
        """The data module, if the data came from one."""
        return self._datamodule

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that ``configure_optimizers`` returned."""
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self._optimizers[:] = optimizers

    @property
    def lr_scheduler_configs(self) -> list[SchedulerConfig]:
        """The schedulers and when they step."""
        return self._schedulers

    @property
    def callbacks(self) -> list[Callback]:
        """All callbacks, in the order in which they run."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: list[Callback]) -> None:
        self._callbacks = sorted(callbacks, key=lambda callback: callback.run_order)

    @property
    def checkpoint_callbacks(self) -> list[Checkpoint]:
        """The callbacks that save."""
        return [callback for callback in self._callbacks if isinstance(callback, Checkpoint)]

    @property
    def checkpoint_callback(self) -> Checkpoint | None:
        """The first callback that keeps the run's checkpoints; else the first that saves."""
        return next(iter(sorted(self.checkpoint_callbacks, key=lambda one: not one.keeps_run)), None)

    @property
    def early_stopping_callbacks(self) -> list[Callback]:
        """The callbacks that stop training early."""
        return [callback for callback in self._callbacks if defaults.is_early_stopping(callback)]

    @property
    def early_stopping_callback(self) -> Callback | None:
        """The first callback that stops training early."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def progress_bar_callback(self) -> ProgressBar | None:
        """The progress bar."""
        return next((callback for callback in self._callbacks if isinstance(callback, ProgressBar)), None)

    @property
    def logger(self) -> Logger | None:
        """The first logger."""
        return self._loggers[0] if self._loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self.loggers = [] if logger is None else [logger]

    @property
    def loggers(self) -> list[Logger]:
        """The loggers."""
        return self._loggers

    @loggers.setter
    def loggers(self, loggers: Sequence[Logger] | None) -> None:
        if self._run is not None:
            self._run.close()
            self._run = self._logged.recorder = self._folder = None
        self._loggers = list(loggers or [])

    @property
    def log_dir(self) -> str:
        """The run's folder; ``default_root_dir`` where nothing is logged."""
        writes = self._loggers and not self.fast_dev_run and not self._is_trial
        return str(self._run_folder()) if writes else self._default_root_dir

    @property
    def default_root_dir(self) -> str:
        """The folder below which runs lie."""
        return self._default_root_dir

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device and which of them are used."""
        return self._accelerator

    @property
    def strategy(self) -> SingleDeviceStrategy:
        """How processes share the work."""
        return self._strategy

    @property
    def precision(self) -> str:
        """The precision's name, such as ``32-true``."""
        return self._precision.name

    @property
    def precision_plugin(self) -> Precision:
        """The precision."""
        return self._precision

    @property
    def scaler(self) -> Any:
        """The gradient scaler of ``16-mixed``; ``None`` otherwise."""
        return self._precision.scaler

    @property
    def is_global_zero(self) -> bool:
        """Whether this process writes, prints and logs."""
        return self._strategy.is_global_zero

    @property
    def global_rank(self) -> int:
        """The rank of this process among all."""
        return self._strategy.global_rank

    @property
    def local_rank(self) -> int:
        """The rank of this process on its machine."""
        return self._strategy.local_rank

    @property
    def node_rank(self) -> int:
        """The rank of this machine."""
        return self._strategy.node_rank

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        return self._strategy.world_size

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any] | None:
        """What a ``DistributedSampler`` needs to give this process its part of the data; ``None`` where it gets all."""
        return None

    @property
    def num_nodes(self) -> int:
        """Machines that train together."""
        return 1

    @property
    def device_ids(self) -> list[int]:
        """The indices of the devices used on this machine."""
        return self._accelerator.indices

    @property
    def num_devices(self) -> int:
        """The number of devices used on this machine."""
        return len(self._accelerator.indices)


_NO_RUN = NoRun()


def _lacks(module: LightningModule, name: str, arguments: str) -> MisconfigurationException:
    return MisconfigurationException(
        f"`{type(module).__name__}` defines no `{name}`, which fit needs; define `{name}({arguments})`"
    )


def _loaders_of(method: str, loaders: Any, old: dict[str, Any], name: str, modern: str) -> Any:
    """Return the loaders that an entry point was given under the name of earlier versions."""
    from fulmen.legacy import seam

    return seam.loaders_of(method, loaders, old, {name: modern})


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _split_datamodule(
    loaders: Any, datamodule: LightningDataModule | None, further: Any = None
) -> tuple[Any, LightningDataModule | None]:
    """Return loaders and data module, where a data module may have been passed in place of loaders."""
    if isinstance(loaders, LightningDataModule):
        loaders, datamodule = None, loaders
    if datamodule is not None and (loaders is not None or further is not None):
        raise MisconfigurationException("both dataloaders and a datamodule were passed; pass one of them")
    if datamodule is not None and not isinstance(datamodule, LightningDataModule):
        raise MisconfigurationException(
            f"`datamodule` must be a LightningDataModule, but is a {type(datamodule).__name__}"
        )
    if is_collection(loaders) and not loaders:
        raise MisconfigurationException("the list of dataloaders is empty; pass at least one")
    return loaders, datamodule
