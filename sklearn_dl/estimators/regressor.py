"""DLRegressor: the scikit-learn contract and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_dl import fitting
from sklearn_dl.estimators.network import NetworkEstimator, checks_parameters
from sklearn_dl.fitting import Rows
from sklearn_dl.losses import REGRESSOR_LOSSES, Loss, regressor_loss
from sklearn_dl.parameter_docs import documented
from sklearn_dl.tabular.statistics import weighted_quantiles
from sklearn_dl.targets import Scale, check_counts, check_values, checked_levels
from sklearn_dl.training import FitJob, Score

__all__ = ["DLRegressor"]


@documented(
    """loss : {"mse", "mae", "huber", "pinball", "poisson"} or callable, default="mse"
        Squared, absolute, Huber's (one standard deviation of y) or the quantile error, in
        standardised units of y. "poisson": the deviance of counts, with the exponential of the
        output as the rate; y may not be negative. A callable ``(outputs, target) -> losses`` maps
        two (n, n_outputs) to (n,), each row by itself, and draws no random numbers.
    quantile : float in (0, 1) or sequence of float, default=0.5
        The quantile that "pinball" estimates. Several, rising, such as ``(0.05, 0.5, 0.95)``, are
        estimated by one network and never cross: see ``predict``."""
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
    quantile: float | tuple[float, ...] = 0.5

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkEstimator._parameter_constraints,
        "loss": [StrOptions({*REGRESSOR_LOSSES, "pinball"}), callable],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }

    @checks_parameters
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one more epoch on these rows, at the constant learning rate.

        The first call decides the encoding of the columns and the units of y. Parameters as in
        ``fit``.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _check_target(self, y: Any) -> NDArray[Any]:
        values = check_values(y, self)
        return check_counts(values) if self.loss == "poisson" else values

    def _levels(self) -> tuple[float, ...]:
        levels = checked_levels(self.quantile)
        if levels and self.loss != "pinball":
            raise ValueError(
                f"quantile={levels} asks for several quantiles, which loss='pinball' estimates; "
                f"got loss={self.loss!r}."
            )
        return levels

    def _learn_target(self, rows: Rows) -> Rows:
        self._flat = rows.target.ndim == 1
        columns = rows.target.reshape(len(rows), -1)
        self.n_outputs_ = columns.shape[1] * max(1, len(self._levels()))
        measure = Scale.of_counts if self.loss == "poisson" else Scale.of
        scale = measure(columns, rows.weight)
        self._target_mean, self._target_deviation = scale.mean, scale.deviation
        self._shift = np.zeros((columns.shape[1], max(1, len(self._levels()))))
        return self._encode_target(rows)

    def _known_target(self, rows: Rows) -> Rows:
        encoded = self._encode_target(rows)
        self._flat = rows.target.ndim == 1
        return encoded

    @property
    def _scale(self) -> Scale:
        return Scale(self._target_mean, self._target_deviation)

    def _encode_target(self, rows: Rows) -> Rows:
        columns = rows.target.reshape(len(rows), -1)
        expected = len(self._target_mean)
        if columns.shape[1] != expected:
            raise ValueError(f"y has {columns.shape[1]} outputs, expected {expected}.")
        return Rows(rows.table, self._scale.standardise(columns), rows.weight)

    def _loss(self) -> Loss:
        return regressor_loss(
            self.loss, levels=self._levels() or tuple(np.ravel(self.quantile).tolist())
        )

    def _calibrate(self, job: FitJob) -> None:
        """Move each quantile to where it is one of the rows that members left out.

        It costs no row, as in split-conformal quantile regression (Romano, Patterson and Candes
        2019), but a row is left out by one member and predicted by the mean of all: no guarantee.
        """
        self._shift = np.zeros_like(self._shift)
        if self.loss != "pinball" or job.folds is None:
            return
        outputs = fitting.left_out_outputs(self.module_, job)
        weight = job.examples.weight
        weights = np.ones(len(outputs)) if weight is None else weight.numpy().astype(np.float64)
        levels = np.ravel(self.quantile)
        residuals = job.examples.target.numpy()[:, :, None] - outputs.reshape(
            len(outputs), *self._shift.shape
        )
        for target, own in enumerate(residuals.swapaxes(0, 1)):
            for k, values in enumerate(own.T.astype(np.float64)):
                self._shift[target, k] = weighted_quantiles(values, weights, levels[[k]])[0]

    def _scored_by(self) -> Score:
        return "d2_pinball" if self._levels() else "r2"

    def predict(self, X: Any) -> NDArray[Any]:
        """The estimate of y, in its units.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_outputs)
            As y was in the last ``fit`` or ``partial_fit``. With several quantiles (n_rows,
            n_quantiles), or (n_rows, n_outputs, n_quantiles) where y had two dimensions: along the
            last axis they rise.
        """
        outputs = self._outputs(X)
        if self._network["link"] == "exp":
            rates = np.exp(outputs.astype(np.float64))
            values = self._scale.restore(rates, outputs.dtype)
        else:
            levels = outputs.reshape(len(outputs), *self._shift.shape) + self._shift
            rising = np.maximum.accumulate(levels, axis=2).astype(outputs.dtype).swapaxes(1, 2)
            values = self._scale.restore(rising, outputs.dtype).swapaxes(1, 2)
            if not self._network.get("levels"):
                values = values[:, :, 0]
        return values[:, 0] if self._flat else values

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2, or with several quantiles the mean of their D2 (pinball), which is 1 at best.

        See `sklearn.metrics.d2_pinball_score`.
        """
        check_is_fitted(self)
        levels = self._network.get("levels", ())
        if not levels:
            return float(super().score(X, y, sample_weight))
        targets = check_values(y, self).reshape(len(y), -1)
        predicted = self.predict(X).reshape(*targets.shape, len(levels))
        return float(
            np.mean(
                [
                    d2_pinball_score(
                        targets, predicted[..., k], alpha=level, sample_weight=sample_weight
                    )
                    for k, level in enumerate(levels)
                ]
            )
        )

    def __sklearn_tags__(self) -> Any:
        """Several outputs work; counts are not negative."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = self.loss == "poisson"
        return tags
