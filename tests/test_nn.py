"""Stacked layers are the plain torch layers, model by model; a user's module is itself."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import nn

from sklearn_dl import DLClassifier, DLRegressor, batched_fits
from sklearn_dl.nn import ACTIVATIONS, MODULES, Architecture, Batch, build
from sklearn_dl.nn.layers import (
    StackedBatchNorm,
    StackedDropout,
    StackedLayerNorm,
    StackedLinear,
)
from sklearn_dl.nn.piecewise import StackedPiecewise

M, B, F, H = 3, 13, 5, 4


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _drawn(*shape, seed=0):
    return torch.randn(*shape, generator=_generator(seed), dtype=torch.float64)


def _filled(layer):
    """The layer in float64 with all numbers drawn, each model its own."""
    layer = layer.double()
    for i, value in enumerate((*layer.parameters(), *layer.buffers())):
        value.data = _drawn(*value.shape, seed=i).abs() + 0.1
    return layer


LAYERS = {
    "linear": lambda: StackedLinear(M, F, H),
    "linear without bias": lambda: StackedLinear(M, F, H, bias=False),
    "batch norm": lambda: StackedBatchNorm(M, F),
    "layer norm": lambda: StackedLayerNorm(M, F),
    "dropout": lambda: StackedDropout(),
}
ARCHITECTURES = {
    f"{module}, {getattr(activation, '__name__', activation)}, {normalization}": Architecture(
        module,
        F,
        H,
        (7, 6),
        activation,
        normalization,
        image=(1, 1, F) if module == "cnn" else None,
        channels=(3,) if module == "cnn" else (),
    )
    for module in MODULES
    for activation, normalization in [
        *((a, None) for a in ACTIVATIONS),
        ("relu", "batch"),
        ("relu", "layer"),
        (torch.sin, None),
    ]
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_model_of_a_stacked_layer_is_its_plain_layer(name):
    layer, x = _filled(LAYERS[name]()).eval(), _drawn(M, B, F)
    out = layer.forward(x, Batch())
    for model in range(M):
        plain = layer.plain(model).eval()
        assert type(plain).__module__.startswith("torch.nn")
        torch.testing.assert_close(plain(x[model]), out[model], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_model_of_a_stacked_network_is_its_plain_network(name):
    network = build(ARCHITECTURES[name], M)
    for model in range(M):
        network.reset(model, _generator(model))
    network, x = network.double().eval(), _drawn(M, B, F)
    out = network.forward(x, Batch())
    assert out.shape == (M, B, H)
    for model in range(M):
        plain = network.plain(model)
        torch.testing.assert_close(plain(x[model]), out[model], rtol=1e-12, atol=1e-12)
        n_stacked = sum(p[model].numel() for p in network.parameters())
        assert sum(p.numel() for p in plain.parameters()) == n_stacked


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_reaches_every_parameter_and_no_other_model(name):
    network = build(ARCHITECTURES[name], M)
    for model in range(M):
        network.reset(model, _generator(model))
    network = network.double()
    x = _drawn(M, B, F)
    (network.forward(x, Batch())[1] ** 2).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert (parameter.grad[1] != 0).any(), parameter_name
        assert (parameter.grad[[0, 2]] == 0).all(), parameter_name


def test_linear_starts_as_torchs_does():
    """Uniform in +-1/sqrt(n_in), weights and bias."""
    layer = StackedLinear(1, 400, 300)
    layer.reset(0, _generator())
    plain, torchs = layer.plain(0), nn.Linear(400, 300)
    bound = 1 / np.sqrt(400)
    for ours, theirs in zip(plain.parameters(), torchs.parameters(), strict=True):
        assert ours.shape == theirs.shape
        assert ours.abs().max() <= bound
        assert float(ours.detach().std()) == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_draws_of_a_model_depend_on_its_generator_alone():
    alone, stacked = (
        build(ARCHITECTURES["mlp, relu, None"], 1),
        build(ARCHITECTURES["mlp, relu, None"], M),
    )
    alone.reset(0, _generator(7))
    for model, seed in enumerate((3, 7, 5)):
        stacked.reset(model, _generator(seed))
    for one, many in zip(alone.parameters(), stacked.parameters(), strict=True):
        assert_array_equal(one[0].detach(), many[1].detach())
        assert (many[0] != many[1]).any()


def test_activation_names_are_torchs_functions():
    expected = {
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "selu": nn.SELU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "identity": nn.Identity,
    }
    assert set(ACTIVATIONS) == set(expected)
    x = _drawn(50) * 3
    for name, (function, module) in ACTIVATIONS.items():
        assert module is expected[name]
        torch.testing.assert_close(function(x), module()(x), rtol=1e-12, atol=1e-12)


# normalisation


@pytest.mark.parametrize(
    ("ours", "torchs"), [(StackedBatchNorm, nn.BatchNorm1d), (StackedLayerNorm, nn.LayerNorm)]
)
def test_normalisation_in_training_is_torchs(ours, torchs):
    layer, x = ours(M, F).double().train(), 3 * _drawn(M, B, F) + 1
    for model in range(M):
        layer.reset(model, _generator())
    out = layer.forward(x, Batch())
    for model in range(M):
        expected = torchs(F).double().train()(x[model])
        torch.testing.assert_close(out[model], expected, rtol=1e-12, atol=1e-12)


def test_batch_norm_weighs_rows_as_repetitions():
    counts = torch.tensor([[1, 2, 3, 1, 2], [3, 1, 1, 1, 3], [2, 2, 2, 2, 1]])
    x = _drawn(M, 5, F)
    weighted = StackedBatchNorm(M, F).double()
    out = weighted.forward(x, Batch(weight=counts.double()))
    for model in range(M):
        rows = x[model].repeat_interleave(counts[model], 0)
        alone = StackedBatchNorm(1, F).double()
        expected = alone.forward(rows[None], Batch())[0]
        first = torch.cat([torch.zeros(1, dtype=torch.int64), counts[model].cumsum(0)[:-1]])
        torch.testing.assert_close(out[model], expected[first], rtol=1e-12, atol=1e-12)
        for name in ("running_mean", "running_var"):
            seen, one = getattr(weighted, name)[model], getattr(alone, name)[0]
            torch.testing.assert_close(seen, one, rtol=1e-12, atol=1e-12)


def test_padding_rows_do_not_touch_batch_norm():
    x = _drawn(M, B, F)
    weight = torch.full((M, B), 1 / 8, dtype=torch.float64)
    weight[:, 8:] = 0
    padded, short = StackedBatchNorm(M, F).double(), StackedBatchNorm(M, F).double()
    out = padded.forward(torch.where(weight[..., None] > 0, x, 1e6), Batch(weight=weight))
    expected = short.forward(x[:, :8], Batch())
    torch.testing.assert_close(out[:, :8], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(padded.running_var, short.running_var, rtol=1e-9, atol=1e-9)


# dropout


def test_dropout_keeps_its_share_and_the_mean():
    layer = StackedDropout().train()
    rates = [0.0, 0.25, 0.8]
    layer.arm(rates, [_generator(i) for i in range(M)], [False] * M)
    out = layer.forward(torch.ones(M, 500, 100, dtype=torch.float64), Batch())
    for model, rate in enumerate(rates):
        kept = float((out[model] != 0).double().mean())
        error = 5 * np.sqrt(rate * (1 - rate) / 50_000)  # five standard errors of a share
        assert abs(kept - (1 - rate)) <= error + 2**-16  # the rate is rounded to so much
        assert float(out[model].mean()) == pytest.approx(1, abs=0.05)
        assert len(out[model].unique()) == (1 if rate == 0 else 2)
    assert_array_equal(layer.eval().forward(out, Batch()), out)


def test_dropout_draws_of_a_model_are_the_same_alone_and_in_a_stack():
    x = _drawn(M, B, F)
    together, alone = StackedDropout().train(), StackedDropout().train()
    together.arm([0.5, 0.3, 0.5], [_generator(i) for i in range(M)], [False] * M)
    alone.arm([0.3], [_generator(1)], [False])
    for _ in range(3):
        out = together.forward(x, Batch(rows=[B, 9, 4]))
        expected = alone.forward(x[1:2, :9], Batch())
        assert_array_equal(out[1, :9], expected[0])


def test_bins_are_the_same_with_and_without_a_graph() -> None:
    layer = StackedPiecewise(M, (0, 2), 4)
    for model in range(M):
        slope, offset = _drawn(2, 2, 4)
        layer.load(model, torch.stack([slope, offset, slope.sigmoid()]))
    for rows in (B, 3, B):  # memory of a larger batch is used again
        x = _drawn(M, rows, F).float()
        with torch.no_grad():
            written = layer.forward(x, Batch())
        assert_array_equal(written, layer.forward(x, Batch()))
        with torch.no_grad():
            assert_array_equal(written[1], layer.plain(1)(x[1]))


# a user's module


class TwoHeads(nn.Module):
    """Nested parameters, one that is shared, and one that is not used."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.body = nn.ModuleDict({"in": nn.Linear(n_features, 6), "norm": nn.LayerNorm(6)})
        self.head = nn.Linear(6, n_outputs)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.head(torch.tanh(self.body["norm"](self.body["in"](x))))


