"""Are products, extremes and densities of the Hessian right? Oracles share no code with them."""

import importlib.util
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.func import functional_call, grad, jacrev

from sklearn_dl import DLClassifier, DLRegressor
from sklearn_dl.curvature import (
    gradient_noise,
    hessian_extremes,
    hessian_operator,
    loss_slice,
    sharpness,
    spectral_density,
    training_loss,
)
from sklearn_dl.curvature.hessian import HessianOperator
from sklearn_dl.curvature.studied import objective_of


class Form(nn.Module):
    """Rows of losses ``x (w'Aw / 2 + b'w)`` for x = 1: every quadratic form."""

    def __init__(self, A, w, b=None, dtype=torch.float64):
        super().__init__()
        self.A = torch.as_tensor(A, dtype=torch.float64)
        self.b = torch.zeros(len(self.A)).double() if b is None else torch.as_tensor(b).double()
        self.w = nn.Parameter(torch.as_tensor(w, dtype=dtype))

    def forward(self, x):
        return x[:, 0] * (0.5 * self.w @ self.A @ self.w + self.b @ self.w)


def itself(output, y):
    return output


def squared(output, y):
    return (output - y).square().mean(-1)


def cross_entropy(output, y):
    return nn.functional.cross_entropy(output, y, reduction="none")


ONE = torch.ones(1, 1, dtype=torch.float64)


def mlp(*sizes, activation=nn.Tanh, seed=0, bias=True):
    torch.manual_seed(seed)
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*layers[:-1]).double()


def rows(n=37, n_features=4, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n_features)), rng.integers(n_classes, size=n)


def dense_hessian(module, loss, X, y, weight=None):
    """Every entry by torch.func, (p, p)."""
    X, y = torch.as_tensor(X).double(), torch.as_tensor(y)
    module = module.double().eval()
    names = [name for name, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]
    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    weight = torch.ones(len(X)).double() if weight is None else torch.as_tensor(weight).double()

    def mean(w):
        parts = w.split([s.numel() for s in shapes])
        named = {n: q.view(s) for n, q, s in zip(names, parts, shapes, strict=True)}
        losses = loss(functional_call(module, named, (X,)), y)
        return (weight * losses).sum() / weight.sum()

    return jacrev(grad(mean))(flat).detach().numpy()


@pytest.fixture(scope="module")
def trained():
    """A tanh net on scaled iris, (module, loss, X, y), after 100 full-batch steps."""
    X, y = load_digits(return_X_y=True)
    X, y = torch.as_tensor(X[:200] / 16), torch.as_tensor(y[:200])
    module = mlp(64, 8, 10)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        cross_entropy(module(X), y).mean().backward()
        optimizer.step()
    return module, cross_entropy, X, y


@pytest.mark.parametrize("batch_size", [None, 5, 37, 100])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.ReLU, nn.Softplus])
def test_the_operator_is_the_dense_hessian(activation, batch_size):
    X, y = rows()
    module = mlp(4, 6, 3, activation=activation)
    operator = hessian_operator(module, cross_entropy, X, y, batch_size=batch_size)
    H = operator @ np.eye(operator.shape[0])
    np.testing.assert_allclose(H, dense_hessian(module, cross_entropy, X, y), atol=1e-13)
    assert operator.n_products == operator.shape[0]


@pytest.mark.parametrize("batch_size", [None, 5])
def test_weights_of_rows_weigh_the_hessian_and_zero_weight_is_absence(batch_size):
    X, y = rows()
    weight = np.random.default_rng(1).integers(0, 3, size=len(X)).astype(float)
    module = mlp(4, 6, 3)
    operator = hessian_operator(
        module, cross_entropy, X, y, sample_weight=weight, batch_size=batch_size
    )
    H = operator @ np.eye(operator.shape[0])
    expected = dense_hessian(module, cross_entropy, X, y, weight)
    np.testing.assert_allclose(H, expected, atol=1e-13)


