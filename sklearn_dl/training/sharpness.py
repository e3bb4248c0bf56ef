"""How sure a classifier may be: one factor of its outputs, by the rows that its members left out.

Cross-entropy is lost by ranking classes wrongly and by being too sure or not sure enough. The
second part is mended by one number, so training need not end for its sake: it ends where the loss
at the best factor is least, and the factor becomes part of the network (Berta, Holzmueller, Jordan
and Bach 2025, Rethinking early stopping: refine, then calibrate).
"""

from __future__ import annotations

import math

from torch import Tensor

from sklearn_dl.losses import Loss, loss_and_gradient
from sklearn_dl.nn import Stacked
from sklearn_dl.nn.architecture import Sequence
from sklearn_dl.nn.layers import StackedLinear

__all__ = ["best_factor", "scaling_parameters"]

#: Factors are exp(k / 64) for k in [-256, 128], so 0.02 to 7.4: a step is no more than what one
#: can tell, and rounding cannot make two fits of the same rows differ.
STEPS_PER_UNIT, FEWEST, MOST = 64, -256, 128


def best_factor(loss: Loss, outputs: Tensor, target: Tensor, share: Tensor) -> tuple[float, float]:
    """The factor of the outputs at which they lose least, and what they lose there.

    Parameters
    ----------
    loss : Loss
        A cross-entropy: it is convex in the factor, so its slope is halved in on.
    outputs : Tensor of shape (n_rows, n_outputs)
    target : Tensor of shape (n_rows,) or (n_rows, n_outputs)
    share : Tensor of shape (n_rows,)
        Weights of the rows.
    """
    outputs, share = outputs.double(), share.double()
    low, high = FEWEST, MOST
    while high - low > 1:
        middle = (low + high) // 2
        scaled = outputs * math.exp(middle / STEPS_PER_UNIT)
        _, gradient = loss_and_gradient(loss, scaled, target, 0.0, share)
        if float((gradient * outputs).sum()) > 0:
            high = middle
        else:
            low = middle
    factor = math.exp(low / STEPS_PER_UNIT)
    return factor, float((loss(outputs * factor, target) * share).sum())


def scaling_parameters(network: Stacked) -> list[str]:
    """Names of the parameters whose factor is one of the outputs, where the network has them.

    A user's module may do anything with its outputs.
    """
    chain = network.chain if isinstance(network, Sequence) else []
    if not chain or not isinstance(chain[-1], StackedLinear):
        return []
    last = set(map(id, chain[-1].parameters()))
    return [name for name, p in network.named_parameters() if id(p) in last]
