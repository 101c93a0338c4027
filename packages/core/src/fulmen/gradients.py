"""Gradients, looked at: their norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fulmen.errors import MisconfigurationException


def grad_norm(module: nn.Module, norm_type: float | int | str, group_separator: str = "/") -> dict[str, Tensor]:
    """Return the p-norm of each parameter's gradient and of all together, to be logged with ``self.log_dict``.

    Args:
        module: its parameters that have a gradient are looked at.
        norm_type: p: a positive number, or ``"inf"`` for the largest absolute value.
        group_separator: what stands between ``grad_2.0_norm`` and a parameter's name; trackers group keys by ``/``.

    Returns:
        ``grad_{p}_norm{separator}{name}`` for each parameter and ``grad_{p}_norm_total``, 0-d tensors on the
        gradients' device: nothing waits for it. Empty where there is no gradient.

    Raises:
        MisconfigurationException: ``norm_type`` is no positive number.
    """
    try:
        order = float(norm_type)
    except (TypeError, ValueError):
        order = float("nan")
    if not order > 0:
        raise MisconfigurationException(
            f"`norm_type` must be a positive number or 'inf', but is {norm_type!r}; use 2 for the usual norm"
        )
    norms = {name: _norm(p.grad.detach(), order) for name, p in module.named_parameters() if p.grad is not None}
    found = {f"grad_{order}_norm{group_separator}{name}": norm for name, norm in norms.items()}
    if norms:
        device = next(iter(norms.values())).device
        total = torch.stack([norm.to(device, non_blocking=True) for norm in norms.values()])
        found[f"grad_{order}_norm_total"] = torch.linalg.vector_norm(total, order)
    return found


def _norm(gradient: Tensor, order: float) -> Tensor:
    if gradient.is_sparse:  # of an `nn.Embedding(sparse=True)`
        gradient = gradient.coalesce().values()
    # Half precision ends at 65504, which a norm soon exceeds.
    dtype = torch.float32 if gradient.dtype in (torch.float16, torch.bfloat16) else None
    norm: Tensor = torch.linalg.vector_norm(gradient, order, dtype=dtype)
    return norm
