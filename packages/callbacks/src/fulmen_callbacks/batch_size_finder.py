"""BatchSizeFinder: look for the largest batch size that fits into memory when an entry point begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.tuner import Tuner

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class BatchSizeFinder(Callback):
    """Find the largest batch size that fits into memory when an entry point begins, and go on with it.

    The loaders must come from the module or a data module, with the batch size of an attribute there. Nothing of the
    trials remains but the size. Call :meth:`scale_batch_size` in another hook of ``fit`` to look at other moments.

    Args:
        mode: ``"power"`` doubles until one does not fit; ``"binsearch"`` then looks between the last two.
        steps_per_trial: steps with each size.
        init_val: the first size.
        max_trials: the most sizes to try.
        batch_arg_name: the attribute or hyper-parameter of the module or data module.
        margin: with ``"binsearch"``, the share of the size found that is left free, 0.0 to below 1.0.
        max_val: the largest size to try.

    Attributes:
        optimal_batch_size: the size found; ``init_val`` before.

    Raises:
        MisconfigurationException: an argument cannot work; at the start, where no size can be found.
    """

    interface = (1, 0)
    SUPPORTED_MODES = ("power", "binsearch")

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        if mode.lower() not in self.SUPPORTED_MODES:
            raise MisconfigurationException(f"`mode` must be 'power' or 'binsearch', but is {mode!r}")
        if not 0.0 <= margin < 1.0:
            raise MisconfigurationException(f"`margin` must be at least 0.0 and below 1.0, but is {margin}")
        self.optimal_batch_size: int | None = init_val
        self._mode = mode
        self._steps_per_trial = steps_per_trial
        self._init_val = init_val
        self._max_trials = max_trials
        self._batch_arg_name = batch_arg_name
        self._margin = margin
        self._max_val = max_val

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scale_batch_size(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.scale_batch_size(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scale_batch_size(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scale_batch_size(trainer, pl_module)

    def scale_batch_size(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for a size now; call it in a hook of the entry point that runs."""
        self.optimal_batch_size = Tuner(trainer).scale_batch_size(
            pl_module,
            mode=self._mode,
            steps_per_trial=self._steps_per_trial,
            init_val=self._init_val,
            max_trials=self._max_trials,
            batch_arg_name=self._batch_arg_name,
            margin=self._margin,
            max_val=self._max_val,
        )
