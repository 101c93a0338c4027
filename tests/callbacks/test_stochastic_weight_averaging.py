"""StochasticWeightAveraging: what goes beyond the rates and averages in ``test_same_trainings.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import RecordingLogger, TinyClassifier, assert_equal
from fulmen_callbacks import ModelCheckpoint, StochasticWeightAveraging


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> fulmen.Trainer:
    options = {"max_epochs": 4, "enable_checkpointing": None, "logger": False, **options}
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        **options,
    )


class AtEpochs(Callback):
    """The parameters at each epoch's beginning, and at the end of training."""

    def __init__(self) -> None:
        self.parameters: list[dict[str, Tensor]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.parameters.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})

    on_train_end = on_train_epoch_start


def mean_of(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def test_training_ends_with_the_mean_of_the_beginnings_and_the_end(tmp_path: Path) -> None:
    seen, module = AtEpochs(), TinyClassifier()
    callback = StochasticWeightAveraging(0.05, swa_epoch_start=2)
    trainer_of(tmp_path, seen, callback).fit(module)
    assert (callback.swa_start, callback.swa_end, callback.n_averaged) == (1, 3, 4)
    for name, value in mean_of(seen.parameters[1:]).items():
        torch.testing.assert_close(module.get_parameter(name), value)


def test_batch_norms_get_the_statistics_of_the_average(tmp_path: Path) -> None:
    class Plain(TinyClassifier):
        def __init__(self) -> None:
            super().__init__()
            self.net[4] = nn.Identity()  # no dropout

        def train_dataloader(self) -> DataLoader[Any]:
            images = torch.linspace(0, 40, 16 * 64).sin().reshape(16, 1, 8, 8)
            return DataLoader(TensorDataset(images, torch.arange(16) % 3), batch_size=4)

    module = Plain()
    trainer_of(tmp_path, StochasticWeightAveraging(0.05, swa_epoch_start=2)).fit(module)
    found = {name: value.clone() for name, value in module.net[2].state_dict().items()}
    torch.optim.swa_utils.update_bn(module.train_dataloader(), module.net)
    assert_equal(found, dict(module.net[2].state_dict()))
    assert module.net[2].momentum == 0.1
    assert module.training


def test_the_pass_for_batch_norms_is_not_felt(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Counting(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch_idx)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(torch.get_rng_state())

    logger = RecordingLogger()
    trainer = trainer_of(
        tmp_path, Counting(), StochasticWeightAveraging(0.05), Counting(), logger=logger, log_every_n_steps=1
    )
    trainer.fit(TinyClassifier())
    assert seen[:-2] == [number for number in range(6) for _ in range(2)] * 4
    assert torch.equal(seen[-1], seen[-2])
    assert (trainer.current_epoch, trainer.global_step) == (4, 24)
    assert max(step for metrics, step in logger.metrics if "train_loss" in metrics) == 23  # type: ignore[type-var]


def test_the_last_checkpoint_is_the_average(tmp_path: Path) -> None:
    module = TinyClassifier()
    trainer_of(tmp_path, StochasticWeightAveraging(0.05), ModelCheckpoint(tmp_path, save_last=True)).fit(module)
    assert_equal(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"], module.state_dict())


@pytest.mark.filterwarnings("ignore:FUL026")
def test_training_that_has_ended_goes_on_from_where_it_trained(tmp_path: Path) -> None:
    seen = AtEpochs()
    swa = StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=1)
    trainer = trainer_of(tmp_path, seen, swa)
    trainer.fit(TinyClassifier())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    again = AtEpochs()
    callback = StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=1)
    module = TinyClassifier()
    trainer_of(tmp_path, again, callback, max_epochs=6).fit(module, ckpt_path=tmp_path / "end.ckpt")
    assert_equal(again.parameters[0], seen.parameters[-1])  # not the average
    assert callback.n_averaged == 6
    for name, value in mean_of([*seen.parameters[1:], *again.parameters[1:]]).items():
        torch.testing.assert_close(module.get_parameter(name), value)


def test_training_that_is_stopped_early_ends_with_the_average_so_far(tmp_path: Path) -> None:
    class Stopping(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = trainer.current_epoch == 2

    seen, module = AtEpochs(), TinyClassifier()
    trainer_of(tmp_path, seen, Stopping(), StochasticWeightAveraging(0.05, swa_epoch_start=2), max_epochs=9).fit(module)
    for name, value in mean_of(seen.parameters[1:]).items():
        torch.testing.assert_close(module.get_parameter(name), value)


def test_training_that_ends_before_its_start_keeps_its_weights(tmp_path: Path) -> None:
    seen, module = AtEpochs(), TinyClassifier()
    callback = StochasticWeightAveraging(0.05, swa_epoch_start=9)
    trainer_of(tmp_path, seen, callback).fit(module)
    assert callback.n_averaged == 0
    assert_equal(dict(module.named_parameters()).keys(), seen.parameters[-1].keys())
    for name, value in seen.parameters[-1].items():
        assert torch.equal(module.get_parameter(name), value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"swa_lrs": 0.0}, "`swa_lrs` must be a number > 0.*but is 0.0"),
        ({"swa_lrs": []}, r"but is \[\]"),
        ({"swa_lrs": [0.1, -1.0]}, r"but is \[0.1, -1.0\]"),
        ({"swa_lrs": 0.1, "swa_epoch_start": 0}, "but is 0$"),
        ({"swa_lrs": 0.1, "swa_epoch_start": 1.5}, "but is 1.5$"),
        ({"swa_lrs": 0.1, "annealing_strategy": "fast"}, "'cos' or 'linear', not 'fast'"),
        ({"swa_lrs": 0.1, "annealing_epochs": -1}, "`annealing_epochs` must be >= 0, but is -1"),
        ({"swa_lrs": 0.1, "avg_fn": 3}, "`avg_fn` must be a function, but is 3"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=words):
        StochasticWeightAveraging(**arguments)


def test_what_it_cannot_work_with(tmp_path: Path) -> None:
    class ByHand(TinyClassifier):
        automatic_optimization = False

    with pytest.raises(MisconfigurationException, match="`ByHand` steps its optimizers itself"):
        trainer_of(tmp_path, StochasticWeightAveraging(0.1)).fit(ByHand())

    class TwoSchedules(TinyClassifier):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1) for _ in range(2)]

    with pytest.raises(MisconfigurationException, match="`TwoSchedules` has 2 schedulers"):
        trainer_of(tmp_path, StochasticWeightAveraging(0.1)).fit(TwoSchedules())
    with pytest.raises(MisconfigurationException, match="is a fraction of `max_epochs`, but training has no end"):
        trainer_of(tmp_path, StochasticWeightAveraging(0.1), max_epochs=-1).fit(TinyClassifier())
    with pytest.raises(MisconfigurationException, match="has 2 rates, but the optimizer has 1 parameter groups"):
        trainer_of(tmp_path, StochasticWeightAveraging([0.1, 0.2], 1)).fit(TinyClassifier())
