"""A fit that died goes on to the same bits, and no other fit is ever taken for it."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, batched_fits, checkpoints
from sklearn_dl.checkpointing.identity import UnidentifiableError, job_key
from sklearn_dl.checkpointing.store import Directory, StackProgress
from sklearn_dl.training import DivergenceError, keeper

PLAIN_NET = PLAIN | {"hidden_layer_sizes": (8,), "random_state": 0, "max_epochs": 6}


def table(n=120):
    X, y = load_breast_cancer(return_X_y=True)
    return X[:n, :6], y[:n]


@dataclass(frozen=True)
class Recording(Directory):
    """A directory that also keeps each state that was ever written."""

    def progress(self, keys):
        return RecordingProgress(self, tuple(keys))


class RecordingProgress(StackProgress):
    def save(self, state):
        super().save(state)
        shutil.copy(self.path, f"{self.path}.{self.epochs}")


def recording(path):
    kept = checkpoints(path, every_epochs=1)
    kept.directory = Recording(kept.directory.path, 1, None)
    return kept


def states(path):
    """Recorded files, those of the earliest epoch first."""
    return sorted(Path(path).glob("*.training.*"), key=lambda p: int(p.suffix[1:]))


def killed_after(path, state):
    """Leave the directory as it was when this state had just been written."""
    for file in (*path.glob("*.fit"), *path.glob("*.training")):
        file.unlink()
    shutil.copy(state, state.with_suffix(""))


def assert_same_network(one, other):
    for name, value in one._state.items():
        assert_array_equal(other._state[name], value, strict=True)
    columns = one.history_.columns.drop("seconds")
    assert one.history_[columns].equals(other.history_[columns])
    assert one.best_epoch_ == other.best_epoch_


def normalized(n_features, n_outputs):
    return nn.Sequential(
        nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
    )


# what a training may remember from epoch to epoch
REMEMBERS = {
    "the default ensemble": {"hidden_layer_sizes": (8,), "random_state": 0},
    "momentum and warm-up": PLAIN_NET | {"optimizer": "sgd", "schedule": "cosine", "warmup": 0.2},
    "plateau": PLAIN_NET
    | {"optimizer": "adagrad", "schedule": "plateau", "n_iter_no_change": 1, "tol": 0.05},
    "early stopping": PLAIN_NET
    | {"early_stopping": True, "max_epochs": 40, "n_iter_no_change": 3, "learning_rate": 0.05},
    "dropout and augmentation": PLAIN_NET
    | {"optimizer": "rmsprop", "momentum": 0.5, "dropout": 0.3, "augmentation": "noise"},
    "running averages": PLAIN_NET | {"optimizer": "adam", "normalization": "batch"},
    "a module of one's own": PLAIN_NET | {"module": normalized},
    "torch's optimizer": PLAIN_NET | {"optimizer": torch.optim.NAdam, "dtype": "float64"},
    "an optimizer of layers": PLAIN_NET
    | {"optimizer": torch.optim.LBFGS, "learning_rate": 0.1, "batch_size": 200},
}


@pytest.mark.parametrize("remembers", REMEMBERS)
def test_a_resumed_fit_ends_with_the_same_bits(remembers, tmp_path):
    X, y = table()
    network = DLClassifier(**{"batch_size": 32} | REMEMBERS[remembers])
    never = clone(network).fit(X, y)
    with recording(tmp_path):
        assert_same_network(never, clone(network).fit(X, y))
    written = states(tmp_path)
    for state in (written[0], written[len(written) // 2], written[-1]):
        killed_after(tmp_path, state)
        with checkpoints(tmp_path) as kept:
            assert_same_network(never, clone(network).fit(X, y))
        assert (kept.trained, kept.resumed, kept.reused) == (0, 1, 0)
        assert not list(tmp_path.glob("*.training"))


@pytest.mark.parametrize("rates", [[0.02], [0.01, 0.02, 0.04, 0.08, 0.16, 0.32]])
def test_a_resumed_stack_ends_with_the_same_bits(rates, tmp_path):
    X, y = table(200)
    network = DLClassifier(
        **PLAIN_NET
        | {"early_stopping": True, "schedule": "cosine", "dropout": 0.2, "batch_size": 16}
        | {"max_epochs": 14, "n_iter_no_change": 1, "learning_rate": 0.05},
    )

    def fitted():
        """Folds of several lengths, each at several rates: some end long before the others."""
        found = []
        with batched_fits() as batches:
            grid = GridSearchCV(network, {"learning_rate": rates}, cv=KFold(5), refit=False)
            cross = cross_validate(network, X, y, cv=KFold(7), return_estimator=True)
            found += cross["estimator"]
            scores = grid.fit(X, y).cv_results_["mean_test_score"]
        return found, scores, batches.stacks

    networks, scores, stacks = fitted()
    assert len({n.n_iter_ for n in networks}) > 2  # the stack was rebuilt, and held ended models
    with recording(tmp_path):
        fitted()
    written = states(tmp_path)
    for state in written[:: max(1, len(written) // 4)]:
        killed_after(tmp_path, state)
        with checkpoints(tmp_path) as kept:
            again, same_scores, same_stacks = fitted()
        assert kept.resumed in (7, 5 * len(rates))
        assert same_stacks == stacks
        assert_array_equal(same_scores, scores)
        for one, other in zip(networks, again, strict=True):
            assert_same_network(one, other)


SCRIPT = """
import os, signal, sys
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn_dl import PLAIN, DLClassifier, batched_fits, checkpoints

