"""Is every kind of critical point recognised where mathematics knows the answer?"""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_dl import PLAIN, DLClassifier, DLRegressor
from sklearn_dl.curvature import critical_point, escape, gradient_noise, saddle_race
from sklearn_dl.curvature.hessian import HessianOperator
from sklearn_dl.curvature.studied import split_objective

ONE = torch.ones(1, 1, dtype=torch.float64)


class Function(nn.Module):
    """A loss surface ``function(w)``, the same for every row."""

    def __init__(self, function, w, dtype=torch.float64):
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.tensor(w, dtype=dtype))

    def forward(self, x):
        return x[:, 0] * self.function(self.w)


class Product(nn.Module):
    """``f(x) = W_k ... W_1 x``, a deep linear network without biases."""

    def __init__(self, *factors):
        super().__init__()
        self.factors = nn.ParameterList(torch.as_tensor(f, dtype=torch.float64) for f in factors)

    def forward(self, x):
        for factor in self.factors:
            x = x @ factor.T
        return x


def itself(output, y):
    return output


def squared(output, y):
    return (output - y).square().sum(-1)


def cross_entropy(output, y):
    return nn.functional.cross_entropy(output, y, reduction="none")


def at(function, w, **options):
    return critical_point(Function(function, w), itself, ONE, ONE, random_state=0, **options)


def form(values):
    """Half a quadratic form with these eigenvalues in a random basis."""
    p = len(values)
    q, _ = np.linalg.qr(np.random.default_rng(p).standard_normal((p, p)))
    A = torch.as_tensor(q @ np.diag(values) @ q.T)
    return lambda w: 0.5 * w @ A @ w


FORMS = [
    ([1.0, 2.0, 3.0], "local_minimum"),
    ([0.0, 0.0, 3.0], "local_minimum"),  # a flat valley counts
    ([-1.0, 0.0, 3.0], "saddle_point"),
    ([-1e-4, 1.0, 3.0], "saddle_point"),  # exact, so small counts
    ([-3.0, -1.0, 1e-4], "saddle_point"),
    ([-1.0, -2.0, -3.0], "local_maximum"),
    ([-1.0, 0.0, 0.0], "local_maximum"),
    ([0.0, 0.0, 0.0], "degenerate"),
    ([1e-9, 2e-9], "local_minimum"),
    ([-1e9, 2e9], "saddle_point"),
    ([*np.linspace(1, 5, 50)], "local_minimum"),
    ([-0.1, *np.linspace(1, 5, 300)], "saddle_point"),
    ([-5.0, *np.linspace(0.1, 0.2, 300)], "saddle_point"),
]


@pytest.mark.parametrize(("values", "kind"), FORMS)
def test_the_kind_of_a_quadratic_form_is_in_the_signs_of_its_eigenvalues(values, kind):
    found = at(form(values), [0.0] * len(values))
    assert found.kind == kind
    assert abs(found.eigenvalue_min - min(values)) <= found.residual_min + 1e-12 * max(
        np.abs(values)
    )
    assert abs(found.eigenvalue_max - max(values)) <= found.residual_max + 1e-12 * max(
        np.abs(values)
    )
    assert found.worth_escaping == (kind in ("saddle_point", "local_maximum"))


@pytest.mark.parametrize(
    ("function", "w", "kind"),
    [
        (lambda w: w[0] ** 4 + w[1] ** 4, [0.0, 0.0], "degenerate"),
        (lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2, [0.0, 0.0], "degenerate"),  # monkey saddle
        (lambda w: w[0] ** 2 - w[1] ** 2, [0.0, 0.0], "saddle_point"),
        (lambda w: (w[0] ** 2 - 1) ** 2 + w[1] ** 2, [0.0, 0.0], "saddle_point"),
        (lambda w: (w[0] ** 2 - 1) ** 2 + w[1] ** 2, [1.0, 0.0], "local_minimum"),
        (lambda w: w.cos().sum() + 2, [0.0, 0.0], "local_maximum"),
        (lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, [1.0, 1.0], "local_minimum"),
        (lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, [0.0, 0.0], "not_critical"),
        (lambda w: w @ w, [1e-3, 0.0], "not_critical"),
        (lambda w: w[0] ** 2 - w[1] ** 2 + 1, [0.1, 0.2], "not_critical"),
        (lambda w: w.sum() + 1, [1.0, 1.0], "not_critical"),
    ],
)
def test_the_kind_of_a_known_surface(function, w, kind):
    assert at(function, w).kind == kind


