"""Modules exported to other runtimes compute what they compute here, and are left as they were."""

from __future__ import annotations

import importlib.util
import io
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.errors import FulmenDeprecationWarning, MisconfigurationException, MissingPackageError

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxscript") is None,
    reason="needs onnx and onnxscript: pip install onnx onnxscript",
)
# torch's own code uses what it has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.[a-z_]+. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning"),
]


class Model(fulmen.LightningModule):
    """Draws in training, logs, and has a part in evaluation mode."""

    def __init__(self, example: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.BatchNorm1d(3))
        self.frozen = nn.Dropout().eval()
        self.example_input_array = example
        self.save_hyperparameters(ignore="example")

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.net(x))  # type: ignore[no-any-return]


class Two(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(2, 1), nn.Linear(3, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.a(a) + self.b(b)  # type: ignore[no-any-return]


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
A, B = X[:, :2], X[:, 1:]


def expected(model: fulmen.LightningModule, *args: Any) -> Tensor:
    modes = [part.training for part in model.modules()]
    with torch.no_grad():
        output: Tensor = model.eval()(*args)
    for part, mode in zip(model.modules(), modes, strict=True):
        part.training = mode
    return output


def run_onnx(model: bytes, *inputs: Tensor) -> Tensor:
    import onnx.reference

    session = onnx.reference.ReferenceEvaluator(onnx.load_from_string(model))
    feed = {name: value.numpy() for name, value in zip(session.input_names, inputs, strict=True)}
    return torch.from_numpy(session.run(None, feed)[0])


def test_the_module_is_left_as_it_was() -> None:
    model = Model(X)
    torch.manual_seed(7)
    drawn = torch.rand(())
    torch.manual_seed(7)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.to_exported_program()
    assert [part.training for part in model.modules()] == [True, True, True, True, True, False]
    assert torch.equal(torch.rand(()), drawn)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@needs_onnx
@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx_computes_the_same(tmp_path: Path, dynamo: bool) -> None:
    model = Model(X)
    path = tmp_path / "a.onnx"
    program = model.to_onnx(path, dynamo=dynamo)
    assert (program is not None) == dynamo
    assert torch.allclose(run_onnx(path.read_bytes(), X), expected(model, X), atol=1e-6)
    assert model.training
    assert not model.frozen.training


@needs_onnx
def test_onnx_of_an_input_that_is_passed_into_an_open_file() -> None:
    model, file = Two(), io.BytesIO()
    program = model.to_onnx(file, (A, B))
    assert torch.allclose(run_onnx(file.getvalue(), A, B), expected(model, A, B), atol=1e-6)
    assert program.model_proto.SerializeToString() == file.getvalue()


@needs_onnx
def test_onnx_of_arguments_by_name(tmp_path: Path) -> None:
    model = Two()
    model.to_onnx(str(tmp_path / "a.onnx"), {"b": B, "a": A}, input_names=["b", "a"])
    onnx = (tmp_path / "a.onnx").read_bytes()
    assert torch.allclose(run_onnx(onnx, B, A), expected(model, A, B), atol=1e-6)


def test_onnx_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="`Model.to_onnx` needs onnx and onnxscript: pip install onnx "):
        Model(X).to_onnx()
    with pytest.raises(MissingPackageError, match="`Model.to_onnx` needs onnx: pip install onnx$"):
        Model(X).to_onnx(dynamo=False)


@pytest.mark.parametrize("target", ["path", "url", "file"])
def test_an_exported_program_computes_the_same(tmp_path: Path, target: str) -> None:
    import fsspec

    model = Model(X)
    where: Any = {"path": tmp_path / "a.pt2", "url": "memory://a.pt2", "file": io.BytesIO()}[target]
    model.to_exported_program(where)
    with io.BytesIO(where.getvalue()) if target == "file" else fsspec.open(str(where), "rb") as file:
        program = torch.export.load(file)
    assert torch.allclose(program.module()(X), expected(model, X), atol=1e-6)


def test_an_exported_program_of_any_batch_size() -> None:
    model = Two()
    batch = torch.export.Dim("batch")
    program = model.to_exported_program(
        input_sample={"a": A, "b": B}, dynamic_shapes={"a": {0: batch}, "b": {0: batch}}
    )
    assert torch.allclose(program.module()(a=A[:2], b=B[:2]), expected(model, A[:2], B[:2]), atol=1e-6)


def test_what_forward_logs_is_no_part_of_it(tmp_path: Path) -> None:
    class Logging(Model):
        def forward(self, x: Tensor) -> Tensor:
            self.log("x", x.mean())
            return super().forward(x)

    assert Logging(X).to_exported_program().module()(X).shape == (5, 3)


@pytest.mark.parametrize("method", ["script", "trace"])
def test_torchscript_computes_the_same(tmp_path: Path, method: str) -> None:
    model = Model(X)
    with pytest.warns(FulmenDeprecationWarning, match="use `to_exported_program`") as seen:
        script = model.to_torchscript(tmp_path / "a.pt", method=method)
    assert [warning.filename for warning in seen if warning.category is FulmenDeprecationWarning] == [__file__]
    for other in (script, torch.jit.load(tmp_path / "a.pt")):
        assert torch.allclose(other(X), expected(model, X), atol=1e-6)
        assert not other.training
    assert [part.training for part in model.modules()] == [True, True, True, True, True, False]


@pytest.mark.filterwarnings("ignore::fulmen.errors.FulmenDeprecationWarning")
def test_torchscript_traced_with_arguments_by_name() -> None:
    model = Two()
    script = model.to_torchscript(method="trace", example_inputs={"a": A, "b": B})
    assert torch.allclose(script(a=A, b=B), expected(model, A, B))
    with pytest.raises(MisconfigurationException, match="`method` must be 'script' or 'trace', but is 'export'"):
        model.to_torchscript(method="export")
    with pytest.raises(MisconfigurationException, match="there is no input to call `Two` with; pass one, or set"):
        model.to_torchscript(method="trace")


@pytest.mark.parametrize("state", ["new", "fitted"])
def test_torchs_own_functions_take_a_module(tmp_path: Path, state: str) -> None:
    model = Fits()
    if state == "fitted":
        off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = fulmen.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, **off)
        trainer.fit(model, [X])
        assert model.trainer is trainer
    for script in (torch.jit.script(model.eval()), torch.jit.trace(model.eval(), X)):
        assert torch.allclose(script(X), expected(model, X))
    assert torch.equal(torch.export.export(model, (X,)).module()(X), expected(model, X))


