"""Loaders: where they come from, how many batches of them are used, and clear words where they cannot be."""

from __future__ import annotations

import copy
import itertools
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, cast

from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from fulmen.advice import advise
from fulmen.data.combined import CombinedLoader, is_collection, length_of
from fulmen.data.transfer import rebuilt
from fulmen.errors import MisconfigurationException


class LoaderSource:
    """Where the loaders of one kind come from: handed to an entry point, or made by a hook.

    Args:
        name: the hook's name, such as ``train_dataloader``.
        given: loaders that the user passed, or ``None``.
        make: the hook of the data module or module, or ``None`` where neither has one.
        in_order: turn shuffling off, for overfitting on a few batches.
    """

    def __init__(self, name: str, given: Any, make: Callable[[], Any] | None, in_order: bool = False) -> None:
        self.in_order = in_order
        self.name = name
        self.given = given
        self.make = make

    @property
    def is_defined(self) -> bool:
        """Whether there are loaders at all."""
        return self.given is not None or self.make is not None

    def request(self) -> Any:
        """Return the loaders, and check that they are something to iterate over.

        Raises:
            MisconfigurationException: they are not.
        """
        loaders = self.given if self.given is not None else self.make() if self.make is not None else None
        if loaders is None:
            raise MisconfigurationException(
                f"`{self.name}` returned None; return a DataLoader, or another iterable of batches"
            )
        flattened = CombinedLoader(loaders).flattened
        if not flattened and self.name == "train_dataloader":
            raise MisconfigurationException(
                f"`{self.name}` gave {loaders!r}, which holds no loader; return a DataLoader, or another iterable of "
                "batches"
            )
        for loader in flattened:
            if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
                raise MisconfigurationException(
                    f"`{self.name}` gave {loader!r:.80}, a {type(loader).__name__}, which cannot be iterated over; "
                    "return a DataLoader, or another iterable of batches"
                )
        return without_shuffle(loaders) if self.in_order else loaders


def combine(loaders: Any, mode: str) -> CombinedLoader:
    """Return loaders as one ``CombinedLoader``; one that is a ``CombinedLoader`` already stays as the user made it."""
    if isinstance(loaders, CombinedLoader):
        return loaders
    return CombinedLoader(loaders, mode)  # type: ignore[arg-type]


def is_single(loaders: Any) -> bool:
    """Return whether there is just one loader, whose batches come as they are."""
    return not isinstance(loaders, (CombinedLoader, Mapping)) and not is_collection(loaders)


def limited(length: float, limit: int | float, argument: str) -> float:
    """Return how many of ``length`` batches a ``limit_*_batches`` argument lets through.

    Raises:
        MisconfigurationException: a fraction is asked for of a loader without a length, or gives less than one batch.
    """
    if isinstance(limit, int):
        return min(length, limit)
    if limit in (0.0, 1.0):
        return length if limit else 0
    if length == float("inf"):
        raise MisconfigurationException(
            f"`{argument}={limit}` is a fraction, but the loader has no length; use a whole number of batches"
        )
    count = int(length * limit)
    if count == 0 and length > 0:
        raise MisconfigurationException(
            f"`{argument}={limit}` of {int(length)} batches is less than one batch; use at least {1 / length:.3g}, or "
            "a whole number of batches"
        )
    return count


def check_not_empty(loader: Any, name: str) -> None:
    """Raise ``MisconfigurationException`` for a loader with a length of 0."""
    if length_of(loader) == 0:
        dataset = getattr(loader, "dataset", None)
        size = f" (its dataset has {length_of(dataset):.0f} samples" if dataset is not None else ""
        if size:
            batch_size, drops = getattr(loader, "batch_size", None), getattr(loader, "drop_last", False)
            size += f", batch_size={batch_size}, drop_last={drops})"
        raise MisconfigurationException(
            f"`{name}` has no batches{size}; give it data, or set the limit of its batches to 0 to leave it out"
        )


def batches(loader: Iterable[Any], name: str) -> Iterator[Any]:
    """Start iterating over a loader, with a clear error where its samples cannot be made into a batch."""
    return _explaining(iter(loader), name)


