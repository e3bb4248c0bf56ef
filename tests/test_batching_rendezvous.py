"""Do fits that scikit-learn asks for together meet, and does nothing hang, leak or change?

The estimator here is a nearest-centroid classifier whose fit asks for training as a network's does,
so that hundreds of fits cost milliseconds and every stack can be predicted.
"""

import contextlib
import faulthandler
import os
import random
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFECV, SequentialFeatureSelector
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    PredefinedSplit,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from sklearn_dl.batching import batched_fits as real_batched_fits
from sklearn_dl.batching.memory import argument_bytes, available_memory, task_budget
from sklearn_dl.batching.stacks import Grouping, stack_size
from sklearn_dl.batching.turns import THREAD_NAME
from sklearn_dl.training import train_alone, trainer

X, Y = load_iris(return_X_y=True)


# ---- an estimator that waits for its training, and who trains it ----


@dataclass
class Job:
    """What a fit asks for."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    stack_key: object = "centroids"
    fails: str | None = None
    seconds: float = 0.0
    n_parameters: int = 15
    portable: bool = True
    batch_size: int = 32
    device: torch.device = torch.device("cpu")
    max_epochs: int = 1

    @property
    def n_rows(self):
        return len(self.X)

    @property
    def nbytes(self):
        return self.X.nbytes

    @property
    def step_flops(self):
        return 6.0 * self.batch_size * self.n_parameters


@dataclass
class Result:
    """Centroids (n_classes, n_features), or why there are none."""

    centroids: np.ndarray | None = None
    error: Exception | None = None
    thread: int = field(default_factory=threading.get_ident)


#: Stacks larger than this do not fit into memory.
ROOM = threading.local()


def train_centroids(jobs):
    if len(jobs) > getattr(ROOM, "models", 10**9):
        raise MemoryError("no room")
    time.sleep(max(job.seconds for job in jobs))
    if any(job.fails == "training" for job in jobs):
        raise ArithmeticError("the whole stack fails for one")
    if any(job.fails == "interrupt" for job in jobs):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(5)
    return [train_one(job) for job in jobs]


def train_one(job):
    if job.fails == "divergence":
        return Result(error=FloatingPointError("diverged"))
    classes = np.unique(job.y)
    means = [np.average(job.X[job.y == k], axis=0, weights=job.weight[job.y == k]) for k in classes]
    return Result(np.array(means))


class Centroids(ClassifierMixin, BaseEstimator):
    def __init__(
        self,
        key="centroids",
        shift=0.0,
        fails=None,
        fails_without=None,
        seconds=0.0,
        n_parameters=15,
    ):
        self.key = key
        self.shift = shift
        self.fails = fails
        self.fails_without = fails_without
        self.seconds = seconds
        self.n_parameters = n_parameters

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight) + 1e-9
        fails = self.fails
        if self.fails_without is not None and (self.fails_without == X).all(axis=1).any():
            fails = None  # only the fold that leaves this row out fails
        if fails == "fit":
            raise ArithmeticError("this fit fails")
        job = Job(X, codes, weight, self.key, fails, self.seconds, self.n_parameters)
        train = trainer.get()
        (result,) = train_centroids([job]) if train is train_alone else [train(job)]
        if result.error is not None:
            raise result.error
        self.centroids_ = result.centroids + self.shift
        self.thread_ = result.thread
        return self

    def decision_function(self, X):
        X = validate_data(self, X, reset=False)
        distance = ((X[:, None] - self.centroids_) ** 2).sum(axis=2)
        return distance[:, 0] - distance[:, 1] if len(self.classes_) == 2 else -distance

    def predict_proba(self, X):
        X = validate_data(self, X, reset=False)
        p = np.exp(-((X[:, None] - self.centroids_) ** 2).sum(axis=2)) + 1e-12
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class batched_fits(real_batched_fits):  # noqa: N801
    _train = staticmethod(train_centroids)


# ---- a hang is a failure ----

LIMIT = 120  # seconds; far above what any test takes on a busy machine


@pytest.fixture(autouse=True)
def watchdog():
    """After LIMIT seconds show every thread's stack and fail; a minute later end the run."""

    def bite(*_):
        faulthandler.dump_traceback(all_threads=True)
        raise TimeoutError(f"no end after {LIMIT} s")

    handler = signal.signal(signal.SIGALRM, bite)
    signal.alarm(LIMIT)
    faulthandler.dump_traceback_later(LIMIT + 60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    assert not [t for t in threading.enumerate() if t.name == THREAD_NAME]
    config = getattr(joblib.parallel._backend, "config", joblib.parallel.default_parallel_config)
    assert config is joblib.parallel.default_parallel_config


# ---- scikit-learn's callers ----

GRID = {"shift": np.linspace(0, 1, 20)}
SMALL = {"shift": [0.0, 0.5]}


def scores_of(search):
    return search.cv_results_["mean_test_score"], search.best_params_["shift"]


def grid(estimator, **options):
    return scores_of(GridSearchCV(estimator, GRID, **{"cv": 5, **options}).fit(X, Y))


def in_pipeline():
    steps = make_pipeline(StandardScaler(), Centroids())
    search = GridSearchCV(steps, {"centroids__shift": np.linspace(0, 1, 20)}, cv=5).fit(X, Y)
    return search.cv_results_["mean_test_score"]


def halving():
    search = HalvingGridSearchCV(Centroids(), GRID, cv=3, random_state=0, min_resources=30)
    return scores_of(search.fit(X, Y))


def permutations():
    return permutation_test_score(Centroids(), X, Y, n_permutations=100, cv=3, random_state=0)


# caller, stacks with max_models=128 (None: stated elsewhere)
CALLERS = {
    "cross_val_score": (lambda: cross_val_score(Centroids(), X, Y, cv=5), [5]),
    "cross_validate": (
        lambda: cross_validate(Centroids(), X, Y, cv=5, return_train_score=True)["train_score"],
        [5],
    ),
    "cross_val_predict": (lambda: cross_val_predict(Centroids(), X, Y, cv=5), [5]),
    "GridSearchCV": (lambda: grid(Centroids()), [100, 1]),
    "GridSearchCV of a Pipeline": (in_pipeline, [100, 1]),
    "GridSearchCV in a Pipeline": (
        lambda: (
            make_pipeline(StandardScaler(), GridSearchCV(Centroids(), GRID, cv=5))
            .fit(X, Y)
            .predict(X)
        ),
        [100, 1],
    ),
    "RandomizedSearchCV": (
        lambda: scores_of(
            RandomizedSearchCV(Centroids(), GRID, n_iter=7, cv=5, random_state=0).fit(X, Y)
        ),
        [35, 1],
    ),
    "HalvingGridSearchCV": (halving, [60, 21, 1]),
    "GridSearchCV in cross_val_score": (
        lambda: cross_val_score(GridSearchCV(Centroids(), SMALL, cv=5), X, Y, cv=5),
        [50, 5],
    ),
    "learning_curve": (
        lambda: learning_curve(Centroids(), X, Y, cv=5, shuffle=True, random_state=0)[2],
        [25],
    ),
    "validation_curve": (
        lambda: validation_curve(
            Centroids(), X, Y, cv=5, param_name="shift", param_range=[0, 1, 2]
        )[1],
        [15],
    ),
    "permutation_test_score": (permutations, [1, 1, 1, 100, 100, 100]),
    "StackingClassifier": (
        lambda: (
            StackingClassifier([("a", Centroids()), ("b", Centroids(shift=1.0))], cv=5)
            .fit(X, Y)
            .predict_proba(X)
        ),
        [2, 10],
    ),
    "VotingClassifier": (
        lambda: (
            VotingClassifier([(c, Centroids(shift=i)) for i, c in enumerate("abc")])
            .fit(X, Y)
            .predict(X)
        ),
        [3],
    ),
    "BaggingClassifier": (
        lambda: (
            BaggingClassifier(Centroids(), n_estimators=10, random_state=0)
            .fit(X, Y)
            .predict_proba(X)
        ),
        [10],
    ),
    "CalibratedClassifierCV": (
        lambda: CalibratedClassifierCV(Centroids(), cv=5, ensemble=True).fit(X, Y).predict_proba(X),
        [5],
    ),
    "OneVsRestClassifier": (
        lambda: OneVsRestClassifier(Centroids()).fit(X, Y).predict(X),
        [3],
    ),
    "OneVsOneClassifier": (lambda: OneVsOneClassifier(Centroids()).fit(X, Y).predict(X), [3]),
    "MultiOutputClassifier": (
        lambda: MultiOutputClassifier(Centroids()).fit(X, np.c_[Y, Y == 1]).predict(X),
        [2],
    ),
    "ClassifierChain": (
        lambda: ClassifierChain(Centroids(), cv=None).fit(X, np.c_[Y > 0, Y > 1]).predict(X),
        [1, 1],
    ),
    "SequentialFeatureSelector": (
        lambda: (
            SequentialFeatureSelector(Centroids(), n_features_to_select=2, cv=5)
            .fit(X, Y)
            .get_support()
        ),
        [5] * 7,
    ),
}


def flat(value):
    parts = value if isinstance(value, tuple) else (value,)
    return np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in parts])