written, fsync = 0, os.fsync

def dies_of_the_last(descriptor):
    global written
    written += 1
    if written == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = dies_of_the_last
X, y = load_breast_cancer(return_X_y=True)
net = DLClassifier(**PLAIN | {"hidden_layer_sizes": (8,), "max_epochs": 8, "dropout": 0.2})
net.set_params(random_state=0, schedule="cosine")
search = GridSearchCV(net, {"learning_rate": [1e-3, 1e-2]}, cv=3)
with checkpoints(sys.argv[1], every_epochs=2):
    if sys.argv[2] == "batched":
        with batched_fits():
            search.fit(X, y)
    else:
        search.fit(X, y)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX")
@pytest.mark.parametrize(
    ("how", "n_writes", "done", "resumed"),
    # a fit writes after epochs 2, 4 and 6 (8 is the last), then its result
    [("one by one", 11, 2, 1), ("batched", 3, 0, 6)],
)
def test_kill_9_in_a_search_repeats_no_finished_fit(how, n_writes, done, resumed, tmp_path):
    directory = tmp_path / "kept"
    died = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(directory), how, str(n_writes)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert len(list(directory.glob("*.fit"))) == done
    assert len(list(directory.glob(".*.part"))) == 1  # it died before the file was whole
    X, y = load_breast_cancer(return_X_y=True)
    net = DLClassifier(**PLAIN | {"hidden_layer_sizes": (8,), "max_epochs": 8, "dropout": 0.2})
    net.set_params(random_state=0, schedule="cosine")

    def search():
        grid = GridSearchCV(net, {"learning_rate": [1e-3, 1e-2]}, cv=3)
        if how == "one by one":
            return grid.fit(X, y)
        with batched_fits():
            return grid.fit(X, y)

    with checkpoints(directory, every_epochs=2) as kept:
        again = search()
    assert (kept.reused, kept.resumed) == (done, resumed)
    assert kept.reused + kept.resumed + kept.trained == 2 * 3 + 1
    never = search()
    assert_same_network(never.best_estimator_, again.best_estimator_)
    for name, column in never.cv_results_.items():
        if "time" not in name:
            assert_array_equal(again.cv_results_[name], column)
    assert not list(directory.glob(".*.part"))


