"""ModelPruning: set weights to zero while training, and keep them there."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from fulmen.callback import Callback
from fulmen.errors import MisconfigurationException, nearest
from fulmen.module import LightningModule
from fulmen.rank import rank_zero_info

if TYPE_CHECKING:
    from fulmen.trainer import Trainer

Target = tuple[nn.Module, str]

#: name -> (function for one parameter, method for all parameters together)
_METHODS: dict[str, tuple[Callable[..., Any], type[prune.BasePruningMethod]]] = {
    "ln_structured": (prune.ln_structured, prune.LnStructured),
    "l1_unstructured": (prune.l1_unstructured, prune.L1Unstructured),
    "random_structured": (prune.random_structured, prune.RandomStructured),
    "random_unstructured": (prune.random_unstructured, prune.RandomUnstructured),
}
_CONTAINERS = (LightningModule, nn.Sequential, nn.ModuleList, nn.ModuleDict)


class ModelPruning(Callback):
    """Prune weights at the end of epochs, by ``torch.nn.utils.prune``: what is pruned is zero and stays zero.

    A checkpoint holds the pruned weights under their own names, and the masks, so that a resumed run keeps what was
    pruned. With the lottery ticket hypothesis (Frankle and Carbin, arXiv 1803.03635) the weights that remain go back to
    their values at the start after each pruning.

    Args:
        pruning_fn: ``"l1_unstructured"``, ``"random_unstructured"``, ``"ln_structured"``, ``"random_structured"``, or a
            class derived from ``torch.nn.utils.prune.BasePruningMethod``.
        parameters_to_prune: pairs ``(module, name)``; by default all layers' ``weight`` and ``bias``.
        parameter_names: which of ``"weight"`` and ``"bias"``, where no pairs are given.
        use_global_unstructured: prune all parameters together, the least of all of them, not each by itself.
        amount: how many to prune: a fraction 0.0 to 1.0 of what is left, a whole number, or a function of the epoch.
        apply_pruning: whether to prune at all, or a function of the epoch.
        make_pruning_permanent: save, and end with, plain weights; with ``False`` torch's masks stay in the module.
        use_lottery_ticket_hypothesis: whether to go back to the weights of the start, or a function of the epoch.
        resample_parameters: go back to newly drawn weights instead, by ``reset_parameters``.
        pruning_dim: the dimension of structured pruning.
        pruning_norm: the norm of ``"ln_structured"``.
        verbose: 1 says how much is pruned, 2 for each parameter, too.
        prune_on_train_epoch_end: prune at the end of training epochs, or else of validations.

    Raises:
        MisconfigurationException: an argument is unknown, out of range, or missing for this way of pruning; or, when
            ``fit`` begins, a parameter is not in the module.
    """

    interface = (1, 0)
    changes_final_weights: ClassVar[bool] = True

    PARAMETER_NAMES = ("weight", "bias")

    def __init__(
        self,
        pruning_fn: str | type[prune.BasePruningMethod],
        parameters_to_prune: Sequence[Target] = (),
        parameter_names: Sequence[str] | None = None,
        use_global_unstructured: bool = True,
        amount: int | float | Callable[[int], int | float] = 0.5,
        apply_pruning: bool | Callable[[int], bool] = True,
        make_pruning_permanent: bool = True,
        use_lottery_ticket_hypothesis: bool | Callable[[int], bool] = True,
        resample_parameters: bool = False,
        pruning_dim: int | None = None,
        pruning_norm: int | None = None,
        verbose: int = 0,
        prune_on_train_epoch_end: bool = True,
    ) -> None:
        for name in parameter_names or ():
            if name not in self.PARAMETER_NAMES:
                raise MisconfigurationException(f"`parameter_names` may hold 'weight' and 'bias', but has {name!r}")
        if verbose not in (0, 1, 2):
            raise MisconfigurationException(f"`verbose` must be 0, 1 or 2, but is {verbose!r}")
        if not callable(amount):
            _check_amount(amount)
        self._arguments: dict[str, Any] = {}
        self.pruning_fn = self._method(pruning_fn, use_global_unstructured, pruning_dim, pruning_norm)
        self._given = parameters_to_prune
        self._parameter_names = tuple(parameter_names or self.PARAMETER_NAMES)
        self._use_global_unstructured = use_global_unstructured
        self.amount = amount
        self._apply_pruning = apply_pruning
        self._make_pruning_permanent = make_pruning_permanent
        self._use_lottery_ticket_hypothesis = use_lottery_ticket_hypothesis
        self._resample_parameters = resample_parameters
        self._verbose = verbose
        self._prune_on_train_epoch_end = prune_on_train_epoch_end
        self._parameters_to_prune: Sequence[Target] = ()
        self._names: list[str] = []  # of these parameters, from the module
        self._initial: dict[str, Tensor] = {}
        self._drawn: dict[int, nn.Module] = {}  # copies of modules whose weights are drawn anew
        self._masks: dict[str, Tensor] = {}  # those of a checkpoint, or those that were made permanent

    def _method(self, pruning_fn: Any, together: bool, dim: int | None, norm: int | None) -> Any:
        """Return the method for all parameters together, or the function for one; note what else it needs."""
        if isinstance(pruning_fn, str):
            name = pruning_fn.lower()
            if name not in _METHODS:
                raise MisconfigurationException(
                    f"`pruning_fn={pruning_fn!r}` is unknown{nearest(name, _METHODS)}; known are: {', '.join(_METHODS)}"
                )
            if name.endswith("_structured") and not name.endswith("unstructured"):
                if dim is None:
                    raise MisconfigurationException(f"`pruning_fn={name!r}` needs `pruning_dim`, such as 0")
                self._arguments["dim"] = dim
                if name == "ln_structured":
                    if norm is None:
                        raise MisconfigurationException("`pruning_fn='ln_structured'` needs `pruning_norm`, such as 2")
                    self._arguments["n"] = norm
            function, method = _METHODS[name]
        elif inspect.isclass(pruning_fn) and issubclass(pruning_fn, prune.BasePruningMethod):
            if not together:
                raise MisconfigurationException(
                    f"`pruning_fn={pruning_fn.__name__}` works with `use_global_unstructured=True` only"
                )
            function, method = pruning_fn, pruning_fn
        else:
            raise MisconfigurationException(
                f"`pruning_fn` must be one of {', '.join(map(repr, _METHODS))} or a class derived from "
                f"torch.nn.utils.prune.BasePruningMethod, but is {pruning_fn!r:.80}"
            )
        if together and getattr(method, "PRUNING_TYPE", None) != "unstructured":
            raise MisconfigurationException(
                f"`pruning_fn={pruning_fn!r}` is structured, which `use_global_unstructured=True` cannot do; pass False"
            )
        return method if together else function

    # --------------------------------------------------------------------------------- what a subclass may use

    def filter_parameters_to_prune(self, parameters_to_prune: Sequence[Target] = ()) -> Sequence[Target]:
        """Return those of the parameters that shall be pruned; all, unless overridden."""
        return parameters_to_prune

    def apply_pruning(self, amount: int | float) -> None:
        """Prune now."""
        before = self._counts() if self._verbose else []
        if self._use_global_unstructured:
            known = inspect.signature(self.pruning_fn).parameters
            further = {name: value for name, value in {**self._arguments, "amount": amount}.items() if name in known}
            prune.global_unstructured(self._parameters_to_prune, pruning_method=self.pruning_fn, **further)
        else:
            for module, name in self._parameters_to_prune:
                self.pruning_fn(module, name=name, amount=amount, **self._arguments)
        if self._verbose:
            self._say(before, self._counts())

    def apply_lottery_ticket_hypothesis(self) -> None:
        """Give the parameters the values that they had at the start, or newly drawn ones."""
        for (module, name), key in zip(self._parameters_to_prune, self._names, strict=True):
            value = self._initial[key]
            drawn = self._drawn.get(id(module))
            if drawn is not None:
                drawn.reset_parameters()  # type: ignore[operator]
                value = getattr(drawn, name).detach()
            target = getattr(module, f"{name}_orig" if hasattr(module, f"{name}_orig") else name)
            target.data.copy_(value)

    def make_pruning_permanent(self, module: nn.Module) -> None:
        """Make plain parameters of pruned ones, in a module and all below it."""
        for layer in module.modules():
            for key, hook in list(layer._forward_pre_hooks.items()):
                if isinstance(hook, prune.BasePruningMethod):
                    hook.remove(layer)
                    del layer._forward_pre_hooks[key]

    # --------------------------------------------------------------------------------------------- hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._parameters_to_prune = self.filter_parameters_to_prune(self._targets(pl_module))
        names = {id(module): name for name, module in pl_module.named_modules()}
        self._names = [f"{names[id(module)]}.{name}" for module, name in self._parameters_to_prune]
        self._initial, self._masks = {}, {}
        # Copied now: a pruned module cannot be.
        modules = {id(module): module for module, _ in self._parameters_to_prune if self._resample_parameters}
        self._drawn = {
            key: copy.deepcopy(one) for key, one in modules.items() if callable(getattr(one, "reset_parameters", None))
        }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for (module, name), key in zip(self._parameters_to_prune, self._names, strict=True):
            if self._use_lottery_ticket_hypothesis and key not in self._initial:
                self._initial[key] = getattr(module, name).detach().clone()
            if key in self._masks and not hasattr(module, f"{name}_mask"):
                prune.custom_from_mask(module, name, self._masks[key].to(pl_module.device))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._prune_on_train_epoch_end:
            self._run_pruning(trainer.current_epoch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._prune_on_train_epoch_end and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._run_pruning(trainer.current_epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._make_pruning_permanent:
            self._masks = self._current_masks()
            self.make_pruning_permanent(pl_module)

    def _run_pruning(self, epoch: int) -> None:
        amount = self.amount(epoch) if callable(self.amount) else self.amount
        _check_amount(amount)
        if not amount or not _of_epoch(self._apply_pruning, epoch):
            return
        with torch.inference_mode(False):  # validation is over, but its mode is not
            self.apply_pruning(amount)
            if _of_epoch(self._use_lottery_ticket_hypothesis, epoch):
                self.apply_lottery_ticket_hypothesis()

    # --------------------------------------------------------------------------------------------- state

    def _current_masks(self) -> dict[str, Tensor]:
        found = {
            key: getattr(module, f"{name}_mask")
            for (module, name), key in zip(self._parameters_to_prune, self._names, strict=True)
            if hasattr(module, f"{name}_mask")
        }
        return found or self._masks

    def state_dict(self) -> dict[str, Any]:
        return {"masks": self._current_masks(), "initial": self._initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._masks, self._initial = dict(state_dict["masks"]), dict(state_dict["initial"])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._make_pruning_permanent:
            return
        weights = checkpoint["state_dict"]
        plain: dict[str, Any] = {}
        for key, value in weights.items():
            name = key.removesuffix("_orig")
            if name != key and f"{name}_mask" in weights:
                plain[name] = value * weights[f"{name}_mask"]
            elif not (key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in weights):
                plain[key] = value
        checkpoint["state_dict"] = plain

    # ------------------------------------------------------------------------------------------ the rest

    def _targets(self, pl_module: LightningModule) -> Sequence[Target]:
        layers = [module for module in pl_module.modules() if not isinstance(module, _CONTAINERS)]
        if not self._given:
            names = self._parameter_names
            return [(m, name) for name in names for m in layers if isinstance(getattr(m, name, None), nn.Parameter)]
        known = {id(module) for module in pl_module.modules()}
        for pair in self._given:
            is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], nn.Module)
            if not is_pair or not isinstance(pair[1], str):
                raise MisconfigurationException(
                    f"`parameters_to_prune` must hold pairs (module, name), but has {pair!r:.80}"
                )
            module, name = pair
            if id(module) not in known or not isinstance(getattr(module, name, None), nn.Parameter):
                raise MisconfigurationException(
                    f"`parameters_to_prune` has {name!r} of {module!r:.60}, which is not in "
                    f"`{type(pl_module).__name__}`; take the modules from the model that is trained"
                )
        return self._given

    def _counts(self) -> list[tuple[int, int]]:
        """Return for each parameter how many values are pruned, and how many there are."""
        counts = []
        for module, name in self._parameters_to_prune:
            mask = getattr(module, f"{name}_mask", None)
            total = getattr(module, name).numel()
            counts.append((0 if mask is None else int((mask == 0).sum()), total))
        return counts

    def _say(self, before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
        total = sum(count for _, count in after)
        was, now = sum(zeros for zeros, _ in before), sum(zeros for zeros, _ in after)
        rank_zero_info(f"pruned: {now} of {total} weights ({now / total:.2%}), before {was} ({was / total:.2%})")
        if self._verbose == 2:
            for key, (zeros, count) in zip(self._names, after, strict=True):
                rank_zero_info(f"pruned of {key}: {zeros} of {count} ({zeros / count:.2%})")


def _of_epoch(switch: bool | Callable[[int], bool], epoch: int) -> bool:
    return switch(epoch) if callable(switch) else switch


def _check_amount(amount: Any) -> None:
    is_number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    if not is_number or amount < 0 or (isinstance(amount, float) and amount > 1):
        raise MisconfigurationException(
            f"`amount` must be a fraction 0.0 to 1.0, a whole number >= 0, or a function of the epoch, not {amount!r}"
        )
