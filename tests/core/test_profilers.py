"""Profilers: what they measure and write, and that a run without one pays nothing."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import marshal
import pickle
import pstats
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerAction
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.profilers import (
    AdvancedProfiler,
    NoProfiler,
    PassThroughProfiler,
    Profiler,
    PyTorchProfiler,
    RegisterRecordFunction,
    SimpleProfiler,
    XLAProfiler,
)

HERE = Path(__file__).parent
QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Validated(Model):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch[0]).sum())

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0])


class Recording(Profiler):
    """A profiler of a user's own: it notes what begins and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []

    def start(self, action_name: str) -> None:
        self.events.append(("start", action_name))

    def stop(self, action_name: str) -> None:
        self.events.append(("stop", action_name))


def loader(batches: int = 8) -> Any:
    return DataLoader(TensorDataset(torch.randn(batches * 2, 4)), batch_size=2)


def trainer(folder: Path, **options: Any) -> fulmen.Trainer:
    defaults = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "default_root_dir": folder, **QUIET}
    return fulmen.Trainer(**{**defaults, **options})


# ------------------------------------------------------------------------------------------- costs nothing


def calls_by_file(fit: Any) -> Counter[str]:
    """Return how many Python functions of each file start while ``fit`` runs."""
    counts: Counter[str] = Counter()

    def watch(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            counts[frame.f_code.co_filename] += 1

    sys.setprofile(watch)
    try:
        fit()
    finally:
        sys.setprofile(None)
    return counts


@pytest.mark.parametrize("manual", [False, True])
def test_steps_without_a_profiler_start_none_of_its_functions(tmp_path: Path, manual: bool) -> None:
    class Steps(Validated):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            pass

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            if manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

    batches = loader(100)

    def of_steps(steps: int, **options: Any) -> Counter[str]:
        run = trainer(tmp_path, limit_train_batches=steps, limit_val_batches=steps, gradient_clip_val=None, **options)
        module = Steps()
        module.automatic_optimization = not manual
        return calls_by_file(lambda: run.fit(module, batches, batches))

    of_steps(10)
    few, many = of_steps(10), of_steps(90)
    profilers = str(Path(fulmen.__file__).parent / "profilers")
    in_steps = {file: many[file] - few[file] for file in many}
    assert {file: count for file, count in in_steps.items() if file.startswith(profilers)} == {
        file: 0 for file in many if file.startswith(profilers)
    }
    assert any(file.startswith(profilers) for file in many)  # they are called where the loop is built
    # The same count is not 0 with a profiler: it can fail.
    with_profiler = {"profiler": SimpleProfiler()}
    few, many = of_steps(10, **with_profiler), of_steps(90, profiler=SimpleProfiler())
    assert sum(many[file] - few[file] for file in many if file.startswith(profilers)) > 80 * 3


def test_the_null_object_gives_the_bare_call_back() -> None:
    profiler = NoProfiler()
    iterator = iter([1, 2])
    assert profiler.wrap("an action", len) is len
    assert profiler.wrap_iterator("an action", iterator) is iterator
    with profiler.profile("an action") as name:
        assert name == "an action"
    assert profiler.summary() == ""
    assert PassThroughProfiler is NoProfiler
    assert isinstance(fulmen.Trainer(accelerator="cpu", logger=False, **QUIET).profiler, NoProfiler)


def test_importing_fulmen_loads_no_profiler() -> None:
    import subprocess

    code = "import sys, fulmen; print(sorted(m for m in sys.modules if m.startswith('fulmen.profilers.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['fulmen.profilers.profiler']"
    assert fulmen.profilers.SimpleProfiler is SimpleProfiler
    assert set(fulmen.profilers.__all__) == set(dir(fulmen.profilers))


# ------------------------------------------------------------------------------------------- what is measured


def test_the_actions_are_those_of_lightning(tmp_path: Path) -> None:
    # Loaded by its path: the recording of the oracle runs the same file.
    spec = importlib.util.spec_from_file_location("profiled_program", HERE / "profiled_program.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    theirs = json.loads((HERE / "profiler_actions.json").read_text("utf-8"))
    ours = program.run(fulmen, SimpleProfiler, str(tmp_path))
    assert ours.keys() == theirs.keys()
    for entry, counts in ours.items():
        different = {action: count for action, count in counts.items() if theirs[entry].get(action) != count}
        # Lightning does not measure these three; and there the last `next`, which finds nothing, is not one.
        for action in (
            "Data.prepare_data",
            "Lit.prepare_data",
            "Lit.configure_model",
            "[_PredictionLoop].predict_next",
        ):
            different = {name: count for name, count in different.items() if not name.endswith(action)}
        assert different == {}
    # What a program has for itself is there: all that it overrides, the steps, the waits, and its own parts.
    own = {
        "my part",
        "run_training_epoch",
        "run_training_batch",
        "[_TrainingEpochLoop].train_dataloader_next",
        "[_EvaluationLoop].val_next",
        "[LightningModule]Lit.on_after_backward",
        "[LightningModule]Lit.on_after_batch_transfer",
        "[LightningModule]Lit.lr_scheduler_step",
        "[LightningModule]Lit.optimizer_step",
        "[LightningDataModule]Data.setup",
        "[LightningDataModule]Data.train_dataloader",
        "[Callback]run.<locals>.Watch.on_train_batch_end",
        "[Strategy]SingleDeviceStrategy.training_step",
        "[Strategy]SingleDeviceStrategy.backward",
    }
    assert own <= ours["fit"].keys()
    assert "[Callback]run.<locals>.Watch.on_test_batch_start" in ours["test"]
    assert "[Callback]run.<locals>.Watch.on_predict_end" in ours["predict"]


@pytest.mark.parametrize("kind", ["automatic", "accumulating", "closure", "lbfgs", "manual", "without", "turns"])
def test_every_action_that_begins_ends_inside_the_one_around_it(tmp_path: Path, kind: str) -> None:
    class Any_(Validated):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(4, 2)
            self.automatic_optimization = kind != "manual"

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch[0]).sum() + self.other(batch[0]).sum()
            if kind == "manual":
                optimizer = self.optimizers()
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def training_step_a(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch[0]).sum()

        def training_step_b(self, batch: Any, batch_idx: int) -> Any:
            return self.other(batch[0]).sum()

        def configure_optimizers(self) -> Any:
            if kind == "without":
                return None
            if kind == "lbfgs":
                return torch.optim.LBFGS(self.parameters(), max_iter=2)
            if kind == "turns":
                parts = {"a": self.layer, "b": self.other}
                return {name: torch.optim.SGD(part.parameters(), lr=0.1) for name, part in parts.items()}
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class WithClosure(Any_):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)

    profiler = Recording()
    module = WithClosure() if kind == "closure" else Any_()
    with pytest.warns(UserWarning, match="FUL011") if kind == "without" else _nothing():
        run = trainer(
            tmp_path, profiler=profiler, accumulate_grad_batches=2 if kind == "accumulating" else 1, max_epochs=2
        )
        run.fit(module, loader(4), loader(2))
    under_way: list[str] = []
    for event, action in profiler.events:
        if event == "start":
            under_way.append(action)
        else:
            assert under_way.pop() == action
    assert under_way == []
    counts = Counter(action for event, action in profiler.events if event == "start")
    steps = {"accumulating": 4, "without": 0, "turns": 16}.get(kind, 8)
    name = "optimizer_step" if kind == "manual" else "[LightningModule]Any_.optimizer_step"
    assert counts[name.replace("Any_", type(module).__name__)] == steps
    assert counts["run_training_batch"] == 8
    assert counts["run_training_epoch"] == 2
    backwards = {"lbfgs": 16, "turns": 16}.get(kind, 8)
    assert counts["[Strategy]SingleDeviceStrategy.backward"] == backwards
    if kind == "turns":
        assert counts["[Strategy]SingleDeviceStrategy.training_step_b"] == 8


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_a_profiled_run_computes_the_same(tmp_path: Path) -> None:
    def weights(profiler: Any) -> Any:
        fulmen.seed_everything(1)
        module = Validated()
        run = trainer(tmp_path, profiler=profiler, max_epochs=2)
        run.fit(module, DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=2, shuffle=True), loader(3))
        return torch.cat([parameter.flatten() for parameter in module.parameters()]), torch.get_rng_state()

    plain = weights(None)
    for profiler in ("simple", "advanced", "pytorch"):
        assert all(map(torch.equal, weights(profiler), plain)), profiler


