"""Several optimizers in turn, as ``training_step(self, batch, batch_idx, optimizer_idx)`` had them.

What ``configure_optimizers`` returned becomes today's named form: ``optimizer_0``, ``optimizer_1``, ..., each with
``training_step`` for its number. Without frequencies every optimizer steps on every batch; with them, as in
``{"optimizer": critic, "frequency": 5}, {"optimizer": generator, "frequency": 1}``, each has so many batches in a row.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from fulmen.advice import code_of
from fulmen.legacy.adapted import Adapted, argument_names, required_count
from fulmen.legacy.spelling import say_old

PREFIX = "optimizer_"


class Alternating:
    """Gives each optimizer its turn, and knows whose turn it is.

    Args:
        module: a module whose ``training_step`` takes the number of an optimizer.
    """

    def __init__(self, module: Any, adapted: Adapted) -> None:
        self._module = module
        #: the number of the optimizer whose turn it is
        self.index = 0
        step = module.training_step
        names = argument_names(step)
        self._keyword = next((name for name in names[2:] if _is_index(name)), None)
        if self._keyword is None:
            return
        self._configure = module.configure_optimizers
        self._needs_index = names.index(self._keyword) < required_count(step)
        adapted.replace(module, "configure_optimizers", self._named)
        adapted.replace(module, "training_step", self._step_of(step, 0) if self._needs_index else step)
        self._step = step

    def _named(self) -> Any:
        """Return what the module's ``configure_optimizers`` returns; several optimizers by name."""
        configured = self._configure()
        entries = _entries(configured)
        if len(entries) < 2:
            return configured
        say_old(
            "FUL110",
            f"`training_step(self, batch, batch_idx, {self._keyword})` with {len(entries)} optimizers",
            "`configure_optimizers` returning them by name, {'generator': ..., 'critic': ...}, and one "
            "`training_step_NAME` for each",
            code_of(self._step),
        )
        frequencies = [entry.get("frequency") for entry in entries]
        in_rows = any(frequency is not None for frequency in frequencies)
        lengths = [frequency or 1 for frequency in frequencies]
        ends = list(itertools.accumulate(lengths))
        named = {}
        for index, entry in enumerate(entries):
            settings = {"optimizer": entry["optimizer"], "step": self._step_of(self._step, index)}
            if entry.get("lr_scheduler") is not None:
                settings["lr_scheduler"] = entry["lr_scheduler"]
            if entry.get("monitor") is not None:
                settings["monitor"] = entry["monitor"]
            if in_rows:
                first, last = ends[index] - lengths[index] + 1, ends[index]
                settings["due"] = functools.partial(_is_in_row, length=ends[-1], first=first, last=last)
            named[f"{PREFIX}{index}"] = settings
        return named

    def _step_of(self, step: Callable[..., Any], index: int) -> Callable[..., Any]:
        def training_step(batch: Any, batch_idx: int) -> Any:
            self.index = index
            return step(batch, batch_idx, **{str(self._keyword): index})

        return training_step


def _is_index(name: str) -> bool:
    return name.startswith(("optimizer", "opt")) and name.endswith(("idx", "_i", "index", "id"))


def _is_in_row(number: int, length: int, first: int, last: int) -> bool:
    """Return whether the step of this number falls to an optimizer that has a part of each ``length`` steps."""
    return first <= (number - 1) % length + 1 <= last


def _entries(configured: Any) -> list[dict[str, Any]]:
    """Return each optimizer with its schedulers and frequency."""
    if not isinstance(configured, (list, tuple)):
        return []
    if configured and all(isinstance(item, Mapping) and "optimizer" in item for item in configured):
        return [dict(item) for item in configured]
    if len(configured) == 2 and isinstance(configured[0], (list, tuple)):
        entries = [{"optimizer": optimizer, "lr_scheduler": []} for optimizer in configured[0]]
        for scheduler in configured[1]:
            of = getattr(scheduler["scheduler"] if isinstance(scheduler, Mapping) else scheduler, "optimizer", None)
            owner = next((entry for entry in entries if entry["optimizer"] is of), entries[0])
            owner["lr_scheduler"].append(scheduler)
        return entries
    return [{"optimizer": optimizer} for optimizer in configured if hasattr(optimizer, "param_groups")]
