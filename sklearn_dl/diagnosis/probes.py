"""Networks that separate bias from optimization, trained in up to three rounds on one fold.

First the *same* class of functions, its regularisation kept, under a strong optimizer, and where
that does not close the gap to what others predict held out, under others: if one does, good weights
existed and were not found. Only where none does, the same network without its regularisation, and a
wider one that contains it: if those close the rest, the network was held back or too simple. All
are judged on the rows they learn, in evaluation mode; what lies below the reference is memory and
counts for neither (Bottou and Bousquet 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.fewer_rows import few_rows
from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, at_prior, by_row, fit_jobs, jobs_on
from sklearn_dl.diagnosis.ledger import Split
from sklearn_dl.diagnosis.references import capped_folds
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.statistics import Estimate, paired_difference, row_mean
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.supersets import Beside, Reinitialised
from sklearn_dl.diagnosis.table import Folds, Table
from sklearn_dl.recipes import auto_batch_size, auto_max_epochs

__all__ = ["NARROWEST", "SAVINGS", "ByHeart", "Probes"]
__all__ += ["lifted_params", "run_probes", "strong_params", "wide_params"]

Floats = NDArray[np.float64]
Params = dict[str, Any]

WIDER = 4  # a nested superset, four times as wide
NARROWEST = 64  # and at least so wide
TINY = 3  # units; so few have many bad starts (Safran and Shamir 2018), so they are restarted
# The first is tried alone. Of 18 networks of our benchmark's tuned tables whose gap both 2e-3 and
# 1e-2 close, 1e-2 predicted other rows clearly worse in 4 and clearly better in none.
RATES = {"quick": (2e-3,), "standard": (2e-3, 1e-2), "thorough": (2e-3, 1e-2, 5e-4)}
RESTARTS = {"quick": 2, "standard": 3, "thorough": 8}  # of tiny networks, at each rate
MIN_STEPS = 1500  # a strong optimizer gets this many steps at least, or the user's number
MAX_EPOCHS = 400
SAVINGS = frozenset({"n_members"})  # what a probe does to be cheap, and no remedy takes over
MAX_BATCH = 128  # small batches make steps cheap, and the noise helps to leave plateaus
UNKNOWN = Estimate(np.nan, np.nan)
LIFTED = {"dropout": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "augmentation": None}


@dataclass(frozen=True)
class ByHeart:
    """Training loss over that of the prior, on so many rows learnt alone."""

    loss: float
    n_rows: int


@dataclass(frozen=True)
class Probes:
    """Mean training losses on the rows of one fold and what they say.

    Attributes
    ----------
    training, reference : float
        A, the mean over the folds that learn a row, and F on the same rows (held out there).
    strong, lifted, wide : float
        A_opt, the loss without regularisation (NaN where there is none or it was not asked for),
        and A_cap (that of ``strong`` where it was not asked for).
    split : Split
        Division of the training gap.
    strong_params, lifted_params, wide_params : dict
        Parameters of the network that reached them.
    strong_gain, lifted_gain, wide_gain : Estimate
        How far each lowers the loss on the fold's held-out rows.
    n_rows : int
        Rows compared.
    n_strong, n_wide : int
        Fits made in the first and in the second round.
    elsewhere : Estimate or None
        Where the training loss is only near the reference: what the probe that predicts the first
        fold's held-out rows best gains on the other folds, or on the first if it gave no hope.
    """

    training: float
    reference: float
    strong: float
    lifted: float
    wide: float
    split: Split
    strong_params: Params
    lifted_params: Params
    wide_params: Params
    strong_gain: Estimate
    lifted_gain: Estimate
    wide_gain: Estimate
    n_rows: int
    n_strong: int
    n_wide: int
    elsewhere: Estimate | None = None
    by_heart: ByHeart | None = None

    @property
    def best_gain(self) -> Estimate:
        """What the probe gains on held-out rows that closes the larger part of the gap."""
        if self.elsewhere is not None:
            return self.elsewhere
        if self.split.optimization_share >= rules.HALF or not self.n_wide:
            return self.strong_gain
        return self.wide_gain


def strong_params(subject: Subject, n_train: int, rate: float) -> Params:
    """Same function class and regularisation, another way to its weights.

    Adam with a cosine schedule, warm-up and clipping; cross-entropy where it was MSE on
    probabilities; standardised inputs where they came raw (a linear change the first layer can
    undo); tanh for sigmoid, which is the same function up to scale and shift.
    """
    batch = subject.setting("batch_size", "auto")
    module = subject.setting("module")
    batch = min(auto_batch_size(n_train, module) if batch == "auto" else int(batch), MAX_BATCH)
    epochs = subject.setting("max_epochs", "auto")
    epochs = auto_max_epochs(n_train, module) if epochs == "auto" else int(epochs)
    enough = min(MAX_EPOCHS, -(-MIN_STEPS * batch // n_train))
    params: Params = {
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
        "n_members": 1,  # equal members are one network: a bound, at a fifth of the cost
    }
    if subject.task == "classification" and subject.setting("loss") == "mse":
        params["loss"] = "cross_entropy"
    if subject.setting("preprocessing", "auto") is None:
        params["preprocessing"] = "standard"
    if subject.setting("activation") == "sigmoid" and not callable(subject.setting("module")):
        params["activation"] = "tanh"
    return params


def _same_class(subject: Subject, n_train: int, budget: str) -> list[Params]:
    """Strong ways to weights of the same class of functions."""
    tried = [strong_params(subject, n_train, rate) for rate in RATES[budget]]
    module, sizes = subject.setting("module"), subject.setting("hidden_layer_sizes", ())
    if callable(module):
        own = subject.core.get_params(deep=False)["random_state"]
        again = {"module": Reinitialised(module), "random_state": own}
        return [*(params | again for params in tried), tried[0]]
    if len(sizes) > 1 and subject.setting("normalization") is None:
        # In evaluation mode a batch normalisation is an affine map, which the layer before can be.
        fast = strong_params(subject, n_train, max(RATES[budget]))
        tried.append(fast | {"normalization": "batch"})
    if sizes and min(sizes) <= TINY:
        tried += [
            params | {"random_state": subject.seed + k}
            for params in tried
            for k in range(1, RESTARTS[budget])
        ]
    return tried


def lifted_params(subject: Subject, n_train: int, rate: float) -> Params | None:
    """The strong optimizer without the network's regularisation; None where it has none."""
    now = subject.core.get_params(deep=False)
    if not any(subject.setting(name) for name in LIFTED):
        return None
    return strong_params(subject, n_train, rate) | {k: v for k, v in LIFTED.items() if k in now}


