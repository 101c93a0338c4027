"""Import paths of the field resolve below ``fulmen``, lazily, and unknown ones say what exists."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen import advice
from fulmen.legacy import import_paths
from fulmen.legacy.spelling import OldSpellingWarning
from fulmen.registry import CALLBACKS, installed

TABLES = {**import_paths.PATHS, **import_paths.OLD_PATHS}
FACES = ("callbacks", "loggers", "metrics")


def quietly(call: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldSpellingWarning)
        return call()


def fresh(program: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


OF_OURS = [
    (path, name)
    for path in sorted(TABLES)
    for name, (module, _) in import_paths._places(TABLES[path]).items()
    if module not in (*FACES, "cli")
    and importlib.util.find_spec(module.strip("()") if "(" in module else f"fulmen.{module}")
]


@pytest.mark.parametrize(("path", "name"), OF_OURS)
def test_every_name_of_the_tables_is_the_object_itself(path: str, name: str) -> None:
    found = quietly(lambda: getattr(importlib.import_module(f"fulmen.{path}"), name))
    module, attribute = import_paths._places(TABLES[path])[name]
    full = module.strip("()") if module.startswith("(") else f"fulmen.{module}"
    assert found is getattr(importlib.import_module(full), attribute)


@pytest.mark.parametrize("path", sorted(TABLES))
def test_every_class_of_a_plug_in_is_found_or_said_to_be_missing(path: str) -> None:
    module = quietly(lambda: importlib.import_module(f"fulmen.{path}"))
    for name, (face, attribute) in import_paths._places(TABLES[path]).items():
        if face not in FACES:
            continue
        try:
            expected = quietly(lambda face=face, attribute=attribute: getattr(getattr(pl, face), attribute))
        except (AttributeError, ImportError):
            with pytest.raises((AttributeError, ImportError)):
                quietly(lambda name=name: getattr(module, name))
            continue
        assert getattr(module, name) is expected


def test_statements_of_programs_run_with_their_first_word_changed() -> None:
    from fulmen.core.module import LightningModule
    from fulmen.pytorch import Trainer as AlsoTrainer
    from fulmen.trainer.states import TrainerFn
    from fulmen.trainer.trainer import Trainer
    from fulmen.utilities import AttributeDict, CombinedLoader, grad_norm, rank_zero_only
    from fulmen.utilities.types import STEP_OUTPUT, TRAIN_DATALOADERS, LRSchedulerConfig

    assert (Trainer, AlsoTrainer, LightningModule) == (pl.Trainer, pl.Trainer, pl.LightningModule)
    assert TrainerFn.FITTING == "fit"
    assert AttributeDict(a=1).a == 1
    assert rank_zero_only(lambda: 3)() == 3
    assert CombinedLoader.__module__ == "fulmen.data.combined"
    layer = torch.nn.Linear(1, 1, bias=False)
    layer(torch.ones(1, 1)).sum().backward()
    assert grad_norm(layer, 2)["grad_2.0_norm_total"] == 1
    assert STEP_OUTPUT is not None
    assert TRAIN_DATALOADERS is Any
    assert LRSchedulerConfig.__name__ == "SchedulerConfig"
    assert pl.utilities.rank_zero.rank_zero_info is pl.rank.rank_zero_info
    assert pl.core.LightningModule is pl.LightningModule
    assert pl.pytorch.trainer.Trainer is pl.Trainer


def test_from_pytorch_reaches_our_own_modules() -> None:
    from fulmen.pytorch.data.transfer import move_data_to_device

    assert move_data_to_device is pl.utilities.move_data_to_device
    with pytest.raises(ModuleNotFoundError, match=r"fulmen\.nowhere"):
        importlib.import_module("fulmen.pytorch.nowhere")


def test_old_paths_and_names_warn_once_with_the_modern_line() -> None:
    sys.modules.pop("fulmen.core.lightning", None)
    with pytest.warns(OldSpellingWarning, match=r"FUL105.*`from fulmen import LightningModule`") as caught:
        from fulmen.core.lightning import LightningModule
    assert LightningModule is pl.LightningModule
    assert caught[0].filename == __file__
    advice.forget()
    with pytest.warns(OldSpellingWarning, match="FUL105.*fulmen.loggers.LightningLoggerBase"):
        assert pl.loggers.LightningLoggerBase is pl.loggers.Logger


def test_unknown_names_say_what_exists() -> None:
    with pytest.raises(ImportError, match=r"`fulmen.utilities` has no `rank_zero_inf`; did you mean 'rank_zero_info'"):
        from fulmen.utilities import rank_zero_inf  # noqa: F401
    with pytest.raises(
        ImportError, match="`fulmen.callbacks` has no `Nothing`; it has: .*Callback|no installed callback is"
    ):
        from fulmen.callbacks import Nothing  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"fulmen\.nowhere"):
        importlib.import_module("fulmen.nowhere")
    assert not hasattr(pl, "nowhere")
    assert not hasattr(pl.utilities, "nowhere")


def test_nothing_is_loaded_before_it_is_named() -> None:
    before = fresh("import fulmen, sys; print('fulmen.gradients' in sys.modules, 'fulmen.utilities' in sys.modules)")
    assert before == "False False"
    listed = fresh("import fulmen.utilities, sys; print('fulmen.gradients' in sys.modules)")
    assert listed == "False"
    assert fresh("from fulmen.utilities import *; print(grad_norm.__module__)") == "fulmen.gradients"


def test_the_finder_is_the_last_to_be_asked() -> None:
    assert fresh("import sys, fulmen; print(sys.meta_path[-1].__module__)") == "fulmen.legacy.import_paths"
    # what exists as a file is never served from the tables
    assert all(importlib.util.find_spec(f"fulmen.{path}").origin is None for path in ("core", "utilities"))


def test_accuracy_of_earlier_versions() -> None:
    from fulmen.metrics.functional import accuracy

    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    target = torch.tensor([1, 0, 0, 0])
    with pytest.warns(OldSpellingWarning, match=r"FUL106.*torchmetrics"):
        assert accuracy(scores, target) == 0.75
    assert accuracy(scores.argmax(1), target) == 0.75
    assert accuracy(scores[:, 1], target) == 0.75
    with pytest.warns(OldSpellingWarning, match=r"FUL106.*torchmetrics"):
        metric = pl.metrics.Accuracy()
    assert metric(scores[:2], target[:2]) == 1.0
    metric.update(scores[2:], target[2:])
    assert metric.compute() == 0.75
    metric.reset()
    assert metric.compute() == 0


def test_names_of_faces_that_are_no_plug_ins() -> None:
    from fulmen.callbacks import Checkpoint, ProgressBar

    assert (Checkpoint, ProgressBar) == (pl.callback.Checkpoint, pl.callback.ProgressBar)
    assert pl.profilers.SimpleProfiler.__name__ == "SimpleProfiler"
    with pytest.raises(pl.MisconfigurationException, match=r"torch\.ao\.quantization"):
        pl.callbacks.QuantizationAwareTraining()


@pytest.mark.skipif("tqdm_progress_bar" not in installed(CALLBACKS), reason="needs fulmen-callbacks")
def test_the_tqdm_bar_by_its_older_name() -> None:
    with pytest.warns(OldSpellingWarning, match=r"FUL106.*`TQDMProgressBar\(refresh_rate=20\)`"):
        bar = pl.callbacks.ProgressBar(refresh_rate=20)
    assert type(bar) is pl.callbacks.TQDMProgressBar

    def init_train_tqdm(self: Any) -> Any:
        return pl.callbacks.TQDMProgressBar.init_train_tqdm(self)

    with pytest.warns(OldSpellingWarning, match=r"FUL106.*`class Mine\(TQDMProgressBar\)`"):
        mine = type("Mine", (pl.callbacks.ProgressBar,), {"init_train_tqdm": init_train_tqdm})
    assert issubclass(mine, pl.callbacks.TQDMProgressBar)
    assert mine(refresh_rate=3).refresh_rate == 3

    class Own(pl.callbacks.ProgressBar):
        def __init__(self, words: str) -> None:
            self.words = words

    assert Own("modern").words == "modern"
    assert Own.__bases__ == (pl.callbacks.ProgressBar,)
