"""ModelSummary: print what the model is made of before it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.callback import Callback
from fulmen.rank import rank_zero_info
from fulmen.summary import ModelSummary as Summary
from fulmen.summary import summarize

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class ModelSummary(Callback):
    """Print the model's layers with their types, parameters and modes when ``fit`` begins.

    Args:
        max_depth: how many levels of nested layers to list: 0 for nothing at all, -1 for all levels.

    Raises:
        MisconfigurationException: when ``fit`` begins, where ``max_depth`` is below -1.
    """

    interface = (1, 0)

    def __init__(self, max_depth: int = 1) -> None:
        self._max_depth = max_depth

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._max_depth != 0 and trainer.is_global_zero:
            self.show(summarize(pl_module, max_depth=self._max_depth))

    def show(self, summary: Summary) -> None:
        """Print a summary; a subclass may do so in its own way."""
        rank_zero_info("\n%s", summary)
