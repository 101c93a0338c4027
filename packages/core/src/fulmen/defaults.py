"""What a Trainer has when it is not told otherwise: its loggers, its callbacks, and the meaning of short-cuts."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fulmen.callback import Callback, Checkpoint, ProgressBar
from fulmen.checkpoint.checkpoint_io import CheckpointIO, TorchCheckpointIO
from fulmen.errors import MisconfigurationException
from fulmen.hardware.accelerators import Accelerator
from fulmen.hardware.precision import Precision
from fulmen.hardware.strategies.single_device import SingleDeviceStrategy
from fulmen.logger import FolderLogger, Logger
from fulmen.options import Debugging, parsed
from fulmen.registry import CALLBACKS, LOGGERS, installed, load
from fulmen.tracking.no_run import DummyLogger
from fulmen.tracking.record import read_records


def apply_debugging(option: dict[str, Any], debugging: Debugging) -> None:
    """Change the options that ``fast_dev_run`` and ``barebones`` change.

    Raises:
        MisconfigurationException: something is asked for that ``barebones`` switches off.
    """
    count = debugging.fast_dev_run
    if count:
        for stage in ("train", "val", "test", "predict"):
            option[f"limit_{stage}_batches"] = count
        option.update(max_epochs=1, max_steps=count, num_sanity_val_steps=0, val_check_interval=1.0)
        option.update(check_val_every_n_epoch=1, enable_checkpointing=False)
    if debugging.barebones:
        for name in ("enable_checkpointing", "logger", "enable_progress_bar", "enable_model_summary", "profiler"):
            if option[name]:
                raise MisconfigurationException(
                    f"`barebones=True` measures the bare loop, so `{name}={option[name]!r}` cannot be had; leave it off"
                )
            option[name] = False
        for name in ("num_sanity_val_steps", "log_every_n_steps", "fast_dev_run", "detect_anomaly"):
            if option[name]:
                raise MisconfigurationException(
                    f"`barebones=True` measures the bare loop, so `{name}={option[name]!r}` cannot be had; leave it off"
                )
        option.update(num_sanity_val_steps=0, log_every_n_steps=0, profiler=None)


def apply_determinism(debugging: Debugging) -> None:
    """Set torch's process-wide switches that were asked for."""
    if debugging.deterministic:
        torch.use_deterministic_algorithms(True, warn_only=debugging.deterministic == "warn")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if debugging.benchmark is not None:
        torch.backends.cudnn.benchmark = debugging.benchmark


def check_single_process(option: dict[str, Any], accelerator: Accelerator) -> None:
    """Raise for what needs more than one process, which this version cannot do yet.

    Raises:
        MisconfigurationException: several devices, several machines or a distributed strategy were asked for.
    """
    if isinstance(option["strategy"], SingleDeviceStrategy):
        if option["strategy"].root_device.type != accelerator.kind:
            raise MisconfigurationException(
                f"`strategy` is a SingleDeviceStrategy on {option['strategy'].root_device}, but the accelerator is "
                f"{accelerator.kind}; pass accelerator={option['strategy'].root_device.type!r}"
            )
    elif option["strategy"] not in ("auto", "single_device"):
        raise MisconfigurationException(
            f"there is no strategy named {option['strategy']!r}; this version of fulmen-core has: auto, single_device"
        )
    if len(accelerator.indices) > 1:
        if option["devices"] in ("auto", -1, "-1"):
            accelerator.indices = accelerator.indices[:1]
        else:
            raise MisconfigurationException(
                f"`devices={option['devices']!r}` asks for {len(accelerator.indices)} devices, but this version of "
                "fulmen-core trains on one; use devices=1"
            )
    if option["num_nodes"] != 1:
        raise MisconfigurationException(
            f"`num_nodes={option['num_nodes']!r}`: this version of fulmen-core trains on one machine; use num_nodes=1"
        )


