"""The simulations of benchmarks/ledger.py, small: intervals cover, and `good` is earned."""

import importlib.util
import warnings
from pathlib import Path

import pytest
from scipy import stats

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "ledger.py"
DRAWS = 40


@pytest.fixture(scope="module")
def simulation():
    if not BENCHMARK.exists():
        pytest.skip("benchmarks are not here")
    spec = importlib.util.spec_from_file_location("ledger_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_intervals_of_independent_rows_cover_the_truth(simulation):
    simulation.SETTINGS.pop("new groups", None)
    table = simulation.coverage(DRAWS)
    least = stats.binom.ppf(0.001, DRAWS, 0.90) / DRAWS
    assert set(table["entry"]) == {"reference", "approximation", "estimation", "mismatch"}
    assert (table["coverage"] >= least).all()


@pytest.mark.slow
def test_good_is_not_said_of_nets_far_above_the_reference_on_40_rows(simulation):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        share, bad, _ = simulation.wrongly_good(12, 40)
    assert bad >= 8
    assert share * bad <= stats.binom.ppf(0.999, bad, 0.05)
