"""The answer of `diagnose`: a verdict with its ledger, evidence and remedies."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_dl.diagnosis import words
from sklearn_dl.diagnosis.brakes import Brakes
from sklearn_dl.diagnosis.fold_fits import FoldFit, RowLosses
from sklearn_dl.diagnosis.ledger import Measured
from sklearn_dl.diagnosis.probes import Probes
from sklearn_dl.diagnosis.remedies import Gain, Remedy
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.rules import Decision, Findings, Verdict
from sklearn_dl.diagnosis.subcauses import cause
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.table import Folds, Table
from sklearn_dl.diagnosis.trying import try_out

if TYPE_CHECKING:
    from sklearn_dl.plotting import LedgerDisplay

__all__ = ["Diagnosis", "Study"]


@dataclass(frozen=True, eq=False)
class Study:
    """All that was measured; what a remedy is tried on."""

    subject: Subject
    estimator: Any
    table: Table
    test: Table | None
    folds: Folds
    loss: RowLoss
    fits: tuple[FoldFit, ...]
    prior_losses: RowLosses
    measured: Measured
    decision: Decision
    notes: tuple[str, ...]
    scores: dict[str, float]
    n_fits: int
    evidence: pd.DataFrame
    findings: Findings
    probes: Probes | None
    brakes: Brakes | None
    unlabelled: Table | None


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Why an estimator is not good enough, and what to change.

    Attributes
    ----------
    verdict : Verdict
        A string: ``"good"``, ``"model_bias"``, ``"optimization"``, ``"overfitting"``,
        ``"mismatch"``, ``"no_signal"`` or ``"inconclusive"``.
    probabilities : Series
        Over the verdicts; sums to one. Calibrated on planted faults (benchmarks/diagnosis.py).
    ledger : DataFrame
        Rows reference, approximation, optimization, estimation, mismatch; columns loss, stderr,
        ci_low, ci_high (95 %), share (of all that could be gained).
    evidence : DataFrame
        A row a check: code, question, value, threshold, outcome, n, fits, source.
    remedies : list of Remedy
        What to change: first what is shown to gain, by its measured gain; then what was measured
        and may be luck; then what is expected to help and was not measured.
    param_grid : dict
        For GridSearchCV: the present value and the remedies' of each parameter they name.
    """

    verdict: Verdict
    probabilities: pd.Series[float]
    ledger: pd.DataFrame
    evidence: pd.DataFrame
    remedies: list[Remedy]
    param_grid: dict[str, list[Any]]
    _study: Study

    @property
    def cause(self) -> str | None:
        """What stands behind ``optimization`` or ``model_bias``, where the evidence names it."""
        subject = self._study.subject
        if not subject.is_network:
            return None
        found = self.evidence.loc[self.evidence["outcome"] == "found", "code"]
        sizes = subject.setting("hidden_layer_sizes", ())
        return cause(
            self.verdict, set(found),
            linear=not sizes or subject.setting("activation") == "identity",
            mse_on_classes=subject.task == "classification" and subject.setting("loss") == "mse",
        )  # fmt: skip

    def try_remedy(self, k: int = 0) -> tuple[Any, Gain]:
        """Refit with a remedy on the same folds and on all rows.

        Besides parameters it can calibrate, average networks of several seeds, and weigh the
        training rows towards the test rows.

        Parameters
        ----------
        k : int
            Index into ``remedies``.

        Returns
        -------
        estimator
            Fitted on all rows.
        Gain
            Fall of the out-of-fold loss (of the loss on the test rows, for weights towards them),
            paired by row, with its standard error. It is measured on the rows that chose the
            remedy, so confirm it on fresh ones.

        Raises
        ------
        IndexError
            No such remedy.
        ValueError
            The remedy needs what only you have; the message says what is yours to do.
        """
        if not -len(self.remedies) <= k < len(self.remedies):
            raise IndexError(f"there are {len(self.remedies)} remedies; got k={k}.")
        return try_out(self._study, self.remedies[k], k)

    def plot(self, ax: Any = None) -> LedgerDisplay:
        """Draw the ledger; matplotlib is needed."""
        from sklearn_dl.plotting import LedgerDisplay

        return LedgerDisplay(self.ledger, unit=self._study.loss.name).plot(ax=ax)

    def to_html(
        self, path: str | Path | None = None, *, learning_curve: pd.DataFrame | None = None
    ) -> str:
        """The report as one self-contained page, also written to ``path`` where given.

        ``learning_curve`` is what ``sklearn_dl.diagnosis.learning.loss_by_size`` returned.
        """
        from sklearn_dl.report import to_html

        page = to_html(self, learning_curve)
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from sklearn_dl.report import to_fragment

        return to_fragment(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values: ``json.dumps`` takes it, NaN and infinity are None."""
        s = self._study
        content = {
            "verdict": self.verdict.value,
            "conclusion": words.conclusion(s.measured, s.decision, s.evidence, self.cause),
            "cause": self.cause,
            "flow": [asdict(step) for step in self._flow()],
            "probabilities": self.probabilities.to_dict(),
            "losses": self._losses(),
            "loss": s.loss.name,
            "scores": s.scores,
            "margin": s.measured.margin,
            "ledger": self.ledger.to_dict(orient="index"),
            "evidence": self.evidence.to_dict(orient="records"),
            "remedies": [asdict(remedy) for remedy in self.remedies],
            "param_grid": self.param_grid,
            "notes": list(s.notes),
            "n_rows": s.measured.n_rows,
            "n_fits": s.n_fits,
        }
        plain: dict[str, Any] = _plain(content)
        return plain

    def _flow(self) -> list[words.Step]:
        s = self._study
        has_test = s.test is not None or s.unlabelled is not None
        return words.flow(
            s.measured, s.findings, s.decision, has_test=has_test, evidence=s.evidence
        )

    def _losses(self) -> dict[str, float]:
        m = self._study.measured
        losses = {
            "prior": m.prior.value,
            "reference": m.reference.value,
            "training": m.training.value,
        }
        if m.outer is not None:
            losses["same_groups_or_period"] = m.held_out.value
        losses["out_of_fold"] = m.out_of_fold.value
        return losses if m.test is None else losses | {"test": m.test.value}

    def __str__(self) -> str:
        s = self._study
        lines = [f"{step.question} {step.answer}" for step in self._flow()]
        lines += ["", words.conclusion(s.measured, s.decision, s.evidence, self.cause)]
        chances = self.probabilities[self.probabilities >= 0.01].sort_values(ascending=False)
        lines += ["Probabilities: " + ", ".join(f"{k} {p:.2f}" for k, p in chances.items())]
        lines += ["", f"Ledger, {s.loss.name}, margin {words.number(s.measured.margin)}:"]
        lines += self.ledger.to_string(float_format="{:.4f}".format, na_rep="-").splitlines()
        outside = self.evidence[self.evidence["outcome"] == "found"]
        if len(outside):
            lines += ["", "Evidence found:"]
            lines += [
                f"  {code} {question} {words.number(value)} (threshold {words.number(threshold)})"
                for code, question, value, threshold in zip(
                    *(outside[c] for c in ("code", "question", "value", "threshold")), strict=True
                )
            ]
        if self.remedies:
            lines += ["", "What to change:"]
            lines += [f"  {k}. {words.remedy_line(r)}" for k, r in enumerate(self.remedies)]
        lines += [f"Note: {note.rstrip('.')}." for note in s.notes]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Diagnosis: {self.verdict.value}, {self._study.measured.n_rows} rows>"


def _plain(value: Any) -> Any:
    """Numbers, text, lists and dicts; what JSON lacks becomes None or its repr."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else repr(value)
