"""CombinedLoader: several loaders, in any nesting of lists and dicts, as one that yields nested batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from torch import Tensor

from fulmen.errors import MisconfigurationException

Mode = Literal["min_size", "max_size_cycle", "max_size", "sequential"]
MODES: tuple[Mode, ...] = ("min_size", "max_size_cycle", "max_size", "sequential")

_END: Any = object()  # what a loader gives that has no further batch


class CombinedLoader:
    """Iterate over several loaders at once, or one after the other.

    Args:
        iterables: loaders in any nesting of lists, tuples and dicts.
        mode: ``min_size`` ends with the shortest loader; ``max_size_cycle`` starts shorter ones again until the
            longest ends; ``max_size`` gives ``None`` in place of ended ones; ``sequential`` takes one after the other.

    Iterating yields ``(batch, batch_idx, dataloader_idx)``: ``batch`` has the nesting of ``iterables``
    (in ``sequential`` mode it is one loader's batch, and ``batch_idx`` counts within that loader).

    Raises:
        MisconfigurationException: ``mode`` is not known.
    """

    def __init__(self, iterables: Any, mode: Mode = "min_size") -> None:
        if mode not in MODES:
            raise MisconfigurationException(f"`mode` must be one of {', '.join(MODES)}, but is {mode!r}")
        self.iterables = iterables
        self.mode = mode
        self.flattened = list(_leaves(iterables))
        #: most batches taken of each loader; set by the loop
        self.limits: list[float] = [float("inf")] * len(self.flattened)

    def __len__(self) -> int:
        """The number of batches that iterating yields.

        Raises:
            TypeError: a loader has no length and the mode needs it.
        """
        lengths = [min(length_of(loader), limit) for loader, limit in zip(self.flattened, self.limits, strict=True)]
        if not lengths:
            return 0
        total = min(lengths) if self.mode == "min_size" else max(lengths)
        if self.mode == "sequential":
            total = sum(lengths)
        if total == float("inf"):
            raise TypeError(f"a loader of this {type(self).__name__} has no length")
        return int(total)

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        if self.mode == "sequential":
            return self._sequential()
        return self._together()

    def _sequential(self) -> Iterator[tuple[Any, int, int]]:
        for dataloader_idx, (loader, limit) in enumerate(zip(self.flattened, self.limits, strict=True)):
            if limit <= 0:
                continue
            for batch_idx, batch in enumerate(loader):
                yield batch, batch_idx, dataloader_idx
                if batch_idx + 1 >= limit:
                    break

    def _together(self) -> Iterator[tuple[Any, int, int]]:
        iterators = [iter(loader) for loader in self.flattened]
        ended = [False] * len(iterators)
        most = max(self.limits, default=0)
        batch_idx = 0
        while batch_idx < most:
            batches: list[Any] = []
            for index, iterator in enumerate(iterators):
                batch = _END if ended[index] and self.mode == "max_size" else next(iterator, _END)
                if batch is _END:
                    ended[index] = True
                    if self.mode == "min_size" or all(ended):
                        return
                    batch = self._restart(index, iterators) if self.mode == "max_size_cycle" else None
                batches.append(batch)
            yield _like(self.iterables, iter(batches)), batch_idx, 0
            batch_idx += 1

    def _restart(self, index: int, iterators: list[Iterator[Any]]) -> Any:
        """Start a loader again and return its first batch."""
        loader = self.flattened[index]
        iterators[index] = iter(loader)
        batch = next(iterators[index], _END)
        if batch is _END:
            raise MisconfigurationException(
                f"loader {index} of this CombinedLoader, {loader!r:.80}, has no batch when it is started again, as "
                "mode='max_size_cycle' does; give it data, use a loader in place of a generator, or another mode"
            )
        return batch


def length_of(loader: Any) -> float:
    """Return the number of batches of a loader, ``inf`` where it does not say."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return float("inf")


def _leaves(nested: Any) -> Iterator[Iterable[Any]]:
    if isinstance(nested, Mapping):
        for item in nested.values():
            yield from _leaves(item)
    elif is_collection(nested):
        for item in nested:
            yield from _leaves(item)
    else:
        yield nested


def is_collection(value: Any) -> bool:
    """Return whether ``value`` is a list or tuple of loaders, rather than a loader, which a list of batches is."""
    return isinstance(value, (list, tuple)) and not (len(value) > 0 and _is_batch(value[0]))


def _is_batch(value: Any) -> bool:
    """Whether a list's item is a batch: tensors or numbers, however nested, and no loader."""
    if isinstance(value, Mapping):
        return any(_is_batch(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and _is_batch(value[0])
    return isinstance(value, (Tensor, np.ndarray, int, float, str))


def _like(nested: Any, values: Iterator[Any]) -> Any:
    if isinstance(nested, Mapping):
        return {key: _like(item, values) for key, item in nested.items()}
    if is_collection(nested):
        kind: Callable[..., Any] = type(nested)
        items = [_like(item, values) for item in nested]
        return kind(*items) if hasattr(nested, "_fields") else kind(items)
    return next(values)
