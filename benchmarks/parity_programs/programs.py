"""Programs as users write them, each a function that is given a Tape.

They run in both libraries: the one line ``import lightning.pytorch as pl`` is exchanged. All is float32 on the CPU, on
made data, from a fixed seed.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from tape import Tape
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset


def data(count: int, seed: int = 0, classes: int = 3) -> TensorDataset:
    """Return ``count`` samples of 6 numbers, each of one of the classes."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 6, generator=generator)
    labels = (features[:, :classes] + 0.1 * torch.randn(count, classes, generator=generator)).argmax(1)
    return TensorDataset(features, labels)


def shuffled(count: int, batch_size: int = 4, seed: int = 0) -> DataLoader[Any]:
    return DataLoader(data(count, seed), batch_size=batch_size, shuffle=True)


def in_order(count: int, batch_size: int = 4, seed: int = 1) -> DataLoader[Any]:
    return DataLoader(data(count, seed), batch_size=batch_size)


class Classifier(pl.LightningModule):
    """A small net with dropout, so that the random numbers matter."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        return cross_entropy(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.log("val_loss", cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).argmax(1)

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.1, momentum=0.9)


# ------------------------------------------------------------------------------------------------- programs


def plain(tape: Tape) -> None:
    """Shuffled data, dropout, validation, test and prediction."""
    model = Classifier()
    trainer = tape.trainer(max_epochs=3, log_every_n_steps=2)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)
    tape.keep(
        validated=trainer.validate(model, in_order(10), verbose=False),
        tested=trainer.test(model, in_order(9, seed=2), verbose=False),
        predicted=trainer.predict(model, in_order(9, seed=2)),
    )


def accumulation_and_clipping(tape: Tape) -> None:
    """Three batches a step, the last step of an epoch with fewer; clipped by norm."""

    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            return Adam(self.parameters(), lr=0.02)

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            norms = [parameter.grad.norm() for parameter in self.parameters()]
            self.log("grad_norm", torch.stack(norms).norm())

    model = Model()
    trainer = tape.trainer(max_epochs=3, accumulate_grad_batches=3, gradient_clip_val=0.3, log_every_n_steps=1)
    trainer.fit(model, shuffled(31), in_order(10))
    tape.keep_state(trainer, model)


def clipping_by_value(tape: Tape) -> None:
    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            return AdamW(self.parameters(), lr=0.02)

    model = Model()
    trainer = tape.trainer(max_steps=9, gradient_clip_val=0.01, gradient_clip_algorithm="value", log_every_n_steps=3)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)


def warm_up_per_step(tape: Tape) -> None:
    """A schedule per optimizer step beside one per epoch, with accumulation."""

    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = AdamW(self.parameters(), lr=0.05)
            warm_up = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))
            return [optimizer], [{"scheduler": warm_up, "interval": "step"}, ExponentialLR(optimizer, 0.5)]

    model = Model()
    trainer = tape.trainer(max_epochs=3, accumulate_grad_batches=2, log_every_n_steps=1)
    trainer.fit(model, shuffled(27), in_order(10))
    tape.keep_state(trainer, model)


def one_cycle_every_second_step(tape: Tape) -> None:
    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=0.01, momentum=0.9)
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = OneCycleLR(optimizer, max_lr=0.2, total_steps=steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 2}}

    model = Model()
    trainer = tape.trainer(max_epochs=4, log_every_n_steps=1)
    trainer.fit(model, shuffled(23))
    tape.keep_state(trainer, model)


def schedules_per_epoch(tape: Tape) -> None:
    """Two schedulers on one optimizer, one of them in every second epoch."""

    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=0.1)
            steps = {"scheduler": StepLR(optimizer, 1, 0.5), "frequency": 2}
            return [optimizer], [CosineAnnealingLR(optimizer, T_max=5), steps]

    model = Model()
    trainer = tape.trainer(max_epochs=5, check_val_every_n_epoch=2, log_every_n_steps=4)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)


def plateau(tape: Tape) -> None:
    """A schedule that waits for the validation loss; early stopping and the best checkpoint by it."""

    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=0.5)
            schedule = ReduceLROnPlateau(optimizer, factor=0.3, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": schedule, "monitor": "val_loss"}

    model = Model()
    best = ModelCheckpoint("best", monitor="val_loss", save_top_k=2, filename="{epoch}-{val_loss:.3f}")
    stopping = EarlyStopping("val_loss", patience=2)
    trainer = tape.trainer(max_epochs=12, callbacks=[stopping, best], enable_checkpointing=True)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)
    tape.keep(
        best=best.best_model_path.rpartition("/")[2],
        best_score=best.best_model_score,
        kept=sorted(path.rpartition("/")[2] for path in best.best_k_models),
        stopped_epoch=stopping.stopped_epoch,
        tested=trainer.test(model, in_order(9, seed=2), ckpt_path="best", verbose=False),
    )


class Gan(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 6))
        self.discriminator = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real, _ = batch
        optimizer_g, optimizer_d = self.optimizers()
        schedule_g, schedule_d = self.lr_schedulers()
        noise = torch.randn(len(real), 2)
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)

        self.toggle_optimizer(optimizer_g)
        loss_g = binary_cross_entropy_with_logits(self.discriminator(self.generator(noise)), ones)
        optimizer_g.zero_grad()
        self.manual_backward(loss_g)
        self.clip_gradients(optimizer_g, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        optimizer_g.step()
        self.untoggle_optimizer(optimizer_g)

        with optimizer_d.toggle_model():
            loss_d = binary_cross_entropy_with_logits(self.discriminator(real), ones)
            loss_d = loss_d + binary_cross_entropy_with_logits(self.discriminator(self.generator(noise)), zeros)
            optimizer_d.zero_grad()
            self.manual_backward(loss_d)
            optimizer_d.step()

        schedule_g.step()
        if self.trainer.is_last_batch:
            schedule_d.step()
        self.log_dict({"g_loss": loss_g, "d_loss": loss_d}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        g = Adam(self.generator.parameters(), lr=0.01, betas=(0.5, 0.999))
        d = Adam(self.discriminator.parameters(), lr=0.01, betas=(0.5, 0.999))
        return [g, d], [ExponentialLR(g, 0.99), StepLR(d, 1, 0.5)]


def manual_with_two_optimizers(tape: Tape) -> None:
    """A GAN: toggled optimizers, clipping and schedules by hand."""
    model = Gan()
    trainer = tape.trainer(max_epochs=3, log_every_n_steps=2)
    trainer.fit(model, shuffled(22))
    tape.keep_state(trainer, model)


def manual_with_accumulation(tape: Tape) -> None:
    """One optimizer stepped by hand on every second batch, with a plateau schedule at the end of an epoch."""

    class Model(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            optimizer = self.optimizers()
            loss = self.loss(batch)
            self.manual_backward(loss / 2)
            if (batch_idx + 1) % 2 == 0:
                optimizer.step()
                optimizer.zero_grad()
            self.log("train_loss", loss, on_epoch=True)
            return {"loss": loss, "size": len(batch[0])}

        def on_train_epoch_end(self) -> None:
            self.lr_schedulers().step(self.trainer.callback_metrics["train_loss"])

        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=0.3)
            return [optimizer], [ReduceLROnPlateau(optimizer, patience=0, factor=0.5)]

    model = Model()
    trainer = tape.trainer(max_epochs=4, log_every_n_steps=3)
    trainer.fit(model, shuffled(27), in_order(10))
    tape.keep_state(trainer, model)


def several_loaders(tape: Tape) -> None:
    """A dict of training loaders of different lengths; two validation loaders."""

    class Model(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            losses = {name: self.loss(part) for name, part in batch.items()}
            self.log_dict({f"train_{name}": loss for name, loss in losses.items()}, on_step=True, on_epoch=True)
            return sum(losses.values())

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            loss = self.loss(batch)
            self.log("val_loss", loss)
            self.log(f"named_{dataloader_idx}", loss, add_dataloader_idx=False)

        def on_validation_epoch_end(self) -> None:
            self.log("seen", float(self.trainer.num_val_batches[0]))

    model = Model()
    trainer = tape.trainer(max_epochs=3, val_check_interval=0.5, limit_val_batches=2, log_every_n_steps=2)
    trainer.fit(model, {"a": shuffled(22), "b": shuffled(9, 3, seed=5)}, [in_order(10), in_order(7, seed=2)])
    tape.keep_state(trainer, model)
    tape.keep(validated=trainer.validate(model, [in_order(10), in_order(7, seed=2)], verbose=False))


def lbfgs(tape: Tape) -> None:
    """An optimizer that evaluates its closure several times."""

    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.3, max_iter=4)

    model = Model()
    trainer = tape.trainer(max_epochs=2, log_every_n_steps=1)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)


def reductions(tape: Tape) -> None:
    """Every form of logging: reductions, weights, forks, hooks, several validations an epoch."""

    class Model(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            for reduce_fx in ("mean", "sum", "min", "max"):
                self.log(f"t_{reduce_fx}", loss, on_step=True, on_epoch=True, reduce_fx=reduce_fx)
            self.log("t_weighted", loss, on_step=False, on_epoch=True, batch_size=batch_idx + 1)

            self.log("t_whole", batch_idx)
            self.log("t_hidden", loss, logger=False)
            return {"loss": loss, "batch_idx": batch_idx}

        def on_train_epoch_start(self) -> None:
            self.log("at_start", float(self.current_epoch))

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.log("before", float(batch_idx), on_step=True, on_epoch=True)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("after", outputs["loss"], on_step=True, on_epoch=True)

        def on_train_epoch_end(self) -> None:
            self.log("at_end", self.trainer.callback_metrics["t_sum"] * 2, prog_bar=True)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            loss = self.loss(batch)
            for reduce_fx in ("mean", "sum", "min", "max"):
                self.log(f"v_{reduce_fx}", loss, on_step=True, on_epoch=True, reduce_fx=reduce_fx)
            self.log("v_step", loss, on_step=True, on_epoch=False)

        def on_validation_epoch_end(self) -> None:
            self.log("v_half", self.trainer.callback_metrics["v_mean"] / 2)

    model = Model()
    trainer = tape.trainer(max_epochs=3, val_check_interval=3, log_every_n_steps=2, limit_train_batches=7)
    trainer.fit(model, shuffled(35), in_order(10))
    tape.keep_state(trainer, model)


def optimizer_step_of_the_users(tape: Tape) -> None:
    """A warm-up in ``optimizer_step``, clipping of the user's, a skipped batch, and an epoch that is ended early."""

    class Model(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 2:
                return None
            return super().training_step(batch, batch_idx)

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if self.current_epoch == 1 and batch_idx == 4 else None

        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * min(1.0, (self.trainer.global_step + 1) / 6)
            optimizer.step(closure=optimizer_closure)

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            optimizer.zero_grad(set_to_none=False)

        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any
        ) -> None:
            self.clip_gradients(optimizer, gradient_clip_val=0.2 + self.current_epoch, gradient_clip_algorithm="norm")

    model = Model()
    trainer = tape.trainer(max_epochs=3, log_every_n_steps=1)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)


