"""One optimization step in its details: closures, what hooks are shown, clipping by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.errors import MisconfigurationException


class Line(fulmen.LightningModule):
    """Fits a line; notes what hooks get."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.shown: list[Any] = []
        self.backwards = 0
        self.steps = 0

    def loss(self, batch: Tensor) -> Tensor:
        return (self.layer(batch) - 1).pow(2).mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch)

    def on_before_backward(self, loss: Tensor) -> None:
        self.backwards += 1

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.steps += 1

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.shown.append(outputs)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


BATCHES = list(torch.linspace(-1, 1, 24).reshape(4, 3, 2))


def fit(model: Line, **options: Any) -> fulmen.Trainer:
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = fulmen.Trainer(**{"accelerator": "cpu", "max_epochs": 1, **quiet, **options})
    trainer.fit(model, BATCHES)
    return trainer


def test_hooks_are_shown_the_part_of_the_loss_that_backward_got() -> None:
    class Extra(Line):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return {"loss": self.loss(batch), "size": 3}

    model = Extra()
    with torch.no_grad():
        first = model.loss(BATCHES[0])
    fit(model, accumulate_grad_batches=4)
    assert model.shown[0] == {"loss": pytest.approx(float(first) / 4), "size": 3}
    assert not model.shown[0]["loss"].requires_grad


def test_a_skipped_step_shows_hooks_nothing() -> None:
    class Skips(Line):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return None if batch_idx == 1 else {"loss": self.loss(batch)}

    model = Skips()
    with pytest.warns(UserWarning, match="`training_step` returned None"):
        fit(model)
    assert [list(outputs) for outputs in model.shown] == [["loss"], [], ["loss"], ["loss"]]


class Lbfgs(Line):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.5, max_iter=3)


def test_a_closure_returns_the_loss_whose_gradients_it_computed() -> None:
    """LBFGS weighs loss and gradients against each other, so accumulation must divide both."""

    class Noting(torch.optim.LBFGS):
        def step(self, closure: Any) -> Any:  # type: ignore[override]
            def noting() -> Any:
                noted.append(closure())
                return noted[-1]

            return super().step(noting)

    class Model(Line):
        def configure_optimizers(self) -> Any:
            return Noting(self.parameters(), lr=0.5, max_iter=3)

    noted: list[Tensor] = []
    model = Model()
    fit(model, accumulate_grad_batches=2)
    assert len(noted) == 6
    assert noted[-1] == model.shown[-1]["loss"]


def test_by_hand_hooks_see_each_evaluation_of_a_closure() -> None:
    class ByHand(Lbfgs):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.returned: list[Any] = []

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = self.loss(batch)
                self.manual_backward(loss)
                return loss

            self.returned.append(optimizer.step(closure=closure))

    model = ByHand()
    trainer = fit(model, limit_train_batches=1)
    assert model.steps == model.backwards == 3
    assert trainer.global_step == 1
    with torch.no_grad():  # like an optimizer's own `step`, it returns the loss before
        assert model.returned[0].detach() > model.loss(BATCHES[0])


def test_clipping_by_hand_takes_what_the_trainer_was_given() -> None:
    class Clips(Line):
        def configure_gradient_clipping(self, optimizer: Any, *arguments: Any) -> None:
            self.clip_gradients(optimizer)
            norms.append(float(nn.utils.get_total_norm(p.grad for p in self.parameters() if p.grad is not None)))

    norms: list[float] = []
    fit(Clips(), gradient_clip_val=1e-3)
    assert norms == [pytest.approx(1e-3, rel=1e-3)] * 4


def test_a_value_that_is_logged_nowhere_is_said() -> None:
    class Nowhere(Line):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.log("lost", 1.0, on_step=False, on_epoch=False)

    with pytest.raises(MisconfigurationException, match=r"`self.log\('lost', ...\)` in `training_step` .* go nowhere"):
        fit(Nowhere())
