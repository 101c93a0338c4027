"""Class methods that an object must not call: what they return would be lost."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    class_only = classmethod  # what type checkers and editors know
else:

    class class_only(classmethod):
        """A ``classmethod`` that raises ``TypeError`` when it is called on an object rather than on its class."""

        def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]:
            method = super().__get__(instance, owner)
            if instance is None:
                return method

            @functools.wraps(self.__func__)
            def on_object(*args: Any, **kwargs: Any) -> Any:
                name = f"{type(instance).__name__}.{self.__func__.__name__}"
                raise TypeError(
                    f"`{name}` was called on an object, which it would leave as it is; call it on the class and use "
                    f"what it returns: `model = {name}(...)`"
                )

            return on_object
