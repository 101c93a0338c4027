"""Graph: which operations a model runs on which tensors, as every logger gets it (stable interface)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Node:
    """An operation, or a tensor that no operation made."""

    name: str  #: unique; before the last ``/`` stands the submodule, such as ``encoder/0/linear``
    op: str  #: the function, such as ``linear``; ``input``, ``output``, ``parameter`` or ``constant``
    inputs: tuple[str, ...] = ()  #: the names of the nodes whose tensors it takes
    shape: tuple[int, ...] | None = None  #: of its first tensor


@dataclass(frozen=True)
class Graph:
    """A model in words and, where it could be run once, as nodes in the order in which they ran."""

    text: str  #: what ``print(model)`` shows
    nodes: tuple[Node, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, model: nn.Module, input_array: Any = None) -> Graph:
        """Record one forward pass of a model, in evaluation mode and without gradients.

        Args:
            model: the module, or a ``Graph``, which is returned.
            input_array: what ``forward`` takes: a tensor; a tuple or list of arguments; or a dict of keyword arguments.
                ``None`` for the model's ``example_input_array``; where there is none either, the graph has no nodes.

        Raises:
            Exception: whatever ``forward`` raises for this input.
        """
        if isinstance(model, Graph):
            return model
        if input_array is None:
            input_array = getattr(model, "example_input_array", None)
        return cls(str(model), () if input_array is None else tuple(_trace(model, input_array)))

    def to_json(self) -> str:
        """Return the graph as text for :meth:`from_json`."""
        nodes = [[node.name, node.op, node.inputs, node.shape] for node in self.nodes]
        return json.dumps({"text": self.text, "nodes": nodes})

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Return the graph of which :meth:`to_json` returned the text."""
        fields = json.loads(text)
        nodes = [
            Node(name, op, tuple(inputs), None if shape is None else tuple(shape))
            for name, op, inputs, shape in fields["nodes"]
        ]
        return cls(fields["text"], tuple(nodes))


def _trace(model: nn.Module, input_array: Any) -> list[Node]:
    own = [*model.parameters(), *model.buffers()]
    device = own[0].device if own else torch.device("cpu")
    dtype = next((tensor.dtype for tensor in own if tensor.is_floating_point()), None)  # a model may be in bfloat16

    def fit(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype if value.is_floating_point() else None)

    given = tree_map(fit, input_array)
    args = tuple(given) if isinstance(given, (tuple, list)) else () if isinstance(given, dict) else (given,)
    kwargs = given if isinstance(given, dict) else {}
    recorder = _Recorder(model)
    for number, leaf in enumerate(tree_leaves((args, kwargs))):
        if isinstance(leaf, Tensor):
            recorder.add(f"input_{number}", "input", (), leaf)
    devices = [] if device.type != "cuda" else [device]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))  # dropout is off, but a model may draw by itself
        stack.enter_context(torch.no_grad())
        stack.enter_context(_evaluating(model))
        stack.enter_context(recorder.following_modules())
        stack.enter_context(recorder)
        output = model(*args, **kwargs)
    for number, leaf in enumerate(tree_leaves(output)):
        if isinstance(leaf, Tensor):
            recorder.add(f"output_{number}", "output", recorder.names_of(leaf), leaf)
    return recorder.nodes


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put all submodules into evaluation mode, and each back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class _Recorder(TorchFunctionMode):
    """Notes each function of torch that takes or makes tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._model = model
        self._scopes: list[str] = []
        self._taken: Counter[str] = Counter()
        self._name_of: dict[int, str] = {}
        self._kept: list[Tensor] = []  # alive, so that no other tensor gets the id of one that was seen
        self._own = {id(tensor): name.replace(".", "/") for name, tensor in _tensors_of(model)}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if made:
            inputs = [name for leaf in tree_leaves((args, kwargs)) for name in self.names_of(leaf)]
            op = _name(func)
            name = self.add("/".join([*self._scopes[-1:], op]), op, tuple(inputs), made[0])
            for tensor in made[1:]:
                self._remember(tensor, name)
        return result

    def add(self, name: str, op: str, inputs: tuple[str, ...], tensor: Tensor) -> str:
        """Add a node that made a tensor, and return its name, which gets a number where it is taken."""
        count = self._taken[name]
        self._taken[name] += 1
        unique = f"{name}_{count}" if count else name
        self.nodes.append(Node(unique, op, tuple(dict.fromkeys(inputs)), tuple(tensor.shape)))
        self._remember(tensor, unique)
        return unique

    def names_of(self, value: Any) -> tuple[str, ...]:
        """Return the name of the node that made a tensor; none for what is no tensor."""
        if not isinstance(value, Tensor):
            return ()
        if id(value) not in self._name_of:
            own = self._own.get(id(value))
            if own is not None:
                self.add(own, "parameter", (), value)
            else:
                self.add("/".join([*self._scopes[-1:], "constant"]), "constant", (), value)
        return (self._name_of[id(value)],)

    @contextmanager
    def following_modules(self) -> Iterator[None]:
        """Know, while this lasts, which submodule runs."""
        handles = []
        for path, module in self._model.named_modules():
            if path:
                scope = path.replace(".", "/")
                enter, leave = self._hooks(scope)
                handles.append(module.register_forward_pre_hook(enter))
                handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, scope: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def enter(module: nn.Module, args: Any) -> None:
            self._scopes.append(scope)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self._scopes.pop()

        return enter, leave

    def _remember(self, tensor: Tensor, name: str) -> None:
        self._name_of[id(tensor)] = name
        self._kept.append(tensor)


def _tensors_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _name(func: Callable[..., Any]) -> str:
    """Return the name of a function of torch; that of the attribute for one like ``Tensor.T``."""
    name = getattr(func, "__name__", type(func).__name__)
    return str(getattr(getattr(func, "__self__", None), "__name__", name)) if name == "__get__" else name
