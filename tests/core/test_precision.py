"""Precision: the formats of weights, inputs and computation, and the scaling of losses."""

from __future__ import annotations

import dataclasses
from collections import UserDict
from typing import Any

import pytest
import torch
from torch import nn

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.hardware.precision import Precision


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    y: torch.Tensor


class Watching(fulmen.LightningModule):
    """Notes the dtypes that it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.met: dict[str, torch.dtype] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        out = self.layer(batch["x"])
        self.met |= {
            "weight": self.layer.weight.dtype,
            "x": batch["x"].dtype,
            "y": batch["y"].dtype,
            "out": out.dtype,
            "new": torch.zeros(1).dtype,
        }
        self.log("loss", out.sum(), on_epoch=True)
        return out.float().sum()

    def on_after_backward(self) -> None:
        assert self.layer.weight.grad is not None
        self.met["grad"] = self.layer.weight.grad.dtype

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trained(precision: Any) -> tuple[Watching, fulmen.Trainer]:
    model = Watching()
    return model, fit_once(precision, model)


def fit_once(precision: Any, model: Watching) -> fulmen.Trainer:
    trainer = fulmen.Trainer(
        precision=precision,
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, [{"x": torch.ones(3, 2), "y": torch.ones(3, dtype=torch.long)}] * 2)
    return trainer


F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


@pytest.mark.filterwarnings("ignore:FUL031")
@pytest.mark.parametrize(
    ("precision", "weight", "x", "out", "new"),
    [
        (None, F32, F32, F32, F32),
        ("32-true", F32, F32, F32, F32),
        ("64-true", F64, F64, F64, F64),
        ("bf16-true", BF16, BF16, BF16, BF16),
        ("bf16-mixed", F32, F32, BF16, F32),
        ("16-mixed", F32, F32, F16, F32),
    ],
)
def test_each_precision_computes_in_its_formats(
    precision: Any, weight: torch.dtype, x: torch.dtype, out: torch.dtype, new: torch.dtype
) -> None:
    model, trainer = trained(precision)
    expected = {"weight": weight, "x": x, "y": torch.int64, "out": out, "new": new, "grad": weight}
    assert model.met == expected
    assert torch.zeros(1).dtype is F32  # the default of the process is back
    assert trainer.callback_metrics["loss"].dtype in (F32, F64)


class Evaluated(Watching):
    """Notes what the steps of evaluation compute in."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.met["validation"] = self.layer(batch["x"]).dtype

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.met["test"] = self.layer(batch["x"]).dtype

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.met["predict"] = self.layer(batch["x"]).dtype


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", F32), ("bf16-mixed", BF16), ("64-true", F64)])
def test_evaluation_computes_as_training_does(precision: Any, dtype: torch.dtype) -> None:
    trainer = fulmen.Trainer(precision=precision, accelerator="cpu", logger=False, enable_progress_bar=False)
    model = Evaluated()
    batches = [{"x": torch.ones(3, 2)}]
    trainer.validate(model, batches, verbose=False)
    trainer.test(model, batches, verbose=False)
    trainer.predict(model, batches)
    assert model.met == {"validation": dtype, "test": dtype, "predict": dtype}


def test_a_step_inside_mixed_precision_is_seen_by_the_next_forward() -> None:
    # torch's autocast keeps converted weights: after an optimizer step inside of it, those would be the old ones.
    class Steps(Watching):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            before = self.layer(batch["x"])
            self.manual_backward(before.sum())
            optimizer.step()
            self.after = (before - self.layer(batch["x"])).abs().sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1.0)

    model = Steps()
    fit_once("bf16-mixed", model)
    assert model.after > 1


def test_a_forward_without_gradients_takes_none_from_the_next() -> None:
    class Teacher(Watching):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with torch.no_grad():
                self.layer(batch["x"])
            return self.layer(batch["x"]).float().sum()

    model = Teacher()
    fit_once("bf16-mixed", model)
    assert model.met == {"grad": F32}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        (None, "32-true"),
        (32, "32-true"),
        ("32", "32-true"),
        (64, "64-true"),
        (16, "16-mixed"),
        ("16", "16-mixed"),
        ("bf16", "bf16-mixed"),
        ("BF16-Mixed", "bf16-mixed"),
        ("16-true", "16-true"),
    ],
)
def test_short_forms_stand_for_the_long_ones(spelling: Any, name: str) -> None:
    assert Precision(spelling, "cpu").name == name


@pytest.mark.parametrize("precision", ["half", 8, "32-mixed", True, 32.5])
def test_an_unknown_precision_is_said(precision: Any) -> None:
    with pytest.raises(MisconfigurationException, match=f"must be one of 32, .*bf16-true, but is {precision!r}"):
        Precision(precision, "cpu")


def test_only_float16_scales_its_losses() -> None:
    scaled = Precision("16-mixed", "cpu")
    assert scaled.scaler is not None
    assert scaled.scale(torch.tensor(1.0)) == scaled.scaler.get_scale()
    for name in ("32-true", "bf16-mixed", "16-true", "64-true"):
        other = Precision(name, "cpu")
        assert other.scaler is None
        assert other.scale(torch.tensor(3.0)) == 3.0


def test_gradients_that_overflow_skip_the_step_and_lower_the_scale() -> None:
    precision = Precision("16-mixed", "cpu")
    assert precision.scaler is not None
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    precision.scale(weight.sum() * float("inf")).backward()  # type: ignore[no-untyped-call]
    before = precision.scaler.get_scale()
    precision.unscale(optimizer)
    precision.step(optimizer)
    assert weight.item() == 1.0
    assert precision.scaler.get_scale() == before / 2


def test_the_scale_is_kept_by_a_checkpoint() -> None:
    first, second = Precision("16-mixed", "cpu"), Precision("16-mixed", "cpu")
    first.scale(torch.tensor(1.0))
    assert first.scaler is not None
    assert second.scaler is not None
    first.scaler.update(new_scale=7.0)
    second.load_state_dict(first.state_dict())
    assert second.scaler.get_scale() == 7.0
    plain = Precision("32-true", "cpu")
    assert plain.state_dict() == {}
    plain.load_state_dict(first.state_dict())  # of a run in another precision; not for this one


@pytest.mark.parametrize(
    ("batch", "find"),
    [
        ({"x": torch.ones(1)}, lambda b: b["x"]),
        (UserDict(x=torch.ones(1)), lambda b: b["x"]),
        ([torch.ones(1), "text"], lambda b: b[0]),
        (Batch(torch.ones(1), torch.ones(1, dtype=torch.int32)), lambda b: b.x),
        ({"a": [Batch(torch.ones(1), torch.ones(1))]}, lambda b: b["a"][0].y),
    ],
)
def test_floating_point_inputs_are_converted_wherever_they_are(batch: Any, find: Any) -> None:
    converted = Precision("64-true", "cpu").convert_input(batch)
    assert find(converted).dtype is F64
    assert find(batch).dtype is F32
    assert type(converted) is type(batch)


def test_inputs_that_are_no_floats_keep_their_format() -> None:
    converted = Precision("64-true", "cpu").convert_input(Batch(torch.ones(1), torch.ones(1, dtype=torch.bool)))
    assert converted.y.dtype is torch.bool
    batch = {"x": torch.ones(1)}
    assert Precision("bf16-mixed", "cpu").convert_input(batch) is batch


def test_an_error_inside_a_step_gives_the_default_format_back() -> None:
    precision = Precision("64-true", "cpu")
    with pytest.raises(RuntimeError, match="mine"), precision.context():
        raise RuntimeError("mine")
    assert torch.get_default_dtype() is F32
