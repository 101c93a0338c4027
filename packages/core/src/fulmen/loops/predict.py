"""Prediction: one pass over all loaders that keeps, or hands out, what ``predict_step`` returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fulmen.data.combined import CombinedLoader, length_of
from fulmen.data.dataloader_iter import ENDED, DataLoaderIter, takes_dataloader_iter
from fulmen.data.loader_advice import look_at_evaluation_loaders
from fulmen.data.loaders import (
    LoaderSource,
    NotedBatches,
    batches,
    check_not_empty,
    combine,
    limited,
    noting_samples,
    with_last_flag,
)
from fulmen.data.preparation import Prepare
from fulmen.errors import MisconfigurationException
from fulmen.hardware.precision import Precision
from fulmen.hooks import HookTable
from fulmen.loops.evaluate import evaluation_step
from fulmen.module import LightningModule
from fulmen.results import Results


class PredictionLoop:
    """Runs ``predict_step`` over all loaders.

    Args:
        module: what predicts.
        hooks: which hooks are overridden.
        source: where the loaders come from.
        prepare: brings a batch to the device.
        precision: in which number formats the step computes.
        limit: how many batches of each loader are used.
    """

    def __init__(
        self,
        module: LightningModule,
        hooks: HookTable,
        source: LoaderSource,
        prepare: Prepare | None,
        precision: Precision,
        limit: int | float,
    ) -> None:
        self._module = module
        self._hooks = hooks
        self._prepare = prepare
        self._precision = precision
        self._limit = limit
        self.source = source
        self.combined: CombinedLoader | None = None
        self.max_batches: list[float] = []
        self.batch_idx = 0
        self.dataloader_idx = 0
        self._noted: list[NotedBatches | None] = []
        #: the samples of the batch under way, as indices into its dataset; ``None`` where nobody asked or can know
        self.current_batch_indices: list[int] | None = None
        #: the same for all batches so far, of each loader
        self.epoch_batch_indices: list[list[list[int] | None]] = []

    def set_up(self) -> None:
        """Ask for the loaders, check them, and count their batches."""
        self.combined = combine(self.source.request(), "sequential")
        for loader in self.combined.flattened:
            if self._limit != 0:
                check_not_empty(loader, self.source.name)
        self.max_batches = [
            limited(length_of(loader), self._limit, "limit_predict_batches") for loader in self.combined.flattened
        ]
        look_at_evaluation_loaders(self.combined.flattened, self.source.name)

    def note_samples(self) -> None:
        """Note from now on which samples are in each batch; after :meth:`set_up`."""
        assert self.combined is not None
        pairs = [noting_samples(loader) for loader in self.combined.flattened]
        if self.combined.mode == "sequential":  # else a batch is made of several loaders' samples
            self.combined.flattened = [loader for loader, _ in pairs]
            self._noted = [noted for _, noted in pairs]

    def _take_note(self, dataloader_idx: int) -> None:
        noted = self._noted[dataloader_idx]
        self.current_batch_indices = noted.noted.popleft() if noted is not None else None
        self.epoch_batch_indices[dataloader_idx].append(self.current_batch_indices)

    def run(self, keep: bool) -> list[Any]:
        """Predict.

        Args:
            keep: return the predictions; ``False`` leaves them to callbacks and saves memory.

        Returns:
            The predictions in order; one list for each loader where there are several.
        """
        hooks, prepare, module = self._hooks, self._prepare, self._module
        results = Results(training=False)
        results.scope = results.scope_of("predict_step")  # in which nothing can be logged, which its name says
        module.__dict__["_results"] = results
        modes = [(submodule, submodule.training) for submodule in module.modules()]
        hooks.of_module("on_predict_model_eval", module.on_predict_model_eval)()
        self.epoch_batch_indices = [[] for _ in self.combined.flattened] if self.combined is not None else []
        self._call("on_predict_start")  # in which a BatchSizeFinder may ask for other loaders
        combined = self.combined
        assert combined is not None
        combined.limits = self.max_batches
        several = combined.mode == "sequential" and len(combined.flattened) > 1
        step = self._precision.around(evaluation_step(module.predict_step, "predict_step", several))
        step = hooks.of_strategy("predict_step", step)
        self._call("on_predict_epoch_start")
        predictions: list[list[Any]] = [[] for _ in combined.flattened]
        started: Iterator[Any] = batches(combined, self.source.name)
        feed: DataLoaderIter | None = None
        if takes_dataloader_iter(module.predict_step):
            if several:
                raise MisconfigurationException(
                    "`predict_step(self, dataloader_iter)` goes through one loader, but there are "
                    f"{len(combined.flattened)}; define `predict_step(self, batch, batch_idx, dataloader_idx=0)`"
                )
            feed = DataLoaderIter(with_last_flag(batch for batch, _, _ in started), results)
            started = ((one, batch_idx, 0) for batch_idx, (one, _) in enumerate(feed.steps()))
            step = DataLoaderIter.ending(step)
        for batch, batch_idx, dataloader_idx in hooks.profiler.wrap_iterator("[_PredictionLoop].predict_next", started):
            self.batch_idx, self.dataloader_idx = batch_idx, dataloader_idx
            if self._noted:
                self._take_note(dataloader_idx)
            if prepare is not None:
                batch = prepare(batch, dataloader_idx)
            for hook in hooks.on_predict_batch_start:
                hook(batch if feed is None else feed.batch, batch_idx, dataloader_idx)
            output = step(batch, batch_idx, dataloader_idx)
            if feed is not None:
                if output is ENDED:
                    break
                batch = feed.batch
            for hook in hooks.on_predict_batch_end:
                hook(output, batch, batch_idx, dataloader_idx)
            if keep:
                predictions[dataloader_idx].append(output)
        self._call("on_predict_epoch_end")
        self._call("on_predict_end")
        for submodule, training in modes:
            submodule.training = training
        if not keep:
            return []
        return predictions if several else predictions[0]

    def _call(self, hook: str) -> None:
        for call in getattr(self._hooks, hook):
            call()