def _explaining(iterator: Iterator[Any], name: str) -> Iterator[Any]:
    try:
        yield from iterator
    except (TypeError, RuntimeError) as error:
        if not _is_of_collation(error):
            raise
        if isinstance(error, TypeError):
            fix = "Turn the samples into tensors in the dataset (pictures: transform=torchvision.transforms.ToTensor())"
        else:
            fix = "Give all samples the same size (crop, pad or resize them in the dataset)"
        raise MisconfigurationException(
            f"`{name}` cannot make a batch of its samples: {_last_line(error)}. {fix}, or pass a collate_fn"
        ) from error


def _is_of_collation(error: Exception) -> bool:
    """Whether torch's own collation raised it, in this process or in a worker, whose traceback is in the message."""
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any("_utils/collate.py" in text.replace("\\", "/") for text in (*frames, str(error)))


def _last_line(error: Exception) -> str:
    """A loader's worker hands over its whole traceback as the message; the last line says what happened."""
    return str(error).strip().splitlines()[-1]


def with_last_flag(iterator: Iterator[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield each item with whether it is the last: of a loader without a length, one item is fetched ahead."""
    try:
        item = next(iterator)
    except StopIteration:
        return
    for following in iterator:
        yield item, False
        item = following
    yield item, True


def counted(iterator: Iterator[Any], length: int) -> Iterator[tuple[Any, bool]]:
    """Yield at most ``length`` items, each with whether it is the last."""
    last = length - 1
    for index, item in enumerate(itertools.islice(iterator, length)):
        yield item, index == last


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell a loader's samplers the epoch, as distributed samplers want to know it."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    for sampler in {id(sampler): sampler for sampler in samplers}.values():
        method = getattr(sampler, "set_epoch", None)
        if callable(method):
            method(epoch)


class NotedBatches:
    """A batch sampler that notes which samples it puts into each batch.

    Args:
        sampler: what decides; it yields lists of indices.
    """

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        #: the samples of each batch that was asked for, the oldest first; whoever gets the batch takes them away
        self.noted: deque[list[int]] = deque()

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        self.noted.clear()
        for indices in self.sampler:
            self.noted.append(list(indices))
            yield indices

    def __getattr__(self, name: str) -> Any:
        if name == "sampler":  # asked for by `copy` and `pickle` before there is one
            raise AttributeError(name)
        return getattr(self.sampler, name)


def noting_samples(loader: Any) -> tuple[Any, NotedBatches | None]:
    """Return a loader like this one whose batch sampler takes notes, and that sampler; ``None`` where it has none."""
    if (
        not isinstance(loader, DataLoader)
        or isinstance(loader.dataset, IterableDataset)
        or loader.batch_sampler is None
    ):
        return loader, None
    sampler = NotedBatches(loader.batch_sampler)
    twin = copy.copy(loader)
    # A loader refuses a new sampler once it is made; the twin is being made.
    twin.__dict__.update(batch_sampler=sampler, _iterator=None)
    return twin, sampler


def without_shuffle(loader: Any) -> Any:
    """Return loaders that go through their data in order, as overfitting on a few batches needs it."""
    if isinstance(loader, CombinedLoader):
        return CombinedLoader(without_shuffle(loader.iterables), loader.mode)
    if not is_single(loader):
        return rebuilt(loader, without_shuffle)
    if not isinstance(loader, DataLoader) or not isinstance(loader.sampler, RandomSampler):
        return loader
    advise("FUL005", "`overfit_batches` turns shuffling off, so that every epoch has the same batches")
    arguments: dict[str, Any] = {
        name: getattr(loader, name)
        for name in ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "generator")
    }
    if loader.num_workers:
        arguments["persistent_workers"] = loader.persistent_workers
        arguments["prefetch_factor"] = loader.prefetch_factor
        arguments["multiprocessing_context"] = loader.multiprocessing_context
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=SequentialSampler(cast(Sized, loader.dataset)),  # a RandomSampler had its length
        drop_last=loader.drop_last,
        **arguments,
    )
