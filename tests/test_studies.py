"""Do the studies of training find what mathematics forces?"""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dl import PLAIN, DLClassifier, DLRegressor
from sklearn_dl.curvature import gradient_noise, hessian_extremes, training_loss
from sklearn_dl.plotting import BatchSizeDisplay, LearningRateRangeDisplay, ScheduleDisplay
from sklearn_dl.studies import (
    batch_size_study,
    gradient_by_saturation,
    learning_rate_range,
    negative_curvature_by_width,
    saturation_study,
    schedule_rates,
    warmup_study,
)
from sklearn_dl.studies.learning_rate import rate_grid, workable
from sklearn_dl.studies.runs import initial, mean_interval, subject_of
from sklearn_dl.studies.saturation import _scaled
from sklearn_dl.studies.steps import update_cosine


def plain_network(**params):
    return DLClassifier(**PLAIN | {"hidden_layer_sizes": (5,), "activation": "tanh"} | params)


def quadratic(n=120, seed=0):
    """Rows whose squared error is a quadratic form in the weights of a linear network."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4)) * [1.0, 2.0, 0.5, 1.0]
    return X, X @ [1.0, -1.0, 2.0, 0.5] + 0.1 * rng.standard_normal(n)


def linear_network(**params):
    plain = PLAIN | {"preprocessing": None, "hidden_layer_sizes": (), "optimizer": "sgd"}
    return DLRegressor(**plain | {"momentum": 0.0, "batch_size": 1000, "dtype": "float64"} | params)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_on_a_quadratic_surface_training_is_stable_up_to_the_curvature_limit(momentum):
    X, y = quadratic()
    limit = learning_rate_range(
        linear_network(momentum=momentum), X, y, rates=[1e-3, 1e-2], n_epochs=2, random_state=0
    ).curvature_limit
    found = learning_rate_range(
        linear_network(momentum=momentum), X, y, rates=[0.5 * limit, 0.97 * limit, 1.03 * limit],
        n_epochs=600, random_state=1,
    )  # fmt: skip
    assert found.largest_stable == pytest.approx(0.97 * limit)
    assert found.first_unstable == pytest.approx(1.03 * limit)
    top = hessian_extremes(linear_network(learning_rate=1e-3, max_epochs=1).fit(X, y), X, y)
    assert limit == pytest.approx(2 * (1 + momentum) / top.eigenvalue_max, rel=0.02)


def test_the_range_test_trains_all_rates_and_seeds_and_shows_its_rows(iris):
    net = DLClassifier(hidden_layer_sizes=(8,), module="mlp", optimizer="sgd", learning_rate=0.1)
    found = learning_rate_range(net, *iris, n_epochs=3, n_seeds=2, random_state=0)
    assert len(found.runs) == len(found.rates) * 2 == 2 * 19
    stable = found.rates["learning_rate"] <= found.largest_stable
    assert found.rates.loc[stable, "stable"].all()
    assert found.best <= found.largest_stable or found.rates["stable"].any()
    np.testing.assert_array_equal(
        found.runs.groupby("learning_rate")["loss"].mean(), found.rates["loss"]
    )
    again = learning_rate_range(net, *iris, n_epochs=3, n_seeds=2, random_state=0)
    assert found.runs.equals(again.runs)


def test_the_curvature_limit_is_not_claimed_for_other_optimizers(iris):
    found = learning_rate_range(
        DLClassifier(optimizer="adam"), *iris, rates=[1e-3, 1e-2], n_epochs=1, random_state=0
    )
    assert np.isnan(found.curvature_limit)
    assert "not of 'adam'" in found.notes[0]
    bent = learning_rate_range(
        DLRegressor(optimizer="sgd", loss="mae"), *quadratic(), rates=[1e-3, 1e-2], n_epochs=1
    )
    assert "second derivative zero" in bent.notes[0]


def test_a_pipeline_is_studied_as_its_network_on_its_transformed_rows(iris):
    X, y = iris
    net = DLClassifier(hidden_layer_sizes=(4,), module="mlp", optimizer="sgd")
    options = {"rates": [0.01, 0.1], "n_epochs": 2, "random_state": 0}
    inside = learning_rate_range(make_pipeline(StandardScaler(), net), X, y, **options)
    outside = learning_rate_range(net, StandardScaler().fit_transform(X), y, **options)
    assert inside.runs.equals(outside.runs)


def test_the_initial_network_is_the_one_that_fits_start_from(iris):
    X, y = iris
    subject = subject_of(plain_network(batch_size=200), X, y)
    (start,) = initial(subject, [3])
    fitted = subject.network.set_params(max_epochs=1, random_state=3).fit(X, y)
    # with one batch the first epoch's training loss is that of the initial weights
    assert start.loss == pytest.approx(fitted.history_["train_loss"][0], rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"warmup": 0.3},
        {"schedule": "cosine", "warmup": 0.1},
        {"schedule": "step", "decay_every": 2, "decay_factor": 0.5},
        {"schedule": "one_cycle"},
        {"schedule": "exponential"},
    ],
    ids=str,
)
def test_the_schedule_is_drawn_as_training_sets_it(iris, options):
    net = DLClassifier(max_epochs=6, batch_size=32, learning_rate=0.01, random_state=0, **options)
    rates = schedule_rates(net, 150)
    steps = 5
    assert len(rates) == 6 * steps
    seen = net.fit(*iris).history_["learning_rate"]
    np.testing.assert_allclose(rates["learning_rate"][steps - 1 :: steps], seen, rtol=1e-6)


def test_the_warmup_study_pairs_training_with_and_without(iris):
    net = plain_network(optimizer="sgd", max_epochs=4)
    table = warmup_study(net, *iris, rates=[0.1, 1e6], n_seeds=2, random_state=0)
    assert table["warmup"].tolist() == [0.0, 0.1, 0.0, 0.1]
    assert table["exploded"].tolist() == [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="0 < warmup < 1"):
        warmup_study(net, *iris, warmup=0.0)


@pytest.fixture
def trained(iris):
    X, y = iris
    return plain_network(max_epochs=5, dtype="float64", random_state=0).fit(X, y), X, y


def test_the_variance_of_a_batch_gradient_falls_as_one_over_its_size(trained):
    model, X, y = trained
    module, rng = model.module_, np.random.default_rng(0)
    inputs, target = torch.as_tensor(model.encode(X)), torch.as_tensor(y)
    noise = gradient_noise(model, X, y)

    def gradient(rows):
        loss = torch.nn.functional.cross_entropy(module(inputs[rows]), target[rows])
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, module.parameters())])

    mean = gradient(np.arange(150))
    assert noise.gradient_norm == pytest.approx(float(mean.norm()), rel=1e-9)
    for size in (5, 20, 80):
        squares = [
            float((gradient(rng.choice(150, size, replace=False)) - mean).square().sum())
            for _ in range(400)
        ]
        error = np.std(squares) / 20
        assert noise.variance(size) == pytest.approx(np.mean(squares), abs=4 * error)
    assert noise.variance(150) == 0
    assert noise.scale == pytest.approx(noise.trace / noise.gradient_norm**2)
    with pytest.raises(ValueError, match="at least 1"):
        noise.variance(0)


def test_the_variance_of_a_weighted_batch_is_that_of_training(trained):
    """Training adds up gradients times each row's weight over the mean weight."""
    model, X, y = trained
    rng = np.random.default_rng(0)
    weight = np.where(y == 0, 10.0, 1.0) * rng.exponential(size=150)
    noise = gradient_noise(model, X, y, sample_weight=weight)
    module = model.module_
    losses = torch.nn.functional.cross_entropy(
        module(torch.as_tensor(model.encode(X))), torch.as_tensor(y), reduction="none"
    ) * torch.as_tensor(weight / weight.mean())
    rows = [
        torch.cat([
            g.flatten()
            for g in torch.autograd.grad(one, module.parameters(), retain_graph=True)
        ])
        for one in losses
    ]  # fmt: skip
    assert noise.trace == pytest.approx(float(torch.stack(rows).var(dim=0).sum()), rel=1e-9)
    assert noise.gradient_norm == pytest.approx(float(torch.stack(rows).mean(0).norm()), rel=1e-9)


