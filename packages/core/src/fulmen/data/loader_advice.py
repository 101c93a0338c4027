"""Advice on loaders: what they do that slows training, or that evaluation does not want."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from fulmen.advice import advise
from fulmen.data.combined import length_of
from fulmen.data.workers import available_cpus

T = TypeVar("T")


def look_at_training_loaders(loaders: Iterable[Any], name: str, several_epochs: bool, reloads: bool) -> None:
    """Advise on loaders that are trained on.

    Args:
        loaders: the loaders.
        name: the hook that gave them, such as ``train_dataloader``.
        several_epochs: whether they are iterated over more than once.
        reloads: whether they are asked for anew now and then.
    """
    for loader in loaders:
        if not isinstance(loader, DataLoader) or not loader.num_workers:
            continue
        if several_epochs and not loader.persistent_workers and _start_method(loader) != "fork":
            advise(
                "FUL002",
                f"the {loader.num_workers} workers of `{name}` are started anew in every epoch, and with the start "
                f"method {_start_method(loader)!r} each imports the program again; pass persistent_workers=True",
            )
        if loader.persistent_workers and loader.pin_memory and reloads:
            advise(
                "FUL006",
                f"`{name}` has pin_memory=True and persistent_workers=True, and reload_dataloaders_every_n_epochs "
                "drops it while both are at work, which PyTorch may crash on; pass pin_memory=False",
            )


def look_at_evaluation_loaders(loaders: Iterable[Any], name: str) -> None:
    """Advise on loaders that are validated on, tested on or predicted for."""
    for loader in loaders:
        if not isinstance(loader, DataLoader):
            continue
        samplers = (loader.sampler, getattr(loader.batch_sampler, "sampler", None))
        if any(isinstance(sampler, RandomSampler) for sampler in samplers):
            advise(
                "FUL003",
                f"`{name}` shuffles, so its results come in another order each time, and those of a limited number of "
                "batches are of other samples each time; pass shuffle=False",
            )
        sampler = loader.sampler
        if isinstance(sampler, DistributedSampler) and not sampler.drop_last:
            samples, repeated = length_of(loader.dataset), -length_of(loader.dataset) % sampler.num_replicas
            if repeated:
                advise(
                    "FUL004",
                    f"the DistributedSampler of `{name}` repeats {repeated:.0f} of {samples:.0f} samples, to give each "
                    f"of {sampler.num_replicas} processes as many, so they count twice; evaluate in one process",
                )


def _start_method(loader: DataLoader[Any]) -> str:
    context = loader.multiprocessing_context
    method = context.get_start_method() if context is not None else multiprocessing.get_start_method()
    return str(method)


class LoaderWait:
    """Measures how long training waits for its loaders over some batches near the start of a fit, and advises.

    Whether more workers help cannot be told from ``num_workers``: small data in memory is quicker without any. So it is
    measured, over the batches after the first ones, which are slow for other reasons. Afterwards, and for loaders
    that cannot have workers, batches pass by untouched.

    Steps on an accelerator return before they are done; but its queue is full by the time that counts, so that a step
    takes the time that the device needs.

    Args:
        loaders: what is trained on.
        name: the hook that gave it.
        clock: seconds, for tests.
    """

    _LEFT_OUT = 20  #: batches before the measurement, for warm-up and for the device's queue to fill
    _MEASURED = 100  #: batches measured
    _LEAST_SHARE = 0.3  #: of the time: below, waiting costs little
    _LEAST_WAIT_S = 2e-3  #: a batch: below, handing batches from process to process costs as much

    def __init__(self, loaders: Iterable[Any], name: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self._loaders = [loader for loader in loaders if isinstance(loader, DataLoader)]
        self._name = name
        self._clock = clock
        self._left = self._LEFT_OUT + self._MEASURED if self._loaders else 0
        self._waited_s = self._worked_s = 0.0

    def watch(self, batches: Iterator[T]) -> Iterator[T]:
        """Return the batches of an epoch, watched as long as the measurement lasts."""
        return self._watched(batches) if self._left else batches

    def _watched(self, batches: Iterator[T]) -> Iterator[T]:
        clock = self._clock
        for first in batches:  # for which the workers are started
            yield first
            break
        asked = clock()
        for batch in batches:
            came = clock()
            yield batch
            asked_before, asked = asked, clock()
            self._left -= 1
            if self._left < self._MEASURED:
                self._waited_s += came - asked_before
                self._worked_s += asked - came
            if not self._left:
                self._judge()
                break
        yield from batches

    def _judge(self) -> None:
        waited_s, worked_s = self._waited_s / self._MEASURED, self._worked_s / self._MEASURED
        share = waited_s / max(waited_s + worked_s, 1e-12)
        if share < self._LEAST_SHARE or waited_s < self._LEAST_WAIT_S:
            return
        workers = min(loader.num_workers for loader in self._loaders)
        most = available_cpus() - 1
        # The time to load one batch: workers load while it trains, too.
        loading_s = workers * (waited_s + worked_s) if workers else waited_s
        wanted = min(most, int(loading_s / max(worked_s, 1e-12)) + 1)
        if wanted > workers:
            fix = f"with num_workers={wanted} and persistent_workers=True, batches are loaded while it trains"
        else:
            fix = "and the machine has no cores for more workers; make samples cheaper to load, or keep them in memory"
        advise(
            "FUL001",
            f"training waits {share:.0%} of its time for `{self._name}` ({waited_s * 1e3:.0f} ms a batch over "
            f"{self._MEASURED} batches, num_workers={workers}); {fix}",
        )
