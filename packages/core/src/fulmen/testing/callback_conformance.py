"""CallbackConformance: what every callback has to do, as tests that its author runs.

::

    class TestConfusionLogger(CallbackConformance):
        def make(self):
            return ConfusionLogger(num_classes=3)

The trainings are tiny: :class:`TinyClassifier` learns three classes of pictures ``(N, 1, 8, 8)`` and logs
``train_loss``, ``val_loss``, ``val_acc`` and ``test_loss``.
"""

# ruff: noqa: D102 - the names of the tests say what they check

from __future__ import annotations

import copy
import inspect
import io
import logging
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fulmen.callback import CALLBACK_HOOKS, Callback, Checkpoint, ProgressBar
from fulmen.errors import nearest
from fulmen.logger import Logger
from fulmen.module import LightningModule
from fulmen.registry import CALLBACKS, check_interface
from fulmen.seed import seed_everything
from fulmen.testing.conformance import Conformance
from fulmen.trainer import Trainer


class TinyClassifier(LightningModule):
    """A model that trains in milliseconds, with dropout, so that it shows who draws random numbers."""

    def __init__(self, interrupt_at: str | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
        )
        self.interrupt_at = interrupt_at
        self.is_in_step = False
        self.was_called_outside = False

    def forward(self, images: Tensor) -> Tensor:
        """Return scores ``(N, 3)`` for images ``(N, 1, 8, 8)``."""
        if not self.is_in_step:
            self.was_called_outside = True
            if self.interrupt_at == "forward":
                raise KeyboardInterrupt
        scores: Tensor = self.net(images)
        return scores

    @contextmanager
    def _step(self) -> Iterator[None]:
        self.is_in_step = True
        yield
        self.is_in_step = False

    def _loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        with self._step():
            scores = self(batch[0])
        return nn.functional.cross_entropy(scores, batch[1]), (scores.argmax(1) == batch[1]).float().mean()

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Return the loss."""
        if self.interrupt_at == "training_step" and batch_idx == 1:
            raise KeyboardInterrupt
        loss, _ = self._loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Log the loss and the accuracy."""
        loss, accuracy = self._loss(batch)
        self.log_dict({"val_loss": loss, "val_acc": accuracy}, prog_bar=True)

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Log the loss."""
        self.log("test_loss", self._loss(batch)[0])

    def predict_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Return the scores."""
        with self._step():
            scores: Tensor = self(batch[0])
        return scores

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.01)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return 6 shuffled batches of 4."""
        return _loader(24, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return 3 batches of 4."""
        return _loader(12)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return 2 batches of 4."""
        return _loader(8)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return 2 batches of 4."""
        return _loader(8)


class RecordingLogger(Logger):
    """A logger that remembers what it is given."""

    interface = (1, 0)

    def __init__(self) -> None:
        self.metrics: list[tuple[dict[str, float], int | None]] = []
        self.images: list[tuple[str, int | None]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Remember numbers."""
        self.metrics.append((dict(metrics), step))

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Remember nothing."""

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        """Remember that there was a picture."""
        self.images.append((key, step))


class _Saving(Checkpoint):
    """Saves once, inside the second epoch or at its end, after all other callbacks."""

    def __init__(self, where: str, path: Path) -> None:
        self.where = where
        self.path = path

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.where == "on_train_batch_end" and (trainer.current_epoch, batch_idx) == (1, 3):
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self.where == "on_train_epoch_end" and trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)


