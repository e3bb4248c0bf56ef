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
from sklearn_dl.plotting import LedgerDisplay, TrainingCurveDisplay


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


def test_the_training_curve_reads_pipelines_and_scikit_learns_nets(iris):
    net = MLPClassifier(max_iter=200, learning_rate_init=0.05, random_state=0)
    pipe = make_pipeline(StandardScaler(), net).fit(*iris)
    display = TrainingCurveDisplay.from_estimator(pipe)
    assert display.lines_[0].get_ydata() == pytest.approx(pipe[-1].loss_curve_)


def test_a_model_without_history_is_refused(iris):
    with pytest.raises(TypeError, match="LogisticRegression keeps no training history"):
        TrainingCurveDisplay.from_estimator(LogisticRegression(max_iter=500).fit(*iris))
