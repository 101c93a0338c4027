"""Run programs and write down what happened: ``python run.py OUTPUT.json < JOBS.json``.

A job is ``{"program": name}`` or ``{"drawn": options}``; the output is a list of what each one's Tape kept.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from drawn import run_drawn
from programs import PROGRAMS
from tape import Tape


def main() -> None:
    warnings.simplefilter("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "fulmen"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    outcomes = [run(job) for job in json.load(sys.stdin)]
    Path(sys.argv[1]).write_text(json.dumps(outcomes))


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run one program from a fixed seed, in a folder of its own."""
    tape = Tape()
    error = ""
    here = Path.cwd()
    torch.set_grad_enabled(True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            pl.seed_everything(job.get("seed", 7), verbose=False)
            if "drawn" in job:
                run_drawn(job["drawn"], tape)
            else:
                {program.__name__: program for program in PROGRAMS}[job["program"]](tape)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            if "--traceback" in sys.argv:
                traceback.print_exc()
        finally:
            os.chdir(here)
            torch.set_default_dtype(torch.float32)
    return {"error": error, "events": tape.events, "series": tape.series.records, "results": tape.results}


if __name__ == "__main__":
    main()
