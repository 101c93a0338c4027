"""One-file checkpoints: the field's keys in torch's zip format, written atomically and read without running code."""

from __future__ import annotations

import argparse
import dataclasses
import os
import pickle
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
import torch

from fulmen.advice import advise
from fulmen.checkpoint.files import atomic_file
from fulmen.errors import CheckpointError

#: The key under which the field's checkpoints keep the version of the trainer that wrote them.
VERSION_KEY = "pytorch-lightning_version"
#: What stands there in ours: the version whose layout of keys we write, so that its loaders accept the file.
LAYOUT_VERSION = "2.6.0"


def write_checkpoint(
    checkpoint: Mapping[str, Any],
    path: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint so that ``path`` holds it whole, or still what it held before.

    Args:
        checkpoint: what to keep.
        path: a local path, or a URL that fsspec knows (``s3://...``).
        storage_options: arguments for the URL's file system.

    Raises:
        CheckpointError: it cannot be written; the message names path and cause.
    """
    if is_url(path):
        import fsspec  # only where a URL is used; its import takes as long as half of ours

        with fsspec.open(os.fspath(path), "wb", **(storage_options or {})) as file:
            torch.save(dict(checkpoint), file)
        return
    if storage_options:
        raise CheckpointError(
            f"`storage_options={dict(storage_options)!r}` belong to a URL such as s3://bucket/last.ckpt, but "
            f"{os.fspath(path)} is a local path; leave them out"
        )
    try:
        with atomic_file(path) as file:
            torch.save(dict(checkpoint), file)
    except RuntimeError as error:
        # torch's zip writer reports a full disk as an internal check without errno.
        raise CheckpointError(f"cannot write {path}: {error}; is the disk full?") from error


def read_checkpoint(
    path: str | os.PathLike[str] | IO[bytes], map_location: Any = "cpu", weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint, after checking that it is whole.

    Args:
        path: a local path, a URL that fsspec knows, or a file open for reading.
        map_location: where tensors go, as in ``torch.load``.
        weights_only: ``None`` and ``True`` load tensors and plain values only; ``False`` unpickles anything, which
            can run code that the file's author chose: only for files that you trust.

    Raises:
        CheckpointError: the file is missing, damaged, or holds objects that only trusted loading can make.
    """
    if not isinstance(path, (str, os.PathLike)):
        return _load(path, name_of(path), map_location, weights_only)
    local = os.fspath(path)
    if is_url(path):
        import fsspec

        with fsspec.open(local, "rb") as file:
            return _load(file, local, map_location, weights_only)
    if not os.path.isfile(local):
        raise CheckpointError(f"there is no checkpoint at {local}{_neighbours(Path(local))}")
    check_whole(local)
    return _load(local, local, map_location, weights_only)


def check_whole(path: str) -> None:
    """Raise ``CheckpointError`` unless every part of a checkpoint file has the checksum that it was written with.

    torch's zip format keeps a CRC-32 of each entry, which ``torch.load`` does not look at.
    """
    size = os.path.getsize(path)
    if not zipfile.is_zipfile(path):
        if size and _is_legacy_torch_file(path):
            return
        raise CheckpointError(
            f"{path} ({size} bytes) is not a whole checkpoint: it was cut off or is another kind of file; "
            "use another checkpoint"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise CheckpointError(f"{path} ({size} bytes) is damaged: {error}; use another checkpoint") from error
    if damaged is not None:
        raise CheckpointError(
            f"{path} ({size} bytes) is damaged: its part {damaged!r} does not have the checksum it was written with; "
            "use another checkpoint"
        )


def _is_legacy_torch_file(path: str) -> bool:
    """Files from before torch 1.6 are bare pickles, which start with a protocol opcode."""
    with open(path, "rb") as file:
        return file.read(1) == b"\x80"


def _load(source: Any, path: str, map_location: Any, weights_only: bool | None) -> dict[str, Any]:
    safe = weights_only is None or weights_only
    try:
        checkpoint = torch.load(source, map_location=map_location, weights_only=safe)
    except pickle.UnpicklingError as error:
        if not safe:
            raise CheckpointError(f"{path} is damaged: {error}; use another checkpoint") from error
        first_line = str(error).split("\n")[0]
        raise CheckpointError(
            f"{path} holds objects that are not tensors or plain values, and loading them could run code: "
            f"{first_line} Pass weights_only=False only if you trust whoever wrote the file"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; use another checkpoint") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path} holds a {type(checkpoint).__name__}, not a checkpoint's dict; pass a file that a Trainer saved"
        )
    return checkpoint


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a URL such as ``s3://bucket/last.ckpt``."""
    return "://" in os.fspath(path)


def name_of(path: str | os.PathLike[str] | IO[bytes]) -> str:
    """Return what messages call a file that is given by its path, or open."""
    return os.fspath(path) if isinstance(path, (str, os.PathLike)) else str(getattr(path, "name", "the open file"))


def _neighbours(path: Path) -> str:
    found = sorted(file.name for file in path.parent.glob("*.ckpt"))[:5] if path.parent.is_dir() else []
    if found:
        return f"; in that folder are: {', '.join(found)}"
    return "" if path.parent.is_dir() else f"; the folder {path.parent} does not exist"


def plain_state(value: Any, where: str) -> Any:
    """Return state with the types that safe loading accepts: tensors and plain values, arrays as tensors.

    What has no such form stays as it is and is said once, since loading it later needs ``weights_only=False``.
    """
    found: list[str] = []
    converted = _plain(value, where, found)
    if found:
        advise(
            "FUL023",
            f"the checkpoint keeps {', '.join(found[:3])}{' and more' if len(found) > 3 else ''}, which only "
            "weights_only=False can load again; keep tensors, numbers, strings, lists and dicts instead",
        )
    return converted


def plain_form(value: Any) -> tuple[Any, bool]:
    """Return a value with the types that safe loading accepts, and whether all of it has such a form."""
    found: list[str] = []
    return _plain(value, "", found), not found


def _plain(value: Any, where: str, found: list[str]) -> Any:
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.Tensor, torch.Size)):
        if isinstance(value, (np.generic,)):
            return value.item()
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, (torch.dtype, torch.device)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Enum):
        return _plain(value.value, where, found)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, argparse.Namespace):
        return _plain(vars(value), where, found)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _plain(fields, where, found)
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{where}[{key!r}]", found) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(item, f"{where}[{index}]", found) for index, item in enumerate(value))
    if isinstance(value, list):
        return [_plain(item, f"{where}[{index}]", found) for index, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return {_plain(item, where, found) for item in value}
    found.append(f"{where} ({type(value).__module__}.{type(value).__qualname__})")
    return value
