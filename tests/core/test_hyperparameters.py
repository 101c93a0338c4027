"""``save_hyperparameters`` in all its forms."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from argparse import Namespace
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from torch import nn

import fulmen
from fulmen.advice import AdviceWarning
from fulmen.errors import MisconfigurationException
from fulmen.hyperparameters import AttributeDict, is_picklable, merged_hyperparameters


class All(fulmen.LightningModule):
    def __init__(self, width: int, depth: int = 2, *, rate: float = 0.1, **rest: Any) -> None:
        super().__init__()
        self.save_hyperparameters()


class Named(fulmen.LightningModule):
    def __init__(self, width: int, depth: int = 2, rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters("width", "rate")


class Without(fulmen.LightningModule):
    def __init__(self, net: Any, width: int, depth: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["net"], logger=False)


class FromConfig(fulmen.LightningModule):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.save_hyperparameters(config)


@dataclasses.dataclass
class Config:
    width: int
    rate: float = 0.1


class Base(fulmen.LightningModule):
    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()


class Child(Base):
    def __init__(self, width: int, extra: str) -> None:
        super().__init__(width * 10, depth=7)


def test_all_arguments_are_kept() -> None:
    module = All(3, rate=0.5, more="x")
    assert dict(module.hparams) == {"width": 3, "depth": 2, "rate": 0.5, "more": "x"}
    assert module.hparams.width == 3


def test_names_choose() -> None:
    assert dict(Named(3).hparams) == {"width": 3, "rate": 0.1}


@pytest.mark.parametrize("ignore", ["net", ["net"], ("net",), {"net"}])
def test_names_can_be_left_out(ignore: Any) -> None:
    class Module(fulmen.LightningModule):
        def __init__(self, net: Any, width: int) -> None:
            super().__init__()
            self.save_hyperparameters(ignore=ignore)

    assert dict(Module(nn.Linear(1, 1), 3).hparams) == {"width": 3}


@pytest.mark.parametrize(
    "config", [{"width": 3, "rate": 0.1}, Namespace(width=3, rate=0.1), Config(3), AttributeDict(width=3, rate=0.1)]
)
def test_a_configuration_object_is_taken_apart(config: Any) -> None:
    module = FromConfig(config)
    assert dict(module.hparams) == {"width": 3, "rate": 0.1}
    module.hparams.width = 4  # the user's own object stays as it is
    assert (config["width"] if isinstance(config, dict) else config.width) == 3


def test_a_subclass_adds_its_arguments_and_wins() -> None:
    assert dict(Child(3, "x").hparams) == {"width": 3, "depth": 2 + 5, "extra": "x"}


def test_several_calls_add_up() -> None:
    class Module(fulmen.LightningModule):
        def __init__(self, width: int, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters("width")
            self.save_hyperparameters(config)

    assert dict(Module(3, {"rate": 0.5}).hparams) == {"width": 3, "rate": 0.5}


def test_a_method_that_init_calls_may_save() -> None:
    class Module(fulmen.LightningModule):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.prepare()

        def prepare(self) -> None:
            self.save_hyperparameters()

    assert dict(Module(3).hparams) == {"width": 3}


def test_a_module_made_inside_another_keeps_its_own() -> None:
    class Inner(fulmen.LightningModule):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Outer(fulmen.LightningModule):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner = Inner(size=width * 2)
            self.save_hyperparameters()

    module = Outer(3)
    assert dict(module.hparams) == {"width": 3}
    assert dict(module.inner.hparams) == {"size": 6}


def test_a_dataclass_may_be_a_data_module() -> None:
    @dataclasses.dataclass(eq=False)
    class Data(fulmen.LightningDataModule):
        folder: str
        batch_size: int = 8

        def __post_init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()

    assert dict(Data("here").hparams) == {"folder": "here", "batch_size": 8}


def test_the_first_values_are_kept_beside_the_changed_ones() -> None:
    module = FromConfig({"sizes": [1, 2], "rate": 0.1})
    module.hparams.rate = 0.5
    module.hparams["sizes"].append(3)
    assert module.hparams_initial == {"sizes": [1, 2], "rate": 0.1}


@pytest.mark.parametrize("value", [threading.Lock(), [threading.Lock()], {"a": (i for i in range(2))}])
def test_values_that_cannot_be_copied_are_kept(value: Any) -> None:
    assert FromConfig({"x": value}).hparams_initial.x is value


def test_a_large_value_is_not_copied() -> None:
    weights = torch.zeros(3)
    assert FromConfig({"x": weights}).hparams_initial.x is weights


def test_loggers_can_be_left_out() -> None:
    assert Without(None, 3)._log_hyperparams is False
    assert All(3)._log_hyperparams is True


def test_no_arguments_are_no_hyperparameters() -> None:
    class Module(fulmen.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()

    assert dict(Module().hparams) == dict(fulmen.LightningModule().hparams) == {}


def test_what_cannot_be_kept_is_said() -> None:
    with pytest.raises(
        MisconfigurationException, match="takes names, a dict, a Namespace or a dataclass object.*int: 3"
    ):
        FromConfig(3)

    class Misspelled(fulmen.LightningModule):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters("widht")

    with pytest.raises(MisconfigurationException, match="'widht'.*`Misspelled.__init__` has no such argument.*width"):
        Misspelled(3)


def test_an_attribute_dict_is_a_dict_with_attributes() -> None:
    hparams = AttributeDict(width=3, rate=0.1)
    hparams.depth = 2
    assert (hparams.width, hparams["depth"]) == (3, 2)
    with pytest.raises(AttributeError, match="no hyper-parameter 'size'; there are: width, rate, depth"):
        hparams.size  # noqa: B018  reading it is the test
    for other in (copy.copy(hparams), copy.deepcopy(hparams), pickle.loads(pickle.dumps(hparams))):
        assert type(other) is AttributeDict
        assert other == hparams
    assert repr(AttributeDict(a=1, long=2)) == '"a":    1\n"long": 2'
    assert not hasattr(hparams, "size")


def test_a_module_with_hyperparameters_can_be_copied_and_pickled() -> None:
    for other in (copy.deepcopy(All(3)), pickle.loads(pickle.dumps(All(3)))):
        assert other.hparams == {"width": 3, "depth": 2, "rate": 0.1}


def test_what_can_be_pickled_is_told_apart() -> None:
    assert [is_picklable(value) for value in (3, [nn.Linear(1, 1)], int)] == [True] * 3
    assert [is_picklable(value) for value in (lambda: 3, threading.Lock(), (i for i in range(2)))] == [False] * 3


def test_a_module_among_them_is_advised_against() -> None:
    class Wraps(fulmen.LightningModule):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.save_hyperparameters()

    with pytest.warns(AdviceWarning, match=r"FUL022: the hyper-parameter 'net' of `Wraps` is.*ignore=\['net'\]"):
        Wraps(nn.Linear(1, 1))


def test_module_and_data_may_agree_but_not_differ() -> None:
    class Data(fulmen.LightningDataModule):
        def __init__(self, width: int, sizes: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()

    assert merged_hyperparameters([Data(3, torch.ones(2)), Base(3)]) == {"width": 3, "depth": 2, "sizes": ANY}
    with pytest.raises(MisconfigurationException, match="`Data` and `Base` both keep the.*`width`, as 3 and 4"):
        merged_hyperparameters([Data(3), Base(4)])


def test_the_initial_values_cannot_be_changed() -> None:
    module = FromConfig({"sizes": [1, 2]})
    module.hparams_initial["sizes"].append(3)
    assert module.hparams_initial == {"sizes": [1, 2]}


def test_names_and_a_configuration_object_do_not_go_together() -> None:
    class Mixed(fulmen.LightningModule):
        def __init__(self, width: int, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters("width", config)

    with pytest.raises(MisconfigurationException, match="takes names, or one configuration object.*call it once for"):
        Mixed(3, {"rate": 0.1})
