"""``Trainer(compile=...)``: the same training through torch.compile, with logging and checkpoints as they were."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.errors import MisconfigurationException

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}
BATCHES = [torch.randn(4, 3, generator=torch.Generator().manual_seed(number)) for number in range(5)]


# torch itself looks at the gradients of the tensors that compiled code is given.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")


class Graphs:
    """A backend of torch.compile that runs what it is given and counts the graphs."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.count += 1
        return graph.forward


class Model(fulmen.LightningModule):
    def __init__(self, calls_itself: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(3, 8), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(8, 1), nn.Linear(8, 1)])
        self.loss = nn.MSELoss()
        self.calls_itself = calls_itself

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.cat([head(x) for head in self.heads], 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.calls_itself:
            out = self(batch)
        else:
            features = self.first(batch)
            out = torch.cat([head(features) for head in self.heads], 1)
        loss: Tensor = self.loss(out, torch.ones_like(out))
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("number", batch_idx, on_epoch=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self(batch).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(model: Model, **options: Any) -> fulmen.Trainer:
    trainer = fulmen.Trainer(max_epochs=2, **QUIET, **options)
    trainer.fit(model, BATCHES, BATCHES[:2])
    return trainer


@pytest.fixture(autouse=True)
def _forget_compilations() -> Any:
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("calls_itself", [True, False])
def test_losses_logs_and_keys_are_the_same(calls_itself: bool, tmp_path: Path) -> None:
    plain, compiled = Model(calls_itself), Model(calls_itself)
    keys = list(plain.state_dict())
    graphs = Graphs()
    of_plain, of_compiled = fit(plain), fit(compiled, compile={"backend": graphs})
    assert graphs.count > 0
    assert list(compiled.state_dict()) == keys
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert torch.equal(a, b)
    assert of_plain.callback_metrics == of_compiled.callback_metrics
    assert of_compiled.callback_metrics["number_epoch"] == 2

    of_compiled.save_checkpoint(tmp_path / "compiled.ckpt")
    checkpoint = torch.load(tmp_path / "compiled.ckpt", weights_only=True)
    assert list(checkpoint["state_dict"]) == keys
    again = Model(calls_itself)
    fit(again, compile={"backend": graphs})
    copied = copy.deepcopy(compiled)
    assert torch.equal(copied(BATCHES[0]), compiled(BATCHES[0]))


def test_steps_cost_no_recompilation() -> None:
    graphs = Graphs()
    model = Model(calls_itself=True)
    counts: list[int] = []

    class Count(fulmen.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            counts.append(graphs.count)

    fit(model, compile={"backend": graphs, "dynamic": False}, callbacks=[Count()])
    assert counts[0] > 0
    assert len(set(counts)) == 1, counts


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of torch's own use of torch.jit
def test_torchs_default_compiler_trains() -> None:
    plain, compiled = Model(True), Model(True)
    fit(plain)
    fit(compiled, compile=True)
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_off_is_off() -> None:
    model = Model(True)
    fit(model, compile=False)
    assert all(part._compiled_call_impl is None for part in model.modules())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("inductor", "`compile` must be True, False or a dict .*but is 'inductor'"),
        ({"beckend": "eager"}, "has the argument 'beckend'; did you mean 'backend'"),
    ],
)
def test_bad_options_are_said_at_once(value: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        fulmen.Trainer(compile=value)


def test_an_unknown_backend_is_said_before_training() -> None:
    class Watched(Model):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            raise AssertionError("training has started")

    with pytest.raises(MisconfigurationException, match="'no-such-backend'.* does not work"):
        fit(Watched(True), compile={"backend": "no-such-backend"})


# -------------------------------------------------------------------------- what the program compiled itself


class Logs(Model):
    """Logs in ``forward``, which is compiled, and all kinds of values in its steps."""

    def __init__(self) -> None:
        super().__init__(calls_itself=True)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        self.log("in_forward", out.mean(), on_step=True, on_epoch=True)
        return out

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("constant", 2.0, on_epoch=True, batch_size=3)
        self.log_dict({"a": loss.detach() * 2, "b": float(batch_idx)}, on_epoch=True, reduce_fx="max")
        return loss


def _forward_in_place(model: Logs, backend: Any) -> Any:
    model.compile(backend=backend)
    return model


def _around(model: Logs, backend: Any) -> Any:
    return torch.compile(model, backend=backend)


def _steps(model: Logs, backend: Any) -> Any:
    model.training_step = torch.compile(model.training_step, backend=backend)  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("way", [_forward_in_place, _around, _steps])
def test_values_logged_in_compiled_code_are_right(way: Any, backend: str) -> None:
    plain = fit(Logs()).callback_metrics
    compiled = fit(way(Logs(), backend)).callback_metrics
    assert set(compiled) == set(plain)
    assert {"in_forward_epoch", "loss_epoch", "constant_epoch", "a_epoch", "b_epoch", "number"} <= set(plain)
    for name, value in plain.items():
        assert torch.allclose(compiled[name], value, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("way", [_forward_in_place, _around, _steps])
def test_logging_in_compiled_code_costs_no_recompilation_a_step(way: Any) -> None:
    graphs, counts = Graphs(), []

    class Count(fulmen.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            counts.append(graphs.count)

    fit(way(Logs(), graphs), callbacks=[Count()])
    assert counts[0] > 0
    assert counts[len(BATCHES)] == counts[-1], counts  # nothing new from the second epoch on


def test_a_module_that_torch_wraps_is_trained_and_saved_by_its_own_names(tmp_path: Path) -> None:
    model, graphs = Model(calls_itself=False), Graphs()
    trainer = fit(torch.compile(model, backend=graphs), limit_val_batches=0)  # type: ignore[arg-type]
    assert graphs.count > 0
    assert trainer.lightning_module is model
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    keys = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert list(keys) == list(model.state_dict())


def test_parts_that_are_torchs_own_layers_are_compiled() -> None:
    class Many(Model):
        def __init__(self) -> None:
            super().__init__(calls_itself=False)
            self.first = nn.ModuleList([nn.Linear(3 + width, 4 + width) for width in range(12)])  # type: ignore[assignment]

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            for layer in self.first:
                batch = layer(batch)
            return batch.mean()

    graphs = Graphs()
    fit(Many(), compile={"backend": graphs, "dynamic": False}, limit_val_batches=0)
    assert graphs.count == 12  # which only `training_step` calls, and more than torch keeps for one function
