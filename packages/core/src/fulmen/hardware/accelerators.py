"""Accelerators: which kinds of device this machine has, and which of them a run uses."""

from __future__ import annotations

import os
from typing import Any

import torch

from fulmen.errors import MisconfigurationException, nearest

_KINDS = ("cpu", "cuda", "mps")
_ALIASES = {"gpu": "cuda", "auto": "auto", "cpu": "cpu", "cuda": "cuda", "mps": "mps"}


class Accelerator:
    """The kind of device and the devices of that kind that a run uses.

    Args:
        accelerator: ``"auto"``, ``"cpu"``, ``"gpu"``, ``"cuda"`` or ``"mps"``.
        devices: a count, ``-1`` or ``"auto"`` for all, or a list of indices (also as ``"0,1"``).

    Raises:
        MisconfigurationException: there is no such device here; the message names what was found.
    """

    def __init__(self, accelerator: Any, devices: Any) -> None:
        if not isinstance(accelerator, str):
            raise MisconfigurationException(
                f"`accelerator` must be a name, one of {', '.join(_ALIASES)}, but is {accelerator!r}"
            )
        kind = _ALIASES.get(accelerator.lower())
        if kind is None:
            raise MisconfigurationException(
                f"there is no accelerator named {accelerator!r}{nearest(accelerator, _ALIASES)}; "
                f"known are: {', '.join(_ALIASES)}"
            )
        found = available()
        if kind == "auto":
            kind = next(name for name in ("cuda", "mps", "cpu") if found[name])
        elif accelerator.lower() == "gpu" and not found["cuda"] and found["mps"]:
            kind = "mps"
        if not found[kind]:
            raise MisconfigurationException(
                f"`accelerator={accelerator!r}` was asked for, but this machine has no such device; found: "
                f"{describe(found)}; use accelerator='auto' to take what is there"
            )
        self.kind = kind
        self.indices = _indices(kind, devices, found[kind])

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""
        if self.kind == "cuda":
            return torch.device("cuda", self.indices[0])
        return torch.device(self.kind)

    def set_up(self) -> None:
        """Make this process's device the current one."""
        if self.kind == "cuda":
            torch.cuda.set_device(self.root_device)


def available() -> dict[str, int]:
    """Return how many devices of each kind this machine has."""
    return {
        "cpu": os.cpu_count() or 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }


def describe(found: dict[str, int]) -> str:
    """Return what was found, in words."""
    words = ["cpu"]
    words += [f"{found[kind]} {kind} device(s)" for kind in ("cuda", "mps") if found[kind]]
    return ", ".join(words)


def _indices(kind: str, devices: Any, count: int) -> list[int]:
    """Return the indices of the devices that ``devices`` asks for."""
    if isinstance(devices, str):
        text = devices.strip()
        if text != "auto":
            try:
                devices = [int(part) for part in text.split(",") if part.strip()] if "," in text else int(text)
            except ValueError:
                raise _bad_devices(devices, kind, count) from None
        else:
            devices = "auto"
    if kind == "cpu":
        wanted = 1 if devices in ("auto", -1) else len(devices) if isinstance(devices, (list, tuple)) else devices
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
            raise _bad_devices(devices, kind, count)
        return list(range(wanted))
    if devices in ("auto", -1):
        indices = list(range(count))
    elif isinstance(devices, (list, tuple)):
        indices = list(devices)
    elif isinstance(devices, int) and not isinstance(devices, bool) and devices >= 1:
        indices = list(range(devices))
    else:
        raise _bad_devices(devices, kind, count)
    if not indices or any(not isinstance(index, int) or not 0 <= index < count for index in indices):
        raise _bad_devices(devices, kind, count)
    return indices


def _bad_devices(devices: Any, kind: str, count: int) -> MisconfigurationException:
    found = "any number of cpu processes" if kind == "cpu" else f"{count} {kind} device(s)"
    return MisconfigurationException(
        f"`devices={devices!r}` cannot be had: this machine has {found}; use a count, a list of indices below {count}, "
        "or 'auto'"
    )