class Counting(nn.Module):
    """Keeps buffers, one of integers, which it moves in place while it trains."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features)
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, x):
        return self.linear(self.norm(x))


@pytest.mark.parametrize("module", [TwoHeads, Counting, lambda i, o: nn.Linear(i, o)])
@pytest.mark.parametrize("estimator_class", [DLClassifier, DLRegressor])
def test_users_module_is_trained_and_given_back(iris, estimator_class, module):
    X, y = iris
    estimator = estimator_class(
        module=module, learning_rate=0.05, max_epochs=60, random_state=0
    ).fit(X, y)
    assert estimator.score(X, y) > 0.85
    assert not estimator.module_.training
    expected = type(module(4, 3))
    assert isinstance(estimator.module_, expected)


class Frozen(nn.Module):
    """A first layer that stays as it is drawn."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.fixed = nn.Linear(n_features, 8).requires_grad_(False)
        self.learnt = nn.Linear(8, n_outputs)

    def forward(self, x):
        return self.learnt(torch.tanh(self.fixed(x)))


@pytest.mark.parametrize(
    ("n_members", "optimizer"), [(1, "adamw"), (2, "adamw"), (2, "sgd"), (1, torch.optim.LBFGS)]
)
def test_frozen_parameters_stay_as_they_are_drawn(iris, n_members, optimizer):
    net = DLClassifier(
        module=Frozen, n_members=n_members, optimizer=optimizer, learning_rate=1e-30,
        weight_decay=0.0, max_epochs=1, random_state=0,
    )  # fmt: skip
    drawn = list(net.fit(*iris).module_.parameters())
    net.set_params(learning_rate=0.01, max_epochs=3)
    if optimizer != torch.optim.LBFGS:
        net.set_params(weight_decay=0.5)
    kept = pickle.loads(pickle.dumps(net.fit(*iris)))
    again = kept.set_params(warm_start=True).fit(*iris).module_.parameters()
    for before, after in zip(drawn, again, strict=True):
        assert torch.equal(before, after) == (not after.requires_grad)
    assert sum(not p.requires_grad for p in drawn) == 2 * n_members


