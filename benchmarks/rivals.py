"""What others would answer from the same cases: baselines and restated rules.

UMLAUT (Schoop, Huang, Hartmann 2021) and AUTOTRAINER (Zhang et al. 2021) name faults of code or
training, not causes of a large loss; their checks are restated on what was measured here and mapped
to the verdict each stands for. Where their papers give a constant it is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier

Record = dict[str, Any]
Answer = Callable[[Record], str]


def constant(records: Sequence[Record]) -> Answer:
    """The verdict that is right most often."""
    common = Counter(v for r in records for v in r["right"]).most_common(1)[0][0]
    return lambda record: common


def _losses(record: Record) -> tuple[float, float, float]:
    """Training loss, gap to new rows, gap to test rows, in losses of the prior."""
    losses = record["losses"]
    prior = losses["prior"]
    a, b = losses["training"] / prior, losses["out_of_fold"] / prior
    return a, b - a, losses.get("test", losses["out_of_fold"]) / prior - b


def thresholds(records: Sequence[Record]) -> Answer:
    """The course's flow with a number for each question, the best on the tuned tables."""

    def rule(high: float, gap: float, shift: float, cause: str) -> Answer:
        def answer(record: Record) -> str:
            a, b, c = _losses(record)
            if c > shift:
                return "mismatch"
            return cause if a > high else "overfitting" if b > gap else "good"

        return answer

    settings = product(
        (0.3, 0.5, 0.6, 0.7, 0.8, 0.9), (0.03, 0.1, 0.2, 0.3, 0.5), (0.05, 0.1, 0.2),
        ("optimization", "model_bias"),
    )  # fmt: skip
    return max(
        (rule(*setting) for setting in settings),
        key=lambda answer: sum(answer(r) in r["right"] for r in records),
    )


def _features(record: Record) -> list[float]:
    return [*map(float, record["params"].values()), *_losses(record)]


def tree(records: Sequence[Record]) -> Answer:
    """A small tree on the configuration and the losses."""
    decisive = [r for r in records if len(r["right"]) == 1]
    model = DecisionTreeClassifier(max_depth=5, min_samples_leaf=3, random_state=0)
    model.fit(np.array([_features(r) for r in decisive]), [r["right"][0] for r in decisive])
    return lambda record: str(model.predict([_features(record)])[0])


def umlaut(records: Sequence[Record]) -> Answer:
    """Rate outside [1e-7, 1e-2], inputs not scaled, dropout over a half, B well above A."""

    def answer(record: Record) -> str:
        p = record["params"]
        if not -7 <= p["log rate"] <= -2 or p["raw"] or "DL201" in record["codes"]:
            return "optimization"
        if p["dropout"] > 0.5:
            return "model_bias"
        a, gap, _ = _losses(record)
        return "overfitting" if gap > 0.1 * a else "good"

    return answer


def autotrainer(records: Sequence[Record]) -> Answer:
    """Exploding, vanishing, dying, oscillating, slow: each a fault of training."""
    signs = {"DL201", "DL202", "DL204", "DL206", "DL207", "DL209", "DL211"}
    return lambda record: "optimization" if signs & set(record["codes"]) else "good"


RIVALS: dict[str, Callable[[Sequence[Record]], Answer]] = {
    "constant": constant,
    "two thresholds on the losses": thresholds,
    "tree on configuration and losses": tree,
    "UMLAUT's rules": umlaut,
    "AUTOTRAINER's rules": autotrainer,
}
