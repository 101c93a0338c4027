"""Import paths of the field: ``from fulmen.utilities.types import STEP_OUTPUT``, ``import fulmen.callbacks.timer``.

``PATHS`` says for each dotted path below ``fulmen`` where its names live here. The paths are served by a finder at the
end of ``sys.meta_path``, which is asked only for what nothing else finds; a path and the modules behind it load when
named. A path that only Lightning 0.x and 1.x had warns once.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_RANK = "rank_zero_debug rank_zero_deprecation rank_zero_info rank_zero_only rank_zero_warn"
_SUMMARY = "LayerSummary ModelSummary human_readable_count=get_human_readable_count summarize"

#: path below ``fulmen`` -> module below ``fulmen`` -> its names there; ``new=old`` where the name was another.
#: A module in brackets is not ours.
PATHS: dict[str, dict[str, str]] = {
    "accelerators": {"hardware.accelerators": "Accelerator"},
    "accelerators.accelerator": {"hardware.accelerators": "Accelerator"},
    "callbacks.batch_size_finder": {"callbacks": "BatchSizeFinder"},
    "callbacks.callback": {"callback": "Callback"},
    "callbacks.checkpoint": {"callback": "Checkpoint"},
    "callbacks.device_stats_monitor": {"callbacks": "DeviceStatsMonitor"},
    "callbacks.early_stopping": {"callbacks": "EarlyStopping"},
    "callbacks.finetuning": {"callbacks": "BackboneFinetuning BaseFinetuning"},
    "callbacks.gradient_accumulation_scheduler": {"callbacks": "GradientAccumulationScheduler"},
    "callbacks.lambda_function": {"callbacks": "LambdaCallback"},
    "callbacks.lr_finder": {"callbacks": "LearningRateFinder"},
    "callbacks.lr_monitor": {"callbacks": "LearningRateMonitor"},
    "callbacks.model_checkpoint": {"callbacks": "ModelCheckpoint"},
    "callbacks.model_summary": {"callbacks": "ModelSummary"},
    "callbacks.on_exception_checkpoint": {"callbacks": "OnExceptionCheckpoint"},
    "callbacks.prediction_writer": {"callbacks": "BasePredictionWriter"},
    "callbacks.progress": {"legacy.bars": "ProgressBar", "callbacks": "RichProgressBar TQDMProgressBar"},
    "callbacks.progress.progress_bar": {"legacy.bars": "ProgressBar"},
    "callbacks.progress.rich_progress": {"callbacks": "RichProgressBar"},
    "callbacks.progress.tqdm_progress": {"callbacks": "TQDMProgressBar"},
    "callbacks.pruning": {"callbacks": "ModelPruning"},
    "callbacks.rich_model_summary": {"callbacks": "RichModelSummary"},
    "callbacks.spike": {"callbacks": "SpikeDetection"},
    "callbacks.stochastic_weight_avg": {"callbacks": "StochasticWeightAveraging"},
    "callbacks.throughput_monitor": {"callbacks": "ThroughputMonitor"},
    "callbacks.timer": {"callbacks": "Timer"},
    "callbacks.weight_averaging": {"callbacks": "EMAWeightAveraging WeightAveraging"},
    "core": {"module": "LightningModule", "datamodule": "LightningDataModule"},
    "core.datamodule": {"datamodule": "LightningDataModule"},
    "core.mixins": {"hyperparameters": "HyperparametersMixin"},
    "core.mixins.hparams_mixin": {"hyperparameters": "HyperparametersMixin"},
    "core.module": {"module": "LightningModule"},
    "core.optimizer": {"optimizers": "LightningOptimizer"},
    "loggers.comet": {"loggers": "CometLogger"},
    "loggers.csv_logs": {"loggers": "CSVLogger"},
    "loggers.logger": {"logger": "Logger", "legacy.loggers": "rank_zero_experiment"},
    "loggers.mlflow": {"loggers": "MLFlowLogger"},
    "loggers.neptune": {"loggers": "NeptuneLogger"},
    "loggers.tensorboard": {"loggers": "TensorBoardLogger"},
    "loggers.wandb": {"loggers": "WandbLogger"},
    "plugins": {"checkpoint.checkpoint_io": "CheckpointIO TorchCheckpointIO", "hardware.precision": "Precision"},
    "plugins.io": {"checkpoint.checkpoint_io": "CheckpointIO TorchCheckpointIO"},
    "plugins.precision": {"hardware.precision": "Precision"},
    "plugins.precision.precision": {"hardware.precision": "Precision"},
    "pytorch": {
        "trainer": "Trainer",
        "module": "LightningModule",
        "datamodule": "LightningDataModule",
        "callback": "Callback",
        "seed": "seed_everything",
    },
    "profilers.base": {"profilers": "PassThroughProfiler"},
    "strategies": {"hardware.strategies.single_device": "SingleDeviceStrategy"},
    "strategies.single_device": {"hardware.strategies.single_device": "SingleDeviceStrategy"},
    "trainer.states": {"state": "RunningStage TrainerFn TrainerState TrainerStatus"},
    "trainer.trainer": {"trainer": "Trainer"},
    "utilities": {
        "data.combined": "CombinedLoader",
        "data.transfer": "move_data_to_device",
        "data.workers": "suggested_max_num_workers",
        "errors": "disable_possible_user_warnings",
        "flops": "measure_flops",
        "gradients": "grad_norm",
        "hyperparameters": "AttributeDict is_picklable",
        "rank": _RANK,
        "shared_parameters": "find_shared_parameters set_shared_parameters",
    },
    "utilities.combined_loader": {"data.combined": "CombinedLoader"},
    "utilities.exceptions": {"errors": "MisconfigurationException SIGTERMException"},
    "utilities.grads": {"gradients": "grad_norm"},
    "utilities.memory": {"memory": "garbage_collection_cuda is_oom_error recursive_detach"},
    "utilities.model_helpers": {"hooks": "is_overridden"},
    "utilities.model_summary": {"summary": _SUMMARY},
    "utilities.model_summary.model_summary": {"summary": _SUMMARY},
    "utilities.parameter_tying": {"shared_parameters": "find_shared_parameters set_shared_parameters"},
    "utilities.parsing": {"hyperparameters": "AttributeDict is_picklable"},
    "utilities.rank_zero": {
        "errors": "FulmenDeprecationWarning=LightningDeprecationWarning",
        "rank": f"WarningCache rank_prefixed_message {_RANK}",
    },
    "utilities.seed": {"seed": "isolate_rng seed_everything"},
    "utilities.types": {
        "type_aliases": "EPOCH_OUTPUT EVAL_DATALOADERS LRSchedulerConfig LRSchedulerConfigType LRSchedulerPLType "
        "LRSchedulerType LRSchedulerTypeTuple LRSchedulerTypeUnion OptimizerConfig OptimizerLRScheduler "
        "OptimizerLRSchedulerConfig STEP_OUTPUT TRAIN_DATALOADERS"
    },
    "utilities.warnings": {"errors": "PossibleUserWarning"},
}

#: the same for paths that only Lightning 0.x and 1.x had; importing one warns
OLD_PATHS: dict[str, dict[str, str]] = {
    "callbacks.base": {"callback": "Callback"},
    "callbacks.gpu_stats_monitor": {"legacy.callbacks": "GPUStatsMonitor"},
    "callbacks.lr_logger": {"callbacks": "LearningRateMonitor=LearningRateLogger"},
    "callbacks.progress.base": {"callback": "ProgressBar=ProgressBarBase"},
    "callbacks.pt_callbacks": {"callbacks": "EarlyStopping ModelCheckpoint"},
    "callbacks.swa": {"callbacks": "StochasticWeightAveraging"},
    "core.decorators": {"legacy.decorators": "auto_move_data data_loader"},
    "core.lightning": {"module": "LightningModule"},
    "core.memory": {"summary": "LayerSummary ModelSummary"},
    "core.step_result": {"legacy.step_results": "EvalResult Result TrainResult"},
    "loggers.base": {
        "logger": "Logger=LightningLoggerBase",
        "legacy.loggers": "LoggerCollection rank_zero_experiment",
    },
    "loggers.test_tube": {"legacy.loggers": "TestTubeLogger"},
    "logging": {"loggers": "CometLogger MLFlowLogger TensorBoardLogger", "legacy.loggers": "TestTubeLogger"},
    "metrics.functional": {"legacy.metrics": "accuracy"},
    "metrics.functional.classification": {"legacy.metrics": "accuracy"},
    "metrics.classification": {"legacy.metrics": "Accuracy"},
    "models": {},
    "models.trainer": {"trainer": "Trainer"},
    "profiler": {"profilers": "AdvancedProfiler PassThroughProfiler PyTorchProfiler SimpleProfiler"},
    "root_module": {},
    "root_module.decorators": {"legacy.decorators": "data_loader"},
    "root_module.root_module": {"module": "LightningModule"},
    "trainer.supporters": {"data.combined": "CombinedLoader"},
    "utilities.apply_func": {"data.transfer": "move_data_to_device"},
    "utilities.cli": {"cli": "LightningArgumentParser LightningCLI SaveConfigCallback"},
    "utilities.cloud_io": {"(torch)": "load"},
    "utilities.distributed": {"rank": _RANK},
    "utilities.model_utils": {"hooks": "is_overridden"},
}

#: names of the field that a face hands out, although no plug-in has them
NAMES: dict[str, dict[str, str]] = {
    "callbacks": {"callback": "Checkpoint", "legacy.bars": "ProgressBar"},
}

#: names of ``fulmen`` itself, of its faces and of the paths above that only 0.x and 1.x had
OLD_NAMES: dict[str, dict[str, str]] = {
    "": {"legacy.decorators": "data_loader", "legacy.step_results": "EvalResult TrainResult"},
    "callbacks": {
        "callbacks": "LearningRateMonitor=LearningRateLogger",
        "callback": "ProgressBar=ProgressBarBase",
        "legacy.callbacks": "GPUStatsMonitor QuantizationAwareTraining XLAStatsMonitor",
    },
    "loggers": {
        "logger": "Logger=LightningLoggerBase",
        "legacy.loggers": "LoggerCollection TestTubeLogger",
    },
    "metrics": {"legacy.metrics": "Accuracy"},
}

_FUL105 = "FUL105"


def install() -> None:
    """Let the paths be found; called once, by ``import fulmen``."""
    sys.meta_path.append(_Finder)


class _Finder:
    """Finds the paths of the tables, after every other finder has found nothing."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, below = fullname.partition(".")
        if package != "fulmen" or not below:
            return None
        if below in PATHS or below in OLD_PATHS or below.startswith("pytorch."):
            return ModuleSpec(fullname, _Loader, is_package=True)  # type: ignore[arg-type]
        parent, _, name = below.rpartition(".")
        if parent in PATHS or parent in OLD_PATHS or (parent in _FACES and name[:1].isupper()):
            # `from X import y` asks for a module X.y before it gives up, without words of its own.
            raise ImportError(_unknown(parent, name), name=fullname)
        return None


