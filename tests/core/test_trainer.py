"""What a Trainer does when: limits, schedules, entry points one after the other, errors, and the run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import fulmen
from fulmen.errors import MisconfigurationException


class Model(fulmen.LightningModule):
    """Counts what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.seen: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append("train")
        loss = self.layer(batch).sum()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append("sanity" if self.trainer.sanity_checking else "val")
        self.log("val_loss", self.layer(batch).sum())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.layer(batch).sum())

    def forward(self, batch: Any) -> Any:
        return self.layer(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader(batches: int = 6) -> Any:
    return DataLoader(torch.arange(batches * 8.0).reshape(batches * 2, 4) / 100, batch_size=2)


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def fit(model: Model | None = None, train: Any = None, val: Any = None, **options: Any) -> tuple[fulmen.Trainer, Model]:
    model = model or Model()
    trainer = fulmen.Trainer(**{**QUIET, "max_epochs": 2, "num_sanity_val_steps": 0, **options})
    trainer.fit(model, loader() if train is None else train, loader(3) if val is None else val)
    return trainer, model


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield torch.ones(4)


# ------------------------------------------------------------------------------------------------- how long


@pytest.mark.parametrize(
    ("options", "steps", "epochs"),
    [
        ({"max_epochs": 3}, 18, 3),
        ({"max_epochs": 0}, 0, 0),
        ({"max_epochs": -1, "max_steps": 7}, 7, 2),
        ({"max_steps": 4}, 4, 1),
        ({"max_steps": 0}, 0, 0),
        ({"max_epochs": 2, "limit_train_batches": 4}, 8, 2),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 6, 2),
        ({"max_epochs": 2, "limit_train_batches": 0}, 0, 0),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, 4, 2),
        ({"max_epochs": 1, "overfit_batches": 2}, 2, 1),
    ],
)
def test_training_ends_where_it_is_told_to(options: dict[str, Any], steps: int, epochs: int) -> None:
    # Steps and epochs are those that Lightning 2.6.6 gives for the same arguments.
    trainer, _ = fit(**options)
    assert (trainer.global_step, trainer.current_epoch) == (steps, epochs)


def test_should_stop_ends_training_once_the_minimums_are_met() -> None:
    class Stops(Model):
        def on_train_batch_end(self, *args: Any) -> None:
            self.trainer.should_stop = True

    assert fit(Stops(), max_epochs=9)[0].global_step == 1
    assert fit(Stops(), max_epochs=9, min_epochs=2)[0].global_step == 12
    assert fit(Stops(), max_epochs=9, min_steps=8)[0].global_step == 8


def test_max_time_ends_training() -> None:
    trainer, _ = fit(max_epochs=-1, max_time={"milliseconds": 50})
    assert trainer.global_step > 0
    assert trainer.should_stop


def test_minus_one_of_on_train_batch_start_skips_the_rest_of_the_epoch() -> None:
    class Skips(Model):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 2 else None

    assert fit(Skips(), max_epochs=2)[1].seen.count("train") == 4


def test_an_endless_loader_trains_with_a_limit() -> None:
    trainer, model = fit(train=DataLoader(Endless(), batch_size=2), limit_train_batches=5, max_epochs=2)
    assert model.seen == (["train"] * 5 + ["val"] * 3) * 2
    assert trainer.num_training_batches == 5


# ----------------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, "TTTTTTVVV" * 2),
        ({"num_sanity_val_steps": 2}, "SS" + "TTTTTTVVV" * 2),
        ({"num_sanity_val_steps": -1}, "SSS" + "TTTTTTVVV" * 2),
        ({"limit_val_batches": 1}, "TTTTTTV" * 2),
        ({"limit_val_batches": 0, "num_sanity_val_steps": 2}, "TTTTTT" * 2),
        ({"val_check_interval": 2}, "TTVVVTTVVVTTVVV" * 2),
        ({"val_check_interval": 0.5}, "TTTVVVTTTVVV" * 2),
        ({"val_check_interval": 4}, "TTTTVVVTT" * 2),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None}, "TTTTVVV" * 3),
        ({"check_val_every_n_epoch": 2}, "TTTTTT" + "TTTTTTVVV"),
        ({"val_check_interval": 2, "accumulate_grad_batches": 4}, "TTVVVTTVVVTTVVV" * 2),
    ],
)
def test_validation_runs_when_it_is_due(options: dict[str, Any], order: str) -> None:
    letters = {"train": "T", "val": "V", "sanity": "S"}
    _, model = fit(**options)
    assert "".join(letters[word] for word in model.seen) == order


