"""What the tests of all packages share: an SDK that is missing must never hide in a row of skips."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator

import pytest


def _is_installed(sdk: str) -> bool:
    return importlib.util.find_spec(sdk) is not None


def pytest_configure(config: pytest.Config) -> None:
    # Advice that tiny runs get: they end before the first log boundary, and have no limit because they end by an error.
    config.addinivalue_line("filterwarnings", "ignore:FUL00[79]")
    required = [sdk for sdk in os.environ.get("FULMEN_REQUIRE_SDKS", "").split(",") if sdk]
    missing = [sdk for sdk in required if not _is_installed(sdk)]
    if missing:
        raise pytest.UsageError(f"FULMEN_REQUIRE_SDKS names {', '.join(missing)}: not installed here")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `sdk(name)` where that SDK is absent; one that is there but broken fails."""
    for marker in item.iter_markers("sdk"):
        if not _is_installed(marker.args[0]):
            pytest.skip(f'needs {marker.args[0]}: pip install "fulmen[{marker.args[0]}]"')


@pytest.fixture(autouse=True)
def _advice_of_this_test_alone() -> Iterator[None]:
    """What one test was advised of, the next is advised of again, although advice is given once in a process."""
    yield
    advice = sys.modules.get("fulmen.advice")
    if advice is not None:
        advice.forget()
