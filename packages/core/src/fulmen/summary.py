"""What a model is made of: its layers, their parameters and their size, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import UninitializedParameter

from fulmen.errors import MisconfigurationException

_MODE_WORDS = {True: "train", False: "eval"}


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a model."""

    name: str  #: its path from the model, such as ``encoder.0``
    type: str  #: its class's name
    num_parameters: int  #: its own and its children's, each counted once
    is_trainable: bool | None  #: whether all, none or (``None``) some of its parameters are trained; True without any
    training: bool  #: its mode: ``train()`` or ``eval()``


@dataclass(frozen=True)
class ModelSummary:
    """The layers of a model and its totals; ``str()`` of it is a table. Made by :func:`summarize`."""

    layers: tuple[LayerSummary, ...]
    trainable_parameters: int
    non_trainable_parameters: int
    parameter_bytes: int  #: what all parameters take up in memory
    modules_in_train_mode: int
    modules_in_eval_mode: int
    own_parameters: int = 0  #: those that the model holds itself, outside all layers that are listed
    has_uninitialized: bool = False  #: lazy layers, whose sizes the first batch decides, count as 0

    @property
    def total_parameters(self) -> int:
        """The number of all parameters, shared ones counted once."""
        return self.trainable_parameters + self.non_trainable_parameters

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

    def __str__(self) -> str:
        return format_summary(self)


def summarize(module: nn.Module, max_depth: int = 1) -> ModelSummary:
    """Look at the layers and parameters of ``module``.

    Args:
        module: the model.
        max_depth: how many levels of nested layers to list: 0 for the totals only, -1 for all levels.

    Raises:
        MisconfigurationException: ``max_depth`` is below -1.
    """
    if max_depth < -1:
        raise MisconfigurationException(f"`max_depth` must be >= -1, but is {max_depth}; -1 lists all layers")
    parameters = list(module.parameters())
    listed = [
        (name, child)
        for name, child in module.named_modules()
        if name and (max_depth == -1 or name.count(".") < max_depth)
    ]
    covered = {id(parameter) for _, child in listed for parameter in child.parameters()}
    modes = [child.training for name, child in module.named_modules() if name]
    return ModelSummary(
        layers=tuple(_layer(name, child) for name, child in listed),
        trainable_parameters=sum(_numel(p) for p in parameters if p.requires_grad),
        non_trainable_parameters=sum(_numel(p) for p in parameters if not p.requires_grad),
        parameter_bytes=sum(_numel(p) * p.element_size() for p in parameters if _is_initialized(p)),
        modules_in_train_mode=sum(modes),
        modules_in_eval_mode=len(modes) - sum(modes),
        own_parameters=sum(_numel(p) for p in parameters if id(p) not in covered) if listed else 0,
        has_uninitialized=not all(_is_initialized(p) for p in parameters),
    )


def format_summary(summary: ModelSummary) -> str:
    """Return a summary as a table of text, numbers aligned to the right, with the totals below."""
    rows = [(layer.name, layer.type, _count(layer.num_parameters), _state(layer)) for layer in summary.layers]
    if rows and summary.own_parameters:
        rows.append(("(the model itself)", "", _count(summary.own_parameters), ""))
    lines = _aligned([("Layer", "Type", "Params", "Mode"), *rows]) if rows else []
    in_train, in_eval = summary.modules_in_train_mode, summary.modules_in_eval_mode
    totals = [
        (_count(summary.trainable_parameters), "trainable parameters"),
        (_count(summary.non_trainable_parameters), "non-trainable parameters"),
        (_count(summary.total_parameters), f"parameters in all: {_megabytes(summary.model_size)} MB"),
        (f"{in_train + in_eval}  ", f"layers: {in_train} in train mode, {in_eval} in eval mode"),
    ]
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


def _layer(name: str, module: nn.Module) -> LayerSummary:
    parameters = list(module.parameters())
    trained = {parameter.requires_grad for parameter in parameters}
    return LayerSummary(
        name=name,
        type=type(module).__name__,
        num_parameters=sum(_numel(parameter) for parameter in parameters),
        is_trainable=None if len(trained) > 1 else trained != {False},
        training=module.training,
    )


def _state(layer: LayerSummary) -> str:
    word = _MODE_WORDS[layer.training]
    if layer.is_trainable is None:
        return f"{word}, partly frozen"
    return word if layer.is_trainable else f"{word}, frozen"


def _aligned(rows: list[tuple[str, str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip() for row in rows]
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
