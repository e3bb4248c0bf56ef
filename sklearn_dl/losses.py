"""What is minimised: name -> per-sample loss and the link from outputs to predictions.

Every loss maps outputs of shape (..., n_outputs) and targets to unreduced values of shape (...):
the training loop weighs and averages them, the diagnosis compares them row by row. All leading
axes are allowed, so the same function serves one model and a stack of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "CLASSIFIER_LOSSES",
    "PROBABILITY_FLOOR",
    "REGRESSOR_LOSSES",
    "Link",
    "Loss",
    "classifier_loss",
    "loss_and_gradient",
    "over_classes",
    "regressor_loss",
]

#: Where models of any kind are compared, so that one impossible event costs 13.8 nats and not
#: infinity.
PROBABILITY_FLOOR = 1e-6

Link = Literal["softmax", "sigmoid", "identity", "exp"]


@dataclass(frozen=True)
class Loss:
    """A per-sample loss with its link.

    Attributes
    ----------
    function : callable
        ``(outputs, target) -> losses``; with ``smooths``, also ``smoothing`` as third argument.
    link : {"softmax", "sigmoid", "identity", "exp"}
        Maps outputs to class probabilities or to the (standardised) target.
    target : {"index", "matrix", "signed"}
        Targets are class indices of shape (...), values of shape (..., n_outputs), or labels of
        that shape whose sign says 1 or 0 and whose size is the weight of the label in this row.
    smooths : bool
        Whether ``function`` takes label smoothing, a float or a tensor that broadcasts over (...).
    is_cross_entropy : bool
        Whether it is that of the probabilities of classes or labels.
    """

    function: Callable[..., Tensor]
    link: Link
    target: Literal["index", "matrix", "signed"]
    smooths: bool = False
    is_cross_entropy: bool = False

    def __call__(self, outputs: Tensor, target: Tensor, smoothing: Tensor | float = 0.0) -> Tensor:
        """Unreduced losses of shape (...) for outputs of shape (..., n_outputs)."""
        if self.smooths:
            return self.function(outputs, target, smoothing)
        return self.function(outputs, target)


def loss_and_gradient(
    loss: Loss, outputs: Tensor, target: Tensor, smoothing: Tensor | float, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Unreduced losses, and the gradient of ``sum(share * losses)`` at the outputs.

    The losses that nearly everybody uses are differentiated by hand, without a graph.

    Parameters
    ----------
    outputs : Tensor of shape (..., n_outputs)
    share : Tensor of shape (...)

    Returns
    -------
    losses : Tensor of shape (...)
    gradient : Tensor of shape (..., n_outputs)
    """
    weight = share.unsqueeze(-1)
    if loss.function is softmax_cross_entropy:
        log_p = over_classes(torch.log_softmax, outputs)
        index = target.unsqueeze(-1)
        losses = log_p.gather(-1, index).squeeze(-1).neg_()
        if _is_zero(smoothing):  # share (p - onehot)
            gradient = log_p.exp_().mul_(weight).scatter_add_(-1, index, weight.neg())
            return losses, gradient
        losses = (1 - smoothing) * losses - smoothing * log_p.mean(-1)
        spread = smoothing.unsqueeze(-1) if isinstance(smoothing, Tensor) else smoothing
        # share (p - q)
        gradient = log_p.exp_().sub_(spread / outputs.shape[-1]).mul_(weight)
        return losses, gradient.scatter_add_(-1, index, weight * (spread - 1))
    if loss.function is squared_error:
        residual = outputs - target
        losses = residual.square().mean(-1)
        return losses, residual.mul_(weight * (2 / outputs.shape[-1]))
    if loss.function is sigmoid_cross_entropy and _is_zero(smoothing):
        losses = _cross_entropy_of_labels(outputs, target).mean(-1)
        # share (p - y) / n_labels
        return losses, torch.sigmoid(outputs).sub_(target).mul_(weight / outputs.shape[-1])
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        losses = loss(leaf, target, smoothing)
        (gradient,) = torch.autograd.grad((losses * share).sum(), leaf)
    return losses.detach(), gradient


