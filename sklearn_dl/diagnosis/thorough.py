"""A closer look, for those who have the time: curvature, learning rate, remedies tried, resilience.

Each remedy of the course that changes the optimizer alone is trained on every fold and offered only
where its measured gain on held-out rows is above the margin and significant.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sklearn_dl.curvature import CriticalPoint, critical_point, escape
from sklearn_dl.curvature.critical import WORTH_SHARE
from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.brakes import gain_on_held_out
from sklearn_dl.diagnosis.checks import Evidence, not_applicable, outcome
from sklearn_dl.diagnosis.fold_fits import FoldFit, fit_jobs, jobs_on
from sklearn_dl.diagnosis.ledger import Measured
from sklearn_dl.diagnosis.remedies import Remedy
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.statistics import Estimate, holm, paired_difference
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.symptoms import network_inside
from sklearn_dl.diagnosis.table import Folds, Table
from sklearn_dl.recipes import auto_batch_size
from sklearn_dl.resilience import resilience
from sklearn_dl.studies import learning_rate_range
from sklearn_dl.studies.learning_rate import WORKS, rate_grid
from sklearn_dl.training import DivergenceError

__all__ = [
    "Closer",
    "closer_look",
    "optimizer_remedies",
    "rate_check",
    "resilience_checks",
    "saddle_check",
    "saddle_of",
    "tried_checks",
]

ESCAPE = "Dauphin et al. 2014; Alain et al. 2019"
RATE = "Smith 2017"
TRIED = "Holm 1979 over the remedies tried"
NOISE = "Hendrycks and Dietterich 2019"
MOMENTUM = 0.9
SMALLEST_BATCH = 16
SMALLER = 4  # times fewer rows a batch
DECADES, PER_DECADE, N_SEEDS = (-2.0, 2.0), 2, 2  # of rates, around the estimator's own
ABSURD = 0.01  # share of predictions that make no sense, from which on it deserves a look


@dataclass(frozen=True)
class Closer:
    """Evidence and remedies of the closer look."""

    evidence: tuple[Evidence, ...]
    remedies: tuple[Remedy, ...]


def closer_look(
    subject: Subject,
    fits: Sequence[FoldFit],
    table: Table,
    folds: Folds,
    loss: RowLoss,
    measured: Measured,
    seed: int,
) -> Closer:
    """All of it; what does not apply to the estimator says so.

    Parameters
    ----------
    fits : sequence of FoldFit
        The user's estimator by fold; the first keeps its fitted model.
    measured : Measured
        The ledger: its reference loss F says what is left to gain.
    """
    first = fits[0]
    learnt, held_out = table.take(first.train), table.take(first.test)
    inside = _inside(subject, first, learnt)
    saddle = saddle_of(subject, first, table, loss, measured)
    rate, better = rate_check(inside, seed)
    tried = tried_checks(
        subject, fits, table, folds, loss, measured.margin, measured.prior.value, better
    )
    noise = resilience_checks(first.fitted, learnt, held_out, seed)
    return Closer(
        (saddle.evidence, rate, *(t.evidence for t in tried), *noise),
        tuple(t.remedy for t in (saddle, *tried) if t.remedy is not None),
    )


@dataclass(frozen=True)
class Tried:
    """A check, and the remedy where it was found to help."""

    evidence: Evidence
    remedy: Remedy | None = None


def _inside(subject: Subject, fit: FoldFit, learnt: Table) -> tuple[Any, Any, Any] | None:
    """The fold's network with what reaches it; None where there is none of ours."""
    if not subject.is_network or fit.fitted is None:
        return None
    return network_inside(fit.fitted, learnt)


# --- the saddle ---------------------------------------------------------------------------------


def saddle_of(
    subject: Subject, fit: FoldFit, table: Table, loss: RowLoss, measured: Measured
) -> Tried:
    """`saddle_check` of a fold's network."""
    learnt, held_out = table.take(fit.train), table.take(fit.test)
    inside, reference = _inside(subject, fit, learnt), _reference(subject, measured)
    return saddle_check(fit.fitted, inside, learnt, held_out, loss, reference, measured.margin)