def wide_params(subject: Subject, n_train: int, rate: float) -> Params:
    """The strong optimizer, unregularised, in a network that contains the user's."""
    now = subject.core.get_params(deep=False)
    params = strong_params(subject, n_train, rate)
    params |= {k: v for k, v in LIFTED.items() if k in now}
    module = subject.setting("module")
    if callable(module):
        return params | {"module": Beside(Reinitialised(module), 2 * NARROWEST)}
    widths = tuple(max(NARROWEST, WIDER * h) for h in now.get("hidden_layer_sizes", ()))
    params |= {"hidden_layer_sizes": widths or (NARROWEST,)}
    if module == "cnn":  # twice the channels cost four times as much
        channels = tuple(np.atleast_1d(now["channels"]))
        params["channels"] = tuple(2 * int(c) for c in channels)
    if now.get("activation") == "identity":  # a wide net of identities is still linear
        params["activation"] = "relu"
    return params


def run_probes(
    subject: Subject,
    own: Sequence[FoldFit],
    table: Table,
    folds: Folds,
    loss: RowLoss,
    reference: Floats,
    *,
    budget: str,
    prior_loss: float,
    large: bool = True,
    margin: float = 0.0,
    seed: int = 0,
) -> Probes | None:
    """Train the probes on the first fold, those of a round together, and compare training losses.

    Parameters
    ----------
    reference : ndarray of shape (n,)
        Held-out losses of the best model of the pool, by row of the table.
    large : bool
        Whether the training loss is above that. If it is only near, the question is whether the
        strong optimizer, or then the network without its regularisation, predicts better: where the
        first fold gives hope, the others are asked.
    margin : float
        What a gain must exceed to give hope.

    Returns
    -------
    Probes or None
        None where the estimator holds no network of ours.
    """
    if not subject.is_network:
        return None
    bench, first = _on_first_fold(subject, own, table, folds, loss, prior_loss, seed)
    ways = _same_class(subject, len(bench.train), budget)

    def left_open(strong: _Trained) -> bool:
        if budget == "thorough":
            return True
        return _left_open(bench, first, strong.fit, bench.target(reference), margin, large=large)

    n_first = 1 if large and budget != "thorough" else len(ways)
    strong = bench.best(ways[:n_first])
    if ways[n_first:] and left_open(strong):
        strong = bench.best(ways[n_first:], strong)
    memory = bench.by_heart(seed) if large else None
    n_strong = bench.n_fits
    wider: _Trained | None = None
    lifted: _Trained | None = None
    if left_open(strong):
        wider, lifted = _second_round(bench, strong.params["learning_rate"], large=large)
    n_wide = bench.n_fits - n_strong
    wide = wider or strong
    lead = max(bench.lead(reference[bench.test], tried.fit) for tried in (strong, wide))
    reference = reference - lead
    if large:
        split = _split(bench, first, strong.fit, wide.fit, reference[bench.train])
        elsewhere = None
    else:
        split, elsewhere = _asked_elsewhere(bench, own, folds, first, strong, lifted, margin)

    return Probes(
        bench.mean(first),
        bench.target(reference),
        bench.mean(strong.fit),
        np.nan if lifted is None else bench.mean(lifted.fit),
        bench.mean(wide.fit),
        split,
        strong.params,
        {} if lifted is None else lifted.params,
        {} if wider is None else wider.params,
        bench.gain(first, strong.fit),
        UNKNOWN if lifted is None else bench.gain(first, lifted.fit),
        UNKNOWN if wider is None else bench.gain(first, wider.fit),
        len(bench.train),
        bench.n_fits - n_wide,  # with those on the other folds
        n_wide,
        elsewhere,
        memory,
    )