def test_the_gradient_and_products_are_finite_differences_of_the_loss(trained):
    objective = objective_of(trained[0], trained[1:])
    rng = np.random.default_rng(0)
    v = torch.as_tensor(rng.standard_normal(objective.n_parameters))
    v /= v.norm()
    operator = HessianOperator(objective)
    h = 1e-4  # error of the differences: h^2 for truncation, 1e-16 / h^2 for rounding: 1e-8
    values = [objective.value(objective.weights + k * h * v) for k in (-1, 0, 1)]
    assert float(operator.gradient @ v) == pytest.approx((values[2] - values[0]) / 2 / h, abs=1e-7)
    bend = (values[2] - 2 * values[1] + values[0]) / h**2
    assert v.numpy() @ operator.matvec(v.numpy()) == pytest.approx(bend, abs=1e-6)


def test_the_model_and_the_global_random_state_are_left_alone(trained):
    module, *data = trained
    before = {k: v.clone() for k, v in module.state_dict().items()}
    module.train()
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    hessian_extremes(module, *data, max_products=5)
    sharpness(module, *data, n_steps=2, n_draws=2)
    assert module.training
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert (legacy == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_extremes_are_those_of_the_dense_hessian_within_their_residuals(activation, seed):
    X, y = rows(seed=seed)
    module = mlp(4, 16, 8, 3, activation=activation, seed=seed)
    found = hessian_extremes(module, cross_entropy, X, y, random_state=seed)
    values = np.linalg.eigvalsh(dense_hessian(module, cross_entropy, X, y))
    assert found.converged
    assert found.eigenvalue_min == pytest.approx(values[0], rel=1e-3)
    assert found.eigenvalue_max == pytest.approx(values[-1], rel=1e-3)
    for value, residual in (
        (found.eigenvalue_min, found.residual_min),
        (found.eigenvalue_max, found.residual_max),
    ):
        assert np.abs(values - value).min() <= residual
    H = dense_hessian(module, cross_entropy, X, y)
    for vector, value, residual in (
        (found.vector_min, found.eigenvalue_min, found.residual_min),
        (found.vector_max, found.eigenvalue_max, found.residual_max),
    ):
        assert np.linalg.norm(H @ vector - value * vector) <= 1.001 * residual + 1e-12


def test_residuals_hold_where_the_run_was_cut_short(trained):
    values = np.linalg.eigvalsh(dense_hessian(*trained))
    for n in (2, 5, 10, 20):
        found = hessian_extremes(*trained, max_products=n, random_state=0)
        assert found.n_products == n
        assert np.abs(values - found.eigenvalue_min).min() <= found.residual_min
        assert np.abs(values - found.eigenvalue_max).min() <= found.residual_max
        assert values[0] - 1e-12 <= found.eigenvalue_min
        assert found.eigenvalue_max <= values[-1] + 1e-12
    assert not hessian_extremes(*trained, max_products=2, random_state=0).converged


def test_no_more_products_than_eigsh_at_equal_tolerance(trained):
    for seed in range(3):
        found = hessian_extremes(*trained, tol=1e-3, random_state=seed)
        operator = hessian_operator(*trained)
        start = np.random.default_rng(seed).standard_normal(operator.shape[0])
        eigsh(operator, k=2, which="BE", tol=1e-3, v0=start)
        assert found.converged
        assert found.n_products <= operator.n_products


@pytest.mark.skipif(
    importlib.util.find_spec("curvlinops") is None,
    reason="needs curvlinops-for-pytorch, which replaces torch unless installed with --no-deps",
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_products_are_those_of_curvlinops(trained):
    from curvlinops import HessianLinearOperator

    module, _, X, y = trained
    theirs = HessianLinearOperator(
        module,
        nn.CrossEntropyLoss(),
        [p for p in module.parameters() if p.requires_grad],
        [(X[:150], y[:150]), (X[150:], y[150:])],
        check_deterministic=False,
    )
    ours = hessian_operator(*trained)
    v = np.random.default_rng(0).standard_normal(ours.shape[0])
    np.testing.assert_allclose(ours @ v, (theirs @ torch.as_tensor(v)).numpy(), atol=1e-12)


def test_the_density_has_the_trace_and_the_negative_share_of_the_spectrum():
    values = np.concatenate([-np.ones(10), np.zeros(70), np.full(20, 3.0)])
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 100)))
    density = spectral_density(
        Form(q @ np.diag(values) @ q.T, np.zeros(100)), itself, ONE, ONE, n_draws=200, n_steps=10
    )
    # Hutchinson with a unit sphere vector: variance 2 |H - mean|^2 / p (p + 2), times p^2
    spread = np.sqrt(2 * ((values - values.mean()) ** 2).sum() * 100 / 102 / 200)
    assert density.trace == pytest.approx(values.sum(), abs=4 * spread)
    assert density.negative_share == pytest.approx(0.1, abs=4 * np.sqrt(2 * 0.1 * 0.9 / 102 / 200))
    grid = np.linspace(-2, 4, 601)
    assert np.trapezoid(density.curve(grid), grid) == pytest.approx(1, abs=1e-3)
    assert abs(grid[density.curve(grid).argmax()]) < 0.02


