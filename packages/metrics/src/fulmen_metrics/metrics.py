"""Metrics: torchmetrics by name, with states of their own for training, validation and testing."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fulmen.errors import MisconfigurationException, nearest

if TYPE_CHECKING:
    import torchmetrics

    from fulmen.module import LightningModule

_CLASS_PREFIX = {"binary": "Binary", "multiclass": "Multiclass", "multilabel": "Multilabel", "regression": ""}
_COUNT_ARGUMENT = {"multiclass": "num_classes", "multilabel": "num_labels"}
_STAGES = ("train", "val", "test")

#: Short names -> the class's name without the task, and arguments that the short name stands for.
_SHORT: dict[str, tuple[str, dict[str, Any]]] = {
    "acc": ("Accuracy", {}),
    "ap": ("AveragePrecision", {}),
    "f1": ("F1Score", {}),
    "fbeta": ("FBetaScore", {}),
    "iou": ("JaccardIndex", {}),
    "kappa": ("CohenKappa", {}),
    "mae": ("MeanAbsoluteError", {}),
    "mape": ("MeanAbsolutePercentageError", {}),
    "mcc": ("MatthewsCorrCoef", {}),
    "mse": ("MeanSquaredError", {}),
    "msle": ("MeanSquaredLogError", {}),
    "pearson": ("PearsonCorrCoef", {}),
    "r2": ("R2Score", {}),
    "rmse": ("MeanSquaredError", {"squared": False}),
    "spearman": ("SpearmanCorrCoef", {}),
}

#: These give curves, tables or pairs, which cannot be logged as one number.
_NOT_ONE_NUMBER = (
    "Curve",
    "ROC",
    "ConfusionMatrix",
    "StatScores",
    "AtFixed",
    "AtSpecificity",
    "AtSensitivity",
    "BinaryFairness",
    "BinaryGroupStatRates",
)


class Metrics(nn.Module):
    """A set of torchmetrics, kept apart for each stage, so that validation never mixes into training.

    One line in each step updates and logs all of them; the values go out at the end of the epoch, over the
    whole epoch::

        self.metrics = Metrics("multiclass", num_classes=10, metrics=["accuracy", "f1"])   # in __init__
        self.metrics.log(self, "val", logits, target)   # in validation_step: val_accuracy, val_f1

    Args:
        task: ``"binary"``, ``"multiclass"``, ``"multilabel"`` or ``"regression"``.
        metrics: names of torchmetrics of that task, such as ``"accuracy"``, ``"f1"``, ``"auroc"``, ``"mse"``;
            or a mapping from the name in the log to the arguments of the metric of that name, or to a metric
            object.
        num_classes: how many classes there are; needed for ``"multiclass"``.
        num_labels: how many labels there are; needed for ``"multilabel"``.
        key: how the logged name is made of ``{stage}`` and ``{name}``.

    Accuracy over several classes counts all samples alike (``average="micro"``); the other metrics keep
    torchmetrics' defaults, which for several classes is their mean over classes (``average="macro"``).

    Raises:
        MisconfigurationException: the task or a metric is unknown, a needed argument is missing, or a metric
            gives more than one number.
    """

    interface = (1, 0)

    def __init__(
        self,
        task: str = "multiclass",
        metrics: Sequence[str] | Mapping[str, Mapping[str, Any] | torchmetrics.Metric] = ("accuracy",),
        *,
        num_classes: int | None = None,
        num_labels: int | None = None,
        key: str = "{stage}_{name}",
    ) -> None:
        super().__init__()
        torchmetrics = _torchmetrics()
        if task not in _CLASS_PREFIX:
            raise MisconfigurationException(
                f"`task` must be one of {', '.join(map(repr, _CLASS_PREFIX))}, but is {task!r}"
                f"{nearest(str(task), _CLASS_PREFIX)}"
            )
        common: dict[str, Any] = {}
        needed = _COUNT_ARGUMENT.get(task)
        if needed is not None:
            count = num_classes if needed == "num_classes" else num_labels
            if count is None:
                raise MisconfigurationException(
                    f"`Metrics(task={task!r})` needs `{needed}`; pass `{needed}=10` for ten of them"
                )
            common[needed] = count
        if isinstance(metrics, str) or not metrics:
            raise MisconfigurationException(
                f"`metrics` must be a list of names, such as ['accuracy', 'f1'], but is {metrics!r}"
            )
        wanted = metrics if isinstance(metrics, Mapping) else {name: {} for name in metrics}
        made: dict[str, Any] = {name: _make(task, name, what, common) for name, what in wanted.items()}
        self.task = task
        self.key = key
        # Members that share one state (compute groups) cannot be logged and reset one by one.
        self._collections = nn.ModuleDict(
            {_slot(stage): torchmetrics.MetricCollection(made, compute_groups=False).clone() for stage in _STAGES}
        )

    def __getitem__(self, stage: str) -> torchmetrics.MetricCollection:
        """Return the metrics of a stage: ``"train"``, ``"val"`` or ``"test"``."""
        if stage not in _STAGES:
            raise MisconfigurationException(
                f"`stage` must be one of {', '.join(map(repr, _STAGES))}, but is {stage!r}{nearest(stage, _STAGES)}"
            )
        collection: Any = self._collections[_slot(stage)]
        return collection  # type: ignore[no-any-return]

    def update(self, stage: str, preds: Tensor, target: Tensor) -> None:
        """Add a batch to a stage's metrics.

        Args:
            stage: ``"train"``, ``"val"`` or ``"test"``.
            preds: what the model gave; for classification scores ``(N, classes)`` or labels ``(N,)``.
            target: what is true; for classification labels ``(N,)``.
        """
        self[stage].update(preds, target)

    def log(self, module: LightningModule, stage: str, preds: Tensor, target: Tensor, **options: Any) -> None:
        """Add a batch to a stage's metrics and log them all; each value is that over the whole epoch.

        Args:
            module: the module in whose step this is, ``self`` there.
            stage: ``"train"``, ``"val"`` or ``"test"``.
            preds: what the model gave, as for :meth:`update`.
            target: what is true.
            options: further arguments of ``LightningModule.log``, such as ``prog_bar=True``. With
                ``on_step=True`` the value of each batch is logged too.
        """
        collection = self[stage]
        options = {"on_step": False, "on_epoch": True, **options}
        if options["on_step"]:
            collection(preds, target)  # keeps the batch's own value, at the price of a second update
        else:
            collection.update(preds, target)
        for name, metric in collection.items(keep_base=True, copy_state=False):
            module.log(self.key.format(stage=stage, name=name), metric, **options)

    def compute(self, stage: str) -> dict[str, Tensor]:
        """Return name -> value over everything since the last reset."""
        return dict(self[stage].compute())

    def reset(self, stage: str) -> None:
        """Forget all batches of a stage."""
        self[stage].reset()


def _torchmetrics() -> Any:
    """Import torchmetrics, and before it a torchvision that needs ``fulmen.vision`` to be imported."""
    try:
        return importlib.import_module("torchmetrics")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    from fulmen.vision import import_torchvision

    import_torchvision()
    return importlib.import_module("torchmetrics")


def _slot(stage: str) -> str:
    return f"of_{stage}"  # `train` is a method of every module, so no child can have that name


def _make(
    task: str, name: str, what: Mapping[str, Any] | torchmetrics.Metric, common: Mapping[str, Any]
) -> torchmetrics.Metric:
    """Make one metric from its name and arguments; a metric object is taken as it is."""
    if isinstance(what, _torchmetrics().Metric):
        own: torchmetrics.Metric = what
        return own
    if not isinstance(what, Mapping):
        raise MisconfigurationException(
            f"`metrics[{name!r}]` must be a metric object or a mapping of its arguments, but is {what!r}"
        )
    cls, implied = _find(task, name)
    arguments = {**common, **implied, **what}
    if cls.__name__ == "MulticlassAccuracy":
        arguments.setdefault("average", "micro")
    if task == "regression":
        arguments = {**implied, **what}
    try:
        metric: torchmetrics.Metric = cls(**arguments)
    except (TypeError, ValueError) as error:
        raise MisconfigurationException(
            f"{cls.__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())}) cannot be made: "
            f"{error}; pass its arguments as `metrics={{{name!r}: {{...}}}}`"
        ) from error
    return metric


def _find(task: str, name: str) -> tuple[type, dict[str, Any]]:
    """Return the torchmetrics class that ``name`` means for a task, and arguments that the name implies."""
    torchmetrics = _torchmetrics()
    prefix = _CLASS_PREFIX[task]
    package = torchmetrics.regression if task == "regression" else torchmetrics.classification
    classes = {_plain(cls_name[len(prefix) :]): cls_name for cls_name in package.__all__ if cls_name.startswith(prefix)}
    short, implied = _SHORT.get(_plain(name), (name, {}))
    cls_name = classes.get(_plain(short))
    if cls_name is None:
        usable = {plain for plain, full in classes.items() if not _gives_several(full)}
        usable |= {word for word, (full, _) in _SHORT.items() if _plain(full) in classes}
        raise MisconfigurationException(
            f"there is no {task} metric named {name!r}{nearest(_plain(name), usable)}; known are: "
            f"{', '.join(sorted(usable))}"
        )
    if _gives_several(cls_name):
        raise MisconfigurationException(
            f"{cls_name} gives more than one number, so it cannot be logged as one; keep a "
            f"torchmetrics.{cls_name} in the module and log what you need of it with `self.log_dict`"
        )
    return getattr(package, cls_name), implied


def _gives_several(cls_name: str) -> bool:
    return any(part in cls_name for part in _NOT_ONE_NUMBER) and not cls_name.endswith("AUROC")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
