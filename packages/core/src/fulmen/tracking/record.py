"""Record: one line of a run's journal, and how it is written and read.

A line is strict JSON and ends with the CRC-32 of the bytes before ``,"crc"``::

    {"n":17,"t":1769000000.123,"kind":"metrics","step":49,"data":{"loss":0.25},"crc":"1a2b3c4d"}

JSON has no ``nan`` and no infinities. Among metrics they are the strings ``"NaN"``, ``"Infinity"`` and
``"-Infinity"`` (a metric is never a string); elsewhere they are objects ``{"$float": "NaN"}``.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: The version of the journal's format, in the record of kind ``"open"`` with which each process begins.
FORMAT = 1

#: Kinds that a tracker is told of; ``open``, ``status`` and ``close`` are the journal's own.
PAYLOAD_KINDS = frozenset(
    {
        "metrics",
        "hparams",
        "image",
        "text",
        "table",
        "artifact",
        "histogram",
        "audio",
        "video",
        "graph",
        "checkpoint",
    }
)

_CRC_BYTES = len(b',"crc":"00000000"}')
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Record:
    """One thing that happened in a run."""

    n: int  #: its number; each record of a run has the number after the one before
    time_s: float  #: seconds since the epoch at which it was logged
    kind: str  #: one of ``PAYLOAD_KINDS``, ``"open"``, ``"rewind"``, ``"status"`` or ``"close"``
    step: int | None
    data: Mapping[str, Any]
    only: str | None = None  #: the key of the one logger that it is for; ``None`` for all
    offset: int = field(default=0, compare=False)  #: of the line's first byte in the journal
    end: int = field(default=0, compare=False)  #: of the byte after the line

    def is_for(self, key: str) -> bool:
        """Return whether the logger with this key is to be told."""
        return self.only is None or self.only == key


@dataclass(frozen=True)
class Damage:
    """A line of a journal that is not what was written."""

    line: int  #: its number in the file, or in the part that was read; the first is 1
    offset: int  #: of its first byte
    size: int  #: in bytes
    reason: str

    def __str__(self) -> str:
        return f"line {self.line} at byte {self.offset} ({self.size} bytes): {self.reason}"


def encode(n: int, time_s: float, kind: str, step: int | None, data: Mapping[str, Any], only: str | None) -> bytes:
    """Return the line of a record, with its checksum and line end.

    Raises:
        TypeError, ValueError: ``data`` holds what JSON cannot.
    """
    fields: dict[str, Any] = {"n": n, "t": time_s, "kind": kind}
    if step is not None:
        fields["step"] = step
    fields["data"] = data
    if only is not None:
        fields["only"] = only
    try:
        text = json.dumps(fields, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a nan or an infinity: rare, so only such a record pays for the copy
        fields["data"] = _spell_metrics(data) if kind == "metrics" else _spell(data)
        text = json.dumps(fields, separators=(",", ":"), allow_nan=False)
    body = text[:-1].encode("ascii")  # the closing brace follows the checksum
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def is_intact(line: bytes) -> bool:
    """Return whether a line, without its line end, bears the right checksum."""
    body, tail = line[:-_CRC_BYTES], line[-_CRC_BYTES:]
    return bool(body) and tail == b',"crc":"%08x"}' % zlib.crc32(body)


def decode(line: bytes, offset: int = 0) -> Record:
    """Return the record of an intact line, without its line end, that begins at byte ``offset``."""
    fields = json.loads(line)
    data = fields["data"]
    return Record(
        n=fields["n"],
        time_s=fields["t"],
        kind=fields["kind"],
        step=fields.get("step"),
        data=_revive_metrics(data) if fields["kind"] == "metrics" else _revive(data),
        only=fields.get("only"),
        offset=offset,
        end=offset + len(line) + 1,
    )


def read_lines(path: Path, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the bytes of each line, the line end included if it is there."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            yield offset, line
            offset += len(line)


def read_records(
    path: Path, offset: int = 0, on_damage: Callable[[Damage], None] = lambda damage: None
) -> Iterator[Record]:
    """Yield the intact records from byte ``offset`` on, and tell ``on_damage`` of every line that is not.

    An unfinished last line is no damage: its writer may be about to finish it, or was killed.
    """
    for number, (start, line) in enumerate(read_lines(path, offset), 1):
        if not line.endswith(b"\n"):
            return
        if not is_intact(line[:-1]):
            on_damage(Damage(number, start, len(line), "the checksum does not fit the line"))
            continue
        try:
            record = decode(line[:-1], start)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            on_damage(Damage(number, start, len(line), f"not a record of format {FORMAT}: {error}"))
            continue
        yield record


def _spelled(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _spell_metrics(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _spelled(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in data.items()
    }


def _revive_metrics(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _NON_FINITE[value] if isinstance(value, str) else value for key, value in data.items()}


def _spell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": _spelled(value)}
    if isinstance(value, Mapping):
        return {key: _spell(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spell(item) for item in value]
    return value


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$float"}:
            return _NON_FINITE[value["$float"]]
        return {key: _revive(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_revive(item) for item in value]
    return value