def test_a_profiler_of_the_users_own_hears_where_it_runs(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Own(Recording):
        def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
            super().setup(stage, local_rank, log_dir)
            seen.append((stage, local_rank, log_dir))

        def teardown(self, stage: str | None) -> None:
            seen.append(stage)

    run = trainer(tmp_path, profiler=Own())
    module = Validated()
    run.fit(module, loader(), loader())
    run.test(module, loader(), verbose=False)
    assert seen == [("fit", None, str(tmp_path)), "fit", ("test", None, str(tmp_path)), "test"]


def test_a_failed_fit_is_reported_too(tmp_path: Path) -> None:
    class Fails(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:
                raise ValueError("of the user")
            return super().training_step(batch, batch_idx)

    profiler = SimpleProfiler(filename="report")
    with pytest.raises(ValueError, match="of the user"):
        trainer(tmp_path, profiler=profiler).fit(Fails(), loader())
    assert "run_training_batch" in (tmp_path / "fit-report.txt").read_text("utf-8")
    assert profiler.current_actions == {}


def test_a_report_that_fails_is_no_reason_to_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SimpleProfiler):
        def summary(self) -> str:
            raise OSError("no space")

    run = trainer(tmp_path, profiler=Broken())
    run.fit(Model(), loader())
    assert run.state.finished
    assert "the report of Broken could not be written" in caplog.text


def test_the_environment_chooses_a_profiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_TRAINER_PROFILER", "simple")
    assert type(trainer(tmp_path).profiler) is SimpleProfiler


@pytest.mark.parametrize(
    ("word", "cls"), [("simple", SimpleProfiler), ("Advanced", AdvancedProfiler), ("pytorch", PyTorchProfiler)]
)
def test_a_word_stands_for_a_profiler(tmp_path: Path, word: str, cls: type) -> None:
    assert type(trainer(tmp_path, profiler=word).profiler) is cls


def test_a_bare_run_refuses_a_profiler() -> None:
    with pytest.raises(MisconfigurationException, match="profiler='simple'"):
        fulmen.Trainer(barebones=True, profiler="simple")
    assert isinstance(fulmen.Trainer(barebones=True, accelerator="cpu").profiler, NoProfiler)


def test_a_class_in_place_of_an_object_is_said() -> None:
    with pytest.raises(MisconfigurationException, match="the class; make an object of it"):
        fulmen.Trainer(profiler=SimpleProfiler)


# ---------------------------------------------------------------------------------------------------- simple


def test_the_simple_report_has_mean_calls_sum_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 2.0, 5.0, 5.0, 5.5, 8.0])
    monkeypatch.setattr("fulmen.profilers.simple.time.perf_counter", lambda: next(clock))
    profiler = SimpleProfiler()
    for action in ("short", "long", "short"):
        with profiler.profile(action):
            pass
    rows = [[word.strip() for word in line.split("|")[1:-1]] for line in profiler.summary().splitlines() if "|" in line]
    assert rows == [
        ["Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %"],
        ["Total", "-", "3", "8.0", "100 %"],
        ["long", "3.0", "1", "3.0", "37.5"],
        ["short", "0.75", "2", "1.5", "18.75"],
    ]
    profiler.extended = False
    monkeypatch.setattr("fulmen.profilers.simple.time.perf_counter", lambda: 8.0)
    rows = [[word.strip() for word in line.split("|")[1:-1]] for line in profiler.summary().splitlines() if "|" in line]
    assert rows == [
        ["Action", "Mean duration (s)", "Total time (s)"],
        ["long", "3.0", "3.0"],
        ["short", "0.75", "1.5"],
    ]


