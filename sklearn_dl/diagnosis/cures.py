"""What helps against each cause, as courses teach it: parameters where it is one, else an action.

A remedy whose gain a probe measured carries it; the others are expected to help and say so by a
gain of NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sklearn_dl.diagnosis.brakes import Brakes, brake_settings
from sklearn_dl.diagnosis.probes import NARROWEST, SAVINGS, Probes
from sklearn_dl.diagnosis.rules import ALPHA
from sklearn_dl.diagnosis.statistics import Estimate
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.recipes import auto_max_epochs

__all__ = ["Does", "Gain", "Remedy", "bias_cures", "brake_cures", "optimization_cures"]
__all__ += ["prediction_cures", "shift_cures"]

Params = dict[str, Any]
Does = Literal["", "calibrate", "ensemble", "importance weights", "prior correction"]


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
    does : str
        What `Diagnosis.try_remedy` does for a remedy that is no parameter: ``"calibrate"``,
        ``"ensemble"``, ``"importance weights"`` or ``"prior correction"``; empty where the user
        must supply something.
    """

    params: Params
    action: str
    why: str
    gain: float = field(default=math.nan)
    gain_stderr: float = field(default=math.nan)
    does: Does = ""

    @property
    def is_shown(self) -> bool:
        """Whether a gain was measured and is shown to be above zero (one-sided, 5 %)."""
        return Estimate(self.gain, self.gain_stderr).p_positive() < ALPHA


def changes(subject: Subject, params: Params) -> Params:
    """Only what differs from the estimator as it is, and is more than a saving of the probe."""
    now = subject.core.get_params(deep=False)
    return {
        name: value
        for name, value in params.items()
        if now.get(name, value) != value and name not in SAVINGS
    }


def _measured(subject: Subject, params: Params, action: str, why: str, gain: Estimate) -> Remedy:
    """A probe that fitted its rows better; where it does not predict others better, stop it early.

    ``gain`` is that of the probe, which did not stop early.
    """
    params = changes(subject, params)
    if gain.value > 0:
        return Remedy(params, action, why, gain.value, gain.stderr)
    stopped = params | {"early_stopping": True}
    cost = replace(gain, value=0.0 - gain.value, skewness=-gain.skewness)
    worse = cost.p_positive() < ALPHA
    seen = f"rows it did not learn cost {cost.value:.2g} +- {cost.stderr:.2g} more without a stop"
    return Remedy(
        stopped, f"{action}, stopped early",
        f"{why}, and it went on to learn noise" if worse else f"{why}; {seen}",
    )  # fmt: skip


def round_rate(rate: float) -> float:
    """1e-05 and not 9.999999999999999e-06."""
    return float(f"{rate:.12g}")


# --- optimization --------------------------------------------------------------------------------


def optimization_cures(
    subject: Subject, probes: Probes | None, found: set[str], n_train: int
) -> list[Remedy]:
    """The strong optimizer first, then the single changes its symptoms suggest."""
    if "DL213" in found:  # too low a rate: what makes the loss jump is noise
        found = found - {"DL204"}
    remedies = []
    if probes is not None and "DL203" in found:
        why = f"training loss {probes.training:.3g} fell to {probes.strong:.3g}"
        action = "train the same network with the strong optimizer"
        remedies.append(_measured(subject, probes.strong_params, action, why, probes.strong_gain))
    rate, single = _rate_cures(subject, probes, found, n_train), []
    for codes, params, action, why in _SYMPTOM_CURES:
        params = changes(subject, params)
        if params and found & codes and not _foreign(subject, params):
            single.append(Remedy(params, action, why))
    # clipping and early decay make steps short at any rate: they come before it
    remedies += single + rate if found & {"DL215", "DL216"} else rate + single
    if callable(subject.setting("module")) and found & {"DL207", "DL208"}:
        remedies.append(
            Remedy({}, "draw the module's first weights as torch does (reset_parameters)",
                   "its units are dead or saturated")
        )  # fmt: skip
    if subject.task == "classification" and subject.setting("loss") == "mse":
        why = "squared error of a saturated softmax has hardly any gradient"
        remedies.append(Remedy({"loss": "cross_entropy"}, "minimise cross-entropy", why))
    if subject.setting("optimizer") == "sgd" and subject.setting("momentum") == 0:
        why = "plain gradient descent crawls along narrow valleys (Polyak 1964)"
        remedies.append(Remedy({"momentum": 0.9}, "add momentum", why))
    return remedies


