"""skorch's callbacks and scikit-learn's own see the training of one model, and can end it."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
import skorch.callbacks as skorch_callbacks
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dl import DLClassifier, DLRegressor

SMALL = {
    "module": "mlp",  # one network, with callbacks and without
    "hidden_layer_sizes": (8,),
    "max_epochs": 6,
    "batch_size": 32,
    "learning_rate": 0.02,
    "dropout": 0.0,
    "random_state": 0,
}
EITHER = pytest.mark.parametrize("estimator_class", [DLClassifier, DLRegressor])


def _outputs(estimator, X):
    return estimator.predict_proba(X) if is_classifier(estimator) else estimator.predict(X)


class Recorder(skorch_callbacks.Callback):
    """Writes down what it is told."""

    def __init__(self):
        self.calls, self.batches, self.history, self.values = [], [], None, {}

    def on_train_begin(self, net, **kwargs):
        self.calls.append("train_begin")

    def on_train_end(self, net, **kwargs):
        self.calls.append("train_end")
        self.history = net.history.to_list()

    def on_epoch_begin(self, net, **kwargs):
        self.calls.append("epoch_begin")

    def on_epoch_end(self, net, **kwargs):
        self.calls.append("epoch_end")
        X = kwargs["dataset_train"].X
        self.values = {"predict": net.predict(X), "proba": net.predict_proba(X), "X": X}

    def on_batch_end(self, net, batch=None, training=False, loss=None, y_pred=None, **kwargs):
        X, y = batch
        if training:
            self.batches.append((tuple(X.shape), tuple(y.shape), tuple(y_pred.shape), float(loss)))


@EITHER
def test_callbacks_see_one_model_without_the_model_axis(iris, estimator_class):
    X, y = iris
    recorder = Recorder()
    estimator = estimator_class(**SMALL, callbacks=[recorder], dtype="float32").fit(X, y)
    n_outputs = 3 if is_classifier(estimator) else 1
    target = (32,) if is_classifier(estimator) else (32, 1)
    assert recorder.calls[:2] == ["train_begin", "epoch_begin"]
    assert recorder.calls.count("epoch_end") == SMALL["max_epochs"]
    assert recorder.calls[-1] == "train_end"
    assert len(recorder.batches) == SMALL["max_epochs"] * 5
    assert recorder.batches[0][:3] == ((32, 4), target, (32, n_outputs))
    assert_allclose(recorder.values["X"], estimator.encode(X))
    if is_classifier(estimator):
        assert_array_equal(recorder.values["predict"], estimator.predict(X))
        assert_allclose(recorder.values["proba"], estimator.predict_proba(X), rtol=1e-5)
    else:
        standardised = (estimator.predict(X) - y.mean()) / y.std()
        assert_allclose(recorder.values["predict"][:, 0], standardised, atol=1e-5)
    seen = [epoch["train_loss"] for epoch in recorder.history]
    assert_allclose(seen, estimator.loss_curve_, rtol=1e-4)


@EITHER
def test_a_callback_that_only_looks_does_not_change_the_model(iris, estimator_class):
    X, y = iris
    watched = {"X_val": X[::3], "y_val": y[::3]}
    without = estimator_class(**{**SMALL, "dropout": 0.1}).fit(X, y, **watched)
    looking = estimator_class(**{**SMALL, "dropout": 0.1}, callbacks=[Recorder()]).fit(
        X, y, **watched
    )
    assert_allclose(_outputs(looking, X), _outputs(without, X), rtol=1e-5, atol=1e-5)
    assert_allclose(looking.loss_curve_, without.loss_curve_, rtol=1e-5)


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("on_train", [True, False])
@pytest.mark.parametrize(
    ("estimator_class", "scoring", "score"),
    [
        (DLClassifier, "accuracy", accuracy_score),
        (DLClassifier, make_scorer(accuracy_score), accuracy_score),
        (DLRegressor, "r2", r2_score),
    ],
)
def test_epoch_scoring_scores_each_epoch(
    iris, estimator_class, scoring, score, on_train, use_caching
):
    X, y = iris
    X_val, y_val = X[::3], y[::3]
    recorder = Recorder()
    scores = skorch_callbacks.EpochScoring(
        scoring, name="score", on_train=on_train, use_caching=use_caching, lower_is_better=False
    )
    estimator = estimator_class(**SMALL, callbacks=[scores, recorder])
    estimator.fit(X, y, X_val=X_val, y_val=y_val)
    seen = [epoch["score"] for epoch in recorder.history]
    assert len(seen) == SMALL["max_epochs"]
    if on_train and use_caching:  # of the weights as they were at each batch
        assert np.isfinite(seen).all()
        assert seen[-1] > seen[0]
    else:
        rows, target = (X, y) if on_train else (X_val, y_val)
        assert seen[-1] == pytest.approx(score(target, estimator.predict(rows)), abs=1e-5)
    if not on_train:
        assert_allclose(seen, estimator.validation_scores_, atol=1e-5)


def test_checkpoint_writes_the_weights_of_the_best_epoch(iris, tmp_path):
    X, y = iris
    checkpoint = skorch_callbacks.Checkpoint(
        dirname=tmp_path, monitor="valid_loss_best", f_params="best.pt", f_optimizer=None
    )
    estimator = DLClassifier(**SMALL, callbacks=[checkpoint])
    estimator.fit(X, y, X_val=X[::3], y_val=y[::3])
    stored = torch.load(tmp_path / "best.pt", weights_only=True)
    # the loss falls in each epoch here, so the best weights are the last
    assert (np.diff(estimator.history_["valid_loss"]) < 0).all()
    n_stored = sum(value.numel() for value in stored.values())
    assert n_stored == estimator.n_parameters_
    assert (tmp_path / "history.json").exists()
    numbers = np.sort(np.concatenate([value.flatten() for value in stored.values()]))
    weights = [p.detach().flatten() for p in estimator.module_.parameters()]
    assert_array_equal(numbers, np.sort(np.concatenate(weights)))


@pytest.mark.parametrize("monitor", ["train_loss", "valid_loss"])
def test_skorchs_early_stopping_ends_the_fit_without_a_warning(iris, monitor):
    X, y = iris
    stop = skorch_callbacks.EarlyStopping(monitor, patience=3, threshold=10.0)
    estimator = DLClassifier(**{**SMALL, "max_epochs": 100}, callbacks=[stop])
    with redirect_stdout(io.StringIO()):  # skorch says so
        estimator.fit(X, y, X_val=X[::3], y_val=y[::3])
    assert 3 <= estimator.n_iter_ <= 5
    assert estimator.n_iter_ == len(estimator.history_)
    assert estimator.score(X, y) > 0.2


def test_scheduler_of_skorch_sets_the_rate(iris):
    scheduler = skorch_callbacks.LRScheduler("StepLR", step_size=2, gamma=0.5)
    estimator = DLClassifier(**SMALL, schedule=None, warmup=0.0, callbacks=[scheduler]).fit(*iris)
    expected = 0.02 * 0.5 ** (np.arange(SMALL["max_epochs"]) // 2)
    assert_allclose(estimator.history_["learning_rate"], expected)


def test_gradient_clipping_of_skorch_is_max_grad_norm(iris):
    params = {**SMALL, "optimizer": "sgd", "learning_rate": 0.1}
    plain = DLClassifier(**params).fit(*iris)
    ours = DLClassifier(**params, max_grad_norm=0.05).fit(*iris)
    clipping = skorch_callbacks.GradientNormClipping(0.05)
    theirs = DLClassifier(**params, callbacks=[clipping]).fit(*iris)
    assert_allclose(theirs.predict_proba(iris[0]), ours.predict_proba(iris[0]), rtol=1e-4)
    assert abs(theirs.predict_proba(iris[0]) - plain.predict_proba(iris[0])).max() > 1e-3


def test_print_log_prints_a_line_an_epoch(iris):
    X, y = iris
    lines = []
    log = skorch_callbacks.PrintLog(sink=lines.append)
    DLClassifier(**SMALL, callbacks=[log]).fit(X, y, X_val=X[::3], y_val=y[::3])
    assert "valid_loss" in lines[0]
    assert "dur" in lines[0]
    assert len(lines) == SMALL["max_epochs"] + 2


def test_progress_bar_of_skorch_counts_the_batches(iris, capsys):
    pytest.importorskip("tqdm")
    bar = skorch_callbacks.ProgressBar(detect_notebook=False)
    DLClassifier(**SMALL, callbacks=[bar]).fit(*iris)
    assert "0/5" in capsys.readouterr().err


class _StopAt(skorch_callbacks.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@EITHER
@pytest.mark.parametrize("early_stopping", [False, True])
def test_callback_ends_the_fit_as_skorchs_do(iris, estimator_class, early_stopping):
    X, y = iris
    estimator = estimator_class(**SMALL, callbacks=[_StopAt(3)], early_stopping=early_stopping)
    estimator.fit(X, y)
    assert estimator.n_iter_ == 3
    assert np.isfinite(_outputs(estimator, X)).all()


def test_callbacks_are_named_and_given_to_every_fit(iris):
    recorder = Recorder()
    estimator = DLClassifier(**SMALL, callbacks=[("recorder", recorder)])
    estimator.fit(*iris).fit(*iris)
    assert recorder.calls.count("train_end") == 2


@pytest.mark.parametrize("callbacks", [[3], [("name", 3)], "log", 3])
def test_what_is_no_callback_is_refused(iris, callbacks):
    with pytest.raises((TypeError, ValueError), match="callbacks"):
        DLClassifier(**SMALL, callbacks=callbacks).fit(*iris)


def test_error_in_a_callback_comes_out(iris):
    class Failing(skorch_callbacks.Callback):
        def on_batch_end(self, net, **kwargs):
            raise RuntimeError("in the callback")

    with pytest.raises(RuntimeError, match="in the callback"):
        DLClassifier(**SMALL, callbacks=[Failing()]).fit(*iris)


@EITHER
@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True},
        {"normalization": "batch"},
        {"module": lambda i, o: torch.nn.Linear(i, o)},
        {"optimizer": "sgd", "max_grad_norm": 0.1, "schedule": "plateau"},
        {"augmentation": "noise", "batch_size": 1000},
    ],
    ids=lambda params: " ".join(params),
)
def test_callbacks_go_with_every_kind_of_training(iris, estimator_class, params):
    X, y = iris
    weight = np.linspace(0.5, 2, len(y))
    estimator = estimator_class(**{**SMALL, **params})
    expected = clone(estimator).fit(X, y, sample_weight=weight)
    recorder = Recorder()
    estimator.set_params(callbacks=[recorder]).fit(X, y, sample_weight=weight)
    assert_allclose(_outputs(estimator, X), _outputs(expected, X), rtol=1e-4, atol=1e-5)
    assert len(recorder.history) == expected.n_iter_


# scikit-learn's own


class Watcher:
    """A callback of scikit-learn's protocol that keeps what it is told and may end the fit."""

    def __init__(self, stop_at=None):
        self.stop_at, self.tasks, self.models, self.weights = stop_at, [], [], []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(f"{context.task_name} begins")

    def on_fit_task_end(self, estimator, context, *, metadata, fitted_estimator):
        self.tasks.append(f"{context.task_name} ends")
        self.weights.append(metadata)
        if context.task_name == "epoch":
            self.models.append(fitted_estimator)
        return context.task_name == "epoch" and len(self.models) == self.stop_at


