"""LightningDataModule: the data of a project in one reusable class."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from fulmen.hyperparameters import HyperparametersMixin

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


class LightningDataModule(HyperparametersMixin):
    """Downloads, splits and loads data; override what you need.

    ``prepare_data`` runs once on one process (download, write to disk), ``setup(stage)`` on every process (split,
    assign), then the loader hooks give the loaders.
    """

    #: the trainer that uses this data now
    trainer: Trainer | None = None
    #: run ``prepare_data`` once on each machine rather than once in all
    prepare_data_per_node: bool = True

    def __init__(self) -> None:
        super().__init__()

    def prepare_data(self) -> None:
        """Download or write data; runs in one process, so assign nothing to ``self`` here."""

    def setup(self, stage: str) -> None:
        """Make the datasets; ``stage`` is ``fit``, ``validate``, ``test`` or ``predict``."""

    def teardown(self, stage: str) -> None:
        """Clean up at the end of a stage."""

    def train_dataloader(self) -> Any:
        """Return the loader, or nested loaders, to train on."""
        raise NotImplementedError(f"`{type(self).__name__}` must define `train_dataloader` to be used with fit")

    def val_dataloader(self) -> Any:
        """Return the loader or loaders to validate on."""
        raise NotImplementedError(f"`{type(self).__name__}` must define `val_dataloader` to be used with validate")

    def test_dataloader(self) -> Any:
        """Return the loader or loaders to test on."""
        raise NotImplementedError(f"`{type(self).__name__}` must define `test_dataloader` to be used with test")

    def predict_dataloader(self) -> Any:
        """Return the loader or loaders to predict on."""
        raise NotImplementedError(f"`{type(self).__name__}` must define `predict_dataloader` to be used with predict")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it goes to the device."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch to the device."""
        from fulmen.data.transfer import move_data_to_device

        return move_data_to_device(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device."""
        return batch

    def on_exception(self, exception: BaseException) -> None:
        """Run when anything raises during a run."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this data module."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Any = None,
        val_dataset: Any = None,
        test_dataset: Any = None,
        predict_dataset: Any = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> LightningDataModule:
        """Make a data module of datasets, or of lists or dicts of datasets.

        Only training data that is not iterable-style is shuffled.
        """

        def loader(dataset: Dataset[Any], shuffle: bool) -> DataLoader[Any]:
            shuffle = shuffle and not isinstance(dataset, IterableDataset)
            return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, num_workers=num_workers)

        def nested(datasets: Any, shuffle: bool) -> Any:
            if isinstance(datasets, dict):
                return {key: loader(dataset, shuffle) for key, dataset in datasets.items()}
            if isinstance(datasets, (list, tuple)):
                return [loader(dataset, shuffle) for dataset in datasets]
            return loader(datasets, shuffle)

        accepted = inspect.signature(cls).parameters
        for name, value in (("batch_size", batch_size), ("num_workers", num_workers)):
            if name in accepted:  # a class that keeps them gets them as well
                datamodule_kwargs.setdefault(name, value)
        datamodule = cls(**datamodule_kwargs)
        given = {
            "train_dataloader": (train_dataset, True),
            "val_dataloader": (val_dataset, False),
            "test_dataloader": (test_dataset, False),
            "predict_dataloader": (predict_dataset, False),
        }
        for name, (datasets, shuffle) in given.items():
            if datasets is not None:
                setattr(datamodule, name, lambda datasets=datasets, shuffle=shuffle: nested(datasets, shuffle))
        return datamodule
