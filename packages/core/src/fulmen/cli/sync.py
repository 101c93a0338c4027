"""``fulmen sync``: a run, or the rest of it, delivered to a tracker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fulmen.defaults import make_logger
from fulmen.errors import MisconfigurationException
from fulmen.tracking.record import read_records
from fulmen.tracking.run import Run


def deliver(folder: Path, specs: Sequence[str], timeout_s: float) -> int:
    """Deliver what a run recorded to loggers: all of it, or what they do not have yet.

    Args:
        folder: the run's folder.
        specs: the loggers, as ``name`` or ``name:option=value,...``.
        timeout_s: how long to wait for all of them.

    Returns:
        0 if everything was delivered, 1 if not.
    """
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