def _is_zero(smoothing: Tensor | float) -> bool:
    return not isinstance(smoothing, Tensor) and smoothing == 0.0


#: Along the last axis torch takes the few classes of one row at a time. Up to so many classes, and
#: from so many outputs on, it is faster across rows that lie side by side: loss and gradient of 64
#: models of 32 rows and 10 classes took a fifth of the time, of one model of 128 rows two thirds.
FEW_CLASSES, MANY_OUTPUTS = 32, 320


def over_classes(function: Callable[[Tensor, int], Tensor], outputs: Tensor) -> Tensor:
    """``torch.softmax`` or ``torch.log_softmax`` over the last axis, in the faster layout."""
    few = outputs.dim() > 1 and outputs.shape[-1] <= FEW_CLASSES
    if few and outputs.numel() >= MANY_OUTPUTS:
        return function(outputs.mT.contiguous(), -2).mT
    return function(outputs, -1)


def softmax_cross_entropy(outputs: Tensor, target: Tensor, smoothing: Tensor | float) -> Tensor:
    """``-sum_k q_k log p_k`` with ``q = (1 - e) onehot + e / K`` (Szegedy et al. 2016, eq. 3)."""
    log_p = over_classes(torch.log_softmax, outputs)
    hit = -log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    if _is_zero(smoothing):
        return hit
    return (1 - smoothing) * hit - smoothing * log_p.mean(-1)


def softmax_squared_error(outputs: Tensor, target: Tensor, smoothing: Tensor | float) -> Tensor:
    """``sum_k (p_k - q_k)^2`` on the softmax probabilities (the Brier score, Brier 1950)."""
    n_classes = outputs.shape[-1]
    q = F.one_hot(target, n_classes).to(outputs.dtype)
    if not _is_zero(smoothing):
        spread = smoothing.unsqueeze(-1) if isinstance(smoothing, Tensor) else smoothing
        q = q * (1 - spread) + spread / n_classes
    return (over_classes(torch.softmax, outputs) - q).square().sum(-1)


def _smoothed_labels(target: Tensor, smoothing: Tensor | float) -> Tensor:
    if _is_zero(smoothing):
        return target
    spread = smoothing.unsqueeze(-1) if isinstance(smoothing, Tensor) else smoothing
    return target * (1 - spread) + spread / 2


def _cross_entropy_of_labels(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, labels, reduction="none")


def _squared_error_of_labels(outputs: Tensor, labels: Tensor) -> Tensor:
    return (torch.sigmoid(outputs) - labels).square()


def sigmoid_cross_entropy(outputs: Tensor, target: Tensor, smoothing: Tensor | float) -> Tensor:
    """Mean over labels of the binary cross-entropy, each label smoothed as a two-class problem."""
    return _cross_entropy_of_labels(outputs, _smoothed_labels(target, smoothing)).mean(-1)


def sigmoid_squared_error(outputs: Tensor, target: Tensor, smoothing: Tensor | float) -> Tensor:
    """Mean over labels of ``(sigmoid(z) - q)^2``."""
    return _squared_error_of_labels(outputs, _smoothed_labels(target, smoothing)).mean(-1)


@dataclass(frozen=True)
class _Weighted:
    """Mean over labels of ``|t| l(z, [t > 0])``: a loss of labels that carry weights."""

    of_labels: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, outputs: Tensor, target: Tensor, smoothing: Tensor | float) -> Tensor:
        """Unreduced losses of shape (...)."""
        labels = _smoothed_labels((target > 0).to(outputs.dtype), smoothing)
        return (target.abs() * self.of_labels(outputs, labels)).mean(-1)


def squared_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of ``(f - y)^2``."""
    return (outputs - target).square().mean(-1)


def absolute_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of ``|f - y|``."""
    return (outputs - target).abs().mean(-1)


