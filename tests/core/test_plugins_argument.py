"""``Trainer(plugins=...)``: a precision and a way to keep checkpoints of the user's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.checkpoint.checkpoint_io import CheckpointIO, TorchCheckpointIO
from fulmen.errors import CheckpointError, MisconfigurationException
from fulmen.hardware.accelerators import Accelerator
from fulmen.hardware.precision import Precision
from fulmen.hardware.strategies.single_device import SingleDeviceStrategy

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Model(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


BATCHES = [torch.ones(2, 3)] * 4


class InMemory(CheckpointIO):
    """Keeps checkpoints in a dictionary and notes what it is asked."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        self.kept[os.fspath(path)] = checkpoint
        self.calls.append(f"save {Path(path).name} {storage_options}")

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self.calls.append(f"load {Path(path).name}")
        return self.kept[os.fspath(path)]

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        del self.kept[os.fspath(path)]

    def teardown(self) -> None:
        self.calls.append("teardown")


def test_checkpoints_go_through_the_plugin(tmp_path: Path) -> None:
    memory = InMemory()
    model = Model()
    trainer = fulmen.Trainer(max_epochs=2, plugins=memory, enable_checkpointing=False, **QUIET)
    trainer.fit(model, BATCHES)
    assert memory.calls == ["teardown"]
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path, storage_options={"key": 1})
    assert memory.calls[-1] == "save a.ckpt {'key': 1}"
    assert not path.exists()
    resumed = Model()
    second = fulmen.Trainer(max_epochs=3, plugins=[memory], enable_checkpointing=False, **QUIET)
    second.fit(resumed, BATCHES, ckpt_path=path)
    assert second.global_step == 12
    assert "load a.ckpt" in memory.calls
    second.remove_checkpoint(path)
    assert not memory.kept


def test_storage_options_belong_to_urls(tmp_path: Path) -> None:
    trainer = fulmen.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    trainer.fit(Model(), BATCHES)
    with pytest.raises(CheckpointError, match=r"storage_options=\{'endpoint': 'x'\}` belong to a URL"):
        trainer.save_checkpoint(tmp_path / "a.ckpt", storage_options={"endpoint": "x"})
    trainer.save_checkpoint("memory://kept/a.ckpt", storage_options={"skip_instance_cache": True})
    assert TorchCheckpointIO().load_checkpoint("memory://kept/a.ckpt")["global_step"] == 4
    trainer.remove_checkpoint("memory://kept/a.ckpt")
    with pytest.raises((CheckpointError, FileNotFoundError)):
        TorchCheckpointIO().load_checkpoint("memory://kept/a.ckpt")


def test_a_precision_of_the_users_own_is_used() -> None:
    class Noted(Precision):
        converted = 0

        def convert_module(self, module: nn.Module) -> None:
            self.converted += 1
            super().convert_module(module)

    precision = Noted("64-true", "cpu")
    model = Model()
    trainer = fulmen.Trainer(max_epochs=1, plugins=[precision], enable_checkpointing=False, **QUIET)
    trainer.fit(model, [batch.float() for batch in BATCHES])
    assert precision.converted == 1
    assert model.layer.weight.dtype is torch.float64
    assert trainer.precision_plugin is precision
    assert trainer.precision == "64-true"


def test_accelerator_and_strategy_may_be_objects() -> None:
    accelerator, strategy = Accelerator("cpu", 1), SingleDeviceStrategy("cpu")
    trainer = fulmen.Trainer(accelerator=accelerator, strategy=strategy, **QUIET)
    assert trainer.accelerator is accelerator
    assert trainer.strategy is strategy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plugins": "fast"}, "`plugins` holds 'fast', a str; a plug-in is"),
        ({"plugins": [InMemory(), TorchCheckpointIO()]}, "InMemory and TorchCheckpointIO, which do the same job"),
        ({"plugins": Precision("16-true"), "precision": 32}, "`precision=32` was passed together with the plug-in"),
        ({"strategy": SingleDeviceStrategy("cuda")}, "SingleDeviceStrategy on cuda, but the accelerator is cpu"),
    ],
)
def test_what_cannot_work_is_said_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        fulmen.Trainer(accelerator="cpu", **options)


def test_a_scaler_belongs_to_half_precision() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    assert Precision("16-mixed", "cpu", scaler).scaler is scaler
    with pytest.raises(MisconfigurationException, match="`scaler` belongs to precision '16-mixed'"):
        Precision("bf16-mixed", "cpu", scaler)
