"""A resumed run goes on in its folder: the journal is rewound, nothing is sent twice, and nobody else writes there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.logger import FolderLogger, Logger, RunInfo
from fulmen.tracking.record import Record, read_records
from fulmen.tracking.rewind import Had, read_what_counts
from fulmen.tracking.run import Run


class Kept(Logger):
    """A service that outlives its loggers: what it got is in a list that they share."""

    interface = (1, 0)

    def __init__(self, service: list[tuple[str, int | None, float]]) -> None:
        self.service = service

    def open(self, run: RunInfo) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.service.extend((key, step, value) for key, value in metrics.items())

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        self.service.extend((f"hparam {key}", None, value) for key, value in params.items())

    def close(self, status: str) -> None: ...

    @property
    def run_id(self) -> str | None:
        return "kept"


class Telling(Kept):
    """The same, and it can tell what it has."""

    asked: Sequence[tuple[str, int | None]] = ()

    def tell_points(self, points: Sequence[tuple[str, int | None]]) -> Iterable[tuple[str, int | None]]:
        self.asked = points
        there = {(key, step) for key, step, _ in self.service}
        return [point for point in points if point in there]


class InFolder(FolderLogger):
    interface = (1, 0)

    def open(self, run: RunInfo) -> None:
        Path(self.log_dir).mkdir(parents=True, exist_ok=True)
        with open(Path(self.log_dir, "opened"), "a") as file:
            file.write("x")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...

    def log_hyperparams(self, params: Mapping[str, Any]) -> None: ...

    def close(self, status: str) -> None: ...


class Model(fulmen.LightningModule):
    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters({"lr": 0.1})
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.stop_after = stop_after

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.layer(batch).mean()
        self.log("loss", loss)
        if self.global_step == self.stop_after:
            raise RuntimeError("power cut")
        return loss  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(fulmen.Callback):
    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


BATCHES = [torch.full((2, 3), float(number)) for number in range(10)]


def trainer_with(root: Path, logger: Any, *callbacks: fulmen.Callback, **options: Any) -> fulmen.Trainer:
    options = {"max_epochs": 1, **options}
    return fulmen.Trainer(
        default_root_dir=root,
        logger=logger,
        callbacks=list(callbacks),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def interrupted(root: Path, logger: Any, save_at: int = 4, stop_after: int = 7) -> Path:
    """Train until a failure, with a checkpoint before it; return the checkpoint's path."""
    path = root / "saved.ckpt"
    trainer = trainer_with(root, logger, SaveAt(path, save_at))
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(Model(stop_after), BATCHES)
    return path


def losses(service: list[tuple[str, int | None, float]]) -> list[int | None]:
    return [step for key, step, _ in service if key == "loss"]


@pytest.mark.parametrize("cls", [Kept, Telling])
def test_a_resumed_run_sends_each_point_once(cls: type[Kept], tmp_path: Path) -> None:
    service: list[tuple[str, int | None, float]] = []
    path = interrupted(tmp_path, cls(service))
    assert losses(service) == list(range(7))
    trainer = trainer_with(tmp_path, cls(service))
    trainer.fit(Model(), BATCHES, ckpt_path=path)
    assert losses(service) == list(range(10))
    assert [item for item in service if item[0].startswith("hparam")] == [("hparam lr", None, 0.1)]
    runs = [folder.name for folder in (tmp_path / "lightning_logs").iterdir()]
    assert runs == ["version_0"]

    whole: list[tuple[str, int | None, float]] = []
    trainer_with(tmp_path / "whole", cls(whole)).fit(Model(), BATCHES)
    assert sorted(whole, key=str) == sorted(service, key=str)

    journal = tmp_path / "lightning_logs/version_0/journal.jsonl"
    steps = [record.step for record in read_what_counts(journal) if record.kind == "metrics" and "loss" in record.data]
    assert steps == list(range(10))
    everything = [record.step for record in read_records(journal) if record.kind == "metrics"]
    assert len(everything) > 10, "the journal keeps what was replaced"


def test_a_new_tracker_gets_the_run_as_it_counts(tmp_path: Path) -> None:
    path = interrupted(tmp_path, Kept([]))
    trainer_with(tmp_path, Kept([])).fit(Model(), BATCHES, ckpt_path=path)
    service: list[tuple[str, int | None, float]] = []
    folder = tmp_path / "lightning_logs/version_0"
    run = Run(folder, [Telling(service)], name="a", version="b")
    run.close()
    assert losses(service) == list(range(10))


def test_a_run_that_ended_well_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    trainer_with(tmp_path, Kept([]), SaveAt(path, 4)).fit(Model(), BATCHES)
    before = (tmp_path / "lightning_logs/version_0/journal.jsonl").read_bytes()
    branch: list[tuple[str, int | None, float]] = []
    trainer_with(tmp_path, Kept(branch)).fit(Model(), BATCHES, ckpt_path=path)
    assert losses(branch) == list(range(3, 10)), "the record of the step in whose hook it was saved came after it"
    assert (tmp_path / "lightning_logs/version_0/journal.jsonl").read_bytes().startswith(before)
    assert (tmp_path / "lightning_logs/version_1/journal.jsonl").is_file()


