"""Old hooks around a module's steps and loaders: ``training_step_end``, ``tng_dataloader``, ``on_train_dataloader``.

They become part of the method that they belong to, so that they run at its moment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fulmen.advice import code_of
from fulmen.hooks import is_overridden
from fulmen.legacy.adapted import Adapted, required_count
from fulmen.legacy.spelling import say_old

#: methods by the names that they had
_RENAMED = {
    "tng_dataloader": "train_dataloader",
    "testing_step": "test_step",
}
#: methods that nothing calls any more, and what is done today
_NEVER_CALLED = {
    "configure_apex": "torch's own mixed precision is used: Trainer(precision='16-mixed')",
    "configure_ddp": "give the arguments to the strategy",
    "configure_sync_batchnorm": "Trainer(sync_batchnorm=True)",
    "init_ddp_connection": "the launcher's environment variables say where the processes meet",
}


def adapt_steps(module: Any, adapted: Adapted) -> None:
    """Put a module's old methods around or in place of today's."""
    from fulmen.module import LightningModule

    name = type(module).__name__
    for old, modern in _RENAMED.items():
        if is_overridden(old, module, LightningModule) and not is_overridden(modern, module, LightningModule):
            say_old("FUL108", f"`{name}.{old}`", f"`{modern}`", code_of(getattr(module, old)))
            adapted.replace(module, modern, getattr(module, old))
    for old, today in _NEVER_CALLED.items():
        if is_overridden(old, module, LightningModule):
            say_old("FUL103", f"`{name}.{old}`", f"nothing: {today}", code_of(getattr(module, old)))
    for stage in ("training", "validation", "test"):
        for end in (f"{stage}_step_end", *(("training_end",) if stage == "training" else ())):
            fn = getattr(module, end, None)
            if fn is not None and required_count(fn) == 1 and is_overridden(f"{stage}_step", module, LightningModule):
                say_old("FUL108", f"`{name}.{end}(outputs)`", f"the end of `{stage}_step`", code_of(fn))
                adapted.replace(module, f"{stage}_step", _then(getattr(module, f"{stage}_step"), fn))


def _then(step: Callable[..., Any], end: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a step whose output goes through the hook after it; the hook's is kept where it returns anything."""

    def step_and_end(*args: Any, **kwargs: Any) -> Any:
        output = step(*args, **kwargs)
        ended = end(output)
        return output if ended is None else ended

    step_and_end.__name__ = step.__name__
    step_and_end.__wrapped__ = step  # type: ignore[attr-defined]  # its signature says what it takes
    return step_and_end


def adapt_loaders(module: Any, datamodule: Any, adapted: Adapted) -> None:
    """Call ``on_train_dataloader`` and its likes when the loader is asked for."""
    from fulmen.datamodule import LightningDataModule
    from fulmen.module import LightningModule

    for owner, base in ((module, LightningModule), (datamodule, LightningDataModule)):
        for stage in ("train", "val", "test", "predict"):
            hook, method = f"on_{stage}_dataloader", f"{stage}_dataloader"
            before = getattr(owner, hook, None)
            if before is None or not is_overridden(method, owner, base):
                continue
            say_old("FUL108", f"`{type(owner).__name__}.{hook}`", f"the beginning of `{method}`", code_of(before))
            adapted.replace(owner, method, _after(before, getattr(owner, method)))


def _after(before: Callable[[], Any], make: Callable[[], Any]) -> Callable[[], Any]:
    def make_loader() -> Any:
        before()
        return make()

    return make_loader


def adapt_cluster_checkpoints(trainer: Any, module: Any, adapted: Adapted) -> None:
    """Call ``on_hpc_save`` and ``on_hpc_load`` for the checkpoints that a cluster's job leaves to the next."""
    saves, loads = getattr(module, "on_hpc_save", None), getattr(module, "on_hpc_load", None)
    if saves is not None:
        say_old("FUL108", f"`{type(module).__name__}.on_hpc_save`", "`on_save_checkpoint`", code_of(saves))
        save_checkpoint, on_save = trainer.save_checkpoint, module.on_save_checkpoint
        under_way: list[str] = []

        def noting_path(filepath: Any, *args: Any, **kwargs: Any) -> None:
            under_way[:] = [str(filepath)]
            save_checkpoint(filepath, *args, **kwargs)

        def saving(checkpoint: dict[str, Any]) -> None:
            on_save(checkpoint)
            if under_way and _is_of_cluster(under_way[0]):
                saves(checkpoint)

        adapted.replace(trainer, "save_checkpoint", noting_path)
        adapted.replace(module, "on_save_checkpoint", saving)
    if loads is not None:
        say_old("FUL108", f"`{type(module).__name__}.on_hpc_load`", "`on_load_checkpoint`", code_of(loads))
        on_load = module.on_load_checkpoint

        def loading(checkpoint: dict[str, Any]) -> None:
            on_load(checkpoint)
            if trainer.ckpt_path is not None and _is_of_cluster(trainer.ckpt_path):
                loads(checkpoint)

        adapted.replace(module, "on_load_checkpoint", loading)


def _is_of_cluster(path: str) -> bool:
    return Path(path).name.startswith("hpc_ckpt_")