def test_the_course_example_has_its_saddle_at_the_origin_and_minima_on_the_hyperbola():
    """L = (y - w1 w2 x)^2 with x = y = 1: at 0 the Hessian is [[0, -2], [-2, 0]]."""
    saddle = critical_point(Product([[0.0]], [[0.0]]), squared, ONE, ONE, random_state=0)
    assert saddle.kind == "saddle_point"
    assert saddle.gradient_norm == 0
    assert (saddle.eigenvalue_min, saddle.eigenvalue_max) == pytest.approx((-2, 2))
    assert np.abs(saddle.direction) == pytest.approx([0.5**0.5] * 2)
    assert saddle.escape_value == pytest.approx(1)  # the global minimum lies along v_min
    assert saddle.worth_escaping
    for w in (0.5, 1.0, 3.0):
        minimum = critical_point(Product([[w]], [[1 / w]]), squared, ONE, ONE, random_state=0)
        assert minimum.kind == "local_minimum"
        assert minimum.eigenvalue_max == pytest.approx(2 * (w**2 + 1 / w**2))
        assert abs(minimum.eigenvalue_min) < 1e-9
        assert not minimum.worth_escaping


def gaussian(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def regression(seed=0):
    """X with identity covariance, y = M x for M of singular values 3, 2, 1."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((40, 3)))
    X = torch.as_tensor(q * np.sqrt(40))
    return X, X @ torch.diag(torch.tensor([3.0, 2.0, 1.0]).double())


@pytest.mark.parametrize("kept", [(), (1,), (2,), (0, 2), (1, 2), (0,), (0, 1), (0, 1, 2)])
def test_a_linear_network_is_at_a_saddle_unless_it_keeps_the_largest_components(kept):
    """Baldi and Hornik 1989: rank-2 networks have minima at the two leading components only."""
    X, Y = regression()
    encode = torch.zeros(2, 3).double()
    for unit, component in enumerate(kept[:2]):
        encode[unit, component] = 1
    if len(kept) == 3:
        encode = torch.eye(3).double()
    size = torch.diag(torch.tensor([3.0, 2.0, 1.0]).double()).sqrt()
    found = critical_point(Product(encode @ size, size @ encode.T), squared, X, Y, random_state=0)
    best = kept in ((0, 1), (0, 1, 2))
    assert found.kind == ("local_minimum" if best else "saddle_point")
    assert found.worth_escaping != best


@pytest.mark.parametrize("depth", [3, 4])
def test_a_deep_linear_network_at_zero_is_degenerate(depth):
    """Kawaguchi 2016: from depth three on the Hessian at zero vanishes: a bad saddle."""
    X, Y = regression()
    net = Product(*[torch.zeros(3, 3)] * depth)
    found = critical_point(net, squared, X, Y, random_state=0)
    assert found.kind == "degenerate"
    assert found.eigenvalue_min == found.eigenvalue_max == 0
    assert found.flat_share == 1
    assert any("vanish on 100%" in caveat for caveat in found.caveats)
    assert not found.worth_escaping


def test_matrix_factorisation_has_a_strict_saddle_at_zero_and_minima_at_factorisations():
    """L = |U V' - M|^2 / 2: at zero the extremes are -+ the largest singular value of M."""
    M = gaussian(5, 4)
    rank_two = gaussian(5, 2, seed=1) @ gaussian(2, 4, seed=2)

    def factorised(target, U, V):
        def loss(w):
            a, b = w[: U.numel()].view(U.shape), w[U.numel() :].view(V.shape)
            return 0.5 * (a @ b.T - target).square().sum()

        return at(loss, torch.cat([U.flatten(), V.flatten()]).tolist())

    saddle = factorised(M, torch.zeros(5, 2), torch.zeros(4, 2))
    assert saddle.kind == "saddle_point"
    top = float(torch.linalg.matrix_norm(M, 2))
    assert (saddle.eigenvalue_min, saddle.eigenvalue_max) == pytest.approx((-top, top), rel=1e-6)
    # the best step along v_min turns on the leading component: a drop of top^2 / 2
    assert saddle.escape_value == pytest.approx(top**2 / 2, rel=1e-3)
    U, s, Vh = torch.linalg.svd(rank_two)
    root = s[:2].sqrt()
    minimum = factorised(rank_two, U[:, :2] * root, Vh[:2].T * root)
    assert minimum.kind == "local_minimum"
    other = factorised(
        rank_two,
        U[:, 1:3] * root[1] * torch.tensor([1, 0]),
        Vh[1:3].T * root[1] * torch.tensor([1, 0]),
    )
    assert other.kind == "saddle_point"


def mlp(*sizes, bias=True, seed=0):
    torch.manual_seed(seed)
    layers = []
    for k in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[k], sizes[k + 1], bias=bias), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def balanced(n=60, seed=0):
    X = gaussian(n, 4, seed=seed)
    return X, torch.arange(n) % 3


