"""SpikeDetection: what goes beyond the decisions in ``test_same_trainings.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen_callbacks import SpikeDetection, TrainingSpikeException


class Scripted(fulmen.LightningModule):
    """Its losses are given, one for each batch of the run."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses = losses

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.losses[self.global_step] + 0 * self.weight

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(losses: list[float], callback: SpikeDetection, folder: Path, batches: int, **arguments: Any) -> fulmen.Trainer:
    trainer = fulmen.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        max_epochs=-(-len(losses) // batches),
    )
    trainer.fit(Scripted(losses), torch.utils.data.DataLoader(torch.zeros(batches, 1)), **arguments)
    return trainer


def test_the_mean_goes_on_across_epochs(tmp_path: Path) -> None:
    callback = SpikeDetection(warmup=2)
    with pytest.raises(TrainingSpikeException, match="batch 0 of epoch 1; .*skip_batches.json") as raised:
        fit([1.0, 1.0, 1.0, 9.0, 1.0, 1.0], callback, tmp_path, batches=3)
    assert raised.value.batch_idx == 0
    assert callback.bad_batches == [0]  # the batch before belongs to another epoch
    assert json.loads((tmp_path / "skip_batches.json").read_text()) == [0]


def test_it_may_judge_now_and_then(tmp_path: Path) -> None:
    callback = SpikeDetection(check_every_n_steps=4)
    with pytest.raises(TrainingSpikeException) as raised:
        fit([1.0, 1.0, 1.0, 1.0, 1.0, 8.0, 1.0, 1.0, 1.0, 1.0], callback, tmp_path, batches=10)
    assert raised.value.batch_idx == 5
    assert callback.bad_batches == [4, 5]
    assert callback._seen == 8


def test_the_end_of_an_epoch_judges_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(TrainingSpikeException):
        fit([1.0, 1.0, 8.0], SpikeDetection(check_every_n_steps=100), tmp_path, batches=3)


def test_it_resumes_with_its_mean_and_keeps_its_arguments(tmp_path: Path) -> None:
    losses = [1.0, 1.1, 0.9, 1.0, 3.5, 1.0]
    trainer = fit(losses[:3], SpikeDetection(), tmp_path, batches=3)
    trainer.save_checkpoint(tmp_path / "three.ckpt")
    resumed = SpikeDetection(rtol=3.0)
    fit(losses, resumed, tmp_path, batches=3, ckpt_path=tmp_path / "three.ckpt")
    assert resumed.rtol == 3.0
    with pytest.raises(TrainingSpikeException) as raised:
        fit(losses, SpikeDetection(), tmp_path, batches=3, ckpt_path=tmp_path / "three.ckpt")
    assert raised.value.batch_idx == 1


def test_a_file_that_cannot_be_written_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    callback = SpikeDetection(exclude_batches_path=tmp_path / "file" / "skip.json")
    with pytest.raises(TrainingSpikeException, match=r"leave out the batches \[1, 2\] .*cannot be written"):
        fit([1.0, 1.0, 9.0], callback, tmp_path, batches=3)


def test_batches_that_train_nothing_are_passed_over(tmp_path: Path) -> None:
    class Skipping(Scripted):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    callback = SpikeDetection()
    with pytest.warns(UserWarning, match="training_step` returned None"):
        fulmen.Trainer(
            accelerator="cpu", callbacks=[callback], default_root_dir=tmp_path, logger=False, max_epochs=1
        ).fit(Skipping([1.0] * 3), torch.utils.data.DataLoader(torch.zeros(3, 1)))
    assert callback._seen == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "less"}, "'min' or 'max', but is 'less'"),
        ({"window": 0}, "`window` must be >= 1, but is 0"),
        ({"warmup": -1}, "`warmup` must be >= 0, but is -1"),
        ({"check_every_n_steps": 0}, "`check_every_n_steps` must be >= 1, but is 0"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        SpikeDetection(**arguments)
