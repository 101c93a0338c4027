"""Advice: each code is given by a program that does what it says, and not by its neighbour that does not.

``tests/callbacks/test_callback_advice.py`` has the codes that callbacks give.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import fulmen
from fulmen import advice
from fulmen.data import loader_advice
from fulmen.data.loader_advice import LoaderWait, look_at_training_loaders
from fulmen.data.workers import available_cpus
from fulmen.errors import MisconfigurationException
from fulmen.hardware import accelerators

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch).sum()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).sum())

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Scheduled(Model):
    """Returns what a test wants from ``configure_optimizers``."""

    def __init__(self, settings: Callable[[Any], Any]) -> None:
        super().__init__()
        self.settings = settings

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        settings = self.settings(optimizer)
        return settings if settings is None or "optimizer" in settings else {"optimizer": optimizer, **settings}


class Keeps(fulmen.loggers.Logger):
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any) -> None:
        pass


def loader(batches: int = 4, **options: Any) -> Any:
    return DataLoader(torch.ones(batches * 2, 4), batch_size=2, **options)


def given_by(call: Callable[[], Any]) -> list[str]:
    """Return the pieces of advice that a call gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in caught if isinstance(one.message, advice.AdviceWarning)]


def fit(model: Any = None, train: Any = None, val: Any = None, **options: Any) -> list[str]:
    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1, **options})
    train = loader() if train is None else train
    return given_by(lambda: trainer.fit(model or Model(), train, loader(1) if val is None else val))


def codes(messages: list[str]) -> list[str]:
    return [message.partition(":")[0] for message in messages]


# ----------------------------------------------------------------------------------------------- the means


def test_it_is_given_once_at_the_line_of_the_program_and_is_silenced_by_its_code() -> None:
    def log() -> None:
        Model().log("x", 1.0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log()
        log()
        Model().log("y", 1.0)
    assert [str(one.message)[:6] for one in caught] == ["FUL019", "FUL019"]
    first = test_it_is_given_once_at_the_line_of_the_program_and_is_silenced_by_its_code.__code__.co_firstlineno
    assert {(Path(one.filename).name, one.lineno) for one in caught} == {
        (Path(__file__).name, log.__code__.co_firstlineno + 1),
        (Path(__file__).name, first + 8),
    }
    advice.silence("FUL019")
    assert given_by(lambda: Model().log("z", 1.0)) == []
    advice.forget()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="FUL019")
        Model().log("z", 1.0)


def test_a_code_that_does_not_exist_cannot_be_silenced() -> None:
    with pytest.raises(ValueError, match="there is no advice 'FUL0012'; did you mean 'FUL012'?"):
        advice.silence("FUL0012")


@pytest.mark.parametrize(
    ("silenced", "shown"), [("", True), ("FUL018", True), ("FUL018, FUL019", False), ("all", False), ("FUL019", False)]
)
def test_the_environment_silences(silenced: str, shown: bool) -> None:
    program = "import fulmen; fulmen.LightningModule().log('x', 1.0)"
    environment = {**os.environ, "FULMEN_SILENCE": silenced}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ("FUL019: `self.log('x', ...)`" in run.stderr) is shown


def test_all_can_be_silenced() -> None:
    advice.silence()
    assert given_by(lambda: Model().log("x", 1.0)) == []


def test_other_processes_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert given_by(lambda: Model().log("x", 1.0)) == []


def test_an_ordinary_program_gets_none(tmp_path: Path) -> None:
    model = Scheduled(lambda optimizer: {"lr_scheduler": StepLR(optimizer, 1)})
    assert fit(model, logger=Keeps(), default_root_dir=tmp_path, log_every_n_steps=2, max_epochs=2) == []


# --------------------------------------------------------------------------------------------------- loaders


