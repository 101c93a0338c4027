"""Check an environment into which `fulmen[EXTRA]` alone was installed: `python one_extra.py EXTRA`.

A script and not a test of pytest: nothing may be installed beside the extra. Any ImportError fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

# The module of each SDK, and the extras that bring it. Some arrive as a requirement of another SDK.
SDK_COMES_WITH = {
    "comet_ml": {"comet"},
    "jsonargparse": {"cli"},
    "mlflow": {"mlflow", "mlflow-skinny"},
    "neptune": {"neptune"},
    "neptune_scale": {"neptune-scale"},
    "rich": {"comet", "rich"},
    "tensorboard": {"tensorboard"},
    "torchmetrics": {"metrics"},
    "torchvision": {"vision"},
    "trackio": {"trackio"},
    "wandb": {"wandb"},
}
# What an extra lets a user import.
ADAPTERS = {
    "tensorboard": ["fulmen_loggers.tensorboard:TensorBoardLogger", "torch.utils.tensorboard:SummaryWriter"],
    "wandb": ["fulmen_loggers.wandb:WandbLogger", "wandb:init"],
    "mlflow": ["fulmen_loggers.mlflow:MLFlowLogger", "mlflow:MlflowClient", "sqlalchemy:create_engine"],
    "mlflow-skinny": ["fulmen_loggers.mlflow:MLFlowLogger", "mlflow:MlflowClient"],
    "metrics": [
        "fulmen_metrics.metrics:Metrics",
        "fulmen.metrics:Metrics",
    ],
    "rich": ["rich.progress:Progress"],
    "cli": ["fulmen.cli:LightningCLI", "jsonargparse:ArgumentParser"],
    "comet": ["fulmen_loggers.comet:CometLogger", "comet_ml:OfflineExperiment"],
    "neptune": ["fulmen_loggers.neptune:NeptuneLogger", "neptune:init_run"],
    "neptune-scale": ["fulmen_loggers.neptune:NeptuneLogger", "neptune_scale:Run"],
    "report": ["plotly.graph_objects:Figure"],
    "trackio": ["fulmen_loggers.trackio:TrackioLogger", "trackio:init"],
    "vision": ["fulmen.vision:torchvision", "torchvision.datasets:MNIST"],
}
# Each logger's class, the SDK that it needs and the extra that brings it.
LOGGERS = {
    "CometLogger": ("comet_ml", "comet"),
    "MLFlowLogger": ("mlflow", "mlflow"),
    "NeptuneLogger": ("neptune_scale", "neptune-scale"),
    "TensorBoardLogger": ("tensorboard", "tensorboard"),
    "TrackioLogger": ("trackio", "trackio"),
    "WandbLogger": ("wandb", "wandb"),
}
ALWAYS_THERE = [
    "fulmen:Trainer",
    "fulmen.loggers:CSVLogger",
    "fulmen.callbacks:EarlyStopping",
    "fulmen.callbacks:ModelCheckpoint",
    "fulmen.callbacks:TQDMProgressBar",
]


def _load(target: str) -> object:
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def check_other_sdks_are_absent(extra: str) -> None:
    for sdk, extras in SDK_COMES_WITH.items():
        assert _is_installed(sdk) == (extra in extras), f"{sdk}: installed is {_is_installed(sdk)} with {extra}"


def check_adapter_imports(extra: str) -> None:
    for target in [*ALWAYS_THERE, *ADAPTERS[extra]]:
        _load(target)


def _refusal(face: str, name: str) -> str:
    """Return what `from fulmen.<face> import <name>` says when it cannot."""
    try:
        exec(f"from fulmen.{face} import {name}", {})
    except ImportError as error:
        return str(error)
    raise AssertionError(f"fulmen.{face}.{name} came although what it needs is not installed")


def check_absent_sdks_are_explained() -> None:
    for name, (sdk, extra) in LOGGERS.items():
        if _is_installed(sdk) or (name == "NeptuneLogger" and _is_installed("neptune")):
            _load(f"fulmen.loggers:{name}")
        else:
            assert _refusal("loggers", name) == f'{name} needs {sdk}: pip install "fulmen[{extra}]"'


def check_absent_metrics_are_explained() -> None:
    if not _is_installed("fulmen_metrics"):
        message = _refusal("metrics", "Metrics")
        assert 'pip install "fulmen' in message, message


def main(extra: str) -> None:
    check_other_sdks_are_absent(extra)
    check_adapter_imports(extra)
    check_absent_sdks_are_explained()
    check_absent_metrics_are_explained()
    print(f"fulmen[{extra}] is whole")


if __name__ == "__main__":
    main(sys.argv[1])