def test_frozen_parameters_stay_in_fits_that_train_together(iris):
    net = DLClassifier(module=Frozen, n_members=1, max_epochs=2, random_state=0)
    with batched_fits():
        search = GridSearchCV(net, {"learning_rate": [0.001, 0.1]}, cv=2).fit(*iris)
    alone = net.set_params(**search.best_params_).fit(*iris).module_
    found = search.best_estimator_.module_
    assert torch.equal(found.fixed.weight, alone.fixed.weight)
    assert_allclose(found.learnt.weight.detach(), alone.learnt.weight.detach(), rtol=1e-6)


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "params",
    [{"module": TwoHeads}, {"activation": "gelu"}, {"normalization": "batch"}, {}],
    ids=["module", "gelu", "batch", "default"],
)
def test_a_fit_draws_gradients_whatever_surrounds_it(iris, params, surrounding):
    X, y = iris
    net = DLClassifier(**params, max_epochs=2, random_state=0)
    expected = net.fit(X, y).predict_proba(X)
    twice = net.partial_fit(X, y).predict_proba(X)
    with surrounding():
        assert_array_equal(net.fit(X, y).predict_proba(X), expected)
        with batched_fits():
            scores = cross_val_score(net, X, y, cv=2)
        assert not torch.is_grad_enabled()
    assert_allclose(scores, cross_val_score(net, X, y, cv=2))
    assert not any(p.is_inference() for p in net.module_.parameters())
    assert_array_equal(net.partial_fit(X, y).predict_proba(X), twice)


