"""What does the report say? Plain values for the template, nothing of how they look."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch

from sklearn_dl import __version__
from sklearn_dl.diagnosis import Diagnosis, words
from sklearn_dl.report.documented import explanations, introduction
from sklearn_dl.report.pictures import Curves, Waterfall, curves, waterfall

__all__ = ["Check", "Content", "Grid", "RemedyText", "content"]

#: Beyond these a list is cut, and says so: a page is read by people.
MAX_COLUMNS, MAX_CLASSES = 100, 20

#: Short, for the picture.
CAUSES = {
    "reference": "Best reference",
    "approximation": "Model bias",
    "optimization": "Optimization",
    "estimation": "Overfitting",
    "mismatch": "Mismatch",
}
LEDGER_LABELS = {
    "reference": "Best reference, rows it never saw",
    "approximation": "Model bias: the network is too simple",
    "optimization": "Optimization: good weights not found",
    "estimation": "Overfitting: new rows predicted worse",
    "mismatch": "Mismatch: test rows are unlike",
}
LOSS_LABELS = {
    "prior": "no model: the prior",
    "reference": "best reference, on rows it never saw",
    "training": "training rows",
    "same_groups_or_period": "held-out rows of the groups or period learnt",
    "out_of_fold": "out of fold",
    "test": "test rows",
}


@dataclass(frozen=True)
class Grid:
    """A table as it is shown; `number` columns stand to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


@dataclass(frozen=True)
class RemedyText:
    """A remedy in words, and as code where it is a parameter."""

    action: str
    why: str
    gain: str
    code: str


@dataclass(frozen=True)
class Check:
    """A row of the evidence."""

    code: str
    question: str
    value: str
    threshold: str
    outcome: str
    n: str
    fits: str
    source: str
    text: str


@dataclass(frozen=True)
class Content:
    """All that the page shows, in its order."""

    verdict: str
    name: str
    meaning: str
    flow: tuple[words.Step, ...]
    probabilities: tuple[tuple[str, float, str], ...]
    loss: str
    margin: str
    waterfall: Waterfall
    waterfall_text: str
    ledger: Grid
    losses: Grid
    training: Curves | None
    learning: Curves | None
    learning_table: Grid | None
    remedies: tuple[RemedyText, ...]
    grid_code: str
    letters: str
    found: tuple[Check, ...]
    others: tuple[Check, ...]
    facts: tuple[tuple[str, str], ...]
    settings: str
    columns: Grid
    columns_left: int
    scores: Grid | None
    notes: tuple[str, ...]


def content(diagnosis: Diagnosis, learning_curve: pd.DataFrame | None = None) -> Content:
    """Put a diagnosis into words and geometry.

    Parameters
    ----------
    diagnosis : Diagnosis
        What `sklearn_dl.diagnose` returned.
    learning_curve : DataFrame or None
        Columns rows, training, out_of_fold, stderr.
    """
    plain = diagnosis.to_dict()
    checks = [_check(row) for row in diagnosis.evidence.to_dict(orient="records")]
    shares = diagnosis.probabilities.sort_values(ascending=False)
    last = "test" if "test" in plain["losses"] else "out_of_fold"
    total = (f"The model, {LOSS_LABELS[last]}", float(plain["losses"][last]))
    columns, left = _columns(diagnosis._study.table.X)
    return Content(
        verdict=plain["verdict"],
        name=_title(plain["verdict"]),
        meaning=plain["conclusion"].partition(": ")[2],
        flow=tuple(words.Step(**step) for step in plain["flow"]),
        probabilities=tuple(
            (_title(str(name)), round(100 * float(p), 1), f"{p:.2f}")
            for name, p in shares.items()
            if p >= 0.005
        ),
        loss=plain["loss"],
        margin=words.number(plain["margin"]),
        waterfall=waterfall(diagnosis.ledger, CAUSES, total),
        waterfall_text=_in_words(diagnosis.ledger, total),
        ledger=_ledger_grid(diagnosis.ledger),
        losses=Grid(
            ("rows", "mean loss"),
            tuple((LOSS_LABELS.get(k, k), shown(v)) for k, v in plain["losses"].items()),
            (False, True),
        ),
        training=_training_curves(diagnosis),
        learning=_learning_curves(learning_curve),
        learning_table=_learning_grid(learning_curve),
        remedies=tuple(_remedy(r) for r in diagnosis.remedies),
        grid_code=_grid_code(diagnosis.param_grid),
        letters=introduction(),
        found=tuple(c for c in checks if c.outcome == "found"),
        others=tuple(c for c in checks if c.outcome != "found"),
        facts=_facts(diagnosis, plain),
        settings=repr(diagnosis._study.estimator),
        columns=columns,
        columns_left=left,
        scores=_scores(plain["scores"]),
        notes=tuple(f"{note.rstrip('.')}." for note in plain["notes"]),
    )


