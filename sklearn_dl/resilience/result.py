"""From losses under noise to retention curves, their area and half-skill level, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Losses", "Resampling", "Resilience", "area_under", "half_level", "retention_frames"]

Floats = NDArray[np.float64]
#: Half of the skill is gone.
HALF = 0.5
#: Two-sided 95 % intervals.
TAILS = (0.025, 0.975)
#: A model without this share of the prior's loss as skill has nothing to retain.
NO_SKILL = 1e-3


@dataclass(frozen=True)
class Losses:
    """What one model loses under one corruption.

    Attributes
    ----------
    levels : ndarray of shape (n_levels,)
        The first is 0.
    losses : ndarray of shape (n_levels, n_draws, n)
        A loss a row; the first level is the clean one.
    score, agreement : ndarray of shape (n_levels,)
        Accuracy or R2, and agreement with the clean predictions, means over draws.
    """

    levels: Floats
    losses: Floats
    score: Floats
    agreement: Floats


@dataclass(frozen=True)
class Resampling:
    """Bootstrap weights, the same for all models: of rows (or whole groups) and of draws.

    Attributes
    ----------
    rows : ndarray of shape (n, n_bootstrap)
    draws : ndarray of shape (n_draws, n_bootstrap)
        Columns sum to one.
    """

    rows: Floats
    draws: Floats

    @classmethod
    def new(
        cls,
        rng: np.random.Generator,
        clusters: NDArray[np.intp],
        n_draws: int,
        n_bootstrap: int,
    ) -> Resampling:
        """Multinomial weights over clusters, the numbers of which are given for each row."""
        m = int(clusters.max()) + 1
        counts = rng.multinomial(m, np.full(m, 1 / m), size=n_bootstrap).T[clusters]
        rows = counts.astype(np.float64)
        draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws), size=n_bootstrap).T
        return cls(rows / rows.sum(axis=0), draws / n_draws)

    def of_rows(self, losses: Floats) -> Floats:
        """Bootstrapped means of row losses, (n_bootstrap,)."""
        means: Floats = losses @ self.rows
        return means

    def of(self, losses: Floats) -> Floats:
        """Bootstrapped means of (n_levels, n_draws, n) losses, (n_levels, n_bootstrap)."""
        means: Floats = np.einsum("ldb,db->lb", losses @ self.rows, self.draws)
        return means


def area_under(levels: Floats, retention: Floats) -> Floats:
    """Area under a retention curve over its range, 1 where nothing is lost.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,)
    retention : ndarray of shape (n_levels, ...)
    """
    width = np.diff(levels).reshape(-1, *[1] * (retention.ndim - 1))
    area: Floats = ((retention[1:] + retention[:-1]) / 2 * width).sum(0) / (levels[-1] - levels[0])
    return area


def half_level(levels: Floats, retention: Floats) -> Floats:
    """First level at which half of the skill is gone, interpolated; inf where it never is.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,)
    retention : ndarray of shape (n_levels, n_curves)
    """
    found = np.where(np.isnan(retention).any(axis=0), np.nan, np.inf)
    for k in np.flatnonzero(~np.isnan(found)):
        below = np.flatnonzero(retention[:, k] <= HALF)
        if len(below):  # never the first level: all is left there
            j = below[0]
            above, under = retention[j - 1, k], retention[j, k]
            share = (above - HALF) / (above - under)
            found[k] = levels[j - 1] + share * (levels[j] - levels[j - 1])
    return found


def _interval(values: Floats) -> tuple[Floats, Floats]:
    """Percentile interval over the last axis, NaN left out; inf counts as a large number."""
    known = np.isfinite(values) | np.isinf(values)
    if not known.any():
        nothing = np.full(values.shape[:-1], np.nan)
        return nothing, nothing
    low: Floats = np.nanquantile(values, TAILS[0], axis=-1, method="lower")
    high: Floats = np.nanquantile(values, TAILS[1], axis=-1, method="higher")
    return low, high


def retention_frames(
    measured: dict[str, dict[str, Losses]], prior: Floats, resampling: Resampling
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Curves and summary of all models and corruptions.

    Parameters
    ----------
    measured : dict of model to dict of corruption to Losses
        The first model is the one under study, the others are its references.
    prior : ndarray of shape (n,)
        Losses of the best constant.
    resampling : Resampling
    """
    curves, summary = [], []
    first = next(iter(measured))
    firsts: dict[str, _Curve] = {}
    for model, by_name in measured.items():
        for name, found in by_name.items():
            curve = _Curve.of(found, prior, resampling)
            curves.append(curve.frame(model, name))
            own = firsts.setdefault(name, curve) if model == first else firsts[name]
            record = {"model": model, "corruption": name}
            record |= _spread("area", *curve.areas())
            record |= _spread("half_skill_level", *curve.half_levels(), short="half")
            record |= _spread("lead", *_difference(own.areas(), curve.areas()))
            record |= _spread("clean_lead", *_difference(curve.clean(), own.clean()))
            record |= _spread("noisy_lead", *_difference(curve.noisy(), own.noisy()))
            summary.append(record)
    return pd.concat(curves, ignore_index=True), pd.DataFrame(summary)


def _difference(one: tuple[float, Floats], other: tuple[float, Floats]) -> tuple[float, Floats]:
    """A difference and its resamples, paired."""
    return one[0] - other[0], one[1] - other[1]


def _spread(name: str, value: float, values: Floats, short: str | None = None) -> dict[str, Any]:
    """A value with its interval, as columns."""
    low, high = _interval(values)
    short = short or name
    return {name: value, f"{short}_low": float(low), f"{short}_high": float(high)}


