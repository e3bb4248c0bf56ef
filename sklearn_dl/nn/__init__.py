"""Networks with a leading model axis: (n_models, batch, n_features) -> (..., n_outputs)."""

from sklearn_dl.nn.architecture import MODULES, STRONG, Architecture, build
from sklearn_dl.nn.backprop import Chain
from sklearn_dl.nn.ensemble import PlainEnsemble
from sklearn_dl.nn.layers import ACTIVATIONS, Batch, Stacked

__all__ = [
    "ACTIVATIONS",
    "MODULES",
    "STRONG",
    "Architecture",
    "Batch",
    "Chain",
    "PlainEnsemble",
    "Stacked",
    "build",
]
