"""What ``Trainer(logger=...)`` and ``FULMEN_LOGGER`` may be, and what is said of what they may not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen import registry
from fulmen.errors import FulmenError, MisconfigurationException
from fulmen.logger import Logger


class AcmeLogger(Logger):
    """A logger with arguments of all types."""

    interface = (1, 0)

    def __init__(
        self,
        experiment_name: str = "default",
        run_id: str | None = None,
        version: int | str | None = None,
        offline: bool = False,
        rate: float = 1.0,
    ) -> None:
        self.arguments = (experiment_name, run_id, version, offline, rate)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Show nothing."""

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Show nothing."""


class BetaLogger(AcmeLogger):
    """A second one."""


@pytest.fixture(autouse=True)
def _two_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = {
        name: [EntryPoint(name, f"{__name__}:{cls.__name__}", "fulmen.loggers")]
        for name, cls in (("acme", AcmeLogger), ("beta", BetaLogger))
    }
    for module in ("fulmen.defaults", "fulmen.registry"):
        monkeypatch.setattr(f"{module}.installed", lambda group: offers if group is registry.LOGGERS else {})
    monkeypatch.setattr(
        "fulmen.registry._load", lambda group, entry: {"acme": AcmeLogger, "beta": BetaLogger}[entry.name]
    )
    monkeypatch.delenv("FULMEN_LOGGER", raising=False)


def _loggers(folder: Path, logger: Any, **options: Any) -> list[Any]:
    return fulmen.Trainer(logger=logger, default_root_dir=folder, accelerator="cpu", **options).loggers


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        ("acme", ("default", None, None, False, 1.0)),
        ("acme:experiment_name=digits,offline=true", ("digits", None, None, True, 1.0)),
        ("acme:run_id=0012345,version=3,rate=0.5", ("default", "0012345", 3, False, 0.5)),
        ("acme:experiment_name=http://127.0.0.1:5000/x=1", ("http://127.0.0.1:5000/x=1", None, None, False, 1.0)),
        ("acme:run_id=none,version=mine", ("default", None, "mine", False, 1.0)),
    ],
)
def test_a_name_with_options(tmp_path: Path, spec: str, arguments: tuple[Any, ...]) -> None:
    (logger,) = _loggers(tmp_path, spec)
    assert logger.arguments == arguments


def test_lists_of_names_and_objects(tmp_path: Path) -> None:
    own = AcmeLogger("own")
    loggers = _loggers(tmp_path, ["beta", own, "acme:experiment_name=third"])
    assert [type(logger).__name__ for logger in loggers] == ["BetaLogger", "AcmeLogger", "AcmeLogger"]
    assert loggers[1] is own
    assert loggers[2].arguments[0] == "third"
    assert _loggers(tmp_path, own) == [own]
    assert _loggers(tmp_path, False) == []


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("beta", ["BetaLogger"]),
        ("acme; beta:experiment_name=b", ["AcmeLogger", "BetaLogger"]),
        ("false", []),
        ("", ["AcmeLogger"]),
    ],
)
def test_the_environment_overrides_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, names: list[str]
) -> None:
    monkeypatch.setenv("FULMEN_LOGGER", chosen)
    assert [type(logger).__name__ for logger in _loggers(tmp_path, AcmeLogger())] == names


def test_the_environment_gives_a_logger_to_a_program_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULMEN_LOGGER", "beta")
    assert len(_loggers(tmp_path, False)) == 1
    assert type(_loggers(tmp_path, None, fast_dev_run=True)[0]).__name__ == "DummyLogger"


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("acmee", "no logger named 'acmee'; did you mean 'acme'"),
        ("acme:experiment_name", "the option 'experiment_name' without a value; write acme:experiment_name=VALUE"),
        ("acme:experiment=a", "'acme:experiment=a' cannot be made: .*experiment"),
        (3, "must be True, False, a name, a Logger or a list of these, but is 3"),
        ([object()], "which is no fulmen.logger.Logger"),
        ([AcmeLogger], "which is no fulmen.logger.Logger"),
    ],
)
def test_what_cannot_be_a_logger_is_said(tmp_path: Path, logger: Any, message: str) -> None:
    with pytest.raises(FulmenError, match=message):
        _loggers(tmp_path, logger)


def test_a_wrong_name_in_the_environment_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_LOGGER", "acmee")
    with pytest.raises(FulmenError, match="no logger named 'acmee'"):
        _loggers(tmp_path, False)
    monkeypatch.setenv("FULMEN_LOGGER", "acme:rate")
    with pytest.raises(MisconfigurationException, match="without a value"):
        _loggers(tmp_path, False)