def zeroed(module):
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    return module


def test_a_zero_initialised_deep_net_is_degenerate_where_second_order_is_blind():
    X, y = balanced()
    bare = critical_point(zeroed(mlp(4, 5, 5, 3, bias=False)), cross_entropy, X, y, random_state=0)
    assert bare.kind == "degenerate"
    # output biases have curvature of their own: a valley, flat in every other weight
    biased = critical_point(zeroed(mlp(4, 5, 5, 3)), cross_entropy, X, y, random_state=0)
    assert biased.kind == "local_minimum"
    assert biased.flat_share == pytest.approx(1 - 3 / biased.n_parameters)
    assert any("another initialisation" in caveat for caveat in biased.caveats)


def test_a_zero_initialised_shallow_net_is_a_strict_saddle():
    X, y = balanced()
    found = critical_point(zeroed(mlp(4, 5, 3, bias=False)), cross_entropy, X, y, random_state=0)
    assert found.kind == "saddle_point"
    assert found.eigenvalue_min == pytest.approx(-found.eigenvalue_max, rel=1e-6)


def minimised(module, loss, X, y, penalty=0.0):
    optimizer = torch.optim.LBFGS(
        module.parameters(),
        max_iter=3000,
        tolerance_grad=1e-12,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = loss(module(X), y).mean()
        value = value + penalty / 2 * sum(p.square().sum() for p in module.parameters())
        value.backward()
        return value

    optimizer.step(closure)
    return module


@pytest.mark.parametrize("seed", range(3))
def test_a_net_trained_to_the_end_is_the_minimum_that_its_dense_hessian_says(seed):
    from torch.func import functional_call, grad, jacrev

    X, y = balanced(seed=seed)
    module = minimised(mlp(4, 5, 3, seed=seed), cross_entropy, X, y, penalty=0.01)
    shapes = {name: p.shape for name, p in module.named_parameters()}

    def objective(w):
        parts = w.split([s.numel() for s in shapes.values()])
        named = {n: q.view(s) for (n, s), q in zip(shapes.items(), parts, strict=True)}
        return cross_entropy(functional_call(module, named, (X,)), y).mean() + 0.005 * w @ w

    w = torch.cat([p.detach().flatten() for p in module.parameters()])
    values = np.linalg.eigvalsh(jacrev(grad(objective))(w).detach().numpy())
    assert values[0] > 0
    found = critical_point(module, cross_entropy, X, y, penalty=0.01, random_state=0)
    assert found.kind == "local_minimum"
    assert found.eigenvalue_min == pytest.approx(values[0], rel=1e-2)
    assert found.eigenvalue_max == pytest.approx(values[-1], rel=1e-3)


def test_an_exact_least_squares_solution_in_float32_is_a_minimum():
    """Its gradient is not zero but rounding, and has no sampling noise."""
    X = gaussian(50, 4).float()
    w = torch.tensor([[1 / 3, -2 / 7, 5.1, 1e-3]])
    net = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(w)
    y = X.double() @ torch.tensor([[1 / 3, -2 / 7, 5.1, 1e-3]]).double().T
    found = critical_point(net, squared, X, y, random_state=0)
    assert (found.kind, found.stationary_by) == ("local_minimum", "rounding")


def test_a_gradient_is_zero_within_its_sampling_noise_and_no_further():
    """The mean of n values of unit variance: |g| = 2 |m - w|, noise 2 / sqrt(n)."""
    y = gaussian(400, 1)
    y = (y - y.mean()) / y.std()

    class Constant(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(w).double())

        def forward(self, x):
            return self.w.expand(len(x), 1)

    near, far = (critical_point(Constant(w), squared, y, y, random_state=0) for w in (0.02, 0.2))
    # 32 blocks: the standard error of a standard deviation from them is 1 / sqrt(62)
    assert near.gradient_noise == pytest.approx(0.1, rel=4 / 62**0.5)
    assert near.gradient_norm == pytest.approx(0.04, rel=1e-6)
    assert (near.kind, near.stationary_by) == ("local_minimum", "noise")
    assert far.kind == "not_critical"
    assert far.cauchy_decrease == pytest.approx(0.04)


def test_the_noise_of_the_gradient_is_the_same_in_whatever_order_the_rows_come():
    """sqrt(tr(Sigma) / n), here of the error of a mean: 2 sd / sqrt(n)."""
    y = gaussian(640, 1).sort(dim=0).values
    net = nn.Linear(1, 1, bias=False).double()
    found = critical_point(net, squared, torch.ones_like(y), y, random_state=0)
    exact = gradient_noise(net, squared, torch.ones_like(y), y)
    assert exact.trace == pytest.approx(4 * float(y.var()), rel=1e-9)
    # 32 blocks: the standard error of a standard deviation from them is 1 / sqrt(62)
    assert found.gradient_noise == pytest.approx((exact.trace / 640) ** 0.5, rel=4 / 62**0.5)


# escaping


def near_saddle(seed, distance=1e-4):
    """Close to the strict saddle at zero of matrix factorisation, rank two."""
    X, Y = regression(seed)
    net = Product(torch.zeros(2, 3), torch.zeros(3, 2))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p += distance * torch.randn(p.shape, generator=generator).double()
    return net, X, Y


@pytest.mark.parametrize("seed", range(3))
def test_escaping_a_strict_saddle_gains_more_than_200_gradient_steps(seed):
    net, X, Y = near_saddle(seed, distance=1e-10)
    found = critical_point(net, squared, X, Y, random_state=seed)
    assert found.kind == "saddle_point"
    assert found.worth_escaping
    moved = escape(net, found)
    value = float(squared(moved(X), Y).mean().detach())
    assert found.loss - value == pytest.approx(found.escape_value)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01 / found.eigenvalue_max)
    for _ in range(200):
        optimizer.zero_grad()
        squared(net(X), Y).mean().backward()
        optimizer.step()
    assert value < float(squared(net(X), Y).mean().detach()) - 1


