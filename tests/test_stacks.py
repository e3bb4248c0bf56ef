"""Models trained as one stack are the models trained alone."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from sklearn_dl.augmentation import augmentation_of
from sklearn_dl.losses import Loss, classifier_loss, regressor_loss
from sklearn_dl.nn import Architecture
from sklearn_dl.optimizers import optimizer_spec
from sklearn_dl.training import (
    DenseInputs,
    DivergenceError,
    Examples,
    FitJob,
    FitResult,
    Recipe,
    train_stack,
)

N_FEATURES, N_CLASSES, BATCH = 6, 3, 16
# different numbers of batches; a last batch of one row, which joins; full, short and single ones
IMAGE = (2, 5, 3)
RAGGED = (80, 65, 49, 49, 33, 16, 5)


def examples(
    n_rows: int, seed: int, *, weighted: bool, target: str, n_features: int = N_FEATURES
) -> Examples:
    g = torch.Generator().manual_seed(1000 + seed)
    x = torch.randn(n_rows, n_features, generator=g, dtype=torch.float64)
    if target == "index":
        y = (x[:, :N_CLASSES] + 0.3 * torch.randn(n_rows, N_CLASSES, generator=g)).argmax(1)
    elif target == "labels":
        y = (x[:, :2] > 0).to(torch.float64)
    elif target == "signed":
        y = torch.where(x[:, :2] > 0, 1.5, -0.3).to(torch.float64)
    elif target == "counts":
        y = (2 + torch.sin(x[:, :2])).round()
    else:
        y = torch.sin(x[:, :2])
    weight = torch.rand(n_rows, generator=g, dtype=torch.float64) + 0.1 if weighted else None
    return Examples(DenseInputs(x), y, weight)


def job(
    n_rows: int = 65,
    seed: int = 0,
    *,
    loss: Loss | None = None,
    target: str = "index",
    weighted: bool = False,
    held_out: int = 0,
    module: Any = "mlp",
    activation: str = "tanh",
    normalization: str | None = None,
    members: int = 1,
    folds: bool = False,
    bins: bool = False,
    codes: bool = False,
    periodic: tuple[int, int] = (0, 0),
    image: tuple[int, int, int] | None = None,
    levels: tuple[float, ...] = (),
    optimizer: Any = "adam",
    momentum: float | None = None,
    rms_decay: float | None = None,
    **recipe: Any,
) -> FitJob:
    n_outputs = N_CLASSES if target == "index" else 2 * max(1, len(levels))
    links = {"index": "softmax", "labels": "sigmoid", "signed": "sigmoid", "counts": "exp"}
    score = {"index": "accuracy", "labels": "accuracy", "signed": "accuracy"}.get(target, "r2")
    settings = {"learning_rate": 0.01, "max_epochs": 3, **recipe}
    n_features = N_FEATURES if image is None else math.prod(image)
    given = partial(examples, weighted=weighted, target=target, n_features=n_features)
    fold = given(held_out, seed + 50) if held_out else None
    rows = given(n_rows, seed)
    if codes:
        for part in filter(None, (rows, fold)):
            x = part.inputs.rows(0, len(part))
            x[:, -1] = torch.arange(len(part)) % 8
    return FitJob(
        architecture=Architecture(
            module,
            n_features,
            n_outputs,
            (8, 5),
            activation,
            normalization,
            binned=(1, 3) if bins or periodic[1] else (),
            periodic=periodic,
            n_bins=4 if bins else 0,
            n_levels=(7,) if codes else (),
            embedding_size=3 if codes else 0,
            n_members=members,
            image=image,
            channels=() if image is None else (3, 4),
            link=links.get(target, "identity"),
            levels=levels,
        ),
        loss=loss or classifier_loss("cross_entropy", multilabel=target == "labels"),
        recipe=Recipe(
            optimizer=optimizer_spec(optimizer, momentum=momentum, rms_decay=rms_decay),
            batch_size=BATCH,
            **settings,
        ),
        examples=rows,
        validation=fold,
        folds=torch.arange(n_rows) % members if folds else None,
        bins=bins_of(rows.inputs.rows(0, n_rows)) if bins else None,
        seed=seed,
        score="d2_pinball" if levels else score,
        dtype=torch.float64,
    )


def ragged(**settings: Any) -> list[FitJob]:
    """One job a length; a callable setting is a function of the position."""
    return [
        job(n, i, **{k: v(i) if isinstance(v, PerModel) else v for k, v in settings.items()})
        for i, n in enumerate(RAGGED)
    ]


class PerModel:
    """A setting that differs from model to model."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __call__(self, i: int) -> Any:
        return self.values[i % len(self.values)]