def huber(outputs: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of Huber's loss with ``delta = 1`` standard deviation of the target.

    ``0.5 r^2`` for ``|r| < 1``, else ``|r| - 0.5`` (Huber 1964).
    """
    return F.huber_loss(outputs, target, reduction="none").mean(-1)


def half_poisson_deviance(outputs: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of ``y log(y / f) - y + f`` with ``f = exp(z)``.

    The negative log-likelihood of counts but for a constant (McCullagh and Nelder 1989, section
    6.2); 0 where f = y.
    """
    return (torch.xlogy(target, target) - target * (1 + outputs) + outputs.exp()).mean(-1)


@dataclass(frozen=True)
class Pinball:
    """Mean over outputs and levels of ``max(q r, (q - 1) r)``, ``r = y - f``.

    Koenker and Bassett 1978. The columns of the outputs are those of all levels for the first
    target, then for the second, ...
    """

    levels: tuple[float, ...]

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Unreduced losses of shape (...)."""
        q = outputs.new_tensor(self.levels)
        residual = target.unsqueeze(-1) - outputs.unflatten(-1, (-1, len(self.levels)))
        return torch.maximum(q * residual, (q - 1) * residual).mean((-2, -1))


CLASSIFIER_LOSSES: dict[str, tuple[Callable[..., Tensor], ...]] = {
    # name: (one class a row, several labels a row, several labels with weights)
    "cross_entropy": (
        softmax_cross_entropy, sigmoid_cross_entropy, _Weighted(_cross_entropy_of_labels),
    ),
    "mse": (softmax_squared_error, sigmoid_squared_error, _Weighted(_squared_error_of_labels)),
}  # fmt: skip
REGRESSOR_LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": squared_error,
    "mae": absolute_error,
    "huber": huber,
    "poisson": half_poisson_deviance,
}


@dataclass(frozen=True)
class _UserLoss:
    """A user's ``loss(outputs, target) -> losses`` on (n, n_outputs), over stacks too."""

    function: Callable[[Tensor, Tensor], Any]

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        lead = outputs.shape[:-1]
        losses = self.function(outputs.flatten(0, -2), target.flatten(0, len(lead) - 1))
        n = lead.numel()
        if not isinstance(losses, Tensor) or losses.ndim == 0 or losses.shape[0] != n:
            seen = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                f"a callable loss must return one value a row, shape ({n},); got {seen}. "
                "Return the unreduced losses (reduction='none' in torch)."
            )
        if outputs.requires_grad and torch.is_grad_enabled() and not losses.requires_grad:
            raise ValueError(
                "a callable loss must be differentiable in the outputs of the network, but its "
                "result has no gradient. Compute it from the outputs by torch operations alone, "
                "without detach(), item(), numpy() or torch.no_grad()."
            )
        return losses.flatten(1).mean(1).view(lead) if losses.ndim > 1 else losses.view(lead)


def classifier_loss(
    loss: str | Callable[..., Any], *, multilabel: bool, weighted: bool = False
) -> Loss:
    """The loss of a classifier; targets are class indices, or columns of labels where multilabel.

    Those are 0 and 1, or plus and minus the weight of the label where ``weighted``.
    """
    link: Link = "sigmoid" if multilabel else "softmax"
    target: Literal["index", "matrix", "signed"] = "matrix" if multilabel else "index"
    if callable(loss):
        return Loss(_UserLoss(loss), link, target)
    if multilabel and weighted:
        target = "signed"
    function = CLASSIFIER_LOSSES[loss][2 if target == "signed" else multilabel]
    return Loss(function, link, target, smooths=True, is_cross_entropy=loss == "cross_entropy")


def regressor_loss(loss: str | Callable[..., Any], *, levels: tuple[float, ...]) -> Loss:
    """The loss of a regressor on targets of shape (..., n_targets).

    The quantiles at ``levels`` are what "pinball" estimates.
    """
    if callable(loss):
        return Loss(_UserLoss(loss), "identity", "matrix")
    function = Pinball(levels) if loss == "pinball" else REGRESSOR_LOSSES[loss]
    return Loss(function, "exp" if loss == "poisson" else "identity", "matrix")
