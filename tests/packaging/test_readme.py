"""The program in the README runs as it stands and leaves what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_program_in_the_readme_runs(tmp_path: Path) -> None:
    program = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert program is not None
    subprocess.run([sys.executable, "-c", program[1]], cwd=tmp_path, check=True)
    run = tmp_path / "lightning_logs" / "version_0"
    left_behind = {path.name for path in run.iterdir()}
    assert {"journal.jsonl", "hparams.yaml", "metrics.csv", "checkpoints"} <= left_behind
