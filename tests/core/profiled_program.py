"""A program whose profile is compared with Lightning's: it runs with either, and overrides a hook of each kind.

``profiler_actions.json`` was made by Lightning 2.6.6: for each entry point the actions and how often each ran.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def run(pl: Any, simple_profiler: Any, folder: str) -> dict[str, dict[str, int]]:
    """Return for each entry point the actions and their counts."""

    class Lit(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with self.trainer.profiler.profile("my part"):
                loss = self.layer(batch[0]).sum()
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.layer(batch[0]).sum())

        test_step = validation_step

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch[0])

        def on_after_backward(self) -> None:
            pass

        def on_train_epoch_end(self) -> None:
            pass

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    class Data(pl.LightningDataModule):  # type: ignore[misc,name-defined]
        def _loader(self) -> Any:
            return DataLoader(TensorDataset(torch.randn(8, 4)), batch_size=2)

        train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader

        def setup(self, stage: str) -> None:
            pass

    class Watch(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_end(self, *args: Any) -> None:
            pass

        def on_validation_epoch_end(self, *args: Any) -> None:
            pass

        def on_test_batch_start(self, *args: Any) -> None:
            pass

        def on_predict_end(self, *args: Any) -> None:
            pass

    profiler = simple_profiler()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        profiler=profiler,
        logger=False,
        callbacks=[Watch()],
        gradient_clip_val=1.0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    module, data = Lit(), Data()
    counts = {}
    for entry in ("fit", "validate", "test", "predict"):
        profiler.recorded_durations.clear()
        getattr(trainer, entry)(module, datamodule=data)
        counts[entry] = {action: len(durations) for action, durations in profiler.recorded_durations.items()}
    trainer.save_checkpoint(f"{folder}/saved.ckpt")
    counts["save"] = {"save_checkpoint": len(profiler.recorded_durations["save_checkpoint"])}
    return counts
