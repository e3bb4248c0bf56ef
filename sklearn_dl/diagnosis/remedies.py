"""What to change: for each verdict the course's remedies, as dicts for ``set_params``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sklearn_dl.diagnosis.brakes import Brakes, brake_settings
from sklearn_dl.diagnosis.probes import Probes
from sklearn_dl.diagnosis.rules import Decision, Verdict
from sklearn_dl.diagnosis.statistics import Estimate
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.recipes import auto_max_epochs

__all__ = ["Gain", "Remedy", "find_remedies", "param_grid"]


@dataclass(frozen=True)
class Gain:
    """A fall of the held-out loss and its standard error."""

    gain: float
    stderr: float


@dataclass(frozen=True)
class Remedy:
    """One thing to change.

    Attributes
    ----------
    params : dict
        For ``estimator.set_params``; empty where the remedy is no parameter.
    action : str
        What to do, in words.
    why : str
        What was seen that suggests it.
    gain, gain_stderr : float
        Measured fall of the held-out loss; NaN where it is expected and not measured.
    """

    params: dict[str, Any]
    action: str
    why: str
    gain: float = field(default=math.nan)
    gain_stderr: float = field(default=math.nan)


def find_remedies(
    subject: Subject,
    decision: Decision,
    codes: Iterable[str],
    n_train: int,
    *,
    probes: Probes | None = None,
    brakes: Brakes | None = None,
    calibration: Estimate | None = None,
    shift: str | None = None,
) -> list[Remedy]:
    """Remedies of a verdict, measured ones first, by gain.

    Parameters
    ----------
    subject : Subject
        Names the parameters, with the step's prefix in a Pipeline.
    decision : Decision
        What is wrong; where that is inconclusive, the likeliest cause is advised on as well.
    probes : Probes or None
        Whose held-out gains are known.
    codes : iterable of str
        Evidence that was found.
    n_train : int
        Rows a fold learns, on which "auto" settings depend.
    shift : str or None
        Which shift explains a mismatch.
    """
    found = set(codes)
    verdict, first = decision.verdict, []
    if verdict is Verdict.INCONCLUSIVE:
        first = [Remedy({}, action, why) for action, why in _ACTIONS[verdict]]
        verdict = max(decision.probabilities, key=lambda v: decision.probabilities[v])
    makers: dict[Verdict, Callable[[], list[Remedy]]] = {
        Verdict.OPTIMIZATION: lambda: _optimization(subject, probes, found, n_train),
        Verdict.MODEL_BIAS: lambda: _model_bias(subject, probes, found),
        Verdict.OVERFITTING: lambda: _overfitting(subject, brakes),
    }
    if verdict in makers and subject.is_network:
        remedies = [_prefixed(subject, remedy) for remedy in makers[verdict]()]
    else:
        actions = _ACTIONS.get(verdict, ())
        if verdict is Verdict.MISMATCH:
            actions = tuple(_mismatch(shift, found))
        remedies = [Remedy({}, action, why) for action, why in actions]
    if verdict is Verdict.OVERFITTING and "DL302" in found:
        gain = calibration or Estimate(math.nan, math.nan)
        remedies.insert(0, replace(_CALIBRATE, gain=gain.value, gain_stderr=gain.stderr))
    known = {remedy.action for remedy in first}
    remedies = first + [remedy for remedy in remedies if remedy.action not in known]
    remedies = [remedy for remedy in remedies if not remedy.gain <= 0]  # measured, and no help
    return sorted(remedies, key=lambda r: -r.gain if math.isfinite(r.gain) else math.inf)


_MORE_ROWS = (
    "collect more rows",
    "the gap between training and new rows shrinks with the number of rows",
)
_ACTIONS: dict[Verdict, tuple[tuple[str, str], ...]] = {
    Verdict.MODEL_BIAS: (
        ("make the model more flexible or add features", "another model does better on these rows"),
    ),
    Verdict.OVERFITTING: (
        ("regularise the model more strongly", "it fits its training rows and not the others"),
        _MORE_ROWS,
    ),
    Verdict.NO_SIGNAL: (
        ("look for other features, or for an error in the target column",
         "no model tried predicts better than the prior"),
    ),
    Verdict.INCONCLUSIVE: (("collect more rows", "the intervals are too wide to tell"),),
}  # fmt: skip


_CALIBRATE = Remedy(
    {},
    "calibrate the probabilities (CalibratedClassifierCV, method 'temperature') or stop earlier",
    "one temperature takes most of the gap away: it ranks well and is too sure",
)
_BY_SHIFT: dict[str | None, tuple[str, str]] = {
    "label shift": (
        "correct the predicted probabilities for the class frequencies of the test rows",
        "the changed class frequencies explain most of it",
    ),
    "covariate shift": (
        "weigh the training rows towards the test rows (sample_weight), or collect such rows",
        "the changed inputs explain most of it",
    ),
    "concept shift": (
        "train on recent or relabelled rows",
        "neither inputs nor class frequencies explain it: their relation changed",
    ),
    "unsupported inputs": (
        "collect rows like the test rows",
        "hardly any training row is like them",
    ),
    None: (
        "train on rows like the test rows, or weigh the training rows towards them",
        "the test rows cost more than held-out training rows",
    ),
}


def _mismatch(shift: str | None, found: set[str]) -> list[tuple[str, str]]:
    actions = []
    if "DL501" in found:
        actions.append(
            (
                "collect rows of more groups, or of a period nearer to use; leave out columns that "
                "only name the group or time",
                "held-out rows of the groups or period it learnt cost less",
            )
        )
    if shift is not None or not actions:
        actions.append(_BY_SHIFT[shift])
    actions.append(
        (
            "look for a change in what a column means between the rows",
            "a model cannot mend a changed relation between inputs and target",
        )
    )
    return actions


def _prefixed(subject: Subject, remedy: Remedy) -> Remedy:
    return Remedy(
        subject.prefixed(remedy.params), remedy.action, remedy.why, remedy.gain, remedy.gain_stderr
    )


def _changes(subject: Subject, params: dict[str, Any]) -> dict[str, Any]:
    """Only what differs from the estimator as it is."""
    now = subject.core.get_params(deep=False)
    return {name: value for name, value in params.items() if now.get(name, value) != value}


def _optimization(
    subject: Subject, probes: Probes | None, found: set[str], n_train: int
) -> list[Remedy]:
    remedies = []
    if probes is not None and "DL203" in found:
        remedies.append(
            Remedy(
                _changes(subject, probes.strong_params),
                "train the same network with the strong optimizer",
                f"training loss {probes.training:.3g} fell to {probes.strong:.3g}",
                probes.strong_gain.value,
                probes.strong_gain.stderr,
            )
        )
    rate = float(subject.setting("learning_rate", 1e-3))
    if "DL201" in found:
        remedies.append(
            Remedy(
                {"learning_rate": _round(rate / 10), "max_grad_norm": 1.0},
                "lower the learning rate tenfold and clip the gradient",
                "fits diverged",
            )
        )
    elif "DL202" in found:
        why = "the training loss was still falling at the last epoch"
        epochs = subject.setting("max_epochs", 1)
        epochs = auto_max_epochs(n_train) if epochs == "auto" else int(epochs)
        remedies.append(Remedy({"max_epochs": 4 * epochs}, "train four times as long", why))
        remedies.append(
            Remedy({"learning_rate": _round(10 * rate)}, "raise the learning rate tenfold", why)
        )
    else:
        why = "the training loss stopped falling far above what is possible"
        for times, verb in _rate_changes(subject, probes):
            changed = {"learning_rate": _round(times * rate)}
            remedies.append(Remedy(changed, f"{verb} the learning rate tenfold", why))
    if subject.task == "classification" and subject.setting("loss") == "mse":
        remedies.append(
            Remedy(
                {"loss": "cross_entropy"},
                "minimise cross-entropy",
                "squared error of a saturated softmax has hardly any gradient",
            )
        )
    return remedies


def _rate_changes(subject: Subject, probes: Probes | None) -> list[tuple[float, str]]:
    """Towards the strong optimizer's rate where both are of the Adam family, else both ways."""
    down, up = (0.1, "lower"), (10.0, "raise")
    if probes is None or subject.setting("optimizer") not in ("adam", "adamw"):
        return [down, up]
    return (
        [up] if probes.strong_params["learning_rate"] > subject.setting("learning_rate") else [down]
    )


