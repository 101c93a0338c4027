"""The ``fulmen`` command: what is installed, and delivering what a tracker did not get."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import fulmen
from fulmen.errors import FulmenError


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
    options = parser.parse_args(arguments)
    try:
        return list_plugins() if options.command == "plugins" else deliver(options.run, options.to, options.timeout)
    except FulmenError as error:
        print(f"fulmen: {error}", file=sys.stderr)
        return 1


def list_plugins() -> int:
    """Print each kind of plug-in with the names that are installed, and whether each can be loaded."""
    from fulmen.registry import GROUPS, installed, load

    for group in GROUPS:
        print(f"{group.kind}s")
        offers = installed(group)
        for name, entries in offers.items():
            owner = entries[0].dist
            where = f"{owner.name} {owner.version}" if owner is not None else "?"
            try:
                load(group, name)
                state = ""
            except FulmenError as error:
                state = f"  {error}"
            print(f"  {name:24} {entries[0].attr:24} {where}{state}")
        if not offers:
            print("  none")
    return 0


def deliver(folder: Path, specs: Sequence[str], timeout_s: float) -> int:
    """Deliver what a run recorded to loggers: all of it, or what they do not have yet.

    Args:
        folder: the run's folder.
        specs: the loggers, as ``name`` or ``name:option=value,...``.
        timeout_s: how long to wait for all of them.

    Returns:
        0 if everything was delivered, 1 if not.
    """
    from fulmen.defaults import make_logger
    from fulmen.errors import MisconfigurationException
    from fulmen.tracking.record import read_records
    from fulmen.tracking.run import Run

    journal = folder / "journal.jsonl"
    if not journal.is_file():
        raise MisconfigurationException(
            f"{folder} holds no journal.jsonl, so it is not the folder of a run; pass one such as "
            "lightning_logs/version_3"
        )
    ends = [record.data["status"] for record in read_records(journal) if record.kind == "status"]
    status = str(ends[-1]) if ends else "interrupted"  # a killed process says nothing at its end
    loggers = [make_logger(spec, str(folder.parent.parent), folder) for spec in specs]
    run = Run(
        folder,
        loggers,
        name=folder.parent.name,
        version=folder.name,
        finish_timeout_s=timeout_s,
        open_timeout_s=timeout_s,
    )
    try:
        late = run.finalize(status)
    finally:
        run.close()
    for logger, spec in zip(loggers, specs, strict=True):
        done = logger not in late
        print(f"{spec}: {'has the whole run' if done else 'did not take everything; run the command again'}")
    return 1 if late else 0
