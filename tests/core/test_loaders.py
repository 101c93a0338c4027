"""Loaders: every kind that a user may pass, their limits, and what is said where they cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset, RandomSampler

import fulmen
from fulmen.data.combined import CombinedLoader
from fulmen.data.loaders import (
    LoaderSource,
    batches,
    check_not_empty,
    counted,
    is_single,
    limited,
    set_epoch,
    with_last_flag,
    without_shuffle,
)
from fulmen.errors import MisconfigurationException

NUMBERS = torch.arange(10.0)[:, None]


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[torch.Tensor]:
        number = 0.0
        while True:
            yield torch.tensor([number])
            number += 1


class Few(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(NUMBERS)


class Seeing(fulmen.LightningModule):
    """Keeps every batch that it is trained on, as plain numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[Any] = []
        self.last: list[bool] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(plain(batch))
        self.last.append(self.trainer.is_last_batch)
        return self.weight * 1.0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def plain(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: plain(item) for key, item in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [plain(item) for item in batch]
    return batch.flatten().tolist() if isinstance(batch, torch.Tensor) else batch


def trainer(**options: Any) -> fulmen.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "max_epochs": 1,
    }
    return fulmen.Trainer(**(quiet | options))


def trained_on(loader: Any, **options: Any) -> Seeing:
    model = Seeing()
    trainer(**options).fit(model, loader)
    return model


# -------------------------------------------------------------------------------------- what may be a loader


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(NUMBERS[:6], batch_size=4),  # type: ignore[arg-type]
        [NUMBERS[:4], NUMBERS[4:6]],
        NUMBERS[:6].split(4),
        (part for part in NUMBERS[:6].split(4)),
        iter(NUMBERS[:6].split(4)),
    ],
    ids=["DataLoader", "list", "tuple", "generator", "iterator"],
)
def test_any_iterable_of_batches_is_a_loader(loader: Any) -> None:
    model = trained_on(loader)
    assert model.seen == [[0, 1, 2, 3], [4, 5]]
    assert model.last == [False, True]


def test_a_loader_without_a_length_trains_to_its_end() -> None:
    model = trained_on(DataLoader(Few(), batch_size=4), max_epochs=2)
    assert model.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] * 2
    assert model.last == [False, False, True] * 2


def test_an_endless_loader_starts_again_each_epoch() -> None:
    model = trained_on(DataLoader(Endless(), batch_size=2), limit_train_batches=2, max_epochs=2)
    assert model.seen == [[0, 1], [2, 3]] * 2
    assert model.last == [False, True] * 2


@pytest.mark.parametrize(
    "batch",
    [["a", "b"], [None, "a"], {"x": ["a"], "n": {"y": 1}}, 3, np.float64(1.5), [[]], {}],
)
def test_batches_may_be_anything(batch: Any) -> None:
    class One:
        def __iter__(self) -> Iterator[Any]:
            return iter([batch])

    assert trained_on(One()).seen == [plain(batch)]


def test_nested_loaders_give_nested_batches() -> None:
    def loader(count: int) -> Any:
        return DataLoader(NUMBERS[:count], batch_size=2)  # type: ignore[arg-type]

    model = trained_on({"a": loader(3), "b": [loader(5), loader(2)]})
    # Made by running this program with Lightning 2.6.6.
    assert model.seen == [
        {"a": [0, 1], "b": [[0, 1], [0, 1]]},
        {"a": [2], "b": [[2, 3], [0, 1]]},
        {"a": [0, 1], "b": [[4], [0, 1]]},
    ]
    assert model.last == [False, False, True]


@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        ("min_size", [[[0, 1], [0, 1]], [[2], [2, 3]]]),
        ("max_size", [[[0, 1], [0, 1]], [[2], [2, 3]], [None, [4]]]),
        ("max_size_cycle", [[[0, 1], [0, 1]], [[2], [2, 3]], [[0, 1], [4]]]),
    ],
)
def test_a_combined_loader_of_the_users_keeps_its_mode(mode: Any, seen: list[Any]) -> None:
    loaders = [DataLoader(NUMBERS[:count], batch_size=2) for count in (3, 5)]  # type: ignore[arg-type]
    assert trained_on(CombinedLoader(loaders, mode)).seen == seen


