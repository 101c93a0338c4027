from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fulmen.logger import Logger
from fulmen.testing import LoggerConformance, ReadBack
from fulmen.testing.logger_conformance import (
    StoredGraph,
    StoredHistogram,
    StoredImage,
    StoredMedia,
    StoredTable,
)

pytestmark = pytest.mark.sdk("tensorboard")


def make_logger(folder: Path, **kwargs: Any) -> Any:
    from fulmen_loggers import TensorBoardLogger

    return TensorBoardLogger(folder, **kwargs)


def _events(folder: str) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    everything = dict.fromkeys(("audio", "histograms", "images", "scalars", "tensors"), 0)
    events = EventAccumulator(folder, size_guidance=everything, purge_orphaned_data=False)
    return events.Reload()


def _in_time(events: Any) -> Any:
    """Two files that were begun within a second are read by their names, whose counters `10` comes before `9`."""
    return sorted(events, key=lambda event: event.wall_time)


def _words(events: Any) -> list[tuple[str, int, str]]:
    return [
        (tag.removesuffix("/text_summary"), event.step, event.tensor_proto.string_val[0].decode("utf-8"))
        for tag in events.Tags()["tensors"]
        if tag.endswith("/text_summary")
        for event in events.Tensors(tag)
    ]


def _hparams(events: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData()
    with contextlib.suppress(KeyError):  # there are none
        data.ParseFromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    values = data.session_start_info.hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}


class TestTensorBoardLoggerConforms(LoggerConformance):
    sdk_modules = ("tensorboard",)
    relative_tolerance = 2**-24  # it keeps 32-bit floats
    own_points = frozenset({"hp_metric"})

    def make(self, folder: Path) -> Logger:
        logger: Logger = make_logger(folder)
        return logger

    def read_back(self, folder: Path, logger: Logger) -> ReadBack:
        assert logger.log_dir is not None
        events = _events(logger.log_dir)
        words = _words(events)
        # The logger's layout: KEY or KEY/INDEX for pictures, and their captions as numbered lines of
        # KEY/captions.
        captions: dict[tuple[str, int], list[str]] = {}
        for key, step, text in words:
            if key.endswith("/captions"):
                lines = [re.sub(r"^\d+\. ", "", line) for line in text.split("\n")]
                captions[key.removesuffix("/captions"), step] = lines
        images, videos, audios = [], [], []
        for tag in events.Tags()["images"]:
            key, _, index = tag.rpartition("/")
            if not index.isdigit():
                key, index = tag, "0"
            for event in events.Images(tag):
                caption = captions.get((key, event.step), [""] * (int(index) + 1))[int(index)]
                if event.encoded_image_string.startswith(b"GIF"):
                    videos.append(StoredMedia(key, event.step, event.encoded_image_string, caption))
                else:
                    images.append(StoredImage(key, event.step, event.encoded_image_string, caption))
        for tag in events.Tags()["audio"]:
            key, _, index = tag.rpartition("/")
            if not index.isdigit():
                key, index = tag, "0"
            for event in events.Audio(tag):
                caption = captions.get((key, event.step), [""] * (int(index) + 1))[int(index)]
                audios.append(StoredMedia(key, event.step, event.encoded_audio_string, caption))
        histograms = [
            StoredHistogram(
                tag,
                event.step,
                [event.histogram_value.min, *event.histogram_value.bucket_limit],
                event.histogram_value.bucket,
            )
            for tag in events.Tags()["histograms"]
            for event in events.Histograms(tag)
        ]
        graph = None
        if events.Tags()["graph"]:
            graph = StoredGraph(nodes={node.name: list(node.input) for node in events.Graph().node})
        tables = []
        for key, step, text in words:
            if text.startswith("| "):
                columns, _, *rows = [line[2:-2].split(" | ") for line in text.split("\n")]
                tables.append(StoredTable(key, step, columns, rows))
        return ReadBack(
            points={
                tag: [(event.step, event.value) for event in _in_time(events.Scalars(tag))]
                for tag in events.Tags()["scalars"]
            },
            hparams=_hparams(events),
            images=images,
            texts=[word for word in words if not word[0].endswith("/captions") and not word[2].startswith("| ")],
            tables=tables,
            histograms=histograms,
            audios=audios,
            videos=videos,
            graph=graph,
        )


def test_groups_of_metrics_are_drawn_together(tmp_path: Path) -> None:
    logger = make_logger(tmp_path)
    logger.log_metrics({"loss": {"train": 1.0, "val": 2.0}}, step=3)
    logger.shut("success")
    for name, value in (("train", 1.0), ("val", 2.0)):
        (event,) = _events(f"{logger.log_dir}/loss_{name}").Scalars("loss")
        assert (event.step, event.value) == (3, value)


