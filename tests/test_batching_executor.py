"""Are stacks trained by the workers of an executor the same, also when workers die?"""

import contextlib
import os
import signal
import threading
import time
import warnings
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import joblib
import numpy as np
import pytest
from joblib.externals import loky
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklearn_dl import PLAIN, DLClassifier, batched_fits
from sklearn_dl.batching.shipping import MAX_SHIPMENTS, n_workers

X, Y = load_iris(return_X_y=True)
X = np.tile(X, (4, 1))  # float32 would do; float64 makes equality the test
Y = np.tile(Y, 4)


def small(**options):
    plain = {**PLAIN, "hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0}
    return DLClassifier(**{**plain, "dtype": "float64", **options})


def probabilities(estimator, **options):
    """One search; every number of it in one array."""
    search = GridSearchCV(estimator, {"learning_rate": [1e-3, 1e-2]}, cv=5, **options)
    search.fit(X, Y)
    return np.append(search.cv_results_["mean_test_score"], search.predict_proba(X))


@pytest.fixture(scope="module")
def expected():
    return probabilities(small())


class Here(Executor):
    """Runs at once in the calling thread; the first calls fail in the way given.

    ``failures`` is a list of exceptions, one for each call that fails; ``refuse`` makes ``submit``
    itself raise from the given call on.
    """

    num_workers = 2

    def __init__(self, failures=(), refuse=10**9):
        self.failures = list(failures)
        self.refuse = refuse
        self.n_calls = 0

    def submit(self, function, /, *args, **kwargs):
        self.n_calls += 1
        if self.n_calls > self.refuse:
            raise BrokenProcessPool("no workers")
        future = Future()
        future.set_running_or_notify_cancel()
        if self.failures:
            future.set_exception(self.failures.pop(0))
        else:
            future.set_result(function(*args, **kwargs))
        return future


def test_stacks_go_to_all_workers_and_the_scores_are_the_same(expected):
    with ThreadPoolExecutor(2) as pool, batched_fits(executor=pool) as batches:
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert batches.stacks == [5, 5, 1]


def test_there_are_enough_tasks_for_every_worker_to_have_a_full_stack():
    with ThreadPoolExecutor(3) as pool, batched_fits(max_models=4, executor=pool) as batches:
        cross_val_score(small(), X, Y, cv=12)
    assert batches.stacks == [4, 4, 4]


@pytest.mark.parametrize(
    ("error", "n_failures"),
    [
        (BrokenProcessPool("killed"), 1),
        (CancelledError(), 2),
        (OSError("connection lost"), MAX_SHIPMENTS - 1),
    ],
)
def test_a_lost_stack_is_shipped_again(expected, error, n_failures):
    executor = Here([error] * n_failures)
    with batched_fits(executor=executor) as batches:
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert batches.stacks == [5, 5, 1]
    assert executor.n_calls == 3 + n_failures


def test_a_stack_lost_too_often_is_trained_here_and_a_warning_says_so(expected):
    executor = Here([BrokenProcessPool("killed")] * 6)  # both stacks, each time
    with batched_fits(executor=executor) as batches, pytest.warns(RuntimeWarning, match="killed"):
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert batches.stacks == [5, 5, 1]
    assert executor.n_calls == 2 * MAX_SHIPMENTS + 1


def test_an_executor_that_refuses_leaves_the_training_here(expected):
    with (
        batched_fits(executor=Here(refuse=0)),
        pytest.warns(RuntimeWarning, match="BrokenProcessPool: no workers"),
    ):
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)


def test_a_stack_too_large_for_a_worker_is_shipped_in_halves(expected):
    executor = Here([MemoryError()])
    with batched_fits(executor=executor) as batches:
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert sorted(batches.stacks) == [1, 2, 3, 5]


def test_an_error_of_one_fit_comes_back_to_it_alone():
    grid = {"learning_rate": [1e-2, 1e30]}
    search = GridSearchCV(small(optimizer="sgd"), grid, cv=3, error_score=-1.0, refit=False)
    with batched_fits(executor=Here()) as batches, pytest.warns(match="3 fits failed"):
        search.fit(X, Y)
    assert search.cv_results_["mean_test_score"][1] == -1.0
    assert search.cv_results_["mean_test_score"][0] > 0
    assert sum(batches.stacks) == 6


