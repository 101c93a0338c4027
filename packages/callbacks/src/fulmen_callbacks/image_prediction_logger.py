"""ImagePredictionLogger: pictures of what the model predicts, in every tracker that can show pictures."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen_callbacks._prediction_grid import Prediction, draw_grid, to_pixels

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.preflight import Plan
    from fulmen.trainer import Trainer

_CHUNK = 32  #: pictures that go through the model at once


class ImagePredictionLogger(Callback):
    """After each validation, log one picture: a grid of samples with the label that the model gives to each.

    The samples are the same every time, so that one sees the model learn. A right prediction has a thin green
    frame and a tick; a wrong one a thick red frame and a cross; the true label is below. It looks without
    touching: random numbers, modes and gradients are afterwards what they were before.

    Args:
        samples: what to show: ``(images, labels)`` with shapes ``(N, C, H, W)`` and ``(N,)``; or a dataset or
            data loader of such pairs. ``None`` takes the first batches that are validated.
        num_samples: how many pictures to show at most.
        class_names: a name for each label; the numbers themselves by default.
        every_n_epochs: show them in every so many epochs.
        mean: what was subtracted from each channel when the data were normalised, to show the colours as they
            were.
        std: what each channel was then divided by.
        key: the name under which the picture is logged.
        ncols: pictures in a row.
        seed: choose the samples from ``samples`` at random, the same for the same seed; ``None`` takes the
            first.
        predict: called with the module and images ``(N, C, H, W)``, returns labels ``(N,)``. By default the
            module is called, and the label is where its output ``(N, classes)`` is largest.

    Raises:
        MisconfigurationException: the samples or the model's output do not have these shapes, or there are
            fewer ``class_names`` than labels.
    """

    interface = (1, 0)

    def __init__(
        self,
        samples: Any = None,
        num_samples: int = 32,
        *,
        class_names: Sequence[str] | None = None,
        every_n_epochs: int = 1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        key: str = "predictions",
        ncols: int = 8,
        seed: int | None = None,
        predict: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> None:
        for name, value in (
            ("num_samples", num_samples),
            ("every_n_epochs", every_n_epochs),
            ("ncols", ncols),
        ):
            if value < 1:
                raise MisconfigurationException(f"`{name}` must be >= 1, but is {value}")
        self.samples = samples
        self.num_samples = num_samples
        self.class_names = list(class_names) if class_names is not None else None
        self.every_n_epochs = every_n_epochs
        self.mean = mean
        self.std = std
        self.key = key
        self.ncols = ncols
        self.seed = seed
        self.predict = predict
        self._images: list[Tensor] = []  # on the host; each (C, H, W)
        self._labels: list[int] = []
        self._is_collecting = samples is None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Here rather than after the first epoch, so that a mistake in the samples costs no training.
        if self.samples is not None and not self._images and stage in ("fit", "validate"):
            with _unchanged(pl_module):
                self._take_given()

    def on_preflight(self, trainer: Trainer, pl_module: LightningModule, plan: Plan) -> None:
        plan.logs(self)  # no numbers, whatever `predict` does with the module

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self._is_collecting or len(self._images) >= self.num_samples or dataloader_idx != 0:
            return
        images, labels = _pair(batch, "a validation batch")
        self._check(images, labels)
        if not trainer.sanity_checking:  # its batches come again
            self._add(images, labels)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._is_collecting = False
        is_due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not is_due or not trainer.is_global_zero or not self._images:
            return
        images = torch.stack(self._images)
        with _unchanged(pl_module), torch.no_grad():
            predicted = torch.cat([self._predict(pl_module, chunk) for chunk in images.split(_CHUNK)]).tolist()
        right = sum(one == other for one, other in zip(predicted, self._labels, strict=True))
        title = f"epoch {trainer.current_epoch}: {right} of {len(predicted)} right"
        pixels = to_pixels(images, self.mean, self.std)
        grid = draw_grid(
            [
                Prediction(pixels[i], self._name(predicted[i]), self._name(self._labels[i]))
                for i in range(len(predicted))
            ],
            title,
            self.ncols,
        )
        pl_module.log_image(self.key, [grid], captions=[title])

    # -------------------------------------------------------------------------------------- the samples

    def _take_given(self) -> None:
        for images, labels in _chosen(self.samples, self.num_samples, self.seed):
            self._check(images, labels)
            self._add(images, labels)
            if len(self._images) >= self.num_samples:
                break
        if not self._images:
            raise MisconfigurationException("`ImagePredictionLogger(samples)` is empty; give it at least one sample")

    def _add(self, images: Tensor, labels: Tensor) -> None:
        room = self.num_samples - len(self._images)
        self._images += list(images[:room].detach().to("cpu", copy=True))
        self._labels += labels[:room].tolist()

    def _check(self, images: Tensor, labels: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] not in (1, 3, 4):
            raise MisconfigurationException(
                f"ImagePredictionLogger needs images of shape (N, C, H, W) with 1, 3 or 4 channels, but got "
                f"{tuple(images.shape)}; give it `samples=(images, labels)` of such images"
            )
        if labels.ndim != 1 or len(labels) != len(images) or labels.dtype.is_floating_point:
            raise MisconfigurationException(
                f"ImagePredictionLogger needs one whole number as label for each of {len(images)} images, "
                f"but got labels of shape {tuple(labels.shape)} and {labels.dtype}"
            )
        if self.class_names is not None and len(labels):
            largest = int(labels.max())
            if largest >= len(self.class_names):
                raise MisconfigurationException(
                    f"`class_names` has {len(self.class_names)} names, but there is a label {largest}; "
                    f"give a name for each label from 0 to {largest}"
                )

    def _name(self, label: int) -> str:
        if self.class_names is None:
            return str(label)
        return self.class_names[label] if 0 <= label < len(self.class_names) else f"({label})"

    # ---------------------------------------------------------------------------------- the predictions

    def _predict(self, module: LightningModule, images: Tensor) -> Tensor:
        """Return the labels ``(N,)`` that the module gives to images ``(N, C, H, W)``."""
        parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
        if parameter is not None and images.is_floating_point():
            images = images.to(parameter.dtype)
        images = images.to(module.device)
        output = self.predict(module, images) if self.predict is not None else module(images)
        is_tensor = isinstance(output, Tensor)
        if is_tensor and output.ndim == 2 and output.shape[1] > 1:
            return output.argmax(dim=1)
        if is_tensor and output.shape == (len(images),) and not output.dtype.is_floating_point:
            return output
        shown = f"a tensor of shape {tuple(output.shape)}" if is_tensor else f"a {type(output).__name__}"
        raise MisconfigurationException(
            f"ImagePredictionLogger cannot tell labels from what the model returned, {shown}: it needs "
            f"scores of shape ({len(images)}, classes) or whole numbers of shape ({len(images)},); pass "
            f"`predict=lambda module, images: ...` that returns these"
        )


def _pair(item: Any, what: str) -> tuple[Tensor, Tensor]:
    """Return an item's images and labels as tensors."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        length = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
        raise MisconfigurationException(
            f"ImagePredictionLogger needs pairs (images, labels), but {what} is a "
            f"{type(item).__name__}{length}; give it `samples=(images, labels)`"
        )
    images, labels = item[0], item[1]
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    if not isinstance(images, Tensor):
        raise MisconfigurationException(
            f"ImagePredictionLogger needs images as tensors, but {what} has a {type(images).__name__}; give "
            f"the dataset a transform that makes tensors"
        )
    try:
        return images, torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MisconfigurationException(
            f"ImagePredictionLogger needs whole numbers as labels, but {what} has {labels!r:.80}"
        ) from error


