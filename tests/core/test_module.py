"""LightningModule: its attributes inside and outside of a run, and modules inside of modules."""

from __future__ import annotations

import copy
import json
import pickle
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

import fulmen
from fulmen.advice import AdviceWarning
from fulmen.demos.boring_classes import BoringModel, RandomDataset
from fulmen.errors import FulmenDeprecationWarning
from fulmen.optimizers import LightningOptimizer

HERE = Path(__file__).parent
names_of: Callable[[type], dict[str, Any]] = runpy.run_path(str(HERE / "api_of_lightning.py"))["names_of"]
LIGHTNING = json.loads((HERE / "api_of_lightning.json").read_text(encoding="utf-8"))


def trainer(**options: Any) -> fulmen.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "limit_train_batches": 2,
        "limit_val_batches": 1,
        "max_epochs": 1,
    }
    return fulmen.Trainer(**(quiet | options))


@pytest.mark.parametrize(
    ("name", "attribute"),
    [(name, attribute) for name in LIGHTNING if name != "library" for attribute in LIGHTNING[name]],
)
def test_every_attribute_of_the_field_is_there(name: str, attribute: str) -> None:
    cls = getattr(fulmen, name)
    assert hasattr(cls, attribute) or hasattr(cls(), attribute)
    parameters = LIGHTNING[name][attribute]
    if parameters is not None:
        # What stands last in stars takes the arguments of old programs.
        ours = [one for one in names_of(cls).get(attribute, parameters) if one not in ("*old", "**old", "**flags")]
        assert ours == [one for one in parameters if one not in ("*old", "**old", "**flags")]


# ------------------------------------------------------------------------------------------------- the trainer


def test_outside_of_a_run() -> None:
    model = BoringModel()
    assert (model.current_epoch, model.global_step, model.global_rank, model.local_rank) == (0, 0, 0, 0)
    assert (model.logger, model.loggers, model.on_gpu, model.device_mesh, model.fabric) == (None, [], False, None, None)
    for ask in (
        lambda: model.trainer,
        model.optimizers,
        model.lr_schedulers,
        lambda: model.all_gather(1),
        lambda: model.toggle_optimizer(torch.optim.SGD(model.parameters())),
        lambda: model.manual_backward(torch.ones(())),
    ):
        with pytest.raises(RuntimeError, match="`BoringModel` is not attached to a Trainer; pass it to `Trainer.fit`"):
            ask()
    with pytest.warns(AdviceWarning, match="FUL019.*outside of a Trainer's run"):
        model.log("x", 1.0)


def test_print_works_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    class Printing(BoringModel):
        def on_train_start(self) -> None:
            self.print("inside", 1, sep="-")

    model = Printing()
    model.print("outside")
    trainer().fit(model)
    assert capsys.readouterr().out == "outside\ninside-1\n"


