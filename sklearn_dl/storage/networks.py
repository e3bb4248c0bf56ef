"""Does a network read from a file have the weights that its architecture says?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from sklearn_dl.estimators.network import NetworkEstimator
from sklearn_dl.fitting import embedded_levels
from sklearn_dl.nn import Architecture, build

__all__ = ["check_networks"]


def check_networks(value: Any) -> None:
    """Check every fitted network inside a value that was read.

    A layer is only built when weights of its size are in the file: sizes alone could ask for more
    memory than there is.

    Raises
    ------
    ValueError
        Weights and architecture do not belong together.
    """
    if isinstance(value, NetworkEstimator):
        if "_state" in vars(value):
            _check(value)
    elif isinstance(value, list | tuple):
        for item in value:
            check_networks(item)
    elif isinstance(value, dict):
        check_networks(list(value.values()))
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        check_networks(list(vars(value).values()))


def _check(estimator: NetworkEstimator) -> None:
    state = estimator._state
    try:
        architecture = Architecture(**estimator._network)
        n_encoded = estimator.encoder_.n_encoded_
        n_outputs = estimator.n_outputs_
        sizes = (*architecture.hidden_layer_sizes, architecture.n_features, architecture.n_outputs)
        image = architecture.image
        sizes += (*architecture.channels, *(image or ()))
        n_levels = embedded_levels(estimator.encoder_)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"a network lacks a part ({error})") from error
    if not isinstance(architecture.module, str) or not isinstance(state, dict):
        raise ValueError("a network is no shipped module")
    wrong = any(type(n) is not int or n < 0 for n in sizes)
    if wrong or len(sizes) > len(state) + (2 if image is None else 5):
        raise ValueError("a network has layers of sizes that can be none")
    if (architecture.module == "cnn" and image is None) or (
        image is not None and (len(image) != 3 or math.prod(image) != n_encoded)
    ):
        raise ValueError("a network has images of another shape than its inputs")
    if architecture.n_levels != n_levels or type(architecture.embedding_size) is not int:
        raise ValueError("a network has other levels than its encoder")
    if (n_encoded, n_outputs) != (architecture.n_features, architecture.n_outputs):
        raise ValueError("a network has other inputs or outputs than its encoder and targets")
    _check_weights(architecture, state)


def _check_weights(architecture: Architecture, state: dict[str, Any]) -> None:
    """Whether the arrays are of the shapes that the layers have."""
    try:
        with torch.device("meta"):
            stack = build(architecture, 1)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"a network cannot be built ({error})") from error
    members = (architecture.n_members,) if architecture.n_members > 1 else ()
    wanted = {
        name: (*members, *value.shape[1:])
        for name, value in (*stack.named_parameters(), *stack.named_buffers())
    }
    found = {
        name: value.shape if isinstance(value, np.ndarray) and value.dtype.kind == "f" else None
        for name, value in state.items()
    }
    if wanted != found:
        differs = next(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))
        raise ValueError(f"the weights {str(differs)[:60]!r} of a network do not fit its layers")
