"""Do many models at once give what each gives alone?"""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_dl import PLAIN, DLClassifier, DLRegressor
from sklearn_dl.curvature import (
    critical_point,
    critical_points,
    hessian_extremes,
    hessian_extremes_stack,
)
from sklearn_dl.curvature.lanczos import lanczos


def fitted(X, y, n=3, **params):
    """Networks that differ in seed, rows, and so in weights, encoder and running averages."""
    plain = PLAIN | {"hidden_layer_sizes": (5,), "activation": "tanh", "max_epochs": 5}
    rows = [np.random.default_rng(k).permutation(len(y))[: len(y) // 2] for k in range(n)]
    return [
        DLClassifier(**plain | params, random_state=k).fit(X[r], y[r]) for k, r in enumerate(rows)
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"normalization": "batch"}, {"loss": "mse"}, {"module": "residual"}],
    ids=str,
)
def test_extremes_of_a_stack_are_those_of_each_model(iris, options):
    X, y = iris
    models = fitted(X, y, **options)
    together = hessian_extremes_stack(models, X, y, random_state=0, penalty=0.1)
    for model, found in zip(models, together, strict=True):
        alone = hessian_extremes(model, X, y, random_state=0, penalty=0.1)
        assert found.eigenvalue_min == pytest.approx(alone.eigenvalue_min, rel=1e-6, abs=1e-10)
        assert found.eigenvalue_max == pytest.approx(alone.eigenvalue_max, rel=1e-9)
        assert found.converged
        assert alone.converged
        assert abs(found.n_products - alone.n_products) <= 1  # rounding may decide the last step
        assert abs(found.vector_max @ alone.vector_max) == pytest.approx(1, abs=1e-6)


def test_extremes_of_a_stack_on_a_subsample_take_the_same_rows(iris):
    X, y = iris
    models = fitted(X, y)
    together = hessian_extremes_stack(models, X, y, max_rows=40, random_state=3)
    alone = hessian_extremes(models[2], X, y, max_rows=40, random_state=3)
    assert together[2].n_rows == 40
    assert together[2].eigenvalue_max == pytest.approx(alone.eigenvalue_max, rel=1e-9)


def test_quadratic_forms_of_a_stack_have_their_own_spectra():
    class Form(nn.Module):
        def __init__(self, values):
            super().__init__()
            self.register_buffer("A", torch.diag(torch.as_tensor(values, dtype=torch.float64)))
            self.w = nn.Parameter(torch.ones(len(values), dtype=torch.float64))

        def forward(self, x):
            return x[:, 0] * (0.5 * self.w @ self.A @ self.w)

    forms = [Form([-1.0, 2.0, 5.0]), Form([1.0, 1.0, 3.0]), Form([-4.0, -2.0, -2.0])]
    one = torch.ones(1, 1, dtype=torch.float64)
    found = hessian_extremes_stack(forms, lambda f, y: f, one, one, random_state=0)
    ends = [(f.eigenvalue_min, f.eigenvalue_max) for f in found]
    np.testing.assert_allclose(ends, [(-1, 5), (1, 3), (-4, -2)], atol=1e-9)
    # two distinct eigenvalues take two products
    assert [f.n_products for f in found] == [3, 2, 2]


def test_critical_points_of_a_stack_are_those_of_each_model(iris):
    X, y = iris
    models = fitted(X, y, n=2)
    together = critical_points(models, X, y, random_state=0)
    for model, found in zip(models, together, strict=True):
        alone = critical_point(model, X, y, random_state=0)
        assert found.kind == alone.kind
        assert found.gradient_norm == pytest.approx(alone.gradient_norm, rel=1e-9)
        assert found.escape_value == pytest.approx(alone.escape_value, rel=1e-3, abs=1e-8)
        assert found.worth_escaping == alone.worth_escaping


def test_a_run_that_ends_early_leaves_the_others_alone():
    matrices = np.stack([np.eye(6), np.diag([1.0, 2, 3, 4, 5, 6]), np.zeros((6, 6))])
    start = np.random.default_rng(0).standard_normal((3, 6))
    found = lanczos(lambda v: np.einsum("kij,kj->ki", matrices, v), start, 6)
    assert [len(r.values) for r in found] == [1, 6, 1]
    np.testing.assert_allclose(found[1].values, [1, 2, 3, 4, 5, 6], rtol=1e-10)
    np.testing.assert_allclose(found[0].values, [1])
    np.testing.assert_allclose(found[2].values, [0])


def test_models_that_differ_cannot_be_one_stack(iris, diabetes):
    X, y = iris
    small, large = fitted(X, y, n=1), fitted(X, y, n=1, hidden_layer_sizes=(6,))
    with pytest.raises(
        ValueError, match="alike in architecture, number of rows and penalty; got 2"
    ):
        hessian_extremes_stack(small + large, X, y)
    with pytest.raises(ValueError, match="models is empty"):
        critical_points([], X, y)
    with pytest.raises(ValueError, match="second derivative zero"):
        hessian_extremes_stack([DLRegressor(loss="mae", max_epochs=1).fit(*diabetes)], *diabetes)


def test_a_stack_too_large_is_refused_with_its_size():
    nets = [nn.Linear(300_000, 1) for _ in range(20)]
    with pytest.raises(ValueError, match=r"300,001 parameters for 20 models take 4\.5 GiB"):
        hessian_extremes_stack(
            nets, lambda f, y: (f - y).square(), torch.zeros(1, 300_000), torch.zeros(1, 1)
        )
