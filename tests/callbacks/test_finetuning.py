"""BaseFinetuning and BackboneFinetuning: what goes beyond the rates and weights in ``test_same_trainings.py``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fulmen
from fulmen.callback import Callback
from fulmen.errors import CheckpointError, MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier, assert_equal
from fulmen_callbacks import BackboneFinetuning, BaseFinetuning

SCHEDULER = torch.optim.lr_scheduler


class Net(TinyClassifier):
    def __init__(self, scheduler: Any = None, interval: str = "epoch") -> None:
        super().__init__()
        self.backbone = nn.Sequential(self.net[1], self.net[2])
        self.scheduler, self.interval = scheduler, interval

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
        if self.scheduler is None:
            return optimizer
        config = {"scheduler": self.scheduler(optimizer), "interval": self.interval, "monitor": "train_loss"}
        return {"optimizer": optimizer, "lr_scheduler": config}


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        **{"max_epochs": 4, **options},
    )


SCHEDULERS = {
    "StepLR": lambda optimizer: SCHEDULER.StepLR(optimizer, 1, 0.5),
    "LambdaLR": lambda optimizer: SCHEDULER.LambdaLR(optimizer, lambda epoch: 0.5**epoch),
    "MultiplicativeLR": lambda optimizer: SCHEDULER.MultiplicativeLR(optimizer, lambda epoch: 0.5),
    "CosineAnnealingLR": lambda optimizer: SCHEDULER.CosineAnnealingLR(optimizer, 40),
    "CosineAnnealingWarmRestarts": lambda optimizer: SCHEDULER.CosineAnnealingWarmRestarts(optimizer, 7),
    "OneCycleLR": lambda optimizer: SCHEDULER.OneCycleLR(optimizer, 0.3, total_steps=40),
    "CyclicLR": lambda optimizer: SCHEDULER.CyclicLR(optimizer, 0.01, 0.3, step_size_up=5),
    "LinearLR": lambda optimizer: SCHEDULER.LinearLR(optimizer, 0.1, total_iters=30),
    "PolynomialLR": lambda optimizer: SCHEDULER.PolynomialLR(optimizer, 40),
    "ReduceLROnPlateau": lambda optimizer: SCHEDULER.ReduceLROnPlateau(optimizer, patience=0, threshold=1e9),
    "SequentialLR": lambda optimizer: SCHEDULER.SequentialLR(
        optimizer,
        [SCHEDULER.LinearLR(optimizer, 0.1, total_iters=10), SCHEDULER.LambdaLR(optimizer, lambda step: 0.9**step)],
        [9],
    ),
}


class Joining(BaseFinetuning):
    """The backbone joins in epoch 2 and keeps a tenth of the head's rate."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone, train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer)


@pytest.mark.filterwarnings("ignore:FUL012")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_serve_what_joins(tmp_path: Path, name: str, interval: str) -> None:
    rates = Rates()
    trainer_of(tmp_path, Joining(), rates).fit(Net(SCHEDULERS[name], interval))
    assert [len(one) for one in rates.seen] == [1] * 12 + [2] * 12
    ratios = [own / first for first, own in rates.seen[12:]]
    assert ratios == pytest.approx([0.1] * 12)


