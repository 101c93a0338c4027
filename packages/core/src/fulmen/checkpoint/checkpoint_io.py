"""CheckpointIO: how a checkpoint's dictionary becomes a file and comes back (stable interface)."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from typing import Any

from fulmen.checkpoint.format import is_url, read_checkpoint, write_checkpoint


class CheckpointIO(ABC):
    """Writes, reads and removes checkpoints; hand one of your own to ``Trainer(plugins=...)``."""

    @abstractmethod
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: what to keep: tensors and plain values under the field's keys.
            path: where.
            storage_options: what the caller of ``Trainer.save_checkpoint`` passed.
        """

    @abstractmethod
    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return the checkpoint at ``path``.

        Args:
            path: where it was written.
            map_location: where its tensors go, as in ``torch.load``.
            weights_only: ``False`` allows files that run code as they load.
        """

    @abstractmethod
    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove what :meth:`save_checkpoint` wrote at ``path``, if it is still there."""

    def teardown(self) -> None:
        """Finish what is under way; called at the end of each entry point of the trainer."""


class TorchCheckpointIO(CheckpointIO):
    """One file in torch's format, on disk or at a URL; what a Trainer uses unless told otherwise."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint so that ``path`` holds it whole, or what it held before.

        Args:
            checkpoint: what to keep.
            path: a local path, or a URL that fsspec knows.
            storage_options: a dict of arguments for the URL's file system.

        Raises:
            CheckpointError: it cannot be written.
        """
        write_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return a checkpoint after checking that it is whole.

        Raises:
            CheckpointError: it is missing, damaged, or holds objects that only trusted loading can make.
        """
        return read_checkpoint(path, "cpu" if map_location is None else map_location, weights_only)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint: a file, a link, or the folder of a sharded one, if it is still there."""
        path = os.fspath(path)
        if is_url(path):
            import fsspec

            file_system, remote = fsspec.core.url_to_fs(path)
            if file_system.exists(remote):
                file_system.rm(remote, recursive=True)
        elif os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.remove(path)
