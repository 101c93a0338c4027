"""Accelerators: which devices a run uses, on machines with and without accelerators."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fulmen.errors import MisconfigurationException
from fulmen.hardware import accelerators
from fulmen.hardware.accelerators import Accelerator


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that pretends that this machine has so many devices of each kind."""

    def pretend(cuda: int = 0, mps: int = 0) -> None:
        monkeypatch.setattr(accelerators, "available", lambda: {"cpu": 2, "cuda": cuda, "mps": mps})

    return pretend


@pytest.mark.parametrize(
    ("has", "asked", "kind"),
    [
        ({}, "auto", "cpu"),
        ({"mps": 1}, "auto", "mps"),
        ({"cuda": 4}, "auto", "cuda"),
        ({"cuda": 4, "mps": 1}, "auto", "cuda"),
        ({"cuda": 4}, "cpu", "cpu"),
        ({"cuda": 4}, "gpu", "cuda"),
        ({"mps": 1}, "gpu", "mps"),
        ({"cuda": 4}, "CUDA", "cuda"),
        ({"mps": 1}, "mps", "mps"),
    ],
)
def test_the_kind_of_device(machine: Any, has: dict[str, int], asked: str, kind: str) -> None:
    machine(**has)
    assert Accelerator(asked, "auto").kind == kind


@pytest.mark.parametrize(
    ("devices", "indices"),
    [
        (1, [0]),
        (2, [0, 1]),
        ("2", [0, 1]),
        ([1, 3], [1, 3]),
        ("1,3", [1, 3]),
        ("1,", [1]),
        (" 0, 2 ", [0, 2]),
        ("auto", [0, 1, 2, 3]),
        (-1, [0, 1, 2, 3]),
        ("-1", [0, 1, 2, 3]),
    ],
)
def test_the_devices_of_a_machine_with_four(machine: Any, devices: Any, indices: list[int]) -> None:
    machine(cuda=4)
    accelerator = Accelerator("cuda", devices)
    assert accelerator.indices == indices
    assert accelerator.root_device == torch.device("cuda", indices[0])


@pytest.mark.parametrize("devices", ["auto", -1, 1, "1", [0]])
def test_the_cpu_is_one_device(machine: Any, devices: Any) -> None:
    machine()
    accelerator = Accelerator("cpu", devices)
    assert accelerator.indices == [0]
    assert accelerator.root_device == torch.device("cpu")


@pytest.mark.parametrize("devices", [0, 5, -2, "x", "", [], [4], [-1], ["0"], True, 1.5, None, {}])
def test_devices_that_cannot_be_had_are_said(machine: Any, devices: Any) -> None:
    machine(cuda=4)
    with pytest.raises(MisconfigurationException, match="cannot be had: this machine has 4 cuda device.*use a count"):
        Accelerator("cuda", devices)


@pytest.mark.parametrize(("asked", "found"), [("cuda", "cpu"), ("gpu", "cpu"), ("mps", "cpu")])
def test_a_device_that_is_not_there_is_said(machine: Any, asked: str, found: str) -> None:
    machine()
    message = f"`accelerator='{asked}'` was asked for, but this machine has no such device; found: {found}.*='auto'"
    with pytest.raises(MisconfigurationException, match=message):
        Accelerator(asked, "auto")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("cudda", "no accelerator named 'cudda'; did you mean 'cuda'"),
        ("abacus", "no accelerator named 'abacus'; known are: gpu, auto, cpu, cuda, mps"),
        (None, "`accelerator` must be a name, one of .*, but is None"),
        (torch.device("cpu"), r"`accelerator` must be a name.*but is device\(type='cpu'\)"),
    ],
)
def test_an_unknown_accelerator_is_said(asked: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Accelerator(asked, "auto")


def test_this_machine_has_a_cpu() -> None:
    assert accelerators.available()["cpu"] >= 1
    assert Accelerator("cpu", 1).root_device == torch.device("cpu")