def shown(value: Any) -> str:
    """A cell: numbers with three figures, a dash for what is unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return words.number(float(value)) if isinstance(value, float) else str(value)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _learning_grid(curve: pd.DataFrame | None) -> Grid | None:
    if curve is None:
        return None
    head = ("training rows", "training loss", "out-of-fold loss", "standard error")
    columns = ("rows", "training", "out_of_fold", "stderr")
    rows = tuple(
        tuple(shown(value) for value in row)
        for row in curve[list(columns)].itertuples(index=False, name=None)
    )
    return Grid(head, rows, (False, True, True, True))


def _ledger_grid(ledger: pd.DataFrame) -> Grid:
    rows = []
    for name, row in ledger.to_dict(orient="index").items():
        interval = f"{shown(row['ci_low'])} to {shown(row['ci_high'])}"
        known = not math.isnan(row["ci_low"])
        cells = [LEDGER_LABELS[str(name)], shown(row["loss"]), shown(row["stderr"])]
        cells += [interval if known else "–", _percent(row["share"])]
        cells += [shown(row["score"])] if "score" in row else []
        rows.append(tuple(cells))
    head = ["", "loss", "standard error", "95 % interval", "share of what could be gained"]
    head += ["score"] if "score" in ledger else []
    return Grid(tuple(head), tuple(rows), (False, *[True] * (len(head) - 1)))


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{round(share, 2) + 0.0:.0%}"


def _in_words(ledger: pd.DataFrame, total: tuple[str, float]) -> str:
    steps = [
        f"{LEDGER_LABELS[str(name)]} {words.number(loss)}"
        for name, loss in ledger["loss"].items()
        if not math.isnan(loss)
    ]
    return f"{'; plus '.join(steps)}; together {total[0].lower()} {words.number(total[1])}."


def _training_curves(diagnosis: Diagnosis) -> Curves | None:
    return curves(
        [
            (f"fold {k}", np.arange(1.0, len(fit.loss_curve) + 1), np.asarray(fit.loss_curve))
            for k, fit in enumerate(diagnosis._study.fits, start=1)
        ]
    )


def _learning_curves(curve: pd.DataFrame | None) -> Curves | None:
    if curve is None:
        return None
    rows, training, out_of_fold, stderr = (
        curve[c].to_numpy(dtype=float) for c in ("rows", "training", "out_of_fold", "stderr")
    )
    half = 1.96 * stderr
    return curves(
        [("training rows", rows, training), ("out of fold", rows, out_of_fold)],
        from_zero=True,
        band=(rows, out_of_fold - half, out_of_fold + half),
    )


def _code(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def _remedy(remedy: Any) -> RemedyText:
    code = ""
    if remedy.params:
        settings = "".join(f"    {name}={_code(v)},\n" for name, v in remedy.params.items())
        code = f"estimator.set_params(\n{settings})"
    gain = "expected, not measured"
    if not math.isnan(remedy.gain):
        error = words.number(remedy.gain_stderr)
        gain = f"measured: the loss falls by {words.number(remedy.gain)} ± {error} (standard error)"
        gain += words.unsure(remedy)
    action = str(remedy.action)
    return RemedyText(action[:1].upper() + action[1:], str(remedy.why), gain, code)


def _grid_code(grid: dict[str, list[Any]]) -> str:
    if not grid:
        return ""
    lines = "".join(
        f"    {name!r}: [{', '.join(_code(v) for v in values)}],\n" for name, values in grid.items()
    )
    return (
        "from sklearn.model_selection import GridSearchCV\n"
        "from sklearn_dl import batched_fits\n\n"
        f"grid = {{\n{lines}}}\n"
        "with batched_fits():\n"
        "    search = GridSearchCV(estimator, grid, cv=5).fit(X, y)"
    )


def _check(row: dict[Any, Any]) -> Check:
    text = {k: shown(row[k]) for k in ("value", "threshold", "n", "fits")}
    low, high = row.get("ci_low", math.nan), row.get("ci_high", math.nan)
    if math.isfinite(low) and math.isfinite(high):
        text["value"] += f" ({words.number(low)} to {words.number(high)})"
    return Check(
        code=str(row["code"]),
        question=str(row["question"]),
        outcome=str(row["outcome"]),
        source=str(row["source"]),
        text=explanations().get(str(row["code"]), ""),
        **text,
    )


def _facts(diagnosis: Diagnosis, plain: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    study = diagnosis._study
    facts = [("rows", f"{len(study.table):,}"), ("columns", f"{study.table.X.shape[1]:,}")]
    facts += _target_facts(study.table.y, study.subject.task)
    facts.append(("test rows", "none" if study.test is None else f"{len(study.test):,}"))
    kinds = {
        "independent": "",
        "grouped": ", groups kept apart",
        "ordered": ", later rows held out",
    }
    facts += [
        ("folds", f"{len(study.folds)}{kinds.get(study.folds.kind, '')}"),
        ("loss", f"{plain['loss']}; gaps up to {words.number(plain['margin'])} do not matter"),
        ("fits made", str(plain["n_fits"])),
        ("sklearn_dl", __version__),
        ("scikit-learn, torch", f"{sklearn.__version__}, {torch.__version__}"),
        ("Python", platform.python_version()),
    ]
    return tuple(facts)


def _target_facts(y: Any, task: str) -> list[tuple[str, str]]:
    values = np.asarray(y)
    if values.ndim == 2 and task == "classification":
        shares = ", ".join(f"{share:.0%}" for share in values[:, :MAX_CLASSES].mean(axis=0))
        return [(f"{values.shape[1]} labels (share of the rows)", shares)]
    if task != "classification":
        low, high = shown(float(values.min())), shown(float(values.max()))
        return [("target", f"numbers from {low} to {high}")]
    classes, counts = np.unique(values, return_counts=True)
    listed = [f"{label} ({n:,})" for label, n in zip(classes[:MAX_CLASSES], counts, strict=False)]
    more = len(classes) - len(listed)
    tail = f" and {more} more" if more else ""
    return [(f"{len(classes)} classes (rows)", ", ".join(listed) + tail)]


def _columns(X: Any) -> tuple[Grid, int]:
    """Name, type and missing values of the columns, and how many are not listed."""
    if isinstance(X, pd.DataFrame):
        seen = X.iloc[:, :MAX_COLUMNS]
        rows = tuple(
            (str(name), str(dtype), str(n))
            for name, dtype, n in zip(seen.columns, seen.dtypes, seen.isna().sum(), strict=True)
        )
    elif hasattr(X, "columns"):  # another library's frame
        rows = tuple(
            (str(name), str(X[name].dtype), str(int(pd.isna(X[name].to_list()).sum())))
            for name in list(X.columns)[:MAX_COLUMNS]
        )
    else:
        n, dtype = min(X.shape[1], MAX_COLUMNS), getattr(X, "dtype", "")
        part = X.tocsr()[:, :n].toarray() if hasattr(X, "tocsr") else np.asarray(X[:, :n])
        missing = pd.isna(part).sum(axis=0)
        rows = tuple((f"x{k}", str(dtype), str(m)) for k, m in enumerate(missing))
    grid = Grid(("column", "type", "missing"), rows, (False, False, True))
    return grid, X.shape[1] - len(rows)


def _scores(scores: dict[str, Any]) -> Grid | None:
    rows = tuple((str(name).replace("_", " "), shown(value)) for name, value in scores.items())
    return Grid(("rows", "score"), rows, (False, True)) if rows else None
