"""Warnings that may be false alarms can be silenced, from the program and from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest

import fulmen
from fulmen.errors import PossibleUserWarning

PROGRAM = """
import sys, warnings, fulmen
from fulmen.errors import PossibleUserWarning
warnings.warn("perhaps", PossibleUserWarning)
warnings.warn("surely")
"""


def test_the_program_silences_them() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fulmen.disable_possible_user_warnings("elsewhere")
        warnings.warn("perhaps", PossibleUserWarning, stacklevel=1)
        fulmen.disable_possible_user_warnings()
        warnings.warn("perhaps again", PossibleUserWarning, stacklevel=1)
        warnings.warn("surely", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["perhaps", "surely"]


@pytest.mark.parametrize(("value", "shown"), [("off", False), ("0", False), ("on", True)])
def test_the_environment_silences_them(value: str, shown: bool) -> None:
    environment = {**os.environ, "POSSIBLE_USER_WARNINGS": value}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert ("perhaps" in ended.stderr) == shown
    assert "surely" in ended.stderr
