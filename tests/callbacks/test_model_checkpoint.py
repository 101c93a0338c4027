"""ModelCheckpoint: triggers, names and files, beyond what ``test_same_decisions.py`` compares."""

from __future__ import annotations

import os
import runpy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen_callbacks import ModelCheckpoint, model_checkpoint

SCENARIOS = runpy.run_path(str(Path(__file__).with_name("scenarios.py")))
SERIES = [1.0, 0.9, 0.95, 0.85, 0.86, 0.87, 0.88, 0.5]


def train(callback: ModelCheckpoint, folder: Path, series: list[float] = SERIES, **case: Any) -> list[Any]:
    """Train 2 batches an epoch; return [global step, file name] of all that was saved."""
    saved: list[Any] = SCENARIOS["run"](fulmen, callback, {"series": series, **case}, folder)[1]
    return saved


def trainer_with(callback: Any, folder: Path, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, **options},
    )


def loader() -> Any:
    return torch.utils.data.DataLoader(torch.zeros(2, 1), batch_size=1)


def fit(trainer: fulmen.Trainer, series: list[float] = SERIES, ckpt_path: Any = None) -> None:
    module = SCENARIOS["module_of"](fulmen, series, False)
    trainer.fit(module, loader(), loader(), ckpt_path=ckpt_path)


# ------------------------------------------------------------------------------------------------ where


def test_goes_to_the_runs_folder(tmp_path: Path) -> None:
    callback = ModelCheckpoint()
    fit(trainer_with(callback, tmp_path, max_epochs=1, logger="csv"))
    expected = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "epoch=0-step=2.ckpt"
    assert expected.exists()
    assert callback.best_model_path == str(expected)


def test_goes_to_the_root_folder_without_a_logger(tmp_path: Path) -> None:
    fit(trainer_with(ModelCheckpoint(), tmp_path, max_epochs=1))
    assert (tmp_path / "checkpoints" / "epoch=0-step=2.ckpt").exists()


def test_each_trainer_gets_its_own_folder(tmp_path: Path) -> None:
    callback = ModelCheckpoint()
    for _ in range(2):
        fit(trainer_with(callback, tmp_path, max_epochs=1, logger="csv"))
    found = sorted(path.relative_to(tmp_path).parts[1] for path in tmp_path.rglob("*.ckpt"))
    assert found == ["version_0", "version_1"]


def test_is_found_as_best(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="metric")
    trainer = trainer_with(callback, tmp_path, max_epochs=len(SERIES))
    fit(trainer, [*SERIES, 0.0])
    assert Path(callback.best_model_path).name == "epoch=7-step=16.ckpt"
    assert torch.load(callback.best_model_path, weights_only=True)["epoch"] == 7
    trainer.validate(dataloaders=loader(), verbose=False, ckpt_path="best")
    assert trainer.ckpt_path == callback.best_model_path


# ------------------------------------------------------------------------------------------------- when


def test_a_step_waits_for_the_metric_of_the_validation_that_follows(tmp_path: Path) -> None:
    # Every second step is the last of its epoch, after which validation runs: its own value ranks it.
    callback = ModelCheckpoint(tmp_path, monitor="metric", every_n_train_steps=2, save_top_k=-1)
    train(callback, tmp_path, [3.0, 2.0, 1.0])
    scores = {Path(path).name: float(score) for path, score in callback.best_k_models.items()}
    assert scores == {"epoch=0-step=2.ckpt": 3.0, "epoch=1-step=4.ckpt": 2.0, "epoch=2-step=6.ckpt": 1.0}


def test_a_step_before_the_first_value_waits_for_it(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="metric", every_n_train_steps=1, save_top_k=-1)
    saved = train(callback, tmp_path, [3.0, 2.0])
    assert [step for step, _ in saved] == [2, 3, 4]
    assert [float(score) for score in callback.best_k_models.values()] == [3.0, 3.0, 2.0]


