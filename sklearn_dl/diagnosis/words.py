"""The flow in words: the course's two questions, answered with numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.rules import Answer, Decision, Findings, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_dl.diagnosis.ledger import Measured
    from sklearn_dl.diagnosis.remedies import Remedy

__all__ = ["Step", "conclusion", "flow", "number", "remedy_line", "unsure"]


@dataclass(frozen=True)
class Step:
    """A question of the flow and its answer."""

    question: str
    answer: str


def number(x: float) -> str:
    """Three figures, without an exponent where it can be read without."""
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:.3e}"


def flow(
    measured: Measured,
    findings: Findings,
    decision: Decision,
    *,
    has_test: bool,
    evidence: pd.DataFrame | None = None,
) -> list[Step]:
    """The two questions and their answers; each number is that of a ledger or evidence row.

    ``has_test`` is whether there are test rows, with labels or without.
    """
    steps = [
        _training_step(measured, findings, decision), _test_step(measured, findings, decision),
    ]  # fmt: skip
    if measured.outer is not None:
        steps.append(_transfer_step(measured))
    if evidence is not None:
        steps += _shift_steps(evidence)
    if not has_test:
        steps.append(
            Step(
                "Mismatch?",
                "Not applicable: no test rows. To check it, give rows as the model will meet them "
                "(X_test and y_test; --test on the command line).",
            )
        )
    return steps


def _training_step(m: Measured, f: Findings, decision: Decision) -> Step:
    answer = rules.training_answer(f, decision.verdict)
    best = f"the best reference ({m.reference_name}) reaches {number(m.reference.value)}"
    by = ", by the probes and the fits" if answer is Answer.PROBABLY else ""
    more = ""
    if answer is Answer.YES and not rules.found(f.training, f.margin):
        assert f.total is not None
        more = (
            f", {number(f.total.value)} less than this network there, which has not fitted its own "
            "rows better either"
        )
    if answer in (Answer.PROBABLY_NOT, Answer.CANNOT_TELL):
        more = (
            f", and the gap could be as large as {number(f.training.upper)} (what matters begins "
            f"at {number(f.margin)})"
        )
    return Step(
        f"Training loss {number(m.training.value)}: large?",
        f"{answer}{by}: {best} on rows it never saw{more}.",
    )


def _test_step(m: Measured, f: Findings, decision: Decision) -> Step:
    answer = rules.test_answer(f, decision.verdict)
    name, value = "Out-of-fold", m.out_of_fold.value
    parts = [f"{number(m.out_of_fold.value)} out of fold"]
    if m.test is not None:
        name, value = "Test", m.test.value
        parts.append(f"and {number(value)} on the test rows")
    parts.append(f"against {number(m.training.value)} on the training rows")
    parts.append(f"and {number(m.reference.value)} for the best reference")
    tail = ""
    if decision.verdict in (Verdict.MODEL_BIAS, Verdict.OPTIMIZATION):
        tail = " Look again once the first answer is mended."
    return Step(
        f"{name} loss {number(value)}: large?", f"{answer}: " + " ".join(parts) + "." + tail
    )


def _transfer_step(m: Measured) -> Step:
    assert m.transfer_gap is not None
    same, other = number(m.held_out.value), number(m.out_of_fold.value)
    low, high = m.transfer_gap.interval()
    return Step(
        "New groups or later times?",
        f"Held-out rows of the groups or period it learnt cost {same}, those of others {other}: "
        f"{number(m.transfer_gap.value)} more (95 % interval {number(low)} to {number(high)}).",
    )


_SHIFTS = {
    "DL403": "the changed class frequencies",
    "DL404": "the changed inputs",
    "DL405": "a changed relation of target and inputs",
}


def _by_code(evidence: pd.DataFrame) -> tuple[dict[str, str], dict[str, float]]:
    codes = list(evidence["code"])
    return (
        dict(zip(codes, evidence["outcome"], strict=True)),
        dict(zip(codes, map(float, evidence["value"]), strict=True)),
    )


def _shift_steps(evidence: pd.DataFrame) -> list[Step]:
    """Two-sample test and shares of C - B, where they apply."""
    outcomes, values = _by_code(evidence)
    steps = []
    if outcomes["DL402"] != "not applicable":
        p = values["DL402"]
        answer = "Yes" if outcomes["DL402"] == "found" else "Not that could be seen"
        if outcomes["DL103"] == "not applicable":
            tail = " Without labels (y_test) it cannot be certified whether that does harm."
        else:
            tail = " Whether that does harm is what C - B says."
        steps.append(
            Step("Test inputs distributed otherwise?", f"{answer}: two-sample p {number(p)}.{tail}")
        )
    known = [c for c in _SHIFTS if outcomes[c] != "not applicable"]
    if known:
        answer = "Of C - B: " + ", ".join(_share(evidence, c) for c in known) + "."
        steps.append(Step("What explains the test loss?", answer + _support(evidence)))
    return steps


def _share(evidence: pd.DataFrame, code: str) -> str:
    row = evidence[evidence["code"] == code]
    share, low, high = (float(row[c].iloc[0]) for c in ("value", "ci_low", "ci_high"))
    share, low, high = (round(x, 2) + 0.0 for x in (share, low, high))  # no "-0%"
    return f"{_SHIFTS[code]} {share:.0%} (95 % interval {low:.0%} to {high:.0%})"


def _support(evidence: pd.DataFrame) -> str:
    """How many training rows the shares rest on."""
    outcomes, values = _by_code(evidence)
    text = f" Weighted like the test rows, the training rows count as {values['DL407']:.1%} of them"
    if outcomes["DL407"] != "found":
        return f"{text}."
    return f"{text}: the test inputs are hardly met in training, and the shares say little."


def conclusion(
    measured: Measured,
    decision: Decision,
    evidence: pd.DataFrame | None = None,
    cause: str | None = None,
) -> str:
    """The verdict with what it means here."""
    text = f"{decision.verdict.value}: {decision.verdict.meaning}"
    text += f" ({cause})" if cause else ""
    if decision.verdict is Verdict.GOOD and measured.out_of_fold.value > measured.margin:
        text += "; what remains nobody could predict: it is noise or missing features"
    if decision.verdict is Verdict.OVERFITTING and evidence is not None:
        text += _overconfident(evidence)
    if decision.verdict is Verdict.INCONCLUSIVE:
        rows = decision.rows_to_settle
        text += f"; about {rows:,} rows would" if rows else "; no number of rows can be named"
    if decision.later:
        text += "; to be looked at again afterwards: " + ", ".join(v.value for v in decision.later)
    return text + "."


def _overconfident(evidence: pd.DataFrame) -> str:
    outcomes, values = _by_code(evidence)
    if outcomes["DL302"] != "found":
        return ""
    return f"; {min(values['DL302'], 1.0):.0%} of that is overconfidence, which calibration removes"


def remedy_line(remedy: Remedy) -> str:
    """A remedy with its parameters and its gain."""
    settings = ", ".join(f"{k}={v!r}" for k, v in remedy.params.items())
    gain = "expected, not measured"
    if not math.isnan(remedy.gain):
        gain = f"measured gain {number(remedy.gain)} +- {number(remedy.gain_stderr)}"
        gain += unsure(remedy)
    return f"{remedy.action}{f' ({settings})' if settings else ''}: {remedy.why}; {gain}"


def unsure(remedy: Remedy) -> str:
    """What must be added to a measured gain that its error does not part from zero."""
    return "" if remedy.is_shown else ", not shown to be above zero"
