"""ModelPruning: what goes beyond the weights in ``test_same_trainings.py``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import ModelPruning


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        **{"max_epochs": 3, **options},
    )


def zeros(module: nn.Module) -> int:
    return sum(int((value == 0).sum()) for value in module.parameters())


def test_what_is_pruned_stays_zero_after_a_resume(tmp_path: Path) -> None:
    def pruning() -> ModelPruning:
        return ModelPruning("l1_unstructured", amount=lambda epoch: 0.5 if epoch == 0 else 0)

    trainer = trainer_of(tmp_path, pruning(), max_epochs=1)
    trainer.fit(TinyClassifier())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == set(TinyClassifier().state_dict())
    module = TinyClassifier()
    trainer_of(tmp_path, pruning()).fit(module, ckpt_path=tmp_path / "one.ckpt")
    assert zeros(module) >= 280


def test_the_lottery_gives_the_first_weights_each_time(tmp_path: Path) -> None:
    module = TinyClassifier()
    first = {name: value.detach().clone() for name, value in module.named_parameters()}
    trainer_of(tmp_path, ModelPruning("l1_unstructured", amount=0.2)).fit(module)
    for name, value in module.named_parameters():
        kept = value != 0
        assert torch.equal(value[kept], first[name][kept])
    assert zeros(module) > 200


def test_masks_stay_where_they_are_not_made_permanent(tmp_path: Path) -> None:
    module = TinyClassifier()
    pruning = ModelPruning("random_unstructured", amount=0.2, make_pruning_permanent=False)
    trainer_of(tmp_path, pruning, max_epochs=1).fit(module)
    assert prune.is_pruned(module)
    pruning.make_pruning_permanent(module)
    assert not prune.is_pruned(module)


def test_pruning_at_the_end_of_validation(tmp_path: Path) -> None:
    module = TinyClassifier()
    trainer_of(tmp_path, ModelPruning("l1_unstructured", amount=0.5, prune_on_train_epoch_end=False)).fit(module)
    assert zeros(module) > 400


def test_a_method_and_a_choice_of_ones_own(tmp_path: Path) -> None:
    class Head(ModelPruning):
        def filter_parameters_to_prune(self, parameters_to_prune: Any = ()) -> Any:
            return [(module, name) for module, name in parameters_to_prune if isinstance(module, nn.Linear)][:1]

    module = TinyClassifier()
    trainer_of(tmp_path, Head(prune.L1Unstructured, amount=10), max_epochs=1).fit(module)
    assert int((module.net[1].weight == 0).sum()) == 10
    assert zeros(module.net[5]) == 0


def test_resampling_draws_anew(tmp_path: Path) -> None:
    module = TinyClassifier()
    first = module.net[1].weight.detach().clone()  # type: ignore[operator]
    trainer_of(tmp_path, ModelPruning("l1_unstructured", amount=0.1, resample_parameters=True), max_epochs=1).fit(
        module
    )
    kept = module.net[1].weight != 0
    assert not torch.equal(module.net[1].weight[kept], first[kept])  # type: ignore[index]


def test_it_says_how_much(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        trainer_of(tmp_path, ModelPruning("l1_unstructured", amount=0.1, verbose=2), max_epochs=1).fit(TinyClassifier())
    assert "pruned: 56 of 563 weights (9.95%), before 0 (0.00%)" in caplog.text
    assert "pruned of net.1.weight: " in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pruning_fn": "l1_unstructurd"}, "did you mean 'l1_unstructured'"),
        ({"pruning_fn": 3}, "or a class derived from torch.nn.utils.prune.BasePruningMethod, but is 3"),
        ({"pruning_fn": "random_structured", "use_global_unstructured": False}, "needs `pruning_dim`"),
        ({"pruning_fn": "ln_structured", "pruning_dim": 0, "use_global_unstructured": False}, "needs `pruning_norm`"),
        ({"pruning_fn": "random_structured", "pruning_dim": 0}, "is structured, which `use_global_unstructured=True`"),
        ({"pruning_fn": prune.L1Unstructured, "use_global_unstructured": False}, "works with"),
        ({"pruning_fn": "l1_unstructured", "amount": 1.5}, "not 1.5"),
        ({"pruning_fn": "l1_unstructured", "amount": "half"}, "not 'half'"),
        ({"pruning_fn": "l1_unstructured", "verbose": 3}, "`verbose` must be 0, 1 or 2, but is 3"),
        ({"pruning_fn": "l1_unstructured", "parameter_names": ["scale"]}, "but has 'scale'"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        ModelPruning(**arguments)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([(nn.Linear(1, 1), "weight")], "'weight' of Linear.* which is not in `TinyClassifier`"),
        (["weight"], r"must hold pairs \(module, name\), but has 'weight'"),
    ],
)
def test_parameters_of_another_model(tmp_path: Path, pairs: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        trainer_of(tmp_path, ModelPruning("l1_unstructured", pairs)).fit(TinyClassifier())
