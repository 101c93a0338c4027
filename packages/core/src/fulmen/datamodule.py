"""LightningDataModule: the data of a project in one reusable class."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import Self

from fulmen.class_only import class_only
from fulmen.data.combined import CombinedLoader, is_collection, length_of
from fulmen.data.transfer import move_data_to_device, rebuilt
from fulmen.hyperparameters import HyperparametersMixin

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


class LightningDataModule(HyperparametersMixin):
    """Downloads, splits and loads data; override what you need.

    ``prepare_data`` runs once on one process (download, write to disk), ``setup(stage)`` on every process (split,
    assign), then the loader hooks give the loaders.
    """

    CHECKPOINT_HYPER_PARAMS_KEY = "datamodule_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "datamodule_hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "datamodule_hparams_type"
    #: what the program calls this data
    name: str | None = None
    #: the trainer that uses this data now
    trainer: Trainer | None = None
    #: run ``prepare_data`` once on each machine rather than once in all
    prepare_data_per_node: bool = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # accepted, and not looked at, as elsewhere in the field
        super().__init__()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "trainer"}

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

    @class_only
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | os.PathLike[str] | IO[bytes],
        map_location: Any = None,
        hparams_file: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a data module of this class with a checkpoint's hyper-parameters and state; call it on the class.

        Args:
            checkpoint_path: the file: a path, a URL that fsspec knows, or one that is open for reading.
            map_location: where its tensors go, as in ``torch.load``.
            hparams_file: a YAML or CSV file whose hyper-parameters stand in for the checkpoint's.
            weights_only: ``False`` unpickles anything, which can run code: only for files that you trust.
            kwargs: arguments of ``__init__`` that win over the checkpoint's.

        Raises:
            CheckpointError: the file cannot be read, or keeps an argument as an object that only trusted loading can
                make.
            MisconfigurationException: ``__init__`` needs an argument that neither the file nor ``kwargs`` has, or
                ``kwargs`` has one that it does not take.
            TypeError: it was called on an object.
        """
        from fulmen.checkpoint.loading import load_datamodule

        return load_datamodule(cls, checkpoint_path, map_location, hparams_file, weights_only, kwargs)

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
    ) -> Self:
        """Make a data module of datasets.

        Args:
            train_dataset: what to train on: a dataset, or lists and dicts of them, which give as many loaders. It is
                shuffled, unless it is a stream.
            val_dataset: what to validate on.
            test_dataset: what to test on.
            predict_dataset: what to predict on.
            batch_size: samples of a batch; ``__init__`` gets it as well, where it takes it.
            num_workers: worker processes of each loader; ``__init__`` gets it as well, where it takes it.
            datamodule_kwargs: further arguments of ``__init__``.
        """
        parameters = inspect.signature(cls).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name, value in (("batch_size", batch_size), ("num_workers", num_workers)):
            if name in parameters or takes_any:
                datamodule_kwargs.setdefault(name, value)
        datamodule = cls(**datamodule_kwargs)
        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset, "predict": predict_dataset}
        for stage, datasets in given.items():
            if datasets is not None:
                make = functools.partial(_loaders, datasets, batch_size, num_workers, shuffle=stage == "train")
                setattr(datamodule, f"{stage}_dataloader", make)
        return datamodule

    def __str__(self) -> str:
        """Each kind of loader with the samples in its datasets; ``None`` where it cannot be had yet."""
        names = {"Train": "train", "Validation": "val", "Test": "test", "Predict": "predict"}
        return os.linesep.join(
            f"{{{title} dataloader: {_description(getattr(self, f'{name}_dataloader'))}}}"
            for title, name in names.items()
        )


def _loaders(datasets: Any, batch_size: int, num_workers: int, shuffle: bool) -> Any:
    """Return a loader for each dataset, nested as they are."""
    if isinstance(datasets, (Mapping, list, tuple)):
        return rebuilt(datasets, lambda item: _loaders(item, batch_size, num_workers, shuffle))
    return DataLoader(
        datasets,
        batch_size=batch_size,
        shuffle=shuffle and not isinstance(datasets, IterableDataset),
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
    )


def _description(make_loaders: Callable[[], Any]) -> str:
    try:
        loaders = make_loaders()
    except Exception:  # before `setup`, which makes the datasets, user code fails in any way
        return "None"
    if isinstance(loaders, CombinedLoader):
        loaders = loaders.iterables
    if isinstance(loaders, Mapping):
        return " ; ".join(f"{name}. size={_size(loader)}" for name, loader in loaders.items())
    if is_collection(loaders):
        return " ; ".join(f"{number}. size={_size(loader)}" for number, loader in enumerate(loaders, start=1))
    return f"size={_size(loaders)}"


def _size(loader: Any) -> str:
    """Return the number of samples of a loader, of batches where it has no dataset, and ``NA`` for a stream."""
    size = length_of(getattr(loader, "dataset", loader))
    return "NA" if size == float("inf") else str(int(size))
