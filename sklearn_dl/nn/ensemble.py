"""Several trained networks as one module."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["PlainEnsemble", "averaged"]


def averaged(outputs: Tensor, link: str) -> Tensor:
    """Outputs that the link maps to the mean prediction, (members, ...) to (...)."""
    if link == "softmax":
        return torch.logsumexp(torch.log_softmax(outputs, -1), 0) - math.log(len(outputs))
    if link == "sigmoid":
        log = nn.functional.logsigmoid
        return torch.logsumexp(log(outputs), 0) - torch.logsumexp(log(-outputs), 0)
    if link == "exp":
        return torch.logsumexp(outputs, 0) - math.log(len(outputs))
    return outputs.mean(0)


class PlainEnsemble(nn.Module):
    """The mean of the members' predictions, as outputs that the link maps to it.

    Parameters
    ----------
    members : iterable of nn.Module
        Each maps (batch, n_features) to (batch, n_outputs).
    link : {"softmax", "sigmoid", "identity", "exp"}
        "softmax": ``log mean_i softmax(z_i)``; "sigmoid": the logit of the mean probability;
        "identity": the mean output; "exp": the logarithm of the mean rate.
    """

    def __init__(self, members: Iterable[nn.Module], link: str) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.link = link

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_features) to (batch, n_outputs)."""
        return averaged(torch.stack([member(x) for member in self.members]), self.link)
