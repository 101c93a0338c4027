"""What the wheels and sdists hold, read from the archives themselves."""

from __future__ import annotations

import configparser
import email
import email.message
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

IMPORT_NAMES = {
    "fulmen-core": "fulmen",
    "fulmen-loggers": "fulmen_loggers",
    "fulmen-callbacks": "fulmen_callbacks",
    "fulmen-metrics": "fulmen_metrics",
}
DISTRIBUTIONS = ["fulmen", *IMPORT_NAMES]
UMBRELLA_EXTRAS = {
    "all",
    "cli",
    "comet",
    "deepspeed",
    "metrics",
    "mlflow",
    "mlflow-skinny",
    "neptune",
    "neptune-scale",
    "ray",
    "report",
    "rich",
    "tensorboard",
    "trackio",
    "vision",
    "wandb",
}


def _wheel(dist: Path, distribution: str) -> zipfile.ZipFile:
    (path,) = dist.glob(f"{distribution.replace('-', '_')}-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


def _read(wheel: zipfile.ZipFile, ending: str) -> str:
    (name,) = (name for name in wheel.namelist() if name.endswith(ending))
    return wheel.read(name).decode()


def _metadata(dist: Path, distribution: str) -> email.message.Message:
    return email.message_from_string(_read(_wheel(dist, distribution), ".dist-info/METADATA"))


def _entry_points(dist: Path, distribution: str) -> configparser.ConfigParser:
    entry_points = configparser.ConfigParser(delimiters=("=",))
    entry_points.read_string(_read(_wheel(dist, distribution), ".dist-info/entry_points.txt"))
    return entry_points


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_metadata_is_complete(dist: Path, distribution: str) -> None:
    metadata = _metadata(dist, distribution)
    assert metadata["Name"] == distribution
    assert metadata["Version"] == "0.1.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert len(metadata.get_payload()) > 200, "the README is the page that an index shows"


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_licence_is_inside(dist: Path, distribution: str) -> None:
    assert "Apache License" in _read(_wheel(dist, distribution), ".dist-info/licenses/LICENSE")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_requirements_on_each_other_are_ranges(dist: Path, distribution: str) -> None:
    requirements = map(Requirement, _metadata(dist, distribution).get_all("Requires-Dist", []))
    for requirement in requirements:
        # `all` names the umbrella's own extras, which are those of the same version anyway.
        if requirement.name.startswith("fulmen-"):
            assert {str(bound) for bound in requirement.specifier} == {">=0.1", "<0.2"}, requirement


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_requirement_has_a_lower_bound(dist: Path, distribution: str) -> None:
    for text in _metadata(dist, distribution).get_all("Requires-Dist", []):
        requirement = Requirement(text)
        assert requirement.name == "fulmen" or ">=" in str(requirement.specifier), requirement


@pytest.mark.parametrize(("distribution", "import_name"), IMPORT_NAMES.items())
def test_wheel_holds_its_package_typed_and_nothing_else(dist: Path, distribution: str, import_name: str) -> None:
    names = _wheel(dist, distribution).namelist()
    assert f"{import_name}/__init__.py" in names
    assert f"{import_name}/py.typed" in names
    folders = {name.split("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {import_name}


def test_umbrella_is_metadata_only(dist: Path) -> None:
    names = _wheel(dist, "fulmen").namelist()
    assert all(".dist-info/" in name for name in names), names


def test_umbrella_has_the_promised_extras(dist: Path) -> None:
    assert set(_metadata(dist, "fulmen").get_all("Provides-Extra", [])) == UMBRELLA_EXTRAS


def test_umbrella_brings_core_callbacks_and_loggers(dist: Path) -> None:
    requirements = [Requirement(text) for text in _metadata(dist, "fulmen").get_all("Requires-Dist", [])]
    unconditional = {requirement.name for requirement in requirements if requirement.marker is None}
    assert unconditional == {"fulmen-core", "fulmen-callbacks", "fulmen-loggers"}


@pytest.mark.parametrize(
    ("distribution", "group", "names"),
    [
        ("fulmen-core", "console_scripts", {"fulmen"}),
        ("fulmen-core", "pytest11", {"fulmen"}),
        ("fulmen-loggers", "fulmen.loggers", {"comet", "csv", "mlflow", "neptune", "tensorboard", "trackio", "wandb"}),
        (
            "fulmen-callbacks",
            "fulmen.callbacks",
            {
                "backbone_finetuning",
                "base_finetuning",
                "base_prediction_writer",
                "batch_size_finder",
                "device_stats_monitor",
                "early_stopping",
                "ema_weight_averaging",
                "gradient_accumulation_scheduler",
                "gradient_stats",
                "image_prediction_logger",
                "lambda_callback",
                "learning_rate_finder",
                "learning_rate_monitor",
                "model_checkpoint",
                "model_pruning",
                "model_summary",
                "on_exception_checkpoint",
                "prediction_writer",
                "rich_model_summary",
                "rich_progress_bar",
                "spike_detection",
                "stochastic_weight_averaging",
                "throughput_monitor",
                "timer",
                "tqdm_progress_bar",
                "weight_averaging",
            },
        ),
        ("fulmen-metrics", "fulmen.metrics", {"metrics"}),
    ],
)
def test_entry_points_name_what_is_in_the_wheel(dist: Path, distribution: str, group: str, names: set[str]) -> None:
    entries = _entry_points(dist, distribution)[group]
    assert set(entries) == names
    files = _wheel(dist, distribution).namelist()
    for target in entries.values():
        module = target.split(":")[0].replace(".", "/")
        assert f"{module}.py" in files or f"{module}/__init__.py" in files, target


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_sdist_holds_sources_and_no_tests(dist: Path, distribution: str) -> None:
    (path,) = dist.glob(f"{distribution.replace('-', '_')}-*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO"} <= names
    top = {name.split("/")[0] for name in names}
    assert top <= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO", "src", ".gitignore"}
