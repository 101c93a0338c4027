"""LightningCLI: a program's command line, its configuration files, and the checkpoints that it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fulmen
from fulmen.errors import MisconfigurationException

pytest.importorskip("jsonargparse", reason='needs jsonargparse: pip install "fulmen[cli]"')

import yaml

from fulmen.cli import (
    LightningArgumentParser,
    LightningCLI,
    LRSchedulerCallable,
    OptimizerCallable,
    ReduceLROnPlateau,
    SaveConfigCallback,
)

BATCHES = [torch.full((2, 3), float(number)) for number in range(4)]
QUIET = ["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false"]
QUIET += ["--trainer.enable_model_summary=false", "--trainer.max_epochs=1"]


class Encoder(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)


class Model(fulmen.LightningModule):
    """Learns.

    Args:
        width: of the layer
        encoder: in place of the layer
    """

    def __init__(self, width: int = 4, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = encoder or Encoder(width)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.encoder.layer(batch).pow(2).mean()  # type: ignore[operator, union-attr]
        self.log("loss", loss)
        return loss  # type: ignore[no-any-return]

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.encoder.layer(batch).mean())  # type: ignore[operator, union-attr]

    def test_step(self, batch: Tensor, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Plain(Model):
    configure_optimizers = fulmen.LightningModule.configure_optimizers


class Data(fulmen.LightningDataModule):
    def __init__(self, batch_size: int = 2, count: int = 8) -> None:
        super().__init__()
        self.batch_size, self.count = batch_size, count

    def train_dataloader(self) -> Any:
        return DataLoader([torch.ones(3)] * self.count, batch_size=self.batch_size)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program.py"])
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


def test_fit_is_run_with_what_was_written() -> None:
    cli = LightningCLI(
        Model, Data, args=["fit", *QUIET, "--model.width=7", "--data.batch_size=4", "--seed_everything=3"]
    )
    assert cli.subcommand == "fit"
    assert cli.model.encoder.layer.out_features == 7  # type: ignore[union-attr]
    assert cli.trainer.global_step == 2
    assert cli.config["fit"]["seed_everything"] == 3
    assert cli.model.hparams == {"width": 7, "encoder": None}


def test_files_come_before_words_and_kept_configuration_makes_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: {width: 5}\ntrainer: {max_epochs: 3, logger: false}\n")
    root = ["--trainer.default_root_dir", str(tmp_path / "kept")]
    words = ["fit", *QUIET, "--config", "c.yaml", "--trainer.max_epochs=2", *root]
    first = LightningCLI(Model, Data, args=words)
    assert first.trainer.max_epochs == 2
    kept = tmp_path / "kept/config.yaml"
    written = yaml.safe_load(kept.read_text())
    assert written["model"]["width"] == 5
    assert written["seed_everything"] == 0
    again = LightningCLI(Model, Data, args=["fit", "--config", str(kept)], save_config_kwargs={"overwrite": True})
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match="is there already, from an earlier run"):
        LightningCLI(Model, Data, args=["fit", "--config", str(kept)])


@pytest.mark.parametrize(("command", "returns"), [("validate", list), ("test", list), ("predict", list)])
def test_each_entry_point_is_a_subcommand(command: str, returns: type) -> None:
    class WithPredict(Model):
        def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return batch

    found: list[Any] = []

    class Cli(LightningCLI):
        def _note(self, **kwargs: Any) -> None:
            found.append(getattr(self.trainer, command)(**kwargs))

        def before_instantiate_classes(self) -> None:
            setattr(self, command, self._note)

    Cli(WithPredict, Data, args=[command, *QUIET])
    assert isinstance(found[0], returns)


def test_optimizer_and_scheduler_of_the_command_line() -> None:
    words = ["--optimizer=Adam", "--optimizer.lr=0.5", "--lr_scheduler=StepLR", "--lr_scheduler.step_size=1"]
    cli = LightningCLI(Plain, Data, args=["fit", *QUIET, *words])
    assert type(cli.trainer.optimizers[0]) is torch.optim.Adam
    assert cli.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05), "the scheduler has stepped"
    words = ["--optimizer=SGD", "--optimizer.lr=0.5", "--lr_scheduler=ReduceLROnPlateau"]
    words += ["--lr_scheduler.monitor=val_loss"]
    cli = LightningCLI(Plain, Data, args=["fit", *QUIET, *words], save_config_callback=None)
    assert isinstance(cli.trainer.lr_scheduler_configs[0].scheduler, ReduceLROnPlateau)
    assert cli.trainer.lr_scheduler_configs[0].monitor == "val_loss"
    with pytest.warns(UserWarning, match="FUL041.*`Model.configure_optimizers` is replaced"):
        LightningCLI(Model, Data, args=["fit", *QUIET, "--optimizer=Adam"], save_config_callback=None)


def test_optimizers_as_arguments_of_the_module() -> None:
    class Takes(Model):
        def __init__(
            self,
            optimizer: OptimizerCallable = torch.optim.Adagrad,
            scheduler: LRSchedulerCallable = torch.optim.lr_scheduler.ConstantLR,
        ) -> None:
            super().__init__()
            self.make = (optimizer, scheduler)

        def configure_optimizers(self) -> Any:
            optimizer = self.make[0](self.parameters())
            return [optimizer], [self.make[1](optimizer)]

    words = ["--model.optimizer=Adam", "--model.optimizer.lr=0.25", "--model.scheduler=StepLR"]
    cli = LightningCLI(
        Takes,
        Data,
        args=["fit", *QUIET, *words, "--model.scheduler.step_size=9"],
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
    )
    assert cli.trainer.optimizers[0].param_groups[0]["lr"] == 0.25
    assert type(cli.trainer.lr_scheduler_configs[0].scheduler) is torch.optim.lr_scheduler.StepLR


def test_arguments_can_be_added_and_linked() -> None:
    class Noted(fulmen.Callback):
        def __init__(self, word: str = "a") -> None:
            self.word = word

    class Cli(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.link_arguments("data.batch_size", "model.width", compute_fn=lambda size: size * 10)
            parser.add_lightning_class_args(Noted, "noted")
            parser.set_defaults({"noted.word": "b"})

    always = Noted("always")
    cli = Cli(Model, Data, args=["fit", *QUIET, "--data.batch_size=2"], trainer_defaults={"callbacks": always})
    assert cli.model.hparams["width"] == 20
    assert [one.word for one in cli.trainer.callbacks if isinstance(one, Noted)] == ["b", "always"]
    with pytest.raises(MisconfigurationException, match="takes a Trainer, LightningModule"):
        LightningArgumentParser().add_lightning_class_args(dict, "x")


def test_a_module_is_chosen_by_its_name() -> None:
    cli = LightningCLI(
        args=["fit", *QUIET, f"--model={__name__}.Plain", "--optimizer=SGD", f"--data={__name__}.Data"],
        seed_everything_default=False,
    )
    assert type(cli.model).__name__ == "Plain"
    assert type(cli.datamodule).__name__ == "Data"


def test_functions_make_module_and_trainer() -> None:
    def make_model(size: int = 6) -> Model:
        return Model(size)

    def make_trainer(epochs: int = 2, callbacks: list[fulmen.Callback] | None = None) -> fulmen.Trainer:
        return fulmen.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, callbacks=callbacks)

    make_model.__annotations__.update({"size": int, "return": Model})
    make_trainer.__annotations__.update({"epochs": int, "return": fulmen.Trainer})
    cli = LightningCLI(
        make_model, Data, trainer_class=make_trainer, args=["--model.size=8", "--trainer.epochs=5"], run=False
    )
    assert cli.model.encoder.layer.out_features == 8  # type: ignore[union-attr]
    assert cli.trainer.max_epochs == 5
    assert cli.trainer.global_step == 0


@pytest.mark.filterwarnings("ignore:FUL022")
def test_a_checkpoint_of_a_command_line_loads_where_it_is_trusted(tmp_path: Path) -> None:
    encoder = [f"--model.encoder={__name__}.Encoder", "--model.encoder.width=9"]
    cli = LightningCLI(Model, Data, args=["fit", *QUIET, *encoder])
    assert cli.model.hparams["encoder"]["class_path"] == f"{__name__}.Encoder"
    path = tmp_path / "a.ckpt"
    cli.trainer.save_checkpoint(path)
    with pytest.raises(MisconfigurationException, match="`encoder` names classes to import.*weights_only=False"):
        Model.load_from_checkpoint(path)
    passed = Model.load_from_checkpoint(path, encoder=Encoder(9))
    trusted = Model.load_from_checkpoint(path, weights_only=False)
    for loaded in (passed, trusted):
        assert torch.equal(loaded.encoder.layer.weight, cli.model.encoder.layer.weight)  # type: ignore[union-attr]
    # The next run takes the module's arguments from the file.
    resumed = LightningCLI(Model, Data, args=["validate", *QUIET, f"--ckpt_path={path}"], save_config_callback=None)
    assert resumed.model.encoder.layer.out_features == 9  # type: ignore[union-attr]


def test_save_config_may_go_elsewhere() -> None:
    seen: list[str] = []

    class Elsewhere(SaveConfigCallback):
        def save_config(self, trainer: Any, pl_module: Any, stage: str) -> None:
            seen.append(stage)

    only_there = {"save_to_log_dir": False}
    LightningCLI(Model, Data, args=["fit", *QUIET], save_config_callback=Elsewhere, save_config_kwargs=only_there)
    assert seen == ["fit"]
    assert not Path("config.yaml").exists()
    with pytest.raises(ValueError, match="leaves nothing to do"):
        LightningCLI(Model, Data, args=["fit", *QUIET], save_config_kwargs=only_there)


def test_a_misspelled_argument_names_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        LightningCLI(Model, Data, args=["fit", "--model.wdth=3"])
    assert "wdth" in capsys.readouterr().err


def test_args_beside_a_command_line_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program.py", "fit"])
    with pytest.warns(UserWarning, match=r"FUL040.*the command line \['fit'\] is not looked at"):
        LightningCLI(Model, Data, args=[*QUIET], run=False)


def test_help_is_made_of_docstrings(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import fulmen\nfrom fulmen.cli import LightningCLI\n"
        "class Model(fulmen.LightningModule):\n"
        '    """Learns.\n\n    Args:\n        width: how wide the layer is\n    """\n'
        "    def __init__(self, width: int = 4):\n        super().__init__()\n"
        "LightningCLI(Model)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), "fit", "--help"], capture_output=True, text=True, check=True
    )
    assert "how wide the layer is" in done.stdout
    assert "--trainer.max_epochs" in done.stdout
