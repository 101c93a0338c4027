"""One optimization step: from a batch to changed weights, in the standard order of hooks.

The common case runs straight through: ``training_step``, zero gradients, backward, clip, ``optimizer.step()``. Where
somebody overrides ``optimizer_step``, or the optimizer evaluates the loss several times (LBFGS), the first three become
the closure that the optimizer is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import LBFGS, Optimizer

from fulmen.advice import advise, code_of
from fulmen.errors import MisconfigurationException
from fulmen.hardware.precision import Precision
from fulmen.hooks import HookTable, is_overridden, taking
from fulmen.loops.weights import WindowWeights
from fulmen.module import LightningModule, require_scalar_loss
from fulmen.optimizers import LightningOptimizer
from fulmen.options import Clipping
from fulmen.progress import Progress
from fulmen.results import Results, Scope


class Optimization:
    """What a fit does with each batch, resolved once before its loop.

    Args:
        optimizers: those that ``configure_optimizers`` returned.
        module: the module that trains.
        hooks: which hooks are overridden.
        results: where ``self.log`` of training puts its values.
        precision: contexts and loss scaling.
        clipping: the trainer's clipping arguments.
        progress: the counters; an optimizer step counts up ``global_step``.
        step: what a batch goes through; ``training_step`` by default.
        counts: whether its steps are those that ``global_step`` counts.
    """

    def __init__(
        self,
        optimizers: list[Optimizer],
        module: LightningModule,
        hooks: HookTable,
        results: Results,
        precision: Precision,
        clipping: Clipping,
        progress: Progress,
        step: Callable[..., Any] | None = None,
        counts: bool = True,
    ) -> None:
        self._module = module
        self._optimizers = optimizers
        self._hooks = hooks
        self._results = results
        self._precision = precision
        self._clipping = clipping
        self._progress = progress
        #: batches whose gradients make one step; callbacks may change it between epochs
        self.accumulate = 1
        self._warned_of_none = False

        def own(name: str) -> bool:
            return is_overridden(name, module, LightningModule)

        self._counts = int(counts)
        #: whether the scale of ``16-mixed`` changes after each step; several optimizers share one change
        self.updates_scale = True
        self._step_name = getattr(step, "__name__", "training_step")
        self._step_code = code_of(step if step is not None else module.training_step)
        self._weights = WindowWeights(self._step_name)
        self._training_step = precision.around(taking(step if step is not None else module.training_step, 2))
        self._training_step = hooks.of_strategy(self._step_name, self._training_step)
        self._zero_grad = hooks.of_module("optimizer_zero_grad", self._zero_gradients)
        self._backward = hooks.of_strategy("backward", self._run_backward)
        self._clip = hooks.of_module("configure_gradient_clipping", module.configure_gradient_clipping)
        self._step_scope = results.scope_of("training_step")
        self._zero_grad_hooks = self._scoped("on_before_zero_grad")
        self._before_backward_hooks = self._scoped("on_before_backward")
        self._after_backward_hooks = self._scoped("on_after_backward")
        self._before_step_hooks = self._scoped("on_before_optimizer_step")
        self._own_backward = own("backward")
        self._own_zero_grad = own("optimizer_zero_grad")
        # torch's own `zero_grad` sets each gradient to None behind a profiler's mark, which costs more than the work.
        self._zeroes_directly = not self._own_zero_grad and all(
            type(optimizer).zero_grad is Optimizer.zero_grad and "zero_grad" not in vars(optimizer)
            for optimizer in optimizers
        )
        self._own_optimizer_step = own("optimizer_step")
        self._clips = clipping.value is not None or own("configure_gradient_clipping")
        self._scales = precision.scaler is not None
        self._prepares_step = bool(self._before_step_hooks) or self._clips or self._scales
        self._step = hooks.of_module("optimizer_step", self._scaled_step if self._scales else methodcaller("step"))
        self._step_of_module = hooks.of_module("optimizer_step", module.optimizer_step)
        self._step_with_closure = hooks.of_module("optimizer_step", _step_with_closure)
        self._backward_by_hand = hooks.of_strategy("backward", module.backward)
        self._step_by_hand = hooks.profiler.wrap("optimizer_step", self._run_step_by_hand)
        self._toggled: dict[int, bool] = {}
        self._attach_wrappers()

    def choose(self) -> Callable[[Any, int, bool], Any]:
        """Return the function that runs one batch: ``run(batch, batch_idx, stepping) -> outputs``."""
        if not self._module.automatic_optimization:
            return self.run_manual
        if not self._optimizers:
            return self._run_without_optimizer
        if self._own_optimizer_step or isinstance(self._optimizers[0], LBFGS):
            return self.run_with_closure
        return self.run_automatic

    def stepped_with(self, scheduler: Any) -> bool:
        """Return whether the optimizer of a scheduler took part in the last step."""
        return True

    # ------------------------------------------------------------------------------ automatic optimization

    def run_automatic(self, batch: Any, batch_idx: int, stepping: bool) -> Any:
        """Run one batch straight through."""
        results, optimizer = self._results, self._optimizers[0]
        results.scope = self._step_scope
        output = self._training_step(batch, batch_idx)
        loss = output if type(output) is Tensor else self._loss_of(output)
        if self.accumulate == 1 or batch_idx % self.accumulate == 0:
            self._zero_grad(batch_idx, optimizer)
        if loss is not None:
            if loss.numel() != 1 or not loss.requires_grad:
                require_scalar_loss(loss, self._step_name)
            self._backward(loss)
        if stepping:
            if self._weights.total is not None:
                self._weights.finish(optimizer, self.accumulate)
            if self._prepares_step:
                self._before_step(optimizer)
            self._step(optimizer)
            self._progress.global_step += self._counts
        return output

    def _scaled_step(self, optimizer: Optimizer) -> None:
        self._precision.step(optimizer, self.updates_scale)

    def run_with_closure(self, batch: Any, batch_idx: int, stepping: bool) -> Any:
        """Run one batch inside the optimizer's closure, through the ``optimizer_step`` hook."""
        results, module, optimizer = self._results, self._module, self._optimizers[0]
        outputs: list[Any] = []

        def closure() -> Tensor | None:
            results.scope = self._step_scope
            with torch.enable_grad():
                outputs[:] = [self._training_step(batch, batch_idx)]
                loss = self._loss_of(outputs[0])
                if self.accumulate == 1 or batch_idx % self.accumulate == 0:
                    self._zero_grad(batch_idx, optimizer)
                if loss is not None:
                    require_scalar_loss(loss, self._step_name)
                    loss = self._backward(loss).detach()
            return loss

        if not stepping:
            closure()
            return outputs[0]
        results.scope = results.scope_of("optimizer_step")
        closure_with_hooks = self._then_before_step(closure, optimizer)
        if self._own_optimizer_step:
            wrapper = self._wrappers[0]
            self._step_of_module(self._progress.epoch, batch_idx, wrapper, closure_with_hooks)
        else:
            self._step_with_closure(optimizer, closure_with_hooks)
        self._progress.global_step += self._counts
        if not outputs:
            raise MisconfigurationException(
                f"`{type(module).__name__}.optimizer_step` never called its closure, so no batch was trained on; call "
                "`optimizer.step(closure=optimizer_closure)`, or `optimizer_closure()` on steps that you skip"
            )
        return outputs[0]

    def _run_without_optimizer(self, batch: Any, batch_idx: int, stepping: bool) -> Any:
        self._results.scope = self._step_scope
        output = self._training_step(batch, batch_idx)
        loss = self._loss_of(output)
        if loss is not None and loss.requires_grad:
            self._backward(loss)
        self._progress.global_step += stepping
        return output

    def _loss_of(self, output: Any) -> Tensor | None:
        """Return the loss in what ``training_step`` returned; ``None`` where it skipped the batch."""
        if isinstance(output, Tensor):
            return output
        if isinstance(output, Mapping):
            if "loss" not in output:
                raise MisconfigurationException(
                    f"`{self._step_name}` returned a dict without 'loss' (its keys: {', '.join(map(str, output))}); "
                    "add the loss under that key"
                )
            loss = output["loss"]
            self._weights.of_batch = output.get("weight")
        else:
            loss = output
        if loss is None:
            if not self._warned_of_none:
                self._warned_of_none = True
                advise(
                    "FUL016",
                    f"`{self._step_name}` returned None, so this batch trains nothing; return the loss if it should",
                    where=self._step_code,
                )
            return None
        if not isinstance(loss, Tensor):
            require_scalar_loss(loss, self._step_name)
        return loss  # type: ignore[no-any-return]

    def _zero_gradients(self, batch_idx: int, optimizer: Optimizer) -> None:
        weights = self._weights
        if weights.total is not None or weights.has_unweighted:
            weights.start()
        if self._zero_grad_hooks:
            self._call(self._zero_grad_hooks, optimizer)
        if self._zeroes_directly:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        elif self._own_zero_grad:
            self._module.optimizer_zero_grad(self._progress.epoch, batch_idx, optimizer)
        else:
            optimizer.zero_grad()

    def _run_backward(self, loss: Tensor) -> Tensor:
        """Run backward; return the loss whose gradients were computed, its part of an accumulated one."""
        if self._weights.of_batch is not None:
            loss = self._weights.weigh(loss)
        elif self.accumulate > 1:
            self._weights.has_unweighted = True
            loss = loss / self.accumulate
        if self._before_backward_hooks:
            self._call(self._before_backward_hooks, loss)
        scaled = self._precision.scale(loss) if self._scales else loss
        if self._own_backward:
            self._results.scope = self._results.scope_of("backward")
            self._module.backward(scaled)
        else:
            scaled.backward()
        if self._after_backward_hooks:
            self._call(self._after_backward_hooks)
        return loss

    def _before_step(self, optimizer: Optimizer) -> None:
        """Unscale, run the hooks that look at gradients, and clip."""
        self._precision.unscale(optimizer)
        if self._before_step_hooks:
            self._call(self._before_step_hooks, optimizer)
        if self._clips:
            self._results.scope = self._results.scope_of("configure_gradient_clipping")
            algorithm = self._clipping.algorithm if self._clipping.value is not None else None
            self._clip(optimizer, self._clipping.value, algorithm)

    def _then_before_step(
        self, closure: Callable[[], Tensor | None], optimizer: Optimizer
    ) -> Callable[[], Tensor | None]:
        def closure_with_hooks() -> Tensor | None:
            loss = closure()
            if self._weights.total is not None:
                self._weights.finish(optimizer, self.accumulate)
            self._before_step(optimizer)
            return loss

        return closure_with_hooks

    def _scoped(self, hook: str) -> tuple[Scope, tuple[Callable[..., Any], ...]] | None:
        """Return a hook's calls with the scope in which they log; ``None`` where there are none."""
        calls = getattr(self._hooks, hook)
        return (self._results.scope_of(hook), calls) if calls else None

    def _call(self, scoped: tuple[Scope, tuple[Callable[..., Any], ...]], *args: Any) -> None:
        self._results.scope, calls = scoped
        for call in calls:
            call(*args)

    # --------------------------------------------------------------------------------- manual optimization

    def forward(self, batch: Any, batch_idx: int) -> Any:
        """Run ``training_step`` and nothing else."""
        return self._training_step(batch, batch_idx)

    def run_manual(self, batch: Any, batch_idx: int, stepping: bool) -> Any:
        """Run one batch whose ``training_step`` does backward and steps itself."""
        self._results.scope = self._step_scope
        return self._training_step(batch, batch_idx)

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run backward for ``LightningModule.manual_backward``."""
        if self._module.automatic_optimization:
            raise MisconfigurationException(
                "`manual_backward` needs manual optimization; set `self.automatic_optimization = False` in `__init__`"
            )
        scope = self._results.scope
        if self._before_backward_hooks:
            self._call(self._before_backward_hooks, loss)
        loss = self._precision.scale(loss)
        self._backward_by_hand(loss, *args, **kwargs)
        if self._after_backward_hooks:
            self._call(self._after_backward_hooks)
        self._results.scope = scope

    def _attach_wrappers(self) -> None:
        step = self._step_in_hook if self._module.automatic_optimization else self._step_by_hand
        wrappers = [LightningOptimizer(optimizer, step) for optimizer in self._optimizers]
        for wrapper in wrappers:
            wrapper._toggle, wrapper._untoggle = self.toggle, self.untoggle
        self._wrappers = self._module.__dict__["_optimizer_wrappers"] = wrappers

    def _run_step_by_hand(self, optimizer: Optimizer, closure: Callable[[], Any] | None) -> Any:
        """Do what a wrapper's ``step`` does in manual optimization: with the hooks and the count of steps."""
        scope = self._results.scope

        def closure_with_hooks() -> Any:
            loss = None
            if closure is not None:
                self._results.scope = scope
                with torch.enable_grad():
                    loss = closure()
            self._precision.unscale(optimizer)
            if self._before_step_hooks:
                self._call(self._before_step_hooks, optimizer)
            return loss

        if closure is None or self._precision.scaler is not None:
            outcome = closure_with_hooks()
            self._precision.step(optimizer)
        else:  # it may want the gradients several times
            outcome = optimizer.step(closure_with_hooks)
        if optimizer is self._optimizers[0]:
            self._progress.global_step += 1
        self._results.scope = scope
        return outcome

    def _step_in_hook(self, optimizer: Optimizer, closure: Callable[[], Any] | None) -> Any:
        """Step inside a user's ``optimizer_step`` hook."""
        if self._precision.scaler is None:
            return optimizer.step(closure) if closure is not None else optimizer.step()
        if closure is not None:
            closure()
        self._precision.step(optimizer, self.updates_scale)
        return None

    def toggle(self, optimizer: Optimizer) -> None:
        """Let only this optimizer's parameters require gradients."""
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for other in self._optimizers:
            for group in other.param_groups:
                for parameter in group["params"]:
                    self._toggled.setdefault(id(parameter), parameter.requires_grad)
                    parameter.requires_grad = self._toggled[id(parameter)] and id(parameter) in mine

    def untoggle(self, optimizer: Optimizer) -> None:
        """Give the parameters of the other optimizers back what :meth:`toggle` took."""
        for other in self._optimizers:
            if other is optimizer:  # these require what they did, or what the program has set since
                continue
            for group in other.param_groups:
                for parameter in group["params"]:
                    parameter.requires_grad = self._toggled.get(id(parameter), parameter.requires_grad)
        self._toggled.clear()


def clip_gradients(optimizer: Optimizer, value: float | None, algorithm: str | None) -> None:
    """Clip the gradients of an optimizer's parameters, by norm or by value."""
    if value is None or value <= 0:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if algorithm == "value":
        clip_grad_value_(parameters, value)
    elif algorithm in (None, "norm"):
        clip_grad_norm_(parameters, value)
    else:
        raise MisconfigurationException(f"`gradient_clip_algorithm` must be 'norm' or 'value', but is {algorithm!r}")


def _step_with_closure(optimizer: Optimizer, closure: Callable[[], Any]) -> Any:
    return optimizer.step(closure)


def outputs_for_hooks(output: Any, accumulate: int) -> dict[str, Any]:
    """Return what ``training_step`` returned as hooks get it: a dict with the loss, detached, as backward got it.

    Where gradients are accumulated over 4 batches, that is a quarter of the loss. A skipped batch gives no entries.
    """
    if output is None:
        return {}
    outputs: dict[str, Any] = {**output} if isinstance(output, Mapping) else {"loss": output}
    loss = outputs.get("loss")
    if isinstance(loss, Tensor):
        outputs["loss"] = loss.detach() / accumulate if accumulate > 1 else loss.detach()
    return outputs
