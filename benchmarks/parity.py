"""Run the same programs in Lightning and in Fulmen, and compare them bit for bit.

    python benchmarks/parity.py --lightning PYTHON --fulmen PYTHON              the programs in parity_programs/
    python benchmarks/parity.py ... --random 200 --seed 0                       as many more, drawn at random
    python benchmarks/parity.py ... --only plateau                              one of them

Each library runs in a process of its own, with the interpreter that is given. The programs' texts are the same but for
the import line. Compared is all that a user can see: the order and arguments of the hooks (each loss among them), epoch
and step at each of them, learning rates, `callback_metrics`, `logged_metrics`, `progress_bar_metrics`, what loggers
got, final weights, optimizers' and schedulers' states, results of entry points, files of ModelCheckpoint. What differs
on purpose (docs/differences.md) is levelled out before, in `level_out`.

The exit status is 1 where anything differs. `nox -s parity` makes both environments and runs this.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What Fulmen refuses on purpose where Lightning goes on without a word.
REFUSED = (r"nothing was logged under that name",)

PROGRAMS = Path(__file__).parent / "parity_programs"
sys.path.insert(0, str(PROGRAMS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lightning", required=True, metavar="PYTHON", help="an interpreter that has Lightning")
    parser.add_argument("--fulmen", default=sys.executable, metavar="PYTHON", help="an interpreter that has Fulmen")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="run N random programs")
    parser.add_argument("--seed", type=int, default=0, help="of the first random program")
    parser.add_argument("--only", nargs="*", default=[], help="names of programs")
    parser.add_argument("--traceback", action="store_true", help="print the traceback of each exception")
    parser.add_argument("--show", type=int, default=3, help="how many differences of a program are shown")
    options = parser.parse_args()

    names = program_names()
    jobs: list[dict[str, Any]] = [{"program": name} for name in names if not options.only or name in options.only]
    if options.random:
        jobs = drawn_jobs(options.seed, options.random)
    further = ["--traceback"] if options.traceback else []
    lightning = run([options.lightning, *further], "lightning.pytorch", jobs)
    fulmen = run([options.fulmen, *further], "fulmen", jobs)

    different = 0
    print(f"{'program':34} {'hooks':>6} {'batches':>7} {'records':>7}  result")
    for job, theirs, ours in zip(jobs, lightning, fulmen, strict=True):
        found = list(differences(level_out(job, theirs), level_out(job, ours)))
        is_refused = not theirs["error"] and any(re.search(words, ours["error"]) for words in REFUSED)
        different += bool(found) and not is_refused
        name = job.get("program") or f"random {job['seed']}"
        batches = sum(event["hook"] == "on_train_batch_end" for event in ours["events"])
        if is_refused:
            print(f"{name:34} {'':22}  refused: {ours['error']:.120}")
            continue
        verdict = "DIFFERENT" if found else "both raise" if theirs["error"] else "identical"
        print(f"{name:34} {len(ours['events']):6} {batches:7} {len(ours['series']):7}  {verdict}")
        for line in found[: options.show]:
            print(f"    {line}")
        if theirs["error"] != ours["error"]:
            print(f"    Lightning: {theirs['error'] or 'no error'}\n    Fulmen: {ours['error'] or 'no error'}")
        if found and "drawn" in job:
            print(f"    options: {json.dumps(job['drawn'])}")
    print(f"\n{len(jobs) - different} of {len(jobs)} programs do the same in both libraries, bit for bit")
    return 1 if different else 0


def program_names() -> list[str]:
    """Return the names of the fixed programs, without importing them: this interpreter needs neither library."""
    text = (PROGRAMS / "programs.py").read_text()
    return [line.strip(" ,") for line in text.partition("PROGRAMS = (\n")[2].partition(")")[0].splitlines()]


def drawn_jobs(seed: int, count: int) -> list[dict[str, Any]]:
    from drawing import draw

    return [{"seed": number, "drawn": draw(number)} for number in range(seed, seed + count)]


def run(command: list[str], library: str, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run the jobs with one library, in a process of its own, and return what was written down."""
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        for source in PROGRAMS.glob("*.py"):
            Path(folder, source.name).write_text(source.read_text().replace("lightning.pytorch", library))
        output = Path(folder, "output.json")
        python, *further = command
        command = [python, str(Path(folder, "run.py")), str(output), *further]
        subprocess.run(command, input=json.dumps(jobs), text=True, check=True, stdout=subprocess.DEVNULL)
        outcomes: list[dict[str, Any]] = json.loads(output.read_text())
        return outcomes


