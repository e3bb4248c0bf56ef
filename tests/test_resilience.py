"""What noise does to a model: is it measured alike for all models, and right where known?"""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_dl import DLClassifier
from sklearn_dl.resilience import resilience
from sklearn_dl.resilience.corruption import Draw, corrupted, learn_columns
from sklearn_dl.resilience.judging import Judge
from sklearn_dl.resilience.result import area_under, half_level
from sklearn_dl.resilience.study import noisy_labels


def line(n, rng, noise=0.1):
    """y = 2 x_0 + noise, and a column that says nothing."""
    X = rng.standard_normal((n, 2))
    return X, 2 * X[:, 0] + noise * rng.standard_normal(n)


@pytest.fixture
def fitted_line():
    X, y = line(600, np.random.default_rng(0))
    return LinearRegression().fit(X[:300], y[:300]), X[:300], y[:300], X[300:], y[300:]


def test_without_noise_all_the_skill_is_left_and_predictions_agree(fitted_line):
    model, X_train, y_train, X, y = fitted_line
    found = resilience(model, X, y, X_train=X_train, y_train=y_train, random_state=0)
    clean = found.curves[found.curves["level"] == 0]
    assert len(clean) == 3 * 2  # model, linear, gradient boosting; noise and missing values
    np.testing.assert_array_equal(clean["retention"], 1.0)
    np.testing.assert_allclose(clean["agreement"], 1.0)
    assert (clean["retention_low"] == 1.0).all()


def test_the_loss_of_a_linear_model_rises_by_its_weights_times_the_noise(fitted_line):
    # y = w x: E (w (x + s e) - y)^2 = L(0) + (w s)^2, here s = level * sd(x) and w = 2
    model, X_train, y_train, X, y = fitted_line
    found = resilience(
        model, X, y, X_train=X_train, y_train=y_train, references=None, missing=(), n_draws=30,
        random_state=1,
    )  # fmt: skip
    curve = found.curves.set_index("level")
    for level in (0.1, 0.5, 1.0):
        rise = curve.loc[level, "loss"] - curve.loc[0.0, "loss"]
        expected = (level * X_train.std(axis=0) * model.coef_) @ (
            level * X_train.std(axis=0) * model.coef_
        )
        assert rise == pytest.approx(expected, rel=0.1)


def test_lost_cells_leave_the_prediction_of_the_median(fitted_line):
    model, X_train, y_train, X, y = fitted_line
    found = resilience(
        model, X, y, X_train=X_train, y_train=y_train, references=None, noise=(), missing=[1.0],
        random_state=0,
    )  # fmt: skip
    last = found.curves.iloc[-1]
    at_median = model.predict(np.median(X_train, axis=0, keepdims=True))
    assert last["loss"] == pytest.approx(((at_median - y) ** 2).mean())


def test_all_models_meet_the_same_rows_and_random_numbers(fitted_line):
    model, X_train, y_train, X, y = fitted_line
    twin = LinearRegression()
    found = resilience(
        model, X, y, X_train=X_train, y_train=y_train, references={"twin": twin}, random_state=0
    )
    own, other = (found.curves[found.curves["model"] == m] for m in ("LinearRegression", "twin"))
    np.testing.assert_array_equal(own["loss"], other["loss"])
    leads = found.summary[found.summary["model"] == "twin"]
    assert (leads[["lead", "lead_low", "lead_high"]] == 0).all(axis=None)


def test_levels_of_a_draw_are_nested():
    X = np.zeros((50, 3))
    columns = learn_columns(np.random.default_rng(0).standard_normal((99, 3)))
    draw = Draw.new(np.random.default_rng(1), 50, columns)
    small, large = (corrupted("feature noise", X, columns, draw, s) for s in (0.1, 0.2))
    np.testing.assert_allclose(large, 2 * small)
    lost = [corrupted("missing values", X, columns, draw, r) != 0 for r in (0.1, 0.5)]
    assert (lost[1] | ~lost[0]).all()
    assert lost[1].sum() > lost[0].sum()


