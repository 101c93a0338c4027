"""Attributes and methods of the Trainer by the names that they had in Lightning 0.x and 1.x."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fulmen.errors import nearest
from fulmen.legacy.spelling import say_old
from fulmen.legacy.tuning import tune_of, tuner_of


def _on_gpu(trainer: Any) -> bool:
    return bool(trainer.accelerator.kind == "cuda")


def _is_strategy(trainer: Any, word: str) -> bool:
    return word in type(trainer.strategy).__name__.lower()


def _gpus(trainer: Any) -> int:
    return trainer.num_devices if _on_gpu(trainer) else 0


def _evaluation_of(trainer: Any) -> Callable[..., Any]:
    def run_evaluation(test_mode: bool = False, test: bool = False) -> Any:
        return (
            trainer.test(trainer.lightning_module) if test_mode or test else trainer.validate(trainer.lightning_module)
        )

    return run_evaluation


#: old name -> how it is had, and what to write
_NAMES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "use_dp": (lambda trainer: False, "nothing: it is never so"),
    "use_ddp": (lambda trainer: _is_strategy(trainer, "ddp"), "`trainer.world_size > 1`"),
    "use_ddp2": (lambda trainer: False, "nothing: it is never so"),
    "use_horovod": (lambda trainer: False, "nothing: it is never so"),
    "use_single_gpu": (lambda trainer: _gpus(trainer) == 1, "`trainer.num_devices == 1`"),
    "use_amp": (lambda trainer: "mixed" in trainer.precision, "`'mixed' in trainer.precision`"),
    "use_tpu": (lambda trainer: False, "nothing: it is never so"),
    "on_tpu": (lambda trainer: False, "nothing: it is never so"),
    "on_gpu": (_on_gpu, "`trainer.strategy.root_device.type == 'cuda'`"),
    "gpus": (_gpus, "`trainer.num_devices`"),
    "num_gpus": (_gpus, "`trainer.num_devices`"),
    "num_processes": (lambda trainer: trainer.num_devices, "`trainer.num_devices`"),
    "root_gpu": (lambda trainer: trainer.device_ids[0] if _on_gpu(trainer) else None, "`trainer.device_ids[0]`"),
    "data_parallel_device_ids": (
        lambda trainer: trainer.device_ids if _on_gpu(trainer) else None,
        "`trainer.device_ids`",
    ),
    "proc_rank": (lambda trainer: trainer.global_rank, "`trainer.global_rank`"),
    "tpu_cores": (lambda trainer: None, "nothing: it is never so"),
    "ipus": (lambda trainer: 0, "nothing: it is never so"),
    "distributed_backend": (
        lambda trainer: "ddp" if _is_strategy(trainer, "ddp") else None,
        "`trainer.strategy`",
    ),
    "progress_bar_dict": (lambda trainer: trainer.progress_bar_metrics, "`trainer.progress_bar_metrics`"),
    "lr_schedulers": (
        lambda trainer: [vars(one) for one in trainer.lr_scheduler_configs],
        "`trainer.lr_scheduler_configs`",
    ),
    "total_batch_idx": (lambda trainer: trainer._progress.batches - 1, "a counter of your own in `on_train_batch_end`"),
    "batch_idx": (lambda trainer: trainer._progress.batch_in_epoch, "the `batch_idx` of the hook"),
    "running_sanity_check": (lambda trainer: trainer.sanity_checking, "`trainer.sanity_checking`"),
    "disable_validation": (lambda trainer: not trainer.enable_validation, "`not trainer.enable_validation`"),
    "early_stop_callback": (lambda trainer: trainer.early_stopping_callback, "`trainer.early_stopping_callback`"),
    "weights_save_path": (
        lambda trainer: getattr(trainer.checkpoint_callback, "dirpath", None) or trainer.default_root_dir,
        "`trainer.checkpoint_callback.dirpath`",
    ),
    "resume_from_checkpoint": (lambda trainer: trainer.ckpt_path, "`trainer.ckpt_path`"),
    "is_slurm_managing_tasks": (lambda trainer: "SLURM_JOB_ID" in os.environ, "`'SLURM_JOB_ID' in os.environ`"),
    "slurm_job_id": (lambda trainer: os.environ.get("SLURM_JOB_ID"), "`os.environ.get('SLURM_JOB_ID')`"),
    "get_model": (lambda trainer: lambda: trainer.lightning_module, "`trainer.lightning_module`"),
    "run_evaluation": (_evaluation_of, "`trainer.validate()` or `trainer.test()`"),
    "default_save_path": (lambda trainer: trainer.default_root_dir, "`trainer.default_root_dir`"),
    "max_nb_epochs": (lambda trainer: trainer.max_epochs, "`trainer.max_epochs`"),
    "min_nb_epochs": (lambda trainer: trainer.min_epochs, "`trainer.min_epochs`"),
    "row_log_interval": (lambda trainer: trainer.log_every_n_steps, "`trainer.log_every_n_steps`"),
    "train_percent_check": (lambda trainer: trainer.limit_train_batches, "`trainer.limit_train_batches`"),
    "val_percent_check": (lambda trainer: trainer.limit_val_batches, "`trainer.limit_val_batches`"),
    "test_percent_check": (lambda trainer: trainer.limit_test_batches, "`trainer.limit_test_batches`"),
    "nb_sanity_val_steps": (lambda trainer: trainer.num_sanity_val_steps, "`trainer.num_sanity_val_steps`"),
    "tune": (tune_of, "`Tuner(trainer).lr_find(model)` or `Tuner(trainer).scale_batch_size(model)`"),
    "tuner": (tuner_of, "`fulmen.tuner.Tuner(trainer)`"),
}


def trainer_attribute(trainer: Any, name: str) -> Any:
    """Return what an attribute that the Trainer does not have was.

    Raises:
        AttributeError: it was none either.
    """
    if name not in _NAMES:
        known = [one for one in dir(trainer) if not one.startswith("_")]
        raise AttributeError(f"`Trainer` has no attribute {name!r}{nearest(name, known)}")
    get, modern = _NAMES[name]
    say_old("FUL107", f"`trainer.{name}`", modern)
    return get(trainer)
