"""ModelSummary and the summary that it prints."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.summary import human_readable_count, summarize
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import ModelSummary


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 200), nn.BatchNorm1d(200), nn.Dropout())
        self.head = nn.Linear(200, 2)
        self.head.requires_grad_(False)
        self.scale = nn.Parameter(torch.zeros(3))
        self.body[2].eval()


def test_numbers() -> None:
    summary = summarize(Model())
    assert summary.layer_names == ["body", "head"]
    assert summary.layer_types == ["Sequential", "Linear"]
    assert summary.param_nums == [2200 + 400, 402]
    assert summary.trainable_parameters == 2600 + 3
    assert summary.non_trainable_parameters == 402
    assert summary.total_parameters == 3005
    assert summary.own_parameters == 3
    assert summary.model_size == pytest.approx(3005 * 4 / 1e6)
    assert (summary.modules_in_train_mode, summary.modules_in_eval_mode) == (4, 1)


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, []),
        (1, ["body", "head"]),
        (2, ["body", "body.0", "body.1", "body.2", "head"]),
        (-1, ["body", "body.0", "body.1", "body.2", "head"]),
    ],
)
def test_depth(depth: int, names: list[str]) -> None:
    assert summarize(Model(), max_depth=depth).layer_names == names


def test_depth_that_cannot_work() -> None:
    with pytest.raises(MisconfigurationException, match="must be >= -1, but is -2"):
        summarize(Model(), max_depth=-2)


def test_table() -> None:
    assert str(summarize(Model(), max_depth=2)).splitlines() == [
        "Layer               Type         Params  Mode",
        "------------------------------------------------------",
        "body                Sequential    2.6 K  train",
        "body.0              Linear        2.2 K  train",
        "body.1              BatchNorm1d   400    train",
        "body.2              Dropout         0    eval",
        "head                Linear        402    train, frozen",
        "(the model itself)                  3",
        "------------------------------------------------------",
        "2.6 K  trainable parameters",
        "402    non-trainable parameters",
        "3.0 K  parameters in all: 0.012 MB",
        "  5    layers: 4 in train mode, 1 in eval mode",
    ]


def test_shared_parameters_count_once_in_all() -> None:
    layer = nn.Linear(4, 4, bias=False)
    summary = summarize(nn.Sequential(layer, layer, nn.Sequential(layer)))
    assert summary.total_parameters == 16


def test_parameters_of_other_precisions() -> None:
    assert summarize(nn.Linear(1000, 1000, bias=False).half()).model_size == pytest.approx(2.0)


def test_lazy_layers_count_as_nothing_yet() -> None:
    summary = summarize(nn.Sequential(nn.LazyLinear(3)))
    assert summary.total_parameters == 0
    assert str(summary).splitlines()[-1].startswith("Lazy layers count as 0")


def test_partly_frozen_layers_are_said_to_be() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)))
    model[0][0].requires_grad_(False)  # type: ignore[index, union-attr, operator]
    assert "train, partly frozen" in str(summarize(model))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 K"),
        (999_949, "999.9 K"),
        (999_950, "1.0 M"),
        (12_345_678, "12.3 M"),
        (7_000_000_000, "7.0 B"),
        (1_200_000_000_000, "1.2 T"),
    ],
)
def test_counts_in_words(number: int, words: str) -> None:
    assert human_readable_count(number) == words


@pytest.mark.parametrize(("depth", "is_shown"), [(1, True), (-1, True), (0, False)])
def test_fit_prints_it(tmp_path: Path, caplog: pytest.LogCaptureFixture, depth: int, is_shown: bool) -> None:
    trainer = fulmen.Trainer(
        accelerator="cpu",
        callbacks=[ModelSummary(depth)],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        logger=False,
        max_epochs=1,
    )
    with caplog.at_level(logging.INFO, logger="fulmen"):
        trainer.fit(TinyClassifier())
    assert ("563    parameters in all" in caplog.text) == is_shown
