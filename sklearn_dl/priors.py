"""Probabilities for another mix of classes than the one that was learnt.

Where only the shares of the classes differ between training and use (label shift), Bayes' rule
moves probabilities from one to the other without a new fit (Saerens, Latinne and Decaestecker 2002,
"Adjusting the outputs of a classifier to new a priori probabilities", Neural Computation 14).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["adjust_prior", "estimate_prior", "prior_ratio"]

Floats = NDArray[np.float64]

#: EM stops when no share moves by more, or after so many rounds.
TOLERANCE, MAX_ROUNDS = 1e-8, 10_000


def adjust_prior(probabilities: Any, prior_train: Any, prior_new: Any) -> Floats:
    r"""Class probabilities under other shares of the classes.

    ``p'(k | x) = p(k | x) r_k / sum_j p(j | x) r_j`` with ``r_k = q_k / p_k``, the new share of
    class k over the one learnt (Saerens et al. 2002, eq. 2.4). It assumes that rows of one class
    look the same in training and in use.

    Parameters
    ----------
    probabilities : array-like of shape (n_rows, n_classes)
        What ``predict_proba`` gives.
    prior_train : array-like of shape (n_classes,)
        Shares of the classes in the training rows, or their counts, in the order of ``classes_``.
        Of a classifier trained with class weights the weighted ones.
    prior_new : array-like of shape (n_classes,)
        Shares, or counts, in use; `estimate_prior` finds them from rows without labels.

    Returns
    -------
    ndarray of shape (n_rows, n_classes)

    Raises
    ------
    ValueError
        Rows that do not sum to one, priors of another length, negative or all zero, or a class that
        is expected and was never learnt.

    Examples
    --------
    >>> adjust_prior([[0.5, 0.5], [0.9, 0.1]], [0.5, 0.5], [0.9, 0.1]).round(3)
    array([[0.9  , 0.1  ],
           [0.988, 0.012]])
    """
    p = _checked_probabilities(probabilities)
    ratio = prior_ratio(prior_train, prior_new)
    if len(ratio) != p.shape[1]:
        raise ValueError(
            f"probabilities have {p.shape[1]} columns and the priors {len(ratio)} entries: give "
            "one for each class, in the order of classes_."
        )
    return _adjusted(p, ratio, _shares(prior_new, "prior_new"))


def estimate_prior(probabilities: Any, prior_train: Any, sample_weight: Any = None) -> Floats:
    """Shares of the classes among rows without labels, by maximum likelihood.

    The EM algorithm of Saerens et al. (2002, eq. 2.9): the shares are those that give the mean of
    the probabilities adjusted to them. It trusts the probabilities: those of a model trained too
    little, which are less sure than they should be, send shares to zero. Calibrate first
    (Alexandari, Kundaje and Shrikumar 2020).

    Parameters
    ----------
    probabilities : array-like of shape (n_rows, n_classes)
        ``predict_proba`` of the rows in use.
    prior_train : array-like of shape (n_classes,)
        Shares of the classes in the training rows, or their counts.
    sample_weight : array-like of shape (n_rows,), default=None
        Weights of the rows.

    Returns
    -------
    ndarray of shape (n_classes,)
        Sums to one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> y = rng.random(2000) < 0.5
    >>> y_new = rng.random(2000) < 0.1
    >>> X, X_new = (2 * t[:, None] + rng.standard_normal((2000, 1)) for t in (y, y_new))
    >>> model = LogisticRegression().fit(X, y)
    >>> bool(abs(estimate_prior(model.predict_proba(X_new), [0.5, 0.5])[1] - 0.1) < 0.03)
    True
    """
    p = _checked_probabilities(probabilities)
    old = _shares(prior_train, "prior_train")
    if len(old) != p.shape[1]:
        raise ValueError(
            f"probabilities have {p.shape[1]} columns and prior_train {len(old)} entries: give one "
            "for each class, in the order of classes_."
        )
    if not (old > 0).all():
        raise ValueError(f"prior_train has classes without any row: {old.tolist()}.")
    if sample_weight is None:
        weight = np.full(len(p), 1 / len(p))
    else:
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != (len(p),) or not (weight >= 0).all() or not weight.sum() > 0:
            raise ValueError(
                f"sample_weight must be {len(p)} numbers from zero up and not all zero."
            )
        weight = weight / weight.sum()
    new = old
    for _ in range(MAX_ROUNDS):
        before, new = new, weight @ _adjusted(p, new / old, new)
        if np.abs(new - before).max() <= TOLERANCE:
            break
    return np.asarray(new / new.sum())


def prior_ratio(prior_train: Any, prior_new: Any) -> Floats:
    """New share of each class over the one learnt; 0 for a class that neither has.

    As ``sample_weight`` of the training rows it weighs them towards the new mix.
    """
    old, new = _shares(prior_train, "prior_train"), _shares(prior_new, "prior_new")
    if len(old) != len(new):
        raise ValueError(f"prior_train has {len(old)} classes and prior_new {len(new)}.")
    unknown = np.flatnonzero((old == 0) & (new > 0))
    if len(unknown):
        raise ValueError(
            "prior_new expects classes that prior_train says were never learnt: "
            f"{unknown.tolist()}. Train on rows of these classes."
        )
    return np.divide(new, old, out=np.zeros_like(new), where=old > 0)


def _adjusted(p: Floats, ratio: Floats, new: Floats) -> Floats:
    weighed = p * ratio
    total = weighed.sum(axis=1, keepdims=True)
    # a row whose possible classes are all expected no more says nothing: the new shares alone
    otherwise = np.broadcast_to(new, p.shape).copy()
    np.divide(weighed, total, out=otherwise, where=total > 0)
    return otherwise


def _shares(prior: Any, name: str) -> Floats:
    listed = np.asarray(prior)
    values = listed.astype(np.float64) if listed.dtype.kind in "biuf" else np.empty(0)
    good = values.ndim == 1 and np.isfinite(values).all() and (values >= 0).all()
    if not good or not values.sum() > 0:
        raise ValueError(
            f"{name} must be the shares of the classes, or their counts: one number from zero up "
            f"for each class; got {prior!r}."
        )
    return np.asarray(values / values.sum())


def _checked_probabilities(probabilities: Any) -> Floats:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not len(p):
        raise ValueError(
            "probabilities must have a row for each row of X and a column for each class; got "
            f"shape {p.shape}."
        )
    # what float32 leaves of a sum of one
    if not (p >= 0).all() or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(
            "the rows of probabilities must sum to one. Where a row has several labels, adjust "
            "each by itself: adjust_prior(np.column_stack([1 - p[:, k], p[:, k]]), ...)."
        )
    return p
