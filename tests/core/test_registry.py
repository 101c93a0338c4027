"""Plug-ins by name: distributions are written as real folders of metadata, as an installer leaves them."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen import registry
from fulmen.errors import MissingPackageError, PluginError
from fulmen.registry import CALLBACKS, GROUPS, LOGGERS, METRICS, installed, load, load_class

Install = Callable[..., None]

CALLBACK = "from fulmen import Callback\nclass Beep(Callback):\n    interface = {interface}\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a distribution of one module into a folder on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(
        name: str,
        entry_points: str,
        module: str | None = None,
        source: str = "",
        requires: str = "",
    ) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-1.5.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: {line}\n" for line in requires.splitlines()]
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n"
        (folder / "METADATA").write_text(metadata + "".join(lines), encoding="utf-8")
        (folder / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        if module is not None:
            (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    for module in set(sys.modules) - before:
        if module.startswith("acme"):
            del sys.modules[module]


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_plugin_is_found_by_its_name_and_by_its_class(install: Install) -> None:
    entry = "[fulmen.callbacks]\nacme_beep = acme_beep:Beep\n"
    install("acme-beep", entry, "acme_beep", CALLBACK.format(interface=(1, 0)))
    assert "acme_beep" in installed(CALLBACKS)
    assert "acme_beep" not in sys.modules  # nothing is imported before it is named
    cls = load(CALLBACKS, "acme_beep")
    assert cls is sys.modules["acme_beep"].Beep
    assert load_class(CALLBACKS, "Beep") is cls
    assert fulmen.callbacks.Beep is cls  # type: ignore[attr-defined]
    assert "Beep" in dir(fulmen.callbacks)
    run = fulmen.Trainer(
        callbacks="acme_beep",
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    assert any(isinstance(callback, cls) for callback in run.callbacks)


def test_only_the_one_that_is_named_is_imported(install: Install) -> None:
    install("acme-good", "[fulmen.callbacks]\ngood = acme_good:Beep\n", "acme_good", CALLBACK.format(interface=(1, 0)))
    install("acme-bad", "[fulmen.callbacks]\nbad = acme_bad:Beep2\n", "acme_bad", "raise RuntimeError('boom')")
    load(CALLBACKS, "good")
    assert "acme_bad" not in sys.modules


def test_a_metric_needs_no_base_class(install: Install) -> None:
    source = "class Best:\n    interface = (1, 0)\n"
    install("acme-metric", "[fulmen.metrics]\nacme_best = acme_metric:Best\n", "acme_metric", source)
    assert fulmen.metrics.Best is load(METRICS, "acme_best")  # type: ignore[attr-defined]


def test_an_unknown_name_lists_the_nearest_and_what_is_installed(install: Install) -> None:
    install("acme-beep", "[fulmen.callbacks]\nacme_beep = acme_beep:Beep\n")
    with pytest.raises(PluginError, match="there is no callback named 'acme_bep'; did you mean 'acme_beep'") as caught:
        load(CALLBACKS, "acme_bep")
    text = one_line(caught)
    assert "installed are: " in text
    assert all(name in text for name in installed(CALLBACKS))


def test_a_name_offered_twice_names_both(install: Install) -> None:
    install("acme-one", "[fulmen.loggers]\nacme = acme_one:Log\n")
    install("acme-two", "[fulmen.loggers]\nacme = acme_two:Log\n")
    with pytest.raises(PluginError) as caught:
        load(LOGGERS, "acme")
    text = one_line(caught)
    assert "the logger 'acme' is offered by acme-" in text
    assert "acme-one 1.5 (acme_one:Log)" in text
    assert "acme-two 1.5 (acme_two:Log)" in text
    assert "uninstall one, or pass the class itself" in text


def test_one_distribution_listed_twice_is_one_offer(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        "acme-beep", "[fulmen.callbacks]\nacme_beep = acme_beep:Beep\n", "acme_beep", CALLBACK.format(interface=(1, 0))
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path, str(tmp_path / ".")])
    assert load(CALLBACKS, "acme_beep").__name__ == "Beep"


# -------------------------------------------------------------------------------------- imports that fail


@pytest.mark.parametrize(
    ("requires", "command"),
    [
        ('acme-sdk>=2; extra == "sdk"', 'pip install "acme-log[sdk]"'),
        ("torch\nacme_sdk[fast]>=2,<3; python_version>\"3\" and extra == 'cloud'", 'pip install "acme-log[cloud]"'),
        ("torch", "pip install acme_sdk"),
        ("not a requirement !!", "pip install acme_sdk"),
    ],
)
def test_a_missing_sdk_names_the_command_that_installs_it(install: Install, requires: str, command: str) -> None:
    install("acme-log", "[fulmen.loggers]\nacme = acme_log:AcmeLogger\n", "acme_log", "import acme_sdk.api", requires)
    with pytest.raises(MissingPackageError) as caught:
        load(LOGGERS, "acme")
    text = one_line(caught)
    assert text.startswith("AcmeLogger ")
    assert "needs" in text
    assert "acme_sdk" in text
    assert text.endswith(command)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_fulmens_own_extras_come_by_the_umbrella(install: Install) -> None:
    entry = "[fulmen.loggers]\nacme_first = acme_log:FirstLogger\n"
    install("fulmen-acme", entry, "acme_log", "import acme_sdk", 'acme-sdk; extra == "sdk"')
    with pytest.raises(MissingPackageError) as caught:
        load(LOGGERS, "acme_first")
    assert one_line(caught) == 'FirstLogger needs acme_sdk: pip install "fulmen[sdk]"'


def test_from_import_says_which_command_installs_the_sdk(install: Install) -> None:
    entry = "[fulmen.loggers]\nacme = acme_log:AcmeLogger\n"
    install("acme-log", entry, "acme_log", "import acme_sdk", 'acme-sdk; extra == "sdk"')
    with pytest.raises(ImportError, match=re.escape('AcmeLogger needs acme_sdk: pip install "acme-log[sdk]"')):
        exec("from fulmen.loggers import AcmeLogger", {})


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("from math import no_such_name", "ImportError: cannot import name 'no_such_name'"),
        ("x = 1", "AttributeError: module 'acme_log' has no attribute 'AcmeLogger'"),
    ],
)
def test_an_import_that_fails_names_the_distribution(install: Install, source: str, cause: str) -> None:
    install("acme-log", "[fulmen.loggers]\nacme = acme_log:AcmeLogger\n", "acme_log", source)
    with pytest.raises(PluginError) as caught:
        load(LOGGERS, "acme")
    text = one_line(caught)
    assert "the logger 'acme' of acme-log 1.5 (acme_log:AcmeLogger) cannot be imported: " in text
    assert cause in text
    assert not isinstance(caught.value, MissingPackageError)


def test_an_entry_point_into_nowhere_is_not_taken_for_a_missing_sdk(install: Install) -> None:
    install("acme-log", "[fulmen.loggers]\nacme = acme_nowhere:AcmeLogger\n")
    with pytest.raises(PluginError, match="acme_nowhere:AcmeLogger, the entry point of acme-log 1.5, does not exist"):
        load(LOGGERS, "acme")


@pytest.mark.parametrize("source", ["Beep = 3", "class Beep: interface = (1, 0)", "def Beep(): ..."])
def test_what_is_no_callback_is_said(install: Install, source: str) -> None:
    install("acme-beep", "[fulmen.callbacks]\nacme_beep = acme_beep:Beep\n", "acme_beep", source)
    with pytest.raises(PluginError, match="'acme_beep' of acme-beep 1.5 .* is not a class derived from Callback"):
        load(CALLBACKS, "acme_beep")


# -------------------------------------------------------------------------------------- interface versions


def beep(install: Install, interface: str) -> type:
    source = CALLBACK.format(interface=interface)
    install("acme-beep", "[fulmen.callbacks]\nacme_beep = acme_beep:Beep\n", "acme_beep", source)
    return load(CALLBACKS, "acme_beep")


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (
            "(2, 0)",
            r"version \(2, 0\) of the callback interface, but fulmen-core here has \(1, 0\); upgrade fulmen-core",
        ),
        ("(1, 1)", r"version \(1, 1\) of the callback interface.*; upgrade fulmen-core"),
        ("(0, 9)", r"version \(0, 9\) of the callback interface.*; upgrade acme-beep 1.5"),
        ("(1,)", r"declares `interface = \(1,\)`, which is no version; write it as \(major, minor\)"),
        ("'1.0'", "declares `interface = '1.0'`, which is no version"),
        ("('1', '0')", "which is no version"),
        ("3", "declares `interface = 3`, which is no version"),
        ("None", "does not say for which interface it was written; add `interface = .1, 0.` to the class"),
    ],
)
def test_a_foreign_interface_is_one_clear_error(install: Install, interface: str, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        beep(install, interface)
    assert one_line(caught).startswith("Beep of acme-beep 1.5 ")


def test_a_missing_interface_is_one_clear_error(install: Install) -> None:
    source = "from fulmen import Callback\nclass Beep(Callback): ...\n"
    install("acme-beep", "[fulmen.callbacks]\nacme_beep = acme_beep:Beep\n", "acme_beep", source)
    with pytest.raises(PluginError, match=r"Beep of acme-beep 1.5 does not say .*CALLBACK_INTERFACE here is \(1, 0\)"):
        load(CALLBACKS, "acme_beep")


def test_a_class_inherits_the_version_of_its_parent(install: Install) -> None:
    source = CALLBACK.format(interface=(1, 0)).replace("Beep", "Parent") + "class Beep(Parent): ...\n"
    install("acme-beep", "[fulmen.callbacks]\nacme_beep = acme_beep:Beep\n", "acme_beep", source)
    assert load(CALLBACKS, "acme_beep").__name__ == "Beep"


# ------------------------------------------------------------------------------------------------- faces


@pytest.mark.parametrize("face", ["loggers", "callbacks", "metrics"])
def test_a_face_refuses_names_that_nobody_offers(face: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_installed(monkeypatch, True)
    module = getattr(fulmen, face)
    assert not hasattr(module, "no_such_thing")
    assert not hasattr(module, "__wrapped__")
    with pytest.raises(AttributeError, match=f"no installed {face[:-1]} is called Nothing.*installed are: "):
        module.Nothing  # noqa: B018  reading it is the test


@pytest.mark.parametrize(
    ("face", "name"), [("loggers", "CSVLogger"), ("callbacks", "EarlyStopping"), ("metrics", "Metrics")]
)
def test_core_alone_says_which_package_brings_a_class(face: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda group: {})
    _pretend_installed(monkeypatch, False)
    with pytest.raises(ImportError, match=f'fulmen-{face} is not installed: pip install "fulmen-{face}"'):
        exec(f"from fulmen.{face} import {name}", {})
    assert not hasattr(getattr(fulmen, face), "not_a_class")
    with pytest.raises(PluginError, match=f'installed are: none; fulmen-{face} is not installed: pip install "fulmen'):
        load(next(group for group in GROUPS if group.kind == face[:-1]), "csv")


def _pretend_installed(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    found = importlib.util.find_spec("fulmen") if there else None
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: found)


def test_interfaces_are_offered_by_the_faces_themselves() -> None:
    assert fulmen.loggers.Logger is LOGGERS.base
    assert fulmen.callbacks.Callback is CALLBACKS.base
    found: dict[str, Any] = {face: dir(getattr(fulmen, face)) for face in ("loggers", "callbacks", "metrics")}
    assert "Logger" in found["loggers"]
    assert "Callback" in found["callbacks"]
    assert "Metric" in found["metrics"]
