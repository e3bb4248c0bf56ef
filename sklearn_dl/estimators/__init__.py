"""DLClassifier and DLRegressor: the scikit-learn contract and nothing else."""

from sklearn_dl.estimators.classifier import DLClassifier
from sklearn_dl.estimators.regressor import DLRegressor
from sklearn_dl.recipes import PLAIN

__all__ = ["PLAIN", "DLClassifier", "DLRegressor"]
