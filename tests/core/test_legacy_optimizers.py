"""Several optimizers by number, and old signatures of the hooks around an optimizer's step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from legacy_programs import QUIET, Small, codes, quietly, weights
from torch import nn

import fulmen as pl


def points() -> Any:
    return torch.utils.data.DataLoader(torch.randn(24, 3, generator=torch.Generator().manual_seed(1)), batch_size=4)


class OldGan(pl.LightningModule):
    """Two optimizers in turn on each batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Linear(2, 3)
        self.critic = nn.Linear(3, 1)
        self.turns: list[Any] = []

    def loss(self, batch: Any, optimizer_idx: int) -> Any:
        noise = batch[:, :2]
        if optimizer_idx == 0:
            return nn.functional.softplus(-self.critic(self.generator(noise))).mean()
        real, fake = self.critic(batch), self.critic(self.generator(noise))
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()

    def training_step(self, batch: Any, batch_nb: int, optimizer_i: int) -> Any:
        self.turns.append((batch_nb, optimizer_i, self.critic.weight.requires_grad))
        loss = self.loss(batch, optimizer_i)
        name = ("g_loss", "d_loss")[optimizer_i]
        return {"loss": loss, "log": {name: loss}, "progress_bar": {name: loss}}

    def configure_optimizers(self) -> Any:
        return self.make_optimizers(), []

    def make_optimizers(self) -> list[Any]:
        rates = ((self.generator, 0.1), (self.critic, 0.2))
        return [torch.optim.SGD(part.parameters(), lr=rate, momentum=0.5) for part, rate in rates]

    def train_dataloader(self) -> Any:
        return points()


def by_hand(due: Any = lambda number, index: True, epochs: int = 1) -> OldGan:
    """The same training as a plain loop over plain torch."""
    module = OldGan()
    optimizers = module.make_optimizers()
    number = 0
    for _ in range(epochs):
        for batch in points():
            number += 1
            for index, optimizer in enumerate(optimizers):
                if due(number, index):
                    loss = module.loss(batch, index)
                    module.zero_grad()
                    loss.backward()
                    optimizer.step()
    return module


def fit(module: Any, **options: Any) -> tuple[pl.Trainer, list[str]]:
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1, **options})
    return trainer, quietly(lambda: trainer.fit(module))


def test_optimizers_by_number_take_turns_as_a_plain_loop_does() -> None:
    module = OldGan()
    trainer, messages = fit(module, max_epochs=2)
    assert torch.equal(weights(module), weights(by_hand(epochs=2)))
    assert module.turns[:4] == [(0, 0, False), (0, 1, True), (1, 0, False), (1, 1, True)]
    assert trainer.global_step == 12
    assert {"g_loss", "d_loss"} <= set(trainer.callback_metrics)
    assert codes(messages) == ["FUL110", "FUL104"]
    assert "`training_step(self, batch, batch_idx, optimizer_i)` with 2 optimizers" in messages[0]


def test_the_old_form_trains_as_the_modern_one_does() -> None:
    class Modern(OldGan):
        def training_step_g(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch, 0)

        def training_step_d(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch, 1)

        def configure_optimizers(self) -> Any:
            return dict(zip("gd", self.make_optimizers(), strict=True))

    old, modern = OldGan(), Modern()
    fit(old, accumulate_grad_batches=2, gradient_clip_val=0.1)
    fit(modern, accumulate_grad_batches=2, gradient_clip_val=0.1)
    assert torch.equal(weights(old), weights(modern))


def test_frequencies_are_rows_of_batches() -> None:
    class Rows(OldGan):
        def configure_optimizers(self) -> Any:
            generator, critic = self.make_optimizers()
            return {"optimizer": generator, "frequency": 1}, {"optimizer": critic, "frequency": 3}

    module = Rows()
    fit(module, max_epochs=2)
    indices = [index for _, index, _ in module.turns]
    assert indices == [0, 1, 1, 1] * 3
    expected = by_hand(lambda number, index: (index == 0) == (number % 4 == 1), epochs=2)
    assert torch.equal(weights(module), weights(expected))


