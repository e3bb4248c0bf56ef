"""What do an estimator's parameters ask for, on so many rows?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklearn_dl.nn import STRONG
from sklearn_dl.optimizers import OptimizerSpec, optimizer_spec
from sklearn_dl.recipes import (
    N_MEMBERS,
    PATIENCE,
    auto_batch_size,
    auto_dropout,
    auto_label_smoothing,
    auto_max_epochs,
)
from sklearn_dl.training import Recipe

__all__ = [
    "batch_size_of",
    "checked_callbacks",
    "checked_sizes",
    "is_periodic",
    "is_strong",
    "n_members_of",
    "new_seed",
    "recipe_of",
    "torch_device",
]


def new_seed(random_state: Any) -> int:
    """A seed for a fit; without a random state a fresh one that moves no global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def checked_sizes(sizes: Any, name: str = "hidden_layer_sizes") -> tuple[int, ...]:
    """Positive ints as a tuple; a single int is one layer."""
    listed = (sizes,) if np.ndim(sizes) == 0 else tuple(sizes)
    if not all(
        isinstance(s, (int, np.integer)) and not isinstance(s, bool) and s > 0 for s in listed
    ):
        raise ValueError(f"{name} must be positive ints, got {sizes!r}.")
    return tuple(int(s) for s in listed)


def torch_device(device: Any) -> torch.device:
    """The device to train on, checked to be there."""
    try:
        found = torch.get_default_device() if device is None else torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error
    if found.type == "meta":
        raise ValueError(
            f"device={str(found)!r} has shapes and no numbers, so that nothing can be learnt on "
            "it. Give device='cpu', or an accelerator such as 'cuda'."
        )
    return found


def checked_callbacks(callbacks: Any) -> tuple[Any, ...]:
    """skorch callbacks: instances or classes, alone or as (name, callback)."""
    listed = tuple(callbacks or ())
    for one in listed:
        callback = one[1] if isinstance(one, tuple) and len(one) == 2 else one
        if not all(hasattr(callback, name) for name in ("initialize", "on_epoch_end")):
            raise TypeError(
                "callbacks must be skorch callbacks (skorch.callbacks.Callback), alone or as "
                f"(name, callback); got {one!r}. scikit-learn's own go into set_callbacks."
            )
    return listed


def is_strong(module: Any) -> bool:
    """Whether the module encodes numbers and levels itself and is an ensemble by default."""
    return isinstance(module, str) and module in STRONG


def is_periodic(estimator: Any) -> bool:
    """Whether the module embeds numbers by waves beside bins."""
    return isinstance(estimator.module, str) and estimator.module == "periodic"


def optimizer_of(estimator: Any) -> OptimizerSpec:
    """The optimizer with the decay rates that it is given."""
    return optimizer_spec(
        estimator.optimizer, momentum=estimator.momentum, rms_decay=estimator.rms_decay
    )


def batch_size_of(estimator: Any, n_rows: int) -> int:
    """Rows a batch for ``n_rows`` training rows."""
    if estimator.batch_size == "auto":
        return auto_batch_size(n_rows, estimator.module)
    return int(estimator.batch_size)


def n_members_of(estimator: Any) -> int:
    """Networks that are averaged; one where several could not train as one stack."""
    alone = bool(estimator.callbacks) or not optimizer_of(estimator).elementwise
    if estimator.n_members == "auto":
        return N_MEMBERS if is_strong(estimator.module) and not alone else 1
    if estimator.n_members > 1 and alone:
        why = "callbacks" if estimator.callbacks else "an optimizer that mixes parameters"
        raise ValueError(
            f"n_members={estimator.n_members} networks train together, which {why} cannot follow. "
            "Set n_members=1."
        )
    return int(estimator.n_members)


def recipe_of(
    estimator: Any,
    n_rows: int,
    *,
    incremental: bool,
    watched: bool,
    leaves_rows_out: bool = False,
    classes: bool = False,
) -> Recipe:
    """How to train; without the augmentation, which needs to know what the rows are.

    Parameters
    ----------
    estimator : DLClassifier or DLRegressor
        Its parameters are read, nothing that it learnt.
    n_rows : int
        Rows to learn.
    incremental : bool
        Whether one epoch is made, at the constant rate.
    watched : bool
        Whether rows are held out.
    leaves_rows_out : bool, default=False
        Whether members end by the rows that they leave out.
    classes : bool, default=False
        Whether cross-entropy of one class a row is minimised.
    """
    epochs, dropout = estimator.max_epochs, estimator.dropout
    smoothing = getattr(estimator, "label_smoothing", 0.0)
    if epochs == "auto":
        epochs = auto_max_epochs(n_rows, estimator.module)
    if dropout == "auto":
        dropout = auto_dropout(leaves_rows_out=leaves_rows_out)
    if smoothing == "auto":
        smoothing = auto_label_smoothing(leaves_rows_out=leaves_rows_out, classes=classes)
    return Recipe(
        optimizer=optimizer_of(estimator),
        learning_rate=float(estimator.learning_rate),
        batch_size=batch_size_of(estimator, n_rows),
        max_epochs=1 if incremental else int(epochs),
        weight_decay=float(estimator.weight_decay),
        max_grad_norm=estimator.max_grad_norm,
        schedule=None if incremental else estimator.schedule,
        decay_every=estimator.decay_every,
        decay_factor=estimator.decay_factor,
        warmup=0.0 if incremental else float(estimator.warmup),
        dropout=float(dropout),
        label_smoothing=float(smoothing),
        early_stopping=bool(estimator.early_stopping) and watched,
        n_iter_no_change=estimator.n_iter_no_change,
        tol=float(estimator.tol),
        patience=PATIENCE,
    )