@pytest.mark.parametrize("name", CALLERS)
def test_a_caller_gives_the_same_and_its_fits_meet(name):
    call, stacks = CALLERS[name]
    alone = call()
    with batched_fits(max_models=128) as batches:
        together = call()
    np.testing.assert_array_equal(flat(together), flat(alone))
    assert batches.stacks == stacks


@pytest.mark.parametrize("name", sorted(set(CALLERS) - {"permutation_test_score"}))
@pytest.mark.parametrize("max_models", [3])
def test_little_room_changes_the_stacks_and_not_the_results(name, max_models):
    call, stacks = CALLERS[name]
    with batched_fits(max_models=max_models) as batches:
        together = call()
    # Bagging sums probabilities job by job, so its last bit depends on the number of jobs.
    np.testing.assert_allclose(flat(together), flat(call()), rtol=1e-14)
    assert max(batches.stacks) == min(max_models, max(stacks))
    assert sum(batches.stacks) == sum(stacks)


def test_a_grid_of_100_in_stacks_of_64_is_two_stacks_and_the_refit():
    with batched_fits() as batches:
        grid(Centroids())
    assert batches.stacks == [64, 36, 1]


def test_nested_searches_share_stacks_across_outer_folds():
    search = GridSearchCV(Centroids(), {"shift": np.arange(9.0)}, cv=5)
    with batched_fits(max_models=64) as batches:
        cross_val_score(search, X, Y, cv=5)
    assert sum(batches.stacks) == 5 * (9 * 5 + 1)
    assert batches.stacks[:3] == [64, 64, 64]


