"""Models to look at, and what PyTorch Lightning's ``ModelSummary`` says of them, which is kept.

``python summary_models.py`` in an environment with lightning 2.6 writes ``summaries.json``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

DEPTHS = (0, 1, 2, -1)


def mlp(pl: ModuleType) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(256, 512), nn.BatchNorm1d(512), nn.Dropout())
            self.example_input_array = torch.zeros(10, 256)

        def forward(self, x: Tensor) -> Any:
            return self.net(x)

    return Model()


def without_example(pl: ModuleType) -> Any:
    model = mlp(pl)
    model.example_input_array = None
    return model


def partly_frozen_pictures(pl: ModuleType) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 4, 3, stride=2), nn.BatchNorm2d(4))
            )
            self.unused = nn.Linear(3, 3)
            self.head = nn.Linear(4 * 14 * 14, 10)
            self.head.weight.requires_grad = False
            self.body[2].eval()
            self.example_input_array = torch.zeros(2, 3, 32, 32)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.body(x).flatten(1))

    return Model()


def attention(pl: ModuleType) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 16)
            self.first = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.output = nn.Linear(16, 50, bias=False)
            self.output.weight = self.embedding.weight
            self.example_input_array = torch.zeros(3, 7, dtype=torch.long)

        def forward(self, x: Tensor) -> Any:
            features = self.first(self.embedding(x))
            features, _ = self.attention(features, features, features)
            return self.output(features)

    return Model()


def recurrent(pl: ModuleType) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(5, 6, num_layers=2, batch_first=True)
            self.head = nn.Linear(6, 1)
            self.scale = nn.Parameter(torch.ones(7))
            self.example_input_array = torch.zeros(4, 9, 5)

        def forward(self, x: Tensor) -> Any:
            output, _ = self.rnn(x)
            return self.head(output[:, -1])

    return Model()


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(6, 3)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> Any:
        return [self.a(a), (self.b(b) * scale,)]


def _taking_two(pl: ModuleType, example: Any) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.two = _Two()
            self.example_input_array = example

        def forward(self, a: Tensor, b: Tensor) -> Any:
            return self.two(a, b=b)

    return Model()


def several_arguments(pl: ModuleType) -> Any:
    return _taking_two(pl, (torch.zeros(2, 4), torch.zeros(2, 6)))


def arguments_by_name(pl: ModuleType) -> Any:
    return _taking_two(pl, {"b": torch.zeros(2, 6), "a": torch.zeros(2, 4)})


def a_nested_argument(pl: ModuleType) -> Any:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, pair: Any) -> Any:
            return self.layer(pair[0]) + self.layer(pair[1][0])

    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.pairs = Pairs()
            self.example_input_array = ([torch.zeros(2, 4), (torch.zeros(1, 4), None)],)

        def forward(self, pair: Any) -> Any:
            return self.pairs(pair)

    return Model()


def shared_layers(pl: ModuleType) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            layer = nn.Linear(4, 4)
            self.outer = nn.Sequential(layer, nn.Tanh())
            self.inner = layer
            self.example_input_array = torch.zeros(3, 4)

        def forward(self, x: Tensor) -> Any:
            return self.inner(self.outer(x))

    return Model()


def lazy(pl: ModuleType) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2))
            self.example_input_array = torch.zeros(3, 5)

        def forward(self, x: Tensor) -> Any:
            return self.net(x)

    return Model()


def lazy_without_example(pl: ModuleType) -> Any:
    model = lazy(pl)
    model.example_input_array = None
    return model


MODELS: dict[str, Callable[[ModuleType], Any]] = {
    function.__name__: function
    for function in (
        mlp,
        without_example,
        partly_frozen_pictures,
        attention,
        recurrent,
        several_arguments,
        arguments_by_name,
        a_nested_argument,
        shared_layers,
        lazy,
        lazy_without_example,
    )
}


def numbers_of(summary: Any) -> dict[str, Any]:
    """Return what a summary says, as JSON gives it back."""
    names = (
        "layer_names",
        "layer_types",
        "param_nums",
        "in_sizes",
        "out_sizes",
        "training_modes",
        "total_training_modes",
        "total_parameters",
        "trainable_parameters",
        "total_layer_params",
        "total_flops",
    )
    numbers = {name: getattr(summary, name) for name in names}
    numbers["model_size"] = round(summary.model_size, 9)
    numbers["flops"] = [sum(counts.values()) for counts in summary.flop_counts.values()]
    found: dict[str, Any] = json.loads(json.dumps(numbers))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("summaries.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    pl = importlib.import_module("lightning.pytorch")
    make = importlib.import_module("lightning.pytorch.utilities.model_summary").ModelSummary
    lines = [f'"library": "lightning.pytorch {pl.__version__}"'] + [
        f'"{name} {depth}": {json.dumps(numbers_of(make(model(pl), max_depth=depth)))}'
        for name, model in MODELS.items()
        for depth in DEPTHS
    ]
    options.out.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
