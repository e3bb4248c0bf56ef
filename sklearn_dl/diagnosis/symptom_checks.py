"""Symptoms of training as evidence (DL204 to DL213, DL215, DL216)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sklearn_dl.diagnosis.checks import Evidence, not_applicable, outcome
from sklearn_dl.diagnosis.symptoms import Symptoms

__all__ = ["symptom_checks"]

NEVER_LESS = 0.05  # of the training loss: a smaller fall by going on is none
TIMES = 1.5  # a fall is more than another if it is half as much again
STEADY = 2.0  # where ten times the rate falls so much further it is no noise


@dataclass(frozen=True)
class Question:
    """One check of a `Symptoms`."""

    code: str
    text: str
    value: Callable[[Symptoms], float]
    threshold: float
    source: str
    below: bool = False


def _fall(s: Symptoms, factor: float) -> float:
    return max(s.continued.get(factor, math.nan), -1.0) if s.continued else math.nan


def _advantage(s: Symptoms, factor: float) -> float:
    """How much further the loss falls with another rate than with TIMES the same one's fall."""
    same = _fall(s, 1.0)
    if math.isnan(same):
        return math.nan
    return _fall(s, factor) - (TIMES * same if same > 0 else 0.0)


def _faster(s: Symptoms) -> float:
    """Fall by going on with three times the rate over that by going on as before; 0: none to see.

    A rate a thousand times too low moves hardly anything, with three times as much neither: there
    the falls need not be large, but they grow with the rate, from a tenth of it on.
    """
    slow, same, fast = (_fall(s, factor) for factor in (0.1, 1.0, 3.0))
    if math.isnan(same):
        return math.nan
    steady = same > STEADY * slow > 0
    if fast <= 0 or not (fast > NEVER_LESS or steady):
        return 0.0
    return fast / same if same > 0 else math.inf


QUESTIONS = (
    Question("DL204", "Does the training loss rise again and again (rises over its whole fall)?",
             lambda s: s.rises, 0.5, "our benchmark of planted faults"),
    Question("DL205", "Training loss of the first epoch over that of the prior?",
             lambda s: s.first_loss, 3.0, "Karpathy 2019: check the loss at initialisation"),
    Question("DL206", "Has the gradient vanished (its last norm over its first)?",
             lambda s: s.gradient_left, 1e-3, "Goodfellow et al. 2016, ch. 8", below=True),
    Question("DL207", "Share of hidden units that are zero on every row?",
             lambda s: s.dead, 0.5, "Glorot, Bordes, Bengio 2011"),
    Question("DL208", "Share of hidden units that are saturated on nine rows of ten?",
             lambda s: s.saturated, 0.5, "Glorot and Bengio 2010"),
    Question("DL209", "Largest over smallest RMS gradient of the layers?",
             lambda s: s.layer_ratio, 1e3, "Glorot and Bengio 2010"),
    Question("DL210", "Learning rate times sharpness over the limit of stability?",
             lambda s: s.sharpness, 1.0, "Cohen et al. 2021"),
    Question("DL211", "Relative fall of the training loss by going on as before?",
             lambda s: _fall(s, 1.0), NEVER_LESS, "a twentieth of the loss"),
    Question("DL212", "Further fall by going on with a tenth of the rate?",
             lambda s: _advantage(s, 0.1), NEVER_LESS, "a twentieth of the loss"),
    Question("DL213", "Fall by three times the rate, over that by going on as before?",
             _faster, TIMES, "half as much again"),
    Question("DL215", "Norm of the gradient over the norm it is clipped to?",
             lambda s: s.clipped, 10.0, "Pascanu, Mikolov, Bengio 2013"),
    Question("DL216", "Share of the epochs at under a hundredth of the highest learning rate?",
             lambda s: s.decayed, 0.5, "our benchmark of planted faults"),
)  # fmt: skip


def symptom_checks(symptoms: Symptoms | None) -> list[Evidence]:
    """All of them; not applicable where the network or its history does not allow the question."""
    rows = []
    for q in QUESTIONS:
        value = math.nan if symptoms is None else q.value(symptoms)
        if symptoms is None or math.isnan(value):
            rows.append(not_applicable(q.code, q.text, q.source))
            continue
        found = value < q.threshold if q.below else value > q.threshold
        fits = symptoms.n_fits if q.code == "DL211" else 0
        rows.append(
            Evidence(
                q.code, q.text, value, q.threshold, outcome(found), symptoms.n_rows, fits, q.source
            )
        )
    return rows
