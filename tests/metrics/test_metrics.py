"""Metrics: names, stages, and values that are those of the whole epoch."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.errors import MisconfigurationException
from fulmen.metric import METRIC_INTERFACE, Metric
from fulmen.registry import METRICS, check_interface
from fulmen_metrics import Metrics

CLASSES = 3
GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.rand(50, CLASSES, generator=GENERATOR)
LABELS = torch.randint(CLASSES, (50,), generator=GENERATOR)


class Scorer(fulmen.LightningModule):
    """Gives scores that were made before; its batches have different sizes, and its stages different data."""

    def __init__(self, metrics: Metrics, **options: Any) -> None:
        super().__init__()
        self.metrics = metrics
        self.options = options
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.metrics.log(self, "train", batch[0], batch[1], **self.options)
        return self.weight * 2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.metrics.log(self, "val", batch[0], batch[1])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.metrics.log(self, "test", batch[0], batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(first: int, last: int) -> Any:
    return DataLoader(TensorDataset(SCORES[first:last], LABELS[first:last]), batch_size=8)


def trainer_in(folder: Path, **options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        **{"logger": False, "max_epochs": 2, **options},
    )


def accuracy(first: int, last: int) -> float:
    return float(sk.accuracy_score(LABELS[first:last], SCORES[first:last].argmax(1)))


def macro_f1(first: int, last: int) -> float:
    return float(sk.f1_score(LABELS[first:last], SCORES[first:last].argmax(1), average="macro"))


def test_each_value_is_that_of_its_own_stage_over_the_whole_epoch(tmp_path: Path) -> None:
    # 29 and 21 samples in batches of 8: a mean over batches would differ.
    module = Scorer(Metrics("multiclass", ["accuracy", "f1"], num_classes=CLASSES))
    trainer = trainer_in(tmp_path)
    trainer.fit(module, loader(0, 29), loader(29, 50))
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    assert logged == {
        "train_accuracy": pytest.approx(accuracy(0, 29)),
        "train_f1": pytest.approx(macro_f1(0, 29)),
        "val_accuracy": pytest.approx(accuracy(29, 50)),
        "val_f1": pytest.approx(macro_f1(29, 50)),
    }
    assert trainer.test(module, loader(10, 31), verbose=False) == [
        {"test_accuracy": pytest.approx(accuracy(10, 31)), "test_f1": pytest.approx(macro_f1(10, 31))}
    ]


def test_nothing_is_left_of_an_epoch_for_the_next(tmp_path: Path) -> None:
    module = Scorer(Metrics("multiclass", num_classes=CLASSES))
    trainer_in(tmp_path).fit(module, loader(0, 29), loader(29, 50))
    for stage in ("train", "val"):
        assert all(metric.update_count == 0 for metric in module.metrics[stage].values())


def test_the_value_of_each_batch_too(tmp_path: Path) -> None:
    module = Scorer(Metrics("multiclass", num_classes=CLASSES), on_step=True)
    trainer = trainer_in(tmp_path, max_epochs=1)
    trainer.fit(module, loader(0, 29), loader(29, 50))
    assert float(trainer.callback_metrics["train_accuracy_step"]) == pytest.approx(accuracy(24, 29))
    assert float(trainer.callback_metrics["train_accuracy_epoch"]) == pytest.approx(accuracy(0, 29))


def test_options_of_log_are_passed_on(tmp_path: Path) -> None:
    module = Scorer(Metrics("multiclass", num_classes=CLASSES), prog_bar=True)
    trainer = trainer_in(tmp_path, max_epochs=1)
    trainer.fit(module, loader(0, 29), loader(29, 50))
    assert trainer.progress_bar_metrics == {"train_accuracy": pytest.approx(accuracy(0, 29))}


def test_key() -> None:
    logged: list[str] = []

    class Module:
        def log(self, name: str, value: Any, **options: Any) -> None:
            assert isinstance(value, Metric)
            logged.append(name)

    metrics = Metrics("multiclass", ["acc"], num_classes=CLASSES, key="{stage}/{name}")
    metrics.log(Module(), "val", SCORES, LABELS)  # type: ignore[arg-type]
    assert logged == ["val/acc"]


@pytest.mark.parametrize(
    ("task", "options", "name", "expected"),
    [
        ("multiclass", {"num_classes": 3}, "accuracy", "MulticlassAccuracy"),
        ("multiclass", {"num_classes": 3}, "F1-Score", "MulticlassF1Score"),
        ("multiclass", {"num_classes": 3}, "iou", "MulticlassJaccardIndex"),
        ("binary", {}, "auroc", "BinaryAUROC"),
        ("binary", {}, "matthews_corr_coef", "BinaryMatthewsCorrCoef"),
        ("multilabel", {"num_labels": 4}, "f1", "MultilabelF1Score"),
        ("regression", {}, "mae", "MeanAbsoluteError"),
        ("regression", {}, "r2", "R2Score"),
    ],
)
def test_names(task: str, options: dict[str, Any], name: str, expected: str) -> None:
    assert [type(metric).__name__ for metric in Metrics(task, [name], **options)["val"].values()] == [expected]


def test_regression_values() -> None:
    metrics = Metrics("regression", ["mse", "rmse", "mae"])
    preds, target = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 8.0])
    metrics.update("test", preds, target)
    values = {name: float(value) for name, value in metrics.compute("test").items()}
    assert values == {"mse": pytest.approx(20 / 3), "rmse": pytest.approx((20 / 3) ** 0.5), "mae": 2.0}
    metrics.reset("test")
    assert metrics["test"]["mse"].update_count == 0


def test_arguments_and_objects() -> None:
    import torchmetrics

    own = torchmetrics.MeanMetric()
    metrics = Metrics("binary", {"fbeta": {"beta": 2.0}, "own": own, "accuracy": {"threshold": 0.9}})
    assert metrics["val"]["fbeta"].beta == 2.0
    assert metrics["val"]["accuracy"].threshold == 0.9
    assert isinstance(metrics["val"]["own"], torchmetrics.MeanMetric)
    assert metrics["val"]["own"] is not metrics["test"]["own"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`Metrics(task='multiclass')` needs `num_classes`"),
        ({"task": "multilabel"}, "needs `num_labels`"),
        ({"task": "multiclas"}, "did you mean 'multiclass'?"),
        (
            {"task": "binary", "metrics": ["acuracy"]},
            "no binary metric named 'acuracy'; did you mean 'accuracy'",
        ),
        ({"task": "regression", "metrics": ["accuracy"]}, "no regression metric named 'accuracy'"),
        (
            {"task": "binary", "metrics": ["confusion_matrix"]},
            "BinaryConfusionMatrix gives more than one",
        ),
        ({"task": "binary", "metrics": ["roc"]}, "BinaryROC gives more than one number"),
        ({"task": "binary", "metrics": ["fbeta"]}, "pass its arguments as `metrics={'fbeta': {...}}`"),
        ({"task": "binary", "metrics": {"accuracy": {"treshold": 1}}}, "treshold"),
        ({"task": "binary", "metrics": {"accuracy": 3}}, "must be a metric object or a mapping"),
        ({"task": "binary", "metrics": "accuracy"}, "must be a list of names"),
        ({"task": "binary", "metrics": []}, "must be a list of names"),
    ],
)
def test_mistakes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException) as error:
        Metrics(**arguments)
    assert message in str(error.value)


def test_unknown_stage() -> None:
    with pytest.raises(MisconfigurationException, match="'train', 'val', 'test', but is 'valid'; did you mean 'val'"):
        Metrics("binary").update("valid", SCORES[:, 0], LABELS)


def test_moves_with_its_module_and_stays_out_of_checkpoints() -> None:
    module = Scorer(Metrics("multiclass", num_classes=CLASSES))
    assert list(module.state_dict()) == ["weight"]
    module.to("meta")
    assert {metric.device.type for metric in module.metrics["val"].values()} == {"meta"}


def test_pickles_and_copies() -> None:
    metrics = Metrics("multiclass", num_classes=CLASSES)
    metrics.update("val", SCORES, LABELS)
    for twin in (pickle.loads(pickle.dumps(metrics)), copy.deepcopy(metrics)):
        assert float(twin.compute("val")["accuracy"]) == pytest.approx(accuracy(0, 50))


def test_declares_its_interface() -> None:
    check_interface(METRICS, Metrics, "this package")
    assert Metrics.interface == METRIC_INTERFACE
