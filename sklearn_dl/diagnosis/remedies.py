"""What to change: the remedies of a verdict in their order, and as a grid for a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sklearn_dl.diagnosis import cures
from sklearn_dl.diagnosis.brakes import Brakes
from sklearn_dl.diagnosis.cures import Gain, Remedy
from sklearn_dl.diagnosis.probes import Probes
from sklearn_dl.diagnosis.rules import Decision, Verdict
from sklearn_dl.diagnosis.statistics import Estimate
from sklearn_dl.diagnosis.subject import Subject

__all__ = ["Gain", "Remedy", "find_remedies", "param_grid"]

_UNSURE = Remedy({}, "collect more rows", "the intervals are too wide to tell")
_FLEXIBLE = Remedy(
    {}, "make the model more flexible or add features", "another model does better on these rows"
)
_REGULARISE = Remedy(
    {}, "regularise the model more strongly", "it fits its training rows and not the others"
)
_FEATURES = Remedy(
    {}, "look for other features, or for an error in the target column",
    "no model tried predicts better than the prior",
)  # fmt: skip


def find_remedies(
    subject: Subject,
    decision: Decision,
    codes: Iterable[str],
    n_train: int,
    *,
    probes: Probes | None = None,
    brakes: Brakes | None = None,
    calibration: Estimate | None = None,
    shift: str | None = None,
    has_test: bool = False,
    tried: Iterable[Remedy] = (),
) -> list[Remedy]:
    """Remedies of a verdict: first those whose gain is shown to be above zero, by gain.

    Then those that gained by less than their error says, then those that were not measured; what
    was measured and did not gain is left out.

    Parameters
    ----------
    subject : Subject
        Names the parameters, with the step's prefix in a Pipeline.
    decision : Decision
        What is wrong; where that is inconclusive, the likeliest cause is advised on as well.
    codes : iterable of str
        Evidence that was found.
    n_train : int
        Rows a fold learns, on which "auto" settings depend.
    probes, brakes, calibration
        Whose held-out gains are known.
    shift : str or None
        Which shift explains a mismatch.
    has_test : bool
        Whether there are labelled test rows to weigh the training rows by.
    tried : iterable of Remedy
        Measured, and offered whatever the verdict.
    """
    found = set(codes)
    verdict, first = decision.verdict, []
    if verdict is Verdict.INCONCLUSIVE:
        first = [_UNSURE]
        verdict = max(decision.probabilities, key=lambda v: decision.probabilities[v])
    first += tried
    remedies = first + [
        remedy
        for remedy in _of(
            verdict, subject, found, n_train, probes, brakes, calibration, shift, has_test
        )
        if remedy.action not in {r.action for r in first}
    ]
    remedies = [r for r in remedies if not r.gain <= 0]  # measured, and no help
    return sorted(
        remedies, key=lambda r: (not r.is_shown, -r.gain if math.isfinite(r.gain) else math.inf)
    )


def _of(
    verdict: Verdict,
    subject: Subject,
    found: set[str],
    n_train: int,
    probes: Probes | None,
    brakes: Brakes | None,
    calibration: Estimate | None,
    shift: str | None,
    has_test: bool,
) -> list[Remedy]:
    """All of one verdict, in no order."""
    if verdict is Verdict.MISMATCH:
        return cures.shift_cures(shift, found, has_test=has_test)
    if verdict is Verdict.NO_SIGNAL:
        return [_FEATURES]
    makers: dict[Verdict, tuple[Callable[[], list[Remedy]], Remedy]] = {
        Verdict.OPTIMIZATION: (
            lambda: cures.optimization_cures(subject, probes, found, n_train), _FLEXIBLE,
        ),
        Verdict.MODEL_BIAS: (lambda: cures.bias_cures(subject, probes, found), _FLEXIBLE),
        Verdict.OVERFITTING: (lambda: cures.brake_cures(subject, brakes), _REGULARISE),
    }  # fmt: skip
    if verdict not in makers:
        return []
    make, otherwise = makers[verdict]
    remedies = [otherwise]
    if subject.is_network:
        remedies = [replace(r, params=subject.prefixed(r.params)) for r in make()]
    if verdict is Verdict.OVERFITTING:
        remedies += cures.prediction_cures(
            subject, calibration, sure="DL302" in found,
            half=brakes.half if brakes is not None and "DL305" in found else None,
        )  # fmt: skip
    return remedies


def param_grid(subject: Subject, remedies: Iterable[Remedy]) -> dict[str, list[Any]]:
    """All values the remedies name, beside the present one: a grid for GridSearchCV."""
    now = subject.estimator.get_params(deep=True)
    grid: dict[str, list[Any]] = {}
    for remedy in remedies:
        for name, value in remedy.params.items():
            values = grid.setdefault(name, [now[name]])
            if value not in values:
                values.append(value)
    return {name: values for name, values in grid.items() if len(values) > 1}
