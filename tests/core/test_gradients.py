"""Norms of gradients, checked against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fulmen.errors import MisconfigurationException
from fulmen.gradients import grad_norm


def trained() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 1))
    for parameter in model[2].parameters():
        parameter.requires_grad = False
    model(torch.randn(5, 3)).square().sum().backward()
    return model


@pytest.mark.parametrize("norm_type", [1, 2, 2.0, 3.5, "2", "inf", float("inf")])
def test_norms_are_those_of_numpy(norm_type: Any) -> None:
    model = trained()
    norms = grad_norm(model, norm_type)
    order = float(norm_type)
    gradients = {name: p.grad.numpy().ravel() for name, p in model.named_parameters() if p.grad is not None}
    assert list(norms) == [*(f"grad_{order}_norm/{name}" for name in gradients), f"grad_{order}_norm_total"]
    for name, gradient in gradients.items():
        assert float(norms[f"grad_{order}_norm/{name}"]) == pytest.approx(np.linalg.norm(gradient, order), rel=1e-5)
    together = np.concatenate(list(gradients.values()))
    assert float(norms[f"grad_{order}_norm_total"]) == pytest.approx(np.linalg.norm(together, order), rel=1e-5)


def test_keys_can_be_grouped_otherwise() -> None:
    assert "grad_2.0_norm.0.weight" in grad_norm(trained(), 2, group_separator=".")


def test_without_gradients_there_are_no_norms() -> None:
    assert grad_norm(nn.Linear(2, 2), 2) == {}


def test_a_sparse_gradient_has_a_norm() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1, 1, 3])).sum().backward()
    # Row 1 twice: 2, 2; row 3 once: 1, 1.
    assert float(grad_norm(embedding, 2)["grad_2.0_norm_total"]) == pytest.approx(10**0.5)


def test_a_norm_in_half_precision_does_not_overflow() -> None:
    layer = nn.Linear(4, 1, bias=False).half()
    layer.weight.grad = torch.full((1, 4), 60_000.0, dtype=torch.float16)
    assert float(grad_norm(layer, 2)["grad_2.0_norm/weight"]) == pytest.approx(120_000, rel=1e-3)


@pytest.mark.parametrize("norm_type", [0, -1, "two", None, float("nan")])
def test_other_norms_are_errors(norm_type: Any) -> None:
    with pytest.raises(MisconfigurationException, match="`norm_type` must be a positive number or 'inf', but is"):
        grad_norm(trained(), norm_type)
