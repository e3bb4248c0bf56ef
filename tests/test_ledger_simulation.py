"""The simulations of benchmarks/ledger.py, small: intervals cover, and `good` is earned."""

import importlib.util
import sys
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
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# entries whose truth the setting knows
CHEAP = {
    "too simple": {"reference", "approximation"},
    "over-regularised, 60 rows": {"reference"},
    "shifted test rows": {"reference", "mismatch"},
    "20 new groups": {"reference", "mismatch"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_intervals_cover_the_truth(simulation, name):
    lines = simulation.coverage(name, DRAWS)
    least = stats.binom.ppf(0.001, DRAWS, 0.90) / DRAWS
    assert {entry for _, entry, *_ in lines} >= CHEAP[name]
    assert all(hit >= least for *_, hit in lines)


def test_the_benchmark_keeps_what_is_done(simulation, tmp_path, capsys):
    path = str(tmp_path / "seen.json")
    assert simulation.Store(path).get("three", lambda: 3) == 3
    assert simulation.Store(path).get("three", lambda: pytest.fail("done already")) == 3
    capsys.readouterr()


@pytest.mark.slow
def test_good_is_not_said_of_nets_far_above_the_reference_on_40_rows(simulation):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        share, bad, _ = simulation.wrongly_good(12, 40)
    assert bad >= 8
    assert share * bad <= stats.binom.ppf(0.999, bad, 0.05)