def test_a_step_waits_for_a_value_of_the_training_epoch(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="metric", every_n_train_steps=1, save_top_k=-1)
    saved = train(callback, tmp_path, [3.0, 2.0], on_train=True)
    assert saved[0] == [2, "epoch=0-step=2.ckpt"]
    assert float(callback.best_k_models[str(tmp_path / "epoch=0-step=2.ckpt")]) == 3.0


def test_a_step_is_passed_not_hit_where_each_batch_takes_several(tmp_path: Path) -> None:
    class TwoSteps(fulmen.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            for _ in range(2):
                optimizer.zero_grad()
                self.manual_backward(self.layer(batch).sum())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1)
    trainer_with(callback, tmp_path, max_epochs=3).fit(TwoSteps(), loader())
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [
        "epoch=0-step=4.ckpt",
        "epoch=1-step=6.ckpt",
        "epoch=2-step=10.ckpt",
        "epoch=2-step=12.ckpt",
    ]


def test_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter(range(0, 1000, 4))  # each look at the clock is 4 s later
    monkeypatch.setattr(model_checkpoint.time, "monotonic", lambda: next(now_s))
    callback = ModelCheckpoint(tmp_path, train_time_interval=timedelta(seconds=10), save_top_k=-1)
    saved = train(callback, tmp_path, [1.0] * 6)
    assert 1 < len(saved) < 12
    assert len({step for step, _ in saved}) == len(saved)


def test_without_validation_it_saves_whatever_the_schedule_of_validation(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, save_top_k=-1, save_on_train_epoch_end=False)
    saved = train(callback, tmp_path, [1.0] * 2, trainer={"limit_val_batches": 0, "check_val_every_n_epoch": 5})
    assert [step for step, _ in saved] == [2, 4]


def test_last_is_fresh_whenever_a_checkpoint_is_due(tmp_path: Path) -> None:
    # The metric only gets worse, so that nothing but the first is among the best.
    callback = ModelCheckpoint(tmp_path, monitor="metric", save_last=True)
    saved = train(callback, tmp_path, [1.0, 2.0, 3.0])
    assert saved == [[2, "epoch=0-step=2.ckpt"], [2, "last.ckpt"], [4, "last.ckpt"], [6, "last.ckpt"]]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 6


def test_last_is_the_end_of_training(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=4, save_top_k=0)
    saved = train(callback, tmp_path, [1.0] * 3)
    assert saved == [[4, "last.ckpt"], [6, "last.ckpt"]]


def test_last_as_a_link(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, save_last="link", save_top_k=1)
    train(callback, tmp_path, [1.0] * 3)
    assert (tmp_path / "last.ckpt").is_symlink()
    assert os.readlink(tmp_path / "last.ckpt") == "epoch=2-step=6.ckpt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=2-step=6.ckpt", "last.ckpt"]


def test_several_with_different_triggers_save_side_by_side(tmp_path: Path) -> None:
    by_step = ModelCheckpoint(tmp_path / "steps", every_n_train_steps=1, save_top_k=-1)
    best = ModelCheckpoint(tmp_path / "best", monitor="metric")
    trainer = fulmen.Trainer(
        accelerator="cpu",
        callbacks=[by_step, best],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        max_epochs=3,
    )
    fit(trainer, [3.0, 1.0, 2.0])
    assert len(list((tmp_path / "steps").iterdir())) == 6
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["epoch=1-step=4.ckpt"]


# ---------------------------------------------------------------------------------------- whose files


def test_the_old_file_goes_only_after_the_new_one_is_there(tmp_path: Path) -> None:
    there: list[list[str]] = []

    class Watching(ModelCheckpoint):
        def _write(self, trainer: Any, path: str) -> None:
            super()._write(trainer, path)
            there.append(sorted(file.name for file in tmp_path.glob("*.ckpt")))

    train(Watching(tmp_path), tmp_path, [1.0] * 3)
    assert there[2] == ["epoch=1-step=4.ckpt", "epoch=2-step=6.ckpt"]


