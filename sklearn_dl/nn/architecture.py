"""Which network: a name or a user's callable, its sizes, and the stack of models built from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Generator, Tensor, nn

from sklearn_dl.nn.convolution import (
    MOST_CELLS,
    ImageShape,
    StackedChannelNorm,
    StackedConvolution,
    StackedFlatten,
    StackedImages,
    StackedPooling,
    pooled_shape,
)
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
from sklearn_dl.nn.levels import StackedLevels
from sklearn_dl.nn.periodic import StackedPeriodic
from sklearn_dl.nn.piecewise import StackedPiecewise
from sklearn_dl.nn.replicated import Replicated
from sklearn_dl.nn.rising import StackedRising

__all__ = ["MODULES", "STRONG", "Architecture", "build"]

MODULES = ("auto", "mlp", "residual", "ensemble", "periodic", "cnn")
#: Numbers of a feature map that are held at once in a prediction: 64 MiB of float32.
MAP_NUMBERS = 2**24
#: Those that encode numbers and levels themselves and, unless told otherwise, have several members.
STRONG = frozenset({"auto", "ensemble", "periodic"})


@dataclass(frozen=True)
class Architecture:
    """All that decides the shape of a network; models of one stack share it.

    Attributes
    ----------
    module : str or callable
        One of ``MODULES``, or ``(n_features, n_outputs) -> torch.nn.Module``.
    n_features, n_outputs : int
        Columns of the encoded inputs and of the outputs.
    hidden_layer_sizes : tuple of int
    activation : str or callable
    normalization : {None, "batch", "layer"}
    binned : tuple of int
        Numbers that are encoded, where ``module`` is one of ``STRONG``.
    n_bins : int
        Bins of the piecewise-linear encoding of each.
    periodic : tuple (n_frequencies, size)
        Of the periodic embedding of each; 0, 0 without.
    n_levels : tuple of int
        The last inputs are codes of so many levels each, where ``module`` is one of ``STRONG``.
    embedding_size : int
        Numbers that each level becomes.
    n_members : int
        Networks whose predictions are averaged; each is a model of the stack.
    link : {"softmax", "sigmoid", "identity", "exp"}
        How they are averaged, see ``PlainEnsemble``.
    image : tuple (channels, height, width) or None
        Set where the inputs are images, flattened.
    channels : tuple of int
        Channels of each convolution of ``module="cnn"``.
    levels : tuple of float
        Where several quantiles are estimated, their levels: outputs rise with them.
    """

    module: str | Callable[[int, int], nn.Module]
    n_features: int
    n_outputs: int
    hidden_layer_sizes: tuple[int, ...] = ()
    activation: str | Callable[[Tensor], Tensor] = "relu"
    normalization: str | None = None
    binned: tuple[int, ...] = ()
    n_bins: int = 0
    periodic: tuple[int, int] = (0, 0)
    n_levels: tuple[int, ...] = ()
    embedding_size: int = 0
    n_members: int = 1
    link: str = "identity"
    image: ImageShape | None = None
    channels: tuple[int, ...] = ()
    levels: tuple[float, ...] = ()

    @property
    def n_multiplications(self) -> int:
        """Products in a forward pass of one row, of a shipped module; an estimate otherwise."""
        return self.n_members * sum(size for size, _ in _products(self))

    @property
    def n_parameters(self) -> int:
        """Learnable numbers of a shipped module of plain layers; an estimate otherwise."""
        n_frequencies, size = self.periodic
        encodings = sum(self.n_levels) * self.embedding_size
        encodings += len(self.binned) * (n_frequencies + (2 * n_frequencies + 1) * size)
        return self.n_members * (encodings + sum(size for _, size in _products(self)))

    def rows_at_once(self, most: int) -> int:
        """Rows to predict at a time, ``most`` at most: the maps of images want memory."""
        widest = max((c * h * w for c, h, w in _maps(self)), default=0)
        return most if widest == 0 else max(1, min(most, MAP_NUMBERS // widest))


def _maps(a: Architecture) -> list[ImageShape]:
    """Channels, height and width of what each convolution gives, before it is pooled."""
    if a.module != "cnn" or a.image is None:
        return []
    maps, (_, height, width) = [], a.image
    for n_out in a.channels:
        maps.append((n_out, height, width))
        height, width = pooled_shape(height, width)
    return maps


def _products(a: Architecture) -> list[tuple[int, int]]:
    """Products of a row and parameters, layer by layer."""
    found, width = [], _width(a)
    maps = _maps(a)
    if maps and a.image is not None:
        n_in = a.image[0]
        for n_out, h, w in maps:
            found.append((9 * n_in * n_out * h * w, (9 * n_in + 1) * n_out))
            n_in = n_out
        h, w = _cells(*maps[-1][1:])
        width = n_in * h * w
    if a.periodic[1]:
        found.append((2 * len(a.binned) * a.periodic[0] * a.periodic[1], 0))
    sizes = (width, *a.hidden_layer_sizes, a.n_outputs)
    return found + [((n_in + 1) * n_out, (n_in + 1) * n_out) for n_in, n_out in pairwise(sizes)]


def _width(a: Architecture) -> int:
    """Inputs of the first linear layer of a table's network."""
    numbers = len(a.binned) * (a.n_bins + a.periodic[1])
    return a.n_features + numbers + len(a.n_levels) * (a.embedding_size - 1)


