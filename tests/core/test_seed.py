"""Seeds: one call, the same numbers everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fulmen import seed_everything
from fulmen.seed import isolate_rng, seed_worker


@pytest.fixture(autouse=True)
def _leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "")  # so that what the test sets is taken back
        monkeypatch.delenv(name)
    with isolate_rng():
        yield


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert seed_everything(7) == 7
    first = draw()
    assert draw() != first
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_the_numbers_are_those_of_each_library() -> None:
    seed_everything(3)
    expected = random.Random(3).random(), np.random.RandomState(3).rand()
    assert draw() == (*expected, torch.rand((), generator=torch.Generator().manual_seed(3)).item())


def test_the_environment_gives_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seed_everything() == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "42")
    assert seed_everything() == 42


def test_the_environment_tells_processes_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    seed_everything(5, workers=True)
    assert (os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]) == ("5", "1")
    seed_everything(5)
    assert os.environ["PL_SEED_WORKERS"] == "0"


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "seed must be between 0 and 4294967295, but is -1; use e.g. 4294967295"),
        (2**32, "seed must be between 0 and 4294967295, but is 4294967296; use e.g. 0"),
        ("abc", "seed must be a whole number between 0 and 4294967295, but is 'abc'"),
        ([1], r"but is \[1\]"),
    ],
)
def test_a_bad_seed_is_said(seed: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seed_everything(seed)


def test_a_bad_seed_of_the_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "abc")
    with pytest.raises(ValueError, match="PL_GLOBAL_SEED must be a whole number, but is 'abc'"):
        seed_everything()


def test_random_states_can_be_kept_apart() -> None:
    seed_everything(1)
    expected = draw()
    seed_everything(1)
    with isolate_rng():
        draw()
        seed_everything(99)
    assert draw() == expected
    seed_everything(1)
    with pytest.raises(ZeroDivisionError), isolate_rng():
        draw()[0] / 0
    assert draw() == expected


class Drawing(Dataset[float]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> float:
        return float(np.random.rand())


def test_loader_workers_draw_the_same_in_each_run_and_differ_among_themselves() -> None:
    def drawn() -> list[float]:
        seed_everything(11)
        loader: Any = DataLoader(Drawing(), batch_size=None, num_workers=2, worker_init_fn=seed_worker)
        return [float(value) for value in loader]

    first = drawn()
    assert first == drawn()
    assert first[0] != first[1]
