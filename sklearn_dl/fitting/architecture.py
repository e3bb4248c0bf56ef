"""Which network do the parameters ask for?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sklearn_dl.fitting.inputs import Bins, Encoder, embedded_levels
from sklearn_dl.fitting.rows import Rows
from sklearn_dl.fitting.settings import checked_sizes, is_periodic, n_members_of
from sklearn_dl.losses import Link, Loss
from sklearn_dl.nn import EMBEDDING_SIZE, PERIODIC, Architecture
from sklearn_dl.nn.randomness import private_random
from sklearn_dl.nn.replicated import can_be_stacked
from sklearn_dl.tabular import ImageShape

__all__ = [
    "architecture_of",
    "check_same_encoding",
    "check_same_network",
    "is_stackable",
    "refuse_random_loss",
]


def architecture_of(
    estimator: Any,
    encoder: Encoder,
    n_outputs: int,
    *,
    bins: Bins,
    link: Link,
    image: ImageShape | None,
    levels: tuple[float, ...] = (),
) -> Architecture:
    """The network that the parameters ask for, on what the encoder gives."""
    n_levels = embedded_levels(encoder)
    channels = checked_sizes(estimator.channels, "channels")
    return Architecture(
        estimator.module,
        encoder.n_encoded_,
        n_outputs,
        checked_sizes(estimator.hidden_layer_sizes),
        estimator.activation,
        estimator.normalization,
        binned=bins[0],
        n_bins=bins[1].shape[2],
        periodic=PERIODIC if bins[0] and is_periodic(estimator) else (0, 0),
        n_levels=n_levels,
        embedding_size=EMBEDDING_SIZE if n_levels else 0,
        n_members=n_members_of(estimator),
        link=link,
        image=image,
        channels=channels if estimator.module == "cnn" else (),
        levels=levels,
    )


def is_stackable(architecture: Architecture) -> bool:
    """Whether models of this architecture can train as one stack; checks a user's callables."""
    if callable(architecture.activation):
        _refuse_parameters(architecture.activation)
        rows = torch.zeros(1, 2, 3)
        with private_random(torch.Generator().manual_seed(0)) as mode:
            out = architecture.activation(rows)
        if not isinstance(out, torch.Tensor) or out.shape != rows.shape:
            seen = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise ValueError(
                "a callable activation must return a tensor of the shape of its argument; for "
                f"shape {tuple(rows.shape)} it gave {seen}."
            )
        if mode is not None and mode.used:
            raise ValueError(
                "a callable activation draws random numbers, which would come from torch's global "
                "state, also in predict. Draw them in a module of your own, module=..., whose "
                "numbers come from random_state, or use dropout."
            )
    if not callable(architecture.module):
        return True
    stackable = can_be_stacked(architecture.module, architecture.n_features, architecture.n_outputs)
    if architecture.n_members > 1 and not stackable:
        raise ValueError(
            f"n_members={architecture.n_members} networks train together, which a module that "
            "keeps buffers or draws random numbers cannot. Set n_members=1."
        )
    return stackable


def refuse_random_loss(loss: Loss, n_outputs: int, rows: Rows, dtype: torch.dtype) -> None:
    """See that a user's loss draws no random numbers, on the first rows and outputs of zero.

    Raises
    ------
    ValueError
        It draws some: they would come from torch's global state, in judging a model, too.
    """
    target = torch.from_numpy(rows.target[:2].copy())
    outputs = torch.zeros(len(target), n_outputs, dtype=dtype, requires_grad=True)
    with private_random(torch.Generator().manual_seed(0)) as mode:
        loss(outputs, target if loss.target == "index" else target.to(dtype))
    if mode is not None and mode.used:
        raise ValueError(
            "a callable loss draws random numbers, which random_state does not decide. Draw them "
            "in an augmentation, a callable (rows, generator) -> rows, or in a module of your own, "
            "module=..., whose numbers come from random_state."
        )


def check_same_encoding(encoder: Encoder, estimator: Any) -> None:
    """A network can go on training only on inputs of the kind that it has had.

    Raises
    ------
    ValueError
        The parameters now ask for another encoding of the columns.
    """
    for name in ("preprocessing", "categorical_features"):
        asked = getattr(estimator, name)
        had = getattr(encoder, name, asked)  # images have no categories
        if not np.array_equal(np.asarray(had, dtype=object), np.asarray(asked, dtype=object)):
            raise ValueError(
                f"cannot go on training a network with another {name}: had {had!r}, got "
                f"{asked!r}. Call fit with warm_start=False to start afresh."
            )
    if estimator.augmentation is not None and embedded_levels(encoder):
        raise ValueError(
            f"cannot go on training this network with augmentation={estimator.augmentation!r}: it "
            "reads columns of many levels by their codes, which cannot be mixed or shaken. Call "
            "fit with warm_start=False to start afresh."
        )


def _refuse_parameters(activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """An activation stands in many places of many models: it has nothing of its own to learn."""
    if not isinstance(activation, torch.nn.Module):
        return
    names = [name for name, _ in (*activation.named_parameters(), *activation.named_buffers())]
    if names:
        raise ValueError(
            f"activation={activation!r} keeps parameters or buffers ({', '.join(names[:5])}), but "
            "an activation must be a function of its argument alone. Give a class of modules that "
            "has it inside as module, a callable (n_features, n_outputs) -> torch.nn.Module."
        )


def check_same_network(had: Architecture, asked: Architecture) -> None:
    """A network can go on training only as what it is.

    Raises
    ------
    ValueError
        The parameters now ask for another one.
    """
    if asked != had:
        differs = [k for k, v in vars(asked).items() if v != getattr(had, k)]
        raise ValueError(
            f"cannot go on training a network with another {' and '.join(differs)}: had "
            f"{[getattr(had, k) for k in differs]}, got {[getattr(asked, k) for k in differs]}. "
            "Call fit with warm_start=False to start afresh."
        )
