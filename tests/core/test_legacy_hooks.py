"""Old hooks of modules and callbacks run at their moments, with the arguments that they had."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from legacy_programs import QUIET, Collects, Small, codes, loader, quietly, weights

import fulmen as pl
from fulmen.legacy import spelling


def fit(module: Any, **options: Any) -> tuple[pl.Trainer, list[str]]:
    made: list[pl.Trainer] = []

    def run() -> None:
        made.append(pl.Trainer(**{**QUIET, "max_epochs": 1, **options}))
        made[0].fit(module)

    messages = quietly(run)
    return made[0], messages


def modern_weights(**options: Any) -> Any:
    module = Small()
    pl.Trainer(**{**QUIET, "max_epochs": 1, **options}).fit(module)
    return weights(module)


def test_hooks_of_epochs_and_batches_run_for_module_and_callback() -> None:
    class Old(Small):
        def on_epoch_start(self) -> None:
            self.calls.append("epoch start")

        def on_epoch_end(self) -> None:
            self.calls.append("epoch end")

        def on_batch_start(self, batch: Any) -> None:
            self.calls.append(("batch start", len(batch[0])))

        def on_batch_end(self) -> None:
            self.calls.append("batch end")

        def on_pretrain_routine_start(self) -> None:
            self.calls.append("pretrain")

    class OldCallback(pl.Callback):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def on_init_start(self, trainer: Any) -> None:
            self.calls.append("init start")

        def on_init_end(self, trainer: Any) -> None:
            self.calls.append("init end")

        def on_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.calls.append((type(trainer).__name__, type(pl_module).__name__))

        def on_batch_end(self, trainer: Any, pl_module: Any) -> None:
            self.calls.append("batch end")

    module, callback = Old(), OldCallback()
    _, messages = fit(module, callbacks=[callback], limit_train_batches=2)
    batch = [("batch start", 4), "batch end"]
    assert module.calls == ["pretrain", "epoch start", *batch, *batch, "epoch end"]
    assert callback.calls == ["init start", "init end", "batch end", "batch end", ("Trainer", "Old")]
    assert codes(messages) == ["FUL108"] * 9
    assert torch.equal(weights(module), modern_weights(limit_train_batches=2))


def test_on_epoch_end_runs_for_validation_too() -> None:
    class Old(Small):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.calls.append("validation step")

        def val_dataloader(self) -> Any:
            return loader(4)

        def on_epoch_end(self) -> None:
            self.calls.append("end")

    module = Old()
    fit(module, num_sanity_val_steps=0)
    assert module.calls == ["validation step", "end", "end"]


def test_on_batch_start_ends_the_epoch_with_minus_one() -> None:
    class Old(Small):
        def on_batch_start(self, batch: Any) -> int | None:
            self.calls.append(1)
            return -1 if len(self.calls) == 3 else None

    module = Old()
    trainer, _ = fit(module)
    assert (len(module.calls), trainer.global_step) == (3, 2)


def test_a_loader_index_of_training_is_passed_where_it_is_wanted() -> None:
    class Old(Small):
        def on_train_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.calls.append((batch_idx, dataloader_idx))

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.calls.append((sorted(outputs), dataloader_idx))

    class OldCallback(pl.Callback):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int
        ) -> None:
            self.calls.append((batch_idx, dataloader_idx))

    module, callback = Old(), OldCallback()
    _, messages = fit(module, callbacks=callback, limit_train_batches=1)
    assert module.calls == [(0, 0), (["loss"], 0)]
    assert callback.calls == [(0, 0)]
    assert codes(messages) == ["FUL109"] * 3
    assert "`on_train_batch_start(self, batch, batch_idx)`" in messages[0]
    assert vars(module).get("on_train_batch_start") is None  # nothing is left on the object
    assert "on_train_batch_end" not in vars(callback)


def test_on_train_epoch_end_gets_the_outputs_where_it_takes_them() -> None:
    class Old(Small):
        def on_train_epoch_end(self, outputs: Any) -> None:
            self.calls.append([output["loss"].item() for output in outputs])

    class OldCallback(pl.Callback):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            self.calls.append(len(outputs))

    module, callback = Old(), OldCallback()
    fit(module, callbacks=callback, max_epochs=2)
    reference = Small()
    first = reference.loss(next(iter(loader()))).item()
    assert [len(losses) for losses in module.calls] == [6, 6]
    assert module.calls[0][0] == pytest.approx(first)
    assert callback.calls == [6, 6]


@pytest.mark.parametrize("name", ["training_step_end", "training_end"])
def test_the_end_of_a_step_may_make_the_loss(name: str) -> None:
    def end(self: Any, outputs: Any) -> Any:
        self.calls.append(sorted(outputs))
        return {"loss": outputs["mean"]}

    class Old(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"mean": self.loss(batch)}

    setattr(Old, name, end)
    module = Old()
    _, messages = fit(module)
    assert module.calls == [["mean"]] * 6
    assert codes(messages) == ["FUL108"]
    assert torch.equal(weights(module), modern_weights())


def test_training_end_without_arguments_runs_when_training_ends() -> None:
    class Old(Small):
        def training_end(self) -> None:
            self.calls.append(self.trainer.global_step)

    module = Old()
    fit(module, max_epochs=2)
    assert module.calls == [12]


def test_steps_and_loaders_by_older_names() -> None:
    class Oldest(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(6, 3)
            self.tested: list[int] = []

        def training_step(self, data_batch: Any, batch_nb: int) -> Any:
            return torch.nn.functional.cross_entropy(self.layer(data_batch[0]), data_batch[1])

        def tng_dataloader(self) -> Any:
            return loader()

        def testing_step(self, batch: Any, batch_nb: int) -> Any:
            return {"seen": len(batch[0])}

        def testing_epoch_end(self, outputs: Any) -> Any:
            self.tested = [output["seen"] for output in outputs]
            return {"log": {"test_count": float(sum(self.tested))}}

        def test_dataloader(self) -> Any:
            return loader(10)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    with pytest.warns(spelling.OldSpellingWarning, match="FUL106.*leave it out: loader hooks need no decorator"):
        Oldest.tng_dataloader = pl.data_loader(Oldest.tng_dataloader)
    module = Oldest()
    trainer, messages = fit(module)
    assert torch.equal(weights(module), modern_weights())
    results: list[Any] = []
    quietly(lambda: results.extend(trainer.test(module, verbose=False)))
    assert results == [{"test_count": 10.0}]
    assert module.tested == [4, 4, 2]
    assert any("`Oldest.tng_dataloader` is an old spelling; write `train_dataloader`" in one for one in messages)


def test_hooks_of_loaders_run_when_they_are_asked_for() -> None:
    class Old(Small):
        def on_train_dataloader(self) -> None:
            self.calls.append("before")

        def train_dataloader(self) -> Any:
            self.calls.append("loader")
            return loader()

    module = Old()
    fit(module)
    assert module.calls == ["before", "loader"]


def test_on_keyboard_interrupt_runs_when_it_is_one() -> None:
    class Stops(Small):
        def on_batch_end(self) -> None:
            raise KeyboardInterrupt

    class Fails(Small):
        def on_batch_end(self) -> None:
            raise ValueError("no")

    class OldCallback(pl.Callback):
        calls: ClassVar[list[str]] = []

        def on_keyboard_interrupt(self, trainer: Any, pl_module: Any) -> None:
            self.calls.append("interrupted")

    with pytest.raises(KeyboardInterrupt):
        fit(Stops(), callbacks=OldCallback())
    with pytest.raises(ValueError, match="no"):
        fit(Fails(), callbacks=OldCallback())
    assert OldCallback.calls == ["interrupted"]


def test_checkpoints_of_a_cluster_have_their_hooks(tmp_path: Path) -> None:
    class Old(Small):
        def on_save_checkpoint(self, checkpoint: Any) -> None:
            checkpoint["mine"] = 1

        def on_hpc_save(self, checkpoint: Any) -> None:
            checkpoint["cluster"] = 2

        def on_hpc_load(self, checkpoint: Any) -> None:
            self.calls.append(checkpoint["cluster"])

        def on_train_end(self) -> None:
            self.trainer.save_checkpoint(tmp_path / "plain.ckpt")
            self.trainer.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")

    fit(Old())
    plain, of_cluster = (torch.load(tmp_path / name) for name in ("plain.ckpt", "hpc_ckpt_1.ckpt"))
    assert ("cluster" in plain, of_cluster["mine"], of_cluster["cluster"]) == (False, 1, 2)
    module = Old()
    trainer = pl.Trainer(**QUIET, max_epochs=2, default_root_dir=tmp_path)
    quietly(lambda: trainer.fit(module, ckpt_path="hpc"))
    assert module.calls == [2]


def test_state_of_callbacks_as_it_was_saved(tmp_path: Path) -> None:
    class OldCallback(pl.Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_train_batch_end(self, *args: Any) -> None:
            self.count += 1

        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> Any:
            return {"count": self.count}

        def on_load_checkpoint(self, trainer: Any, pl_module: Any, callback_state: Any) -> None:
            self.count = callback_state["count"]

    class Saves(Small):
        def on_train_end(self) -> None:
            self.trainer.save_checkpoint(tmp_path / "a.ckpt")

    fit(Saves(), callbacks=OldCallback())
    callback = OldCallback()
    trainer = pl.Trainer(**QUIET, callbacks=callback, max_epochs=2)
    quietly(lambda: trainer.fit(Small(), ckpt_path=tmp_path / "a.ckpt"))
    assert callback.count == 12


def test_transfer_hooks_may_take_what_they_took() -> None:
    class Old(Small):
        def transfer_batch_to_device(self, batch: Any, device: Any) -> Any:
            self.calls.append(device.type)
            return batch

        def on_after_batch_transfer(self, batch: Any) -> Any:
            return [batch[0] * 1, batch[1]]

    module = Old()
    _, messages = fit(module, limit_train_batches=2)
    assert module.calls == ["cpu", "cpu"]
    assert codes(messages) == ["FUL109"] * 2
    assert torch.equal(weights(module), modern_weights(limit_train_batches=2))


def test_methods_that_nothing_calls_are_said() -> None:
    class Old(Small):
        def configure_ddp(self, model: Any, device_ids: Any) -> Any:
            return model

    _, messages = fit(Old())
    assert codes(messages) == ["FUL103"]
    assert "`Old.configure_ddp`" in messages[0]


def test_numbers_beside_the_log_are_for_callbacks() -> None:
    class Old(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            return dict(loss=loss, log=dict(train_loss=loss), accuracy=0.5)  # noqa: C408  keyword arguments count too

    logger = Collects()
    trainer, _ = fit(Old(), logger=logger, log_every_n_steps=1)
    assert trainer.callback_metrics["accuracy"] == 0.5
    assert len(logger.of("train_loss")) == 6
    assert logger.of("accuracy") == logger.of("loss") == []


def test_what_a_function_of_the_program_returns_is_logged_too() -> None:
    class Old(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return made_outside(self.loss(batch))

    trainer, _ = fit(Old(), logger=Collects(), log_every_n_steps=1)
    assert "outside" in trainer.callback_metrics


def made_outside(loss: Any) -> Any:
    return {"loss": loss, "log": {"outside": loss}}


def test_results_of_steps_log_and_stack(tmp_path: Path) -> None:
    class Old(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            result = pl.TrainResult(minimize=loss)
            result.log("train_loss", loss, prog_bar=True)
            return result

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            result = pl.EvalResult(checkpoint_on=loss, early_stop_on=loss)
            result.log("val_loss", loss)
            result.right = (self.layer(batch[0]).argmax(1) == batch[1]).float()
            return result

        def validation_epoch_end(self, outputs: Any) -> Any:
            result = pl.EvalResult()
            result.log("val_acc", outputs.right.mean())
            return result

        def val_dataloader(self) -> Any:
            return loader(12)

    logger, module = Collects(), Old()
    trainer, messages = fit(module, logger=logger, log_every_n_steps=1)
    with torch.no_grad():
        batches = list(loader(12))
        loss = sum(module.loss(batch) for batch in batches) / 3
        right = torch.cat([module.layer(batch[0]).argmax(1) == batch[1] for batch in batches]).float().mean()
    assert len(logger.of("train_loss")) == 6
    assert logger.of("val_loss") == [pytest.approx(loss.item())]
    assert trainer.callback_metrics["val_acc"].item() == pytest.approx(right.item())
    assert trainer.callback_metrics["early_stop_on"].item() == pytest.approx(loss.item())
    assert torch.equal(weights(module), modern_weights())
    assert [one for one in messages if "`pl.TrainResult`" in one]


def test_hidden_states_go_from_part_to_part() -> None:
    class Recurrent(pl.LightningModule):
        truncated_bptt_steps = 3

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = torch.nn.RNN(2, 4, batch_first=True)
            self.lengths: list[int] = []

        def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
            self.lengths.append(batch.shape[1])
            assert (hiddens is None) == (len(self.lengths) % 3 == 1)
            out, hidden = self.cell(batch, hiddens)
            return {"loss": out.pow(2).mean(), "hiddens": hidden}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(torch.randn(4, 7, 2, generator=torch.Generator().manual_seed(1)), 2)

    module = Recurrent()
    trainer, messages = fit(module)
    assert module.lengths == [3, 3, 1] * 2
    assert trainer.global_step == 6
    assert "FUL111" in codes(messages)

    reference = Recurrent()  # the same by hand
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    for batch in reference.train_dataloader():
        hidden = None
        for part in batch.split(3, dim=1):
            out, hidden = reference.cell(part, hidden)
            hidden = hidden.detach()
            optimizer.zero_grad()
            out.pow(2).mean().backward()
            optimizer.step()
    assert torch.equal(weights(module), weights(reference))


def test_the_bar_shows_what_a_module_says() -> None:
    class Old(Small):
        def get_progress_bar_dict(self) -> Any:
            items = super().get_progress_bar_dict()
            items.pop("v_num", None)
            return {**items, "phase": "warm-up"}

    class Bar(pl.callback.ProgressBar):
        shown: ClassVar[list[Any]] = []

        def get_metrics(self, trainer: Any, pl_module: Any) -> Any:
            return {"v_num": 3}

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            self.shown.append(self.get_metrics(trainer, pl_module))

    _, messages = fit(Old(), callbacks=Bar(), limit_train_batches=1, enable_progress_bar=None)
    assert [sorted(one) for one in Bar.shown] == [["loss", "phase"]]
    assert codes(messages) == ["FUL107", "FUL107"]
    assert not hasattr(Bar(), "phase")


def test_hyperparameters_are_kept_by_assignment(tmp_path: Path) -> None:
    from argparse import Namespace

    class Old(Small):
        def __init__(self, hparams: Any) -> None:
            super().__init__()
            self.hparams = hparams
            self.layer = torch.nn.Linear(6, self.hparams.classes)

    made: list[Old] = []
    messages = quietly(lambda: made.append(Old(Namespace(classes=3, lr=0.5))))
    assert codes(messages) == ["FUL107"]
    assert made[0].hparams.lr == 0.5
    trainer, _ = fit(made[0])
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    quietly(lambda: made.append(Old.load_from_checkpoint(tmp_path / "a.ckpt")))
    assert made[1].hparams == {"classes": 3, "lr": 0.5}
    assert torch.equal(made[0].layer.weight, made[1].layer.weight)
