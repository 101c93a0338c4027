"""Attributes and methods of LightningModule by the names that they had in Lightning 0.x and 1.x.

They are given to the class when the first program runs that uses one of them; modern programs never see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fulmen.advice import code_of
from fulmen.callback import ProgressBar
from fulmen.legacy.adapted import Adapted
from fulmen.legacy.hooks import OldHooks
from fulmen.legacy.spelling import say_old


class _OldName:
    """An attribute that a program may still set on its own objects."""

    def __init__(self, name: str, get: Callable[[Any], Any], modern: str) -> None:
        self._name, self._get, self._modern = name, get, modern

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        if module is None:
            return self
        say_old("FUL107", f"`self.{self._name}`", self._modern)
        return self._get(module)


def _progress_bar_dict(module: Any) -> Callable[[], dict[str, Any]]:
    def get_progress_bar_dict() -> dict[str, Any]:
        loss = getattr(module.trainer, "_newest_loss", None)
        version = getattr(module.logger, "version", None)
        items: dict[str, Any] = {} if loss is None else {"loss": f"{float(loss):.3g}"}
        return items if version is None else {**items, "v_num": version}

    return get_progress_bar_dict


def _summarize(module: Any) -> Callable[..., Any]:
    def summary(mode: str | None = "top", max_depth: int | None = None) -> Any:
        from fulmen.summary import summarize

        depth = max_depth if max_depth is not None else -1 if mode == "full" else 1
        return summarize(module, max_depth=depth)

    return summary


def _grad_norm(module: Any) -> Callable[..., Any]:
    def norms(norm_type: float | str) -> dict[str, Any]:
        from fulmen.gradients import grad_norm

        return {**grad_norm(module, norm_type)}

    return norms


_BAR_MODERN = "a TQDMProgressBar of your own with `get_metrics(self, trainer, pl_module)`"
_NAMES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "use_dp": (lambda module: False, "nothing: it is never so"),
    "use_ddp": (lambda module: module.trainer.world_size > 1, "`self.trainer.world_size > 1`"),
    "use_ddp2": (lambda module: False, "nothing: it is never so"),
    "use_tpu": (lambda module: False, "nothing: it is never so"),
    "on_tpu": (lambda module: False, "nothing: it is never so"),
    "use_amp": (lambda module: "mixed" in module.trainer.precision, "`'mixed' in self.trainer.precision`"),
    "datamodule": (lambda module: module.trainer.datamodule, "`self.trainer.datamodule`"),
    "get_progress_bar_dict": (_progress_bar_dict, _BAR_MODERN),
    "get_tqdm_dict": (_progress_bar_dict, _BAR_MODERN),
    "summarize": (_summarize, "`fulmen.summary.summarize(module, max_depth=...)`"),
    "grad_norm": (_grad_norm, "`fulmen.utilities.grad_norm(module, norm_type)`"),
}


def give_names(module: Any, words: Iterable[str]) -> None:
    """Give ``LightningModule`` those of the old names that a program's code has among its words."""
    from fulmen.module import LightningModule

    for name in _NAMES.keys() & set(words):
        if not hasattr(LightningModule, name):
            setattr(LightningModule, name, _OldName(name, *_NAMES[name]))


def adapt_bar(trainer: Any, module: Any, adapted: Adapted, hooks: OldHooks, callbacks: Iterable[Any]) -> None:
    """Let the progress bar show what a module's own ``get_progress_bar_dict`` says."""
    own = [name for name in ("get_progress_bar_dict", "get_tqdm_dict") if name in _user_attributes(module)]
    if not own:
        return
    get = getattr(module, own[0])
    say_old("FUL107", f"`{type(module).__name__}.{own[0]}`", _BAR_MODERN, code_of(get))

    def note_loss(trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        trainer._newest_loss = outputs.get("loss") if isinstance(outputs, dict) else None

    hooks.call("on_train_batch_end", note_loss)
    for bar in callbacks:
        if isinstance(bar, ProgressBar) and hasattr(bar, "get_metrics"):
            adapted.replace(bar, "get_metrics", lambda trainer, _: {**get(), **trainer.progress_bar_metrics})


def _user_attributes(module: Any) -> set[str]:
    from fulmen.module import LightningModule

    own = [cls for cls in type(module).__mro__ if cls not in LightningModule.__mro__]
    return {name for cls in own for name in vars(cls)}
