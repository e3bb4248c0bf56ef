"""Searches for hyperparameters: what to draw from, and one that listens to the diagnosis."""

from sklearn_dl.search.estimator import DiagnosisSearchCV
from sklearn_dl.search.space import optuna_params, param_space

__all__ = ["DiagnosisSearchCV", "optuna_params", "param_space"]
