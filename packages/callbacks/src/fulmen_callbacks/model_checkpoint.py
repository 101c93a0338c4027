"""ModelCheckpoint: write the run's state to files and keep the best or the newest of them.

It is longer than 400 lines because its arguments and attributes, which programs of this field know by name,
are many; what it does with files is in ``_checkpoint_files.py``, when a validation is due in
``_schedule.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from fulmen.advice import advise
from fulmen.callback import Checkpoint
from fulmen.errors import MisconfigurationException
from fulmen.rank import rank_zero_info
from fulmen_callbacks import _checkpoint_files as files
from fulmen_callbacks._old_arguments import of_checkpoint, with_old_arguments
from fulmen_callbacks._schedule import (
    fits,
    looks_at_epoch_end,
    missing_monitor,
    validates,
    validation_follows,
)

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.preflight import Plan
    from fulmen.trainer import Trainer

_WORST = {"min": torch.inf, "max": -torch.inf}


class ModelCheckpoint(Checkpoint):
    """Save the run's state while it trains: the newest, or the best by a metric.

    One of ``every_n_train_steps``, ``train_time_interval`` and ``every_n_epochs`` says when a checkpoint is
    due; without any, at the end of each epoch. When one is due and the metric is among the ``save_top_k``
    best, it is written; the file that it pushes out is removed afterwards, and only if this run wrote it.
    Several ``ModelCheckpoint`` with different arguments may be given to one trainer.

    Args:
        dirpath: folder or URL; ``None`` for ``checkpoints`` in the run's folder.
        filename: name without the extension, with fields for metrics: ``"{epoch}-{val_loss:.2f}"`` gives
            ``epoch=2-val_loss=0.31.ckpt``. ``None`` for ``"{epoch}-{step}"``.
        monitor: name of the metric that ranks the checkpoints; ``None`` to keep the newest.
        verbose: say what is saved and why.
        save_last: also keep ``last.ckpt``, written whenever a checkpoint is due and at the end of training;
            ``"link"`` makes it a link to the newest file in place of one more file.
        save_top_k: how many to keep: 0 for none, -1 for all.
        save_on_exception: save when anything raises, an interrupt included.
        save_weights_only: leave out what only training needs (optimizers, schedules, position).
        mode: ``"min"`` where less of ``monitor`` is better, ``"max"`` where more is.
        auto_insert_metric_name: write ``name=`` before each field's value.
        every_n_train_steps: a checkpoint is due every so many optimizer steps.
        train_time_interval: a checkpoint is due after that much time.
        every_n_epochs: a checkpoint is due every so many epochs.
        save_on_train_epoch_end: save at the end of training epochs (``True``) or of validations (``False``;
            where nothing is validated, at the end of epochs). ``None``: at the end of epochs, but at the end
            of validations where those do not come exactly once an epoch.
        enable_version_counter: append ``-v1``, ``-v2``, ... to a name that is taken; with ``False`` it is
            overwritten.

    Attributes:
        best_model_path: path of the best checkpoint; of the newest without ``monitor``; ``""`` before the
            first.
        best_model_score: its metric.
        best_k_models: path -> metric of all that are kept.
        kth_best_model_path: the worst of them, the next to go.
        kth_value: its metric.
        last_model_path: path of ``last.ckpt``.
        current_score: the metric of the newest.

    Raises:
        MisconfigurationException: an argument is out of range, or ``monitor`` was not logged. The state
            reached by then is saved before the error ends the run.
    """

    interface = (1, 0)

    CHECKPOINT_JOIN_CHAR = "-"
    CHECKPOINT_EQUALS_CHAR = "="
    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"
    STARTING_VERSION = 1

    @with_old_arguments(of_checkpoint)
    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
    ) -> None:
        self.monitor = monitor
        self.verbose = verbose
        self.save_last = save_last
        self.save_top_k = save_top_k
        self.save_on_exception = save_on_exception
        self.save_weights_only = save_weights_only
        self.mode = mode
        self.auto_insert_metric_name = auto_insert_metric_name
        self.filename = filename
        self.dirpath = _absolute(dirpath) if dirpath is not None else None
        self._dirpath_is_given = dirpath is not None
        self._save_on_train_epoch_end = save_on_train_epoch_end
        self._enable_version_counter = enable_version_counter
        self._every_n_train_steps = every_n_train_steps or 0
        self._train_time_interval = train_time_interval
        no_trigger = every_n_train_steps is None and train_time_interval is None and every_n_epochs is None
        self._every_n_epochs = 1 if no_trigger else every_n_epochs or 0
        self._check_arguments()
        self._start_ranking()
        self._handled_step = 0  # the global step at which a checkpoint was last due; nothing is trained at 0
        self._seen_step = 0  # the global step after the previous batch
        self._due_again_s = 0.0  # time.monotonic() at which `train_time_interval` is over
        self._waits_for_metric = False
        self._has_validated = False

    def _start_ranking(self) -> None:
        """Know of no checkpoint yet."""
        self.best_model_path = ""
        self.best_model_score: Tensor | None = None
        self.best_k_models: dict[str, Tensor] = {}
        self.kth_best_model_path = ""
        self.kth_value = torch.tensor(_WORST[self.mode])
        self.last_model_path = ""
        self.current_score: Tensor | None = None
        self._last_checkpoint_saved = ""
        self._written: set[str] = set()  # by this process
        self._inherited: set[str] = set()  # by the run that this one continues
        self._to_remove: list[str] = []

    @property
    def state_key(self) -> str:
        return self._generate_state_key(
            monitor=self.monitor,
            mode=self.mode,
            every_n_train_steps=self._every_n_train_steps,
            every_n_epochs=self._every_n_epochs,
            train_time_interval=self._train_time_interval,
        )

    @property
    def every_n_epochs(self) -> int:
        """A checkpoint is due every so many epochs; 0 for never."""
        return self._every_n_epochs

    # ------------------------------------------------------------------------------- when one is due

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._dirpath_is_given or (stage != "fit" and self.dirpath is not None):
            return
        folder = _absolute(os.path.join(trainer.log_dir, "checkpoints"))
        if self.dirpath not in (None, folder):
            self._start_ranking()  # another trainer's run: what the one before saved is not its to remove
        self.dirpath = folder

    def on_preflight(self, trainer: Trainer, pl_module: LightningModule, plan: Plan) -> None:
        why = self._never_due(trainer, plan)
        if why and not self.save_last:  # which is written at the end, come what may
            trigger, reason = why
            plan.never(f"ModelCheckpoint({trigger})", reason)
        elif self.monitor is not None and not why:
            plan.needs(self.monitor, f"ModelCheckpoint(monitor={self.monitor!r})")
        if self._dirpath_is_given and self.save_top_k != 0:
            self._look_for_others(trainer.ckpt_path)

    def _look_for_others(self, resumed: str | None) -> None:
        """Advise where the folder holds checkpoints that are neither of this run nor of the one that it continues."""
        folder = str(self.dirpath)
        if not files.is_local(folder) or (resumed is not None and _absolute(os.path.dirname(resumed)) == folder):
            return
        others = [str(path) for path in Path(folder).glob(f"*{self.FILE_EXTENSION}") if str(path) not in self._written]
        if others:
            advise(
                "FUL024",
                f"`ModelCheckpoint(dirpath={folder!r})`: the folder holds {len(others)} checkpoints of other runs "
                f"({os.path.basename(min(others))}, ...); give each run a folder of its own, or leave dirpath off",
            )

    def _never_due(self, trainer: Trainer, plan: Plan) -> tuple[str, str] | None:
        """Return the trigger that does not come in this fit, and why; ``None`` where it comes or may come."""
        steps, interval, epochs = self._every_n_train_steps, self._train_time_interval, self._every_n_epochs
        if steps and not plan.has_step(steps):
            return f"every_n_train_steps={steps}", f"training ends after {plan.last_step:.0f} optimizer steps"
        if interval is not None and interval.total_seconds() > plan.seconds:
            return f"train_time_interval={interval}", f"training ends after {plan.seconds:.0f} seconds"
        if epochs and not plan.has_epoch(epochs):
            return f"every_n_epochs={epochs}", f"training ends after {plan.last_epoch:.0f} epochs"
        if epochs and not self._saves_at_epoch_end(trainer) and not plan.validates:
            return f"every_n_epochs={epochs}", "it saves after validations, and there is none"
        return None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._handled_step = 0
        self._seen_step = trainer.global_step
        self._has_validated = self._waits_for_metric = False
        if self._train_time_interval is not None:
            self._due_again_s = time.monotonic() + self._train_time_interval.total_seconds()

    def wants(self, hook: str) -> bool:
        """Leave out the hook of every batch where no trigger counts steps or time."""
        return hook != "on_train_batch_end" or bool(self._every_n_train_steps or self._train_time_interval)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._every_n_train_steps:
            # A multiple was passed, rather than hit: several optimizers take several steps in one batch.
            step, seen, every = trainer.global_step, self._seen_step, self._every_n_train_steps
            self._seen_step = step
            if step // every == seen // every:
                return
        elif self._train_time_interval is None or time.monotonic() < self._due_again_s:
            return
        else:
            self._due_again_s = time.monotonic() + self._train_time_interval.total_seconds()
        if not fits(trainer):
            return
        # The metric of the validation that comes now is the one to rank by, not that of the one before.
        is_missing = self.monitor not in trainer.callback_metrics
        if self.monitor is not None and (
            validation_follows(trainer, batch_idx) or (is_missing and self._may_come_later(trainer))
        ):
            self._waits_for_metric = True
        else:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not fits(trainer):
            return
        self._has_validated = True
        is_due = self._is_due_in_this_epoch(trainer) and not self._saves_at_epoch_end(trainer)
        if is_due or (self._waits_for_metric and self.monitor in trainer.callback_metrics):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not fits(trainer):
            return
        is_due = self._is_due_in_this_epoch(trainer) and self._saves_at_epoch_end(trainer)
        can_wait = self.monitor not in trainer.callback_metrics and self._may_come_later(trainer)
        if is_due or (self._waits_for_metric and not can_wait):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The end of training is a moment at which everybody expects `last.ckpt` to be the last state.
        done = 0 if any(one.changes_final_weights for one in trainer.callbacks) else self._handled_step
        if self.save_last and fits(trainer) and trainer.global_step not in (0, done):
            self._handled_step = trainer.global_step
            self._write_last(trainer, self._metrics(trainer))
            self._remove_pushed_out(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # A mistake in the program that shows only after some training (a `monitor` that is not logged) costs
        # no training.
        is_wanted = self.save_on_exception or isinstance(exception, MisconfigurationException)
        if not is_wanted or not fits(trainer) or trainer.global_step in (0, self._handled_step):
            return
        self._handled_step = trainer.global_step
        metrics = self._metrics(trainer)
        path = self._free_path(metrics, self.filename)
        self._write(trainer, path)
        if self.save_last:
            self._write_last(trainer, metrics)
        rank_zero_info(f"{type(exception).__name__} was raised; the state before it is saved in {path}")

    def _saves_at_epoch_end(self, trainer: Trainer) -> bool:
        chosen = self._save_on_train_epoch_end
        if chosen is None or not validates(trainer):
            return looks_at_epoch_end(trainer)
        return chosen

    def _is_due_in_this_epoch(self, trainer: Trainer) -> bool:
        return self._every_n_epochs >= 1 and (trainer.current_epoch + 1) % self._every_n_epochs == 0

    def _may_come_later(self, trainer: Trainer) -> bool:
        """Return whether the metric may be missing only because no validation has run yet."""
        return self.monitor is not None and validates(trainer) and not self._has_validated

    # --------------------------------------------------------------------------- what is then done

    def _save(self, trainer: Trainer) -> None:
        """Save what is due at this global step, once."""
        if trainer.global_step in (0, self._handled_step):
            return
        metrics = self._metrics(trainer)
        if self.monitor is not None and self.monitor not in metrics and not self._may_come_later(trainer):
            raise MisconfigurationException(
                missing_monitor(type(self).__name__, self.monitor, trainer.callback_metrics)
            )
        self._handled_step = trainer.global_step
        self._waits_for_metric = False
        if self.save_top_k != 0:
            if self.monitor is None:
                self._write_newest(trainer, metrics)
            elif self.monitor in metrics:
                self._write_if_good(trainer, metrics, _rankable(metrics[self.monitor], self.mode))
        if self.save_last:
            self._write_last(trainer, metrics)
        self._remove_pushed_out(trainer)

    def _metrics(self, trainer: Trainer) -> dict[str, Any]:
        """Return what file names and ranks are made of: all logged values, ``epoch`` and ``step``."""
        metrics: dict[str, Any] = dict(trainer.callback_metrics)
        metrics["epoch"] = int(metrics.get("epoch", trainer.current_epoch))
        metrics["step"] = int(metrics.get("step", trainer.global_step))
        return metrics

    def _write_newest(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        previous = self.best_model_path
        # The paths are set before writing because they are part of the state that is written.
        self.best_model_path = self._free_path(metrics, self.filename, reusable=previous)
        if previous and self.save_top_k == 1:
            self._to_remove.append(previous)
        self._write(trainer, self.best_model_path)

    def _write_if_good(self, trainer: Trainer, metrics: dict[str, Any], score: Tensor) -> None:
        if not self.check_monitor_top_k(trainer, score):
            if self.verbose:
                rank_zero_info(
                    f"epoch {metrics['epoch']}, step {metrics['step']}: {self.monitor} = {score:.5f} is not "
                    f"among the best {self.save_top_k}"
                )
            return
        pushed_out = ""
        if len(self.best_k_models) == self.save_top_k:
            pushed_out = self.kth_best_model_path
            del self.best_k_models[pushed_out]
            self._to_remove.append(pushed_out)
        path = self._free_path(metrics, self.filename, reusable=pushed_out)
        self.current_score = score
        self.best_k_models[path] = score
        best, worst = (min, max) if self.mode == "min" else (max, min)
        if self.save_top_k == -1 or len(self.best_k_models) == self.save_top_k:
            self.kth_best_model_path = worst(self.best_k_models, key=self._score_of)
            self.kth_value = self.best_k_models[self.kth_best_model_path]
        self.best_model_path = best(self.best_k_models, key=self._score_of)
        self.best_model_score = self.best_k_models[self.best_model_path]
        if self.verbose:
            rank_zero_info(
                f"epoch {metrics['epoch']}, step {metrics['step']}: {self.monitor} = {score:.5f} "
                f"(best {self.best_model_score:.5f}), saved in {path}"
            )
        self._write(trainer, path)

    def _score_of(self, path: str) -> float:
        return float(self.best_k_models[path])

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether ``current`` is among the ``save_top_k`` best."""
        if current is None:
            return False
        if self.save_top_k == -1 or len(self.best_k_models) < self.save_top_k:
            return True
        kth = self.best_k_models[self.kth_best_model_path]
        return bool(current < kth if self.mode == "min" else current > kth)

    def _write_last(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        newest = self._last_checkpoint_saved
        is_link = self.save_last == "link" and self.save_top_k != 0 and newest and files.is_local(newest)
        previous = self.last_model_path
        self.last_model_path = self._free_path(metrics, self.CHECKPOINT_NAME_LAST, reusable=previous)
        if previous:
            self._to_remove.append(previous)
        if not is_link:
            self._write(trainer, self.last_model_path)
        elif trainer.is_global_zero:
            files.link(newest, self.last_model_path)
            self._written.add(self.last_model_path)
            self._tell_loggers(trainer)

    def _write(self, trainer: Trainer, path: str) -> None:
        trainer.save_checkpoint(path, self.save_weights_only)
        self._written.add(path)
        if path != self.last_model_path:
            self._last_checkpoint_saved = path
        self._tell_loggers(trainer)

    def _tell_loggers(self, trainer: Trainer) -> None:
        """Let loggers upload what was written, if they are asked to (``log_model``)."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)

    def _remove_pushed_out(self, trainer: Trainer) -> None:
        """Remove what newer files replace, now that those are complete."""
        kept = {self.best_model_path, self.last_model_path, *self.best_k_models}
        for path in self._to_remove:
            if path not in kept and trainer.is_global_zero and self._is_ours(trainer, path):
                trainer.remove_checkpoint(path)
                self._written.discard(path)
        self._to_remove.clear()

    def _is_ours(self, trainer: Trainer, path: str) -> bool:
        """Return whether this run wrote the file, so that removing it takes nothing from anybody else."""
        resumed = trainer.ckpt_path
        if resumed is not None and files.is_same_file(str(resumed), path):
            return False  # whoever resumes from it once may want to do so again
        if path in self._written:
            return True
        if path not in self._inherited or resumed is None:
            return False
        # Older than the checkpoint that names it, unless another run has since written a file of that name.
        written_ns, resumed_ns = files.modified_ns(path), files.modified_ns(str(resumed))
        return written_ns is not None and resumed_ns is not None and written_ns <= resumed_ns

    # ---------------------------------------------------------------------------------------- names

    def format_checkpoint_name(
        self,
        metrics: Mapping[str, Any],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """Return the path of a checkpoint, its template filled with ``metrics``; a metric that is missing
        becomes 0.

        Args:
            metrics: name -> number or 0-d tensor.
            filename: the template in place of this callback's.
            ver: number to append as ``-v1``.
            prefix: words to put before the name.

        Raises:
            MisconfigurationException: a field's format does not suit its value.
        """
        join = self.CHECKPOINT_JOIN_CHAR
        template = filename or self.filename or f"{{epoch}}{join}{{step}}"
        equals = self.CHECKPOINT_EQUALS_CHAR if self.auto_insert_metric_name else None
        name = files.format_name(template, metrics, equals)
        if prefix is not None:
            name = f"{prefix}{join}{name}"
        if ver is not None:
            name = f"{name}{join}v{ver}"
        name += self.FILE_EXTENSION
        return os.path.join(self.dirpath, name) if self.dirpath else name

    def _free_path(self, metrics: dict[str, Any], template: str | None, reusable: str = "") -> str:
        """Return a path at which nothing lies yet, or lies what may be replaced."""
        path = self.format_checkpoint_name(metrics, template)
        version = self.STARTING_VERSION
        while self._enable_version_counter and path != reusable and files.exists(path):
            path = self.format_checkpoint_name(metrics, template, ver=version)
            version += 1
        return path

    def to_yaml(self, filepath: str | os.PathLike[str] | None = None) -> None:
        """Write path and score of all kept checkpoints to a file, by default ``best_k_models.yaml``."""
        import yaml

        if filepath is None:
            if self.dirpath is None:
                raise MisconfigurationException("`to_yaml` needs a `filepath` before the first `fit`")
            filepath = os.path.join(self.dirpath, "best_k_models.yaml")
        scores = {path: float(score) for path, score in self.best_k_models.items()}
        Path(filepath).write_text(yaml.safe_dump(scores), encoding="utf-8")

    # ---------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "best_model_score": self.best_model_score,
            "best_model_path": self.best_model_path,
            "current_score": self.current_score,
            "dirpath": self.dirpath,
            "best_k_models": dict(self.best_k_models),
            "kth_best_model_path": self.kth_best_model_path,
            "kth_value": self.kth_value,
            "last_model_path": self.last_model_path,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_model_path = state_dict["best_model_path"]
        folder = state_dict.get("dirpath")
        if folder != self.dirpath:
            message = (
                f"the checkpoints go to {self.dirpath}, but before it was {folder}: the ranking starts anew, and the "
                "files there are left alone"
            )
            if self._dirpath_is_given:
                advise("FUL025", message)
            else:  # each run has a folder of its own
                rank_zero_info(message)
            return
        self.best_model_score = state_dict["best_model_score"]
        self.current_score = state_dict.get("current_score")
        self.best_k_models = dict(state_dict.get("best_k_models", {}))
        self.kth_best_model_path = state_dict.get("kth_best_model_path", "")
        self.kth_value = state_dict.get("kth_value", self.kth_value)
        self.last_model_path = state_dict.get("last_model_path", "")
        self._inherited = {*self.best_k_models, self.best_model_path, self.last_model_path}

    # ------------------------------------------------------------------------------------ arguments

    def _check_arguments(self) -> None:
        if self.mode not in _WORST:
            raise MisconfigurationException(f"`mode` must be 'min' or 'max', but is {self.mode!r}")
        if self.save_last not in (None, False, True, "link"):
            raise MisconfigurationException(f"`save_last` must be True, False or 'link', but is {self.save_last!r}")
        if self.save_last == "link" and self.dirpath is not None and not files.is_local(self.dirpath):
            raise MisconfigurationException(
                f"`save_last='link'` needs a local folder, but `dirpath` is {self.dirpath!r}; use `save_last=True`"
            )
        if self.save_top_k < -1:
            raise MisconfigurationException(
                f"`save_top_k` must be >= -1, but is {self.save_top_k}; -1 keeps all, 0 none"
            )
        if self.monitor is None and self.save_top_k > 1:
            raise MisconfigurationException(
                f"`save_top_k={self.save_top_k}` needs `monitor`, the metric that ranks the checkpoints; "
                f"without it use 1 (the newest), -1 (all) or 0 (none)"
            )
        for name, value in (
            ("every_n_train_steps", self._every_n_train_steps),
            ("every_n_epochs", self._every_n_epochs),
        ):
            if value < 0:
                raise MisconfigurationException(f"`{name}` must be >= 0, but is {value}")
        triggers = {
            "every_n_train_steps": self._every_n_train_steps,
            "every_n_epochs": self._every_n_epochs,
            "train_time_interval": self._train_time_interval,
        }
        chosen = {name: value for name, value in triggers.items() if value not in (None, 0)}
        if len(chosen) > 1:
            given = ", ".join(f"`{name}={value}`" for name, value in chosen.items())
            raise MisconfigurationException(f"only one of {given} can be given; use one ModelCheckpoint for each")


def _absolute(folder: str | os.PathLike[str]) -> str:
    text = os.fspath(folder)
    return os.path.realpath(os.path.expanduser(text)) if files.is_local(text) else text


def _rankable(value: Any, mode: str) -> Tensor:
    """Return a metric on the host, NaN replaced by the worst value there is."""
    score = torch.as_tensor(value).detach().cpu().squeeze()
    return torch.full_like(score, _WORST[mode]) if bool(torch.isnan(score)) else score.clone()
