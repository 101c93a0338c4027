"""Modules for other runtimes: ONNX, ``torch.export``, TorchScript and TensorRT, each in evaluation mode.

Every function calls the module with its ``example_input_array`` unless it is given another input, and leaves the module
as it was: the modes of all its parts, its device and the random states.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import torch

from fulmen.checkpoint.format import is_url
from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.example_input import example_arguments, undisturbed
from fulmen.module import LightningModule

Target = str | os.PathLike[str] | IO[bytes] | None


def to_onnx(module: LightningModule, file_path: Target, input_sample: Any, **kwargs: Any) -> Any:
    """See :meth:`LightningModule.to_onnx`."""
    needed = ["onnx"] if kwargs.get("dynamo") is False else ["onnx", "onnxscript"]
    _require(f"{type(module).__name__}.to_onnx", needed)
    kwargs.setdefault("verbose", False)
    args, by_name = example_arguments(module, input_sample)
    with undisturbed(module):
        if not isinstance(file_path, (str, os.PathLike, type(None))) and kwargs.get("dynamo") is not False:
            program = torch.onnx.export(module, args, kwargs=by_name or None, **kwargs)
            assert program is not None
            file_path.write(program.model_proto.SerializeToString())  # `export` itself takes paths only
            return program
        return torch.onnx.export(module, args, _plain_path(file_path), kwargs=by_name or None, **kwargs)


def to_exported_program(module: LightningModule, file_path: Target, input_sample: Any, **kwargs: Any) -> Any:
    """See :meth:`LightningModule.to_exported_program`."""
    args, by_name = example_arguments(module, input_sample)
    with undisturbed(module):
        program = torch.export.export(module, args, by_name or None, **kwargs)
    if file_path is not None:
        with _opened(file_path) as file:
            torch.export.save(program, file)
    return program


def to_torchscript(
    module: LightningModule, file_path: Target, method: str | None, example_inputs: Any, **kwargs: Any
) -> Any:
    """See :meth:`LightningModule.to_torchscript`."""
    if method not in ("script", "trace"):
        raise MisconfigurationException(f"`method` must be 'script' or 'trace', but is {method!r}")
    with undisturbed(module), warnings.catch_warnings():
        # torch says again, by its own functions' names, what `LightningModule.to_torchscript` has said.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is deprecated", category=DeprecationWarning)
        if method == "script":
            script = torch.jit.script(module, **kwargs)
        else:
            args, by_name = example_arguments(module, example_inputs)
            if by_name:
                kwargs["example_kwarg_inputs"] = by_name
            else:
                kwargs["example_inputs"] = args
            script = torch.jit.trace(module, **kwargs)
        if file_path is not None:
            with _opened(file_path) as file:
                torch.jit.save(script, file)
    return script


def to_tensorrt(
    module: LightningModule,
    file_path: Target,
    input_sample: Any,
    ir: str,
    output_format: str,
    retrace: bool,
    default_device: str | torch.device,
    **compile_kwargs: Any,
) -> Any:
    """See :meth:`LightningModule.to_tensorrt`."""
    name = type(module).__name__
    _require(f"{name}.to_tensorrt", ["torch_tensorrt"], "torch-tensorrt")
    if ir == "ts" and file_path is not None and output_format != "torchscript":
        raise MisconfigurationException(
            f"`output_format` must be 'torchscript' for `ir='ts'`, but is {output_format!r}; pass that, or another `ir`"
        )
    import torch_tensorrt  # type: ignore[import-not-found]  # only where there is a GPU

    device = module.device
    if device.type != "cuda":
        target = torch.device(default_device)
        if target.type != "cuda" or not torch.cuda.is_available():
            raise MisconfigurationException(
                f"TensorRT runs on CUDA devices, but `{name}` is on {device} and `default_device` is {target}"
                f"{'' if torch.cuda.is_available() else ', and there is none here'}; use `default_device='cuda'`"
            )
        module.to(target)
    try:
        # A copy, for torch_tensorrt may move what it is given.
        args, by_name = example_arguments(module, copy.deepcopy(_or_example(module, input_sample)))
        inputs = [*args, *by_name.values()]
        with undisturbed(module):
            compiled = torch_tensorrt.compile(module, ir=ir, inputs=inputs, **compile_kwargs)
    finally:
        module.to(device)
    if file_path is not None:
        if ir == "ts":
            torch.jit.save(compiled, _plain_path(file_path))
        else:
            torch_tensorrt.save(
                compiled, _plain_path(file_path), inputs=inputs, output_format=output_format, retrace=retrace
            )
    return compiled


def _or_example(module: LightningModule, sample: Any) -> Any:
    return module.example_input_array if sample is None else sample


def _require(what: str, packages: list[str], distribution: str | None = None) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingPackageError(
            f"`{what}` needs {' and '.join(missing)}: pip install {distribution or ' '.join(missing)}"
        )


def _plain_path(target: Target) -> Any:
    return os.fspath(target) if isinstance(target, os.PathLike) else target


@contextmanager
def _opened(target: str | os.PathLike[str] | IO[bytes]) -> Iterator[IO[bytes]]:
    """Open a path or URL for writing; a file that is open already is left so."""
    if not isinstance(target, (str, os.PathLike)):
        yield target
    elif is_url(target):
        import fsspec

        with fsspec.open(os.fspath(target), "wb") as file:
            yield file
    else:
        with open(target, "wb") as file:
            yield file