def test_equal_programs_form_equal_stacks():
    def run():
        search = GridSearchCV(Centroids(), {"key": ["a", "b"], "shift": np.arange(3.0)}, cv=3)
        with batched_fits(max_models=16) as batches:
            cross_val_score(search, X, Y, cv=5)
        return batches.stacks

    assert all(run() == run() for _ in range(2))


def test_only_equal_keys_share_a_stack_and_none_is_alone():
    search = GridSearchCV(Centroids(), {"key": ["a", "b", None]}, cv=5, refit=False)
    with batched_fits() as batches:
        search.fit(X, Y)
    assert sorted(batches.stacks) == [1] * 5 + [5, 5]


# ---- n_jobs and joblib's other options ----


@pytest.mark.parametrize(
    ("n_jobs", "stacks"), [(None, [5]), (-1, [5]), (2, [5]), (64, [5]), (1, [1] * 5)]
)
def test_n_jobs_one_is_the_plain_loop_and_others_meet(n_jobs, stacks):
    with batched_fits() as batches:
        scores = cross_val_score(Centroids(), X, Y, cv=5, n_jobs=n_jobs)
    np.testing.assert_array_equal(scores, cross_val_score(Centroids(), X, Y, cv=5))
    assert batches.stacks == stacks


def busy_now(counter, seconds=0.02):
    with counter["lock"]:
        counter["now"] += 1
        counter["most"] = max(counter["most"], counter["now"])
    time.sleep(seconds)
    with counter["lock"]:
        counter["now"] -= 1


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_n_jobs_is_how_many_tasks_compute_at_a_time(n_jobs):
    counter = {"lock": threading.Lock(), "now": 0, "most": 0}
    with batched_fits():
        joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(busy_now)(counter) for _ in range(8))
    assert counter["most"] == (1 if n_jobs is None else min(2, joblib.cpu_count()))


def test_zero_jobs_is_refused():
    with batched_fits(), pytest.raises(ValueError, match="n_jobs == 0"):
        cross_val_score(Centroids(), X, Y, n_jobs=0)


