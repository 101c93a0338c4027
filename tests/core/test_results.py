"""``self.log``: which key holds which value, for callbacks, loggers and progress bar, and what cannot be logged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.results import LOG_LEVELS, Results, guess_batch_size

# Three batches of 4, 4 and 2 samples, whose means are 1.5, 5.5 and 8.5; weighted by their sizes, the mean is 4.5.
NUMBERS = torch.arange(10.0)[:, None]


class Line(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(torch.ones(1, 1)).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def numbers() -> Any:
    return DataLoader(NUMBERS, batch_size=4)


def trainer(**options: Any) -> fulmen.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "max_epochs": 1,
    }
    return fulmen.Trainer(**(quiet | options))


def training(log: Callable[[Line, Any, int], None]) -> Line:
    """A module whose ``training_step`` logs."""

    class Model(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            log(self, batch, batch_idx)
            return super().training_step(batch, batch_idx)

    return Model()


def fitted(model: Line, loader: Any = None, **options: Any) -> fulmen.Trainer:
    run = trainer(**options)
    run.fit(model, numbers() if loader is None else loader)
    return run


def plain(metrics: Any) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


class SumOfBatches:
    """A metric that is none of torchmetrics', and resets its state in place."""

    def __init__(self) -> None:
        self.total = torch.zeros(())
        self.computed = self.resets = 0

    def update(self, batch: Tensor) -> None:
        self.total += batch.sum()

    def compute(self) -> Tensor:
        self.computed += 1
        return self.total

    def reset(self) -> None:
        self.resets += 1
        self.total.zero_()


# ------------------------------------------------------------------------------------------- keys and values


def test_keys_and_values_in_training_are_the_standard_ones() -> None:
    def log(self: Line, batch: Tensor, batch_idx: int) -> None:
        self.log("a", float(batch.sum()), on_step=True, on_epoch=True, prog_bar=True)
        self.log("e", batch.mean(), on_epoch=True, on_step=False)
        self.log("s", batch.max())

    run = fitted(training(log))
    # Made by running this program with Lightning 2.6.6.
    assert plain(run.callback_metrics) == pytest.approx({"a": 14.6, "a_epoch": 14.6, "a_step": 17, "e": 4.5, "s": 9})
    assert plain(run.logged_metrics) == pytest.approx({"a_epoch": 14.6, "a_step": 17, "e": 4.5, "s": 9})
    assert plain(run.progress_bar_metrics) == pytest.approx({"a_epoch": 14.6, "a_step": 17})
    assert all(isinstance(value, Tensor) and value.dim() == 0 for value in run.callback_metrics.values())


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("mean", 4.5),
        ("sum", 15.5),
        ("min", 1.5),
        ("max", 8.5),
        (torch.mean, 4.5),
        (torch.sum, 15.5),
        (torch.min, 1.5),
        (torch.max, 8.5),
        (torch.median, 5.5),
        (max, 8.5),
        (lambda values: values[-1], 8.5),
        (lambda values: float(values.prod()), 1.5 * 5.5 * 8.5),
    ],
)
def test_an_epochs_values_become_one(reduce: Any, expected: float) -> None:
    run = fitted(training(lambda self, batch, _: self.log("x", batch.mean(), on_epoch=True, reduce_fx=reduce)))
    assert plain(run.callback_metrics) == pytest.approx({"x": expected, "x_epoch": expected, "x_step": 8.5})


@pytest.mark.parametrize("reduce", [lambda values: values, lambda values: "high"])
def test_a_reduction_that_gives_no_number_is_said(reduce: Any) -> None:
    model = training(lambda self, batch, _: self.log("x", 1.0, on_epoch=True, reduce_fx=reduce))
    with pytest.raises(MisconfigurationException, match="`reduce_fx` of `self.log.'x'.* must make one number"):
        fitted(model)


