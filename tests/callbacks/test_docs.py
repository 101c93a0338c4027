"""Every callback is in ``docs/callbacks.md`` with an example; ``tests/docs`` runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fulmen_callbacks
from fulmen.callback import Callback

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/callbacks.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
CALLBACKS = [name for name in fulmen_callbacks.__all__ if issubclass(getattr(fulmen_callbacks, name), Callback)]


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_has_a_section_with_an_example(name: str) -> None:
    text = next((text for title, text in SECTIONS.items() if re.search(rf"\b{name}\b", title)), None)
    assert text is not None, f"docs/callbacks.md has no section on {name}"
    assert re.search(rf"```python.*?\b{name}[()].*?```", text, re.DOTALL), f"the section on {name} has no example"


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_is_in_the_table_and_in_the_api(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE)
    module = getattr(fulmen_callbacks, name).__module__
    assert f"::: {module}\n" in (ROOT / "docs/api/callbacks.md").read_text(encoding="utf-8")
