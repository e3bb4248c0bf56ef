"""A table in a file is learnt from without being read as a whole."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, batched_fits, checkpoints, diagnose
from sklearn_dl.diagnosis import from_files
from sklearn_dl.tabular import TabularEncoder, is_large, large
from sklearn_dl.training import DenseInputs, FileInputs, inputs, order
from sklearn_dl.training.inputs import SomeInputs
from sklearn_dl.training.order import Order, block_order

NET = PLAIN | {"hidden_layer_sizes": (8,), "random_state": 0, "max_epochs": 3}


@pytest.fixture
def small_is_large(monkeypatch):
    """Every array in a file is large, and is read in blocks of eight rows, four a window."""
    monkeypatch.setattr(large, "LARGE_BYTES", 0)
    monkeypatch.setattr(inputs, "PARTS", 2)
    monkeypatch.setattr(inputs, "WINDOW_BLOCKS", 4)
    monkeypatch.setattr(order, "WINDOW_BLOCKS", 4)
    monkeypatch.setattr(inputs, "WINDOW_BYTES", 8 * 4 * 5 * 8)


def in_a_file(folder, X):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def numbers(n, p=5, seed=0):
    """Two classes, sorted: the worst order there is."""
    rng = np.random.default_rng(seed)
    y = np.sort(rng.integers(0, 2, n))
    X = rng.normal(size=(n, p)) + y[:, None]
    X[rng.random(X.shape) < 0.02] = np.nan
    X[:, 1] = rng.integers(0, 4, n)
    return X, y


# which tables


def test_only_large_arrays_in_files_are_treated_so(tmp_path, monkeypatch):
    X, _ = numbers(50)
    mapped = in_a_file(tmp_path, X)
    assert not is_large(mapped)
    monkeypatch.setattr(large, "LARGE_BYTES", X.nbytes)
    assert is_large(mapped)
    assert is_large(np.asarray(mapped))
    assert not is_large(mapped[:40])
    monkeypatch.setattr(large, "LARGE_BYTES", 0)
    assert is_large(mapped[:40])
    assert not is_large(mapped[np.arange(40)])  # a copy
    assert not is_large(X)


def test_a_fit_in_one_batch_is_the_fit_of_rows_in_memory(tmp_path, small_is_large):
    X, y = numbers(60)
    network = DLClassifier(**NET | {"batch_size": 100, "categorical_features": [1]})
    weight = np.linspace(0, 1, 60)
    in_memory = clone(network).fit(X, y, sample_weight=weight)
    from_file = clone(network).fit(in_a_file(tmp_path, X), y, sample_weight=weight)
    for name, value in in_memory._state.items():
        assert_array_equal(from_file._state[name], value)


# rows


def encoded(tmp_path, X):
    encoder = TabularEncoder(categorical_features=[1]).fit(X)
    table = large.LargeTable(in_a_file(tmp_path, X))
    width, dtype = encoder.n_encoded_, np.dtype(np.float32)
    rows = FileInputs(table.read, encoder.transform_table, len(X), width, dtype)
    return rows, DenseInputs(torch.from_numpy(encoder.transform_table(X, np.float32)))


def test_rows_of_a_file_are_the_rows_of_the_table(tmp_path, small_is_large):
    X, _ = numbers(203)
    from_file, in_memory = encoded(tmp_path, X)
    chosen = torch.arange(0, 203, 3, dtype=torch.int32)
    pairs = [(from_file, in_memory), (SomeInputs(from_file, chosen), SomeInputs(in_memory, chosen))]
    for one, other in pairs:
        index = torch.randint(len(one), (500,), generator=torch.Generator().manual_seed(0))
        taken, wanted = (torch.empty(500, one.n_features) for _ in range(2))
        one.take(index, taken)
        other.take(index, wanted)
        assert torch.equal(taken, wanted)
        assert torch.equal(one.rows(10, 61), other.rows(10, 61))
    assert len(from_file._parts) <= 3 * inputs.WINDOW_BLOCKS * inputs.PARTS


@pytest.mark.parametrize("n", [1, 8, 31, 203, 1000])
def test_every_row_comes_once_an_epoch(n, small_is_large):
    generator = torch.Generator().manual_seed(n)
    rows = Order(n, generator, block_order(n + 5, 8, generator), 8)
    bounds = [0, *range(7, n, 30), n]
    served = [rows.part(a, b) for a, b in pairwise(bounds)]
    assert sorted(torch.cat(served).tolist()) == list(range(n))


def test_a_batch_mixes_rows_from_as_many_places_as_a_window_has_blocks(small_is_large):
    generator = torch.Generator().manual_seed(0)
    n, block = 8 * 100, 8
    rows = Order(n, generator, block_order(n, block, generator), block)
    windows = [rows.part(a, a + 32) for a in range(0, n, 32)]
    for window in windows:
        places = (window // block).unique()
        assert len(places) == 4
        assert places.diff().max() > 1  # from anywhere, not side by side
        assert (window.diff() != 1).float().mean() > 0.8


# fits


@pytest.mark.parametrize("labels", [[0, 1, 2], [1, 2, 3], ["a", "b", "c"]])
def test_labels_that_are_positions_are_not_copied_and_learnt_as_others(labels):
    codes = np.arange(9) % 3
    X, y = np.eye(9, dtype=np.float32), np.array(labels)[codes]
    net = DLClassifier(hidden_layer_sizes=(), max_epochs=1, random_state=0)
    before = y.copy()
    learnt = net.fit(X, y)._codes(y)
    np.testing.assert_array_equal(y, before)
    np.testing.assert_array_equal(learnt, codes)
    assert np.shares_memory(learnt, y) == (labels == [0, 1, 2])
    assert not np.shares_memory(net._codes(y[::-1]), y)
    with pytest.raises(ValueError, match="none of the classes"):
        net._codes(np.array([labels[0], labels[0] * 7 + labels[-1] * 2]))


def test_a_file_sorted_by_class_is_learnt_as_well_as_rows_in_memory(tmp_path, small_is_large):
    X, y = numbers(2000)
    new, truth = numbers(4000, seed=1)
    mapped = in_a_file(tmp_path, X)
    gaps = []
    for seed in range(5):
        network = DLClassifier(**NET | {"random_state": seed, "batch_size": 16})
        a, b = (clone(network).fit(rows, y).score(new, truth) for rows in (mapped, X))
        gaps.append(b - a)
    assert abs(np.mean(gaps)) < 0.01  # of an accuracy of 0.97; a window holds 32 of 2000 rows


@pytest.mark.parametrize("early_stopping", [False, True])
def test_members_and_held_out_rows_stay_in_the_file(tmp_path, small_is_large, early_stopping):
    X, y = numbers(400)
    network = DLRegressor(
        hidden_layer_sizes=(8,),
        n_members=2,
        early_stopping=early_stopping,
        random_state=0,
        batch_size=32,
        learning_rate=0.02,
    )
    network.fit(in_a_file(tmp_path, X), y + 0.0)
    assert network.history_["valid_loss"].notna().all()
    assert network.score(X, y + 0.0) > 0.5


def test_a_fit_from_a_file_goes_on_after_a_crash(tmp_path, small_is_large):
    X, y = numbers(300)
    mapped = in_a_file(tmp_path, X)
    network = DLClassifier(**NET | {"batch_size": 16, "max_epochs": 4})
    never = clone(network).fit(mapped, y)
    with checkpoints(tmp_path / "kept", every_epochs=1):
        clone(network).fit(mapped, y)
    with checkpoints(tmp_path / "kept") as kept:
        again = clone(network).fit(mapped, y)
    assert kept.reused == 1
    for name, value in never._state.items():
        assert_array_equal(again._state[name], value)


def test_fits_from_a_file_train_alone_in_batched_fits(tmp_path, small_is_large):
    X, y = numbers(300)
    mapped = in_a_file(tmp_path, np.nan_to_num(X))

    class Slices:
        """Folds that are slices, which stay in the file."""

        def __init__(self, network):
            self.network = network

        def __call__(self, part):
            return clone(self.network).fit(mapped[part], y[part]).score(X, y)

    from joblib import Parallel, delayed

    network = DLClassifier(**NET | {"batch_size": 16})
    parts = [slice(0, 300), slice(20, 280)]
    alone = [Slices(network)(part) for part in parts]
    with batched_fits() as batches:
        together = Parallel()(delayed(Slices(network))(part) for part in parts)
    assert batches.stacks == [1, 1]
    assert together == alone
    with batched_fits() as batches:
        cross_val_score(network, mapped, y, cv=2)  # scikit-learn copies its folds
    assert batches.stacks == [2]


def test_infinity_deep_in_a_file_is_found(tmp_path, small_is_large):
    X, y = numbers(300)
    X[290, 3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        DLClassifier(**NET).fit(in_a_file(tmp_path, X), y)


SCRIPT = """
import resource, sys
import numpy as np
from sklearn_dl import PLAIN, DLClassifier

