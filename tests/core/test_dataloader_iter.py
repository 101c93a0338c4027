"""Steps that fetch their batches themselves: ``training_step(self, dataloader_iter)``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import fulmen
from fulmen.errors import MisconfigurationException

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    **dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False),
}
BATCHES = [torch.full((2, 1), float(number)) for number in range(4)]


class Stream:
    """Batches without a length."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(BATCHES)


class Fetches(fulmen.LightningModule):
    """Fetches ``count`` batches a step; notes what steps and hooks see."""

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.count = count
        self.layer = nn.Linear(1, 1)
        self.seen: list[Any] = []

    def training_step(self, dataloader_iter: Iterator[Any]) -> Any:
        for _ in range(self.count):
            batch, batch_idx, dataloader_idx = next(dataloader_iter)
            self.seen.append(("step", int(batch[0]), batch_idx, dataloader_idx))
        self.log("loss", float(batch[0]), on_step=False, on_epoch=True)
        return self.layer(batch).sum()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(("start", None if batch is None else int(batch[0])))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(("end", int(batch[0]), self.trainer.is_last_batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize("loader", [BATCHES, Stream()], ids=["length", "stream"])
def test_a_step_fetches_by_itself_and_hooks_see_what_was_fetched_last(loader: Any) -> None:
    model = Fetches()
    trainer = fulmen.Trainer(**QUIET, max_epochs=1)
    trainer.fit(model, loader)
    # The order and the batches are those of Lightning 2.6.6.
    assert model.seen[:6] == [
        ("start", None),
        ("step", 0, 0, 0),
        ("end", 0, False),
        ("start", 0),
        ("step", 1, 1, 0),
        ("end", 1, False),
    ]
    assert model.seen[-1] == ("end", 3, True)
    assert trainer.global_step == 4
    assert float(trainer.callback_metrics["loss"]) == 1.5


def test_a_step_may_fetch_several_and_one_that_finds_none_ends_the_epoch() -> None:
    model = Fetches(3)
    trainer = fulmen.Trainer(**QUIET, max_epochs=2)
    trainer.fit(model, BATCHES)
    per_epoch = [item[1] for item in model.seen if item[0] == "step"]
    assert per_epoch == [0, 1, 2, 3] * 2  # the second step finds the last one only, and is not finished
    assert trainer.global_step == 2
    assert trainer.current_epoch == 2


def test_a_limit_holds() -> None:
    model = Fetches()
    fulmen.Trainer(**QUIET, max_epochs=1, limit_train_batches=2).fit(model, BATCHES)
    assert [item[1] for item in model.seen if item[0] == "step"] == [0, 1]


class Evaluates(Fetches):
    def validation_step(self, dataloader_iter: Iterator[Any]) -> None:
        batch, batch_idx, dataloader_idx = next(dataloader_iter)
        self.seen.append((int(batch[0]), batch_idx, dataloader_idx))
        self.log("val", batch.mean())

    def predict_step(self, dataloader_iter: Iterator[Any]) -> Any:
        return next(dataloader_iter)[0] * 2


def test_evaluation_and_prediction_may_fetch_too() -> None:
    model = Evaluates()
    trainer = fulmen.Trainer(**QUIET)
    loaders = [BATCHES[:2], BATCHES[2:]]
    assert trainer.validate(model, [Listed(loader) for loader in loaders], verbose=False) == [
        {"val/dataloader_idx_0": 0.5},
        {"val/dataloader_idx_1": 2.5},
    ]
    assert model.seen == [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)]
    predictions = trainer.predict(model, BATCHES)
    assert [int(one[0]) for one in predictions or ()] == [0, 2, 4, 6]
    with pytest.raises(MisconfigurationException, match="goes through one loader, but there are 2"):
        trainer.predict(model, [Listed(loader) for loader in loaders])


class Listed:
    """A loader that is no list."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def test_what_cannot_work_is_said_before_training() -> None:
    class Moves(Fetches):
        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            return batch

    class Lbfgs(Fetches):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters())

    with pytest.raises(MisconfigurationException, match="overridden hooks of batch transfer would never run"):
        fulmen.Trainer(**QUIET, max_epochs=1).fit(Moves(), BATCHES)
    with pytest.raises(MisconfigurationException, match="another batch in each evaluation that LBFGS makes"):
        fulmen.Trainer(**QUIET, max_epochs=1).fit(Lbfgs(), BATCHES)
