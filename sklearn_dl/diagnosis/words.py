"""The flow in words: the course's two questions, answered with numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.rules import Decision, Verdict

if TYPE_CHECKING:
    from sklearn_dl.diagnosis.ledger import Measured
    from sklearn_dl.diagnosis.remedies import Remedy

__all__ = ["flow", "number", "remedy_line"]


@dataclass(frozen=True)
class Step:
    """A question of the flow and its answer."""

    question: str
    answer: str


def number(x: float) -> str:
    """Three figures, without an exponent where it can be read without."""
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:.3e}"


def flow(measured: Measured, decision: Decision, n_test: int) -> list[Step]:
    """The two questions and their answers."""
    steps = [_training_step(measured), _test_step(measured, decision)]
    if n_test == 0:
        steps.append(
            Step(
                "Mismatch?",
                "Not applicable: no test rows. To check it, give rows as the model will meet them "
                "(X_test and y_test; --test on the command line).",
            )
        )
    return steps


def _training_step(m: Measured) -> Step:
    gap = m.claims["training"]
    found, settled = rules.found(gap, m.margin), rules.settled(gap, m.margin)
    question = f"Training loss {number(m.training.value)}: large?"
    best = f"the best reference ({m.reference_name}) reaches {number(m.reference.value)}"
    if found:
        return Step(question, f"Yes: {best} on rows it never saw.")
    if settled:
        return Step(question, f"No: {best} on rows it never saw.")
    return Step(
        question,
        f"Cannot tell: {best} on rows it never saw, and the gap could be as large as "
        f"{number(gap.upper)} (what matters begins at {number(m.margin)}).",
    )


def _test_step(m: Measured, decision: Decision) -> Step:
    name, value = "Out-of-fold", m.held_out.value
    parts = []
    if m.test is not None:
        name, value = "Test", m.test.value
        parts.append(
            f"{number(m.held_out.value)} out of fold and {number(m.test.value)} on the test rows"
        )
    else:
        parts.append(f"{number(m.held_out.value)} out of fold")
    parts.append(f"against {number(m.training.value)} on the training rows")
    parts.append(f"and {number(m.reference.value)} for the best reference")
    gaps = [m.claims["estimation"], *([m.claims["mismatch"]] if "mismatch" in m.claims else [])]
    found = any(rules.found(g, m.margin) for g in gaps)
    settled = all(rules.settled(g, m.margin) for g in gaps)
    answer = "Yes" if found else "No" if settled else "Cannot tell"
    tail = ""
    if decision.verdict in (Verdict.MODEL_BIAS, Verdict.OPTIMIZATION):
        answer = answer if found else "Not asked yet"
        tail = " Look again once the first answer is mended."
    return Step(
        f"{name} loss {number(value)}: large?", f"{answer}: " + " ".join(parts) + "." + tail
    )


def conclusion(measured: Measured, decision: Decision) -> str:
    """The verdict with what it means here."""
    text = f"{decision.verdict.value}: {decision.verdict.meaning}"
    if decision.verdict is Verdict.GOOD and measured.held_out.value > measured.margin:
        text += "; what remains is noise or missing features"
    if decision.verdict is Verdict.INCONCLUSIVE:
        rows = decision.rows_to_settle
        text += f"; about {rows:,} rows would" if rows else "; no number of rows can be named"
    if decision.later:
        text += "; to be looked at again afterwards: " + ", ".join(v.value for v in decision.later)
    return text + "."


def remedy_line(remedy: Remedy) -> str:
    """A remedy with its parameters and its gain."""
    settings = ", ".join(f"{k}={v!r}" for k, v in remedy.params.items())
    gain = (
        f"measured gain {number(remedy.gain)} +- {number(remedy.gain_stderr)}"
        if remedy.gain == remedy.gain
        else "expected, not measured"
    )
    return f"{remedy.action}{f' ({settings})' if settings else ''}: {remedy.why}; {gain}"
