"""Do the Displays draw what they are given?"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dl import DLClassifier
from sklearn_dl.diagnosis.ledger import COLUMNS, ROWS
from sklearn_dl.plotting import (
    BatchSizeDisplay,
    LearningRateRangeDisplay,
    LedgerDisplay,
    ResilienceDisplay,
    ScheduleDisplay,
    TrainingCurveDisplay,
)
from sklearn_dl.studies import batch_size_study


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def ledger():
    values = [[0.1, 0.01, 0.08, 0.12, np.nan], [0.3, 0.02, 0.26, 0.34, 0.6]]
    values += [[0.0, 0.02, 0.0, 0.04, 0.0], [0.2, 0.05, 0.1, 0.3, 0.4], [np.nan] * 5]
    return pd.DataFrame(values, index=ROWS, columns=COLUMNS)


def test_the_ledger_has_a_bar_a_cause_in_reading_order(ledger):
    display = LedgerDisplay(ledger, unit="nats").plot()
    display.figure_.canvas.draw()
    labels = [t.get_text() for t in display.ax_.get_yticklabels()]
    assert labels == list(ROWS)[::-1]
    assert [bar.get_width() for bar in display.bars_] == [0.0, 0.2, 0.0, 0.3, 0.1]
    assert display.ax_.get_xlabel() == "nats"
    assert display.ax_.get_title() == "What costs most: approximation, 0.3"


def test_an_entry_that_is_not_applicable_says_so(ledger):
    display = LedgerDisplay(ledger).plot()
    assert "not applicable" in "".join(t.get_text() for t in display.ax_.texts)


def test_the_level_and_the_gaps_differ_in_grey(ledger):
    colors = {bar.get_facecolor() for bar in LedgerDisplay(ledger).plot().bars_}
    assert len(colors) == 2


def test_a_display_draws_on_the_axes_it_is_given(ledger):
    ax = plt.subplots()[1]
    display = LedgerDisplay(ledger).plot(ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure


def test_the_ledger_display_diagnoses_by_itself(iris):
    display = LedgerDisplay.from_estimator(
        LogisticRegression(max_iter=500), *iris, cv=3, random_state=0
    )
    assert list(display.ledger.index) == list(ROWS)


def test_the_training_curve_is_the_history_of_our_net(iris):
    net = DLClassifier(max_epochs=5, early_stopping=True, n_iter_no_change=5, random_state=0)
    display = TrainingCurveDisplay.from_estimator(net.fit(*iris))
    assert [line.get_label() for line in display.lines_] == ["train loss", "valid loss"]
    assert display.lines_[0].get_ydata() == pytest.approx(net.history_["train_loss"])


def test_the_learning_rate_and_the_gradient_norm_stand_below_the_losses(iris):
    net = DLClassifier(max_epochs=5, random_state=0).fit(*iris)
    display = TrainingCurveDisplay.from_estimator(net)
    display.figure_.canvas.draw()
    assert [ax.get_ylabel() for ax in display.axes_] == ["loss", "learning\nrate", "gradient\nnorm"]
    for ax, column in zip(display.axes_[1:], ("learning_rate", "gradient_norm"), strict=True):
        assert ax.lines[0].get_ydata() == pytest.approx(net.history_[column])
    first, last = net.loss_curve_[0], net.loss_curve_[-1]
    assert display.ax_.get_title() == f"Train loss fell from {first:.3g} to {last:.3g}"
    ax = plt.subplots()[1]  # on given axes the losses alone
    assert TrainingCurveDisplay.from_estimator(net, ax=ax).axes_ == [ax]


@pytest.mark.parametrize(
    ("curve", "title"),
    [
        ([2.0, 1.0], "Train loss fell from 2 to 1"),
        ([1.0, 2.0], "Train loss did not fall: it went from 1 to 2"),
        ([2.0], "Train loss 2 in the only epoch"),
    ],
)
def test_the_title_of_a_training_curve_is_what_the_loss_did(curve, title):
    epochs = np.arange(1, len(curve) + 1)
    assert TrainingCurveDisplay(epochs, {"train_loss": curve}).plot().ax_.get_title() == title


def test_the_training_curve_reads_pipelines_and_scikit_learns_nets(iris):
    net = MLPClassifier(max_iter=200, learning_rate_init=0.05, random_state=0)
    pipe = make_pipeline(StandardScaler(), net).fit(*iris)
    display = TrainingCurveDisplay.from_estimator(pipe)
    assert display.lines_[0].get_ydata() == pytest.approx(pipe[-1].loss_curve_)


def test_a_model_without_history_is_refused(iris):
    with pytest.raises(TypeError, match="LogisticRegression keeps no training history"):
        TrainingCurveDisplay.from_estimator(LogisticRegression(max_iter=500).fit(*iris))


def test_the_resilience_display_draws_a_line_a_model_and_says_what_is_left(iris):
    X, y = iris
    model = LogisticRegression(max_iter=500).fit(X[::2], y[::2])
    display = ResilienceDisplay.from_estimator(model, X[1::2], y[1::2], n_draws=2, random_state=0)
    display.figure_.canvas.draw()
    assert [line.get_label() for line in display.lines_] == [
        "LogisticRegression",
        "linear",
        "gradient boosting",
    ]
    own = display.found.curves.query("model == 'LogisticRegression' and corruption == @noise",
                                     local_dict={"noise": "feature noise"})  # fmt: skip
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), own["retention"])
    assert f"keeps {own['retention'].iloc[-1]:.0%} (" in display.ax_.get_title()
    assert len({(line.get_linestyle(), line.get_marker()) for line in display.lines_}) == 3
    with pytest.raises(ValueError, match="corruption must be one of"):
        ResilienceDisplay(display.found, "label noise")


def test_the_rate_range_display_marks_the_largest_stable_rate_and_the_limit(iris):
    net = DLClassifier(hidden_layer_sizes=(4,), module="mlp", activation="tanh", optimizer="sgd")
    ax = plt.subplots()[1]
    display = LearningRateRangeDisplay.from_estimator(
        net, *iris, rates=[0.1, 1.0, 1e5], n_epochs=2, random_state=0, ax=ax
    )
    display.figure_.canvas.draw()
    assert display.ax_ is ax
    found = display.found
    marks = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
    assert found.largest_stable in marks
    assert found.curvature_limit in marks
    # the mean is drawn where no seed is lost
    np.testing.assert_array_equal(display.line_.get_xdata(), [0.1, 1.0])
    assert f"best at {found.best:g}" in ax.get_title()


def test_the_schedule_display_draws_every_update():
    net = DLClassifier(schedule=None, warmup=0.5, max_epochs=4, batch_size=5, learning_rate=0.1)
    display = ScheduleDisplay.from_estimator(net, np.zeros((20, 1)))
    display.figure_.canvas.draw()
    assert len(display.line_.get_ydata()) == 4 * 4
    assert "epoch 2\n" in display.ax_.get_title()


def test_the_batch_size_display_has_a_line_a_momentum(iris):
    net = DLClassifier(hidden_layer_sizes=(4,), module="mlp", activation="tanh", optimizer="sgd")
    found = batch_size_study(
        net, *iris, batch_sizes=[16, 64], rates=[0.1], n_epochs=2, n_seeds=2, random_state=0
    )
    display = BatchSizeDisplay(found, "train_loss", "equal steps").plot()
    display.figure_.canvas.draw()
    table = found.table.query("budget == 'equal steps' and momentum == 0.9")
    np.testing.assert_array_equal(display.lines_[1].lines[0].get_ydata(), table["train_loss"])
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["16", "64"]
    with pytest.raises(ValueError, match="among those of the study"):
        BatchSizeDisplay(found, "width")