@pytest.mark.parametrize("pre_dispatch", [1, 3, "n_jobs", "2*n_jobs", "all"])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_pre_dispatch_is_honoured(pre_dispatch, n_jobs):
    with batched_fits(max_models=8) as batches:
        grid(Centroids(), pre_dispatch=pre_dispatch, n_jobs=n_jobs, refit=False)
    assert sum(batches.stacks) == 100
    most = pre_dispatch if isinstance(pre_dispatch, int) else 8
    assert max(batches.stacks) == most


def fit_once(shift):
    return Centroids(shift=shift).fit(X, Y).centroids_[0, 0]


def test_tasks_of_one_batch_run_one_after_another():
    with batched_fits(max_models=4) as batches:
        joblib.Parallel(batch_size=3)(joblib.delayed(fit_once)(i) for i in range(12))
    assert batches.stacks == [4, 4, 4]


def test_one_parallel_object_can_be_called_again_also_after_an_error():
    with batched_fits() as batches, joblib.Parallel() as parallel:
        parallel(joblib.delayed(fit_once)(i) for i in range(3))
        with pytest.raises(TypeError):
            parallel(joblib.delayed(fit_once)(i) for i in (1, "no number", 2))
        parallel(joblib.delayed(fit_once)(i) for i in range(4))
    assert batches.stacks == [3, 3, 4]


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_generators_are_refused_by_joblib(return_as):
    with batched_fits(), pytest.raises(ValueError, match="does not support return_as"):
        joblib.Parallel(return_as=return_as)


def test_verbose_reports_progress(capfd):
    with batched_fits():
        cross_val_score(Centroids(), X, Y, cv=5, verbose=11)
    captured = capfd.readouterr()
    assert "5 out of   5" in captured.err + captured.out


def test_an_empty_call_returns_nothing():
    with batched_fits():
        assert joblib.Parallel()(joblib.delayed(abs)(i) for i in ()) == []


def test_fits_made_while_tasks_are_dispatched_train_at_once():
    # joblib holds a lock of the call then: waiting would hang it.
    def tasks():
        for i in range(150):
            shift = fit_once(i)
            (nested,) = joblib.Parallel()(joblib.delayed(fit_once)(i) for i in (shift,))
            yield joblib.delayed(fit_once)(nested)

    with batched_fits(max_models=8) as batches:
        joblib.Parallel()(tasks())
    assert sum(batches.stacks) == 450
    assert max(batches.stacks) == 8


def test_an_error_in_the_generator_of_tasks_reaches_the_caller():
    def tasks(n):
        for i in range(n):
            yield joblib.delayed(fit_once)(i)
        raise LookupError("no more")

    for n in (0, 1, 5, 40):
        with batched_fits(max_models=4), pytest.raises(LookupError, match="no more"):
            joblib.Parallel()(tasks(n))


# ---- entering and leaving ----


def test_a_plain_fit_trains_at_once():
    with batched_fits() as batches:
        for i in range(3):
            Centroids().fit(X, Y)
            assert batches.stacks == [1] * (i + 1)


def test_training_runs_in_the_thread_that_entered():
    with batched_fits():
        done = cross_validate(Centroids(), X, Y, return_estimator=True)["estimator"]
    assert {model.thread_ for model in done} == {threading.get_ident()}


def test_one_object_can_be_entered_twice_and_within_itself():
    context = batched_fits()
    with context as first:
        cross_val_score(Centroids(), X, Y)
        with context as inner:
            cross_val_score(Centroids(), X, Y)
        assert inner is first
        cross_val_score(Centroids(), X, Y)
    with context as second:
        cross_val_score(Centroids(), X, Y)
    assert (first.stacks, second.stacks) == ([5, 5, 5], [5])


def batched_inside(inner, estimator):
    with inner:
        return cross_val_score(estimator, X, Y).mean()


def test_an_inner_context_in_a_task_joins_the_outer_one():
    inner = batched_fits(max_models=2)
    with batched_fits() as batches:
        joblib.Parallel()(joblib.delayed(batched_inside)(inner, Centroids()) for _ in range(4))
    assert batches.stacks == [20]


