"""Which function of which weights is studied: the objective of an estimator, or of a module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklearn_dl import fitting
from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.smoothness import check_curved, check_sloped
from sklearn_dl.estimators import DLClassifier, DLRegressor
from sklearn_dl.fitting import new_seed

__all__ = ["MAX_ROWS", "core_estimator", "objective_of", "split_objective", "training_loss"]

#: Rows used at most, so that the cost does not grow with the table.
MAX_ROWS = 4096


def core_estimator(model: Any) -> Any:
    """The network at the end of a Pipeline, or the model itself."""
    return model.steps[-1][1] if hasattr(model, "steps") else model


def objective_of(
    model: Any,
    data: tuple[Any, ...],
    sample_weight: Any = None,
    penalty: bool | float = False,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
    *,
    curved: bool = True,
) -> Objective:
    """The objective on at most ``max_rows`` rows, see `split_objective`."""
    return split_objective(
        model, data, sample_weight, penalty, max_rows, random_state, curved=curved
    )[0]


def split_objective(
    model: Any,
    data: tuple[Any, ...],
    sample_weight: Any = None,
    penalty: bool | float = False,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
    *,
    curved: bool = True,
) -> tuple[Objective, Objective | None]:
    """The objective on some rows, and on as many others where not all are used.

    Parameters
    ----------
    model, data
        A fitted estimator and ``(X, y)``, or a module and ``(loss, X, y)``.
    sample_weight : array-like of shape (n,), optional
    penalty : bool or float
        Coefficient of the L2 term ``penalty / 2 |w|^2``; True: the estimator's ``weight_decay``.
    max_rows : int
    random_state : int, RandomState or None
        Which rows, where not all.
    curved : bool
        Whether second derivatives will be asked for, and must say something.

    Raises
    ------
    NotFittedError
        The estimator is not fitted.
    TypeError, ValueError
        The arguments, weights or losses cannot be used; the message says what was seen.
    """
    _check_max_rows(max_rows)
    order = np.random.default_rng(new_seed(random_state)).permutation
    half = max_rows

    def chosen(n: int) -> NDArray[np.intp]:
        """Rows to use, the first ``half`` for the first part."""
        nonlocal half
        half = n if n <= max_rows else min(max_rows, n // 2)
        return np.arange(n) if n <= max_rows else order(n)[: 2 * half]

    objective = _objective_on(model, data, sample_weight, penalty, chosen)
    n = len(objective)
    first = objective if n <= half else objective.at(np.arange(half))
    _check_numbers(first)
    (check_curved if curved else check_sloped)(first)
    return first, None if n <= half else objective.at(np.arange(half, n))


def training_loss(
    model: Any,
    *data: Any,
    sample_weight: Any = None,
    penalty: bool | float = False,
    max_rows: int = MAX_ROWS,
) -> float:
    """What training minimises, on any rows: without dropout, smoothing or augmentation.

    Parameters
    ----------
    model, *data, sample_weight, penalty
        As for `hessian_extremes`; losses without curvature are welcome.
    max_rows : int, default=4096
        More rows are subsampled, the same at every call.

    Examples
    --------
    >>> import torch
    >>> from sklearn_dl.curvature import training_loss
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> training_loss(net, lambda f, y: (f - y) ** 2, [[1.0]], [[3.0]])
    4.0
    """
    _check_max_rows(max_rows)

    def chosen(n: int) -> NDArray[np.intp]:
        return np.random.default_rng(0).permutation(n)[:max_rows] if n > max_rows else np.arange(n)

    return _objective_on(model, data, sample_weight, penalty, chosen).value()


def _check_max_rows(max_rows: int) -> None:
    if isinstance(max_rows, bool) or max_rows < 1:
        raise ValueError(f"max_rows must be a positive int, got {max_rows!r}.")


def _objective_on(
    model: Any,
    data: tuple[Any, ...],
    sample_weight: Any,
    penalty: bool | float,
    chosen: Callable[[int], NDArray[np.intp]],
) -> Objective:
    whole = _of_module if isinstance(model, nn.Module) else _of_estimator
    return whole(model, data, sample_weight, penalty, chosen)


def _of_module(
    module: nn.Module,
    data: tuple[Any, ...],
    sample_weight: Any,
    penalty: bool | float,
    chosen: Callable[[int], NDArray[np.intp]],
) -> Objective:
    if len(data) != 3 or not callable(data[0]):
        raise TypeError(
            f"a module comes with its loss and rows, f(module, loss, X, y); got {len(data)} "
            "arguments after the module, the first "
            f"{'a ' + type(data[0]).__name__ if data else 'missing'}."
        )
    if penalty is True:
        raise ValueError(
            "penalty=True takes the weight_decay of an estimator, and a module has none: give the "
            "coefficient, such as penalty=1e-4."
        )
    loss = data[0]
    inputs, target = (v if isinstance(v, Tensor) else np.asarray(v) for v in data[1:])
    n = len(inputs)
    if n == 0 or len(target) != n:
        raise ValueError(
            f"X and y need the same number of rows, at least one; got {n} and {len(target)}."
        )
    weight = None if sample_weight is None else _checked_weight(sample_weight, n)
    weighty = np.arange(n) if weight is None else np.flatnonzero(weight)
    rows = weighty[chosen(len(weighty))]
    weight = None if weight is None else weight[rows]
    return _objective(module, loss, inputs[rows], target[rows], weight, float(penalty))


def _of_estimator(
    model: Any,
    data: tuple[Any, ...],
    sample_weight: Any,
    penalty: bool | float,
    chosen: Callable[[int], NDArray[np.intp]],
) -> Objective:
    estimator = core_estimator(model)
    if not isinstance(estimator, DLClassifier | DLRegressor):
        raise TypeError(
            "curvature needs a fitted DLClassifier or DLRegressor, a Pipeline that ends in one, or "
            f"a torch module with its loss; got {type(estimator).__name__}."
        )
    if len(data) != 2:
        raise TypeError(
            f"an estimator comes with its rows, f(estimator, X, y); got {len(data)} arguments "
            "after it."
        )
    X, y = data
    module = estimator.module_  # says so where the estimator is not fitted
    if model is not estimator and len(model.steps) > 1:
        X = model[:-1].transform(X)
    table = estimator._check_table(X, reset=False)
    rows = fitting.checked_rows(table, estimator._check_target(y), sample_weight)
    # class weights are counted on all rows, only then is a subsample encoded
    rows = estimator._encode_target(rows)
    rows = rows.at(chosen(len(rows)))
    dtype = np.dtype(str(next(module.parameters()).dtype).removeprefix("torch."))
    inputs = estimator.encoder_.transform_table(rows.in_memory(), dtype)
    decay = float(estimator.weight_decay) if penalty is True else float(penalty)
    return _objective(module, estimator._loss(), inputs, rows.target, rows.weight, decay)


def _objective(
    module: nn.Module,
    loss: Any,
    inputs: Any,
    target: Any,
    weight: NDArray[np.float64] | None,
    penalty: float,
) -> Objective:
    """Copy the model to float64 and check what belongs to it."""
    if not 0 <= penalty < float("inf"):
        raise ValueError(f"penalty must be finite and not negative, got {penalty!r}.")
    trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(
            f"{type(module).__name__} has no trainable parameter: there is no loss surface. Set "
            "requires_grad on the parameters to study."
        )
    broken = [name for name, p in trainable if not bool(torch.isfinite(p).all())]
    if broken:
        raise ValueError(
            f"the model has non-finite weights in {', '.join(broken[:5])}: training diverged. Fit "
            "again with a smaller learning_rate or max_grad_norm."
        )
    device = trainable[0][1].device
    x = _tensor(inputs, device)
    share = torch.ones(len(x), dtype=torch.float64, device=device)
    if weight is not None:
        share = torch.as_tensor(weight, dtype=torch.float64, device=device)
    return Objective(
        module=copy.deepcopy(module).to(torch.float64).eval(),
        loss=loss,
        inputs=x,
        target=_tensor(target, device),
        share=share / share.sum(),
        penalty=penalty,
        weights=torch.cat([p.detach().to(torch.float64).flatten() for _, p in trainable]),
        names=tuple(name for name, _ in trainable),
        shapes=tuple(p.shape for _, p in trainable),
        epsilon=max(float(torch.finfo(p.dtype).eps) for _, p in trainable),
    )


def _tensor(values: Any, device: torch.device) -> Tensor:
    """Numbers as they are, floating ones in float64."""
    array = values.detach() if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
    return array.to(device, torch.float64) if array.is_floating_point() else array.to(device)


def _checked_weight(sample_weight: Any, n: int) -> NDArray[np.float64]:
    weight = np.asarray(sample_weight, dtype=np.float64)
    fits = weight.shape == (n,) and bool((weight >= 0).all())
    if not fits or not 0 < weight.sum() < np.inf:
        raise ValueError(
            f"sample_weight must be {n} finite values, none negative and not all zero; got shape "
            f"{weight.shape} with sum {weight.sum():g}."
        )
    return weight


def _check_numbers(objective: Objective) -> None:
    value = objective.value()
    if not np.isfinite(value):
        raise ValueError(
            f"the training loss at these weights is {value}: its curvature is not defined. Look "
            "for missing or huge values in X and y."
        )
