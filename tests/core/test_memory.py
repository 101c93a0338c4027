"""Errors that say that memory is out, and tensors cut off from their graphs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fulmen import memory
from fulmen.memory import garbage_collection_cuda, is_oom_error, recursive_detach


@pytest.mark.parametrize(
    ("error", "is_oom"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("CUDA out of memory"), False),
        (RuntimeError(), False),
    ],
)
def test_errors_without_memory_are_told_apart(error: BaseException, is_oom: bool) -> None:
    assert is_oom_error(error) == is_oom


def test_the_cpus_own_message_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**61, dtype=torch.int8)
    assert is_oom_error(caught.value)


def test_cuda_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def empty_cache() -> None:
        calls.append("empty")
        raise RuntimeError(calls[0])

    monkeypatch.setattr(memory.torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(memory.torch.cuda, "empty_cache", empty_cache)
    calls[:] = ["CUDA error: out of memory"]
    garbage_collection_cuda()  # it has no memory for this either, which is no error of its own
    calls[:] = ["CUDA error: device-side assert triggered"]
    with pytest.raises(RuntimeError, match="device-side assert"):
        garbage_collection_cuda()
    monkeypatch.setattr(memory.torch.cuda, "is_initialized", lambda: False)
    calls[:] = []
    garbage_collection_cuda()
    assert calls == []  # a device that nobody uses is not woken


@dataclass
class Output:
    loss: Tensor
    name: str


def test_nested_tensors_are_detached() -> None:
    weight = torch.ones(2, requires_grad=True)
    nested = {"loss": weight.sum(), "all": [Output(weight * 2, "x"), (weight, 3)]}
    detached = recursive_detach(nested, to_cpu=True)
    assert not detached["loss"].requires_grad
    assert (detached["all"][0].name, detached["all"][1][1]) == ("x", 3)
    assert not detached["all"][0].loss.requires_grad
    assert not detached["all"][1][0].requires_grad
    assert torch.equal(detached["all"][0].loss, torch.tensor([2.0, 2.0]))
    assert nested["loss"].requires_grad  # type: ignore[attr-defined]  # the original stays
