"""Fits that scikit-learn asks for together are trained together."""

from sklearn_dl.batching.context import batched_fits

__all__ = ["batched_fits"]
