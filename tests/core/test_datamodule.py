"""LightningDataModule: where its hooks run, and loaders made of datasets."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset

import fulmen
from fulmen.data.combined import CombinedLoader
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


def test_datasets_may_be_nested_in_any_way() -> None:
    class Pair(NamedTuple):
        a: Any
        b: Any

    data = fulmen.LightningDataModule.from_datasets({"x": [TEN, TEN], "y": Pair(TEN, Stream())}, batch_size=5)
    loaders = data.train_dataloader()
    assert type(loaders["y"]) is Pair
    assert [len(loader) for loader in (*loaders["x"], loaders["y"].a)] == [2, 2, 2]


def test_a_data_module_of_datasets_can_be_pickled() -> None:
    data = fulmen.LightningDataModule.from_datasets(TEN, batch_size=4)
    other = pickle.loads(pickle.dumps(data))
    assert [len(batch[0]) for batch in other.train_dataloader()] == [4, 4, 2]


def test_a_copy_has_no_trainer() -> None:
    data = Data()
    trainer(limit_val_batches=0).fit(Model(), datamodule=data)
    assert data.trainer is not None
    assert copy.deepcopy(data).trainer is None
    assert copy.deepcopy(data).calls == data.calls


def test_a_class_that_takes_anything_gets_the_batch_size_unless_it_is_told_one() -> None:
    class Any_(fulmen.LightningDataModule):
        def __init__(self, **options: Any) -> None:
            super().__init__()
            self.options = options

    assert Any_.from_datasets(TEN, batch_size=4, x=1).options == {"batch_size": 4, "num_workers": 0, "x": 1}


# -------------------------------------------------------------------------------------------------- words


class Late(fulmen.LightningDataModule):
    def setup(self, stage: str) -> None:
        self.sets = [TEN, Stream()]

    def train_dataloader(self) -> Any:
        return DataLoader(self.sets[0])

    def val_dataloader(self) -> Any:
        return [DataLoader(dataset) for dataset in self.sets]

    def test_dataloader(self) -> Any:
        return CombinedLoader({"a": DataLoader(self.sets[0]), "b": [torch.ones(1)] * 3})


def test_in_words_it_tells_how_much_data_there_is() -> None:
    data = Late()
    # The form is that of Lightning 2.6.6.
    assert str(data).splitlines() == [
        "{Train dataloader: None}",
        "{Validation dataloader: None}",
        "{Test dataloader: None}",
        "{Predict dataloader: None}",
    ]
    data.setup("fit")
    assert str(data).splitlines() == [
        "{Train dataloader: size=10}",
        "{Validation dataloader: 1. size=10 ; 2. size=NA}",
        "{Test dataloader: a. size=10 ; b. size=3}",
        "{Predict dataloader: None}",
    ]


def test_its_state_goes_on_with_training(tmp_path: Path) -> None:
    class Counting(Data):
        seen = 0

        def train_dataloader(self) -> Any:
            self.seen += 1
            return [torch.ones(1)]

        def state_dict(self) -> dict[str, Any]:
            return {"seen": self.seen}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.seen = state_dict["seen"]

    first, data = trainer(limit_val_batches=0), Counting()
    first.fit(Model(), datamodule=data)
    first.save_checkpoint(tmp_path / "a.ckpt")
    again = Counting()
    trainer(limit_val_batches=0, max_epochs=2).fit(Model(), datamodule=again, ckpt_path=tmp_path / "a.ckpt")
    assert again.seen == data.seen + 1
    assert Counting.load_from_checkpoint(tmp_path / "a.ckpt").seen == data.seen