def test_wall_time_is_the_time_at_which_it_was_logged(tmp_path: Path) -> None:
    logger = make_logger(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0, 1.5e9)
    logger.shut("success")
    assert [event.wall_time for event in _events(logger.log_dir).Scalars("loss")] == [1.5e9]


@pytest.mark.parametrize(
    ("arguments", "options", "points"),
    [
        ((), {}, {"hp_metric": [-1.0]}),
        ((0.5,), {}, {"hp_metric": [0.5]}),
        (({"best/acc": 0.75},), {}, {"best/acc": [0.75]}),
        (({"best/acc": 0.75},), {"prefix": "p"}, {"p-best/acc": [0.75]}),
        ((), {"default_hp_metric": False}, {}),
    ],
)
def test_hyperparams_stand_beside_metrics(
    tmp_path: Path, arguments: tuple[Any, ...], options: dict[str, Any], points: dict[str, list[float]]
) -> None:
    logger = make_logger(tmp_path, **options)
    logger.log_hyperparams({"lr": 0.1, "net": {"depth": 2}}, *arguments)
    logger.shut("success")
    events = _events(logger.log_dir)
    assert {tag: [event.value for event in _in_time(events.Scalars(tag))] for tag in events.Tags()["scalars"]} == points
    assert _hparams(events) == ({"lr": 0.1, "net/depth": 2.0} if points else {})
    written = yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text(encoding="utf-8"))
    assert written == {"lr": 0.1, "net": {"depth": 2}}


def test_hyperparams_that_come_too_late_to_be_shown_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = make_logger(tmp_path)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_hyperparams({"depth": 2})
    logger.save()
    with caplog.at_level(logging.WARNING, "fulmen_loggers.tensorboard"):
        logger.log_hyperparams({"depth": 3})
        logger.log_hyperparams({"width": 4})
        logger.log_hyperparams({"width": 4})
    logger.shut("success")
    assert _hparams(_events(logger.log_dir)) == {"lr": 0.1, "depth": 2.0}
    (said,) = [record.getMessage() for record in caplog.records]
    assert "later came width" in said
    written = yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text(encoding="utf-8"))
    assert written == {"lr": 0.1, "depth": 3, "width": 4}


def test_folders(tmp_path: Path) -> None:
    logger = make_logger(tmp_path, name="mine", version=4, sub_dir="part")
    assert logger.root_dir == str(tmp_path / "mine")
    assert logger.sub_dir == "part"
    assert logger.log_dir == str(tmp_path / "mine" / "version_4" / "part")
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.shut("success")
    assert _events(logger.log_dir).Scalars("loss")[0].value == 1.0


def test_further_arguments_go_to_the_writer(tmp_path: Path) -> None:
    logger = make_logger(tmp_path, filename_suffix=".mine")
    logger.experiment.add_scalar("own", 2.0, 1)
    logger.shut("success")
    (path,) = Path(logger.log_dir).glob("events.*")
    assert path.name.endswith(".mine")
    assert _events(logger.log_dir).Scalars("own")[0].value == 2.0


def test_graph_is_drawn_where_asked_for(tmp_path: Path) -> None:
    logger = make_logger(tmp_path)
    logger.log_graph(torch.nn.Linear(3, 2), torch.zeros(1, 3))
    logger.shut("success")
    nodes = [node.name for node in _events(logger.log_dir).Graph().ListFields()[0][1]]
    assert nodes == ["input_0", "weight", "bias", "linear", "output_0"]


def test_a_graph_without_an_input_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_logger(tmp_path).log_graph(torch.nn.Linear(3, 2))
    assert "example_input_array" in caplog.text


def test_log_graph_has_the_trainer_show_the_model(tmp_path: Path) -> None:
    assert not make_logger(tmp_path).wants_graph
    assert make_logger(tmp_path, log_graph=True).wants_graph


def test_a_killed_process_leaves_all_that_was_saved(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from fulmen_loggers import TensorBoardLogger\n"
        "logger = TensorBoardLogger(sys.argv[1], version=0)\n"
        "[logger.log_metrics({'loss': float(step)}, step) for step in range(50)]\n"
        "logger.save()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    outcome = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, check=False)
    assert outcome.returncode == -9, outcome.stderr
    events = _events(str(tmp_path / "lightning_logs" / "version_0")).Scalars("loss")
    assert [event.value for event in events] == [float(step) for step in range(50)]