def test_folder_loggers_go_on_in_their_folder(tmp_path: Path) -> None:
    path = interrupted(tmp_path, InFolder(tmp_path))
    logger = InFolder(tmp_path)
    trainer_with(tmp_path, logger).fit(Model(), BATCHES, ckpt_path=path)
    assert logger.version == 0
    assert (tmp_path / "lightning_logs/version_0/opened").read_text() == "xx"
    elsewhere = InFolder(tmp_path, "other")
    path = interrupted(tmp_path / "b", InFolder(tmp_path / "b"))
    trainer_with(tmp_path / "b", elsewhere).fit(Model(), BATCHES, ckpt_path=path)
    assert Path(elsewhere.log_dir) == tmp_path / "other/version_0", "another place is another run"


def test_a_named_folder_is_continued_even_after_a_good_end(tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    trainer_with(tmp_path, InFolder(tmp_path, version="mine"), SaveAt(path, 4)).fit(Model(), BATCHES)
    longer = trainer_with(tmp_path, InFolder(tmp_path, version="mine"), max_epochs=2)
    longer.fit(Model(), BATCHES, ckpt_path=path)
    journal = tmp_path / "lightning_logs/mine/journal.jsonl"
    steps = [record.step for record in read_what_counts(journal) if record.kind == "metrics" and "loss" in record.data]
    assert steps == list(range(20))


def test_loggers_of_several_kinds_share_the_runs_folder(tmp_path: Path) -> None:
    class Another(InFolder):
        pass

    one, other, third = InFolder(tmp_path), Another(tmp_path), InFolder(tmp_path)
    trainer_with(tmp_path, [one, other, third]).fit(Model(), BATCHES)
    assert one.log_dir == other.log_dir
    assert third.log_dir != one.log_dir, "two of a kind would write the same files"


def test_two_trainers_of_one_process_take_turns(tmp_path: Path) -> None:
    first, second = (trainer_with(tmp_path, InFolder(tmp_path, version="mine")) for _ in range(2))
    first.fit(Model(), BATCHES)
    second.fit(Model(), BATCHES)
    first.fit(Model(), BATCHES)  # opens it once more
    numbers = [record.n for record in read_records(tmp_path / "lightning_logs/mine/journal.jsonl")]
    assert numbers == list(range(len(numbers)))


HOLDER = """
import sys, pathlib
from fulmen.tracking.run import Run
run = Run(pathlib.Path(sys.argv[1]), [], name="a", version="b")
print("open", flush=True)
sys.stdin.readline()
"""


def test_a_run_that_another_process_writes_is_not_touched(tmp_path: Path) -> None:
    path = interrupted(tmp_path, InFolder(tmp_path))
    folder = tmp_path / "lightning_logs/version_0"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        # The interrupted trainer of this process has the run open; it is closed as its trainer is forgotten.
        import gc

        gc.collect()
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(MisconfigurationException, match=rf"is being written by another process \({holder.pid}\)"):
            Run(folder, [], name="a", version="b")
        logger = InFolder(tmp_path)
        trainer_with(tmp_path, logger).fit(Model(), BATCHES, ckpt_path=path)
        assert logger.version == 1
    finally:
        holder.communicate("\n", timeout=60)
    Run(folder, [], name="a", version="b").close()


def test_what_a_service_has_is_left_out_once() -> None:
    def record(step: int, **data: float) -> Record:
        return Record(0, 0.0, "metrics", step, data)

    had = Had()
    had.add([("metrics", "loss", 1), ("metrics", "loss", 2), ("image", "picture", 2)])
    assert had.rest(record(1, loss=0.5, epoch=0)) == {}, "the epoch goes with the numbers"
    assert had.rest(record(1, loss=0.5, epoch=0)) == {"loss": 0.5, "epoch": 0}
    assert had.rest(record(2, loss=0.5, other=1.0, epoch=0)) == {"other": 1.0, "epoch": 0}
    assert had.rest(Record(0, 0.0, "image", 2, {"key": "picture"})) == {}
    assert had.rest(Record(0, 0.0, "image", 2, {"key": "picture"})) == {"key": "picture"}
    assert not had


def test_a_logger_is_asked_about_what_was_under_way(tmp_path: Path) -> None:
    service: list[tuple[str, int | None, float]] = []
    folder = tmp_path / "run"
    run = Run(folder, [Telling(service)], name="a", version="b")
    for step in range(5):
        run.log_metrics({"x": float(step)}, step)
    run.close()
    cursor = folder / "cursors" / next(path.name for path in (folder / "cursors").iterdir())
    text = cursor.read_text()
    # As a process leaves it that is killed after the service got steps 0 to 4, and before the last save.
    import json

    fields = json.loads(text)
    cursor.write_text(json.dumps({**fields, "next": 3, "offset": 0}))
    again = Telling(service)
    Run(folder, [again], name="a", version="b").close()
    assert again.asked == [("x", 2), ("x", 3), ("x", 4)]
    assert [step for _, step, _ in service] == [0, 1, 2, 3, 4]
    assert os.path.exists(cursor)
