"""DataLoaderIter: what a step gets that fetches by itself: ``training_step(self, dataloader_iter)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fulmen.errors import MisconfigurationException
from fulmen.results import Results

_END: Any = object()

#: What a wrapped call returns where the step asked for more than there is.
ENDED: Any = object()


class DataLoaderIter:
    """An iterator over ``(batch, batch_idx, dataloader_idx)``, on the host: the step moves a batch itself.

    A step may call ``next`` several times, and keep batches for its next call. One that asks for more than there is
    ends the epoch there. The weight of a mean over the epoch is the size of the batch that was fetched last, unless
    ``self.log(..., batch_size=...)`` says it.

    Args:
        items: batches, each with whether it is the last.
        results: is told each batch, for its size.
        batch_idx: the number of the first one.
        dataloader_idx: the loader's number.
    """

    def __init__(
        self, items: Iterator[tuple[Any, bool]], results: Results, batch_idx: int = 0, dataloader_idx: int = 0
    ) -> None:
        self._items = items
        self._results = results
        self._ahead = next(items, _END)
        self._next_idx = batch_idx
        self._dataloader_idx = dataloader_idx
        #: what was fetched last, ``None`` before the first
        self.batch: Any = None
        self.batch_idx = batch_idx

    @property
    def done(self) -> bool:
        """Whether every batch was fetched."""
        return self._ahead is _END

    def __iter__(self) -> DataLoaderIter:
        return self

    def __next__(self) -> tuple[Any, int, int]:
        if self._ahead is _END:
            raise StopIteration
        self.batch, self.batch_idx = self._ahead[0], self._next_idx
        self._next_idx += 1
        self._ahead = _END if self._ahead[1] else next(self._items, _END)
        self._results.begin_batch(self.batch)
        return self.batch, self.batch_idx, self._dataloader_idx

    def steps(self) -> Iterator[tuple[DataLoaderIter, bool]]:
        """Yield this iterator, once for each step, with whether one batch is left; until every batch was fetched."""
        while self._ahead is not _END:
            yield self, self._ahead[1]

    @staticmethod
    def ending(call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``call`` such that it returns ``ENDED`` where the step inside asked for more than there is."""

        def call_or_end(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            except StopIteration:
                return ENDED

        return call_or_end


def takes_dataloader_iter(step: Callable[..., Any]) -> bool:
    """Return whether a step is defined with the parameter ``dataloader_iter``."""
    try:
        return "dataloader_iter" in inspect.signature(step).parameters
    except (TypeError, ValueError):
        return False


def check_dataloader_iter(name: str, transfers: bool, evaluates_again: bool = False) -> None:
    """Raise where a step that fetches by itself cannot work.

    Args:
        name: the step.
        transfers: whether hooks of batch transfer are overridden, which nobody would call.
        evaluates_again: whether the optimizer evaluates the step several times, each time with another batch.

    Raises:
        MisconfigurationException: one of both is so.
    """
    if transfers:
        raise MisconfigurationException(
            f"`{name}(self, dataloader_iter)` fetches its batches itself, so the overridden hooks of batch transfer "
            f"would never run; change and move the batch in `{name}`, or define `{name}(self, batch, batch_idx)`"
        )
    if evaluates_again:
        raise MisconfigurationException(
            f"`{name}(self, dataloader_iter)` would fetch another batch in each evaluation that LBFGS makes; define "
            f"`{name}(self, batch, batch_idx)`, or use another optimizer"
        )