def test_fits_that_cannot_travel_are_trained_here():
    skorch_callbacks = pytest.importorskip("skorch.callbacks")
    executor = Here()
    with batched_fits(executor=executor) as batches:
        estimator = small(callbacks=[skorch_callbacks.EpochTimer()])
        cross_val_score(estimator, X, Y, cv=3)
    assert executor.n_calls == 0
    assert batches.stacks == [1, 1, 1]


def test_the_number_of_workers_is_read_where_the_executor_keeps_it():
    with ThreadPoolExecutor(3) as pool:
        assert n_workers(pool) == 3
    assert n_workers(Here()) == 2
    assert n_workers(Executor()) == 1


def test_ctrl_c_while_workers_train_ends_cleanly():
    class Never(Here):
        def submit(self, function, /, *args, **kwargs):
            self.future = Future()
            return self.future

    executor = Never()
    main = threading.main_thread().ident
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), batched_fits(executor=executor):
        cross_val_score(small(), X, Y, cv=5)
    timer.join()
    assert executor.future.cancelled()


# ---- real workers ----


def long():
    """Trains for some seconds in a stack of ten, so that a worker can be killed meanwhile."""
    return small(max_epochs=30, batch_size=8, tol=9.0)  # no warning that more would help


@pytest.fixture(scope="module")
def expected_of_long():
    return probabilities(long())


@contextlib.contextmanager
def killed(find_pid, after=0.3):
    """Kill by signal 9 the process that ``find_pid`` names as soon as it names one."""
    done = threading.Event()
    victims = []

    def kill():
        while not done.is_set():
            pid = find_pid()
            if pid is not None:
                time.sleep(after)
                os.kill(pid, signal.SIGKILL)
                victims.append(pid)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield victims
    finally:
        done.set()
        thread.join()


def loky_pool(n):
    return loky.ProcessPoolExecutor(n, context=loky.backend.get_context("loky"))


@pytest.mark.slow
def test_loky_trains_the_same(expected):
    with loky_pool(2) as pool, batched_fits(executor=pool) as batches:
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert batches.stacks == [5, 5, 1]


@pytest.mark.slow
def test_loky_with_a_worker_killed_in_the_middle_gives_the_same(expected_of_long):
    with loky_pool(2) as pool:
        pid = pool.submit(os.getpid).result()
        started = threading.Event()

        def victim():
            return pid if started.is_set() else None

        with killed(victim) as victims, batched_fits(executor=pool) as batches:
            started.set()
            with pytest.warns(RuntimeWarning, match="the executor did not train a stack"):
                scores = probabilities(long())
    assert victims == [pid]
    np.testing.assert_allclose(scores, expected_of_long, rtol=1e-8)
    assert sum(batches.stacks) == 11


@pytest.fixture(scope="module")
def client():
    """Two workers as docs/how_to_scale_out.md starts them for one GPU each."""
    distributed = pytest.importorskip("distributed")
    workers = {
        i: {
            "cls": distributed.Nanny,
            "options": {"nthreads": 1, "env": {"CUDA_VISIBLE_DEVICES": str(i)}},
        }
        for i in range(2)
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ports: not ours
        cluster = distributed.SpecCluster(workers=workers, scheduler=scheduler)
        client = distributed.Client(cluster)
        client.wait_for_workers(len(workers))
        yield client
        client.close()
        cluster.close()


def visible(client):
    """The GPUs that each worker would see; no machine needs to have any."""
    seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    return sorted(seen.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_trains_the_same(client, expected):
    with batched_fits(executor=client.get_executor()) as batches:
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert batches.stacks == [5, 5, 1]
    assert visible(client) == ["0", "1"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_with_a_worker_killed_in_the_middle_gives_the_same(client, expected_of_long):
    pids = client.run(os.getpid)

    def victim():
        busy = [address for address, keys in client.processing().items() if keys]
        return pids[busy[0]] if busy else None

    with killed(victim) as victims, batched_fits(executor=client.get_executor()) as batches:
        scores = probabilities(long())
    assert len(victims) == 1
    np.testing.assert_allclose(scores, expected_of_long, rtol=1e-8)
    assert batches.stacks == [5, 5, 1]
    client.wait_for_workers(2, timeout=60)
    assert visible(client) == ["0", "1"]  # the one that was started anew, too


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dasks_own_joblib_backend_works_as_before(client, expected):
    with joblib.parallel_config(backend="dask"):
        scores = probabilities(small())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
