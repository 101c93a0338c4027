"""The program that the options of ``drawing.py`` describe."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from programs import Stream, data
from tape import Tape
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, RandomSampler

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.02),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.02),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.05),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.2, max_iter=3),
}
SCHEDULERS = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2, 0.5),
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=6),
    "warm_restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4)),
    "cyclic": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, 3, cycle_momentum=False),
    "chained": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.8)],
        milestones=[3],
    ),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
}


class Drawn(pl.LightningModule):
    """A net of two parts, trained as the options say."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options
        self.automatic_optimization = not options["manual"]
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(options["dropout"]))
        self.head = nn.Linear(8, 3)
        self.batches = 0

    def loss(self, batch: Any) -> Tensor:
        if isinstance(batch, dict):
            return sum(self.loss(part) for part in batch.values())
        if isinstance(batch[0], (list, tuple)):
            return sum(self.loss(part) for part in batch)
        return cross_entropy(self.head(self.body(batch[0])), batch[1])

    def log_in(self, hook: str, value: float) -> None:
        """Log what the options want to be logged in this hook."""
        for log in self.options["logs"]:
            if log["hook"] != hook:
                continue
            given: Any = value + len(log["name"]) / 7
            given = {"float": given, "int": int(given), "tensor": torch.tensor(given)}[log["value"]]
            levels = {name: log[name] for name in ("on_step", "on_epoch", "batch_size") if log[name] is not None}
            self.log(
                log["name"],
                given,
                reduce_fx=log["reduce_fx"],
                prog_bar=log["prog_bar"],
                logger=log["logger"],
                **levels,
            )

    # ------------------------------------------------------------------------------------------ training

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == self.options["ends_epoch"] and self.current_epoch == 1:
            return -1
        self.log_in("on_train_batch_start", batch_idx + 0.25)
        return None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.batches += 1
        if self.batches == self.options["stops"]:
            self.trainer.should_stop = True
        if batch_idx == self.options["skips"] and not self.options["manual"]:
            return None
        loss = self.loss(batch)
        # Lightning forgets all but the last evaluation of a closure in the first batch of an epoch.
        self.log("loss", loss, on_step=True, on_epoch="lbfgs" not in self.options["optimizers"], batch_size=4)
        self.log_in("training_step", math.sin(self.batches))
        if self.options["manual"]:
            self.step_by_hand(loss, batch, batch_idx)
        return loss if self.options["returns"] == "loss" else {"loss": loss, "extra": batch_idx}

    def step_by_hand(self, loss: Tensor, batch: Any, batch_idx: int) -> None:
        optimizers = self.optimizers()
        if not isinstance(optimizers, list):
            optimizers = [optimizers]
        for index, optimizer in enumerate(optimizers):
            if isinstance(optimizer.optimizer, torch.optim.LBFGS):
                self.step_with_closure(optimizer, batch)
                continue
            if batch_idx % (index + 1):
                continue
            with optimizer.toggle_model():
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                if self.options["seed"] % 2:
                    self.clip_gradients(optimizer, 0.1, "norm")
                optimizer.step()
        schedulers = self.lr_schedulers()
        if schedulers is None:
            return
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                scheduler.step(loss)
            elif self.trainer.is_last_batch:
                scheduler.step()

    def step_with_closure(self, optimizer: Any, batch: Any) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            return loss

        optimizer.step(closure=closure)

    def on_after_backward(self) -> None:
        self.log_in("on_after_backward", self.batches / 3)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log_in("on_before_optimizer_step", self.batches / 5)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log_in("on_train_batch_end", batch_idx * 1.5)

    def on_train_epoch_start(self) -> None:
        self.log_in("on_train_epoch_start", self.current_epoch + 0.5)

    def on_train_epoch_end(self) -> None:
        self.log_in("on_train_epoch_end", self.current_epoch * 2.5)

    # -------------------------------------------------------------------------------------- validation

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        loss = self.loss(batch)
        self.log("val_loss", loss, add_dataloader_idx=False) if dataloader_idx == 0 else None
        self.log_in("validation_step", math.cos(batch_idx))
        return loss

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("test_loss", self.loss(batch), on_step=self.options["seed"] % 3 == 0, on_epoch=True)

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log_in("on_validation_batch_end", float(outputs))

    def on_validation_epoch_start(self) -> None:
        self.log_in("on_validation_epoch_start", self.current_epoch + 0.75)

    def on_validation_epoch_end(self) -> None:
        self.log_in("on_validation_epoch_end", self.current_epoch * 3.5)

    # ------------------------------------------------------------------------------------- optimization

    def configure_optimizers(self) -> Any:
        kinds = self.options["optimizers"]
        parts = [self.parameters()] if len(kinds) == 1 else [self.body.parameters(), self.head.parameters()]
        optimizers = [OPTIMIZERS[kind](part) for kind, part in zip(kinds, parts, strict=True)]
        schedulers = [
            {
                "scheduler": SCHEDULERS[drawn["kind"]](optimizers[0]),
                **{name: drawn[name] for name in ("interval", "frequency", "monitor", "strict")},
            }
            for drawn in self.options["schedulers"]
        ]
        return optimizers, schedulers