def test_categories_are_swapped_by_their_marginal_and_numbers_left_alone():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "c": pd.Categorical(rng.choice(["a", "b"], 4000, p=[0.9, 0.1])),
            "x": rng.normal(size=4000),
        }
    )
    columns = learn_columns(frame)
    assert (columns.numbers, columns.levels) == ((1,), (0,))
    swapped = corrupted("category swaps", frame, columns, Draw.new(rng, 4000, columns), 1.0)
    assert swapped["c"].dtype == frame["c"].dtype
    assert (swapped["c"] == "a").mean() == pytest.approx(0.9, abs=0.02)
    np.testing.assert_array_equal(swapped["x"], frame["x"])
    changed = (swapped["c"] != frame["c"]).mean()
    assert changed == pytest.approx(2 * 0.9 * 0.1, abs=0.02)


def test_a_model_of_categories_loses_skill_by_swaps():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"c": rng.choice(["a", "b", "c"], 400)})
    y = (frame["c"] == "a").to_numpy().astype(int)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, y)
    found = resilience(model, frame, y, references=None, random_state=0)
    assert found.corruptions == ("missing values", "category swaps")
    swaps = found.curves[found.curves["corruption"] == "category swaps"]
    assert (np.diff(swaps["retention"]) < 0).all()


def test_area_and_half_skill_level_of_known_curves():
    levels = np.array([0.0, 1.0, 2.0])
    straight = np.array([[1.0], [0.5], [0.0]])
    assert area_under(levels, straight)[0] == pytest.approx(0.5)
    assert half_level(levels, straight)[0] == pytest.approx(1.0)
    assert half_level(levels, np.array([[1.0], [0.9], [0.4]]))[0] == pytest.approx(1.8)
    assert half_level(levels, np.ones((3, 1)))[0] == np.inf
    assert np.isnan(half_level(levels, np.full((3, 1), np.nan))[0])


def test_the_interval_covers_the_loss_on_all_rows():
    # the loss on many rows is the truth; intervals from 20 samples of 150 should hold it mostly
    rng = np.random.default_rng(0)
    X, y = line(20_000, rng, noise=1.0)
    model = LinearRegression().fit(X[:300], y[:300])
    truth = ((model.predict(X[300:]) - y[300:]) ** 2).mean()
    covered = 0
    for k in range(20):
        rows = slice(300 + 150 * k, 450 + 150 * k)
        found = resilience(
            model, X[rows], y[rows], references=None, noise=[0.1], missing=(), n_draws=2,
            random_state=k,
        )  # fmt: skip
        clean = found.curves.iloc[0]
        covered += clean["loss_low"] <= truth <= clean["loss_high"]
    assert covered >= 16  # P(fewer) = 0.003 at a coverage of 0.95, 0.02 at 0.93


def test_a_model_without_skill_has_nothing_to_retain():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 2)), rng.integers(2, size=200)
    model = DummyClassifier().fit(X, y)
    found = resilience(model, X, y, references=None, random_state=0)
    assert found.curves["retention"].isna().all()
    assert "no sure skill to lose" in str(found)


def test_a_tree_with_a_threshold_between_near_rows_flips_where_it_is_sure():
    x = np.linspace(-1, 1, 200)[:, None]
    y = (x[:, 0] > 0).astype(int)
    sure = DecisionTreeClassifier().fit(x, y)
    found = resilience(sure, x, y, references=None, n_draws=20, random_state=0)
    # rows within some 0.05 sd of the threshold change sides: P(|z| > d) averaged over the rows
    expected = 0.05 * x.std() * np.sqrt(2 / np.pi) / 2
    assert found.absurd["share"].item() == pytest.approx(expected, rel=0.35)
    unsure = LogisticRegression(C=1e-3).fit(x, y)
    assert resilience(unsure, x, y, random_state=0).absurd["share"].iloc[0] == 0


