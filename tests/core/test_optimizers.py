"""What ``configure_optimizers`` may return, when schedulers step, and what is said of a form that is not known."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.optimizers import LightningOptimizer, parse_optimizers

WEIGHT = nn.Parameter(torch.ones(1))
ONE, TWO = SGD([WEIGHT], lr=0.1), Adam([WEIGHT])
STEP = StepLR(ONE, 1)
PLATEAU = ReduceLROnPlateau(ONE)


class OfTheUser:
    """An optimizer, or a scheduler, that derives from no class of torch's."""

    param_groups: tuple[Any, ...] = ()

    def step(self) -> None: ...

    def zero_grad(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}


OWN = OfTheUser()


@pytest.mark.parametrize(
    ("returned", "optimizers", "schedulers"),
    [
        (ONE, [ONE], []),
        ([ONE], [ONE], []),
        ((ONE, TWO), [ONE, TWO], []),
        ([ONE, TWO], [ONE, TWO], []),
        (([ONE], [STEP]), [ONE], [STEP]),
        ([[ONE, TWO], [STEP]], [ONE, TWO], [STEP]),
        (([ONE], []), [ONE], []),
        (([ONE], STEP), [ONE], [STEP]),
        ((ONE, [STEP]), [ONE], [STEP]),
        (([ONE], [{"scheduler": STEP, "interval": "step"}]), [ONE], [STEP]),
        ({"optimizer": ONE}, [ONE], []),
        ({"optimizer": ONE, "lr_scheduler": None}, [ONE], []),
        ({"optimizer": ONE, "lr_scheduler": STEP}, [ONE], [STEP]),
        ({"optimizer": ONE, "lr_scheduler": {"scheduler": STEP}}, [ONE], [STEP]),
        (({"optimizer": ONE, "lr_scheduler": STEP}, {"optimizer": TWO}), [ONE, TWO], [STEP]),
        ([{"optimizer": ONE}, {"optimizer": TWO}], [ONE, TWO], []),
        ([{"optimizer": ONE}], [ONE], []),
        (OWN, [OWN], []),
        ({"optimizer": ONE, "lr_scheduler": OWN}, [ONE], [OWN]),
    ],
)
def test_every_form_is_understood(returned: Any, optimizers: list[Any], schedulers: list[Any]) -> None:
    found, configs = parse_optimizers(returned, automatic=True)
    assert found == optimizers
    assert [config.scheduler for config in configs] == schedulers


def test_settings_of_a_scheduler_are_kept_and_filled_in() -> None:
    _, [config] = parse_optimizers({"optimizer": ONE, "lr_scheduler": STEP}, automatic=True)
    assert (config.interval, config.frequency, config.strict, config.reduce_on_plateau) == ("epoch", 1, True, False)
    given = {"scheduler": STEP, "interval": "step", "frequency": 3, "name": "lr", "strict": False}
    _, [config] = parse_optimizers([[ONE], [given]], automatic=True)
    assert {name: getattr(config, name) for name in given} == given


@pytest.mark.parametrize(
    "returned",
    [
        {"optimizer": ONE, "lr_scheduler": PLATEAU, "monitor": "loss"},
        {"optimizer": ONE, "lr_scheduler": {"scheduler": PLATEAU, "monitor": "loss"}},
        [{"optimizer": ONE, "lr_scheduler": PLATEAU, "monitor": "loss"}],
        ([ONE], [{"scheduler": PLATEAU, "monitor": "loss"}]),
    ],
)
def test_a_plateau_scheduler_knows_what_it_looks_at(returned: Any) -> None:
    _, [config] = parse_optimizers(returned, automatic=True)
    assert config.reduce_on_plateau
    assert config.monitor == "loss"


@pytest.mark.filterwarnings("ignore:FUL014")
def test_each_optimizer_has_a_monitor_of_its_own() -> None:
    pair = [{"optimizer": opt, "lr_scheduler": PLATEAU, "monitor": name} for opt, name in ((ONE, "a"), (TWO, "b"))]
    _, configs = parse_optimizers(pair, automatic=False)
    assert [config.monitor for config in configs] == ["a", "b"]


