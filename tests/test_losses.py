"""Each loss equals its closed form, row by row, on one model and on a stack of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import mean_poisson_deviance

from sklearn_dl.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    classifier_loss,
    regressor_loss,
)

M, B, K = 3, 11, 4


def _drawn(seed=0):
    """outputs (M, B, K), class indices (M, B), labels (M, B, K) in {0, 1}, values (M, B, K)."""
    rng = np.random.default_rng(seed)
    return (
        3 * rng.normal(size=(M, B, K)),
        rng.integers(0, K, (M, B)),
        rng.integers(0, 2, (M, B, K)).astype(float),
        3 * rng.normal(size=(M, B, K)),
    )


def _onehot(index, smoothing):
    return (1 - smoothing) * np.eye(K)[index] + smoothing / K


def _binary(p, q):
    return -(q * np.log(p) + (1 - q) * np.log(1 - p)).mean(-1)


def _spread(labels, smoothing):
    return labels * (1 - smoothing) + smoothing / 2


CLOSED_CLASSIFIER_FORMS = {
    ("cross_entropy", False): lambda z, y, e: -(_onehot(y, e) * log_softmax(z, -1)).sum(-1),
    ("mse", False): lambda z, y, e: ((softmax(z, -1) - _onehot(y, e)) ** 2).sum(-1),
    ("cross_entropy", True): lambda z, y, e: _binary(expit(z), _spread(y, e)),
    ("mse", True): lambda z, y, e: ((expit(z) - _spread(y, e)) ** 2).mean(-1),
}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("name", "multilabel"), CLOSED_CLASSIFIER_FORMS)
def test_classifier_loss_equals_its_closed_form(name, multilabel, smoothing):
    outputs, index, labels, _ = _drawn()
    target = labels if multilabel else index
    loss = classifier_loss(name, multilabel=multilabel)
    expected = CLOSED_CLASSIFIER_FORMS[name, multilabel](outputs, target, smoothing)
    seen = loss(torch.from_numpy(outputs), torch.from_numpy(target), smoothing)
    assert_allclose(seen.numpy(), expected, rtol=1e-12)
    assert loss.link == ("sigmoid" if multilabel else "softmax")
    assert loss.target == ("matrix" if multilabel else "index")


@pytest.mark.parametrize(("name", "multilabel"), CLOSED_CLASSIFIER_FORMS)
def test_each_model_of_a_stack_has_its_own_smoothing(name, multilabel):
    outputs, index, labels, _ = map(torch.from_numpy, _drawn())
    target = labels if multilabel else index
    loss = classifier_loss(name, multilabel=multilabel)
    rates = [0.0, 0.1, 0.5]
    together = loss(outputs, target, torch.tensor(rates, dtype=torch.float64)[:, None])
    for model, rate in enumerate(rates):
        alone = loss(outputs[model], target[model], rate)
        torch.testing.assert_close(together[model], alone, rtol=1e-12, atol=0)


def test_smoothed_cross_entropy_is_torchs():
    outputs, index, *_ = map(torch.from_numpy, _drawn())
    expected = F.cross_entropy(outputs[0], index[0], reduction="none", label_smoothing=0.3)
    seen = classifier_loss("cross_entropy", multilabel=False)(outputs[0], index[0], 0.3)
    torch.testing.assert_close(seen, expected, rtol=1e-12, atol=0)


CLOSED_REGRESSOR_FORMS = {
    "mse": lambda r: r**2,
    "mae": np.abs,
    "huber": lambda r: np.where(np.abs(r) < 1, r**2 / 2, np.abs(r) - 0.5),
    "pinball": lambda r: np.where(r >= 0, 0.9 * r, -0.1 * r),
}


def _deviance(outputs, counts):
    """Half of scikit-learn's deviance, whose mean over rows is 2 (y log(y / f) - y + f)."""
    each = [
        mean_poisson_deviance([y], [f]) / 2
        for y, f in zip(counts.ravel(), np.exp(outputs).ravel(), strict=True)
    ]
    return np.reshape(each, counts.shape)


@pytest.mark.parametrize("name", CLOSED_REGRESSOR_FORMS)
def test_regressor_loss_equals_its_closed_form(name):
    outputs, *_, values = _drawn()
    expected = CLOSED_REGRESSOR_FORMS[name](values - outputs).mean(-1)
    loss = regressor_loss(name, levels=(0.9,))
    seen = loss(torch.from_numpy(outputs), torch.from_numpy(values))
    assert_allclose(seen.numpy(), expected, rtol=1e-12)
    assert (loss.link, loss.target) == ("identity", "matrix")