def test_training_in_sequence_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"mode='sequential'.*cannot be trained on; use min_size"):
        trained_on(CombinedLoader([NUMBERS, NUMBERS], "sequential"))


def test_validation_in_parallel_is_one_loader() -> None:
    class Model(Seeing):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.seen.append((plain(batch), batch_idx, dataloader_idx))
            self.log("v", float(batch_idx))

    model = Model()
    loaders = [DataLoader(NUMBERS[:count], batch_size=2) for count in (3, 5)]  # type: ignore[arg-type]
    assert trainer().validate(model, CombinedLoader(loaders, "max_size_cycle"), verbose=False) == [{"v": 1.0}]
    assert model.seen == [([[0, 1], [0, 1]], 0, 0), ([[2], [2, 3]], 1, 0), ([[0, 1], [4]], 2, 0)]


# ------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [
        (10, 1.0, 10),
        (10, 0.0, 0),
        (10, 0, 0),
        (10, 1, 1),
        (10, 20, 10),
        (10, 0.25, 2),
        (10, 0.7, 7),
        (0, 0.5, 0),
        (float("inf"), 3, 3),
        (float("inf"), 1.0, float("inf")),
    ],
)
def test_a_limit_is_a_count_or_a_fraction(length: float, limit: Any, expected: float) -> None:
    assert limited(length, limit, "limit_train_batches") == expected


def test_a_fraction_needs_a_length() -> None:
    message = "`limit_val_batches=0.5` is a fraction, but the loader has no length; use a whole number"
    with pytest.raises(MisconfigurationException, match=message):
        limited(float("inf"), 0.5, "limit_val_batches")


def test_a_fraction_of_less_than_one_batch_is_said() -> None:
    with pytest.raises(MisconfigurationException, match="`limit_test_batches=0.1` of 4 batches.*use at least 0.25"):
        limited(4, 0.1, "limit_test_batches")


def test_each_evaluation_loader_is_limited_by_itself() -> None:
    class Model(Seeing):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.seen.append((plain(batch), batch_idx, dataloader_idx))

    model = Model()
    loaders = [DataLoader(NUMBERS[:count]) for count in (4, 5)]  # type: ignore[arg-type]
    trainer(limit_val_batches=0.5).validate(model, loaders, verbose=False)
    # Made by running this program with Lightning 2.6.6.
    assert model.seen == [([0], 0, 0), ([1], 1, 0), ([0], 0, 1), ([1], 1, 1)]


# ------------------------------------------------------------------------------------------------ parts


def test_the_last_item_is_known() -> None:
    assert list(counted(iter("abcd"), 3)) == [("a", False), ("b", False), ("c", True)]
    assert list(with_last_flag(iter("abc"))) == [("a", False), ("b", False), ("c", True)]
    assert list(with_last_flag(iter(()))) == []


def test_no_more_items_are_asked_for_than_are_used() -> None:
    asked: list[int] = []
    list(counted((asked.append(i) for i in range(5)), 2))
    assert len(asked) == 2


def test_samplers_are_told_the_epoch() -> None:
    sampler: Any = DistributedSampler(range(4), num_replicas=2, rank=0)  # type: ignore[arg-type]
    set_epoch(DataLoader(NUMBERS, sampler=sampler), 5)  # type: ignore[arg-type]
    assert sampler.epoch == 5
    set_epoch(DataLoader(NUMBERS, batch_sampler=BatchSampler(sampler, 2, False)), 6)  # type: ignore[arg-type]
    assert sampler.epoch == 6
    set_epoch([1, 2], 7)  # no samplers, no error


