"""LogCalls: which names a program can log, read from its source without running it.

It answers one question, before hours are spent: can ``val_los``, which a callback waits for, be logged at all? A name
that is written out, or fits an f-string, can. Where anything logs under a name that the source does not show, or hands
the module to code that is not found, every name can, and :attr:`LogCalls.is_complete` is ``False``.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

#: Packages whose functions log nothing through a module that they are handed; this one's own are among them.
_SILENT_PACKAGES = frozenset([*sys.stdlib_module_names, "fulmen", "torch", "numpy", "torchvision", "torchmetrics"])
_METHODS = ("log", "log_dict", "log_metrics")
_ANYTHING = ".*"


class LogCalls:
    """What a module and callbacks log.

    Args:
        objects: each with the base class whose own methods are known to log nothing.
    """

    def __init__(self, objects: Iterable[tuple[object, type]]) -> None:
        #: every string written in the code, whatever it is for
        self.strings: set[str] = set()
        #: whether all names that can be logged are known
        self.is_complete = True
        #: attributes that hold the module, the trainer or a callback
        self.attributes = {"trainer", "lightning_module", "pl_module", "_pl_module"}
        self._patterns: set[str] = set()
        self._seen: set[tuple[Any, frozenset[str]]] = set()
        self._waiting: list[tuple[Any, frozenset[str]]] = []
        for instance, base in objects:
            self._waiting += [(cls, frozenset()) for cls in type(instance).__mro__ if cls not in base.__mro__]
            for value in vars(instance).values():
                if isinstance(value, (FunctionType, MethodType)):  # a hook set on the object, or a function to call
                    self.follow(value, None)
        while self._waiting:
            self._read(*self._waiting.pop())

    def can_log(self, key: str) -> bool:
        """Return whether a call that was found can log under ``key``, forks and loader numbers included."""
        of_loader = key.partition("/dataloader_idx_")[0]
        names = {key, of_loader, of_loader.removesuffix("_step"), of_loader.removesuffix("_epoch")}
        return any(re.fullmatch(pattern, name, re.DOTALL) for pattern in self._patterns for name in names)

    @property
    def names(self) -> set[str]:
        """The names that are logged as they are written, without those that are put together."""
        return {re.sub(r"\\(.)", r"\1", pattern) for pattern in self._patterns if _ANYTHING not in pattern}

    def mentions(self, key: str) -> bool:
        """Return whether ``key`` is written anywhere in the code."""
        return key in self.strings

    # ------------------------------------------------------------------------------------------ reading

    def _read(self, owner: Any, carriers: frozenset[str]) -> None:
        """Read a class or function, some of whose arguments hold the module, and note what it hands it to."""
        if (owner, carriers) in self._seen:
            return
        self._seen.add((owner, carriers))
        codes = list(_codes_of(owner))
        for code in codes:
            self.strings.update(_strings_in(code))
        logs = any(name in _names_in(code) for code in codes for name in _METHODS)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, TypeError, SyntaxError):  # made at run time, or typed into a prompt
            self.is_complete &= not logs
            return
        visitor = _Visitor(self, owner, carriers)
        visitor.visit(tree)  # which may find further attributes that hold the module
        visitor.visit(tree)
        is_as_loaded = visitor.literals <= self.strings and logs == any(
            isinstance(node, ast.Attribute) and node.attr in _METHODS for node in ast.walk(tree)
        )
        self.is_complete &= is_as_loaded  # or the file was changed since

    def add_name(self, name: str) -> None:
        """Note a name that somebody says will be logged; ``*`` in it stands for anything."""
        self._patterns.add(re.escape(name).replace(r"\*", _ANYTHING))

    def add_pattern(self, pattern: str) -> None:
        """Note what a name looks like."""
        if pattern == _ANYTHING:
            self.is_complete = False
        else:
            self._patterns.add(pattern)

    def follow(self, callee: Any, call: ast.Call | None, carries: Callable[[ast.expr], bool] = bool) -> None:
        """Note that ``callee`` gets hold of the module, through those arguments of ``call`` that carry it."""
        callee = getattr(callee, "__func__", callee)
        callee = inspect.unwrap(callee) if callable(callee) else callee
        package = str(getattr(callee, "__module__", "") or "").partition(".")[0]
        if isinstance(callee, BuiltinFunctionType) or package in _SILENT_PACKAGES:
            return
        if not isinstance(callee, (FunctionType, type)):
            self.is_complete = False
            return
        function: Any = vars(callee).get("__init__") if isinstance(callee, type) else callee
        code = getattr(function, "__code__", None)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
        if call is not None:
            offset = int(isinstance(callee, type))
            positions = [index + offset for index, one in enumerate(call.args) if carries(one)]
            keywords = [one.arg for one in call.keywords if one.arg is not None and carries(one.value)]
            names = [*(names[index] for index in positions if index < len(names)), *keywords]
        self._waiting.append((callee, frozenset(names)))


class _Visitor(ast.NodeVisitor):
    """Finds calls of ``log``, and the calls that hand the module (or trainer, or callback) on."""

    def __init__(self, calls: LogCalls, owner: Any, given: frozenset[str]) -> None:
        self._calls = calls
        self._owner = owner
        self._given = given  # arguments of the function, or of the class' ``__init__``
        self._globals: Mapping[str, Any] = (
            vars(sys.modules.get(owner.__module__, builtins)) if isinstance(owner, type) else owner.__globals__
        )
        self._imported: dict[str, Any] = {}  # inside functions
        self._carriers: set[str] = set()
        self.literals: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        before, self._carriers = self._carriers, self._carriers | {one.arg for one in arguments if _may_carry(one.arg)}
        if isinstance(self._owner, FunctionType) or node.name == "__init__":
            self._carriers |= self._given
        self.generic_visit(node)
        self._carriers = before

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        name = "." * node.level + (node.module or "")
        module = importlib.util.resolve_name(name, self._globals.get("__package__"))
        is_silent = module.partition(".")[0] in _SILENT_PACKAGES  # whether it was imported already or not
        for alias in node.names:
            found = _logs_nothing if is_silent else getattr(sys.modules.get(module), alias.name, None)
            self._imported[alias.asname or alias.name] = found

    def visit_Call(self, node: ast.Call) -> None:
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr in _METHODS:
            if not self._is_of_a_library(func.value):
                self._note(node, func.attr)
            if not isinstance(func.value, ast.Name):
                self.visit(func.value)
        else:
            self.visit(func)
            if any(self._carries(one) for one in _arguments(node)):
                self._hand_on(node)
            writes = isinstance(func, ast.Attribute) and func.attr == "update" and _is_callback_metrics(func.value)
            if writes or _gets_a_method_of_log(node):
                self._calls.add_pattern(_ANYTHING)
        for argument in _arguments(node):
            if not isinstance(argument, ast.Name):
                self.visit(argument)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _METHODS and not self._is_of_a_library(node.value):
            self._calls.add_pattern(_ANYTHING)  # `log = self.log`
        if not isinstance(node.value, ast.Name):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not self._carries(node.value):
            self.generic_visit(node)
            return
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._carriers.add(target.id)
            elif isinstance(target, ast.Attribute):
                self._calls.attributes.add(target.attr)
            else:
                self._calls.is_complete = False

    def visit_Compare(self, node: ast.Compare) -> None:
        for one in (node.left, *node.comparators):
            if not isinstance(one, ast.Name):
                self.visit(one)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._carriers and isinstance(node.ctx, ast.Load):
            self._calls.is_complete = False  # put away under another name, or into a container

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Store) and _is_callback_metrics(node.value):
            self._add(node.slice)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        pass  # annotations log nothing

    def _note(self, node: ast.Call, method: str) -> None:
        named = next((one.value for one in node.keywords if one.arg in ("name", "dictionary")), None)
        first = node.args[0] if node.args else named
        if first is None:
            return  # `tensor.log()`
        if isinstance(first, ast.Constant) and not isinstance(first.value, str):
            return  # `logger.log(10, "...")`
        if method == "log":
            self._add(first)
        elif isinstance(first, ast.Dict):
            for key in first.keys:
                self._add(key) if key is not None else self._calls.add_pattern(_ANYTHING)
        else:
            self._calls.add_pattern(_ANYTHING)

    def _add(self, name: ast.expr) -> None:
        self.literals.update(str(one.value) for one in ast.walk(name) if isinstance(one, ast.Constant) and one.value)
        for pattern in _patterns_of(name):
            self._calls.add_pattern(pattern)

    def _carries(self, value: ast.expr) -> bool:
        """Whether an expression is the module, the trainer or a callback."""
        if isinstance(value, ast.Name):
            return value.id in self._carriers
        return isinstance(value, ast.Attribute) and value.attr in self._calls.attributes

    def _hand_on(self, node: ast.Call) -> None:
        """The module goes to a function; look there too."""
        func = node.func
        found: Any = None
        if isinstance(func, ast.Attribute) and self._is_of_a_library(func.value):
            return
        if isinstance(func, ast.Name):
            found = {**vars(builtins), **self._globals, **self._imported}.get(func.id)
        elif isinstance(func, ast.Attribute):
            if isinstance(func.value, ast.Call) and isinstance(func.value.func, ast.Name):
                if func.value.func.id == "super":
                    return  # a base class, which is read as well
            elif isinstance(func.value, ast.Name):
                if func.value.id in self._carriers:  # a method of its own, unless somebody set a function there
                    method = getattr(self._owner, func.attr, None) if isinstance(self._owner, type) else None
                    self._calls.is_complete &= method is not None
                    return
                scope = self._globals.get(func.value.id)
                found = getattr(scope, func.attr, None) if isinstance(scope, (ModuleType, type)) else None
        self._calls.follow(found, node, self._carries)

    def _is_of_a_library(self, value: ast.expr) -> bool:
        """Whether ``value.log`` is that of ``torch``, ``math`` or ``wandb``, or of a logger: no ``self.log``."""
        if isinstance(value, ast.Name):
            return isinstance(self._globals.get(value.id), ModuleType) or "log" in value.id.lower()
        return isinstance(value, ast.Attribute) and ("log" in value.attr.lower() or value.attr == "experiment")


def _logs_nothing() -> None:
    """Stands for every function of a package that is known to log nothing."""


def _is_callback_metrics(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "callback_metrics"


def _gets_a_method_of_log(node: ast.Call) -> bool:
    """Whether this may be ``getattr(self, "log")``."""
    if not isinstance(node.func, ast.Name) or node.func.id != "getattr" or len(node.args) < 2:
        return False
    return any(re.fullmatch(pattern, name) for pattern in _patterns_of(node.args[1]) for name in _METHODS)


def _may_carry(argument: str) -> bool:
    return argument in ("self", "trainer", "pl_module", "module", "model")


def _arguments(node: ast.Call) -> Iterator[ast.expr]:
    for argument in node.args:
        yield argument.value if isinstance(argument, ast.Starred) else argument
    for keyword in node.keywords:
        yield keyword.value


def _patterns_of(name: ast.expr) -> Iterator[str]:
    """Yield regular expressions of what an expression can be; ``.*`` where it can be anything."""
    if isinstance(name, ast.Constant):
        yield re.escape(str(name.value))
    elif isinstance(name, ast.JoinedStr):
        parts = [re.escape(str(one.value)) if isinstance(one, ast.Constant) else _ANYTHING for one in name.values]
        yield "".join(parts)
    elif isinstance(name, ast.IfExp):
        yield from _patterns_of(name.body)
        yield from _patterns_of(name.orelse)
    elif isinstance(name, ast.BinOp) and isinstance(name.op, ast.Add):
        for left in _patterns_of(name.left):
            for right in _patterns_of(name.right):
                yield _ANYTHING if left == right == _ANYTHING else left + right
    else:
        yield _ANYTHING


def _codes_of(owner: Any) -> Iterator[CodeType]:
    values = vars(owner).values() if isinstance(owner, type) else [owner]
    for value in values:
        for one in (value, getattr(value, "fget", None), getattr(value, "func", None)):
            one = getattr(one, "__func__", one)
            if callable(one):
                code = getattr(inspect.unwrap(one), "__code__", None)
                if isinstance(code, CodeType):
                    yield code


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _strings_in(code: CodeType) -> Iterator[str]:
    for inner in _nested(code):
        for constant in inner.co_consts:
            for one in constant if isinstance(constant, (tuple, frozenset)) else (constant,):
                if isinstance(one, str):
                    yield one


def _names_in(code: CodeType) -> set[str]:
    return {name for inner in _nested(code) for name in inner.co_names}
