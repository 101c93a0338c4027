"""An average of a module's weights, and putting it in the module's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

#: Changes averages (first) in place to take in the current values (second), where so many were averaged before.
Rule = Callable[[list[Tensor], list[Tensor], int], None]


def named_tensors(module: nn.Module, buffers: bool) -> dict[str, Tensor]:
    """Return parameters, and buffers if asked, under all of their names: a shared one has several."""
    found: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    if buffers:
        found.update(module.named_buffers(remove_duplicate=False))
    return found


class WeightAverage:
    """The average of a module's weights at several moments.

    Args:
        module: whose weights are the first to be averaged.
        device: where the average is kept; ``None`` for the module's.
        buffers: what becomes of buffers: they are ``"averaged"``, ``"copied"`` from the last moment, or ``"left"`` out.
            Those that are no floating-point numbers are copied at most.
    """

    def __init__(self, module: nn.Module, device: Any, buffers: Literal["averaged", "copied", "left"]) -> None:
        self._buffers = buffers
        self.count = 1
        copies: dict[int, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        for name, value in named_tensors(module, buffers != "left").items():
            if id(value) not in copies:
                copies[id(value)] = value.detach().to(device=value.device if device is None else device, copy=True)
            self.values[name] = copies[id(value)]

    def _pairs(self, module: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Return each average with the module's tensor, shared ones once."""
        current = named_tensors(module, self._buffers != "left")
        return list({id(value): (value, current[name].detach()) for name, value in self.values.items()}.values())

    @torch.no_grad()
    def update(self, module: nn.Module, rule: Rule) -> None:
        """Take in the module's weights as they are now."""
        copied = set()
        if self._buffers == "copied":
            copied = {id(self.values[name]) for name, _ in module.named_buffers()}
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for average, value in self._pairs(module):
            if (average.is_floating_point() or average.is_complex()) and id(average) not in copied:
                averages.append(average)
                values.append(value.to(average.device))
            else:
                average.copy_(value)
        rule(averages, values, self.count)
        self.count += 1

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Give the module the average, and keep its own weights here; once more to undo it."""
        for average, value in self._pairs(module):
            own = value.clone()
            value.copy_(average)
            average.copy_(own)

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor], count: int) -> None:
        """Take back what was kept in a checkpoint; values that it lacks stay as they are."""
        self.count = count
        for name, value in values.items():
            if name in self.values:
                self.values[name].copy_(value)


def equally(averages: list[Tensor], values: list[Tensor], count: int) -> None:
    """Average such that all moments weigh the same."""
    torch._foreach_lerp_(averages, values, 1 / (count + 1))


def one_by_one(function: Callable[[Tensor, Tensor, Any], Tensor]) -> Rule:
    """Return the rule that applies ``function(average, value, count)`` to each tensor."""

    def rule(averages: list[Tensor], values: list[Tensor], count: int) -> None:
        for average, value in zip(averages, values, strict=True):
            average.copy_(function(average, value, torch.tensor(count, device=average.device)))

    return rule
