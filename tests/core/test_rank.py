"""Functions that run in the first process only."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import pytest

from fulmen.errors import FulmenDeprecationWarning
from fulmen.rank import (
    WarningCache,
    global_rank,
    is_global_zero,
    rank_prefixed_message,
    rank_zero_debug,
    rank_zero_deprecation,
    rank_zero_info,
    rank_zero_only,
    rank_zero_warn,
)


@pytest.fixture
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        monkeypatch.delenv(name, raising=False)
    yield
    rank_zero_only.rank = None


pytestmark = pytest.mark.usefixtures("no_launcher")


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "3", "LOCAL_RANK": "1"}, 3),
        ({"LOCAL_RANK": "1"}, 1),
        ({"SLURM_PROCID": "2"}, 2),
        ({"JSM_NAMESPACE_RANK": "4"}, 4),
        ({"RANK": "none"}, 0),
    ],
)
def test_the_launcher_says_the_rank(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], rank: int) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert global_rank() == rank_zero_only.rank == rank
    assert is_global_zero() == (rank == 0)


def test_the_program_may_say_the_rank() -> None:
    rank_zero_only.rank = 1
    assert global_rank() == 1
    assert not is_global_zero()


def test_a_function_runs_in_the_first_process_only() -> None:
    @rank_zero_only
    def double(x: int) -> int:
        """Twice."""
        return 2 * x

    def triple(x: int) -> int:
        return 3 * x

    assert (double(4), rank_zero_only(triple, default=-1)(4)) == (8, 12)
    rank_zero_only.rank = 1
    assert (double(4), rank_zero_only(triple, default=-1)(4)) == (None, -1)
    assert (double.__name__, double.__doc__) == ("double", "Twice.")


def test_messages_come_from_the_first_process_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "fulmen"):
        rank_zero_info("an %s", "info")
        rank_zero_debug("a detail")
        rank_zero_only.rank = 1
        rank_zero_info("of another process")
        rank_zero_debug("of another process")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "an info"),
        ("DEBUG", "a detail"),
    ]


def test_a_warning_names_the_line_that_warns() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        rank_zero_warn("mind", category=RuntimeWarning)
        rank_zero_deprecation("old")
        WarningCache().warn("once")
        WarningCache().deprecation("old, once")
        rank_zero_only.rank = 1
        rank_zero_warn("of another process")
    assert [(warning.category, str(warning.message)) for warning in seen] == [
        (RuntimeWarning, "mind"),
        (FulmenDeprecationWarning, "old"),
        (UserWarning, "once"),
        (FulmenDeprecationWarning, "old, once"),
    ]
    first = seen[0].lineno
    assert [warning.filename for warning in seen] == [__file__] * 4
    assert [warning.lineno for warning in seen] == [first, first + 1, first + 2, first + 3]


def test_a_cache_says_each_message_once(caplog: pytest.LogCaptureFixture) -> None:
    cache = WarningCache()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        cache.warn("mind")
        cache.warn("mind")
    with caplog.at_level(logging.INFO, "fulmen"):
        cache.info("known")
        cache.info("known")
    assert [str(warning.message) for warning in seen] == ["mind"]
    assert len(caplog.records) == 1
    assert cache == {"mind", "known"}


def test_a_message_may_say_its_process() -> None:
    assert rank_prefixed_message("ready", 1) == "[rank: 1] ready"
    assert rank_prefixed_message("ready", None) == "ready"
