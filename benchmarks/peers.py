"""The same work by four hands: ours, a bare torch loop, stock skorch, scikit-learn's MLP.

Each ``fit_*`` trains a ReLU network with cross-entropy on standardised float32 X and int64 y, by
Adam (learning rate 1e-3, no decay, no penalty) on shuffled batches for a given number of epochs,
without early stopping, and returns something with ``predict_proba``. What else they do is their
own: skorch scores and logs each epoch, MLPClassifier steps in numpy and gives two classes one
output, the bare loop does nothing.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Work:
    """A network, its data and how long it trains."""

    name: str
    load: Callable[..., tuple[np.ndarray, np.ndarray]]
    hidden: tuple[int, ...]
    batch_size: int
    epochs: int

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X (n, n_features) float32, standardised; y (n,) int64 from 0."""
        X, y = self.load(return_X_y=True)
        return StandardScaler().fit_transform(X).astype(np.float32), y.astype(np.int64)

    @property
    def n_classes(self) -> int:
        """Classes of y."""
        return len(np.unique(self.load(return_X_y=True)[1]))

    def steps(self, n_rows: int) -> int:
        return self.epochs * -(-n_rows // self.batch_size)


WORKS = (
    Work("30-32-2", load_breast_cancer, (32,), batch_size=32, epochs=100),
    Work("64-128-128-10", load_digits, (128, 128), batch_size=128, epochs=100),
    Work("64-512-512-10", load_digits, (512, 512), batch_size=128, epochs=20),
)


def mlp_module(n_features: int, hidden: tuple[int, ...], n_classes: int) -> nn.Sequential:
    """Linear layers with ReLU between them, torch's own initialisation."""
    sizes = (n_features, *hidden)
    layers: list[nn.Module] = []
    for wide_in, wide_out in pairwise(sizes):
        layers += [nn.Linear(wide_in, wide_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))


@dataclass(frozen=True)
class BareModel:
    """What is left of a bare loop: a module."""

    module: nn.Module

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.module(torch.from_numpy(X)).softmax(1).numpy()


def fit_bare(work: Work, X: np.ndarray, y: np.ndarray, seed: int) -> BareModel:
    """In-memory tensors, randperm, fused Adam; no DataLoader, no history, no checks."""
    torch.manual_seed(seed)
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    module = mlp_module(X.shape[1], work.hidden, int(labels.max()) + 1)
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, fused=True)
    for _ in range(work.epochs):
        for batch in torch.randperm(len(rows)).split(work.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(rows[batch]), labels[batch]).backward()
            optimizer.step()
    return BareModel(module)


def skorch_net(work: Work, n_features: int, n_classes: int, device: str = "cpu") -> Any:
    """skorch as it comes: its DataLoader and its default callbacks; printing and the split off."""
    return NeuralNetClassifier(
        mlp_module,
        module__n_features=n_features,
        module__hidden=work.hidden,
        module__n_classes=n_classes,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        batch_size=work.batch_size,
        max_epochs=work.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=device,
    )


def fit_skorch(work: Work, X: np.ndarray, y: np.ndarray, seed: int) -> Any:
    """One fit by stock skorch."""
    torch.manual_seed(seed)
    return skorch_net(work, X.shape[1], int(y.max()) + 1).fit(X, y)


def mlp_classifier(work: Work, seed: int) -> MLPClassifier:
    """scikit-learn's network; it stops before ``epochs`` under no circumstance."""
    return MLPClassifier(
        work.hidden,
        alpha=0.0,
        learning_rate_init=LEARNING_RATE,
        batch_size=work.batch_size,
        max_iter=work.epochs,
        tol=0.0,
        n_iter_no_change=work.epochs + 1,
        random_state=seed,
    )


def fit_mlp(work: Work, X: np.ndarray, y: np.ndarray, seed: int) -> Any:
    """One fit by scikit-learn."""
    model = mlp_classifier(work, seed).set_params(batch_size=min(work.batch_size, len(X)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


def ours(work: Work, seed: int, **parameters: Any) -> Any:
    """The unfitted DLClassifier of the same work."""
    from sklearn_dl import PLAIN, DLClassifier

    plain = {
        "hidden_layer_sizes": work.hidden,
        "activation": "relu",
        "loss": "cross_entropy",
        "optimizer": "adam",
        "learning_rate": LEARNING_RATE,
        "momentum": 0.9,
        "rms_decay": 0.999,
        "label_smoothing": 0.0,
        "batch_size": work.batch_size,
        "max_epochs": work.epochs,
        "early_stopping": False,
        "dtype": "float32",
        "random_state": seed,
    }
    return DLClassifier(**{**PLAIN, **plain, **parameters})


def fit_ours(work: Work, X: np.ndarray, y: np.ndarray, seed: int) -> Any:
    """DLClassifier with every trick off; too few epochs to converge is no matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ours(work, seed).fit(X, y)


PEERS: dict[str, Callable[[Work, np.ndarray, np.ndarray, int], Any]] = {
    "bare torch": fit_bare,
    "skorch": fit_skorch,
    "MLPClassifier": fit_mlp,
}
