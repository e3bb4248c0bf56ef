"""Each schedule equals its closed form, alone and in the history of a fit."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from sklearn_dl import PLAIN, DLClassifier, DLRegressor
from sklearn_dl.schedules import SCHEDULES, learning_rate_schedule

RATE, EPOCHS = 0.02, 12


def _schedule(schedule, max_epochs=EPOCHS, decay_every=None, decay_factor=None):
    """The multiplier as a function of progress."""
    multiplier = learning_rate_schedule(
        schedule,
        max_epochs=max_epochs,
        decay_every=decay_every,
        decay_factor=decay_factor,
        warmup=0.0,
    )
    return multiplier and (lambda progress: multiplier(progress, 1))


def _history(X, y, steps=3, estimator_class=DLClassifier, **params):
    """history_ of EPOCHS epochs of so many equal batches."""
    n = len(X) - len(X) % steps
    estimator = estimator_class(
        **{
            **PLAIN,
            "hidden_layer_sizes": (),
            "learning_rate": RATE,
            "max_epochs": EPOCHS,
            "batch_size": n // steps,
            "random_state": 0,
            **params,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X[:n], y[:n]).history_


def _one_cycle(t):
    if t < 0.3:
        return 1 / 25 + (1 - 1 / 25) * (1 - np.cos(np.pi * t / 0.3)) / 2
    return 4e-6 + (1 - 4e-6) * (1 + np.cos(np.pi * (t - 0.3) / 0.7)) / 2


# parameters -> multiplier of the rate at progress t; the history shows an epoch's last step
CLOSED_FORMS = {
    "none": ({"schedule": None}, lambda t: 1.0),
    "step": ({"schedule": "step"}, lambda t: 0.1 ** np.floor(t * EPOCHS / 4 + 1e-9)),
    "step, every 5": (
        {"schedule": "step", "decay_every": 5, "decay_factor": 0.5},
        lambda t: 0.5 ** np.floor(t * EPOCHS / 5 + 1e-9),
    ),
    "exponential": ({"schedule": "exponential"}, lambda t: 0.01**t),
    "exponential, 0.8": (
        {"schedule": "exponential", "decay_factor": 0.8},
        lambda t: 0.8 ** (t * EPOCHS),
    ),
    "cosine": ({"schedule": "cosine"}, lambda t: (1 + np.cos(np.pi * t)) / 2),
    "one_cycle": ({"schedule": "one_cycle"}, _one_cycle),
    "callable": ({"schedule": lambda t: 1 - t / 2}, lambda t: 1 - t / 2),
}


@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_multiplier_equals_its_closed_form(case):
    parameters, expected = CLOSED_FORMS[case]
    schedule = _schedule(**parameters)
    if schedule is None:
        assert case == "none"
        return
    for t in np.linspace(0, 1, 1001):
        assert schedule(t) == pytest.approx(expected(t), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_history_shows_the_rate_of_each_epochs_last_step(iris, case, steps):
    parameters, multiplier = CLOSED_FORMS[case]
    total = EPOCHS * steps
    expected = [RATE * multiplier(((epoch + 1) * steps - 1) / total) for epoch in range(EPOCHS)]
    seen = _history(*iris, steps=steps, **parameters)["learning_rate"]
    assert_allclose(seen, expected, rtol=1e-9)


@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_warm_up_rises_linearly_on_top_of_the_schedule(iris, case):
    parameters, multiplier = CLOSED_FORMS[case]
    # of the last step of each epoch: the warm-up counts from 1, or its first step would do nothing
    done = 3 * np.arange(1, EPOCHS + 1) - 1
    steps = 3 * EPOCHS
    expected = [RATE * multiplier(k / steps) * min(1.0, (k + 1) / steps / 0.5) for k in done]
    seen = _history(*iris, steps=3, warmup=0.5, **parameters)["learning_rate"]
    assert_allclose(seen, expected, rtol=1e-9, atol=1e-15)
    assert (seen[: EPOCHS // 2 - 1] < RATE).all()


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "exponential", "step"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
def test_every_step_moves_the_weights(iris, schedule, warmup):
    for max_epochs in (1, 2, 5):
        history = _history(*iris, steps=1, schedule=schedule, warmup=warmup, max_epochs=max_epochs)
        assert (history["learning_rate"] > 0).all()
    one = DLClassifier(max_epochs=1, random_state=0).fit(iris[0][::3], iris[1][::3])
    assert one.history_["learning_rate"].tolist() == [one.learning_rate]


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("steps", [1, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.05])
def test_step_falls_exactly_every_so_many_epochs(iris, every, steps, warmup):
    falling = {"schedule": "step", "decay_every": every, "decay_factor": 0.5}
    history = _history(*iris, steps=steps, warmup=warmup, **falling)
    falls = 1 + np.flatnonzero(np.diff(history["learning_rate"]) < 0)
    assert falls.tolist() == list(range(every, EPOCHS, every))


@pytest.mark.parametrize("max_epochs", [3, 30, 97, 1000])
@pytest.mark.parametrize("steps", [1, 3, 7, 13])
def test_no_rounding_of_progress_delays_or_hastens_a_fall(max_epochs, steps):
    schedule = _schedule("step", max_epochs=max_epochs, decay_every=1, decay_factor=0.99)
    total = max_epochs * steps
    for step in range(total):
        assert schedule(step / total) == pytest.approx(0.99 ** (step // steps), rel=1e-12)


def test_one_cycle_is_torchs():
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=101, cycle_momentum=False
    )
    ours = _schedule("one_cycle")
    # torch peaks at step 0.3 * 101 - 1 of 0..100, we at progress 0.3
    peak = 0.3 * 101 - 1
    for step in range(101):
        t = 0.3 * step / peak if step <= peak else 0.3 + 0.7 * (step - peak) / (100 - peak)
        assert ours(min(t, 1.0)) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step < 100:
            theirs.step()


def test_plateau_lowers_the_rate_where_the_loss_stalls(iris):
    X, y = iris
    # so large a tolerance that no epoch but the first counts as progress
    history = _history(X, y, schedule="plateau", tol=10.0, n_iter_no_change=3, decay_factor=0.5)
    # the first epoch sets the best loss; three stale ones lower the rate for the epoch after
    expected = RATE * 0.5 ** np.maximum(0, (np.arange(EPOCHS) - 1) // 3)
    assert_allclose(history["learning_rate"], expected, rtol=1e-12)


def test_plateau_keeps_the_rate_while_the_loss_falls(iris):
    history = _history(*iris, schedule="plateau", tol=0.0, n_iter_no_change=1, steps=1)
    assert (np.diff(history["train_loss"]) < 0).all()
    assert_allclose(history["learning_rate"], RATE)


def test_plateau_reads_the_validation_loss_where_there_is_one(iris):
    X, y = iris
    estimator = DLClassifier(
        schedule="plateau", tol=0.0, n_iter_no_change=2, warmup=0.0, learning_rate=0.02,
        max_epochs=60, hidden_layer_sizes=(32,), random_state=0,
    )  # fmt: skip
    wrong = (y[1::2] + 1) % 3  # learning the training rows makes the loss on these grow
    estimator.fit(X[::2], y[::2], X_val=X[1::2], y_val=wrong)
    history = estimator.history_
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert history["learning_rate"].iloc[-1] < 1e-4 * 0.02


@pytest.mark.parametrize("early_stopping", [False, True])
def test_early_stopping_does_not_move_the_schedule(diabetes, early_stopping):
    X, y = diabetes
    shared = {"schedule": "cosine", "batch_size": 1000, "estimator_class": DLRegressor, "steps": 1}
    history = _history(X, y, **shared, early_stopping=early_stopping, n_iter_no_change=3, tol=10.0)
    t = np.arange(len(history)) / EPOCHS
    assert len(history) == (4 if early_stopping else EPOCHS)
    assert_allclose(history["learning_rate"], RATE * (1 + np.cos(np.pi * t)) / 2, rtol=1e-9)


def test_every_named_schedule_is_tested_here():
    assert set(SCHEDULES) == {"step", "exponential", "cosine", "one_cycle", "plateau"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, "fast", None])
def test_callable_schedule_that_gives_no_rate_is_refused(iris, value):
    with pytest.raises(ValueError, match=r"schedule must return a finite number >= 0.* got"):
        _history(*iris, schedule=lambda progress: value)