def test_an_interval_above_the_batches_matters_only_where_something_is_validated() -> None:
    assert fit(val_check_interval=7, limit_val_batches=0)[0].global_step == 12
    with pytest.raises(MisconfigurationException, match="`val_check_interval=7` is more than the 6 training batches"):
        fit(val_check_interval=7)


def test_a_validation_step_without_data_is_said() -> None:
    with pytest.warns(UserWarning, match="there is a `validation_step` but no `val_dataloader`"):
        fulmen.Trainer(**QUIET, max_epochs=1).fit(Model(), loader())


def test_the_sanity_check_changes_no_random_numbers_and_logs_nothing() -> None:
    class Random(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            torch.rand(3)
            super().validation_step(batch, batch_idx)

    class NoEpochs(Model):
        def on_train_start(self) -> None:
            assert "val_loss" not in self.trainer.callback_metrics

    def drawn(model: Model, **options: Any) -> float:
        torch.manual_seed(0)
        fit(model, limit_val_batches=2, max_epochs=1, **options)
        return float(torch.rand(1))

    assert drawn(Random(), num_sanity_val_steps=2) == drawn(Random(), num_sanity_val_steps=0)
    fit(NoEpochs(), num_sanity_val_steps=2)


def test_the_sanity_check_shows_its_values_to_hooks_and_records_none(tmp_path: Path) -> None:
    class Reads(Model):
        def on_validation_epoch_end(self) -> None:
            seen.append(float(self.trainer.callback_metrics["val_loss"]))

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", batch.sum(), on_step=True, on_epoch=True)

    seen: list[float] = []
    fit(Reads(), num_sanity_val_steps=1, max_epochs=1, logger=Keeps(), default_root_dir=tmp_path)
    assert len(seen) == 2
    first, *_ = loader(3)
    assert seen[0] == pytest.approx(float(first.sum()))
    records = [record for path in tmp_path.glob("**/journal.jsonl") for record in journal_of(path.parent)]
    steps = [record["step"] for record in records if "val_loss_step" in str(record)]
    assert steps == [0, 1, 2]  # the batch of the sanity check is not counted


def test_what_the_last_entry_point_logged_is_there_until_the_next_one_runs() -> None:
    class Looks(Model):
        def setup(self, stage: str) -> None:
            found[stage] = set(self.trainer.callback_metrics)

        def on_test_start(self) -> None:
            found["start"] = set(self.trainer.callback_metrics)

    found: dict[str, set[str]] = {}
    trainer, model = fit(Looks(), max_epochs=1)
    trainer.test(model, loader(2), verbose=False)
    assert found == {"fit": set(), "test": {"loss", "loss_step", "loss_epoch", "val_loss"}, "start": set()}


@pytest.mark.parametrize(("ends", "steps"), [("stops", 0), ("skips", 1), ("runs", 1)])
def test_schedulers_of_the_epoch_step_at_its_end_but_not_where_training_is_stopped(ends: str, steps: int) -> None:
    class Scheduled(Model):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            if ends == "stops" and batch_idx == 2:
                self.trainer.should_stop = True
            return -1 if ends == "skips" and batch_idx == 3 else None

        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return [optimizer], [
                torch.optim.lr_scheduler.StepLR(optimizer, 1),
                {"scheduler": plateau, "monitor": "loss"},
            ]

    trainer, _ = fit(Scheduled(), max_epochs=1)
    assert [config.scheduler.last_epoch for config in trainer.lr_scheduler_configs] == [steps, steps]


# ----------------------------------------------------------------------------------------- the entry points


def test_evaluation_returns_what_was_logged() -> None:
    trainer, model = fit()
    expected = torch.stack([model.layer(batch).sum() for batch in loader(3)]).mean().item()
    assert trainer.validate(model, loader(3), verbose=False) == [{"val_loss": pytest.approx(expected)}]
    assert trainer.test(model, loader(3), verbose=False) == [{"test_loss": pytest.approx(expected)}]
    assert trainer.callback_metrics["test_loss"].item() == pytest.approx(expected)


def test_predictions_come_back_in_order() -> None:
    trainer, model = fit()
    model.eval()
    with torch.no_grad():
        expected = [model(batch) for batch in loader(3)]
    predictions = trainer.predict(model, loader(3))
    assert predictions is not None
    assert all(torch.equal(one, other) for one, other in zip(predictions, expected, strict=True))
    several = trainer.predict(model, [loader(1), loader(2)])
    assert several is not None
    assert [len(one) for one in several] == [1, 2]
    assert trainer.predict(model, loader(3), return_predictions=False) is None


def test_entry_points_follow_one_another_in_any_order() -> None:
    model, other = Model(), Model()
    trainer = fulmen.Trainer(**QUIET, max_epochs=1)
    trainer.test(model, loader(1), verbose=False)
    trainer.fit(model, loader(), loader(1))
    assert (trainer.global_step, trainer.current_epoch) == (6, 1)
    trainer.fit(model, loader(), loader(1))  # it has trained its epoch
    assert (trainer.global_step, trainer.current_epoch) == (6, 1)
    trainer.fit(other, loader(), loader(1))  # another module starts anew
    assert (trainer.global_step, trainer.current_epoch) == (6, 1)
    assert other.seen.count("train") == 6
    trainer.validate(other, loader(1), verbose=False)
    trainer.predict(other, loader(1))
    assert trainer.state.finished


def test_a_data_module_may_stand_in_the_place_of_loaders() -> None:
    class Data(fulmen.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader()

        def val_dataloader(self) -> Any:
            return loader(1)

        test_dataloader = predict_dataloader = val_dataloader

    model, data = Model(), Data()
    trainer = fulmen.Trainer(**QUIET, max_epochs=1)
    trainer.fit(model, data)
    trainer.validate(datamodule=data, verbose=False)
    trainer.test(model, data, verbose=False)
    assert len(trainer.predict(model, data) or ()) == 1
    assert trainer.datamodule is data
    with pytest.raises(MisconfigurationException, match="both dataloaders and a datamodule"):
        trainer.fit(model, loader(), datamodule=data)


def test_several_loaders_are_told_apart() -> None:
    class Several(Model):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("x", float(dataloader_idx))
            self.log(f"own{dataloader_idx}", 1.0, add_dataloader_idx=False)

        def on_validation_epoch_end(self) -> None:
            self.log("end", 5.0)

    trainer = fulmen.Trainer(**QUIET)
    assert trainer.validate(Several(), [loader(1), loader(2)], verbose=False) == [
        {"x/dataloader_idx_0": 0.0, "own0": 1.0, "end": 5.0},
        {"x/dataloader_idx_1": 1.0, "own1": 1.0, "end": 5.0},
    ]
    with pytest.raises(MisconfigurationException, match="define `validation_step"):
        trainer.validate(Model(), [loader(1), loader(2)], verbose=False)


def test_training_on_several_loaders_gives_nested_batches() -> None:
    shapes = []

    class Nested(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            shapes.append((tuple(batch["a"].shape), tuple(batch["b"].shape)))
            return self.layer(batch["a"]).sum()

    fit(Nested(), train={"a": loader(2), "b": loader(3)}, max_epochs=1)
    assert shapes == [((2, 4), (2, 4))] * 3


# ------------------------------------------------------------------------------------------------ the end


def test_an_error_reaches_the_caller_after_the_hooks(tmp_path: Path) -> None:
    told = []

    class Tells(fulmen.Callback):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            told.append(exception)

    class Fails(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:
                raise RuntimeError("boom")
            return super().training_step(batch, batch_idx)

    trainer = fulmen.Trainer(**{**QUIET, "logger": True}, default_root_dir=tmp_path, callbacks=[Tells()])
    with pytest.raises(RuntimeError, match="boom"):
        trainer.fit(Fails(), loader(), loader(1))
    assert [str(error) for error in told] == ["boom"]
    assert trainer.interrupted
    assert torch.is_grad_enabled()


def test_fast_dev_run_tries_everything_and_writes_nothing(tmp_path: Path) -> None:
    class Logs(Model):
        def on_train_start(self) -> None:
            self.logger.experiment.add_text("a", "b")  # type: ignore[union-attr]

    model = Logs()
    trainer = fulmen.Trainer(accelerator="cpu", fast_dev_run=2, default_root_dir=tmp_path)
    trainer.fit(model, loader(), loader(3))
    assert model.seen == ["train"] * 2 + ["val"] * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:FUL021")
def test_barebones_refuses_what_it_switches_off() -> None:
    trainer = fulmen.Trainer(accelerator="cpu", barebones=True, max_epochs=1)
    trainer.fit(Model(), loader(), loader(1))
    assert trainer.loggers == []
    refused: dict[str, Any] = {
        "enable_progress_bar": True,
        "num_sanity_val_steps": 2,
        "log_every_n_steps": 10,
        "fast_dev_run": True,
        "detect_anomaly": True,
    }
    for name, value in refused.items():
        with pytest.raises(MisconfigurationException, match=rf"`barebones=True`.*{name}={value}"):
            fulmen.Trainer(barebones=True, **{name: value})
    fulmen.Trainer(barebones=True, num_sanity_val_steps=0, log_every_n_steps=0, fast_dev_run=False)


@pytest.mark.parametrize("inference_mode", [True, False])
def test_inference_mode_is_for_evaluation_outside_of_fit(inference_mode: bool) -> None:
    seen = []

    class Sees(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

    trainer, model = fit(Sees(), max_epochs=1, inference_mode=inference_mode, limit_val_batches=1)
    trainer.validate(model, loader(1), verbose=False)
    assert seen == [(False, False), (inference_mode, False)]  # as Lightning 2.6.6 has it
    assert trainer.reload_dataloaders_every_n_epochs == 0


# ------------------------------------------------------------------------------------------------- folders


def journal_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


class Keeps(fulmen.loggers.Logger):
    """Keeps what it is given; enough of a logger for a run."""

    def __init__(self) -> None:
        self.points: list[tuple[int | None, dict[str, float]]] = []
        self.params: dict[str, Any] = {}
        self.ends: list[str] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.points.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any) -> None:
        self.params.update(params)

    def finalize(self, status: str) -> None:
        self.ends.append(status)


def test_a_run_has_its_folder_with_journal_and_hyperparameters(tmp_path: Path) -> None:
    class Hyper(Model):
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.save_hyperparameters()

    logger = Keeps()
    trainer = fulmen.Trainer(
        **{**QUIET, "logger": logger}, max_epochs=2, default_root_dir=tmp_path, log_every_n_steps=3
    )
    trainer.fit(Hyper(), loader(), loader(1))
    folder = Path(trainer.log_dir)
    assert folder == tmp_path / "lightning_logs" / "version_0"
    assert (folder / "hparams.yaml").read_text() == "width: 4\n"
    assert logger.params == {"width": 4}
    assert logger.ends == ["success"]
    steps = [(step, sorted(metrics)) for step, metrics in logger.points]
    assert steps == [
        (2, ["epoch", "loss_step"]),
        (5, ["epoch", "loss_step"]),
        (5, ["epoch", "val_loss"]),
        (5, ["epoch", "loss_epoch"]),
        (8, ["epoch", "loss_step"]),
        (11, ["epoch", "loss_step"]),
        (11, ["epoch", "val_loss"]),
        (11, ["epoch", "loss_epoch"]),
    ]
    in_journal = [record for record in journal_of(folder) if record["kind"] == "metrics"]
    assert [(record["step"], record["data"]) for record in in_journal] == logger.points


def test_a_logger_that_the_user_calls_is_recorded_too(tmp_path: Path) -> None:
    logger = Keeps()

    class Direct(Model):
        def on_train_end(self) -> None:
            self.logger.log_metrics({"mine": torch.tensor(2.5)}, step=77)  # type: ignore[union-attr]

    trainer = fulmen.Trainer(**{**QUIET, "logger": logger}, max_epochs=1, default_root_dir=tmp_path)
    trainer.fit(Direct(), loader(), loader(1))
    assert (77, {"mine": 2.5}) in logger.points
    records = journal_of(Path(trainer.log_dir))
    assert [record["data"] for record in records if record.get("step") == 77] == [{"mine": 2.5}]


def test_a_logger_that_always_fails_does_not_stop_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Keeps):
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            raise ConnectionError("nobody there")

    trainer = fulmen.Trainer(
        **{**QUIET, "logger": Broken()},
        max_epochs=2,
        default_root_dir=tmp_path,
        log_every_n_steps=1,
        finish_timeout=0.2,
    )
    trainer.fit(Model(), loader(), loader(1))
    assert trainer.global_step == 12
    assert "nobody there" in caplog.text
    assert "fulmen sync" in caplog.text
    assert sum(record["kind"] == "metrics" for record in journal_of(Path(trainer.log_dir))) == 16


def test_pictures_text_and_tables_of_a_module_reach_the_journal(tmp_path: Path) -> None:
    class Shows(Model):
        def on_train_epoch_end(self) -> None:
            self.log_image("picture", torch.rand(3, 8, 8), captions=["a picture"])
            self.log_text("words", "hello")
            self.log_table("table", ["a", "b"], [[1, 2.5], [3, "x"]])

    trainer = fulmen.Trainer(**{**QUIET, "logger": Keeps()}, max_epochs=1, default_root_dir=tmp_path)
    trainer.fit(Shows(), loader(), loader(1))
    records = {record["kind"]: record for record in journal_of(Path(trainer.log_dir))}
    assert {"image", "text", "table"} <= set(records)
    assert {records[kind]["step"] for kind in ("image", "text", "table")} == {5}
    assert len(list(Path(trainer.log_dir, "media").glob("*.png"))) == 1


def test_processes_that_start_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom fulmen.logger import allocate_version\n"
        "sys.stdin.read(1)\nprint([allocate_version(Path(sys.argv[1])) for _ in range(20)])\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    outputs = [process.communicate("x", timeout=120)[0] for process in processes]
    numbers = [number for output in outputs for number in json.loads(output)]
    assert sorted(numbers) == list(range(60))


# --------------------------------------------------------------------------------------------- other parts


def test_manual_optimization_steps_by_hand() -> None:
    class Manual(Model):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.other = nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, second = self.optimizers()
            for optimizer, layer in ((first, self.layer), (second, self.other)):
                self.toggle_optimizer(optimizer)
                assert all(p.requires_grad for p in layer.parameters())
                assert sum(p.requires_grad for p in self.parameters()) == 2
                optimizer.zero_grad()
                self.manual_backward(layer(batch).sum())
                optimizer.step()
                self.untoggle_optimizer(optimizer)

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.layer, self.other)]

    model = Manual()
    before = [parameter.clone() for parameter in model.parameters()]
    trainer, _ = fit(model, max_epochs=1)
    assert trainer.global_step == 6
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_lbfgs_gets_its_closure() -> None:
    class Fits(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self.layer(batch) - 1).pow(2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.5, max_iter=4)

    model = Fits()
    fit(model, train=loader(1), max_epochs=20)
    assert (model.layer(next(iter(loader(1)))) - 1).pow(2).mean() < 1e-3


def test_accumulated_gradients_equal_those_of_the_standard_trainer() -> None:
    # By hand: each batch's loss counts 1/2; the last, incomplete window is divided by 2 as well.
    torch.manual_seed(1)
    model = Model()
    reference = nn.Linear(4, 1)
    reference.load_state_dict(model.layer.state_dict())
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.01)
    batches = list(loader(5))
    for window in (batches[:2], batches[2:4], batches[4:]):
        optimizer.zero_grad()
        for batch in window:
            (reference(batch).sum() / 2).backward()
        optimizer.step()
    fit(model, train=loader(5), max_epochs=1, accumulate_grad_batches=2)
    assert torch.equal(model.layer.weight, reference.weight)


