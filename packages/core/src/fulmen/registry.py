"""Plug-ins by name: what is installed, and the class behind a name.

A distribution offers a plug-in by an entry point in one of the groups below; nothing is imported until it is named.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from fulmen.callback import CALLBACK_INTERFACE, Callback
from fulmen.errors import MissingPackageError, PluginError, nearest
from fulmen.logger import LOGGER_INTERFACE, Logger
from fulmen.metric import METRIC_INTERFACE


@dataclass(frozen=True)
class PluginGroup:
    """One kind of plug-in: where it registers and what it must be."""

    kind: str  #: the word that messages use
    interface: tuple[int, int]  #: the version of the interface that this core has
    base: type | None  #: the class that a plug-in derives from, if it must

    @property
    def entry_points(self) -> str:
        """The name of the entry-point group."""
        return f"fulmen.{self.kind}s"


LOGGERS = PluginGroup("logger", LOGGER_INTERFACE, Logger)
CALLBACKS = PluginGroup("callback", CALLBACK_INTERFACE, Callback)
METRICS = PluginGroup("metric", METRIC_INTERFACE, None)
GROUPS = (LOGGERS, CALLBACKS, METRICS)


def installed(group: PluginGroup) -> dict[str, list[EntryPoint]]:
    """Return what installed distributions offer in a group: name -> entry points (more than one is an error)."""
    offers: dict[str, list[EntryPoint]] = {}
    for entry in importlib.metadata.entry_points(group=group.entry_points):
        known = offers.setdefault(entry.name, [])
        # An editable install may list one distribution twice; that is one offer.
        if all(other.value != entry.value or _distribution(other) != _distribution(entry) for other in known):
            known.append(entry)
    return dict(sorted(offers.items()))


def load(group: PluginGroup, name: str) -> type:
    """Return the plug-in class that is installed under ``name``.

    Raises:
        PluginError: nothing, or more than one distribution, offers the name; its import fails; or it was written for
            another version of the interface. The message names the distribution and the fix.
    """
    offers = installed(group)
    if name not in offers:
        raise PluginError(
            f"there is no {group.kind} named {name!r}{nearest(name, offers)}; installed are: "
            f"{', '.join(offers) or 'none'}{_install_hint(group)}"
        )
    if len(offers[name]) > 1:
        owners = " and ".join(f"{_distribution(entry)} ({entry.value})" for entry in offers[name])
        raise PluginError(f"the {group.kind} {name!r} is offered by {owners}; uninstall one, or pass the class itself")
    return _load(group, offers[name][0])


def load_class(group: PluginGroup, class_name: str) -> type:
    """Return the plug-in class called ``class_name``, such as ``WandbLogger``, importing only its module.

    Raises:
        AttributeError: no installed distribution offers such a class.
        MissingPackageError: neither is the package installed that brings most of them.
        PluginError: as for :func:`load`.
    """
    offers = installed(group)
    for name, entries in offers.items():
        if any(entry.attr == class_name for entry in entries):
            return load(group, name)
    from fulmen.legacy import import_paths  # knows the names of the field that no plug-in has

    found = import_paths.found_in(f"{group.kind}s", class_name)
    if found is not None:
        return found  # type: ignore[no-any-return]
    known = [entry.attr for entries in offers.values() for entry in entries]
    message = (
        f"no installed {group.kind} is called {class_name}{nearest(class_name, known)}; installed are: "
        f"{', '.join(known) or 'none'}"
    )
    hint = _install_hint(group)
    # `from fulmen.loggers import X` hides the words of an AttributeError, but not those of an ImportError.
    if hint and class_name[:1].isupper():
        raise MissingPackageError(message + hint)
    raise AttributeError(message + hint)


def check_interface(group: PluginGroup, plugin: type, owner: str) -> None:
    """Raise ``PluginError`` unless ``plugin`` declares a version of the interface that this core can serve."""
    base = group.base
    declared: Any = None
    for cls in plugin.__mro__:
        if cls is base or (base is not None and cls in base.__mro__):
            break
        if "interface" in vars(cls) and not cls.__module__.startswith("fulmen."):
            declared = vars(cls)["interface"]
            break
    ours = group.interface
    constant = f"{group.kind.upper()}_INTERFACE"
    if declared is None:
        raise PluginError(
            f"{plugin.__qualname__} of {owner} does not say for which interface it was written; add "
            f"`interface = {ours}` to the class (fulmen.{group.kind}.{constant} here is {ours})"
        )
    try:
        major, minor = declared
        older, fits = major < ours[0], major == ours[0] and minor <= ours[1]
    except (TypeError, ValueError):
        raise PluginError(
            f"{plugin.__qualname__} of {owner} declares `interface = {declared!r}`, which is no version; write it as "
            f"(major, minor), such as {ours} (fulmen.{group.kind}.{constant} here is {ours})"
        ) from None
    if not fits:
        fix = f"upgrade {owner}" if older else "upgrade fulmen-core"
        raise PluginError(
            f"{plugin.__qualname__} of {owner} was written for version {declared} of the {group.kind} interface, but "
            f"fulmen-core here has {ours}; {fix}"
        )


def _load(group: PluginGroup, entry: EntryPoint) -> type:
    owner = _distribution(entry)
    try:
        plugin = entry.load()
    except ModuleNotFoundError as error:
        raise MissingPackageError(_missing_module(entry, owner, error.name or "")) from error
    except Exception as error:
        raise PluginError(
            f"the {group.kind} {entry.name!r} of {owner} ({entry.value}) cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(plugin, type) or (group.base is not None and not issubclass(plugin, group.base)):
        raise PluginError(
            f"the {group.kind} {entry.name!r} of {owner} ({entry.value}) is not a class derived from "
            f"{group.base.__name__ if group.base else 'object'}, but {plugin!r}; correct its entry point"
        )
    check_interface(group, plugin, owner)
    return plugin


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown distribution"


def _missing_module(entry: EntryPoint, owner: str, module: str) -> str:
    """Say which command installs what a plug-in's import misses."""
    top_level = module.partition(".")[0]
    if top_level == entry.module.partition(".")[0]:
        return f"{entry.value}, the entry point of {owner}, does not exist: there is no module {module!r}; reinstall it"
    extra = _extra_that_installs(entry, top_level)
    if extra is None:
        return f"{entry.attr} of {owner} needs the module {module!r}, which is not installed: pip install {top_level}"
    return f'{entry.attr} needs {top_level}: pip install "{extra}"'


def _extra_that_installs(entry: EntryPoint, module: str) -> str | None:
    """Return ``distribution[extra]`` for the extra of the plug-in's distribution that brings ``module``."""
    from packaging.requirements import InvalidRequirement, Requirement  # only for a message
    from packaging.utils import canonicalize_name

    if entry.dist is None:
        return None
    for line in entry.dist.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if extra and canonicalize_name(requirement.name) == canonicalize_name(module):
            name = canonicalize_name(entry.dist.name)
            # Fulmen's own packages are installed through the umbrella, whose extras have the same names.
            return f"{'fulmen' if name.startswith('fulmen-') else name}[{extra[1]}]"
    return None


#: First-party packages that bring plug-ins: what to install where a name is unknown because they are missing.
_FIRST_PARTY = {"logger": "fulmen-loggers", "callback": "fulmen-callbacks", "metric": "fulmen-metrics"}


def _install_hint(group: PluginGroup) -> str:
    package = _FIRST_PARTY[group.kind]
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        return f'; {package} is not installed: pip install "{package}"'
    return ""
