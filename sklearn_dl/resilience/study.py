"""Predict corrupted copies of the same rows with several models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed

from sklearn_dl.batching import batched_fits
from sklearn_dl.resilience.corruption import Columns, Draw, corrupted
from sklearn_dl.resilience.judging import Judge
from sklearn_dl.resilience.result import Losses, Resampling

__all__ = ["LABEL_NOISE", "Competitor", "Study", "noisy_labels"]

Floats = NDArray[np.float64]

#: Noise, in standard deviations, that a person would not notice.
SMALL_NOISE = 0.05
LABEL_NOISE = "label noise"
#: Refits of each model for each level of label noise.
REFITS = 3


@dataclass(frozen=True)
class Competitor:
    """A model with the rows it predicts, or several that share the rows between them."""

    parts: Sequence[tuple[Any, NDArray[np.intp]]]

    def outputs(self, judge: Judge, X: Any) -> Floats:
        """Outputs for all rows of X, (n, n_classes or 1)."""
        pieces = [
            (rows, judge.outputs(fitted, _safe_indexing(X, rows))) for fitted, rows in self.parts
        ]
        out = np.empty((len(judge.y), pieces[0][1].shape[1]))
        for rows, piece in pieces:
            out[rows] = piece
        return out

    @property
    def gives_probabilities(self) -> bool:
        """Whether a sure class can be told from an unsure one."""
        return all(hasattr(fitted, "predict_proba") for fitted, _ in self.parts)


@dataclass(frozen=True)
class Study:
    """Rows to predict, how they are judged, and how often they are corrupted.

    Attributes
    ----------
    judge : Judge
    columns : Columns
    X : DataFrame or ndarray of shape (n, n_features)
    n_draws : int
    """

    judge: Judge
    columns: Columns
    X: Any
    n_draws: int

    def under_corruption(
        self,
        models: Mapping[str, Competitor],
        levels: Mapping[str, Sequence[float]],
        rng: np.random.Generator,
    ) -> dict[str, dict[str, Losses]]:
        """Losses of every model, every corruption that the table has columns for."""
        draws = self._draws(rng)
        has = {
            "feature noise": bool(self.columns.numbers),
            "missing values": True,
            "category swaps": bool(self.columns.levels),
        }
        clean = {name: model.outputs(self.judge, self.X) for name, model in models.items()}
        found: dict[str, dict[str, Losses]] = {name: {} for name in models}
        for corruption, steps in levels.items():
            if not len(steps) or not has[corruption]:
                continue
            grid = sorted(set(steps))
            cells: dict[str, list[list[Floats]]] = {name: [] for name in models}
            for level in grid:
                copies = (corrupted(corruption, self.X, self.columns, d, level) for d in draws)
                row: dict[str, list[Floats]] = {name: [] for name in models}
                for copy in copies:
                    for name, model in models.items():
                        row[name].append(model.outputs(self.judge, copy))
                for name in models:
                    cells[name].append(row[name])
            for name in models:
                found[name][corruption] = self._losses(grid, clean[name], cells[name])
        return found

    def _draws(self, rng: np.random.Generator) -> list[Draw]:
        return [Draw.new(rng, len(self.judge.y), self.columns) for _ in range(self.n_draws)]

    def _losses(
        self, grid: Sequence[float], clean: Floats, cells: Sequence[Sequence[Floats]]
    ) -> Losses:
        """Judge the outputs of (n_levels, n_draws) copies beside the clean ones."""
        rows = [[clean] * len(cells[0]), *cells]
        judge = self.judge
        return Losses(
            np.array([0.0, *grid]),
            np.array([[judge.losses(out) for out in row] for row in rows]),
            np.array([np.mean([judge.score(out) for out in row]) for row in rows]),
            np.array([np.mean([judge.agreement(clean, out) for out in row]) for row in rows]),
        )

    def under_label_noise(
        self,
        models: Mapping[str, Any],
        X: Any,
        y: NDArray[Any],
        levels: Sequence[float],
        rng: np.random.Generator,
    ) -> dict[str, dict[str, Losses]]:
        """Refit clones of the models on wrong labels, the same for all; the rows stay clean."""
        grid = sorted(set(levels))
        uniform = [rng.uniform(size=(2, len(y))) for _ in range(REFITS)]
        targets = [y] + [noisy_labels(y, level, u, self.judge) for level in grid for u in uniform]
        tasks = [(name, target) for name in models for target in targets]
        whole = np.arange(len(self.judge.y))

        def outputs(name: str, target: NDArray[Any]) -> Floats:
            fitted = clone(models[name]).fit(X, target)
            return Competitor([(fitted, whole)]).outputs(self.judge, self.X)

        with warnings.catch_warnings(), batched_fits():
            warnings.filterwarnings("ignore", category=ConvergenceWarning)
            done: list[Floats] = Parallel()(delayed(outputs)(*task) for task in tasks)
        found = {}
        for k, name in enumerate(models):
            own = done[k * len(targets) : (k + 1) * len(targets)]
            cells = [
                _repeated(own[1 + j * REFITS : 1 + (j + 1) * REFITS], self.n_draws)
                for j in range(len(grid))
            ]
            found[name] = {LABEL_NOISE: self._losses(grid, own[0], cells)}
        return found

    def absurd(
        self, models: Mapping[str, Competitor], resampling: Resampling, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Share of predictions that make no sense under tiny noise."""
        draws = self._draws(rng)
        records = []
        for name, model in models.items():
            if self.judge.classes is not None and not model.gives_probabilities:
                continue
            clean = model.outputs(self.judge, self.X)
            silly = np.mean(
                [
                    self.judge.absurd(clean, model.outputs(self.judge, copy))
                    for copy in (
                        corrupted("feature noise", self.X, self.columns, d, SMALL_NOISE)
                        for d in draws
                    )
                ],
                axis=0,
            )
            low, high = np.quantile(resampling.of_rows(silly), (0.025, 0.975))
            records.append((name, float(silly.mean()), float(low), float(high), SMALL_NOISE))
        return pd.DataFrame(records, columns=["model", "share", "low", "high", "noise"])


def _repeated(outputs: list[Floats], n: int) -> list[Floats]:
    """Refits are few and draws many: each stands for as many draws, in turn."""
    return [outputs[k % len(outputs)] for k in range(n)]


def noisy_labels(y: NDArray[Any], level: float, uniform: Floats, judge: Judge) -> NDArray[Any]:
    """Labels of which a share is replaced: by another class, or by another row's number.

    Parameters
    ----------
    y : ndarray of shape (n,)
    level : float
        Share of labels replaced.
    uniform : ndarray of shape (2, n)
        Which are replaced, and by what.
    judge : Judge
        Knows the classes.
    """
    wrong = uniform[0] < level
    if judge.classes is None:
        other = y[(uniform[1] * len(y)).astype(np.intp)]
    else:
        present = np.unique(y)
        step = 1 + (uniform[1] * (len(present) - 1)).astype(np.intp)
        other = present[(np.searchsorted(present, y) + step) % len(present)]
    return np.where(wrong, other, y)