def saddle_check(
    fitted: Any,
    inside: tuple[Any, Any, Any] | None,
    learnt: Table,
    held_out: Table,
    loss: RowLoss,
    reference: float,
    margin: float,
) -> Tried:
    """DL221: did training stop at a saddle point worth escaping?

    Parameters
    ----------
    fitted : estimator
    inside : tuple or None
        Its network, and the inputs and targets that reach it.
    learnt, held_out : Table
    loss : RowLoss
    reference : float
        Loss within reach, in units of what the network minimises.
    margin : float
        What matters, in units of ``loss``.
    """
    code, question = "DL221", "Share of A - F that lies behind a saddle point it stopped at?"
    cp = _critical_point(inside, learnt, reference)
    if cp is None or not cp.left_to_gain > 0:
        return Tried(not_applicable(code, question, ESCAPE))
    ahead = cp.stationary_by is not None and cp.escape_value > cp.descent_value
    share = cp.escape_value / cp.left_to_gain if ahead else 0.0
    evidence = Evidence(
        code, question, share, WORTH_SHARE, outcome(cp.worth_escaping), cp.n_rows, 0, ESCAPE
    )
    if not cp.worth_escaping:
        return Tried(evidence)
    gain = _gain_of_escape(fitted, cp, learnt, held_out, loss)
    evidence = Evidence(
        code, question, share, WORTH_SHARE, "found", cp.n_rows, 2, ESCAPE
    )  # two trainings go on: with and without the step
    if not gain.value > margin or not gain.p_positive() < rules.ALPHA:
        return Tried(evidence)
    return Tried(
        evidence,
        Remedy(
            {},
            "step off the saddle point and train on: escape(estimator, critical_point(estimator, "
            "X, y)).set_params(warm_start=True).fit(X, y)",
            f"training stopped where the Hessian's smallest eigenvalue is {cp.eigenvalue_min:.2g}; "
            "training on from there without the step gained less",
            gain.value,
            gain.stderr,
        ),
    )


def _critical_point(
    inside: tuple[Any, Any, Any] | None, learnt: Table, reference: float
) -> CriticalPoint | None:
    if inside is None:
        return None
    core, X, y = inside
    try:
        return critical_point(
            core, X, y, sample_weight=learnt.fit_weight, reference_loss=reference, random_state=0
        )
    except ValueError:  # a loss without second derivative, weights not finite, too many of them
        return None


def _reference(subject: Subject, measured: Measured) -> float:
    """F where what the network minimises has the ledger's units, else 0, which no loss is below."""
    own = subject.setting("loss")
    same = own == "cross_entropy" if subject.task == "classification" else own == "mse"
    return measured.reference.value if same and not subject.transforms_target else 0.0


def _gain_of_escape(
    fitted: Any, cp: CriticalPoint, learnt: Table, held_out: Table, loss: RowLoss
) -> Estimate:
    """Held-out loss after training on from the weights, minus that from beyond the saddle."""
    losses = []
    for step in (False, True):
        whole = copy.deepcopy(fitted)
        found = network_inside(whole, learnt)
        assert found is not None
        core, X, y = found
        if step:
            vars(core).update(vars(escape(core, cp)))
        try:
            core.set_params(warm_start=True, early_stopping=False)
            core.fit(X, y, sample_weight=learnt.fit_weight)
        except DivergenceError:
            return Estimate(-math.inf, math.nan)
        losses.append(loss(whole, held_out.X, held_out.y))
    return paired_difference(losses[0], losses[1], held_out.loss_weight, held_out.clusters)


# --- the learning rate and the other optimizer settings -----------------------------------------


def rate_check(inside: tuple[Any, Any, Any] | None, seed: int) -> tuple[Evidence, float | None]:
    """DL222: is the learning rate one that works? And the best one where it is not."""
    code = "DL222"
    question = "Share of the best constant rate's fall of the training loss that this rate reaches?"
    if inside is None:
        return not_applicable(code, question, RATE), None
    core, X, y = inside
    own = float(core.learning_rate)
    grid = sorted({*rate_grid(own, DECADES, PER_DECADE), own})
    found = learning_rate_range(
        core, X, y, rates=grid, n_seeds=N_SEEDS, random_state=seed, curvature=False
    )
    start = float(found.runs["start_loss"].mean())
    loss = found.rates.set_index("learning_rate")["loss"]
    share = (start - loss[own]) / (start - loss.min()) if loss.min() < start else math.nan
    if not math.isfinite(share) and not math.isinf(share):
        return not_applicable(code, question, RATE), None
    weak = share < WORKS
    n_fits = len(grid) * N_SEEDS
    evidence = Evidence(code, question, share, WORKS, outcome(weak), len(y), n_fits, RATE)
    return evidence, found.best if weak else None


