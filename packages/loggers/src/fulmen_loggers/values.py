"""What users and core hand to a logger, in the shapes that trackers take."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fulmen.media import plain


def scalar(key: str, value: Any) -> float:
    """Return a number, a numpy scalar or a tensor of one element as a float; whole numbers stay whole.

    Raises:
        TypeError: the value is none of these, so no tracker can draw it.
    """
    if type(value) is int:
        return value
    if not isinstance(value, (str, bytes)):
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            pass
    raise TypeError(
        f"metric {key!r} must be a number or a tensor of one element, but is {value!r} "
        f"({type(value).__name__}); log words with log_text and several numbers under several names"
    )


def with_prefix(prefix: str, key: str) -> str:
    """Return ``prefix-key``, or ``key`` where there is no prefix."""
    return f"{prefix}-{key}" if prefix else key


def scalars(metrics: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return all metrics of a step as floats under their prefixed names."""
    return {with_prefix(prefix, key): scalar(key, value) for key, value in metrics.items()}


def plain_params(params: Mapping[str, Any] | Namespace) -> dict[str, Any]:
    """Return hyper-parameters as nested dictionaries of plain values."""
    nested: dict[str, Any] = plain(vars(params) if isinstance(params, Namespace) else params)
    return nested


def flatten(params: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with keys such as ``optimizer/lr``."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        path = f"{parent}/{key}" if parent else str(key)
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, path))
        else:
            flat[path] = value
    return flat


def write_hparams_file(folder: str, params: Mapping[str, Any]) -> None:
    """Write ``hparams.yaml``; a reader sees the old or the new file, never half of one."""
    path = Path(folder) / "hparams.yaml"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True), encoding="utf-8")
    temporary.replace(path)