def fit(X, y, **more):
    settings = {"hidden_layer_sizes": (4,), "max_epochs": 1, "batch_size": 2048, "random_state": 0}
    return DLClassifier(**PLAIN | settings | more).fit(X, y)

X = np.lib.format.open_memmap(sys.argv[1], "w+", np.float32, (73_728, 1024))
y = np.arange(len(X)) % 2
X[:, 0] = y  # all else is a hole in the file
X.flush()
X = np.load(sys.argv[1], mmap_mode="r")
fit(np.array(X[:100]), y[:100]).predict(np.array(X[:100]))
used = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmData" in line)
limit = used * 1024 + 192 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
network = fit(X, y, early_stopping=True)
assert network.predict(X).shape == y.shape
try:
    np.array(X)
except MemoryError:
    print("flat")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA bounds what Linux maps")
def test_memory_is_flat_in_rows(tmp_path):
    """192 MiB beside the interpreter suffice for a table of 288 MiB."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "X.npy")]
    done = subprocess.run(command, capture_output=True, timeout=200, check=False)
    assert done.stdout.decode().strip() == "flat", done.stderr.decode()[-2000:]


# diagnosis


def test_a_diagnosis_of_a_file_reads_some_rows_and_says_so(tmp_path, small_is_large, monkeypatch):
    monkeypatch.setattr(from_files, "FILE_ROWS", 150)
    X, y = numbers(600)
    mapped = in_a_file(tmp_path, np.nan_to_num(X))
    linear = LogisticRegression()
    found = diagnose(linear, mapped, y, cv=2, budget="quick", random_state=0)
    # each class keeps a row beside its share
    assert "diagnosed on 151 of its 600 rows" in " ".join(found.to_dict()["notes"])
    assert found.evidence["n"].max() <= 151
    with pytest.raises(ValueError, match="cv must be a number of folds or a splitter"):
        diagnose(linear, mapped, y, cv=[(np.arange(300), np.arange(300, 600))])
    whole = diagnose(linear, np.array(mapped), y, cv=2, budget="quick", random_state=0)
    assert "lies in a file" not in " ".join(whole.to_dict()["notes"])
