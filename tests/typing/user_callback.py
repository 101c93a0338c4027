"""A user's callback, as mypy and pyright read it; nobody runs it."""

from __future__ import annotations

from typing import Any

from fulmen import Callback, LightningModule, Trainer


class CountBatches(Callback):
    interface = (1, 0)

    def __init__(self) -> None:
        self.count = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.count += 1
        self.log("batches", float(self.count))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        print(f"{exception} after {self.count} batches, step {trainer.global_step}")

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = int(state_dict["count"])


Trainer(callbacks=CountBatches())
Trainer(callbacks=[CountBatches()])
