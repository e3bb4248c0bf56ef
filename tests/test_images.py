"""Images as inputs: every shape they come in, and everything an estimator is used for."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, learning_curve
from torch import nn

from sklearn_dl import DLClassifier, DLRegressor, batched_fits, diagnose, load_model, save_model
from sklearn_dl.nn import Architecture, Batch, build
from sklearn_dl.tabular import ImageEncoder

DIGITS, LABELS = load_digits(return_X_y=True)
X, y = DIGITS[:240].reshape(-1, 1, 8, 8), LABELS[:240]
SMALL = {"channels": (4, 8), "hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0}
COLOUR = np.random.default_rng(0).normal([[[3.0]], [[-1.0]]], [[[2.0]], [[0.5]]], (60, 2, 6, 5))


@pytest.fixture(scope="module")
def fitted():
    return DLClassifier(module="cnn", **SMALL).fit(X, y)


# --- shapes in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        X[:, 0],
        X[:, 0].tolist(),
        X.reshape(240, -1),
        pd.DataFrame(X.reshape(240, -1)),
        csr_array(X.reshape(240, -1)),
        torch.from_numpy(X),
        np.asfortranarray(X),
    ],
    ids=["n h w", "list", "rows", "frame", "sparse", "tensor", "fortran"],
)
def test_images_are_the_same_in_every_form(given, fitted):
    flat = getattr(given, "ndim", 3) == 2
    asked = {"input_shape": (1, 8, 8)} if flat else {}
    other = DLClassifier(module="cnn", **SMALL, **asked).fit(given, y)
    assert other.input_shape_ == fitted.input_shape_ == (1, 8, 8)
    assert other.n_features_in_ == 64
    expected = fitted.predict_proba(X)
    assert_allclose(other.predict_proba(X), expected, rtol=1e-6)
    assert_allclose(fitted.predict_proba(given), expected, rtol=1e-6)


def test_a_channel_is_scaled_as_a_whole():
    encoder = ImageEncoder(shape=(2, 6, 5)).fit_table(COLOUR.reshape(60, -1))
    assert_allclose(encoder.center_, COLOUR.mean((0, 2, 3)))
    assert_allclose(encoder.scale_, 1 / COLOUR.std((0, 2, 3)))
    weight = np.arange(60.0)
    weighed = ImageEncoder(shape=(2, 6, 5)).fit_table(COLOUR.reshape(60, -1), weight)
    repeated = np.repeat(COLOUR, np.arange(60), axis=0)
    assert_allclose(weighed.center_, repeated.mean((0, 2, 3)))
    assert_allclose(weighed.scale_, 1 / repeated.std((0, 2, 3)))


def test_missing_and_constant_pixels_are_the_mean():
    images = COLOUR.copy()
    images[:, 1], images[3, 0, 2, 2] = 7.0, np.nan
    encoder = ImageEncoder(shape=(2, 6, 5)).fit_table(images.reshape(60, -1))
    assert_allclose(encoder.center_, [np.nanmean(images[:, 0]), 7.0])
    rows = encoder.transform_table(images.reshape(60, -1), np.float64).reshape(images.shape)
    assert rows[3, 0, 2, 2] == 0
    assert_array_equal(rows[:, 1], 0)
    assert_allclose(np.nanstd(np.delete(rows[:, 0], 3, axis=0)), 1, atol=0.05)


def test_masked_pixels_are_missing():
    mask = np.random.default_rng(1).random(X.shape) < 0.1
    masked = np.ma.MaskedArray(np.where(mask, 1e6, X), mask)
    missing = np.where(mask, np.nan, X)
    nets = [DLClassifier(module="cnn", **SMALL).fit(given, y) for given in (masked, missing)]
    assert_array_equal(nets[0].predict_proba(masked), nets[1].predict_proba(missing))


def test_encode_gives_the_inputs_of_the_module(fitted):
    inputs = fitted.encode(X)
    assert inputs.shape == (240, 64)
    assert_allclose(inputs.reshape(X.shape), (X - X.mean()) / X.std(), atol=1e-5)
    with torch.no_grad():
        outputs = fitted.module_(torch.from_numpy(inputs))
    assert_allclose(torch.softmax(outputs, 1).numpy(), fitted.predict_proba(X), atol=1e-6)


# --- the network ----------------------------------------------------------------------------------


def test_the_module_is_the_textbook_network(fitted):
    kinds = [type(layer).__name__ for layer in fitted.module_ if not isinstance(layer, nn.Dropout)]
    blocks = ["Conv2d", "MaxPool2d", "ReLU", "Conv2d", "ReLU"]  # 4 x 4 cells are left as they are
    assert kinds == ["Unflatten", *blocks, "Flatten", "Linear", "ReLU", "Linear"]
    assert fitted.n_parameters_ == sum(p.numel() for p in fitted.module_.parameters())


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("image", [(1, 8, 8), (3, 5, 9), (2, 1, 7), (1, 1, 1), (1, 40, 20)])
def test_a_stack_computes_what_its_plain_modules_compute(image, normalization):
    n = int(np.prod(image))
    architecture = Architecture(
        "cnn", n, 3, (6,), normalization=normalization, image=image, channels=(4, 5)
    )
    stack = build(architecture, 2).double()
    for model in range(2):
        stack.reset(model, torch.Generator().manual_seed(model))
    x = torch.randn(2, 4, n, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    if normalization == "batch":
        stack(x, Batch())  # moves the running averages
    stack.eval()
    found = stack(x, Batch())
    for model in range(2):
        plain = stack.plain(model).double().eval()
        torch.testing.assert_close(found[model], plain(x[model]), rtol=1e-10, atol=1e-12)
    parameters = sum(p.numel() for p in stack.parameters()) // 2
    if normalization is None:
        assert architecture.n_parameters == parameters


def test_initial_values_keep_the_size_of_the_signal():
    architecture = Architecture(
        "cnn", 2 * 16 * 16, 3, (64,), image=(2, 16, 16), channels=(64, 64, 64)
    )
    stack = build(architecture, 1)
    stack.reset(0, torch.Generator().manual_seed(0))
    x, sizes = torch.randn(1, 200, 512), []
    for layer in stack.chain:
        x = layer(x, Batch())
        if type(layer).__name__ in ("StackedConvolution", "StackedLinear"):
            sizes.append(float(x.detach().square().mean().sqrt()))
    # He et al. (2015): each layer passes on the size; the maximum of four cells adds to it
    assert all(0.5 < size < 6 for size in sizes)


def test_padding_rows_of_a_batch_norm_weigh_nothing():
    architecture = Architecture(
        "cnn", 16, 2, (), normalization="batch", image=(1, 4, 4), channels=(3,)
    )
    stacks = [build(architecture, 1) for _ in range(2)]
    for stack in stacks:
        stack.reset(0, torch.Generator().manual_seed(0))
    x = torch.randn(1, 5, 16)
    padded = torch.cat([x, torch.zeros(1, 3, 16)], 1)
    weight = torch.tensor([[0.2] * 5 + [0.0] * 3])
    found = stacks[0](padded, Batch(weight, [5]))[:, :5]
    torch.testing.assert_close(found, stacks[1](x, Batch()))


def test_many_rows_are_predicted_piece_by_piece(fitted):
    architecture = Architecture(**fitted._network)
    assert architecture.rows_at_once(8192) == 8192  # maps of 4 x 8 x 8 numbers are small
    wide = Architecture("cnn", 784, 10, image=(1, 28, 28), channels=(32, 64))
    assert 100 < wide.rows_at_once(8192) < 1000
    assert Architecture("mlp", 784, 10).rows_at_once(8192) == 8192


# --- in scikit-learn's hands ----------------------------------------------------------------------


def test_folds_trained_together_score_as_alone():
    net = DLClassifier(module="cnn", **SMALL, dtype="float64", augmentation="affine")
    alone = cross_val_score(net, X, y, cv=3)
    with batched_fits():
        together = cross_val_score(net, X, y, cv=3)
    assert_allclose(together, alone, rtol=1e-10)


def test_a_search_reaches_channels_and_the_strength_of_an_augmentation():
    net = DLClassifier(module="cnn", **SMALL, augmentation="rotate")
    grid = {"channels": [(2,), (4, 8)], "augmentation_strength": [0.0, 0.05]}
    search = GridSearchCV(net, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.predict(X).shape == (240,)
    _, _, scores = learning_curve(net, X, y, train_sizes=[60, 120], cv=2)
    assert np.isfinite(scores).all()


def test_a_diagnosis_takes_images():
    net = DLClassifier(module="cnn", **SMALL).set_params(max_epochs=1)
    found = diagnose(net, X[:80, 0], y[:80], cv=2, budget="quick", random_state=0)
    assert found.verdict.value != "good"
    best = found.remedies[0]
    assert best.params
    again = clone(net).set_params(**best.params).set_params(max_epochs=1).fit(X, y)
    assert again.input_shape_ == (1, 8, 8)
    with pytest.raises(ValueError, match=r"module='cnn'"):
        diagnose(DLClassifier(), X, y)


def test_pickled_and_saved_models_predict_the_same(fitted, tmp_path):
    expected = fitted.predict_proba(X)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)
    save_model(fitted, tmp_path / "net")
    loaded = load_model(tmp_path / "net")
    assert_array_equal(loaded.predict_proba(X[:, 0]), expected)
    assert loaded.input_shape_ == (1, 8, 8)


def test_warm_start_and_partial_fit_go_on():
    net = DLClassifier(module="cnn", **SMALL, warm_start=True).fit(X, y)
    before = net.loss_curve_[-1]
    assert net.fit(X, y).loss_curve_[-1] < before
    with pytest.raises(ValueError, match="another channels"):
        net.set_params(channels=(4,)).fit(X, y)
    step = DLClassifier(module="cnn", **SMALL).partial_fit(X, y, classes=np.unique(y))
    assert step.partial_fit(X, y).n_iter_ == 2


def test_a_row_of_weight_zero_is_as_good_as_absent():
    weight = np.r_[np.ones(200), np.zeros(40)]
    weighed = DLClassifier(module="cnn", **SMALL).fit(X, y, sample_weight=weight)
    absent = DLClassifier(module="cnn", **SMALL).fit(X[:200], y[:200])
    assert_allclose(weighed.predict_proba(X), absent.predict_proba(X), rtol=1e-5)


def test_members_early_stopping_and_regression():
    target = X.mean((1, 2, 3))
    longer = SMALL | {"max_epochs": 30, "learning_rate": 0.005}
    net = DLRegressor(module="cnn", **longer, n_members=2, early_stopping=True)
    assert net.fit(X, target).score(X, target) > 0.5
    assert len(net.module_.members) == 2


class Convolutions(nn.Sequential):
    """A torch user's own."""

    def __init__(self, n_features, n_outputs):
        super().__init__(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * 36, n_outputs),
        )  # fmt: skip