def test_an_inner_context_mends_a_backend_chosen_in_between():
    with batched_fits() as batches, joblib.parallel_config(backend="threading", n_jobs=2):
        cross_val_score(Centroids(), X, Y)  # threads that take no part
        assert batches.stacks == []
        with batched_fits():
            cross_val_score(Centroids(), X, Y)
    assert batches.stacks == [5]


def test_threads_that_each_enter_have_their_own_rendezvous():
    context = batched_fits()

    def work(n_folds):
        with context as batches:
            for _ in range(5):
                cross_val_score(Centroids(), X, Y, cv=n_folds)
        return batches.stacks

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(2, 10))) == [[n] * 5 for n in range(2, 10)]


def test_a_thread_that_takes_no_part_trains_at_once():
    with batched_fits() as batches, ThreadPoolExecutor(2) as pool:
        pool.submit(fit_once, 1).result()  # knows nothing of the context
        pool.submit(copy_context().run, fit_once, 1).result()  # knows it, and does not count
    assert batches.stacks == [1]


def test_the_trainer_is_the_default_again_after_the_context():
    before = trainer.get()
    with batched_fits():
        assert trainer.get() is not before
    assert trainer.get() is before


def test_a_context_kept_beyond_the_end_trains_at_once():
    with batched_fits():
        later = copy_context()
    assert later.run(fit_once, 1) == fit_once(1)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"max_models": 0}, ValueError, "at least 1, got 0"),
        ({"max_models": 2.5}, TypeError, "an integer, got 2.5"),
        ({"executor": "dask"}, TypeError, "submit method.*got 'dask'"),
    ],
)
def test_wrong_parameters_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        real_batched_fits(**parameters)


# ---- failures ----

ROW = X[7]  # in the first of five folds: the fit that does not see it is the first


def cv_with_one_failure(kind, **options):
    return cross_val_score(Centroids(fails=kind, fails_without=ROW), X, Y, cv=5, **options)


@pytest.mark.parametrize(
    ("kind", "stacks"), [("fit", [4]), ("divergence", [5]), ("training", [1, 1, 1, 1])]
)
def test_an_error_in_one_fit_becomes_its_error_score_and_no_other(kind, stacks):
    good = cross_val_score(Centroids(), X, Y, cv=5)
    with batched_fits() as batches, pytest.warns(FitFailedWarning, match="1 fits failed"):
        scores = cv_with_one_failure(kind, error_score=-1.0)
    np.testing.assert_array_equal(scores, [-1.0, *good[1:]])
    assert batches.stacks == stacks


@pytest.mark.parametrize(
    ("kind", "error"),
    [("fit", ArithmeticError), ("divergence", FloatingPointError), ("training", ArithmeticError)],
)
def test_an_error_that_is_raised_ends_the_call_and_the_context_goes_on(kind, error):
    with batched_fits() as batches:
        with pytest.raises(error):
            cv_with_one_failure(kind, error_score="raise")
        n_before = len(batches.stacks)
        cross_val_score(Centroids(), X, Y, cv=5)
        assert batches.stacks[n_before:] == [5]


def test_an_error_in_an_inner_search_spares_the_other_outer_folds():
    # So many copies of a row that every inner fold sees one, but in the outer fold without them.
    rows, labels = (
        np.vstack([X, np.repeat(ROW[None], 40, axis=0)]),
        np.append(Y, np.repeat(Y[7], 40)),
    )
    of_row = (rows == ROW).all(axis=1)
    outer = PredefinedSplit(np.where(of_row, 0, np.arange(len(rows)) % 4 + 1))

    def scores(**options):
        search = GridSearchCV(Centroids(**options), SMALL, cv=4, error_score="raise")
        return cross_val_score(search, rows, labels, cv=outer, error_score=-1.0)

    with batched_fits() as batches, pytest.warns(FitFailedWarning, match="1 fits failed"):
        with_error = scores(fails="fit", fails_without=ROW)
    np.testing.assert_array_equal(with_error, [-1.0, *scores()[1:]])
    assert batches.stacks == [32, 4]


def test_a_stack_that_does_not_fit_is_halved_and_later_ones_start_smaller():
    ROOM.models = 7
    try:
        with batched_fits() as batches:
            scores = cross_val_score(Centroids(), X, Y, cv=20)
            n_before = len(batches.stacks)
            cross_val_score(Centroids(), X, Y, cv=20)
    finally:
        del ROOM.models
    np.testing.assert_array_equal(scores, cross_val_score(Centroids(), X, Y, cv=20))
    assert batches.stacks[:n_before] == [5, 5, 5, 5]
    assert batches.stacks[n_before:] == [5, 5, 5, 5]


