"""What is diagnosed: the estimator, the network inside it, and how to set its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from sklearn_dl.estimators import DLClassifier, DLRegressor
from sklearn_dl.nn import STRONG
from sklearn_dl.recipes import auto_dropout, auto_label_smoothing
from sklearn_dl.tabular import checked_shape, has_images, image_rows

__all__ = ["Subject", "find_subject", "seeded", "with_image_rows"]


@dataclass(frozen=True)
class Subject:
    """An unfitted estimator and its anatomy.

    Attributes
    ----------
    estimator : estimator
        A clone of what the user gave (of its ``best_estimator_`` where that is a fitted search).
    core : estimator
        The predictor inside Pipelines and TransformedTargetRegressors.
    prefix : str
        What ``set_params`` needs before the core's parameter names, ``""`` or ``"step__"``.
    fit_prefix : str
        What ``fit`` needs before ``sample_weight``.
    task : {"classification", "regression"}
        What it predicts.
    """

    estimator: Any
    core: Any
    prefix: str
    fit_prefix: str
    task: Literal["classification", "regression"]

    @property
    def is_network(self) -> bool:
        """Whether the core is a DLClassifier or DLRegressor."""
        return isinstance(self.core, DLClassifier | DLRegressor)

    @property
    def reads_images(self) -> bool:
        """Whether the rows are images to the network."""
        return self.setting("module") == "cnn" or self.setting("input_shape") is not None

    @property
    def has_members(self) -> bool:
        """Whether it is the mean of several networks."""
        members, module = self.setting("n_members", 1), self.setting("module")
        if members == "auto":
            strong = isinstance(module, str) and module in STRONG
            members = 2 if strong and not self.setting("callbacks") else 1
        return bool(members > 1)

    @property
    def leaves_rows_out(self) -> bool:
        """Whether members end their training by the rows that each leaves out."""
        free = self.setting("max_epochs") == "auto" and not self.setting("early_stopping")
        return self.has_members and free

    @property
    def transforms_target(self) -> bool:
        """Whether a TransformedTargetRegressor is around the core."""
        return any(hasattr(e, "regressor") for e in _layers(self.estimator))

    @property
    def seed(self) -> int:
        """The network's seed; 0 where that is no number."""
        seed = self.setting("random_state")
        return int(seed) if isinstance(seed, Integral) else 0

    @property
    def takes_weights(self) -> bool:
        """Whether the core's ``fit`` has a ``sample_weight``."""
        return bool(has_fit_parameter(self.core, "sample_weight"))

    def setting(self, name: str, default: Any = None) -> Any:
        """A parameter of the core, ``default`` where it has none of that name.

        Of ``dropout`` and ``label_smoothing`` "auto" the share that it stands for.
        """
        value = self.core.get_params(deep=False).get(name, default)
        if name == "dropout" and isinstance(value, str):
            return auto_dropout(leaves_rows_out=self.leaves_rows_out)
        if name == "label_smoothing" and isinstance(value, str):
            classes = self.setting("loss") == "cross_entropy"
            return auto_label_smoothing(leaves_rows_out=self.leaves_rows_out, classes=classes)
        return value

    def with_params(self, **params: Any) -> Any:
        """A clone with the core's parameters changed."""
        return clone(self.estimator).set_params(**self.prefixed(params))

    def with_core(self, core: Any) -> Any:
        """A clone with another predictor in the place of the core."""
        if not self.prefix:
            return core
        return clone(self.estimator).set_params(**{self.prefix.removesuffix("__"): core})

    def prefixed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters of the core, named as the whole estimator's ``set_params`` wants them."""
        return {self.prefix + name: value for name, value in params.items()}


def _layers(estimator: Any) -> list[Any]:
    """An estimator and what is inside it, outermost first."""
    layers = [estimator]
    while True:
        inner = layers[-1]
        if hasattr(inner, "steps"):
            layers.append(inner.steps[-1][1])
        elif getattr(inner, "regressor", None) is not None:
            layers.append(inner.regressor)
        else:
            return layers


