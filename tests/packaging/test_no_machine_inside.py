"""No file of the repository names the machine or the registry where it was written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC_HOSTS = {"", "pypi.org", "files.pythonhosted.org", "download.pytorch.org"}
OPTIONS = ("find-links", "index-url", "extra-index-url")


def _files() -> list[Path]:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def _registry_settings() -> list[str]:
    """Return what pip and uv are told of registries here, from their variables and pip's configuration."""
    variables = [value for name, value in os.environ.items() if re.fullmatch(r"(PIP|UV)_.*(LINKS|INDEX).*", name)]
    pip_config = [sys.executable, "-m", "pip", "config", "get"]
    configured = [
        subprocess.run([*pip_config, f"global.{option}"], capture_output=True, text=True, check=False).stdout
        for option in OPTIONS
    ]
    return [part for text in (*variables, *configured) for part in re.split(r"[\s,]+", text) if part]


def _traces_of_this_machine() -> set[str]:
    traces = {f"{ROOT}/", f"{sys.prefix}/", f"{Path.home()}/"}
    for setting in _registry_settings():
        url = urlsplit(setting)
        if url.hostname:
            traces.update({url.hostname} - PUBLIC_HOSTS)
        else:
            traces.add(url.path.rstrip("/"))
    return {trace for trace in traces if len(trace) > 3}


def test_no_file_names_this_machine_or_its_registry() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing tells our files from others")
    traces = _traces_of_this_machine()
    found = [
        f"{path.relative_to(ROOT)} names {trace}"
        for path in _files()
        for trace in traces
        if trace.encode() in path.read_bytes()
    ]
    assert found == []