class Fits(Model):
    def __init__(self) -> None:
        super().__init__()
        self.strict_loading = False  # an attribute of ours, set on the object

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", 1.0)
        return self(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    @property
    def twice(self) -> int:
        return 2


# ------------------------------------------------------------------------------------------------- TensorRT


class Rt(types.ModuleType):
    """What stands in for torch_tensorrt, which needs a GPU: it notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__("torch_tensorrt")
        self.asked: list[Any] = []

    def compile(self, module: nn.Module, **options: Any) -> str:
        self.asked.append((module.training, {name: options[name] for name in sorted(options)}))
        return "compiled"

    def save(self, compiled: Any, path: Any, **options: Any) -> None:
        self.asked.append((compiled, path, sorted(options)))


def test_tensorrt_gets_the_module_in_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    rt = Rt()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", rt)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(Model, "device", torch.device("cuda"))
    monkeypatch.setattr(Model, "to", lambda self, device: self)
    monkeypatch.setattr("fulmen.example_input.move_data_to_device", lambda batch, device: batch)
    model = Model(X)
    assert model.to_tensorrt(Path("a.ep"), enabled_precisions={torch.half}) == "compiled"
    (training, options), saved = rt.asked
    assert not training
    assert model.training
    assert options["ir"] == "default"
    assert torch.equal(options["inputs"][0], X)
    assert saved == ("compiled", "a.ep", ["inputs", "output_format", "retrace"])
    with pytest.raises(MisconfigurationException, match="`output_format` must be 'torchscript' for `ir='ts'`"):
        model.to_tensorrt("a.ts", ir="ts")


def test_tensorrt_without_a_gpu_or_itself_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="`Model.to_tensorrt` needs torch_tensorrt: pip install torch-tens"):
        Model(X).to_tensorrt()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", Rt())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MisconfigurationException, match="TensorRT runs on CUDA devices, but `Model` is on cpu.*none"):
        Model(X).to_tensorrt()
