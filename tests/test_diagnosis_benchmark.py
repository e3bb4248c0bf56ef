"""The benchmark of the diagnosis on a few generated cases: do truth and verdict agree there?"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("planted", "counterfactuals", "rivals", "scoring", "diagnosis")
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    import diagnosis

    yield diagnosis
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(kept)


@pytest.mark.slow
def test_obvious_faults_are_true_and_found(benchmark, tmp_path):
    cache = tmp_path / "cache.jsonl"
    assert benchmark.main(["--small", "--cache", str(cache)]) == 0
    records = [json.loads(line) for line in cache.read_text("utf-8").splitlines()]
    truth = {r["key"][6:]: r["right"] for r in records if r["key"].startswith("truth|")}
    seen = {r["key"][5:]: r["verdict"] for r in records if r["key"].startswith("seen|")}
    assert set(truth) == set(seen)
    assert len(seen) == len(benchmark.SMALL)
    assert {case: said for case, said in seen.items() if said not in truth[case]} == {}
    before = cache.read_text("utf-8")
    benchmark.main(["--small", "--cache", str(cache)])
    assert cache.read_text("utf-8") == before  # a run that was stopped goes on


def test_the_held_out_tables_are_a_third_and_apart(benchmark):
    from planted import CONTROLS, EVERYTHING, FAULTS, GENERATED, HELD_OUT, PARTS, TUNED, plan

    assert len({name for part in PARTS.values() for name in part}) == sum(map(len, PARTS.values()))
    real = [name for name in (*TUNED, *HELD_OUT) if name not in GENERATED]
    assert len(real) >= 12
    assert len(FAULTS) >= 20
    chosen = plan(TUNED, per_fault=1)
    assert {fault for _, fault, _ in chosen} == set(EVERYTHING)
    assert {(f, level) for _, f, level in chosen if f in FAULTS} == {
        (f, level) for f in FAULTS for level in range(3)
    }
    assert sum(fault in CONTROLS for _, fault, _ in chosen) >= 40


def test_the_luck_of_the_rows_to_learn_is_no_training_gap(benchmark):
    import counterfactuals
    from planted import Case

    rng = np.random.RandomState(0)

    def rows(n):
        X = pd.DataFrame(rng.standard_normal((n, 2)), columns=["a", "b"])
        return X, X["a"].to_numpy() + rng.standard_normal(n)

    (X, y), fresh, pool = rows(200), rows(1000), rows(800)
    y[:2] = 30.0  # two far rows among those to learn
    case = Case("far", "far", "healthy", "good", 0, "regression", {}, X, y, *fresh, *pool)
    harder = counterfactuals.luck(case, counterfactuals.Judge(case))
    spared = np.arange(2, 200)
    expected = 2 * 30**2 / 200 / np.var(y)  # what these two add to the mean
    assert harder == pytest.approx(expected, rel=0.2)
    alike = replace(case, X=X.iloc[spared], y=y[spared])
    assert abs(counterfactuals.luck(alike, counterfactuals.Judge(alike))) < 0.2 * harder


def test_right_verdicts_follow_from_the_measured_gains(benchmark):
    from counterfactuals import right_verdicts

    truth = {
        "margin": 0.02, "F": 0.3, "A": 0.3, "B": 0.31, "C": None, "prior": 0.69, "gains": {},
        "A_optimization": 0.3, "A_model_bias": 0.0,
    }  # fmt: skip
    assert right_verdicts(truth) == ["good"]
    assert right_verdicts(truth | {"A": 0.6}) == ["optimization"]
    assert right_verdicts(truth | {"A": 0.6, "A_optimization": 0.59}) == ["model_bias"]
    both = right_verdicts(truth | {"A": 0.6, "A_optimization": 0.45})
    assert both == ["model_bias", "optimization"]
    heart = truth | {"A": 0.1, "B": 0.5, "gains": {"regularised": 0.15, "more rows": 0.15}}
    assert right_verdicts(heart) == ["overfitting"]
    moved = truth | {"C": 0.9, "gains": {"target rows": 0.5}}
    assert right_verdicts(moved) == ["mismatch"]
    assert right_verdicts(truth | {"F": 0.68, "A": 0.68, "B": 0.69}) == ["no_signal"]