def test_row_gradients_in_pieces_and_weights_give_the_same_noise(trained, monkeypatch):
    model, X, y = trained
    whole = gradient_noise(model, X, y)
    monkeypatch.setattr("sklearn_dl.curvature.noise.CHUNK", 7 * 43)
    assert gradient_noise(model, X, y).trace == pytest.approx(whole.trace, rel=1e-10)
    twice = gradient_noise(model, np.vstack([X, X]), np.tile(y, 2))
    assert twice.trace * 299 / 300 == pytest.approx(whole.trace * 149 / 150, rel=1e-9)


def test_the_training_loss_is_what_training_reports(iris):
    X, y = iris
    net = plain_network(batch_size=200, dtype="float64")
    one = net.set_params(max_epochs=4, random_state=0).fit(X, y)
    # one batch an epoch: the loss noted in epoch 5 is that of the weights after epoch 4
    after = DLClassifier(**net.get_params() | {"max_epochs": 5}).fit(X, y)
    assert training_loss(one, X, y) == pytest.approx(after.loss_curve_[4], rel=1e-9)


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((160, 3))
    y = (X[:, 0] + 0.5 * rng.standard_normal(160) > 0).astype(int)
    net = DLClassifier(
        hidden_layer_sizes=(4,), module="mlp", activation="tanh", optimizer="sgd", learning_rate=0.1
    )
    return batch_size_study(
        net, X, y, batch_sizes=[10, 40, 120], rates=[0.03, 0.3], n_epochs=4, n_seeds=2,
        random_state=0,
    )  # fmt: skip


