"""Mistakes of users: each is one clear message with the value and the fix, and what was recorded before is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fulmen
from fulmen.errors import CheckpointError, FulmenError, MisconfigurationException
from fulmen.logger import Logger, RunInfo

ROWS = torch.ones(6, 1)


class Line(fulmen.LightningModule):
    def __init__(self, inputs: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Validating(Line):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", 1.0)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", 1.0)


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


def rows(**options: Any) -> Any:
    return DataLoader(ROWS, batch_size=2, **options)  # type: ignore[arg-type]


def said(error: type[BaseException], act: Callable[[], Any]) -> str:
    """The one line that an action raises."""
    with pytest.raises(error) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    return text


# -------------------------------------------------------------------------------------------- the module


@pytest.mark.parametrize(
    ("missing", "signature"), [("training_step", "(self, batch, batch_idx)"), ("configure_optimizers", "(self)")]
)
def test_a_module_without_what_fit_needs(missing: str, signature: str) -> None:
    methods = {name: vars(Line)[name] for name in ("training_step", "configure_optimizers") if name != missing}
    model = type("Half", (fulmen.LightningModule,), methods)()
    text = said(MisconfigurationException, lambda: trainer().fit(model, rows()))
    assert text == f"`Half` defines no `{missing}`, which fit needs; define `{missing}{signature}`"


@pytest.mark.parametrize("entry", ["validate", "test"])
def test_a_module_without_an_evaluation_step(entry: str) -> None:
    step = {"validate": "validation_step", "test": "test_step"}[entry]
    text = said(MisconfigurationException, lambda: getattr(trainer(), entry)(Line(), rows()))
    assert (
        text == f"`Line` defines no `{step}`, so there is nothing to {entry}; define `{step}(self, batch, batch_idx)`"
    )


@pytest.mark.parametrize(
    ("given", "described"),
    [(nn.Linear(1, 1), "a Linear"), (Line, "a type"), (None, "without a model"), (3, "a int: 3")],
)
def test_what_is_no_module(given: Any, described: str) -> None:
    assert described in said(MisconfigurationException, lambda: trainer().fit(given, rows()))


def test_several_loaders_need_a_step_that_tells_them_apart() -> None:
    text = said(MisconfigurationException, lambda: trainer().validate(Validating(), [rows(), rows()]))
    assert "define `validation_step(self, batch, batch_idx, dataloader_idx=0)`" in text


# ---------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda self, batch: self.layer(batch), r"a loss of shape \(2, 1\), but a loss is one number.*`loss.mean\(\)`"),
        (lambda self, batch: self.layer(batch).sum().detach(), r"needs no gradient \(value .*check for `.detach\(\)`"),
        (lambda self, batch: torch.tensor(7.0), r"needs no gradient \(value 7\)"),
        (lambda self, batch: 7.0, "must return a loss tensor, .* but returned a float: 7.0"),
        (lambda self, batch: "low", "but returned a str: 'low'"),
        (lambda self, batch: (self.layer(batch).sum(), 1), "but returned a tuple"),
        (lambda self, batch: {"los": 1, "n": 2}, r"a dict without 'loss' \(its keys: los, n\); add the loss"),
        (lambda self, batch: {"loss": 7.0}, "but returned a float: 7.0"),
        (lambda self, batch: {"loss": self.layer(batch)}, r"a loss of shape \(2, 1\)"),
    ],
)
def test_a_loss_that_cannot_train(loss: Any, message: str) -> None:
    model = type("Model", (Line,), {"training_step": lambda self, batch, batch_idx: loss(self, batch)})()
    text = said(MisconfigurationException, lambda: trainer().fit(model, rows()))
    assert text.startswith("`training_step` ")
    assert re.search(message, text), text


def test_a_frozen_module_cannot_train() -> None:
    text = said(MisconfigurationException, lambda: trainer().fit(Line().freeze(), rows()))
    assert "frozen parameters" in text


@pytest.mark.parametrize("skip", [None, {"loss": None}])
def test_a_skipped_batch_is_said_once(skip: Any) -> None:
    model = type("Model", (Line,), {"training_step": lambda self, batch, batch_idx: skip})()
    with pytest.warns(UserWarning, match="`training_step` returned None") as caught:
        trainer().fit(model, rows())
    assert len(caught) == 1


# ----------------------------------------------------------------------------------------------- the data


def test_no_data_at_all() -> None:
    text = said(MisconfigurationException, lambda: trainer().fit(Line()))
    assert text == "`Trainer.fit` has no data: pass dataloaders or a datamodule, or define `train_dataloader`"


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (lambda empty: trainer().fit(Line(), empty), "train_dataloader"),
        (lambda empty: trainer().fit(Validating(), rows(), empty), "val_dataloader"),
        (lambda empty: trainer().validate(Validating(), empty), "val_dataloader"),
        (lambda empty: trainer().test(Validating(), [rows(), empty]), "test_dataloader"),
        (lambda empty: trainer().predict(Line(), empty), "predict_dataloader"),
    ],
)
def test_an_empty_loader(run: Any, name: str) -> None:
    empty: Any = DataLoader(ROWS[:3], batch_size=4, drop_last=True)  # type: ignore[arg-type]
    text = said(MisconfigurationException, lambda: run(empty))
    assert f"`{name}` has no batches (its dataset has 3 samples, batch_size=4, drop_last=True); give it data" in text


class Picture:
    """Stands in for a PIL image: torch's collation knows no such type."""


