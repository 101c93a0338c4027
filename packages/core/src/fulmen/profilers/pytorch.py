"""PyTorchProfiler: which operators a step spends its time in, by torch's own profiler."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerAction, ProfilerActivity, record_function
from torch.utils.hooks import RemovableHandle

from fulmen.errors import MisconfigurationException, nearest
from fulmen.profilers.profiler import Profiler, open_file

#: steps of the default schedule: one to wait, one to warm up, three to record
_WAIT, _WARMUP, _ACTIVE = 1, 1, 3


class PyTorchProfiler(Profiler):
    """Records a few steps with ``torch.profiler`` and reports their operators.

    Each kind of step (training, validation, test, prediction) is recorded by itself, one after the other where they
    alternate; a training step is everything from ``training_step`` to ``optimizer.step``. By default one step waits,
    one warms up and three are recorded; where there are fewer than five, all are. For each recording a trace
    ``fit-filename-training_step.NUMBER.pt.trace.json`` is written to ``dirpath``, for Chrome, Perfetto and TensorBoard.

    Args:
        dirpath: the folder of the report and the traces; by default the run's.
        filename: the report is written to ``dirpath/fit-filename.txt``; by default it is printed.
        group_by_input_shapes: list calls with other input shapes apart; turns ``record_shapes`` on.
        emit_nvtx: mark operators for NVIDIA's tools (Nsight Systems) in place of recording them here.
        export_to_chrome: write the traces.
        row_limit: the most rows of the report; -1 for all.
        sort_by_key: the column that orders the report, one of ``AVAILABLE_SORT_KEYS``; by default the total time on the
            GPU if there is one, on the CPU otherwise.
        record_module_names: mark in the trace which module an operator was called by.
        table_kwargs: further arguments of ``torch.autograd.profiler_util.EventList.table``.
        profiler_kwargs: further arguments of ``torch.profiler.profile``: ``schedule`` (``None`` records everything from
            the start on), ``activities``, ``on_trace_ready`` (in place of writing traces), ``record_shapes``,
            ``profile_memory``, ``with_stack``, ``with_flops``, ...; also ``export_to_flame_graph=True`` and ``metric``
            for stacks that flame graph tools read.

    Raises:
        MisconfigurationException: an argument is not known, or has a value that cannot work.
    """

    STEP_FUNCTIONS = frozenset(["training_step", "validation_step", "test_step", "predict_step"])
    AVAILABLE_SORT_KEYS = frozenset(
        ["count"]
        + [f"{device}_time{total}" for device in ("cpu", "cuda", "device") for total in ("", "_total")]
        + [f"self_{device}_time_total" for device in ("cpu", "cuda", "device")]
        + [f"{own}{device}_memory_usage" for own in ("", "self_") for device in ("cpu", "cuda", "device")]
    )

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        table_kwargs: dict[str, Any] | None = None,
        **profiler_kwargs: Any,
    ) -> None:
        super().__init__(dirpath, filename)
        if emit_nvtx and not torch.cuda.is_available():
            raise MisconfigurationException("`emit_nvtx=True` marks operators on a CUDA device, but there is none here")
        self._group_by_input_shapes = group_by_input_shapes
        self._emit_nvtx = emit_nvtx
        self._export_to_chrome = export_to_chrome
        self._row_limit = row_limit
        self._record_module_names = record_module_names
        self._table_kwargs = table_kwargs or {}
        self._export_to_flame_graph = bool(profiler_kwargs.pop("export_to_flame_graph", False))
        self._metric = profiler_kwargs.pop("metric", "self_cpu_time_total")
        self._has_schedule = "schedule" in profiler_kwargs
        self._schedule: Callable[[int], ProfilerAction] | None = profiler_kwargs.pop("schedule", None)
        self._on_trace_ready: Callable[..., Any] | None = profiler_kwargs.pop("on_trace_ready", None)
        self._profiler_kwargs = profiler_kwargs
        _check_schedule(self._schedule)
        _check_names("profiler_kwargs", profiler_kwargs, inspect.signature(torch.profiler.profile).parameters)
        parameters = set(inspect.signature(EventList.table).parameters) - {"self", "sort_by", "row_limit"}
        _check_names("table_kwargs", self._table_kwargs, parameters)
        profiler_kwargs.setdefault("activities", _activities())
        if group_by_input_shapes:
            profiler_kwargs["record_shapes"] = True
        if self._export_to_flame_graph:
            profiler_kwargs["with_stack"] = True
        uses_cuda = ProfilerActivity.CUDA in profiler_kwargs["activities"]
        self._sort_by_key = sort_by_key or ("cuda_time_total" if uses_cuda else "cpu_time_total")
        if self._sort_by_key not in self.AVAILABLE_SORT_KEYS:
            raise MisconfigurationException(
                f"`sort_by_key` must be one of {', '.join(sorted(self.AVAILABLE_SORT_KEYS))}, but is {sort_by_key!r}"
                f"{nearest(self._sort_by_key, self.AVAILABLE_SORT_KEYS)}"
            )
        #: the events of the newest recording
        self.function_events: EventList | None = None
        #: torch's own profiler of the newest recording
        self.profiler: Any = None
        self._recorders: dict[str, torch.profiler.profile] = {}
        self._tables: dict[str, str] = {}
        self._marks: dict[str, record_function] = {}
        self._modules: RegisterRecordFunction | None = None
        self._nvtx: contextlib.ExitStack | None = None

    # ------------------------------------------------------------------------------------------- actions

    def start(self, action_name: str) -> None:
        """Begin an action: mark it, and begin the recording that it belongs to."""
        if self._emit_nvtx:
            self._start_nvtx()
        elif self._records_everything:
            self._recorder_of("records")
        else:
            step = self._step_of(action_name)
            if step is not None and self._may_advance(step):
                self._recorder_of(step)
        if self._modules is None and self._record_module_names and self._lightning_module is not None:
            self._modules = RegisterRecordFunction(self._lightning_module)
            self._modules.__enter__()
        if action_name not in self._marks:
            mark = self._marks[action_name] = record_function(f"[pl][profile]{action_name}")  # TensorBoard knows these
            mark.__enter__()

    def stop(self, action_name: str) -> None:
        """End an action; where it is a step, its recorder goes on to the next."""
        mark = self._marks.pop(action_name, None)
        if mark is not None:
            mark.__exit__(None, None, None)
        step = self._step_of(action_name)
        if step in self._recorders and self._may_advance(step):
            with _without_words_on_cycles():
                self._recorders[step].step()

    @property
    def _records_everything(self) -> bool:
        """Whether there are no schedules: asked for, or used without a Trainer, where nobody says what a step is."""
        return self._schedule is None and (self._has_schedule or self._stage is None)

    def _step_of(self, action: str) -> str | None:
        """Return the kind of step that an action is; ``None`` where it is only a part of one, or something else."""
        if action == "run_training_batch":
            return "training_step"
        function = action.rsplit(".", 1)[-1]
        if function == "training_step" and "run_training_batch" in self._marks:
            return None
        return function if function in self.STEP_FUNCTIONS else None

    def _may_advance(self, step: str) -> bool:
        """Whether this kind of step is counted now: not while another is recorded, nor in the sanity check."""
        if any(
            recorder.current_action is not ProfilerAction.NONE
            for other, recorder in self._recorders.items()
            if other != step
        ):
            return False
        return self._lightning_module is None or not self._lightning_module.trainer.sanity_checking

    # ----------------------------------------------------------------------------------------- recordings

    def _recorder_of(self, step: str) -> None:
        """Begin recording a kind of step, if that has not begun."""
        if step in self._recorders:
            return
        self.profiler = self._recorders[step] = torch.profiler.profile(
            schedule=None if step == "records" else self._schedule or self._default_schedule(step),
            on_trace_ready=functools.partial(self._keep, step),
            **self._profiler_kwargs,
        )
        self.profiler.start()

    def _default_schedule(self, step: str) -> Callable[[int], ProfilerAction]:
        ahead = self._steps_ahead(step)
        if ahead >= _WAIT + _WARMUP + _ACTIVE:
            return torch.profiler.schedule(wait=_WAIT, warmup=_WARMUP, active=_ACTIVE, repeat=1)
        last = int(ahead) - 1

        def all_of_few(number: int) -> ProfilerAction:
            if number > last:
                return ProfilerAction.NONE
            return ProfilerAction.RECORD_AND_SAVE if number == last else ProfilerAction.RECORD

        return all_of_few

    def _steps_ahead(self, step: str) -> float:
        """Return how many steps of a kind are to come, at least 1; ``inf`` where nobody can know."""
        if self._lightning_module is None:
            return float("inf")
        trainer = self._lightning_module.trainer
        if step == "training_step":
            epochs = trainer.max_epochs if trainer.max_epochs >= 0 else float("inf")
            steps = trainer.max_steps * trainer.accumulate_grad_batches if trainer.max_steps >= 0 else float("inf")
            return max(1, min(trainer.num_training_batches * epochs, steps))
        counts = {
            "validation_step": trainer.num_val_batches,
            "test_step": trainer.num_test_batches,
            "predict_step": trainer.num_predict_batches,
        }[step]
        return max(1, sum(counts))

    def _keep(self, step: str, recorder: torch.profiler.profile) -> None:
        """Take what was recorded: its table for the report, its trace into a file."""
        averages = recorder.key_averages(group_by_input_shape=self._group_by_input_shapes)
        number = sum(name.split(" ")[0] == step for name in self._tables)
        self._tables[f"{step} ({number + 1})" if number else step] = averages.table(
            sort_by=self._sort_by_key, row_limit=self._row_limit, **self._table_kwargs
        )
        self.function_events = recorder.events()
        if self._on_trace_ready is not None:
            self._on_trace_ready(recorder)
        elif self._lightning_module is None and self.dirpath is None:
            return  # used alone, and nowhere to write to
        else:
            if self._export_to_chrome:
                self._export(recorder.export_chrome_trace, f"{step}.{time.time_ns()}", ".pt.trace.json")
            if self._export_to_flame_graph:
                self._export(functools.partial(recorder.export_stacks, metric=self._metric), step, ".stack")

    def _export(self, export: Callable[[str], Any], name: str, extension: str) -> None:
        path = os.path.join(self.dirpath or "", self._prepare_filename(name, extension))
        with open_file(path, "wb") as file, tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, f"trace{extension}")  # torch writes local files only
            export(local)
            with open(local, "rb") as written:
                file.write(written.read())

    # ---------------------------------------------------------------------------------------------- report

    def summary(self) -> str:
        """End the recordings; return a table of operators for each."""
        self._stop_recorders()
        if self._tables:
            return self._stats_to_str(self._tables) + "\n"
        if self._emit_nvtx or not self._recorders:
            return ""
        return self._stats_to_str({"records": "nothing was recorded: all steps were over before the schedule began to"})

    def _stop_recorders(self) -> None:
        if self._nvtx is not None:
            self._nvtx.close()
            self._nvtx = None
        for recorder in self._recorders.values():
            if recorder.current_action is not ProfilerAction.NONE or recorder.step_rec_fn is not None:
                recorder.stop()
            recorder.current_action = ProfilerAction.NONE

    def teardown(self, stage: str | None) -> None:
        """End what is under way and forget what was reported."""
        super().teardown(stage)
        for action in list(self._marks):
            self._marks.pop(action).__exit__(None, None, None)
        self._stop_recorders()
        self._recorders, self._tables = {}, {}
        if self._modules is not None:
            self._modules.__exit__(None, None, None)
            self._modules = None

    def __getstate__(self) -> dict[str, Any]:
        # Recordings can be neither copied nor pickled.
        empty: dict[str, Any] = {
            "function_events": None,
            "profiler": None,
            "_recorders": {},
            "_tables": {},
            "_marks": {},
        }
        return {**super().__getstate__(), **empty, "_modules": None, "_nvtx": None}

    def _start_nvtx(self) -> None:
        if self._nvtx is None:
            self._nvtx = contextlib.ExitStack()
            self._nvtx.enter_context(torch.cuda.profiler.profile())
            shapes = self._profiler_kwargs.get("record_shapes", False)
            self._nvtx.enter_context(torch.autograd.profiler.emit_nvtx(record_shapes=shapes))


class RegisterRecordFunction:
    """Marks in a recording which part of a model an operator was called by, while it is entered.

    ::

        with RegisterRecordFunction(model):
            output = model(batch)

    Args:
        model: its named modules are marked, all but itself.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> None:
        for name, module in self._model.named_modules():
            if name:
                self._mark(module, f"[pl][module]{type(module).__module__}.{type(module).__name__}: {name}")

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _mark(self, module: nn.Module, label: str) -> None:
        open_marks: list[record_function] = []  # more than one where a module calls itself

        def enter(*_: Any) -> None:
            open_marks.append(record_function(label))
            open_marks[-1].__enter__()

        def leave(*_: Any) -> None:
            if open_marks:
                open_marks.pop().__exit__(None, None, None)

        self._handles.append(module.register_forward_pre_hook(enter))
        self._handles.append(module.register_forward_hook(leave, always_call=True))


@contextlib.contextmanager
def _without_words_on_cycles() -> Any:
    """Torch warns that a new cycle drops the events of the last, which we have taken by then."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Profiler clears events at the end of each cycle")
        yield


def _activities() -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]


def _check_schedule(schedule: Any) -> None:
    if schedule is None:
        return
    if not callable(schedule):
        raise MisconfigurationException(
            f"`schedule` must be a function from a step's number to a torch.profiler.ProfilerAction, but is "
            f"{schedule!r}; use e.g. torch.profiler.schedule(wait=1, warmup=1, active=3)"
        )
    action = schedule(0)
    if not isinstance(action, ProfilerAction):
        raise MisconfigurationException(
            f"`schedule` must return a torch.profiler.ProfilerAction, but returned {action!r} for step 0"
        )


def _check_names(what: str, given: Any, known: Any) -> None:
    for name in given:
        if name not in known:
            raise MisconfigurationException(
                f"`PyTorchProfiler` got {name!r} in `{what}`, which torch does not know{nearest(name, known)}; known "
                f"are: {', '.join(sorted(set(known) - {'self'}))}"
            )