#: (any of these found, what to set, in words, why)
_SYMPTOM_CURES: tuple[tuple[set[str], Params, str, str], ...] = (
    ({"DL204", "DL205"}, {"warmup": 0.1, "schedule": "cosine"},
     "warm up and let the rate decay", "the loss jumps up and down"),
    ({"DL207"}, {"activation": "gelu"}, "use an activation that cannot die",
     "most hidden units are zero on every row"),
    ({"DL208"}, {"activation": "relu"}, "use an activation that does not saturate",
     "most hidden units are saturated"),
    ({"DL208", "DL206", "DL209"}, {"normalization": "batch"}, "normalise between the layers",
     "gradients vanish on their way to the first layers"),
    ({"DL215"}, {"max_grad_norm": None}, "do not clip the gradient",
     "its norm is far above what it is clipped to, so that steps are tiny"),
    ({"DL216"}, {"schedule": "cosine"}, "let the rate decay over the whole of training",
     "it is under a hundredth of its highest value for most epochs"),
    ({"DL206", "DL209"}, {"module": "residual"}, "add connections that skip the layers",
     "gradients vanish on their way to the first layers"),
)  # fmt: skip


def _foreign(subject: Subject, params: Params) -> bool:
    """A user's module ignores what shapes ours; without convolutions images are mere rows."""
    if subject.setting("module") == "cnn" and "module" in params:
        return True
    shapes = {"activation", "normalization", "module", "hidden_layer_sizes"}
    return callable(subject.setting("module")) and bool(shapes & set(params))


def _rate_cures(
    subject: Subject, probes: Probes | None, found: set[str], n_train: int
) -> list[Remedy]:
    rate = float(subject.setting("learning_rate", 1e-3))
    lower = {"learning_rate": round_rate(rate / 10)}
    higher = Remedy({"learning_rate": round_rate(10 * rate)}, "raise the learning rate tenfold", "")
    epochs = subject.setting("max_epochs", 1)
    module = subject.setting("module")
    epochs = auto_max_epochs(n_train, module) if epochs == "auto" else int(epochs)
    longer = Remedy({"max_epochs": 4 * epochs}, "train four times as long", "")

    def because(remedy: Remedy, why: str) -> Remedy:
        return Remedy(remedy.params, remedy.action, why)

    if "DL201" in found:
        action = "lower the learning rate tenfold and clip the gradient"
        return [Remedy(lower | {"max_grad_norm": 1.0}, action, "fits diverged")]
    if found & {"DL212", "DL210"}:
        why = "the loss fell when training went on with a tenth of the rate, or steps are unstable"
        return [Remedy(lower, "lower the learning rate tenfold", why)]
    if "DL213" in found:
        why = "going on with three times the rate lowered the loss faster"
        return [because(higher, why), because(longer, why)]
    if found & {"DL202", "DL211"}:
        why = "the training loss was still falling at the last epoch"
        return [because(longer, why), because(higher, why)]
    if "DL204" in found:
        return [Remedy(lower, "lower the learning rate tenfold", "the loss jumps")]
    why = "the training loss stopped falling far above what is possible"
    down = Remedy(lower, "lower the learning rate tenfold", why)
    if probes is None or subject.setting("optimizer") not in ("adam", "adamw"):
        return [down, because(higher, why)]
    return [because(higher, why) if probes.strong_params["learning_rate"] > rate else down]


# --- model bias ----------------------------------------------------------------------------------


def bias_cures(subject: Subject, probes: Probes | None, found: set[str]) -> list[Remedy]:
    """Less regularisation, wider, deeper, other features."""
    remedies = []
    if probes is not None and probes.lifted_params and "DL303" in found:
        why = f"training loss {probes.strong:.3g} fell to {probes.lifted:.3g}"
        action = "switch the regularisation off and train strongly"
        remedies.append(_measured(subject, probes.lifted_params, action, why, probes.lifted_gain))
    if probes is not None and probes.wide_params and "DL301" in found:
        why = f"training loss {probes.training:.3g} fell to {probes.wide:.3g}"
        action = "widen the network, lift its regularisation and train it strongly"
        remedies.append(_measured(subject, probes.wide_params, action, why, probes.wide_gain))
    why = "the training loss is above what others reach on new rows"
    if not callable(subject.setting("module")):
        remedies.append(_deeper(subject, why))
        if subject.setting("activation") == "identity":
            bent = {"activation": "relu"}
            remedies.append(Remedy(bent, "bend it: identities make a linear model", why))
    # not where all of them together were switched off in vain
    if probes is None or math.isnan(probes.lifted) or "DL303" in found:
        for name in ("dropout", "weight_decay", "label_smoothing"):
            if subject.setting(name, 0):
                held = f"{name}={subject.setting(name)} holds the network back"
                remedies.append(Remedy({name: 0.0}, f"switch {name} off", held))
    remedies.append(Remedy({}, "add features", "what the columns do not say no network can learn"))
    return remedies