class _Loader:
    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        path = module.__name__.partition(".")[2]
        if path.startswith("pytorch."):  # `lightning.pytorch.X` with its first word changed
            ours = importlib.import_module(module.__name__.replace(".pytorch.", ".", 1))
            module.__dict__["__getattr__"] = lambda name: getattr(ours, name)
            module.__dict__["__dir__"] = lambda: dir(ours)
            return
        module.__doc__ = f"Names of the field that live elsewhere here; see {__name__}."
        module.__dict__["__getattr__"] = lambda name: _attribute(module, path, name)
        module.__dict__["__dir__"] = lambda: sorted({*vars(module), *_listed(path)})
        module.__dict__["__all__"] = _listed(path)
        if path in OLD_PATHS:
            _say_old(path)


_FACES = ("callbacks", "loggers", "metrics")
#: modules of ours that `import fulmen` leaves out, although programs name them as its attributes
_LAZY = ("cli", "demos", "profilers", "tuner")


def found_in(owner: str, name: str) -> Any:
    """Return what a name stands for that ``fulmen`` (owner ``""``) or one of its faces does not have itself.

    It is a path of the tables, such as ``fulmen.utilities``, or an old name; ``None`` if it is neither.
    """
    current, places = _places(NAMES.get(owner, {})), _places(OLD_NAMES.get(owner, {}))
    if name in current:
        return _resolve(*current[name])
    if name not in places:
        return _submodule(owner, name)
    module, attribute = places[name]
    dotted = f"fulmen.{owner}.{name}" if owner else f"fulmen.{name}"
    from fulmen.legacy.spelling import say_old

    if not module.startswith("legacy."):  # the objects of `legacy` say themselves, when used, what to write
        say_old(_FUL105, f"`{dotted}`", _modern_imports([(module, attribute)]))
    return _resolve(module, attribute)