@pytest.mark.parametrize(("entry", "workers"), [("fit", 0), ("fit", 1), ("validate", 0), ("test", 0)])
def test_pictures_without_a_transform(entry: str, workers: int) -> None:
    loader: Any = DataLoader([(Picture(), 1)] * 4, batch_size=2, num_workers=workers)  # type: ignore[arg-type]
    model = Line() if entry == "fit" else Validating()
    text = said(MisconfigurationException, lambda: getattr(trainer(), entry)(model, loader))
    name = {"fit": "train", "validate": "val", "test": "test"}[entry]
    assert text.startswith(f"`{name}_dataloader` cannot make a batch of its samples: ")
    assert "found <class" in text
    assert "Picture" in text
    assert "ToTensor()" in text
    assert "collate_fn" in text


def test_an_error_of_the_users_dataset_is_not_dressed_up() -> None:
    class Broken:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            raise TypeError("mine")

    with pytest.raises(TypeError, match="^mine$"):
        trainer().fit(Line(), DataLoader(Broken()))  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    run, path = trainer(), tmp_path / "good.ckpt"
    run.fit(Line(), rows())
    run.save_checkpoint(path)
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", r"\(0 bytes\) is not a whole checkpoint"),
        (lambda data: b"hello", r"\(5 bytes\) is not a whole checkpoint"),
        (lambda data: data[: len(data) // 2], "it was cut off or is another kind of file; use another checkpoint"),
        (lambda data: data[:-1], "is not a whole checkpoint"),
    ],
)
def test_a_broken_checkpoint_file(saved: Path, damage: Any, message: str) -> None:
    saved.write_bytes(damage(saved.read_bytes()))
    acts: list[Callable[[], Any]] = [
        lambda: trainer().fit(Line(), rows(), ckpt_path=saved),
        lambda: trainer().validate(Validating(), rows(), ckpt_path=str(saved)),
        lambda: Line.load_from_checkpoint(saved),
    ]
    for act in acts:
        text = said(CheckpointError, act)
        assert str(saved) in text
        assert re.search(message, text), text


def test_a_flipped_bit_of_the_weights_is_found(saved: Path) -> None:
    weight = torch.load(saved, weights_only=True)["state_dict"]["layer.weight"]
    data = bytearray(saved.read_bytes())
    data[data.index(weight.numpy().tobytes())] ^= 1
    saved.write_bytes(data)
    text = said(CheckpointError, lambda: trainer().fit(Line(), rows(), ckpt_path=saved))
    assert "is damaged" in text
    assert str(saved) in text


