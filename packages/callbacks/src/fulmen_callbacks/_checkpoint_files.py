"""What callbacks that save do with files: look, link and name; writing and removing them is the trainer's."""

from __future__ import annotations

import os
import shutil
import string
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fulmen.errors import MisconfigurationException


def is_local(path: str) -> bool:
    """Return whether ``path`` is on a file system of this machine, not a URL such as ``s3://``."""
    return "://" not in path or path.startswith("file://")


def exists(path: str) -> bool:
    """Return whether there is a file, folder or dangling link at ``path``."""
    if is_local(path):
        return os.path.lexists(path)
    import fsspec

    file_system, remote = fsspec.core.url_to_fs(path)
    return bool(file_system.exists(remote))


def is_same_file(one: str, other: str) -> bool:
    """Return whether two paths lead to one file, links followed."""
    if is_local(one) and is_local(other):
        return os.path.realpath(one) == os.path.realpath(other)
    return one == other


def modified_ns(path: str) -> int | None:
    """Return when a local file was last written, in nanoseconds; ``None`` where it cannot be told."""
    try:
        return os.stat(path).st_mtime_ns if is_local(path) else None
    except OSError:
        return None


def check_writable(folder: str, argument: str) -> None:
    """Make a local folder, if it is not there yet, and raise where nothing can be written into it.

    Raises:
        MisconfigurationException: the message begins with ``argument``.
    """
    if not is_local(folder):
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise MisconfigurationException(
            f"{argument} is {folder!r}, which cannot be made: {error}; name a folder that can"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MisconfigurationException(f"{argument} is {folder!r}, which cannot be written to; name another folder")


def link(target: str, path: str) -> None:
    """Make ``path`` a relative link to ``target``, replacing in one step what is there.

    Where the file system or the user's rights allow no links (Windows), it becomes a copy.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        os.symlink(os.path.relpath(target, os.path.dirname(path)), temporary)
    except OSError:
        if os.path.isdir(target):
            shutil.copytree(target, temporary)
        else:
            shutil.copy(target, temporary)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)  # a folder cannot be replaced by renaming
    os.replace(temporary, path)


def format_name(template: str, metrics: Mapping[str, Any], equals: str | None) -> str:
    """Fill ``{name:format}`` fields with metrics; one that was not logged becomes 0.

    ``equals`` is what stands between name and value; ``None`` leaves the name out.

    Raises:
        MisconfigurationException: a field's format does not suit its value.
    """
    parts: list[str] = []
    for literal, name, spec, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name is None:
            continue
        value = metrics.get(name, 0)
        if isinstance(value, Tensor):
            value = value.item()
        try:
            text = format(value, spec or "")
        except ValueError as error:
            raise MisconfigurationException(
                f"`filename={template!r}`: {name} = {value!r} cannot be written as {spec!r} ({error}); "
                f"correct what follows the colon"
            ) from error
        parts.append(text if equals is None else f"{name}{equals}{text}")
    return "".join(parts)