@pytest.mark.parametrize(
    ("value_of", "mean"),
    [
        (lambda batch, i: i, 0.8),
        (lambda batch, i: i == 1, 0.4),
        (lambda batch, i: np.float64(i), 0.8),
        (lambda batch, i: np.int32(i), 0.8),
        (lambda batch, i: batch.double().mean(), 4.5),
        (lambda batch, i: batch.bfloat16().mean(), 4.5),
        (lambda batch, i: batch.mean().reshape(1, 1), 4.5),
        (lambda batch, i: nn.Parameter(batch.mean()), 4.5),
        (lambda batch, i: float("inf") if i else 1.0, math.inf),
    ],
)
def test_numbers_of_every_kind_can_be_logged(value_of: Any, mean: float) -> None:
    def log(self: Line, batch: Tensor, batch_idx: int) -> None:
        self.log("x", value_of(batch, batch_idx), on_epoch=True)

    # The weights are 4, 4 and 2, so that 0, 1, 2 give 0.8.
    assert float(fitted(training(log)).callback_metrics["x_epoch"]) == pytest.approx(mean)


@pytest.mark.parametrize("reduce", ["mean", "sum", "min", "max"])
def test_nan_is_not_hidden_by_other_values(reduce: Any) -> None:
    def log(self: Line, batch: Tensor, batch_idx: int) -> None:
        self.log("x", math.nan if batch_idx == 1 else 1.0, on_epoch=True, reduce_fx=reduce)

    metrics = fitted(training(log)).callback_metrics
    assert math.isnan(metrics["x_epoch"])
    assert metrics["x_step"] == 1.0


@pytest.mark.parametrize("value", [3e38, math.inf])
def test_a_loss_that_overflows_is_logged_without_a_warning(value: float) -> None:
    def log(self: Line, batch: Tensor, batch_idx: int) -> None:
        self.log("x", torch.tensor(value if batch_idx else -value), on_epoch=True)

    assert not math.isfinite(fitted(training(log)).callback_metrics["x_epoch"])


def test_whole_numbers_in_tensors_are_averaged_with_a_warning() -> None:
    model = training(lambda self, batch, i: self.log("x", torch.tensor(i), on_epoch=True))
    with pytest.warns(UserWarning, match="'x'.*torch.int64.*averaged as torch.float32"):
        run = fitted(model)
    assert float(run.callback_metrics["x"]) == pytest.approx(0.8)


def test_float64_keeps_its_precision() -> None:
    value = 1.0 + 2.0**-40  # float32 has 24 bits
    run = fitted(training(lambda self, *_: self.log("x", torch.tensor(value, dtype=torch.float64), on_epoch=True)))
    assert run.callback_metrics["x_epoch"].item() == value


def test_a_value_that_is_changed_later_was_logged_as_it_was() -> None:
    def log(self: Line, batch: Tensor, batch_idx: int) -> None:
        value = torch.tensor(batch_idx + 1.0)
        self.log("x", value, on_epoch=True, reduce_fx="sum")
        value.fill_(99.0)

    assert plain(fitted(training(log)).callback_metrics) == {"x": 6.0, "x_epoch": 6.0, "x_step": 3.0}


def test_a_logged_loss_keeps_no_graph() -> None:
    graphs: list[Any] = []

    class Model(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss, on_epoch=True, prog_bar=True)
            graphs.append(self.trainer.callback_metrics["loss"].requires_grad)
            return loss

    fitted(Model())
    assert graphs == [False] * 3


def test_many_steps_without_a_log_boundary_are_averaged_in_order() -> None:
    values = torch.rand(1300, generator=torch.Generator().manual_seed(0))
    model = training(lambda self, batch, i: self.log("x", values[i], on_epoch=True, on_step=False))
    run = fitted(model, DataLoader(torch.zeros(1300, 1)), log_every_n_steps=10_000)
    total = np.float32(0)
    for value in values.numpy():
        total += value
    assert run.callback_metrics["x"].item() == total / np.float32(1300)


def test_log_dict_logs_each() -> None:
    run = fitted(training(lambda self, *_: self.log_dict({"a": 1, "b": torch.tensor(2.0)}, prog_bar=True)))
    assert plain(run.progress_bar_metrics) == {"a": 1.0, "b": 2.0}


