"""A logger of somebody else's, as mypy and pyright read it; nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import assert_type

from fulmen import Trainer
from fulmen.logger import Logger, LogsText, RunInfo


class PrintLogger(Logger):
    interface = (1, 0)

    def open(self, run: RunInfo) -> None:
        assert_type(run.name, str)
        print(run.folder)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            assert_type(value, float)
            print(step, name, value)

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        print(dict(params))

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        print(step, key, text)

    def close(self, status: str) -> None:
        print(status)


shows_text: LogsText = PrintLogger()
Trainer(logger=PrintLogger())