@dataclass(frozen=True)
class _Curve:
    """Loss and retention by level, and their resamples along the last axis."""

    found: Losses
    loss: Floats
    losses: Floats
    retention: Floats
    retentions: Floats

    @classmethod
    def of(cls, found: Losses, prior: Floats, resampling: Resampling) -> _Curve:
        """Means and resamples; a model without sure skill has no retention."""
        loss, losses = found.losses.mean(axis=(1, 2)), resampling.of(found.losses)
        level, levels = float(prior.mean()), resampling.of_rows(prior)
        skill, skills = level - loss[0], levels - losses[0]
        sure = np.quantile(skills, TAILS[0]) > NO_SKILL * level
        with np.errstate(invalid="ignore", divide="ignore"):
            one: Floats = np.where(sure, (level - loss) / skill, np.nan)
            many: Floats = np.where(sure & (skills > 0), (levels - losses) / skills, np.nan)
        return cls(found, loss, losses, one, many)

    def frame(self, model: str, name: str) -> pd.DataFrame:
        """A row a level."""
        (loss_low, loss_high), (low, high) = _interval(self.losses), _interval(self.retentions)
        return pd.DataFrame(
            {
                "model": model, "corruption": name, "level": self.found.levels, "loss": self.loss,
                "loss_low": loss_low, "loss_high": loss_high, "retention": self.retention,
                "retention_low": low, "retention_high": high, "score": self.found.score,
                "agreement": self.found.agreement,
            }
        )  # fmt: skip

    def areas(self) -> tuple[float, Floats]:
        """Area under the curve and its resamples."""
        levels = self.found.levels
        return float(area_under(levels, self.retention)), area_under(levels, self.retentions)

    def clean(self) -> tuple[float, Floats]:
        """Loss without corruption, and its resamples."""
        return float(self.loss[0]), self.losses[0]

    def noisy(self) -> tuple[float, Floats]:
        """Mean loss over the range of levels, and its resamples."""
        levels = self.found.levels
        return float(area_under(levels, self.loss)), area_under(levels, self.losses)

    def half_levels(self) -> tuple[float, Floats]:
        """Level at which half is lost, and its resamples."""
        levels = self.found.levels
        one = half_level(levels, self.retention[:, None])
        return float(one[0]), half_level(levels, self.retentions)


@dataclass(frozen=True)
class Resilience:
    """A model's skill under noise, beside that of its references.

    Attributes
    ----------
    curves : DataFrame
        A row a model, corruption and level: ``loss`` and ``retention``, the share of the skill that
        is left, ``(L0 - L(level)) / (L0 - L(0))`` with L0 the loss of the best constant, each with
        a 95 % bootstrap interval; ``score`` (accuracy or R2); ``agreement`` of noisy with clean
        predictions (Cohen's kappa, Lin's concordance).
    summary : DataFrame
        A row a model and corruption: ``area`` under the retention curve, 1 where nothing is lost;
        ``half_skill_level`` (inf where half is never lost). How far the model under study is ahead
        of this one, from the same rows and noise: ``lead`` in area; ``clean_lead`` and
        ``noisy_lead`` in loss, without corruption and on average over the levels. A model that
        starts with more skill has more to lose, so its area alone is no blame.
    absurd : DataFrame
        A row a model: ``share`` of predictions that make no sense under noise of 0.05 standard
        deviations, with its interval. Empty for a classifier without probabilities.
    parts : DataFrame
        Loss and score of the clean rows by group or period, where they were given; else empty.
    loss_name : str
    prior_loss : float
        Loss of the best constant.
    n_rows, n_draws : int
    notes : tuple of str
        What limits the answer.
    """

    curves: pd.DataFrame
    summary: pd.DataFrame
    absurd: pd.DataFrame
    parts: pd.DataFrame
    loss_name: str
    prior_loss: float
    n_rows: int
    n_draws: int
    notes: tuple[str, ...] = field(default=())

    @property
    def model(self) -> str:
        """Name of the model under study."""
        return str(self.summary["model"].iloc[0])

    @property
    def corruptions(self) -> tuple[str, ...]:
        """What was done to the rows."""
        return tuple(self.summary["corruption"].unique())

    def __str__(self) -> str:
        """The answer in a few lines."""
        own = self.summary[self.summary["model"] == self.model]
        lines = [f"{self.model}: {self.loss_name}, {self.n_rows} rows, {self.n_draws} draws"]
        for row in own.to_dict("records"):
            lines += self._lines(row)
        if len(self.absurd):
            first = self.absurd.iloc[0]
            lines.append(
                f"absurd predictions: {first['share']:.1%} ({first['low']:.1%} to "
                f"{first['high']:.1%})"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _lines(self, row: dict[Any, Any]) -> list[str]:
        """One corruption in words, beside the references."""
        name, half = row["corruption"], row["half_skill_level"]
        if np.isnan(half):
            return [f"{name}: no sure skill to lose"]
        gone = f"half of the skill is gone at {half:.2g} "
        gone += f"({row['half_low']:.2g} to {row['half_high']:.2g})"
        if np.isinf(half):
            gone = f"half of the skill is left at {self._highest(name):g}"
        area = f"{row['area']:.2f} ({row['area_low']:.2f} to {row['area_high']:.2f})"
        others = self.summary[
            (self.summary["corruption"] == name) & (self.summary["model"] != self.model)
        ]
        return [f"{name}: area {area}; {gone}"] + [
            f"  beside {r['model']}: {r['lead']:+.2f} ({r['lead_low']:+.2f} to "
            f"{r['lead_high']:+.2f})"
            for r in others.dropna(subset="lead").to_dict("records")
        ]

    def _highest(self, corruption: str) -> float:
        return float(self.curves.loc[self.curves["corruption"] == corruption, "level"].max())