def test_a_checkpoint_of_another_model(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="good.ckpt are not those of `Line`.*") as caught:
        trainer().fit(Line(inputs=2), torch.ones(2, 2, 2), ckpt_path=saved)
    assert "layer.weight" in str(caught.value)


@pytest.mark.parametrize(("path", "error"), [("nowhere.ckpt", CheckpointError), ("best", MisconfigurationException)])
def test_a_checkpoint_that_is_not_there(path: str, error: type[FulmenError], tmp_path: Path) -> None:
    given = path if path == "best" else str(tmp_path / path)
    text = said(error, lambda: trainer().fit(Line(), rows(), ckpt_path=given))
    assert given in text


# ---------------------------------------------------------------------------- nothing recorded is lost


class Memory(Logger):
    """A tracker that keeps its points."""

    interface = (1, 0)

    def __init__(self) -> None:
        self.points: list[tuple[int | None, dict[str, float]]] = []
        self.closed: list[str] = []

    def open(self, run: RunInfo) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.points.append((step, dict(metrics)))

    def log_hyperparams(self, params: Mapping[str, Any]) -> None: ...

    def close(self, status: str) -> None:
        self.closed.append(status)


def _vector(self: Any, batch: Any) -> Any:
    return self.layer(batch)


def _not_a_number(self: Any, batch: Any) -> Any:
    self.log("x", "high")


def _dictionary(self: Any, batch: Any) -> Any:
    self.log("x", {"a": 1.0})


def _other_arguments(self: Any, batch: Any) -> Any:
    self.log("number", 1.0, on_epoch=True)


def _bug(self: Any, batch: Any) -> Any:
    raise KeyError("mine")


def _stop(self: Any, batch: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (_vector, MisconfigurationException),
        (_not_a_number, MisconfigurationException),
        (_dictionary, MisconfigurationException),
        (_other_arguments, MisconfigurationException),
        (_bug, KeyError),
        (_stop, KeyboardInterrupt),
    ],
)
def test_what_was_logged_before_a_mistake_is_in_the_journal_and_at_the_tracker(
    mistake: Any, error: type[BaseException], tmp_path: Path
) -> None:
    class Model(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("number", float(batch_idx * 10))
            if batch_idx == 2:
                return mistake(self, batch)
            return super().training_step(batch, batch_idx)

    memory = Memory()
    run = trainer(logger=memory, log_every_n_steps=1, default_root_dir=tmp_path)
    with pytest.raises(error):
        run.fit(Model(), rows())
    expected = [(0, {"number": 0.0, "epoch": 0}), (1, {"number": 10.0, "epoch": 0})]
    assert memory.points == expected
    (journal,) = tmp_path.rglob("journal.jsonl")
    records = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert [(record["step"], record["data"]) for record in records if record["kind"] == "metrics"] == expected
    assert [record["n"] for record in records] == list(range(len(records)))


def test_after_a_mistake_the_same_trainer_can_train(tmp_path: Path) -> None:
    class Sometimes(Line):
        fails = True

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            if self.fails:
                raise RuntimeError("mine")
            return super().training_step(batch, batch_idx)

    model, run = Sometimes(), trainer(default_root_dir=tmp_path)
    with pytest.raises(RuntimeError, match="mine"):
        run.fit(model, rows())
    assert run.interrupted
    model.fails = False
    run.fit(model, rows())
    assert run.global_step == 3
    assert not run.interrupted


def test_a_mistake_in_evaluation_leaves_gradients_on() -> None:
    class Failing(Validating):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        trainer().validate(Failing(), rows())
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_callback_that_fails_is_the_users_error() -> None:
    class Failing(fulmen.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer(callbacks=Failing()).fit(Line(), rows())


def test_a_loader_that_fails_midway_is_the_users_error() -> None:
    def failing() -> Iterator[Tensor]:
        yield ROWS[:2]
        raise OSError("the disk is gone")

    run = trainer()
    with pytest.raises(OSError, match="the disk is gone"):
        run.fit(Line(), failing())
    # A loader without a length is read one batch ahead, so the first batch may not have been trained on.
    assert run.global_step <= 1