def test_numbers_far_outside_the_training_range_are_absurd():
    judge = Judge("squared", np.zeros(4), None, np.array([0.0, 0.5, 1.0]))
    outputs = np.array([[-1.1], [-0.9], [1.9], [2.1]])
    assert judge.absurd(outputs, outputs).tolist() == [True, False, False, True]


def test_classes_without_probabilities_are_judged_by_their_errors(iris):
    X, y = iris
    model = RidgeClassifier().fit(X, y)
    found = resilience(model, X, y, references=None, random_state=0)
    assert found.loss_name == "share of wrong classes"
    assert len(found.absurd) == 0
    first = found.curves.iloc[0]
    assert first["loss"] == pytest.approx(1 - first["score"])
    with pytest.raises(ValueError, match="needs probabilities"):
        resilience(model, X, y, loss="log")


def test_half_of_the_labels_are_replaced_by_other_classes():
    y = np.array(["a", "b", "c"])[np.arange(3000) % 3]
    judge = Judge("log", np.arange(3), np.array(["a", "b", "c"]), np.full(3, 1 / 3))
    uniform = np.random.default_rng(0).uniform(size=(2, 3000))
    wrong = noisy_labels(y, 0.5, uniform, judge)
    assert (wrong != y).mean() == pytest.approx(0.5, abs=0.03)
    assert set(wrong[(y == "a") & (wrong != y)]) == {"b", "c"}
    np.testing.assert_array_equal(noisy_labels(y, 0.0, uniform, judge), y)


def test_label_noise_refits_every_model_on_the_same_labels(iris):
    X, y = iris
    model = DLClassifier(max_epochs=5, random_state=0).fit(X[::2], y[::2])
    found = resilience(
        model, X[1::2], y[1::2], X_train=X[::2], y_train=y[::2], noise=(), missing=(),
        label_noise=[0.4], references={"twin": model}, n_draws=3, random_state=0,
    )  # fmt: skip
    assert found.corruptions == ("label noise",)
    own, twin = (found.curves[found.curves["model"] == m] for m in ("DLClassifier", "twin"))
    np.testing.assert_allclose(own["loss"], twin["loss"], rtol=1e-5)


def test_the_score_by_group_and_period_is_that_of_their_rows(fitted_line):
    model, X_train, y_train, X, y = fitted_line
    groups, times = np.repeat(["p", "q"], 150), np.arange(300)
    found = resilience(
        model, X, y, X_train=X_train, y_train=y_train, references=None, noise=[0.1], missing=(),
        groups=groups, times=times, random_state=0,
    )  # fmt: skip
    by_group = found.parts[found.parts["kind"] == "group"].set_index("part")
    losses = (model.predict(X) - y) ** 2
    assert by_group.loc["q", "loss"] == pytest.approx(losses[150:].mean())
    assert by_group.loc["p", "score"] == pytest.approx(model.score(X[:150], y[:150]))
    periods = found.parts[found.parts["kind"] == "period"]
    assert periods["n"].tolist() == [30] * 10
    assert periods["part"].iloc[0] == "0 to 29"


def test_rows_without_a_group_are_a_group_of_their_own(fitted_line):
    model, X_train, y_train, X, y = fitted_line

    def measured(last):
        return resilience(
            model, X, y, X_train=X_train, y_train=y_train, references=None, noise=[0.1],
            missing=(), groups=pd.DataFrame({"group": np.repeat(["p", "q", last], 100)}),
            random_state=0,
        )  # fmt: skip

    named, unnamed = measured("r"), measured(None)
    pd.testing.assert_frame_equal(unnamed.curves, named.curves)
    pd.testing.assert_frame_equal(
        unnamed.parts.drop(columns="part"), named.parts.drop(columns="part")
    )


