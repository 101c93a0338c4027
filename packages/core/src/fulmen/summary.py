"""What a model is made of: its layers, their parameters, sizes and operations, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from fulmen.errors import MisconfigurationException
from fulmen.flops import counting_flops

_MODE_WORDS = {True: "train", False: "eval"}
_UNKNOWN = "?"


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a model."""

    name: str  #: its path from the model, such as ``encoder.0``
    type: str  #: its class's name
    num_parameters: int  #: its own and its children's, each counted once
    is_trainable: bool | None  #: whether all, none or (``None``) some of its parameters are trained; True without any
    training: bool  #: its mode: ``train()`` or ``eval()``
    in_size: Any = _UNKNOWN  #: the shape of its input, nested as that is; ``?`` where it was not called
    out_size: Any = _UNKNOWN  #: the shape of its output
    flops: int = 0  #: floating-point operations of one pass, those of its children included


class ModelSummary:
    """The layers of a model and its totals; ``str()`` of it is a table.

    A model with an ``example_input_array`` is called with it once, for the shapes and operations of its layers: in
    evaluation mode, without gradients, with random states and modes given back. Lazy layers get their sizes by that.

    Args:
        model: what to look at, a ``LightningModule`` or any other.
        max_depth: how many levels of nested layers to list: 0 for the totals only, -1 for all levels.

    Raises:
        MisconfigurationException: ``max_depth`` is below -1, or ``forward`` cannot be called with the example.
    """

    def __init__(self, model: nn.Module, max_depth: int = 1) -> None:
        if isinstance(max_depth, bool) or not isinstance(max_depth, int) or max_depth < -1:
            raise MisconfigurationException(f"`max_depth` must be >= -1, but is {max_depth}; -1 lists all layers")
        self.max_depth = max_depth
        listed = _listed(model, max_depth)
        #: whether the model was called with its example, so that shapes and operations are known
        self.has_shapes = getattr(model, "example_input_array", None) is not None
        calls = _call_with_example(model, dict(listed)) if self.has_shapes else _Calls()
        #: floating-point operations of one pass through the model; 0 where it was not called
        self.total_flops = calls.total_flops
        #: layer -> operation -> floating-point operations of one pass
        self.flop_counts: dict[str, dict[Any, int]] = {name: calls.flops.get(name, {}) for name, _ in listed}
        #: the layers that are listed
        self.layers: tuple[LayerSummary, ...] = tuple(_layer(name, layer, calls) for name, layer in listed)
        parameters = list(model.parameters())
        #: the number of parameters that are trained, shared ones counted once
        self.trainable_parameters = sum(_numel(p) for p in parameters if p.requires_grad)
        #: the number of parameters that are frozen
        self.non_trainable_parameters = sum(_numel(p) for p in parameters if not p.requires_grad)
        #: what all parameters take up in memory
        self.parameter_bytes = sum(_numel(p) * p.element_size() for p in parameters if _is_initialized(p))
        covered = {id(parameter) for _, layer in listed for parameter in layer.parameters()}
        #: parameters that the model holds itself, outside all layers that are listed
        self.own_parameters = sum(_numel(p) for p in parameters if id(p) not in covered) if listed else 0
        #: whether there are lazy layers, which count as 0 until a first batch gives them their sizes
        self.has_uninitialized = not all(_is_initialized(p) for p in parameters)
        modes = [layer.training for layer in model.modules()][1:]
        #: how many layers are in each mode, nested ones included and the model itself not
        self.total_training_modes = {"train": sum(modes), "eval": len(modes) - sum(modes)}

    @property
    def modules_in_train_mode(self) -> int:
        """How many layers are in train mode."""
        return self.total_training_modes["train"]

    @property
    def modules_in_eval_mode(self) -> int:
        """How many layers are in eval mode."""
        return self.total_training_modes["eval"]

    @property
    def total_parameters(self) -> int:
        """The number of all parameters, shared ones counted once."""
        return self.trainable_parameters + self.non_trainable_parameters

    @property
    def total_layer_params(self) -> int:
        """The sum over the layers that are listed; nested ones count in each."""
        return sum(self.param_nums)

    @property
    def model_size(self) -> float:
        """What all parameters take up in memory, in MB (10^6 bytes)."""
        return self.parameter_bytes / 1e6

    @property
    def layer_names(self) -> list[str]:
        """The path of each layer from the model."""
        return [layer.name for layer in self.layers]

    @property
    def layer_types(self) -> list[str]:
        """The name of each layer's class."""
        return [layer.type for layer in self.layers]

    @property
    def param_nums(self) -> list[int]:
        """The number of parameters of each layer."""
        return [layer.num_parameters for layer in self.layers]

    @property
    def training_modes(self) -> list[bool]:
        """Whether each layer is in train mode."""
        return [layer.training for layer in self.layers]

    @property
    def in_sizes(self) -> list[Any]:
        """The shape of each layer's input, nested as that is; ``?`` where it was not called."""
        return [layer.in_size for layer in self.layers]

    @property
    def out_sizes(self) -> list[Any]:
        """The shape of each layer's output."""
        return [layer.out_size for layer in self.layers]

    def __str__(self) -> str:
        return format_summary(self)

    __repr__ = __str__