def make_plugins(plugins: Any, precision: Any, device_type: str) -> tuple[Precision, CheckpointIO]:
    """Return how the run computes and how it keeps checkpoints: as ``Trainer(plugins=...)`` says, or as usual.

    Raises:
        MisconfigurationException: it holds something else, two of a kind, or a precision beside ``precision=...``.
    """
    given = [] if plugins is None else list(plugins) if isinstance(plugins, (list, tuple)) else [plugins]
    of_precision = [one for one in given if isinstance(one, Precision)]
    of_checkpoints = [one for one in given if isinstance(one, CheckpointIO)]
    for one in given:
        if not isinstance(one, (Precision, CheckpointIO)):
            raise MisconfigurationException(
                f"`plugins` holds {one!r:.80}, a {type(one).__name__}; a plug-in is a `fulmen.hardware.precision."
                "Precision` or a `fulmen.checkpoint.checkpoint_io.CheckpointIO`"
            )
    for kind in (of_precision, of_checkpoints):
        if len(kind) > 1:
            raise MisconfigurationException(
                f"`plugins` holds {type(kind[0]).__name__} and {type(kind[1]).__name__}, which do the same job; pass "
                "one of them"
            )
    if of_precision and precision is not None:
        raise MisconfigurationException(
            f"`precision={precision!r}` was passed together with the plug-in {type(of_precision[0]).__name__}, which "
            "decides the same; leave one of them out"
        )
    return (
        of_precision[0] if of_precision else Precision(precision, device_type),
        of_checkpoints[0] if of_checkpoints else TorchCheckpointIO(),
    )


# ----------------------------------------------------------------------------------------------- loggers


def make_loggers(logger: Any, root: str, debugging: Debugging) -> list[Logger]:
    """Return the loggers that ``Trainer(logger=...)`` stands for."""
    if debugging.barebones:
        return []
    if debugging.fast_dev_run:
        return [] if logger is False else [DummyLogger()]
    chosen = os.environ.get("FULMEN_LOGGER")
    if chosen:
        logger = _from_environment(chosen)
    if logger is False:
        return []
    if logger is None or logger is True:
        name = default_logger()
        return [] if name is None else [make_logger(name, root)]
    given: Iterable[Any] = [logger] if isinstance(logger, (str, Logger)) else logger
    if not isinstance(given, Iterable):
        raise MisconfigurationException(
            f"`logger` must be True, False, a name, a Logger or a list of these, but is {logger!r:.80}"
        )
    loggers = [make_logger(one, root) if isinstance(one, str) else one for one in given]
    for one in loggers:
        if not isinstance(one, Logger):
            raise MisconfigurationException(
                f"`logger` holds {one!r:.80}, a {type(one).__name__}, which is no fulmen.logger.Logger; derive it from "
                "that class, or use an installed one by name"
            )
    return loggers


def _from_environment(text: str) -> bool | list[str]:
    """Return what ``FULMEN_LOGGER`` stands for: true, false, or names of loggers, separated by ``;``."""
    word = parsed(text.strip())
    if isinstance(word, bool):
        return word
    return [spec.strip() for spec in text.split(";") if spec.strip()]


def default_logger() -> str | None:
    """Return the name of the logger of ``logger=True``: TensorBoard where it is installed, else CSV, else none."""
    offered = installed(LOGGERS)
    if "tensorboard" in offered and importlib.util.find_spec("tensorboard") is not None:
        return "tensorboard"
    return "csv" if "csv" in offered else None


def make_logger(spec: str, root: str, folder: Path | None = None) -> Logger:
    """Make an installed logger by its name.

    Args:
        spec: the name, or name and arguments of its class: ``"mlflow:experiment_name=digits,run_name=a"``.
        root: the folder below which it keeps local files.
        folder: the run's folder, for a logger that writes into it; ``None`` for one of its own.

    Raises:
        PluginError: there is no such logger, or it cannot be loaded.
        MisconfigurationException: its class does not take these arguments.
    """
    name, _, text = spec.partition(":")
    cls = load(LOGGERS, name)
    arguments: dict[str, Any] = {}
    if folder is not None and issubclass(cls, FolderLogger):
        arguments.update(save_dir=folder.parent, name="", version=folder.name)
    elif "save_dir" in inspect.signature(cls).parameters:
        arguments["save_dir"] = root
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise MisconfigurationException(
                f"the logger {spec!r} has the option {part!r} without a value; write {name}:{part}=VALUE"
            )
        arguments[key.strip()] = _as_argument(cls, key.strip(), value.strip())
    try:
        logger: Logger = cls(**arguments)
    except TypeError as error:
        raise MisconfigurationException(f"the logger {spec!r} cannot be made: {error}") from error
    return logger


