"""Batches onto a device: every container keeps its type, and what is no tensor stays as it is."""

from __future__ import annotations

import collections
import dataclasses
import types
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from fulmen.data.transfer import move_data_to_device, rebuilt

ONE = torch.ones(1)


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Batch:
    x: Any
    length: int = 0
    made: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self) -> None:
        self.length += 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    __slots__ = ("x",)
    x: Any


class Moves:
    """A batch class of the user's."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def to(self, device: Any) -> Any:
        return type(self)(self.x.to(device))


class MovesInPlace(Moves):
    def to(self, device: Any) -> Any:
        self.x = self.x.to(device)


class Bag(collections.UserDict):  # type: ignore[type-arg]
    pass


# torch's "meta" device is there on every machine; what is on it has a shape, but no values.
def on_meta(batch: Any) -> Any:
    return move_data_to_device(batch, "meta")


@pytest.mark.parametrize(
    ("batch", "find"),
    [
        (ONE, lambda b: b),
        ([ONE, "a"], lambda b: b[0]),
        ((1, ONE), lambda b: b[1]),
        (Pair(ONE, "y"), lambda b: b.x),
        ({"a": {"b": [ONE]}}, lambda b: b["a"]["b"][0]),
        (collections.OrderedDict(a=ONE), lambda b: b["a"]),
        (collections.defaultdict(list, {"a": ONE}), lambda b: b["a"]),
        (Bag(a=ONE), lambda b: b["a"]),
        (types.MappingProxyType({"a": ONE}), lambda b: b["a"]),
        (Batch(ONE), lambda b: b.x),
        (Frozen([ONE]), lambda b: b.x[0]),
        (Moves(ONE), lambda b: b.x),
        (MovesInPlace(ONE), lambda b: b.x),
        (pack_sequence([torch.ones(2)]), lambda b: b.data),
        (nn.Linear(1, 1), lambda b: b.weight),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tensors_are_moved_wherever_they_are(batch: Any, find: Any) -> None:
    moved = on_meta(batch)
    assert find(moved).device.type == "meta"
    assert type(moved) is type(batch)


@pytest.mark.parametrize("thing", ["text", b"bytes", None, 3, 1.5, {1, 2}, torch.Size([1, 2]), range(3), Batch, Moves])
def test_other_things_stay_as_they_are(thing: Any) -> None:
    assert on_meta(thing) == thing


def test_a_default_dict_keeps_its_default() -> None:
    assert on_meta(collections.defaultdict(list, a=ONE))["new"] == []


def test_a_counter_is_not_added_to() -> None:
    assert on_meta(collections.Counter(a=2)) == {"a": 2}


def test_a_dataclass_is_not_made_anew() -> None:
    batch = Batch(ONE, length=5)
    batch.made = [torch.zeros(1)]
    moved = on_meta(batch)
    assert moved.length == batch.length == 6  # `__post_init__` ran once
    assert moved.made[0].device.type == "meta"
    assert batch.x.device.type == "cpu"


def test_moving_leaves_the_given_batch_alone() -> None:
    batch = {"a": [ONE], "b": Bag(c=ONE)}
    on_meta(batch)
    assert batch["a"][0].device.type == batch["b"]["c"].device.type == "cpu"


def test_to_the_same_device_nothing_is_copied() -> None:
    assert move_data_to_device([ONE], "cpu")[0] is ONE


def test_rebuilding_changes_the_items_of_one_level() -> None:
    assert rebuilt([1, [2]], lambda item: [item]) == [[1], [[2]]]
    assert rebuilt(5, lambda item: [item]) == 5
    assert isinstance(pack_sequence([ONE]), PackedSequence)