@pytest.mark.parametrize(
    ("algorithm", "clip"), [("norm", nn.utils.clip_grad_norm_), ("value", nn.utils.clip_grad_value_)]
)
def test_gradients_are_clipped(algorithm: str, clip: Any) -> None:
    torch.manual_seed(1)
    model = Model()
    reference = nn.Linear(4, 1)
    reference.load_state_dict(model.layer.state_dict())
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.01)
    for batch in loader(5):
        optimizer.zero_grad()
        reference(batch).sum().backward()
        clip(reference.parameters(), 0.1)
        optimizer.step()
    fit(model, train=loader(5), max_epochs=1, gradient_clip_val=0.1, gradient_clip_algorithm=algorithm)
    assert torch.equal(model.layer.weight, reference.weight)


def test_estimated_stepping_batches_are_known_while_optimizers_are_made() -> None:
    counts = []

    class Asks(Model):
        def configure_optimizers(self) -> Any:
            counts.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    fit(Asks(), max_epochs=2)
    fit(Asks(), max_epochs=2, accumulate_grad_batches=4)
    fit(Asks(), max_epochs=-1, max_steps=5)
    assert counts == [12, 4, 5]


def test_a_module_that_was_fitted_can_be_copied_and_pickled() -> None:
    import copy
    import pickle

    _, model = fit()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.layer.weight, model.layer.weight)
        with pytest.raises(RuntimeError, match="not attached to a Trainer"):
            _ = twin.trainer


