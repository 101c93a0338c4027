"""What a logged value is at the moment of the call, whatever becomes of the object that held it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from fulmen.errors import MisconfigurationException
from fulmen.media import plain

if TYPE_CHECKING:
    from torch import Tensor

Metrics = Mapping[str, float]


def snapshot_metrics(metrics: Mapping[str, Any]) -> Metrics | Callable[[], Metrics]:
    """Return metrics as plain numbers, or what returns them once a device has sent them; never waits for it.

    Args:
        metrics: name -> number, tensor or array of one element, or a mapping of such, whose names are joined
        with
            ``/``.

    Raises:
        MisconfigurationException: a value is not one number.
    """
    numbers = dict(metrics)
    for key, value in numbers.items():  # nearly always, all are floats by now
        if (type(value) is not float and type(value) is not int) or type(key) is not str:
            break
    else:
        return numbers
    numbers = {}
    on_device: dict[str, Tensor] = {}
    for key, value in _flat(metrics):
        if hasattr(value, "detach") and value.device.type != "cpu":
            if value.numel() != 1:
                raise _not_one_number(key, value)
            on_device[key] = value
            numbers[key] = 0.0  # keeps its place
        else:
            numbers[key] = _number(key, value)
    return _deferred(numbers, on_device) if on_device else numbers


def numbers_of(metrics: Mapping[str, Any]) -> Metrics:
    """Return metrics as plain numbers, waiting for a device if need be; see :func:`snapshot_metrics`."""
    return {key: _number(key, value) for key, value in _flat(metrics)}


def snapshot_params(params: Any) -> dict[str, Any]:
    """Return hyper-parameters as a nested mapping of plain values.

    Args:
        params: a mapping, ``argparse.Namespace`` or dataclass, nested as one likes.

    Raises:
        MisconfigurationException: it is none of these.
    """
    tree = _tree(params)
    if not isinstance(tree, dict):
        raise MisconfigurationException(
            f"hyper-parameters must be a mapping, a Namespace or a dataclass, but are {params!r}; "
            "pass for example {'lr': 0.1}"
        )
    return cast("dict[str, Any]", exact(tree))


def exact(value: Any) -> Any:
    """Return a value of lists and dicts of JSON with Python's own types in place of their subclasses.

    What is delivered from memory is then the same as what is read from the journal.
    """
    return json.loads(json.dumps(value))  # keeps nan and infinities, as Python writes and reads them


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _number(key: str, value: Any) -> float:
    if not isinstance(value, (int, float)):
        if isinstance(value, (str, bytes)):
            raise _not_one_number(key, value)
        try:
            value = value.item() if hasattr(value, "item") else float(value)
        except (TypeError, ValueError, RuntimeError) as error:  # torch raises RuntimeError for many elements
            raise _not_one_number(key, value) from error
        if not isinstance(value, (int, float)):
            raise _not_one_number(key, value)
    return int(value) if isinstance(value, int) else float(value)


def _not_one_number(key: str, value: Any) -> MisconfigurationException:
    shape = getattr(value, "shape", None)
    what = f"has shape {tuple(shape)}" if shape is not None else f"is {value!r}"
    return MisconfigurationException(
        f"the metric {key!r} must be one number, but {what}; reduce it first, for example with .mean(), or "
        "log words with log_text"
    )


def _deferred(numbers: dict[str, float], on_device: Mapping[str, Tensor]) -> Metrics | Callable[[], Metrics]:
    """Start the copies to the host and return what waits for them."""
    arrive = to_host(on_device)
    return lambda: numbers | {key: copy.item() for key, copy in arrive().items()}


def to_host(tensors: Mapping[str, Tensor]) -> Callable[[], Mapping[str, Tensor]]:
    """Start copying tensors to the host, and return what waits for the copies and returns them."""
    import torch

    copies = {key: value.detach().to("cpu", non_blocking=True) for key, value in tensors.items()}
    try:
        events = []
        for device in {value.device for value in tensors.values() if value.device.type != "cpu"}:
            event = torch.Event(device=device)
            event.record(torch.accelerator.current_stream(device))
            events.append(event)
    except (RuntimeError, NotImplementedError):  # a device without events; its values are waited for
        copies = {key: value.detach().cpu() for key, value in tensors.items()}
        events = []

    def wait() -> Mapping[str, Tensor]:
        for event in events:
            event.synchronize()
        return copies

    return wait


def _tree(params: Any) -> Any:
    if isinstance(params, argparse.Namespace):
        params = vars(params)
    elif dataclasses.is_dataclass(params) and not isinstance(params, type):
        params = {entry.name: getattr(params, entry.name) for entry in dataclasses.fields(params)}
    if isinstance(params, Mapping):
        return {str(key): _tree(value) for key, value in params.items()}
    if isinstance(params, (list, tuple)):
        return [_tree(value) for value in params]
    return plain(params)