def test_the_arguments_of_a_callback_are_left_out_where_they_fill_the_line() -> None:
    profiler = SimpleProfiler()
    many = "'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, 'train_time_interval': None"
    for action in (f"[Callback]A{{'monitor': 'x', {many}}}.setup", f"[Callback]A{{'monitor': 'y', {many}}}.setup"):
        with profiler.profile(action):
            pass
    assert all(action in profiler.summary() for action in profiler.recorded_durations)  # to tell them apart
    profiler.recorded_durations.popitem()
    assert "[Callback]A{...}.setup  |" in profiler.summary()


def test_actions_begin_and_end_once() -> None:
    profiler = SimpleProfiler()
    profiler.start("a")
    with pytest.raises(ValueError, match="'a' was started, but it is under way already"):
        profiler.start("a")
    with pytest.raises(ValueError, match="'b' was stopped, but it was not started"):
        profiler.stop("b")
    with pytest.raises(ZeroDivisionError), profiler.profile("c"):
        raise ZeroDivisionError
    assert len(profiler.recorded_durations["c"]) == 1


def test_the_report_is_printed_where_it_has_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fulmen"):
        trainer(tmp_path, profiler="simple").fit(Model(), loader())
    assert "FIT Profiler Report" in caplog.text
    assert "run_training_batch" in caplog.text


