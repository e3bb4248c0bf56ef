"""`resilience`: predict corrupted copies of the same rows with a model and with its references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_dl.fitting import new_seed
from sklearn_dl.groups import group_codes, group_labels
from sklearn_dl.resilience.corruption import Columns, checked_table, learn_columns
from sklearn_dl.resilience.judging import find_judge
from sklearn_dl.resilience.result import Resampling, Resilience, retention_frames
from sklearn_dl.resilience.study import LABEL_NOISE, Competitor, Study

__all__ = ["resilience"]

#: Rows that are predicted at most.
MAX_ROWS = 2000
#: Periods that rows with a time are divided into.
PERIODS = 10


def resilience(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    X_train: Any = None,
    y_train: Any = None,
    references: Mapping[str, Any] | str | None = "auto",
    noise: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0),
    missing: Sequence[float] = (0.1, 0.2, 0.4),
    swaps: Sequence[float] = (0.1, 0.2, 0.4),
    label_noise: Sequence[float] = (),
    categorical_features: Any = "from_dtype",
    groups: Any = None,
    times: Any = None,
    loss: str = "auto",
    n_draws: int = 10,
    n_bootstrap: int = 500,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> Resilience:
    """How much of a model's skill is left when its inputs are noisy, beside simpler models.

    Noise raises the error of the best possible predictor too, so the question is not whether a
    model loses skill but whether it loses more than others do on the same noisy rows (Hendrycks
    and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions). All models
    meet the same rows and the same random numbers.

    Parameters
    ----------
    estimator : estimator
        Any fitted classifier or regressor of scikit-learn's kind.
    X, y : array-like or pandas frame of shape (n, n_features), array-like of shape (n,)
        Rows to judge on, which the estimator has not learnt.
    X_train, y_train : optional
        Rows it learnt: scale and typical values of the columns, range of the target, and what the
        references learn. By default ``X, y``; each reference then predicts rows it did not learn.
    references : dict of str to estimator, "auto" or None
        Unfitted models to compare with. "auto": a linear model and gradient boosting.
    noise : sequence of float
        Levels of ``N(0, (level s_j)^2)`` added to the numbers, s_j the column's standard deviation.
    missing, swaps : sequence of float in (0, 1]
        Shares of cells replaced by the training median (the commonest category), and of categories
        replaced by another row's.
    label_noise : sequence of float in (0, 1], default=()
        Shares of training labels replaced by another class (by another row's number). Every level
        takes three fits of every model, so it is off by default; needs ``X_train, y_train``.
    categorical_features : "from_dtype", None, names, positions or a mask
    groups, times : array-like of shape (n,), optional
        Loss and score of the clean rows by group, and by ten periods of equal size. Rows of a group
        are resampled together.
    loss : {"auto", "log", "zero_one", "squared", "absolute"}
        "auto": log loss (wrong classes without probabilities), squared error.
    n_draws : int, default=10
        Noisy copies at each level.
    n_bootstrap : int, default=500
        Resamples of rows and draws, for the 95 % percentile intervals.
    max_rows : int, default=2000
        More rows are subsampled.
    random_state : int, RandomState or None

    Returns
    -------
    Resilience

    Raises
    ------
    NotFittedError, TypeError, ValueError
        The estimator is not fitted or does not predict, or the rows cannot be used.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_dl.resilience import resilience
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X[::2], y[::2])
    >>> found = resilience(model, X[1::2], y[1::2], references=None, missing=(), random_state=0)
    >>> found.corruptions
    ('feature noise',)
    >>> found.curves.query("level == 0")["retention"].item()
    1.0
    """
    check_is_fitted(estimator)
    task = _task(estimator)
    levels = {"feature noise": noise, "missing values": missing, "category swaps": swaps}
    _check_numbers(levels, label_noise, n_draws, n_bootstrap, max_rows)
    if (X_train is None) != (y_train is None) or (len(label_noise) and X_train is None):
        raise ValueError("give X_train and y_train, both: label noise is learnt with them.")
    rng = np.random.default_rng(new_seed(random_state))
    judged = _Rows(checked_table(X), np.asarray(y), group_labels(groups), times).sampled(
        max_rows, rng
    )
    learnt = judged if X_train is None else _Rows(checked_table(X_train), np.asarray(y_train))
    _check_same_columns(judged.X, learnt.X)
    columns = learn_columns(learnt.X, categorical_features)
    judge = find_judge(task, loss, judged.y, learnt.y, estimator)
    study = Study(judge, columns, judged.X, n_draws)
    name, others = _name(estimator), _unfitted(references, task, columns, rng)
    models = {name: Competitor([(estimator, np.arange(len(judged)))])}
    if name in others:
        raise ValueError(
            f"a reference is called {name!r}, as the model under study is: give it another name."
        )
    for other, model in others.items():
        models[other] = _fitted_reference(model, judged, learnt, task)
    measured = study.under_corruption(models, levels, rng)
    if len(label_noise):
        noisy = study.under_label_noise(
            {name: estimator, **others}, learnt.X, learnt.y, label_noise, rng
        )
        measured = {key: {**found, **noisy[key]} for key, found in measured.items()}
    if not measured[name]:
        raise ValueError(
            f"there is nothing to measure: X has {len(columns.numbers)} columns of numbers and "
            f"{len(columns.levels)} of categories, and noise, missing and swaps have no level that "
            "applies to them."
        )
    resampling = Resampling.new(rng, judged.clusters(), n_draws, n_bootstrap)
    prior = judge.prior_losses()
    curves, summary = retention_frames(measured, prior, resampling)
    return Resilience(
        curves=curves,
        summary=summary,
        absurd=study.absurd(models, resampling, rng),
        parts=_parts(study, models[name], judged),
        loss_name=judge.name,
        prior_loss=float(prior.mean()),
        n_rows=len(judged),
        n_draws=n_draws,
        notes=_notes(summary, columns, trained=X_train is not None),
    )


@dataclass(frozen=True)
class _Rows:
    """Rows with their targets and what they belong to."""

    X: Any
    y: NDArray[Any]
    groups: Any = None
    times: Any = None

    def __post_init__(self) -> None:
        check_consistent_length(self.X, self.y, self.groups, self.times)

    def __len__(self) -> int:
        return len(self.y)

    def sampled(self, n: int, rng: np.random.Generator) -> _Rows:
        """At most n of the rows, in order."""
        if len(self) <= n:
            return self
        rows = np.sort(rng.choice(len(self), n, replace=False))
        groups, times = (
            None if v is None else np.asarray(v)[rows] for v in (self.groups, self.times)
        )
        return _Rows(_safe_indexing(self.X, rows), self.y[rows], groups, times)

    def clusters(self) -> NDArray[np.intp]:
        """Number of the group of each row, or of the row."""
        if self.groups is None:
            return np.arange(len(self))
        return np.asarray(group_codes(self.groups), dtype=np.intp)


def _task(estimator: Any) -> str:
    if is_classifier(estimator):
        return "classification"
    if is_regressor(estimator):
        return "regression"
    raise TypeError(
        f"estimator must be a fitted classifier or regressor; got {type(estimator).__name__}."
    )


def _check_same_columns(X: Any, X_train: Any) -> None:
    """The noise of a column is measured in the training rows, by its position."""
    named = hasattr(X, "columns") and hasattr(X_train, "columns")
    if X.shape[1] == X_train.shape[1] and not (named and list(X.columns) != list(X_train.columns)):
        return
    seen = [list(one.columns) if named else one.shape[1] for one in (X, X_train)]
    raise ValueError(
        f"X and X_train must have the same columns in the same order; got {seen[0]} and {seen[1]}."
    )


def _check_numbers(
    levels: Mapping[str, Sequence[float]],
    label_noise: Sequence[float],
    n_draws: int,
    n_bootstrap: int,
    max_rows: int,
) -> None:
    for name, values in {**levels, LABEL_NOISE: label_noise}.items():
        if np.ndim(values) != 1 or not all(isinstance(v, Real) for v in values):
            raise ValueError(f"levels of {name} must be a list of numbers, got {values!r}.")
        highest = np.inf if name == "feature noise" else 1.0
        if any(not 0 < v <= highest or not np.isfinite(v) for v in values):
            said = "positive" if highest == np.inf else "shares in (0, 1]"
            raise ValueError(f"levels of {name} must be {said}, got {list(values)!r}.")
    if min(n_draws, n_bootstrap, max_rows) < 2:
        raise ValueError(
            "n_draws, n_bootstrap and max_rows must be at least 2; got "
            f"{n_draws!r}, {n_bootstrap!r}, {max_rows!r}."
        )


def _name(estimator: Any) -> str:
    core = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return type(core).__name__


def _unfitted(
    references: Mapping[str, Any] | str | None, task: str, columns: Columns, rng: Any
) -> dict[str, Any]:
    if references is None:
        return {}
    if isinstance(references, Mapping):
        return dict(references)
    if references != "auto":
        raise ValueError(
            f"references must be 'auto', None or a dict of unfitted models, got {references!r}."
        )
    # Its models' modules take a while to import, and only a comparison needs them.
    from sklearn_dl.resilience.references import simple_references

    return simple_references(task, columns, int(rng.integers(2**31 - 1)))


def _fitted_reference(model: Any, judged: _Rows, learnt: _Rows, task: str) -> Competitor:
    """Fitted on the training rows; without them on each half of the judged rows in turn."""
    if learnt is not judged:
        return Competitor([(clone(model).fit(learnt.X, learnt.y), np.arange(len(judged)))])
    counts = np.unique(judged.y, return_counts=True)[1]
    halves: Any = KFold(2, shuffle=True, random_state=0)
    if task == "classification" and counts.min() >= 2:
        halves = StratifiedKFold(2, shuffle=True, random_state=0)
    parts = []
    for one, other in halves.split(np.zeros(len(judged)), judged.y):
        fitted = clone(model).fit(_safe_indexing(judged.X, one), judged.y[one])
        parts.append((fitted, other))
    return Competitor(parts)


def _parts(study: Study, model: Competitor, judged: _Rows) -> pd.DataFrame:
    """Loss and score of the clean rows of each group and period."""
    outputs = model.outputs(study.judge, study.X)
    losses = study.judge.losses(outputs)
    kinds: dict[str, Any] = {}
    if judged.groups is not None:
        kinds["group"] = np.asarray(judged.groups)
    if judged.times is not None:
        rank = pd.Series(np.asarray(judged.times)).rank(method="dense")
        kinds["period"] = pd.qcut(rank, PERIODS, labels=False, duplicates="drop").to_numpy()
    records = []
    for kind, labels in kinds.items():
        codes = np.asarray(group_codes(labels))
        seen = pd.Series(labels[np.unique(codes, return_index=True)[1]]).sort_values()
        for code, label in seen.items():
            rows = np.flatnonzero(codes == code)
            said = label
            if kind == "period" and not pd.isna(label):
                stamps = pd.Series(np.asarray(judged.times)[rows])
                said = f"{stamps.min()} to {stamps.max()}"
            error = losses[rows].std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
            records.append(
                (kind, said, len(rows), losses[rows].mean(), error,
                 study.judge.score(outputs[rows], rows))
            )  # fmt: skip
    return pd.DataFrame(records, columns=["kind", "part", "n", "loss", "stderr", "score"])


def _notes(summary: pd.DataFrame, columns: Columns, *, trained: bool) -> tuple[str, ...]:
    said = []
    if not trained:
        said.append(
            "scales and references come from the judged rows: a model that has learnt these rows "
            "is shown too good; give X_train and y_train"
        )
    lost = summary.loc[summary["area"].isna(), "model"].unique()
    if len(lost):
        said.append(
            f"{', '.join(lost)}: not surely better than the best constant, so no skill to lose"
        )
    dead = int((columns.scale == 0).sum())
    if dead:
        said.append(f"{dead} columns are constant in the training rows: no noise is added to them")
    return tuple(said)
