"""Old arguments of the Trainer and of its entry points, its argparse helpers, and its old attributes."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from legacy_programs import QUIET, Collects, Small, codes, loader, quietly, weights

import fulmen as pl
from fulmen.errors import MisconfigurationException
from fulmen.gradients import grad_norm
from fulmen.registry import CALLBACKS, installed

NO_CALLBACKS: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}


def made(**arguments: Any) -> tuple[pl.Trainer, list[str]]:
    found: list[pl.Trainer] = []
    messages = quietly(lambda: found.append(pl.Trainer(**{**NO_CALLBACKS, **arguments})))
    return found[0], messages


@pytest.mark.parametrize(
    ("old", "check"),
    [
        ({"gpus": None}, lambda t: t.accelerator.kind == "cpu"),
        ({"gpus": 0}, lambda t: t.accelerator.kind == "cpu"),
        ({"max_nb_epochs": 3}, lambda t: t.max_epochs == 3),
        ({"min_nb_epochs": 3}, lambda t: t.min_epochs == 3),
        ({"min_epoch": 3}, lambda t: t.min_epochs == 3),
        ({"val_percent_check": 0.5}, lambda t: t.limit_val_batches == 0.5),
        ({"train_percent_check": 0.5}, lambda t: t.limit_train_batches == 0.5),
        ({"test_percent_check": 0.5}, lambda t: t.limit_test_batches == 0.5),
        ({"overfit_pct": 0.5}, lambda t: t.overfit_batches == 0.5),
        ({"nb_sanity_val_steps": 5}, lambda t: t.num_sanity_val_steps == 5),
        ({"gradient_clip": 0.5}, lambda t: t.gradient_clip_val == 0.5),
        ({"default_save_path": "somewhere"}, lambda t: t.default_root_dir == "somewhere"),
        ({"progress_bar_refresh_rate": 0}, lambda t: t.progress_bar_callback is None),
        ({"show_progress_bar": False}, lambda t: t.progress_bar_callback is None),
        ({"row_log_interval": 7}, lambda t: t.log_every_n_steps == 7),
        ({"num_processes": 1}, lambda t: t.num_devices == 1),
        ({"nb_gpu_nodes": 1}, lambda t: t.num_nodes == 1),
        ({"replace_sampler_ddp": False}, lambda t: True),
        ({"reload_dataloaders_every_epoch": True}, lambda t: t._schedule.reload_dataloaders_every_n_epochs == 1),
        ({"distributed_backend": None}, lambda t: True),
        ({"use_amp": False}, lambda t: t.precision == "32-true"),
        ({"track_grad_norm": -1}, lambda t: True),
        ({"terminate_on_nan": False}, lambda t: True),
        ({"stochastic_weight_avg": False}, lambda t: True),
        ({"early_stop_callback": None}, lambda t: True),
        ({"weights_save_path": None}, lambda t: True),
        ({"resume_from_checkpoint": None}, lambda t: t._carried.resume_from is None),
        ({"process_position": 0}, lambda t: True),
        ({"tpu_cores": None}, lambda t: True),
        ({"ipus": 0}, lambda t: True),
        ({"log_gpu_memory": None}, lambda t: True),
        ({"truncated_bptt_steps": None}, lambda t: t._carried.truncated_bptt_steps == 0),
        ({"auto_lr_find": False}, lambda t: True),
        ({"auto_scale_batch_size": False}, lambda t: True),
    ],
)
def test_old_arguments_mean_what_they_meant(old: dict[str, Any], check: Any) -> None:
    trainer, messages = made(**old)
    assert check(trainer)
    assert codes(messages) == ["FUL101"]
    assert next(iter(old)) in messages[0]


@pytest.mark.parametrize(
    "name",
    [
        "amp_backend",
        "amp_level",
        "auto_select_gpus",
        "automatic_optimization",
        "flush_logs_every_n_steps",
        "log_save_interval",
        "move_metrics_to_cpu",
        "prepare_data_per_node",
        "print_nan_grads",
    ],
)
def test_arguments_that_do_nothing_any_more_say_so(name: str) -> None:
    _, messages = made(**{name: 1})
    assert codes(messages) == ["FUL103"]
    assert f"`Trainer({name}=1)` is an old spelling; leave it out: " in messages[0]


def test_messages_are_at_the_line_of_the_program() -> None:
    with pytest.warns(FutureWarning, match=r"`Trainer\(max_epochs=2\)`") as caught:
        pl.Trainer(max_nb_epochs=2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("gpus", [1, [0], "-1", -1, "0,1"])
def test_an_absent_gpu_is_a_clear_error(gpus: Any) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is a GPU here, so asking for one is no error")
    with pytest.raises(MisconfigurationException, match=r"`Trainer\(gpus=.*\)` asks for a GPU, but this machine has"):
        pl.Trainer(gpus=gpus)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"distributed_backend": "dp"}, r"there is no 'dp' any more; use Trainer\(devices=n, strategy='ddp'\)"),
        ({"accelerator": "ddp2"}, "there is no 'ddp2' any more"),
        ({"strategy": "horovod"}, "there is no 'horovod' any more"),
        ({"tpu_cores": 8}, r"`Trainer\(tpu_cores=8\)`: this version of fulmen-core trains on CPUs and GPUs"),
        ({"max_epoch": 3}, r"`Trainer` has no argument `max_epoch` \(it was given 3\); did you mean 'max_epochs'"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_says_what_can(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        pl.Trainer(**arguments)


def test_several_training_loaders_end_with_the_shortest() -> None:
    class Two(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.calls.append(batch_idx)
            return self.loss(batch["a"]) + self.loss(batch["b"])

        def train_dataloader(self) -> Any:
            return {"a": loader(24), "b": loader(8)}

    module = Two()
    trainer, _ = made(**QUIET, max_epochs=1, multiple_trainloader_mode="min_size")
    trainer.fit(module)
    assert module.calls == [0, 1]
    longest = Two()
    made(**QUIET, max_epochs=1)[0].fit(longest)
    assert len(longest.calls) == 6


def test_gradient_norms_are_logged_before_each_step() -> None:
    logger = Collects()
    trainer, messages = made(**{**QUIET, "logger": logger}, max_epochs=1, log_every_n_steps=1, track_grad_norm=2)
    trainer.fit(Small())
    reference = Small()
    reference.loss(next(iter(loader()))).backward()
    expected = grad_norm(reference, 2)
    assert logger.of("grad_2.0_norm_total")[0] == pytest.approx(float(expected["grad_2.0_norm_total"]))
    assert len(logger.of("grad_2.0_norm/layer.weight")) == 6
    assert "`self.log_dict(grad_norm(self, norm_type=2))` in `on_before_optimizer_step`" in messages[0]


def test_a_loss_that_is_nan_ends_training() -> None:
    class Breaks(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) * (math.nan if batch_idx == 2 else 1)

    trainer, _ = made(**QUIET, terminate_on_nan=True)
    with pytest.raises(ValueError, match="the loss of batch 2 in epoch 0 is nan"):
        trainer.fit(Breaks())


def test_loaders_by_their_older_names() -> None:
    class Evaluates(Small):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.loss(batch))

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("test_loss", self.loss(batch))

    module = Evaluates()
    trainer, _ = made(**QUIET, max_epochs=1)
    messages = quietly(lambda: trainer.fit(module, train_dataloader=loader(), val_dataloaders=loader(8)))
    assert trainer.num_training_batches == 6
    found: list[Any] = []
    messages += quietly(lambda: found.extend(trainer.validate(val_dataloaders=loader(8), verbose=False)))
    messages += quietly(lambda: found.extend(trainer.test(test_dataloaders=loader(8), verbose=False)))
    assert found[0]["val_loss"] == pytest.approx(found[1]["test_loss"])
    assert codes(messages) == ["FUL101"] * 3
    with pytest.raises(TypeError, match=r"Trainer.fit\(\) got an unexpected keyword argument 'train_loader'; did you"):
        trainer.fit(module, train_loader=loader())
    with pytest.raises(TypeError, match="got both 'train_dataloaders' and 'train_dataloader'"):
        trainer.fit(module, loader(), train_dataloader=loader())


def test_resume_from_checkpoint_resumes(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    whole = Small()
    pl.Trainer(**QUIET, max_epochs=3).fit(whole)
    first = pl.Trainer(**QUIET, max_epochs=1)
    first.fit(Small())
    first.save_checkpoint(path)
    trainer, messages = made(**QUIET, max_epochs=3, resume_from_checkpoint=str(path))
    assert "trainer.fit(model, ckpt_path=" in messages[0]
    module = Small()
    trainer.fit(module)
    assert (trainer.current_epoch, trainer.global_step) == (3, 18)
    assert torch.equal(weights(module), weights(whole))


# ------------------------------------------------------------------------------------------- command line


def test_a_parser_has_the_arguments_and_makes_the_trainer() -> None:
    found: list[Any] = []

    def program() -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        parser = pl.Trainer.add_argparse_args(parser)
        words = ["--max_epochs", "7", "--limit_val_batches", "0.5", "--gpus", "0", "--fast_dev_run", "--lr", "2"]
        args = parser.parse_args(words)
        assert (args.max_epochs, args.limit_val_batches, args.gpus, args.lr) == (7, 0.5, 0, 2.0)
        assert args.resume_from_checkpoint is None
        found.append(pl.Trainer.from_argparse_args(args, fast_dev_run=False, **NO_CALLBACKS))

    messages = quietly(program)
    assert (found[0].max_epochs, found[0].limit_val_batches, found[0].fast_dev_run) == (7, 0.5, 0)
    assert codes(messages) == ["FUL113", "FUL113", "FUL101"]


def test_other_helpers_of_the_command_line() -> None:
    assert pl.Trainer.default_attributes()["accumulate_grad_batches"] == 1
    args = argparse.Namespace(max_epochs=3, other=1)
    assert pl.Trainer.parse_argparser(args) is args
    found: list[Any] = []
    quietly(lambda: found.append(pl.Trainer.from_argparse_args(args, **NO_CALLBACKS)))
    assert found[0].max_epochs == 3


# -------------------------------------------------------------------------------------------- attributes


def test_old_attributes_of_the_trainer() -> None:
    class Asks(Small):
        def on_train_batch_end(self, *args: Any) -> None:
            trainer = self.trainer
            self.calls.append((trainer.use_dp, trainer.use_ddp, trainer.use_amp, trainer.on_gpu, trainer.num_gpus))
            self.calls.append((trainer.proc_rank, trainer.total_batch_idx, trainer.get_model() is self, self.use_amp))

    module = Asks()
    trainer, _ = made(**QUIET, max_epochs=1, limit_train_batches=1)
    messages = quietly(lambda: trainer.fit(module))
    assert module.calls == [(False, False, False, False, 0), (0, 0, True, False)]
    assert codes(messages) == ["FUL107"] * 9
    assert any("`trainer.proc_rank` is an old spelling; write `trainer.global_rank`" in one for one in messages)
    with pytest.raises(AttributeError, match="`Trainer` has no attribute 'global_steps'; did you mean 'global_step'"):
        _ = trainer.global_steps
    assert not hasattr(trainer, "nothing_like_it")


def test_run_evaluation_validates_or_tests() -> None:
    class Counts(Small):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.calls.append("val")

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.calls.append("test")

        def val_dataloader(self) -> Any:
            return loader(4)

        test_dataloader = val_dataloader

    module = Counts()
    trainer, _ = made(**QUIET, max_epochs=1, num_sanity_val_steps=0, limit_train_batches=1)
    trainer.fit(module)
    quietly(lambda: (trainer.run_evaluation(), trainer.run_evaluation(test_mode=True)))
    assert module.calls == ["val", "val", "test"]


def test_what_a_program_sets_on_its_own_objects_is_its_own() -> None:
    class Names(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.datamodule = "mine"
            return self.loss(batch) if self.datamodule == "mine" else None

    module = Names()
    trainer, _ = made(**QUIET, max_epochs=1)
    trainer.fit(module)
    assert module.datamodule == "mine"


# ------------------------------------------------------------------------- arguments that became callbacks

needs_callbacks = pytest.mark.skipif(not installed(CALLBACKS), reason="needs fulmen-callbacks")


@needs_callbacks
def test_arguments_that_became_callbacks(tmp_path: Path) -> None:
    trainer, messages = made(early_stop_callback=True)
    assert trainer.early_stopping_callback.monitor == "val_loss"
    assert "`Trainer(callbacks=[EarlyStopping('val_loss')])`" in messages[0]
    _, messages = made(early_stop_callback=pl.callbacks.EarlyStopping("loss"))
    assert "`Trainer(early_stop_callback=EarlyStopping(...))`" in messages[0]
    trainer, messages = made(progress_bar_refresh_rate=20, process_position=1)
    bar = trainer.progress_bar_callback
    assert (bar._refresh_rate, bar._process_position) == (20, 1)
    assert "`Trainer(callbacks=[TQDMProgressBar(refresh_rate=20)])`" in messages[0]
    if "device_stats_monitor" in installed(CALLBACKS):
        trainer, messages = made(log_gpu_memory="all")
        assert "`Trainer(callbacks=[DeviceStatsMonitor()])`" in messages[0]
        assert "DeviceStatsMonitor" in [type(one).__name__ for one in trainer.callbacks]
    trainer, messages = made(stochastic_weight_avg=True)
    assert "StochasticWeightAveraging(swa_lrs=1e-2)" in messages[0]
    trainer, _ = made(accumulate_grad_batches={0: 2, 1: 3}, **{**QUIET, "max_epochs": 2})
    trainer.fit(Small())
    assert trainer.global_step == 3 + 2


@needs_callbacks
def test_weights_save_path_is_the_folder_of_the_checkpoints(tmp_path: Path) -> None:
    options = {**QUIET, "max_epochs": 1, "default_root_dir": tmp_path}
    del options["enable_checkpointing"]
    trainer, messages = made(**{**options, "enable_checkpointing": None}, weights_save_path=str(tmp_path / "weights"))
    trainer.fit(Small())
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["epoch=0-step=6.ckpt"]
    assert "ModelCheckpoint(dirpath=" in messages[0]

    own = pl.callbacks.ModelCheckpoint(save_last=True)
    trainer, _ = made(
        **{**options, "enable_checkpointing": None},
        checkpoint_callback=own,
        weights_save_path=str(tmp_path / "others"),
    )
    trainer.fit(Small())
    assert trainer.checkpoint_callbacks == [own]
    assert sorted(path.name for path in (tmp_path / "others").iterdir()) == ["epoch=0-step=6.ckpt", "last.ckpt"]


@needs_callbacks
@pytest.mark.parametrize(("value", "depth"), [("top", 1), ("full", -1), (None, None)])
def test_weights_summary_is_a_callback(value: Any, depth: int | None) -> None:
    trainer, _ = made(**{"weights_summary": value, "enable_model_summary": None})
    summaries = [one for one in trainer.callbacks if type(one).__name__ == "ModelSummary"]
    assert [one._max_depth for one in summaries] == ([] if depth is None else [depth])
