"""LambdaCallback: functions in place of hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.testing.callback_conformance import TinyClassifier
from fulmen_callbacks import LambdaCallback


def test_functions_run_as_hooks_and_may_take_fewer_arguments(tmp_path: Path) -> None:
    seen: list[Any] = []
    callback = LambdaCallback(
        setup=lambda trainer: seen.append("setup"),
        on_train_batch_end=lambda trainer, pl_module, outputs, batch, batch_idx: seen.append(batch_idx),
        on_train_end=lambda: seen.append("end"),
        on_save_checkpoint=lambda trainer: seen.append("saved"),
        teardown=lambda trainer, pl_module, stage: seen.append(stage),
        on_fit_end=None,
    )
    trainer = fulmen.Trainer(
        accelerator="cpu", callbacks=[callback], default_root_dir=tmp_path, logger=False, max_epochs=1
    )
    trainer.fit(TinyClassifier())
    assert seen == ["setup", 0, 1, 2, 3, 4, 5, "saved", "end", "fit"]


def test_the_hook_that_was_meant_is_named() -> None:
    with pytest.raises(MisconfigurationException, match="no hook 'on_train_epoch_ends'; did you mean 'on_train_epoch"):
        LambdaCallback(on_train_epoch_ends=print)


def test_what_cannot_be_called() -> None:
    with pytest.raises(MisconfigurationException, match="needs a function, but this is a str"):
        LambdaCallback(on_train_end="print")  # type: ignore[arg-type]
