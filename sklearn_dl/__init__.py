"""Neural networks as scikit-learn estimators, and why one is not good enough.

The everyday names are here; everything else is imported from its module, for example
``from sklearn_dl.tabular import TabularEncoder``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# The only home of the version: the build reads this line, so it also holds un-installed.
__version__ = "0.1.0"

__all__ = [
    "PLAIN",
    "DLClassifier",
    "DLRegressor",
    "DiagnosisSearchCV",
    "__version__",
    "batched_fits",
    "checkpoints",
    "diagnose",
    "load_model",
    "param_space",
    "save_model",
]

_HOME = {
    "DLClassifier": "estimators",
    "DLRegressor": "estimators",
    "DiagnosisSearchCV": "search",
    "PLAIN": "estimators",
    "batched_fits": "batching",
    "checkpoints": "checkpointing",
    "diagnose": "diagnosis",
    "load_model": "storage",
    "param_space": "search",
    "save_model": "storage",
}

if TYPE_CHECKING:
    from sklearn_dl.batching import batched_fits
    from sklearn_dl.checkpointing import checkpoints
    from sklearn_dl.diagnosis import diagnose
    from sklearn_dl.estimators import PLAIN, DLClassifier, DLRegressor
    from sklearn_dl.search import DiagnosisSearchCV, param_space
    from sklearn_dl.storage import load_model, save_model
else:
    # Lazy (PEP 562): reading the version or the command line's help does not pay for torch.
    # Hidden from type checkers, which would otherwise accept any misspelt name.
    def __getattr__(name: str) -> object:
        """Import an everyday name from its module when it is first used."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
