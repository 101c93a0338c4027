"""Arguments that ModelCheckpoint and EarlyStopping had in earlier versions."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.legacy.spelling import OldSpellingWarning


class Old(pl.LightningModule):
    """Returns ``val_loss``, which grows in every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"val_loss": torch.tensor(float(self.current_epoch))}

    def validation_epoch_end(self, outputs: Any) -> Any:
        return {"val_loss": torch.stack([output["val_loss"] for output in outputs]).mean()}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2)

    val_dataloader = train_dataloader


def fit(tmp_path: Path, callback: Any, module: Any = None, epochs: int = 4) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=callback,
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldSpellingWarning)
        trainer.fit(module or Old())
    return trainer


def test_filepath_is_folder_and_name_and_val_loss_ranks(tmp_path: Path) -> None:
    words = r"FUL112.*`ModelCheckpoint\(dirpath='.*', filename='\{epoch:02d\}-"
    with pytest.warns(OldSpellingWarning, match=words) as caught:
        callback = ModelCheckpoint(filepath=f"{tmp_path}/kept/{{epoch:02d}}-{{val_loss:.1f}}", save_top_k=2)
    assert caught[0].filename == __file__
    fit(tmp_path, callback)
    assert callback.monitor == "val_loss"
    names = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert names == ["epoch=00-val_loss=0.0.ckpt", "epoch=01-val_loss=1.0.ckpt"]


def test_a_template_in_first_place_is_a_filepath(tmp_path: Path) -> None:
    with pytest.warns(OldSpellingWarning, match="FUL112"):
        callback = ModelCheckpoint(f"{tmp_path}/kept/{{epoch}}", monitor="val_loss", mode="auto", period=2)
    fit(tmp_path, callback)
    assert (callback.mode, callback.every_n_epochs) == ("min", 2)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["epoch=1.ckpt"]


def test_a_folder_as_filepath_and_a_prefix(tmp_path: Path) -> None:
    with pytest.warns(OldSpellingWarning, match="FUL112"):
        callback = ModelCheckpoint(filepath=str(tmp_path), prefix="run", monitor="val_loss")
    fit(tmp_path, callback, epochs=1)
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["run-epoch=0.ckpt"]


def test_without_a_metric_the_newest_is_kept(tmp_path: Path) -> None:
    class Plain(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch).pow(2).mean()

        configure_optimizers = Old.configure_optimizers
        train_dataloader = Old.train_dataloader

    with pytest.warns(OldSpellingWarning, match="FUL112"):
        callback = ModelCheckpoint(filepath=f"{tmp_path}/kept/{{epoch}}", save_top_k=3)
    fit(tmp_path, callback, Plain(), epochs=2)
    assert callback.monitor is None
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["epoch=1.ckpt"]


@pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_acc", "max")])
def test_auto_goes_by_the_metric_s_name(monitor: str, mode: str) -> None:
    with pytest.warns(OldSpellingWarning, match=rf"FUL112.*`EarlyStopping\(mode='{mode}'\)`"):
        assert EarlyStopping(monitor, patience=2, mode="auto").mode == mode


def test_early_stopping_without_a_name_looks_at_val_loss(tmp_path: Path) -> None:
    with pytest.warns(OldSpellingWarning, match=r"FUL112.*`EarlyStopping\('val_loss'\)`"):
        callback = EarlyStopping(patience=2)
    trainer = fit(tmp_path, callback, epochs=9)
    assert callback.monitor == "val_loss"
    assert trainer.current_epoch == 3


def test_today_s_arguments_say_nothing_and_stay_visible(tmp_path: Path) -> None:
    assert "monitor" in inspect.signature(ModelCheckpoint).parameters
    assert ModelCheckpoint(tmp_path, "{epoch}", "val_loss").monitor == "val_loss"
    assert EarlyStopping("val_loss", 0.1, 2).patience == 2
    with pytest.raises(TypeError, match="unexpected keyword argument 'filepaths'"):
        ModelCheckpoint(filepaths="a")
