"""What does tuning one hyperparameter bring, and what does a wrong value cost?

For each table one hyperparameter at a time takes the values of GRID, all others stay.
Cross-validation on the training rows chooses a value, which is judged on test rows that nobody saw,
beside the starting point on the same rows. Started from the defaults and from the network of the
textbook (PLAIN with Adam). Results are appended to a cache, so an interrupted run goes on:
``python benchmarks/hyperparameters.py --data FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from tables import read, splits

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, batched_fits

#: Twelve tables of all sizes and kinds, six of them numbers; named before the first run.
TABLES = (
    *("diabetes", "hitters", "abalone", "wine_quality", "chicago_rides", "kc_house"),
    *("pima", "credit_g", "phoneme", "contraceptive", "hypothyroid", "wine"),
)
MAX_TRAIN_ROWS = 1000
FOLDS = 3
#: The first value is that of the starting point; "auto" and None stand for its own choice.
GRID: dict[str, tuple[Any, ...]] = {
    "learning_rate": (1e-3, 1e-4, 3e-4, 3e-3, 1e-2, 3e-2),
    "hidden_layer_sizes": ((128, 128), (), (32,), (32, 32), (256, 256), (64, 64, 64, 64)),
    "dropout": (0.1, 0.0, 0.3, 0.5),
    "weight_decay": (0.05, 0.0, 0.005, 0.5),
    "batch_size": ("auto", 16, 32, 256),
    "max_epochs": ("auto", 10, 30, 100),
    "activation": ("relu", "tanh", "silu", "sigmoid"),
    "normalization": (None, "batch", "layer"),
    "optimizer": ("adamw", "sgd", "rmsprop"),
    "schedule": ("cosine", None, "one_cycle"),
}
STARTS: dict[str, dict[str, Any]] = {"defaults": {}, "PLAIN": PLAIN | {"optimizer": "adam"}}


def values_of(name: str, start: dict[str, Any]) -> list[Any]:
    """The starting point's value first, then the others of the grid."""
    first = start.get(name, GRID[name][0])
    return [first, *(v for v in GRID[name] if v != first)]


def loss_of(model: Any, X: Any, y: Any) -> float:
    """Log loss of classes, mean squared error of numbers."""
    if isinstance(model, DLRegressor):
        return float(mean_squared_error(y, model.predict(X)))
    p = np.clip(model.predict_proba(X), 1e-6, 1)
    return float(log_loss(y, p / p.sum(axis=1, keepdims=True), labels=model.classes_))


def measure(data: Path, table: str, start: str, repeat: int, name: str) -> dict[str, Any]:
    """What each value of a hyperparameter loses in cross-validation and on the test rows."""
    X, y, classes = read(data, table)
    train, test = list(splits(len(X), MAX_TRAIN_ROWS))[repeat]
    if classes:  # a class must be known to be judged
        test = test[np.isin(y[test], y[train])]
    network = DLClassifier if classes else DLRegressor
    kind = StratifiedKFold if classes else KFold
    folds = kind(FOLDS, shuffle=True, random_state=repeat)
    values = values_of(name, STARTS[start])
    seconds = time.process_time()
    search = GridSearchCV(
        network(**STARTS[start], random_state=repeat),
        {name: values},
        cv=folds,
        refit=False,
        error_score=np.nan,
        scoring="neg_log_loss" if classes else "neg_mean_squared_error",
    )
    with batched_fits():
        search.fit(X.iloc[train], y[train])
    seconds = time.process_time() - seconds
    losses = []
    for value in values:
        try:
            fitted = network(**STARTS[start] | {name: value}, random_state=repeat)
            losses.append(loss_of(fitted.fit(X.iloc[train], y[train]), X.iloc[test], y[test]))
        except ValueError:  # diverged, as the estimator says
            losses.append(np.inf)
    cv = np.nan_to_num(-search.cv_results_["mean_test_score"], nan=np.inf)
    return {
        "start": start,
        "table": table,
        "repeat": repeat,
        "name": name,
        "values": [str(v) for v in values],
        "cv": cv.tolist(),
        "test": losses,
        "seconds": seconds,
    }


def summary(records: list[dict[str, Any]]) -> pd.DataFrame:
    """A line a hyperparameter: in per cent of the starting point's test loss, over the tables."""
    rows = []
    for r in records:
        chosen = int(np.argmin(r["cv"]))
        change = 100 * (np.array(r["test"]) / r["test"][0] - 1)
        rows.append(
            r | {"kept": chosen == 0, "chosen": change[chosen], "worst": change.max(),
                 "best": change.min()}
        )  # fmt: skip
    by_table = (
        pd.DataFrame(rows)
        .groupby(["start", "name", "table"])[["kept", "chosen", "worst", "best", "seconds"]]
        .mean()
    )
    lines = []
    for (start, name), part in by_table.groupby(["start", "name"]):
        better, worse = int((part["chosen"] < -1).sum()), int((part["chosen"] > 1).sum())
        lines.append(
            {
                "start": start, "hyperparameter": name, "tables": len(part),
                "kept": part["kept"].mean(), "chosen": part["chosen"].median(),
                "mean": part["chosen"].mean(), "better": better, "worse": worse,
                "p": binomtest(better, better + worse).pvalue if better + worse else 1.0,
                "best possible": part["best"].median(), "worst value": part["worst"].median(),
            }
        )  # fmt: skip
    return pd.DataFrame(lines).sort_values(["start", "chosen"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of parquet tables")
    parser.add_argument("--cache", type=Path, default=Path("hyperparameters.jsonl"))
    parser.add_argument("--starts", nargs="*", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--tables", nargs="*", default=TABLES, choices=TABLES)
    parser.add_argument("--repeats", type=int, default=1, help="splits a table, at most two")
    parser.add_argument("--report", action="store_true", help="print the cache, run nothing")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = args.cache.read_text().splitlines() if args.cache.exists() else []
    records = [json.loads(line) for line in lines]
    keys = ("start", "table", "repeat", "name")
    done = {tuple(r[key] for key in keys) for r in records}
    wanted = product(args.starts, args.tables, range(args.repeats), GRID)
    for start, table, repeat, name in [] if args.report else wanted:
        if (start, table, repeat, name) in done:
            continue
        records.append(measure(args.data, table, start, repeat, name))
        with args.cache.open("a") as out:
            out.write(json.dumps(records[-1]) + "\n")
        print(start, table, repeat, name, f"{records[-1]['seconds']:.0f} s", flush=True)
    print(summary(records).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
