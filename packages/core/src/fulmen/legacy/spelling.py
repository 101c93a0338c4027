"""The warning that each old spelling gives, once."""

from __future__ import annotations

from types import CodeType

from fulmen import advice


class OldSpellingWarning(FutureWarning):
    """A program uses a spelling of Lightning 0.x or 1.x; it works, and the message has the modern line."""


def say_old(code: str, old: str, modern: str, where: CodeType | None = None) -> None:
    """Warn once that a spelling is old.

    Args:
        code: such as ``FUL101``; silenced as all advice is, see ``fulmen.advice``.
        old: what the program has.
        modern: the line to write in its place; ``"nothing: "`` and why, where there is none.
        where: the function that has it; by default the line of the program that is running.
    """
    todo = modern.replace("nothing", "leave it out", 1) if modern.startswith("nothing") else f"write {modern}"
    advice.say(code, f"{old} is an old spelling; {todo}", OldSpellingWarning, where)
