"""WeightAveraging and EMAWeightAveraging: what goes beyond the values in ``test_same_trainings.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier, assert_equal
from fulmen_callbacks import EMAWeightAveraging, ModelCheckpoint, WeightAveraging


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> fulmen.Trainer:
    options = {"max_epochs": 2, "enable_checkpointing": None, "logger": False, **options}
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        **options,
    )


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def load(path: Path | str) -> dict[str, Any]:
    """Return a checkpoint with its weights in plain dicts."""
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return {**checkpoint, **{name: dict(checkpoint[name]) for name in ("state_dict", "current_model_state")}}


class Recording(Callback):
    """The weights after each step, and those that validation sees."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append(copy_of(pl_module))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any) -> None:
        self.validated.append(copy_of(pl_module))


def mean_of(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, value in other.items():
        if one[name].is_floating_point():
            torch.testing.assert_close(one[name].double(), value.double(), rtol=1e-4, atol=1e-6)


def test_validation_and_the_end_see_the_mean_of_all_steps(tmp_path: Path) -> None:
    recording, module = Recording(), TinyClassifier()
    trainer_of(tmp_path, recording, WeightAveraging(), num_sanity_val_steps=0).fit(module)
    assert_close(recording.validated[0], mean_of(recording.trained[:6]))
    assert_close(recording.validated[-1], mean_of(recording.trained))
    assert_close(dict(module.state_dict()), mean_of(recording.trained))


def test_training_is_not_touched_by_it(tmp_path: Path) -> None:
    outcomes = []
    for callbacks in ([], [WeightAveraging()], [EMAWeightAveraging(device="cpu")]):
        fulmen.seed_everything(5)
        recording = Recording()
        trainer_of(tmp_path, recording, *callbacks).fit(TinyClassifier())
        outcomes.append(recording.trained)
    for other in outcomes[1:]:
        for one, another in zip(outcomes[0], other, strict=True):
            assert_equal(one, another)


def test_before_the_first_update_everything_is_as_without_it(tmp_path: Path) -> None:
    class Never(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return False

    recording, module = Recording(), TinyClassifier()
    trainer = trainer_of(tmp_path, recording, Never())
    trainer.fit(module)
    assert_equal(recording.validated[-1], recording.trained[-1])
    assert_equal(copy_of(module), recording.trained[-1])
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    assert "current_model_state" not in torch.load(tmp_path / "end.ckpt", weights_only=True)


@pytest.mark.filterwarnings("ignore:FUL026")
def test_a_checkpoint_is_the_average_and_goes_on_with_what_trains(tmp_path: Path) -> None:
    recording = Recording()
    trainer = trainer_of(tmp_path, recording, EMAWeightAveraging(decay=0.5), ModelCheckpoint(tmp_path), max_epochs=1)
    trainer.fit(TinyClassifier())
    path = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    checkpoint = load(path)
    assert_equal(checkpoint["current_model_state"], recording.trained[-1])
    assert_equal(checkpoint["state_dict"], recording.validated[-1])
    # Whoever loads it without the callback gets the average.
    module = TinyClassifier()
    trainer_of(tmp_path, enable_checkpointing=False).validate(module, ckpt_path=path, verbose=False)
    assert_equal(dict(module.state_dict()), dict(checkpoint["state_dict"]))


@pytest.mark.filterwarnings("ignore:FUL026")
def test_what_is_saved_at_the_end_goes_on_like_training_without_a_break(tmp_path: Path) -> None:
    fulmen.seed_everything(5)
    whole = TinyClassifier()
    start = copy_of(whole)
    fulmen.seed_everything(6)
    trainer_of(tmp_path, EMAWeightAveraging(decay=0.9), max_epochs=3).fit(whole)
    module = TinyClassifier()
    module.load_state_dict(start)
    fulmen.seed_everything(6)
    trainer = trainer_of(tmp_path, EMAWeightAveraging(decay=0.9), ModelCheckpoint(tmp_path, save_last=True))
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    for path in (tmp_path / "last.ckpt", tmp_path / "after.ckpt"):
        resumed = TinyClassifier()
        trainer_of(tmp_path, EMAWeightAveraging(decay=0.9), max_epochs=3).fit(resumed, ckpt_path=path)
        assert_equal(dict(resumed.state_dict()), dict(whole.state_dict()))


def test_a_failure_in_validation_leaves_what_trains_in_its_place(tmp_path: Path) -> None:
    class Failing(TinyClassifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if not self.trainer.sanity_checking:
                raise ValueError("a mistake")

    recording, module = Recording(), Failing()
    checkpoint = ModelCheckpoint(tmp_path, save_on_exception=True)
    with pytest.raises(ValueError, match="a mistake"):
        trainer_of(tmp_path, recording, WeightAveraging(), checkpoint).fit(module)
    assert_equal(copy_of(module), recording.trained[-1])
    saved = load(next(tmp_path.glob("*.ckpt")))
    assert_equal(saved["current_model_state"], recording.trained[-1])
    assert_close(saved["state_dict"], mean_of(recording.trained))


def test_a_checkpoint_of_validation_keeps_both(tmp_path: Path) -> None:
    class Saving(TinyClassifier):
        def on_validation_batch_end(self, *arguments: Any) -> None:
            if not self.trainer.sanity_checking:
                self.trainer.save_checkpoint(tmp_path / "inside.ckpt")

    recording = Recording()
    trainer_of(tmp_path, recording, WeightAveraging(), max_epochs=1).fit(Saving())
    saved = load(tmp_path / "inside.ckpt")
    assert_equal(saved["state_dict"], recording.validated[-1])
    assert_equal(saved["current_model_state"], recording.trained[-1])


def test_without_buffers_the_newest_are_used(tmp_path: Path) -> None:
    recording, module = Recording(), TinyClassifier()
    trainer_of(tmp_path, recording, WeightAveraging(use_buffers=False)).fit(module)
    assert torch.equal(module.net[2].running_mean, recording.trained[-1]["net.2.running_mean"])  # type: ignore[arg-type]
    assert_close({"w": module.net[1].weight.data}, {"w": mean_of(recording.trained)["net.1.weight"]})  # type: ignore[dict-item, union-attr]


def test_shared_weights_are_averaged_once(tmp_path: Path) -> None:
    class Shared(TinyClassifier):
        def __init__(self) -> None:
            super().__init__()
            self.alias = self.net[5]

    recording, module = Recording(), Shared()
    trainer_of(tmp_path, recording, WeightAveraging()).fit(module)
    assert module.alias.weight is module.net[5].weight
    assert_close(dict(module.state_dict()), mean_of(recording.trained))


def test_a_second_fit_and_another_module_begin_anew(tmp_path: Path) -> None:
    callback = WeightAveraging()
    trainer_of(tmp_path, callback).fit(TinyClassifier())
    recording, module = Recording(), TinyClassifier()
    trainer_of(tmp_path, recording, callback).fit(module)
    assert_close(dict(module.state_dict()), mean_of(recording.trained))


def test_functions_of_ones_own(tmp_path: Path) -> None:
    def newest(averages: list[Tensor], values: list[Tensor], count: Any) -> None:
        torch._foreach_copy_(averages, values)

    recording, module = Recording(), TinyClassifier()
    trainer_of(tmp_path, recording, WeightAveraging(multi_avg_fn=newest)).fit(module)
    assert_equal(copy_of(module), recording.trained[-1])
    with pytest.raises(MisconfigurationException, match="give one of them"):
        WeightAveraging(avg_fn=lambda a, v, n: v, multi_avg_fn=newest)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"decay": 1.5}, "`decay` must be between 0 and 1, but is 1.5"),
        ({"update_every_n_steps": -1}, "`update_every_n_steps` must be >= 0, but is -1"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        EMAWeightAveraging(**arguments)
