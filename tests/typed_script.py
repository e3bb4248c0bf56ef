"""What a user might write; mypy --strict reads it, with the types that the package ships."""

from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_dl import (
    PLAIN,
    DLClassifier,
    DLRegressor,
    batched_fits,
    diagnose,
    load_model,
    save_model,
)
from sklearn_dl.curvature import critical_point
from sklearn_dl.diagnosis import Diagnosis


def train(X: pd.DataFrame, y: "pd.Series[int]") -> DLClassifier:
    """Fit returns the estimator's own type."""
    model = DLClassifier(hidden_layer_sizes=(64,), optimizer="sgd", learning_rate=0.1)
    with batched_fits(max_models=8):
        return model.fit(X, y).partial_fit(X, y)


def explain(X: pd.DataFrame, y: "pd.Series[float]") -> str:
    """A diagnosis and what it holds."""
    d: Diagnosis = diagnose(DLRegressor(**PLAIN), X, y, cv=3, budget="quick", random_state=0)
    d.to_html(Path("report.html"))
    gains = [remedy.gain for remedy in d.remedies]
    total: float = sum(gains)
    verdict: str = d.verdict
    return f"{verdict}: {total}, {d.ledger['loss'].sum()}"


def travel(model: DLClassifier, X: pd.DataFrame, y: "pd.Series[int]") -> None:
    """Fitted attributes, curvature and files."""
    epochs: int = model.n_iter_
    history: pd.DataFrame = model.history_
    losses: list[float] = model.loss_curve_
    assert epochs == len(history) == len(losses)
    kind: str = critical_point(model, X, y, random_state=0).kind
    save_model(model, Path("model.safetensors"))
    again = load_model("model.safetensors")
    probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = again.predict_proba(X)
    print(kind, probabilities.mean())