def zero_net(iris, **options):
    """A classifier at the saddle of zero weights, which plain training does not leave."""
    X, y = iris
    model = DLClassifier(
        **{**PLAIN, "hidden_layer_sizes": (6,), "activation": "tanh", "max_epochs": 1},
        random_state=0,
    )
    model.set_params(**options).fit(X, y)
    model._state = {name: np.zeros_like(value) for name, value in model._state.items()}
    del model._module
    return model


def test_an_estimator_escapes_into_a_new_fitted_one_and_can_go_on_training(iris):
    X, y = iris
    model = zero_net(iris)
    cp = critical_point(model, X, y, random_state=0)
    assert cp.kind == "saddle_point"
    assert cp.worth_escaping
    assert cp.loss == pytest.approx(np.log(3))
    moved = escape(model, cp)
    assert type(moved) is DLClassifier
    assert all((value == 0).all() for value in model._state.values())
    losses = -moved.predict_log_proba(X)[np.arange(len(y)), y]
    assert cp.loss - losses.mean() == pytest.approx(cp.escape_value, rel=1e-4)
    weights = np.concatenate([p.detach().numpy().ravel() for p in moved.module_.parameters()])
    np.testing.assert_allclose(weights, cp.escape_step * cp.direction, rtol=1e-5, atol=1e-7)
    moved.set_params(warm_start=True, max_epochs=50, schedule="cosine").fit(X, y)
    assert moved.loss_curve_[-1] < losses.mean()


@pytest.mark.parametrize("module", ["mlp", "residual"])
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_escape_reaches_every_layout_of_stored_weights(module, normalization, iris):
    X, y = iris
    model = DLClassifier(
        hidden_layer_sizes=(4, 3),
        module=module,
        normalization=normalization,
        activation="tanh",
        max_epochs=2,
        random_state=0,
    ).fit(X, y)
    cp = critical_point(model, X, y, random_state=0, max_products=5)
    before = np.concatenate([p.detach().numpy().ravel() for p in model.module_.parameters()])
    moved = escape(model, cp)
    after = np.concatenate([p.detach().numpy().ravel() for p in moved.module_.parameters()])
    expected = before + cp.escape_step * cp.direction
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)


