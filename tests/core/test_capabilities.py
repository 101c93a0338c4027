"""What goes to trackers besides numbers: recorded once, delivered to those that can, said once of those that cannot."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.audio import Audio
from fulmen.callback import Checkpoint
from fulmen.errors import MisconfigurationException
from fulmen.graph import Graph
from fulmen.histogram import Histogram
from fulmen.logger import Logger, NoExperiment, RunInfo, SavedCheckpoint
from fulmen.tracking.record import PAYLOAD_KINDS, read_records
from fulmen.tracking.run import Run
from fulmen.tracking.service import Backoff
from fulmen.video import Video


class NumbersLogger(Logger):
    """Can show numbers only."""

    interface = (1, 0)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.calls.append(("metrics", dict(metrics), step))

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        self.calls.append(("hparams", dict(params)))

    @property
    def experiment(self) -> str:
        self.ensure_open()
        return "the SDK's own object"

    def of(self, kind: str) -> list[Any]:
        return [call[1:] for call in self.calls if call[0] == kind]


class AllLogger(NumbersLogger):
    """Can show everything."""

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        self.calls.append(("image", key, len(images), step, kwargs))

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        self.calls.append(("table", key, columns, data, step))

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self.calls.append(("text", key, text, step))

    def log_histogram(self, key: str, values: Any, step: int | None = None) -> None:
        self.calls.append(("histogram", key, values, step))

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None) -> None:
        self.calls.append(("audio", key, list(audios), step))

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None) -> None:
        self.calls.append(("video", key, list(videos), step))

    def draw_graph(self, graph: Graph) -> None:
        self.calls.append(("graph", graph))

    def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        self.calls.append(("checkpoint", checkpoint, checkpoint.path.read_text()))


def start(folder: Path, *loggers: Logger, **options: Any) -> Run:
    quick = Backoff(first_s=0.0005, longest_s=0.002)
    return Run(folder, loggers, name="a", version="b", **{"finish_timeout_s": 60.0, "backoff": quick, **options})


RAMP = np.linspace(-1, 1, 50, dtype=np.float32)


def _record_one_of_each(run: Run, folder: Path) -> None:
    run.log_image("image", [np.zeros((2, 2))], 1)
    run.log_text("text", "words", 2)
    run.log_table("table", ["a"], [[1]], 3)
    run.log_histogram("weights", torch.tensor([1.0, 2.0, 2.0]), 4, bins=2)
    run.log_audio("sound", RAMP, 5, sample_rate=8000, captions="a ramp")
    gif = folder / "clip.gif"
    gif.write_bytes(b"GIF89a")
    run.log_video("clips", [gif, gif], 6, caption=["a", None])
    run.log_graph(Graph("words", ()))


def test_each_thing_comes_to_a_logger_that_can_show_it(tmp_path: Path) -> None:
    logger = AllLogger()
    run = start(tmp_path / "run", logger)
    _record_one_of_each(run, tmp_path)
    run.close()
    assert logger.of("histogram") == [("weights", Histogram((1.0, 1.5, 2.0), (1.0, 2.0)), 4)]
    assert logger.of("audio") == [("sound", [Audio.of(RAMP, 8000, "a ramp")], 5)]
    assert logger.of("video") == [("clips", [Video(b"GIF89a", "gif", "a"), Video(b"GIF89a", "gif")], 6)]
    assert logger.of("graph") == [(Graph("words", ()),)]


def test_a_later_logger_gets_the_same_from_the_journal(tmp_path: Path) -> None:
    class Later(AllLogger):
        pass

    first, second = AllLogger(), Later()
    run = start(tmp_path / "run", first)
    _record_one_of_each(run, tmp_path)
    run.close()
    (tmp_path / "clip.gif").unlink()
    start(tmp_path / "run", second).close()
    kinds = {"image", "text", "table", "histogram", "audio", "video", "graph"}
    assert {call[0] for call in second.calls} == kinds
    assert second.calls == first.calls


def test_what_a_logger_lacks_is_said_once_and_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = NumbersLogger()
    with caplog.at_level(logging.WARNING, "fulmen"):
        run = start(tmp_path / "run", logger)
        for _ in range(3):
            _record_one_of_each(run, tmp_path)
        run.log_metrics({"loss": 1.0}, 7)
        run.close()
    said = [message.partition("cannot ")[2].partition(";")[0] for message in caplog.messages]
    assert sorted(said) == [
        "play sounds",
        "play videos",
        "show graphs",
        "show histograms",
        "show images",
        "show tables",
        "show text",
    ]
    assert logger.of("metrics") == [({"loss": 1.0}, 7)]
    kept = [record.kind for record in read_records(tmp_path / "run" / "journal.jsonl")]
    assert PAYLOAD_KINDS - set(kept) == {"hparams", "artifact", "checkpoint"}


def test_what_is_wrong_is_refused_where_it_is_logged(tmp_path: Path) -> None:
    run = start(tmp_path / "run", AllLogger())
    with pytest.raises(MisconfigurationException, match="no values"):
        run.log_histogram("a", [])
    with pytest.raises(MisconfigurationException, match="sample_rate"):
        run.log_audio("a", RAMP)
    with pytest.raises(MisconfigurationException, match="1 sample rates for the 2 sounds of 'a'"):
        run.log_audio("a", [RAMP, RAMP], sample_rate=[8000])
    with pytest.raises(MisconfigurationException, match="frames, C, H, W"):
        run.log_video("a", np.zeros((2, 2)))
    run.close()


def test_arguments_of_one_tracker_go_to_that_tracker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger, other = AllLogger(), NumbersLogger()
    run = start(tmp_path / "run", logger, other)
    mask = np.arange(100).reshape(10, 10) % 3
    classes = {"prediction": {"mask_data": mask, "class_labels": {0: "road"}}}
    logger.log_image("seen", [np.zeros((10, 10))], 1, masks=[classes], caption=["a"])
    with pytest.raises(MisconfigurationException, match="2 `boxes` for the 1 entries of 'seen'"):
        logger.log_image("seen", [np.zeros((10, 10))], 1, boxes=[{}, {}])
    run.close()
    ((key, count, step, options),) = logger.of("image")
    assert (key, count, step) == ("seen", 1, 1)
    (masks,) = options["masks"]
    np.testing.assert_array_equal(masks["prediction"]["mask_data"], mask)
    assert masks["prediction"]["class_labels"] == {"0": "road"}
    assert not caplog.messages


def test_text_as_a_table_as_users_of_wandb_write_it(tmp_path: Path) -> None:
    logger = AllLogger()
    run = start(tmp_path / "run", logger)
    logger.log_text("a", columns=["x"], data=[["y"]], step=1)  # type: ignore[call-arg]
    logger.log_text("b", ["x"], [["y"]])  # type: ignore[arg-type]
    run.close()
    assert logger.of("table") == [("a", ["x"], [["y"]], 1), ("b", ["x"], [["y"]], 1)]


def test_a_step_that_is_not_given_is_where_training_stands(tmp_path: Path) -> None:
    logger = AllLogger()
    stands = 3
    run = start(tmp_path / "run", logger, current_step=lambda: stands)
    run.log_metrics({"a": 1.0}, 100)
    logger.log_metrics({"b": 1.0})
    logger.log_histogram("h", [1.0, 2.0])
    stands = 8
    logger.log_text("t", "words")
    run.close()
    assert [call[-1] for call in logger.calls] == [100, 3, 3, 8]


# ------------------------------------------------------------------------------------------------- checkpoints


class Saver(Checkpoint):
    """A callback that has saved; the tests say what."""

    monitor = "val_loss"

    def __init__(self, folder: Path, save_top_k: int = 1) -> None:
        self.folder = folder
        self.save_top_k = save_top_k

    def save(self, name: str, content: str, score: float, is_best: bool) -> Path:
        path = self.folder / name
        temporary = path.with_suffix(".tmp")
        temporary.write_text(content)
        os.replace(temporary, path)
        self.last_model_path, self.current_score = str(path), score
        if is_best:
            self.best_model_path, self.best_model_score = str(path), torch.tensor(score)
        return path


def _uploads(logger: AllLogger) -> list[tuple[Any, ...]]:
    return [(saved.name, saved.aliases, saved.step, saved.score, content) for saved, content in logger.of("checkpoint")]


@pytest.mark.parametrize("log_model", ["all", True])
def test_checkpoints_go_where_they_are_wanted(tmp_path: Path, log_model: Any) -> None:
    wanting, other = AllLogger(), AllLogger()
    wanting.log_model = log_model
    run = start(tmp_path / "run", wanting, other)
    saver = Saver(tmp_path)
    for step, (score, is_best) in enumerate([(3.0, True), (2.0, True), (4.0, False)]):
        saver.save("last.ckpt", f"weights {step}", score, is_best)
        run.log_metrics({"loss": score}, step)
        wanting.after_save_checkpoint(saver)
        other.after_save_checkpoint(saver)
    run.finalize("success")
    best = ("latest", "best")
    assert _uploads(wanting) == (
        [
            ("last.ckpt", best, 0, 3.0, "weights 0"),
            ("last.ckpt", best, 1, 2.0, "weights 1"),
            ("last.ckpt", best, 2, 2.0, "weights 2"),
        ]
        if log_model == "all"
        else [("last.ckpt", best, 2, 2.0, "weights 2")]
    )
    run.finalize("success")  # of `test` after `fit`
    run.close()
    assert len(_uploads(wanting)) == (3 if log_model == "all" else 1)
    assert not _uploads(other)
    assert list((tmp_path / "run" / "media" / "checkpoints").iterdir()) == []


def test_true_takes_all_that_are_kept_and_every_one_where_all_are_kept(tmp_path: Path) -> None:
    for save_top_k, before_the_end in ((1, 0), (-1, 2)):
        logger = AllLogger()
        logger.log_model = True
        run = start(tmp_path / f"run{save_top_k}", logger)
        folder = tmp_path / f"saved{save_top_k}"
        folder.mkdir()
        saver = Saver(folder, save_top_k)
        for name, is_best in (("a.ckpt", True), ("b.ckpt", False)):
            path = saver.save(name, name, 1.0, is_best)
            saver.best_k_models = {**saver.best_k_models, str(path): torch.tensor(1.0)}
            logger.after_save_checkpoint(saver)
        run.sync()
        recorded = [r for r in read_records(run.folder / "journal.jsonl") if r.kind == "checkpoint"]
        assert len(recorded) == before_the_end
        run.finalize("failed")  # a run that failed keeps what it has
        run.close()
        assert [upload[:2] for upload in _uploads(logger)] == [("a.ckpt", ("latest", "best")), ("b.ckpt", ("latest",))]


def test_a_checkpoint_is_delivered_although_its_file_is_gone(tmp_path: Path) -> None:
    opened = threading.Event()

    class Late(AllLogger):
        log_model = "all"

        def open(self, run: RunInfo) -> None:
            assert opened.wait(60)

    logger = Late()
    run = start(tmp_path / "run", logger)
    saver = Saver(tmp_path)
    for number in range(2):
        path = saver.save(f"{number}.ckpt", f"weights {number}", 1.0, True)
        logger.after_save_checkpoint(saver)
        path.unlink()  # ModelCheckpoint(save_top_k=1) does so
    held = run.folder / "media" / "checkpoints"
    assert len(list(held.iterdir())) == 2
    opened.set()
    run.close()
    assert [upload[4] for upload in _uploads(logger)] == ["weights 0", "weights 1"]
    assert list(held.iterdir()) == []


def test_a_dead_service_fills_no_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Dead(AllLogger):
        log_model = "all"

        def open(self, run: RunInfo) -> None:
            raise ConnectionError("nobody there")

    logger = Dead()
    run = start(tmp_path / "run", logger, finish_timeout_s=0.0)
    saver = Saver(tmp_path)
    paths = []
    for number in range(6):
        paths.append(saver.save(f"{number}.ckpt", f"weights {number}", 1.0, True))
        logger.after_save_checkpoint(saver)
    assert len(list((run.folder / "media" / "checkpoints").iterdir())) == 3
    assert len([message for message in caplog.messages if "more than 3 checkpoints wait" in message]) == 1
    run.close()
    paths[0].unlink()
    later = AllLogger()
    start(tmp_path / "run", later).close()  # the records are for the dead one only
    assert not _uploads(later)
    second = type("Dead", (AllLogger,), {"__module__": Dead.__module__, "__qualname__": Dead.__qualname__})()
    start(tmp_path / "run", second).close()
    assert [upload[4] for upload in _uploads(second)] == [f"weights {number}" for number in range(1, 6)]
    assert any("was removed before it could be delivered" in message for message in caplog.messages)


def test_a_checkpoint_may_be_a_folder(tmp_path: Path) -> None:
    class Folders(AllLogger):
        log_model = "all"

        def log_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
            self.calls.append(("checkpoint", sorted(path.name for path in checkpoint.path.iterdir())))

    logger = Folders()
    run = start(tmp_path / "run", logger)
    saver = Saver(tmp_path)
    sharded = tmp_path / "sharded.ckpt"
    sharded.mkdir()
    (sharded / "0.distcp").write_text("a")
    (sharded / ".metadata").write_text("b")
    saver.best_model_path = str(sharded)
    logger.after_save_checkpoint(saver)
    run.close()
    assert logger.of("checkpoint") == [([".metadata", "0.distcp"],)]


def test_metadata_is_what_programs_of_this_field_find(tmp_path: Path) -> None:
    logger = AllLogger()
    logger.log_model = "all"
    run = start(tmp_path / "run", logger)
    saver = Saver(tmp_path)
    saver.save("a.ckpt", "a", 0.5, True)
    logger.after_save_checkpoint(saver)
    run.close()
    ((saved, _),) = logger.of("checkpoint")
    assert saved.metadata["score"] == 0.5
    assert saved.metadata["original_filename"] == "a.ckpt"
    assert saved.metadata["Saver"]["monitor"] == "val_loss"
    assert saved.metadata["Saver"]["save_top_k"] == 1


# ------------------------------------------------------------------------------------------------------- watch


def _step(model: nn.Module) -> None:
    model.zero_grad()
    model(torch.ones(2, 3)).sum().backward()


def test_watch_logs_gradients_every_so_many_passes(tmp_path: Path) -> None:
    logger, model = AllLogger(), nn.Linear(3, 2)
    run = start(tmp_path / "run", logger)
    watch = logger.watch(model, log_freq=2)
    assert watch is not None
    for _ in range(5):
        _step(model)
    watch.stop()
    _step(model)
    run.close()
    logged = logger.of("histogram")
    assert [key for key, _, _ in logged] == ["gradients/bias", "gradients/weight"] * 3 or [
        key for key, _, _ in logged
    ] == ["gradients/weight", "gradients/bias"] * 3
    of_weight = next(histogram for key, histogram, _ in logged if key == "gradients/weight")
    assert sum(of_weight.counts) == 6
    assert of_weight.edges[0] == 1.5  # all gradients are 2


@pytest.mark.parametrize(("log", "keys"), [("parameters", {"parameters"}), ("all", {"gradients", "parameters"})])
def test_watch_logs_parameters(tmp_path: Path, log: str, keys: set[str]) -> None:
    logger, model = AllLogger(), nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    run = start(tmp_path / "run", logger)
    logger.watch(model, log=log, log_graph=True)
    _step(model)
    logger.unwatch(model)
    _step(model)
    run.close()
    assert {key for key, _, _ in logger.of("histogram")} == {f"{kind}/weight" for kind in keys}
    assert logger.of("graph")[0][0].text == str(model)


def test_watch_of_none_is_the_graph_alone(tmp_path: Path) -> None:
    logger, model = AllLogger(), nn.Linear(3, 2)
    run = start(tmp_path / "run", logger)
    logger.watch(model, log=None, log_graph=True)
    _step(model)
    run.close()
    assert [call[0] for call in logger.calls] == ["graph"]


def test_watch_says_what_cannot_work() -> None:
    with pytest.raises(MisconfigurationException, match="NumbersLogger cannot show histograms"):
        NumbersLogger().watch(nn.Linear(1, 1))
    with pytest.raises(MisconfigurationException, match="`log` must be one of"):
        AllLogger().watch(nn.Linear(1, 1), log="weights")
    with pytest.raises(MisconfigurationException, match="`log_freq`"):
        AllLogger().watch(nn.Linear(1, 1), log_freq=0)


# -------------------------------------------------------------------------------------------------- other ranks


def test_in_another_process_than_the_first_a_logger_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    logger, model = AllLogger(), nn.Linear(3, 2)
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_text("a", "b")
    logger.log_graph(model, torch.ones(1, 3))
    assert logger.watch(model) is None
    experiment: Any = logger.experiment
    assert isinstance(experiment, NoExperiment)
    experiment.config["lr"] = 1
    experiment.config.update({"lr": 1})
    assert isinstance(experiment.log({"a": 1})["x"], NoExperiment)
    assert not logger.calls
    assert not logger._is_open
    monkeypatch.setenv("RANK", "0")
    assert logger.experiment == "the SDK's own object"


def test_without_a_run_a_graph_goes_straight_to_the_service(caplog: pytest.LogCaptureFixture) -> None:
    logger = AllLogger()
    logger.log_graph(nn.Linear(3, 2))
    assert logger.of("graph") == [(Graph(str(nn.Linear(3, 2))),)]
    NumbersLogger().log_graph(nn.Linear(3, 2))
    assert "NumbersLogger cannot show graphs" in caplog.text


# ------------------------------------------------------------------------------------------- in a program


class Program(fulmen.LightningModule):
    example_input_array = torch.ones(1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log_histogram("batch", batch)
        self.log_audio("sound", RAMP, 8000)
        return self(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log_histogram("val_batch", batch)

    def on_train_end(self) -> None:
        self.log_histogram("at the end", [1.0, 2.0], bins=1, step=77)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def _fit(folder: Path, module: fulmen.LightningModule, logger: Logger, **options: Any) -> None:
    data = torch.ones(4, 1, 3)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = fulmen.Trainer(logger=logger, default_root_dir=folder, max_epochs=2, **{**quiet, **options})
    trainer.fit(module, list(data), list(data[:2]))


def test_a_program_logs_from_any_hook_and_not_in_the_sanity_check(tmp_path: Path) -> None:
    logger = AllLogger()
    _fit(tmp_path, Program(), logger, num_sanity_val_steps=1)
    logged = [(key, step) for key, _, step in logger.of("histogram")]
    assert logged == [
        *[("batch", step) for step in range(4)],
        *[("val_batch", 3)] * 2,
        *[("batch", step) for step in range(4, 8)],
        *[("val_batch", 7)] * 2,
        ("at the end", 77),
    ]
    assert [step for _, _, step in logger.of("audio")] == list(range(8))


def test_the_graph_is_shown_when_fit_begins_once_and_to_who_wants_it(tmp_path: Path) -> None:
    logger = AllLogger()
    logger.wants_graph = True
    module = Program()
    data = list(torch.ones(2, 1, 3))
    trainer = fulmen.Trainer(logger=[logger, other := AllLogger()], default_root_dir=tmp_path, max_epochs=1)
    trainer.fit(module, data, data)
    trainer.fit(module, data, data)
    ((graph,),) = logger.of("graph")
    assert "layer/linear" in [node.name for node in graph.nodes]
    assert not other.of("graph")


def test_a_model_that_cannot_be_shown_trains_all_the_same(tmp_path: Path) -> None:
    logger = AllLogger()
    logger.wants_graph = True
    module = Program()
    module.example_input_array = torch.ones(1, 99)
    with pytest.warns(UserWarning, match="graph is not logged.*example_input_array"):
        _fit(tmp_path, module, logger)
    assert len(logger.of("histogram")) == 13
    assert not logger.of("graph")


def test_a_figure_is_a_picture(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")

    class Plotting(Program):
        def on_train_end(self) -> None:
            figure, axes = pyplot.subplots()
            axes.plot([1, 2])
            self.log_figure("plot", figure, "a line", close=True)
            with pytest.raises(MisconfigurationException, match="needs a matplotlib figure, but got a list"):
                self.log_figure("plot", [1, 2])

    logger = AllLogger()
    _fit(tmp_path, Plotting(), logger)
    assert logger.of("image") == [("plot", 1, 8, {})]
    assert not pyplot.get_fignums()