def test_each_entry_point_has_a_report_of_its_own(tmp_path: Path) -> None:
    profiler = SimpleProfiler(dirpath=tmp_path / "reports", filename="time")
    with profiler.profile("before the run"):
        pass
    run = trainer(tmp_path, profiler=profiler)
    module = Validated()
    run.fit(module, loader(4), loader(2))
    assert len(profiler.recorded_durations["run_training_batch"]) == 4  # still there to be looked at
    run.validate(module, loader(), verbose=False)
    run.test(module, loader(), verbose=False)
    run.predict(module, loader())
    texts = {path.name: path.read_text("utf-8") for path in (tmp_path / "reports").iterdir()}
    assert set(texts) == {f"{entry}-time.txt" for entry in ("fit", "validate", "test", "predict")}
    assert "before the run" in texts["fit-time.txt"]
    assert "run_training_batch" in texts["fit-time.txt"]
    assert "run_training_batch" not in texts["test-time.txt"]
    assert texts["test-time.txt"].startswith("TEST Profiler Report")


def test_the_report_lies_in_the_folder_of_each_run(tmp_path: Path) -> None:
    profiler = SimpleProfiler(filename="time")
    for name in ("one", "two"):
        trainer(tmp_path / name, profiler=profiler).fit(Model(), loader())
        assert (tmp_path / name / "fit-time.txt").is_file()


def test_the_rank_is_in_the_file_name(tmp_path: Path) -> None:
    profiler = SimpleProfiler(dirpath=tmp_path, filename="time")
    profiler.setup("fit", local_rank=3)
    profiler.start("a")
    profiler.stop("a")
    profiler.describe()
    assert (tmp_path / "fit-time-3.txt").is_file()
    assert profiler.local_rank == 3


def test_a_report_goes_to_a_url(tmp_path: Path) -> None:
    profiler = SimpleProfiler(dirpath="memory://reports", filename="time")
    trainer(tmp_path, profiler=profiler).fit(Model(), loader())
    import fsspec

    with fsspec.open("memory://reports/fit-time.txt", "r") as file:
        assert "run_training_batch" in file.read()


