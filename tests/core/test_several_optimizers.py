"""Automatic optimization with several named optimizers, against the loop that one would write by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

import fulmen
from fulmen.errors import MisconfigurationException

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def real_samples(count: int = 20) -> list[Tensor]:
    return list(torch.randn(count, 3, generator=torch.Generator().manual_seed(5)))


def loader() -> DataLoader[Tensor]:
    return DataLoader(real_samples(), batch_size=4)  # type: ignore[arg-type]


class Gan(fulmen.LightningModule):
    """A generator and a critic; the noise is a fixed function of the batch's number."""

    def __init__(self, critic_every: int = 1, generator_every: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Linear(2, 3)
        self.critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.every = {"critic": critic_every, "generator": generator_every}
        self.seen: list[str] = []

    def noise(self, batch_idx: int, size: int) -> Tensor:
        return torch.randn(size, 2, generator=torch.Generator().manual_seed(batch_idx))

    def loss_of_critic(self, batch: Tensor, batch_idx: int) -> Tensor:
        fake = self.generator(self.noise(batch_idx, len(batch)))
        return F.softplus(-self.critic(batch)).mean() + F.softplus(self.critic(fake)).mean()

    def loss_of_generator(self, batch: Tensor, batch_idx: int) -> Tensor:
        return F.softplus(-self.critic(self.generator(self.noise(batch_idx, len(batch))))).mean()

    def training_step_critic(self, batch: Tensor, batch_idx: int) -> Tensor:
        assert not any(p.requires_grad for p in self.generator.parameters())
        loss = self.loss_of_critic(batch, batch_idx)
        self.log("critic_loss", loss)
        self.seen.append(f"critic {batch_idx}")
        return loss

    def training_step_generator(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        assert not any(p.requires_grad for p in self.critic.parameters())
        loss = self.loss_of_generator(batch, batch_idx)
        self.log("generator_loss", loss)
        self.seen.append(f"generator {batch_idx}")
        return {"loss": loss, "more": 1}

    def configure_optimizers(self) -> Any:
        critic = torch.optim.Adam(self.critic.parameters(), lr=0.01)
        generator = torch.optim.SGD(self.generator.parameters(), lr=0.1, momentum=0.9)
        return {
            "critic": {"optimizer": critic, "frequency": self.every["critic"]},
            "generator": {
                "optimizer": generator,
                "frequency": self.every["generator"],
                "lr_scheduler": {
                    "scheduler": torch.optim.lr_scheduler.StepLR(generator, 1, gamma=0.9),
                    "interval": "step",
                },
            },
        }


def train_by_hand(model: Gan, epochs: int, accumulate: int = 1, clip: float | None = None) -> None:
    """Do what a Trainer should do, with nothing but torch."""
    critic = torch.optim.Adam(model.critic.parameters(), lr=0.01)
    generator = torch.optim.SGD(model.generator.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(generator, 1, gamma=0.9)
    losses = {"critic": model.loss_of_critic, "generator": model.loss_of_generator}
    optimizers: dict[str, torch.optim.Optimizer] = {"critic": critic, "generator": generator}
    number = 1
    for _ in range(epochs):
        batches = list(loader())
        for batch_idx, batch in enumerate(batches):
            stepping = (batch_idx + 1) % accumulate == 0 or batch_idx + 1 == len(batches)
            for name in ("critic", "generator"):
                if number % model.every[name]:
                    continue
                own = list(getattr(model, name).parameters())
                if batch_idx % accumulate == 0:
                    optimizers[name].zero_grad()
                loss = losses[name](batch, batch_idx)
                loss = loss / accumulate if accumulate > 1 else loss
                for parameter, grad in zip(own, torch.autograd.grad(loss, own), strict=True):
                    parameter.grad = grad if parameter.grad is None else parameter.grad + grad
                if stepping:
                    if clip is not None:
                        clip_grad_norm_(own, clip)
                    optimizers[name].step()
                    if name == "generator":
                        scheduler.step()
            number += stepping


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    ("every", "accumulate", "clip"),
    [((1, 1), 1, None), ((1, 3), 1, 0.1), ((2, 1), 1, None), ((1, 2), 2, None), ((1, 1), 3, 0.05)],
)
def test_weights_are_those_of_the_loop_by_hand(every: tuple[int, int], accumulate: int, clip: float | None) -> None:
    model, by_hand = Gan(*every), Gan(*every)
    trainer = fulmen.Trainer(
        max_epochs=3, accumulate_grad_batches=accumulate, gradient_clip_val=clip, enable_checkpointing=False, **QUIET
    )
    trainer.fit(model, loader())
    train_by_hand(by_hand, 3, accumulate, clip)
    assert_same_weights(model, by_hand)
    assert set(trainer.callback_metrics) == {"critic_loss", "generator_loss"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_global_step_counts_the_first_optimizer_and_frequencies_go_on_across_epochs() -> None:
    model = Gan(critic_every=1, generator_every=3)
    trainer = fulmen.Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    trainer.fit(model, loader())
    assert trainer.global_step == 10  # 5 batches an epoch
    generator_batches = [step for step in model.seen if step.startswith("generator")]
    assert generator_batches == ["generator 2", "generator 0", "generator 3"]  # steps 3, 6 and 9

    model = Gan(critic_every=2)
    trainer = fulmen.Trainer(max_steps=4, max_epochs=-1, enable_checkpointing=False, **QUIET)
    trainer.fit(model, loader())
    assert trainer.global_step == 4
    assert model.seen.count("critic 0") + model.seen.count("critic 2") >= 1
    assert sum(step.startswith("generator") for step in model.seen) == 8


def test_a_resumed_run_goes_on_with_the_same_turns(tmp_path: Path) -> None:
    whole, first, second = Gan(1, 3), Gan(1, 3), Gan(1, 3)
    options: dict[str, Any] = {**QUIET, "enable_checkpointing": False}
    fulmen.Trainer(max_epochs=3, **options).fit(whole, loader())

    class SaveAfterSeven(fulmen.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "seven.ckpt")
                trainer.should_stop = True

    fulmen.Trainer(max_epochs=3, callbacks=[SaveAfterSeven()], **options).fit(first, loader())
    fulmen.Trainer(max_epochs=3, **options).fit(second, loader(), ckpt_path=tmp_path / "seven.ckpt")
    assert_same_weights(whole, second)


def test_hooks_get_each_optimizer_and_what_the_steps_returned() -> None:
    calls: list[Any] = []

    class Watch(fulmen.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            calls.append(type(optimizer).__name__)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert not outputs["loss"].requires_grad
            assert not outputs["generator"]["loss"].requires_grad
            assert torch.equal(outputs["loss"], outputs["critic"]["loss"])
            calls.append((sorted(outputs), outputs["generator"]["more"]))

    class Own(Gan):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            calls.append(f"own {type(optimizer.optimizer).__name__}")
            optimizer.step(closure=optimizer_closure)

    model, plain = Own(), Gan()
    trainer = fulmen.Trainer(max_steps=1, callbacks=[Watch()], enable_checkpointing=False, **QUIET)
    trainer.fit(model, loader())
    assert calls == ["own Adam", "Adam", "own SGD", "SGD", (["critic", "generator", "loss"], 1)]
    fulmen.Trainer(max_steps=1, enable_checkpointing=False, **QUIET).fit(plain, loader())
    assert_same_weights(model, plain)
    assert [type(one.optimizer).__name__ for one in model.optimizers()] == ["Adam", "SGD"]


def test_a_step_may_have_another_name() -> None:
    class Renamed(Gan):
        def configure_optimizers(self) -> Any:
            given = super().configure_optimizers()
            given["generator"]["step"] = "make_pictures"
            given["critic"] = {"optimizer": given["critic"]["optimizer"], "step": self.judge}
            return given

        def make_pictures(self, batch: Tensor) -> Any:
            return self.training_step_generator(batch, 0)

        def judge(self, batch: Tensor, batch_idx: int) -> Tensor:
            return self.training_step_critic(batch, batch_idx)

    model = Renamed()
    fulmen.Trainer(max_steps=2, enable_checkpointing=False, **QUIET).fit(model, loader())
    assert model.seen == ["critic 0", "generator 0", "critic 1", "generator 0"]


def test_what_cannot_work_is_said_before_training() -> None:
    class NoStep(Gan):
        training_step_critic = None  # type: ignore[assignment]

    class Unnamed(Gan):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return self.loss_of_critic(batch, batch_idx)

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.critic.parameters(), lr=0.1), torch.optim.SGD(self.generator.parameters())]

    class BadFrequency(Gan):
        def __init__(self) -> None:
            super().__init__(generator_every=0)

    class BadName(Gan):
        def configure_optimizers(self) -> Any:
            return {"the critic": torch.optim.SGD(self.critic.parameters(), lr=0.1)}

    for cls, message in [
        (NoStep, "'critic' has no step function: .*no `training_step_critic`.*define"),
        (Unnamed, "2 optimizers without names; return {'generator'"),
        (BadFrequency, "`frequency` of the optimizer 'generator' must be a whole number >= 1, but is 0"),
        (BadName, "'the critic'; use a word that can end a method's name"),
    ]:
        model = cls()
        with pytest.raises(MisconfigurationException, match=message):
            fulmen.Trainer(max_steps=1, enable_checkpointing=False, **QUIET).fit(model, loader())
        assert not model.seen


@pytest.mark.filterwarnings("ignore:FUL014")
def test_manual_optimization_takes_names_too() -> None:
    class Manual(Gan):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            critic, generator = self.optimizers()
            for optimizer, loss in ((critic, self.loss_of_critic), (generator, self.loss_of_generator)):
                optimizer.zero_grad()
                self.manual_backward(loss(batch, batch_idx))
                optimizer.step()

    fulmen.Trainer(max_steps=2, enable_checkpointing=False, **QUIET).fit(Manual(), loader())


def test_calls_of_manual_optimization_are_refused() -> None:
    class Confused(Gan):
        def training_step_critic(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss = self.loss_of_critic(batch, batch_idx)
            self.manual_backward(loss)
            return loss

    with pytest.raises(MisconfigurationException, match="`manual_backward` belongs to manual optimization"):
        fulmen.Trainer(max_steps=1, enable_checkpointing=False, **QUIET).fit(Confused(), loader())


# --------------------------------------------------------------------------------- weights of batches


class Tokens(fulmen.LightningModule):
    """A model over sequences of different lengths; its loss is a sum over tokens."""

    def __init__(self, weight: Any = int, lr: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(4, 2).double()
        self.make_weight = weight
        self.lr = lr

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = self.layer(batch).pow(2).sum()
        weight = self.make_weight(batch.shape[0])
        return loss if weight is None else {"loss": loss, "weight": weight}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def token_batches(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(length, 4, generator=generator, dtype=torch.float64) for length in lengths]


@pytest.mark.parametrize("weight", [int, float, torch.tensor], ids=["int", "float", "tensor"])
@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("lengths", [(3, 11, 5, 1), (0, 2, 7), (6,)])
def test_accumulated_gradients_are_those_of_the_big_batch(weight: Any, clip: float | None, lengths: Any) -> None:
    batches = token_batches(*lengths)
    model, big = Tokens(weight), Tokens(weight)
    options: dict[str, Any] = {**QUIET, "enable_checkpointing": False, "max_epochs": 1, "gradient_clip_val": clip}
    fulmen.Trainer(accumulate_grad_batches=len(lengths), **options).fit(model, batches)
    loss = big.layer(torch.cat(batches)).pow(2).sum() / sum(lengths)
    loss.backward()
    if clip is not None:
        clip_grad_norm_(big.parameters(), clip)
    torch.optim.SGD(big.parameters(), lr=0.1).step()
    assert torch.allclose(model.layer.weight, big.layer.weight, rtol=1e-13)
    if clip is None and len(lengths) > 1:
        plain = Tokens(lambda _: None)
        fulmen.Trainer(accumulate_grad_batches=len(lengths), **options).fit(plain, batches)
        assert not torch.allclose(plain.layer.weight, big.layer.weight, rtol=1e-3), "the mean of means differs"


def test_a_batch_without_items_trains_nothing() -> None:
    model = Tokens(torch.tensor)
    before = model.layer.weight.clone()
    fulmen.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET).fit(model, token_batches(0))
    assert torch.equal(model.layer.weight, before)


def test_weights_are_the_same_through_the_closure() -> None:
    class WithHook(Tokens):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)

    one, other = Tokens(), WithHook()
    for model in (one, other):
        trainer = fulmen.Trainer(accumulate_grad_batches=2, max_epochs=2, enable_checkpointing=False, **QUIET)
        trainer.fit(model, token_batches(3, 9, 4))
    assert_same_weights(one, other)


@pytest.mark.parametrize("weight", ["many", -1, torch.ones(2)], ids=["a word", "negative", "two"])
def test_a_weight_that_is_no_number_of_items_is_refused(weight: Any) -> None:
    with pytest.raises(MisconfigurationException, match="returned as 'weight' .*number of items"):
        fulmen.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET).fit(
            Tokens(lambda _: weight), token_batches(3)
        )


@pytest.mark.parametrize("weighted", [3, 8], ids=["first", "last"])
def test_weights_in_some_batches_only_are_refused(weighted: int) -> None:
    model = Tokens(lambda length: length if length == weighted else None)
    trainer = fulmen.Trainer(max_epochs=1, accumulate_grad_batches=2, enable_checkpointing=False, **QUIET)
    with pytest.raises(MisconfigurationException, match="in some batches of an optimizer step and not in others"):
        trainer.fit(model, token_batches(3, 8))
