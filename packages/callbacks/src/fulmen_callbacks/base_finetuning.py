"""BaseFinetuning: freeze parts of a model before training, and let them train from some epoch on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import nn
from torch.optim import Optimizer

from fulmen.callback import Callback
from fulmen.errors import CheckpointError
from fulmen.rank import rank_zero_warn
from fulmen_callbacks._scheduler_groups import serve_new_groups

if TYPE_CHECKING:
    from fulmen.module import LightningModule
    from fulmen.trainer import Trainer

_BatchNorm = nn.modules.batchnorm._BatchNorm
#: A module, or modules in lists of lists.
Modules: TypeAlias = nn.Module | Iterable["Modules"]


class BaseFinetuning(Callback):
    """Freeze modules before training, and unfreeze them in epochs of your choice.

    A subclass defines :meth:`freeze_before_training` and :meth:`finetune_function`. In ``configure_optimizers`` pass
    only what trains: ``filter(lambda p: p.requires_grad, self.parameters())``. Parameters that join later get a
    parameter group of their own, which the learning-rate schedulers serve like the first. A resumed run has the groups
    and the frozen and unfrozen parts of the run before.
    """

    interface = (1, 0)

    def __init__(self) -> None:
        #: optimizer's number -> its parameter groups, with the names of their parameters
        self._internal_optimizer_metadata: dict[int, list[dict[str, Any]]] = {}
        self._trainable: list[str] | None = None  # names of the parameters that train
        self._tracking: dict[str, bool] = {}  # names of batch norms -> whether they update their statistics
        self._is_resumed = False

    # -------------------------------------------------------------------------- what a subclass defines

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze modules; called before ``configure_optimizers``."""
        raise NotImplementedError(f"`{type(self).__name__}` must define `freeze_before_training(self, pl_module)`")

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Unfreeze modules, or change rates; called for each optimizer when an epoch begins, the first being 0."""
        raise NotImplementedError(
            f"`{type(self).__name__}` must define `finetune_function(self, pl_module, epoch, optimizer)`"
        )

    # --------------------------------------------------------------------------------- what it may use

    @staticmethod
    def flatten_modules(modules: Modules) -> list[nn.Module]:
        """Return the modules, at any depth, that have parameters of their own or no children."""
        if isinstance(modules, nn.ModuleDict):
            modules = modules.values()
        if isinstance(modules, nn.Module) and not isinstance(modules, Iterable):
            return [one for one in modules.modules() if not list(one.children()) or one._parameters]
        return [one for each in modules for one in BaseFinetuning.flatten_modules(each)]

    @staticmethod
    def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Iterator[nn.Parameter]:
        """Yield the parameters that are trained, or those that are not.

        Args:
            modules: where to look.
            train_bn: include batch norms.
            requires_grad: whether those that are trained, or those that are frozen.
        """
        for module in BaseFinetuning.flatten_modules(modules):
            if train_bn or not isinstance(module, _BatchNorm):
                yield from (one for one in module.parameters(recurse=False) if one.requires_grad == requires_grad)

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Let modules train, batch norms with their statistics."""
        for module in BaseFinetuning.flatten_modules(modules):
            if isinstance(module, _BatchNorm):
                module.track_running_stats = True
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad = True

    @staticmethod
    def freeze_module(module: nn.Module) -> None:
        """Freeze the parameters that a module holds itself, and a batch norm's statistics."""
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Freeze modules at any depth.

        Args:
            modules: what to freeze.
            train_bn: let batch norms train all the same.
        """
        for module in BaseFinetuning.flatten_modules(modules):
            if isinstance(module, _BatchNorm) and train_bn:
                BaseFinetuning.make_trainable(module)
            else:
                BaseFinetuning.freeze_module(module)

    @staticmethod
    def filter_on_optimizer(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """Return the parameters that the optimizer does not have yet."""
        present = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        return [parameter for parameter in params if id(parameter) not in present]

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Modules,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Unfreeze modules and give their parameters to an optimizer, as a new group.

        Args:
            modules: what to unfreeze.
            optimizer: what trains them from now on.
            lr: the group's learning rate; ``None`` for that of the first group divided by ``initial_denom_lr``.
            initial_denom_lr: see ``lr``.
            train_bn: give the optimizer the parameters of batch norms, too.
        """
        frozen = {id(parameter) for parameter in BaseFinetuning.filter_params(modules, requires_grad=False)}
        BaseFinetuning.make_trainable(modules)
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else float(lr)
        parameters = list(BaseFinetuning.filter_params(modules, train_bn=train_bn, requires_grad=True))
        new = BaseFinetuning.filter_on_optimizer(optimizer, parameters)
        already = len(frozen & {id(parameter) for parameter in parameters} - {id(parameter) for parameter in new})
        if already:
            rank_zero_warn(
                f"{type(optimizer).__name__} was given {already} parameters while they were frozen, so they train with "
                "the rate of their group from now on; in `configure_optimizers` pass only those that train: "
                "`filter(lambda p: p.requires_grad, self.parameters())`"
            )
        if new:
            optimizer.add_param_group({"params": new, "lr": rate})

    # --------------------------------------------------------------------------------------------- hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.freeze_before_training(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The trainer gives the optimizers their state back after this hook, when they have all their groups.
        goes_on = trainer.current_epoch > 0 and bool(self._internal_optimizer_metadata)  # a second fit of the module
        if not (self._is_resumed or goes_on):
            self._internal_optimizer_metadata, self._trainable, self._tracking = {}, None, {}
            return
        self._is_resumed = False
        parameters = dict(pl_module.named_parameters())
        names = {name for each in self._internal_optimizer_metadata.values() for one in each for name in one["params"]}
        missing = sorted(names - set(parameters))
        if missing:
            raise CheckpointError(
                f"the checkpoint's optimizers train {', '.join(missing[:3])}, which `{type(pl_module).__name__}` does "
                "not have; use the module that it was saved with"
            )
        for number, optimizer in enumerate(trainer.optimizers):
            groups = self._internal_optimizer_metadata.get(number, [])
            for group in groups[len(optimizer.param_groups) :]:
                optimizer.add_param_group({**group, "params": [parameters[name] for name in group["params"]]})
            self._tell_schedulers(trainer, optimizer)
        trainable = names if self._trainable is None else set(self._trainable)
        for name, parameter in parameters.items():
            parameter.requires_grad = name in trainable or (self._trainable is None and parameter.requires_grad)
        for name, module in pl_module.named_modules():
            if isinstance(module, _BatchNorm) and name in self._tracking:
                module.track_running_stats = self._tracking[name]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number, optimizer in enumerate(trainer.optimizers):
            before = len(optimizer.param_groups)
            self.finetune_function(pl_module, trainer.current_epoch, optimizer)
            if len(optimizer.param_groups) > before:
                self._tell_schedulers(trainer, optimizer)
            self._remember(pl_module, number, optimizer)

    @staticmethod
    def _tell_schedulers(trainer: Trainer, optimizer: Optimizer) -> None:
        for config in trainer.lr_scheduler_configs:
            if config.scheduler.optimizer is optimizer:
                serve_new_groups(config.scheduler)

    def _remember(self, pl_module: LightningModule, number: int, optimizer: Optimizer) -> None:
        name_of = {id(parameter): name for name, parameter in pl_module.named_parameters()}
        self._internal_optimizer_metadata[number] = [
            {**group, "params": [name_of[id(one)] for one in group["params"] if id(one) in name_of]}
            for group in optimizer.param_groups
        ]
        self._trainable = [name for name, parameter in pl_module.named_parameters() if parameter.requires_grad]
        self._tracking = {
            name: module.track_running_stats
            for name, module in pl_module.named_modules()
            if isinstance(module, _BatchNorm)
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "internal_optimizer_metadata": self._internal_optimizer_metadata,
            "trainable": self._trainable,
            "tracking": self._tracking,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._is_resumed = True
        self._internal_optimizer_metadata = dict(state_dict["internal_optimizer_metadata"])
        self._trainable = state_dict.get("trainable")
        self._tracking = state_dict.get("tracking", {})