def _gives_probabilities(classifier: Any) -> bool:
    """Whether it will have ``predict_proba`` once fitted."""
    if hasattr(classifier, "predict_proba"):
        return True
    from sklearn.ensemble import StackingClassifier

    # Unfitted, a stack hides what the LogisticRegression that None stands for gives it in fit.
    copy = clone(classifier)
    for part in (copy, *copy.get_params(deep=True).values()):
        if isinstance(part, StackingClassifier) and part.final_estimator is None:
            part.set_params(final_estimator=LogisticRegression())
    return hasattr(copy, "predict_proba")


def find_subject(estimator: Any) -> Subject:
    """Look into an estimator.

    Parameters
    ----------
    estimator : estimator
        Classifier with ``predict_proba`` or regressor; a Pipeline or TransformedTargetRegressor
        around one; a fitted search.

    Returns
    -------
    Subject

    Raises
    ------
    TypeError
        Neither classifier nor regressor, or a classifier without probabilities.
    """
    from sklearn.compose import TransformedTargetRegressor

    if isinstance(estimator, type) or not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"estimator must be an instance of a scikit-learn estimator; got {estimator!r}. "
            "Pass for example DLClassifier()."
        )
    whole = clone(getattr(estimator, "best_estimator_", estimator))
    if is_classifier(whole):
        if not _gives_probabilities(whole):
            raise TypeError(
                f"{type(whole).__name__} has no predict_proba, and the diagnosis is made of log "
                "losses. Wrap it in CalibratedClassifierCV or choose a probabilistic loss."
            )
        task: Literal["classification", "regression"] = "classification"
    elif is_regressor(whole):
        task = "regression"
    else:
        raise TypeError(
            f"estimator must be a classifier or a regressor; got {type(whole).__name__}, which "
            "says it is neither. Diagnose the predictor, or a Pipeline that ends in one."
        )
    core, prefix, fit_prefix = whole, "", ""
    while True:
        if isinstance(core, Pipeline):
            name, core = core.steps[-1]
            prefix, fit_prefix = f"{prefix}{name}__", f"{fit_prefix}{name}__"
        elif isinstance(core, TransformedTargetRegressor) and core.regressor is not None:
            core, prefix = core.regressor, f"{prefix}regressor__"
        else:
            break
    if sklearn.get_config()["enable_metadata_routing"]:
        fit_prefix = ""
    return Subject(whole, core, prefix, fit_prefix, task)


def with_image_rows(subject: Subject, X: Any, X_test: Any) -> tuple[Subject, Any, Any]:
    """Images as rows of pixels, which every reference can read, and a network that knows them.

    Raises
    ------
    ValueError
        X is no table, and not read by a network of ours alone.
    """
    if not has_images(X):
        return subject, X, X_test
    if not (subject.is_network and subject.reads_images) or hasattr(subject.estimator, "steps"):
        raise ValueError(
            f"X has shape {np.shape(X)}, and only a DLClassifier or DLRegressor with module='cnn' "
            "or input_shape is diagnosed on images. Otherwise flatten them: X.reshape(len(X), -1)."
        )
    shape = subject.setting("input_shape")
    rows, shape = image_rows(X, None if shape is None else checked_shape(shape))
    if X_test is not None:
        X_test, _ = image_rows(X_test, shape)
    return find_subject(subject.with_params(input_shape=shape)), rows, X_test


def seeded(estimator: Any, seed: int) -> Any:
    """A clone in which every ``random_state`` left at None is ``seed``, so that runs repeat."""
    copy = clone(estimator)
    params = copy.get_params(deep=True)
    open_seeds = {
        name: seed
        for name, value in params.items()
        if value is None and name.rpartition("__")[2] == "random_state"
    }
    return copy.set_params(**open_seeds)