def test_poisson_loss_is_half_the_deviance_with_a_log_link():
    outputs, index, _, _ = _drawn()
    counts = np.repeat(index[..., None], K, axis=-1).astype(float)
    loss = regressor_loss("poisson", levels=())
    seen = loss(torch.from_numpy(outputs), torch.from_numpy(counts))
    assert_allclose(seen.numpy(), _deviance(outputs, counts).mean(-1), rtol=1e-10, atol=1e-12)
    assert (loss.link, loss.target) == ("exp", "matrix")


def test_pinball_of_several_levels_is_the_mean_of_each():
    outputs, *_, values = map(torch.from_numpy, _drawn())
    levels = (0.1, 0.5, 0.9)
    each = torch.stack([outputs[..., :2] - 1, outputs[..., :2], outputs[..., :2] + 1], -1)
    together = regressor_loss("pinball", levels=levels)(each.flatten(-2), values[..., :2])
    alone = [
        regressor_loss("pinball", levels=(q,))(each[..., k], values[..., :2])
        for k, q in enumerate(levels)
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_weights_of_labels_multiply_the_loss_of_each_label(name, smoothing):
    outputs, _, labels, values = map(torch.from_numpy, _drawn())
    weights = values.abs() + 0.1
    signed = torch.where(labels > 0, weights, -weights)
    seen = classifier_loss(name, multilabel=True, weighted=True)(outputs, signed, smoothing)
    plain = classifier_loss(name, multilabel=True)
    each = [plain(outputs[..., [k]], labels[..., [k]], smoothing) for k in range(K)]
    torch.testing.assert_close(seen, (torch.stack(each, -1) * weights).mean(-1))


def test_every_named_loss_is_tested_here():
    assert {name for name, _ in CLOSED_CLASSIFIER_FORMS} == set(CLASSIFIER_LOSSES)
    assert {*CLOSED_REGRESSOR_FORMS, "poisson"} == {*REGRESSOR_LOSSES, "pinball"}


@pytest.mark.parametrize("size", [1e3, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sure_and_wrong_outputs_give_a_finite_loss_and_gradient(size, dtype):
    outputs = torch.tensor([[size, -size]], dtype=dtype, requires_grad=True)
    for multilabel, target in ((False, torch.tensor([1])), (True, torch.eye(2, dtype=dtype)[1:])):
        for name in CLASSIFIER_LOSSES:
            loss = classifier_loss(name, multilabel=multilabel)(outputs, target).sum()
            (gradient,) = torch.autograd.grad(loss, outputs)
            assert torch.isfinite(loss)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_pinball_is_least_at_the_quantile(quantile):
    values = torch.randn(1001, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = regressor_loss("pinball", levels=(quantile,))
    candidates = values.sort(dim=0).values[:, 0]
    total = torch.stack([loss(c.expand(1001, 1), values).mean() for c in candidates])
    assert candidates[total.argmin()] == pytest.approx(float(values.quantile(quantile)), abs=1e-12)


# a user's loss


def test_callable_loss_sees_flat_rows_and_comes_back_in_the_shape_of_the_stack():
    outputs, index, _, values = map(torch.from_numpy, _drawn())
    shapes = []

    def entropy(z, y):
        shapes.append((z.shape, y.shape))
        return F.cross_entropy(z, y, reduction="none")

    def error(z, y):
        shapes.append((z.shape, y.shape))
        return (z - y) ** 2

    named = classifier_loss("cross_entropy", multilabel=False)(outputs, index)
    torch.testing.assert_close(
        classifier_loss(entropy, multilabel=False)(outputs, index), named, rtol=1e-12, atol=0
    )
    # one value a row and output is averaged over the outputs
    named = regressor_loss("mse", levels=())(outputs, values)
    torch.testing.assert_close(
        regressor_loss(error, levels=())(outputs, values), named, rtol=1e-12, atol=0
    )
    assert shapes == [((M * B, K), (M * B,)), ((M * B, K), (M * B, K))]


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (lambda z, y: F.cross_entropy(z, y), r"\(\)"),
        (lambda z, y: z[:5, 0], r"\(5,\)"),
        (lambda z, y: 0.5, "float"),
    ],
)
def test_callable_loss_that_is_not_per_row_is_refused(function, seen):
    outputs, index, *_ = map(torch.from_numpy, _drawn())
    with pytest.raises(ValueError, match=rf"one value a row, shape \(33,\); got {seen}"):
        classifier_loss(function, multilabel=False)(outputs, index)
