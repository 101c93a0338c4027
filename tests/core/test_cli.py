"""The ``fulmen`` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

import fulmen
from fulmen.cli import main
from fulmen.tracking.run import Run


def run_with_points(folder: Path, count: int = 3) -> None:
    run = Run(folder, [], name="lightning_logs", version=folder.name)
    for step in range(count):
        run.log_metrics({"a": step / 2}, step)
    run.finalize("success")
    run.close()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert fulmen.__version__ in capsys.readouterr().out


def test_plugins_lists_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["loggers", "callbacks", "metrics"]


def test_sync_refuses_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(tmp_path), "--to", "csv"]) == 1
    assert "holds no journal.jsonl" in capsys.readouterr().err


def test_sync_names_an_unknown_logger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_with_points(tmp_path / "version_0")
    assert main(["sync", str(tmp_path / "version_0"), "--to", "cvs"]) == 1
    assert "there is no logger named 'cvs'" in capsys.readouterr().err


class Collects(fulmen.loggers.Logger):
    """A tracker of which all objects write into one list."""

    interface = (1, 0)
    points: ClassVar[list[Any]] = []
    ends: ClassVar[list[str]] = []

    def __init__(self, project: str = "none") -> None:
        self.project = project

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.points.append((self.project, step, dict(metrics)))

    def log_hyperparams(self, params: Any) -> None:
        pass

    def finalize(self, status: str) -> None:
        self.ends.append(status)


def test_sync_delivers_a_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fulmen.defaults.load", lambda group, name: Collects)
    folder = tmp_path / "lightning_logs" / "version_0"
    run_with_points(folder)
    for _ in range(2):
        assert main(["sync", str(folder), "--to", "collects:project=p"]) == 0
    assert Collects.points == [("p", step, {"a": step / 2}) for step in range(3)]
    assert set(Collects.ends) == {"success"}
    assert "has the whole run" in capsys.readouterr().out
    kinds = [json.loads(line)["kind"] for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert kinds.count("metrics") == 3
