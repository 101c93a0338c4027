"""LearningRateFinder: look for a learning rate when fit begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.tuner import LRFinder, Tuner

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class LearningRateFinder(Callback):
    """Find a learning rate when ``fit`` begins, and train with it.

    The trial sees the model as the callbacks before it left it: put this one behind those that freeze layers. Nothing
    of the trial remains but the rate. Override ``on_fit_start``, or call :meth:`lr_find` in another hook, to look at
    other moments.

    Args:
        min_lr: the rate of the first step.
        max_lr: the rate of the last step.
        num_training_steps: steps of the trial.
        mode: the rate grows ``"exponential"`` or ``"linear"``.
        early_stop_threshold: stop where the smoothed loss exceeds its best value this many times; ``None`` never.
        update_attr: train with the suggestion, and set the module's attribute to it.
        attr_name: the attribute or hyper-parameter with the learning rate; ``lr`` or ``learning_rate`` by default.
        weights_only: accepted for programs that pass it; no file is written.

    Attributes:
        optimal_lr: the outcome, an ``LRFinder``: ``suggestion()``, ``plot()``, ``results``.

    Raises:
        MisconfigurationException: ``mode`` is unknown; when ``fit`` begins, where no rate can be found for the module.
    """

    interface = (1, 0)
    SUPPORTED_MODES = ("linear", "exponential")

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
        weights_only: bool | None = None,
    ) -> None:
        if mode.lower() not in self.SUPPORTED_MODES:
            raise MisconfigurationException(f"`mode` must be 'linear' or 'exponential', but is {mode!r}")
        self.optimal_lr: LRFinder | None = None
        self._min_lr = min_lr
        self._max_lr = max_lr
        self._num_training_steps = num_training_steps
        self._mode = mode
        self._early_stop_threshold = early_stop_threshold
        self._update_attr = update_attr
        self._attr_name = attr_name

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lr_find(trainer, pl_module)

    def lr_find(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for a rate now; call it in a hook of ``fit``."""
        self.optimal_lr = Tuner(trainer).lr_find(
            pl_module,
            min_lr=self._min_lr,
            max_lr=self._max_lr,
            num_training=self._num_training_steps,
            mode=self._mode,
            early_stop_threshold=self._early_stop_threshold,
            update_attr=self._update_attr,
            attr_name=self._attr_name,
        )
