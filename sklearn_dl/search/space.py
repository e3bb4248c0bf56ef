"""Which values of each hyperparameter are worth trying, for any search there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import stats

from sklearn_dl.diagnosis.subject import Subject, find_subject

__all__ = ["Distribution", "Space", "checked_space", "is_list", "network_in", "optuna_params"]
__all__ += ["param_space"]

Distribution: TypeAlias = Any
"""A frozen distribution of scipy.stats, or a list of values."""
Space: TypeAlias = "dict[str, Distribution]"

#: Widths and depths, by their number of weights: one to three layers, as the tuned MLPs of
#: Gorishniy et al. (2021, table 15) and Kadra et al. (2021) have them, no wider than pays on a CPU.
HIDDEN: tuple[tuple[int, ...], ...] = (
    (32,), (64,), (128,), (64, 64), (256,), (64, 64, 64), (128, 128), (128, 128, 128), (256, 256),
)  # fmt: skip
#: Adaptive optimizers take rates around 1e-3 (Kingma and Ba 2015), plain descent larger ones.
ADAPTIVE_RATES, PLAIN_RATES = (2e-4, 2e-2), (2e-3, 0.5)
#: Decoupled decay is multiplied by the rate (Loshchilov and Hutter 2019), an L2 penalty is not.
DECOUPLED_DECAYS, COUPLED_DECAYS = (1e-3, 1.0), (1e-6, 1e-2)
MOST_DROPOUT = 0.5  # Srivastava et al. (2014)
MOST_SMOOTHING = 0.2  # Szegedy et al. (2016) use 0.1
EPOCHS = (10, 20, 40, 80)


def network_in(estimator: Any, asker: str) -> Subject:
    """The network inside an estimator.

    Raises
    ------
    TypeError
        If there is none.
    """
    subject = find_subject(estimator)
    if not subject.is_network:
        raise TypeError(
            f"{asker} knows the hyperparameters of DLClassifier and DLRegressor, alone or as the "
            f"predictor of a Pipeline or TransformedTargetRegressor; got "
            f"{type(subject.core).__name__}. Other estimators have RandomizedSearchCV."
        )
    return subject


def param_space(estimator: Any) -> Space:
    """Distributions of the hyperparameters that matter, for a search to draw from.

    What depends on the estimator: names have the step's prefix in a Pipeline; the range of
    ``learning_rate`` and ``weight_decay`` is that of its optimizer; a module given as a function
    keeps its own shape; an ensemble that chooses its epochs by the rows each member leaves out
    (``n_members`` above 1 and ``max_epochs="auto"``) is asked neither for epochs nor for early
    stopping. ``batch_size`` is left as it is: its effect is mostly that of the rate (Smith et al.
    2018), and fits of one batch size train together.

    Parameters
    ----------
    estimator : estimator
        A DLClassifier or DLRegressor, a Pipeline or TransformedTargetRegressor around one. It is
        not fitted or changed.

    Returns
    -------
    dict of str to list or scipy.stats distribution
        For ``RandomizedSearchCV``, ``HalvingRandomSearchCV``, `DiagnosisSearchCV`, and through
        `optuna_params` for Optuna. Lists of sizes and numbers are in ascending order.

    Raises
    ------
    TypeError
        If the estimator holds no network.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_dl import DLClassifier
    >>> from sklearn_dl.search import param_space
    >>> space = param_space(make_pipeline(StandardScaler(), DLClassifier()))
    >>> space["dlclassifier__normalization"]
    [None, 'batch', 'layer']
    >>> low, high = space["dlclassifier__learning_rate"].support()
    >>> print(f"{low:g} to {high:g}")
    0.0002 to 0.02
    """
    subject = network_in(estimator, "param_space")
    ours = not callable(subject.setting("module"))
    optimizer = subject.setting("optimizer")
    plain = optimizer in ("sgd", torch.optim.SGD)
    decoupled = optimizer == "adamw"
    space: Space = {}
    if ours:
        space["hidden_layer_sizes"] = list(HIDDEN)
        space["activation"] = ["relu", "gelu", "tanh"]
        space["normalization"] = [None, "batch", "layer"]
        space["dropout"] = stats.uniform(0, MOST_DROPOUT)
    space["learning_rate"] = stats.loguniform(*(PLAIN_RATES if plain else ADAPTIVE_RATES))
    space["weight_decay"] = stats.loguniform(*(DECOUPLED_DECAYS if decoupled else COUPLED_DECAYS))
    space["schedule"] = ["cosine", "one_cycle", "exponential"]
    space["augmentation"] = [None, "noise"]
    if subject.task == "classification":
        space["label_smoothing"] = stats.uniform(0, MOST_SMOOTHING)
    if not chooses_its_epochs(subject):
        space["max_epochs"] = list(EPOCHS)
        space["early_stopping"] = [False, True]
    return subject.prefixed(space)


def chooses_its_epochs(subject: Subject) -> bool:
    """Whether members end their training by the rows that each leaves out."""
    return subject.has_members and bool(subject.setting("max_epochs") == "auto")


def optuna_params(trial: Any, space: Mapping[str, Distribution]) -> dict[str, Any]:
    """One setting of a space, suggested by an Optuna trial.

    Parameters
    ----------
    trial : optuna.trial.Trial
        Anything with ``suggest_float``, ``suggest_int`` and ``suggest_categorical``.
    space : mapping of str to list or scipy.stats distribution
        From `param_space`. Of distributions, ``uniform``, ``loguniform`` and ``randint``.

    Returns
    -------
    dict
        For ``estimator.set_params``.

    Raises
    ------
    TypeError
        For another distribution.

    Examples
    --------
    An objective for ``study.optimize``::

        def objective(trial):
            candidate = clone(net).set_params(**optuna_params(trial, param_space(net)))
            return cross_val_score(candidate, X, y).mean()
    """
    return {name: _suggest(trial, name, values) for name, values in space.items()}


def _suggest(trial: Any, name: str, values: Distribution) -> Any:
    if is_list(values):
        # Optuna stores plain values only: others go by what they are called.
        plain = all(v is None or isinstance(v, (bool, int, float, str)) for v in values)
        if plain:
            return trial.suggest_categorical(name, list(values))
        named = {repr(value): value for value in values}
        return named[trial.suggest_categorical(name, list(named))]
    kind = getattr(getattr(values, "dist", None), "name", type(values).__name__)
    if kind == "randint":
        low, high = values.support()
        return trial.suggest_int(name, int(low), int(high))
    if kind in ("uniform", "loguniform", "reciprocal"):
        low, high = (float(end) for end in values.support())
        return trial.suggest_float(name, low, high, log=kind != "uniform")
    raise TypeError(
        f"optuna_params knows lists and scipy.stats' uniform, loguniform and randint; {name} is "
        f"{kind!r}. Suggest it from the trial yourself."
    )


def is_list(values: Distribution) -> bool:
    """Whether values are listed, and not drawn from a distribution."""
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    return not hasattr(values, "rvs") and (listed or isinstance(values, np.ndarray))


def checked_space(space: Mapping[str, Distribution], subject: Subject) -> Space:
    """A user's own space.

    Raises
    ------
    ValueError
        For an empty space, a name that is no parameter, or values of no known kind.
    """
    if not space:
        raise ValueError(
            "param_distributions is empty: there is nothing to search. Leave it at None for the "
            "space of param_space(estimator)."
        )
    names = subject.estimator.get_params(deep=True)
    for name, values in space.items():
        if name not in names:
            hint = (
                f" Did you mean {subject.prefix + name!r}?"
                if subject.prefix + name in names
                else ""
            )
            raise ValueError(
                f"param_distributions names {name!r}, which is no parameter of "
                f"{type(subject.estimator).__name__}.{hint}"
            )
        if is_list(values):
            if len(values) == 0:
                raise ValueError(f"param_distributions has no value for {name!r}.")
        elif not all(hasattr(values, method) for method in ("rvs", "cdf", "ppf")):
            raise ValueError(
                f"param_distributions[{name!r}] must be a list of values or a frozen distribution "
                f"of scipy.stats; got {values!r}."
            )
    return dict(space)
