"""``load_from_checkpoint``: where tensors go, files of hyper-parameters, and what is wrong with an argument."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fulmen
from fulmen.checkpoint.kept_hyperparameters import keep_hyperparameters
from fulmen.checkpoint.loading import saved_place
from fulmen.errors import MisconfigurationException


class Model(fulmen.LightningModule):
    def __init__(self, width: int = 2, sizes: Any = (), name: str = "") -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)
        self.save_hyperparameters()


def saved(module: fulmen.LightningModule, folder: Path) -> Path:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    keep_hyperparameters(module, checkpoint)
    path = folder / "a.ckpt"
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize(
    ("location", "devices", "stays"),
    [
        ("cpu", 0, True),
        ("cuda:0", 1, True),
        ("cuda:1", 1, False),
        ("cuda:0", 0, False),
        ("cuda", 1, True),
        ("xla:0", 1, False),
    ],
)
def test_a_tensor_stays_where_it_was_saved_if_that_is_here(
    monkeypatch: pytest.MonkeyPatch, location: str, devices: int, stays: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    storage = torch.ones(1).untyped_storage()
    # For `torch.load`, None is its own way, and the storage, which is on the CPU then, the answer.
    assert saved_place(storage, location) is (None if stays else storage)


def test_an_apple_gpu_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = torch.ones(1).untyped_storage()
    for is_here in (True, False):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda is_here=is_here: is_here)
        assert saved_place(storage, "mps:0") is (None if is_here else storage)


def test_the_module_goes_where_its_tensors_go(tmp_path: Path) -> None:
    path = saved(Model(), tmp_path)
    assert Model.load_from_checkpoint(path).device.type == "cpu"
    assert Model.load_from_checkpoint(path, map_location="meta").device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, for it is saved on one")
def test_the_module_goes_to_the_device_that_it_was_saved_on(tmp_path: Path) -> None:
    path = saved(Model().to("cuda"), tmp_path)
    assert Model.load_from_checkpoint(path).device.type == "cuda"
    assert Model.load_from_checkpoint(path, map_location="cpu").device.type == "cpu"


def test_a_yaml_file_may_have_tuples_but_no_code(tmp_path: Path) -> None:
    path = saved(Model(), tmp_path)
    file = tmp_path / "hparams.yml"
    file.write_text("width: 2\nsizes: !!python/tuple\n- 1\n- [2, 3]\n", encoding="utf-8")
    assert Model.load_from_checkpoint(path, hparams_file=file).hparams.sizes == (1, [2, 3])
    file.write_text("name: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(Exception, match="could not determine a constructor"):
        Model.load_from_checkpoint(path, hparams_file=file)


def test_a_csv_file_has_values_as_python_writes_them(tmp_path: Path) -> None:
    path = saved(Model(), tmp_path)
    file = tmp_path / "hparams.csv"
    file.write_text("key,value\nwidth,2\nsizes,\"[1, 'a']\"\nname,some words\n\n", encoding="utf-8")
    assert dict(Model.load_from_checkpoint(path, hparams_file=file).hparams) == {
        "width": 2,
        "sizes": [1, "a"],
        "name": "some words",
    }


def test_a_file_of_hyperparameters_may_lie_elsewhere(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://here/hparams.yaml", "w") as file:
        file.write("name: far")
    model = Model.load_from_checkpoint(saved(Model(), tmp_path), hparams_file="memory://here/hparams.yaml")
    assert model.hparams.name == "far"


def test_an_argument_that_does_not_exist_is_said(tmp_path: Path) -> None:
    path = saved(Model(), tmp_path)
    with pytest.raises(MisconfigurationException, match=r"`Model.__init__` has no argument `widht`.*mean 'width'"):
        Model.load_from_checkpoint(path, widht=3)
    with pytest.raises(MisconfigurationException, match=r"`hparams_file` must be a .yaml, .yml or .csv file, but is"):
        Model.load_from_checkpoint(path, hparams_file="a.txt")


def test_it_is_called_on_the_class(tmp_path: Path) -> None:
    path, model = saved(Model(), tmp_path), Model()
    with pytest.raises(TypeError, match=r"`Model.load_from_checkpoint` was called on an object.*call it on the class"):
        model.load_from_checkpoint(path)
    with pytest.raises(TypeError, match=r"`LightningDataModule.load_from_checkpoint` was called on an object"):
        fulmen.LightningDataModule().load_from_checkpoint(path)
    assert callable(model.load_from_checkpoint)  # looking at it is no call


def test_what_lenient_loading_leaves_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Other(Model):
        def __init__(self) -> None:
            super().__init__()
            self.added = nn.Linear(1, 1, bias=False)
            del self.layer.bias
            self.layer.bias = None

    path = saved(Model(), tmp_path)
    with caplog.at_level(logging.INFO, "fulmen"):
        Other.load_from_checkpoint(path, strict=False)
    assert [record.getMessage().partition(" was ")[2] for record in caplog.records] == [
        "loaded with strict=False; not in the file: added.weight",
        "loaded with strict=False; in the file only: layer.bias",
    ]


def test_a_loaded_module_can_be_copied(tmp_path: Path) -> None:
    model = Model.load_from_checkpoint(saved(Model(sizes=[1]), tmp_path))
    assert copy.deepcopy(model).hparams == model.hparams == {"width": 2, "sizes": [1], "name": ""}