def test_schedulers_step_with_their_optimizers() -> None:
    class Scheduled(OldGan):
        def configure_optimizers(self) -> Any:
            optimizers = self.make_optimizers()
            schedulers = [
                {"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizers[1], 0.5), "interval": "step"},
                torch.optim.lr_scheduler.ExponentialLR(optimizers[0], 0.1),
            ]
            return optimizers, schedulers

    trainer, _ = fit(Scheduled())
    assert [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers] == [
        pytest.approx(0.01),
        pytest.approx(0.2 / 2**6),
    ]


def test_outputs_come_as_a_list_for_each_optimizer() -> None:
    class Ends(OldGan):
        def training_epoch_end(self, outputs: Any) -> None:
            self.shape = [len(one) for one in outputs]
            self.keys = sorted(outputs[0][0])

    module = Ends()
    fit(module)
    assert (module.shape, module.keys) == ([6, 6], ["loss"])


def test_one_optimizer_and_an_index_that_is_required() -> None:
    class One(Small):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            self.calls.append(optimizer_idx)
            return self.loss(batch)

    module, modern = One(), Small()
    fit(module)
    fit(modern)
    assert module.calls == [0] * 6
    assert torch.equal(weights(module), weights(modern))


def test_every_hook_around_the_step_gets_what_it_got() -> None:
    class Old(OldGan):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[Any] = []

        def optimizer_step(
            self,
            epoch: int,
            batch_idx: int,
            optimizer: Any,
            optimizer_idx: int,
            optimizer_closure: Any,
            on_tpu: bool,
            using_native_amp: bool,
            using_lbfgs: bool,
        ) -> None:
            self.calls.append(("step", optimizer_idx, on_tpu, using_native_amp, using_lbfgs))
            optimizer.step(closure=optimizer_closure)

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int) -> None:
            self.calls.append(("zero", optimizer_idx))
            optimizer.zero_grad()

        def backward(self, loss: Any, optimizer: Any, optimizer_idx: int) -> None:
            self.calls.append(("backward", optimizer_idx, optimizer is self.trainer.optimizers[optimizer_idx]))
            loss.backward()

        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
            self.calls.append(("before", optimizer_idx))

        def configure_gradient_clipping(
            self, optimizer: Any, optimizer_idx: int, gradient_clip_val: Any, gradient_clip_algorithm: Any
        ) -> None:
            self.calls.append(("clip", optimizer_idx, gradient_clip_val))

    module = Old()
    _, messages = fit(module, limit_train_batches=1)

    def turn(index: int) -> list[Any]:
        first = ("step", index, False, False, False)
        return [first, ("zero", index), ("backward", index, True), ("before", index), ("clip", index, None)]

    assert module.calls == turn(0) + turn(1)
    assert codes(messages).count("FUL109") == 5


def test_a_step_without_a_closure_finds_the_gradients_there() -> None:
    class Oldest(Small):
        def optimizer_step(
            self, current_epoch: int, batch_nb: int, optimizer: Any, optimizer_i: int, second_order_closure: Any = None
        ) -> None:
            self.calls.append(self.layer.weight.grad is not None)
            optimizer.step()
            optimizer.zero_grad()

    module, modern = Oldest(), Small()
    fit(module)
    fit(modern)
    assert module.calls == [True] * 6
    assert torch.equal(weights(module), weights(modern))


def test_a_skipped_step_still_runs_the_batch() -> None:
    class Every2nd(OldGan):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, *rest: Any) -> None:
            raise AssertionError("replaced below")

    def optimizer_step(
        self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any, on_tpu: bool
    ) -> None:
        if optimizer_idx == 1 or batch_idx % 2 == 0:
            optimizer.step(closure=optimizer_closure)

    Every2nd.optimizer_step = optimizer_step
    module = Every2nd()
    fit(module)
    assert len(module.turns) == 12
    expected = by_hand(lambda number, index: index == 1 or number % 2 == 1)
    assert torch.equal(weights(module), weights(expected))


def test_super_may_be_called_with_the_old_arguments() -> None:
    class Warm(Small):
        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any, **kwargs: Any
        ) -> None:
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, **kwargs)

    module, modern = Warm(), Small()
    fit(module)
    fit(modern)
    assert torch.equal(weights(module), weights(modern))


def test_lbfgs_evaluates_the_closure_as_often_as_it_likes() -> None:
    class Old(Small):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=4)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.calls.append(batch_idx)
            return self.loss(batch)

        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, closure: Any, using_lbfgs: bool
        ) -> None:
            assert using_lbfgs
            optimizer.step(closure)

    class Modern(Small):
        configure_optimizers = Old.configure_optimizers
        training_step = Old.training_step

    old, modern = Old(), Modern()
    fit(old, limit_train_batches=2)
    fit(modern, limit_train_batches=2)
    assert old.calls == modern.calls
    assert len(old.calls) > 4
    assert torch.equal(weights(old), weights(modern))


def test_schedulers_step_by_an_old_hook() -> None:
    class Old(Small):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

        def lr_scheduler_step(self, scheduler: Any, optimizer_idx: int, metric: Any) -> None:
            self.calls.append((optimizer_idx, metric))
            scheduler.step()

    module = Old()
    trainer, _ = fit(module, max_epochs=2)
    assert module.calls == [(0, None)] * 2
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.025)


def test_a_resumed_run_takes_the_same_turns(tmp_path: Any) -> None:
    whole, parts = OldGan(), OldGan()
    fit(whole, max_epochs=2)
    trainer, _ = fit(parts)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    resumed = OldGan()
    second = pl.Trainer(**QUIET, max_epochs=2)
    quietly(lambda: second.fit(resumed, ckpt_path=tmp_path / "a.ckpt"))
    assert torch.equal(weights(resumed), weights(whole))
