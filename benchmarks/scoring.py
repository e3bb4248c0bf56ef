"""How right the verdicts are: regret first, then agreement, false alarms, probabilities, cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

Record = dict[str, Any]
CAUSES = ("model_bias", "optimization", "overfitting", "mismatch")
FINE = ({"good"}, {"no_signal"}, {"good", "no_signal", "inconclusive"})


def regret(truth: Record, verdict: str) -> float | None:
    """``(best gain - gain of what the verdict recommends) / best gain``; None: nothing to gain.

    While the training loss is large gains are of that loss, down to the best known held-out one.
    More rows are a remedy of overfitting only: nearly every network gains by four times the rows.
    That there is nothing to learn recommends the constant model, where none is known to beat it.
    """
    m, f, a = truth["margin"], truth["F"], truth["A"]
    shift = 0.0 if truth["C"] is None else truth["C"] - truth["B"]
    gains = dict.fromkeys((*CAUSES, "good", "no_signal", "inconclusive"), 0.0)
    gains["mismatch"] = truth["gains"].get("target rows", 0.0)
    if a - f > 1.5 * m and shift < 1.5 * (a - f):
        gains["optimization"] = a - max(truth["A_optimization"], f)
        gains["model_bias"] = a - max(min(truth["A_model_bias"], truth["A_optimization"]), f)
    else:
        braked, unsure = (truth["gains"].get(k, 0.0) for k in ("regularised", "unsure"))
        over = truth["B"] - max(a, f)
        gains["overfitting"] = max(
            braked if braked > 2 * unsure else 0.0,
            truth["gains"].get("more rows", 0.0) if over > 2 * m else 0.0,
        )
    if truth["prior"] <= f + m:
        gains["no_signal"] = max(0.0, truth["B"] - truth["prior"])
    best = max(gains.values())
    if best < 1.5 * m:
        return None
    return float(min(1.0, (best - max(gains[verdict], 0.0)) / best))


def scores(records: Sequence[Record], answers: Sequence[str]) -> dict[str, float]:
    """Of one set of answers."""
    pairs = list(zip(records, answers, strict=True))
    decisive = [(r["right"][0], answer) for r, answer in pairs if len(r["right"]) == 1]
    by_kind = pd.DataFrame(decisive, columns=["right", "said"])
    hit = by_kind["right"] == by_kind["said"]
    regrets = [regret(r["truth"], answer) for r, answer in pairs]
    known = [x for x in regrets if x is not None]
    healthy = [answer for r, answer in pairs if set(r["right"]) in FINE]
    return {
        "regret": float(np.mean(known)),
        "top-1": float(hit.mean()),
        "mean over kinds": float(hit.groupby(by_kind["right"]).mean().mean()),
        "allowed": float(np.mean([answer in r["right"] for r, answer in pairs])),
        "false alarms": float(np.mean([answer in CAUSES for answer in healthy])),
        "inconclusive": float(np.mean([answer == "inconclusive" for answer in answers])),
        "decisive": len(decisive), "healthy": len(healthy), "cases": len(pairs),
    }  # fmt: skip


def probability_scores(
    records: Sequence[Record], stated: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """Brier, expected calibration error of the likeliest cause, risk at coverage, set-F1."""
    briers, hits, tops, f1 = [], [], [], []
    for record, p in zip(records, stated, strict=True):
        said = {v for v, x in p.items() if x >= 0.25}
        right = set(record["right"]) - {"inconclusive"}
        f1.append(2 * len(said & right) / max(len(said) + len(right), 1))
        if len(record["right"]) != 1:
            continue
        truth = record["right"][0]
        briers.append(sum((x - (v == truth)) ** 2 for v, x in p.items()))
        best = max(p, key=lambda v: p[v])
        hits.append(best == truth)
        tops.append(p[best])
    hit, top = np.array(hits, dtype=float), np.array(tops)
    edges = np.array([0.0, 0.5, 0.7, 0.85, 0.95, 1.0 + 1e-9])
    bins = np.digitize(top, edges) - 1
    error = sum(
        (bins == k).mean() * abs(hit[bins == k].mean() - top[bins == k].mean())
        for k in range(len(edges) - 1) if (bins == k).any()
    )  # fmt: skip
    order = np.argsort(-top)
    risk = {
        f"risk at {share:.0%}": float(1 - hit[order[: max(1, round(share * len(hit)))]].mean())
        for share in (0.5, 0.8, 1.0)
    }
    return {"Brier": float(np.mean(briers)), "ECE": float(error), "set-F1": float(np.mean(f1)),
            "likeliest is right": float(hit.mean()), **risk}  # fmt: skip


def confusion(records: Sequence[Record], answers: Sequence[str]) -> pd.DataFrame:
    """Decisive cases: what is right by what was said."""
    rows = [
        (r["right"][0], a) for r, a in zip(records, answers, strict=True) if len(r["right"]) == 1
    ]
    frame = pd.DataFrame(rows, columns=["right", "said"])
    return pd.crosstab(frame["right"], frame["said"])