def test_a_failed_write_removes_nothing(tmp_path: Path) -> None:
    class Failing(ModelCheckpoint):
        def _write(self, trainer: Any, path: str) -> None:
            if trainer.global_step == 4:
                raise OSError("disk full")
            super()._write(trainer, path)

    with pytest.raises(OSError, match="disk full"):
        train(Failing(tmp_path), tmp_path, [1.0] * 3)
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["epoch=0-step=2.ckpt"]


def test_a_resumed_run_in_the_same_folder_goes_on_ranking(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first = ModelCheckpoint(folder, monitor="metric", save_top_k=2, save_last=True)
    fit(trainer_with(first, tmp_path, max_epochs=3), [3.0, 1.0, 2.0])
    second = ModelCheckpoint(folder, monitor="metric", save_top_k=2, save_last=True)
    fit(trainer_with(second, tmp_path, max_epochs=5), [0.5, 9.0], ckpt_path=folder / "last.ckpt")
    # Of 1.0 and 2.0, which came back, 2.0 made room; last.ckpt is the one that was resumed from, and stays.
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch=1-step=4.ckpt",
        "epoch=3-step=8.ckpt",
        "last.ckpt",
    ]
    assert float(second.best_model_score or 0) == 0.5


def test_what_a_run_is_resumed_from_is_never_removed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    fit(trainer_with(ModelCheckpoint(folder), tmp_path, max_epochs=1))
    fit(
        trainer_with(ModelCheckpoint(folder), tmp_path, max_epochs=3),
        ckpt_path=folder / "epoch=0-step=2.ckpt",
    )
    assert sorted(path.name for path in folder.iterdir()) == ["epoch=0-step=2.ckpt", "epoch=2-step=6.ckpt"]


def test_a_file_that_another_run_wrote_since_is_never_removed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first = ModelCheckpoint(folder, monitor="metric", save_top_k=2)
    fit(trainer_with(first, tmp_path, max_epochs=2), [3.0, 2.0])
    resumed, other = folder / "epoch=1-step=4.ckpt", folder / "epoch=0-step=2.ckpt"
    os.utime(other, ns=(resumed.stat().st_mtime_ns + 10**9,) * 2)  # written after the state that names it
    second = ModelCheckpoint(folder, monitor="metric", save_top_k=2)
    fit(trainer_with(second, tmp_path, max_epochs=4), [1.0, 0.5], ckpt_path=resumed)
    assert other.exists()


def test_resuming_into_another_folder_starts_the_ranking_anew_and_leaves_the_old_one_alone(
    tmp_path: Path,
) -> None:
    first = ModelCheckpoint(tmp_path / "one", monitor="metric")
    fit(trainer_with(first, tmp_path, max_epochs=2), [1.0, 0.1])
    second = ModelCheckpoint(tmp_path / "two", monitor="metric")
    with pytest.warns(UserWarning, match="FUL025.*the ranking starts anew"):
        fit(trainer_with(second, tmp_path, max_epochs=3), [0.7], ckpt_path=first.best_model_path)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["epoch=1-step=4.ckpt"]
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["epoch=2-step=6.ckpt"]
    assert float(second.best_model_score or 0) == pytest.approx(0.7)


# --------------------------------------------------------------------------------------------- mistakes


def test_unknown_monitor_says_what_was_meant_and_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="did you mean 'metric'"):
        train(ModelCheckpoint(tmp_path, monitor="metrik"), tmp_path)
    state = torch.load(tmp_path / "epoch=0-step=2.ckpt", weights_only=True)
    assert state["global_step"] == 2


