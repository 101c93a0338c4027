"""What all parts of the conformance kit share: standard tests that a plug-in can neither replace nor lose."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest


class Conformance:
    """Base class of the kits: a subclass says how to make the plug-in, and has all tests.

    Pytest collects every subclass that supplies ``make``, whatever its name.
    """

    #: Standard tests that the plug-in cannot pass, with the reason. A test listed here that passes is a
    #: failure.
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "make" not in dir(cls) or cls.__module__.startswith("fulmen.testing."):
            return
        standard = _standard_tests(cls)
        for name in vars(cls):
            if name in standard:
                raise TypeError(
                    f"{cls.__name__} overrides the standard test {name}; name it in `expected_failures` with "
                    "the reason, or give a test of your own another name"
                )
        unknown = sorted(cls.expected_failures.keys() - standard.keys())
        if unknown:
            raise TypeError(f"{cls.__name__}.expected_failures names {unknown}, which are no standard tests")
        for name, reason in cls.expected_failures.items():
            # A copy, because a mark sits on the function, and that belongs to every plug-in's tests.
            copy = types.FunctionType(
                standard[name].__code__, standard[name].__globals__, name, standard[name].__defaults__
            )
            copy.__dict__.update(standard[name].__dict__)
            copy.pytestmark = list(getattr(copy, "pytestmark", []))  # type: ignore[attr-defined]
            setattr(cls, name, pytest.mark.xfail(reason=reason, strict=True)(copy))


def _standard_tests(cls: type) -> dict[str, Callable[..., Any]]:
    return {
        name: value
        for kit in cls.__mro__
        if kit.__module__.startswith("fulmen.testing.")
        for name, value in vars(kit).items()
        if name.startswith("test_") and callable(value)
    }
