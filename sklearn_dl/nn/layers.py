"""What a stack of models is made of: layers whose parameters carry a leading model axis.

Shapes: n_models M, rows of a batch B, features F or H. Every layer maps (M, B, F) to (M, B, H),
draws its initial values for one model at a time from that model's generator, and can give one of
its models back as the plain torch layer with the same function (``plain``).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

__all__ = [
    "ACTIVATIONS",
    "Batch",
    "Elementwise",
    "Stacked",
    "StackedBatchNorm",
    "StackedDropout",
    "StackedLayerNorm",
    "StackedLinear",
]

#: Products with fewer columns than this are formed transposed: with 10 columns BLAS was seen to run
#: at a tenth of its speed, and at nearly all of it with the same numbers as 10 rows.
NARROW = 16

#: Standard deviation of initial biases where weights start by He's rule: kinks do not all start at
#: the median of a column.
BIAS_DEVIATION = 0.1

#: name -> (function, the torch module that is the same function)
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], type[nn.Module]]] = {
    "relu": (torch.relu, nn.ReLU),
    "gelu": (nn.functional.gelu, nn.GELU),
    "silu": (nn.functional.silu, nn.SiLU),
    "selu": (torch.selu, nn.SELU),
    "tanh": (torch.tanh, nn.Tanh),
    "sigmoid": (torch.sigmoid, nn.Sigmoid),
    "identity": (lambda x: x, nn.Identity),
}


class Elementwise(nn.Module):
    """A user's activation function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)


@dataclass
class Batch:
    """What a layer may need to know of the batch beside its inputs.

    Attributes
    ----------
    weight : Tensor of shape (n_models, batch) or None
        Weight of each row, 0 for the padding of a ragged stack; None where all rows count alike.
    rows : sequence of int or None
        Rows of each model in this batch, padding not counted; None where no row is padding.
    """

    weight: Tensor | None = None
    rows: Sequence[int] | None = None