def _as_argument(cls: type, name: str, text: str) -> Any:
    """Return a value from a text: as it is where the argument is one of words, such as an id of digits only."""
    parameter = inspect.signature(cls).parameters.get(name)
    types = {word.strip() for word in str(parameter.annotation).split("|")} if parameter is not None else set()
    takes_words_only = "str" in types and not types & {"bool", "int", "float", "Any"}
    return text if takes_words_only and text.lower() != "none" else parsed(text)


def companions(loggers: Sequence[Logger], folder: Path) -> list[Logger]:
    """Return the CSV logger that leaves a ``metrics.csv`` in every run's folder, unless the user has one there."""
    if "csv" not in installed(LOGGERS):
        return []
    cls = load(LOGGERS, "csv")
    if any(isinstance(logger, cls) and Path(str(logger.log_dir)) == folder for logger in loggers):
        return []
    return [make_logger("csv", str(folder.parent), folder)]


# --------------------------------------------------------------------------------------------- callbacks


def make_callbacks(option: dict[str, Any], debugging: Debugging) -> list[Callback]:
    """Return the user's callbacks and those that every run has, in the order in which they run."""
    given = option["callbacks"]
    given = [] if given is None else [given] if isinstance(given, (str, Callback)) else given
    if not isinstance(given, Iterable):
        raise MisconfigurationException(f"`callbacks` must be a callback or a list of them, but is {given!r:.80}")
    callbacks = [load(CALLBACKS, one)() if isinstance(one, str) else one for one in given]
    for one in callbacks:
        if not isinstance(one, Callback):
            what = "the class; make an object of it" if isinstance(one, type) else f"a {type(one).__name__}"
            raise MisconfigurationException(f"`callbacks` holds {one!r:.80}, {what}, not a fulmen.Callback")
    _check_keys(callbacks)
    if debugging.fast_dev_run:
        callbacks = [one for one in callbacks if not isinstance(one, Checkpoint)]
    has_checkpoint = any(isinstance(one, Checkpoint) and one.keeps_run for one in callbacks)
    if has_checkpoint and option["enable_checkpointing"] is False:
        raise MisconfigurationException(
            "`enable_checkpointing=False` was passed together with a callback that saves; leave one of them out"
        )
    if not has_checkpoint and _wanted(option["enable_checkpointing"], "model_checkpoint"):
        callbacks.append(load(CALLBACKS, "model_checkpoint")())
    has_bar = any(isinstance(one, ProgressBar) for one in callbacks)
    if has_bar and option["enable_progress_bar"] is False:
        raise MisconfigurationException(
            "`enable_progress_bar=False` was passed together with a progress bar; leave one of them out"
        )
    if not has_bar and _wanted(option["enable_progress_bar"], "tqdm_progress_bar"):
        callbacks.append(load(CALLBACKS, _live_or("rich_progress_bar", "tqdm_progress_bar"))())
    if _wanted(option["enable_model_summary"], "model_summary"):
        summary = load(CALLBACKS, "model_summary")
        if not any(isinstance(one, summary) for one in callbacks):
            callbacks.append(load(CALLBACKS, _live_or("rich_model_summary", "model_summary"))())
    return sorted(callbacks, key=lambda callback: callback.run_order)


