"""Training: epochs of batches, with validation, schedulers and log boundaries between them.

``FitLoop.run`` is the whole of it; ``_run_epoch`` is the hot loop. What it calls was resolved before it starts: a hook
that nobody overrides is not there, and nothing in it waits for a device.

This file is longer than 400 lines because a newcomer should find all that decides what happens between two batches in
one place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from fulmen.advice import advise
from fulmen.checkpoint.random_state import get_random_state, set_random_state
from fulmen.data.combined import CombinedLoader, length_of
from fulmen.data.dataloader_iter import ENDED, DataLoaderIter, takes_dataloader_iter
from fulmen.data.loader_advice import LoaderWait, look_at_training_loaders
from fulmen.data.loaders import (
    LoaderSource,
    batches,
    check_not_empty,
    combine,
    counted,
    is_single,
    limited,
    set_epoch,
    with_last_flag,
)
from fulmen.data.preparation import Prepare
from fulmen.errors import MisconfigurationException, nearest
from fulmen.hooks import HookTable
from fulmen.logged import LoggedMetrics
from fulmen.loops.evaluate import EvaluationLoop
from fulmen.loops.optimization import Optimization, outputs_for_hooks
from fulmen.loops.turns import Turns
from fulmen.module import LightningModule
from fulmen.optimizers import SchedulerConfig
from fulmen.options import Debugging, Schedule
from fulmen.preflight import Plan
from fulmen.progress import Progress
from fulmen.results import Results
from fulmen.seed import isolate_rng
from fulmen.state import RunningStage, TrainerState


class FitLoop:
    """Trains a module.

    Args:
        module: what trains.
        hooks: which hooks are overridden.
        source: where the training loader comes from.
        limit: how many batches of it are used.
        prepare: brings a batch to the device.
        optimization: what happens with each batch.
        schedulers: the learning-rate schedulers.
        validation: the loop that validates, ``None`` where there is nothing to validate.
        results: where ``self.log`` of training puts its values.
        logged: where they go from there.
        schedule: when things happen.
        debugging: switches for finding faults.
        progress: the counters.
        state: what the trainer is doing, and whether it was asked to stop.
    """

    def __init__(
        self,
        *,
        module: LightningModule,
        hooks: HookTable,
        source: LoaderSource,
        limit: int | float,
        prepare: Prepare | None,
        optimization: Optimization | Turns,
        schedulers: list[SchedulerConfig],
        validation: EvaluationLoop | None,
        results: Results,
        logged: LoggedMetrics,
        schedule: Schedule,
        debugging: Debugging,
        progress: Progress,
        state: TrainerState,
    ) -> None:
        self._module = module
        self._hooks = hooks
        self._source = source
        self._limit = limit
        self._prepare = prepare
        self._optimization = optimization
        self._schedulers = schedulers
        self.validation = validation
        self._results = results
        self._logged = logged
        self._schedule = schedule
        self._debugging = debugging
        self._progress = progress
        self._state = state
        self.loader: Any = None
        #: how several training loaders become one
        self.loader_mode = "max_size_cycle"
        #: batches of an epoch, ``inf`` where the loader has no length
        self.max_batches: float = 0
        #: batches between validations, ``inf`` for only at the end of an epoch of unknown length
        self.val_check_batch: float = float("inf")
        self.is_last_batch = False
        self._first_iterator: Iterator[Any] | None = None
        self._loader_wait: LoaderWait | None = None
        #: random states when this epoch's iterator was made; a resumed run draws the same batches from them
        self.epoch_random_state: dict[str, Any] | None = None
        self._resuming_inside_epoch = False
        self._ended_early = False
        self._warned_of_none = False
        self._ran_dry = False
        self._started_s = self._last_validation_s = time.monotonic()
        self._step_scheduler = hooks.of_module("lr_scheduler_step", module.lr_scheduler_step)

    # ------------------------------------------------------------------------------------------- set-up

    def set_up(self) -> None:
        """Ask for the training loader, check it, and count its batches."""
        self._results.scope = self._results.scope_of(self._source.name)
        loaders = self._source.request()
        if is_single(loaders):
            if self._limit != 0:
                check_not_empty(loaders, self._source.name)
            self.loader = loaders
            self.max_batches = limited(length_of(loaders), self._limit, "limit_train_batches")
        else:
            combined = combine(loaders, self.loader_mode)
            if combined.mode == "sequential":
                raise MisconfigurationException(
                    "`CombinedLoader(mode='sequential')` cannot be trained on; use min_size, max_size or max_size_cycle"
                )
            if self._limit != 0:
                check_not_empty(combined, self._source.name)
            self.loader = combined
            self.max_batches = limited(length_of(combined), self._limit, "limit_train_batches")
        self._choose_val_check_batch()
        flattened = [self.loader] if is_single(self.loader) else self.loader.flattened
        look_at_training_loaders(
            flattened,
            self._source.name,
            several_epochs=self._schedule.max_epochs != 1,
            reloads=self._schedule.reload_dataloaders_every_n_epochs > 0,
        )
        if self._loader_wait is None:
            self._loader_wait = LoaderWait([] if self._debugging.barebones else flattened, self._source.name)
        if self.validation is not None and self.validation.combined is None:
            self.validation.set_up()

    def _choose_val_check_batch(self) -> None:
        interval = self._schedule.val_check_interval
        if isinstance(interval, int):
            counts_in_epoch = self._schedule.check_val_every_n_epoch is not None
            if interval > self.max_batches and counts_in_epoch and self.validation is not None:
                raise MisconfigurationException(
                    f"`val_check_interval={interval}` is more than the {self.max_batches:.0f} training batches of an "
                    "epoch; use at most that many, check_val_every_n_epoch=None to count across epochs, or "
                    "limit_val_batches=0 to turn validation off"
                )
            self.val_check_batch = interval
        elif self.max_batches == float("inf"):
            if interval != 1.0:
                raise MisconfigurationException(
                    f"`val_check_interval={interval}` is a fraction, but the training loader has no length; use a "
                    "whole number of batches"
                )
            self.val_check_batch = float("inf")
        else:
            self.val_check_batch = max(1, int(self.max_batches * interval))

    def resume(self, epoch_random_state: dict[str, Any] | None) -> None:
        """Continue where the loaded counters stand; called before :meth:`run`."""
        progress = self._progress
        self._resuming_inside_epoch = progress.inside_epoch
        if not progress.inside_epoch:
            self.is_last_batch = not progress.batch_in_epoch < self.max_batches < float("inf")
            progress.batch_in_epoch = 0
        self.epoch_random_state = epoch_random_state if progress.inside_epoch else None

    def plan(self) -> Plan:
        """Return what this fit is about to do, as far as it can be known; called after :meth:`set_up`."""
        schedule, progress, batches = self._schedule, self._progress, self.max_batches
        accumulate = self._optimization.accumulate
        steps = math.ceil(batches / accumulate) if batches != math.inf else batches  # of an epoch, at most
        last_step = schedule.max_steps if schedule.max_steps >= 0 else math.inf
        last_epoch = schedule.max_epochs if schedule.max_epochs >= 0 else math.inf
        if not self._module.automatic_optimization:
            steps = math.inf  # the program steps as often as it likes
        elif steps and math.inf not in (steps, last_step):
            last_epoch = min(last_epoch, progress.epoch + math.ceil((last_step - progress.global_step) / steps))
        if math.inf not in (last_epoch, steps):
            last_step = min(last_step, progress.global_step + (last_epoch - progress.epoch) * steps)
        plan = Plan(
            first_epoch=progress.epoch,
            last_epoch=last_epoch,
            first_step=progress.global_step,
            last_step=last_step,
            batches=batches,
            validates=False,
            seconds=schedule.max_time_s if schedule.max_time_s is not None else math.inf,
            accumulate=accumulate,
        )
        plan.validates = self.validation is not None and not self.validation.skip and self._validates_ever(plan)
        return plan

    def _validates_ever(self, plan: Plan) -> bool:
        every = self._schedule.check_val_every_n_epoch
        if every is not None:
            return plan.has_epoch(every)
        return self._schedule.val_check_interval_s is not None or plan.last_epoch * plan.batches >= self.val_check_batch

    # --------------------------------------------------------------------------------------------- running

    def run(self) -> None:
        """Train until a limit is reached or somebody asks to stop."""
        progress, results, logged = self._progress, self._results, self._logged
        if progress.epochs_trained > progress.epoch:  # resumed from a checkpoint of `on_train_epoch_end`
            self._activate()
            self._finish_epoch()
        if self._is_done() or self.max_batches == 0:
            return
        self._advise_of_evaluation_mode()
        if not self._resuming_inside_epoch:
            # The standard order draws the first epoch's random numbers before `on_train_start`.
            self._first_iterator = self._new_iterator()
        self._activate()
        self._call("on_train_start")
        while not self._is_done():
            for loader in self.loader.flattened if isinstance(self.loader, CombinedLoader) else [self.loader]:
                set_epoch(loader, progress.epoch)
            if not self._resuming_inside_epoch:
                progress.batch_in_epoch = 0
                progress.inside_epoch = True
                self._call("on_train_epoch_start")
            else:
                self._finish_last_batch()
            assert self._loader_wait is not None
            iterator = self._loader_wait.watch(self._iterator_of_epoch())
            self._resuming_inside_epoch = False
            self._hooks.profiler.wrap("run_training_epoch", self._run_epoch)(iterator)
            del iterator  # ends the loader's workers
            if progress.batch_in_epoch == 0 and not self._ended_early:
                self._ran_dry = True
                self._explain_empty_epoch()

            progress.inside_epoch = False
            progress.epochs_trained += 1
            progress.looking_back = min(progress.batches_that_stepped, 1)
            logged.collect(results, on_step=True)
            logged.inside_batches = False
            self._call("on_train_epoch_end")
            self._finish_epoch()
            self._reload_if_due()
        self._advise_of_silence()
        logged.active = None
        self._call("on_train_end")
        results.scope = results.scope_of("on_fit_end")

    def _finish_epoch(self) -> None:
        """Do what comes after ``on_train_epoch_end``: plateau schedulers, the epoch's values, the counter."""
        progress, logged = self._progress, self._logged
        logged.inside_batches = False
        of_epoch = logged.collect(self._results, on_step=False)
        if self.is_last_batch:  # not where somebody asked to stop in the middle
            self._step_schedulers("epoch", plateau=True)
        logged.send(of_epoch, progress.logging_step)
        self._results.reset()
        progress.epoch += 1
        progress.looking_back = 0

    def _run_epoch(self, iterator: Iterator[tuple[Any, bool]]) -> None:
        """Train on the batches of one epoch."""
        progress, results, logged, state, schedule = (
            self._progress,
            self._results,
            self._logged,
            self._state,
            self._schedule,
        )
        start_hooks, end_hooks = self._hooks.on_train_batch_start, self._hooks.on_train_batch_end
        start_scope, end_scope = results.scope_of("on_train_batch_start"), results.scope_of("on_train_batch_end")
        transfer_scope = results.scope_of("on_before_batch_transfer")
        prepare, optimization = self._prepare, self._optimization
        run_batch = self._hooks.profiler.wrap("run_training_batch", optimization.choose())
        log_every = logged.every_n_steps if logged.recorder is not None else 0
        logs_always = bool(self._debugging.fast_dev_run)
        steps_schedulers = any(config.interval == "step" for config in self._schedulers)
        validates = self.validation is not None and self._validates_in(progress.epoch)
        max_steps = schedule.max_steps
        batch_idx = progress.batch_in_epoch
        logged.inside_batches = state.inside_batches = True
        self._ended_early = False
        accumulate = optimization.accumulate
        feed: DataLoaderIter | None = None
        if takes_dataloader_iter(self._module.training_step):
            run_batch = DataLoaderIter.ending(run_batch)
            feed = DataLoaderIter(iterator, results, batch_idx)
            iterator = feed.steps()

        for batch, is_last in iterator:
            self.is_last_batch = is_last
            if prepare is not None:
                results.scope = transfer_scope
                batch = prepare(batch, 0)
            results.batch = batch
            results.known_batch_size = None
            if start_hooks and batch is not None:
                results.scope = start_scope
                shown = batch if feed is None else feed.batch  # that step fetches later: the last one's batch
                if any([hook(shown, batch_idx) == -1 for hook in start_hooks]):  # noqa: C419  every hook must run
                    self._ended_early = self.is_last_batch = True
                    progress.batches += 1
                    self._step_schedulers("epoch", plateau=False)
                    break
            stepping = is_last or optimization.accumulate == 1 or (batch_idx + 1) % optimization.accumulate == 0
            outputs = run_batch(batch, batch_idx, stepping) if batch is not None else None
            if batch is None:
                self._say_skipped()
            if feed is not None:
                if outputs is ENDED:
                    self._step_schedulers("epoch", plateau=False)
                    break
                batch, is_last = feed.batch, feed.done
                self.is_last_batch = is_last

            batch_idx += 1
            progress.batches += 1
            progress.batch_in_epoch = batch_idx
            if stepping:
                progress.batches_that_stepped += 1
                progress.looking_back = 1
                if steps_schedulers:
                    self._step_schedulers("step", plateau=False)
            if is_last:
                self._step_schedulers("epoch", plateau=False)
            if end_hooks:
                results.scope = end_scope
                shown = outputs_for_hooks(outputs, accumulate) if batch is not None else None
                for hook in end_hooks:
                    hook(shown, batch, batch_idx - 1)
            if stepping:
                steps = progress.batches_that_stepped
                if (log_every and steps % log_every == 0) or state.should_stop or logs_always:
                    logged.send_step(results, steps - 1)
                progress.recorded_steps = steps
            if state.interruption is not None:  # here all of the batch is recorded, and a resumed run validates first
                raise state.interruption
            if validates and self._validation_is_due(is_last):
                self._validate(frees_gradients=stepping)
                logged.inside_batches = True
            if stepping:
                if steps_schedulers:
                    self._step_schedulers("step", plateau=True)
                progress.looking_back = 0
                if progress.global_step >= max_steps >= 0:
                    break
            if state.should_stop and self._may_stop():
                break
            if schedule.max_time_s is not None and time.monotonic() - self._started_s > schedule.max_time_s:
                state.should_stop = True
                if self._may_stop():
                    break
        if state.interruption is not None:
            raise state.interruption
        state.inside_batches = False
        results.begin_batch(None)

    def _advise_of_evaluation_mode(self) -> None:
        """Layers with weights that train and yet are in evaluation mode.

        Frozen ones, and batch norms whose statistics shall stay, are in it on purpose.
        """
        layers = [
            name or type(layer).__name__
            for name, layer in self._module.named_modules()
            if not layer.training
            and not isinstance(layer, nn.modules.batchnorm._BatchNorm)
            and any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
        ]
        if layers:
            advise(
                "FUL008",
                f"{len(layers)} layers whose weights train start in evaluation mode: {', '.join(layers[:3])}"
                f"{', ...' if len(layers) > 3 else ''}; call `module.train()` before fit, or freeze their weights",
            )

    def _advise_of_silence(self) -> None:
        """Values were logged by the step, but training ended before the first of them was due."""
        every, steps = self._logged.every_n_steps, self._progress.batches_that_stepped
        is_short = steps < every and not self._state.should_stop and not self._debugging.fast_dev_run
        if is_short and self._logged.recorder is not None and self._results.has_step_values:
            advise(
                "FUL007",
                f"training took {steps} steps, but log_every_n_steps={every}, so no value of a step was sent to the "
                f"loggers; use a smaller Trainer(log_every_n_steps=...), 1 for every step",
            )

    def _explain_empty_epoch(self) -> None:
        text = (
            f"`{self._source.name}` gave no batch in epoch {self._progress.epoch}; a generator or iterator can be gone "
            "through once only: pass a DataLoader, or another iterable that starts anew for each epoch"
        )
        if self._progress.batches == 0:
            raise MisconfigurationException(text)
        advise("FUL032", f"{text}; training ends here")

    def _say_skipped(self) -> None:
        """Say once that a loader gave ``None``, as one does whose samples were all dropped."""
        if not self._warned_of_none:
            self._warned_of_none = True
            advise("FUL033", f"`{self._source.name}` gave None in place of a batch; it is skipped")

    # --------------------------------------------------------------------------------------------- data

    def pass_over_data(self) -> None:
        """Run ``training_step`` on the batches of one more epoch: no gradients, no steps, no hooks, nothing logged.

        What is left of it is what forward passes leave in a module, such as the statistics of batch norms.
        """
        module, before, random_state = self._module, self._module.__dict__["_results"], self.epoch_random_state
        results = module.__dict__["_results"] = self._logged.new_results(training=True)
        with isolate_rng(), torch.no_grad():
            for batch_idx, batch in enumerate(self._new_iterator()):
                if batch_idx >= self.max_batches:
                    break
                if self._prepare is not None:
                    results.scope = results.scope_of("on_before_batch_transfer")
                    batch = self._prepare(batch, 0)
                results.begin_batch(batch)
                results.scope = results.scope_of("training_step")
                if batch is not None:
                    self._optimization.forward(batch, batch_idx)
        module.__dict__["_results"], self.epoch_random_state = before, random_state

    def _new_iterator(self) -> Iterator[Any]:
        self.epoch_random_state = get_random_state()
        loader = self.loader
        if isinstance(loader, CombinedLoader):
            loader = (batch for batch, _, _ in loader)
        return self._hooks.profiler.wrap_iterator(
            "[_TrainingEpochLoop].train_dataloader_next", batches(loader, self._source.name)
        )

    def _iterator_of_epoch(self) -> Iterator[tuple[Any, bool]]:
        """Return the epoch's batches, each with whether it is the last; a resumed epoch goes on at its position."""
        done = self._progress.batch_in_epoch if self._resuming_inside_epoch else 0
        if done >= self.max_batches:
            return iter(())
        if done and self.epoch_random_state is not None:
            now = get_random_state()
            set_random_state(self.epoch_random_state)
            iterator = self._new_iterator()
            for _ in range(done):  # draws what was drawn, so that the rest of the epoch is the same
                next(iterator, None)
            set_random_state(now)
        else:
            if done:
                advise(
                    "FUL034",
                    f"the checkpoint does not say how the loader stood after the {done} batches of this epoch, so the "
                    "rest of the epoch is drawn anew: samples may come twice, or not at all, in this epoch",
                )
            iterator, self._first_iterator = self._first_iterator or self._new_iterator(), None
        if self.max_batches == float("inf"):
            return with_last_flag(iterator)
        return counted(iterator, int(self.max_batches) - done)

    def _reload_if_due(self) -> None:
        every = self._schedule.reload_dataloaders_every_n_epochs
        if every and self._progress.epoch % every == 0 and not self._is_done():
            self.reload()

    def is_of(self, hooks: HookTable | None) -> bool:
        """Whether this loop was built with these hooks: the loop of the fit under way."""
        return self._hooks is hooks

    def reload(self) -> None:
        """Ask for the loaders anew: for every n-th epoch, and where a batch size was changed."""
        self._first_iterator = None
        self.set_up()
        if self.validation is not None:
            self.validation.set_up()

    # ------------------------------------------------------------------------------------------- decisions

    def _is_done(self) -> bool:
        schedule, progress = self._schedule, self._progress
        if progress.global_step >= schedule.max_steps >= 0:
            return True
        if progress.epochs_trained >= schedule.max_epochs >= 0:
            return True
        return self._ran_dry or (self._state.should_stop and self._may_stop())

    def _may_stop(self) -> bool:
        """Whether the minimums are met, so that ``should_stop`` counts."""
        schedule, progress = self._schedule, self._progress
        return progress.epochs_trained >= schedule.min_epochs and progress.global_step >= schedule.min_steps

    def _validates_in(self, epoch: int) -> bool:
        every = self._schedule.check_val_every_n_epoch
        return every is None or (epoch + 1) % every == 0

    def _validation_is_due(self, is_last: bool) -> bool:
        progress = self._progress
        if progress.validated_at_batch == progress.batches:
            return False
        if is_last and self.val_check_batch == float("inf"):
            return True
        if self._state.should_stop and self._may_stop():
            return True
        if self._schedule.val_check_interval_s is not None:
            return time.monotonic() - self._last_validation_s >= self._schedule.val_check_interval_s
        across_epochs = self._schedule.check_val_every_n_epoch is None
        count = progress.batches if across_epochs else progress.batch_in_epoch
        return count % self.val_check_batch == 0

    def _finish_last_batch(self) -> None:
        """Do what comes after ``on_train_batch_end``, where the checkpoint that is resumed from was written in it."""
        progress = self._progress
        self.send_due_step()
        if self.validation is None or not progress.batch_in_epoch or not self._validates_in(progress.epoch):
            return
        if self._validation_is_due(progress.batch_in_epoch >= self.max_batches):
            self._validate(frees_gradients=False)

    def send_due_step(self) -> None:
        """Send what a step logged whose log boundary was reached, but not passed: a hook failed or saved in between."""
        progress, logged = self._progress, self._logged
        steps, every = progress.batches_that_stepped, logged.every_n_steps
        if progress.recorded_steps < steps and every and steps % every == 0:
            logged.send_step(self._results, steps - 1)
            progress.recorded_steps = steps

    def _validate(self, frees_gradients: bool) -> None:
        validation = self.validation
        assert validation is not None
        self._progress.validated_at_batch = self._progress.batches
        self._logged.collect(self._results, on_step=True)
        if frees_gradients:
            self._hooks.of_module("on_validation_model_zero_grad", self._module.on_validation_model_zero_grad)()
        self._state.stage = RunningStage.VALIDATING
        self.run_validation(validation)
        self._state.stage = RunningStage.TRAINING
        self._activate()
        self._last_validation_s = time.monotonic()

    #: runs a validation loop without gradients; the trainer sets it
    run_validation: Callable[[EvaluationLoop], Any]

    # -------------------------------------------------------------------------------------------- the rest

    def _activate(self) -> None:
        """Let ``self.log`` and the trainer's dictionaries look at training."""
        self._module.__dict__["_results"] = self._results
        self._logged.active = self._results

    def _call(self, hook: str) -> None:
        self._results.scope = self._results.scope_of(hook)
        for call in getattr(self._hooks, hook):
            call()

    def _step_schedulers(self, interval: str, plateau: bool) -> None:
        """Step the schedulers of an interval: ordinary ones before validation, plateau ones after it."""
        if not self._module.automatic_optimization:
            return
        position = self._progress.epoch + 1 if interval == "epoch" else self._progress.batch_in_epoch
        for config in self._schedulers:
            if config.interval != interval or config.reduce_on_plateau != plateau or position % config.frequency:
                continue
            if interval == "step" and not self._optimization.stepped_with(config.scheduler):
                continue
            value = None
            if plateau:
                metrics = self._logged.callback_metrics
                value = metrics.get(str(config.monitor))
                if value is None and config.strict:
                    raise MisconfigurationException(
                        f"ReduceLROnPlateau looks at {config.monitor!r}, which was not logged"
                        f"{nearest(str(config.monitor), metrics)}; logged are: {', '.join(metrics) or 'none'}"
                    )
                if value is None:
                    advise(
                        "FUL015",
                        f"ReduceLROnPlateau (strict=False) does nothing, for {config.monitor!r} was not logged"
                        f"{nearest(str(config.monitor), metrics)}",
                    )
                    continue
            self._results.scope = self._results.scope_of("lr_scheduler_step")
            self._step_scheduler(config.scheduler, value)
