"""CombinedLoader: several loaders as one, in every mode and nesting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from fulmen.data.combined import CombinedLoader, is_collection, length_of
from fulmen.errors import MisconfigurationException


class Counting:
    """A loader of its numbers that counts how often it is started and asked."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.started = self.asked = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        self.started += 1
        for number in self.numbers:
            self.asked += 1
            yield number


class Endless:
    def __iter__(self) -> Iterator[int]:
        yield from iter(int, 1)


class Pair(NamedTuple):
    first: Any
    second: Any


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("min_size", [(1, 7), (2, 8)]),
        ("max_size", [(1, 7), (2, 8), (None, 9)]),
        ("max_size_cycle", [(1, 7), (2, 8), (1, 9)]),
    ],
)
def test_loaders_go_side_by_side(mode: Any, expected: list[Any]) -> None:
    combined = CombinedLoader({"a": [1, 2], "b": [7, 8, 9]}, mode)
    # A list of numbers is one loader; see `test_a_list_of_batches_is_a_loader`.
    assert [(batch["a"], batch["b"]) for batch, _, _ in combined] == expected
    assert [indices for _, *indices in combined] == [[index, 0] for index in range(len(expected))]
    assert len(combined) == len(expected)


def test_one_loader_after_the_other() -> None:
    combined = CombinedLoader([Counting(1, 2), Counting(7, 8, 9)], "sequential")
    assert list(combined) == [(1, 0, 0), (2, 1, 0), (7, 0, 1), (8, 1, 1), (9, 2, 1)]
    assert len(combined) == 5


def test_limits_hold_for_each_loader_in_sequence() -> None:
    combined = CombinedLoader([Counting(1, 2), Counting(7, 8, 9), Counting(3)], "sequential")
    combined.limits = [1, 2, 0]
    assert list(combined) == [(1, 0, 0), (7, 0, 1), (8, 1, 1)]
    assert len(combined) == 3


def test_a_limit_ends_loaders_side_by_side_without_asking_for_more() -> None:
    loaders = Counting(1, 2, 3), Counting(7, 8, 9)
    combined = CombinedLoader(loaders, "max_size_cycle")
    combined.limits = [2, 2]
    assert [batch for batch, _, _ in combined] == [(1, 7), (2, 8)]
    assert [loader.asked for loader in loaders] == [2, 2]


def test_the_longest_loader_is_not_started_again() -> None:
    long, short = Counting(1, 2, 3), Counting(7)
    assert len(list(CombinedLoader([short, long], "max_size_cycle"))) == 3
    assert long.started == 1
    assert len(list(CombinedLoader([long, long], "max_size"))) == 3


def test_min_size_does_not_ask_later_loaders_once_one_has_ended() -> None:
    short, long = Counting(1), Counting(7, 8, 9)
    assert len(list(CombinedLoader([short, long], "min_size"))) == 1
    assert long.asked == 1


@pytest.mark.parametrize(
    ("nested", "batch"),
    [
        ([Counting(1), Counting(2)], [1, 2]),
        ((Counting(1), Counting(2)), (1, 2)),
        (Pair(Counting(1), Counting(2)), Pair(1, 2)),
        ({"a": Counting(1), "b": [Counting(2), {"c": Counting(3)}]}, {"a": 1, "b": [2, {"c": 3}]}),
        (Counting(1), 1),
    ],
)
def test_batches_have_the_nesting_of_the_loaders(nested: Any, batch: Any) -> None:
    found = [item for item, _, _ in CombinedLoader(nested)]
    assert found == [batch]
    assert type(found[0]) is type(batch)


def test_a_list_of_batches_is_a_loader() -> None:
    for loader in ([torch.ones(2)], [{"x": torch.ones(2)}], [(torch.ones(2), 1)], [1, 2], ["a"]):
        assert not is_collection(loader)
    for loaders in ([], [Counting(1)], [DataLoader([1])], [{"a": Counting(1)}], [[Counting(1)]]):
        assert is_collection(loaders)


def test_the_length_needs_the_lengths_that_the_mode_needs() -> None:
    assert len(CombinedLoader([Counting(1, 2), Endless()], "min_size")) == 2
    for mode in ("max_size", "max_size_cycle", "sequential"):
        with pytest.raises(TypeError, match="a loader of this CombinedLoader has no length"):
            len(CombinedLoader([Counting(1, 2), Endless()], mode))  # type: ignore[arg-type]
    assert len(CombinedLoader([])) == 0
    assert list(CombinedLoader([], "max_size_cycle")) == []


def test_an_endless_loader_beside_a_short_one() -> None:
    assert [batch for batch, _, _ in CombinedLoader([Counting(1, 2), Endless()], "min_size")] == [[1, 0], [2, 0]]


def test_a_loader_of_an_iterable_dataset_has_no_length() -> None:
    class Numbers(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

    assert length_of(DataLoader(Numbers())) == float("inf")
    assert length_of(DataLoader(list(range(3)))) == 3  # type: ignore[arg-type]
    assert length_of(number for number in range(3)) == float("inf")


def test_a_generator_that_must_start_again_is_said() -> None:
    combined = CombinedLoader([(number for number in range(1)), Counting(1, 2)], "max_size_cycle")
    with pytest.raises(MisconfigurationException, match="loader 0 of this CombinedLoader.*in place of a generator"):
        list(combined)


def test_iterating_twice_gives_the_same() -> None:
    combined = CombinedLoader([Counting(1, 2), Counting(3)], "max_size_cycle")
    assert list(combined) == list(combined)


def test_an_unknown_mode_is_said() -> None:
    with pytest.raises(MisconfigurationException, match="`mode` must be one of min_size, .* but is 'longest'"):
        CombinedLoader([], "longest")  # type: ignore[arg-type]
