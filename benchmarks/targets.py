"""Targets that are not one number or one class, each beside its peers in the same run.

Parts: ``quantiles`` (coverage and pinball loss), ``counts`` (Poisson deviance), ``labels`` and
``outputs`` (several targets at once), ``imbalance`` (class weights against a focal loss),
``temperature`` (what calibration would still gain) and ``speed`` (several targets against one).
Tables are parquet files with a column ``target`` in the folder ``--data``; rows are shuffled, the
first ``--rows`` are learnt from and up to 4,000 others judged. Every result is appended to the
cache, so an interrupted run goes on::

    python benchmarks/targets.py quantiles --data FOLDER --cache targets.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    d2_tweedie_score,
    log_loss,
    mean_pinball_loss,
    r2_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from tables import piped
from torch.nn.functional import cross_entropy

from sklearn_dl import DLClassifier, DLRegressor
from sklearn_dl.fitting import left_out_outputs

Result = dict[str, Any]
Runs = dict[str, Callable[[], Result]]
Table = tuple[pd.DataFrame, Any]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_TEST_ROWS = 4000
QUANTILE_TABLES = ("abalone", "california", "kc_house", "wine_quality")
CLASS_TABLES = (
    *("pima", "credit_g", "phoneme", "adult", "bank", "contraceptive", "chile_vote", "hpc_jobs"),
    *("marketing", "dry_bean", "digits"),
)
#: Positives: 5, 12 and 14 of a hundred rows.
RARE_TABLES = ("nass_crash", "bank", "mlc_churn")


def read(data: Path, table: str) -> Table:
    """Features, and the target as codes or numbers."""
    frame = pd.read_parquet(data / f"{table}.parquet")
    target = frame.pop("target")
    classes = isinstance(target.dtype, pd.CategoricalDtype)
    return frame, np.asarray(target.cat.codes if classes else target.astype(np.float64))


def counts_of(data: Path, table: str) -> Table:
    """Counts as they were counted: rings of a shell, births of a day, earlier offences."""
    frame, y = read(data, table)
    if table == "compas":
        return frame, np.asarray(frame.pop("priors_count"), dtype=np.float64)
    return (frame, np.expm1(y).round().clip(0)) if table == "births" else (frame, y)


def labels_of(data: Path, table: str) -> Table:
    """Several yes-or-no columns of one table, told by the others."""
    frame, y = read(data, table)
    if table == "adult":
        married = frame.pop("marital").astype(str).str.startswith("Married")
        female = frame.pop("sex").astype(str).str.startswith("F")
        frame = frame.drop(columns="relationship")  # wife and husband
        return frame, np.stack([y, married, female], axis=1).astype(int)
    columns = [np.asarray(frame.pop(c).astype("category").cat.codes > 0) for c in
               ("seatbelt", "frontal", "sex")]  # fmt: skip
    return frame, np.stack([y, *columns], axis=1).astype(int)


def outputs_of(data: Path, table: str) -> Table:
    """Several numbers of one table, told by the others."""
    frame, y = read(data, table)
    names = {"chicago_rides": ("temp", "humidity", "wind"), "kc_house": ("sqft_living", "grade")}
    others = [np.asarray(frame.pop(c), dtype=np.float64) for c in names[table]]
    return frame, np.stack([y, *others], axis=1)


def split(table: Table, rows: int, seed: int) -> tuple[pd.DataFrame, Any, pd.DataFrame, Any]:
    """Shuffled rows to learn from and to judge."""
    frame, y = table
    order = np.random.RandomState(seed).permutation(len(frame))
    n = min(rows, round(0.7 * len(frame)))
    train, test = order[:n], order[n : n + MAX_TEST_ROWS]
    return frame.iloc[train], y[train], frame.iloc[test], y[test]


def hist(classes: bool, frame: pd.DataFrame, **params: Any) -> Any:
    """HistGradientBoosting on a frame, categories from their dtype."""
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(random_state=0, **params)


# --- parts: what is run on one table and split, by who --------------------------------------------


def quantiles(data: Path, table: str, rows: int, seed: int) -> Runs:
    """Coverage of the inner 90 %, mean error of the levels, pinball loss over the deviation."""
    X, y, X_test, y_test = split(read(data, table), rows, seed)

    def alone(make: Callable[[float], Any]) -> Any:
        return np.stack([make(q).fit(X, y).predict(X_test) for q in LEVELS], axis=1)

    def together() -> Any:
        return (
            DLRegressor(loss="pinball", quantile=LEVELS, random_state=seed)
            .fit(X, y)
            .predict(X_test)
        )

    makers: dict[str, Callable[[], Any]] = {
        "ours": together,
        "ours, one a level": lambda: alone(
            lambda q: DLRegressor(loss="pinball", quantile=q, random_state=seed)
        ),
        "boosting, one a level": lambda: alone(
            lambda q: hist(False, X, loss="quantile", quantile=q)
        ),
    }

    def run(predict: Callable[[], Any]) -> Result:
        start = time.perf_counter()
        p = predict()
        below = (y_test[:, None] <= p).mean(axis=0)
        losses = [mean_pinball_loss(y_test, p[:, k], alpha=q) for k, q in enumerate(LEVELS)]
        return {
            "coverage": ((y_test >= p[:, 0]) & (y_test <= p[:, -1])).mean(),
            "level_error": np.abs(below - LEVELS).mean(),
            "crossing": (np.diff(p, axis=1) < 0).any(axis=1).mean(),
            "pinball": np.mean(losses) / y_test.std(),
            "seconds": time.perf_counter() - start,
        }

    return {name: partial(run, predict) for name, predict in makers.items()}


def counts(data: Path, table: str, rows: int, seed: int) -> Runs:
    """D2 of the Poisson deviance."""
    X, y, X_test, y_test = split(counts_of(data, table), rows, seed)
    poisson = piped(PoissonRegressor(alpha=1e-3, max_iter=1000), classes=True)
    estimators = {
        "ours, poisson": DLRegressor(loss="poisson", random_state=seed),
        "ours, squared error": DLRegressor(random_state=seed),
        "boosting, poisson": hist(False, X, loss="poisson"),
        "linear, poisson": poisson,
    }

    def run(estimator: Any) -> Result:
        start = time.perf_counter()
        p = np.maximum(estimator.fit(X, y).predict(X_test), 1e-3 * y.mean())
        return {
            "d2": d2_tweedie_score(y_test, p, power=1),
            "r2": r2_score(y_test, p),
            "seconds": time.perf_counter() - start,
        }

    return {name: partial(run, estimator) for name, estimator in estimators.items()}


def labels(data: Path, table: str, rows: int, seed: int) -> Runs:
    """Mean log loss of a label, and its average precision."""
    X, Y, X_test, Y_test = split(labels_of(data, table), rows, seed)

    class OneALabel:
        def fit(self, X: Any, Y: Any) -> OneALabel:
            self.models = [DLClassifier(random_state=seed).fit(X, y) for y in Y.T]
            return self

        def predict_proba(self, X: Any) -> Any:
            return np.stack([model.predict_proba(X)[:, 1] for model in self.models], axis=1)

    estimators: dict[str, Any] = {
        "ours": DLClassifier(random_state=seed),
        "ours, balanced": DLClassifier(class_weight="balanced", random_state=seed),
        "ours, one a label": OneALabel(),
        "scikit-learn's MLP": piped(
            MLPClassifier((128, 128), early_stopping=True, random_state=seed), classes=True
        ),
        "boosting, one a label": OneVsRestClassifier(hist(True, X)),
        "linear, one a label": piped(
            OneVsRestClassifier(LogisticRegression(max_iter=1000)), classes=True
        ),
    }

    def run(estimator: Any) -> Result:
        start = time.perf_counter()
        p = estimator.fit(X, Y).predict_proba(X_test)
        return {
            "log_loss": np.mean([log_loss(y, q) for y, q in zip(Y_test.T, p.T, strict=True)]),
            "average_precision": average_precision_score(Y_test, p, average="macro"),
            "seconds": time.perf_counter() - start,
        }

    return {name: partial(run, estimator) for name, estimator in estimators.items()}


def outputs(data: Path, table: str, rows: int, seed: int) -> Runs:
    """Mean R2 of the outputs."""
    X, Y, X_test, Y_test = split(outputs_of(data, table), rows, seed)
    estimators = {
        "ours": DLRegressor(random_state=seed),
        "ours, one an output": MultiOutputRegressor(DLRegressor(random_state=seed)),
        "scikit-learn's MLP": piped(
            MLPRegressor((128, 128), early_stopping=True, random_state=seed), classes=False
        ),
        "boosting, one an output": MultiOutputRegressor(hist(False, X)),
    }

    def run(estimator: Any) -> Result:
        start = time.perf_counter()
        p = estimator.fit(X, Y).predict(X_test)
        return {"r2": r2_score(Y_test, p), "seconds": time.perf_counter() - start}

    return {name: partial(run, estimator) for name, estimator in estimators.items()}


def focal(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """``-(1 - p)^2 log p`` of the own class (Lin et al. 2017, gamma = 2)."""
    losses = cross_entropy(outputs, target, reduction="none")
    return (1 - torch.exp(-losses)).square() * losses


def imbalance(data: Path, table: str, rows: int, seed: int) -> Runs:
    """A rare class: cross-entropy, class weights, a focal loss, and both."""
    X, y, X_test, y_test = split(read(data, table), rows, seed)
    rare = int(y.mean() < 0.5)
    ways: dict[str, dict[str, Any]] = {
        "cross-entropy": {},
        "balanced": {"class_weight": "balanced"},
        "focal": {"loss": focal},
        "focal, balanced": {"loss": focal, "class_weight": "balanced"},
    }
    prior = np.mean(y == rare)

    def run(params: dict[str, Any]) -> Result:
        fitted = DLClassifier(random_state=seed, **params).fit(X, y)
        p = fitted.predict_proba(X_test)[:, rare]
        return {
            "average_precision": average_precision_score(y_test == rare, p),
            "log_loss": log_loss(y_test == rare, p),
            "balanced_accuracy": balanced_accuracy_score(y_test == rare, p > 0.5),
            # the threshold that is right for equal costs of both classes under each's own prior
            "at_prior": balanced_accuracy_score(y_test == rare, p > prior),
        }

    return {name: partial(run, params) for name, params in ways.items()}


class _LeftOut(DLClassifier):
    """Keeps what each member says of the rows it left out."""

    def _calibrate(self, job: Any) -> None:
        self.left_out = left_out_outputs(self.module_, job), job.examples.target.numpy()


def _temperature(z: Any, y: Any) -> float:
    rows = np.arange(len(y))
    found = minimize_scalar(
        lambda log_t: -log_softmax(z / np.exp(log_t), axis=1)[rows, y].mean(),
        bounds=(-1.5, 2),
        method="bounded",
    )
    return float(np.exp(found.x))


def _calibration_error(p: Any, y: Any, n_bins: int = 15) -> float:
    """Expected calibration error of the likeliest class (Guo et al. 2017)."""
    sure, hit = p.max(axis=1), p.argmax(axis=1) == y
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    parts = [bins == k for k in range(n_bins) if (bins == k).any()]
    return float(sum(abs(hit[b].mean() - sure[b].mean()) * b.mean() for b in parts))


def temperature(data: Path, table: str, rows: int, seed: int) -> Runs:
    """Log loss and calibration error as they come, and after a temperature found in three ways."""
    X, y, X_test, y_test = split(read(data, table), rows, seed)
    known = np.isin(y_test, y)
    X_test, y_test = X_test[known], np.searchsorted(np.unique(y), y_test[known])
    fitted = _LeftOut(random_state=seed).fit(X, y)
    z = np.log(fitted.predict_proba(X_test).clip(1e-12))
    ways = {
        "as it comes": 1.0,
        "of the rows left out": _temperature(*fitted.left_out),
        "of the test rows (bound)": _temperature(z, y_test),
    }

    def judged(p: Any, t: float) -> Result:
        return {
            "log_loss": log_loss(y_test, p, labels=np.arange(p.shape[1])),
            "calibration_error": _calibration_error(p, y_test),
            "t": t,
        }

    def wrapped() -> Result:
        calibrated = CalibratedClassifierCV(
            DLClassifier(random_state=seed), method="temperature", ensemble=False, cv=3
        )
        return judged(calibrated.fit(X, y).predict_proba(X_test), np.nan)

    runs: Runs = {
        name: partial(judged, np.exp(log_softmax(z / t, axis=1)), t) for name, t in ways.items()
    }
    return {**runs, "CalibratedClassifierCV": wrapped}


def speed(data: Path, table: str, rows: int, seed: int) -> Runs:
    """Seconds of a fit with several targets over those with one; the least of each, in turns."""
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((rows, 20))
    signal = X @ rng.standard_normal((20, 5)) + rng.standard_normal((rows, 5))
    y, Y = (signal[:, 0] > 0).astype(int), (signal > 0).astype(int)
    classifier, regressor = (kind(max_epochs=5, random_state=0)
                             for kind in (DLClassifier, DLRegressor))  # fmt: skip
    pinball = DLRegressor(loss="pinball", max_epochs=5, random_state=0)
    works = {
        "5 labels over one": ((classifier, y), (classifier, Y)),
        "5 weighted labels over one": (
            (classifier, y),
            (DLClassifier(class_weight="balanced", max_epochs=5, random_state=0), Y),
        ),
        "5 outputs over one": ((regressor, signal[:, 0]), (regressor, signal)),
        "5 quantiles over one": (
            (pinball, signal[:, 0]),
            (DLRegressor(loss="pinball", quantile=LEVELS, max_epochs=5, random_state=0),
             signal[:, 0]),
        ),
        "counts over squared error": (
            (regressor, signal[:, 0]),
            (DLRegressor(loss="poisson", max_epochs=5, random_state=0),
             rng.poisson(np.exp(signal[:, 0] / 5)).astype(float)),
        ),
    }  # fmt: skip

    def run(one: Any, several: Any) -> Result:
        least = [np.inf, np.inf]
        for _ in range(4):
            for k, (estimator, target) in enumerate((one, several)):
                start = time.process_time()
                estimator.fit(X, target)
                least[k] = min(least[k], time.process_time() - start)
        return {"ratio": least[1] / least[0], "seconds": least[1]}

    return {name: partial(run, *pair) for name, pair in works.items()}


PARTS: dict[str, tuple[Callable[..., Runs], tuple[str, ...]]] = {
    "quantiles": (quantiles, QUANTILE_TABLES),
    "counts": (counts, ("abalone", "births", "compas")),
    "labels": (labels, ("adult", "nass_crash")),
    "outputs": (outputs, ("chicago_rides", "kc_house")),
    "imbalance": (imbalance, RARE_TABLES),
    "temperature": (temperature, CLASS_TABLES),
    "speed": (speed, ("generated",)),
}


def summary(results: list[Result], part: str) -> None:
    """Print the mean of each measure, by table and who."""
    frame = pd.DataFrame([r for r in results if r["part"] == part])
    if len(frame):
        numbers = frame.drop(columns=["part", "seed"])
        with pd.option_context("display.width", 160, "display.max_rows", None):
            print(numbers.groupby(["rows", "table", "who"], sort=False).mean().round(4))


def main() -> None:
    """Run one part on its tables and print what the cache holds of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True, help="folder of parquet tables")
    parser.add_argument("--cache", type=Path, default=Path("targets.jsonl"))
    parser.add_argument("--tables", help="some of the tables, with commas")
    parser.add_argument("--rows", type=int, default=3000, help="rows learnt from, at most")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    run, tables = PARTS[options.part]
    lines = options.cache.read_text().splitlines() if options.cache.exists() else []
    results = [json.loads(line) for line in lines]
    done = {(r["part"], r["table"], r["rows"], r["seed"], r["who"]) for r in results}
    for seed in range(options.seeds):
        for table in options.tables.split(",") if options.tables else tables:
            about = {"part": options.part, "table": table, "rows": options.rows, "seed": seed}
            for who, one in run(options.data, table, options.rows, seed).items():
                if (*about.values(), who) in done:
                    continue
                results.append({**about, "who": who, **{k: float(v) for k, v in one().items()}})
                with options.cache.open("a") as cache:
                    cache.write(json.dumps(results[-1]) + "\n")
    summary(results, options.part)


if __name__ == "__main__":
    main()