def _deeper(subject: Subject, why: str) -> Remedy:
    """One layer more; behind or before a bottleneck it would bring nothing."""
    sizes = tuple(subject.setting("hidden_layer_sizes", ())) or (NARROWEST,)
    wide = tuple(max(NARROWEST, width) for width in sizes)
    action = "add a layer" if wide == sizes else f"add a layer, and none of under {NARROWEST} units"
    return Remedy({"hidden_layer_sizes": (*wide, max(wide))}, action, why)


# --- overfitting ---------------------------------------------------------------------------------


def brake_cures(subject: Subject, brakes: Brakes | None) -> list[Remedy]:
    """Early stopping, decay, dropout, fewer units (measured where tried), augmentation."""
    if brakes is not None:
        why = "tried on rows the network did not learn"
        remedies = [
            Remedy(changes(subject, b.params), b.action, why, b.gain.value, b.gain.stderr)
            for b in brakes.tried
        ]
    else:
        why = "out of fold it does worse than on its own rows and than another model"
        remedies = [Remedy(changes(subject, p), a, why) for p, a in brake_settings(subject)]
    if subject.setting("augmentation") is None and not subject.reads_images:
        why = "noise on the inputs holds back what changes from row to row (Bishop 1995)"
        remedies.append(Remedy({"augmentation": "noise"}, "train on noisy copies", why))
    return remedies


def prediction_cures(
    subject: Subject, calibration: Estimate | None, *, sure: bool, half: Estimate | None
) -> list[Remedy]:
    """Calibration where a temperature helps, an ensemble of seeds, more rows.

    ``half`` is what learning half of the rows was seen to cost.
    """
    remedies = []
    if calibration is not None and sure:
        remedies.append(
            Remedy(
                {},
                "calibrate the probabilities (CalibratedClassifierCV, method 'temperature')",
                "one temperature takes much of the gap away: it ranks well and is too sure",
                calibration.value,
                calibration.stderr,
                "calibrate",
            )
        )
    if subject.is_network:
        why = "it takes away what differs from one random start to another"
        action = "average networks that differ in their seed"
        remedies.append(Remedy({}, action, why, does="ensemble"))
    why = "the gap between training and new rows shrinks with the number of rows"
    if half is not None:
        why += f": half of them cost {half.value:.3g} +- {half.stderr:.2g} more"
    remedies.append(Remedy({}, "collect more rows", why))
    return remedies


# --- mismatch ------------------------------------------------------------------------------------


#: Which shift -> (action, why, what try_remedy does)
_BY_SHIFT: dict[str | None, tuple[str, str, Does]] = {
    "label shift": (
        "weigh the classes as the test rows have them, or sklearn_dl.priors.adjust_prior",
        "the changed class frequencies explain most of it",
        "prior correction",
    ),
    "covariate shift": (
        "weigh the training rows towards the test rows (sample_weight), or collect such rows",
        "the changed inputs explain most of it",
        "importance weights",
    ),
    "concept shift": (
        "train on recent or relabelled rows",
        "neither inputs nor class frequencies explain it: their relation changed",
        "",
    ),
    "unsupported inputs": (
        "collect rows like the test rows",
        "hardly any training row is like them",
        "",
    ),
    None: (
        "train on rows like the test rows, or weigh the training rows towards them",
        "the test rows cost more than held-out training rows",
        "importance weights",
    ),
}


def shift_cures(shift: str | None, found: set[str], *, has_test: bool) -> list[Remedy]:
    """Weights for inputs or classes that moved, new rows for a relation that did."""
    remedies = []
    if "DL501" in found:
        action = (
            "collect rows of more groups, or of a period nearer to use; leave out columns that "
            "only name the group or time"
        )
        why = "held-out rows of the groups or period it learnt cost less"
        remedies.append(Remedy({}, action, why))
    if shift is not None or not remedies:
        action, why, does = _BY_SHIFT[shift]
        remedies.append(Remedy({}, action, why, does=does if has_test else ""))
    if "DL407" not in found:  # else nobody knows the relation where the test rows are
        action = "look for a change in what a column means between the rows"
        why = "a model cannot mend a changed relation between inputs and target"
        remedies.append(Remedy({}, action, why))
    return remedies