@pytest.mark.parametrize("cls", [SimpleProfiler, AdvancedProfiler, PyTorchProfiler, NoProfiler])
def test_profilers_pickle_and_copy(tmp_path: Path, cls: Any) -> None:
    profiler = cls(filename="x") if cls is not NoProfiler else cls()
    for _ in ("before", "after"):
        twins = pickle.loads(pickle.dumps(profiler)), copy.deepcopy(profiler)
        assert [twin.filename for twin in twins] == [profiler.filename] * 2
        trainer(tmp_path, profiler=profiler).fit(Model(), loader())


# -------------------------------------------------------------------------------------------------- advanced


def slow_part() -> int:
    return sum(range(10))


def test_the_advanced_report_lists_functions_of_each_action(tmp_path: Path) -> None:
    class Calls(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            slow_part()
            return super().training_step(batch, batch_idx)

    profiler = AdvancedProfiler(filename="functions", dump_stats=True)
    trainer(tmp_path, profiler=profiler).fit(Calls(), loader())
    report = (tmp_path / "fit-functions.txt").read_text("utf-8")
    of_step = report.split("Profile stats for: [Strategy]SingleDeviceStrategy.training_step")[1].split("Profile stats")[
        0
    ]
    assert "(slow_part)" in of_step
    path = tmp_path / "fit-functions-[Strategy]SingleDeviceStrategy.training_step.prof"
    stats: Any = pstats.Stats(str(path))
    (calls,) = [value[0] for key, value in stats.stats.items() if key[2] == "slow_part"]
    assert calls == 8
    assert marshal.loads(path.read_bytes())


def test_an_action_goes_on_after_one_inside_it() -> None:
    profiler = AdvancedProfiler(line_count_restriction=50)
    with profiler.profile("outer"):
        with profiler.profile("inner"):
            slow_part()
        sorted([2, 1])
    outer, inner = profiler.summary().split("Profile stats for: ")[1:]
    assert outer.startswith("outer")
    assert "sorted" in outer
    assert "slow_part" not in outer
    assert "slow_part" in inner


def test_line_count_restriction_limits_the_list() -> None:
    def lines(restriction: float) -> int:
        profiler = AdvancedProfiler(line_count_restriction=restriction)
        with profiler.profile("a"):
            for name in ("x", "y"):
                sorted([name])
            json.dumps({"a": [1, 2]})
        return sum("{" in line or ".py:" in line for line in profiler.summary().splitlines())

    assert lines(1) == 1
    assert lines(3) == 3
    assert lines(1.0) > 4


def test_the_advanced_profiler_says_what_it_cannot_do(tmp_path: Path) -> None:
    profiler = AdvancedProfiler()
    with pytest.raises(ValueError, match="'a' was stopped, but it was not started"):
        profiler.stop("a")
    profiler = AdvancedProfiler(dump_stats=True)
    with profiler.profile("a"):
        pass
    with pytest.raises(MisconfigurationException, match="has no folder to write to; pass `dirpath`"):
        profiler.summary()


# --------------------------------------------------------------------------------------------------- pytorch


def traces(folder: Path) -> dict[str, list[str]]:
    """Return for each kind of step the names of the events in its trace."""
    found = {}
    for path in sorted(folder.glob("*.pt.trace.json")):
        events = json.loads(path.read_text("utf-8"))["traceEvents"]
        found[path.name.split(".")[0]] = [event.get("name", "") for event in events]
    return found


def test_three_steps_of_each_kind_are_recorded(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(filename="ops")
    trainer(tmp_path, profiler=profiler, max_epochs=2).fit(Validated(), loader(), loader(6))
    found = traces(tmp_path)
    assert set(found) == {"fit-ops-training_step", "fit-ops-validation_step"}
    training, validation = found["fit-ops-training_step"], found["fit-ops-validation_step"]
    assert training.count("[pl][profile]run_training_batch") == 3
    assert training.count("[pl][profile][LightningModule]Validated.optimizer_step") == 3
    assert training.count("[pl][module]torch.nn.modules.linear.Linear: layer") == 3
    assert validation.count("[pl][profile][Strategy]SingleDeviceStrategy.validation_step") == 3
    assert validation.count("[pl][profile]run_training_batch") == 0
    report = (tmp_path / "fit-ops.txt").read_text("utf-8")
    assert report.startswith("FIT Profiler Report")
    assert [line for line in report.splitlines() if line.startswith("Profile stats for")] == [
        "Profile stats for: training_step",
        "Profile stats for: validation_step",
    ]
    assert "aten::addmm" in report


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_few_steps_are_all_recorded(tmp_path: Path, batches: int) -> None:
    trainer(tmp_path, profiler="pytorch").fit(Model(), loader(batches))
    (names,) = traces(tmp_path).values()
    assert names.count("[pl][profile]run_training_batch") == batches


def test_evaluation_and_prediction_are_recorded(tmp_path: Path) -> None:
    run = trainer(tmp_path, profiler="pytorch")
    module = Validated()
    run.validate(module, loader(), verbose=False)
    run.test(module, loader(2), verbose=False)
    run.predict(module, loader())
    found = traces(tmp_path)
    assert set(found) == {"validate-validation_step", "test-test_step", "predict-predict_step"}
    assert found["test-test_step"].count("[pl][profile][Strategy]SingleDeviceStrategy.test_step") == 2
    assert found["predict-predict_step"].count("[pl][profile][Strategy]SingleDeviceStrategy.predict_step") == 3


def test_a_schedule_of_the_users_own(tmp_path: Path) -> None:
    recorded: list[int] = []
    profiler = PyTorchProfiler(
        schedule=torch.profiler.schedule(wait=0, warmup=1, active=2, repeat=2),
        on_trace_ready=lambda recorder: recorded.append(recorder.step_num),
        record_module_names=False,
    )
    trainer(tmp_path, profiler=profiler).fit(Model(), loader())
    assert recorded == [3, 6]
    assert list(tmp_path.glob("*.json")) == []


def test_a_schedule_that_comes_too_late_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    profiler = PyTorchProfiler(schedule=torch.profiler.schedule(wait=100, warmup=1, active=2))
    with caplog.at_level(logging.INFO, "fulmen"):
        trainer(tmp_path, profiler=profiler).fit(Model(), loader())
    assert "nothing was recorded: all steps were over before the schedule began to" in caplog.text


def test_without_a_schedule_everything_is_recorded(tmp_path: Path) -> None:
    trainer(tmp_path, profiler=PyTorchProfiler(schedule=None)).fit(Validated(), loader(), loader(2))
    (names,) = traces(tmp_path).values()
    assert names.count("[pl][profile]run_training_batch") == 8
    assert names.count("[pl][profile][Strategy]SingleDeviceStrategy.validation_step") == 4


def test_it_works_without_a_trainer() -> None:
    profiler = PyTorchProfiler(row_limit=50, sort_by_key="self_cpu_time_total", table_kwargs={"time_unit": "ms"})
    with profiler.profile("multiply"):
        torch.randn(3, 3) @ torch.randn(3, 3)
    report = profiler.summary()
    assert "aten::mm" in report
    assert "[pl][profile]multiply" in report
    assert profiler.function_events is not None
    profiler.teardown(None)
    assert profiler.summary() == ""


def test_shapes_and_stacks(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(filename="ops", group_by_input_shapes=True, export_to_flame_graph=True, row_limit=-1)
    trainer(tmp_path, profiler=profiler).fit(Model(), loader(3))
    assert "[2, 4]" in (tmp_path / "fit-ops.txt").read_text("utf-8")
    assert (tmp_path / "fit-ops-training_step.stack").is_file()


def test_modules_are_marked_only_inside() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with torch.profiler.profile() as recorder, RegisterRecordFunction(model):
        model(torch.ones(1, 2))
    names = [event.name for event in recorder.events()]
    assert "[pl][module]torch.nn.modules.linear.Linear: 0" in names
    assert "[pl][module]torch.nn.modules.activation.ReLU: 1" in names
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sort_by_key": "cpu_tim"}, "`sort_by_key` must be one of .*'cpu_tim'; did you mean 'cpu_time'"),
        ({"schedule": 3}, "`schedule` must be a function"),
        ({"schedule": lambda step: None}, "`schedule` must return a torch.profiler.ProfilerAction, but returned None"),
        ({"profil_memory": True}, "'profil_memory' in `profiler_kwargs`.*did you mean 'profile_memory'"),
        ({"table_kwargs": {"row_limit": 3}}, "'row_limit' in `table_kwargs`"),
        ({"table_kwargs": {"time_units": "ms"}}, "did you mean 'time_unit'"),
    ],
)
def test_arguments_that_cannot_work_are_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        PyTorchProfiler(**arguments)


def test_nvtx_marks_in_place_of_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(MisconfigurationException, match="there is none here"):
            PyTorchProfiler(emit_nvtx=True)
    entered: list[str] = []

    def fake(name: str) -> Any:
        class Context:
            def __init__(self, **arguments: Any) -> None:
                pass

            def __enter__(self) -> None:
                entered.append(name)

            def __exit__(self, *exception: object) -> None:
                entered.append(f"end of {name}")

        return Context

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.profiler, "profile", fake("range"))
    monkeypatch.setattr(torch.autograd.profiler, "emit_nvtx", fake("nvtx"))
    profiler = PyTorchProfiler(emit_nvtx=True)
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda.profiler, "profile", fake("range"))
    monkeypatch.setattr(torch.autograd.profiler, "emit_nvtx", fake("nvtx"))
    trainer(tmp_path, profiler=profiler).fit(Model(), loader())
    assert entered == ["range", "nvtx", "end of nvtx", "end of range"]
    assert list(tmp_path.glob("*.json")) == []