def test_memory_that_does_not_suffice_for_one_is_that_fits_error():
    ROOM.models = 0
    try:
        with batched_fits(), pytest.raises(MemoryError):
            cross_val_score(Centroids(), X, Y, error_score="raise")
    finally:
        del ROOM.models


def test_a_thread_the_system_refuses_is_an_error_and_no_hang():
    before = threading.stack_size()
    with batched_fits():
        cross_val_score(Centroids(), X, Y)  # leaves an idle thread or more
        threading.stack_size(2**46)
        try:
            with pytest.raises(RuntimeError, match="start new thread"):
                cross_val_score(Centroids(), X, Y, cv=30, error_score="raise")
        finally:
            threading.stack_size(before)
        assert len(cross_val_score(Centroids(), X, Y, cv=30)) == 30


def interrupt_after(seconds):
    def send():
        time.sleep(seconds)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def slow_task(seconds):
    time.sleep(seconds)
    return fit_once(0)


@pytest.mark.parametrize("caller", ["training", "waiting", "nested", "plain"])
def test_ctrl_c_ends_all_and_the_context_can_go_on(caller):
    calls = {
        "training": lambda: cross_val_score(Centroids(seconds=5), X, Y),
        "waiting": lambda: joblib.Parallel()(joblib.delayed(slow_task)(0.4) for _ in range(60)),
        "nested": lambda: cross_val_score(
            GridSearchCV(Centroids(seconds=5), SMALL), X, Y, error_score=0.0
        ),
        "plain": lambda: Centroids(seconds=5).fit(X, Y),
    }
    with batched_fits() as batches:
        sender = interrupt_after(0.3)
        with pytest.raises(KeyboardInterrupt):
            calls[caller]()
        sender.join()
        cross_val_score(Centroids(), X, Y)
        # what was interrupted was not trained to its end
        assert batches.stacks == [5]


def test_ctrl_c_leaves_the_context():
    with pytest.raises(KeyboardInterrupt), batched_fits():
        GridSearchCV(Centroids(fails="interrupt"), GRID, cv=5, error_score=0.0).fit(X, Y)


def test_ctrl_c_at_any_moment_leaves_no_thread():
    rng = random.Random(0)
    search = GridSearchCV(Centroids(), SMALL, cv=3)
    n_interrupted = 0
    for _ in range(25):
        try:
            with batched_fits(max_models=8):
                sender = interrupt_after(rng.uniform(0.0, 0.08))
                for _ in range(1000):
                    cross_val_score(search, X, Y, cv=3, error_score=0.0)
        except KeyboardInterrupt:
            n_interrupted += 1
        sender.join()
    assert n_interrupted == 25


def test_ctrl_c_while_a_thread_starts_leaves_no_thread(monkeypatch):
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        if thread.name == THREAD_NAME:
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), batched_fits():
        cross_val_score(Centroids(), X, Y)  # the watchdog looks for threads


# ---- what must not change ----


def warn_in_task(i):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit_once(i)
        warnings.warn("inside", UserWarning)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit_once(i)
        warnings.warn(f"task {i}", ConvergenceWarning)
    return [str(w.message) for w in seen]


def test_each_task_keeps_its_own_warning_filters_across_its_fits():
    before = warnings.filters, list(warnings.filters), warnings.showwarning
    with batched_fits() as batches:
        seen = joblib.Parallel()(joblib.delayed(warn_in_task)(i) for i in range(10))
    assert seen == [[f"task {i}"] for i in range(10)]
    assert batches.stacks == [10, 10]
    assert warnings.filters is before[0]
    assert (list(warnings.filters), warnings.showwarning) == before[1:]


def test_a_warning_that_is_an_error_is_one_in_a_task():
    def warn(i):
        warnings.warn(f"from {i}", ConvergenceWarning)

    with batched_fits(), pytest.raises(ConvergenceWarning, match="from 0"):
        joblib.Parallel()(joblib.delayed(warn)(i) for i in range(3))


