"""OnExceptionCheckpoint: save when training fails, and go on from there the next time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from fulmen.callback import Checkpoint
from fulmen.errors import MisconfigurationException
from fulmen_callbacks import _checkpoint_files as files

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


class OnExceptionCheckpoint(Checkpoint):
    """Save a checkpoint when training ends with an exception; the next ``fit`` goes on from it by itself.

    ``Ctrl-C`` counts as an exception. A ``fit`` without ``ckpt_path`` that finds the file continues from it; when a
    ``fit`` ends well, the file is removed. It stands beside a ``ModelCheckpoint``, the Trainer's own included.

    Args:
        dirpath: folder or URL of the file.
        filename: its name without the extension.

    Attributes:
        ckpt_path: the path of the file.

    Raises:
        MisconfigurationException: ``filename`` is empty; or, when ``fit`` begins, the folder cannot be written to.
    """

    interface = (1, 0)
    keeps_run: ClassVar[bool] = False

    FILE_EXTENSION = ".ckpt"

    def __init__(self, dirpath: str | os.PathLike[str], filename: str = "on_exception") -> None:
        if not filename:
            raise MisconfigurationException("`filename` is empty; leave it off for 'on_exception', or give a name")
        self.dirpath = os.fspath(dirpath)
        self.filename = filename
        self._is_training = False

    @property
    def ckpt_path(self) -> str:
        """The path of the file."""
        return os.path.join(self.dirpath, self.filename + self.FILE_EXTENSION)

    @property
    def resume_path(self) -> str:
        return self.ckpt_path if files.exists(self.ckpt_path) else ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._is_training = False
        # An exception is the wrong moment to find out that there is no room for the file.
        if stage == "fit" and trainer.is_global_zero:
            files.check_writable(self.dirpath, "`OnExceptionCheckpoint(dirpath=...)`")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._is_training = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # What fails before training has nothing to save, and must not replace what an earlier run left.
        if self._is_training:
            self._is_training = False
            trainer.save_checkpoint(self.ckpt_path)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            trainer.remove_checkpoint(self.ckpt_path)
