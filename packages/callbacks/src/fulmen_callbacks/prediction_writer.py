"""PredictionWriter: predictions as NPZ or Parquet files, a row for each sample."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.rank import rank_zero_info
from fulmen_callbacks import _checkpoint_files as files
from fulmen_callbacks.base_prediction_writer import BasePredictionWriter

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer

#: Name -> values of so many samples, as an array ``(N, ...)``.
Columns: TypeAlias = dict[str, np.ndarray[Any, Any]]


class PredictionWriter(BasePredictionWriter):
    """Write predictions to files: NPZ (numpy's) or Parquet (pandas, polars, DuckDB, Spark).

    Each row is a sample. ``index`` is its place in the dataset, so that rows of several processes can be put together,
    whatever the order; the other columns are what ``predict_step`` returned: a tensor ``(N, ...)`` becomes
    ``prediction``, a dict of tensors a column for each key, a tuple ``prediction_0``, ``prediction_1``, ... . Lists of
    N words or numbers are columns, too.

    The file of a loader is ``predictions.npz``; ``predictions-dataloader_1.npz`` where there are several loaders,
    ``predictions-rank_1.npz`` of several processes. It appears whole when all is predicted, in place of an older one.

    Args:
        dirpath: folder of the files.
        format: ``"npz"`` or ``"parquet"``. Parquet is written while predictions come, and so takes no memory; NPZ is
            collected on the host.
        filename: name of the files without the extension.
        to_columns: ``to_columns(prediction, batch)`` returns the columns, name -> N values, in place of the rule above:
            to add labels or names from the batch, say.

    Attributes:
        paths: the files that the last ``predict`` wrote.

    Raises:
        MisconfigurationException: ``format`` is unknown; the folder cannot be written to; or a prediction has not one
            row for each sample.
        MissingPackageError: ``format="parquet"`` without pyarrow.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str],
        format: Literal["npz", "parquet"] = "npz",
        filename: str = "predictions",
        *,
        to_columns: Callable[[Any, Any], Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__("batch")
        if format not in _FILES:
            raise MisconfigurationException(f"`format` must be {' or '.join(map(repr, _FILES))}, but is {format!r}")
        if not filename:
            raise MisconfigurationException("`filename` is empty; leave it off for 'predictions', or give a name")
        if not files.is_local(os.fspath(dirpath)):
            raise MisconfigurationException(f"`dirpath` must be a folder of this machine, but is {dirpath!r}")
        if format == "parquet":
            _import_pyarrow()
        self.dirpath = Path(dirpath)
        self.format = format
        self.filename = filename
        self.to_columns = to_columns
        self.paths: list[Path] = []
        self._open: dict[int, _NPZFile | _ParquetFile] = {}
        self._counts: dict[int, int] = {}  # samples of each loader so far

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_open": {}}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "predict":
            files.check_writable(os.fspath(self.dirpath), "`PredictionWriter(dirpath=...)`")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_predict_start(trainer, pl_module)
        self._open, self._counts, self.paths = {}, {}, []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        found = _by_name(prediction) if self.to_columns is None else dict(self.to_columns(prediction, batch))
        columns = {name: _as_array(name, values) for name, values in found.items()}
        count = _rows(columns, batch_indices)
        start = self._counts.get(dataloader_idx, 0)
        self._counts[dataloader_idx] = start + count
        index = np.arange(start, start + count) if batch_indices is None else np.asarray(batch_indices)
        if dataloader_idx not in self._open:
            self._open[dataloader_idx] = _FILES[self.format](self.dirpath)
        self._open[dataloader_idx].add({"index": index.astype(np.int64), **columns})

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        several = len(trainer.num_predict_batches) > 1
        while self._open:
            dataloader_idx, file = self._open.popitem()
            name = self.filename
            name += f"-dataloader_{dataloader_idx}" if several else ""
            name += f"-rank_{trainer.global_rank}" if trainer.world_size > 1 else ""
            path = self.dirpath / f"{name}.{self.format}"
            file.finish(path)
            self.paths.insert(0, path)
        for path in self.paths:
            rank_zero_info("predictions are in %s", path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        while self._open:
            self._open.popitem()[1].discard()


# ------------------------------------------------------------------------------------------------ files


class _NPZFile:
    """Collects columns on the host."""

    def __init__(self, folder: Path) -> None:
        self._temporary = _temporary(folder)
        self._parts: list[Columns] = []

    def add(self, columns: Columns) -> None:
        self._parts.append(columns)

    def finish(self, path: Path) -> None:
        try:
            with self._temporary.open("wb") as file:
                names = self._parts[0]
                columns: Any = {name: np.concatenate([part[name] for part in self._parts]) for name in names}
                np.savez(file, **columns)
            os.replace(self._temporary, path)
        finally:
            self.discard()

    def discard(self) -> None:
        self._parts = []
        self._temporary.unlink(missing_ok=True)


class _ParquetFile:
    """Writes columns as they come."""

    def __init__(self, folder: Path) -> None:
        self._temporary = _temporary(folder)
        self._writer: Any = None

    def add(self, columns: Columns) -> None:
        pyarrow, parquet = _import_pyarrow()
        table = pyarrow.table({name: _as_arrow(pyarrow, values) for name, values in columns.items()})
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._temporary, table.schema)
        self._writer.write_table(table)

    def finish(self, path: Path) -> None:
        self._writer.close()
        os.replace(self._temporary, path)

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._temporary.unlink(missing_ok=True)


def _temporary(folder: Path) -> Path:
    """Return a path beside the file that is to come, which takes its place in one step when it is whole."""
    return folder / f".{uuid.uuid4().hex}.tmp"


_FILES: dict[str, type[_NPZFile] | type[_ParquetFile]] = {"npz": _NPZFile, "parquet": _ParquetFile}


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            '`PredictionWriter(format="parquet")` needs pyarrow: pip install "fulmen-callbacks[parquet]"'
        ) from error
    return pyarrow, parquet


