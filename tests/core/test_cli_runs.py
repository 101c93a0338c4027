"""``fulmen runs`` and ``fulmen show`` tell what is in the journals."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from fulmen.cli import main
from fulmen.cli.plot import draw
from fulmen.tracking.history import RunHistory
from fulmen.tracking.lock import RunLock
from fulmen.tracking.run import Run


def make_run(folder: Path, values: list[float], status: str | None, rewind_to: int | None = None) -> None:
    run = Run(folder, [], name="a", version="b", rewind_to=rewind_to)
    run.log_hyperparams({"lr": 0.1, "model": {"depth": 3}})
    for step, value in enumerate(values):
        run.log_metrics({"loss": value, "epoch": 0}, step)
    run.log_text("words", "hello", 1)
    if status is None:
        run._journal.sync()
        run._closing.acquire()
        run._journal.close()  # as a process that was killed leaves it
        run._lock.release()
    else:
        run.finalize(status)
        run.close()


def test_runs_lists_status_and_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "logs/version_0", [3.0, 1.0, 2.0], "success")
    make_run(tmp_path / "logs/version_1", [5.0, math.nan], "failed")
    make_run(tmp_path / "other", [], None)
    assert main(["runs", str(tmp_path)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert "loss (best min)" in header
    assert "epoch" not in header
    by_name = {Path(line.split()[0]).name: line for line in lines}
    assert list(by_name) == ["version_0", "version_1", "other"], "the oldest first"
    assert "success" in by_name["version_0"] and by_name["version_0"].endswith("3      2 (1)")  # noqa: PT018
    assert "failed" in by_name["version_1"] and by_name["version_1"].endswith("nan (5)")  # noqa: PT018
    assert "killed" in by_name["other"]

    assert main(["runs", str(tmp_path), "--best", "max", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["status"] for run in found] == ["success", "failed", "killed"]
    assert found[0]["metrics"]["loss"] == {"count": 3, "last": 2.0, "best": 3.0, "best_step": 0}
    assert found[1]["metrics"]["loss"]["last"] == "nan"
    assert found[0]["params"] == {"lr": 0.1, "model": {"depth": 3}}


def test_a_run_that_is_written_is_running(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [1.0], None)
    assert RunHistory.read(tmp_path / "run").status == "killed"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # another process holds the run
        lock = RunLock(tmp_path / "run")
        os.write(writer, b"held")
        while os.getppid() != 1 and not (tmp_path / "enough").exists():
            time.sleep(0.01)
        lock.release()
        os._exit(0)
    os.read(reader, 4)
    try:
        assert RunHistory.read(tmp_path / "run").status == "running"
    finally:
        (tmp_path / "enough").touch()
        os.waitpid(child, 0)


def test_show_prints_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run", [4.0, 2.0, 3.0], "interrupted")
    assert main(["show", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "interrupted after" in out
    assert "1 hparams, 3 metrics, 1 text" in out
    assert "model/depth" in out
    row = next(line for line in out.splitlines() if line.startswith("  loss"))
    assert row.split() == ["loss", "3", "4", "3", "2", "1"]
    assert "└" in out

    assert main(["show", str(tmp_path / "run"), "--metric", "loss", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["loss"]["values"] == [4.0, 2.0, 3.0]


def test_what_a_resumed_run_replaced_does_not_count(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [4.0, 2.0, 3.0, 9.0], None)
    # open, hparams, four metrics, text: the checkpoint was saved before step 2.
    make_run(tmp_path / "run", [7.0], "success", rewind_to=4)
    history = RunHistory.read(tmp_path / "run")
    assert history.series["loss"].values == [4.0, 2.0, 7.0]
    assert history.processes == 2
    assert history.status == "success"


def test_damage_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run", [4.0, 2.0, 3.0], "success")
    journal = tmp_path / "run/journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"loss":2.0', b'"loss":2.5'))
    assert main(["show", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "damaged: line 4 at byte" in out
    assert "2.5" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "{}"], "holds no journal.jsonl"),
        (["runs", "{}/nowhere"], "there is no folder"),
        (["show", "{}/run", "--metric", "lss"], "has no metric 'lss'; did you mean 'loss'?"),
    ],
)
def test_what_is_not_there_is_said(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "run", [1.0], "success")
    assert main([argument.replace("{}", str(tmp_path)) for argument in arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_plot_is_as_high_as_its_values() -> None:
    lines = draw([0, 1, 2, 3], [0.0, 1.0, math.inf, 0.5], width=20, height=4)
    assert lines[0].startswith("1 │")
    assert lines[3].startswith("0 │")
    assert lines[-1].split() == ["0", "3"]
    assert draw([0], [math.nan]) == ["(no finite values)"]
    assert len(draw([5], [2.0], height=3)) == 5