class Stream(IterableDataset[Any]):
    def __init__(self, count: int) -> None:
        self.samples = data(count)

    def __iter__(self) -> Any:
        return iter(self.samples)


def stream_of_unknown_length(tape: Tape) -> None:
    """An iterable without a length, validated by a count across epochs, until a number of steps."""
    model = Classifier()
    trainer = tape.trainer(max_steps=17, val_check_interval=4, check_val_every_n_epoch=None, log_every_n_steps=2)
    trainer.fit(model, DataLoader(Stream(22), batch_size=4), DataLoader(Stream(9), batch_size=4))
    tape.keep_state(trainer, model)


def half_precision(tape: Tape) -> None:
    model = Classifier()
    trainer = tape.trainer(max_epochs=2, precision="bf16-mixed", gradient_clip_val=1.0, log_every_n_steps=2)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)


def double_precision(tape: Tape) -> None:
    model = Classifier()
    trainer = tape.trainer(max_epochs=2, precision="64-true", log_every_n_steps=2)
    trainer.fit(model, shuffled(22), in_order(10))
    tape.keep_state(trainer, model)


def resumed(tape: Tape) -> None:
    """A checkpoint, and another Trainer that goes on from it for two epochs more."""

    class Model(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.net[2].p = 0.0  # Lightning does not continue the random numbers

        def configure_optimizers(self) -> Any:
            optimizer = Adam(self.parameters(), lr=0.05)
            return [optimizer], [StepLR(optimizer, 1, 0.5)]

    model = Model()
    trainer = tape.trainer(max_epochs=2, log_every_n_steps=2)
    trainer.fit(model, in_order(22), in_order(10))
    trainer.save_checkpoint("two_epochs.ckpt")
    again = Model()
    trainer = tape.trainer(max_epochs=4, log_every_n_steps=2)
    trainer.fit(again, in_order(22), in_order(10), ckpt_path="two_epochs.ckpt")
    tape.keep_state(trainer, again)
    tape.keep(first=dict(model.state_dict()))


class RegressionData(pl.LightningDataModule):
    def setup(self, stage: str) -> None:
        x = torch.randn(20, 6, generator=torch.Generator().manual_seed(3))
        self.all = TensorDataset(x, x.sum(1, keepdim=True))

    def train_dataloader(self) -> Any:
        # Generators of its own: Lightning starts a loader twice that was asked for anew, which draws other numbers.
        order = RandomSampler(self.all, generator=torch.Generator().manual_seed(self.trainer.current_epoch))
        return DataLoader(self.all, batch_size=4, sampler=order, generator=torch.Generator())

    def val_dataloader(self) -> Any:
        return DataLoader(self.all, batch_size=8)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (x + 0.01 * torch.randn_like(x), y) if self.trainer.training else batch


def data_module(tape: Tape) -> None:
    """A data module that augments, and is asked for its loaders in every epoch."""

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = mse_loss(self.layer(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", mse_loss(self.layer(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return {"optimizer": SGD(self.parameters(), lr=0.05)}

    model = Model()
    trainer = tape.trainer(max_epochs=3, reload_dataloaders_every_n_epochs=1, log_every_n_steps=1)
    trainer.fit(model, datamodule=RegressionData())
    tape.keep_state(trainer, model)


PROGRAMS = (
    plain,
    accumulation_and_clipping,
    clipping_by_value,
    warm_up_per_step,
    one_cycle_every_second_step,
    schedules_per_epoch,
    plateau,
    manual_with_two_optimizers,
    manual_with_accumulation,
    several_loaders,
    lbfgs,
    reductions,
    optimizer_step_of_the_users,
    stream_of_unknown_length,
    half_precision,
    double_precision,
    resumed,
    data_module,
)