def test_updates_are_the_batches_of_the_epochs(study):
    runs = study.runs[study.runs["budget"] == "equal epochs"]
    per_size = runs.groupby("batch_size")["updates"].unique()
    assert [list(v) for v in per_size] == [[4 * 12], [4 * 3], [4 * 1]]  # 120 training rows
    equal = study.runs[study.runs["budget"] == "equal steps"]
    assert set(equal["updates"]) == {12}  # as many as the middle size makes in four epochs


def test_each_batch_size_is_shown_at_its_own_best_rate(study):
    for row in study.table.to_dict("records"):
        own = study.runs[
            (study.runs[["budget", "batch_size", "momentum"]] == [row[k] for k in (
                "budget", "batch_size", "momentum")]).all(axis=1)
        ]  # fmt: skip
        means = own.groupby("learning_rate")["train_loss"].mean()
        assert row["learning_rate"] == means.idxmin()
        assert row["train_loss"] == pytest.approx(means.min())
    assert len(study.table) == 2 * 3 * 2
    assert np.isfinite(study.best.drop(columns=["budget"]).to_numpy(dtype=float)).all()


def test_the_claims_are_differences_paired_by_seed(study):
    claim = study.claims.iloc[0]
    own = study.best[
        (study.best["budget"] == claim["budget"]) & (study.best["momentum"] == claim["momentum"])
    ]
    small, large = (
        own[own["batch_size"] == b].set_index("seed")[claim["measure"]] for b in (10, 120)
    )
    assert claim["difference"] == pytest.approx((small - large).mean())
    assert set(study.claims["holds"]) <= {"yes", "no", "unclear"}
    # a batch of all rows has no gradient noise: that one holds by mathematics
    noisier = study.claims[study.claims["claim"] == "small batches are noisier"]
    assert (noisier["difference"] > 0).all()
    assert "small batches are noisier" in str(study)


@pytest.mark.parametrize(("momentum", "expected"), [(0.0, 0.0), (0.8, 0.8)])
def test_successive_updates_by_pure_noise_have_the_cosine_of_the_momentum(momentum, expected):
    # the gradient at rows of batch size 1 is +-1 at random and the rate moves nothing that matters
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], size=(400, 200))
    y = rng.choice([-1.0, 1.0], size=400)
    net = linear_network(batch_size=2, learning_rate=1e-7, momentum=momentum, max_epochs=3)
    subject = subject_of(net, X, y)
    (run,) = initial(subject, [0])
    run = type(run)({"momentum": momentum}, 0, None, 0.0, False)
    assert update_cosine(subject, run)[0] == pytest.approx(expected, abs=0.08)


def test_workable_rates_and_the_grid():
    assert rate_grid(0.1, (-1, 1)) == [0.01, 0.0215, 0.0464, 0.1, 0.215, 0.464, 1.0]
    assert workable([0.9, 0.2, 0.1, np.inf], 1.0).tolist() == [False, False, True, False]
    mean, low, high = mean_interval([1.0, 3.0])
    assert (mean, low) == (2.0, pytest.approx(2 - 12.706, abs=1e-3))
    assert high - mean == mean - low
    assert np.isnan(mean_interval([1.0])[1])


