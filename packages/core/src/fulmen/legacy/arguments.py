"""Old arguments of the Trainer and its entry points, in today's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fulmen.errors import MisconfigurationException, nearest
from fulmen.legacy import tuning
from fulmen.legacy.spelling import say_old

Modern = dict[str, Any]


@dataclass
class Carried:
    """What old arguments of the Trainer asked of its entry points."""

    resume_from: Any = None
    loader_mode: str = "max_size_cycle"
    truncated_bptt_steps: int = 0
    auto_lr_find: bool | str = False
    auto_scale_batch_size: bool | str = False


#: old name -> today's name, where only the name changed
_RENAMED = {
    "add_row_log_interval": "log_every_n_steps",
    "default_save_path": "default_root_dir",
    "gradient_clip": "gradient_clip_val",
    "max_nb_epochs": "max_epochs",
    "min_epoch": "min_epochs",
    "min_nb_epochs": "min_epochs",
    "nb_gpu_nodes": "num_nodes",
    "nb_sanity_val_steps": "num_sanity_val_steps",
    "num_gpu_nodes": "num_nodes",
    "overfit_pct": "overfit_batches",
    "replace_sampler_ddp": "use_distributed_sampler",
    "row_log_interval": "log_every_n_steps",
    "show_progress_bar": "enable_progress_bar",
    "test_percent_check": "limit_test_batches",
    "train_percent_check": "limit_train_batches",
    "val_percent_check": "limit_val_batches",
}
#: old names that asked for something that happens by itself today, or not at all, and can be left off
_NOTHING = {
    "amp_backend": "torch's own mixed precision is used",
    "amp_level": "torch's own mixed precision is used",
    "auto_select_gpus": "`devices=n` takes the first n; CUDA_VISIBLE_DEVICES says which those are",
    "automatic_optimization": "set `self.automatic_optimization` in the module",
    "enable_pl_optimizer": "`self.optimizers()` gives wrapped ones, and `use_pl_optimizer=False` bare ones",
    "flush_logs_every_n_steps": "the delivery threads flush",
    "log_save_interval": "the delivery threads flush",
    "move_metrics_to_cpu": "logged values go to the host in one copy",
    "prepare_data_per_node": "set it on the module or data module",
    "print_nan_grads": "`detect_anomaly=True` names the operation that made a NaN",
}
#: what an old name meant that asked for processes -> today's strategy; None where there is none any more
_BACKENDS: dict[str, str | None] = {
    "ddp": "ddp",
    "ddp_cpu": "ddp",
    "ddp_spawn": "ddp_spawn",
    "ddp_sharded": "fsdp",
    "dp": None,
    "ddp2": None,
    "horovod": None,
}


def modern_arguments(given: dict[str, Any], old: dict[str, Any]) -> tuple[dict[str, Any], Carried]:
    """Return the Trainer's arguments in today's words.

    Args:
        given: arguments of today; some of them took other values.
        old: arguments that are none of today's.

    Raises:
        MisconfigurationException: an argument is none of today's or of former times, or asks for what cannot be had.
    """
    carried = Carried()
    further: list[Any] = []
    of_bar: dict[str, int] = {}
    given = dict(given)
    callbacks = given["callbacks"]
    for name, value in [*_old_values(given), *old.items()]:
        if name in _NOTHING:
            say_old("FUL103", f"`Trainer({name}={value!r})`", f"nothing: {_NOTHING[name]}")
            continue
        if name in _RENAMED:
            new = {_RENAMED[name]: value}
        elif name in _TRANSLATED:
            new = _TRANSLATED[name](value)
        else:
            raise MisconfigurationException(
                f"`Trainer` has no argument `{name}` (it was given {value!r}){nearest(name, given)}"
            )
        say_old("FUL101", f"`Trainer({name}={_shown(value)})`", _modern_line(new, given))
        for key in ("resume_from", "loader_mode", "truncated_bptt_steps", *tuning.MODERN_LINES):
            if key in new:
                setattr(carried, key, new.pop(key))
        further += new.pop("further_callbacks", ())
        of_bar.update(new.pop("bar", {}))
        given.update(new)
    if of_bar and given["enable_progress_bar"] is not False:
        further.append(_plugin("tqdm_progress_bar", **of_bar))
    if further:
        listed = callbacks if isinstance(callbacks, (list, tuple)) else [] if callbacks is None else [callbacks]
        given["callbacks"] = _without_second_checkpoint([*listed, *further])
    return given, carried


def loaders_of(method: str, loaders: Any, old: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Return the loaders that an entry point was given under an older name.

    Args:
        method: the entry point.
        loaders: what it was given under today's name.
        old: arguments that are none of today's.
        names: old name -> today's.

    Raises:
        TypeError: an argument is none of former times either, or was given twice.
    """
    for name, value in old.items():
        if name not in names:
            raise TypeError(f"Trainer.{method}() got an unexpected keyword argument {name!r}{nearest(name, names)}")
        if loaders is not None:
            raise TypeError(f"Trainer.{method}() got both {names[name]!r} and {name!r}; pass the first of them")
        say_old("FUL101", f"`trainer.{method}({name}=...)`", f"`trainer.{method}({names[name]}=...)`")
        loaders = value
    return loaders


