"""Parameters under several names are found, and made one again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fulmen.shared_parameters import find_shared_parameters, set_shared_parameters


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.layers[1].bias = self.layers[0].bias
        self.scale = nn.Parameter(torch.ones(()))


def test_names_of_one_parameter_are_found() -> None:
    assert find_shared_parameters(Tied()) == [
        ["embedding.weight", "output.weight"],
        ["layers.0.bias", "layers.1.bias"],
    ]
    assert find_shared_parameters(nn.Linear(2, 2)) == []


def test_a_shared_layer_shares_its_parameters() -> None:
    layer = nn.Linear(2, 2)
    assert find_shared_parameters(nn.Sequential(layer, layer)) == [["0.weight", "1.weight"], ["0.bias", "1.bias"]]


def test_parameters_are_made_one_again() -> None:
    model = Tied()
    shared = find_shared_parameters(model)
    model.output.weight = nn.Parameter(torch.zeros(5, 3))  # as a device that copies each tensor does
    model.layers[1].bias = nn.Parameter(torch.zeros(3))
    assert find_shared_parameters(model) == []
    assert set_shared_parameters(model, shared) is model
    assert find_shared_parameters(model) == shared
    assert model.output.weight is model.embedding.weight


def test_a_name_that_is_no_parameter_is_an_error() -> None:
    with pytest.raises(AttributeError, match="other"):
        set_shared_parameters(Tied(), [["other.weight", "output.weight"]])
