"""Networks with a leading model axis: (n_models, batch, n_features) -> (..., n_outputs)."""

from sklearn_dl.nn.architecture import MODULES, STRONG, Architecture, build
from sklearn_dl.nn.backprop import Chain
from sklearn_dl.nn.ensemble import PlainEnsemble
from sklearn_dl.nn.layers import ACTIVATIONS, Batch, Stacked
from sklearn_dl.nn.levels import EMBEDDING_SIZE
from sklearn_dl.nn.periodic import PERIODIC

__all__ = [
    "ACTIVATIONS",
    "EMBEDDING_SIZE",
    "MODULES",
    "PERIODIC",
    "STRONG",
    "Architecture",
    "Batch",
    "Chain",
    "PlainEnsemble",
    "Stacked",
    "build",
]
