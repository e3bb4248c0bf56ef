"""Which types may a model file name? Nothing else is looked up, imported or built.

A type of scikit-learn enters when skops trusts it by default, its fitted state is arrays and plain
values, and it computes with numpy alone: trees and neighbour searches follow the indices of their
arrays in compiled code without checking them, so a hostile file could read foreign memory.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import numpy as np

__all__ = [
    "DTYPES",
    "FUNCTIONS",
    "MAX_DEPTH",
    "TYPES",
    "function_key",
    "function_of",
    "key_of",
    "type_of",
]

#: Pipelines in searches in pipelines are some 30 deep; Python's own limit is 1000 calls.
MAX_DEPTH = 100
#: Little-endian numbers, text, times; objects are read one by one.
DTYPES = re.compile(
    r"\|b1|[<|][iu][1248]|<f[248]|<U\d{1,9}|\|S\d{1,9}|\|O|<[mM]8\[\d{0,9}\w{1,2}\]"
)

#: Public module -> names. A file names one as "module.name".
TYPES: dict[str, frozenset[str]] = {
    "sklearn_dl": frozenset({"DLClassifier", "DLRegressor"}),
    "sklearn_dl.tabular": frozenset({"ImageEncoder", "TabularEncoder"}),
    "sklearn.calibration": frozenset(
        {"CalibratedClassifierCV", "_CalibratedClassifier", "_SigmoidCalibration"}
        | {"_TemperatureScaling"}
    ),
    "sklearn.compose": frozenset(
        {"ColumnTransformer", "TransformedTargetRegressor", "make_column_selector"}
    ),
    "sklearn.decomposition": frozenset({"PCA", "TruncatedSVD"}),
    "sklearn.ensemble": frozenset(
        {"BaggingClassifier", "BaggingRegressor", "StackingClassifier", "StackingRegressor"}
        | {"VotingClassifier", "VotingRegressor"}
    ),
    "sklearn.feature_selection": frozenset(
        {"GenericUnivariateSelect", "SelectFdr", "SelectFpr", "SelectFwe", "SelectKBest"}
        | {"SelectPercentile", "VarianceThreshold"}
    ),
    "sklearn.frozen": frozenset({"FrozenEstimator"}),
    "sklearn.impute": frozenset({"MissingIndicator", "SimpleImputer"}),
    "sklearn.isotonic": frozenset({"IsotonicRegression"}),
    "sklearn.linear_model": frozenset(
        {"LinearRegression", "LogisticRegression", "Ridge", "RidgeCV"}
    ),
    "sklearn.multiclass": frozenset({"OneVsRestClassifier"}),
    "sklearn.multioutput": frozenset({"MultiOutputClassifier", "MultiOutputRegressor"}),
    "sklearn.pipeline": frozenset({"FeatureUnion", "Pipeline"}),
    "sklearn.preprocessing": frozenset(
        {"Binarizer", "FunctionTransformer", "KBinsDiscretizer", "LabelBinarizer", "LabelEncoder"}
        | {"MaxAbsScaler", "MinMaxScaler", "Normalizer", "OneHotEncoder", "OrdinalEncoder"}
        | {"PolynomialFeatures", "PowerTransformer", "QuantileTransformer", "RobustScaler"}
        | {"StandardScaler", "TargetEncoder"}
    ),
}

#: Public module -> functions that a parameter may be.
FUNCTIONS: dict[str, frozenset[str]] = {
    "numpy": frozenset(
        {"abs", "cbrt", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "negative"}
        | {"reciprocal", "sqrt", "square"}
    ),
    "sklearn.feature_selection": frozenset(
        {"chi2", "f_classif", "f_regression", "mutual_info_classif", "mutual_info_regression"}
        | {"r_regression"}
    ),
}

_NUMPY_TYPES: tuple[type, ...] = (
    *(np.number, np.integer, np.floating, np.bool_, np.object_, np.str_),
    *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.float16, np.float32, np.float64),
)
#: What a `dtype` parameter may be.
_SCALAR_TYPES: dict[str, type] = {
    "bool": bool,
    "float": float,
    "int": int,
    "object": object,
    "str": str,
    **{f"numpy.{scalar.__name__}": scalar for scalar in _NUMPY_TYPES},
}


def type_of(key: object) -> type:
    """The type a file names.

    Raises
    ------
    ValueError
        It is none of the known ones.
    """
    if isinstance(key, str):
        if key in _SCALAR_TYPES:
            return _SCALAR_TYPES[key]
        module, _, name = key.rpartition(".")
        if name in TYPES.get(module, ()):
            found: type = getattr(import_module(module), name)
            return found
    raise ValueError(f"it names the type {_shown(key)}, which no model file may hold")


def key_of(wanted: type) -> str | None:
    """The name of a type in a file; None where it may not be in one."""
    for key, scalar in _SCALAR_TYPES.items():
        if scalar is wanted:
            return key
    parts = wanted.__module__.split(".")
    for module in (".".join(parts[:2]), parts[0]):
        key = f"{module}.{wanted.__name__}"
        if wanted.__name__ in TYPES.get(module, ()) and type_of(key) is wanted:
            return key
    return None


def function_of(key: object) -> Any:
    """The function a file names.

    Raises
    ------
    ValueError
        It is none of the known ones.
    """
    if isinstance(key, str):
        module, _, name = key.rpartition(".")
        if name in FUNCTIONS.get(module, ()):
            return getattr(import_module(module), name)
    raise ValueError(f"it names the function {_shown(key)}, which no model file may hold")


def function_key(function: Any) -> str | None:
    """The name of a function in a file; None where it may not be in one."""
    module = (getattr(function, "__module__", None) or "numpy").split(".")
    for home in ("numpy", ".".join(module[:2])):
        name = getattr(function, "__name__", "")
        if name == "absolute":
            name = "abs"
        if name in FUNCTIONS.get(home, ()) and function_of(f"{home}.{name}") is function:
            return f"{home}.{name}"
    return None


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 80 else f"{text[:77]}..."
