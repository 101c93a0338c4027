"""ImagePredictionLogger: which samples, what is drawn, and what is said about mistakes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.logger import Logger
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import ImagePredictionLogger
from fulmen_callbacks._prediction_grid import Prediction, draw_grid, to_pixels

GREEN, RED = (20, 135, 70), (205, 35, 30)


class Album(Logger):
    """A logger that keeps the pictures it is given."""

    interface = (1, 0)

    def __init__(self) -> None:
        self.pictures: list[tuple[str, int | None, str | None, PILImage.Image]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        pass

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        for image in images:
            self.pictures.append((key, step, image.caption, PILImage.open(io.BytesIO(image.png))))


def train(
    callback: ImagePredictionLogger, folder: Path, module: Any = None, *loaders: Any, **options: Any
) -> list[tuple[str, int | None, str | None, PILImage.Image]]:
    """Train; return (key, step, caption, picture) of all that one logger of two got."""
    albums = [Album(), Album()]
    trainer = fulmen.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=albums,
        **{"max_epochs": 2, **options},
    )
    trainer.fit(module or TinyClassifier(), *loaders)
    trainer._run.close()  # type: ignore[union-attr]  # all that was logged is delivered then
    assert [entry[:3] for entry in albums[0].pictures] == [entry[:3] for entry in albums[1].pictures]
    return albums[0].pictures


class Knowing(TinyClassifier):
    """Finds the bright row, and so the right label; except where it says 0 to everything."""

    def __init__(self, knows: bool = True) -> None:
        super().__init__()
        self.knows = knows

    def forward(self, images: Tensor) -> Tensor:
        super().forward(images)
        if self.is_in_step:
            return super().forward(images)
        rows = images[:, 0].mean(dim=2)[:, [0, 2, 4]]
        return rows if self.knows else torch.tensor([[1.0, 0.0, 0.0]]).expand(len(images), 3)


def of_color(picture: PILImage.Image, color: tuple[int, int, int]) -> int:
    pixels = np.asarray(picture.convert("RGB"))
    return int((pixels == np.array(color, np.uint8)).all(axis=2).sum())


# -------------------------------------------------------------------------------------- what is logged


def test_one_picture_for_each_validation_in_every_logger(tmp_path: Path) -> None:
    pictures = train(ImagePredictionLogger(num_samples=8), tmp_path, max_epochs=3)
    assert [key for key, _, _, _ in pictures] == ["predictions"] * 3
    assert [caption[:8] for _, _, caption, _ in pictures if caption] == ["epoch 0:", "epoch 1:", "epoch 2:"]
    assert all(caption and caption.endswith(" of 8 right") for _, _, caption, _ in pictures)


def test_every_n_epochs_and_key(tmp_path: Path) -> None:
    callback = ImagePredictionLogger(num_samples=4, every_n_epochs=2, key="samples")
    pictures = train(callback, tmp_path, max_epochs=5)
    assert [(key, caption[:7]) for key, _, caption, _ in pictures if caption] == [
        ("samples", "epoch 1"),
        ("samples", "epoch 3"),
    ]


@pytest.mark.parametrize(("knows", "right"), [(True, 12), (False, 4)])
def test_right_and_wrong_are_told_apart(tmp_path: Path, knows: bool, right: int) -> None:
    picture = train(ImagePredictionLogger(), tmp_path, Knowing(knows), max_epochs=1)[0]
    assert picture[2] == f"epoch 0: {right} of 12 right"
    assert of_color(picture[3], GREEN) > 0
    assert (of_color(picture[3], RED) > 0) == (right < 12)


@pytest.mark.filterwarnings("ignore:FUL003")
def test_samples_are_the_first_of_validation_and_stay_the_same(tmp_path: Path) -> None:
    asked: list[Tensor] = []

    def remember(module: Any, images: Tensor) -> Tensor:
        asked.append(images)
        return torch.zeros(len(images), dtype=torch.long)

    module = TinyClassifier()
    shuffled = DataLoader(module.val_dataloader().dataset, batch_size=4, shuffle=True)
    train(ImagePredictionLogger(num_samples=6, predict=remember), tmp_path, module, None, shuffled, max_epochs=3)
    assert len(asked) == 3
    assert asked[0].shape == (6, 1, 8, 8)
    assert all(torch.equal(images, asked[0]) for images in asked)


IMAGES, LABELS = torch.rand(20, 1, 8, 8), torch.arange(20) % 3


@pytest.mark.parametrize(
    "samples",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        (IMAGES.numpy(), LABELS.numpy()),
        TensorDataset(IMAGES, LABELS),
        [(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)],
        DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3),
        iter([(image, label) for image, label in zip(IMAGES, LABELS, strict=True)]),
    ],
    ids=["tuple", "list", "arrays", "dataset", "list of pairs", "loader", "iterator"],
)
def test_samples_of_all_kinds(tmp_path: Path, samples: Any) -> None:
    callback = ImagePredictionLogger(samples, 7)
    train(callback, tmp_path, max_epochs=1)
    assert torch.equal(torch.stack(callback._images), IMAGES[:7])
    assert callback._labels == LABELS[:7].tolist()


def test_a_seed_chooses_the_same_samples_anew(tmp_path: Path) -> None:
    chosen = []
    for seed in (3, 3, 4):
        callback = ImagePredictionLogger(TensorDataset(IMAGES, LABELS), 5, seed=seed)
        train(callback, tmp_path, max_epochs=1)
        chosen.append(torch.stack(callback._images))
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])
    assert not torch.equal(chosen[0], IMAGES[:5])


def test_a_model_of_another_precision(tmp_path: Path) -> None:
    train(ImagePredictionLogger(num_samples=4), tmp_path, precision="64-true", max_epochs=1)


# -------------------------------------------------------------------------------------------- mistakes


class WithBatches(TinyClassifier):
    """Validates on batches of any kind, without looking at them."""

    def __init__(self, batch: Any) -> None:
        super().__init__()
        self.batch = batch

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def val_dataloader(self) -> Any:
        return [self.batch]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(4, 1, 8, 8), "needs pairs (images, labels), but a validation batch is a Tensor"),
        ([torch.zeros(4, 1, 8, 8)], "but a validation batch is a list of 1"),
        ({"x": torch.zeros(4)}, "but a validation batch is a dict"),
        (
            (torch.zeros(4, 64), torch.zeros(4).long()),
            "with 1, 3 or 4 channels, but got (4, 64)",
        ),
        ((torch.zeros(4, 2, 8, 8), torch.zeros(4).long()), "but got (4, 2, 8, 8)"),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(4)), "labels of shape (4,) and torch.float32"),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(3).long()), "each of 4 images"),
    ],
)
def test_batches_that_are_no_pictures_are_found_before_training(tmp_path: Path, batch: Any, message: str) -> None:
    module = WithBatches(batch)
    with pytest.raises(MisconfigurationException) as error:
        train(ImagePredictionLogger(), tmp_path, module)
    assert message in str(error.value)
    assert module.trainer.global_step == 0


def test_too_few_class_names(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="has 2 names, but there is a label 2; give a name"):
        train(ImagePredictionLogger(class_names=["one", "two"]), tmp_path)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (lambda images: images, r"a tensor of shape \(12, 1, 8, 8\)"),
        (lambda images: torch.zeros(12), r"a tensor of shape \(12,\)"),
        (lambda images: {"logits": images}, "a dict"),
    ],
)
def test_an_output_without_labels(tmp_path: Path, output: Any, shown: str) -> None:
    class Strange(TinyClassifier):
        def forward(self, images: Tensor) -> Any:
            return super().forward(images) if self.is_in_step else output(images)

    with pytest.raises(MisconfigurationException, match=f"what the model returned, {shown}: it needs"):
        train(ImagePredictionLogger(), tmp_path, Strange())


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (7, "is a int"),
        ([], "is empty; give it at least one sample"),
        ([PILImage.new("L", (8, 8))], "needs pairs"),
        ([(PILImage.new("L", (8, 8)), 3)], "has a Image; give the dataset a transform that makes tensors"),
        ((IMAGES, ["cat"] * 20), "needs whole numbers as labels"),
    ],
)
def test_samples_that_cannot_be_shown(tmp_path: Path, samples: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException) as error:
        train(ImagePredictionLogger(samples), tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["num_samples", "every_n_epochs", "ncols"])
def test_numbers_below_one(name: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"`{name}` must be >= 1, but is 0"):
        ImagePredictionLogger(**{name: 0})


# ----------------------------------------------------------------------------------------- the drawing


def test_small_pictures_are_enlarged_by_whole_pixels() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[2, 3] = (1, 2, 3)
    grid = np.asarray(draw_grid([Prediction(pixels, "a", "a")], "", 8))
    rows, columns = np.where((grid == (1, 2, 3)).all(axis=2))
    assert rows.max() - rows.min() + 1 == 12  # 8 x 12 = 96
    assert columns.max() - columns.min() + 1 == 12


@pytest.mark.parametrize(("size", "expected"), [(8, 96), (28, 112), (96, 96), (150, 150), (224, 192)])
def test_pictures_are_between_96_and_192_pixels(size: int, expected: int) -> None:
    gray = np.full((size, size, 3), 77, np.uint8)
    grid = np.asarray(draw_grid([Prediction(gray, "a", "a")], "", 1))
    assert int((grid == 77).all(axis=2).any(axis=1).sum()) == expected


def test_the_grid_has_as_many_columns_as_asked_for() -> None:
    cell = Prediction(np.full((96, 96, 3), 77, np.uint8), "a", "a")
    for columns, rows in ((4, 3), (8, 2), (20, 1)):
        grid = np.asarray(draw_grid([cell] * 10, "", columns))
        is_cell = (grid == 77).all(axis=2)
        assert int(is_cell.any(axis=1).sum()) == rows * 96
        assert int(is_cell.any(axis=0).sum()) == min(columns, 10) * 96


def test_frames_differ_without_colour() -> None:
    pixels = np.full((96, 96, 3), 77, np.uint8)
    thickness = {}
    for is_right, label in ((True, "a"), (False, "b")):
        grid = np.asarray(draw_grid([Prediction(pixels, "a", label)], "", 1))
        column = grid[:, int(np.where((grid == 77).all(axis=2))[1].mean())]
        top = int(np.where((column == 77).all(axis=1))[0].min())
        above = column[:top]
        thickness[is_right] = int((above != 255).any(axis=1).sum())
    assert thickness == {True: 2, False: 6}


def test_long_names_stay_in_their_cell() -> None:
    pixels = np.full((96, 96, 3), 77, np.uint8)
    short = draw_grid([Prediction(pixels, "a", "a")], "", 1)
    long = draw_grid([Prediction(pixels, "a very long name of a class " * 3, "another " * 20)], "", 1)
    assert long.size == short.size
    margin = np.asarray(long)[40:, -10:]
    assert (margin == 255).all()


def test_normalised_pictures_get_their_colours_back() -> None:
    original = torch.rand(2, 3, 4, 4)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.1, 0.3]
    normalised = (original - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    expected = (original.permute(0, 2, 3, 1).numpy() * 255 + 0.5).astype(np.uint8)
    assert np.abs(to_pixels(normalised, mean, std).astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("images", "lowest", "highest"),
    [
        (torch.tensor([[[[0, 255]]]], dtype=torch.uint8), 0, 255),
        (torch.tensor([[[[0.0, 16.0]]]]), 0, 255),  # of another range: stretched
        (torch.tensor([[[[-1.0, 1.0]]]]), 0, 255),
        (torch.tensor([[[[0.25, 0.75]]]]), 64, 191),  # in range: as it is
        (torch.tensor([[[[0.0, 1.0]]]], dtype=torch.bfloat16), 0, 255),
        (torch.tensor([[[[0, 1]]]]), 0, 255),
    ],
)
def test_ranges_of_values(images: Tensor, lowest: int, highest: int) -> None:
    pixels = to_pixels(images, None, None)
    assert pixels.shape == (1, 1, 2, 3)
    assert (int(pixels.min()), int(pixels.max())) == (lowest, highest)
