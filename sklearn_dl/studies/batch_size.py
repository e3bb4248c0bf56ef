"""What does the batch size do, and what momentum? Each at its own best learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length

from sklearn_dl.curvature import (
    gradient_noise,
    hessian_extremes,
    sharpness,
    training_loss,
)
from sklearn_dl.fitting import new_seed
from sklearn_dl.studies.learning_rate import CONSTANT, rate_grid, workable
from sklearn_dl.studies.runs import (
    Run,
    Subject,
    fit_runs,
    initial,
    mean_interval,
    seeds_from,
    subject_of,
)
from sklearn_dl.studies.steps import update_cosine

__all__ = ["BatchSizeStudy", "batch_size_study"]

#: Rows that curvature and noise are measured on.
CURVATURE_ROWS = 1024
#: Decades around the estimator's rate in which each batch size finds its own, and rates in each.
DECADES, PER_DECADE = (-1.5, 2.5), 2
MEASURES: tuple[str, ...]
MEASURES = ("train_loss", "test_loss", "noise_scale", "gradient_variance", "eigenvalue_max")
MEASURES += ("adaptive_sharpness",)
#: Claims of the course: the smallest batch has more (+1) or less (-1) of a measure than the largest
CLAIMS = {
    "small batches are noisier": ("gradient_variance", 1),
    "small batches reach flatter points": ("eigenvalue_max", -1),
    "small batches reach flatter points (adaptive)": ("adaptive_sharpness", -1),
    "small batches generalise better": ("test_loss", -1),
}


@dataclass(frozen=True)
class BatchSizeStudy:
    """One network trained with several batch sizes and momenta.

    Attributes
    ----------
    runs : DataFrame
        A row a fit: ``budget`` ("equal epochs" or "equal steps"), ``batch_size``, ``momentum``,
        ``learning_rate``, ``seed``, ``train_loss`` (inf where it diverged), ``updates``.
    best : DataFrame
        A row a fit at the best rate of its budget, batch size and momentum, with what was measured
        at its end: ``test_loss``, ``noise_scale``, ``gradient_variance`` of a batch,
        ``eigenvalue_max`` (NaN where the loss has no second derivative), ``adaptive_sharpness``,
        the ``cosine`` of successive updates, and ``seconds`` of this training alone, while its
        updates are watched.
    table : DataFrame
        A row a budget, batch size and momentum: its best ``learning_rate``, ``rate_width`` (factor
        between the largest and smallest rate that work), means of the measures with 95 % intervals
        over seeds (``_low``, ``_high``), ``updates``, ``seconds``.
    claims : DataFrame
        What courses say of small batches, smallest against largest one here: the ``difference``
        with its paired 95 % interval, and whether the claim ``holds`` ("yes", "no", "unclear").
    notes : tuple of str
    """

    runs: pd.DataFrame
    best: pd.DataFrame
    table: pd.DataFrame
    claims: pd.DataFrame
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Claims and what came out."""
        lines = []
        for row in self.claims.to_dict("records"):
            lines.append(
                f"{row['claim']} ({row['budget']}, momentum {row['momentum']:g}): {row['holds']}; "
                f"{row['difference']:+.3g} ({row['low']:+.3g} to {row['high']:+.3g})"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def batch_size_study(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    batch_sizes: Sequence[int] | None = None,
    momenta: Sequence[float] = (0.0, 0.9),
    rates: Sequence[float] | None = None,
    X_test: Any = None,
    y_test: Any = None,
    n_epochs: int = 10,
    n_seeds: int = 5,
    random_state: Any = None,
) -> BatchSizeStudy:
    """Train the same network over batch sizes, with and without momentum.

    At equal epochs small batches make more updates; at equal steps they see fewer rows: both are
    trained. Each batch size and momentum is shown at its own best constant rate, chosen by the
    training loss, since a common rate would favour whichever it suits (Shallue et al. 2019,
    Measuring the Effects of Data Parallelism on Neural Network Training). What courses say of small
    batches (Keskar et al. 2017) may come out otherwise on these rows.

    Parameters
    ----------
    estimator : DLClassifier, DLRegressor or Pipeline that ends in one
        Not changed. Its schedule, warm-up and early stopping are set aside.
    X, y : rows
    batch_sizes : sequence of int, optional
        By default 8, 32, 128, 512 and all training rows, as far as there are so many.
    momenta : sequence of float, default=(0, 0.9)
        As ``momentum`` of the estimator's optimizer.
    rates : sequence of float, optional
        By default two a decade, from a thirtieth to three hundred times the estimator's rate.
    X_test, y_test : optional
        Held-out rows; by default a quarter of the rows.
    n_epochs : int, default=10
        Of the budget of equal epochs. Equal steps: as many updates as the middle batch size makes
        in these, rounded to whole epochs.
    n_seeds : int, default=5
    random_state : int, RandomState or None

    Returns
    -------
    BatchSizeStudy
    """
    rng = np.random.default_rng(new_seed(random_state))
    subject, held_out = _divided(estimator, X, y, X_test, y_test, int(rng.integers(2**31 - 1)))
    sizes = _sizes(batch_sizes, subject.n_rows)
    grid = (
        rate_grid(subject.network.learning_rate, DECADES, PER_DECADE)
        if rates is None
        else sorted(rates)
    )
    if n_epochs < 1 or n_seeds < 2 or len(grid) < 1 or not len(momenta):
        raise ValueError(
            f"need an epoch, two seeds, a rate and a momentum; got n_epochs={n_epochs!r}, "
            f"n_seeds={n_seeds!r}, {len(grid)} rates, {len(momenta)} momenta."
        )
    seeds = seeds_from(rng, n_seeds)
    starts = initial(subject, seeds)
    start = float(np.mean([run.loss for run in starts]))
    flat = _why_flat(starts[0], subject)
    cells = _cells(subject, sizes, momenta, n_epochs)
    settings = [{**CONSTANT, **cell[1], "learning_rate": rate} for cell in cells for rate in grid]
    fits = fit_runs(subject, settings, seeds)
    rows, best, table, at_end = [], [], [], False
    for k, (budget, setting) in enumerate(cells):
        own = fits[k * len(grid) * n_seeds : (k + 1) * len(grid) * n_seeds]
        size, momentum = setting["batch_size"], setting["momentum"]
        key = {"budget": budget, "batch_size": size, "momentum": momentum}
        j, width = _best_rate(own, grid, start)
        chosen = own[j * n_seeds : (j + 1) * n_seeds]
        measured = [_measured(key, run, subject, held_out, curved=not flat) for run in chosen]
        rows += [_record(key, run, subject) for run in own]
        best += measured
        means = _means(pd.DataFrame(measured))
        table.append({**key, "learning_rate": grid[j], "rate_width": width, **means})
        at_end |= len(grid) > 2 and j in (0, len(grid) - 1)
    best_frame = pd.DataFrame(best)
    notes = ["some best rates lie at an end of those tried: give more rates"] if at_end else []
    return BatchSizeStudy(
        runs=pd.DataFrame(rows),
        best=best_frame,
        table=pd.DataFrame(table),
        claims=_claims(best_frame, sizes),
        notes=(*notes, *flat),
    )


def _cells(
    subject: Subject, sizes: Sequence[int], momenta: Sequence[float], n_epochs: int
) -> list[tuple[str, dict[str, Any]]]:
    """Budget and setting of everything that gets its own learning rate."""
    return [
        (budget, {"batch_size": size, "max_epochs": epochs, "momentum": momentum})
        for budget, by_size in _budgets(subject, sizes, n_epochs).items()
        for size, epochs in by_size.items()
        for momentum in momenta
    ]


def _best_rate(runs: Sequence[Run], grid: Sequence[float], start: float) -> tuple[int, float]:
    """Position of the rate with the lowest mean training loss, and the width of those that work."""
    losses = np.array([run.loss for run in runs]).reshape(len(grid), -1).mean(axis=1)
    works = np.array(grid)[workable(losses, start)]
    width = float(works.max() / works.min()) if len(works) else np.nan
    return int(np.argmin(losses)), width


def _divided(
    estimator: Any, X: Any, y: Any, X_test: Any, y_test: Any, seed: int
) -> tuple[Subject, tuple[Any, Any]]:
    """Training rows as the network takes them, and held-out rows likewise."""
    if (X_test is None) != (y_test is None):
        raise ValueError("give X_test and y_test, or neither.")
    check_consistent_length(X, y)
    if X_test is None:
        classes = np.asarray(y) if is_classifier(estimator) else None
        few = classes is not None and np.unique(classes, return_counts=True)[1].min() < 2
        X, X_test, y, y_test = train_test_split(
            X, y, test_size=0.25, random_state=seed, stratify=None if few else classes
        )
    subject = subject_of(estimator, X, y)
    return subject, (subject.transformed(X_test), np.asarray(y_test))


def _sizes(asked: Sequence[int] | None, n_rows: int) -> list[int]:
    if asked is None:
        return [size for size in (8, 32, 128, 512) if size < n_rows] + [n_rows]
    sizes = sorted({min(int(size), n_rows) for size in asked})
    if len(sizes) < 2 or sizes[0] < 1:
        raise ValueError(
            f"need two or more positive batch sizes below {n_rows} training rows, got {asked!r}."
        )
    return sizes


def _budgets(subject: Subject, sizes: Sequence[int], n_epochs: int) -> dict[str, dict[int, int]]:
    """Epochs of each batch size under each budget."""
    n_steps = n_epochs * subject.steps(sizes[len(sizes) // 2])
    return {
        "equal epochs": dict.fromkeys(sizes, n_epochs),
        "equal steps": {size: max(1, round(n_steps / subject.steps(size))) for size in sizes},
    }


def _record(key: dict[str, Any], run: Run, subject: Subject) -> dict[str, Any]:
    return {
        **key,
        "learning_rate": run.params["learning_rate"],
        "seed": run.seed,
        "train_loss": run.loss,
        "updates": run.params["max_epochs"] * subject.steps(key["batch_size"]),
    }


def _why_flat(start: Run, subject: Subject) -> tuple[str, ...]:
    """Why eigenvalues cannot be had of this network and loss; nothing where they can."""
    try:
        _top_eigenvalue(start, subject)
    except ValueError as error:
        return (f"no eigenvalues: {error}",)
    return ()


def _top_eigenvalue(run: Run, subject: Subject) -> float:
    rows = (run.fitted, subject.X, subject.y)
    return hessian_extremes(*rows, tol=0.05, max_rows=CURVATURE_ROWS, random_state=0).eigenvalue_max


def _measured(
    key: dict[str, Any], run: Run, subject: Subject, held_out: tuple[Any, Any], *, curved: bool
) -> dict[str, Any]:
    """What is known of one training at its end; NaN for a diverged one."""
    record = _record(key, run, subject)
    if run.diverged:
        return {**record, **dict.fromkeys((*MEASURES[1:], "cosine", "seconds"), np.nan)}
    rows = (run.fitted, subject.X, subject.y)
    few: dict[str, Any] = {"max_rows": CURVATURE_ROWS, "random_state": 0}
    noise = gradient_noise(*rows, **few)
    cosine, seconds = update_cosine(subject, run)
    return {
        **record,
        "test_loss": training_loss(run.fitted, *held_out),
        "noise_scale": noise.scale,
        "gradient_variance": replace(noise, n_rows=subject.n_rows).variance(key["batch_size"]),
        "eigenvalue_max": _top_eigenvalue(run, subject) if curved else np.nan,
        "adaptive_sharpness": sharpness(*rows, n_draws=2, **few).adaptive_sam,
        "cosine": cosine,
        "seconds": seconds,
    }


def _means(best: pd.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in (*MEASURES, "cosine"):
        found[name], found[f"{name}_low"], found[f"{name}_high"] = mean_interval(best[name])
    return {**found, "updates": best["updates"].iloc[0], "seconds": best["seconds"].mean()}


def _claims(best: pd.DataFrame, sizes: Sequence[int]) -> pd.DataFrame:
    """Smallest against largest batch, paired by seed."""
    records = []
    for (budget, momentum), own in best.groupby(["budget", "momentum"], sort=False):
        small, large = (
            own[own["batch_size"] == size].set_index("seed") for size in (sizes[0], sizes[-1])
        )
        for claim, (measure, sign) in CLAIMS.items():
            mean, low, high = mean_interval(small[measure] - large[measure])
            side = "unclear"
            if (low > 0 and sign > 0) or (high < 0 and sign < 0):
                side = "yes"
            elif (low > 0 and sign < 0) or (high < 0 and sign > 0):
                side = "no"
            records.append((claim, budget, momentum, measure, mean, low, high, side))
    columns = ["claim", "budget", "momentum", "measure", "difference", "low", "high", "holds"]
    return pd.DataFrame(records, columns=columns)