def test_users_module_sees_the_sizes_and_rows_of_the_problem(iris):
    seen = []

    def module(n_features, n_outputs):
        seen.append((n_features, n_outputs))
        return nn.Linear(n_features, n_outputs)

    DLClassifier(module=module, max_epochs=1).fit(*iris)
    assert set(seen) == {(4, 3)}


def test_buffers_of_a_users_module_move_as_torchs(iris):
    X, y = iris
    estimator = DLRegressor(
        module=Counting, learning_rate=1e-12, max_epochs=5, batch_size=150, random_state=0
    ).fit(X, y)
    rows, norm = torch.from_numpy(estimator.encode(X)), nn.BatchNorm1d(4).double()
    for _ in range(5):
        norm(rows)
    ours = estimator.module_.norm
    assert_allclose(ours.running_mean, norm.running_mean, rtol=1e-9)
    assert_allclose(ours.running_var, norm.running_var, rtol=1e-9)
    assert int(ours.num_batches_tracked) == 5


class Shifted(nn.Module):
    """An activation with a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.ones(()))

    def forward(self, x):
        return torch.relu(x - self.shift)


@pytest.mark.parametrize(("activation", "name"), [(nn.PReLU(), "weight"), (Shifted(), "shift")])
@pytest.mark.parametrize("module", ["auto", "mlp"])
def test_an_activation_with_numbers_of_its_own_is_refused(iris, module, activation, name):
    before = {key: value.clone() for key, value in activation.state_dict().items()}
    with pytest.raises(ValueError, match=rf"keeps parameters or buffers \({name}\).*as module"):
        DLClassifier(module=module, activation=activation).fit(*iris)
    assert activation.state_dict() == before
    DLClassifier(module=module, activation=nn.ELU(), max_epochs=1).fit(*iris)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (lambda i, o: 3, TypeError, "module must be a callable .* it returned int"),
        (nn.Linear(4, 3), TypeError, "got one that is built already, Linear. Give its class"),
        (lambda i, o: nn.Linear(i, o + 4), ValueError, r"outputs of shape \(n, 3\).*\(2, 7\)"),
        (lambda i, o: nn.Linear(i + 1, o), RuntimeError, "shapes"),
        (lambda i, o: nn.LSTM(i, o), ValueError, "it gave tuple"),
        (lambda i, o: nn.Linear(i, o).requires_grad_(False), ValueError, "nothing to train: none"),
    ],
)
def test_module_that_does_not_fit_is_refused(iris, module, error, message):
    with pytest.raises(error, match=message):
        DLClassifier(module=module).fit(*iris)


class Averaging(nn.Module):
    """Keeps the mean of its rows, as another tensor after each."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)
        self.register_buffer("mean", torch.zeros(n_features))

    def forward(self, x):
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.mean(0)
        return self.linear(x - self.mean)


def test_a_buffer_that_a_users_module_replaces_is_kept(iris):
    X, y = iris
    net = DLRegressor(module=Averaging, max_epochs=3, batch_size=150, random_state=0).fit(X, y)
    mean = torch.from_numpy(net.encode(X)).mean(0)
    assert_allclose(net.module_.mean, (1 - 0.5**3) * mean, atol=1e-6)


def test_lazy_layers_of_a_users_module_learn_their_sizes(iris):
    def lazy(n_features, n_outputs):
        return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(n_outputs))

    def plain(n_features, n_outputs):
        return nn.Sequential(nn.Linear(n_features, 8), nn.ReLU(), nn.Linear(8, n_outputs))

    before = torch.get_rng_state()
    found, expected = (
        DLClassifier(module=module, max_epochs=2, random_state=0).fit(*iris).predict_proba(iris[0])
        for module in (lazy, plain)
    )
    assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)
