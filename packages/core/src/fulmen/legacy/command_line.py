"""``Trainer.add_argparse_args`` and its likes of Lightning 0.8 to 1.9: the Trainer's arguments on a command line."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, Namespace
from typing import Any

from fulmen.legacy.arguments import OLD_ARGUMENTS
from fulmen.legacy.spelling import say_old
from fulmen.options import parsed

#: old arguments that programs look for among the parsed ones, with the value that meant "not given"
_OLD_DEFAULTS: dict[str, Any] = {
    "gpus": None,
    "auto_lr_find": False,
    "auto_scale_batch_size": False,
    "checkpoint_callback": None,
    "distributed_backend": None,
    "num_processes": None,
    "progress_bar_refresh_rate": None,
    "resume_from_checkpoint": None,
    "stochastic_weight_avg": False,
    "terminate_on_nan": None,
    "tpu_cores": None,
    "track_grad_norm": -1,
    "weights_save_path": None,
    "weights_summary": "top",
}


def default_attributes(trainer_class: type) -> dict[str, Any]:
    """Return the Trainer's arguments with their defaults."""
    parameters = inspect.signature(trainer_class.__init__).parameters.values()  # type: ignore[misc]
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def add_argparse_args(
    trainer_class: type, parent_parser: ArgumentParser, use_argument_group: bool = True
) -> ArgumentParser:
    """Add an option ``--NAME`` for each argument of the Trainer, those of earlier versions included."""
    say_old(
        "FUL113", "`Trainer.add_argparse_args(parser)`", "`LightningCLI`, or `parser.add_argument` for what you need"
    )
    group = parent_parser.add_argument_group("Trainer") if use_argument_group else parent_parser
    taken = {option for action in parent_parser._actions for option in action.option_strings}
    for name, default in {**default_attributes(trainer_class), **_OLD_DEFAULTS}.items():
        if f"--{name}" in taken:
            continue
        if isinstance(default, bool):
            group.add_argument(f"--{name}", type=parsed, nargs="?", const=True, default=default)
        else:
            group.add_argument(f"--{name}", type=parsed, default=default)
    return parent_parser


def parse_argparser(arg_parser: ArgumentParser | Namespace) -> Namespace:
    """Return parsed arguments; a parser reads the command line first."""
    return arg_parser.parse_args() if isinstance(arg_parser, ArgumentParser) else arg_parser


def from_argparse_args(trainer_class: type, args: Namespace | ArgumentParser, **kwargs: Any) -> Any:
    """Make a Trainer of those parsed arguments that are its own; ``kwargs`` win over them."""
    say_old("FUL113", "`Trainer.from_argparse_args(args)`", "`Trainer(max_epochs=args.max_epochs, ...)`")
    defaults = default_attributes(trainer_class)
    found = {}
    for name, value in vars(parse_argparser(args)).items():
        is_old = name in OLD_ARGUMENTS and name not in defaults
        if name in defaults or (is_old and value != _OLD_DEFAULTS.get(name)):
            found[name] = value
    return trainer_class(**{**found, **kwargs})
