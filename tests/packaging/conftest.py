"""The built wheels: those of the nox session, or fresh ones where pytest was called by hand."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that holds the wheels and sdists of all five distributions."""
    prebuilt = os.environ.get("FULMEN_WHEELS")
    if prebuilt:
        return Path(prebuilt)
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(["uv", "build", "--quiet", "--all-packages", "--out-dir", folder], cwd=ROOT, check=True)
    return folder
