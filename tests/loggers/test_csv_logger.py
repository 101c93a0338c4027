from __future__ import annotations

import csv
import math
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

from fulmen.logger import Logger
from fulmen.testing import LoggerConformance, ReadBack
from fulmen_loggers import CSVLogger


def _points(path: Path) -> dict[str, list[tuple[int, float]]]:
    points: dict[str, list[tuple[int, float]]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for key, value in row.items():
                    if key != "step" and value:
                        points.setdefault(key, []).append((int(row["step"]), float(value)))
    return points


class TestCSVLoggerConforms(LoggerConformance):
    def make(self, folder: Path) -> Logger:
        return CSVLogger(folder)

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        assert isinstance(logger, CSVLogger)
        run = Path(logger.log_dir)
        hparams = run / "hparams.yaml"
        return ReadBack(
            points=_points(run / "metrics.csv"),
            hparams=yaml.safe_load(hparams.read_text(encoding="utf-8")) if hparams.exists() else {},
        )


def test_writes_a_row_for_each_call_and_a_column_for_each_metric(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 0.1}, step=0)
    logger.log_metrics({"acc, top 1": 1 / 3}, step=7)
    logger.shut("success")
    text = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text(encoding="utf-8")
    assert text == 'step,loss,"acc, top 1"\n0,0.1,\n7,,0.3333333333333333\n'


def test_takes_the_first_free_version(tmp_path: Path) -> None:
    assert [CSVLogger(tmp_path).version for _ in range(3)] == [0, 1, 2]
    assert CSVLogger(tmp_path, name="other", version="mine").log_dir == str(tmp_path / "other" / "mine")


def test_adds_to_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    for step, key in enumerate(["a", "b"]):
        logger = CSVLogger(tmp_path, version="same")
        logger.log_metrics({key: 1.5}, step=step)
        logger.shut("success")
    path = Path(logger.log_dir, "metrics.csv")
    assert path.read_text(encoding="utf-8") == "step,a,b\n0,1.5,\n1,,1.5\n"


def test_cuts_a_torn_last_row(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, version="same")
    path = Path(logger.log_dir, "metrics.csv")
    path.parent.mkdir(parents=True)
    path.write_text("step,a\n0,1.5\n1,2.", encoding="utf-8")
    logger.log_metrics({"a": 3.5}, step=2)
    logger.shut("success")
    assert path.read_text(encoding="utf-8") == "step,a\n0,1.5\n2,3.5\n"


def test_reads_a_file_with_other_line_ends(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, version="same")
    path = Path(logger.log_dir, "metrics.csv")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"epoch,loss,step\r\n0,1.5,9\r\n")
    logger.log_metrics({"loss": 1.25, "acc": 0.5}, step=19)
    logger.shut("success")
    assert path.read_text(encoding="utf-8") == "epoch,loss,step,acc\n0,1.5,9,\n,1.25,19,0.5\n"


def test_rows_wait_until_there_are_enough_or_save_is_called(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=3)
    path = Path(logger.log_dir, "metrics.csv")
    rows_on_disk = []
    for step in range(8):
        logger.log_metrics({"loss": 1.0}, step=step)
        rows_on_disk.append(len(_points(path).get("loss", [])))
    logger.save()
    assert rows_on_disk == [0, 0, 0, 3, 3, 3, 6, 6]
    assert len(_points(path)["loss"]) == 8


def test_a_row_that_could_not_be_written_is_there_once_after_another_try(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    path = Path(logger.log_dir, "metrics.csv")
    logger.log_metrics({"loss": 1.0}, step=0)
    aside = path.rename(path.with_name("aside.csv"))
    with pytest.raises(FileNotFoundError):
        logger.log_metrics({"loss": 2.0}, step=1)
    aside.rename(path)
    logger.log_metrics({"loss": 2.0}, step=1)
    logger.shut("success")
    assert _points(path) == {"loss": [(0, 1.0), (1, 2.0)]}


def test_no_step_means_the_number_of_the_row_and_a_metric_called_step_is_the_step(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 1.0})
    logger.log_metrics({"loss": 2.0})
    logger.log_metrics({"loss": 3.0, "step": 50.0}, step=2)
    logger.shut("success")
    lines = Path(logger.log_dir, "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["step,loss", "0,1.0", "1,2.0", "50.0,3.0"]


def test_prefix_stands_before_each_metric(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, prefix="run")
    logger.log_metrics({"loss": math.pi}, step=0)
    logger.shut("success")
    assert _points(Path(logger.log_dir, "metrics.csv")) == {"run-loss": [(0, math.pi)]}


def test_hyperparams_may_be_a_namespace(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_hyperparams(Namespace(lr=0.1, name="größe"))
    logger.shut("success")
    assert Path(logger.log_dir, "hparams.yaml").read_text(encoding="utf-8") == "lr: 0.1\nname: größe\n"


def test_experiment_takes_rows(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.experiment.append({"extra": 0.5}, step=4)
    logger.shut("success")
    assert _points(Path(logger.log_dir, "metrics.csv")) == {"extra": [(4, 0.5)]}