def _live_or(rich: str, plain: str) -> str:
    """Return the name of the callback drawn by rich where that is installed and somebody watches, else the other."""
    watched = "ipykernel" in sys.modules or bool(getattr(sys.stdout, "isatty", lambda: False)())
    there = watched and rich in installed(CALLBACKS) and importlib.util.find_spec("rich") is not None
    return rich if there else plain


def _wanted(switch: bool | None, name: str) -> bool:
    """Whether a default callback is to be there: asked for, or not refused and installed."""
    return switch is True or (switch is None and name in installed(CALLBACKS))


def _check_keys(callbacks: Sequence[Callback]) -> None:
    seen: dict[str, Callback] = {}
    for callback in callbacks:
        has_state = type(callback).state_dict is not Callback.state_dict
        if callback.state_key in seen and has_state:
            raise MisconfigurationException(
                f"two callbacks have the state key {callback.state_key!r}, so a checkpoint could keep only one of "
                "them; give them different arguments, or a `state_key` property each"
            )
        seen[callback.state_key] = callback


def is_early_stopping(callback: Callback) -> bool:
    """Return whether a callback is an ``EarlyStopping``, without importing that class unless it must be there."""
    return any(cls.__name__ == "EarlyStopping" for cls in type(callback).__mro__)


def last_checkpoint(callbacks: Sequence[Checkpoint], root: Path) -> str | None:
    """Return the path that ``ckpt_path="last"`` stands for, ``None`` where nothing was saved yet.

    It is the newest file of this trainer's callbacks; in a new process, the newest in the folders that they were given;
    else the newest that an earlier run left below ``root``, so that a program that was killed and is started again goes
    on.

    Args:
        callbacks: those that save.
        root: the folder in which runs lie, each with its ``checkpoints``.
    """
    folders = [Path(folder) for one in callbacks if (folder := getattr(one, "dirpath", None))]
    places = (
        [path for folder in folders for path in folder.glob("*.ckpt")],
        [*root.glob("*/checkpoints/*.ckpt"), *root.glob("checkpoints/*.ckpt")],
    )
    told = newest_of(callbacks)
    if told is not None:
        return told
    for found in places:
        if found:
            return _newest(found)
    return None


def newest_of(callbacks: Sequence[Checkpoint]) -> str | None:
    """Return the newest file that these callbacks have saved, ``None`` for none."""
    told = [Path(path) for one in callbacks for path in (one.last_model_path, one.best_model_path) if path]
    found = [path for path in told if path.is_file()]
    return _newest(found) if found else None


def _newest(paths: Sequence[Path]) -> str:
    return str(max(paths, key=lambda path: path.stat().st_mtime_ns))


def run_of(checkpoint: Mapping[str, Any], path: str) -> tuple[Path, int, bool] | None:
    """Return the run that a checkpoint is of: its folder, its journal's position then, and whether it ended well.

    ``None`` where the checkpoint is another trainer's or the folder is not there any more.
    """
    ours = checkpoint.get("fulmen") or {}
    if ours.get("run_folder") is None:
        return None
    folders = (Path(ours["run_folder"]), Path(path).absolute().parent.parent)  # it may have been moved as a whole
    folder = next((one for one in folders if (one / "journal.jsonl").is_file()), None)
    if folder is None:
        return None
    statuses = [record.data["status"] for record in read_records(folder / "journal.jsonl") if record.kind == "status"]
    return folder, int(ours["journal_position"]), statuses[-1:] == ["success"]


def hpc_checkpoint(folder: str) -> str:
    """Return the checkpoint with the highest number that a cluster's job left as ``hpc_ckpt_N.ckpt`` in a folder.

    Raises:
        MisconfigurationException: there is none.
    """
    numbered = {int(path.stem[9:]): path for path in Path(folder).glob("hpc_ckpt_*.ckpt") if path.stem[9:].isdigit()}
    if not numbered:
        raise MisconfigurationException(
            f"`ckpt_path='hpc'`: there is no hpc_ckpt_N.ckpt in {folder}; pass the `default_root_dir` of the job that "
            "saved it, or ckpt_path='last'"
        )
    return str(numbered[max(numbered)])
