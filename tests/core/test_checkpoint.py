"""Checkpoints: whole or not there, read without running code, and refused with clear words where they are broken."""

from __future__ import annotations

import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import fulmen
from fulmen.checkpoint.files import atomic_file
from fulmen.checkpoint.format import read_checkpoint, write_checkpoint
from fulmen.errors import CheckpointError, MisconfigurationException


class Model(fulmen.LightningModule):
    def __init__(self, width: int = 3, name: str = "a") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(4, width)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fitted(root: Path, model: fulmen.LightningModule | None = None, **options: Any) -> fulmen.Trainer:
    trainer = fulmen.Trainer(
        accelerator="cpu",
        max_epochs=2,
        default_root_dir=root,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    trainer.fit(model or Model(), DataLoader(torch.randn(8, 4), batch_size=4))
    return trainer


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def note_replace(source: Any, target: Any) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_checkpoint({"a": torch.ones(3)}, tmp_path / "new" / "a.ckpt")
    assert calls == ["file", "rename", "folder"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.ckpt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_checkpoint({"a": torch.ones(3)}, path)

    class Unwritable:
        def __reduce__(self) -> Any:
            raise ValueError("cannot be pickled")

    with pytest.raises(ValueError, match="cannot be pickled"):
        write_checkpoint({"a": Unwritable()}, path)
    assert torch.equal(read_checkpoint(path)["a"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_full_disk_is_said_with_the_path_and_spares_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_checkpoint({"a": torch.ones(3)}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(CheckpointError, match=r"cannot write .*a\.ckpt"):
            write_checkpoint({"a": torch.ones(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert torch.equal(read_checkpoint(path)["a"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_an_unwritable_folder_is_said_with_path_and_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(CheckpointError, match=r"cannot write .*/file/a\.ckpt"),
        atomic_file(tmp_path / "file" / "a.ckpt"),
    ):
        pass


KILLED = """
import sys, torch
from fulmen.checkpoint.format import write_checkpoint
value = 0
while True:
    write_checkpoint({"value": value, "tensor": torch.full((300_000,), float(value))}, sys.argv[1])
    if value == 0:
        print("ready", flush=True)
    value += 1
"""


def test_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    seed = random.randrange(2**32)
    generator = random.Random(seed)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(generator.uniform(0, 0.05))
        process.kill()
        process.wait()
        process.stdout.close()
        checkpoint = read_checkpoint(path)
        assert (checkpoint["tensor"] == checkpoint["value"]).all(), f"seed {seed}"


@pytest.mark.parametrize("size", [0, 1, 10, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, size: float) -> None:
    path = tmp_path / "a.ckpt"
    fitted(tmp_path).save_checkpoint(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * size) if isinstance(size, float) else size])
    with pytest.raises(CheckpointError, match=r"a\.ckpt.*use another checkpoint"):
        fulmen.Trainer(logger=False).fit(Model(), DataLoader(torch.randn(8, 4)), ckpt_path=path)


def test_every_flipped_byte_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_checkpoint({"tensor": torch.arange(100.0)}, path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if "/data/" in name)
        content = archive.read(name)
    start = data.index(content)
    for offset in range(0, len(content), 37):
        position = start + offset
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(CheckpointError, match="does not have the checksum"):
            read_checkpoint(path)


def test_a_missing_file_is_said_with_what_lies_beside_it(tmp_path: Path) -> None:
    write_checkpoint({}, tmp_path / "epoch=1.ckpt")
    with pytest.raises(
        CheckpointError, match=r"there is no checkpoint at .*a\.ckpt; in that folder are: epoch=1\.ckpt"
    ):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list, not a checkpoint's dict"):
        read_checkpoint(path)


class Gadget:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def test_a_hostile_file_runs_nothing(tmp_path: Path) -> None:
    path, canary = tmp_path / "a.ckpt", tmp_path / "canary"
    torch.save({"state_dict": {}, "gadget": Gadget(canary)}, path)
    for attempt in (
        lambda: read_checkpoint(path),
        lambda: Model.load_from_checkpoint(path),
        lambda: fulmen.Trainer(logger=False).fit(Model(), DataLoader(torch.randn(8, 4)), ckpt_path=path),
        lambda: fulmen.Trainer(logger=False).predict(Model(), DataLoader(torch.randn(8, 4)), ckpt_path=path),
    ):
        with pytest.raises(CheckpointError, match="Pass weights_only=False only if you trust"):
            attempt()
    assert not canary.exists()
    read_checkpoint(path, weights_only=False)
    assert canary.exists()


def test_a_bare_pickle_runs_nothing(tmp_path: Path) -> None:
    path, canary = tmp_path / "a.ckpt", tmp_path / "canary"
    path.write_bytes(pickle.dumps(Gadget(canary), protocol=2))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not canary.exists()


def test_a_hyperparameter_that_names_code_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    fitted(tmp_path).save_checkpoint(path)
    checkpoint = read_checkpoint(path)
    checkpoint["hyper_parameters"]["_instantiator"] = "os.getcwd"
    write_checkpoint(checkpoint, path)
    assert isinstance(Model.load_from_checkpoint(path), Model)


def test_a_checkpoint_has_the_keys_of_the_field(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    trainer = fitted(tmp_path)
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["epoch"] == 2
    assert checkpoint["global_step"] == 4
    assert set(checkpoint) == {
        "epoch",
        "global_step",
        "pytorch-lightning_version",
        "state_dict",
        "loops",
        "callbacks",
        "optimizer_states",
        "lr_schedulers",
        "hparams_name",
        "hyper_parameters",
        "fulmen",
    }
    assert checkpoint["hyper_parameters"] == {"width": 3, "name": "a"}
    trainer.save_checkpoint(path, weights_only=True)
    assert "optimizer_states" not in torch.load(path, weights_only=True)


def test_load_from_checkpoint_takes_hyperparameters_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    model = Model(width=5, name="b")
    fitted(tmp_path, model).save_checkpoint(path)
    loaded = Model.load_from_checkpoint(path, name="c")
    assert (loaded.hparams.width, loaded.hparams.name) == (5, "c")
    assert torch.equal(loaded.layer.weight, model.layer.weight)
    with pytest.raises(CheckpointError, match=r"(?s)are not those of `Model`.*size mismatch"):
        Model.load_from_checkpoint(path, width=7)


def test_load_from_checkpoint_says_which_argument_is_missing(tmp_path: Path) -> None:
    class Needs(Model):
        def __init__(self, size: int) -> None:
            super(Model, self).__init__()
            self.layer = nn.Linear(4, size)

    path = tmp_path / "a.ckpt"
    fitted(tmp_path, Needs(3)).save_checkpoint(path)
    with pytest.raises(MisconfigurationException, match=r"missing a required argument: 'size'.*Pass what"):
        Needs.load_from_checkpoint(path)
    assert isinstance(Needs.load_from_checkpoint(path, size=3), Needs)


def test_odd_values_in_a_checkpoint_stay_loadable(tmp_path: Path) -> None:
    class Odd(fulmen.Callback):
        loaded: Any = None

        def state_dict(self) -> dict[str, Any]:
            return {
                "array": np.arange(3),
                "number": np.float64(1.5),
                "path": Path("a/b"),
                "nested": [{"tuple": (1, np.int64(2))}],
            }

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.loaded = state_dict

    path = tmp_path / "a.ckpt"
    fitted(tmp_path, callbacks=[Odd()]).save_checkpoint(path)
    callback = Odd()
    fitted(tmp_path, callbacks=[callback]).fit(Model(), DataLoader(torch.randn(8, 4), batch_size=4), ckpt_path=path)
    assert callback.loaded["array"].tolist() == [0, 1, 2]
    assert callback.loaded["number"] == 1.5
    assert callback.loaded["path"] == "a/b"
    assert callback.loaded["nested"] == [{"tuple": (1, 2)}]


def test_weights_only_files_cannot_continue_training(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    trainer = fitted(tmp_path)
    trainer.save_checkpoint(path, weights_only=True)
    with pytest.raises(CheckpointError, match="holds weights only, so training cannot continue"):
        trainer.fit(Model(), DataLoader(torch.randn(8, 4), batch_size=4), ckpt_path=path)


def test_other_optimizers_are_named(tmp_path: Path) -> None:
    class TwoGroups(Model):
        def configure_optimizers(self) -> Any:
            return torch.optim.Adam([{"params": [self.layer.weight]}, {"params": [self.layer.bias]}])

    path = tmp_path / "a.ckpt"
    fitted(tmp_path).save_checkpoint(path)
    with pytest.raises(CheckpointError, match="an optimizer does not fit its state"):
        fitted(tmp_path).fit(TwoGroups(), DataLoader(torch.randn(8, 4), batch_size=4), ckpt_path=path)


def test_a_url_is_written_and_read(tmp_path: Path) -> None:
    write_checkpoint({"a": torch.ones(2)}, "memory://bucket/a.ckpt")
    assert torch.equal(read_checkpoint("memory://bucket/a.ckpt")["a"], torch.ones(2))
