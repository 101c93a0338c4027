"""The kit itself: a correct callback passes, and each fault is found by the test that is there for it."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.callback import Callback
from fulmen.testing import CallbackConformance


class Counting(Callback):
    """A correct callback: it counts batches."""

    interface = (1, 0)

    def __init__(self, start: int = 0) -> None:
        self.start = start
        self.count: Any = start

    @property
    def state_key(self) -> str:
        return self._generate_state_key(start=self.start)

    def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:  # fewer arguments are fine
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "tensors": [torch.tensor(self.count)]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


class TestCounting(CallbackConformance):
    def make(self) -> Callback:
        return Counting()

    def make_another(self) -> Callback:
        return Counting(10)


class Undeclared(Callback):
    pass


class Misspelled(Counting):
    def on_train_epoch_ends(self, trainer: Any, pl_module: Any) -> None:
        pass


class Demanding(Counting):
    def on_fit_start(self, trainer: Any, pl_module: Any, model: Any) -> None:
        pass


class Unpicklable(Counting):
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.lock = (number for number in range(3))


class WithCode(Counting):
    def state_dict(self) -> dict[str, Any]:
        return {"path": Path("x")}


class Sharing(Counting):
    @property
    def state_key(self) -> str:
        return "Sharing"


class Throwing(Counting):
    def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:
        torch.rand(1)


class Gambling(Counting):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        random.random()


class Nudging(Counting):
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            next(pl_module.parameters()).add_(1e-6)


class Switching(Counting):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.net[4].eval()


class Forgetting(Counting):
    """It changes the rate by a count that it does not keep in checkpoints."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any) -> None:
        self.forgotten = getattr(self, "forgotten", 0) + 1
        trainer.optimizers[0].param_groups[0]["lr"] = 0.1 / self.forgotten


class NeedsLogger(Counting):
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        assert trainer.logger.version is None


class NeedsValidation(Counting):
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        assert "val_loss" in trainer.callback_metrics


class UsedUp(Counting):
    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        assert self.count == 12


class Swallowing(Counting):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        with contextlib.suppress(BaseException):
            pl_module(torch.zeros(2, 1, 8, 8))


class Interrupting(Counting):
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        raise RuntimeError("something of its own")


FAULTS: list[tuple[type[Callback], str, tuple[Any, ...]]] = [
    (Undeclared, "test_declares_the_interface_it_was_written_for", ()),
    (Misspelled, "test_every_hook_has_the_name_of_one", ()),
    (Demanding, "test_hooks_ask_for_no_more_than_they_get", ()),
    (Unpicklable, "test_pickles_and_copies_before_and_after_a_run", ("path",)),
    (WithCode, "test_state_survives_a_checkpoint_that_runs_no_code", ("path",)),
    (Forgetting, "test_a_resumed_training_ends_like_one_without_a_break", ("path", "on_train_batch_end")),
    (Forgetting, "test_a_resumed_training_ends_like_one_without_a_break", ("path", "on_train_epoch_end")),
    (Sharing, "test_callbacks_with_other_arguments_keep_their_own_state", ("path",)),
    (Throwing, "test_leaves_weights_and_random_numbers_as_they_are", ("path",)),
    (Gambling, "test_leaves_weights_and_random_numbers_as_they_are", ("path",)),
    (Nudging, "test_leaves_weights_and_random_numbers_as_they_are", ("path",)),
    (Switching, "test_leaves_modes_and_gradients_as_they_are", ("path",)),
    (NeedsLogger, "test_works_without_a_logger", ("path",)),
    (NeedsValidation, "test_works_without_validation", ("path",)),
    (UsedUp, "test_works_through_every_entry_point_again_and_again", ("path",)),
    (Swallowing, "test_does_not_swallow_an_interrupt", ("path", "forward")),
    (Interrupting, "test_does_not_swallow_an_interrupt", ("path", "training_step")),
]


@pytest.mark.parametrize(("fault", "test", "arguments"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_each_fault_is_found(tmp_path: Path, fault: type[Callback], test: str, arguments: tuple[Any, ...]) -> None:
    class Kit(CallbackConformance):
        def make(self) -> Callback:
            return fault()

        def make_another(self) -> Callback:
            return Counting(10) if not issubclass(fault, Sharing) else Sharing(10)

    check = getattr(Kit(), test)
    with pytest.raises((Exception, pytest.fail.Exception)) as found:
        check(*(tmp_path if argument == "path" else argument for argument in arguments))
    assert not isinstance(found.value, (NameError, pytest.skip.Exception))


def test_a_standard_test_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="overrides the standard test test_works_without_a_logger"):

        class Replacing(CallbackConformance):
            def make(self) -> Callback:
                return Counting()

            def test_works_without_a_logger(self, tmp_path: Path) -> None:
                pass
