"""Precision: in which number formats a model computes and keeps its weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.data.transfer import rebuilt
from fulmen.errors import MisconfigurationException

_SPELLINGS = {
    "32": "32-true",
    "32-true": "32-true",
    "64": "64-true",
    "64-true": "64-true",
    "16": "16-mixed",
    "16-mixed": "16-mixed",
    "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
    "16-true": "16-true",
    "bf16-true": "bf16-true",
}
_WEIGHTS = {"64-true": torch.float64, "16-true": torch.float16, "bf16-true": torch.bfloat16}
_COMPUTES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Precision:
    """How one run computes: the contexts to enter, the format of weights and inputs, and loss scaling.

    Args:
        precision: ``"32-true"``, ``"64-true"``, ``"16-mixed"``, ``"bf16-mixed"``, ``"16-true"``, ``"bf16-true"``, or
            one of the short forms 16, 32, 64, ``"bf16"``.
        device_type: ``cpu``, ``cuda`` or ``mps``.
        scaler: what scales the loss in ``"16-mixed"``, in place of a ``GradScaler`` with its defaults.

    Raises:
        MisconfigurationException: the precision is not known, or scales nothing.
    """

    def __init__(self, precision: Any, device_type: str = "cpu", scaler: torch.amp.GradScaler | None = None) -> None:
        name = _SPELLINGS.get(str(precision).lower()) if precision is not None else "32-true"
        if name is None:
            raise MisconfigurationException(f"`precision` must be one of {', '.join(_SPELLINGS)}, but is {precision!r}")
        self.name = name
        self.device_type = device_type
        self.weights_dtype: torch.dtype | None = _WEIGHTS.get(name)
        self._computes: torch.dtype | None = _COMPUTES.get(name)
        #: scales the loss in float16, whose gradients would underflow; ``None`` in every other precision
        self.scaler = scaler
        if name == "16-mixed" and scaler is None:
            self.scaler = torch.amp.GradScaler(device_type)
        elif name != "16-mixed" and scaler is not None:
            raise MisconfigurationException(
                f"`scaler` belongs to precision '16-mixed', but the precision is {name!r}; leave it out"
            )

    @property
    def changes_inputs(self) -> bool:
        """Whether batches are converted on their way to the model."""
        return self.weights_dtype is not None

    def convert_module(self, module: nn.Module) -> None:
        """Give the weights the format of this precision."""
        if self.weights_dtype is not None:
            module.to(dtype=self.weights_dtype)

    def convert_input(self, batch: Any) -> Any:
        """Return a batch whose floating-point tensors have the format of the weights."""
        if self.weights_dtype is None:
            return batch
        return _convert_floats(batch, self.weights_dtype)

    @property
    def needs_context(self) -> bool:
        """Whether steps run inside a context at all."""
        return self._computes is not None or self.weights_dtype is not None

    def context(self) -> AbstractContextManager[Any]:
        """Return the context in which a step runs."""
        if self._computes is not None:
            # Without its cache of converted weights: that of a step inside the context, or of a forward without
            # gradients, would be used on, with old weights or without a graph.
            return torch.autocast(self.device_type, dtype=self._computes, cache_enabled=False)
        if self.weights_dtype is not None:
            return _DefaultDtype(self.weights_dtype)
        return nullcontext()

    def init_context(self) -> AbstractContextManager[Any]:
        """Return the context in which weights are made in this precision's format."""
        return nullcontext() if self.weights_dtype is None else _DefaultDtype(self.weights_dtype)

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``step`` such that it runs inside the context; the very same where there is none."""
        if not self.needs_context:
            return step

        def step_in_context(*arguments: Any) -> Any:
            with self.context():
                return step(*arguments)

        return step_in_context

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss to run backward on, scaled where gradients would underflow otherwise."""
        return self.scaler.scale(loss) if self.scaler is not None else loss

    def unscale(self, optimizer: Optimizer) -> None:
        """Give the gradients their true size, before hooks look at them and clipping."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer, update_scale: bool = True) -> None:
        """Step the optimizer; skipped by the scaler where gradients overflowed.

        Args:
            optimizer: what steps.
            update_scale: let the scale adapt now; with several optimizers that happens once, after the last.
        """
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            if update_scale:
                self.scaler.update()

    def update_scale(self) -> None:
        """Let the loss scale adapt, after all optimizers have stepped."""
        if self.scaler is not None:
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the scaler's state."""
        return self.scaler.state_dict() if self.scaler is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the scaler's state back."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)


class _DefaultDtype:
    """Tensors made without a dtype get the one of the weights while this is entered."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._before = torch.get_default_dtype()

    def __enter__(self) -> None:
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)

    def __exit__(self, *exception: object) -> None:
        torch.set_default_dtype(self._before)


def _convert_floats(batch: Any, dtype: torch.dtype) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(dtype) if batch.is_floating_point() else batch
    return rebuilt(batch, lambda item: _convert_floats(item, dtype))
