"""The tuner: the same suggestions as Lightning's, and no trace of its trials."""

from __future__ import annotations

import builtins
import copy
import importlib.util
import json
import logging
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.tuner import LRFinder, Tuner
from fulmen.tuner.batch_size_scaling import search

HERE = Path(__file__).parent
QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


def _program() -> Any:
    # Loaded by its path: the recording of the oracle runs the same file.
    spec = importlib.util.spec_from_file_location("tuned_program", HERE / "tuned_program.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAM = _program()
THEIRS = json.loads((HERE / "tuner_results.json").read_text("utf-8"))


class Noisy(fulmen.LightningModule):
    """It draws random numbers of all three kinds, changes itself, and counts its hooks."""

    def __init__(self, lr: float = 0.1, batch_size: int = 4, raises_at: int = -1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.frozen = nn.Linear(2, 2).requires_grad_(False).eval()
        self.register_buffer("not_kept", torch.zeros(2), persistent=False)
        self.seen: list[int] = []
        self.total = torch.zeros(1)
        self.hooks: list[str] = []

    def setup(self, stage: str) -> None:
        self.hooks.append(f"setup {stage}")
        self.made_in_setup = True

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if len(self.seen) == self.hparams.raises_at:
            raise ValueError("of the user")
        self.seen.append(batch_idx)
        self.total += 1
        self.not_kept.add_(1)
        self.log("train_loss", 1.0, prog_bar=True)
        if self.logger is not None:
            self.logger.log_metrics({"by hand": 1.0}, step=0)
        self.log_text("words", "text")
        noise = random.random() + float(np.random.rand())
        return (self.net(batch[0]) * noise).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.net(batch[0]).mean())

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=self.batch_size)

    test_dataloader = predict_dataloader = val_dataloader