def _cells(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells behind the last pooling, which the dense layers see."""
    pooled = pooled_shape(height, width)
    return min(MOST_CELLS, pooled[0]), min(MOST_CELLS, pooled[1])


def build(architecture: Architecture, n_models: int) -> Stacked:
    """A stack of ``n_models`` networks with undrawn parameters (call ``reset`` for each model)."""
    rising: list[Stacked] = [StackedRising(architecture.levels)] if architecture.levels else []
    if callable(architecture.module):
        users = Replicated(
            architecture.module, architecture.n_features, architecture.n_outputs, n_models
        )
        return Sequence([users, *rising]) if rising else users
    return Sequence([*_LAYERS[architecture.module](architecture, n_models), *rising])


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
        linear = StackedLinear(n_models, width, size, bias=a.normalization != "batch")
        layers += [linear, *_unit(a, n_models, size)]
        width = size
    return [*layers, StackedLinear(n_models, width, a.n_outputs)]


def _unit(a: Architecture, n_models: int, size: int) -> list[Stacked]:
    normalization = _normalization(a.normalization, n_models, size)
    return [*normalization, Activation(a.activation), StackedDropout()]


def _member(a: Architecture, n_models: int) -> list[Stacked]:
    """The plain network on numbers beside their piecewise-linear encoding, He's initial values.

    The weights of the encodings start at zero (version B of Gorishniy et al. 2024, TabM): the
    network starts smooth and bends where it pays. Columns of codes become vectors first.
    """
    n_silent = len(a.binned) * a.n_bins
    layers: list[Stacked] = []
    if a.n_levels:
        layers.append(StackedLevels(n_models, a.n_levels, a.embedding_size))
    if a.binned and a.periodic[1]:
        layers.append(StackedPeriodic(n_models, a.binned, *a.periodic))
    if n_silent:
        layers.append(StackedPiecewise(n_models, a.binned, a.n_bins))
    width, gain = _width(a), 1.0
    bias = a.normalization != "batch"
    for size in a.hidden_layer_sizes:
        linear = StackedLinear(n_models, width, size, bias=bias, gain=gain, n_silent=n_silent)
        layers += [linear, *_unit(a, n_models, size)]
        width, gain, n_silent = size, 2.0, 0
    last = StackedLinear(n_models, width, a.n_outputs, gain=gain, n_silent=n_silent)
    return [*layers, last]


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


def _cnn(a: Architecture, n_models: int) -> list[Stacked]:
    """Blocks of convolution, pooling, normalisation and activation, then dense layers.

    Pooled first: for a rising activation the order makes no difference, and what follows has a
    quarter of the numbers. Dropout is in the dense part alone. All initial weights by He's rule.
    """
    assert a.image is not None
    n_in, height, width = a.image
    layers: list[Stacked] = [StackedImages(a.image)]
    bias = a.normalization != "batch"
    for n_out in a.channels:
        layers.append(StackedConvolution(n_models, n_in, n_out, bias=bias))
        if pooled_shape(height, width) != (height, width):
            layers.append(StackedPooling(height, width))
        height, width, n_in = *pooled_shape(height, width), n_out
        if a.normalization is not None:
            layers.append(StackedChannelNorm(n_models, n_out, a.normalization))
        layers.append(Activation(a.activation))
    cells = min(MOST_CELLS, height), min(MOST_CELLS, width)
    if cells != (height, width):
        layers.append(StackedPooling(height, width, cells))
    layers += [StackedFlatten(), StackedDropout()]
    units = n_in * cells[0] * cells[1]
    for size in a.hidden_layer_sizes:
        layers.append(StackedLinear(n_models, units, size, bias=bias, gain=2.0))
        layers += _unit(a, n_models, size)
        units = size
    return [*layers, StackedLinear(n_models, units, a.n_outputs, gain=1.0)]


_LAYERS: dict[str, Callable[[Architecture, int], list[Stacked]]] = {
    "auto": _member,
    "ensemble": _member,
    "periodic": _member,
    "mlp": _mlp,
    "residual": _residual,
    "cnn": _cnn,
}