def test_a_search_through_a_pipeline_trains_only_what_is_new(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), DLRegressor(**PLAIN_NET))

    def search(rates):
        grid = {"dlregressor__learning_rate": rates}
        with checkpoints(tmp_path) as kept, batched_fits():
            found = GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, y)
        return found.cv_results_["mean_test_score"], kept

    scores, kept = search([1e-3, 1e-2])
    assert (kept.trained, kept.reused) == (6, 0)
    more, kept = search([1e-3, 1e-2, 1e-1])
    assert (kept.trained, kept.reused) == (3, 6)
    assert_array_equal(more[:2], scores)


def test_a_worker_of_an_executor_keeps_its_stack(tmp_path):
    X, y = table()
    with ThreadPoolExecutor(1) as executor, checkpoints(tmp_path, every_epochs=1) as kept:
        assert pickle.loads(pickle.dumps(kept.directory)) == kept.directory
        with batched_fits(executor=executor):
            cross_validate(DLClassifier(**PLAIN_NET), X, y, cv=3)
    assert kept.trained == len(list(tmp_path.glob("*.fit"))) == 3


# identity


def key_of(network, X, y, **fit):
    """The key of the job that this fit makes."""
    found = []

    def look(job, train):
        found.append(job_key(job))
        return train(job)

    token = keeper.set(look)
    try:
        network.fit(X, y, **fit)
    finally:
        keeper.reset(token)
    return found[0]


def test_any_change_makes_another_fit():
    X, y = table()
    moved, flipped = X.copy(), y.copy()
    moved[7, 3] = np.nextafter(moved[7, 3], np.inf)
    flipped[5] = 1 - flipped[5]
    base = DLClassifier(**PLAIN_NET | {"max_epochs": 1, "dtype": "float64"})
    changed = [
        {name: value}
        for name, value in {
            "hidden_layer_sizes": (9,),
            "activation": "tanh",
            "normalization": "layer",
            "dropout": 0.1,
            "loss": "mse",
            "label_smoothing": 0.1,
            "optimizer": "sgd",
            "learning_rate": 0.002,
            "momentum": 0.8,
            "rms_decay": 0.99,
            "weight_decay": 1e-4,
            "max_grad_norm": 1.0,
            "schedule": "step",
            "warmup": 0.1,
            "batch_size": 31,
            "max_epochs": 2,
            "early_stopping": True,
            "augmentation": "noise",
            "preprocessing": "auto",
            "random_state": 1,
            "dtype": "float32",
            "class_weight": "balanced",
            "n_members": 2,
        }.items()
    ]
    keys = [key_of(clone(base), X, y)]
    assert key_of(clone(base), X, y) == keys[0]
    assert key_of(clone(base).set_params(verbose=True), X, y) == keys[0]
    keys += [key_of(clone(base).set_params(**one), X, y) for one in changed]
    keys += [key_of(clone(base), moved, y), key_of(clone(base), X, flipped)]
    keys += [key_of(clone(base), X, y, sample_weight=np.linspace(1, 2, len(y)))]
    keys += [key_of(clone(base), X, y, X_val=X[:20], y_val=y[:20])]
    keys += [key_of(clone(base).fit(X, y).set_params(warm_start=True), X, y)]
    assert len(set(keys)) == len(keys)


def test_rows_held_in_any_way_are_the_same_rows():
    import scipy.sparse as sp

    X, y = table()
    network = DLClassifier(**PLAIN_NET | {"max_epochs": 1})
    assert key_of(clone(network), X, y) == key_of(clone(network), sp.csr_array(X), y)


CODE = """
import torch
SCALE = {scale}

def helper(t):
    return t {sign} 1

class Fall:
    def __init__(self, power):
        self.power = power
    def __call__(self, t):
        return SCALE * abs(helper(t)) ** self.power

schedules = [Fall({power}), lambda t: {scale} * helper(0.5 * t) ** 2 if t < 2 else 0.0]
"""


def schedules(**values):
    names = {"__name__": "users_module"}
    exec(CODE.format(**{"scale": 1.0, "sign": "-", "power": 2} | values), names)
    return names["schedules"]


