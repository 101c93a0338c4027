"""Hooks in every form that Python allows, and the check for names that are nearly hooks."""

from __future__ import annotations

import functools
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.hooks import HookTable, check_hook_names, is_overridden, taking


class Line(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.weight * 1.0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(*callbacks: fulmen.Callback) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        max_epochs=1,
        callbacks=list(callbacks),
    )


def fitted(model: Line, *callbacks: fulmen.Callback) -> fulmen.Trainer:
    run = trainer(*callbacks)
    run.fit(model, [torch.ones(2, 1), torch.ones(3, 1)])
    return run


# ------------------------------------------------------------------------------------------------- forms


def test_hooks_set_on_the_object_run() -> None:
    calls: list[Any] = []
    model = Line()
    model.on_train_start = functools.partial(calls.append, "partial")  # type: ignore[method-assign]
    model.on_train_epoch_start = lambda: calls.append("lambda")  # type: ignore[method-assign]
    model.on_train_batch_start = Mock(return_value=None)  # type: ignore[method-assign]
    model.training_step = lambda batch: model.weight * len(batch)  # type: ignore[method-assign,assignment]
    fitted(model)
    assert calls == ["partial", "lambda"]
    assert [call.args[1] for call in model.on_train_batch_start.call_args_list] == [0, 1]


def test_static_and_class_methods_are_hooks() -> None:
    calls: list[Any] = []

    class Static(fulmen.Callback):
        @staticmethod
        def on_train_start(trainer: Any, pl_module: Any) -> None:  # type: ignore[override]
            calls.append(type(pl_module).__name__)

        @classmethod
        def on_train_batch_start(cls, trainer: Any, pl_module: Any, batch: Any) -> None:  # type: ignore[override]
            calls.append((cls.__name__, len(batch)))

    class Model(Line):
        @staticmethod
        def training_step(batch: Any, batch_idx: int) -> Any:  # type: ignore[override]
            return None

        @classmethod
        def on_train_end(cls) -> None:
            calls.append(cls.__name__)

    with pytest.warns(UserWarning, match="`training_step` returned None"):
        fitted(Model(), Static())
    assert calls == ["Model", ("Static", 2), ("Static", 3), "Model"]


def test_a_hook_may_take_fewer_arguments() -> None:
    calls: list[Any] = []

    class Few(fulmen.Callback):
        def on_train_start(self) -> None:  # type: ignore[override]
            calls.append("start")

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:  # type: ignore[override]
            calls.append(float(outputs["loss"]))

        def on_train_epoch_end(self, trainer: Any) -> None:  # type: ignore[override]
            calls.append(trainer.global_step)

    class Model(Line):
        def training_step(self, batch: Any) -> Any:  # type: ignore[override]
            return self.weight * 0.0

        def on_train_batch_start(self) -> None:  # type: ignore[override]
            calls.append("batch")

    fitted(Model(), Few())
    assert calls == ["start", "batch", 0.0, "batch", 0.0, 2]


def test_a_hook_may_take_any_arguments() -> None:
    calls: list[int] = []

    class Any_(fulmen.Callback):
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            calls.append(len(args) + len(kwargs))

    fitted(Line(), Any_())
    assert calls == [5, 5]


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        ("batch", lambda self, batch: self.log("x", 1.0)),
        ("batch, index", lambda self, batch, index: self.log("x", 1.0)),
        ("batch, index, loader", lambda self, batch, batch_idx, dataloader_idx: self.log("x", 1.0)),
        ("with default", lambda self, batch, batch_idx, dataloader_idx=0: self.log("x", 1.0)),
        ("any", lambda self, *args: self.log("x", len(args) - 1.0)),
    ],
)
def test_an_evaluation_step_takes_what_it_wants(arguments: str, step: Any) -> None:
    model = type("Model", (Line,), {"validation_step": step})()
    assert trainer().validate(model, [torch.ones(2, 1)], verbose=False) == [{"x": 1.0}]