def _round(rate: float) -> float:
    """1e-05 and not 9.999999999999999e-06."""
    return float(f"{rate:.12g}")


def _model_bias(subject: Subject, probes: Probes | None, found: set[str]) -> list[Remedy]:
    remedies = []
    if probes is not None and probes.lifted_params and "DL303" in found:
        remedies.append(
            Remedy(
                _changes(subject, probes.lifted_params),
                "switch the regularisation off and train strongly",
                f"training loss {probes.strong:.3g} fell to {probes.lifted:.3g}",
                probes.lifted_gain.value,
                probes.lifted_gain.stderr,
            )
        )
    if probes is not None and probes.wide_params and "DL301" in found:
        remedies.append(
            Remedy(
                _changes(subject, probes.wide_params),
                "widen the network, lift its regularisation and train it strongly",
                f"training loss {probes.training:.3g} fell to {probes.wide:.3g}",
                probes.wide_gain.value,
                probes.wide_gain.stderr,
            )
        )
    if not callable(subject.setting("module")):
        sizes = tuple(subject.setting("hidden_layer_sizes", ()))
        deeper = (*sizes, sizes[-1]) if sizes else (64, 64)
        why = "the training loss is above what others reach on new rows"
        remedies.append(Remedy({"hidden_layer_sizes": deeper}, "add a layer", why))
    for name in ("dropout", "weight_decay"):
        if subject.setting(name, 0):
            why = f"{name}={subject.setting(name)} holds the network back"
            remedies.append(Remedy({name: 0.0}, f"switch {name} off", why))
    remedies.append(Remedy({}, "add features", "what the columns do not say no network can learn"))
    return remedies


def _overfitting(subject: Subject, brakes: Brakes | None) -> list[Remedy]:
    why = "out of fold it does worse than on its own rows and than another model"
    if brakes is not None:
        why = "it lowered the loss on rows the network did not learn"
        remedies = [
            Remedy(_changes(subject, b.params), b.action, why, b.gain.value, b.gain.stderr)
            for b in brakes.tried
        ]
    else:
        remedies = [Remedy(_changes(subject, p), a, why) for p, a in brake_settings(subject)]
    return [*remedies, Remedy({}, *_MORE_ROWS)]


def param_grid(subject: Subject, remedies: Iterable[Remedy]) -> dict[str, list[Any]]:
    """All values the remedies name, beside the present one: a grid for GridSearchCV."""
    now = subject.estimator.get_params(deep=True)
    grid: dict[str, list[Any]] = {}
    for remedy in remedies:
        for name, value in remedy.params.items():
            values = grid.setdefault(name, [now[name]])
            if value not in values:
                values.append(value)
    return {name: values for name, values in grid.items() if len(values) > 1}