class DrawnWithOptimizerStep(Drawn):
    """The same with a warm-up in ``optimizer_step``."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)
        for group in optimizer.param_groups:
            group["lr"] *= 0.99


def loader_of(drawn: dict[str, Any]) -> Any:
    if drawn["stream"]:
        return DataLoader(Stream(drawn["count"]), batch_size=drawn["batch_size"], generator=drawn["generator"])
    samples = data(drawn["count"], drawn["seed"])
    own = drawn["generator"] is not None  # not the loader's: that one is drawn from when an iterator is made
    order = RandomSampler(samples, generator=torch.Generator().manual_seed(1) if own else None)
    return DataLoader(
        samples,
        batch_size=drawn["batch_size"],
        sampler=order if drawn["shuffle"] else None,
        drop_last=drawn["drop_last"],
        generator=drawn["generator"],
    )


def run_drawn(options: dict[str, Any], tape: Tape) -> None:
    """Run the program that ``options`` describe."""
    # Lightning starts a loader twice that was asked for anew, which would draw other numbers from the global generator.
    reloads = "reload_dataloaders_every_n_epochs" in options["trainer"]
    for drawn in (*options["train"], *options["val"]):
        drawn["generator"] = torch.Generator().manual_seed(0) if reloads else None
    loaders = [loader_of(drawn) for drawn in options["train"]]
    train: Any = loaders[0]
    if len(loaders) > 1 or options["seed"] % 7 == 0:
        nested_in_dict = options["train_nesting"] == "dict"
        train = {f"part_{index}": loader for index, loader in enumerate(loaders)} if nested_in_dict else loaders
    val = [loader_of({**drawn, "shuffle": False}) for drawn in options["val"]] or None
    callbacks: list[Any] = []
    if "early_stopping" in options:
        callbacks.append(EarlyStopping(**options["early_stopping"]))
    if "checkpoint" in options:
        callbacks.append(ModelCheckpoint("kept", **options["checkpoint"]))
    model = (DrawnWithOptimizerStep if options["own_optimizer_step"] else Drawn)(options)
    trainer = tape.trainer(**options["trainer"], callbacks=callbacks)
    trainer.fit(model, train, val)
    tape.keep_state(trainer, model)
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint):
            kept = {path.rpartition("/")[2]: score for path, score in callback.best_k_models.items()}
            tape.keep(kept=kept, best=callback.best_model_path.rpartition("/")[2])
        else:
            tape.keep(stopped_epoch=callback.stopped_epoch, best_score=callback.best_score)
    if options["tests"]:
        tape.keep(tested=trainer.test(model, loader_of({**options["train"][0], "shuffle": False}), verbose=False))
        if val is not None:
            tape.keep(validated=trainer.validate(model, val, verbose=False))
