"""The same questions for many models of one architecture at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from sklearn_dl.curvature.critical import CriticalPoint, check_reference, classify
from sklearn_dl.curvature.hessian import HessianOperator
from sklearn_dl.curvature.lanczos import Ritz, Vector, lanczos
from sklearn_dl.curvature.objective import Objective, row_losses
from sklearn_dl.curvature.spectrum import HessianExtremes, check_effort, extremes_from
from sklearn_dl.curvature.studied import MAX_ROWS, objective_of, split_objective
from sklearn_dl.fitting import new_seed

__all__ = ["StackedHessian", "critical_points", "hessian_extremes_stack"]


@dataclass(frozen=True)
class _Alike:
    """What must agree before objectives can be one stack."""

    module: str
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    inputs: torch.Size
    target: torch.Size
    penalty: float

    @classmethod
    def of(cls, objective: Objective) -> _Alike:
        return cls(
            str(objective.module),
            objective.names,
            objective.shapes,
            objective.inputs.shape,
            objective.target.shape,
            objective.penalty,
        )


class StackedHessian:
    """Products of many Hessians, each with its own vector, in one backward pass.

    The sum of the models' losses has a block-diagonal Hessian, since models share no weight: its
    product with the stacked vectors is the stack of products.

    Parameters
    ----------
    objectives : sequence of Objective
        Alike in architecture, loss and number of rows.

    Attributes
    ----------
    gradients : Tensor of shape (n_models, n_parameters)
    n_products : int
        Products of the whole stack so far.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        first = objectives[0]
        leaf = torch.stack([o.weights for o in objectives]).requires_grad_()
        frozen = [_frozen(o) for o in objectives]
        inputs, inputs_axis = _shared([o.inputs for o in objectives])
        target, target_axis = _shared([o.target for o in objectives])
        n = len(first)

        def losses_of(
            weights: Tensor, rest: dict[str, Tensor], x: Tensor, y: Tensor, share: Tensor
        ) -> Tensor:
            outputs = functional_call(first.module, {**rest, **first.parts(weights)}, (x,))
            value = (share * row_losses(first.loss, outputs, y, n)).sum()
            return value + first.penalty / 2 * weights.square().sum() if first.penalty else value

        by_model = vmap(losses_of, in_dims=(0, 0, inputs_axis, target_axis, 0))
        rest = {name: torch.stack([f[name] for f in frozen]) for name in frozen[0]}
        share = torch.stack([o.share for o in objectives])
        total = by_model(leaf, rest, inputs, target, share).sum()
        (gradients,) = torch.autograd.grad(total, leaf, create_graph=True)
        self._leaf, self._gradients = leaf, gradients
        self.n_products = 0

    @property
    def gradients(self) -> Tensor:
        """Gradient of each model."""
        return self._gradients.detach()

    def products(self, vectors: Vector) -> Vector:
        """``H_k v_k`` for each model k, (n_models, n_parameters)."""
        self.n_products += 1
        v = torch.as_tensor(np.ascontiguousarray(vectors), device=self._leaf.device)
        if not self._gradients.requires_grad:
            return np.zeros_like(vectors)
        (product,) = torch.autograd.grad(
            self._gradients, self._leaf, v, retain_graph=True, materialize_grads=True
        )
        return np.asarray(product.cpu().numpy())


def _frozen(objective: Objective) -> dict[str, Tensor]:
    """Buffers and parameters that are not studied, which differ between models too."""
    named = [*objective.module.named_parameters(), *objective.module.named_buffers()]
    return {name: value.detach() for name, value in named if name not in objective.names}


def _shared(tensors: list[Tensor]) -> tuple[Tensor, int | None]:
    """One tensor for all models where all are equal, else a stack."""
    if all(torch.equal(t, tensors[0]) for t in tensors[1:]):
        return tensors[0], None
    return torch.stack(tensors), 0


def _ritz_of(
    objectives: Sequence[Objective], tol: float, max_products: int, seed: int
) -> list[Ritz]:
    """One Lanczos run over all models; each starts at the vector it would start at alone."""
    alike = {_Alike.of(o) for o in objectives}
    if len(alike) > 1:
        raise ValueError(
            f"models of one stack must be alike in architecture, number of rows and penalty; got "
            f"{len(alike)} kinds. Ask for each kind by itself."
        )
    p = objectives[0].n_parameters
    start = np.random.default_rng(seed).standard_normal(p)
    hessian = StackedHessian(objectives)
    return lanczos(hessian.products, np.tile(start, (len(objectives), 1)), max_products, tol)


def hessian_extremes_stack(
    models: Sequence[Any],
    *data: Any,
    sample_weight: Any = None,
    penalty: bool | float = False,
    tol: float = 1e-3,
    max_products: int = 100,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> list[HessianExtremes]:
    """Both ends of the Hessian's spectrum for many models at once, from one Lanczos run.

    Parameters
    ----------
    models : sequence
        Fitted estimators or modules of one architecture.
    *data, sample_weight, penalty, tol, max_products, max_rows, random_state
        As for `hessian_extremes`; the same rows for all.

    Returns
    -------
    list of HessianExtremes
        As `hessian_extremes` gives them one by one with the same ``random_state``, an integer.

    Raises
    ------
    ValueError
        The models differ in architecture, or their loss depends on numbers in Python and cannot be
        stacked.

    Examples
    --------
    >>> import torch
    >>> from sklearn_dl.curvature import hessian_extremes_stack
    >>> X, y = torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1)
    >>> nets = [torch.nn.Linear(2, 1, bias=False) for _ in range(3)]
    >>> found = hessian_extremes_stack(nets, lambda f, y: (f - y) ** 2, X, y, random_state=0)
    >>> [round(one.eigenvalue_max, 6) for one in found]
    [9.0, 9.0, 9.0]
    """
    check_effort(tol, max_products)
    random_state = _one_seed(random_state)
    objectives = [
        objective_of(model, data, sample_weight, penalty, max_rows, random_state)
        for model in _some(models)
    ]  # fmt: skip
    ritz = _ritz_of(objectives, tol, max_products, new_seed(random_state))
    return [extremes_from(r, o, tol) for r, o in zip(ritz, objectives, strict=True)]


def _one_seed(random_state: Any) -> int:
    """A generator or None would draw other rows for each model."""
    return random_state if isinstance(random_state, int) else new_seed(random_state)


def _some(models: Sequence[Any]) -> list[Any]:
    listed = list(models)
    if not listed:
        raise ValueError("models is empty: give one or more fitted models.")
    return listed


def critical_points(
    models: Sequence[Any],
    *data: Any,
    sample_weight: Any = None,
    penalty: bool | float = False,
    reference_loss: float = 0.0,
    tol: float = 1e-3,
    max_products: int = 100,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> list[CriticalPoint]:
    """`critical_point` for many models: one Lanczos run, then each model's line searches.

    Parameters
    ----------
    models : sequence
        Fitted estimators or modules of one architecture.
    *data, sample_weight, penalty, reference_loss, tol, max_products, max_rows, random_state
        As for `critical_point`; the same rows for all.
    """
    check_effort(tol, max_products)
    check_reference(reference_loss)
    random_state = _one_seed(random_state)
    parts = [
        split_objective(model, data, sample_weight, penalty, max_rows, random_state)
        for model in _some(models)
    ]  # fmt: skip
    objectives = [objective for objective, _ in parts]
    found = _ritz_of(objectives, tol, max_products, new_seed(random_state))
    return [
        classify(HessianOperator(objective), other, ritz, tol=tol, reference_loss=reference_loss)
        for (objective, other), ritz in zip(parts, found, strict=True)
    ]