class Clock:
    """A clock that tests set forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def train_on_a_clock(load_s: float, step_s: float, workers: int = 0, epochs: int = 1, batches: int = 150) -> list[str]:
    """Return the advice of a training in which each batch takes so long to come, and each step so long."""
    clock = Clock()

    def batches_of_an_epoch() -> Iterator[int]:
        for index in range(batches):
            clock.now += 100.0 if index == 0 else load_s  # the first one starts the workers
            yield index

    def train() -> None:
        wait = LoaderWait([loader(num_workers=workers)], "train_dataloader", clock)
        for _ in range(epochs):
            seen = []
            for batch in wait.watch(batches_of_an_epoch()):
                clock.now += step_s
                seen.append(batch)
            assert seen == list(range(batches))

    return given_by(train)


def test_ful001_training_waits_for_its_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_advice, "available_cpus", lambda: 8)
    (message,) = train_on_a_clock(load_s=0.045, step_s=0.01)
    assert message == (
        "FUL001: training waits 82% of its time for `train_dataloader` (45 ms a batch over 100 batches, "
        "num_workers=0); with num_workers=5 and persistent_workers=True, batches are loaded while it trains"
    )
    (message,) = train_on_a_clock(load_s=0.04, step_s=0.01, workers=2)
    assert "num_workers=2); with num_workers=7" in message  # two load a batch in 50 ms, so one takes 100 ms: 11 wanted
    (message,) = train_on_a_clock(load_s=0.04, step_s=0.01, workers=7)
    assert "no cores for more workers; make samples cheaper to load" in message
    assert len(train_on_a_clock(load_s=0.04, step_s=0.01, batches=7, epochs=30)) == 1  # counted over epochs
    monkeypatch.setattr(loader_advice, "available_cpus", lambda: 1)
    advice.forget()
    (message,) = train_on_a_clock(load_s=0.04, step_s=0.01)
    assert "no cores for more workers" in message


@pytest.mark.parametrize(
    ("load_s", "step_s", "batches"),
    [
        (0.01, 0.04, 150),  # a fifth of the time
        (0.001, 0.0001, 150),  # most of the time, but small data in memory is quicker without workers
        (0.04, 0.01, 119),  # too few batches to tell
    ],
)
def test_ful001_is_not_given_where_waiting_costs_little(load_s: float, step_s: float, batches: int) -> None:
    assert train_on_a_clock(load_s, step_s, batches=batches) == []


def test_ful001_measures_a_real_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_advice, "available_cpus", lambda: 4)
    monkeypatch.setattr(LoaderWait, "_MEASURED", 5)
    monkeypatch.setattr(LoaderWait, "_LEFT_OUT", 2)
    monkeypatch.setattr(LoaderWait, "_LEAST_WAIT_S", 0.0)
    monkeypatch.setattr(LoaderWait, "_LEAST_SHARE", 0.0)
    assert codes(fit(train=loader(9))) == ["FUL001"]
    assert fit(train=[torch.ones(2, 4)] * 9) == []  # a list has no workers


def test_ful001_leaves_batches_alone_once_it_knows() -> None:
    wait = LoaderWait([loader()], "train_dataloader", Clock())
    list(wait.watch(iter(range(200))))
    batches = iter(range(3))
    assert wait.watch(batches) is batches


def test_ful002_workers_start_anew_in_every_epoch() -> None:
    def look(start: str, several: bool = True, **options: Any) -> list[str]:
        if options.get("num_workers"):
            options["multiprocessing_context"] = multiprocessing.get_context(start)
        return given_by(lambda: look_at_training_loaders([loader(**options)], "train_dataloader", several, False))

    assert look("spawn", num_workers=2) == [
        "FUL002: the 2 workers of `train_dataloader` are started anew in every epoch, and with the start method "
        "'spawn' each imports the program again; pass persistent_workers=True"
    ]
    assert look("spawn", num_workers=2, persistent_workers=True) == []
    assert look("spawn", num_workers=2, several=False) == []
    assert look("spawn") == []
    assert look("fork", num_workers=2) == []


@pytest.mark.parametrize("entry", ["fit", "validate", "test", "predict"])
def test_ful003_an_evaluation_loader_shuffles(entry: str) -> None:
    def run(shuffle: bool) -> list[str]:
        trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1})
        data = loader(shuffle=shuffle)
        arguments = (loader(shuffle=True), data) if entry == "fit" else (data,)
        return given_by(lambda: getattr(trainer, entry)(Model(), *arguments))

    (message,) = run(shuffle=True)
    assert message.startswith(f"FUL003: `{'val' if entry in ('fit', 'validate') else entry}_dataloader` shuffles")
    assert run(shuffle=False) == []


def test_ful004_a_distributed_sampler_repeats_samples() -> None:
    def validate(samples: int, **options: Any) -> list[str]:
        data = TensorDataset(torch.ones(samples, 4))
        sampler: Any = DistributedSampler(data, num_replicas=3, rank=0, shuffle=False, **options)
        trainer = fulmen.Trainer(**QUIET)
        batches = DataLoader(data, sampler=sampler, collate_fn=lambda items: torch.stack([item[0] for item in items]))
        return given_by(lambda: trainer.validate(Model(), batches, verbose=False))

    (message,) = validate(10)
    assert message.startswith("FUL004: the DistributedSampler of `val_dataloader` repeats 2 of 10 samples")
    assert validate(9) == []
    assert validate(10, drop_last=True) == []


def test_ful005_overfitting_turns_shuffling_off() -> None:
    assert codes(fit(train=loader(shuffle=True), overfit_batches=2)) == ["FUL005"]
    assert fit(train=loader(), overfit_batches=2) == []


def test_overfitting_validates_in_order_too() -> None:
    seen: list[float] = []

    class Sees(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append(float(batch[0, 0]))

    val = DataLoader(torch.arange(40.0).repeat(4, 1).T.contiguous(), batch_size=2, shuffle=True)
    assert codes(fit(Sees(), val=val, overfit_batches=3)) == ["FUL005"]
    assert seen == [0.0, 2.0, 4.0]


def test_ful006_pinned_memory_persistent_workers_and_reloading() -> None:
    both = {"num_workers": 1, "persistent_workers": True, "pin_memory": True}

    def look(reloads: bool, **options: Any) -> list[str]:
        return codes(given_by(lambda: look_at_training_loaders([loader(**options)], "train_dataloader", True, reloads)))

    assert look(True, **both) == ["FUL006"]
    assert look(False, **both) == []
    assert look(True, **{**both, "pin_memory": False}) == []


# ------------------------------------------------------------------------------------------------- training


def test_ful007_training_ends_before_its_first_log_boundary(tmp_path: Path) -> None:
    run: dict[str, Any] = {"default_root_dir": tmp_path, "max_epochs": 2}
    (message,) = fit(logger=Keeps(), **run)
    assert message == (
        "FUL007: training took 8 steps, but log_every_n_steps=50, so no value of a step was sent to the loggers; use a "
        "smaller Trainer(log_every_n_steps=...), 1 for every step"
    )

    class LogsEpochs(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).sum()
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

    assert fit(LogsEpochs(), logger=Keeps(), **run) == []
    assert fit(logger=Keeps(), log_every_n_steps=8, **run) == []  # an epoch has 4, but steps count over epochs
    assert fit(logger=Keeps(), log_every_n_steps=0, **run) == []
    assert fit(fast_dev_run=True) == []
    assert fit(**run) == []


def test_ful008_layers_that_train_start_in_evaluation_mode() -> None:
    model = Model()
    model.layer.eval()
    assert fit(model) == [
        "FUL008: 1 layers whose weights train start in evaluation mode: layer; call `module.train()` before fit, or "
        "freeze their weights"
    ]
    frozen = Model()
    frozen.backbone = nn.Sequential(nn.Linear(4, 4), nn.Dropout()).requires_grad_(False).eval()
    frozen.norm = nn.BatchNorm1d(4).eval()  # keeps its statistics on purpose
    assert fit(frozen) == []
    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1})
    trainer.predict(model := Model(), loader())
    assert given_by(lambda: trainer.fit(model, loader(), loader())) == []


def test_ful009_no_limit_is_set() -> None:
    class Stops(Model):
        def on_train_batch_end(self, *args: Any) -> None:
            self.trainer.should_stop = True

    assert codes(fit(Stops(), max_epochs=None)) == ["FUL009"]
    assert fit(Stops(), max_epochs=-1) == []
    assert fit(Stops(), max_epochs=None, max_steps=3) == []
    assert fit(Stops(), max_epochs=None, max_time="00:00:00:05") == []
    trainer = fulmen.Trainer(**QUIET)
    assert given_by(lambda: trainer.test(Model(), loader(), verbose=False)) == []  # which needs no limit


def test_ful010_half_of_what_validation_needs() -> None:
    class NoStep(Model):
        validation_step = fulmen.LightningModule.validation_step

    class NoStepNoData(NoStep):
        pass

    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1})
    assert given_by(lambda: trainer.fit(Model(), loader())) == [
        "FUL010: there is a `validation_step` but no `val_dataloader`, so nothing is validated; define both or none"
    ]
    assert "there is a `val_dataloader` but no `validation_step`" in fit(NoStep())[0]
    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1})
    assert given_by(lambda: trainer.fit(NoStepNoData(), loader())) == []


def test_ful011_nothing_optimizes() -> None:
    assert codes(fit(Scheduled(lambda _: None))) == ["FUL011"]


def one_cycle(total_steps: int, interval: str) -> Model:
    return Scheduled(
        lambda optimizer: {
            "lr_scheduler": {"scheduler": OneCycleLR(optimizer, 0.1, total_steps=total_steps), "interval": interval}
        }
    )


def test_ful012_a_schedule_of_steps_is_stepped_by_the_epoch() -> None:
    assert fit(one_cycle(8, "epoch"), max_epochs=2) == [
        "FUL012: OneCycleLR has 8 steps, but is stepped once an epoch, and there are 2 epochs; return it as "
        "{'scheduler': ..., 'interval': 'step'}"
    ]
    assert fit(one_cycle(8, "step"), max_epochs=2) == []
    assert fit(one_cycle(2, "epoch"), max_epochs=2) == []  # made for epochs
    assert codes(fit(one_cycle(12, "epoch"), max_steps=12, max_epochs=-1)) == ["FUL012"]


def test_ful013_an_unknown_key_in_what_configure_optimizers_returned() -> None:
    def returned(**settings: Any) -> list[str]:
        return fit(Scheduled(lambda optimizer: {"lr_scheduler": {"scheduler": StepLR(optimizer, 1), **settings}}))

    (message,) = returned(freqency=2)
    assert message.startswith("FUL013: the scheduler's setting 'freqency'; did you mean 'frequency'?")
    assert returned(frequency=1) == []
    assert codes(fit(Scheduled(lambda _: {"lr_sheduler": None}))) == ["FUL013"]


class Manual(Scheduled):
    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.layer(batch).sum())
        optimizer.step()


def test_ful014_scheduler_settings_without_effect() -> None:
    def settings(**more: Any) -> Callable[[Any], Any]:
        return lambda optimizer: {"lr_scheduler": {"scheduler": StepLR(optimizer, 1), **more}}

    assert fit(Manual(settings(interval="step", frequency=2))) == [
        "FUL014: the scheduler's 'interval', 'frequency' have no effect in manual optimization, where you call "
        "`self.lr_schedulers().step()` yourself; leave them off"
    ]
    assert fit(Manual(settings(name="lr"))) == []
    assert fit(Scheduled(settings(interval="step", frequency=2))) == []


def test_ful015_a_plateau_scheduler_finds_nothing() -> None:
    def plateau(monitor: str, strict: bool) -> Model:
        return Scheduled(
            lambda optimizer: {
                "lr_scheduler": {"scheduler": ReduceLROnPlateau(optimizer), "monitor": monitor, "strict": strict}
            }
        )

    assert fit(plateau("val_los", strict=False)) == [
        "FUL015: ReduceLROnPlateau (strict=False) does nothing, for 'val_los' was not logged; did you mean 'val_loss'?"
    ]
    assert fit(plateau("val_loss", strict=False)) == []
    with pytest.raises(MisconfigurationException, match="nothing logs 'val_los'; did you mean 'val_loss'"):
        fit(plateau("val_los", strict=True))


def test_ful016_training_step_returned_none() -> None:
    class Skips(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx else super().training_step(batch, batch_idx)

    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 2})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Skips(), loader(), loader())
    assert [str(one.message)[:6] for one in caught] == ["FUL016"]
    assert (caught[0].filename, caught[0].lineno) == (__file__, Skips.training_step.__code__.co_firstlineno)


# -------------------------------------------------------------------------------------------------- logging


def test_ful017_the_size_of_a_batch_is_ambiguous() -> None:
    class Pairs(Model):
        def validation_step(self, batch: Any, batch_idx: int, **options: Any) -> None:
            self.log("val_loss", self.layer(batch["x"]).sum(), **options)

    class Says(Pairs):
        def validation_step(self, batch: Any, batch_idx: int, **options: Any) -> None:
            super().validation_step(batch, batch_idx, batch_size=2)

    def batches(others: int) -> list[dict[str, Tensor]]:
        return [{"x": torch.ones(2, 4), "y": torch.ones(others), "scalar": torch.tensor(3.0)}] * 2

    assert fit(Pairs(), val=batches(3)) == [
        "FUL017: means over an epoch weigh a batch as 2 samples, the size of its first tensor, but others in it have "
        "3; pass `self.log(..., batch_size=...)` if it is not 2"
    ]
    assert fit(Pairs(), val=batches(2)) == []
    assert fit(Says(), val=batches(3)) == []


def test_ful018_whole_numbers_are_averaged() -> None:
    class Counts(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("count", torch.tensor(2))

    class CountsOnce(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("count", torch.tensor(2))  # of one step: nothing is averaged
            return super().training_step(batch, batch_idx)

    (message,) = fit(Counts())
    assert message.startswith(
        "FUL018: `self.log('count', ...)` in `validation_step` got torch.int64; it is averaged as"
    )
    assert fit(CountsOnce()) == []


def test_ful019_logging_outside_of_a_run() -> None:
    model = Model()
    assert codes(given_by(lambda: model.training_step(torch.ones(2, 4), 0))) == ["FUL019"]
    assert fit(model) == []


def test_ful020_logging_without_a_logger(tmp_path: Path) -> None:
    class Wants(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).sum()
            self.log("loss", loss, logger=True)
            return loss

    assert codes(fit(Wants())) == ["FUL020"]
    assert fit(Wants(), logger=Keeps(), log_every_n_steps=1, default_root_dir=tmp_path) == []
    assert fit(Wants(), fast_dev_run=True, logger=True) == []


def test_ful021_logging_in_a_bare_run() -> None:
    bare = fulmen.Trainer(accelerator="cpu", barebones=True, max_epochs=1)
    assert given_by(lambda: bare.fit(Model(), loader(), loader())) == [
        "FUL021: `self.log('loss', ...)` does nothing in a bare run; leave Trainer(barebones=True) off",
        "FUL021: `self.log('val_loss', ...)` does nothing in a bare run; leave Trainer(barebones=True) off",
    ]
    assert bare.callback_metrics == {}


# -------------------------------------------------------------------------------- hyper-parameters, checkpoints


class Saves(Model):
    def __init__(self, backbone: Any, ignore: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=ignore)


def test_ful022_a_hyper_parameter_is_a_module() -> None:
    (message,) = given_by(lambda: Saves(nn.Linear(2, 2)))
    assert message.startswith("FUL022: ")
    assert "'backbone'" in message
    assert given_by(lambda: Saves(nn.Linear(2, 2), ignore=["backbone"])) == []
    assert given_by(lambda: Saves(3)) == []


class Opaque:
    """What safe loading refuses."""


def test_ful023_a_checkpoint_keeps_what_safe_loading_refuses(tmp_path: Path) -> None:
    class Holds(fulmen.Callback):
        def __init__(self, what: Any) -> None:
            self.what = what

        def state_dict(self) -> dict[str, Any]:
            return {"what": self.what}

    def save(what: Any) -> list[str]:
        trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1}, callbacks=Holds(what))
        trainer.fit(Model(), loader(), loader())
        return given_by(lambda: trainer.save_checkpoint(tmp_path / "a.ckpt"))

    (message,) = save(Opaque())
    assert message.startswith("FUL023: the checkpoint keeps the state of Holds['what'] (")
    assert save([1, "two", torch.ones(3)]) == []


def test_ful026_callbacks_of_the_checkpoint_are_missing(tmp_path: Path) -> None:
    class Counts(fulmen.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"count": 3}

    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1}, callbacks=Counts())
    trainer.fit(Model(), loader(), loader())
    trainer.save_checkpoint(path := tmp_path / "a.ckpt")

    def resume(**options: Any) -> list[str]:
        resumed = fulmen.Trainer(**{**QUIET, "max_epochs": 2}, **options)
        return given_by(lambda: resumed.fit(Model(), loader(), loader(), ckpt_path=path))

    assert codes(resume()) == ["FUL026"]
    assert resume(callbacks=Counts()) == []


def test_ful028_there_is_no_last_checkpoint(tmp_path: Path) -> None:
    def start() -> list[str]:
        trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1}, default_root_dir=tmp_path)
        messages = given_by(lambda: trainer.fit(Model(), loader(), loader(), ckpt_path="last"))
        trainer.save_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
        return messages

    assert start() == ["FUL028: `ckpt_path='last'`: no checkpoint was found, so training starts from the beginning"]
    assert start() == []


def test_ful034_a_resumed_epoch_draws_its_data_anew(tmp_path: Path) -> None:
    class SavesMidway(fulmen.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    fulmen.Trainer(**{**QUIET, "max_epochs": 1}, callbacks=SavesMidway()).fit(Model(), loader(), loader())
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    checkpoint["fulmen"]["epoch_random_state"] = None  # as in files of other trainers
    torch.save(checkpoint, tmp_path / "b.ckpt")

    def resume(path: Path) -> list[str]:
        trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 1})
        return given_by(lambda: trainer.fit(Model(), loader(), loader(), ckpt_path=path))

    (message,) = resume(tmp_path / "b.ckpt")
    assert message.startswith("FUL034: the checkpoint does not say how the loader stood after the 2 batches of this")
    assert resume(tmp_path / "a.ckpt") == []


# ------------------------------------------------------------------------------------------------- hardware


def test_ful029_a_device_lies_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit() == []
    monkeypatch.setattr(accelerators, "available", lambda: {"cpu": 4, "cuda": 2, "mps": 0})
    monkeypatch.setattr("fulmen.preflight.available", accelerators.available)
    assert fit() == [
        "FUL029: training runs on the CPU, although there are 2 cuda device(s); use Trainer(accelerator='auto')"
    ]


def test_ful030_tensor_cores_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from fulmen.preflight import look_at_device

    def look(capability: tuple[int, int], matmul: str, precision: str = "32-true") -> list[str]:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H200")
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: matmul)
        return given_by(lambda: look_at_device("cuda", precision))

    (message,) = look((9, 0), "highest")
    assert message.startswith("FUL030: NVIDIA H200 has tensor cores, which float32 matrix products do not use; call")
    assert look((7, 5), "highest") == []
    assert look((9, 0), "high") == []
    assert look((9, 0), "highest", "bf16-mixed") == []


def test_ful031_float16_on_the_cpu() -> None:
    assert codes(fit(precision="16-mixed")) == ["FUL031"]
    assert fit(precision="bf16-mixed") == []


# ----------------------------------------------------------------------------------------------- odd loaders


def test_ful032_a_loader_can_be_gone_through_once_only() -> None:
    def batches() -> Any:
        return (torch.ones(2, 4) for _ in range(3))

    (message,) = fit(train=batches(), max_epochs=3)
    assert message.startswith(
        "FUL032: `train_dataloader` gave no batch in epoch 1; a generator or iterator can be gone"
    )
    assert fit(train=batches(), max_epochs=1) == []


def test_ful033_a_loader_gave_none() -> None:
    assert codes(fit(train=[torch.ones(2, 4), None, None, torch.ones(2, 4)])) == ["FUL033"]


# ------------------------------------------------------------------------------------- what will never happen


def test_ful037_fewer_batches_than_are_accumulated() -> None:
    assert fit(accumulate_grad_batches=8) == [
        "FUL037: `accumulate_grad_batches=8` is more than the 4 batches of an epoch, whose last batch always steps; "
        "use at most 4, or more batches"
    ]
    assert fit(accumulate_grad_batches=4) == []


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"frequency": 3}, {"max_epochs": 2}, "FUL038: StepLR steps every 3 epochs, but training ends after 2;"),
        ({"frequency": 2}, {"max_epochs": 2}, None),
        ({"frequency": 2}, {"max_epochs": -1, "max_steps": 4}, "FUL038: StepLR steps every 2 epochs, but"),
        ({"frequency": 5, "interval": "step"}, {"max_epochs": 9}, "FUL038: StepLR steps every 5 batches of an epoch"),
        ({"frequency": 4, "interval": "step"}, {}, None),
    ],
)
def test_ful038_a_scheduler_that_never_steps(settings: Any, options: dict[str, Any], message: str | None) -> None:
    model = Scheduled(lambda optimizer: {"lr_scheduler": {"scheduler": StepLR(optimizer, 1), **settings}})
    assert [found[: len(message or "")] for found in fit(model, **options)] == ([] if message is None else [message])


def test_the_cores_that_workers_may_use_are_counted() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
