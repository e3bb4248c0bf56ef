"""From measurements to what the rules take."""

from __future__ import annotations

from dataclasses import replace

from sklearn_dl.diagnosis.brakes import Brakes
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.ledger import Measured
from sklearn_dl.diagnosis.probes import Probes
from sklearn_dl.diagnosis.rules import Findings
from sklearn_dl.diagnosis.statistics import Estimate

__all__ = ["find", "with_probes_of"]


def _as_gap(estimate: Estimate, looks: int = 1) -> Gap:
    """An estimate as the rules take it, the best of so many looks (Bonferroni)."""
    p = min(1.0, looks * estimate.p_positive())
    return Gap(estimate.value, estimate.stderr, p, estimate.upper())


def find(
    measured: Measured,
    probes: Probes | None,
    diverged_share: float,
    brakes: Brakes | None = None,
    calibration: Estimate | None = None,
) -> Findings:
    """What the rules need of the measurements."""
    claims = measured.claims
    return Findings(
        margin=measured.margin,
        training=claims["training"],
        estimation=claims["estimation"],
        mismatch=claims.get("mismatch"),
        signal=claims["signal"],
        prior_loss=measured.prior.value,
        optimization_share=None if probes is None else probes.split.optimization_share,
        optimization_share_stderr=None if probes is None else probes.split.stderr,
        diverged_share=diverged_share,
        n_rows=measured.n_rows,
        braking=None if brakes is None else _as_gap(brakes.best.gain, brakes.n_looks),
        calibration=None if calibration is None else _as_gap(calibration),
        training_remedy=None if probes is None else _as_gap(probes.best_gain),
        total=claims.get("total"),
        halving=None if brakes is None or brakes.half is None else _as_gap(brakes.half),
    )


def with_probes_of(findings: Findings, judged_anew: Findings) -> Findings:
    """Gaps in another loss, with what only probes and brakes tell taken over from the first one.

    Their fits are not at hand to be judged anew: a gain of so many margins stays one of so many.
    """
    factor = judged_anew.margin / findings.margin

    def taken_over(gap: Gap | None) -> Gap | None:
        return None if gap is None else gap.times(factor)

    return replace(
        judged_anew,
        optimization_share=findings.optimization_share,
        optimization_share_stderr=findings.optimization_share_stderr,
        braking=taken_over(findings.braking),
        calibration=taken_over(findings.calibration),
        training_remedy=taken_over(findings.training_remedy),
        halving=taken_over(findings.halving),
    )