def _on_first_fold(
    subject: Subject,
    own: Sequence[FoldFit],
    table: Table,
    folds: Folds,
    loss: RowLoss,
    prior_loss: float,
    seed: int,
) -> tuple[_Bench, FoldFit]:
    """The fold, of a large table a part of it, and the user's own network there."""
    stratify = subject.task == "classification" and table.y.ndim == 1
    capped, _ = capped_folds(folds, table, seed, stratify=stratify)
    bench = _Bench(subject, table, *capped.splits[0], loss, prior_loss)
    if capped is folds:
        return bench, _typical(own, len(table))
    return bench, bench.fit([{}])[0].fit  # on the rows that the probes learn


def _left_open(
    bench: _Bench, first: FoldFit, strong: FoldFit, target: float, margin: float, *, large: bool
) -> bool:
    """Whether the same class of functions left so much that freer networks are asked for."""
    if not large:  # only near: a probe must predict better, the strong one is asked first
        return bench.gain(first, strong).value < rules.HALF * margin
    a = bench.mean(first)
    opened, closed = max(a - target, 0.0), a - max(bench.mean(strong), target)
    return closed < rules.CLOSED * opened or opened == 0


def _typical(own: Sequence[FoldFit], n: int) -> FoldFit:
    """The first fold's fit, with the training loss that its rows have on average over the folds.

    Where training fails now and then, one fold may be the lucky one: that the others stopped at a
    larger loss in the same network is a matter of optimization.
    """
    if any(fit.failure is not None for fit in own):
        return own[0]
    return replace(own[0], train_losses=by_row(own, n).fitted[own[0].train])


def _second_round(
    bench: _Bench, rate: float, *, large: bool
) -> tuple[_Trained | None, _Trained | None]:
    """The best of the wider networks, and the one without regularisation; None where not asked."""
    n_train = len(bench.train)
    rates = sorted({rate, 2e-3}) if large else []  # width is asked about the training loss only
    asked = [wide_params(bench.subject, n_train, r) for r in rates]
    free = lifted_params(bench.subject, n_train, rate)
    fits = bench.fit([*asked, *([] if free is None else [free])])
    wider = min(fits[: len(asked)], key=lambda tried: bench.mean(tried.fit), default=None)
    return wider, None if free is None else fits[-1]


def _asked_elsewhere(
    bench: _Bench,
    own: Sequence[FoldFit],
    folds: Folds,
    first: FoldFit,
    strong: _Trained,
    lifted: _Trained | None,
    margin: float,
) -> tuple[Split, Estimate]:
    """What the probe that the first fold gives hope for gains on the other folds."""
    params, gain, share = _most_hopeful(bench, first, strong, lifted, margin)
    if gain.value > margin:  # else the first fold has said enough
        gain = bench.gain_elsewhere(own, params, folds) or UNKNOWN
    return Split(share, 0.0), gain


def _most_hopeful(
    bench: _Bench,
    first: FoldFit,
    strong: _Trained,
    lifted: _Trained | None,
    margin: float,
) -> tuple[Params, Estimate, float]:
    """What predicts the first fold's held-out rows best, its gain, and optimization's share."""
    gain = bench.gain(first, strong.fit)
    if lifted is not None:
        freed = bench.gain(first, lifted.fit)
        if freed.value > max(gain.value, margin):
            return lifted.params, freed, 0.0
    return strong.params, gain, 1.0


class _Trained(NamedTuple):
    """A network of a probe."""

    params: Params
    fit: FoldFit


