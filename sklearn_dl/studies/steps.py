"""Do successive updates point the same way?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sklearn_dl.studies.runs import Run, Subject

__all__ = ["update_cosine"]


class _Updates(Callback):
    """Cosines between each update of the weights and the one before."""

    def initialize(self) -> _Updates:
        """Forget what was seen."""
        self.cosines: list[float] = []
        self._weights: torch.Tensor | None = None
        self._update: torch.Tensor | None = None
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note where training starts."""
        self._weights = _flat(net)

    def on_batch_end(self, net: Any, training: bool = True, **kwargs: Any) -> None:
        """Note an update."""
        assert self._weights is not None
        now = _flat(net)
        update = now - self._weights
        if self._update is not None:
            size = float(update.norm() * self._update.norm())
            if size > 0:
                self.cosines.append(float(update @ self._update) / size)
        self._weights, self._update = now, update


def _flat(net: Any) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for p in net.module_.parameters()])


def update_cosine(subject: Subject, run: Run) -> tuple[float, float]:
    """Mean cosine between successive updates of a training like ``run``'s, and its seconds.

    1 for a straight way, 0 for independent steps, negative where each step undoes the last; pure
    noise under momentum m gives m.
    """
    seen = _Updates()
    network = clone(subject.network).set_params(
        **run.params, random_state=run.seed, callbacks=[seen]
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        try:
            network.fit(subject.X, subject.y)
        except FloatingPointError:
            return np.nan, np.nan
    cosine = float(np.mean(seen.cosines)) if seen.cosines else np.nan
    return cosine, float(network.history_["seconds"].sum())
