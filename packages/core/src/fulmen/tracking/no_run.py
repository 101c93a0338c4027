"""NoRun: stands in for a run where nothing is to be recorded (``Trainer(logger=False)``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fulmen.logger import Logger, NoExperiment


class NoRun:
    """Accepts every record and keeps none."""

    def is_delivering(self) -> bool:
        """Nothing is delivered."""
        return False

    def wait_until_open(self, logger: Logger) -> None:
        """There is nothing to wait for."""

    def log_metrics(
        self,
        metrics: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        step: int | None = None,
        *,
        only: Logger | None = None,
    ) -> None:
        """Keep nothing."""

    def log_hyperparams(self, params: Any, *args: Any, only: Logger | None = None, **kwargs: Any) -> None:
        """Keep nothing."""

    def log_image(
        self,
        key: str,
        images: Sequence[Any],
        step: int | None = None,
        captions: Sequence[str | None] | None = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep nothing."""

    def log_text(
        self, key: str, text: str, step: int | None = None, *, only: Logger | None = None, **kwargs: Any
    ) -> None:
        """Keep nothing."""

    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Any = None,
        step: int | None = None,
        *,
        only: Logger | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep nothing."""

    def log_artifact(self, path: Any, name: str | None = None, *, only: Logger | None = None) -> None:
        """Keep nothing."""

    def log_histogram(
        self, key: str, values: Any, step: int | None = None, *, only: Logger | None = None, **kwargs: Any
    ) -> None:
        """Keep nothing."""

    def log_audio(
        self, key: str, audios: Any, step: int | None = None, *, only: Logger | None = None, **kwargs: Any
    ) -> None:
        """Keep nothing."""

    def log_video(
        self, key: str, videos: Any, step: int | None = None, *, only: Logger | None = None, **kwargs: Any
    ) -> None:
        """Keep nothing."""

    def log_graph(self, graph: Any, *, only: Logger | None = None) -> None:
        """Keep nothing."""

    def log_checkpoints(self, callback: Any, *, only: Logger) -> None:
        """Keep nothing."""

    def position(self) -> int:
        """No record was made."""
        return 0

    def sync(self) -> int:
        """There is nothing to make durable, and no record was made."""
        return 0

    def finalize(self, status: str) -> list[Logger]:
        """There is nothing to finish."""
        return []

    def close(self, status: str | None = None) -> None:
        """There is nothing to close."""


class DummyLogger(Logger):
    """A logger that writes nowhere; ``fast_dev_run`` puts it in place of the user's."""

    interface = (1, 0)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write nothing."""

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Write nothing."""

    @property
    def experiment(self) -> Any:
        """An object on which every method may be called, to no effect."""
        return NoExperiment()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _nothing


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None