class _Bench:
    """One fold on which networks are trained and compared."""

    def __init__(
        self,
        subject: Subject,
        table: Table,
        train: NDArray[np.int64],
        test: NDArray[np.int64],
        loss: RowLoss,
        prior_loss: float,
    ) -> None:
        self.subject, self.table, self.train, self.test = subject, table, train, test
        self.loss, self.prior_loss = loss, prior_loss
        self.weights, self.test_weights = table.loss_weight[train], table.loss_weight[test]
        self.n_fits = 0

    def fit(self, settings: list[Params]) -> list[_Trained]:
        """Networks with these settings, trained together."""
        jobs = [
            Job(
                self.subject.with_params(**params), self.table, self.train, self.test,
                self.subject.fit_prefix,
            )
            for params in settings
        ]  # fmt: skip
        self.n_fits += len(jobs)
        return list(map(_Trained, settings, fit_jobs(jobs, self.loss)))

    def clusters(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Which of these rows are no independent evidence."""
        return None if self.table.clusters is None else self.table.clusters[rows]

    def known(self, losses: Floats) -> Floats:
        """A fit that diverged is worth no more than the prior."""
        return np.where(np.isfinite(losses), losses, self.prior_loss)

    def mean(self, fit: FoldFit) -> float:
        """Training loss."""
        return row_mean(self.known(fit.train_losses), self.weights).value

    def by_heart(self, seed: int) -> ByHeart | None:
        """The user's settings on a few rows learnt alone."""
        whole = Job(
            self.subject.estimator, self.table, self.train, self.test, self.subject.fit_prefix
        )
        few = few_rows(whole, self.subject, np.random.RandomState(seed))
        if few is None or not self.prior_loss > 0:
            return None
        self.n_fits += 1
        fit = fit_jobs([few], self.loss)[0]
        losses = row_mean(self.known(fit.train_losses), self.table.loss_weight[few.train])
        return ByHeart(losses.value / self.prior_loss, len(few.train))

    def target(self, reference: Floats) -> float:
        """Mean of the reference's losses on the rows that are learnt here."""
        return row_mean(reference[self.train], self.weights).value

    def best(self, settings: list[Params], *known: _Trained) -> _Trained:
        """The lowest training loss of these settings and of what is trained already."""
        return min([*known, *self.fit(settings)], key=lambda tried: self.mean(tried.fit))

    def gain(self, before: FoldFit, after: FoldFit) -> Estimate:
        """Fall of the held-out loss."""
        return paired_difference(
            self.known(before.test_losses), self.known(after.test_losses), self.test_weights,
            self.clusters(self.test),
        )  # fmt: skip

    def gain_elsewhere(
        self, own: Sequence[FoldFit], params: Params, folds: Folds
    ) -> Estimate | None:
        """Fall of the held-out loss on the folds that had no part in choosing the parameters."""
        if len(folds) < 2:
            return None
        changed = self.subject.with_params(**params)
        jobs = jobs_on(
            folds, changed, self.table, fit_prefix=self.subject.fit_prefix, judge_train=False
        )[1:]
        self.n_fits += len(jobs)
        n = len(self.table)
        before, after = (
            by_row(at_prior(fits, self.prior_loss), n)
            for fits in (own[1:], fit_jobs(jobs, self.loss))
        )
        return paired_difference(
            before.held_out, after.held_out, self.table.loss_weight, self.table.clusters
        )

    def lead(self, reference: Floats, fit: FoldFit) -> float:
        """By how much a probe beats the reference on held-out rows; 0 where it may be luck.

        A probe may be the best model there is, and F is the lowest held-out loss known.
        """
        gain = paired_difference(
            reference, self.known(fit.test_losses), self.test_weights, self.clusters(self.test)
        )
        return max(gain.value, 0.0) if gain.p_positive() < rules.ALPHA else 0.0


def _split(bench: _Bench, own: FoldFit, strong: FoldFit, wide: FoldFit, reference: Floats) -> Split:
    """Share of the training gap that the same class of functions closes.

    ``(A - A_opt) / (A - max(F, A_cap))``, at most 1: what a network fits better than anybody
    predicts held out is no part of the gap. Share 0 where no probe fits better.
    """
    a, opt, cap = (bench.known(f.train_losses) for f in (own, strong, wide))
    mean_a, mean_opt, mean_cap, f = (
        row_mean(x, bench.weights).value for x in (a, opt, cap, reference)
    )
    floor = max(f, min(mean_cap, mean_opt))
    whole, closed = mean_a - floor, mean_a - mean_opt
    if whole <= 0 or closed <= 0:
        return Split(0.0, 0.0)
    share = min(1.0, closed / whole)
    lowest = reference if floor == f else cap if mean_cap <= mean_opt else opt
    # Delta method for a ratio of means on the same rows.
    residual = (a - opt) - closed / whole * (a - lowest)
    error = row_mean(residual, bench.weights, bench.clusters(bench.train)).stderr
    return Split(share, error / whole if share < 1 else 0.0)