@pytest.mark.parametrize("i", [0, 1])
def test_a_callable_is_recognised_by_its_code(i):
    X, y = table()
    network = DLClassifier(**PLAIN_NET | {"max_epochs": 1})

    def key(**values):
        return key_of(clone(network).set_params(schedule=schedules(**values)[i]), X, y)

    same, scaled, helped = key(), key(scale=0.5), key(sign="- 0 -")
    assert key() == same
    assert len({same, scaled, helped}) == 3
    assert (key(power=3) != same) == (i == 0)


def test_what_cannot_be_told_is_trained_and_not_kept(tmp_path):
    X, y = table()
    drawn = np.random.default_rng(0)

    def unsteady(progress):
        return drawn.random()

    class Quiet(Callback):
        pass

    network = DLClassifier(**PLAIN_NET | {"max_epochs": 1})
    for name, value, why in [
        ("schedule", unsteady, "is or holds a Generator"),
        ("schedule", drawn.uniform, "is or holds a"),
        ("callbacks", [Quiet()], "what its callbacks have seen"),
        ("random_state", None, "random_state=None"),
    ]:
        with checkpoints(tmp_path) as kept:
            with pytest.warns(UserWarning, match=f"a fit is not checkpointed: .*{why}"):
                clone(network).set_params(**{name: value}).fit(X, y)
            clone(network).set_params(**{name: value}).fit(X, y)  # said once
        assert (kept.trained, list(tmp_path.iterdir())) == (0, [])
    with pytest.raises(UnidentifiableError):
        key_of(clone(network).set_params(schedule=unsteady), X, y)


# what can go wrong


