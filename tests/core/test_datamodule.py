"""LightningDataModule: where its hooks run, and loaders made of datasets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(batch)
        return self.weight * 1.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Data(fulmen.LightningDataModule):
    """Notes what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare")

    def setup(self, stage: str) -> None:
        self.calls.append(f"setup {stage}")

    def teardown(self, stage: str) -> None:
        self.calls.append(f"teardown {stage}")

    def train_dataloader(self) -> Any:
        self.calls.append("train")
        return [torch.ones(1)]

    def val_dataloader(self) -> Any:
        self.calls.append("val")
        return [torch.ones(1)]

    def test_dataloader(self) -> Any:
        self.calls.append("test")
        return [torch.ones(1)]

    def predict_dataloader(self) -> Any:
        self.calls.append("predict")
        return [torch.ones(1)]

    def on_exception(self, exception: BaseException) -> None:
        self.calls.append(f"exception {exception}")


def trainer(**options: Any) -> fulmen.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "max_epochs": 1,
    }
    return fulmen.Trainer(**(quiet | options))


@pytest.mark.parametrize(
    ("entry", "calls"),
    [
        ("fit", ["prepare", "setup fit", "val", "train", "teardown fit"]),
        ("validate", ["prepare", "setup validate", "val", "teardown validate"]),
        ("test", ["prepare", "setup test", "test", "teardown test"]),
        ("predict", ["prepare", "setup predict", "predict", "teardown predict"]),
    ],
)
def test_hooks_run_in_the_standard_order(entry: str, calls: list[str]) -> None:
    data, run = Data(), trainer()
    getattr(run, entry)(Model(), datamodule=data)
    # Made by running this program with Lightning 2.6.6.
    assert data.calls == calls
    assert data.trainer is run
    assert run.datamodule is data


def test_its_loaders_win_over_the_modules() -> None:
    class Both(Model):
        def train_dataloader(self) -> Any:
            raise AssertionError("asked")

    model = Both()
    trainer().fit(model, datamodule=Data())
    assert model.seen


def test_the_modules_loader_stands_in_for_one_that_is_missing() -> None:
    class Own(Model):
        def test_dataloader(self) -> Any:
            return [torch.zeros(1)]

    class OnlyTraining(fulmen.LightningDataModule):
        def train_dataloader(self) -> Any:
            return [torch.ones(1)]

    model = Own()
    trainer().test(model, datamodule=OnlyTraining(), verbose=False)
    assert model.seen == [torch.zeros(1)]


def test_batches_go_through_its_transfer_hooks() -> None:
    class Doubling(Data):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch * 2

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch + 1

    class Moving(Model):
        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            return batch * 10

    model = Moving()
    trainer(limit_val_batches=0).fit(model, datamodule=Doubling())
    assert model.seen == [torch.tensor([21.0])]


def test_an_error_reaches_it() -> None:
    class Failing(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("mine")

    data = Data()
    with pytest.raises(RuntimeError, match="mine"):
        trainer(limit_val_batches=0).fit(Failing(), datamodule=data)
    assert data.calls[-1] == "exception mine"


def test_a_loader_that_is_missing_is_said() -> None:
    class Empty(fulmen.LightningDataModule):
        pass

    with pytest.raises(MisconfigurationException, match="`Trainer.fit` has no data.*define `train_dataloader`"):
        trainer().fit(Model(), datamodule=Empty())
    with pytest.raises(NotImplementedError, match="`Empty` must define `val_dataloader` to be used with validate"):
        Empty().val_dataloader()


def test_a_thing_that_is_no_data_module_is_said() -> None:
    with pytest.raises(MisconfigurationException, match="`datamodule` must be a LightningDataModule, but is a list"):
        trainer().fit(Model(), datamodule=[1])  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match="both dataloaders and a datamodule were passed"):
        trainer().fit(Model(), [torch.ones(1)], datamodule=Data())


# ------------------------------------------------------------------------------------------- from datasets

TEN = TensorDataset(torch.arange(10.0))


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter(torch.arange(3.0))


def test_datasets_become_loaders_and_only_training_is_shuffled() -> None:
    data = fulmen.LightningDataModule.from_datasets(TEN, TEN, TEN, TEN, batch_size=4, num_workers=0)
    for name in ("train", "val", "test", "predict"):
        loader: DataLoader[Any] = getattr(data, f"{name}_dataloader")()
        assert loader.batch_size == 4
        assert isinstance(loader.sampler, RandomSampler) == (name == "train")
        assert len(loader.dataset) == 10  # type: ignore[arg-type]


def test_a_stream_is_not_shuffled() -> None:
    data = fulmen.LightningDataModule.from_datasets(Stream(), batch_size=2)
    assert [batch.tolist() for batch in data.train_dataloader()] == [[0.0, 1.0], [2.0]]


def test_several_datasets_become_several_loaders() -> None:
    data = fulmen.LightningDataModule.from_datasets({"a": TEN, "b": TEN}, [TEN, Stream()])
    assert set(data.train_dataloader()) == {"a", "b"}
    assert [type(loader) for loader in data.val_dataloader()] == [DataLoader, DataLoader]


def test_what_is_not_given_is_not_defined() -> None:
    data = fulmen.LightningDataModule.from_datasets(val_dataset=TEN)
    with pytest.raises(MisconfigurationException, match="`Trainer.test` has no data"):
        trainer().test(Model(), datamodule=data)
    assert trainer().validate(Model(), datamodule=data, verbose=False) == [{}]


def test_a_class_that_keeps_the_batch_size_gets_it() -> None:
    class Keeping(fulmen.LightningDataModule):
        def __init__(self, batch_size: int, folder: str = "") -> None:
            super().__init__()
            self.save_hyperparameters()

    data = Keeping.from_datasets(TEN, batch_size=4, folder="here")
    assert dict(data.hparams) == {"batch_size": 4, "folder": "here"}