def test_an_estimator_is_studied_with_its_own_weights(iris):
    X, y = iris
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    model = DLClassifier(
        hidden_layer_sizes=(5,),
        activation="tanh",
        class_weight={0: 1.0, 1: 2.0, 2: 5.0},
        max_epochs=3,
        random_state=0,
    ).fit(X, y, sample_weight=weight)
    operator = hessian_operator(model, X, y, sample_weight=weight)
    factor = np.array([1.0, 2.0, 5.0])[y] * weight
    expected = dense_hessian(model.module_, cross_entropy, model.encode(X), y, factor)
    H = operator @ np.eye(operator.shape[0])
    np.testing.assert_allclose(H, expected, atol=1e-12)


def test_a_regressor_is_studied_in_standardised_units(diabetes):
    X, y = diabetes
    model = DLRegressor(hidden_layer_sizes=(4,), activation="tanh", max_epochs=3, random_state=0)
    model.fit(X, y)
    operator = hessian_operator(model, X, y)
    z = ((y - y.mean()) / y.std())[:, None]
    expected = dense_hessian(model.module_, squared, model.encode(X), z)
    np.testing.assert_allclose(operator @ np.eye(operator.shape[0]), expected, atol=1e-12)


def test_a_pipeline_is_studied_after_its_steps(iris):
    X, y = iris
    model = DLClassifier(hidden_layer_sizes=(4,), activation="tanh", max_epochs=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    a = hessian_extremes(pipeline, X, y, random_state=0)
    b = hessian_extremes(pipeline[-1], pipeline[:-1].transform(X), y, random_state=0)
    assert a.eigenvalue_max == b.eigenvalue_max


def test_the_penalty_adds_its_coefficient_to_every_eigenvalue():
    X, y = rows()
    module = mlp(4, 6, 3)
    bare = hessian_extremes(module, cross_entropy, X, y, random_state=0)
    with_penalty = hessian_extremes(module, cross_entropy, X, y, penalty=0.5, random_state=0)
    assert with_penalty.eigenvalue_min == pytest.approx(bare.eigenvalue_min + 0.5, abs=1e-4)
    assert with_penalty.eigenvalue_max == pytest.approx(bare.eigenvalue_max + 0.5, abs=1e-4)
    with pytest.raises(ValueError, match="give the coefficient"):
        hessian_extremes(module, cross_entropy, X, y, penalty=True)


def test_more_rows_than_the_cap_are_subsampled_the_same_way_for_a_seed():
    X, y = rows(n=5000)
    module = mlp(4, 6, 3)
    found = [hessian_extremes(module, cross_entropy, X, y, random_state=s) for s in (0, 0, 1)]
    assert found[0].n_rows == 2500
    assert found[0].eigenvalue_max == found[1].eigenvalue_max != found[2].eigenvalue_max
    assert hessian_extremes(module, cross_entropy, X, y, max_rows=5000).n_rows == 5000


# sharpness and slices


def test_sharpness_of_a_quadratic_is_half_rho_squared_times_the_largest_eigenvalue():
    form = Form(np.diag([1.0, 2.0, 10.0]), np.zeros(3))
    found = sharpness(form, itself, ONE, ONE, rho=0.1, n_steps=50, random_state=0)
    assert found.sam == pytest.approx(0.5 * 0.01 * 10, rel=1e-6)
    assert found.adaptive_sam == found.average_adaptive == 0  # all weights are zero


def test_average_adaptive_sharpness_of_a_quadratic_is_its_closed_form():
    w, A = np.array([1.0, -2.0, 0.5]), np.diag([1.0, 2.0, 10.0])
    found = sharpness(Form(A, w), itself, ONE, ONE, rho=0.1, n_draws=2000, random_state=0)
    expected = 0.5 * 0.01 * (w**2 * np.diag(A)).sum()
    assert abs(found.average_adaptive - expected) < 4 * found.average_stderr


def test_sharpness_at_a_minimum_is_the_top_eigenvalue_in_its_own_units():
    """Over |d / |w|| <= rho, d'Ad / 2 is at most rho^2 / 2 times the largest of |w| A |w|."""
    w = np.array([3.0, -0.1, 0.5, 1.0])
    A = np.diag([1.0, 2.0, 10.0, 4.0]) + 0.5
    found = sharpness(Form(A, w, -A @ w), itself, ONE, ONE, rho=0.1, n_steps=200, random_state=0)
    scaled = np.abs(w)[:, None] * A * np.abs(w)
    assert found.sam == pytest.approx(0.005 * np.linalg.eigvalsh(A)[-1], rel=1e-6)
    assert found.adaptive_sam == pytest.approx(0.005 * np.linalg.eigvalsh(scaled)[-1], rel=1e-6)


def test_adaptive_sharpness_does_not_see_a_rescaling_of_layers_and_plain_does():
    X, y = rows()
    module = mlp(4, 6, 3, activation=nn.ReLU)
    plain = sharpness(module, cross_entropy, X, y, rho=0.05, random_state=0)
    with torch.no_grad():
        module[0].weight *= 10
        module[0].bias *= 10
        module[2].weight /= 10
    scaled = sharpness(module, cross_entropy, X, y, rho=0.05, random_state=0)
    assert scaled.loss == pytest.approx(plain.loss)
    assert scaled.adaptive_sam == pytest.approx(plain.adaptive_sam, rel=1e-6)
    assert scaled.average_adaptive == pytest.approx(plain.average_adaptive, rel=1e-6)
    assert abs(scaled.sam / plain.sam - 1) > 0.5


@pytest.mark.parametrize("n_directions", [1, 2])
def test_the_taylor_model_of_a_quadratic_is_its_slice(n_directions):
    form = Form(np.diag([-1.0, 2.0, 10.0]), [1.0, 2.0, 3.0], [0.5, 0.0, -1.0])
    found = loss_slice(
        form, itself, ONE, ONE, directions="hessian", n_directions=n_directions, random_state=0
    )
    assert found.losses.shape == (41,) * n_directions
    assert found.losses[(20,) * n_directions] == pytest.approx(found.loss)
    np.testing.assert_allclose(found.taylor, found.losses, atol=1e-10)


def test_random_directions_are_as_long_as_each_filter_and_zero_on_biases():
    X, y = rows()
    module = mlp(4, 6, 3)
    found = loss_slice(module, cross_entropy, X, y, n_directions=2, n_points=5, random_state=0)
    for ray in found.directions:
        first = ray[:24].reshape(6, 4)
        lengths = module[0].weight.detach().norm(dim=1).numpy()
        np.testing.assert_allclose(np.linalg.norm(first, axis=1), lengths)
        assert (ray[24:30] == 0).all()


# bad input


@pytest.mark.parametrize("function", [hessian_extremes, sharpness, loss_slice, spectral_density])
def test_an_unfitted_estimator_is_refused(function, iris):
    with pytest.raises(NotFittedError):
        function(DLClassifier(), *iris)


@pytest.mark.parametrize("loss", ["mae", "pinball"])
def test_a_loss_that_is_linear_between_kinks_is_refused(loss, diabetes):
    X, y = diabetes
    model = DLRegressor(loss=loss, activation="tanh", max_epochs=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="second derivative zero almost everywhere"):
        hessian_extremes(model, X, y)


@pytest.mark.parametrize("loss", ["mae", "pinball"])
def test_what_needs_no_second_derivative_takes_losses_without(loss, diabetes):
    X, y = diabetes
    model = DLRegressor(loss=loss, max_epochs=2, random_state=0).fit(X, y)
    assert sharpness(model, X, y, n_steps=2, n_draws=2, random_state=0).sam > 0
    assert gradient_noise(model, X, y).trace > 0


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_a_loss_with_curvature_somewhere_is_taken(loss, diabetes):
    X, y = diabetes
    model = DLRegressor(loss=loss, activation="tanh", max_epochs=2, random_state=0).fit(X, y)
    assert hessian_extremes(model, X, y, random_state=0).eigenvalue_max > 0


def test_a_step_activation_is_refused():
    class Step(nn.Module):
        def forward(self, x):
            return torch.sign(x)

    X, y = rows()
    net = nn.Sequential(nn.Linear(4, 3), Step())
    with pytest.raises(ValueError, match="derivative is zero almost everywhere"):
        hessian_extremes(net, cross_entropy, X, y)


def test_a_loss_without_second_derivative_is_refused():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    X, y = rows()
    with pytest.raises(ValueError, match="cannot be differentiated twice"):
        hessian_extremes(mlp(4, 1), lambda f, y: Once.apply(f).sum(-1), X, y)


def test_non_finite_weights_are_named():
    module = mlp(4, 6, 3)
    with torch.no_grad():
        module[2].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"non-finite weights in 2\.weight"):
        hessian_extremes(module, cross_entropy, *rows())


