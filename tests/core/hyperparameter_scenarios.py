"""Programs that keep hyper-parameters and load from checkpoints; what PyTorch Lightning made of them is kept.

``python hyperparameter_scenarios.py`` in an environment with lightning 2.6 writes ``hyperparameters.json``. The tests
run the same programs with Fulmen and compare. A program returns plain values; one that raises counts as ``"raises"``.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import importlib
import inspect
import json
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

Scenario = Callable[[ModuleType, Path], Any]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def plain(value: Any) -> Any:
    """Return what JSON can hold of hyper-parameters: objects by their class."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Namespace):
        return {"Namespace": plain(vars(value))}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__


def kept(module: Any) -> dict[str, Any]:
    """Return all that a module keeps."""
    return {
        "hparams": plain(dict(module.hparams)),
        "initial": plain(dict(module.hparams_initial)),
        "name": getattr(module, "_hparams_name", None),
        "logged": getattr(module, "_log_hyperparams", None),
    }


def of(pl: ModuleType) -> type:
    """Return a module's class that can be trained, for scenarios to derive from."""

    class Trainable(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Trainable


def saved(pl: ModuleType, module: Any, folder: Path, **options: Any) -> Path:
    """Train a module on one batch and return the checkpoint."""
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    if "datamodule" in options:
        trainer.fit(module, datamodule=options["datamodule"])
    else:
        trainer.fit(module, DataLoader(torch.ones(2, 2), batch_size=2))
    path = folder / "saved.ckpt"
    trainer.save_checkpoint(str(path))
    return path


def logger_of(pl: ModuleType, folder: Path) -> Any:
    """Return a logger that every installation has."""
    if pl.__name__ != "fulmen":
        return pl.loggers.CSVLogger(str(folder))

    class Nothing(pl.loggers.Logger):  # type: ignore[misc, name-defined]
        name, version = "nothing", "0"

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            pass

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            pass

    return Nothing()


def in_file(path: Path) -> dict[str, Any]:
    """Return a checkpoint's hyper-parameters."""
    checkpoint = torch.load(path, weights_only=False)
    return {
        key: plain(checkpoint[key])
        for key in (
            "hyper_parameters",
            "hparams_name",
            "datamodule_hyper_parameters",
            "datamodule_hparams_name",
        )
        if key in checkpoint
    }


# ------------------------------------------------------------------------------------------------ saving


@scenario
def all_arguments(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, depth: int = 2, *, rate: float = 0.1, **rest: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    return kept(Module(3)), kept(Module(3, 4, rate=0.5, more="x")), kept(Module(width=3))


@scenario
def positional_rest(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, *rest: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    return kept(Module(3, 4, 5))


@scenario
def named_arguments(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, depth: int = 2, rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters("width", "rate")

    return kept(Module(3))


@scenario
def ignored_arguments(pl: ModuleType, folder: Path) -> Any:
    found = []
    for ignore in ("net", ["net", "depth"], ("net",), ["unknown"]):

        class Module(of(pl)):  # type: ignore[misc]
            def __init__(self, net: Any, width: int, depth: int = 2) -> None:
                super().__init__()
                self.save_hyperparameters(ignore=ignore)  # noqa: B023  made and used in the same round

        found.append(kept(Module(None, 3)))
    return found


@scenario
def unknown_name(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters("widht")

    return kept(Module(3))


@scenario
def not_for_loggers(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters(logger=False)

    return kept(Module(3))


@scenario
def nothing_saved(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()

    module = Module(3)
    return kept(module), in_file(saved(pl, module, folder))


@scenario
def no_arguments(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = Module()
    return kept(module), in_file(saved(pl, module, folder))


@scenario
def empty_configuration(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters(config)

    return kept(Module({})), kept(Module(None))


@scenario
def configuration_objects(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, config: Any, other: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters(config)

    dictionary = {"width": 3, "sizes": [1, 2]}
    module = Module(dictionary)
    dictionary["width"] = 4
    return kept(module), kept(Module(Namespace(width=3))), in_file(saved(pl, Module(Namespace(width=3)), folder))


@scenario
def configuration_of_another_kind(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters(config)

    return kept(Module(3))


@scenario
def configuration_that_is_no_argument(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters({"computed": width * 2})

    module = Module(3)
    return kept(module), in_file(saved(pl, module, folder))


@scenario
def name_and_configuration(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters("width", config)

    return kept(Module(3, {"rate": 0.5}))


@scenario
def several_calls(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters("width")
            self.save_hyperparameters(config)

    return kept(Module(3, {"rate": 0.5}))


@scenario
def changed_before_saving(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, name: str | None = None) -> None:
            super().__init__()
            name = name or "made"
            width *= 2
            self.save_hyperparameters()

    return kept(Module(3))


@scenario
def changed_after_saving(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, sizes: list[int]) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = Module(3, [1])
    module.hparams.width = 4
    module.hparams["added"] = 5
    module.hparams.sizes.append(2)
    del module.hparams["width"]
    initial = module.hparams_initial
    initial.width = 6
    return kept(module), in_file(saved(pl, module, folder))


@scenario
def called_in_the_parent(pl: ModuleType, folder: Path) -> Any:
    class Parent(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, depth: int = 2) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Child(Parent):
        def __init__(self, width: int, extra: str = "x") -> None:
            super().__init__(width * 10, depth=7)

    class Grandchild(Child):
        def __init__(self, last: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)

    return kept(Child(3)), kept(Grandchild(1, width=5))


@scenario
def called_in_parent_and_child(pl: ModuleType, folder: Path) -> Any:
    class Parent(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, net: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Child(Parent):
        def __init__(self, extra: int) -> None:
            super().__init__(extra * 2)
            self.save_hyperparameters(ignore="net")

    return kept(Child(3))


@scenario
def names_chosen_in_the_parent(pl: ModuleType, folder: Path) -> Any:
    class Parent(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, depth: int = 2) -> None:
            super().__init__()
            self.save_hyperparameters("depth")

    class Child(Parent):
        def __init__(self, width: int, extra: int) -> None:
            super().__init__(width)
            self.save_hyperparameters("extra")

    return kept(Child(3, 4))


@scenario
def composition(pl: ModuleType, folder: Path) -> Any:
    class Inner(of(pl)):  # type: ignore[misc]
        def __init__(self, size: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Outer(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner = Inner(size=width * 2)
            self.save_hyperparameters()

    class Silent(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner = Inner(size=width * 2)

    module, silent = Outer(3), Silent(3)
    return kept(module), kept(module.inner), kept(silent), kept(silent.inner)


@scenario
def called_in_a_method(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            local = 7  # noqa: F841  a local name is no argument
            self.keep()

        def keep(self) -> None:
            self.save_hyperparameters()

    return kept(Module(3))


@scenario
def called_after_init(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()

    module = Module(3)
    module.save_hyperparameters({"rate": 0.5})
    other = Module(3)
    other.save_hyperparameters()
    return kept(module), kept(other)


@scenario
def another_frame(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            keep(self)

    def keep(module: Any) -> None:
        frame = inspect.currentframe()
        assert frame is not None
        module.save_hyperparameters(frame=frame.f_back)

    return kept(Module(3))


@scenario
def a_dataclass_as_data_module(pl: ModuleType, folder: Path) -> Any:
    @dataclasses.dataclass(eq=False)
    class Data(pl.LightningDataModule):  # type: ignore[misc, name-defined]
        folder: str
        batch_size: int = 8
        counted: int = dataclasses.field(default=0, init=False)

        def __post_init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()

    return kept(Data("here"))


@scenario
def a_module_among_the_values(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, net: nn.Module, width: int) -> None:
            super().__init__()
            self.net = net
            self.save_hyperparameters()

    return kept(Module(nn.Linear(1, 1), 3))


@scenario
def values_of_many_kinds(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, **values: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    values = {"a": None, "b": [1, (2, 3)], "c": {"d": {"e": 1.5}}, "f": "text", "g": True}
    module = Module(**values)
    path = saved(pl, module, folder)
    return kept(module), in_file(path), kept(Module.load_from_checkpoint(str(path)))


@scenario
def nested_classes(pl: ModuleType, folder: Path) -> Any:
    class Outer:
        class Module(of(pl)):  # type: ignore[misc]
            def __init__(self, width: int = 3) -> None:
                super().__init__()
                self.save_hyperparameters()

    path = saved(pl, Outer.Module(4), folder)
    return kept(Outer.Module.load_from_checkpoint(str(path)))


@scenario
def copies(pl: ModuleType, folder: Path) -> Any:
    import copy

    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, sizes: list[int]) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = Module([1])
    other = copy.deepcopy(module)
    other.hparams.sizes.append(2)
    return kept(module), kept(other)


@scenario
def names_dropped_afterwards(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, depth: int) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.remove_ignored_hparams(["depth", "unknown"])

    return dict(Module(3, 4).hparams)


# ----------------------------------------------------------------------------------------------- loading


@scenario
def loaded(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, depth: int = 2) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = Module(3, 4)
    path = saved(pl, module, folder)
    other = Module.load_from_checkpoint(path)
    return (
        kept(other),
        other.training,
        torch.equal(other.layer.weight, module.layer.weight),
        kept(Module.load_from_checkpoint(str(path), depth=5)),
    )


@scenario
def loaded_with_an_unknown_argument(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    return kept(Module.load_from_checkpoint(saved(pl, Module(3), folder), widht=5))


@scenario
def loaded_after_a_change(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = Module(3)
    module.hparams.width = 8
    return kept(Module.load_from_checkpoint(saved(pl, module, folder)))


@scenario
def loaded_without_what_it_needs(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, net: Any) -> None:
            super().__init__()
            self.save_hyperparameters(ignore="net")

    path = saved(pl, Module(3, None), folder)
    assert kept(Module.load_from_checkpoint(path, net=1))["hparams"] == {"width": 3}
    return kept(Module.load_from_checkpoint(path))


@scenario
def loaded_by_a_class_that_takes_anything(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, **rest: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    path = saved(pl, Module(3, more="x"), folder)
    return kept(Module.load_from_checkpoint(path, another=1))


@scenario
def loaded_by_a_class_with_fewer_arguments(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, depth: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Fewer(of(pl)):  # type: ignore[misc]
        def __init__(self, depth: int, new: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters()

    return kept(Fewer.load_from_checkpoint(saved(pl, Module(3, 4), folder)))


@scenario
def loaded_from_a_configuration(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, config: Any, other: int = 1) -> None:
            super().__init__()
            self.width = config["width"] if isinstance(config, dict) else config.width
            self.other = other
            self.save_hyperparameters(config)

    found = []
    for config in ({"width": 3, "net": {"depth": 2}}, Namespace(width=3)):
        path = saved(pl, Module(config), folder)
        same, changed = Module.load_from_checkpoint(path), Module.load_from_checkpoint(path, width=9, other=2)
        found.append((in_file(path), kept(same), same.width, kept(changed), changed.width, changed.other))
    return found


@scenario
def loaded_with_a_configuration_as_argument(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, config: Any, rate: float = 0.1) -> None:
            super().__init__()
            self.width = config["net"]["width"]
            self.save_hyperparameters()

    path = saved(pl, Module({"net": {"width": 3}}), folder)
    other = Module.load_from_checkpoint(path, config={"net": {"width": 4}})
    return in_file(path), kept(Module.load_from_checkpoint(path)), kept(other), other.width


@scenario
def loaded_with_a_file_of_hyperparameters(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int = 1, depth: int = 2, name: str = "", sizes: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()

    path = saved(pl, Module(3, 4, "saved"), folder)
    values = {"width": 5, "name": "file", "sizes": [1, 2]}
    (folder / "hparams.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with open(folder / "hparams.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("key", "value"), *values.items()])
    return (
        kept(Module.load_from_checkpoint(path, hparams_file=str(folder / "hparams.yaml"))),
        kept(Module.load_from_checkpoint(path, hparams_file=folder / "hparams.csv", depth=6)),
    )


@scenario
def loaded_with_a_file_of_another_kind(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters()

    path = saved(pl, Module(3), folder)
    (folder / "hparams.txt").write_text("width: 3", encoding="utf-8")
    return kept(Module.load_from_checkpoint(path, hparams_file=folder / "hparams.txt"))


@scenario
def loaded_by_an_object(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = Module(3)
    return kept(module.load_from_checkpoint(saved(pl, module, folder)))


@scenario
def loaded_with_other_weights(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        pass

    class More(of(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.added = nn.Linear(1, 1)

    class Lenient(More):
        def __init__(self) -> None:
            super().__init__()
            self.strict_loading = False

    module = Module()
    path = saved(pl, module, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        equal = [
            torch.equal(other.layer.weight, module.layer.weight)
            for other in (More.load_from_checkpoint(path, strict=False), Lenient.load_from_checkpoint(path))
        ]
    return equal, raises(lambda: More.load_from_checkpoint(path)), More().strict_loading, Lenient().strict_loading


@scenario
def loaded_against_its_own_strictness(pl: ModuleType, folder: Path) -> Any:
    class Lenient(of(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.strict_loading = False

    return kept(Lenient.load_from_checkpoint(saved(pl, Lenient(), folder), strict=True))


@scenario
def loaded_onto_a_place(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        pass

    path = saved(pl, Module(), folder)
    return [
        str(Module.load_from_checkpoint(path, map_location=place).device)
        for place in (None, "cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, _: storage)
    ]


@scenario
def loaded_with_a_model_made_late(pl: ModuleType, folder: Path) -> Any:
    class Late(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.net: Any = None
            self.made = 0
            self.save_hyperparameters()

        def configure_model(self) -> None:
            if self.net is None:
                self.made += 1
                self.net = nn.Linear(self.hparams.width, 1)

    module = Late(3)
    other = Late.load_from_checkpoint(saved(pl, module, folder))
    return other.made, torch.equal(other.net.weight, module.net.weight)


@scenario
def loaded_with_hooks(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = [1, 2]

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.mine = checkpoint["mine"]

    return Module.load_from_checkpoint(saved(pl, Module(), folder)).mine


@scenario
def loaded_from_an_open_file(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    with open(saved(pl, Module(3), folder), "rb") as file:
        return kept(Module.load_from_checkpoint(file))


@scenario
def a_data_module_loaded(pl: ModuleType, folder: Path) -> Any:
    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Data(pl.LightningDataModule):  # type: ignore[misc, name-defined]
        def __init__(self, size: int, root: str = "here") -> None:
            super().__init__()
            self.save_hyperparameters()
            self.seen = 0

        def train_dataloader(self) -> Any:
            self.seen += 1
            return DataLoader(torch.ones(2, 2), batch_size=2)

        def state_dict(self) -> dict[str, Any]:
            return {"seen": self.seen}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.seen = state_dict["seen"]

    path = saved(pl, Module(3), folder, datamodule=Data(5))
    same, changed = Data.load_from_checkpoint(path), Data.load_from_checkpoint(path, size=6)
    (folder / "hparams.yaml").write_text("size: 7", encoding="utf-8")
    of_file = Data.load_from_checkpoint(path, hparams_file=folder / "hparams.yaml")
    return in_file(path), kept(same), same.seen, kept(changed), kept(of_file)


@scenario
def a_data_module_loaded_by_an_object(pl: ModuleType, folder: Path) -> Any:
    class Data(pl.LightningDataModule):  # type: ignore[misc, name-defined]
        def train_dataloader(self) -> Any:
            return DataLoader(torch.ones(2, 2), batch_size=2)

    data = Data()
    return kept(data.load_from_checkpoint(saved(pl, of(pl)(), folder, datamodule=data)))


@scenario
def the_same_names_in_module_and_data(pl: ModuleType, folder: Path) -> Any:
    class Data(pl.LightningDataModule):  # type: ignore[misc, name-defined]
        def __init__(self, size: int) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return DataLoader(torch.ones(2, 2), batch_size=2)

    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, size: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    def fit(size: int) -> None:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=logger_of(pl, folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(folder),
        )
        trainer.fit(Module(size), datamodule=Data(3))

    fit(3)
    return raises(lambda: fit(4))


@scenario
def the_file_of_a_run(pl: ModuleType, folder: Path) -> Any:
    class Data(pl.LightningDataModule):  # type: ignore[misc, name-defined]
        def __init__(self, size: int) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return DataLoader(torch.ones(2, 2), batch_size=2)

    class Module(of(pl)):  # type: ignore[misc]
        def __init__(self, width: int, name: str, sizes: list[int], config: dict[str, Any]) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = Module(3, "a", [1, 2], {"x": {"y": 1.5}, "z": None})
    module.hparams.width = 4  # the file has what was there first
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=logger_of(pl, folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    trainer.fit(module, datamodule=Data(5))
    return yaml.safe_load(Path(trainer.log_dir, "hparams.yaml").read_text(encoding="utf-8"))


def raises(program: Callable[[], Any]) -> Any:
    """Return what a program returns, ``"raises"`` where it raises."""
    try:
        return program()
    except Exception:
        return "raises"


def outcome(pl: ModuleType, name: str, folder: Path) -> Any:
    """Return what a scenario's program returned, as JSON gives it back."""
    return json.loads(json.dumps(raises(lambda: SCENARIOS[name](pl, folder))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", nargs="?", default="lightning.pytorch")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("hyperparameters.json"))
    options = parser.parse_args()
    pl = importlib.import_module(options.library)
    with contextlib.suppress(ImportError):
        importlib.import_module(f"{options.library}.loggers")
    found = {}
    for name in SCENARIOS:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = outcome(pl, name, Path(folder))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
    head = json.dumps(f"{options.library} {pl.__version__}")
    options.out.write_text(f'{{"library": {head},\n{lines}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