def shuffled(**options: Any) -> Any:
    return DataLoader(NUMBERS, batch_size=5, shuffle=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("nest", [lambda one: one, lambda one: [one, {"a": one}], lambda one: CombinedLoader([one])])
@pytest.mark.filterwarnings("ignore:FUL005")
def test_overfitting_goes_through_the_data_in_order(nest: Any) -> None:
    def leaves(loaders: Any) -> Iterator[Any]:
        yield from CombinedLoader(loaders.iterables if isinstance(loaders, CombinedLoader) else loaders).flattened

    ordered = without_shuffle(nest(shuffled()))
    assert type(ordered) is type(nest(shuffled()))
    for loader in leaves(ordered):
        assert [plain(batch) for batch in loader] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.filterwarnings("ignore:FUL005")
def test_a_loader_in_order_keeps_its_other_settings() -> None:
    def collate(samples: list[Any]) -> Any:
        return "collated"

    ordered = without_shuffle(shuffled(drop_last=True, collate_fn=collate, num_workers=1, persistent_workers=True))
    assert (ordered.batch_size, ordered.drop_last, ordered.num_workers) == (5, True, 1)
    assert ordered.collate_fn is collate
    assert ordered.persistent_workers
    custom = DataLoader(NUMBERS, batch_sampler=BatchSampler(RandomSampler(NUMBERS), 5, False))  # type: ignore[arg-type]
    assert without_shuffle(custom) is custom
    assert without_shuffle(NUMBERS) is NUMBERS


@pytest.mark.filterwarnings("ignore:FUL005")
def test_overfit_batches_trains_on_the_same_batches() -> None:
    model = trained_on([shuffled(), shuffled()], overfit_batches=1, max_epochs=2)
    assert model.seen == [[[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]] * 2


@pytest.mark.parametrize(
    ("loaders", "single"),
    [(shuffled(), True), ([NUMBERS], True), ([shuffled()], False), ({"a": 1}, False), (CombinedLoader([]), False)],
)
def test_one_loader_is_told_from_several(loaders: Any, single: bool) -> None:
    assert is_single(loaders) is single


# ------------------------------------------------------------------------------------------------ mistakes


def test_an_empty_loader_says_why() -> None:
    loader: Any = DataLoader(NUMBERS[:3], batch_size=4, drop_last=True)  # type: ignore[arg-type]
    message = (
        r"`val_dataloader` has no batches \(its dataset has 3 samples, batch_size=4, drop_last=True\); give it data"
    )
    with pytest.raises(MisconfigurationException, match=message):
        check_not_empty(loader, "val_dataloader")
    with pytest.raises(MisconfigurationException, match="`train_dataloader` has no batches; give it data"):
        check_not_empty({}, "train_dataloader")
    check_not_empty(DataLoader(Few()), "train_dataloader")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "`train_dataloader` returned None; return a DataLoader"),
        (3, "`train_dataloader` gave 3, a int, which cannot be iterated over"),
        ([DataLoader([1]), 3], "gave 3, a int"),  # type: ignore[arg-type]
        ([], r"`train_dataloader` gave \[\], which holds no loader"),
        ({"a": []}, "which holds no loader"),
    ],
)
def test_what_is_no_loader_is_said(made: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        LoaderSource("train_dataloader", None, lambda: made).request()


def test_no_validation_loaders_means_no_validation() -> None:
    assert LoaderSource("val_dataloader", None, list).request() == []

    class Model(Seeing):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.seen.append("validated")

        def val_dataloader(self) -> Any:
            return []

    model = Model()
    trainer().fit(model, [NUMBERS])
    assert len(model.seen) == 1


ROW = torch.ones(3)


class Picture:
    """Stands in for a PIL image: torch's collation knows no such type."""


@pytest.mark.parametrize(
    ("samples", "message", "workers"),
    [
        ([(Picture(), 0)] * 2, "found <class '.*Picture'>. Turn the samples into tensors", 0),
        ([(Picture(), 0)] * 2, "found <class '.*Picture'>. Turn the samples into tensors", 1),
        ([ROW, torch.ones(4)], r"got \[3\] at entry 0 and \[4\] at entry 1. Give all samples the same size", 0),
        ([ROW, torch.ones(4)], r"got \[3\] at entry 0 and \[4\] at entry 1. Give all samples the same size", 1),
        ([[1], [1, 2]], "should be of equal size. Give all samples the same size", 0),
    ],
    ids=["picture", "picture in a worker", "sizes", "sizes in a worker", "lengths"],
)
def test_samples_that_make_no_batch_are_explained(samples: list[Any], message: str, workers: int) -> None:
    loader: Any = DataLoader(samples, batch_size=2, num_workers=workers)  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match=f"`train_dataloader` cannot make a batch.*{message}") as caught:
        list(batches(loader, "train_dataloader"))
    assert "collate_fn" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_users_dataset_stays_what_it_is() -> None:
    class Stacking:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return torch.stack([torch.ones(3), torch.ones(4)])

    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        list(batches(DataLoader(Stacking()), "train_dataloader"))  # type: ignore[arg-type]
