"""The seam: what ``trainer.py`` asks of this package, and nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fulmen.legacy.adapted import Adapted
from fulmen.legacy.alternating import Alternating
from fulmen.legacy.arguments import Carried, loaders_of, modern_arguments
from fulmen.legacy.command_line import add_argparse_args, default_attributes, from_argparse_args, parse_argparser
from fulmen.legacy.hooks import OldHooks, tell_of_init
from fulmen.legacy.module_names import adapt_bar, give_names
from fulmen.legacy.monitors import choose_monitors
from fulmen.legacy.returned import Returned
from fulmen.legacy.signatures import Signatures
from fulmen.legacy.steps import adapt_cluster_checkpoints, adapt_loaders, adapt_steps
from fulmen.legacy.trainer_names import trainer_attribute
from fulmen.legacy.truncated import Truncated

if TYPE_CHECKING:
    from fulmen.callback import Callback
    from fulmen.datamodule import LightningDataModule
    from fulmen.module import LightningModule

__all__ = [
    "Adapted",
    "Carried",
    "OldHooks",
    "adapt",
    "add_argparse_args",
    "default_attributes",
    "from_argparse_args",
    "loaders_of",
    "modern_arguments",
    "parse_argparser",
    "tell_of_init",
    "trainer_attribute",
]


def adapt(
    trainer: Any,
    carried: Carried,
    module: LightningModule,
    callbacks: Sequence[Callback],
    datamodule: LightningDataModule | None,
) -> tuple[Adapted, list[Callback]]:
    """Serve the old methods of a program's module and callbacks while an entry point runs.

    Returns:
        What stands in place of methods, to be undone at the end; and callbacks to be put before the others. Both are
        empty for a modern program.
    """
    adapted = Adapted()
    adapt_steps(module, adapted)
    returned = Returned(module, adapted)
    hooks = OldHooks(returned)
    steps = carried.truncated_bptt_steps or getattr(module, "truncated_bptt_steps", 0)
    if steps:
        Truncated(trainer, module, steps, adapted, hooks)
    alternating = Alternating(module, adapted)
    adapt_loaders(module, datamodule, adapted)
    adapt_cluster_checkpoints(trainer, module, adapted)
    give_names(module, returned.names)
    adapt_bar(trainer, module, adapted, hooks, callbacks)
    choose_monitors(callbacks, returned.literals)
    hooks.add(module, callbacks)
    signatures = Signatures(trainer, adapted, alternating, hooks)
    signatures.adapt_module(module)
    if datamodule is not None:
        signatures.adapt_datamodule(datamodule)
    for callback in callbacks:
        signatures.adapt_callback(callback)
    return adapted, [hooks] if hooks.is_needed else []