# ------------------------------------------------------------------------------------------ odd data and hooks


def test_a_batch_of_none_is_skipped_and_said() -> None:
    class Drops(Model):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.seen.append(f"end {outputs is None}")

    model = Drops()
    with pytest.warns(UserWarning, match="gave None in place of a batch; it is skipped"):
        fit(model, train=[torch.ones(2, 4), None, torch.ones(2, 4)], max_epochs=1, limit_val_batches=0)
    assert model.seen == ["train", "end False", "end True", "train", "end False"]


class Picture:
    """What default_collate cannot put together."""


@pytest.mark.parametrize("entry", ["predict", "fit", "validate"])
def test_samples_that_cannot_be_collated_are_explained_everywhere(entry: str) -> None:
    pictures = DataLoader([(Picture(), 1)] * 4)  # type: ignore[arg-type,var-annotated]
    trainer = fulmen.Trainer(**QUIET, max_epochs=1)
    run = {
        "predict": lambda: trainer.predict(Model(), pictures),
        "fit": lambda: trainer.fit(Model(), {"a": pictures, "b": loader()}, loader(1)),
        "validate": lambda: trainer.validate(Model(), pictures),
    }[entry]
    with pytest.raises(MisconfigurationException, match="cannot make a batch of its samples"):
        run()


