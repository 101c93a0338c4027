"""XLAProfiler: marks the steps in the traces of a TPU."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any

from fulmen.errors import MissingPackageError
from fulmen.profilers.profiler import Profiler


class XLAProfiler(Profiler):
    """Starts torch_xla's profiling server and names the steps in what it captures; TensorBoard shows it.

    Args:
        port: the server's port.

    Raises:
        MissingPackageError: torch_xla is not installed.
    """

    STEP_FUNCTIONS = frozenset(["validation_step", "test_step", "predict_step"])
    RECORD_FUNCTIONS = frozenset([*STEP_FUNCTIONS, "training_step", "backward"])

    def __init__(self, port: int = 9012) -> None:
        super().__init__()
        try:
            importlib.import_module("torch_xla.debug.profiler")
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                "`XLAProfiler` needs torch_xla: pip install torch_xla; without a TPU use SimpleProfiler or "
                "PyTorchProfiler"
            ) from error
        self.port = port
        self._server: Any = None
        self._steps: Counter[str] = Counter()
        self._recordings: dict[str, Any] = {}

    def start(self, action_name: str) -> None:
        """Begin to mark an action, if it is a step or ``backward``; others are not marked."""
        function = action_name.rsplit(".", 1)[-1]
        if function not in self.RECORD_FUNCTIONS:
            return
        xla = importlib.import_module("torch_xla.debug.profiler")
        if self._server is None:
            self._server = xla.start_server(self.port)
        if function in self.STEP_FUNCTIONS:
            self._steps[action_name] += 1
            recording = xla.StepTrace(action_name, step_num=self._steps[action_name])
        else:
            recording = xla.Trace(action_name)
        recording.__enter__()
        self._recordings[action_name] = recording

    def stop(self, action_name: str) -> None:
        """End marking an action."""
        recording = self._recordings.pop(action_name, None)
        if recording is not None:
            recording.__exit__(None, None, None)
