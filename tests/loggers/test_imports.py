"""What is imported when: a program that names one tracker must not pay for, or need, another."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fulmen_loggers

SDKS = ("comet_ml", "mlflow", "neptune", "neptune_scale", "tensorboard", "trackio", "wandb")


def _imported_by(program: str) -> set[str]:
    """Return the SDKs that a fresh Python imports with a program."""
    report = f"import sys\n{program}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    command = [sys.executable, "-c", report]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(outcome.stdout.split()) & set(SDKS)


def test_the_package_imports_no_sdk() -> None:
    assert _imported_by("import fulmen_loggers\nfulmen_loggers.CSVLogger\ndir(fulmen_loggers)") == set()


@pytest.mark.parametrize(
    ("name", "sdk"),
    [
        ("CometLogger", "comet_ml"),
        ("MLFlowLogger", "mlflow"),
        ("TensorBoardLogger", "tensorboard"),
        ("TrackioLogger", "trackio"),
        ("WandbLogger", "wandb"),
    ],
)
def test_a_logger_imports_its_own_sdk_only(name: str, sdk: str) -> None:
    pytest.importorskip(sdk, reason=f'needs {sdk}: pip install "fulmen[{sdk}]"')
    assert _imported_by(f"from fulmen_loggers import {name}") == {sdk}


def test_neptunes_package_is_chosen_when_a_logger_is_made() -> None:
    pytest.importorskip("neptune_scale", reason='needs neptune_scale: pip install "fulmen[neptune-scale]"')
    assert _imported_by("from fulmen_loggers import NeptuneLogger") == set()
    assert _imported_by("from fulmen_loggers import NeptuneLogger\nNeptuneLogger()") == {"neptune_scale"}


def test_all_names_exist_and_others_do_not() -> None:
    assert dir(fulmen_loggers) == fulmen_loggers.__all__
    with pytest.raises(AttributeError, match="AimLogger"):
        fulmen_loggers.AimLogger  # noqa: B018
