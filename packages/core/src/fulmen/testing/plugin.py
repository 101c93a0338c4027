"""Pytest's side of the conformance kit: collects every kit class that says how to make a plug-in.

Pytest collects classes called ``Test...``; a kit class under another name would pass by not running at all.
"""

from __future__ import annotations

import inspect
import sys

import pytest

pytest.register_assert_rewrite("fulmen.testing.callback_conformance", "fulmen.testing.logger_conformance")


def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> pytest.Class | None:
    """Collect subclasses of ``Conformance`` that supply ``make``; the kits themselves are no tests."""
    kit = sys.modules.get("fulmen.testing.conformance")
    if kit is None or not inspect.isclass(obj) or not issubclass(obj, kit.Conformance):
        return None
    if obj.__module__.startswith("fulmen.testing.") or not hasattr(obj, "make"):
        return None
    item: pytest.Class = pytest.Class.from_parent(collector, name=name, obj=obj)
    return item