def test_arguments_beyond_those_taken_are_left_off() -> None:
    assert taking(lambda: "none", 3)(1, 2, 3) == "none"
    assert taking(lambda a, b: (a, b), 3)(1, 2, 3) == (1, 2)
    assert taking(lambda a, b=5, *, c=7: (a, b, c), 1)(1) == (1, 5, 7)
    assert taking(lambda *args: args, 3)(1, 2, 3) == (1, 2, 3)
    assert taking(functools.partial(lambda a, b: (a, b), 0), 3)(1, 2, 3) == (0, 1)
    assert taking(max, 2)(1, 2) == 2


def test_a_hook_that_nobody_overrides_is_empty() -> None:
    class Unwanted(fulmen.Callback):
        def wants(self, hook: str) -> bool:
            return hook != "on_train_end"

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            raise AssertionError("called")

    table = HookTable(None, Line(), [fulmen.Callback(), Unwanted()])
    assert table.on_train_batch_start == table.on_train_end == ()
    with pytest.raises(AttributeError, match="there is no hook 'on_train_ends'; did you mean 'on_train_end'"):
        table.on_train_ends  # noqa: B018  reading it is the test


def test_what_is_overridden() -> None:
    class Changed(Line):
        def on_train_start(self) -> None: ...

    class Inherited(Changed):
        pass

    base = fulmen.LightningModule
    assert is_overridden("on_train_start", Inherited(), base)
    assert not is_overridden("on_train_end", Inherited(), base)
    assert not is_overridden("no_such_hook", Inherited(), base)


# ------------------------------------------------------------------------------------------------ spelling


def nothing(*_: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("on_train_epoch_ends", "on_train_epoch_end"),
        ("on_training_epoch_end", "on_train_epoch_end"),
        ("on_validation_epochs_end", "on_validation_epoch_end"),
        ("on_test_batch_ends", "on_test_batch_end"),
    ],
)
@pytest.mark.parametrize("form", [nothing, staticmethod(nothing), classmethod(nothing), functools.partial(nothing)])
def test_a_misspelled_hook_is_said_with_the_one_that_was_meant(name: str, meant: str, form: Any) -> None:
    message = f"`Odd.{name}` is not a hook and would never run; did you mean '{meant}'.*; rename it"
    with pytest.raises(MisconfigurationException, match=message):
        fitted(type("Odd", (Line,), {name: form})())
    with pytest.raises(MisconfigurationException, match=message):
        fitted(Line(), type("Odd", (fulmen.Callback,), {name: form})())


def test_a_misspelled_hook_set_on_the_object_is_said() -> None:
    model = Line()
    model.__dict__["on_train_starts"] = nothing
    with pytest.raises(MisconfigurationException, match="`Line.on_train_starts` is not a hook"):
        check_hook_names(model, [], None)


def test_a_misspelled_hook_of_a_parent_is_said() -> None:
    parent = type("Parent", (Line,), {"on_train_starts": nothing})
    with pytest.raises(MisconfigurationException, match="`Parent.on_train_starts`"):
        check_hook_names(type("Child", (parent,), {})(), [], None)


def test_a_misspelled_hook_of_a_data_module_is_said() -> None:
    odd = type("Odd", (fulmen.LightningDataModule,), {"on_after_batch_transfers": nothing})
    with pytest.raises(MisconfigurationException, match="`Odd.on_after_batch_transfers`.*'on_after_batch_transfer'"):
        trainer().fit(Line(), datamodule=odd())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_rainy_days", nothing),
        ("on_epoch_end", nothing),  # a hook of older versions
        ("train_epoch_end", nothing),
        ("on_train_starts", 3),
        ("on_train_starts", property(lambda self: 3)),
    ],
)
def test_methods_of_the_users_own_are_left_alone(name: str, value: Any) -> None:
    check_hook_names(type("Own", (Line,), {name: value})(), [type("Own", (fulmen.Callback,), {name: value})()], None)
