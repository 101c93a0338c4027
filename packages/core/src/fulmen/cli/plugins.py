"""``fulmen plugins``: what is installed."""

from __future__ import annotations

from fulmen.errors import FulmenError
from fulmen.registry import GROUPS, installed, load


def list_plugins() -> int:
    """Print each kind of plug-in with the names that are installed, and whether each can be loaded."""
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
