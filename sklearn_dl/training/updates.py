"""Steps of a stack of models by one torch optimizer, each model with its own settings.

Rows of the parameter matrix whose models share all settings and length form one parameter group.
Where many models differ in rate or weight decay alone (a grid over learning rates), one optimizer
with rate 1 moves a matrix of zeros instead, and the move is scaled row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_dl.training.model import Model
from sklearn_dl.training.parameters import ParameterMatrix

__all__ = ["StackOptimizer"]

#: Parameter groups beyond which one scaled step is cheaper (0.16 ms for 100 models as against 2.8 ms
#: for 100 groups, seen on one core).
MAX_GROUPS = 4


class StackOptimizer:
    """Moves the parameters of the first ``n_active`` models of a stack.

    Parameters
    ----------
    parameters : ParameterMatrix
    models : sequence of Model
        Sorted so that models of equal length and settings stand together.

    Attributes
    ----------
    norms : Tensor of shape (n_models,)
        Euclidean norm of each model's last recorded gradient, before clipping.
    """

    def __init__(self, parameters: ParameterMatrix, models: Sequence[Model]) -> None:
        self.parameters, self.models = parameters, models
        spec = models[0].job.recipe.optimizer
        self._decoupled = spec.decoupled
        rated = _runs([(m.n_steps, m.job.recipe.optimizer.settings, *_rate_key(m)) for m in models])
        self._scaled = spec.linear and len(rated) > MAX_GROUPS
        if self._scaled:
            rated = _runs([(m.n_steps, m.job.recipe.optimizer.settings) for m in models])
            self._move = torch.zeros_like(parameters.values)
            decay = [m.job.recipe.weight_decay for m in models]
            self._decay = parameters.values.new_tensor(decay).unsqueeze(1) if any(decay) else None
            rates = [m.job.recipe.learning_rate for m in models]
            self._rates = parameters.values.new_tensor(rates).unsqueeze(1)
        self._rows = rated
        self.torch = self._build(spec.factory, spec.takes_decay)
        clips = [m.job.recipe.max_grad_norm for m in models]
        limits = [torch.inf if c is None else c for c in clips]
        self._limits = (
            parameters.values.new_tensor(limits) if any(c is not None for c in clips) else None
        )
        self.norms = parameters.values.new_zeros(len(models))
        self._moving = any(m.moving for m in models)
        self._n_active = len(models)
        self.load([m.optimizer_state for m in models])

    def _build(self, factory: Any, takes_decay: bool) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = []
        target = self._move if self._scaled else self.parameters.values
        for start, stop in self._rows:
            recipe = self.models[start].job.recipe
            group = dict(recipe.optimizer.settings)
            if recipe.optimizer.elementwise:
                rows = nn.Parameter(target[start:stop])
                rows.grad = self.parameters.gradient[start:stop]
                group["params"] = [rows]
            else:
                group["params"] = self.parameters.tensors()
            group["lr"] = 1.0 if self._scaled else recipe.learning_rate
            if takes_decay:
                group["weight_decay"] = 0.0 if self._scaled else recipe.weight_decay
            groups.append(group)
        # the first group's settings again as defaults: some classes check only those
        defaults = {key: value for key, value in groups[0].items() if key != "params"}
        built: torch.optim.Optimizer = factory(groups, **defaults)
        return built

    def activate(self, n_active: int) -> None:
        """Leave the models from ``n_active`` on untouched: weights, moments and step counts."""
        self._n_active = n_active
        if not self.models[0].job.recipe.optimizer.elementwise:
            return
        for (start, stop), group in zip(self._rows, self.torch.param_groups, strict=True):
            (rows,) = group["params"]
            rows.grad = self.parameters.gradient[start:stop] if start < n_active else None

    def begin_epoch(self) -> None:
        """Work out the rates of all steps of this epoch; nothing to do where none moves."""
        if not self._moving:
            return
        leaders = self.models if self._scaled else [self.models[start] for start, _ in self._rows]
        table = [model.rates() for model in leaders]
        if self._scaled:
            longest = len(table[0])  # models are sorted by length
            padded = [rates + [0.0] * (longest - len(rates)) for rates in table]
            self._table: Any = self.parameters.values.new_tensor(padded).T.unsqueeze(2)
        else:
            self._table = table

    def set_rates(self, step: int) -> None:
        """Set the rates of step ``step`` of this epoch."""
        if not self._moving:
            return
        if self._scaled:
            self._rates = self._table[step]
            return
        for rates, group in zip(self._table, self.torch.param_groups, strict=True):
            if step < len(rates):
                group["lr"] = rates[step]

    def rate(self, model: int) -> float:
        """The learning rate of a model's last step."""
        if self._scaled:
            last = self._table[self.models[model].n_steps - 1] if self._moving else self._rates
            return float(last[model])
        (group,) = (
            group
            for (start, stop), group in zip(self._rows, self.torch.param_groups, strict=True)
            if start <= model < stop
        )
        return float(group["lr"])

    @torch.no_grad()
    def step(self, *, record: bool = False) -> None:
        """Clip, then move the active models; ``record`` their gradients' norms first."""
        k = self._n_active
        gradient = self.parameters.gradient[:k]
        if record:
            self.norms[:k] = torch.linalg.vector_norm(gradient, dim=1)
        if self._limits is not None:
            norms = torch.linalg.vector_norm(gradient, dim=1)
            gradient.mul_((self._limits[:k] / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1))
        if not self._scaled:
            self.torch.step()
            return
        values, move, rates = self.parameters.values[:k], self._move[:k], self._rates[:k]
        move.zero_()
        if self._decay is not None and not self._decoupled:
            gradient.addcmul_(values, self._decay[:k])
        self.torch.step()
        if self._decay is not None and self._decoupled:
            values.mul_(1 - rates * self._decay[:k])
        values.addcmul_(move, rates)

    def row(self, model: int) -> dict[str, Any]:
        """State of the optimizer for one model, copied."""
        for (start, stop), group in zip(self._rows, self.torch.param_groups, strict=True):
            if start <= model < stop and self.models[model].job.recipe.optimizer.elementwise:
                (rows,) = group["params"]
                state = self.torch.state.get(rows, {})
                return {
                    key: value[model - start].clone()
                    if isinstance(value, Tensor) and value.shape == rows.shape
                    else _copied(value)
                    for key, value in state.items()
                }
        return {}

    def load(self, states: Sequence[dict[str, Any]]) -> None:
        """Set the optimizer's state from one entry a model (empty: none)."""
        if not any(states) or not self.models[0].job.recipe.optimizer.elementwise:
            return
        for (start, stop), group in zip(self._rows, self.torch.param_groups, strict=True):
            (rows,) = group["params"]
            members = states[start:stop]
            if not members[0]:
                continue
            for key, value in members[0].items():
                whole = isinstance(value, Tensor) and value.shape == rows.shape[1:]
                self.torch.state[rows][key] = (
                    torch.stack([m[key] for m in members]) if whole else _copied(value)
                )


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _rate_key(model: Model) -> tuple[Any, ...]:
    recipe = model.job.recipe
    fixed = (recipe.learning_rate, recipe.weight_decay)
    if not model.moving:
        return fixed
    if recipe.schedule == "plateau":  # each by its own loss
        return (*fixed, id(model))
    # models whose rates move together: the same schedule over the same number of steps
    shape = (recipe.schedule, recipe.warmup, recipe.decay_every, recipe.decay_factor)
    return (*fixed, recipe.max_epochs, model.epoch, *shape)


def _runs(keys: Sequence[Any]) -> list[tuple[int, int]]:
    """Start and stop of each run of equal neighbours."""
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    return list(zip(starts, [*starts[1:], len(keys)], strict=True))