class Stacked(nn.Module):
    """A layer or network of M models."""

    @abstractmethod
    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, H)."""

    @abstractmethod
    def reset(self, model: int, generator: Generator) -> None:
        """Draw the initial values of one model."""

    @abstractmethod
    def plain(self, model: int) -> nn.Module:
        """One model as a plain torch module on (batch, n_features), in evaluation mode."""


class StackedLinear(Stacked):
    """``x W + b`` for M models; W has shape (M, F, H), the transpose of ``nn.Linear``'s.

    Initial values are ``nn.Linear``'s own: all uniform in ``+-1 / sqrt(F)``. Without ``bias`` where
    a batch normalisation follows, which would take it out again.

    Parameters
    ----------
    n_models, n_in, n_out : int
    bias : bool, default=True
    gain : float or None, default=None
        Where given, weights start normal with variance ``gain / F`` (He et al. 2015: 2 behind a
        ReLU) and biases with standard deviation `BIAS_DEVIATION`.
    n_silent : int, default=0
        So many last inputs start with weights of zero and do not count in F: the layer starts as
        if they were not there. Only with ``gain``.
    """

    def __init__(
        self,
        n_models: int,
        n_in: int,
        n_out: int,
        *,
        bias: bool = True,
        gain: float | None = None,
        n_silent: int = 0,
    ) -> None:
        super().__init__()
        self.gain, self.n_silent = gain, n_silent
        self.weight = nn.Parameter(torch.empty(n_models, n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_models, 1, n_out)) if bias else None

    @property
    def narrow(self) -> bool:
        """Whether products are better formed transposed."""
        return self.weight.shape[2] < NARROW

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, H)."""
        if self.bias is None:
            return torch.bmm(x, self.weight)
        if self.narrow:
            return torch.baddbmm(self.bias.mT, self.weight.mT, x.mT).mT
        return torch.baddbmm(self.bias, x, self.weight)

    def backward(self, x: Tensor, gradient: Tensor, *, inputs: bool) -> Tensor | None:
        """Write ``grad`` of the parameters; give that at the inputs where it is asked for."""
        assert self.weight.grad is not None
        if self.narrow:
            self.weight.grad.copy_(torch.bmm(gradient.mT, x).mT)
        elif x.shape[0] == 1:
            torch.bmm(x.mT, gradient, out=self.weight.grad)
        else:  # the rows of a stack lie apart: bmm is slow to write there, copying is not
            self.weight.grad.copy_(torch.bmm(x.mT, gradient))
        if self.bias is not None:
            torch.sum(gradient, 1, keepdim=True, out=self.bias.grad)
        if not inputs:
            return None
        if self.weight.shape[2] == 1:
            return gradient * self.weight.mT
        return torch.bmm(gradient, self.weight.mT)

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Draw the initial values of one model."""
        n_in = self.weight.shape[1]
        bound = 1 / math.sqrt(max(1, n_in))
        for parameter in self.parameters():
            row = parameter[model]
            # drawn in float64 whatever the dtype, so that the dtype does not change the draw
            drawn = torch.empty(row.shape, dtype=torch.float64, device=generator.device)
            if self.gain is None:
                drawn.uniform_(-bound, bound, generator=generator)
            elif parameter is self.bias:
                drawn.normal_(0, BIAS_DEVIATION, generator=generator)
            else:
                heard = max(1, n_in - self.n_silent)
                drawn.normal_(0, math.sqrt(self.gain / heard), generator=generator)
                drawn[n_in - self.n_silent :] = 0
            row.copy_(drawn)

    def plain(self, model: int) -> nn.Module:
        """One model as ``nn.Linear``."""
        _, n_in, n_out = self.weight.shape
        layer = nn.Linear(n_in, n_out, bias=self.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.weight[model].detach().mT.contiguous())
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias[model, 0].detach().clone())
        return layer


class StackedBatchNorm(Stacked):
    """Batch normalisation with weighted statistics, each model by its own (Ioffe and Szegedy 2015).

    In training the mean and variance of a batch weigh each row by its sample weight; padding rows
    weigh nothing. The running averages have the momentum 0.1 of ``nn.BatchNorm1d``.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum, eps = 0.1, 1e-5

    def __init__(self, n_models: int, n_features: int) -> None:
        super().__init__()
        shape = (n_models, 1, n_features)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, F)."""
        mean, var = (
            self._statistics(x, batch) if self.training else (self.running_mean, self.running_var)
        )
        return torch.addcmul(self.bias, x - mean, self.weight * (var + self.eps).rsqrt())

    def _statistics(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.weight is None:
            var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        else:
            share = (batch.weight / batch.weight.sum(1, keepdim=True)).unsqueeze(-1)
            mean = (share * x).sum(1, keepdim=True)
            var = (share * (x - mean).square()).sum(1, keepdim=True)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            # Differs from nn.BatchNorm1d: no n / (n - 1), by which a row of weight two would differ
            # from a row that stands twice, and prediction from training
            self.running_var.lerp_(var, self.momentum)
        return mean, var

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Start as the identity."""
        self.weight[model].fill_(1)
        self.bias[model].zero_()
        self.running_mean[model].zero_()
        self.running_var[model].fill_(1)

    def plain(self, model: int) -> nn.Module:
        """One model as ``nn.BatchNorm1d``."""
        layer = nn.BatchNorm1d(self.weight.shape[2], eps=self.eps, momentum=self.momentum)
        layer.weight = nn.Parameter(self.weight[model, 0].detach().clone())
        layer.bias = nn.Parameter(self.bias[model, 0].detach().clone())
        layer.running_mean = self.running_mean[model, 0].clone()
        layer.running_var = self.running_var[model, 0].clone()
        return layer.eval()


