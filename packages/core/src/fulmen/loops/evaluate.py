"""Evaluation: one pass of validation or testing over all loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from fulmen.data.combined import CombinedLoader, length_of
from fulmen.data.dataloader_iter import ENDED, DataLoaderIter, takes_dataloader_iter
from fulmen.data.loader_advice import look_at_evaluation_loaders
from fulmen.data.loaders import (
    LoaderSource,
    batches,
    check_not_empty,
    combine,
    limited,
    set_epoch,
    with_last_flag,
)
from fulmen.data.preparation import Prepare
from fulmen.hardware.precision import Precision
from fulmen.hooks import HookTable, is_overridden, taking
from fulmen.logged import LoggedMetrics
from fulmen.module import LightningModule
from fulmen.results import to_number


class EvaluationLoop:
    """Runs validation or testing.

    Args:
        stage: ``validation`` or ``test``, the word in the hooks' names.
        module: what is evaluated.
        hooks: which hooks are overridden.
        source: where the loaders come from.
        prepare: brings a batch to the device.
        precision: in which number formats the step computes.
        logged: where values go.
        limit: how many batches of each loader are used.
        limit_name: the Trainer's argument that says so, for messages.
    """

    def __init__(
        self,
        stage: str,
        module: LightningModule,
        hooks: HookTable,
        source: LoaderSource,
        prepare: Prepare | None,
        precision: Precision,
        logged: LoggedMetrics,
        limit: int | float,
        limit_name: str,
    ) -> None:
        self.stage = stage
        self.source = source
        self._module = module
        self._hooks = hooks
        self._prepare = prepare
        self._precision = precision
        self._logged = logged
        self._limit = limit
        self._limit_name = limit_name
        self.results = logged.new_results(training=False)
        self.combined: CombinedLoader | None = None
        #: batches used of each loader
        self.max_batches: list[float] = []
        self.dataloader_idx = 0
        #: batches evaluated in all, per loader: the x-axis of step values
        self._seen: dict[int, int] = {}
        self._modes: list[tuple[Any, bool]] = []

    def set_up(self) -> None:
        """Ask for the loaders, check them, and count their batches."""
        self.results.scope = self.results.scope_of(self.source.name)
        loaders = self.source.request()
        combined = combine(loaders, "sequential")
        self.combined = combined
        for loader in combined.flattened:
            if self._limit != 0:
                check_not_empty(loader, self.source.name)
        self.max_batches = [limited(length_of(loader), self._limit, self._limit_name) for loader in combined.flattened]
        look_at_evaluation_loaders(combined.flattened, self.source.name)

    @property
    def skip(self) -> bool:
        """Whether there is nothing to evaluate."""
        return not any(self.max_batches)

    def try_out(self, most_batches: float) -> None:
        """Evaluate at most so many batches of each loader, as the sanity check does; they count nowhere."""
        self.run(most_batches)
        self._seen.clear()

    def run(self, most_batches: float = float("inf"), epoch: int = 0) -> list[dict[str, float]]:
        """Evaluate all loaders.

        Args:
            most_batches: of each loader, at most this many (the sanity check).
            epoch: told to the samplers.

        Returns:
            For each loader, the logged values over the epoch.
        """
        module, results, logged, stage = self._module, self.results, self._logged, self.stage
        before = logged.active, logged.inside_batches, logged.dataloader_idx
        module.__dict__["_results"] = results
        logged.active, logged.inside_batches, logged.dataloader_idx = results, False, None

        self._enter_evaluation_mode()
        self._call(f"on_{stage}_start")  # in which a BatchSizeFinder may ask for other loaders
        combined = self.combined
        assert combined is not None
        several = combined.mode == "sequential" and len(combined.flattened) > 1
        combined.limits = [min(count, most_batches) for count in self.max_batches]
        self._call(f"on_{stage}_epoch_start")
        for loader in combined.flattened:
            set_epoch(loader, epoch)

        of_loaders = self._run_batches(combined, several)

        logged.inside_batches, logged.dataloader_idx = False, None
        self._call(f"on_{stage}_epoch_end")
        of_epoch = logged.collect(results, on_step=False)
        merged = {key: value for values in reversed(of_loaders) for key, value in values.items()}
        logged.send({**merged, **of_epoch}, logged.step)
        logged.active = None
        self._call(f"on_{stage}_end")
        results.reset()
        self._leave_evaluation_mode()
        logged.active, logged.inside_batches, logged.dataloader_idx = before
        return [{key: to_number(value) for key, value in {**values, **of_epoch}.items()} for values in of_loaders]

    def _run_batches(self, combined: CombinedLoader, several: bool) -> list[dict[str, Any]]:
        """Run every batch; return for each loader what was logged for it over the epoch."""
        results, logged, stage, prepare = self.results, self._logged, self.stage, self._prepare
        start_hooks = getattr(self._hooks, f"on_{stage}_batch_start")
        end_hooks = getattr(self._hooks, f"on_{stage}_batch_end")
        name = f"{stage}_step"
        step = self._precision.around(evaluation_step(getattr(self._module, name), name, several))
        step = self._hooks.of_strategy(name, step)
        fetches = takes_dataloader_iter(getattr(self._module, name))
        if fetches:
            step = DataLoaderIter.ending(step)
        of_loaders: list[dict[str, Any]] = []
        for dataloader_idx, loader in self._loaders(combined):
            scope_idx = dataloader_idx if several else None
            transfer_scope = results.scope_of("on_before_batch_transfer")
            start_scope = results.scope_of(f"on_{stage}_batch_start", scope_idx)
            step_scope = results.scope_of(name, scope_idx)
            end_scope = results.scope_of(f"on_{stage}_batch_end", scope_idx)
            logged.inside_batches, logged.dataloader_idx = True, scope_idx
            self.dataloader_idx = dataloader_idx
            seen = self._seen.get(dataloader_idx, 0)
            batch_idx = -1
            feed: DataLoaderIter | None = None
            if fetches:
                feed = DataLoaderIter(with_last_flag(iter(loader)), results, dataloader_idx=dataloader_idx)
                loader = (one for one, _ in feed.steps())
            for batch_idx, batch in enumerate(loader):
                if prepare is not None:
                    results.scope = transfer_scope
                    batch = prepare(batch, dataloader_idx)
                results.batch = batch
                results.known_batch_size = None
                if start_hooks:
                    results.scope = start_scope
                    shown = batch if feed is None else feed.batch  # that step fetches later: the last one's batch
                    for hook in start_hooks:
                        hook(shown, batch_idx, dataloader_idx)
                results.scope = step_scope
                output = step(batch, batch_idx, dataloader_idx)
                if feed is not None:
                    if output is ENDED:
                        break
                    batch = feed.batch
                if end_hooks:
                    results.scope = end_scope
                    for hook in end_hooks:
                        hook(output, batch, batch_idx, dataloader_idx)
                if results.has_step_values:
                    logged.send_evaluation_step(results.for_logger(True, scope_idx), seen + batch_idx)
            self._seen[dataloader_idx] = seen + batch_idx + 1
            logged.collect(results, on_step=True, dataloader_idx=scope_idx)
            logged.inside_batches = False
            of_loaders.append(logged.collect(results, on_step=False, dataloader_idx=scope_idx))
        results.begin_batch(None)
        return of_loaders

    def _loaders(self, combined: CombinedLoader) -> Iterator[tuple[int, Iterable[Any]]]:
        """Yield each loader's number and its batches, no more than its limit; loaders combined in parallel are one."""
        if combined.mode != "sequential":
            yield 0, self._batches(batch for batch, _, _ in combined)
            return
        for dataloader_idx, (loader, limit) in enumerate(zip(combined.flattened, combined.limits, strict=True)):
            if limit > 0:
                started = self._batches(loader)
                yield dataloader_idx, started if limit == float("inf") else islice(started, int(limit))

    def _batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        action = f"[_EvaluationLoop].{self.source.name.removesuffix('_dataloader')}_next"
        return self._hooks.profiler.wrap_iterator(action, batches(loader, self.source.name))

    def _call(self, hook: str) -> None:
        self.results.scope = self.results.scope_of(hook)
        for call in getattr(self._hooks, hook):
            call()

    def _enter_evaluation_mode(self) -> None:
        module = self._module
        self._modes = [(submodule, submodule.training) for submodule in module.modules()]
        hook = f"on_{self.stage}_model_eval"
        self._hooks.of_module(hook, getattr(module, hook))()

    def _leave_evaluation_mode(self) -> None:
        """Give every submodule the mode that it had, frozen ones in evaluation mode included."""
        module, hook = self._module, f"on_{self.stage}_model_train"
        if is_overridden(hook, module, LightningModule):
            getattr(module, hook)()
        else:
            for submodule, training in self._modes:
                submodule.training = training
        self._modes = []


def evaluation_step(step: Callable[..., Any], name: str, several: bool) -> Callable[[Any, int, int], Any]:
    """Return a step such that it takes batch, batch index and loader index, whichever of them it wants.

    Raises:
        MisconfigurationException: there are several loaders, but the step takes no ``dataloader_idx``.
    """
    import inspect

    from fulmen.errors import MisconfigurationException

    if takes_dataloader_iter(step):
        return lambda dataloader_iter, *_: step(dataloader_iter)
    try:
        parameters = list(inspect.signature(step).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return step if several else lambda batch, batch_idx, _: step(batch, batch_idx)
    takes_index = any(p.name == "dataloader_idx" for p in parameters)
    if several and not takes_index and len(parameters) < 3:
        raise MisconfigurationException(
            f"there are several loaders, so `{name}` must tell them apart: "
            f"define `{name}(self, batch, batch_idx, dataloader_idx=0)`"
        )
    if takes_index and parameters and parameters[-1].name == "dataloader_idx" and len(parameters) == 2:
        return lambda batch, _, dataloader_idx: step(batch, dataloader_idx=dataloader_idx)
    return taking(step, 3)