def bins_of(x: torch.Tensor) -> torch.Tensor:
    """Bins of columns 1 and 3 between equal steps, the last one dead."""
    low, width = x[:, [1, 3]].amin(0), x[:, [1, 3]].std(0)
    slope = (1 / width).unsqueeze(1).repeat(1, 4)
    start = low.unsqueeze(1) + width.unsqueeze(1) * torch.arange(4)
    slope[:, 3] = 0
    mean = torch.full((2, 4), 0.3, dtype=torch.float64)
    return torch.stack([slope, -start * slope - mean, mean])


class UserNet(nn.Module):
    """A module as a torch user writes it."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_features, 7)
        self.scale = nn.Parameter(torch.ones(7) + 0.1 * torch.randn(7))
        self.last = nn.Linear(7, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)) * self.scale)


CASES: dict[str, dict[str, Any]] = {
    **{f"activation {a}": {"activation": a} for a in ("relu", "gelu", "silu", "selu", "sigmoid")},
    "identity": {"activation": "identity"},
    "weights": {"weighted": PerModel(True, False)},
    "batch norm": {"normalization": "batch"},
    "batch norm, weights": {"normalization": "batch", "weighted": PerModel(True, False)},
    "layer norm": {"normalization": "layer"},
    "residual": {"module": "residual"},
    "residual, batch norm": {"module": "residual", "normalization": "batch"},
    "user module": {"module": UserNet},
    "members": {"members": 3, "dropout": PerModel(0.0, 0.2)},
    "members, residual": {"members": 2, "module": "residual", "normalization": "batch"},
    "members with folds": {
        "members": 3,
        "folds": True,
        "patience": PerModel(1, 2, 30),
        "max_epochs": PerModel(8, 12),
        "learning_rate": PerModel(0.03, 0.1),
        "weighted": PerModel(True, False),
    },
    "bins": {"module": "ensemble", "bins": True, "activation": "relu"},
    "bins, members with folds": {
        "module": "auto",
        "bins": True,
        "members": 2,
        "folds": True,
        "normalization": "layer",
        "max_epochs": 4,
    },
    "periodic": {"module": "periodic", "periodic": (3, 2), "activation": "relu"},
    "periodic, codes, members with folds": {
        "module": "periodic",
        "periodic": (3, 2),
        "codes": True,
        "members": 2,
        "folds": True,
        "normalization": "layer",
        "max_epochs": 4,
    },
    "codes": {"module": "auto", "codes": True, "weighted": PerModel(True, False)},
    "codes, bins, members with folds": {
        "module": "auto",
        "codes": True,
        "bins": True,
        "members": 2,
        "folds": True,
        "activation": "gelu",
        "max_epochs": 4,
    },
    "dropout": {"dropout": PerModel(0.0, 0.2, 0.5)},
    "label smoothing": {"label_smoothing": PerModel(0.0, 0.1, 0.2)},
    "noise": {"augmentation": PerModel(None, augmentation_of("noise"))},
    **{
        f"augmentation {name}": {
            "augmentation": PerModel(None, augmentation_of(name, 0.3), augmentation_of(name, 0.5)),
            "weighted": PerModel(True, False),
        }
        for name in ("dropout", "swap", "mixup")
    },
    "augmentations side by side": {
        "augmentation": PerModel(
            augmentation_of("noise"),
            augmentation_of("mixup", 1.0),
            augmentation_of(lambda rows: rows + 0.1 * torch.randn_like(rows)),
        ),
        "dropout": 0.1,
    },
    "mixup through the graph": {
        "augmentation": PerModel(augmentation_of("mixup", 0.5), None),
        "activation": "gelu",
        "label_smoothing": 0.1,
    },
    "mixup of a regression": {
        "target": "matrix",
        "loss": regressor_loss("huber", levels=(0.5,)),
        "augmentation": augmentation_of("mixup", 0.5),
    },
    **{
        f"cnn, {name}": {"module": "cnn", "image": IMAGE, **case}
        for name, case in {
            "plain": {},
            "relu, weights": {"activation": "relu", "weighted": PerModel(True, False)},
            "batch norm": {"normalization": "batch", "weighted": PerModel(True, False)},
            "layer norm": {"normalization": "layer", "dropout": PerModel(0.0, 0.3)},
            "members with folds": {"members": 2, "folds": True},
        }.items()
    },
    **{
        f"cnn, {name}": {
            "module": "cnn",
            "image": IMAGE,
            "augmentation": PerModel(
                augmentation_of(name, 0.3, IMAGE), None, augmentation_of(name, 0.1, IMAGE)
            ),
        }
        for name in ("affine", "rotate", "crop", "flip", "colour", "erase", "mixup")
    },
    "mse of softmax": {"loss": classifier_loss("mse", multilabel=False)},
    "labels": {"target": "labels"},
    "labels, mse": {"target": "labels", "loss": classifier_loss("mse", multilabel=True)},
    **{
        f"regression {name}": {"target": "matrix", "loss": regressor_loss(name, levels=(0.3,))}
        for name in ("mse", "mae", "huber", "pinball")
    },
    "counts": {"target": "counts", "loss": regressor_loss("poisson", levels=()), "members": 2},
    "labels with weights": {
        "target": "signed",
        "loss": classifier_loss("cross_entropy", multilabel=True, weighted=True),
        "held_out": PerModel(20, 13, 30),
    },
    "quantiles": {
        "target": "matrix",
        "levels": (0.1, 0.5, 0.8),
        "loss": regressor_loss("pinball", levels=(0.1, 0.5, 0.8)),
        "held_out": PerModel(20, 13, 30),
    },
    "quantiles, user module, members": {
        "target": "matrix",
        "levels": (0.1, 0.8),
        "loss": regressor_loss("pinball", levels=(0.1, 0.8)),
        "module": UserNet,
        "members": 2,
    },
    **{
        f"{name}": {"optimizer": name, "weight_decay": PerModel(0.0, 0.1)}
        for name in ("sgd", "adagrad", "rmsprop", "adam", "adamw")
    },
    **{
        f"{name}, rates": {
            "optimizer": name,
            "learning_rate": PerModel(0.01, 0.003, 0.02, 0.001, 0.03),
            "weight_decay": PerModel(0.0, 0.1, 0.2),
            "momentum": PerModel(0.9, 0.5) if name != "adagrad" else None,
            "rms_decay": PerModel(0.9, 0.99) if name not in ("sgd", "adagrad") else None,
        }
        for name in ("sgd", "adagrad", "rmsprop", "adam", "adamw")
    },
    "torch class": {"optimizer": torch.optim.NAdam, "learning_rate": PerModel(0.01, 0.002)},
    "torch partial": {"optimizer": partial(torch.optim.Adamax, eps=1e-7), "weight_decay": 0.1},
    **{
        f"{name}": {"schedule": name, "max_epochs": PerModel(2, 3, 5), "warmup": PerModel(0.0, 0.2)}
        for name in ("step", "exponential", "cosine", "one_cycle")
    },
    "plateau": {"schedule": "plateau", "n_iter_no_change": 1, "tol": 0.1, "max_epochs": 6},
    "schedules": {
        "schedule": PerModel(None, "cosine", "step"),
        "learning_rate": PerModel(0.01, 0.1),
    },
    "clipping": {"max_grad_norm": PerModel(None, 0.1, 1.0)},
    "epochs": {"max_epochs": PerModel(1, 4, 2)},
    "early stopping": {
        "early_stopping": True,
        "held_out": PerModel(20, 13, 30),
        "n_iter_no_change": 2,
        "tol": 0.02,
        "max_epochs": 25,
        "learning_rate": PerModel(0.01, 0.1, 0.05),
    },
}


def largest_difference(a: FitResult, b: FitResult) -> float:
    assert a.state.values.keys() == b.state.values.keys()
    values = zip(a.state.values.values(), b.state.values.values(), strict=True)
    return max(float((x.double() - y.double()).abs().max()) for x, y in values)


@pytest.mark.parametrize("name", CASES)
def test_a_stack_gives_the_weights_of_models_trained_alone(name: str) -> None:
    jobs = ragged(**CASES[name])
    together = train_stack(copy.deepcopy(jobs))
    for one, result in zip(jobs, together, strict=True):
        (alone,) = train_stack([one])
        assert result.error is None
        # rounding of float64 after a few epochs; 1e-10 is what the design promises
        assert largest_difference(result, alone) < 1e-10
        assert result.history["epoch"] == alone.history["epoch"]
        assert result.best_epoch == alone.best_epoch
        for column in ("train_loss", "valid_loss", "learning_rate", "gradient_norm"):
            close = pytest.approx(alone.history[column], rel=1e-9, abs=1e-12, nan_ok=True)
            assert result.history[column] == close, column


@pytest.mark.parametrize("name", CASES)
def test_the_cases_are_one_stack_each(name: str) -> None:
    keys = {one.stack_key for one in ragged(**CASES[name])}
    assert len(keys) == 1
    assert None not in keys


def test_early_stopping_ends_models_at_different_epochs() -> None:
    results = train_stack(ragged(**CASES["early stopping"]))
    assert len({len(result.history["epoch"]) for result in results}) > 2


def test_the_schedule_goes_on_after_the_first_model_has_ended() -> None:
    recipe: dict[str, Any] = {"early_stopping": True, "schedule": "cosine", "max_epochs": 10}
    patience = (1, *[100] * 5)  # one in six ends: too few for the stack to be built anew
    jobs = [
        job(held_out=20, seed=i, n_iter_no_change=n, tol=0.5, **recipe)
        for i, n in enumerate(patience)
    ]
    together = train_stack(jobs)
    assert [len(result.history["epoch"]) for result in together] == [2, 10, 10, 10, 10, 10]
    for one, result in zip(jobs, together, strict=True):
        (alone,) = train_stack([one])
        assert largest_difference(result, alone) < 1e-10


def test_the_stack_has_trained() -> None:
    for result in train_stack(ragged(max_epochs=20)):
        losses = result.history["train_loss"]
        assert losses[-1] < 0.9 * losses[0]


def test_a_diverging_model_leaves_the_others_as_they_are() -> None:
    rates = (0.01, 1e9, 0.02)
    jobs = [job(65, i, optimizer="sgd", learning_rate=rate) for i, rate in enumerate(rates)]
    results = train_stack(jobs)
    assert isinstance(results[1].error, DivergenceError)
    assert "learning_rate=1e+09" in str(results[1].error)
    assert all(torch.isfinite(v).all() for v in results[1].state.values.values())
    for i in (0, 2):
        assert largest_difference(results[i], train_stack([jobs[i]])[0]) < 1e-12


def test_order_of_the_jobs_does_not_matter() -> None:
    jobs = ragged(learning_rate=PerModel(0.01, 0.02, 0.03, 0.04, 0.05))
    forward, backward = train_stack(jobs), train_stack(jobs[::-1])[::-1]
    assert max(map(largest_difference, forward, backward)) < 1e-12
