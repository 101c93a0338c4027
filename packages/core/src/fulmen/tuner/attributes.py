"""Where a value to tune lives: an attribute or hyper-parameter of the module, or of its data module."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fulmen.errors import MisconfigurationException


class TunedAttribute:
    """A value that a module, its hyper-parameters, a data module or its hyper-parameters have under one name.

    It is read from the last of them that has it, and written to all.

    Args:
        name: the attribute's name.
        module: the module.
        datamodule: the data module, or ``None``.
    """

    def __init__(self, name: str, module: Any, datamodule: Any) -> None:
        self.name = name
        self._holders = [
            holder
            for owner in (module, datamodule)
            if owner is not None
            for holder in (owner, owner.hparams)
            if (name in holder if isinstance(holder, MutableMapping) else hasattr(holder, name))
        ]

    @property
    def exists(self) -> bool:
        """Whether anything has it."""
        return bool(self._holders)

    @property
    def value(self) -> Any:
        """The value."""
        holder = self._holders[-1]
        return holder[self.name] if isinstance(holder, MutableMapping) else getattr(holder, self.name)

    @value.setter
    def value(self, value: Any) -> None:
        for holder in self._holders:
            if isinstance(holder, MutableMapping):
                holder[self.name] = value
            else:
                setattr(holder, self.name, value)


def learning_rate_of(module: Any, datamodule: Any, name: str = "") -> TunedAttribute:
    """Return the attribute that holds the learning rate: ``name``, or else ``lr`` or ``learning_rate``.

    Raises:
        MisconfigurationException: neither module nor hyper-parameters have it.
    """
    for candidate in (name,) if name else ("lr", "learning_rate"):
        found = TunedAttribute(candidate, module, datamodule)
        if found.exists:
            return found
    if name:
        raise MisconfigurationException(
            f"`attr_name={name!r}`: neither `{type(module).__name__}` nor its hparams have {name!r}; name what "
            "`configure_optimizers` takes the learning rate from"
        )
    raise MisconfigurationException(
        f"`{type(module).__name__}` has neither `lr` nor `learning_rate`, nor have its hparams, so the learning rate "
        "found would have no effect; name the attribute with attr_name=..., or use update_attr=False"
    )