def test_no_optimizer_is_allowed_and_said() -> None:
    with pytest.warns(UserWarning, match="`configure_optimizers` returned None, so no weights are trained"):
        assert parse_optimizers(None, automatic=True) == ([], [])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3, "must return an optimizer, .* but returned int: 3"),
        ("sgd", "but returned str: 'sgd'"),
        ([ONE, "adam"], "but returned str: 'adam'"),
        ((ONE, STEP), "but returned StepLR"),
        ({"lr_scheduler": STEP}, "must return an optimizer"),
        ({"optimizer": "sgd"}, "but returned str"),
        ([[ONE], [3]], "a scheduler needs the methods `step` and `state_dict`, but .* returned 3, a int"),
        ([[ONE], [StepLR]], "returned <class .*StepLR"),
        ([[ONE], [{"schedular": STEP}]], "must hold the scheduler as 'scheduler', but has only: schedular"),
        ([[ONE], [{"scheduler": STEP, "interval": "batch"}]], "`interval` must be 'epoch' or 'step', but is 'batch'"),
        ([[ONE], [{"scheduler": STEP, "frequency": 0}]], "`frequency` must be a whole number >= 1, but is 0"),
        ([[ONE], [{"scheduler": STEP, "frequency": True}]], "`frequency` must be a whole number >= 1, but is True"),
        ([[ONE], [PLATEAU]], "ReduceLROnPlateau needs to know which logged value.*'monitor': 'val_loss'"),
    ],
)
def test_other_forms_are_said(returned: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        parse_optimizers(returned, automatic=True)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"optimizer": ONE, "lr_schedular": STEP}, "the key 'lr_schedular'; did you mean 'lr_scheduler'?"),
        ([[ONE], [{"scheduler": STEP, "intervall": "step"}]], "'intervall'; did you mean 'interval'?"),
    ],
)
def test_a_misspelled_key_warns_with_the_one_that_was_meant(returned: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=re.escape(message)):
        parse_optimizers(returned, automatic=True)


# --------------------------------------------------------------------------------------------- in training


class Model(fulmen.LightningModule):
    def __init__(self, configure: Any, log: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.configure = configure
        self.rates: list[float] = []
        self.log_more = log

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        if self.log_more is not None:
            self.log_more(self)
        return self.weight * 1.0

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=1.0)
        return self.configure(optimizer)


def fitted(model: Model, **options: Any) -> Model:
    trainer = fulmen.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **{"max_epochs": 2, **options},
    )
    trainer.fit(model, torch.zeros(3, 1))
    return model


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]),
        ({"interval": "step"}, [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ({"interval": "step", "frequency": 2}, [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]),
        ({"frequency": 2}, [1.0] * 6),
    ],
)
def test_schedulers_step_when_they_are_told_to(settings: dict[str, Any], rates: list[float]) -> None:
    def configure(optimizer: Any) -> Any:
        scheduler = LambdaLR(optimizer, lambda count: 0.5**count)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **settings}}

    # Made by running this program with Lightning 2.6.6.
    assert fitted(Model(configure)).rates == rates


def test_a_plateau_scheduler_steps_by_what_was_logged() -> None:
    def configure(optimizer: Any) -> Any:
        plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "loss"}

    model = fitted(Model(configure, lambda self: self.log("loss", 1.0, on_epoch=True)), max_epochs=3)
    assert model.rates == [1.0] * 6 + [0.5] * 3


def test_a_plateau_scheduler_names_what_was_logged_where_its_key_was_not() -> None:
    def configure(optimizer: Any) -> Any:
        return {"optimizer": optimizer, "lr_scheduler": ReduceLROnPlateau(optimizer), "monitor": "val_los"}

    model = Model(configure, lambda self: self.log("val_loss", 1.0, on_epoch=True))
    with pytest.raises(MisconfigurationException, match="'val_los', which was not logged; did you mean 'val_loss'"):
        fitted(model)


@pytest.mark.filterwarnings("ignore:FUL015")
def test_a_plateau_scheduler_that_is_not_strict_waits() -> None:
    def configure(optimizer: Any) -> Any:
        plateau = ReduceLROnPlateau(optimizer, patience=0)
        return [optimizer], [{"scheduler": plateau, "monitor": "later", "strict": False}]

    assert fitted(Model(configure)).rates == [1.0] * 6


def test_several_optimizers_need_manual_optimization() -> None:
    model = Model(lambda optimizer: [optimizer, SGD([WEIGHT], lr=0.1)])
    with pytest.raises(MisconfigurationException, match="returned 2 optimizers.*`self.automatic_optimization = False`"):
        fitted(model)


def test_the_wrapper_is_the_optimizer_in_all_but_its_step() -> None:
    steps: list[Any] = []
    wrapper = LightningOptimizer(ONE, lambda optimizer, closure: steps.append((optimizer, closure)))
    wrapper.step()
    wrapper.step(closure=print)
    assert steps == [(ONE, None), (ONE, print)]
    assert wrapper.param_groups is ONE.param_groups
    assert wrapper.optimizer is ONE
    assert repr(ONE) in repr(wrapper)
    assert copy.copy(wrapper).optimizer is ONE
    with pytest.raises(AttributeError, match="no_such"):
        wrapper.no_such  # noqa: B018  reading it is the test