def optimizer_remedies(
    subject: Subject, n_train: int, best_rate: float | None
) -> dict[str, tuple[dict[str, Any], str]]:
    """Code -> (parameters, action) of what this network's optimizer leaves to try."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    if best_rate is not None:
        found["DL223"] = {"learning_rate": best_rate}, f"set the learning rate to {best_rate:.3g}"
    momentum = subject.setting("momentum")
    if momentum == 0 or (momentum is None and subject.setting("optimizer") == "rmsprop"):
        found["DL224"] = {"momentum": MOMENTUM}, f"add momentum ({MOMENTUM})"
    batch = subject.setting("batch_size", "auto")
    module = subject.setting("module")
    batch = min(auto_batch_size(n_train, module) if batch == "auto" else int(batch), n_train)
    if batch > SMALLEST_BATCH:
        smaller = max(SMALLEST_BATCH, batch // SMALLER)
        found["DL225"] = {"batch_size": smaller}, f"train on batches of {smaller}"
    if subject.task == "classification" and subject.setting("loss") == "mse":
        found["DL226"] = {"loss": "cross_entropy"}, "minimise cross-entropy"
    return found


_QUESTIONS = {
    "DL223": "Gain by the best constant learning rate (held-out loss)?",
    "DL224": "Gain by momentum (held-out loss)?",
    "DL225": "Gain by smaller batches (held-out loss)?",
    "DL226": "Gain by cross-entropy instead of squared error (held-out loss)?",
}


def tried_checks(
    subject: Subject,
    fits: Sequence[FoldFit],
    table: Table,
    folds: Folds,
    loss: RowLoss,
    margin: float,
    prior_loss: float,
    best_rate: float | None,
) -> list[Tried]:
    """DL223 to DL226: each change by itself on every fold, against the user's own fits."""
    settings: dict[str, tuple[dict[str, Any], str]] = {}
    if subject.is_network and all(f.failure is None for f in fits):
        settings = optimizer_remedies(subject, len(fits[0].train), best_rate)
    gains = {}
    for code, (params, _) in settings.items():
        jobs = jobs_on(
            folds, subject.with_params(**params), table, fit_prefix=subject.fit_prefix,
            judge_train=False,
        )  # fmt: skip
        gains[code] = gain_on_held_out(fits, fit_jobs(jobs, loss), table, prior_loss)
    adjusted = dict(zip(gains, holm([g.p_positive() for g in gains.values()]), strict=True))
    found = []
    for code, question in _QUESTIONS.items():
        if code not in gains:
            found.append(Tried(not_applicable(code, question, TRIED)))
            continue
        gain, (params, action) = gains[code], settings[code]
        helps = gain.value > margin and adjusted[code] < rules.ALPHA
        evidence = Evidence(
            code, question, gain.value, margin, outcome(helps), len(table), len(folds), TRIED
        )
        why = f"tried by itself on {len(folds)} folds"
        remedy = Remedy(subject.prefixed(params), action, why, gain.value, gain.stderr)
        found.append(Tried(evidence, remedy if helps else None))
    return found


# --- resilience ---------------------------------------------------------------------------------


def resilience_checks(fitted: Any, learnt: Table, held_out: Table, seed: int) -> list[Evidence]:
    """DL601: does it lose more skill under noise than simple models? DL602: absurd predictions."""
    lead = "Behind a simple model under noise, and not surely without it (loss)?"
    silly = "Predictions that make no sense under noise of 0.05 sd (share)?"
    nothing = [not_applicable("DL601", lead, NOISE), not_applicable("DL602", silly, NOISE)]
    if fitted is None or not isinstance(learnt.X, pd.DataFrame | np.ndarray):
        return nothing
    try:
        found = resilience(
            fitted, held_out.X, held_out.y, X_train=learnt.X, y_train=learnt.y, missing=(),
            groups=held_out.clusters, random_state=seed,
        )  # fmt: skip
    except ValueError:  # a simple model cannot be fitted on such a table
        return nothing
    noise = found.summary[found.summary["corruption"] == found.corruptions[0]]
    others = noise[(noise["model"] != found.model) & ~(noise["clean_lead_high"] < 0)]
    rows = []
    if len(others):
        worst = others.iloc[int(np.argmin(others["noisy_lead_high"]))]
        behind, surely = -float(worst["noisy_lead"]), bool(worst["noisy_lead_high"] < 0)
        rows.append(
            Evidence(
                "DL601", lead, behind, 0.0, outcome(surely), found.n_rows, len(noise) - 1, NOISE
            )
        )
    own = found.absurd[found.absurd["model"] == found.model]
    if len(own):
        share, low = float(own["share"].iloc[0]), float(own["low"].iloc[0])
        rows.append(
            Evidence("DL602", silly, share, ABSURD, outcome(low > ABSURD), found.n_rows, 0, NOISE)
        )
    known = {row.code for row in rows}
    return rows + [row for row in nothing if row.code not in known]