def level_out(job: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """Take out what differs on purpose; each is in docs/differences.md."""
    if outcome["error"]:  # its class and words differ
        return {"error": "an exception"}
    program, drawn = job.get("program"), job.get("drawn", {})
    several_optimizers = program == "manual_with_two_optimizers" or len(drawn.get("optimizers", ())) > 1
    several_val_loaders = program == "several_loaders" or len(drawn.get("val", ())) > 1
    resumes = program == "resumed"
    stages = [event["hook"] for event in outcome["events"]]
    first_end = stages.index("on_train_start") if "on_train_start" in stages else len(stages)
    second = stages.index("setup", 1) if stages.count("setup") > 1 else len(stages)

    for number, event in enumerate(outcome["events"]):
        hook = event["hook"]
        # There a loader's values are hidden while the next one is at work, and in the whole sanity check.
        is_hidden = several_val_loaders and (
            number < first_end or ("validation_batch" in hook and event["arguments"][-1])
        )
        # Here a checkpoint brings back the three dictionaries.
        is_resumed = resumes and second <= number and "on_train_epoch_end" not in stages[second:number]
        for name in ("callback_metrics", "logged_metrics", "progress_bar_metrics"):
            if is_hidden or is_resumed:
                del event[name]
        if "progress_bar_metrics" in event:
            event["progress_bar_metrics"] = in_float32(event["progress_bar_metrics"])
    if resumes:  # here a checkpoint brings back the random state
        outcome["results"].pop("random_state")
    if several_optimizers:  # there `global_step` sums the steps of all optimizers
        for place in (*outcome["events"], outcome["results"]):
            place.pop("global_step", None)
        for name in ("kept", "best"):  # which is in the names of files
            outcome["results"].pop(name, None)
    outcome["results"].pop("progress_bar_metrics", None)
    # There an epoch without a step is recorded at -1.
    outcome["series"] = [[max(step, 0), in_float32(metrics)] for step, metrics in outcome["series"]]
    return outcome


def in_float32(numbers: dict[str, Any]) -> dict[str, float]:
    """Round: there a logged Python number becomes a float32, here it stays as it is."""
    floats = {key: float.fromhex(value) if isinstance(value, str) else value for key, value in numbers.items()}
    return {key: struct.unpack("f", struct.pack("f", value))[0] for key, value in floats.items()}


def differences(theirs: Any, ours: Any, where: str = "") -> Iterator[str]:
    """Say where two outcomes differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            yield from differences(theirs.get(key, "nothing"), ours.get(key, "nothing"), f"{where}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        for index, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            yield from differences(one, other, f"{where}[{index}]{_hook_of(one)}")
        if len(theirs) != len(ours):
            further = (theirs if len(theirs) > len(ours) else ours)[min(len(theirs), len(ours))]
            yield f"{where}: {len(theirs)} in Lightning, {len(ours)} in Fulmen; the first further: {further!r:.200}"
    elif theirs != ours:
        yield f"{where}: {theirs!r:.150} in Lightning, {ours!r:.150} in Fulmen"


def _hook_of(event: Any) -> str:
    return f"({event['hook']})" if isinstance(event, dict) and "hook" in event else ""


if __name__ == "__main__":
    sys.exit(main())
