"""Watch: histograms of a module's gradients and parameters, taken while it trains."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fulmen.errors import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.logger import Logger

_CHOICES = ("gradients", "parameters", "all", None)

#: logger -> what it watches
_watches: weakref.WeakKeyDictionary[Logger, list[Watch]] = weakref.WeakKeyDictionary()


class Watch:
    """Hooks on a module's parameters that log every so many backward passes, from the first on.

    Args:
        logger: where to; it must have ``log_histogram``.
        model: the module.
        log: ``"gradients"``, ``"parameters"``, ``"all"``, or ``None`` for neither.
        log_freq: backward passes from one histogram of a parameter to its next.

    Raises:
        MisconfigurationException: an argument cannot work.
    """

    def __init__(self, logger: Logger, model: nn.Module, log: str | None, log_freq: int) -> None:
        from fulmen.logger import LogsHistograms

        if log not in _CHOICES:
            raise MisconfigurationException(f"`log` must be one of {_CHOICES}, but is {log!r}")
        if isinstance(log_freq, bool) or not isinstance(log_freq, int) or log_freq < 1:
            raise MisconfigurationException(f"`log_freq` must be a whole number >= 1, but is {log_freq!r}")
        if not isinstance(logger, LogsHistograms):
            raise MisconfigurationException(
                f"{type(logger).__name__} cannot show histograms, so it cannot watch a module; use one that can, such "
                "as TensorBoardLogger"
            )
        self.model = model
        self._logger = weakref.ref(logger)
        self._log_freq = log_freq
        self._handles = []
        if log is not None:
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    hook = self._hook(name, log in ("gradients", "all"), log in ("parameters", "all"))
                    self._handles.append(parameter.register_post_accumulate_grad_hook(hook))
        _watches.setdefault(logger, []).append(self)

    def stop(self) -> None:
        """Log no more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, name: str, gradients: bool, parameters: bool) -> Callable[[Tensor], None]:
        passes = 0

        def log(parameter: Tensor) -> None:
            nonlocal passes
            passes += 1
            logger: Any = self._logger()
            if logger is None or (passes - 1) % self._log_freq:
                return
            if gradients and parameter.grad is not None and parameter.numel():
                logger.log_histogram(f"gradients/{name}", _held(parameter.grad))
            if parameters and parameter.numel():
                logger.log_histogram(f"parameters/{name}", _held(parameter))

        return log


def _held(tensor: Any) -> Any:
    """Return the values of a tensor that this process holds."""
    if tensor.is_sparse:
        return tensor.coalesce().values()
    # A sharded one; its class is not imported for the question.
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def stop_watching(logger: Logger, model: nn.Module | None) -> None:
    """End all that a logger watches, or what it watches of one module."""
    watches = _watches.get(logger, [])
    for watch in list(watches):
        if model is None or watch.model is model:
            watch.stop()
            watches.remove(watch)