@EITHER
def test_callback_of_scikit_learn_is_told_of_each_epoch_and_its_model(iris, estimator_class):
    X, y = iris
    watcher, weight = Watcher(), np.linspace(1, 2, len(y))
    estimator = estimator_class(**SMALL).set_callbacks(watcher).fit(X, y, sample_weight=weight)
    epochs = ["epoch begins", "epoch ends"] * SMALL["max_epochs"]
    assert watcher.tasks == ["setup", "fit begins", *epochs, "fit ends", "teardown"]
    assert all(metadata["sample_weight"] is weight for metadata in watcher.weights)
    assert_array_equal(_outputs(watcher.models[-1], X), _outputs(estimator, X))
    shorter = [model.predict(X) for model in watcher.models[:2]]
    assert (shorter[0] != estimator.predict(X)).any()
    unwatched = estimator_class(**SMALL).fit(X, y, sample_weight=weight)
    assert_array_equal(_outputs(estimator, X), _outputs(unwatched, X))


@EITHER
def test_callback_of_scikit_learn_that_returns_true_ends_the_fit(iris, estimator_class):
    watcher = Watcher(stop_at=2)
    estimator = estimator_class(**SMALL).set_callbacks(watcher).fit(*iris)
    assert estimator.n_iter_ == len(watcher.models) == 2