def summarize(module: nn.Module, max_depth: int = 1) -> ModelSummary:
    """Look at the layers and parameters of ``module``; see :class:`ModelSummary`."""
    return ModelSummary(module, max_depth)


def format_summary(summary: ModelSummary) -> str:
    """Return a summary as a table of text, numbers aligned to the right, with the totals below."""
    columns = ["Layer", "Type", "Params", "Mode", "FLOPs", "In sizes", "Out sizes"]
    rows = [
        [
            layer.name,
            layer.type,
            _count(layer.num_parameters),
            _state(layer),
            _count(layer.flops),
            str(layer.in_size),
            str(layer.out_size),
        ]
        for layer in summary.layers
    ]
    if rows and summary.own_parameters:
        rows.append(["(the model itself)", "", _count(summary.own_parameters), "", "", "", ""])
    shown = len(columns) if summary.has_shapes else 4
    lines = _aligned([columns[:shown], *(row[:shown] for row in rows)]) if rows else []
    in_train, in_eval = summary.modules_in_train_mode, summary.modules_in_eval_mode
    totals = [
        (_count(summary.trainable_parameters), "trainable parameters"),
        (_count(summary.non_trainable_parameters), "non-trainable parameters"),
        (_count(summary.total_parameters), f"parameters in all: {_megabytes(summary.model_size)} MB"),
        (f"{in_train + in_eval}  ", f"layers: {in_train} in train mode, {in_eval} in eval mode"),
    ]
    if summary.has_shapes:
        totals.append((_count(summary.total_flops), "FLOPs in one pass of the example"))
    width = max(len(number) for number, _ in totals)
    lines += [f"{number:>{width}}  {label}" for number, label in totals]
    if summary.has_uninitialized:
        lines.append("Lazy layers count as 0 until the first batch gives them their sizes.")
    return "\n".join(lines)


def human_readable_count(number: int) -> str:
    """Return a count in at most three digits before the unit: 123, 1.5 K, 12.3 M, 7.0 B, 1.2 T."""
    value = float(number)
    for unit in ("", " K", " M", " B"):
        # 999,950 is 1.0 M, not 1000.0 K.
        if value < (1000 if not unit else 999.95):
            return f"{number}" if not unit else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:,.1f} T"


def shape_of(value: Any) -> Any:
    """Return the shapes of what a layer takes or gives, nested as that is; ``?`` where there is no tensor."""
    if isinstance(value, Tensor):
        return list(value.shape)
    if isinstance(value, (list, tuple)):
        return [shape_of(item) for item in value]
    if isinstance(value, Mapping):
        return {key: shape_of(item) for key, item in value.items()}
    return list(value.shape) if hasattr(value, "shape") else _UNKNOWN