def test_without_training_rows_a_reference_predicts_rows_it_did_not_learn():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 2)), rng.standard_normal(100)
    by_heart = KNeighborsRegressor(1)
    found = resilience(
        by_heart.fit(X, y), X, y, references={"nearest": by_heart}, noise=[0.1], missing=(),
        random_state=0,
    )  # fmt: skip
    clean = found.curves[found.curves["level"] == 0].set_index("model")["loss"]
    assert clean["KNeighborsRegressor"] == 0
    assert clean["nearest"] > y.var()
    assert "X_train" in found.notes[0]


def test_data_frames_with_missing_values_and_pipelines_work():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=120),
            "c": rng.choice(["u", "v"], 120),
            "k": rng.integers(9, size=120),
        }
    )
    y = (frame["x"] > 0).to_numpy()
    frame.loc[::7, "x"] = np.nan
    model = DLClassifier(max_epochs=5, random_state=0).fit(frame, y)
    found = resilience(model, frame, y, n_draws=2, random_state=0)
    assert found.corruptions == ("feature noise", "missing values", "category swaps")
    assert np.isfinite(found.curves["loss"]).all()
    again = resilience(model, frame, y, n_draws=2, random_state=0)
    pd.testing.assert_frame_equal(found.curves, again.curves)


def test_the_references_read_nullable_numbers():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.standard_normal(80), "k": pd.array([None, 1, 2, 3] * 20)})
    y = (frame["x"] > 0).astype(int)
    assert frame["k"].dtype == "Int64"
    model = DLClassifier(max_epochs=2, random_state=0).fit(frame, y)
    found = resilience(model, frame, y, noise=[0.5], missing=(), n_draws=2, random_state=0)
    assert np.isfinite(found.curves["loss"]).all()


def test_what_cannot_be_measured_is_refused_with_the_way_out(iris):
    X, y = iris
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with pytest.raises(NotFittedError):
        resilience(LogisticRegression(), X, y)
    with pytest.raises(TypeError, match="toarray"):
        resilience(model, sparse.csr_array(X), y)
    with pytest.raises(TypeError, match="classifier or regressor; got StandardScaler"):
        resilience(StandardScaler().fit(X), X, y)
    with pytest.raises(ValueError, match="X_train and y_train"):
        resilience(model, X, y, label_noise=[0.1])
    with pytest.raises(ValueError, match=r"missing values must be shares .* \[2\.0\]"):
        resilience(model, X, y, missing=[2.0])
    with pytest.raises(ValueError, match="loss must be 'auto' or one of"):
        resilience(model, X, y, loss="squared")
    with pytest.raises(ValueError, match="references must be"):
        resilience(model, X, y, references="best")
    with pytest.raises(ValueError, match=r"noise must be a list of numbers, got 0\.1"):
        resilience(model, X, y, noise=0.1)
    with pytest.raises(ValueError, match="nothing to measure: X has 4 columns of numbers"):
        resilience(model, X, y, noise=(), missing=(), references=None)
    with pytest.raises(ValueError, match="same columns in the same order; got 4 and 2"):
        resilience(model, X, y, X_train=X[:, :2], y_train=y)
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.raises(ValueError, match="same columns in the same order"):
        resilience(model, frame, y, X_train=frame[list("bacd")], y_train=y)
    with pytest.raises(ValueError, match="called 'LogisticRegression', as the model"):
        resilience(model, X, y, references={"LogisticRegression": LogisticRegression()})
    with pytest.raises(ValueError, match=r"none of the labels in y, such as 'a', is a class"):
        resilience(model, X, np.array(list("abc"), dtype=object)[y])
    with pytest.raises(ValueError, match="50 values of y are missing"):
        resilience(model, X, np.where(y == 0, np.nan, y))
    with pytest.raises(ValueError, match="positions below 4"):
        resilience(model, X, y, categorical_features=[7])
