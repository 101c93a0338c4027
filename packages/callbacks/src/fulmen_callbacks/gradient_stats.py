"""GradientStats: how large the gradients are, of the model and of each of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen_callbacks._schedule import log_is_due

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class GradientStats(Callback):
    """Log the norms of the gradients before each optimizer step at a log boundary, before they are clipped.

    ``grad_norm/total`` is that of all gradients together; ``grad_norm/NAME`` that of the parameters grouped under a
    name. The norms stay on the device, and nothing waits for it.

    Args:
        norm_type: which norm: 2.0, or another number > 0, ``inf`` for the largest value.
        depth: group parameters by the first so many parts of their names: 1 for the model's own layers, 0 for the total
            only, -1 for each parameter by itself.
        filter: name of a parameter -> whether it counts; all by default.

    Raises:
        MisconfigurationException: ``norm_type`` or ``depth`` is out of range.
    """

    interface = (1, 0)

    def __init__(self, norm_type: float = 2.0, depth: int = 1, filter: Callable[[str], bool] | None = None) -> None:
        if not norm_type > 0:
            raise MisconfigurationException(f"`norm_type` must be > 0, but is {norm_type}; 2.0 is usual")
        if depth < -1:
            raise MisconfigurationException(
                f"`depth` must be >= -1, but is {depth}; -1 is for each parameter by itself"
            )
        self.norm_type = float(norm_type)
        self.depth = depth
        self.filter = filter

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not log_is_due(trainer):
            return
        gradients: dict[str, Tensor] = {}
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None and (self.filter is None or self.filter(name)):
                gradients[name] = parameter.grad
        if not gradients:
            return
        norms = dict(zip(gradients, torch._foreach_norm(list(gradients.values()), self.norm_type), strict=True))
        groups: dict[str, list[Tensor]] = {}
        for name, norm in norms.items():
            groups.setdefault(self._group(name), []).append(norm)
        values: dict[str, Any] = {"grad_norm/total": self._together(list(norms.values()))}
        if self.depth != 0:
            values.update({f"grad_norm/{name}": self._together(members) for name, members in groups.items()})
        trainer.log_metrics(values)

    def _group(self, name: str) -> str:
        return name if self.depth == -1 else ".".join(name.split(".")[: self.depth])

    def _together(self, norms: list[Tensor]) -> Tensor:
        together: Tensor = torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms]), self.norm_type)
        return together