# ---------------------------------------------------------------------------------------- one call of the model


class _Calls:
    """What was seen of the layers while the model was called."""

    def __init__(self) -> None:
        self.in_sizes: dict[str, Any] = {}
        self.out_sizes: dict[str, Any] = {}
        self.flops: dict[str, dict[Any, int]] = {}
        self.total_flops = 0


def _call_with_example(model: nn.Module, layers: Mapping[str, nn.Module]) -> _Calls:
    # Not with this file: it needs the machinery of training, and plug-ins import this file without that.
    from fulmen.example_input import example_arguments, undisturbed

    calls = _Calls()

    def note(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if name not in calls.in_sizes:  # a layer that is called several times is noted once
            given = (*args, *kwargs.values())
            calls.in_sizes[name] = shape_of(given[0] if len(given) == 1 else given)
            calls.out_sizes[name] = shape_of(output)

    handles = [
        layer.register_forward_hook(
            lambda _, args, kwargs, output, name=name: note(name, args, kwargs, output), with_kwargs=True
        )
        for name, layer in layers.items()
        if not isinstance(layer, torch.jit.ScriptModule)
    ]
    try:
        args, kwargs = example_arguments(model)
        with undisturbed(model), counting_flops() as counter:
            model(*args, **kwargs)
    except Exception as error:
        raise MisconfigurationException(
            f"`{type(model).__name__}.forward` cannot be called with its `example_input_array` "
            f"({shape_of(getattr(model, 'example_input_array', None))}): {type(error).__name__}: {error}; set it to an "
            "argument of `forward`, a tuple of them or a dict of keyword arguments, or to None"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    prefix = f"{type(model).__name__}."
    calls.flops = {str(name).removeprefix(prefix): dict(counts) for name, counts in counter.get_flop_counts().items()}
    calls.total_flops = counter.get_total_flops()
    return calls


# ---------------------------------------------------------------------------------------------------- layers


def _listed(model: nn.Module, max_depth: int) -> list[tuple[str, nn.Module]]:
    if max_depth == 0:
        return []
    if max_depth == 1:
        return list(model.named_children())
    return [
        (name, layer)
        for name, layer in model.named_modules()
        if name and (max_depth == -1 or name.count(".") < max_depth)
    ]


def _layer(name: str, module: nn.Module, calls: _Calls) -> LayerSummary:
    parameters = list(module.parameters())
    trained = {parameter.requires_grad for parameter in parameters}
    return LayerSummary(
        name=name,
        type=type(module).__name__,
        num_parameters=sum(_numel(parameter) for parameter in parameters),
        is_trainable=None if len(trained) > 1 else trained != {False},
        training=module.training,
        in_size=calls.in_sizes.get(name, _UNKNOWN),
        out_size=calls.out_sizes.get(name, _UNKNOWN),
        flops=sum(calls.flops.get(name, {}).values()),
    )


def _state(layer: LayerSummary) -> str:
    word = _MODE_WORDS[layer.training]
    if layer.is_trainable is None:
        return f"{word}, partly frozen"
    return word if layer.is_trainable else f"{word}, frozen"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines of equal columns; the numbers, columns 2 and 4, stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if number in (2, 4) else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:], rule]


def _count(number: int) -> str:
    """Return a count with room for a unit, so that digits stand below digits."""
    text = human_readable_count(number)
    return text if text[-1].isalpha() else f"{text}  "


def _megabytes(size: float) -> str:
    return f"{size:,.1f}" if size >= 1 else f"{size:.3f}"


def _is_initialized(parameter: nn.Parameter) -> bool:
    return not isinstance(parameter, UninitializedParameter)


def _numel(parameter: nn.Parameter) -> int:
    return parameter.numel() if _is_initialized(parameter) else 0