def test_a_pipeline_and_a_regressor_with_their_own_module_escape_too(diabetes):
    X, y = diabetes
    model = DLRegressor(
        module=lambda n, k: nn.Sequential(nn.Linear(n, 3), nn.Tanh(), nn.Linear(3, k)),
        max_epochs=2,
        random_state=0,
    )
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    cp = critical_point(pipeline, X, y, random_state=0)
    moved = escape(pipeline, cp)
    assert moved is not pipeline
    after = ((moved.predict(X) - y) ** 2).mean() / y.var()
    assert cp.loss - after == pytest.approx(cp.escape_value, abs=1e-5)


def test_escape_refuses_another_model(iris):
    cp = at(lambda w: w @ w, [0.0, 0.0])
    with pytest.raises(ValueError, match="has 2 parameters and the model"):
        escape(zero_net(iris), cp)
    with pytest.raises(NotFittedError):
        escape(DLClassifier(), cp)


def test_a_race_from_a_saddle_goes_as_linear_dynamics_force():
    """Along v_min each full-batch step grows the distance by 1 + rate |lambda_min|."""
    X, Y = regression()
    net = Product(torch.zeros(2, 3), torch.zeros(3, 2))
    race = saddle_race(net, squared, X, Y, distance=1e-3, n_steps=400, random_state=0)
    assert len(race) == 4 * 10
    assert race["left"].all()
    steps = race.pivot(index="seed", columns="runner", values="steps")
    assert (steps["hessian step"] == 1).all()
    assert (steps["momentum"] < steps["full batch"]).all()
    # the loss halves within a distance of 3, and 1e-5 to 1e-3 of the start lies along v_min:
    # at 1.1 a step that takes log(3e3) / log 1.1 = 84 to log(3e5) / log 1.1 = 132 steps, and a
    # few more near the minimum, where the surface bends up again
    assert steps["full batch"].between(60, 180).all()


def test_a_race_needs_something_to_leave():
    X, Y = regression()
    with pytest.raises(ValueError, match="nothing to leave"):
        saddle_race(
            Product(torch.eye(3), torch.diag(torch.tensor([3.0, 2.0, 1.0]))),
            squared,
            X,
            Y,
            random_state=0,
        )
    with pytest.raises(ValueError, match="distance > 0"):
        saddle_race(Product(torch.eye(3)), squared, X, Y, distance=0)
    with pytest.raises(ValueError, match="learning_rate must be positive"):
        saddle_race(Product(torch.eye(3)), squared, X, Y, learning_rate=-0.1)
    flat = Product(*[torch.zeros(3, 3)] * 3)
    with pytest.raises(ValueError, match="no curvature here"):
        saddle_race(flat, squared, X, Y, goal_loss=0.1, random_state=0)


# what is said


def test_a_healthy_net_is_no_saddle_worth_escaping_whatever_its_signs(iris):
    X, y = iris
    model = DLClassifier(activation="tanh", max_epochs=30, random_state=0).fit(X, y)
    assert not critical_point(model, X, y, random_state=0).worth_escaping


def test_kinks_are_said_and_smooth_activations_have_none(iris):
    X, y = iris
    for activation, said in (("relu", True), ("tanh", False), ("gelu", False)):
        model = DLClassifier(
            hidden_layer_sizes=(5,), activation=activation, max_epochs=2, random_state=0
        ).fit(X, y)
        cp = critical_point(model, X, y, random_state=0)
        assert any("kinks" in caveat for caveat in cp.caveats) == said


def test_dead_units_show_as_flat_weights():
    X, y = balanced()
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        net[0].bias[:2] = -100.0
    cp = critical_point(net, cross_entropy, X, y, random_state=0)
    # each dead unit: 4 weights and a bias in, 3 weights out
    assert cp.flat_share == pytest.approx(2 * 8 / cp.n_parameters)


