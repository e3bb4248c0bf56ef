"""The gradient written out is the gradient that autograd finds."""

from __future__ import annotations

import pytest
import torch

from sklearn_dl.losses import Loss, classifier_loss, loss_and_gradient, regressor_loss
from sklearn_dl.nn import Architecture, Batch, Chain, build
from sklearn_dl.nn.backprop import DERIVATIVES
from sklearn_dl.nn.layers import Stacked, StackedDropout

M, ROWS, FEATURES, OUTPUTS = 3, 7, 5, 4
LOSSES: dict[str, tuple[Loss, float]] = {
    "cross-entropy": (classifier_loss("cross_entropy", multilabel=False), 0.0),
    "smoothed": (classifier_loss("cross_entropy", multilabel=False), 0.1),
    "mse of softmax": (classifier_loss("mse", multilabel=False), 0.0),
    "labels": (classifier_loss("cross_entropy", multilabel=True), 0.0),
    "squared": (regressor_loss("mse", levels=(0.5,)), 0.0),
    "absolute": (regressor_loss("mae", levels=(0.5,)), 0.0),
    "counts": (regressor_loss("poisson", levels=()), 0.0),
    "weighted labels": (classifier_loss("cross_entropy", multilabel=True, weighted=True), 0.0),
    "smoothed labels": (classifier_loss("cross_entropy", multilabel=True), 0.1),
    "pinball": (regressor_loss("pinball", levels=(0.2,)), 0.0),
}


def problem(loss: Loss) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(M, ROWS, FEATURES, generator=g, dtype=torch.float64)
    target = torch.randint(OUTPUTS, (M, ROWS), generator=g)
    if loss.target != "index":
        target = (torch.randn(M, ROWS, OUTPUTS, generator=g, dtype=torch.float64) > 0).double()
    return x, target, torch.rand(M, ROWS, generator=g, dtype=torch.float64)


def check_gradient(
    network: Stacked, loss: Loss, rows: tuple[torch.Tensor, ...], smoothing: float = 0.0
) -> torch.Tensor:
    """The chain's loss and gradient are autograd's; gives the outputs."""
    x, target, share = rows
    objective = (loss(network.forward(x, Batch()), target, smoothing) * share).sum()
    expected = torch.autograd.grad(objective, list(network.parameters()))
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    chain = Chain.of(network)
    assert chain is not None
    with torch.no_grad():
        outputs = chain.forward(x, Batch())
        losses, gradient = loss_and_gradient(loss, outputs, target, smoothing, share)
        chain.backward(gradient)
    torch.testing.assert_close((losses * share).sum(), objective.detach())
    for parameter, grad in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-10, atol=1e-12)
    return outputs


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("activation", DERIVATIVES)
def test_chain_gradient_is_autograd_s(activation: str, name: str) -> None:
    loss, smoothing = LOSSES[name]
    x, target, share = problem(loss)
    network = build(Architecture("mlp", FEATURES, OUTPUTS, (6, 3), activation), M).double()
    for model in range(M):
        network.reset(model, torch.Generator().manual_seed(model))
    check_gradient(network, loss, (x, target, share), smoothing)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 3)])
@pytest.mark.parametrize("n_bins", [0, 2])
@pytest.mark.parametrize("periodic", [(0, 0), (3, 2)])
def test_chain_reaches_the_vectors_of_levels_and_waves(
    hidden: tuple[int, ...], n_bins: int, periodic: tuple[int, int]
) -> None:
    loss, _ = LOSSES["cross-entropy"]
    x, target, share = problem(loss)
    x[..., 3:] = torch.randint(4, x[..., 3:].shape, generator=torch.Generator().manual_seed(1))
    architecture = Architecture(
        "auto",
        FEATURES,
        OUTPUTS,
        hidden,
        "tanh",
        binned=(0, 2) if n_bins or periodic[1] else (),
        n_bins=n_bins,
        periodic=periodic,
        n_levels=(3, 4),
        embedding_size=2,
    )
    network = build(architecture, M).double()
    assert sum(p[0].numel() for p in network.parameters()) == architecture.n_parameters
    for i, parameter in enumerate(network.parameters()):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(i))
    outputs = check_gradient(network, loss, (x, target, share))
    for model in range(M):
        torch.testing.assert_close(network.plain(model)(x[model]), outputs[model])


@pytest.mark.parametrize("levels", [(0.1, 0.5), (0.05, 0.25, 0.5, 0.99), (0.7,)])
def test_chain_of_several_quantiles_has_autograd_s_gradient(levels: tuple[float, ...]) -> None:
    n_outputs = 2 * len(levels)
    loss = regressor_loss("pinball", levels=levels)
    x, _, share = problem(loss)
    target = x[..., :2].sin()
    network = build(Architecture("mlp", FEATURES, n_outputs, (6,), "tanh", levels=levels), M)
    network = network.double()
    for model in range(M):
        network.reset(model, torch.Generator().manual_seed(model))
    check_gradient(network, loss, (x, target, share))


def test_dropout_masks_the_gradient_as_it_masked_the_units() -> None:
    loss = LOSSES["squared"][0]
    x, target, share = problem(loss)
    network = build(Architecture("mlp", FEATURES, OUTPUTS, (6,), "tanh"), M).double().train()
    for model in range(M):
        network.reset(model, torch.Generator().manual_seed(model))

    def armed() -> None:
        for module in network.modules():
            if isinstance(module, StackedDropout):
                generators = [torch.Generator().manual_seed(i) for i in range(M)]
                module.arm([0.5] * M, generators, shared=[False, True, False])

    armed()
    objective = (loss(network.forward(x, Batch()), target) * share).sum()
    expected = torch.autograd.grad(objective, list(network.parameters()))
    armed()
    for parameter in network.parameters():
        parameter.grad = torch.empty_like(parameter)
    chain = Chain.of(network)
    assert chain is not None
    with torch.no_grad():
        outputs = chain.forward(x, Batch())
        chain.backward(loss_and_gradient(loss, outputs, target, 0.0, share)[1])
    for parameter, grad in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("mlp", FEATURES, OUTPUTS, (6,), "relu", "batch"),
        Architecture("mlp", FEATURES, OUTPUTS, (6,), "gelu"),
        Architecture("mlp", FEATURES, OUTPUTS, (6,), torch.sin),
        Architecture("residual", FEATURES, OUTPUTS, (6,)),
        Architecture(torch.nn.Linear, FEATURES, OUTPUTS),
    ],
)
def test_what_is_no_plain_chain_is_left_to_autograd(architecture: Architecture) -> None:
    assert Chain.of(build(architecture, 2)) is None
