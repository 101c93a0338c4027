"""Tuner: finds a learning rate and a batch size for a module by trying some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fulmen.datamodule import LightningDataModule
from fulmen.errors import MisconfigurationException, nearest
from fulmen.module import LightningModule
from fulmen.rank import rank_zero_info
from fulmen.state import RunningStage, TrainerFn, TrainerStatus
from fulmen.trainer import Trainer, _split_datamodule
from fulmen.tuner import batch_size_scaling, lr_finder
from fulmen.tuner.attributes import TunedAttribute, learning_rate_of
from fulmen.tuner.batch_size_scaling import find_batch_size
from fulmen.tuner.lr_finder import LRFinder, find_learning_rate
from fulmen.tuner.snapshot import restored

_METHODS = tuple(fn.value for fn in TrainerFn)


class Tuner:
    """Finds a learning rate and a batch size by trying some.

    The trials run on a trainer like the given one, without its callbacks and loggers. Afterwards trainer, module and
    random numbers are as they were, to the bit, also where a trial raised; only the value found is written to the
    module, if that is asked for.

    Inside of a hook of a callback, while the trainer runs, no data is passed: the running entry point's is used, and
    none of the set-up hooks runs again.

    Args:
        trainer: how trials train: on which device, with which precision, accumulation, limits.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def lr_find(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder | None:
        """Let the learning rate grow step by step and watch the loss.

        Args:
            model: what trains; automatic optimization with one optimizer.
            train_dataloaders: as in ``Trainer.fit``.
            val_dataloaders: as in ``Trainer.fit``.
            dataloaders: not used here.
            datamodule: as in ``Trainer.fit``.
            method: ``"fit"``.
            min_lr: the rate of the first step.
            max_lr: the rate of the last step.
            num_training: steps; no more than the trainer's ``max_epochs`` have.
            mode: the rate grows ``"exponential"`` or ``"linear"``.
            early_stop_threshold: stop where the smoothed loss exceeds its best value this many times; ``None`` never.
            update_attr: set the module's learning rate to the suggestion.
            attr_name: the attribute or hyper-parameter that holds it; ``lr`` or ``learning_rate`` by default.

        Returns:
            What was seen, with ``suggestion()`` and ``plot()``; ``None`` with ``fast_dev_run``.

        Raises:
            MisconfigurationException: an argument, the module or the trainer cannot work.
        """
        if method != "fit":
            raise MisconfigurationException(f"`method` must be 'fit' for a learning rate, but is {method!r}")
        _check_method(method, train_dataloaders, val_dataloaders, dataloaders)
        mode = _check_mode(mode, lr_finder.MODES)
        _check_numbers(min_lr, max_lr, num_training)
        if self._skips("learning rate"):
            return None
        finder = LRFinder(mode, min_lr, max_lr, num_training)
        train_dataloaders, datamodule = _split_datamodule(train_dataloaders, datamodule, val_dataloaders)
        is_running = self._is_running(model)
        if not is_running:
            self._refuse_callback("LearningRateFinder")
        elif self._trainer.state.fn is not TrainerFn.FITTING:
            raise MisconfigurationException(f"a learning rate is found in fit, but `{self._trainer.state.fn}` runs")
        rate = None
        if update_attr:
            rate = learning_rate_of(model, self._trainer.datamodule if is_running else datamodule, attr_name)
        with self._ready(model, train_dataloaders, val_dataloaders, datamodule, method) as trainer:
            find_learning_rate(trainer, finder, early_stop_threshold)
        suggestion = finder.suggestion() if rate is not None else None
        if rate is not None and suggestion is not None:
            rate.value = suggestion
            if is_running:
                self._rebase(suggestion)
            rank_zero_info("learning rate set to %g (`%s`)", suggestion, rate.name)
        return finder

    def scale_batch_size(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """Look for the largest batch size that fits into memory, and set it.

        The loaders must come from the module or a data module, and take their batch size from an attribute or
        hyper-parameter there.

        Args:
            model: what trains.
            train_dataloaders: a data module is accepted; loaders have a batch size already, and are refused.
            val_dataloaders: refused, too.
            dataloaders: a data module is accepted, with a ``method`` other than ``"fit"``.
            datamodule: as in ``Trainer.fit``.
            method: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``: what the size is for.
            mode: ``"power"`` doubles until one does not fit; ``"binsearch"`` then looks between the last two.
            steps_per_trial: steps with each size.
            init_val: the first size.
            max_trials: the most sizes to try.
            batch_arg_name: the attribute's name.
            margin: with ``"binsearch"``, the share of the size found that is left free, 0.0 to below 1.0.
            max_val: the largest size to try; on the CPU, memory seldom sets the limit.

        Returns:
            The size; ``None`` with ``fast_dev_run``.

        Raises:
            MisconfigurationException: an argument, the module or the trainer cannot work, or no size fits.
        """
        _check_method(method, train_dataloaders, val_dataloaders, dataloaders)
        mode = _check_mode(mode, batch_size_scaling.MODES)
        if not 0.0 <= margin < 1.0:
            raise MisconfigurationException(f"`margin` must be at least 0.0 and below 1.0, but is {margin}")
        for name, value in (("steps_per_trial", steps_per_trial), ("init_val", init_val), ("max_trials", max_trials)):
            if value < 1:
                raise MisconfigurationException(f"`{name}` must be >= 1, but is {value}")
        if self._skips("batch size"):
            return None
        given = train_dataloaders if method == "fit" else dataloaders
        given, datamodule = _split_datamodule(given, datamodule, val_dataloaders)
        is_running = self._is_running(model)
        if is_running:
            datamodule = self._trainer.datamodule
            given = self._given_loaders()
            method = str(self._trainer.state.fn)
        else:
            self._refuse_callback("BatchSizeFinder")
        if given is not None or val_dataloaders is not None:
            raise MisconfigurationException(
                "dataloaders were passed, whose batch size is fixed; define them in the module or a data module, with "
                f"`batch_size=self.{batch_arg_name}`"
            )
        size = TunedAttribute(batch_arg_name, model, datamodule)
        if not size.exists:
            raise MisconfigurationException(
                f"neither `{type(model).__name__}` nor a data module nor their hparams have {batch_arg_name!r}; set "
                "it, and let the loaders use it, or name another with batch_arg_name=..."
            )
        before, found = size.value, None
        try:
            with self._ready(model, None, None, datamodule, method) as trainer:
                found = find_batch_size(
                    trainer,
                    size,
                    mode=mode,
                    steps_per_trial=steps_per_trial,
                    init_val=init_val,
                    max_trials=max_trials,
                    margin=margin,
                    max_val=max_val,
                )
        finally:
            size.value = before if found is None else found
        if is_running:
            self._reload()
        rank_zero_info("batch size set to %d (`%s`)", found, batch_arg_name)
        return found

    # ---------------------------------------------------------------------------------------- the trainer

    @contextmanager
    def _ready(
        self, model: LightningModule, train: Any, val: Any, datamodule: LightningDataModule | None, method: str
    ) -> Iterator[Trainer]:
        """Yield a trainer inside its entry point, and give everything back as it was afterwards."""
        if self._is_running(model):
            if train is not None or val is not None:
                raise MisconfigurationException("a trainer that runs tunes with its own data; pass no dataloaders")
            with restored(self._trainer, model, self._trainer.datamodule):
                yield self._trainer
            return
        trainer = self._trainer._trial()
        trainer._progress.load_state_dict(type(trainer._progress)().state_dict())
        with restored(trainer, model, datamodule), trainer._entry(TrainerFn(method), model, datamodule):
            trainer._given_train_loaders, trainer._given_val_loaders = train, val
            trainer.state.stage = RunningStage.TRAINING if method == "fit" else RunningStage(method)
            if method == "fit":
                trainer._check_can_fit(train)
            trainer._set_up_module()
            if method == "fit":
                trainer._configure_optimizers()
            yield trainer

    def _is_running(self, model: LightningModule) -> bool:
        trainer = self._trainer
        return trainer.state.status is TrainerStatus.RUNNING and trainer.model is model

    def _skips(self, what: str) -> bool:
        if self._trainer.fast_dev_run:
            rank_zero_info("no %s is looked for, since `fast_dev_run` is on", what)
        return bool(self._trainer.fast_dev_run)

    def _refuse_callback(self, name: str) -> None:
        for callback in self._trainer.callbacks:
            if any(cls.__name__ == name for cls in type(callback).__mro__):
                raise MisconfigurationException(
                    f"the Trainer has a {name} among its callbacks, which tunes when it runs; take it out to use the "
                    "Tuner"
                )

    def _given_loaders(self) -> Any:
        trainer = self._trainer
        return trainer._given_train_loaders if trainer.state.fn is TrainerFn.FITTING else trainer._given_loaders

    def _rebase(self, rate: float) -> None:
        """Give the running optimizer and its schedulers the new rate."""
        for optimizer in self._trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
                if "initial_lr" in group:
                    group["initial_lr"] = rate
        for config in self._trainer.lr_scheduler_configs:
            if getattr(config.scheduler, "base_lrs", None):
                config.scheduler.base_lrs = [rate] * len(config.scheduler.base_lrs)

    def _reload(self) -> None:
        """Let the running loop ask for its loaders anew, which have the new batch size then."""
        trainer = self._trainer
        if trainer.state.fn is TrainerFn.FITTING:
            loop = trainer._fit_loop
            if loop is not None and loop.is_of(trainer._hooks) and loop.loader is not None:
                loop.reload()
        elif trainer.state.fn is TrainerFn.PREDICTING:
            assert trainer._prediction is not None
            trainer._prediction.set_up()
        else:
            assert trainer._evaluation is not None
            trainer._evaluation.set_up()


def _check_method(method: str, train: Any, val: Any, dataloaders: Any) -> None:
    if method not in _METHODS:
        raise MisconfigurationException(
            f"`method` must be one of {', '.join(_METHODS)}, but is {method!r}{nearest(str(method), _METHODS)}"
        )
    if method == "fit" and dataloaders is not None:
        raise MisconfigurationException(
            "`dataloaders` belong to validate, test and predict; with method='fit' pass `train_dataloaders` and "
            "`val_dataloaders`"
        )
    if method != "fit" and (train is not None or val is not None):
        raise MisconfigurationException(
            f"`train_dataloaders` and `val_dataloaders` belong to fit; with method={method!r} pass `dataloaders`"
        )


def _check_mode(mode: Any, known: tuple[str, ...]) -> str:
    if str(mode).lower() not in known:
        raise MisconfigurationException(
            f"`mode` must be one of {', '.join(map(repr, known))}, but is {mode!r}{nearest(str(mode), known)}"
        )
    return str(mode).lower()


def _check_numbers(min_lr: float, max_lr: float, num_training: int) -> None:
    if not 0 < min_lr < max_lr:
        raise MisconfigurationException(f"0 < `min_lr` < `max_lr` must hold, but they are {min_lr} and {max_lr}")
    if num_training < 1:
        raise MisconfigurationException(f"`num_training` must be >= 1, but is {num_training}")