def _old_values(given: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return arguments of today with values that only earlier versions took, and take them out."""
    found: list[tuple[str, Any]] = []
    if isinstance(given["accumulate_grad_batches"], dict):
        found.append(("accumulate_grad_batches", given["accumulate_grad_batches"]))
        given["accumulate_grad_batches"] = 1
    if isinstance(given["accelerator"], str) and given["accelerator"] in _BACKENDS:
        found.append(("accelerator", given["accelerator"]))
        given["accelerator"] = "auto"
    if isinstance(given["strategy"], str) and _BACKENDS.get(given["strategy"], given["strategy"]) != given["strategy"]:
        found.append(("strategy", given["strategy"]))
        given["strategy"] = "auto"
    if given["profiler"] is True:
        found.append(("profiler", True))
    return found


def _modern_line(new: Modern, given: Mapping[str, Any]) -> str:
    if "resume_from" in new:
        return f"`trainer.fit(model, ckpt_path={new['resume_from']!r})`"
    if "loader_mode" in new:
        return f"`CombinedLoader(loaders, mode={new['loader_mode']!r})` as the training loader"
    if "truncated_bptt_steps" in new:
        return "manual optimization: a loop over `batch.split(steps, dim=1)` in `training_step`"
    for name, line in tuning.MODERN_LINES.items():
        if name in new:
            return line if new[name] else "nothing in its place"
    if "bar" in new:
        arguments = ", ".join(f"{key}={value!r}" for key, value in new["bar"].items())
        return f"`Trainer(callbacks=[TQDMProgressBar({arguments})])`"
    if "further_callbacks" in new:
        names = ", ".join(f"{_spelled(one)}" for one in new["further_callbacks"])
        return f"`Trainer(callbacks=[{names}])`" if names else "nothing in its place"
    words = ", ".join(f"{key}={item!r}" for key, item in new.items() if given.get(key) != item or key == "accelerator")
    return f"`Trainer({words})`" if words else "nothing in its place"


def _shown(value: Any) -> str:
    """Return a value as a program spells it; a callback without its address."""
    from fulmen.callback import Callback

    return f"{type(value).__name__}(...)" if isinstance(value, Callback) else repr(value)


def _spelled(callback: Any) -> str:
    return str(getattr(callback, "_fulmen_spelling", None) or f"{type(callback).__name__}(...)")


def _plugin(name: str, *args: Any, spelling: Any = "", **kwargs: Any) -> Any:
    """Make an installed callback; ``spelling`` is the line that makes it, for the message."""
    from fulmen.registry import CALLBACKS, load

    made = load(CALLBACKS, name)(*args, **kwargs)
    if spelling:
        made._fulmen_spelling = spelling
    return made


def _without_second_checkpoint(callbacks: list[Any]) -> list[Any]:
    """Return callbacks with at most one from ``weights_save_path``: the folder is for the one that the user passed."""
    from fulmen.callback import Checkpoint

    ours = next((one for one in callbacks if getattr(one, "_of_weights_save_path", False)), None)
    others: list[Any] = [one for one in callbacks if isinstance(one, Checkpoint) and one is not ours]
    if ours is None or not others:
        return callbacks
    for other in others:
        if getattr(other, "dirpath", "") is None:
            other.dirpath, other._dirpath_is_given = ours.dirpath, True
    return [one for one in callbacks if one is not ours]


# ------------------------------------------------------------------------------------------- one by one


def _gpus(value: Any) -> Modern:
    if value in (None, 0, "0", "", []):
        return {"accelerator": "cpu", "devices": 1}
    from fulmen.hardware.accelerators import available

    found = available()
    if not any(found.get(kind) for kind in ("cuda", "mps")):
        raise MisconfigurationException(
            f"`Trainer(gpus={value!r})` asks for a GPU, but this machine has no such device; leave `gpus` out to train "
            "on what is there, or write accelerator='cpu'"
        )
    return {"accelerator": "gpu", "devices": value}


def _devices_of(kind: str) -> Callable[[Any], Modern]:
    def refuse(value: Any) -> Modern:
        if not value:
            return {}
        raise MisconfigurationException(
            f"`Trainer({kind}={value!r})`: this version of fulmen-core trains on CPUs and GPUs; use accelerator='auto'"
        )

    return refuse


def _backend(value: Any) -> Modern:
    if not value:
        return {}
    if value not in _BACKENDS:
        return {"strategy": value}
    strategy = _BACKENDS[value]
    if strategy is None:
        raise MisconfigurationException(
            f"there is no {value!r} any more; use Trainer(devices=n, strategy='ddp'), or one device without it"
        )
    return {"strategy": strategy, **({"accelerator": "cpu"} if value == "ddp_cpu" else {})}


def _checkpoint_callback(value: Any) -> Modern:
    if isinstance(value, bool) or value is None:
        return {"enable_checkpointing": value}
    return {"further_callbacks": list(value) if isinstance(value, (list, tuple)) else [value]}


def _early_stop_callback(value: Any) -> Modern:
    if value is True:
        value = _plugin("early_stopping", "val_loss", spelling="EarlyStopping('val_loss')")
    return {"further_callbacks": [value] if value else []}


def _refresh_rate(value: Any) -> Modern:
    if value == 0:
        return {"enable_progress_bar": False}
    return {} if value in (None, 1) else {"bar": {"refresh_rate": value}}


def _process_position(value: Any) -> Modern:
    return {"bar": {"process_position": value}} if value else {}


def _weights_summary(value: Any) -> Modern:
    if value == "full":
        return {"further_callbacks": [_plugin("model_summary", max_depth=-1, spelling="ModelSummary(max_depth=-1)")]}
    return {"enable_model_summary": value is not None}


def _weights_save_path(value: Any) -> Modern:
    if value is None:
        return {}
    made = _plugin("model_checkpoint", dirpath=value, spelling=f"ModelCheckpoint(dirpath={str(value)!r})")
    made._of_weights_save_path = True
    return {"further_callbacks": [made]}


def _resume_from_checkpoint(value: Any) -> Modern:
    return {"resume_from": value} if value else {}


def _trainloader_mode(value: Any) -> Modern:
    return {"loader_mode": value}


def _stochastic_weight_avg(value: Any) -> Modern:
    if not value:
        return {}
    spelling = "StochasticWeightAveraging(swa_lrs=1e-2)"
    return {"further_callbacks": [_plugin("stochastic_weight_averaging", swa_lrs=1e-2, spelling=spelling)]}


def _terminate_on_nan(value: Any) -> Modern:
    from fulmen.legacy.callbacks import TerminateOnNaN

    return {"further_callbacks": [TerminateOnNaN()] if value else []}


def _track_grad_norm(value: Any) -> Modern:
    from fulmen.legacy.callbacks import TrackGradNorm

    return {"further_callbacks": [TrackGradNorm(value)] if value not in (None, -1, "-1") else []}


def _log_gpu_memory(value: Any) -> Modern:
    return {"further_callbacks": [_plugin("device_stats_monitor", spelling="DeviceStatsMonitor()")] if value else []}


def _accumulate(value: dict[int, int]) -> Modern:
    spelling = f"GradientAccumulationScheduler({value!r})"
    return {"further_callbacks": [_plugin("gradient_accumulation_scheduler", value, spelling=spelling)]}


_TRANSLATED: dict[str, Callable[[Any], Modern]] = {
    "accelerator": _backend,
    "accumulate_grad_batches": _accumulate,
    "checkpoint_callback": _checkpoint_callback,
    "distributed_backend": _backend,
    "early_stop_callback": _early_stop_callback,
    "gpus": _gpus,
    "hpus": _devices_of("hpus"),
    "ipus": _devices_of("ipus"),
    "log_gpu_memory": _log_gpu_memory,
    "multiple_trainloader_mode": _trainloader_mode,
    "num_processes": lambda value: {"devices": value},
    "process_position": _process_position,
    "profiler": lambda value: {"profiler": "simple"},
    "progress_bar_refresh_rate": _refresh_rate,
    "reload_dataloaders_every_epoch": lambda value: {"reload_dataloaders_every_n_epochs": int(bool(value))},
    "resume_from_checkpoint": _resume_from_checkpoint,
    "stochastic_weight_avg": _stochastic_weight_avg,
    "strategy": _backend,
    "terminate_on_nan": _terminate_on_nan,
    "tpu_cores": _devices_of("tpu_cores"),
    "track_grad_norm": _track_grad_norm,
    "truncated_bptt_steps": lambda value: {"truncated_bptt_steps": int(value or 0)},
    "use_amp": lambda value: {"precision": "16-mixed"} if value else {},
    "weights_save_path": _weights_save_path,
    "weights_summary": _weights_summary,
    "auto_lr_find": lambda value: {"auto_lr_find": value},
    "auto_scale_batch_size": lambda value: {"auto_scale_batch_size": value},
}

#: every old name that the Trainer takes
OLD_ARGUMENTS = frozenset({*_RENAMED, *_NOTHING, *_TRANSLATED})