def test_save_on_exception(tmp_path: Path) -> None:
    class Failing(fulmen.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("an accident")

    for save, found in (
        (False, ["epoch=0-step=2.ckpt"]),
        (True, ["epoch=0-step=2.ckpt", "epoch=1-step=3.ckpt"]),
    ):
        folder = tmp_path / str(save)
        callback = ModelCheckpoint(folder, save_on_exception=save)
        trainer = trainer_with(callback, tmp_path, max_epochs=3)
        trainer.callbacks = [*trainer.callbacks, Failing()]
        with pytest.raises(RuntimeError, match="an accident"):
            fit(trainer)
        assert sorted(path.name for path in folder.iterdir()) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "least"}, "`mode` must be 'min' or 'max', but is 'least'"),
        ({"save_top_k": -2}, "`save_top_k` must be >= -1, but is -2"),
        ({"save_top_k": 2}, "needs `monitor`"),
        ({"every_n_epochs": -1}, "`every_n_epochs` must be >= 0, but is -1"),
        ({"every_n_train_steps": -1}, "`every_n_train_steps` must be >= 0, but is -1"),
        (
            {"every_n_train_steps": 2, "every_n_epochs": 3},
            "only one of `every_n_train_steps=2`, `every_n_epochs=3`",
        ),
        ({"save_last": "yes"}, "`save_last` must be True, False or 'link', but is 'yes'"),
        ({"dirpath": "s3://bucket/runs", "save_last": "link"}, "needs a local folder"),
    ],
)
def test_arguments_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException) as error:
        ModelCheckpoint(**arguments)
    assert message in str(error.value)


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("template", "options", "expected"),
    [
        (None, {}, "epoch=2-step=30.ckpt"),
        ("{epoch:03d}", {}, "epoch=002.ckpt"),
        ("{epoch}-{val/loss:.2f}", {}, "epoch=2-val/loss=0.12.ckpt"),
        ("{epoch}-{val/loss:.2f}", {"auto_insert_metric_name": False}, "2-0.12.ckpt"),
        ("{epoch}-{epoch_test}", {}, "epoch=2-epoch_test=7.ckpt"),
        ("{absent:.1f}", {}, "absent=0.0.ckpt"),
        ("a.b-{epoch}", {}, "a.b-epoch=2.ckpt"),
    ],
)
def test_format_checkpoint_name(template: str | None, options: dict[str, Any], expected: str) -> None:
    metrics = {"epoch": 2, "step": 30, "val/loss": torch.tensor(0.12345), "epoch_test": 7}
    assert ModelCheckpoint(filename=template, **options).format_checkpoint_name(metrics) == expected


def test_format_checkpoint_name_with_version_and_prefix() -> None:
    assert ModelCheckpoint().format_checkpoint_name({"epoch": 1, "step": 2}, ver=3, prefix="a") == (
        "a-epoch=1-step=2-v3.ckpt"
    )


def test_a_format_that_does_not_suit_its_value() -> None:
    with pytest.raises(MisconfigurationException, match="correct what follows the colon"):
        ModelCheckpoint(filename="{loss:d}").format_checkpoint_name({"loss": torch.tensor(0.5)})


def test_class_constants_change_names(tmp_path: Path) -> None:
    class Mine(ModelCheckpoint):
        CHECKPOINT_JOIN_CHAR = "_"
        CHECKPOINT_EQUALS_CHAR = ""
        CHECKPOINT_NAME_LAST = "{epoch}-newest"
        FILE_EXTENSION = ".pt"

    train(Mine(tmp_path, save_last=True), tmp_path, [1.0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch0-newest.pt", "epoch0_step2.pt"]


def test_to_yaml(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="metric", save_top_k=2)
    train(callback, tmp_path, [0.5, 0.25, 0.125])
    callback.to_yaml()
    scores = yaml.safe_load((tmp_path / "best_k_models.yaml").read_text(encoding="utf-8"))
    assert {Path(path).name: score for path, score in scores.items()} == {
        "epoch=1-step=4.ckpt": 0.25,
        "epoch=2-step=6.ckpt": 0.125,
    }


def test_remote_folders_go_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    callback = ModelCheckpoint("memory://checkpoints-of-this-test", save_last=True)
    train(callback, tmp_path, [1.0, 1.0])
    files = fsspec.filesystem("memory").ls("/checkpoints-of-this-test", detail=False)
    assert sorted(Path(file).name for file in files) == ["epoch=1-step=4.ckpt", "last.ckpt"]
