"""Which network: a name or a user's callable, its sizes, and the stack of models built from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor, nn

from sklearn_dl.nn.layers import (
    ACTIVATIONS,
    Batch,
    Elementwise,
    Stacked,
    StackedBatchNorm,
    StackedDropout,
    StackedLayerNorm,
    StackedLinear,
)
from sklearn_dl.nn.replicated import Replicated

__all__ = ["MODULES", "Architecture", "build"]

MODULES = ("auto", "mlp", "residual")


@dataclass(frozen=True)
class Architecture:
    """All that decides the shape of a network; models of one stack share it.

    Attributes
    ----------
    module : str or callable
        ``"mlp"``, ``"residual"``, or ``(n_features, n_outputs) -> torch.nn.Module``.
    n_features, n_outputs : int
        Columns of the encoded inputs and of the outputs.
    hidden_layer_sizes : tuple of int
    activation : str or callable
    normalization : {None, "batch", "layer"}
    """

    module: str | Callable[[int, int], nn.Module]
    n_features: int
    n_outputs: int
    hidden_layer_sizes: tuple[int, ...] = ()
    activation: str | Callable[[Tensor], Tensor] = "relu"
    normalization: str | None = None


def build(architecture: Architecture, n_models: int) -> Stacked:
    """A stack of ``n_models`` networks with undrawn parameters (call ``reset`` for each model)."""
    if callable(architecture.module):
        return Replicated(
            architecture.module, architecture.n_features, architecture.n_outputs, n_models
        )
    return Sequence(_LAYERS[architecture.module](architecture, n_models))


class Sequence(Stacked):
    """Layers one after another."""

    def __init__(self, layers: list[Stacked]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.chain = layers  # a plain list: nn.ModuleList looks each layer up by its name

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, H)."""
        for layer in self.chain:
            x = layer.forward(x, batch)
        return x

    def reset(self, model: int, generator: Generator) -> None:
        """Draw the initial values of one model."""
        for layer in self.chain:
            layer.reset(model, generator)

    def plain(self, model: int) -> nn.Module:
        """One model as ``nn.Sequential``."""
        return nn.Sequential(*(layer.plain(model) for layer in self.chain))


class Activation(Stacked):
    """An elementwise function: nothing to learn, the same for every model."""

    def __init__(self, activation: str | Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.function = ACTIVATIONS[activation][0] if isinstance(activation, str) else activation

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Apply the function."""
        return self.function(x)

    def reset(self, model: int, generator: Generator) -> None:
        """Nothing to draw."""

    def plain(self, model: int) -> nn.Module:
        """The function as a torch module."""
        if isinstance(self.activation, str):
            return ACTIVATIONS[self.activation][1]()
        return Elementwise(self.activation)


class Residual(Stacked):
    """``x + f(x)``."""

    def __init__(self, branch: Sequence) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Add the branch to its input."""
        return x + self.branch.forward(x, batch)

    def reset(self, model: int, generator: Generator) -> None:
        """Draw the initial values of one model."""
        self.branch.reset(model, generator)

    def plain(self, model: int) -> nn.Module:
        """One model as a plain module."""
        return PlainResidual(self.branch.plain(model))


class PlainResidual(nn.Module):
    """``x + f(x)`` on (batch, n_features)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input."""
        out: Tensor = x + self.branch(x)
        return out


def _normalization(kind: str | None, n_models: int, width: int) -> list[Stacked]:
    if kind is None:
        return []
    return [(StackedBatchNorm if kind == "batch" else StackedLayerNorm)(n_models, width)]


def _mlp(a: Architecture, n_models: int) -> list[Stacked]:
    """Linear, normalisation, activation, dropout for each hidden size; then linear."""
    layers: list[Stacked] = []
    width = a.n_features
    for size in a.hidden_layer_sizes:
        layers += [
            StackedLinear(n_models, width, size, bias=a.normalization != "batch"),
            *_normalization(a.normalization, n_models, size),
            Activation(a.activation),
            StackedDropout(),
        ]
        width = size
    return [*layers, StackedLinear(n_models, width, a.n_outputs)]


def _residual(a: Architecture, n_models: int) -> list[Stacked]:
    """A linear map to the first hidden size, then one residual block a hidden size.

    The block of size h is ``x + W2 dropout(act(W1 norm(x)))`` with h units inside (Gorishniy et al.
    2021, section 3.2, with the user's normalisation).
    """
    if not a.hidden_layer_sizes:
        return _mlp(a, n_models)
    width = a.hidden_layer_sizes[0]
    # what is added to the skip line meets a batch normalisation wherever it goes
    bias = a.normalization != "batch"
    layers: list[Stacked] = [StackedLinear(n_models, a.n_features, width, bias=bias)]
    for size in a.hidden_layer_sizes:
        branch: list[Stacked] = [
            *_normalization(a.normalization, n_models, width),
            StackedLinear(n_models, width, size),
            Activation(a.activation),
            StackedDropout(),
            StackedLinear(n_models, size, width, bias=bias),
        ]
        layers.append(Residual(Sequence(branch)))
    tail = [*_normalization(a.normalization, n_models, width), Activation(a.activation)]
    return [*layers, *tail, StackedLinear(n_models, width, a.n_outputs)]


_LAYERS: dict[str, Callable[[Architecture, int], list[Stacked]]] = {
    "auto": _mlp,
    "mlp": _mlp,
    "residual": _residual,
}
