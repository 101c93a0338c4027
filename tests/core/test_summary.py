"""ModelSummary says what PyTorch Lightning's says, and leaves the model as it was; ``summary_models.py`` says how."""

from __future__ import annotations

import json
import random
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.summary import ModelSummary, summarize

HERE = Path(__file__).parent
MODELS = runpy.run_path(str(HERE / "summary_models.py"))
LIGHTNING = json.loads((HERE / "summaries.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("depth", MODELS["DEPTHS"])
@pytest.mark.parametrize("name", MODELS["MODELS"])
def test_numbers_are_those_of_lightning(name: str, depth: int) -> None:
    expected = LIGHTNING[f"{name} {depth}"]
    numbers = MODELS["numbers_of"](ModelSummary(MODELS["MODELS"][name](fulmen), max_depth=depth))
    if name == "attention":  # Lightning counts attention as no operation: it is one fused kernel in evaluation
        for other in (expected, numbers):
            del other["flops"], other["total_flops"]
    assert numbers == expected


def test_attention_counts() -> None:
    summary = summarize(MODELS["MODELS"]["attention"](fulmen), max_depth=1)
    batch, length, width = 3, 7, 16
    projections = 4 * 2 * batch * length * width * width  # queries, keys, values and the output
    attention = 2 * 2 * batch * length * length * width  # weights, and the values weighted by them
    feed_forward = 2 * 2 * batch * length * width * 32
    output = 2 * batch * length * width * 50
    assert [layer.flops for layer in summary.layers] == [
        0,
        projections + attention + feed_forward,
        projections + attention,
        output,
    ]
    assert summary.total_flops == sum(layer.flops for layer in summary.layers)


class Disturbing(fulmen.LightningModule):
    """Draws, changes buffers in training, logs, and has a part in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.frozen = nn.BatchNorm1d(4).eval()
        self.example_input_array = torch.randn(3, 4)
        self.seen: list[Any] = []

    def forward(self, x: Tensor) -> Any:
        self.seen.append((self.training, torch.is_grad_enabled(), random.random(), np.random.rand(), torch.rand(())))
        self.log("in_forward", 1.0)
        return self.frozen(self.net(x))


class Compiled(nn.Module):
    def __init__(self, backend: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.compile(backend=backend)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


def test_the_model_is_left_as_it_was() -> None:
    model = Disturbing()
    fulmen.seed_everything(3)
    expected = (random.random(), np.random.rand(), float(torch.rand(())))
    fulmen.seed_everything(3)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    summary = summarize(model)
    assert [seen[:2] for seen in model.seen] == [(False, False)]
    assert summary.in_sizes == [[3, 4], [3, 4]]
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [part.training for part in model.modules()] == modes
    assert not any(part._forward_hooks for part in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_forward_logs_in_the_summary_is_not_logged(tmp_path: Path) -> None:
    class Fitted(Disturbing):
        def on_fit_start(self) -> None:
            summarize(self)
            assert self._results is not None

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = fulmen.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, **off)
    model = Fitted()
    trainer.fit(model, [torch.ones(2, 4)])
    assert len(model.seen) == 2
    assert trainer.callback_metrics == {"in_forward": 1.0}


def test_the_example_goes_through_the_transfer_hooks() -> None:
    class Hooked(Disturbing):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch[:2]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return torch.cat([batch, batch, batch])

    assert summarize(Hooked()).in_sizes == [[6, 4], [6, 4]]


def test_shapes_of_mappings_are_shown() -> None:
    class Inner(nn.Module):
        def forward(self, batch: Any) -> Any:
            return {"y": batch["x"][:, :1], "n": 3}

    class Model(fulmen.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()
            self.example_input_array = ({"x": torch.zeros(2, 3)},)

        def forward(self, batch: Any) -> Any:
            return self.inner(batch)

    layer = summarize(Model()).layers[0]
    assert (layer.in_size, layer.out_size) == ({"x": [2, 3]}, {"y": [2, 1], "n": "?"})


def test_an_example_that_does_not_fit_is_said() -> None:
    model = Disturbing()
    model.example_input_array = torch.zeros(3, 5)
    with pytest.raises(MisconfigurationException, match=r"`Disturbing.forward` cannot be.*\(\[3, 5\]\): Runtime"):
        summarize(model)
    assert not any(part._forward_hooks for part in model.modules())
    assert model.training


def test_a_compiled_layer_is_not_compiled_for_it() -> None:
    compiled = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return graph.forward

    model = Disturbing()
    model.net = Compiled(backend)
    assert summarize(model).out_sizes == [[3, 4], [3, 4]]
    assert compiled == 0
    model.net(model.example_input_array)
    assert compiled == 1


def test_a_plain_module_has_a_summary() -> None:
    summary = ModelSummary(nn.Sequential(nn.Linear(2, 3)))
    assert (summary.param_nums, summary.has_shapes, summary.total_flops) == ([9], False, 0)


def test_table_with_shapes() -> None:
    assert str(summarize(MODELS["MODELS"]["recurrent"](fulmen))).splitlines() == [
        "Layer               Type    Params  Mode   FLOPs  In sizes   Out sizes",
        "------------------------------------------------------------------------------------------------",
        "rnn                 LSTM     648    train    0    [4, 9, 5]  [[4, 9, 6], [[2, 4, 6], [2, 4, 6]]]",
        "head                Linear     7    train   48    [4, 6]     [4, 1]",
        "(the model itself)             7",
        "------------------------------------------------------------------------------------------------",
        "662    trainable parameters",
        "  0    non-trainable parameters",
        "662    parameters in all: 0.003 MB",
        "  2    layers: 2 in train mode, 0 in eval mode",
        " 48    FLOPs in one pass of the example",
    ]
