"""GradientStats: the norms of gradients at log boundaries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import RecordingLogger, TinyClassifier
from fulmen_callbacks import GradientStats


class Reference(Callback):
    """Each parameter's gradient before each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.steps.append({name: p.grad.double().clone() for name, p in pl_module.named_parameters()})


def fit(callback: GradientStats, folder: Path) -> tuple[Reference, list[tuple[int | None, dict[str, float]]]]:
    logger, reference = RecordingLogger(), Reference()
    fulmen.Trainer(
        accelerator="cpu",
        callbacks=[callback, reference],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        gradient_clip_val=0.01,
        log_every_n_steps=3,
        logger=logger,
        max_epochs=1,
    ).fit(TinyClassifier())
    found = [
        (step, {key: value for key, value in metrics.items() if key.startswith("grad_norm/")})
        for metrics, step in logger.metrics
        if "grad_norm/total" in metrics
    ]
    return reference, found


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_the_norm_of_all_before_clipping(tmp_path: Path, norm_type: float) -> None:
    reference, found = fit(GradientStats(norm_type, depth=0), tmp_path)
    assert [step for step, _ in found] == [2, 5]
    for step, values in found:
        assert step is not None
        everything = torch.cat([gradient.flatten() for gradient in reference.steps[step].values()])
        expected = torch.linalg.vector_norm(everything, norm_type).item()
        assert values == {"grad_norm/total": pytest.approx(expected, rel=1e-5)}


def test_the_norms_of_parts(tmp_path: Path) -> None:
    reference, found = fit(GradientStats(depth=2, filter=lambda name: "bias" not in name), tmp_path)
    assert set(found[0][1]) == {"grad_norm/total", "grad_norm/net.1", "grad_norm/net.2", "grad_norm/net.5"}
    expected = reference.steps[2]["net.1.weight"].norm().item()
    assert found[0][1]["grad_norm/net.1"] == pytest.approx(expected, rel=1e-5)
    _, found = fit(GradientStats(depth=-1), tmp_path)
    assert len(found[0][1]) == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"norm_type": 0}, "`norm_type` must be > 0, but is 0"), ({"depth": -2}, "`depth` must be >= -1, but is -2")],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        GradientStats(**arguments)