def test_batch_sizes_are_compared_for_a_loss_without_second_derivative(diabetes):
    net = DLRegressor(**PLAIN | {"hidden_layer_sizes": (3,), "loss": "mae"})
    options = {"batch_sizes": [100, 331], "rates": [0.1], "momenta": [0.0], "n_seeds": 2}
    found = batch_size_study(net, *diabetes, **options, n_epochs=1, random_state=0)
    assert found.best["eigenvalue_max"].isna().all()
    measured = found.best[["test_loss", "noise_scale", "gradient_variance", "adaptive_sharpness"]]
    assert np.isfinite(measured.to_numpy()).all()
    assert any("no eigenvalues" in note for note in found.notes)
    title = BatchSizeDisplay(found, "eigenvalue_max").plot().ax_.get_title()
    assert title == "The eigenvalue max of this network is not known"


def test_a_range_without_a_stable_rate_says_so():
    found = learning_rate_range(
        linear_network(max_epochs=1), *quadratic(), rates=[10.0, 100.0], n_seeds=1, random_state=0
    )
    assert np.isnan(found.largest_stable)
    assert str(found).startswith("no rate tried is stable, not even 10")
    assert np.isnan(found.best)
    assert not found.rates["works"].any()
    title = LearningRateRangeDisplay(found).plot().ax_.get_title()
    assert title == "No rate tried is stable"


def test_schedules_take_what_studies_take():
    X = sparse.csr_array(np.ones((90, 2)))
    net = DLClassifier(batch_size=30, max_epochs=2, schedule="cosine")
    assert len(ScheduleDisplay.from_estimator(net, X).rates) == 6
    with pytest.raises(TypeError, match="got LogisticRegression"):
        schedule_rates(LogisticRegression(), 90)
    for rows in (0, np.ones(90)):
        with pytest.raises(ValueError, match="n_rows must be a positive int"):
            schedule_rates(net, rows)


def test_studies_refuse_what_they_cannot_train(iris):
    X, y = iris
    with pytest.raises(ValueError, match="rates is empty"):
        warmup_study(DLClassifier(), X, y, rates=[])
    with pytest.raises(TypeError, match="got LogisticRegression"):
        learning_rate_range(LogisticRegression(), X, y)
    with pytest.raises(ValueError, match="two or more positive rates"):
        learning_rate_range(DLClassifier(), X, y, rates=[0.1])
    with pytest.raises(ValueError, match="two or more positive batch sizes"):
        batch_size_study(DLClassifier(), X, y, batch_sizes=[8])
    with pytest.raises(ValueError, match="X_test and y_test"):
        batch_size_study(DLClassifier(), X, y, X_test=X)
    with pytest.raises(ValueError, match="two seeds"):
        batch_size_study(DLClassifier(), X, y, n_seeds=1)


def test_sigmoid_gradients_are_the_closed_forms():
    z = np.linspace(-8, 8, 9)
    table = gradient_by_saturation(z, link="sigmoid")
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(table["probability"], p)
    np.testing.assert_allclose(table["cross_entropy_gradient"], 1 - p)
    np.testing.assert_allclose(table["mse_gradient"], 2 * (1 - p) * p * (1 - p))
    np.testing.assert_allclose(table["mse"], (1 - p) ** 2)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_softmax_gradients_are_the_closed_forms(n_classes):
    table = gradient_by_saturation([-20.0, 0.3, 20.0], n_classes=n_classes)
    for row in table.to_dict("records"):
        p = np.exp(np.r_[row["logit"], np.zeros(n_classes - 1)])
        p /= p.sum()
        error = p - np.eye(n_classes)[0]
        assert row["cross_entropy_gradient"] == pytest.approx(np.linalg.norm(error))
        jacobian = np.diag(p) - np.outer(p, p)
        assert row["mse_gradient"] == pytest.approx(np.linalg.norm(2 * jacobian @ error))
    wrong, _, right = table.to_dict("records")
    assert wrong["cross_entropy_gradient"] > 1
    assert wrong["mse_gradient"] < 1e-7
    assert right["cross_entropy_gradient"] < 1e-7
    with pytest.raises(ValueError, match="link must be"):
        gradient_by_saturation(link="probit")


