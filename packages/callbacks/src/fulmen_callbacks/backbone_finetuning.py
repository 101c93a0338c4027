"""BackboneFinetuning: train the head first, and the pretrained backbone with it from some epoch on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from fulmen.errors import MisconfigurationException
from fulmen.rank import rank_zero_info
from fulmen_callbacks.base_finetuning import BaseFinetuning

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer


def multiplicative(epoch: int) -> float:
    """Return 2 for every epoch: the rate doubles from epoch to epoch."""
    return 2.0


class BackboneFinetuning(BaseFinetuning):
    """Freeze ``pl_module.backbone``, and unfreeze it in a later epoch at a learning rate that grows.

    Args:
        unfreeze_backbone_at_epoch: the first epoch in which the backbone trains, the first of all being 0.
        lambda_func: epoch -> what the backbone's rate is multiplied by when that epoch begins.
        backbone_initial_ratio_lr: the backbone's first rate as a fraction of the first group's.
        backbone_initial_lr: the backbone's first rate itself, in place of the fraction.
        should_align: never let the backbone's rate be above the first group's.
        initial_denom_lr: accepted for programs that pass it; the two arguments above say the rate.
        train_bn: give the optimizer the backbone's batch norms, too.
        verbose: say both rates when an epoch begins.
        rounding: digits of what is said.

    Raises:
        MisconfigurationException: an argument is out of range; or, when ``fit`` begins, the module has no ``backbone``.
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = multiplicative,
        backbone_initial_ratio_lr: float = 0.1,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        if unfreeze_backbone_at_epoch < 0:
            raise MisconfigurationException(
                f"`unfreeze_backbone_at_epoch` must be >= 0, but is {unfreeze_backbone_at_epoch}; the first epoch is 0"
            )
        if not callable(lambda_func):
            raise MisconfigurationException(f"`lambda_func` must be a function of the epoch, but is {lambda_func!r}")
        for name, value in (
            ("backbone_initial_ratio_lr", backbone_initial_ratio_lr),
            ("backbone_initial_lr", backbone_initial_lr),
        ):
            if value is not None and value < 0:
                raise MisconfigurationException(f"`{name}` must be >= 0, but is {value}")
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align = should_align
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = train_bn
        self.verbose = verbose
        self.rounding = rounding
        #: the backbone's rate in this epoch; ``None`` while it is frozen
        self.previous_backbone_lr: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not isinstance(getattr(pl_module, "backbone", None), nn.Module):
            raise MisconfigurationException(
                f"`BackboneFinetuning` freezes `backbone`, but `{type(pl_module).__name__}` has no such module; "
                "rename it, or derive from BaseFinetuning"
            )
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        rate = float(optimizer.param_groups[0]["lr"])
        if epoch < self.unfreeze_backbone_at_epoch:
            return
        if epoch == self.unfreeze_backbone_at_epoch:
            given = self.backbone_initial_lr
            self.previous_backbone_lr = rate * self.backbone_initial_ratio_lr if given is None else given
            self.unfreeze_and_add_param_group(
                pl_module.backbone,
                optimizer,
                self.previous_backbone_lr,
                train_bn=self.train_bn,
                initial_denom_lr=self.initial_denom_lr,
            )
        elif self.previous_backbone_lr is not None:
            next_rate = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            self.previous_backbone_lr = min(next_rate, rate) if self.should_align else next_rate
            for group in self._groups_of_backbone(pl_module, optimizer):
                group["lr"] = self.previous_backbone_lr
        if self.verbose and self.previous_backbone_lr is not None:
            rank_zero_info(
                "learning rates: %s, backbone %s",
                round(rate, self.rounding),
                round(self.previous_backbone_lr, self.rounding),
            )

    @staticmethod
    def _groups_of_backbone(pl_module: LightningModule, optimizer: Optimizer) -> list[dict[str, Any]]:
        """Return the groups that were added for the backbone; none where the optimizer had it from the start."""
        own = {id(parameter) for parameter in pl_module.backbone.parameters()}  # type: ignore[union-attr]
        return [group for group in optimizer.param_groups[1:] if any(id(one) in own for one in group["params"])]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]
        super().load_state_dict(state_dict)