def test_with_many_rows_other_rows_confirm_the_curvature():
    n = 6000
    X, y = gaussian(n, 4), torch.arange(n) % 3
    net = zeroed(mlp(4, 5, 3, bias=False))
    with torch.no_grad():  # an informative feature, so that the saddle is one on other rows too
        X[:, 0] += y
        X -= X.mean(0)
    cp = critical_point(net, cross_entropy, X, y, random_state=0)
    assert cp.n_rows == 3000
    assert cp.kind == "saddle_point"
    assert cp.curvature_other < -2 * cp.curvature_stderr < 0
    assert abs(cp.curvature_other - cp.eigenvalue_min) < 6 * cp.curvature_stderr
    assert any("subsample of 3000 rows" in caveat for caveat in cp.caveats)


def test_the_curvature_on_other_rows_counts_their_weights():
    X, y = balanced(n=600)
    weight = np.random.default_rng(0).exponential(size=600) ** 4
    arguments = (mlp(4, 5, 3), (cross_entropy, X, y))
    options = {"sample_weight": weight, "max_rows": 300, "random_state": 0}
    _, other = split_objective(*arguments, **options)
    found = critical_point(arguments[0], *arguments[1], **options)
    whole = found.direction @ HessianOperator(other).matvec(found.direction)
    assert found.curvature_other == pytest.approx(whole, rel=1e-9)


def test_curvature_that_other_rows_do_not_confirm_is_no_saddle():
    """With labels of pure noise the negative curvature at zero is the sample's, not the rows'."""
    X, y = gaussian(400, 20), torch.as_tensor(np.random.default_rng(1).integers(2, size=400))
    net = zeroed(mlp(20, 3, 2, bias=False))
    cp = critical_point(net, cross_entropy, X, y, max_rows=200, random_state=0)
    assert cp.eigenvalue_min < -3 * cp.residual_min
    assert cp.kind in ("local_minimum", "degenerate")


def test_a_minimum_is_bad_only_if_the_network_does_better_elsewhere():
    cp = at(lambda w: (w[0] ** 2 - 1) ** 2 + 0.3 * w[0] + 1, [0.96])
    minimum = at(lambda w: w @ w + 1, [0.0])
    assert minimum.kind == "local_minimum"
    assert minimum.is_bad_minimum(reached=0.5, margin=0.1)
    assert not minimum.is_bad_minimum(reached=0.95, margin=0.1)
    assert cp.kind == "local_minimum"


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_reference_that_is_no_number_is_refused(loss):
    with pytest.raises(ValueError, match="reference_loss must be a finite number"):
        at(lambda w: w @ w, [1.0], reference_loss=loss)


def test_what_is_left_to_gain_counts_from_the_reference():
    def double_well(w):
        return (w[0] ** 2 - 1) ** 2 * 0.01 + w[1] ** 2 + 1

    assert not at(double_well, [0.0, 0.0]).worth_escaping  # 0.01 of 1.01
    assert at(double_well, [0.0, 0.0], reference_loss=0.99).worth_escaping


def test_the_same_seed_gives_the_same_answer_and_it_prints(iris):
    X, y = iris
    model = DLClassifier(activation="tanh", max_epochs=2, random_state=0).fit(X, y)
    a, b = (critical_point(model, X, y, random_state=3, max_products=8) for _ in range(2))
    assert str(a) == str(b)
    assert a.eigenvalue_min == b.eigenvalue_min
    assert not a.converged
    assert "raise max_products" in str(a)
    with pytest.raises(AttributeError):
        a.kind = "saddle_point"


class Well(nn.Module):
    """A tilted double well whose rows pull to both sides: minima near -1 (bad) and 1."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w], dtype=torch.float64))

    def forward(self, x):
        return (self.w**2 - 1) ** 2 - 0.3 * self.w + x[:, 0] * self.w


def test_noise_leaves_a_bad_minimum_that_full_batches_do_not():
    # the pulls sum to zero, so that full batches never feel them
    pulls = torch.linspace(-16, 16, 64, dtype=torch.float64)[:, None]
    bottom = float(np.roots([4, 0, -4, -0.3]).real.min())
    race = saddle_race(
        Well(bottom), lambda f, y: f, pulls, torch.zeros(64), goal_loss=-0.2, batch_size=2,
        learning_rate=0.03, n_steps=300, n_seeds=3, random_state=0,
    )  # fmt: skip
    left = race.groupby("runner")["left"].mean()
    assert left["mini-batch"] == 1
    assert left["full batch"] == left["momentum"] == 0
    assert race.loc[race["runner"] == "full batch", "loss"].max() < 0.31