class Inner(fulmen.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Any:
        self.log("inner", float(self.trainer.global_step), on_step=True, on_epoch=True)
        return self.layer(x)


class Outer(BoringModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(Inner())  # type: ignore[assignment]


def test_modules_inside_have_the_trainer_and_log() -> None:
    model, run = Outer(), trainer()
    run.fit(model)
    assert model.layer[0].trainer is run  # type: ignore[index]
    assert run.callback_metrics["inner_step"] == 1.0
    assert run.callback_metrics["inner_epoch"] == 0.5
    assert run.callback_metrics["inner"] == 0.5
    model.trainer = None
    with pytest.raises(RuntimeError, match="not attached"):
        model.layer[0].trainer  # type: ignore[index]  # noqa: B018  reading it is the test


def test_an_attached_module_can_be_copied_and_pickled() -> None:
    copies: list[Any] = []

    class Copied(Outer):
        def on_train_start(self) -> None:
            if not copies:
                copies.append(copy.deepcopy(self))

    trainer().fit(Copied())
    copies += [pickle.loads(pickle.dumps(other)) for other in (fitted(Outer()),)]
    for other in copies:
        assert other._trainer is None
        assert other.layer[0]._trainer is None
        trainer().fit(other)


def fitted(model: Any) -> Any:
    trainer().fit(model)
    return model


# ----------------------------------------------------------------------------------------------- optimizers


def test_hooks_find_the_optimizer_in_automatic_optimization() -> None:
    seen: list[Any] = []

    class Looking(BoringModel):
        def on_fit_start(self) -> None:
            seen.append(self.optimizers())

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            seen.append((type(optimizer), optimizer.param_groups[0]["lr"], type(self.lr_schedulers()).__name__))
            assert self.optimizers(use_pl_optimizer=False) is self.trainer.optimizers[0] is optimizer.optimizer

    model = Looking()
    trainer().fit(model)
    assert isinstance(seen[0], torch.optim.SGD)
    # A schedule by the epoch has stepped when the last batch ends, as in Lightning 2.6.6.
    assert seen[1:] == [(LightningOptimizer, pytest.approx(rate), "StepLR") for rate in (0.1, 0.01)]


def test_a_second_fit_has_its_own_optimizers() -> None:
    seen: list[Any] = []

    class Looking(BoringModel):
        def on_fit_start(self) -> None:
            seen.append(self.optimizers())

    model = Looking()
    for _ in range(2):
        trainer().fit(model)
    assert seen[1] is model.trainer.optimizers[0]
    assert seen[0] is not seen[1]


def test_a_wrapped_optimizer_passes_for_the_optimizer() -> None:
    class Manual(BoringModel):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def on_train_start(self) -> None:
            optimizer = self.optimizers()
            assert isinstance(optimizer, (Optimizer, torch.optim.SGD))
            assert isinstance(optimizer, LightningOptimizer)
            assert not isinstance(optimizer, torch.optim.Adam)
            self.schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=4)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.step(batch))
            optimizer.step()
            self.schedule.step()

    model, run = Manual(), trainer()
    run.fit(model)
    assert run.global_step == 2
    expected = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = OneCycleLR(expected, max_lr=1.0, total_steps=4)
    for _ in range(2):
        expected.step()
        schedule.step()
    assert run.optimizers[0].param_groups[0]["lr"] == expected.param_groups[0]["lr"]


