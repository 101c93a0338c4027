"""Parameters that a model has under several names, such as tied weights of embedding and output layer."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def find_shared_parameters(module: nn.Module) -> list[list[str]]:
    """Return the names of each parameter that has several, such as ``[["embedding.weight", "output.weight"]]``."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return [shared for shared in names.values() if len(shared) > 1]


def set_shared_parameters(module: M, shared_params: list[list[str]]) -> M:
    """Make parameters one again that :func:`find_shared_parameters` found, after something gave each its own.

    Args:
        module: changed in place.
        shared_params: names of one parameter; that of the first name takes the place of the others.

    Returns:
        The module.

    Raises:
        AttributeError: the module has no parameter of such a name.
    """
    for first, *others in shared_params:
        parameter = module.get_parameter(first)
        for name in others:
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, parameter)
    return module
