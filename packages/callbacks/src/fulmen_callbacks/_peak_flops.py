"""What a device can do at most: floating-point operations a second of dense matrix products, from its data sheet."""

from __future__ import annotations

import torch

#: A part of the device's name -> kind of number -> 10^12 operations a second, without sparsity. The first that fits.
_TERAFLOPS: tuple[tuple[str, dict[str, float]], ...] = (
    ("b200", {"fp64": 40, "fp32": 80, "tf32": 1125, "half": 2250}),
    ("h200", {"fp64": 33.5, "fp32": 66.9, "tf32": 494.7, "half": 989.4}),
    ("gh200", {"fp64": 33.5, "fp32": 66.9, "tf32": 494.7, "half": 989.4}),
    ("h100 nvl", {"fp64": 30, "fp32": 60, "tf32": 417.5, "half": 835.5}),
    ("h100 pcie", {"fp64": 25.6, "fp32": 51.2, "tf32": 378, "half": 756}),
    ("h100", {"fp64": 33.5, "fp32": 66.9, "tf32": 494.7, "half": 989.4}),
    ("a100", {"fp64": 9.7, "fp32": 19.5, "tf32": 156, "half": 312}),
    ("a10g", {"fp32": 31.2, "tf32": 35, "half": 70}),
    ("a10", {"fp32": 31.2, "tf32": 62.5, "half": 125}),
    ("a40", {"fp32": 37.4, "tf32": 74.8, "half": 149.7}),
    ("a6000", {"fp32": 38.7, "tf32": 77.4, "half": 154.8}),
    ("l40s", {"fp32": 91.6, "tf32": 183, "half": 362}),
    ("l40", {"fp32": 90.5, "tf32": 90.5, "half": 181}),
    ("l4", {"fp32": 30.3, "tf32": 60, "half": 121}),
    ("rtx 4090", {"fp32": 82.6, "tf32": 82.6, "half": 165.2}),
    ("rtx 3090", {"fp32": 35.6, "tf32": 35.6, "half": 71}),
    ("v100-pcie", {"fp64": 7, "fp32": 14, "half": 112}),
    ("v100", {"fp64": 7.8, "fp32": 15.7, "half": 125}),
    ("t4", {"fp32": 8.1, "half": 65}),
)


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the operations a second that ``device`` can do; ``None`` where that is not known.

    Args:
        device: of the model.
        precision: the trainer's, such as ``bf16-mixed``.
    """
    if device.type != "cuda":
        return None
    return peak_of_chip(torch.cuda.get_device_name(device), _kind(precision))


def peak_of_chip(name: str, kind: str) -> float | None:
    """Return the operations a second of a chip for ``fp64``, ``fp32``, ``tf32`` or ``half``, by its name."""
    for part, teraflops in _TERAFLOPS:
        if part in name.lower():
            return teraflops[kind] * 1e12 if kind in teraflops else None
    return None


def _kind(precision: str) -> str:
    if precision.startswith(("16", "bf16", "transformer-engine")):
        return "half"
    if precision.startswith("64"):
        return "fp64"
    return "fp32" if torch.get_float32_matmul_precision() == "highest" else "tf32"
