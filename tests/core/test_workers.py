"""How many workers a loader may have."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fulmen.data.workers import suggested_max_num_workers
from fulmen.errors import MisconfigurationException


@pytest.mark.parametrize(("cpus", "processes", "workers"), [(8, 1, 7), (8, 2, 3), (2, 1, 1), (1, 1, 1), (4, 8, 1)])
def test_each_process_keeps_a_core(monkeypatch: pytest.MonkeyPatch, cpus: int, processes: int, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    assert suggested_max_num_workers(processes) == workers


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    counts: Any = iter([6, None])
    monkeypatch.setattr(os, "cpu_count", lambda: next(counts))
    assert suggested_max_num_workers(1) == 5
    assert suggested_max_num_workers(1) == 1


def test_no_process_is_an_error() -> None:
    with pytest.raises(MisconfigurationException, match="`local_world_size` must be >= 1, but is 0"):
        suggested_max_num_workers(0)
