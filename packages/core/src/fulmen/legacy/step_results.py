"""``pl.TrainResult`` and ``pl.EvalResult`` of Lightning 0.9: what a step returned, with what it logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen.legacy.spelling import say_old

#: arguments of `log` that mean today what they meant
_KEPT = ("prog_bar", "logger", "on_step", "on_epoch", "sync_dist")
_REDUCTIONS = {torch.mean: "mean", torch.sum: "sum", torch.max: "max", torch.min: "min"}


class Result(dict[str, Any]):
    """A dictionary of what a step returned, whose keys are attributes too, and the values that it logged.

    Args:
        minimize: the loss.
        early_stop_on: what ``EarlyStopping("early_stop_on")`` looks at.
        checkpoint_on: what ``ModelCheckpoint(monitor="checkpoint_on")`` looks at.
        hiddens: the state of truncated backpropagation that the next part of the batch gets.
    """

    _on_step, _on_epoch = False, True

    def __init__(
        self,
        minimize: Tensor | None = None,
        early_stop_on: Tensor | None = None,
        checkpoint_on: Tensor | None = None,
        hiddens: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        say_old("FUL106", f"`pl.{name}`", "`self.log(...)` for each value, and return the loss")
        self.__dict__["_logged"] = []
        if minimize is not None:
            self["loss"] = minimize
        if hiddens is not None:
            self["hiddens"] = hiddens
        for key, value in (("early_stop_on", early_stop_on), ("checkpoint_on", checkpoint_on)):
            if value is not None:
                self._logged.append((key, value, {"logger": False, "on_step": self._on_step, "on_epoch": True}))

    def __getattr__(self, name: str) -> Any:
        if name == "minimize":
            return self.get("loss")
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"`{type(self).__name__}` has no {name!r}; it has: {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self["loss" if name == "minimize" else name] = value

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = torch.mean,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Log a value when this result is returned; arguments as in ``LightningModule.log``."""
        self[name] = value
        arguments = {
            "prog_bar": prog_bar,
            "logger": None if logger else False,
            "on_step": self._on_step if on_step is None else on_step,
            "on_epoch": self._on_epoch if on_epoch is None else on_epoch,
            "reduce_fx": _REDUCTIONS.get(reduce_fx, reduce_fx),
        }
        arguments.update({key: value for key, value in kwargs.items() if key in _KEPT})
        self._logged.append((name, value, arguments))

    def log_dict(self, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Log several values."""
        for name, value in dictionary.items():
            self.log(name, value, *args, **kwargs)

    def log_into(self, module: Any) -> None:
        """Log what was collected; in an epoch's end hook all of it is over the epoch."""
        at_end = module._results.scope.hook.endswith(("_epoch_end", "_end"))
        for name, value, arguments in self._logged:
            changes = {"on_step": False, "on_epoch": True} if at_end else {}
            module.log(name, value, **{**arguments, **changes})

    @classmethod
    def stacked(cls, results: Sequence[Mapping[str, Any]]) -> Result:
        """Return one result whose values are those of all, stacked where they are numbers."""
        merged = cls.__new__(cls)
        merged.__dict__["_logged"] = []
        for key in {key: None for result in results for key in result}:
            values = [result[key] for result in results if key in result]
            if all(isinstance(value, (Tensor, int, float)) for value in values):
                tensors = [torch.as_tensor(value) for value in values]
                merged[key] = torch.stack(tensors) if tensors[0].ndim == 0 else torch.cat(tensors)
            else:
                merged[key] = values
        return merged


class TrainResult(Result):
    """What ``training_step`` returned; logs per step by default."""

    _on_step, _on_epoch = True, False


class EvalResult(Result):
    """What ``validation_step`` and ``test_step`` returned; logs over the epoch by default."""
