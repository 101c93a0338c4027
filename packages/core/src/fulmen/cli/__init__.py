"""The ``fulmen`` command: what is installed, what ran, and delivering what a tracker did not get."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fulmen
from fulmen.errors import FulmenError

if TYPE_CHECKING:
    from fulmen.cli.lightning_cli import (
        ArgsType as ArgsType,
    )
    from fulmen.cli.lightning_cli import (
        LightningArgumentParser as LightningArgumentParser,
    )
    from fulmen.cli.lightning_cli import (
        LightningCLI as LightningCLI,
    )
    from fulmen.cli.lightning_cli import (
        LRSchedulerCallable as LRSchedulerCallable,
    )
    from fulmen.cli.lightning_cli import (
        OptimizerCallable as OptimizerCallable,
    )
    from fulmen.cli.lightning_cli import (
        ReduceLROnPlateau as ReduceLROnPlateau,
    )
    from fulmen.cli.lightning_cli import (
        SaveConfigCallback as SaveConfigCallback,
    )
    from fulmen.cli.lightning_cli import (
        instantiate_class as instantiate_class,
    )

_OF_LIGHTNING_CLI = (
    "ArgsType",
    "LRSchedulerCallable",
    "LightningArgumentParser",
    "LightningCLI",
    "OptimizerCallable",
    "ReduceLROnPlateau",
    "SaveConfigCallback",
    "instantiate_class",
)
__all__ = [*_OF_LIGHTNING_CLI, "main"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _OF_LIGHTNING_CLI:  # jsonargparse is imported when one of these is named
        from fulmen.cli import lightning_cli

        return getattr(lightning_cli, name)
    raise AttributeError(f"module 'fulmen.cli' has no attribute {name!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fulmen", description="Trains PyTorch models; this command looks after runs.")
    parser.add_argument("--version", action="version", version=f"fulmen-core {fulmen.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("plugins", help="list installed loggers, callbacks and metrics")
    sync = commands.add_parser("sync", help="deliver a run, or the rest of it, to a tracker")
    sync.add_argument("run", type=Path, help="the run's folder, such as lightning_logs/version_3")
    sync.add_argument(
        "--to",
        required=True,
        action="append",
        metavar="LOGGER[:OPTION=VALUE,...]",
        help="a logger's name, with arguments of its class if need be; may be given several times",
    )
    sync.add_argument("--timeout", type=float, default=600.0, metavar="S", help="give up after so many seconds (600)")
    runs = commands.add_parser("runs", help="list the runs in a folder, with status and metrics")
    runs.add_argument("folder", type=Path, nargs="?", default=Path(), help="where they lie (here)")
    show = commands.add_parser("show", help="print a run: hyper-parameters, metrics and curves")
    show.add_argument("run", type=Path, help="the run's folder, such as lightning_logs/version_3")
    for command in (runs, show):
        command.add_argument("--metric", action="append", default=[], metavar="KEY", help="this metric; several times")
        command.add_argument("--best", choices=("min", "max"), default="min", help="which value is the best (min)")
        command.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except FulmenError as error:
        print(f"fulmen: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    """Run a command; its module is imported now, for each needs others."""
    if options.command == "plugins":
        from fulmen.cli.plugins import list_plugins

        return list_plugins()
    if options.command == "sync":
        from fulmen.cli.sync import deliver

        return deliver(options.run, options.to, options.timeout)
    from fulmen.cli.runs import list_runs, show_run

    if options.command == "runs":
        return list_runs(options.folder, options.metric, options.best, options.json)
    return show_run(options.run, options.metric, options.best, options.json)
