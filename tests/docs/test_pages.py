"""The programs in the documentation run: each page's ``python`` blocks, in order, in an empty folder.

A block that is a fragment is fenced as ``py``, which is shown in the same way and not run.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {str(page.relative_to(DOCS)): BLOCK.findall(page.read_text("utf-8")) for page in sorted(DOCS.rglob("*.md"))}


def test_there_are_programs() -> None:
    assert sum(map(len, PAGES.values())) > 5


@pytest.mark.parametrize("page", [page for page, blocks in PAGES.items() if blocks])
def test_the_programs_of_a_page_run(page: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    # torchvision's wheel beside a CPU torch can be imported through this module only.
    first = "from fulmen.vision import torchvision\n" if importlib.util.find_spec("torchvision") else ""
    program.write_text(first + "\n\n".join(PAGES[page]), "utf-8")
    done = subprocess.run(
        [sys.executable, program.name], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