def test_values_that_loggers_do_not_get() -> None:
    run = fitted(training(lambda self, *_: self.log("x", 1.0, logger=False, prog_bar=True)))
    assert plain(run.callback_metrics) == plain(run.progress_bar_metrics) == {"x": 1.0}
    assert run.logged_metrics == {}


def test_the_newest_hook_wins_where_two_log_one_name() -> None:
    class Model(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("x", 1.0)
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self) -> None:
            self.log("x", 100.0)

    assert plain(fitted(Model()).callback_metrics) == {"x": 100.0}


def test_an_epoch_that_logs_nothing_leaves_the_older_value() -> None:
    def log(self: Line, batch: Any, batch_idx: int) -> None:
        if self.current_epoch == 0:
            self.log("first", 1.0, on_epoch=True)
        self.log("x", float(batch_idx + 10 * self.current_epoch), on_epoch=True, on_step=False)

    run = fitted(training(log), max_epochs=2)
    assert plain(run.callback_metrics) == pytest.approx({"first": 1, "first_epoch": 1, "first_step": 1, "x": 10.8})


def test_values_are_there_as_soon_as_they_are_logged() -> None:
    seen: list[tuple[str, dict[str, float]]] = []

    class Watch(fulmen.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            seen.append(("batch", plain(trainer.callback_metrics)))

        def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
            seen.append(("val batch", plain(trainer.callback_metrics)))

        def on_validation_epoch_end(self, trainer: Any, *_: Any) -> None:
            seen.append(("val epoch", plain(trainer.callback_metrics)))

        def on_validation_end(self, trainer: Any, *_: Any) -> None:
            seen.append(("val end", plain(trainer.callback_metrics)))

        def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
            seen.append(("epoch", plain(trainer.callback_metrics)))

    class Model(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("a", 1.0 + 2 * batch_idx, on_step=True, on_epoch=True)
            self.log("e", 1.0, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("v", 4.0 + 2 * batch_idx)

        def on_validation_epoch_end(self) -> None:
            self.log("vv", 2.0)

    run = trainer(callbacks=Watch())
    two = DataLoader(NUMBERS[:8], batch_size=4)
    run.fit(Model(), two, two)
    second = {"a": 3.0, "a_step": 3.0}
    validated = second | {"v": 5.0}
    # The order and the keys are those that this program shows with Lightning 2.6.6.
    assert seen == [
        ("batch", {"a": 1.0, "a_step": 1.0}),
        ("batch", second),
        ("val batch", second),
        ("val batch", second),
        ("val epoch", validated),
        ("val end", validated | {"vv": 2.0}),
        ("epoch", validated | {"vv": 2.0, "a": 2.0, "a_epoch": 2.0, "e": 1.0}),
    ]


# ------------------------------------------------------------------------------------------------ hooks


def test_the_levels_of_each_hook_are_the_standard_ones() -> None:
    step, epoch = (True, False, True), (False, True, False)
    evaluation = (False, True, True)
    expected = {
        "training_step": step,
        "on_train_batch_start": step,
        "on_train_batch_end": step,
        "on_before_zero_grad": step,
        "on_before_backward": step,
        "on_after_backward": step,
        "on_before_optimizer_step": step,
        "optimizer_step": step,
        "validation_step": evaluation,
        "test_step": evaluation,
        "on_validation_batch_start": evaluation,
        "on_test_batch_end": evaluation,
        "on_train_start": epoch,
        "on_train_epoch_start": epoch,
        "on_train_epoch_end": epoch,
        "on_validation_start": epoch,
        "on_validation_epoch_end": epoch,
        "on_test_epoch_start": epoch,
    }
    assert {hook: LOG_LEVELS[hook] for hook in expected} == expected
    never = ("on_train_end", "on_validation_end", "on_test_end", "on_fit_start", "setup", "on_predict_batch_end")
    assert not set(never) & set(LOG_LEVELS)


def test_callbacks_log_in_their_hooks() -> None:
    class Logging(fulmen.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.log("start", 9.0)

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.log("before", 1.0 + batch_idx, on_epoch=True)

        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            self.log("zero", 1.0)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("after", float(batch_idx))
            pl_module.log("module", float(batch_idx), on_epoch=True)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.log_dict({"d": 5, "e": 6.0})

    run = fitted(Line(), callbacks=[Logging()])
    # Made by running this program with Lightning 2.6.6.
    assert plain(run.logged_metrics) == pytest.approx(
        {
            "start": 9,
            "before_epoch": 1.8,
            "before_step": 3,
            "zero": 1,
            "after": 2,
            "module_epoch": 0.8,
            "module_step": 2,
            "d": 5,
            "e": 6,
        }
    )


def test_every_hook_of_testing_can_log() -> None:
    class Model(Line):
        def on_test_start(self) -> None:
            self.log("start", 4.0)

        def on_test_epoch_start(self) -> None:
            self.log("epoch_start", 1.0)

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("mean", batch.mean())

        def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("batch_end", float(batch_idx))

        def on_test_epoch_end(self) -> None:
            self.log("end", torch.tensor([2.0]))

    run = trainer()
    outputs = run.test(Model(), numbers(), verbose=False)
    expected = {"start": 4, "epoch_start": 1, "mean": 4.5, "batch_end": 0.8, "end": 2}
    assert outputs == [pytest.approx(expected)]
    assert plain(run.callback_metrics) == pytest.approx(expected)


def test_step_values_of_evaluation_are_shown_without_a_logger() -> None:
    class Model(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("v", batch.mean(), on_step=True, on_epoch=False)

    run = trainer()
    assert run.validate(Model(), numbers(), verbose=False) == [{}]
    assert plain(run.logged_metrics) == {"v": 8.5}
    assert run.callback_metrics == {}


# ------------------------------------------------------------------------------------- several loaders


class OnSeveral(Line):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("v", batch.mean())
        self.log("both", batch.mean(), on_step=True, on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.log("end", 7.0)


def test_values_of_several_loaders_are_told_apart() -> None:
    run = trainer()
    loaders = [DataLoader(NUMBERS[:6], batch_size=4), DataLoader(NUMBERS[:5], batch_size=2)]
    outputs = run.validate(OnSeveral(), loaders, verbose=False)
    # Made by running this program with Lightning 2.6.6.
    assert outputs == [
        {"v/dataloader_idx_0": 2.5, "both_epoch/dataloader_idx_0": 2.5, "end": 7.0},
        {"v/dataloader_idx_1": 2.0, "both_epoch/dataloader_idx_1": 2.0, "end": 7.0},
    ]
    assert plain(run.callback_metrics) == {
        "v/dataloader_idx_0": 2.5,
        "both/dataloader_idx_0": 2.5,
        "both_epoch/dataloader_idx_0": 2.5,
        "v/dataloader_idx_1": 2.0,
        "both/dataloader_idx_1": 2.0,
        "both_epoch/dataloader_idx_1": 2.0,
        "end": 7.0,
    }
    assert run.progress_bar_metrics == {
        "both_step/dataloader_idx_0": 4.5,
        "both_epoch/dataloader_idx_0": 2.5,
        "both_step/dataloader_idx_1": 4.0,
        "both_epoch/dataloader_idx_1": 2.0,
    }


def test_one_loader_in_a_list_gets_no_number() -> None:
    assert trainer().validate(OnSeveral(), [numbers()], verbose=False) == [{"v": 4.5, "both_epoch": 4.5, "end": 7.0}]


def test_a_name_without_the_loaders_number_is_kept_for_each() -> None:
    class Model(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log(f"mean_{dataloader_idx}", batch.mean(), add_dataloader_idx=False)
            self.log("index", float(dataloader_idx), add_dataloader_idx=False)

    outputs = trainer().validate(Model(), [numbers(), numbers()], verbose=False)
    assert outputs == [{"mean_0": 4.5, "index": 0.0}, {"mean_1": 4.5, "index": 1.0}]


# -------------------------------------------------------------------------------------------- batch sizes


@dataclasses.dataclass
class Words:
    text: str
    x: Tensor


@dataclasses.dataclass
class Slotted:
    __slots__ = ("x",)
    x: Tensor


class Opaque:
    pass


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.ones(4, 2), 4),
        (torch.tensor(1.0), 1),
        ([torch.ones(3), torch.ones(5)], 3),
        ({"x": torch.ones(3, 2)}, 3),
        ((["a", "b"], torch.ones(2)), 2),
        ({"meta": {"names": ["a", "b"]}, "x": [torch.ones(2, 3)]}, 2),
        ((None, torch.ones(2)), 2),
        (([1, 2, 3], torch.ones(3)), 3),
        ((torch.tensor(7.0), torch.ones(3)), 1),
        (Words("a long text", torch.ones(2, 1)), 2),
        (Slotted(torch.ones(2)), 2),
        (torch.ones(0, 2), 0),
        (["a", "b"], 1),
        ("text", 1),
        (Opaque(), 1),
        ({}, 1),
        (None, 1),
    ],
)
def test_the_size_of_a_batch_is_that_of_its_first_tensor(batch: Any, size: int) -> None:
    assert guess_batch_size(batch) == size


def test_a_batch_size_of_the_users_weights_the_mean() -> None:
    model = training(lambda self, batch, i: self.log("x", batch.mean(), on_epoch=True, batch_size=i + 1))
    assert float(fitted(model).callback_metrics["x_epoch"]) == pytest.approx((1.5 + 2 * 5.5 + 3 * 8.5) / 6)


def test_nothing_but_empty_batches_has_no_mean() -> None:
    model = training(lambda self, batch, i: self.log("x", 1.0, on_epoch=True, batch_size=0))
    assert math.isnan(fitted(model).callback_metrics["x_epoch"])


# ------------------------------------------------------------------------------------------ metric objects


def test_a_metric_is_computed_once_an_epoch_and_reset() -> None:
    class Model(Line):
        def __init__(self) -> None:
            super().__init__()
            self.sum = SumOfBatches()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.sum.update(batch)
            self.log("sum", self.sum, on_step=False, on_epoch=True, prog_bar=True)
            return super().training_step(batch, batch_idx)

    model = Model()
    run = fitted(model, max_epochs=3)
    assert (model.sum.computed, model.sum.resets) == (3, 3)
    assert model.sum.total == 0.0
    # The metric's reset in place must not reach the value that was logged.
    assert plain(run.callback_metrics) == plain(run.progress_bar_metrics) == {"sum": 45.0}


def test_a_metric_logged_at_the_end_of_an_epoch() -> None:
    class Model(Line):
        def __init__(self) -> None:
            super().__init__()
            self.sum = SumOfBatches()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.sum.update(batch)

        def on_validation_epoch_end(self) -> None:
            self.log("sum", self.sum)

    model, run = Model(), trainer()
    assert run.validate(model, numbers(), verbose=False) == [{"sum": 45.0}]
    assert run.validate(model, numbers(), verbose=False) == [{"sum": 45.0}]


def test_a_metric_that_keeps_its_last_value_is_logged_per_step() -> None:
    class Forward(SumOfBatches):
        _forward_cache: Any = None

        def __call__(self, batch: Tensor) -> None:
            self.update(batch)
            self._forward_cache = batch.sum()

    class Model(Line):
        def __init__(self) -> None:
            super().__init__()
            self.sum = Forward()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.sum(batch)
            self.log("sum", self.sum, on_step=True, on_epoch=True)
            return super().training_step(batch, batch_idx)

    assert plain(fitted(Model()).callback_metrics) == {"sum": 45.0, "sum_epoch": 45.0, "sum_step": 17.0}


def test_a_metric_of_several_values_is_said() -> None:
    class Both(SumOfBatches):
        def compute(self) -> Any:
            return {"a": 1.0}

    metric = Both()
    model = training(lambda self, *_: self.log("x", metric, on_step=False, on_epoch=True))
    with pytest.raises(MisconfigurationException, match="'x'.*`compute\\(\\)` returned a dict.*`self.log_dict`"):
        fitted(model)


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(3), r"'x', ...\)` got a tensor of shape \(3,\); .*`value.mean\(\)`"),
        (torch.ones(0), r"got a tensor of shape \(0,\)"),
        ({"a": 1.0}, "got a dict: {'a': 1.0}; use `self.log_dict`"),
        ("high", "got a str: 'high'; log a number"),
        (None, "got a NoneType: None; log a number"),
        ([1.0], "got a list"),
        (np.ones(2), "got a ndarray"),
    ],
)
def test_what_is_no_number_cannot_be_logged(value: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        fitted(training(lambda self, *_: self.log("x", value)))


@pytest.mark.parametrize("other", [{"prog_bar": True}, {"on_epoch": True}, {"reduce_fx": "max"}, {"logger": False}])
def test_one_name_twice_in_a_hook_with_other_arguments(other: dict[str, Any]) -> None:
    def log(self: Line, batch: Any, batch_idx: int) -> None:
        self.log("x", 1.0)
        self.log("x", 2.0, **other)

    name = next(iter(other))
    with pytest.raises(MisconfigurationException, match=f"'x'.*twice in `training_step`.*{name}="):
        fitted(training(log))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reduce_fx": "median"}, "reduce_fx='median'.* is not known; use 'mean', 'sum', 'min', 'max'"),
        ({"name": 3}, "needs a string as name, but got 3"),
        ({"name": "x/dataloader_idx_0"}, "log 'x', or pass add_dataloader_idx=False"),
    ],
)
def test_arguments_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    given = {"name": "x", "value": 1.0} | arguments
    with pytest.raises(MisconfigurationException, match=message):
        fitted(training(lambda self, *_: self.log(**given)))