def test_the_default_schedule_waits_warms_up_and_records() -> None:
    schedule = PyTorchProfiler()._default_schedule("training_step")
    none, record = ProfilerAction.NONE, ProfilerAction.RECORD
    expected = [none, ProfilerAction.WARMUP, record, record, ProfilerAction.RECORD_AND_SAVE, none, none]
    assert [schedule(number) for number in range(7)] == expected


# ------------------------------------------------------------------------------------------------------- xla


def test_without_torch_xla_the_xla_profiler_says_so() -> None:
    if importlib.util.find_spec("torch_xla") is not None:
        pytest.skip("torch_xla is installed")
    with pytest.raises(MissingPackageError, match="pip install torch_xla"):
        XLAProfiler()
    with pytest.raises(MissingPackageError, match="pip install torch_xla"):
        fulmen.Trainer(profiler="xla")


def test_the_xla_profiler_names_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[tuple[str, int | None]] = []
    ports: list[int] = []

    class Trace:
        def __init__(self, name: str, step_num: int | None = None) -> None:
            self.name, self.step_num = name, step_num

        def __enter__(self) -> None:
            pass

        def __exit__(self, *exception: object) -> None:
            traced.append((self.name.rsplit(".", 1)[-1], self.step_num))

    xla: Any = types.ModuleType("torch_xla.debug.profiler")
    xla.start_server, xla.Trace, xla.StepTrace = (lambda port: ports.append(port) or "a server"), Trace, Trace
    for name in ("torch_xla", "torch_xla.debug"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torch_xla.debug.profiler", xla)
    run = trainer(tmp_path, profiler=XLAProfiler(port=9013), num_sanity_val_steps=0)
    run.fit(Validated(), loader(1), loader(2))
    assert traced == [("training_step", None), ("backward", None), ("validation_step", 1), ("validation_step", 2)]
    assert ports == [9013]
