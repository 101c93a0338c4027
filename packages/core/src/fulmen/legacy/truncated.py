"""Truncated backpropagation through time: ``truncated_bptt_steps`` with ``training_step(..., hiddens)``.

A batch is cut along its second dimension, time; each part is trained on and stepped by itself, and what a step returns
as ``"hiddens"`` goes on to the next part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from fulmen.advice import code_of
from fulmen.errors import MisconfigurationException
from fulmen.legacy.adapted import Adapted, argument_names
from fulmen.legacy.hooks import OldHooks, detached
from fulmen.legacy.spelling import say_old


class Truncated:
    """Trains a module on the parts of each batch.

    Args:
        steps: time steps in a part.
        module: its ``training_step`` gets the hidden state of the part before.
        hooks: where the runs of the loop are caught.
    """

    def __init__(self, trainer: Any, module: Any, steps: int, adapted: Adapted, hooks: OldHooks) -> None:
        step = module.training_step
        if "hiddens" not in argument_names(step):
            raise MisconfigurationException(
                f"`truncated_bptt_steps={steps}` passes the hidden state on, but `{type(module).__name__}."
                "training_step` does not take it; define `training_step(self, batch, batch_idx, hiddens)`"
            )
        say_old(
            "FUL111",
            f"`truncated_bptt_steps={steps}`",
            "manual optimization: a loop over `batch.split(steps, dim=1)` in `training_step`",
            code_of(step),
        )
        self._split: Callable[[Any, int], Sequence[Any]] = getattr(module, "tbptt_split_batch", split_batch)
        self._steps = steps
        self._hiddens: Any = None

        def training_step(*args: Any, **kwargs: Any) -> Any:
            output = step(*args, **kwargs, hiddens=self._hiddens)
            hiddens = output.get("hiddens") if isinstance(output, dict) else None
            self._hiddens = detached(hiddens)
            return output

        training_step.__wrapped__ = step  # type: ignore[attr-defined]  # its signature says what it takes
        adapted.replace(module, "training_step", training_step)
        hooks.call("on_train_start", lambda trainer, _: self._catch(trainer._optimization, adapted))

    def _catch(self, optimization: Any, adapted: Adapted) -> None:
        choose = optimization.choose
        adapted.replace(optimization, "choose", lambda: self._in_parts(choose()))

    def _in_parts(self, run: Callable[[Any, int, bool], Any]) -> Callable[[Any, int, bool], Any]:
        def run_parts(batch: Any, batch_idx: int, stepping: bool) -> Any:
            self._hiddens = None
            outputs = None
            for part in self._split(batch, self._steps):
                outputs = run(part, batch_idx, stepping)
            return outputs

        return run_parts


def split_batch(batch: Any, split_size: int) -> list[Any]:
    """Return a batch in parts of ``split_size`` time steps; what is neither tensor nor list of sequences is kept."""
    parts = batch if isinstance(batch, (list, tuple)) else [batch]
    lengths = {len(one[0]) for one in parts if isinstance(one, (Tensor, list, tuple))}
    if len(lengths) != 1:
        raise MisconfigurationException(
            f"`truncated_bptt_steps` cuts a batch along its second dimension, but its parts have {sorted(lengths)} "
            "time steps; define `tbptt_split_batch(self, batch, split_size)`"
        )
    length = lengths.pop()

    def cut(one: Any, start: int) -> Any:
        end = start + split_size
        if isinstance(one, Tensor):
            return one[:, start:end]
        return [sequence[start:end] for sequence in one] if isinstance(one, (list, tuple)) else one

    pieces = [[cut(one, start) for one in parts] for start in range(0, length, split_size)]
    return pieces if isinstance(batch, (list, tuple)) else [piece[0] for piece in pieces]
