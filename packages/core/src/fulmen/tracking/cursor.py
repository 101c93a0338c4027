"""Cursor: how far one logger has delivered a run's journal, kept in a file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fulmen.tracking.disk import sync_path


@dataclass(frozen=True)
class Cursor:
    """How far one logger has delivered."""

    next: int = 0  #: number of the first record that the service is not known to have
    offset: int = 0  #: where its line begins in the journal, in bytes
    run_id: str | None = None  #: the service's id of the run
    logger: str = ""  #: the qualified name of the logger's class
    sent: int = 0  #: number after the last record that may have been handed over; those from ``next`` on are unsure

    @classmethod
    def load(cls, path: Path, logger: str) -> Cursor:
        """Read the cursor of ``logger`` from its file; one at the start if there is none for it."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            cursor = cls(
                int(fields["next"]),
                int(fields["offset"]),
                fields["run_id"],
                fields["logger"],
                int(fields.get("sent", fields["next"])),
            )
        except (OSError, ValueError, LookupError, TypeError):
            return cls(logger=logger)
        return cursor if cursor.logger == logger else cls(logger=logger)

    def within(self, journal: Path, end: int) -> Cursor:
        """Return a cursor that fits a journal whose next record will have number ``end``.

        After a crash of the computer the disk may lack lines that the service had got: their numbers come
        again.
        """
        if self.next > end:
            return replace(self, next=end, offset=0, sent=end)
        if self.offset > 0:
            with journal.open("rb") as file:
                file.seek(self.offset - 1)
                if file.read(1) != b"\n":  # not the start of a line; the numbers tell where to go on
                    return replace(self, offset=0)
        return self

    def save(self, path: Path, durable: bool = False) -> None:
        """Replace the cursor's file, so that a reader sees the old or the new one, never half of one.

        Args:
            path: the file; its folder is made if need be.
            durable: whether to wait until the disk holds it.

        Raises:
            OSError: it cannot be written; the old one stays.
        """
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        if durable:
            sync_path(temporary)
        os.replace(temporary, path)