class Watch(fulmen.Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.calls.append("setup")

    def on_train_batch_end(self, *args: Any) -> None:
        self.calls.append("batch")

    def on_exception(self, *args: Any) -> None:
        self.calls.append("exception")


class Collects(fulmen.loggers.Logger):
    def __init__(self) -> None:
        self.points: list[dict[str, float]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.points.append(dict(metrics))

    def log_hyperparams(self, params: Any) -> None:
        self.points.append({"hparams": 1.0})

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self.points.append({"text": 1.0})


def trainer(folder: Path, **options: Any) -> fulmen.Trainer:
    defaults = {"accelerator": "cpu", "max_epochs": 4, "logger": False, "default_root_dir": folder, **QUIET}
    return fulmen.Trainer(**{**defaults, **options})


def state_of(run: fulmen.Trainer, module: Any) -> dict[str, Any]:
    """Return all that must not change, by value."""
    optimizers = [copy.deepcopy(optimizer.state_dict()) for optimizer in run.optimizers]
    return {
        "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "buffer": module.not_kept.clone(),
        "grads": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "trains": [p.requires_grad for p in module.parameters()],
        "modes": [part.training for part in module.modules()],
        "attributes": sorted(vars(module)),
        "lists": [list(module.seen), list(module.hooks)],
        "total": module.total.clone(),
        "hparams": dict(module.hparams),
        "batch_size": module.batch_size,
        "optimizers": optimizers,
        "schedulers": [copy.deepcopy(config.scheduler.state_dict()) for config in run.lr_scheduler_configs],
        "rates": [group["lr"] for optimizer in run.optimizers for group in optimizer.param_groups],
        "counters": (run.global_step, run.current_epoch, run._progress.state_dict()),
        "stop": run.should_stop,
        "state": (run.state.fn, run.state.status, run.state.stage),
        "callbacks": list(run.callbacks),
        "loggers": list(run.loggers),
        "metrics": dict(run.callback_metrics),
        "limits": (run.limit_train_batches, run.limit_val_batches, run.max_steps),
        "random": (random.getstate(), np.random.get_state(legacy=False)["state"], torch.get_rng_state()),
    }


def assert_same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}/{index}")
    else:
        assert one == other, where


# ------------------------------------------------------------------------------------------- like Lightning


@pytest.mark.parametrize("name", PROGRAM.LEARNING_RATES)
def test_rates_losses_and_suggestion_are_those_of_lightning(name: str, tmp_path: Path) -> None:
    ours, theirs = PROGRAM.find_rate(fulmen, Tuner, name, str(tmp_path)), THEIRS["rates"][name]
    assert ours["lr"] == theirs["lr"]
    numbers = [[loss for loss in found["loss"] if not math.isnan(loss)] for found in (ours, theirs)]
    assert numbers[0] == numbers[1]
    assert ours["loss"] == pytest.approx(theirs["loss"], nan_ok=True)
    assert ours["suggestion"] == theirs["suggestion"]
    assert ours["suggestion"] is not None
    assert ours["hparam"] == theirs["hparam"] == ours["suggestion"]


@pytest.mark.parametrize("name", PROGRAM.BATCH_SIZES)
def test_batch_sizes_are_those_of_lightning(name: str, tmp_path: Path) -> None:
    ours, theirs = PROGRAM.find_size(fulmen, Tuner, name, str(tmp_path)), THEIRS["sizes"][name]
    if name == "power from a size that does not fit":
        # There the first size is tried with loaders of the size before, so one is returned that does not fit.
        assert ours == {"found": 16, "attribute": 16, "tried": [64, 32, 16]}
        return
    assert (ours["found"], ours["attribute"]) == (theirs["found"], theirs["attribute"])
    # There `max_val` itself is returned without being tried.
    assert ours["tried"] == theirs["tried"] + ([64] if name == "power up to a value" else [])


@pytest.mark.parametrize("mode", ["power", "binsearch"])
@pytest.mark.parametrize("first", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("fitting", [1, 2, 5, 63, 64, 65, 500])
def test_a_search_finds_the_largest_that_fits(mode: str, first: int, fitting: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= fitting

    found = search(fits, first, mode, 50, float("inf"), 400)
    assert found in tried
    assert found <= fitting
    if mode == "binsearch" and first <= 400:
        assert found == min(fitting, 400)
    elif first <= 400:
        assert 2 * found > fitting or found == 400
    assert max(tried) <= max(400, first)
    assert len(set(tried)) == len(tried)


def test_nothing_fits() -> None:
    with pytest.raises(MisconfigurationException, match="no batch size fits into memory: 1 is the smallest"):
        search(lambda size: False, 8, "power", 25, 100, 100)
    with pytest.raises(MisconfigurationException, match="4 is the smallest that was tried.* a smaller init_val"):
        search(lambda size: False, 8, "power", 2, 100, 100)


# ---------------------------------------------------------------------------------------------- no trace


def tune(run: fulmen.Trainer, module: Any, what: str) -> Any:
    if what == "rate":
        return Tuner(run).lr_find(module, num_training=20, update_attr=False, early_stop_threshold=None)
    return Tuner(run).scale_batch_size(module, max_trials=3)


@pytest.mark.parametrize("what", ["rate", "size"])
@pytest.mark.parametrize("raises_at", [-1, 2])
@pytest.mark.parametrize("fitted", [False, True])
def test_everything_is_as_it_was(tmp_path: Path, what: str, raises_at: int, fitted: bool) -> None:
    fulmen.seed_everything(5)
    module, watch, logger = Noisy(), Watch(), Collects()
    run = trainer(tmp_path, callbacks=[watch], logger=logger, log_every_n_steps=1, max_epochs=1)
    if fitted:
        run.fit(module)
    module.hparams.raises_at = raises_at + len(module.seen) if raises_at >= 0 else -1
    calls, files = len(watch.calls), sorted(tmp_path.rglob("*"))
    points = len(logger.points)
    before = state_of(run, module)
    if raises_at >= 0:
        with pytest.raises(ValueError, match="of the user"):
            tune(run, module, what)
    else:
        assert tune(run, module, what) is not None
        if what == "size":
            assert module.batch_size == 8
            module.batch_size = module.hparams["batch_size"] = 4
    assert_same(state_of(run, module), before)
    assert len(watch.calls) == calls
    assert len(logger.points) == points
    assert sorted(tmp_path.rglob("*")) == files  # no checkpoint, no folder
    assert module._trainer is (run if fitted else None)


def test_a_fit_after_tuning_is_the_fit_without(tmp_path: Path) -> None:
    def weights(tunes: bool) -> Any:
        fulmen.seed_everything(5)
        module = Noisy()
        run = trainer(tmp_path, max_epochs=2)
        if tunes:
            tune(run, module, "rate")
            Tuner(run).scale_batch_size(module, max_trials=2)
            module.batch_size = 4
        run.fit(module)
        assert run.global_step == 32
        return torch.cat([parameter.flatten() for parameter in module.parameters()])

    assert torch.equal(weights(True), weights(False))


def test_a_module_that_changes_its_parts_in_setup_is_as_it_was(tmp_path: Path) -> None:
    class Grows(Noisy):
        def setup(self, stage: str) -> None:
            self.net = nn.Sequential(nn.Linear(4, 1))

    module = Grows()
    net = module.net
    tune(trainer(tmp_path), module, "rate")
    assert module.net is net
    assert dict(module.named_children()) == {"net": net, "frozen": module.frozen}


def test_the_format_of_weights_is_given_back(tmp_path: Path) -> None:
    module = PROGRAM.module_of(fulmen)
    before = [parameter.clone() for parameter in module.parameters()]
    run = trainer(tmp_path, precision="64-true")
    Tuner(run).lr_find(module, PROGRAM.loader(), num_training=20)
    assert all(map(torch.equal, before, module.parameters()))
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_trials_are_not_profiled(tmp_path: Path) -> None:
    run = trainer(tmp_path, profiler="simple")
    tune(run, Noisy(), "rate")
    assert run.profiler.recorded_durations == {}


@pytest.mark.parametrize("what", ["rate", "size"])
@pytest.mark.parametrize("where", ["on_fit_start", "on_train_epoch_start"])
def test_inside_of_a_fit_its_own_data_is_used_and_no_set_up_runs_again(tmp_path: Path, what: str, where: str) -> None:
    states: list[Any] = []

    class Tunes(fulmen.Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            self.run("on_fit_start", trainer, pl_module)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.run("on_train_epoch_start", trainer, pl_module)

        def run(self, hook: str, trainer: Any, pl_module: Any) -> None:
            if hook != where:
                return
            before = state_of(trainer, pl_module)
            tune(trainer, pl_module, what)
            if what == "size":
                pl_module.batch_size = before["batch_size"]
                pl_module.hparams["batch_size"] = before["hparams"]["batch_size"]
            after = state_of(trainer, pl_module)
            if what == "size" and hook == "on_train_epoch_start":  # this module draws its data when it is asked for it
                after["random"] = before["random"]
            assert_same(after, before)
            states.append(before)

    def weights(*callbacks: Any) -> Any:
        fulmen.seed_everything(5)
        module = Noisy()
        run = trainer(tmp_path, max_epochs=3, callbacks=list(callbacks))
        run.fit(module)
        assert module.hooks == ["setup fit"]
        return run.global_step, torch.cat([parameter.flatten() for parameter in module.parameters()])

    steps, tuned = weights(Tunes())
    assert len(states) == (1 if where == "on_fit_start" else 3)
    if what == "rate" or where == "on_fit_start":
        plain_steps, plain = weights()
        assert steps == plain_steps == 48
        assert torch.equal(tuned, plain)
    else:  # the loaders of the fit were asked for anew, with the size found
        assert steps == 24


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_batch_sizes_of_evaluation(tmp_path: Path, method: str) -> None:
    sizes: list[int] = []

    class Counts(Noisy):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            sizes.append(len(batch[0]))
            if len(batch[0]) > 20:
                raise torch.OutOfMemoryError("CUDA out of memory")

        test_step = predict_step = validation_step

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise AssertionError("nothing trains")

    module = Counts()
    assert Tuner(trainer(tmp_path)).scale_batch_size(module, method=method) == 16
    assert sizes == [2, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32]
    assert module.batch_size == module.hparams.batch_size == 16


def test_a_data_modules_batch_size_is_set(tmp_path: Path) -> None:
    class Data(fulmen.LightningDataModule):
        def __init__(self) -> None:
            super().__init__()
            self.batch_size = 1

        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.randn(32, 4)), batch_size=self.batch_size)

        val_dataloader = train_dataloader

    data = Data()
    module = Noisy()
    found = Tuner(trainer(tmp_path)).scale_batch_size(module, datamodule=data)
    assert found == data.batch_size == module.batch_size == module.hparams.batch_size == 32
    assert data.trainer is None


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "test"}, "`method` must be 'fit' for a learning rate, but is 'test'"),
        ({"mode": "exponentail"}, "'exponential', 'linear', but is 'exponentail'; did you mean 'exponential'"),
        ({"min_lr": 1.0, "max_lr": 0.1}, "0 < `min_lr` < `max_lr` must hold, but they are 1.0 and 0.1"),
        ({"num_training": 0}, "`num_training` must be >= 1, but is 0"),
        ({"attr_name": "rate"}, "neither `Noisy` nor its hparams have 'rate'"),
        ({"dataloaders": [1]}, "`dataloaders` belong to validate, test and predict"),
    ],
)
def test_a_search_for_a_rate_that_cannot_work_is_said(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Tuner(trainer(tmp_path)).lr_find(Noisy(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "tset"},
            "must be one of fit, validate, test, predict, but is 'tset'; did you mean 'test'",
        ),
        ({"mode": "binsaerch"}, "did you mean 'binsearch'"),
        ({"margin": 1.0}, "`margin` must be at least 0.0 and below 1.0, but is 1.0"),
        ({"init_val": 0}, "`init_val` must be >= 1, but is 0"),
        ({"batch_arg_name": "size"}, "have 'size'; set it"),
        ({"train_dataloaders": [torch.zeros(1)]}, "dataloaders were passed, whose batch size is fixed"),
        ({"method": "test", "train_dataloaders": [1]}, "`train_dataloaders` and `val_dataloaders` belong to fit"),
    ],
)
def test_a_search_for_a_size_that_cannot_work_is_said(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Tuner(trainer(tmp_path)).scale_batch_size(Noisy(), **arguments)


def test_modules_that_no_rate_can_be_found_for(tmp_path: Path) -> None:
    class ByHand(Noisy):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

    class Two(Noisy):
        def training_step_a(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch[0]).mean()

        training_step_b = training_step_a

        def configure_optimizers(self) -> Any:
            return {name: torch.optim.SGD(self.net.parameters(), lr=0.1) for name in ("a", "b")}

    class NoRate(Noisy):
        def __init__(self) -> None:
            super().__init__()
            del self.hparams["lr"]

    for cls, message in ((ByHand, "optimizes by hand"), (Two, "returned 2 optimizers"), (NoRate, "has neither `lr`")):
        with pytest.raises(MisconfigurationException, match=message):
            Tuner(trainer(tmp_path)).lr_find(cls())


def test_a_trial_run_tunes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = trainer(tmp_path, fast_dev_run=True)
    with caplog.at_level(logging.INFO, "fulmen"):
        assert Tuner(run).lr_find(Noisy()) is None
        assert Tuner(run).scale_batch_size(Noisy()) is None
    assert "no learning rate is looked for, since `fast_dev_run` is on" in caplog.text
    assert "no batch size is looked for" in caplog.text


def test_errors_that_are_not_about_memory_are_raised(tmp_path: Path) -> None:
    class Fails(Noisy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("shapes do not match")

    module = Fails()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Tuner(trainer(tmp_path)).scale_batch_size(module)
    assert module.batch_size == 4


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear"),
        torch.OutOfMemoryError("of a device"),
        MemoryError(),
    ],
)
def test_what_says_that_memory_ran_out(tmp_path: Path, error: Exception) -> None:
    class Large(Noisy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if len(batch[0]) > 8:
                raise error
            return self.net(batch[0]).mean()

    assert Tuner(trainer(tmp_path)).scale_batch_size(Large()) == 8


def test_ctrl_c_ends_the_search_and_leaves_no_trace(tmp_path: Path) -> None:
    class Stops(Noisy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if len(self.seen) == 3:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    module = Stops()
    run = trainer(tmp_path)
    before = state_of(run, module)
    with pytest.raises(KeyboardInterrupt):
        tune(run, module, "rate")
    assert_same(state_of(run, module), before)


# ------------------------------------------------------------------------------------------------ LRFinder


def finder_of(rates: list[float], losses: list[float]) -> LRFinder:
    finder = LRFinder("exponential", rates[0], rates[-1], len(rates))
    finder.results = {"lr": rates, "loss": losses}
    return finder


def test_the_suggestion_is_where_the_loss_falls_most_steeply(caplog: pytest.LogCaptureFixture) -> None:
    finder = finder_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [9.0, 8.0, 7.5, 3.0, 2.9, 9.0])
    assert finder.suggestion(skip_begin=0) == 3.0
    finder.results["loss"][1] = float("nan")
    assert finder.suggestion(skip_begin=0) == 3.0
    assert finder.suggestion() is None
    assert "of 6 steps 0 are left after skip_begin=10 and skip_end=1, but 2 are needed" in caplog.text


def test_skip_end_may_be_zero() -> None:
    assert finder_of([1.0, 2.0, 3.0], [3.0, 2.0, 0.0]).suggestion(skip_begin=0, skip_end=0) == 3.0


def test_the_plot_marks_the_suggestion() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib")
    pyplot.switch_backend("agg")
    rates = [10**-power for power in range(20, 0, -1)]
    finder = finder_of(rates, [float(loss) for loss in range(20, 0, -1)])
    figure = finder.plot(suggest=True)
    (axes,) = figure.axes
    line, point = axes.lines
    assert list(line.get_xdata()) == rates
    assert point.get_xdata() == [finder.suggestion()]
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "Learning rate", "Loss")
    other, own = pyplot.subplots()
    assert finder.plot(ax=own) is other
    pyplot.close("all")


def test_without_matplotlib_the_plot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingPackageError, match="pip install matplotlib"):
        finder_of([1.0, 2.0], [1.0, 2.0]).plot()


def test_importing_fulmen_loads_neither_tuner_nor_matplotlib() -> None:
    import subprocess

    code = "import sys, fulmen; print([m for m in ('fulmen.tuner', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert fulmen.tuner.Tuner is Tuner


def test_it_says_what_it_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = PROGRAM.module_of(fulmen)
    with caplog.at_level(logging.INFO, "fulmen"):
        Tuner(trainer(tmp_path)).lr_find(module, PROGRAM.loader(), num_training=100)
    assert "looking for a learning rate: 100 steps from 1e-08 to 1" in caplog.text
    assert "the search ended after 48 of 100 steps: max_epochs=4 was reached" in caplog.text
    assert f"learning rate set to {module.hparams.lr:g} (`lr`)" in caplog.text
