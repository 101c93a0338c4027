"""Hyper-parameters that are objects: a checkpoint with them loads safely, and gives them back to who trusts it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import threading
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fulmen
from fulmen.advice import AdviceWarning
from fulmen.checkpoint.kept_hyperparameters import keep_hyperparameters
from fulmen.errors import CheckpointError, MisconfigurationException


class Kind(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Layer:
    width: int
    kind: Kind = Kind.SMALL


@dataclasses.dataclass
class Config:
    layer: Layer
    folder: Path
    rest: list[Layer] = dataclasses.field(default_factory=list)


class Keeps(fulmen.LightningModule):
    """Keeps whatever it gets."""

    def __init__(self, value: Any, other: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.value = value
        self.save_hyperparameters()


class Annotated(fulmen.LightningModule):
    def __init__(
        self,
        config: Config,
        kind: Kind | None = None,
        folder: Path = Path(),
        names: Namespace | None = None,
        layers: list[Layer] | None = None,
        either: Kind | str = "",
    ) -> None:
        super().__init__()
        self.given = (config, kind, folder, names, layers, either)
        self.save_hyperparameters()


def saved(module: fulmen.LightningModule, folder: Path) -> Path:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    keep_hyperparameters(module, checkpoint)
    path = folder / "a.ckpt"
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize(
    "value",
    [nn.GELU, torch.relu, functools.partial(torch.optim.SGD, lr=0.1), [nn.Identity], {"f": np.mean}],
    ids=["class", "function", "partial", "in-a-list", "in-a-dict"],
)
def test_an_object_does_not_make_the_file_unsafe(tmp_path: Path, value: Any) -> None:
    path = saved(Keeps(value, other=3), tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["hyper_parameters"] == {"other": 3}
    with pytest.raises(CheckpointError, match=r"keeps the hyper-parameter `value` of `Keeps` as an object.*value="):
        Keeps.load_from_checkpoint(path)
    trusted = Keeps.load_from_checkpoint(path, weights_only=False)
    if isinstance(value, functools.partial):
        assert (trusted.value.func, trusted.value.keywords) == (value.func, value.keywords)
    else:
        assert trusted.value == value
    own = Keeps.load_from_checkpoint(path, value=4)
    assert (own.value, own.hparams.other) == (4, 3)


@pytest.mark.filterwarnings("ignore:FUL022")
def test_training_goes_on_from_a_file_with_a_module_in_it(tmp_path: Path) -> None:
    class Model(fulmen.LightningModule):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net
            self.save_hyperparameters()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def trainer(epochs: int) -> fulmen.Trainer:
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        return fulmen.Trainer(accelerator="cpu", max_epochs=epochs, default_root_dir=tmp_path, **quiet)

    first = trainer(1)
    first.fit(Model(nn.Linear(2, 1)), [torch.ones(1, 2)])
    first.save_checkpoint(tmp_path / "a.ckpt")
    second = trainer(2)
    second.fit(Model(nn.Linear(2, 1)), [torch.ones(1, 2)], ckpt_path=tmp_path / "a.ckpt")
    assert second.global_step == 2


def test_annotations_give_plain_values_their_types_back(tmp_path: Path) -> None:
    config = Config(Layer(3, Kind.LARGE), Path("here"), [Layer(4)])
    module = Annotated(config, Kind.LARGE, Path("there"), Namespace(a=1), [Layer(5)], Kind.LARGE)
    path = saved(module, tmp_path)
    kept = torch.load(path, weights_only=True)["hyper_parameters"]
    assert kept["config"] == {
        "layer": {"width": 3, "kind": "large"},
        "folder": "here",
        "rest": [{"width": 4, "kind": "small"}],
    }
    assert Annotated.load_from_checkpoint(path).given == module.given
    assert Annotated.load_from_checkpoint(path, weights_only=False).given == module.given
    assert Annotated.load_from_checkpoint(saved(Annotated(config), tmp_path)).given[1:] == (
        None,
        Path(),
        None,
        None,
        "",
    )


def test_without_annotation_a_kept_object_has_attributes(tmp_path: Path) -> None:
    for value in (Config(Layer(3), Path("here")), Namespace(layer=Layer(3), folder=Path("here"))):
        path = saved(Keeps(value), tmp_path)
        loaded = Keeps.load_from_checkpoint(path).value
        assert (loaded.layer.width, loaded["folder"]) == (3, "here")
        assert Keeps.load_from_checkpoint(path, weights_only=False).value == value


def test_a_plain_dict_stays_one(tmp_path: Path) -> None:
    value = {"a": {"b": [1, 2]}, "c": torch.tensor([1.0]), "d": (1, None)}
    path = saved(Keeps(value), tmp_path)
    assert "hyper_parameters_pickled" not in torch.load(path, weights_only=True)
    loaded = Keeps.load_from_checkpoint(path).value
    assert type(loaded) is type(loaded["a"]) is dict
    assert loaded == value


class Tree(Mapping[str, Any]):
    """A mapping of another library, such as OmegaConf's."""

    def __init__(self, **items: Any) -> None:
        self._items = items

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Any:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def test_other_mappings_are_kept_as_plain_ones(tmp_path: Path) -> None:
    class Module(fulmen.LightningModule):
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters(config)

    module = Module(Tree(width=3, net=Tree(depth=2)))
    assert module.hparams.net["depth"] == 2
    loaded = Module.load_from_checkpoint(saved(module, tmp_path))
    assert loaded.hparams == {"width": 3, "net": {"depth": 2}}


def test_what_cannot_be_pickled_is_left_out_and_said(tmp_path: Path) -> None:
    module = Keeps(threading.Lock())
    with pytest.warns(AdviceWarning, match=r"FUL023: the checkpoint cannot keep the hyper-parameters `value` \(cannot"):
        path = saved(module, tmp_path)
    with pytest.raises(MisconfigurationException, match="missing a required argument: 'value'; the file has other"):
        Keeps.load_from_checkpoint(path)
    assert Keeps.load_from_checkpoint(path, value=1).value == 1


def test_a_file_of_the_fields_first_versions(tmp_path: Path) -> None:
    for key in ("hparams", "module_arguments"):
        path = tmp_path / f"{key}.ckpt"
        torch.save({"state_dict": Keeps(0).state_dict(), key: {"value": 7}}, path)
        assert Keeps.load_from_checkpoint(path).value == 7


def test_names_of_code_in_a_file_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    kept = {"value": 7, "_instantiator": "os.system", "_class_path": "os.system"}
    torch.save({"state_dict": Keeps(0).state_dict(), "hyper_parameters": kept}, path)
    assert dict(Keeps.load_from_checkpoint(path).hparams) == {"value": 7, "other": 1}
