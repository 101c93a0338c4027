"""Old arguments of the Trainer, in today's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fulmen.errors import MisconfigurationException
from fulmen.legacy.spelling import say_old

Modern = dict[str, Any]

#: old name -> today's name, where only the name changed
_RENAMED = {
    "max_nb_epochs": "max_epochs",
    "min_nb_epochs": "min_epochs",
    "nb_sanity_val_steps": "num_sanity_val_steps",
    "row_log_interval": "log_every_n_steps",
    "default_save_path": "default_root_dir",
    "train_percent_check": "limit_train_batches",
    "val_percent_check": "limit_val_batches",
    "test_percent_check": "limit_test_batches",
    "overfit_pct": "overfit_batches",
    "replace_sampler_ddp": "use_distributed_sampler",
}
#: old names that asked for something that happens by itself today, or not at all, and can be left off
_NOTHING = {
    "flush_logs_every_n_steps": "the delivery threads flush",
    "log_save_interval": "the delivery threads flush",
    "move_metrics_to_cpu": "logged values go to the host in one copy",
    "amp_backend": "torch's own mixed precision is used",
    "amp_level": "torch's own mixed precision is used",
    "prepare_data_per_node": "set it on the module or data module",
    "terminate_on_nan": "use detect_anomaly=True",
    "process_position": "give it to a TQDMProgressBar",
    "log_gpu_memory": "log it in a callback",
}


def modern_arguments(old: dict[str, Any]) -> tuple[Modern, dict[str, Any]]:
    """Return today's arguments for old ones, and those that nobody knows."""
    modern: Modern = {}
    unknown: dict[str, Any] = {}
    for name, value in old.items():
        translate = _TRANSLATED.get(name)
        if name in _RENAMED:
            new = {_RENAMED[name]: value}
        elif translate is not None:
            new = translate(value)
        elif name in _NOTHING:
            say_old("FUL103", f"`Trainer({name}={value!r})`", f"nothing: {_NOTHING[name]}")
            continue
        else:
            unknown[name] = value
            continue
        say_old("FUL101", f"`Trainer({name}={value!r})`", _modern_line(new))
        further = [*modern.get("further_callbacks", ()), *new.get("further_callbacks", ())]
        modern.update(new)
        if further:
            modern["further_callbacks"] = further
    return modern, unknown


def _modern_line(new: Modern) -> str:
    if "resume_from" in new:
        return f"`trainer.fit(model, ckpt_path={new['resume_from']!r})`"
    if "further_callbacks" in new:
        return f"`Trainer(callbacks=[{', '.join(type(one).__name__ for one in new['further_callbacks'])}(...)])`"
    words = ", ".join(f"{key}={item!r}" for key, item in new.items())
    return f"`Trainer({words})`" if words else "nothing in its place"


def _gpus(value: Any) -> Modern:
    if value in (None, 0, "0", []):
        return {"accelerator": "auto" if value is None else "cpu", "devices": "auto" if value is None else 1}
    return {"accelerator": "gpu", "devices": value}


def _num_processes(value: Any) -> Modern:
    return {"devices": value}


def _use_amp(value: Any) -> Modern:
    return {"precision": "16-mixed"} if value else {}


def _checkpoint_callback(value: Any) -> Modern:
    if isinstance(value, bool) or value is None:
        return {"enable_checkpointing": value}
    return {"further_callbacks": [value]}


def _early_stop_callback(value: Any) -> Modern:
    if value is True:
        from fulmen.registry import CALLBACKS, load

        value = load(CALLBACKS, "early_stopping")("val_loss")
    return {"further_callbacks": [value]} if value else {}


def _refresh_rate(value: Any) -> Modern:
    if value == 0:
        return {"enable_progress_bar": False}
    if value is None or value == 1:
        return {}
    from fulmen.registry import CALLBACKS, load

    return {"further_callbacks": [load(CALLBACKS, "tqdm_progress_bar")(refresh_rate=value)]}


def _weights_summary(value: Any) -> Modern:
    return {"enable_model_summary": value is not None}


def _weights_save_path(value: Any) -> Modern:
    if value is None:
        return {}
    from fulmen.registry import CALLBACKS, load

    return {"further_callbacks": [load(CALLBACKS, "model_checkpoint")(dirpath=value)]}


def _reload_every_epoch(value: Any) -> Modern:
    return {"reload_dataloaders_every_n_epochs": int(bool(value))}


def _resume_from_checkpoint(value: Any) -> Modern:
    return {"resume_from": value}


def _distributed_backend(value: Any) -> Modern:
    return {"strategy": value} if value else {}


def _not_here(name: str) -> Callable[[Any], Modern]:
    def refuse(value: Any) -> Modern:
        if not value:
            return {}
        raise MisconfigurationException(
            f"`Trainer({name}={value!r})` is an old argument whose feature this version of fulmen-core does not have; "
            "leave it off"
        )

    return refuse


_TRANSLATED: dict[str, Callable[[Any], Modern]] = {
    "gpus": _gpus,
    "num_processes": _num_processes,
    "use_amp": _use_amp,
    "checkpoint_callback": _checkpoint_callback,
    "early_stop_callback": _early_stop_callback,
    "progress_bar_refresh_rate": _refresh_rate,
    "weights_summary": _weights_summary,
    "weights_save_path": _weights_save_path,
    "reload_dataloaders_every_epoch": _reload_every_epoch,
    "resume_from_checkpoint": _resume_from_checkpoint,
    "distributed_backend": _distributed_backend,
    **{
        name: _not_here(name)
        for name in (
            "auto_lr_find",
            "auto_scale_batch_size",
            "auto_select_gpus",
            "stochastic_weight_avg",
            "track_grad_norm",
            "tpu_cores",
            "truncated_bptt_steps",
        )
    },
}