@pytest.mark.parametrize("module", ["mlp", "auto", Convolutions])
def test_any_module_takes_images_with_input_shape(module):
    net = DLClassifier(
        module=module, input_shape=(1, 8, 8), augmentation="crop", hidden_layer_sizes=(16,),
        max_epochs=20, learning_rate=0.01, random_state=0, n_members=1,
    ).fit(X, y)  # fmt: skip
    assert net.score(X, y) > 0.5
    assert_allclose(net.encode(X).mean(), 0, atol=1e-4)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "given", "message"),
    [
        ({"module": "cnn"}, DIGITS[:240], r"input_shape=\(channels, height, width\), such as \(1"),
        ({"module": "cnn", "input_shape": (1, 8, 9)}, DIGITS[:240], "64 columns.*1 x 8 x 9 = 72"),
        ({"module": "cnn", "input_shape": (3, 8, 8)}, X, r"\(1, 8, 8\).*expected \(3, 8, 8\)"),
        ({"module": "cnn", "input_shape": (8, 8)}, DIGITS[:240], "three positive ints"),
        ({"module": "cnn"}, np.zeros((240, 2, 1, 8, 8)), "shape \\(n, channels, height, width\\)"),
        ({"module": "cnn"}, np.zeros((240, 8, 8, 3)), r"X.transpose\(0, 3, 1, 2\)"),
        ({"module": "cnn"}, np.zeros((240, 1, 8, 0)), "one pixel"),
        ({"module": "cnn"}, np.zeros((0, 1, 8, 8)), "0 sample"),
        ({"module": "mlp"}, X, "Found array with dim 4.*module='cnn'"),
        ({"module": "cnn", "channels": (0,)}, X, "channels must be positive ints"),
        ({"module": "cnn", "categorical_features": [0]}, X, "images have no categories"),
        ({"module": "cnn", "augmentation": "swap"}, X, "is for tables.*affine"),
        ({"module": "mlp", "augmentation": "rotate"}, DIGITS[:240], "is for images.*mixup"),
        ({"module": "cnn"}, np.where(X == 3, np.inf, X), "infinity"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(params, given, message):
    with pytest.raises(ValueError, match=message):
        DLClassifier(**SMALL | params).fit(given, y[: len(given)])


def test_text_in_an_image_is_refused_by_column():
    frame = pd.DataFrame(DIGITS[:240]).rename(columns=str).astype({"7": str})
    with pytest.raises(ValueError, match="column '7'"):
        DLClassifier(module="cnn", input_shape=(1, 8, 8), **SMALL).fit(frame, y)


def test_other_images_than_in_fit_are_refused(fitted):
    with pytest.raises(ValueError, match=r"expected \(1, 8, 8\)"):
        fitted.predict(X[:, :, :7])
    with pytest.raises(ValueError, match=r"8 columns.*X\[None\]"):
        fitted.predict(X[0, 0])
    with pytest.raises(ValueError, match="60 columns"):
        fitted.predict(DIGITS[:, :60])
