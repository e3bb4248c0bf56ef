"""Did training stop at a critical point, of which kind, and is there anything to gain beyond it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from sklearn_dl.curvature.hessian import HessianOperator
from sklearn_dl.curvature.lanczos import Ritz
from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.smoothness import kinks
from sklearn_dl.curvature.spectrum import HessianExtremes, extremes_from, extremes_of
from sklearn_dl.curvature.studied import MAX_ROWS, split_objective
from sklearn_dl.fitting import new_seed

__all__ = ["CriticalPoint", "best_drop", "check_reference", "classify", "critical_point"]

#: Stationary where the best step along -g would gain less than this share of what is left.
CAUCHY_SHARE = 0.01
#: Rounding units of the weights within which a gradient is zero.
ROUNDING_UNITS = 4
#: An eigenvalue counts where it exceeds this share of the largest: near a critical
#: point, not at it, a flat valley may bend down by about so much.
SIGN_FLOOR = 1e-3
#: The same where the gradient is zero to within rounding, so that the eigenvalues are the point's.
SIGN_FLOOR_EXACT = 1e-9
#: All eigenvalues are zero where the largest is below this share of the loss.
ZERO_HESSIAN = 1e-12
#: Leaving a saddle is worth it from this share of what is left to gain.
WORTH_SHARE = 0.05
#: Blocks of rows from which standard errors are taken.
N_BLOCKS = 32
#: A coordinate counts as flat below this share of the largest entry of gradient or product.
FLAT = 1e-14
#: From this share of flat weights on, second order is blind and a new start is advised.
MOSTLY = 0.5
#: Steps tried in a line search, powers of two times max(|w|, 1).
STEPS = 2.0 ** np.arange(-20, 6)


@dataclass(frozen=True)
class CriticalPoint:
    """Where the weights stand on the surface of the training loss.

    Attributes
    ----------
    kind : str
        "not_critical", "local_minimum", "saddle_point", "local_maximum" or "degenerate" (second
        order cannot tell), within the error bounds.
    loss, gradient_norm : float
        On all rows, or on the first subsample.
    gradient_noise : float
        Standard error of the gradient from the rows drawn: ``sqrt(tr(Sigma) / n)``.
    cauchy_decrease : float
        What the best step along ``-g`` gains in the quadratic model; where that bends down, what
        ``1 / max |eigenvalue|`` of it gains at least.
    stationary_by : {"rounding", "noise", "cauchy", None}
        Which criterion calls the point critical.
    eigenvalue_min, eigenvalue_max, residual_min, residual_max : float
        Ends of the spectrum; an eigenvalue lies within the residual of each.
    curvature_other, curvature_stderr : float
        ``v_min' H v_min`` on other rows with its standard error; without other rows the eigenvalue
        and 0.
    converged : bool
        Whether both ends are known to the tolerance asked for.
    escape_value : float
        Best drop of the loss along ``+-v_min``, on other rows where not all are used.
    descent_value : float
        Best drop along ``-g`` on the same rows.
    left_to_gain : float
        Loss minus ``reference_loss``.
    worth_escaping : bool
        A saddle (or maximum) whose escape value is at least 5 % of what is left to gain and above
        ``descent_value``.
    escape_step : float
        Signed length of the best step along ``direction``.
    flat_share : float
        Share of the weights on which gradient and Hessian vanish: dead, saturated or zero units,
        or inputs that are constant.
    n_parameters, n_rows, n_products : int
    caveats : tuple of str
        What limits this answer.
    direction : ndarray of shape (n_parameters,)
        v_min, a unit vector in the order of the module's parameters.
    """

    kind: str
    loss: float
    gradient_norm: float
    gradient_noise: float
    cauchy_decrease: float
    stationary_by: str | None
    eigenvalue_min: float
    eigenvalue_max: float
    residual_min: float
    residual_max: float
    curvature_other: float
    curvature_stderr: float
    converged: bool
    escape_value: float
    descent_value: float
    left_to_gain: float
    worth_escaping: bool
    escape_step: float
    flat_share: float
    n_parameters: int
    n_rows: int
    n_products: int
    caveats: tuple[str, ...]
    direction: NDArray[np.float64] = field(repr=False)

    def is_bad_minimum(self, reached: float, margin: float) -> bool:
        """Whether a local minimum is bad.

        Parameters
        ----------
        reached : float
            Training loss that the same network reaches elsewhere, on the same rows.
        margin : float
            Difference that matters, in units of the loss.
        """
        return self.kind == "local_minimum" and self.loss - reached > margin

    def __str__(self) -> str:
        """The answer in a few lines."""
        by = f"zero by {self.stationary_by}" if self.stationary_by else "not zero"
        lines = [
            f"{self.kind.replace('_', ' ')}: loss {self.loss:.4g}, gradient "
            f"{self.gradient_norm:.2g} ({by})",
            f"eigenvalues {self.eigenvalue_min:.3g} (± {self.residual_min:.1g}) to "
            f"{self.eigenvalue_max:.3g} (± {self.residual_max:.1g})",
            f"drop along the most negative curvature {self.escape_value:.3g}, along the gradient "
            f"{self.descent_value:.3g}, left to gain {self.left_to_gain:.3g}: "
            f"{'worth escaping' if self.worth_escaping else 'not what limits training'}",
        ]
        return "\n".join([*lines, *(f"note: {caveat}" for caveat in self.caveats)])


def critical_point(
    model: Any,
    *data: Any,
    sample_weight: Any = None,
    penalty: bool | float = False,
    reference_loss: float = 0.0,
    tol: float = 1e-3,
    max_products: int = 100,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> CriticalPoint:
    """Whether the weights stand at a critical point of the training loss, and of which kind.

    First the gradient: it is zero if ``|g|^2 <= tr(Sigma) / n`` (indistinguishable from sampling
    noise; Mahsereci et al. 2017, Early Stopping without a Validation Set), if the Cauchy decrease
    ``|g|^4 / (2 g'Hg)`` is below 1 % of what is left to gain, or if it is zero to within the
    rounding of the weights. Then the signs of the extreme eigenvalues, within their residuals and
    sampling errors. Last, what a step along the most negative curvature really gains: a negative
    eigenvalue alone limits nothing (Alain et al. 2019, Negative eigenvalues of the Hessian in deep
    neural networks: the best step is unrelated to the eigenvalue, so the step is searched).

    Parameters
    ----------
    model, *data
        A fitted estimator, X, y; or a module, loss, X, y with ``loss(output, y)`` unreduced.
    sample_weight : array-like of shape (n,), optional
    penalty : bool or float, default=False
        Coefficient of ``1/2 |w|^2``; True: the estimator's ``weight_decay``.
    reference_loss : float, default=0
        Loss known to be within reach on these rows; what is left to gain is counted from it.
    tol : float, default=1e-3
    max_products : int, default=100
        Accuracy and length of the Lanczos run, see `hessian_extremes`.
    max_rows : int, default=4096
        With more rows, one subsample of so many decides and another confirms.
    random_state : int, RandomState or None

    Returns
    -------
    CriticalPoint

    Raises
    ------
    NotFittedError, TypeError, ValueError
        The model has no weights, non-finite weights, no second derivatives, or too many.

    Examples
    --------
    The course's example, y = w1 w2 x with a saddle at the origin:

    >>> import torch
    >>> from torch.nn import Linear
    >>> from sklearn_dl.curvature import critical_point
    >>> net = torch.nn.Sequential(Linear(1, 1, bias=False), Linear(1, 1, bias=False))
    >>> _ = [torch.nn.init.zeros_(w) for w in net.parameters()]
    >>> one = torch.ones(1, 1)
    >>> cp = critical_point(net, lambda f, y: (y - f) ** 2, one, one, random_state=0)
    >>> cp.kind, round(cp.eigenvalue_min, 6), round(cp.eigenvalue_max, 6), cp.worth_escaping
    ('saddle_point', -2.0, 2.0, True)
    """
    check_reference(reference_loss)
    objective, other = split_objective(model, data, sample_weight, penalty, max_rows, random_state)
    operator = HessianOperator(objective)
    seed = new_seed(random_state)
    _, ritz = extremes_of(operator, tol=tol, max_products=max_products, seed=seed)
    return classify(operator, other, ritz, tol=tol, reference_loss=reference_loss)


def check_reference(reference_loss: float) -> None:
    """Refuse a loss from which nothing can be counted."""
    if not np.isfinite(reference_loss):
        raise ValueError(f"reference_loss must be a finite number, got {reference_loss!r}.")


def classify(
    operator: HessianOperator,
    other: Objective | None,
    ritz: Ritz,
    *,
    tol: float,
    reference_loss: float,
) -> CriticalPoint:
    """The answer from a Lanczos run: one number after another, none of which decides alone.

    Parameters
    ----------
    operator : HessianOperator
        Of the rows that decide.
    other : Objective or None
        The same loss on the rows that confirm.
    ritz : Ritz
    tol, reference_loss : float
        As for `critical_point`.
    """
    objective, gradient = operator.objective, operator.gradient
    ends = extremes_from(ritz, objective, tol)
    loss, norm = objective.value(), float(gradient.norm())
    left = max(loss - reference_loss, 0.0)
    noise, cauchy, by = _criticality(operator, ends, left)
    curvature, stderr = _curvature_elsewhere(other, ends)
    kind = "not_critical"
    if by is not None:
        exact = by == "rounding"
        kind = _kind(ends, loss, exact=exact, stderr=stderr, elsewhere=curvature)
    drop, step, descent = _what_lies_beyond(other or objective, gradient, ends)
    flat = _flat_share(gradient, ritz.first_product)
    return CriticalPoint(
        kind=kind,
        loss=loss,
        gradient_norm=norm,
        gradient_noise=noise,
        cauchy_decrease=cauchy,
        stationary_by=by,
        eigenvalue_min=ends.eigenvalue_min,
        eigenvalue_max=ends.eigenvalue_max,
        residual_min=ends.residual_min,
        residual_max=ends.residual_max,
        curvature_other=ends.eigenvalue_min if curvature is None else curvature,
        curvature_stderr=stderr,
        converged=ends.converged,
        escape_value=drop,
        descent_value=descent,
        left_to_gain=left,
        worth_escaping=kind in ("saddle_point", "local_maximum")
        and drop >= WORTH_SHARE * left
        and drop > descent,
        escape_step=step,
        flat_share=flat,
        n_parameters=objective.n_parameters,
        n_rows=len(objective),
        n_products=ends.n_products + 1,
        caveats=_caveats(objective, other, ends, flat, by),
        direction=ends.vector_min,
    )


def _criticality(
    operator: HessianOperator, ends: HessianExtremes, left: float
) -> tuple[float, float, str | None]:
    """Sampling noise of the gradient, its Cauchy decrease, and which criterion calls it zero."""
    objective, gradient = operator.objective, operator.gradient
    noise = _gradient_noise(objective)
    size = max(abs(ends.eigenvalue_min), abs(ends.eigenvalue_max))
    cauchy = _cauchy_decrease(operator, gradient, size)
    rounding = ROUNDING_UNITS * objective.epsilon * size * float(objective.weights.norm())
    return noise, cauchy, _stationary(float(gradient.norm()), rounding, noise, cauchy, left)


def _what_lies_beyond(
    judge: Objective, gradient: Tensor, ends: HessianExtremes
) -> tuple[float, float, float]:
    """Best drop along v_min with its step, and best drop along the gradient, on these rows."""
    direction = torch.as_tensor(ends.vector_min, device=gradient.device)
    drop, step = best_drop(judge, direction, both_ways=True)
    norm = float(gradient.norm())
    descent = 0.0 if norm == 0 else best_drop(judge, -gradient / norm, both_ways=False)[0]
    return drop, step, descent


def _stationary(
    norm: float, rounding: float, noise: float, cauchy: float, left: float
) -> str | None:
    if norm <= rounding:
        return "rounding"
    if norm <= noise:
        return "noise"
    return "cauchy" if cauchy < CAUCHY_SHARE * left else None


def _gradient_noise(objective: Objective) -> float:
    """``sqrt(tr(Sigma) / n)``, from the spread of the gradients of blocks of rows."""
    blocks = objective.blocks(N_BLOCKS)
    gradients = torch.stack([block.gradient() for block, _ in blocks]).cpu().numpy()
    return _mean_of_blocks(gradients, [share for _, share in blocks])[1]


def _mean_of_blocks(
    values: NDArray[np.float64], shares: Sequence[float]
) -> tuple[NDArray[np.float64], float]:
    """Mean over blocks of rows (first axis), and the length of its standard error; 0 for one."""
    share = np.reshape(shares, (-1, *[1] * (values.ndim - 1)))
    mean = np.asarray((share * values).sum(axis=0))
    if len(values) < 2:
        return mean, 0.0
    spread = float(np.square(share * (values - mean)).sum())
    return mean, (spread * len(values) / (len(values) - 1)) ** 0.5


def _cauchy_decrease(operator: HessianOperator, gradient: Tensor, size: float) -> float:
    """``|g|^4 / (2 g'Hg)``, or ``|g|^2 / (2 size)`` where the surface bends down along g.

    The latter because next to a strict saddle the quadratic model has no least value along -g,
    however small g is; the descent lemma bounds what g itself is good for.
    """
    g = gradient.cpu().numpy()
    square = float(g @ g)
    if square == 0:
        return 0.0
    bend = float(g @ operator.matvec(g)) / square
    bend = bend if bend > 0 else size
    return square / (2 * bend) if bend > 0 else float("inf")


def _curvature_elsewhere(
    other: Objective | None, ends: HessianExtremes
) -> tuple[float | None, float]:
    """Curvature along v_min on other rows, with its standard error over blocks of them."""
    if other is None:
        return None, 0.0
    v = ends.vector_min
    blocks = other.blocks(N_BLOCKS // 2)
    values = np.array([float(v @ HessianOperator(block).matvec(v)) for block, _ in blocks])
    mean, stderr = _mean_of_blocks(values, [share for _, share in blocks])
    return float(mean), stderr


def _kind(
    ends: HessianExtremes, loss: float, *, exact: bool, stderr: float, elsewhere: float | None
) -> str:
    low, high = ends.eigenvalue_min, ends.eigenvalue_max
    size = max(abs(low), abs(high))
    if size <= ZERO_HESSIAN * abs(loss):
        return "degenerate"
    floor = (SIGN_FLOOR_EXACT if exact else SIGN_FLOOR) * size
    floor = max(floor, 2 * stderr)
    negative = low + ends.residual_min < -floor and (elsewhere is None or elsewhere < -2 * stderr)
    positive = high - ends.residual_max > floor
    if negative:
        return "saddle_point" if positive else "local_maximum"
    return "local_minimum" if positive else "degenerate"


def best_drop(objective: Objective, direction: Tensor, *, both_ways: bool) -> tuple[float, float]:
    """Largest drop of the loss along a unit vector, and the signed step that gives it."""
    origin = objective.weights
    start = objective.value()

    def loss_at(step: float) -> float:
        value = objective.value(origin + step * direction)
        return value if np.isfinite(value) else np.inf

    scale = max(float(origin.norm()), 1.0)
    signs = (1.0, -1.0) if both_ways else (1.0,)
    steps = [sign * s * scale for sign in signs for s in STEPS]
    losses = [loss_at(step) for step in steps]
    k = int(np.argmin(losses))
    best, step = losses[k], steps[k]
    if best < start:  # refine between the neighbours, a factor of two to each side
        low, high = sorted((step / 2, step * 2))
        finer = minimize_scalar(
            loss_at, bounds=(low, high), method="bounded", options={"maxiter": 20}
        )
        if finer.fun < best:
            best, step = float(finer.fun), float(finer.x)
    return (start - best, step) if best < start else (0.0, 0.0)


def _flat_share(gradient: Tensor, product: NDArray[np.float64]) -> float:
    """Share of coordinates where gradient and the product with a random vector vanish."""
    g = np.abs(gradient.cpu().numpy())
    h = np.abs(product)
    flat = (g <= FLAT * g.max(initial=0)) & (h <= FLAT * h.max(initial=0))
    return float(flat.mean())


def _caveats(
    objective: Objective,
    other: Objective | None,
    ends: HessianExtremes,
    flat: float,
    by: str | None,
) -> tuple[str, ...]:
    said = []
    if by == "cauchy":
        said.append(
            f"the gradient is not zero, but the best step along it gains less than "
            f"{CAUCHY_SHARE:.0%} of what is left; in a narrow valley other directions may gain more"
        )
    bent = kinks(objective)
    if bent:
        said.append(
            f"the loss surface has kinks ({', '.join(bent)}): their curvature is in no second "
            "derivative, so the eigenvalues describe the smooth pieces"
        )
    if flat > 0:
        said.append(
            f"gradient and Hessian vanish on {flat:.0%} of the weights (dead, saturated or zero "
            "units, constant inputs)"
            + (": if the loss is high, start from another initialisation" if flat > MOSTLY else "")
        )
    if not ends.converged:
        said.append(
            f"after {ends.n_products} products the ends of the spectrum are known to "
            f"{ends.residual_min:.1g} and {ends.residual_max:.1g} only: raise max_products"
        )
    if other is not None:
        said.append(f"measured on a subsample of {len(objective)} rows and {len(other)} others")
    return tuple(said)