def test_callback_of_scikit_learn_hears_of_partial_fit(iris):
    watcher = Watcher()
    DLClassifier(**SMALL).set_callbacks(watcher).partial_fit(*iris, classes=[0, 1, 2])
    assert watcher.tasks == [
        "setup", "fit begins", "epoch begins", "epoch ends", "fit ends", "teardown"
    ]  # fmt: skip


def test_scoring_monitor_scores_each_epoch(iris):
    X, y = iris
    monitor = ScoringMonitor(scoring="accuracy")
    estimator = DLClassifier(**SMALL).set_callbacks(monitor).fit(X, y)
    frame = monitor.get_logs().data_as_pandas
    epochs = frame[frame["task_name"] == "epoch"]
    assert len(epochs) == SMALL["max_epochs"]
    assert epochs["accuracy"].iloc[-1] == estimator.score(X, y)
    assert epochs["accuracy"].iloc[0] < epochs["accuracy"].iloc[-1]
    assert frame[frame["task_name"] == "fit"]["accuracy"].tolist() == [estimator.score(X, y)]


def test_scoring_monitor_sees_the_epochs_of_a_pipeline_in_a_search(iris):
    X, y = iris
    monitor = ScoringMonitor(scoring="accuracy")
    network = DLClassifier(**SMALL).set_callbacks(monitor)
    pipeline = make_pipeline(StandardScaler(), network)
    grid = {"dlclassifier__learning_rate": [0.001, 0.01]}
    GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    frame = monitor.get_logs().data_as_pandas
    fits = 2 * 2 + 1
    assert (frame["task_name"] == "epoch").sum() == fits * SMALL["max_epochs"]


@pytest.mark.parametrize(
    "make",
    [
        lambda network: network,
        lambda network: make_pipeline(StandardScaler(), network),
        lambda network: GridSearchCV(network, {"dropout": [0.0, 0.1]}, cv=2),
    ],
    ids=["alone", "pipeline", "search"],
)
def test_progress_bar_of_scikit_learn_reaches_the_end(iris, make, capsys):
    estimator = make(DLClassifier(**SMALL)).set_callbacks(ProgressBar(max_propagation_depth=3))
    estimator.fit(*iris)
    lines = [line for line in capsys.readouterr().out.splitlines() if "DLClassifier" in line]
    fits = 2 * 2 + 1 if isinstance(estimator, GridSearchCV) else 1
    assert len(lines) == fits
    assert all("100%" in line for line in lines)