class StackedLayerNorm(Stacked):
    """Layer normalisation with one gain and bias a model (Ba et al. 2016)."""

    eps = 1e-5

    def __init__(self, n_models: int, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_models, 1, n_features))
        self.bias = nn.Parameter(torch.zeros(n_models, 1, n_features))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, F)."""
        normal = nn.functional.layer_norm(x, x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias, normal, self.weight)

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Start as the identity."""
        self.weight[model].fill_(1)
        self.bias[model].zero_()

    def plain(self, model: int) -> nn.Module:
        """One model as ``nn.LayerNorm``."""
        layer = nn.LayerNorm(self.weight.shape[2], eps=self.eps)
        layer.weight = nn.Parameter(self.weight[model, 0].detach().clone())
        layer.bias = nn.Parameter(self.bias[model, 0].detach().clone())
        return layer


def _random_bits(n: int, out: Tensor, generator: Generator) -> None:
    """Fill the first ``n`` of ``out``, int16, with random numbers.

    Four of them from a random integer: ``bernoulli_`` was seen to take five times as long, more
    than the matrix product it goes with.
    """
    out[: -(-n // 4) * 4].view(torch.int64).random_(-(2**63), None, generator=generator)


def _threshold(rate: float) -> int:
    """The least of 2^16 equally likely int16 at which a value is kept."""
    return min(round(rate * 2**16) - 2**15, 2**15 - 1)


class StackedDropout(Stacked):
    """Dropout with a rate a model (Srivastava et al. 2014), each drawing from its own generator.

    A model draws exactly (its rows, H) numbers a step, so its draws are the same alone or in a
    stack. A model whose rows are all in one batch draws H numbers for all of them: a row of weight
    two and a row that stands twice then meet the same mask. ``arm`` sets this up before training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rates: Sequence[float] = ()
        self.generators: Sequence[Generator] = ()
        self.shared: Sequence[bool] = ()
        self._bits = torch.empty(0, 0, dtype=torch.int16)

    def arm(
        self, rates: Sequence[float], generators: Sequence[Generator], shared: Sequence[bool]
    ) -> None:
        """Set each model's rate in [0, 1), source of random numbers, and whether rows share it."""
        self.rates, self.generators, self.shared = rates, generators, shared

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Zero each value with its model's rate, scale the rest to keep the mean."""
        mask = self.mask(x, batch) if self.training else None
        return x if mask is None else x * mask

    def mask(self, x: Tensor, batch: Batch) -> Tensor | None:
        """What values of the shape of x are multiplied by: 0 or 1 / (1 - rate); None for all 1.

        A value is kept with probability 1 - rate to within 2^-16.
        """
        k, n_rows, width = x.shape
        rates = self.rates[:k]
        if not any(rates):
            return None
        size = n_rows * width
        bits = self._bits
        if bits.shape[0] < k or bits.shape[1] < size or bits.device != x.device:
            # a multiple of four numbers a model, which are drawn as integers of four times the size
            shape = k, -(-size // 4) * 4
            self._bits = bits = torch.zeros(shape, dtype=torch.int16, device=x.device)
        for model, rate in enumerate(rates):
            if rate:
                rows = n_rows if batch.rows is None else batch.rows[model]
                n = width if self.shared[model] else rows * width
                _random_bits(n, bits[model], self.generators[model])
                if self.shared[model]:
                    bits[model, :size].view(n_rows, width)[1:] = bits[model, :width]
        drawn = bits[:k, :size].unflatten(1, (n_rows, width))
        mask = torch.empty_like(x)
        if len(set(rates)) == 1:
            return torch.ge(drawn, _threshold(rates[0]), out=mask).div_(1 - rates[0])
        limits = torch.tensor([_threshold(rate) for rate in rates], device=x.device)
        kept = x.new_tensor([1 - rate for rate in rates])
        return torch.ge(drawn, limits.view(k, 1, 1), out=mask).div_(kept.view(k, 1, 1))

    def reset(self, model: int, generator: Generator) -> None:
        """Nothing to draw."""

    def plain(self, model: int) -> nn.Module:
        """One model as ``nn.Dropout``."""
        return nn.Dropout(self.rates[model] if self.rates else 0.0)