def test_losses_start_from_the_same_draw_and_scales_from_its_multiples(iris):
    net = plain_network(optimizer="sgd", learning_rate=0.1, max_epochs=3)
    found = saturation_study(net, *iris, scales=(1.0, 30.0), n_seeds=2, random_state=0)
    first = found.curves[found.curves["epoch"] == 0].pivot(
        index=["scale", "seed"], columns="loss", values="accuracy"
    )
    np.testing.assert_array_equal(first["mse"], first["cross_entropy"])
    # a positive factor on one linear layer changes no prediction, on tanh units some
    assert found.curves.groupby(["loss", "scale", "seed"]).size().unique().tolist() == [4]
    start = found.table.set_index(["loss", "scale"])["start_gradient"]
    # saturated: the gradient of squared error is smaller, that of cross-entropy is not
    assert start["mse", 30.0] < start["mse", 1.0]
    assert start["cross_entropy", 30.0] > start["mse", 30.0]
    with pytest.raises(TypeError, match="DLClassifier"):
        saturation_study(DLRegressor(), *iris)


def test_the_scale_is_that_of_the_weights_and_not_of_the_encoding(iris):
    net = DLClassifier(max_epochs=2, hidden_layer_sizes=(4,), n_members=2)
    (run,) = initial(subject_of(net, *iris), [0])
    start = _scaled(run, "mse", 3.0)
    for (name, own), (_, scaled) in zip(
        run.fitted.module_.state_dict().items(), start.module_.state_dict().items(), strict=True
    ):
        learnt = name in dict(run.fitted.module_.named_parameters())
        torch.testing.assert_close(scaled, 3 * own if learnt else own)
    assert len(run.fitted.module_.state_dict()) > len(list(run.fitted.module_.parameters()))


def test_the_initial_network_of_one_that_stops_early_has_met_all_rows(iris):
    net = plain_network(early_stopping=True, max_epochs=2)
    found = learning_rate_range(net, *iris, rates=[1e-30, 1e-29], n_seeds=2, random_state=0)
    assert found.runs["loss"].to_numpy() == pytest.approx(found.runs["start_loss"], rel=1e-6)


def test_activations_are_compared_from_the_same_seeds(iris):
    net = plain_network(hidden_layer_sizes=(4, 4), max_epochs=1)
    found = saturation_study(
        net, *iris, losses=["cross_entropy"], activations=["sigmoid", "relu"], scales=[1.0],
        n_seeds=2, random_state=0,
    )  # fmt: skip
    ratio = found.table.set_index("activation")["layer_ratio"]
    # each sigmoid layer multiplies the gradient by at most a quarter
    assert ratio["sigmoid"] < ratio["relu"]


def test_negative_eigenvalues_are_counted_over_width(iris):
    table = negative_curvature_by_width(
        plain_network(), *iris, widths=(2, 16), n_seeds=3, random_state=0
    )
    assert table["n_parameters"].tolist() == [4 * 2 + 2 + 2 * 3 + 3, 4 * 16 + 16 + 16 * 3 + 3]
    assert table["negative_share"].between(0, 1).all()
    np.testing.assert_allclose(table["n_negative"], table["negative_share"] * table["n_parameters"])
    with pytest.raises(ValueError, match="positive widths"):
        negative_curvature_by_width(plain_network(), *iris, widths=())


def test_adam_without_momentum_and_bias_correction_is_rmsprop(iris):
    class Uncorrected(torch.optim.Optimizer):
        """Kingma and Ba 2015, algorithm 1, with beta1 = 0 and without the lines of correction."""

        def __init__(self, params, lr, weight_decay=0.0):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(0.9).addcmul_(p.grad, p.grad, value=1 - 0.9)
                p.sub_(self.param_groups[0]["lr"] * p.grad / (v.sqrt() + 1e-8))

    options = {"learning_rate": 0.01, "max_epochs": 5, "dtype": "float64", "random_state": 0}
    rmsprop = plain_network(**options, optimizer="rmsprop").fit(*iris)
    adam = plain_network(**options, optimizer=Uncorrected).fit(*iris)
    for a, b in zip(rmsprop.module_.parameters(), adam.module_.parameters(), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-9)
