"""``Trainer(auto_lr_find=..., auto_scale_batch_size=...)``, ``trainer.tune`` and ``trainer.tuner`` of Lightning 1.x."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fulmen.errors import MisconfigurationException

#: the old arguments of the Trainer, each with the modern line; nothing happens until `tune` is called
MODERN_LINES = {
    "auto_lr_find": "`Tuner(trainer).lr_find(model)`",
    "auto_scale_batch_size": "`Tuner(trainer).scale_batch_size(model)`",
}


def tune_of(trainer: Any) -> Callable[..., dict[str, Any]]:
    """Return ``trainer.tune``, which does what the two arguments asked for."""

    def tune(
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        scale_batch_size_kwargs: dict[str, Any] | None = None,
        lr_find_kwargs: dict[str, Any] | None = None,
        train_dataloader: Any = None,
    ) -> dict[str, Any]:
        tuner, asked, found = tuner_of(trainer), trainer._carried, {}
        loaders = train_dataloaders if train_dataloaders is not None else train_dataloader
        if not asked.auto_lr_find and not asked.auto_scale_batch_size:
            raise MisconfigurationException(
                "`trainer.tune` has nothing to do: the Trainer has neither auto_lr_find=True nor "
                "auto_scale_batch_size=True; write `Tuner(trainer).lr_find(model)`, or `.scale_batch_size(model)`"
            )
        data = {"datamodule": datamodule, "train_dataloaders": loaders, "val_dataloaders": val_dataloaders}
        if asked.auto_scale_batch_size:
            word = asked.auto_scale_batch_size
            mode = {"mode": word} if isinstance(word, str) else {}
            arguments = {**mode, **(scale_batch_size_kwargs or {})}
            found["scale_batch_size"] = tuner.scale_batch_size(model, **data, **arguments)
        if asked.auto_lr_find:
            word = asked.auto_lr_find
            name = {"attr_name": word} if isinstance(word, str) else {}
            found["lr_find"] = tuner.lr_find(model, **data, **{**name, **(lr_find_kwargs or {})})
        return found

    return tune


def tuner_of(trainer: Any) -> Any:
    """Return ``trainer.tuner``."""
    from fulmen.tuner import Tuner

    return Tuner(trainer)
