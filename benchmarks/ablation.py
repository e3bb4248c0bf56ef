"""What does each part of the default bring? The default less one part at a time, on raw tables.

Means over tables of the relative change of the loss where the part is missing, with standard errors
over tables; the same splits, seeds and process for all. Results are appended to a cache, so an
interrupted run goes on: ``python benchmarks/ablation.py --data FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from tables import TUNED, UNTOUCHED, measure, read, splits

import sklearn_dl.fitting.settings
import sklearn_dl.nn.architecture
import sklearn_dl.tabular.bins
from sklearn_dl import DLClassifier, DLRegressor
from sklearn_dl.recipes import auto_max_epochs

MAX_TRAIN_ROWS = 2000
#: (rows of the table up to, repeated splits); one beyond.
REPEATS = ((1000, 3),)
#: Added to an error before its logarithm is taken: a hundredth of the rows.
SMALL_ERROR = 0.01
VALUES = ("classes", "loss", "logloss", "fit", "predict")


def _epochs(factor: float) -> Callable[[], AbstractContextManager[Any]]:
    def rule(n_rows: int, module: Any = "auto") -> int:
        return round(factor * auto_max_epochs(n_rows, module))

    return lambda: patch.object(sklearn_dl.fitting.settings, "auto_max_epochs", rule)


def _plain_start(architecture: Any, n_models: int) -> list[Any]:
    """The layers of the default with initial values of ``nn.Linear``."""
    layers = _MEMBER(architecture, n_models)
    for layer in layers:
        if hasattr(layer, "gain"):
            layer.gain = None
    return layers


_MEMBER = sklearn_dl.nn.architecture._LAYERS["auto"]
DEFAULT = "default"
#: What is missing -> parameters, and what else is changed meanwhile.
PARTS: dict[str, tuple[dict[str, Any], Callable[[], AbstractContextManager[Any]]]] = {
    DEFAULT: ({}, nullcontext),
    "members: one network, its last epoch": ({"n_members": 1}, nullcontext),
    "folds: members learn all rows, to the last epoch": (
        {},
        lambda: patch.object(sklearn_dl.fitting, "member_folds", lambda *a, **k: None),
    ),
    "bins": ({}, lambda: patch.object(sklearn_dl.tabular.bins, "N_BINS", 0)),
    "robust scaling and clipping: mean and deviation": (
        {"preprocessing": "standard"},
        nullcontext,
    ),
    "weight decay": ({"weight_decay": 0.0}, nullcontext),
    "dropout": ({"dropout": 0.0}, nullcontext),
    "schedule: a constant rate": ({"schedule": None}, nullcontext),
    "warm-up": ({"warmup": 0.0}, nullcontext),
    "half of the epochs": ({}, _epochs(0.5)),
    "nothing, and with waves beside bins": ({"module": "periodic"}, nullcontext),
    "second layer": ({"hidden_layer_sizes": (128,)}, nullcontext),
    "He's initial values and silent bins: nn.Linear's": (
        {},
        lambda: patch.dict(sklearn_dl.nn.architecture._LAYERS, {"auto": _plain_start}),
    ),
}


def run(tables: tuple[str, ...], args: argparse.Namespace) -> None:
    """Measure what the cache lacks, until the time is up."""
    known = {(r["part"], r["table"], r["repeat"]) for r in load(args.cache)}
    begun = time.monotonic()
    for table in tables:
        X, y, classes = read(args.data, table)
        n_repeats = next((k for rows, k in REPEATS if len(y) <= rows), 1)
        for repeat, (train, test) in list(enumerate(splits(len(y), MAX_TRAIN_ROWS)))[:n_repeats]:
            for part, (settings, changed) in PARTS.items():
                if (part, table, repeat) in known:
                    continue
                if time.monotonic() - begun > args.seconds:
                    return
                with warnings.catch_warnings(), changed():
                    warnings.simplefilter("ignore")
                    kind = DLClassifier if classes else DLRegressor
                    model = kind(random_state=repeat, **settings)
                    found = measure(model, X, y, train, test, classes=classes)
                record = {"part": part, "table": table, "repeat": repeat, "classes": classes}
                with args.cache.open("a") as out:
                    out.write(json.dumps({**record, **found}) + "\n")


def load(cache: Path) -> list[dict[str, Any]]:
    """All records."""
    return [json.loads(line) for line in cache.read_text().splitlines()] if cache.exists() else []


def changes(records: pd.DataFrame, part: str) -> dict[str, pd.Series]:
    """Per cent of change by table without the part: error, log loss, 1 - R2 and seconds."""
    keys = ["table", "repeat"]
    both = records[records.part == DEFAULT].merge(
        records[records.part == part], on=keys, suffixes=("", "_without")
    )

    def change(rows: pd.DataFrame, value: str, added: float = 0.0) -> pd.Series:
        means = rows.groupby("table")[[value, f"{value}_without"]].mean() + added
        return 100 * np.log(means[f"{value}_without"] / means[value])

    classes = both[both.classes]
    return {
        "error": change(classes, "loss", SMALL_ERROR),
        "log loss": change(classes, "logloss"),
        "1 - R2": change(both[~both.classes], "loss"),
        "time": change(both, "fit"),
    }


def report(records: pd.DataFrame) -> None:
    """One line a part, in markdown."""
    print("| without | error | log loss | 1 - R2 | cost |\n|---|---|---|---|---|")
    for part in PARTS:
        if part == DEFAULT or part not in set(records.part):
            continue
        found = changes(records, part)
        cells = [
            f"{v.mean():+.1f} ({v.std() / np.sqrt(len(v)):.1f}), {(v > 0).sum()}:{(v < 0).sum()}"
            for name, v in found.items()
            if name != "time"
        ]
        print(f"| {part} | {' | '.join(cells)} | x {np.exp(found['time'].mean() / 100):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of parquet tables")
    parser.add_argument("--cache", type=Path, default=Path("ablation.jsonl"))
    parser.add_argument("--half", choices=["tuned", "untouched"], default="untouched")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--report", action="store_true", help="print the cache, run nothing")
    args = parser.parse_args()
    tables = {"tuned": TUNED, "untouched": UNTOUCHED}[args.half]
    if not args.report:
        import torch

        torch.set_num_threads(1)
        run(tables, args)
    records = pd.DataFrame(load(args.cache), columns=["part", "table", "repeat", *VALUES])
    records = records[records.table.isin(tables)]
    n_classes = records.groupby("table").classes.first().sum()
    print(
        f"{records.table.nunique()} tables, {n_classes} of them with classes; per cent (standard "
        "error), tables worse : better without"
    )
    report(records)


if __name__ == "__main__":
    main()