class CallbackConformance(Conformance):
    """The standard tests of a callback; subclass it, supply ``make(self)``, and run pytest."""

    #: Whether the callback only looks on. ``False`` for one that is meant to change training (to stop it, to
    #: change weights or rates): it need not leave weights and random numbers as they would be without it.
    observes: ClassVar[bool] = True

    # -------------------------------------------------------------------------- what a subclass may supply

    def make_another(self) -> Callback | None:
        """Return a callback with other arguments, where it takes any; their states must not mix."""
        return None

    # --------------------------------------------------------------------------------------------- the door

    def test_declares_the_interface_it_was_written_for(self) -> None:
        check_interface(CALLBACKS, type(self._make()), "this package")

    def test_every_hook_has_the_name_of_one(self) -> None:
        for name in _own_methods(type(self._make())):
            if name.startswith("on_"):
                assert name in CALLBACK_HOOKS, f"{name} is not a hook, so it never runs{nearest(name, CALLBACK_HOOKS)}"

    def test_hooks_ask_for_no_more_than_they_get(self) -> None:
        callback = self._make()
        for name in _own_methods(type(callback)):
            if name in CALLBACK_HOOKS:
                given = len(inspect.signature(getattr(Callback, name)).parameters) - 1
                parameters = inspect.signature(getattr(callback, name)).parameters.values()
                needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
                needed = [p for p in needed if p.kind is not p.VAR_KEYWORD]
                assert len(needed) <= given, f"{name} needs {len(needed)} arguments, but gets {given}"

    # ------------------------------------------------------------------------------------------ being kept

    def test_pickles_and_copies_before_and_after_a_run(self, tmp_path: Path) -> None:
        callback = self._make()
        for _ in ("before", "after"):
            for twin in (pickle.loads(pickle.dumps(callback)), copy.deepcopy(callback)):
                assert type(twin) is type(callback)
                assert_equal(twin.state_dict(), callback.state_dict())
            self._trainer(tmp_path, callback).fit(TinyClassifier())

    def test_state_survives_a_checkpoint_that_runs_no_code(self, tmp_path: Path) -> None:
        callback = self._make()
        self._trainer(tmp_path, callback).fit(TinyClassifier())
        state = callback.state_dict()
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=True)
        assert_equal(loaded, state)
        self._make().load_state_dict(loaded)

    def test_training_resumes_with_its_state(self, tmp_path: Path) -> None:
        callback = self._make()
        trainer = self._trainer(tmp_path / "first", callback, max_epochs=1)
        trainer.fit(TinyClassifier())
        state = copy.deepcopy(callback.state_dict())
        trainer.save_checkpoint(tmp_path / "resume.ckpt")
        assert_equal(callback.state_dict(), state)
        self._trainer(tmp_path / "second", self._make(), max_epochs=2).fit(
            TinyClassifier(), ckpt_path=tmp_path / "resume.ckpt"
        )

    @pytest.mark.parametrize("where", ["on_train_batch_end", "on_train_epoch_end"])
    def test_a_resumed_training_ends_like_one_without_a_break(self, tmp_path: Path, where: str) -> None:
        path = tmp_path / "resume.ckpt"
        seed_everything(7)
        module, resumed = TinyClassifier(), TinyClassifier()
        self._trainer(tmp_path / "whole", self._make(), _Saving(where, path), max_epochs=3).fit(module)
        if not path.exists():
            pytest.skip("it stops training before there is anything to resume")
        self._trainer(tmp_path / "resumed", self._make(), max_epochs=3).fit(resumed, ckpt_path=path)
        assert_equal(dict(resumed.state_dict()), dict(module.state_dict()))

    def test_callbacks_with_other_arguments_keep_their_own_state(self, tmp_path: Path) -> None:
        callback, another = self._make(), self.make_another()
        if another is None:
            pytest.skip("`make_another` is not supplied: it returns a callback with other arguments")
        if callback.state_dict() or another.state_dict():
            assert callback.state_key != another.state_key, "give `state_key` the arguments that tell them apart"
        self._trainer(tmp_path, callback, another).fit(TinyClassifier())

    # -------------------------------------------------------------------------------------- not being felt

    def test_leaves_weights_and_random_numbers_as_they_are(self, tmp_path: Path) -> None:
        if not self.observes:
            pytest.skip("`observes = False`: this callback is meant to change training")
        without = self._outcome(tmp_path / "without")
        assert_equal(self._outcome(tmp_path / "again"), without)  # else the comparison would say nothing
        assert_equal(self._outcome(tmp_path / "with", self._make()), without)

    def test_leaves_modes_and_gradients_as_they_are(self, tmp_path: Path) -> None:
        class Witness(TinyClassifier):
            def __init__(self) -> None:
                super().__init__()
                self.net[2].eval()  # a frozen layer
                self.seen: list[tuple[list[bool], bool]] = []

            def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                self.seen.append(([module.training for module in self.modules()], torch.is_grad_enabled()))

        without, with_it = Witness(), Witness()
        self._trainer(tmp_path / "without").fit(without)
        self._trainer(tmp_path / "with", self._make(), max_epochs=2).fit(with_it)
        count = len(with_it.seen)  # fewer where it stops training
        assert count
        assert with_it.seen == without.seen[:count]

    # -------------------------------------------------------------------------------------- being anywhere

    def test_works_without_a_logger(self, tmp_path: Path) -> None:
        self._trainer(tmp_path, self._make(), logger=False).fit(TinyClassifier())

    def test_works_with_a_logger(self, tmp_path: Path) -> None:
        logger = RecordingLogger()
        self._trainer(tmp_path, self._make(), logger=logger, log_every_n_steps=1).fit(TinyClassifier())
        assert any("train_loss" in metrics for metrics, _ in logger.metrics)

    def test_works_without_validation(self, tmp_path: Path) -> None:
        callback = self._make()
        if getattr(callback, "monitor", None) is not None:
            pytest.skip("it monitors a metric, which may come from validation")
        self._trainer(tmp_path, callback, limit_val_batches=0).fit(TinyClassifier())

    def test_works_through_every_entry_point_again_and_again(self, tmp_path: Path) -> None:
        callback, module = self._make(), TinyClassifier()
        for turn in range(2):
            trainer = self._trainer(tmp_path / str(turn), callback)
            trainer.fit(module)
            trainer.validate(module, verbose=False)
            trainer.test(module, verbose=False)
            trainer.predict(module)
        self._trainer(tmp_path / "trial", callback, fast_dev_run=True).fit(module)

    # ------------------------------------------------------------------------------------------ giving way

    @pytest.mark.parametrize("where", ["training_step", "forward"])
    def test_does_not_swallow_an_interrupt(self, tmp_path: Path, where: str) -> None:
        module = TinyClassifier(interrupt_at=where)
        trainer = self._trainer(tmp_path, self._make())
        if where == "training_step":
            with _no_errors_logged(), pytest.raises(KeyboardInterrupt):
                trainer.fit(module)
            return
        try:
            trainer.fit(module)
        except KeyboardInterrupt:
            assert module.was_called_outside
        else:
            assert not module.was_called_outside, "it called the module and swallowed its KeyboardInterrupt"

    # ------------------------------------------------------------------------------------------------ parts

    def _make(self) -> Callback:
        callback: Callback = self.make()  # type: ignore[attr-defined]  # what a subclass must supply
        assert isinstance(callback, Callback)
        return callback

    def _trainer(self, folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
        """Return a trainer that has these callbacks and no others."""
        options = {"max_epochs": 2, "logger": False, **options}
        for switch, kind in (("enable_checkpointing", Checkpoint), ("enable_progress_bar", ProgressBar)):
            if not any(isinstance(callback, kind) for callback in callbacks):
                options.setdefault(switch, False)
        return Trainer(
            accelerator="cpu",
            default_root_dir=folder,
            callbacks=list(callbacks),
            enable_model_summary=False,
            **options,
        )

    def _outcome(self, folder: Path, *callbacks: Callback) -> dict[str, Any]:
        """Train from a fixed seed; return the weights and all random states afterwards."""
        seed_everything(7)
        module = TinyClassifier()
        self._trainer(folder, *callbacks, logger=RecordingLogger()).fit(module)
        return {
            "weights": module.state_dict(),
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state(legacy=False)["state"],
            "python": random.getstate(),
        }


def assert_equal(one: Any, other: Any) -> None:
    """Assert that two states are alike to the bit: mappings and sequences of tensors and plain values."""
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other)
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for item, counterpart in zip(one, other, strict=True):
            assert_equal(item, counterpart)
    else:
        assert one == other


def _own_methods(cls: type) -> list[str]:
    """Return the public names that the class and its bases define, up to Fulmen's own."""
    names: list[str] = []
    for base in cls.__mro__:
        if base in Callback.__mro__ or base in (Checkpoint, ProgressBar):
            break
        names += [name for name, value in vars(base).items() if not name.startswith("_") and callable(value)]
    return names


@contextmanager
def _no_errors_logged() -> Iterator[None]:
    """Fail where a hook raises on the way out, which the trainer says and survives."""
    said: list[logging.LogRecord] = []
    listener = logging.Handler(logging.ERROR)
    listener.emit = said.append  # type: ignore[method-assign,assignment]
    log = logging.getLogger("fulmen")
    log.addHandler(listener)
    try:
        yield
    finally:
        log.removeHandler(listener)
    assert not said, f"a hook failed while the run ended: {said[0].getMessage()}"


def _loader(count: int, shuffle: bool = False) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 1, 8, 8, generator=generator) * 0.5
    images[torch.arange(count), 0, labels * 2] += 0.5  # a bright row for each class
    return DataLoader(TensorDataset(images, labels), batch_size=4, shuffle=shuffle)
