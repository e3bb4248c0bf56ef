"""DLClassifier: the scikit-learn contract and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call

from sklearn_dl.estimators.network import NetworkEstimator, checks_parameters
from sklearn_dl.fitting import Rows, scaled_weights
from sklearn_dl.losses import CLASSIFIER_LOSSES, Loss, classifier_loss
from sklearn_dl.parameter_docs import documented
from sklearn_dl.targets import check_labels, label_weights, probabilities
from sklearn_dl.training import Score

__all__ = ["DLClassifier"]

#: Targets that are looked up at once.
PIECE_ROWS = 2**20


@documented(
    """loss : {"cross_entropy", "mse"} or callable, default="cross_entropy"
        "mse" is the squared error of the softmax probabilities. A callable ``(outputs, target) ->
        losses`` maps outputs (n, n_classes) before the softmax and class indices (n,) to (n,), each
        row by itself, and draws no random numbers.
    label_smoothing : float in [0, 1) or "auto", default="auto"
        Share of each target spread evenly over the classes (Szegedy et al. 2016). "auto": 0.05 for
        the cross-entropy of one class a row where members end by the rows that they leave out,
        which then say how sure the network may be (see ``n_members``); else 0.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weights of the classes in the loss, as in scikit-learn. Where y is a 0/1 matrix a list of
        one dict a label, such as ``[{0: 1, 1: 5}, ...]``: each weighs the loss of its own label,
        and not the whole row; "balanced" does so for every label."""
)
@dataclass(kw_only=True, eq=False, repr=False)
class DLClassifier(ClassifierMixin, NetworkEstimator):
    """A neural network classifier for tables as they are.

    Minimises ``sum_i w_i l(f(x_i), y_i) / sum_i w_i`` over the weights of a network f, in batches.
    Numbers, categories, dates and missing values are encoded inside. One class a row, or a 0/1
    matrix of labels.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; the positions of the labels where y is a 0/1 matrix.
    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_dl import DLClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> scores = cross_val_score(DLClassifier(max_epochs=30, random_state=0), X, y, cv=5)
    >>> bool(scores.mean() > 0.9)
    True
    """

    loss: str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "cross_entropy"
    label_smoothing: float | Literal["auto"] = "auto"
    class_weight: dict[Any, float] | list[dict[int, float]] | str | None = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkEstimator._parameter_constraints,
        "loss": [StrOptions(set(CLASSIFIER_LOSSES)), callable],
        "label_smoothing": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    @checks_parameters
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train one more epoch on these rows, at the constant learning rate.

        The first call decides the encoding of the columns, and needs ``classes``: all labels that
        will ever come (with a 0/1 matrix the positions of its columns). Other parameters as in
        ``fit``.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows at once: give partial_fit a dict, such as "
                "dict(zip(classes, compute_class_weight('balanced', classes=classes, y=y)))."
            )
        _check_partial_fit_first_call(self, classes)
        if not hasattr(self, "_state"):
            y = self._check_target(y)  # a column of classes becomes one class a row
            self._take_classes(self.classes_, multilabel=y.ndim == 2)
        return self._fit(X, y, sample_weight, incremental=True, target_known=True)

    def _check_target(self, y: Any) -> NDArray[Any]:
        return check_labels(y, self)

    def _take_classes(self, classes: NDArray[Any], *, multilabel: bool) -> None:
        self.classes_, self._multilabel = classes, multilabel
        self.n_outputs_ = len(classes)

    def _learn_target(self, rows: Rows) -> Rows:
        multilabel = rows.target.ndim == 2
        classes = np.arange(rows.target.shape[1]) if multilabel else np.unique(rows.target)
        if len(classes) < 2 and not multilabel:
            raise ValueError(
                f"{type(self).__name__} needs at least two classes in y, got the one class "
                f"{classes.tolist()[0]!r} in {len(rows)} rows (of weight above zero)."
            )
        self._take_classes(classes, multilabel=multilabel)
        self._learnt_weights = (deepcopy(self.class_weight), self._weights_from(rows))
        return self._encode_target(rows)

    def _encode_target(self, rows: Rows) -> Rows:
        if (rows.target.ndim == 2) != self._multilabel:
            kinds = {True: "a 0/1 matrix of labels", False: "one class a row"}
            raise ValueError(
                f"y was {kinds[self._multilabel]} before and is {kinds[not self._multilabel]} now."
            )
        if self._multilabel:
            if rows.target.shape[1] != self.n_outputs_:
                raise ValueError(
                    f"y has {rows.target.shape[1]} labels, expected {self.n_outputs_}."
                )
            return Rows(rows.table, self._weighed_labels(rows), rows.weight)
        codes, weight = self._codes(rows.target), self._class_weights(rows)
        return self._weighed(rows, codes, None if weight is None else weight[codes])

    def _class_weights(self, rows: Rows) -> NDArray[np.float64] | None:
        """Those that fit learnt from its rows; from these where it was asked for others."""
        asked, weights = getattr(self, "_learnt_weights", (None, None))
        return weights if asked == self.class_weight else self._weights_from(rows)

    def _weights_from(self, rows: Rows) -> NDArray[np.float64] | None:
        """Weights of the classes, (n_classes,), or of 0 and 1 of each label, (2, n_labels)."""
        if self.class_weight is None:
            return None
        if self._multilabel:
            return label_weights(self.class_weight, rows.target, rows.weight)
        if isinstance(self.class_weight, list):
            raise ValueError(
                "class_weight is a list, which is for a 0/1 matrix of labels, but y has one class "
                "a row: give a dict of weights by class, or 'balanced'."
            )
        if isinstance(self.class_weight, dict):
            wrong = {k: w for k, w in self.class_weight.items() if not 0 <= w < np.inf}
            if wrong:
                raise ValueError(f"class_weight must hold weights from zero up, got {wrong}.")
        weights: NDArray[np.float64] = compute_class_weight(
            self.class_weight, classes=self.classes_, y=rows.target, sample_weight=rows.weight
        )
        return weights

    def _codes(self, target: NDArray[Any]) -> NDArray[np.int64]:
        """Positions in ``classes_``, with little memory: there may be very many rows.

        They are looked up in pieces, and labels 0, 1, 2, ... are positions already.
        """
        plain = target.dtype == np.int64 and target.flags.c_contiguous
        plain = plain and np.array_equal(self.classes_, np.arange(len(self.classes_)))
        codes = target if plain else np.empty(len(target), dtype=np.int64)
        for start in range(0, len(target), PIECE_ROWS):
            labels = target[start : start + PIECE_ROWS]
            found = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
            unknown = self.classes_[found] != labels
            if unknown.any():
                raise ValueError(
                    f"y has labels {np.unique(labels[unknown])[:5].tolist()} that are none of the "
                    f"classes {self.classes_[:20].tolist()} known from the first fit."
                )
            if not plain:
                codes[start : start + PIECE_ROWS] = found
        return codes

    def _weighed_labels(self, rows: Rows) -> NDArray[np.float64]:
        """Labels as they are, or plus and minus their weights."""
        weights = self._class_weights(rows)
        if weights is None:
            return rows.target
        if callable(self.loss):
            raise ValueError(
                "class_weight for several labels a row needs a loss with a name; a callable loss "
                "has to weigh its labels itself."
            )
        signed: NDArray[np.float64] = np.where(rows.target > 0, weights[1], -weights[0])
        return signed

    @staticmethod
    def _weighed(rows: Rows, target: NDArray[Any], factor: NDArray[np.float64] | None) -> Rows:
        if factor is None:
            return Rows(rows.table, target, rows.weight)
        weight = scaled_weights(factor.astype(np.float64))
        if rows.weight is not None:
            weight = weight * rows.weight
        if not weight.any():
            raise ValueError("class_weight leaves no row of y a weight above zero.")
        weighed = Rows(rows.table, target, weight)
        return weighed if weight.all() else weighed.at(np.flatnonzero(weight))

    def _scored_by(self) -> Score:
        return "accuracy"

    def _loss(self) -> Loss:
        weighted = self._multilabel and self.class_weight is not None
        return classifier_loss(self.loss, multilabel=self._multilabel, weighted=weighted)

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Outputs of the network before softmax or sigmoid.

        Returns
        -------
        ndarray of shape (n_rows, n_classes) or (n_rows, n_labels)
            For two classes of shape (n_rows,): the output of the second minus that of the first.
        """
        outputs = self._outputs(X)
        if not self._multilabel and outputs.shape[1] == 2:
            difference: NDArray[Any] = outputs[:, 1] - outputs[:, 0]
            return difference
        return outputs

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class, or of each label by itself.

        Returns
        -------
        ndarray of shape (n_rows, n_classes) or (n_rows, n_labels)
        """
        return probabilities(self._outputs(X), self._loss().link)

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithm of ``predict_proba``."""
        outputs = self._outputs(X)
        if self._multilabel:
            result: NDArray[Any] = -np.logaddexp(0, -outputs)
            return result
        return log_softmax(outputs, axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class, or the labels with a probability above one half.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_labels)
        """
        outputs = self._outputs(X)
        if self._multilabel:
            return (outputs > 0).astype(np.int64)
        labels: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        return labels

    def __sklearn_tags__(self) -> Any:
        """Several labels a row work."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
