"""Preflight: a monitored key that nothing can log is an error before the first epoch, and only then.

``tests/callbacks/test_callback_advice.py`` has what the installed callbacks ask for.
"""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import fulmen
from fulmen import advice
from fulmen.errors import MisconfigurationException
from fulmen.log_calls import LogCalls
from fulmen.preflight import Plan

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


class Watches(fulmen.Callback):
    """Needs a key, as callbacks that decide by a metric do; notes the plan."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.plans: list[Plan] = []

    def on_preflight(self, trainer: Any, pl_module: Any, plan: Plan) -> None:
        self.plans.append(plan)
        if self.key is not None:
            plan.needs(self.key, f"Watches({self.key!r})")


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.batches = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.batches += 1
        loss = self.layer(batch).sum()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.layer(batch).sum())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader(batches: int = 4) -> Any:
    return DataLoader(torch.ones(batches * 2, 4), batch_size=2)


def fit(model: Any, key: str | None, *more: fulmen.Callback, val: Any = None, **options: Any) -> Watches:
    watches = Watches(key)
    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1, **options}, callbacks=[watches, *more])
    trainer.fit(model, loader(), loader(1) if val is None else val)
    return watches


def said(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in caught]


# ------------------------------------------------------------------------------------ keys that nothing logs


@pytest.mark.parametrize("sanity", [0, 2])
def test_a_key_that_nothing_logs_is_an_error_before_the_first_batch(sanity: int) -> None:
    model = Model()
    with pytest.raises(MisconfigurationException) as caught:
        fit(model, "val_los", num_sanity_val_steps=sanity)
    assert str(caught.value) == (
        "`Watches('val_los')`: nothing logs 'val_los'; did you mean 'val_loss'?; logged are: 'train_loss', 'val_loss'; "
        "call `self.log('val_los', value)`, or monitor what is logged"
    )
    assert model.batches == 0


def test_it_is_an_error_with_callbacks_that_log_known_names_too() -> None:
    class Measures(fulmen.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.log("norm", 1.0)
            pl_module.log_dict({"one": 1.0, f"two_{trainer.current_epoch}": 2.0})
            trainer.log_metrics({"three": 3.0})

    with pytest.raises(MisconfigurationException, match="nothing logs 'norms'; did you mean 'norm'"):
        fit(Model(), "norms", Measures())
    for key in ("norm", "one", "two_7", "three"):
        fit(Model(), key, Measures())


def log_elsewhere(module: Any, name: str) -> None:
    module.log(name, 1.0)


def log_known_elsewhere(module: Any, value: Any) -> None:
    deeper(value, owner=module)


def deeper(value: Any, owner: Any) -> None:
    owner.log("deep_loss", value)


def never_logs(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class Helper:
    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def log_it(self, value: Any) -> None:
        self.owner.log("helped_loss", value)


class InEpochEnds(Model):
    def on_train_epoch_end(self) -> None:
        self.log("late", 1.0)


class InSomeEpochs(Model):
    def on_validation_epoch_end(self) -> None:
        if self.current_epoch > 5:
            self.log("rare", 1.0)


class ByPattern(Model):
    def shared(self, batch: Any, stage: str) -> Any:
        loss = self.layer(batch).sum()
        self.log(f"{stage}_hinge", loss)
        self.log(stage + "_added", loss)
        self.log("a" if stage == "train" else "b", loss)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.shared(batch, "train")


class ByDictionary(Model):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log_dict({"first": loss, f"part_{batch_idx}": loss})
        return loss


class ByFunction(Model):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        log_known_elsewhere(self, loss)
        never_logs(self)
        return loss


class ByHelper(Model):
    def __init__(self) -> None:
        super().__init__()
        self.helper = Helper(self)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.helper.log_it(loss)
        return loss


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (Model, "val_loss"),
        (Model, "train_loss"),
        (Model, "train_loss_step"),
        (Model, "train_loss_epoch"),
        (InEpochEnds, "late"),
        (InSomeEpochs, "rare"),
        (ByPattern, "train_hinge"),
        (ByPattern, "train_added"),
        (ByPattern, "a"),
        (ByDictionary, "first"),
        (ByDictionary, "part_3"),
        (ByFunction, "deep_loss"),
        (ByHelper, "helped_loss"),
    ],
)
def test_what_may_be_logged_later_is_no_error(model: type[Model], key: str) -> None:
    assert said(lambda: fit(model(), key)) == []


@pytest.mark.parametrize("model", [InEpochEnds, InSomeEpochs, ByPattern, ByDictionary, ByFunction])
def test_and_what_none_of_them_logs_is_one(model: type[Model]) -> None:
    with pytest.raises(MisconfigurationException, match="nothing logs 'nothing_like_it'"):
        fit(model(), "nothing_like_it")


class Opaque(Model):
    """Logs under names that its source does not show; which key it is, depends on what runs."""

    names: Any = ("other",)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for name in self.names:
            self.log(name, 1.0)
        return super().training_step(batch, batch_idx)


class ByCall(Opaque):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for name in self.names:
            log_elsewhere(self, name)
        return self.layer(batch).sum()


class ByMap(Opaque):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        list(map(self.log, self.names, [1.0] * 9))
        return self.layer(batch).sum()


class ByGetattr(Opaque):
    method = "log"

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for name in self.names:
            getattr(self, self.method)(name, 1.0)
        return self.layer(batch).sum()


class ByDict(Opaque):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log_dict(dict.fromkeys(self.names, 1.0))
        return self.layer(batch).sum()


class ByAlias(Opaque):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        me = self
        for name in self.names:
            me.log(name, 1.0)
        return self.layer(batch).sum()


class ByPartial(Opaque):
    def __init__(self) -> None:
        super().__init__()
        self.say = functools.partial(log_elsewhere, self)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for name in self.names:
            self.say(name)
        return self.layer(batch).sum()


class ByWriting(Model):
    def on_train_epoch_end(self) -> None:
        self.trainer.callback_metrics["written_loss"] = torch.tensor(3.0)


@pytest.mark.parametrize("model", [Opaque, ByCall, ByMap, ByGetattr, ByDict, ByAlias, ByPartial])
def test_names_that_the_source_does_not_show_are_left_alone(model: type[Opaque]) -> None:
    assert said(lambda: fit(model(), "val_accuracy_of_all")) == []


def test_a_module_changed_by_hand_is_left_alone() -> None:
    def training_step(batch: Any, batch_idx: int) -> Any:
        for name in ["set_on_the_object"]:
            model.log(name, 1.0)
        return model.layer(batch).sum()

    model = Model()
    model.training_step = training_step  # type: ignore[method-assign]
    assert said(lambda: fit(model, "set_on_the_object")) == []


def test_what_a_program_writes_into_callback_metrics_can_be_monitored() -> None:
    seen = []

    class Reads(fulmen.Callback):
        run_order = 1

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.callback_metrics["written_loss"].item())

    fit(ByWriting(), "written_loss", Reads())
    assert seen == [3.0]


def test_a_class_without_source_is_left_alone() -> None:
    scope: dict[str, Any] = {"Model": Model}
    exec("class Made(Model):\n    def on_train_epoch_end(self):\n        self.log('made', 1.0)\n", scope)
    assert said(lambda: fit(scope["Made"](), "made")) == []


def test_a_likely_misspelling_is_advised_of_where_it_is_not_sure() -> None:
    assert said(lambda: fit(Opaque(), "val_los")) == [
        "FUL035: `Watches('val_los')`: nothing seems to log 'val_los'; did you mean 'val_loss'?; logged are: "
        "'train_loss', 'val_loss'"
    ]


def test_a_key_of_one_of_several_loaders_is_advised_of() -> None:
    messages = said(lambda: fit(Model(), "val_loss", val=[loader(1), loader(1)]))
    assert messages == [
        "FUL035: `Watches('val_loss')`: nothing seems to log 'val_loss'; did you mean 'val_loss/dataloader_idx_0'? It "
        "is logged for each loader; logged are: 'train_loss', 'val_loss/dataloader_idx_0', 'val_loss/dataloader_idx_1'"
    ]
    assert said(lambda: fit(Model(), "val_loss/dataloader_idx_1", val=[loader(1), loader(1)])) == []


def test_a_callback_can_tell_what_it_logs() -> None:
    class Tells(fulmen.Callback):
        def on_preflight(self, trainer: Any, pl_module: Any, plan: Plan) -> None:
            plan.logs(self, "rate-*", "exact[0]")

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.log_metrics(dict.fromkeys(pl_module.hparams, 1.0))

    assert said(lambda: fit(Model(), "rate-7", Tells())) == []
    assert said(lambda: fit(Model(), "exact[0]", Tells())) == []
    with pytest.raises(MisconfigurationException, match="nothing logs 'rate'"):
        fit(Model(), "rate", Tells())


def test_a_resumed_run_knows_what_it_logged(tmp_path: Any) -> None:
    class Once(Model):
        def on_train_epoch_end(self) -> None:
            names = ["first_epoch"] if self.current_epoch == 0 else []
            for name in names:
                self.log(name, 1.0)

    trainer = fulmen.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Once(), loader(), loader(1))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    resumed = fulmen.Trainer(**QUIET, max_epochs=2, callbacks=Watches("first_epoch"))
    assert said(lambda: resumed.fit(Once(), loader(), loader(1), ckpt_path=tmp_path / "a.ckpt")) == []


def test_library_calls_named_log_are_no_logging() -> None:
    class Library(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            torch.log(loss.abs() + 1)
            (loss.abs() + 1).log()
            math.log(2.0)
            logging.getLogger("x").log(10, "word")
            if self.logger is not None:
                self.logger.experiment.log({f"{batch_idx}": 1.0})
            return loss

    calls = LogCalls([(Library(), fulmen.LightningModule)])
    assert calls.is_complete
    assert calls.names == {"train_loss", "val_loss"}


def test_nothing_is_read_where_every_key_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the source was read")

    monkeypatch.setattr(LogCalls, "__init__", refuse)
    fit(Model(), "val_loss")
    fit(Model(), None)


# ------------------------------------------------------------------------------------------------- the plan


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield torch.ones(4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_epochs": 3}, (3, 12, 4, True)),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, (3, 6, 4, True)),
        ({"max_epochs": -1, "max_steps": 10}, (3, 10, 4, True)),
        ({"max_epochs": 2, "max_steps": 100}, (2, 8, 4, True)),
        ({"max_epochs": 3, "limit_train_batches": 2}, (3, 6, 2, True)),
        ({"max_epochs": 3, "limit_val_batches": 0}, (3, 12, 4, False)),
        ({"max_epochs": 3, "check_val_every_n_epoch": 4}, (3, 12, 4, False)),
        ({"max_epochs": 3, "check_val_every_n_epoch": 3}, (3, 12, 4, True)),
        ({"max_epochs": 3, "check_val_every_n_epoch": None, "val_check_interval": 12}, (3, 12, 4, True)),
        ({"max_epochs": 3, "check_val_every_n_epoch": None, "val_check_interval": 13}, (3, 12, 4, False)),
        ({"max_epochs": 3, "val_check_interval": {"hours": 1}}, (3, 12, 4, True)),
    ],
)
def test_the_plan_says_what_is_to_come(options: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (plan,) = fit(Model(), None, **options).plans
    assert (plan.last_epoch, plan.last_step, plan.batches, plan.validates) == expected
    assert (plan.first_epoch, plan.first_step, plan.trains) == (0, 0, True)


def test_the_plan_of_a_resumed_fit_begins_where_it_resumes(tmp_path: Any) -> None:
    trainer = fulmen.Trainer(**QUIET, max_epochs=2)
    trainer.fit(Model(), loader(), loader(1))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    watches = Watches()
    fulmen.Trainer(**QUIET, max_epochs=3, callbacks=watches).fit(
        Model(), loader(), loader(1), ckpt_path=tmp_path / "a.ckpt"
    )
    (plan,) = watches.plans
    assert (plan.first_epoch, plan.last_epoch, plan.first_step, plan.last_step) == (2, 3, 8, 12)
    assert [plan.has_epoch(every) for every in (1, 2, 3, 4)] == [True, False, True, False]
    assert [plan.has_step(every) for every in (4, 5, 7, 11, 13)] == [True, True, False, True, False]


def test_an_endless_loader_has_an_endless_plan() -> None:
    watches = Watches()
    trainer = fulmen.Trainer(**QUIET, max_epochs=-1, max_steps=3, callbacks=watches)
    trainer.fit(Model(), DataLoader(Endless(), batch_size=2), loader(1))
    (plan,) = watches.plans
    assert (plan.last_epoch, plan.last_step, plan.batches) == (math.inf, 3, math.inf)


def test_manual_optimization_may_step_as_often_as_it_likes() -> None:
    class Manual(Model):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            self.manual_backward(self.layer(batch).sum())
            optimizer.step()
            optimizer.step()

    (plan,) = fit(Manual(), None, max_epochs=2).plans
    assert (plan.last_epoch, plan.last_step) == (2, math.inf)


@pytest.mark.parametrize(
    "options", [{"fast_dev_run": True}, {"max_epochs": 0}, {"max_steps": 0}, {"limit_train_batches": 0}]
)
def test_where_nothing_is_trained_nothing_is_asked(options: dict[str, Any]) -> None:
    assert fit(Model(), "nothing_like_it", **options).plans == []


def test_ful035_and_ful036_are_given_by_plans() -> None:
    plan = Plan(0, 1, 0, 4, 4, True, math.inf, 1)
    assert said(lambda: plan.never("Saves(every=9)", "training ends before")) == [
        "FUL036: `Saves(every=9)` never acts in this fit: training ends before"
    ]
    assert {"FUL035", "FUL036"} <= set(advice.CODES)


def test_functions_imported_where_they_are_used_are_read_too() -> None:
    class Imports(Model):
        def on_train_epoch_end(self) -> None:
            from fulmen.gradients import grad_norm

            grad_norm(self, 2)

    with pytest.raises(MisconfigurationException, match="nothing logs 'val_los'"):
        fit(Imports(), "val_los")
