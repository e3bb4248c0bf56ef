"""The simple models that a model's resilience is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.utils.validation import check_array

from sklearn_dl.resilience.corruption import Columns

__all__ = ["simple_references"]

#: One-hot columns of a categorical column; rarer levels share one.
MAX_LEVELS = 30


def _floats(X: Any) -> NDArray[np.float64]:
    """Numbers as scikit-learn reads them; pandas' nullable ones with NaN for what is missing."""
    return np.asarray(check_array(X, dtype=np.float64, ensure_all_finite="allow-nan"))


def simple_references(task: str, columns: Columns, seed: int) -> dict[str, Any]:
    """A linear model and gradient boosting, unfitted, for tables with these columns."""
    numbers, levels = list(columns.numbers), list(columns.levels)
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_LEVELS, sparse_output=False
    )
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=250)
    classify = task == "classification"
    boosting = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
    flags = [False] * len(numbers) + [True] * len(levels)
    return {
        "linear": make_pipeline(
            ColumnTransformer([("numbers", scaled, numbers), ("levels", one_hot, levels)]),
            LogisticRegression(max_iter=1000) if classify else RidgeCV(),
        ),
        "gradient boosting": make_pipeline(
            ColumnTransformer(
                [("numbers", FunctionTransformer(_floats), numbers), ("levels", codes, levels)]
            ),
            boosting(categorical_features=flags, max_leaf_nodes=16, random_state=seed),
        ),
    }
