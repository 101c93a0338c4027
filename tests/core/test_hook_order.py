"""Hooks run in the order that users of the field's standard trainer know.

``hook_order.txt`` was recorded with Lightning 2.6.6 running this very program (C: callback, LM: module, DM: data
module): two batches, accumulated into one step, clipped, one epoch; then a checkpoint, the other entry points, and a
resumed fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

import fulmen
from fulmen.callback import CALLBACK_HOOKS

TRACE: list[str] = []

MODULE_HOOKS = [
    "prepare_data",
    "setup",
    "teardown",
    "configure_model",
    "configure_callbacks",
    "configure_optimizers",
    "on_fit_start",
    "on_fit_end",
    "on_train_start",
    "on_train_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "clip_gradients",
    "lr_scheduler_step",
    "backward",
    "on_validation_start",
    "on_validation_end",
    "on_validation_epoch_start",
    "on_validation_epoch_end",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_model_eval",
    "on_validation_model_train",
    "on_validation_model_zero_grad",
    "on_test_model_eval",
    "on_test_model_train",
    "on_predict_model_eval",
    "on_test_start",
    "on_test_end",
    "on_test_epoch_start",
    "on_test_epoch_end",
    "on_test_batch_start",
    "on_test_batch_end",
    "on_predict_start",
    "on_predict_end",
    "on_predict_epoch_start",
    "on_predict_epoch_end",
    "on_predict_batch_start",
    "on_predict_batch_end",
    "on_save_checkpoint",
    "on_load_checkpoint",
    "training_step",
    "validation_step",
    "test_step",
    "predict_step",
]

DATA_HOOKS = [
    "prepare_data",
    "setup",
    "teardown",
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "predict_dataloader",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "state_dict",
    "load_state_dict",
]


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def test_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch_idx

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Data(fulmen.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(torch.randn(8, 4), batch_size=4)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


def recording(base: type, who: str, hooks: Any) -> type:
    """Return a class that notes every call of a hook before it does what ``base`` does."""

    def note(name: str) -> Any:
        original = getattr(base, name)

        def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
            TRACE.append(f"{who}.{name}")
            return original(self, *args, **kwargs)

        return hook

    return type(f"Recording{base.__name__}", (base,), {name: note(name) for name in hooks})


def trainer(max_epochs: int, **options: Any) -> fulmen.Trainer:
    hooks = [name for name in CALLBACK_HOOKS if name != "on_preflight"]  # which the standard trainer does not have
    callback = recording(fulmen.Callback, "C", hooks)()
    return fulmen.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        gradient_clip_val=1.0,
        **options,
    )


def test_hooks_run_in_the_order_of_the_reference(tmp_path: Path) -> None:
    TRACE.clear()
    model, data = recording(Model, "LM", MODULE_HOOKS)(), recording(Data, "DM", DATA_HOOKS)()
    first = trainer(max_epochs=1, accumulate_grad_batches=2)
    TRACE.append("== fit")
    first.fit(model, data)
    TRACE.append("== save")
    first.save_checkpoint(tmp_path / "a.ckpt")
    TRACE.append("== validate")
    first.validate(model, data, verbose=False)
    TRACE.append("== test")
    first.test(model, data, verbose=False)
    TRACE.append("== predict")
    first.predict(model, data)
    TRACE.append("== resume")
    resumed, fresh_data = recording(Model, "LM", MODULE_HOOKS)(), recording(Data, "DM", DATA_HOOKS)()
    trainer(max_epochs=2).fit(resumed, fresh_data, ckpt_path=tmp_path / "a.ckpt")
    assert (Path(__file__).parent / "hook_order.txt").read_text().split("\n")[:-1] == TRACE


def test_a_hook_may_take_fewer_arguments() -> None:
    seen = []

    class Short(fulmen.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:  # type: ignore[override]
            seen.append(float(outputs["loss"]))

        def on_train_epoch_start(self) -> None:  # type: ignore[override]
            seen.append("start")

    class ShortModel(Model):
        def training_step(self, batch: Any) -> Any:  # type: ignore[override]
            return self.layer(batch).sum()

        def on_train_batch_start(self, batch: Any) -> None:  # type: ignore[override]
            seen.append(tuple(batch.shape))

    run = trainer(max_epochs=1)
    run.callbacks = [Short()]
    run.fit(ShortModel(), Data())
    assert [one if isinstance(one, (str, tuple)) else "loss" for one in seen] == [
        "start",
        (4, 4),
        "loss",
        (4, 4),
        "loss",
    ]


def test_callbacks_that_decide_see_what_the_module_logs_at_the_end_of_the_epoch() -> None:
    seen = []

    class Decides(fulmen.Callback):
        run_order = 1

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.callback_metrics["late"].item())

    class Late(Model):
        def on_train_epoch_end(self) -> None:
            self.log("late", 7.0)

    run = trainer(max_epochs=1)
    run.callbacks = [Decides()]
    run.fit(Late(), Data())
    assert seen == [7.0]
