"""Parameter groups that join an optimizer in training, and the learning-rate schedulers that do not know them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

#: Lists with an entry for each group that torch's schedulers keep: rates, which go with the group's own, and the rest.
_RATES = ("base_lrs", "max_lrs", "_last_lr")
_OTHERS = ("lr_lambdas", "min_lrs", "base_momentums", "max_momentums")
#: What torch's schedulers keep in the groups themselves.
_GROUP_RATES = ("initial_lr", "max_lr", "min_lr", "swa_lr")
_GROUP_OTHERS = ("base_momentum", "max_momentum")


def serve_new_groups(scheduler: Any) -> None:
    """Let a scheduler serve the groups of its optimizer that came after it was made.

    A new group gets the first group's schedule, at the ratio that its rate has to the first group's now. Without this,
    torch's schedulers raise at their next step, or leave the group out.
    """
    for part in getattr(scheduler, "_schedulers", ()):  # of SequentialLR and ChainedScheduler
        serve_new_groups(part)
    first, *others = scheduler.optimizer.param_groups
    for number, group in enumerate(others, start=1):
        rate, other = float(first["lr"]), float(group["lr"])
        ratio = other / rate if rate else 1.0
        for name in _RATES:
            values = getattr(scheduler, name, None)
            if isinstance(values, list) and len(values) == number:
                values.append(values[0] * ratio)
        for name in _OTHERS:
            values = getattr(scheduler, name, None)
            if isinstance(values, list) and len(values) == number:
                values.append(values[0])
        for name in _GROUP_RATES:
            if name in first and name not in group:
                value = first[name]
                group[name] = value.clone() * ratio if isinstance(value, Tensor) else value * ratio
        for name in _GROUP_OTHERS:
            if name in first and name not in group:
                group[name] = first[name]
