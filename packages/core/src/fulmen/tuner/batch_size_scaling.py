"""The search for the largest batch size that fits into memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from fulmen.data.combined import length_of
from fulmen.data.loaders import combine
from fulmen.errors import MisconfigurationException
from fulmen.hooks import HookTable
from fulmen.loops.predict import PredictionLoop
from fulmen.memory import garbage_collection_cuda, is_oom_error
from fulmen.rank import rank_zero_info
from fulmen.state import TrainerFn
from fulmen.tuner.attributes import TunedAttribute
from fulmen.tuner.lr_finder import train

if TYPE_CHECKING:
    from fulmen.trainer import Trainer

MODES = ("power", "binsearch")
_LOADERS = {
    TrainerFn.FITTING: "train_dataloader",
    TrainerFn.VALIDATING: "val_dataloader",
    TrainerFn.TESTING: "test_dataloader",
    TrainerFn.PREDICTING: "predict_dataloader",
}


def find_batch_size(
    trainer: Trainer,
    batch_size: TunedAttribute,
    *,
    mode: str,
    steps_per_trial: int,
    init_val: int,
    max_trials: int,
    margin: float,
    max_val: int,
) -> int:
    """Return the largest batch size that fits, by running a few steps with each.

    It changes the model, its optimizer, the attribute and the random states: run it inside of ``restored``.

    Args:
        trainer: one that is inside an entry point, its optimizers configured.
        batch_size: where the loaders take their batch size from.
        mode: ``"power"`` doubles until one does not fit; ``"binsearch"`` looks between the last two then.
        steps_per_trial: steps with each size.
        init_val: the first size.
        max_trials: the most sizes to try.
        margin: with ``"binsearch"``, the share of the size found that is left free.
        max_val: the largest size to try.

    Raises:
        MisconfigurationException: not even one sample fits, or nothing did in ``max_trials``.
    """

    def fits(size: int) -> bool:
        batch_size.value = size
        return _fits(trainer, steps_per_trial)

    samples = _count_samples(trainer)
    first = batch_size.value if batch_size.value >= samples else min(init_val, max_val)
    found = search(fits, first, mode, max_trials, samples, max_val)
    if mode == "binsearch" and margin > 0:
        found = max(1, int(found * (1 - margin)))
    return found


def search(fits: Callable[[int], bool], first: int, mode: str, max_trials: int, samples: float, max_val: int) -> int:
    """Return the largest size that fits, as far as ``mode`` looks for it.

    Args:
        fits: tries a size.
        first: the first size.
        mode: ``"power"`` or ``"binsearch"``.
        max_trials: the most sizes to try; ``"binsearch"`` counts those that fit.
        samples: of the data; no size is tried beyond the first that holds them all.
        max_val: the largest size to try.

    Raises:
        MisconfigurationException: no size fitted.
    """
    size, largest, smallest_too_large, trials = first, 0, None, 0
    while trials < max_trials:
        is_fitting = fits(size)
        trials += mode == "power" or is_fitting
        if is_fitting:
            rank_zero_info("batch size %d fits", size)
            largest = size
            if size >= min(samples, max_val):
                break
        else:
            rank_zero_info("batch size %d does not fit", size)
            smallest_too_large = size
            if size == 1:
                break
        doubles = mode == "power" and is_fitting and smallest_too_large is not None and 2 * size < smallest_too_large
        if smallest_too_large is None or doubles:
            size = min(2 * size, max_val)
        elif (mode == "power" and largest) or (mode == "binsearch" and smallest_too_large - largest <= 1):
            break
        else:
            size = (smallest_too_large + largest) // 2
    if not largest:
        raise MisconfigurationException(
            f"no batch size fits into memory: {smallest_too_large} is the smallest that was tried; use a smaller model "
            "or smaller samples" + ("" if smallest_too_large == 1 else ", a smaller init_val, or more max_trials")
        )
    return largest


def _fits(trainer: Trainer, steps: int) -> bool:
    """Run a few steps on a trainer of their own; return whether there was memory enough."""
    trial = trainer._trial()
    trial._limits = dataclasses.replace(
        trial._limits,
        train=1.0,
        val=steps if trial._limits.val else 0,
        test=steps,
        predict=steps,
    )
    trial._schedule = dataclasses.replace(
        trial._schedule, max_steps=trial.global_step + steps, min_epochs=0, min_steps=0, max_time_s=None
    )
    has_memory = True
    try:
        _run(trial)
    except Exception as error:
        if not is_oom_error(error):
            raise
        has_memory = False
    del trial
    for parameter in trainer.lightning_module.parameters():
        parameter.grad = None
    garbage_collection_cuda()
    return has_memory


def _run(trial: Trainer) -> None:
    fn = trial.state.fn
    assert fn is not None
    if fn is TrainerFn.FITTING:
        train(trial)
        return
    module = trial.lightning_module
    module.__dict__["_trainer"] = trial
    if trial.datamodule is not None:
        trial.datamodule.trainer = trial
    hooks = trial._hooks = HookTable(trial, module, trial._callbacks)
    source = trial._source(_LOADERS[fn], None)
    with trial._without_gradients():
        if fn is TrainerFn.PREDICTING:
            prediction = trial._prediction = PredictionLoop(
                module, hooks, source, trial._prepare("predict_step"), trial._precision, trial._limits.predict
            )
            prediction.set_up()
            prediction.run(keep=False)
        else:
            evaluation = trial._new_evaluation_loop(hooks, source)
            evaluation.set_up()
            evaluation.run()


def _count_samples(trainer: Trainer) -> float:
    """Return the samples of the loaders that a trial runs over; ``inf`` where nobody can know."""
    fn = trainer.state.fn
    assert fn is not None
    fits = fn is TrainerFn.FITTING
    loaders = combine(trainer._source(_LOADERS[fn], None).request(), "max_size_cycle" if fits else "sequential")
    if not fits and len(loaders.flattened) > 1:
        raise MisconfigurationException(
            f"there are {len(loaders.flattened)} loaders, but a batch size can be found for one only when it is not "
            "training; return one from the hook"
        )
    counts = [length_of(getattr(loader, "dataset", None)) for loader in loaders.flattened]
    counts = [count for count in counts if torch.isfinite(torch.tensor(count))]
    if not counts:
        return float("inf")
    choose: Any = {"min_size": min, "sequential": sum}.get(loaders.mode, max)
    return float(choose(counts))
