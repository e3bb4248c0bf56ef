"""Two nets that separate bias from optimization: the same one trained strongly, and a wider one.

If a strong optimizer reaches a much lower training loss in the *same* network, good weights
existed and were not found: optimization. If only a larger network that contains it does, the
network was too simple: bias (METHODS 2b). Both are judged on the rows they learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, fit_jobs
from sklearn_dl.diagnosis.ledger import Split, split_training_gap
from sklearn_dl.diagnosis.references import capped_folds
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.statistics import Estimate, paired_difference, row_mean
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.table import Folds, Table
from sklearn_dl.recipes import auto_batch_size, auto_max_epochs

__all__ = ["Probes", "run_probes", "strong_params", "wide_params"]

Floats = NDArray[np.float64]

WIDER = 4  # METHODS 2b: nested superset, four times as wide
RATES = {"quick": (2e-3,), "standard": (1e-2, 2e-3), "thorough": (1e-2, 2e-3, 5e-4)}
MIN_STEPS = 2000  # a strong optimizer gets this many steps at least, or the user's number
MAX_EPOCHS = 400
MAX_BATCH = 128  # small batches make steps cheap, and the noise helps to leave plateaus


@dataclass(frozen=True)
class Probes:
    """Mean training losses on one fold and what they say.

    Attributes
    ----------
    training, strong, wide : float
        A, A_opt and A_cap on the first fold's training rows.
    split : Split
        Division of the training gap.
    strong_params, wide_params : dict
        Parameters of the network that reached A_opt and A_cap.
    strong_gain, wide_gain : Estimate
        How far each lowers the loss on the fold's held-out rows.
    n_rows, n_fits : int
        Rows compared, fits made.
    """

    training: float
    strong: float
    wide: float
    split: Split
    strong_params: dict[str, Any]
    wide_params: dict[str, Any]
    strong_gain: Estimate
    wide_gain: Estimate
    n_rows: int
    n_fits: int


def strong_params(subject: Subject, n_train: int, rate: float) -> dict[str, Any]:
    """Same function class and regularisation, another way to its weights.

    Adam with a cosine schedule, warm-up and clipping; cross-entropy where it was MSE on
    probabilities; standardised inputs where they came raw (a linear change the first layer can
    undo).
    """
    batch = subject.setting("batch_size", "auto")
    batch = min(auto_batch_size(n_train) if batch == "auto" else int(batch), MAX_BATCH)
    epochs = subject.setting("max_epochs", "auto")
    epochs = auto_max_epochs(n_train) if epochs == "auto" else int(epochs)
    enough = min(MAX_EPOCHS, -(-MIN_STEPS * batch // n_train))
    params: dict[str, Any] = {
        "optimizer": "adamw" if subject.setting("optimizer") == "adamw" else "adam",
        "learning_rate": rate,
        "momentum": None,
        "rms_decay": None,
        "schedule": "cosine",
        "warmup": 0.05,
        "max_grad_norm": 1.0,
        "batch_size": batch,
        "max_epochs": max(epochs, enough),
        "early_stopping": False,
        "warm_start": False,
    }
    if subject.task == "classification" and subject.setting("loss") == "mse":
        params["loss"] = "cross_entropy"
    if subject.setting("preprocessing", "auto") is None:
        params["preprocessing"] = "standard"
    return params


def wide_params(subject: Subject, n_train: int, rate: float) -> dict[str, Any] | None:
    """The strong optimizer in a network that contains the user's; None where it cannot be widened.

    Regularisation is lifted before the network is widened: too much of it is bias too.
    """
    if callable(subject.setting("module")):
        return None
    widths = tuple(WIDER * h for h in subject.setting("hidden_layer_sizes", ()))
    lifted = {"dropout": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "augmentation": None}
    params = strong_params(subject, n_train, rate)
    params |= {k: v for k, v in lifted.items() if k in subject.core.get_params(deep=False)}
    return params | {"hidden_layer_sizes": widths or (64,), "activation": _bends(subject)}


def _bends(subject: Subject) -> Any:
    """A wide net of identities is still linear."""
    activation = subject.setting("activation")
    return "relu" if activation == "identity" else activation


def run_probes(
    subject: Subject,
    first: FoldFit,
    table: Table,
    folds: Folds,
    loss: RowLoss,
    *,
    budget: str,
    prior_loss: float,
    seed: int = 0,
) -> Probes | None:
    """Train the probes on the first fold, the rates together, and compare training losses.

    Returns
    -------
    Probes or None
        None where the estimator holds no network of ours, or one that cannot be widened.
    """
    if not subject.is_network:
        return None
    capped, _ = capped_folds(folds, table, seed, stratify=subject.task == "classification")
    train, test = capped.splits[0]
    settings: list[tuple[str, dict[str, Any]]] = []
    if capped is not folds:  # the user's own fit on the rows that the probes learn
        settings.append(("own", {}))
    for rate in RATES[budget]:
        settings.append(("strong", strong_params(subject, len(train), rate)))
        wide = wide_params(subject, len(train), rate)
        if wide is None:
            return None
        settings.append(("wide", wide))
    jobs = [
        Job(subject.with_params(**params), table, train, test, subject.fit_prefix)
        for _, params in settings
    ]
    fits = fit_jobs(jobs, loss)
    weights = table.loss_weight[train]

    def known(losses: Floats) -> Floats:
        """A fit that diverged is worth no more than the prior."""
        return np.where(np.isfinite(losses), losses, prior_loss)

    def best(kind: str) -> tuple[dict[str, Any], FoldFit]:
        tried = [(p, f) for (k, p), f in zip(settings, fits, strict=True) if k == kind]
        return min(tried, key=lambda pair: row_mean(known(pair[1].train_losses), weights).value)

    (strong, strong_fit), (wide, wide_fit) = best("strong"), best("wide")
    if capped is not folds:
        first = best("own")[1]
    a, a_opt, a_cap = (known(f.train_losses) for f in (first, strong_fit, wide_fit))
    b, b_opt, b_cap = (known(f.test_losses) for f in (first, strong_fit, wide_fit))
    held_out = table.loss_weight[test]
    return Probes(
        row_mean(a, weights).value,
        row_mean(a_opt, weights).value,
        row_mean(a_cap, weights).value,
        split_training_gap(a, a_opt, a_cap, weights),
        strong,
        wide,
        paired_difference(b, b_opt, held_out),
        paired_difference(b, b_cap, held_out),
        len(train),
        len(jobs),
    )
