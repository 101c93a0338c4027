"""Graphs: what ran on what, and a model that is afterwards as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fulmen.graph import Graph, Node


class Small(nn.Module):
    example_input_array: object = None

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2), nn.Dropout())
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        torch.rand(1)  # a draw of its own
        hidden: Tensor = self.body(x) * self.scale
        if hidden.sum() > 1e9:  # a choice that depends on values
            hidden = hidden + 1
        hidden += 1 if y is None else y
        return hidden.T


def test_nodes_are_the_operations_in_their_submodules() -> None:
    graph = Graph.of(Small(), torch.rand(4, 3))
    assert [node for node in graph.nodes if node.op not in ("parameter", "rand", "sum", "gt")] == [
        Node("input_0", "input", (), (4, 3)),
        Node("body/0/linear", "linear", ("input_0", "body/0/weight", "body/0/bias"), (4, 2)),
        Node("body/1/relu", "relu", ("body/0/linear",), (4, 2)),
        Node(
            "body/2/batch_norm",
            "batch_norm",
            ("body/1/relu", "body/2/running_mean", "body/2/running_var", "body/2/weight", "body/2/bias"),
            (4, 2),
        ),
        Node("body/3/dropout", "dropout", ("body/2/batch_norm",), (4, 2)),
        Node("mul", "mul", ("body/3/dropout", "scale"), (4, 2)),
        Node("add_", "add_", ("mul",), (4, 2)),
        Node("T", "T", ("add_",), (2, 4)),
        Node("output_0", "output", ("T",), (2, 4)),
    ]
    assert Node("body/0/weight", "parameter", (), (2, 3)) in graph.nodes
    assert graph.text == str(Small())


def test_names_are_unique_and_inputs_come_before_their_use() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True)
    graph = Graph.of(nn.TransformerEncoder(layer, 2), torch.rand(2, 5, 8))
    seen: set[str] = set()
    for node in graph.nodes:
        assert node.name not in seen
        assert set(node.inputs) <= seen
        seen.add(node.name)
    assert len([node for node in graph.nodes if node.op == "linear"]) == 4


def test_the_model_is_as_before() -> None:
    model = Small().train()
    model.body[3].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    Graph.of(model, torch.ones(4, 3))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.body] == [True, True, True, False]
    assert not model.body[0]._forward_hooks
    assert not model.body[0]._forward_pre_hooks


def test_a_model_that_fails_is_as_before_too() -> None:
    model = Small().train()
    with pytest.raises(RuntimeError):
        Graph.of(model, torch.rand(4, 99))
    assert all(module.training for module in model.modules())
    assert not model.body[0]._forward_hooks


@pytest.mark.parametrize(
    "given", [(torch.rand(4, 3), torch.rand(4, 2)), {"x": torch.rand(4, 3), "y": torch.rand(4, 2)}]
)
def test_several_arguments(given: object) -> None:
    graph = Graph.of(Small(), given)
    assert [node.name for node in graph.nodes if node.op == "input"] == ["input_0", "input_1"]
    assert "input_1" in next(node for node in graph.nodes if node.op == "add_").inputs


def test_the_input_takes_the_type_of_the_model() -> None:
    assert Graph.of(nn.Linear(3, 2).bfloat16(), torch.rand(4, 3)).nodes[-1].op == "output"


def test_without_an_input_there_are_only_words() -> None:
    model = Small()
    assert Graph.of(model) == Graph(str(model))
    model.example_input_array = torch.rand(4, 3)
    graph = Graph.of(model)
    assert graph.nodes
    assert Graph.of(graph) is graph  # type: ignore[arg-type]


def test_a_graph_survives_as_text() -> None:
    graph = Graph.of(Small(), torch.rand(4, 3))
    assert Graph.from_json(graph.to_json()) == graph