def test_a_non_finite_loss_is_refused():
    X, y = rows()
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="training loss at these weights is nan"):
        hessian_extremes(mlp(4, 6, 3), cross_entropy, X, y)


def test_a_model_too_large_is_refused_with_its_size_and_the_alternative():
    net = nn.Linear(4_000_000, 1)
    with pytest.raises(ValueError, match=r"4,000,001 parameters take 3\.0 GiB.*sharpness"):
        hessian_extremes(net, squared, torch.zeros(1, 4_000_000), torch.zeros(1, 1))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((cross_entropy, np.zeros((3, 4))), TypeError, "2 arguments after the module"),
        ((np.zeros((3, 4)), np.zeros(3), None), TypeError, "with its loss"),
        ((cross_entropy, np.zeros((3, 4)), np.zeros(2, int)), ValueError, "got 3 and 2"),
        ((cross_entropy, np.zeros((0, 4)), np.zeros(0, int)), ValueError, "at least one"),
        ((nn.CrossEntropyLoss(), np.zeros((3, 4)), np.zeros(3, int)), ValueError, "unreduced"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        hessian_extremes(mlp(4, 3), *arguments)


def test_another_estimator_is_refused(iris):
    with pytest.raises(TypeError, match="got StandardScaler"):
        hessian_extremes(StandardScaler(), *iris)


@pytest.mark.parametrize(
    "options",
    [{"tol": 0}, {"max_products": 0}, {"max_rows": 0}, {"penalty": -1.0}, {"batch_size": 0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        hessian_extremes(mlp(4, 6, 3), cross_entropy, *rows(), **options)


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (spectral_density, {"n_draws": 0}, "n_draws and n_steps"),
        (spectral_density, {"n_steps": 0}, "n_draws and n_steps"),
        (training_loss, {"max_rows": 0}, "max_rows"),
    ],
)
def test_counts_of_nothing_are_refused(function, options, words):
    with pytest.raises(ValueError, match=words):
        function(mlp(4, 6, 3), cross_entropy, *rows(), **options)
