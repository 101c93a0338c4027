"""PredictionWriter and the class that it is made of: files with a row for each sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import BasePredictionWriter, PredictionWriter

COUNT = 10


class Module(TinyClassifier):
    def __init__(self, predict: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.predict = predict

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.predict(batch[0])


def loader(order: list[int] | None = None, **arguments: Any) -> DataLoader[Any]:
    numbers = torch.arange(COUNT, dtype=torch.float32)
    return DataLoader(TensorDataset(numbers, numbers * 2), batch_size=4, sampler=order, **arguments)


def predict(
    writer: BasePredictionWriter, predict: Callable[[torch.Tensor], Any], folder: Path, loaders: Any = None, **kw: Any
) -> fulmen.Trainer:
    trainer = fulmen.Trainer(
        accelerator="cpu",
        callbacks=[writer],
        default_root_dir=folder,
        enable_progress_bar=False,
        logger=False,
        **kw,
    )
    assert trainer.predict(Module(predict), loader() if loaders is None else loaders, return_predictions=False) is None
    return trainer


def read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if path.suffix == ".npz":
        with np.load(path) as file:
            return dict(file)
    from pyarrow import parquet

    table = parquet.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


FORMATS = pytest.mark.parametrize("format", ["npz", "parquet"])


@FORMATS
def test_a_row_for_each_sample_with_its_place_in_the_dataset(tmp_path: Path, format: Any) -> None:
    pytest.importorskip("pyarrow")
    order = [9, 0, 8, 1, 7, 2, 6, 3, 5, 4]
    writer = PredictionWriter(tmp_path, format)
    predict(writer, lambda x: x * 10, tmp_path, loader(order))
    assert writer.paths == [tmp_path / f"predictions.{format}"]
    columns = read(writer.paths[0])
    assert columns["index"].tolist() == order
    assert columns["prediction"].tolist() == [10.0 * number for number in order]
    assert {path.name for path in tmp_path.iterdir()} == {f"predictions.{format}"}


class Pair(NamedTuple):
    logit: torch.Tensor
    word: list[str]


@FORMATS
@pytest.mark.parametrize(
    ("returned", "columns"),
    [
        (lambda x: {"a": x, "b": x.int()}, {"a": (10,), "b": (10,)}),
        (lambda x: (x, x[:, None].expand(-1, 3)), {"prediction_0": (10,), "prediction_1": (10, 3)}),
        (lambda x: [x, x.numpy()], {"prediction_0": (10,), "prediction_1": (10,)}),
        (lambda x: x[:, None, None].expand(-1, 2, 3), {"prediction": (10, 2, 3)}),
        (lambda x: x.bfloat16(), {"prediction": (10,)}),
        (lambda x: [str(int(one)) for one in x], {"prediction": (10,)}),
        (lambda x: Pair(x, [f"number {int(one)}" for one in x]), {"logit": (10,), "word": (10,)}),
    ],
)
def test_whatever_predict_step_returns(tmp_path: Path, format: Any, returned: Any, columns: Any) -> None:
    pytest.importorskip("pyarrow")
    writer = PredictionWriter(tmp_path, format)
    predict(writer, returned, tmp_path)
    found = read(writer.paths[0])
    assert {name: values.shape for name, values in found.items()} == {"index": (10,), **columns}
    expected = returned(torch.arange(COUNT, dtype=torch.float32))
    first = next(iter(expected.values())) if isinstance(expected, dict) else expected
    first = first[0] if isinstance(first, (tuple, list)) and not isinstance(first[0], str) else first
    first = first.float().numpy() if isinstance(first, torch.Tensor) else np.array(first)
    assert np.array_equal(found[next(iter(columns))], first)


def test_columns_of_ones_own(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, to_columns=lambda prediction, batch: {"p": prediction, "target": batch[1]})
    predict(writer, lambda x: -x, tmp_path)
    columns = read(writer.paths[0])
    assert list(columns) == ["index", "p", "target"]
    assert np.array_equal(columns["target"], -2 * columns["p"])


@FORMATS
def test_several_loaders_and_limits(tmp_path: Path, format: Any) -> None:
    pytest.importorskip("pyarrow")
    writer = PredictionWriter(tmp_path, format, "rows")
    predict(writer, lambda x: x, tmp_path, [loader(), loader([3, 2])], limit_predict_batches=1)
    assert [path.name for path in writer.paths] == [f"rows-dataloader_0.{format}", f"rows-dataloader_1.{format}"]
    assert read(writer.paths[0])["index"].tolist() == [0, 1, 2, 3]
    assert read(writer.paths[1])["index"].tolist() == [3, 2]


def test_workers_fetch_ahead_and_the_notes_stay_right(tmp_path: Path) -> None:
    order = [9, 0, 8, 1, 7, 2, 6, 3, 5, 4]
    writer = PredictionWriter(tmp_path)
    data = loader(order, num_workers=2)
    for _ in range(2):
        predict(writer, lambda x: x, tmp_path, data)
        columns = read(writer.paths[0])
        assert columns["index"].tolist() == columns["prediction"].tolist() == order
    assert type(data.batch_sampler) is torch.utils.data.BatchSampler  # the user's loader is as it was


def test_a_dataset_without_indices_is_counted(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return zip(torch.arange(7.0), torch.arange(7.0), strict=True)

    writer = PredictionWriter(tmp_path)
    trainer = predict(writer, lambda x: x, tmp_path, DataLoader(Stream(), batch_size=3))
    assert read(writer.paths[0])["index"].tolist() == list(range(7))
    assert trainer.predict_loop.current_batch_indices is None


def test_what_is_there_already_is_replaced_only_by_a_whole_file(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    predict(writer, lambda x: x, tmp_path)
    before = writer.paths[0].read_bytes()

    def fail(x: torch.Tensor) -> torch.Tensor:
        if x[0] > 4:
            raise ValueError("a mistake")
        return x

    for format in ("npz", "parquet"):
        pytest.importorskip("pyarrow")
        with pytest.raises(ValueError, match="a mistake"):
            predict(PredictionWriter(tmp_path, format), fail, tmp_path)  # type: ignore[arg-type]
    assert writer.paths[0].read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.npz"}


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x: x.mean(), r"of a batch of 4 samples are: prediction \(\)"),
        (lambda x: x[:2], r"of a batch of 4 samples are: prediction \(2,\)"),
        (lambda x: {"a": x, "b": x[:3]}, r"are: a \(4,\), b \(3,\)"),
        (lambda x: None, "'prediction' is a NoneType that is no column"),
        (lambda x: [[1], [1, 2]], "rows of different lengths"),
    ],
)
def test_predictions_that_are_no_columns(tmp_path: Path, returned: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        predict(PredictionWriter(tmp_path), returned, tmp_path)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="'npz' or 'parquet', but is 'csv'"):
        PredictionWriter(tmp_path, "csv")  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match="`filename` is empty"):
        PredictionWriter(tmp_path, filename="")
    with pytest.raises(MisconfigurationException, match="a folder of this machine, but is 's3://there'"):
        PredictionWriter("s3://there")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MisconfigurationException, match="cannot be made"):
        predict(PredictionWriter(tmp_path / "file"), lambda x: x, tmp_path)
    with pytest.raises(MisconfigurationException, match="'batch', 'epoch' or 'batch_and_epoch', but is 'step'"):
        BasePredictionWriter("step")  # type: ignore[arg-type]


@pytest.mark.parametrize(("interval", "method"), [("batch", "write_on_batch_end"), ("epoch", "write_on_epoch_end")])
def test_what_a_subclass_must_define_is_named(tmp_path: Path, interval: Any, method: str) -> None:
    with pytest.raises(NotImplementedError, match=method):
        predict(BasePredictionWriter(interval), lambda x: x, tmp_path)


def test_prediction_gives_the_modes_back(tmp_path: Path) -> None:
    module = Module(lambda x: x)
    module.net[2].eval()
    before = [one.training for one in module.modules()]
    trainer = fulmen.Trainer(accelerator="cpu", default_root_dir=tmp_path, enable_progress_bar=False, logger=False)
    trainer.predict(module, loader())
    assert [one.training for one in module.modules()] == before