def _submodule(owner: str, name: str) -> ModuleType | None:
    """Return the module behind ``pl.utilities.rank_zero``, which nobody has imported by that name; else ``None``."""
    path = f"{owner}.{name}" if owner else name
    if path in PATHS or path in OLD_PATHS or path in _LAZY:
        return importlib.import_module(f"fulmen.{path}")
    return None


def _attribute(module: ModuleType, path: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    places = _places({**PATHS, **OLD_PATHS}[path])
    if name in places:
        value = _resolve(*places[name])
    else:
        value = _submodule(path, name)
        if value is None:
            value = _beside(places, name)
        if value is None:
            raise AttributeError(_unknown(path, name))
    setattr(module, name, value)  # found at once from now on
    return value


def _places(table: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return name -> (module, name there) of one path."""
    places = {}
    for module, names in table.items():
        for entry in names.split():
            here, _, there = entry.partition("=")
            places[there or here] = (module, here)
    return places


def _resolve(module: str, name: str) -> Any:
    full = module.strip("()") if module.startswith("(") else f"fulmen.{module}"
    return getattr(importlib.import_module(full), name)


def _beside(places: dict[str, tuple[str, str]], name: str) -> Any:
    """Return a name that stands in the file of one of a path's classes, such as ``EarlyStoppingReason``."""
    for module, listed in places.values():
        try:
            owner = sys.modules.get(getattr(_resolve(module, listed), "__module__", ""))
        except (ImportError, AttributeError):
            continue
        if owner is not None and owner.__name__.startswith("fulmen") and name in vars(owner):
            return vars(owner)[name]
    return None


def _listed(path: str) -> list[str]:
    return list(_places({**PATHS, **OLD_PATHS}.get(path, {})))


def _unknown(path: str, name: str) -> str:
    from fulmen.errors import nearest

    known = dir(importlib.import_module(f"fulmen.{path}")) if path in _FACES else _listed(path)
    prefix = f"{path}." if path else ""
    below = {other[len(prefix) :].partition(".")[0] for other in (*PATHS, *OLD_PATHS) if other.startswith(prefix)}
    known = [one for one in known if not one.startswith("_")] + sorted(below)
    return f"`fulmen.{path}` has no `{name}`{nearest(name, known)}; it has: {', '.join(known)}"


def _say_old(path: str) -> None:
    from fulmen.legacy.spelling import say_old

    modern = _modern_imports(
        [(module, name) for module, name in _places(OLD_PATHS[path]).values() if not module.startswith("legacy.")]
    )
    if modern:
        say_old(_FUL105, f"`import fulmen.{path}`", modern)


def _modern_imports(names: list[tuple[str, str]]) -> str:
    """Return the lines that import names (module and name there) from where programs have them today."""
    top_level = sys.modules["fulmen"].__all__
    of_module: dict[str, list[str]] = {}
    for module, name in names:
        if name in top_level:
            place = "fulmen"
        elif name in _listed("utilities"):
            place = "fulmen.utilities"
        else:
            place = module.strip("()") if module.startswith("(") else f"fulmen.{module}"
        of_module.setdefault(place, []).append(name)
    return " and ".join(f"`from {place} import {', '.join(listed)}`" for place, listed in of_module.items())