def _chosen(samples: Any, count: int, seed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of what ``samples`` holds: two tensors, a dataset, or a loader."""
    if isinstance(samples, (tuple, list)) and len(samples) == 2 and isinstance(samples[0], (Tensor, np.ndarray)):
        images, labels = _pair(samples, "`samples`")
        index = torch.tensor(_indices(len(images), count, seed), dtype=torch.long)
        yield images[index], labels[index] if labels.ndim else labels
    elif hasattr(samples, "__getitem__") and hasattr(samples, "__len__"):
        for position in _indices(len(samples), count, seed):
            image, label = _pair(samples[position], "a sample")
            yield image[None], label.reshape(1)
    elif hasattr(samples, "__iter__"):
        for batch in samples:
            images, labels = _pair(batch, "a batch of `samples`")
            yield (images, labels) if images.ndim != 3 else (images[None], labels.reshape(1))
    else:
        raise MisconfigurationException(
            f"`samples` must be (images, labels), a dataset or a data loader, but is a {type(samples).__name__}"
        )


def _indices(length: int, count: int, seed: int | None) -> list[int]:
    if seed is None:
        return list(range(min(length, count)))
    order: list[int] = torch.randperm(length, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[:count]


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Evaluate inside; afterwards all random states and each submodule's mode are what they were."""
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    of_python, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    of_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    module.eval()
    try:
        yield
    finally:
        for submodule, training in modes:
            submodule.training = training
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)
        if of_cuda:
            torch.cuda.set_rng_state_all(of_cuda)
