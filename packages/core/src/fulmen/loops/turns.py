"""Automatic optimization with several optimizers: in each step those whose turn it is, one after the other.

``configure_optimizers`` returns them by name, ``{"critic": ..., "generator": {"optimizer": ..., "frequency": 5}}``,
and each has its own step function, ``training_step_critic(self, batch, batch_idx)``. While one is at work, the
parameters of the others require no gradient, so that its backward neither computes nor leaves gradients there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn
from torch.optim import Optimizer

from fulmen.data.dataloader_iter import takes_dataloader_iter
from fulmen.errors import MisconfigurationException, nearest
from fulmen.hardware.precision import Precision
from fulmen.hooks import HookTable
from fulmen.loops.optimization import Optimization, outputs_for_hooks
from fulmen.module import LightningModule
from fulmen.optimizers import NamedOptimizer
from fulmen.options import Clipping
from fulmen.progress import Progress
from fulmen.results import Results


@dataclass
class _Turn:
    name: str
    optimizer: Optimizer
    is_due: Callable[[int], bool]
    optimization: Optimization
    others: list[nn.Parameter]  #: parameters that only other optimizers have
    run: Callable[[Any, int, bool], Any]


class Turns:
    """What a fit with several named optimizers does with each batch; a composition of :class:`Optimization`.

    An optimizer of frequency n takes part in every n-th optimizer step, counted over the whole fit. ``global_step``
    counts the steps of the first one.

    Args:
        named: the optimizers, in the order in which they step.
        module, hooks, results, precision, clipping, progress: as in :class:`Optimization`.

    Raises:
        MisconfigurationException: an optimizer has no step function.
    """

    def __init__(
        self,
        named: Sequence[NamedOptimizer],
        module: LightningModule,
        hooks: HookTable,
        results: Results,
        precision: Precision,
        clipping: Clipping,
        progress: Progress,
    ) -> None:
        self._module = module
        self._precision = precision
        self._progress = progress
        self._stepped: set[int] = set()
        self._turns: list[_Turn] = []
        for index, one in enumerate(named):
            optimization = Optimization(
                [one.optimizer],
                module,
                hooks,
                results,
                precision,
                clipping,
                progress,
                step=_step_of(module, one),
                counts=index == 0,
            )
            optimization.updates_scale = False
            own = {id(p) for p in _parameters(one.optimizer)}
            others = {id(p): p for other in named for p in _parameters(other.optimizer) if id(p) not in own}
            is_due = one.due if one.due is not None else functools.partial(_is_multiple, one.frequency)
            self._turns.append(
                _Turn(one.name, one.optimizer, is_due, optimization, list(others.values()), optimization.choose())
            )
        wrappers = [wrapper for turn in self._turns for wrapper in turn.optimization._wrappers]
        module.__dict__["_optimizer_wrappers"] = wrappers

    @property
    def accumulate(self) -> int:
        """Batches whose gradients make one step; callbacks may change it between epochs."""
        return self._turns[0].optimization.accumulate

    @accumulate.setter
    def accumulate(self, value: int) -> None:
        for turn in self._turns:
            turn.optimization.accumulate = value

    def choose(self) -> Callable[[Any, int, bool], Any]:
        """Return the function that runs one batch."""
        return self.run

    def run(self, batch: Any, batch_idx: int, stepping: bool) -> dict[str, Any]:
        """Run one batch; return what the steps returned, by name, and the first one's loss as ``"loss"``."""
        outputs: dict[str, Any] = {}
        number = self._progress.batches_that_stepped + 1
        self._stepped.clear()
        for turn in self._turns:
            if not turn.is_due(number):
                continue
            hidden = [parameter for parameter in turn.others if parameter.requires_grad]
            for parameter in hidden:
                parameter.requires_grad = False
            try:
                outputs[turn.name] = outputs_for_hooks(turn.run(batch, batch_idx, stepping), accumulate=1)
            finally:
                for parameter in hidden:
                    parameter.requires_grad = True
            self._stepped.add(id(turn.optimizer))
        if stepping and self._stepped:
            self._precision.update_scale()
        main = outputs.get(self._turns[0].name)
        return {**outputs, "loss": main["loss"]} if main else outputs

    def forward(self, batch: Any, batch_idx: int) -> None:
        """Run each optimizer's training step and nothing else."""
        for turn in self._turns:
            turn.optimization.forward(batch, batch_idx)

    def stepped_with(self, scheduler: Any) -> bool:
        """Return whether the optimizer of a scheduler took part in the last step."""
        return id(getattr(scheduler, "optimizer", None)) in self._stepped

    def manual_backward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the steps of named optimizers only return their loss."""
        self._refuse("manual_backward")

    def toggle(self, optimizer: Optimizer) -> NoReturn:
        """Refuse: the parameters of other optimizers are switched off already."""
        self._refuse("toggle_optimizer")

    def untoggle(self, optimizer: Optimizer) -> NoReturn:
        """Refuse: the parameters of other optimizers are switched off already."""
        self._refuse("untoggle_optimizer")

    def _refuse(self, method: str) -> NoReturn:
        raise MisconfigurationException(
            f"`{method}` belongs to manual optimization, but `configure_optimizers` named several optimizers for "
            "automatic optimization; leave it out, or set `self.automatic_optimization = False` in `__init__`"
        )


def _step_of(module: LightningModule, named: NamedOptimizer) -> Callable[..., Any]:
    """Return an optimizer's step function.

    Raises:
        MisconfigurationException: the module has none.
    """
    step = f"training_step_{named.name}" if named.step is None else named.step
    found = getattr(module, step, None) if isinstance(step, str) else step
    if not callable(found):
        methods = [name for name in dir(type(module)) if "step" in name and not name.startswith("_")]
        raise MisconfigurationException(
            f"the optimizer {named.name!r} has no step function: `{type(module).__name__}` defines no `{step}`"
            f"{nearest(str(step), methods)}; define `{step}(self, batch, batch_idx)`, which returns its loss, or name "
            "another method as 'step'"
        )
    if takes_dataloader_iter(found):
        raise MisconfigurationException(
            f"the step {step!r} of the optimizer {named.name!r} takes `dataloader_iter`, but several optimizers share "
            f"a batch; define `{step}(self, batch, batch_idx)`, or fetch and step by hand in `training_step`"
        )
    return found  # type: ignore[no-any-return]


def _is_multiple(frequency: int, number: int) -> bool:
    return number % frequency == 0


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
