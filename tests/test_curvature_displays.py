"""Do the Displays of curvature draw what they are given?"""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_dl import DLClassifier
from sklearn_dl.curvature import loss_slice
from sklearn_dl.plotting import HessianSpectrumDisplay, LossLandscapeDisplay


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def fitted(iris):
    X, y = iris
    model = DLClassifier(hidden_layer_sizes=(5,), activation="tanh", max_epochs=5, random_state=0)
    return model.fit(X, y), X, y


def test_the_spectrum_shows_its_density_and_marks_its_ends(fitted):
    display = HessianSpectrumDisplay.from_estimator(*fitted, random_state=0)
    display.figure_.canvas.draw()
    grid, curve = display.line_.get_data()
    assert np.trapezoid(curve, grid) == pytest.approx(1, abs=0.01)
    marks = [line.get_xdata()[0] for line in display.ax_.lines[1:]]
    ends = display.extremes
    assert marks == [ends.eigenvalue_min, ends.eigenvalue_max]
    assert grid[0] < marks[0] < marks[1] < grid[-1]


def test_the_landscape_overlays_loss_and_taylor_model_along_both_ends(fitted):
    display = LossLandscapeDisplay.from_estimator(*fitted, random_state=0)
    display.figure_.canvas.draw()
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels[0] == "v_min"
    assert labels[2] == "v_max"
    for k, line in enumerate(display.slices):
        np.testing.assert_array_equal(display.lines_[2 * k].get_ydata(), line.losses)
        np.testing.assert_array_equal(display.lines_[2 * k + 1].get_ydata(), line.taylor)


def test_the_landscape_draws_a_plane_on_given_axes(fitted):
    ax = plt.subplots()[1]
    display = LossLandscapeDisplay.from_estimator(
        *fitted, directions="random", n_directions=2, ax=ax, random_state=0
    )
    display.figure_.canvas.draw()
    assert display.ax_ is ax
    assert ax.get_xlabel() == "step along random 1"
    plane = display.slices[0]
    with pytest.raises(ValueError, match="2 of them planes"):
        LossLandscapeDisplay(plane, plane)
    line = loss_slice(*fitted, random_state=0)
    assert len(LossLandscapeDisplay(line).plot().lines_) == 2
