"""A module's ``example_input_array``, and a call of the module that disturbs nothing: for summaries and exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from fulmen.data.preparation import preparation
from fulmen.data.transfer import move_data_to_device
from fulmen.errors import MisconfigurationException
from fulmen.module import LightningModule
from fulmen.results import NoResults
from fulmen.seed import isolate_rng


def example_arguments(module: nn.Module, sample: Any = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments for ``module``, on its device and in its trainer's precision.

    They go through the transfer hooks of module and data module, as a batch does.

    Args:
        module: what is to be called with them.
        sample: one argument; or a tuple or list of them; or a dict of keyword arguments. By default the module's
            ``example_input_array``.

    Raises:
        MisconfigurationException: there is neither.
    """
    sample = getattr(module, "example_input_array", None) if sample is None else sample
    if sample is None:
        raise MisconfigurationException(
            f"there is no input to call `{type(module).__name__}` with; pass one, or set "
            "`self.example_input_array = torch.zeros(...)` in its `__init__`"
        )
    if isinstance(module, LightningModule):
        trainer = module._trainer
        precision = trainer.precision_plugin if trainer is not None else None
        device = module.device
        prepare = preparation(
            module,
            trainer.datamodule if trainer is not None else None,
            precision.convert_input if precision is not None and precision.changes_inputs else None,
            lambda batch: move_data_to_device(batch, device),
            device,
        )
        sample = sample if prepare is None else prepare(sample, 0)
    if isinstance(sample, Mapping):
        return (), dict(sample)
    return (tuple(sample), {}) if isinstance(sample, (tuple, list)) else ((sample,), {})


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Let a module be called in the block as in evaluation, and be afterwards as it was before.

    Modes of all submodules and random states come back; there are no gradients; what ``forward`` logs is dropped; what
    is compiled runs as it was written.
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        with ExitStack() as stack:
            if any(part._compiled_call_impl is not None for part in module.modules()):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(isolate_rng())
            stack.enter_context(torch.no_grad())
            if isinstance(module, LightningModule):
                stack.enter_context(_dropping_logs(module))
                if module._trainer is not None:
                    stack.enter_context(module._trainer.precision_plugin.context())
            module.eval()
            yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def _dropping_logs(module: LightningModule) -> Iterator[None]:
    before = module.__dict__.get("_results")
    module.__dict__["_results"] = NoResults(training=True, advises=False)
    try:
        yield
    finally:
        module.__dict__["_results"] = before
