"""The rules of names and sizes that keep the rooms findable."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(ROOT.glob("packages/*/src/**/*.py"))
NAMES_THAT_SAY_NOTHING = {"base", "common", "helper", "helpers", "misc", "util", "utils"}
LONGEST_FILE_WITHOUT_A_REASON = 400


def _label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module_name(path: Path) -> str:
    return path.parent.name if path.stem == "__init__" else path.stem


def test_modules_are_found() -> None:
    assert len(MODULES) >= 4


@pytest.mark.parametrize("path", MODULES, ids=_label)
def test_name_says_what_is_inside(path: Path) -> None:
    assert _module_name(path) not in NAMES_THAT_SAY_NOTHING


@pytest.mark.parametrize("path", MODULES, ids=_label)
def test_name_is_not_one_of_the_standard_library(path: Path) -> None:
    assert _module_name(path) not in sys.stdlib_module_names


@pytest.mark.parametrize("path", MODULES, ids=_label)
def test_long_file_states_why(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    if text.count("\n") > LONGEST_FILE_WITHOUT_A_REASON:
        assert "400 lines" in docstring, "say in the module's docstring why it is longer than 400 lines"