def test_loaders_that_give_nothing_are_said() -> None:
    empty = DataLoader(torch.ones(0, 4))
    with pytest.raises(MisconfigurationException, match="`train_dataloader` has no batches"):
        fit(train=fulmen.data.combined.CombinedLoader({"a": empty, "b": loader()}, "min_size"))
    with pytest.raises(MisconfigurationException, match="`train_dataloader` gave no batch in epoch 0"):
        fit(train=iter(()))


def test_a_generator_trains_one_epoch_and_ends_with_a_word() -> None:
    batches = (torch.ones(2, 4) for _ in range(3))
    with pytest.warns(UserWarning, match="gave no batch in epoch 1.*training ends here"):
        trainer, _ = fit(train=batches, max_epochs=9)
    assert trainer.global_step == 3


def test_the_shortest_loader_beside_an_endless_one_counts_the_batches() -> None:
    endless = DataLoader(Endless(), batch_size=2)

    class Pairs(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch[0], batch_idx)

    combined = fulmen.data.combined.CombinedLoader([loader(4), endless], "min_size")
    trainer, _ = fit(Pairs(), train=combined, max_epochs=1)
    assert (trainer.num_training_batches, trainer.global_step) == (4, 4)


@pytest.mark.parametrize(
    ("hook", "entry"),
    [
        ("predict_step", "predict"),
        ("on_fit_end", "fit"),
        ("train_dataloader", "fit"),
        ("on_before_batch_transfer", "fit"),
        ("on_save_checkpoint", "fit"),
    ],
)
def test_a_hook_that_cannot_log_is_named(hook: str, entry: str) -> None:
    def logs(self: Any, *args: Any) -> Any:
        self.log("x", 1.0)
        return loader() if hook == "train_dataloader" else args[0] if args else None

    def saves(self: Any) -> None:
        self.trainer.save_checkpoint("memory://a.ckpt")

    model = type("Logs", (Model,), {hook: logs, "on_train_epoch_end": saves})()
    trainer = fulmen.Trainer(**QUIET, max_epochs=1, limit_val_batches=0)
    run = trainer.predict if entry == "predict" else trainer.fit
    with pytest.raises(MisconfigurationException, match=f"cannot be used in `{hook}`"):
        run(model, None if hook == "train_dataloader" else loader())


@pytest.mark.parametrize(
    ("arguments", "words"), [({"callbacks": 3}, "`callbacks` must be"), ({}, "`ckpt_path` must be")]
)
def test_arguments_of_a_wrong_kind_are_said(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        fulmen.Trainer(**QUIET, **arguments).fit(Model(), loader(), loader(), ckpt_path=3)  # type: ignore[arg-type]