def _cut(data):
    return data[: len(data) // 2]


def _flipped(data):
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def _foreign(data):
    return b"PK\x03\x04 something else"


@pytest.mark.parametrize("damage", [_cut, _flipped, _foreign])
def test_a_damaged_file_is_left_aside(damage, tmp_path):
    X, y = table()
    network = DLClassifier(**PLAIN_NET)
    with recording(tmp_path):
        first = clone(network).fit(X, y)
    (result,) = tmp_path.glob("*.fit")
    result.write_bytes(damage(result.read_bytes()))
    with (
        checkpoints(tmp_path) as kept,
        pytest.warns(UserWarning, match=f"{result.name} is left aside"),
    ):
        assert_same_network(first, clone(network).fit(X, y))
    assert kept.trained == 1
    state = states(tmp_path)[2]
    state.write_bytes(damage(state.read_bytes()))
    killed_after(tmp_path, state)
    with (
        checkpoints(tmp_path) as kept,
        pytest.warns(UserWarning, match=r"\.training is left aside"),
    ):
        assert_same_network(first, clone(network).fit(X, y))
    assert (kept.trained, kept.resumed) == (1, 0)
    with warnings.catch_warnings(), checkpoints(tmp_path) as kept:
        warnings.simplefilter("error")
        assert_same_network(first, clone(network).fit(X, y))
    assert kept.reused == 1


def test_the_state_of_another_fit_is_not_taken(tmp_path):
    X, y = table()
    network = DLClassifier(**PLAIN_NET)
    with recording(tmp_path):
        clone(network).fit(X, y)
        other = clone(network).set_params(random_state=1).fit(X, y)
    one, two = (file for file in tmp_path.glob("*.training.3"))
    killed_after(tmp_path, one)
    shutil.copy(one, two.with_suffix(""))
    shutil.copy(two, one.with_suffix(""))
    with (
        checkpoints(tmp_path) as kept,
        pytest.warns(UserWarning, match="it belongs to another fit"),
    ):
        assert_same_network(other, clone(network).set_params(random_state=1).fit(X, y))
    assert kept.resumed == 0


def test_a_divergence_is_remembered(tmp_path):
    X, y = table()
    network = DLClassifier(**PLAIN_NET | {"optimizer": "sgd", "learning_rate": 1e30})
    messages = []
    for _ in range(2):
        with checkpoints(tmp_path) as kept, pytest.raises(DivergenceError) as caught:
            network.fit(X, y)
        messages.append(str(caught.value))
        assert network.predict(X).shape == y.shape
    assert messages[0] == messages[1]
    assert kept.reused == 1


def test_a_full_disk_does_not_end_the_training(tmp_path):
    X, y = table()
    network = DLClassifier(**PLAIN_NET)
    first = clone(network).fit(X, y)
    with checkpoints(tmp_path / "gone", every_epochs=3) as kept:
        (tmp_path / "gone").rmdir()
        with pytest.warns(UserWarning, match="no checkpoint was written"):
            assert_same_network(first, clone(network).fit(X, y))
    assert kept.trained == 1


def test_what_cannot_be_read_or_removed_does_not_end_the_training(tmp_path, monkeypatch):
    X, y = table()
    network = DLClassifier(**PLAIN_NET)
    unlink = Path.unlink

    def refusing(path, **options):
        if path.suffix == ".training":
            raise PermissionError("read-only")
        unlink(path, **options)

    with monkeypatch.context() as disk, checkpoints(tmp_path, every_epochs=1) as kept:
        disk.setattr(Path, "unlink", refusing)
        first = clone(network).fit(X, y)
    assert kept.trained == 1
    (state,), (result,) = tmp_path.glob("*.training"), tmp_path.glob("*.fit")
    for file in (state, result):
        file.unlink()
        file.mkdir()
    with checkpoints(tmp_path, every_seconds=np.float32(9)) as kept, pytest.warns() as told:
        assert_same_network(first, clone(network).fit(X, y))
    assert kept.trained == 1
    for name in (state.name, result.name):
        assert any(f"{name} is left aside" in str(warning.message) for warning in told)


def test_ctrl_c_leaves_the_checkpoint_and_no_result(tmp_path):
    X, y = table()
    network = DLClassifier(**PLAIN_NET | {"max_epochs": 8})
    never = clone(network).fit(X, y)

    @dataclass(frozen=True)
    class Interrupted(Directory):
        def progress(self, keys):
            return InterruptedProgress(self, tuple(keys))

    class InterruptedProgress(StackProgress):
        def save(self, state):
            super().save(state)
            if self.epochs == 4:
                os.kill(os.getpid(), signal.SIGINT)

    with checkpoints(tmp_path, every_epochs=2) as kept:
        kept.directory = Interrupted(kept.directory.path, 2, None)
        with pytest.warns(UserWarning, match="training was interrupted after 4 epochs"):
            clone(network).fit(X, y)
    assert [file.suffix for file in tmp_path.iterdir()] == [".training"]
    with checkpoints(tmp_path) as kept:
        assert_same_network(never, clone(network).fit(X, y))
    assert kept.resumed == 1


def test_outside_the_context_nothing_is_kept(tmp_path):
    X, y = table()
    network = DLClassifier(**PLAIN_NET)
    with checkpoints(tmp_path / "outer") as outer:
        with checkpoints(tmp_path / "inner") as inner:
            network.fit(X, y)
        clone(network).fit(X, y)
    clone(network).fit(X, y)
    assert (outer.trained, inner.trained) == (1, 1)
    assert keeper.get() is None


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"every_epochs": 0}, ValueError, "every_epochs must be at least 1, got 0"),
        ({"every_epochs": 1.5}, TypeError, "every_epochs must be an integer or None, got 1.5"),
        ({"every_epochs": True}, TypeError, "every_epochs must be an integer or None, got True"),
        ({"every_seconds": -1}, ValueError, "every_seconds must be finite and >= 0, got -1"),
        ({"every_seconds": "60"}, TypeError, "every_seconds must be a number or None, got '60'"),
        ({"directory": __file__}, NotADirectoryError, "needs a directory, but .* is a file"),
    ],
)
def test_wrong_settings_are_named(given, error, message, tmp_path):
    with pytest.raises(error, match=message):
        checkpoints(**{"directory": tmp_path} | given)
