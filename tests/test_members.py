"""An ensemble is its members' mean, and they stop together by what they lost on rows left out."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, load_model, save_model
from sklearn_dl.diagnosis.subject import find_subject
from sklearn_dl.estimators import network
from sklearn_dl.fitting import Rows, member_folds
from sklearn_dl.losses import classifier_loss
from sklearn_dl.recipes import N_MEMBERS
from sklearn_dl.tabular import TabularEncoder, check_table
from sklearn_dl.tabular.bins import N_BINS, bins_of_column, bins_per_column, encoded_bins
from sklearn_dl.training import train_alone
from sklearn_dl.training.sharpness import best_factor

QUICK = {"hidden_layer_sizes": (16,), "learning_rate": 0.01, "random_state": 0}


def rows_of(n=60, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 4))
    return X, (X[:, 0] + 0.5 * rng.normal(size=n) > 0).astype(int)


@pytest.mark.parametrize(
    ("estimator", "y", "mean"),
    [
        (DLClassifier(max_epochs=4, **QUICK), 0, lambda z: torch.log(torch.softmax(z, -1).mean(0))),
        (DLClassifier(max_epochs=4, **QUICK), 1, lambda z: torch.logit(torch.sigmoid(z).mean(0))),
        (DLRegressor(max_epochs=4, **QUICK), 2, lambda z: z.mean(0)),
        (DLRegressor(max_epochs=4, loss="poisson", **QUICK), 3, lambda z: z.exp().mean(0).log()),
        (
            DLRegressor(max_epochs=4, loss="pinball", quantile=(0.2, 0.8), **QUICK),
            2,
            lambda z: z.mean(0),
        ),
    ],
    ids=["classes", "labels", "numbers", "counts", "quantiles"],
)
def test_module_gives_the_mean_prediction_of_the_members(estimator, y, mean):
    X, labels = rows_of()
    target = (labels, np.stack([labels, 1 - labels], 1), X[:, 1] + X[:, 0], 3.0 * labels)[y]
    estimator.fit(X, target)
    inputs = torch.from_numpy(estimator.encode(X))
    module = estimator.module_
    outputs = torch.stack([member(inputs) for member in module.members]).detach()
    assert len(module.members) == N_MEMBERS
    assert float(outputs.std(0).min()) > 0
    torch.testing.assert_close(module(inputs), mean(outputs), rtol=1e-9, atol=1e-9)
    again = pickle.loads(pickle.dumps(estimator))
    assert_array_equal(again.predict(X), estimator.predict(X))


def test_rows_of_equal_content_are_left_out_by_the_same_member():
    X, y = rows_of(30)
    repeats = np.arange(30) % 3 + 1
    once = member_folds(Rows(X, y, None), 5, seed=7, stratify=True, one_batch=True).numpy()
    often = Rows(np.repeat(X, repeats, 0), np.repeat(y, repeats), None)
    folds = member_folds(often, 5, seed=7, stratify=True, one_batch=True)
    assert_array_equal(np.repeat(once, repeats), folds)
    whole = Rows(pd.DataFrame((10 * X).astype(int)), y, None)
    same = Rows((10 * X).astype(int), y, None)
    by_dtype = [member_folds(r, 5, seed=7, stratify=True, one_batch=True) for r in (whole, same)]
    assert_array_equal(*by_dtype)
    for label in (0, 1):  # each member leaves out its share of each class
        counts = np.bincount(once[y == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_too_few_different_rows_are_left_out_by_nobody():
    X, y = np.repeat(np.eye(4), 5, 0), np.repeat([0, 1, 0, 1], 5)
    rows = Rows(X, y, None)
    assert member_folds(rows, 5, seed=0, stratify=True, one_batch=True) is None
    assert member_folds(rows, 1, seed=0, stratify=True, one_batch=False) is None


@pytest.mark.parametrize("estimator", [DLClassifier, DLRegressor])
def test_a_weight_is_a_repetition(estimator):
    X, y = rows_of(24)
    weight = np.arange(24) % 3
    kept = weight > 0
    a = estimator(**QUICK).fit(X, y, sample_weight=weight)
    b = estimator(**QUICK).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    outputs = "predict_proba" if estimator is DLClassifier else "predict"
    assert a.best_epoch_ == b.best_epoch_
    assert_allclose(getattr(a, outputs)(X[kept]), getattr(b, outputs)(X[kept]), rtol=1e-7)


def test_members_stop_together_where_the_rows_left_out_say_so():
    X = rows_of(200)[0]
    noise = np.random.RandomState(1).randint(2, size=200)  # nothing to learn: overfits at once
    fitted = DLClassifier(**QUICK).fit(X, noise)
    assert fitted.best_epoch_ < fitted.n_iter_ == fitted.best_epoch_ + 10
    watched = fitted.history_["valid_loss"]
    assert int(watched.idxmin()) + 1 == fitted.best_epoch_
    asked = DLClassifier(max_epochs=23, **QUICK).fit(X, noise)  # all rows, to the last epoch
    assert asked.n_iter_ == 23
    assert asked.best_epoch_ is None
    assert fitted.validation_scores_ is None


@pytest.mark.parametrize("multilabel", [False, True], ids=["classes", "labels"])
def test_outputs_are_made_as_sure_as_rows_left_out_allow(multilabel):
    rng = np.random.RandomState(0)
    z = torch.from_numpy(rng.normal(size=(2000, 3)))
    loss = classifier_loss("cross_entropy", multilabel=multilabel)
    p = torch.sigmoid(2 * z) if multilabel else torch.softmax(2 * z, -1)
    drawn = rng.uniform(size=(2000, 3 if multilabel else 1))
    target = (
        torch.from_numpy((drawn < p.numpy()).astype(float))
        if multilabel
        else torch.from_numpy((p.numpy().cumsum(1) < drawn).sum(1))
    )
    share = torch.full((2000,), 1 / 2000, dtype=torch.float64)
    factor, lost = best_factor(loss, z, target, share)
    assert 1.8 < factor < 2.2  # labels were drawn with 2
    around = [float((loss(z * f, target) * share).sum()) for f in (0.96 * factor, 1.04 * factor)]
    assert lost < min(around)
    weight = torch.arange(2000) % 3
    often = best_factor(
        loss,
        z.repeat_interleave(weight, 0),
        target.repeat_interleave(weight, 0),
        torch.full((int(weight.sum()),), 1 / int(weight.sum()), dtype=torch.float64),
    )
    assert best_factor(loss, z, target, weight / weight.sum())[0] == often[0]


def test_the_factor_is_part_of_the_last_layer_and_moves_no_training(monkeypatch):
    X, y = rows_of(100)

    def fitted(factor):
        def given(*args):
            return factor, best_factor(*args)[1]

        monkeypatch.setattr("sklearn_dl.training.judging.best_factor", given)
        return DLClassifier(**QUICK).fit(X, y)

    once, twice = fitted(1.0), fitted(2.0)
    assert once.best_epoch_ == twice.best_epoch_
    for a, b in zip(once.module_.members, twice.module_.members, strict=True):
        *body, weight, bias = a.parameters()
        *same, heavy, shifted = b.parameters()
        assert all(map(torch.equal, body, same))
        assert torch.equal(heavy, 2 * weight)
        assert torch.equal(shifted, 2 * bias)


def test_dropout_is_none_where_rows_left_out_end_the_training():
    X, y = rows_of()
    for settings, share in (({}, 0.0), ({"max_epochs": 3}, 0.1), ({"early_stopping": True}, 0.1)):
        settings = {**QUICK, **settings}
        nets = [DLClassifier(dropout=d, **settings).fit(X, y) for d in ("auto", share)]
        assert_array_equal(*(net.predict_proba(X) for net in nets))
        assert find_subject(DLClassifier(**settings)).setting("dropout") == share
    assert find_subject(DLClassifier(n_members=1)).setting("dropout") == 0.1


@pytest.mark.filterwarnings("ignore:the training loss was still falling")
def test_targets_are_spread_where_rows_left_out_say_how_sure_to_be():
    X, y = rows_of()
    mse = {"loss": "mse"}
    for settings, share in (({}, 0.05), ({"max_epochs": 3}, 0.0), (mse, 0.0), ({**PLAIN}, 0.0)):
        settings = {**QUICK, **settings}
        nets = [DLClassifier(label_smoothing=e, **settings).fit(X, y) for e in ("auto", share)]
        assert_array_equal(*(net.predict_proba(X) for net in nets))
        assert find_subject(DLClassifier(**settings)).setting("label_smoothing") == share
    labels = [DLClassifier(label_smoothing=e, **QUICK).fit(X, np.c_[y, 1 - y]) for e in ("auto", 0)]
    assert_array_equal(*(net.predict_proba(X) for net in labels))


def test_plain_parameters_train_one_network_to_its_last_epoch():
    X, y = rows_of()
    fitted = DLClassifier(**PLAIN, max_epochs=5, random_state=0).fit(X, y)
    assert fitted.best_epoch_ is None
    assert [type(layer).__name__ for layer in fitted.module_][::3] == ["Linear"] * 3


def test_members_go_on_from_where_they_were():
    X, y = rows_of(100)
    net = DLClassifier(**QUICK)
    for _ in range(3):
        net.partial_fit(X, y, classes=[0, 1])
    assert net.n_iter_ == 3
    before = net.loss_curve_[-1]
    net.set_params(warm_start=True, max_epochs=10).fit(X, y)
    assert net.loss_curve_[-1] < before
    assert len(net.module_.members) == N_MEMBERS


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True, "max_epochs": 3}])
def test_a_network_that_goes_on_leaves_the_same_rows_out(monkeypatch, settings):
    jobs = []
    monkeypatch.setattr(network, "submit", lambda job: jobs.append(job) or train_alone(job))
    X, y = rows_of(100)
    net = DLClassifier(**{**QUICK, "random_state": None}, warm_start=True).set_params(**settings)
    for _ in range(3):
        net.fit(X, y)
    for job in jobs[1:]:
        if settings:
            assert torch.equal(job.validation.inputs.values, jobs[0].validation.inputs.values)
        else:
            assert torch.equal(job.folds, jobs[0].folds)
    assert len({job.seed for job in jobs}) == 3


def test_one_network_where_several_could_not_train_together():
    X, y = rows_of()

    class Quiet(Callback):
        pass

    for alone in ({"callbacks": [Quiet()]}, {"optimizer": torch.optim.LBFGS}):
        settings = {**QUICK, "max_epochs": 2, **alone}
        assert not hasattr(DLClassifier(**settings).fit(X, y).module_, "members")
        with pytest.raises(ValueError, match=r"n_members=3 networks train together.*n_members=1"):
            DLClassifier(n_members=3, **settings).fit(X, y)


def test_any_module_can_have_members():
    X, y = rows_of()
    for module in ("mlp", "residual", lambda i, o: torch.nn.Linear(i, o)):
        fitted = DLClassifier(module=module, n_members=2, max_epochs=3, **QUICK).fit(X, y)
        assert len(fitted.module_.members) == 2
    with pytest.raises(ValueError, match="draws random numbers"):
        DLClassifier(
            module=lambda i, o: torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(i, o)),
            n_members=2,
        ).fit(X, y)


# levels as vectors


def rows_of_levels(n=1200, n_levels=300, seed=0):
    rng = np.random.RandomState(seed)
    codes, effects = rng.permutation(np.arange(n) % n_levels), rng.normal(size=n_levels)
    x = rng.normal(size=n)
    X = pd.DataFrame({"level": [f"level {code}" for code in codes], "x": x})
    return X, x + 2 * effects[codes] + 0.3 * rng.normal(size=n)


@pytest.mark.filterwarnings("ignore:No value of column .level. was seen")
def test_hundreds_of_levels_are_learnt_and_travel(tmp_path):
    X, y = rows_of_levels()
    train, test = slice(0, 900), slice(900, None)  # three rows a level
    settings = {"n_members": 2, "max_epochs": 15, **QUICK}
    fitted = DLRegressor(**settings).fit(X[train], y[train])
    plain = DLRegressor(**settings, module="mlp").fit(X[train], y[train])
    assert fitted.encoder_.n_encoded_ == 2
    score = fitted.score(X[test], y[test])
    assert score > 0.6 > plain.score(X[test], y[test]) + 0.2
    new = X[test].assign(level="new")  # as much as is known without the level
    assert np.corrcoef(fitted.predict(new), new["x"])[0, 1] > 0.9
    save_model(fitted, tmp_path / "model")
    assert_array_equal(load_model(tmp_path / "model").predict(X), fitted.predict(X))
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(new), fitted.predict(new))
    fitted._network["n_levels"] = (10**9,)
    save_model(fitted, tmp_path / "model")
    with pytest.raises(ValueError, match="other levels than its encoder"):
        load_model(tmp_path / "model")


def test_levels_of_weighted_rows_are_those_of_repeated_rows():
    X, y = rows_of_levels(200, 150)
    weights = np.random.RandomState(1).randint(0, 3, len(X))
    repeated = np.arange(len(X)).repeat(weights)
    settings = {"random_state": 0, "max_epochs": 5, "batch_size": 1000, "dtype": "float64"}
    a = DLRegressor(**settings).fit(X, y, sample_weight=weights)
    b = DLRegressor(**settings).fit(X.iloc[repeated], y[repeated])
    assert_allclose(a.predict(X), b.predict(X), rtol=1e-7)


@pytest.mark.parametrize("settings", [{"augmentation": "mixup"}, {"module": "mlp"}])
def test_codes_go_to_networks_that_embed_them_alone(settings):
    X, y = rows_of_levels(400, 200)
    fitted = DLRegressor(max_epochs=1, random_state=0, **settings).fit(X, y)
    assert fitted.encoder_.coded_columns_ == []
    assert np.isin(fitted.encode(X)[:, 1:], (0, 1)).all()


# waves of numbers


def test_waves_follow_what_turns_often():
    rng = np.random.RandomState(0)
    X = np.c_[rng.uniform(-1, 1, 600), rng.normal(size=600), np.ones(600)]
    y = np.sin(8 * X[:, 0]) + X[:, 1]
    scores = {}
    for module in ("periodic", "mlp"):
        settings = {"n_members": 2, "max_epochs": 40, **QUICK}
        fitted = DLRegressor(module=module, **settings).fit(X[:400], y[:400])
        scores[module] = fitted.score(X[400:], y[400:])
        assert fitted.encode(X).shape == (600, 3)
    assert scores["periodic"] > 0.95 > scores["mlp"] + 0.1


# piecewise-linear encoding


def test_bins_hold_equal_shares_and_are_centred():
    values = np.random.RandomState(0).lognormal(size=4001)
    bins = bins_of_column(values, None, 0.0, 1.0, clip=False, n_bins=N_BINS)
    encoded = np.clip(values[:, None] * bins[0] + bins[1], -bins[2], 1 - bins[2])
    # uniform within a bin up to the density's slope there; the last bin holds the long tail
    assert np.abs(encoded.mean(0)).max() < 0.03
    above = (encoded >= 1 - bins[2] - 1e-12).mean(0)
    assert_allclose(above, 1 - np.arange(1, N_BINS + 1) / N_BINS, atol=1e-3)


def test_bins_of_weights_are_those_of_repetitions():
    rng = np.random.RandomState(0)
    values, weights = rng.normal(size=50), rng.randint(1, 4, size=50)
    a = bins_of_column(values, weights.astype(float), 0.1, 2.0, clip=True, n_bins=8)
    b = bins_of_column(np.repeat(values, weights), None, 0.1, 2.0, clip=True, n_bins=8)
    assert_allclose(a, b, rtol=1e-12)


def test_two_values_have_no_bins_and_wide_tables_have_fewer():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.normal(size=99), rng.randint(2, size=99), np.full(99, 3.0)])
    X[5, 0] = np.nan
    encoder = TabularEncoder()
    table = check_table(encoder, X, reset=True)
    columns, bins = encoded_bins(encoder.fit(X), table)
    assert columns == (0,)
    assert bins.shape == (3, 1, N_BINS)
    assert np.isfinite(bins).all()
    assert bins_per_column(64) == 8
    assert bins_per_column(200) == 0


def test_a_bend_at_a_quantile_is_learnt_that_a_line_cannot_follow():
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(400, 1))
    y = np.abs(X[:, 0])
    linear = {"hidden_layer_sizes": (), "learning_rate": 0.05, "max_epochs": 60, "random_state": 0}
    assert DLRegressor(module="mlp", **linear).fit(X, y).score(X, y) < 0.1
    assert DLRegressor(module="ensemble", **linear).fit(X, y).score(X, y) > 0.95


@pytest.mark.parametrize("augmentation", ["noise", "mixup", lambda rows: rows])
def test_codes_are_not_shaken_in_going_on_either(augmentation):
    X, y = rows_of_levels()
    fitted = DLRegressor(max_epochs=1, n_members=1, warm_start=True, **QUICK).fit(X, y)
    assert len(fitted.encoder_.coded_columns_) == 1
    fitted.set_params(augmentation=augmentation)
    for train in (fitted.fit, fitted.partial_fit):
        with pytest.raises(ValueError, match="by their codes, which cannot be mixed or shaken"):
            train(X, y)
