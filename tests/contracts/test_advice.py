"""The table of codes, its page in the documentation and the tests hold the same codes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def codes_of_the_table() -> dict[str, str]:
    tree = ast.parse((ROOT / "packages/core/src/fulmen/advice.py").read_text(encoding="utf-8"))
    tables = [
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "CODES"
    ]
    assert len(tables) == 1
    table: dict[str, str] = ast.literal_eval(tables[0])  # type: ignore[arg-type]
    return table


def test_the_page_has_each_code_once_with_its_title() -> None:
    page = (ROOT / "docs/advice.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (FUL\d{3}): (.*)$", page, re.MULTILINE)
    assert len(headings) == len(dict(headings))
    assert dict(headings) == codes_of_the_table()


def test_codes_are_in_order_and_leave_those_of_old_spellings_alone() -> None:
    codes = list(codes_of_the_table())
    assert codes == sorted(codes)
    assert all("FUL001" <= code < "FUL100" for code in codes)


def test_each_code_is_given_somewhere() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("packages/*/src/**/*.py"))
    given = set(re.findall(r'(?:advise|say)\(\s*"(FUL0\d\d)"', sources))
    assert given == set(codes_of_the_table())


def test_each_code_has_a_test_that_names_or_expects_it() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/test_*.py"))
    named = re.findall(r"def test_((?:ful\d{3}_(?:and_)?)+)", tests)
    expected = re.findall(r'pytest\.warns\([^\n]*match=r?"(FUL\d{3})', tests)
    assert set(codes_of_the_table()) <= {*expected, *(code.upper() for names in named for code in names.split("_"))}
