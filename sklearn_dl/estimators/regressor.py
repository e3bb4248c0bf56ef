"""DLRegressor: the scikit-learn contract and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_dl.estimators.network import NetworkEstimator, checks_parameters
from sklearn_dl.fitting import Rows
from sklearn_dl.losses import REGRESSOR_LOSSES, Loss, regressor_loss
from sklearn_dl.parameter_docs import documented
from sklearn_dl.targets import Scale, check_values

__all__ = ["DLRegressor"]


@documented(
    """loss : {"mse", "mae", "huber", "pinball"} or callable, default="mse"
        Squared, absolute, Huber's (one standard deviation of y) or the quantile error, in
        standardised units of y. A callable ``(outputs, target) -> losses`` maps two (n, n_outputs)
        to (n,).
    quantile : float in (0, 1), default=0.5
        The quantile that "pinball" estimates."""
)
@dataclass(kw_only=True, eq=False, repr=False)
class DLRegressor(RegressorMixin, NetworkEstimator):
    """A neural network regressor for tables as they are.

    Minimises ``sum_i w_i l(f(x_i), y_i) / sum_i w_i`` over the weights of a network f, in batches,
    with each output of y standardised. Numbers, categories, dates and missing values are encoded
    inside.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_dl import DLRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    >>> scores = cross_val_score(DLRegressor(max_epochs=20, random_state=0), X, y, cv=5)
    >>> bool(scores.mean() > 0.4)
    True
    """

    loss: str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "mse"
    quantile: float = 0.5

    _score_name = "r2"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkEstimator._parameter_constraints,
        "loss": [StrOptions({*REGRESSOR_LOSSES, "pinball"}), callable],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    @checks_parameters
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one more epoch on these rows, at the constant learning rate.

        The first call decides the encoding of the columns and the units of y. Parameters as in
        ``fit``.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _check_target(self, y: Any) -> NDArray[Any]:
        return check_values(y, self)

    def _learn_target(self, rows: Rows) -> Rows:
        self._flat = rows.target.ndim == 1
        columns = rows.target.reshape(len(rows), -1)
        self.n_outputs_ = columns.shape[1]
        scale = Scale.of(columns, rows.weight)
        self._target_mean, self._target_deviation = scale.mean, scale.deviation
        return self._encode_target(rows)

    @property
    def _scale(self) -> Scale:
        return Scale(self._target_mean, self._target_deviation)

    def _encode_target(self, rows: Rows) -> Rows:
        columns = rows.target.reshape(len(rows), -1)
        if columns.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {columns.shape[1]} outputs, expected {self.n_outputs_}.")
        return Rows(rows.table, self._scale.standardise(columns), rows.weight)

    def _loss(self) -> Loss:
        return regressor_loss(self.loss, quantile=self.quantile)

    def predict(self, X: Any) -> NDArray[Any]:
        """The estimate of y, in its units.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_outputs)
            As y was in ``fit``.
        """
        outputs = self._outputs(X)
        values = self._scale.restore(outputs)
        return values[:, 0] if self._flat else values

    def __sklearn_tags__(self) -> Any:
        """Several outputs work."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
