"""Prediction: one pass over all loaders that keeps, or hands out, what ``predict_step`` returns."""

from __future__ import annotations

from typing import Any

from fulmen.data.combined import CombinedLoader, length_of
from fulmen.data.loader_advice import look_at_evaluation_loaders
from fulmen.data.loaders import LoaderSource, batches, check_not_empty, combine, limited
from fulmen.data.preparation import Prepare
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
        limit: how many batches of each loader are used.
    """

    def __init__(
        self,
        module: LightningModule,
        hooks: HookTable,
        source: LoaderSource,
        prepare: Prepare | None,
        limit: int | float,
    ) -> None:
        self._module = module
        self._hooks = hooks
        self._prepare = prepare
        self._limit = limit
        self.source = source
        self.combined: CombinedLoader | None = None
        self.max_batches: list[float] = []
        self.batch_idx = 0
        self.dataloader_idx = 0

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

    def run(self, keep: bool) -> list[Any]:
        """Predict.

        Args:
            keep: return the predictions; ``False`` leaves them to callbacks and saves memory.

        Returns:
            The predictions in order; one list for each loader where there are several.
        """
        combined = self.combined
        assert combined is not None
        combined.limits = self.max_batches
        several = combined.mode == "sequential" and len(combined.flattened) > 1
        hooks, prepare, module = self._hooks, self._prepare, self._module
        results = Results(training=False)
        results.scope = results.scope_of("predict_step")  # in which nothing can be logged, which its name says
        module.__dict__["_results"] = results
        step = hooks.of_strategy("predict_step", evaluation_step(module.predict_step, "predict_step", several))
        hooks.of_module("on_predict_model_eval", module.on_predict_model_eval)()
        self._call("on_predict_start")
        self._call("on_predict_epoch_start")
        predictions: list[list[Any]] = [[] for _ in combined.flattened]
        started = batches(combined, self.source.name)
        for batch, batch_idx, dataloader_idx in hooks.profiler.wrap_iterator("[_PredictionLoop].predict_next", started):
            self.batch_idx, self.dataloader_idx = batch_idx, dataloader_idx
            if prepare is not None:
                batch = prepare(batch, dataloader_idx)
            for hook in hooks.on_predict_batch_start:
                hook(batch, batch_idx, dataloader_idx)
            output = step(batch, batch_idx, dataloader_idx)
            for hook in hooks.on_predict_batch_end:
                hook(output, batch, batch_idx, dataloader_idx)
            if keep:
                predictions[dataloader_idx].append(output)
        self._call("on_predict_epoch_end")
        self._call("on_predict_end")
        if not keep:
            return []
        return predictions if several else predictions[0]

    def _call(self, hook: str) -> None:
        for call in getattr(self._hooks, hook):
            call()
