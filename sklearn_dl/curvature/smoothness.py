"""Can a function be differentiated twice, and do its second derivatives say anything?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_dl.curvature.objective import Objective, row_losses

__all__ = ["check_curved", "check_sloped", "kinks", "no_second_derivative", "nodes_named"]

#: Nodes of torch's graph whose function is linear between kinks, so that its curvature is missed.
_KINKED: tuple[str, ...] = ("Relu", "LeakyRelu", "Prelu", "Hardtanh", "Hardsigmoid", "Hardswish")
_KINKED += ("Threshold", "Abs", "Clamp", "Maximum", "Minimum", "Amax", "Amin", "MaxPool")
#: Nodes whose first derivative is zero almost everywhere: no gradient passes.
_STEPS = ("Sign", "Round", "Floor", "Ceil", "Trunc", "Heaviside")
#: Where the loss is probed for curvature, in units of 1 + |output|.
_PROBES = (0.0, 1e-4, 1.0, -1.0, 100.0, -100.0)


def check_curved(objective: Objective) -> None:
    """Refuse what second derivatives say nothing about.

    A loss that is linear between kinks (absolute, pinball, hinge) has second derivative zero where
    it has one, although its mean over many rows is curved. A loss that is linear everywhere is
    none of these: the network itself may be curved.
    """
    few, outputs = check_sloped(objective)
    slopes = []
    for slope, curvature in _probed(few, outputs):
        if curvature > 0:
            return
        slopes.append(slope)
    if len(slopes) > 1 and float((slopes[0] != slopes[1]).double().mean()) > 0.5:
        # most slopes differ a little way on, and torch says they do not
        raise no_second_derivative("the gradient of the loss does not depend on the outputs")
    if any(not torch.allclose(slope, slopes[0]) for slope in slopes[1:]):
        raise ValueError(
            "the loss has second derivative zero almost everywhere (it is linear between kinks, "
            "such as the absolute or pinball error): the Hessian would miss its curvature. Use a "
            "smooth loss, such as 'huber' or 'mse' for the absolute error."
        )


def check_sloped(objective: Objective) -> tuple[Objective, Tensor]:
    """Refuse a network whose derivative says nothing; some rows and their outputs, (n, ...)."""
    few = objective.at(np.arange(min(len(objective), 64)))
    outputs = few.outputs(few.weights.detach().requires_grad_())
    steps = nodes_named(outputs, _STEPS)
    if steps or not outputs.requires_grad:
        what = f"uses {', '.join(steps)}" if steps else "does not depend on its parameters"
        raise ValueError(
            f"the network {what}: its derivative is zero almost everywhere, so there is no "
            "slope or curvature to measure. Use a smooth activation such as 'tanh' or 'gelu'."
        )
    return few, outputs.detach()


def _probed(few: Objective, outputs: Tensor) -> list[tuple[Tensor, float]]:
    """Slope of the loss and size of its curvature, at the outputs and far from them."""
    found = []
    places = [outputs + probe * (1 + outputs.abs()) for probe in _PROBES]
    if few.target.shape == outputs.shape and few.target.is_floating_point():
        places.append(few.target + 1e-3)  # where Huber's loss is round
    for place in places:
        z = place.detach().requires_grad_()
        losses = row_losses(few.loss, z, few.target, len(few))
        (slope,) = torch.autograd.grad(losses.sum(), z, create_graph=True, allow_unused=True)
        if slope is None or not bool(torch.isfinite(slope).all()):
            continue
        second = None
        if slope.requires_grad:
            try:
                (second,) = torch.autograd.grad(slope.square().sum(), z, allow_unused=True)
            except RuntimeError as error:
                raise no_second_derivative(str(error)) from error
        size = 0.0 if second is None else float(second.abs().nan_to_num().max())
        found.append((slope.detach(), size))
    return found


def no_second_derivative(why: str) -> ValueError:
    """What to say where torch cannot differentiate twice."""
    return ValueError(
        f"the loss cannot be differentiated twice: torch says '{why.splitlines()[0]}'. Use "
        "operations whose backward pass is differentiable."
    )


def kinks(objective: Objective) -> tuple[str, ...]:
    """Functions in the network or loss that are linear between kinks."""
    few = objective.at(np.arange(min(len(objective), 2)))
    return nodes_named(few.mean_loss(few.weights.detach().requires_grad_()), _KINKED)


def nodes_named(value: Tensor, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the nodes of a graph of torch that start with one of ``prefixes``."""
    waiting, seen, found = [value.grad_fn], set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = node.name().partition("Backward")[0]
        if name.startswith(prefixes):
            found.add(name)
        waiting += [following for following, _ in node.next_functions]
    return tuple(sorted(found))