def _as_arrow(pyarrow: Any, values: np.ndarray[Any, Any]) -> Any:
    """Return an array ``(N, ...)`` as a column, further dimensions as lists of a fixed size."""
    if values.ndim == 1:
        return pyarrow.array(values)
    inner = _as_arrow(pyarrow, values.reshape(-1, *values.shape[2:]))
    return pyarrow.FixedSizeListArray.from_arrays(inner, values.shape[1])


# ---------------------------------------------------------------------------------------------- columns


def _by_name(prediction: Any) -> dict[str, Any]:
    """Return what ``predict_step`` returned as columns."""
    if isinstance(prediction, Mapping):
        return {str(name): values for name, values in prediction.items()}
    if isinstance(prediction, tuple):
        names = getattr(prediction, "_fields", [f"prediction_{number}" for number in range(len(prediction))])
        return dict(zip(names, prediction, strict=True))
    if isinstance(prediction, list) and any(isinstance(one, (Tensor, np.ndarray)) and one.ndim for one in prediction):
        return {f"prediction_{number}": values for number, values in enumerate(prediction)}
    return {"prediction": prediction}


def _as_array(name: str, values: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype is torch.bfloat16 else values  # numpy has none
        return np.asarray(values.numpy())
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise MisconfigurationException(
            f"PredictionWriter: {name!r} has rows of different lengths ({error})"
        ) from error
    if array.dtype == object:
        raise MisconfigurationException(
            f"PredictionWriter: {name!r} is a {type(values).__name__} that is no column of numbers or words: "
            f"{values!r:.80}; return tensors with a row for each sample, or pass `to_columns`"
        )
    return array


def _rows(columns: Columns, batch_indices: Sequence[int] | None) -> int:
    """Return how many samples there are; raise unless all columns have a row for each."""
    shapes = {name: values.shape for name, values in columns.items()}
    counts = {shape[0] if shape else None for shape in shapes.values()}
    if batch_indices is not None:
        counts.add(len(batch_indices))
    if len(counts) != 1 or None in counts:
        samples = "" if batch_indices is None else f" of a batch of {len(batch_indices)} samples"
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"
        raise MisconfigurationException(
            f"PredictionWriter needs columns with a row for each sample, but the shapes{samples} are: {listed}; return "
            "one row for each sample from `predict_step`, or pass `to_columns`"
        )
    return int(next(iter(counts)) or 0)