def test_toggling_switches_the_gradients_that_the_field_switches() -> None:
    class Two(fulmen.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.a, self.b, self.shared = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(1, 1)
            self.b.bias.requires_grad = False
            self.seen: list[str] = []

        def configure_optimizers(self) -> Any:
            of = [[*layer.parameters(), *self.shared.parameters()] for layer in (self.a, self.b)]
            return [torch.optim.SGD(parameters, lr=0.1) for parameters in of]

        def note(self) -> None:
            self.seen.append("".join("TF"[not parameter.requires_grad] for parameter in self.parameters()))

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, second = self.optimizers()
            self.note()
            self.toggle_optimizer(first)
            self.note()
            self.a.bias.requires_grad = False
            self.untoggle_optimizer(first)
            self.note()
            self.a.bias.requires_grad = True
            with self.toggled_optimizer(second):
                self.note()
            self.note()
            with second.toggle_model():
                self.note()
            self.note()
            self.toggle_optimizer(second.optimizer)
            self.note()
            self.untoggle_optimizer(second.optimizer)
            self.note()
            with pytest.raises(ZeroDivisionError), self.toggled_optimizer(first):
                1 / 0  # noqa: B018
            self.note()

    model = Two()
    trainer(limit_train_batches=1).fit(model, [torch.ones(2, 2)])
    # Made by running this program with Lightning 2.6.6, the last line aside.
    assert model.seen == [
        *("TTTFTT", "TTFFTT", "TFTFTT", "FFTFTT", "TTTFTT", "FFTFTT", "TTTFTT", "FFTFTT", "TTTFTT"),
        "TTTFTT",
    ]


# --------------------------------------------------------------------------------------------- one process


def test_gathering_from_one_process_makes_tensors() -> None:
    seen: list[Any] = []

    class Gathering(BoringModel):
        def on_train_start(self) -> None:
            data = {"a": torch.ones(2), "b": [1.5, True, 3], "c": ("x", None), "d": np.ones(2)}
            seen.append(self.all_gather(data))

    trainer().fit(Gathering())
    # The types are those of Lightning 2.6.6.
    (found,) = seen
    assert torch.equal(found["a"], torch.ones(2))
    assert [(value.item(), value.dtype) for value in found["b"]] == [
        (1.5, torch.float32),
        (1, torch.uint8),
        (3, torch.int32),
    ]
    assert found["c"] == ("x", None)
    assert torch.equal(found["d"], torch.ones(2, dtype=torch.float64))


# -------------------------------------------------------------------------------------- device and format


def test_device_and_dtype_are_those_of_the_tensors() -> None:
    model = BoringModel()
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    model.double().to("meta")
    assert (model.device, model.dtype) == (torch.device("meta"), torch.float64)

    class Counting(fulmen.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros((), dtype=torch.long))

    assert Counting().dtype == torch.float32  # whole numbers say nothing about it


def test_a_module_without_tensors_remembers_where_it_was_moved() -> None:
    model = fulmen.LightningModule()
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert model.to(torch.float64).dtype == torch.float64
    assert model.to("meta").device == torch.device("meta")
    assert copy.deepcopy(model).half().dtype == torch.float16
    assert model.dtype == torch.float64
    assert model.state_dict() == {}


def test_freezing_and_unfreezing() -> None:
    model = BoringModel()
    assert model.freeze() is model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.unfreeze() is model
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


# ------------------------------------------------------------------------------------ modules made elsewhere


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true", "bf16-mixed"])
def test_a_trainer_makes_a_module_in_its_precision(precision: str) -> None:
    run = trainer(precision=precision)
    with run.init_module():
        model = BoringModel()
        made = torch.ones(2)
    expected = {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    assert (model.dtype, made.dtype, made.device.type) == (expected, expected, "cpu")
    assert torch.ones(2).dtype == torch.float32
    run.fit(model)


def test_a_trainer_makes_a_module_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer()
    monkeypatch.setattr(run._strategy, "root_device", torch.device("meta"))  # a device that every machine has
    with run.init_module():
        assert BoringModel().device.type == "meta"
    assert BoringModel().device.type == "cpu"


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(5, 5),
        lambda: nn.Embedding(3, 2),
        lambda: nn.MultiheadAttention(4, 2),
        lambda: nn.LSTM(2, 2),
        lambda: nn.init.trunc_normal_(torch.empty(2, 2)),
        lambda: nn.init.orthogonal_(tensor=torch.empty(2, 2)),
    ],
    ids=["linear", "embedding", "attention", "lstm", "trunc_normal", "orthogonal"],
)
def test_weights_need_not_be_filled(make: Callable[[], Any]) -> None:
    run = trainer()
    state = torch.get_rng_state()
    with run.init_module(empty_init=True):
        make()
    assert torch.equal(state, torch.get_rng_state())  # nothing was drawn
    with run.init_module():
        make()
    assert not torch.equal(state, torch.get_rng_state())


def test_only_weights_are_left_unfilled() -> None:
    run = trainer()
    with run.init_module(empty_init=True):
        layer = nn.Linear(3, 2)
        made = torch.empty(3).fill_(7.0), torch.ones(2).add_(1)
    assert layer.weight.shape == (2, 3)
    assert [value.tolist() for value in made] == [[7.0] * 3, [2.0] * 2]


class Late(fulmen.LightningModule):
    """Makes its layer when it is told to, once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: Any = None
        self.calls = 0
        self.dtypes: list[torch.dtype] = []

    def configure_model(self) -> None:
        self.calls += 1
        if self.layer is None:
            self.layer = Inner()
            self.dtypes.append(self.layer.dtype)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).sum()

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_layers_made_late_are_made_right_and_once(tmp_path: Path) -> None:
    model, run = Late(), trainer(precision="bf16-true")
    loader = torch.utils.data.DataLoader(RandomDataset(32, 4))
    run.fit(model, loader, loader)
    run.validate(model, loader, verbose=False)
    assert (model.calls, model.dtypes) == (2, [torch.bfloat16])
    assert model.layer.trainer is run
    run.save_checkpoint(tmp_path / "a.ckpt")
    other = Late.load_from_checkpoint(tmp_path / "a.ckpt")
    assert other.calls == 1
    assert torch.equal(other.layer.layer.weight, model.layer.layer.weight.float())


def test_the_old_name_of_that_hook_still_works() -> None:
    class Old(BoringModel):
        def configure_sharded_model(self) -> None:
            self.made = True

    model = Old()
    with pytest.warns(FulmenDeprecationWarning, match="`Old.configure_sharded_model` still runs.*configure_model"):
        trainer().fit(model)
    assert model.made