@pytest.mark.filterwarnings("ignore:FUL012")
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_resumed_run_trains_what_trained_before(tmp_path: Path, name: str, epoch: int) -> None:
    class Saving(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (trainer.current_epoch, batch_idx) == (epoch, 3):
                trainer.save_checkpoint(tmp_path / "inside.ckpt")

    module, resumed = Net(SCHEDULERS[name]), Net(SCHEDULERS[name])
    trainer_of(tmp_path, Joining(), Saving()).fit(module)
    trainer_of(tmp_path, Joining()).fit(resumed, ckpt_path=tmp_path / "inside.ckpt")
    assert_equal(dict(resumed.state_dict()), dict(module.state_dict()))
    assert all(parameter.requires_grad for parameter in resumed.parameters())
    assert resumed.net[2].track_running_stats


def test_a_second_fit_goes_on_with_what_was_unfrozen(tmp_path: Path) -> None:
    trainer, module = trainer_of(tmp_path, BackboneFinetuning(1), max_epochs=3), Net()
    trainer.fit(module)
    trainer._schedule = type(trainer._schedule)(**{**vars(trainer._schedule), "max_epochs": 5})
    before = module.backbone[0].weight.clone()  # type: ignore[operator]
    trainer.fit(module)
    assert trainer.current_epoch == 5
    assert not torch.equal(module.backbone[0].weight, before)  # type: ignore[arg-type]


def test_an_optimizer_that_was_given_everything_keeps_its_rate(tmp_path: Path) -> None:
    class Everything(Net):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    rates = Rates()
    with pytest.warns(UserWarning, match="SGD was given 2 parameters while they were frozen.*requires_grad"):
        trainer_of(tmp_path, BackboneFinetuning(1), rates).fit(Everything())
    assert rates.seen == [[0.1]] * 24


def test_parameters_of_equal_values_are_different_parameters() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    for layer in (first, second):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(first.parameters(), lr=1.0)
    assert BaseFinetuning.filter_on_optimizer(optimizer, second.parameters()) == list(second.parameters())
    assert BaseFinetuning.filter_on_optimizer(optimizer, first.parameters()) == []


def test_what_is_frozen() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.layers = nn.ModuleDict({"conv": nn.Conv2d(1, 1, 1), "norm": nn.BatchNorm2d(1)})

    model = nn.Sequential(Block(), nn.Linear(1, 1))
    modules = BaseFinetuning.flatten_modules(model)
    assert [type(one).__name__ for one in modules] == ["Block", "Conv2d", "BatchNorm2d", "Linear"]
    BaseFinetuning.freeze(model)
    assert [name for name, one in model.named_parameters() if one.requires_grad] == [
        "0.layers.norm.weight",
        "0.layers.norm.bias",
    ]
    BaseFinetuning.freeze([model[0]], train_bn=False)
    assert not any(one.requires_grad for one in model.parameters())
    assert not model[0].layers["norm"].track_running_stats
    BaseFinetuning.make_trainable(model[0].layers)
    assert len(list(BaseFinetuning.filter_params(model))) == 4
    assert len(list(BaseFinetuning.filter_params(model, train_bn=False))) == 2
    assert len(list(BaseFinetuning.filter_params(model, requires_grad=False))) == 3
    assert model[0].layers["norm"].track_running_stats


def test_a_checkpoint_of_another_module_is_refused(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, Joining(), max_epochs=1)
    trainer.fit(Net())
    trainer.save_checkpoint(tmp_path / "one.ckpt")

    class Renamed(Net):
        strict_loading = False

        def __init__(self) -> None:
            super().__init__()
            self.net[5] = nn.Sequential(nn.Linear(8, 3))

    with pytest.raises(CheckpointError, match=r"train net.5.bias, net.5.weight, which `Renamed` does not have"):
        trainer_of(tmp_path, Joining()).fit(Renamed(), ckpt_path=tmp_path / "one.ckpt")


def test_evaluation_freezes_nothing(tmp_path: Path) -> None:
    module = Net()
    trainer_of(tmp_path, BackboneFinetuning(1)).test(module, verbose=False)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_rates_are_said_when_verbose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        trainer_of(tmp_path, BackboneFinetuning(1, verbose=True, rounding=3), max_epochs=3).fit(Net())
    assert [line for line in caplog.messages if "backbone" in line] == [
        "learning rates: 0.1, backbone 0.01",
        "learning rates: 0.1, backbone 0.02",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"unfreeze_backbone_at_epoch": -1}, "must be >= 0, but is -1"),
        ({"lambda_func": 2.0}, "must be a function of the epoch, but is 2.0"),
        ({"backbone_initial_ratio_lr": -0.1}, "`backbone_initial_ratio_lr` must be >= 0, but is -0.1"),
        ({"backbone_initial_lr": -0.1}, "`backbone_initial_lr` must be >= 0, but is -0.1"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        BackboneFinetuning(**arguments)


def test_what_a_module_and_a_subclass_must_have(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="`TinyClassifier` has no such module"):
        trainer_of(tmp_path, BackboneFinetuning(1)).fit(TinyClassifier())
    with pytest.raises(NotImplementedError, match="freeze_before_training"):
        trainer_of(tmp_path, BaseFinetuning()).fit(TinyClassifier())

    class Half(BaseFinetuning):
        def freeze_before_training(self, pl_module: Any) -> None:
            pass

    with pytest.raises(NotImplementedError, match="finetune_function"):
        trainer_of(tmp_path, Half()).fit(TinyClassifier())