@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_end"])
def test_hooks_that_cannot_log_say_where_to(hook: str) -> None:
    model = Line()
    setattr(model, hook, lambda: model.log("x", 1.0))
    with pytest.raises(MisconfigurationException, match=f"'x'.*cannot be used in `{hook}`.*log in `training_step`"):
        fitted(model)


@pytest.mark.parametrize(("level", "fix"), [({"on_step": True}, "on_step"), ({"on_epoch": False}, "on_epoch")])
def test_hooks_that_run_once_an_epoch_have_no_steps(level: dict[str, bool], fix: str) -> None:
    model = Line()
    model.__dict__["on_train_epoch_end"] = lambda: model.log("x", 1.0, **level)
    with pytest.raises(MisconfigurationException, match=f"`on_train_epoch_end`, which runs once an epoch.*{fix} off"):
        fitted(model)


def test_logging_outside_of_a_run_warns() -> None:
    with pytest.warns(UserWarning, match="'x'.*outside of a Trainer's run; nothing was logged"):
        Line().log("x", 1.0)


# ------------------------------------------------------------------------------------- without a trainer


def test_values_logged_under_inference_mode_can_be_read_outside() -> None:
    results = Results(training=False)
    results.scope = results.scope_of("validation_step")
    with torch.inference_mode():
        results.begin_batch(torch.ones(3))
        slot = results.declare("x", 1.0, (False, None, None, None, "mean", True, False))
        for value in (1.0, 2.0):
            slot.add(torch.tensor(value), None)
    value = results.for_callbacks(on_step=False)["x"]
    assert value == 1.5
    assert not value.is_inference()


def test_a_fold_on_a_device_adds_up_the_same() -> None:
    from fulmen.results import _fold_on_device

    values, weights = torch.tensor([1.5, 5.5, 8.5]), [4, 4, 2]
    before = torch.tensor(3.0)
    assert _fold_on_device("mean", before, values, weights) == 3 + 6 + 22 + 17
    assert _fold_on_device("mean", None, values, [2, 2, 2]) == 31.0
    assert _fold_on_device("sum", before, values, []) == 18.5
    assert _fold_on_device("min", before, values, []) == 1.5
    assert _fold_on_device("max", before, values, []) == 8.5


def test_a_number_beyond_float32_is_infinite_over_the_epoch() -> None:
    run = fitted(training(lambda self, *_: self.log("x", 1e39, on_step=True, on_epoch=True)))
    assert plain(run.callback_metrics)["x_epoch"] == math.inf