class ConfigSeen(Centroids):
    def fit(self, X, y):
        super().fit(X, y)
        self.seen_ = sklearn.get_config()["working_memory"]
        return self


def test_the_configuration_of_scikit_learn_reaches_the_tasks():
    with batched_fits(), sklearn.config_context(working_memory=77):
        done = cross_validate(ConfigSeen(), X, Y, return_estimator=True)["estimator"]
    assert [model.seen_ for model in done] == [77] * 5


def test_callers_without_such_fits_work():
    selector = RFECV(sklearn.linear_model.LogisticRegression(max_iter=500), cv=3)
    forest = sklearn.ensemble.RandomForestClassifier(20, random_state=0)
    alone = cross_val_score(forest, X, Y), selector.fit(X, Y).support_
    with batched_fits() as batches:
        together = cross_val_score(forest, X, Y), selector.fit(X, Y).support_
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1], alone[1])
    assert batches.stacks == []


# ---- memory ----


def hold(counter, table, **options):
    with counter["lock"]:
        counter["now"] += 1
        counter["most"] = max(counter["most"], counter["now"])
    Centroids(**options).fit(X, Y)
    with counter["lock"]:
        counter["now"] -= 1
    return len(table)


@pytest.mark.parametrize("megabytes", [0, 150, 400])
def test_tasks_with_large_arguments_begin_a_few_at_a_time(megabytes):
    counter = {"lock": threading.Lock(), "now": 0, "most": 0}
    table = np.empty(megabytes * 2**17)  # never touched, so it takes no memory
    with batched_fits(max_models=16):
        joblib.Parallel()(joblib.delayed(hold)(counter, table) for _ in range(20))
    expected = 16 if megabytes == 0 else max(1, task_budget(table.nbytes) // table.nbytes)
    assert counter["most"] == expected


@pytest.mark.parametrize("options", [{"key": None}, {"n_parameters": 10**6}])
def test_a_fit_that_trains_alone_is_done_before_the_next_task_begins(options):
    counter = {"lock": threading.Lock(), "now": 0, "most": 0}
    with batched_fits() as batches:
        joblib.Parallel()(joblib.delayed(hold)(counter, X, **options) for _ in range(9))
    assert counter["most"] == 1
    assert batches.stacks == [1] * 9


@pytest.mark.parametrize(
    ("n_parameters", "device", "size"),
    [(1_000, "cpu", 64), (10**6, "cpu", 1), (10**6, "cuda", 64), (10**12, "cuda", 1)],
)
def test_how_many_train_together_depends_on_the_model_and_the_device(n_parameters, device, size):
    job = Job(X, Y, np.ones(len(X)), n_parameters=n_parameters, device=torch.device(device))
    assert stack_size(job, 64) == size


def test_arguments_are_weighed_by_the_bytes_of_their_arrays():
    from joblib.parallel import BatchedCalls
    from scipy import sparse

    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    table = np.zeros((100, 3))
    tables = {
        "array": table,
        "frame": pandas.DataFrame(table),
        "polars": polars.DataFrame(table),
        "list": [1, 2],
    }
    weights = {}
    for name, value in tables.items():
        calls = BatchedCalls([(abs, (value,), {"y": value})], (None, 1))
        weights[name] = argument_bytes(calls)
    assert weights == {"array": 4800, "frame": 4800, "polars": 4800, "list": 0}
    rows = sparse.csr_array(np.eye(10))
    calls = BatchedCalls([(abs, (rows,), {})], (None, 1))
    assert argument_bytes(calls) == 10 * 8 + rows.indices.nbytes + rows.indptr.nbytes


def test_the_budget_of_tasks_is_a_share_of_what_is_free():
    free = available_memory()
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert task_budget(0) <= free / 4 * 1.1
    assert task_budget(10 * free) <= free / 4 * 1.1


@dataclass
class Waiting:
    job: Job


def waiting(n_rows, key="a"):
    return Waiting(Job(np.zeros((n_rows, 1)), np.zeros(n_rows), np.ones(n_rows), key))


def test_the_largest_group_is_trained_first_and_like_lengths_together():
    grouping = Grouping(max_models=2)
    short, longer, short_too, other = waiting(3), waiting(9), waiting(3), waiting(3, "b")
    assert grouping.next_stack([other, short, longer, short_too]) == [short, short_too]


@pytest.mark.parametrize(("n_workers", "sizes"), [(1, [5, 5]), (3, [3, 3, 4]), (99, [1] * 10)])
def test_stacks_for_workers_are_even_and_enough(n_workers, sizes):
    stacks = Grouping(max_models=8).all_stacks([waiting(3) for _ in range(10)], n_workers)
    assert sorted(map(len, stacks)) == sizes


def test_an_idle_thread_keeps_no_arguments_or_results():
    import gc
    import weakref

    class Big:
        pass

    def use(big):
        fit_once(0)
        return Big()

    with batched_fits():
        given = [Big() for _ in range(4)]
        gone = [weakref.ref(one) for one in given]
        out = joblib.Parallel()(joblib.delayed(use)(one) for one in given)
        gone += [weakref.ref(one) for one in out]
        del given, out
        gc.collect()
        assert [ref() for ref in gone] == [None] * 8


@pytest.mark.parametrize("max_models", [1, 64])
def test_the_rows_of_a_trained_fit_are_free_before_the_next_begins(max_models):
    import gc
    import weakref

    trained, alive = [], []

    class seen_fits(batched_fits):  # noqa: N801
        @staticmethod
        def _train(jobs):
            trained.extend(weakref.ref(job) for job in jobs)
            return train_centroids(jobs)

    def use():
        gc.collect()
        alive.append(sum(ref() is not None for ref in trained))
        Centroids(key=None).fit(X, Y)  # trains alone

    with seen_fits(max_models=max_models):
        joblib.Parallel()(joblib.delayed(use)() for _ in range(3))
    assert len(trained) == 3
    assert alive == [0, 0, 0]


# ---- no hang ----


def tree(rng_seed, depth, failing):
    """A random program of fits, nested calls and errors; returns a number."""
    rng = random.Random(rng_seed)
    total = 0.0
    for _ in range(rng.randint(0, 3)):
        kind = rng.choice(["fit", "parallel", "search", "error", "context"])
        if kind == "fit":
            total += Centroids(key=rng.choice(["a", "b", None])).fit(X, Y).centroids_[0, 0]
        elif kind == "error" and failing and rng.random() < 0.3:
            raise ArithmeticError(rng_seed)
        elif kind == "parallel" and depth:
            seeds = [rng.randrange(10**6) for _ in range(rng.randint(0, 5))]
            options = {"n_jobs": rng.choice([None, None, 1, 2, -1])}
            options["pre_dispatch"] = rng.choice([1, "n_jobs", "2*n_jobs", "all"])
            options["batch_size"] = rng.choice([1, 2, "auto"])
            calls = (joblib.delayed(tree)(seed, depth - 1, failing) for seed in seeds)
            try:
                total += sum(joblib.Parallel(**options)(calls))
            except ArithmeticError:
                if rng.random() < 0.5:
                    raise
        elif kind == "search":
            estimator = Centroids(fails=rng.choice([None, "training", "divergence", "fit"]))
            if not failing:
                estimator = Centroids()
            with contextlib.suppress(ValueError, FitFailedWarning):
                total += cross_val_score(estimator, X, Y, cv=3).sum()
        elif kind == "context":
            with batched_fits(max_models=3):
                total += fit_once(1)
    return total


def outcome(seed, depth, failing):
    try:
        return tree(seed, depth, failing)
    except ArithmeticError as error:
        return repr(error)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.parametrize("failing", [False, True])
def test_random_nesting_ends_with_the_same_outcome(failing):
    n_stacked = 0
    for seed in range(90):
        with joblib.parallel_config(backend="sequential"):
            expected = outcome(seed, 3, failing)
        with batched_fits(max_models=1 + seed % 5) as batches:
            assert outcome(seed, 3, failing) == expected, seed
        n_stacked += max(batches.stacks, default=0) > 1
    assert n_stacked > 10


def nest(depth):
    if depth == 0:
        return fit_once(0)
    return sum(joblib.Parallel()(joblib.delayed(nest)(depth - 1) for _ in range(3)))


@pytest.mark.parametrize("max_models", [2, 3, 64])
def test_nesting_deeper_than_there_are_places_does_not_hang(max_models):
    with batched_fits(max_models=max_models) as batches:
        nest(5)
    assert sum(batches.stacks) == 3**5
    assert max(batches.stacks) == min(max_models, 3**5)
