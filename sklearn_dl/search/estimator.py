"""`DiagnosisSearchCV`: a search whose next candidates are what the diagnosis asks for."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval

from sklearn_dl.batching import batched_fits
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.search.history import History
from sklearn_dl.search.proposing import Proposer
from sklearn_dl.search.references import n_references, prior_scores, reference_scores
from sklearn_dl.search.space import Space, checked_space, network_in, param_space

__all__ = ["DiagnosisSearchCV"]

#: Settings trained together before the next are proposed: enough for a stack of their folds, few
#: enough for five rounds of 25. The first is smaller: it knows nothing of the table yet.
FIRST_ROUND, ROUND = 4, 5


class DiagnosisSearchCV(BaseSearchCV):
    """Search over hyperparameters that lets the diagnosis of the best so far propose the next.

    The first round is the estimator as it is, and settings that would be best on some plausible
    tables: where labels are noisy a network should learn less. After each round the best candidate
    is diagnosed from what the search knows already: its training and held-out scores by fold, those
    of the other candidates, and a few reference models. Most of the next round is what the
    causes ask for, shared out by their probabilities: steps from the best candidates, which get
    smaller where a round brought nothing (Hooke and Jeeves 1961). The rest is drawn from the whole
    space. Of many such proposals those are trained that a Gaussian process through the scores so
    far holds to be promising; it begins with what hyperparameters were worth on other tables
    (Perrone et al. 2018). All fits of a round train together, see `batched_fits`.

    Parameters
    ----------
    estimator : estimator
        A DLClassifier or DLRegressor, a Pipeline or TransformedTargetRegressor around one.
    param_distributions : dict or None, default=None
        Lists of values and scipy.stats distributions by parameter name, as for
        RandomizedSearchCV. What the causes ask for stays within them; parameters that no cause
        knows, such as those of a pipeline's other steps, are redrawn now and then. None:
        `param_space` of the estimator.
    n_candidates : int or None, default=25
        Budget in settings, each fitted on every fold. References count as settings: one for every
        ten, at most two. None: no limit but ``max_seconds``.
    max_seconds : float or None, default=None
        Begin no round that would last longer, going by those before; the first round is always
        run. Results then depend on the machine's speed.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score
        As in scikit-learn's RandomizedSearchCV. ``n_jobs=1`` trains one fit after another. Of
        several metrics the one to refit by is diagnosed, the first if there is none. Any splitter
        is asked once, so all candidates meet the same folds.
    random_state : int, RandomState or None, default=None
        Of the proposals and the references. With an int, an estimator with an int, and a budget in
        settings, the search repeats.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the candidates of the last one, of an interrupted one too
        (those of its whole rounds). Rows, folds, estimator, scoring and the names in
        ``param_distributions`` must be the same; raise ``n_candidates``. Where nothing is left to
        try, the last candidate is evaluated once more, and the best is refitted.

    Attributes
    ----------
    cv_results_ : dict of str to array
        As in scikit-learn, with training scores, and with ``round`` (counted from 0) and ``cause``:
        what each candidate was proposed for.
    best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_
        As in scikit-learn.
    rounds_ : pandas.DataFrame
        A row a round: ``candidates``, ``best_score`` after it, and the shares of ``model_bias``,
        ``optimization`` and ``overfitting`` in what was proposed for it (NaN in the first).
    references_ : dict of str to ndarray of shape (n_splits_,)
        Held-out scores of the prior and the reference models; without ``sample_weight``. Where
        the metric cannot judge them, NaN for the prior and nothing for the others.
    n_fits_ : int
        Fits spent, those of references included; the refit and the prior are not counted.

    Raises
    ------
    TypeError
        In ``fit``, if the estimator holds no network of this package.
    ValueError
        In ``fit``, for names that are no parameters, or where under ``warm_start`` candidates
        would be compared that were judged by other rows, folds or metrics.

    References
    ----------
    Hooke and Jeeves (1961), Direct search solution of numerical and statistical problems.
    Perrone, Jenatton, Seeger and Archambeau (2018), Scalable hyperparameter transfer learning.
    Snoek, Larochelle and Adams (2012), Practical Bayesian optimization of machine learning
    algorithms.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dl import DLClassifier
    >>> from sklearn_dl.search import DiagnosisSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> net = DLClassifier(module="mlp", hidden_layer_sizes=(8,), max_epochs=3, random_state=0)
    >>> search = DiagnosisSearchCV(net, n_candidates=8, cv=3, random_state=0).fit(X, y)
    >>> len(search.cv_results_["params"]), search.n_fits_
    (8, 24)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSearchCV._parameter_constraints,
        "param_distributions": [dict, None],
        "n_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
    }
    _parameter_constraints.pop("return_train_score")

    def __init__(
        self,
        estimator: Any,
        param_distributions: Space | None = None,
        *,
        n_candidates: int | None = 25,
        max_seconds: float | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        warm_start: bool = False,
    ) -> None:
        super().__init__(
            estimator=estimator, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv,
            verbose=verbose, pre_dispatch=pre_dispatch, error_score=error_score,
            return_train_score=True,
        )  # fmt: skip
        self.param_distributions = param_distributions
        self.n_candidates = n_candidates
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and refit the best candidate on all rows.

        Parameters
        ----------
        X, y : array-like
            Rows as the estimator takes them.
        **params
            ``sample_weight``, ``groups`` and what else the estimator's fit, the splitter and the
            scorer take, as in scikit-learn's searches.
        """
        self._validate_params()
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        if self.n_candidates is None and self.max_seconds is None:
            raise ValueError(
                "n_candidates and max_seconds are both None: the search would never end. Set one."
            )
        self._fit_params = params
        if not (self.warm_start and hasattr(self, "_history")):
            weighted = params.get("sample_weight") is not None
            self._history = History.new(
                self.random_state, 0 if weighted else n_references(self.n_candidates)
            )
        n_before = len(self._history.params)
        try:
            with batched_fits():
                super().fit(X, y, **params)
        finally:  # neither rows nor folds are to be stored with the search
            for name in ("_fit_params", "_rows", "_checked_cv_orig"):
                self.__dict__.pop(name, None)
        if len(self._history.params) == n_before:
            warnings.warn(
                f"warm_start: nothing new was tried, since the {self._history.n_settings} settings "
                f"of n_candidates={self.n_candidates} are evaluated already, or all that "
                "param_distributions holds. Raise n_candidates, or widen it, to go on.",
                UserWarning,
                stacklevel=2,
            )
        return self

    def __sklearn_tags__(self) -> Any:
        """Takes what the estimator takes: missing values, text, several targets."""
        tags, own = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags, tags.target_tags = deepcopy(own.input_tags), deepcopy(own.target_tags)
        return tags

    def _left(self) -> float:
        """Settings that the budget still has."""
        spent = self._history.n_settings
        return math.inf if self.n_candidates is None else self.n_candidates - spent

    def _check_input_parameters(self, X: Any, y: Any, split_params: Any) -> None:
        """Ask the splitter once: all rounds meet the same folds."""
        splitter: Any = vars(self)["_checked_cv_orig"]
        splits = list(splitter.split(X, y, **split_params))
        self._checked_cv_orig = check_cv(splits)
        self._history.meet((X, y, self._fit_params), splits, self.scoring, self.estimator)
        self._rows = X, y, splits

    def _format_results(
        self, candidate_params: Any, n_splits: int, out: Any, more_results: Any = None
    ) -> dict[str, Any]:
        """All candidates, those of the fit before (``warm_start``) first."""
        params, out, more = self._history.extended(candidate_params, out, more_results)
        results: dict[str, Any] = super()._format_results(params, n_splits, out, more)
        return results

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any) -> None:
        """Rounds until the budget is spent or the space has nothing new."""
        history, clock = self._history, _Clock(self.max_seconds)
        subject = network_in(self.estimator, type(self).__name__)
        space = self.param_distributions
        space = param_space(subject.estimator) if space is None else checked_space(space, subject)
        history.check_names(space)
        if history.params and (
            history.references is None or history.metric != history.choose_metric(self.refit)
        ):
            self._compare(subject)
        proposer = Proposer(space, subject, history.seed)
        context = callback_ctx.subcontext(
            task_name="search", max_subtasks=None
        ).call_on_fit_task_begin(estimator=self)

        def evaluate(stack: list[dict[str, Any]], more: Mapping[str, list[Any]]) -> None:
            inner = context.subcontext(
                task_name="round", max_subtasks=len(stack) * self.n_splits_,
                sequential_subtasks=False,
            ).call_on_fit_task_begin(estimator=self)  # fmt: skip
            evaluate_candidates(stack, more_results=more, callback_ctx=inner)
            inner.call_on_fit_task_end(estimator=self)

        while size := clock.affordable(_size(self._left(), first=not history.params)):
            stack = proposer.propose(history, size)
            if not stack:
                break
            rounds, causes = [history.n_rounds] * len(stack), [p.cause for p in stack]
            evaluate([p.params for p in stack], {"round": rounds, "cause": causes})
            clock.spent(len(stack))
            if history.references is None:
                self._compare(subject)
            if self.verbose:
                print(history.line())
        if clock.n == 0:  # scikit-learn makes its results of at least one evaluation
            params, more = history.last()
            evaluate([params], more)
        context.call_on_fit_task_end(estimator=self)
        self.rounds_ = pd.DataFrame(history.rounds())
        self.references_ = dict(history.references or {})
        self.n_fits_ = self.n_splits_ * history.n_settings

    def _compare(self, subject: Subject) -> None:
        """The prior and the references on the same folds, in the same metric."""
        history, (X, y, splits), task = self._history, self._rows, subject.task
        metric = history.choose_metric(self.refit)
        if self.scoring is None and np.ndim(getattr(subject.core, "quantile", 0.0)) > 0:
            # several quantiles have a score of their own, in which nobody else can be judged
            history.references = {"prior": np.full(len(splits), np.nan)}
            return
        asked = (y, splits, self.scoring, metric)
        history.references = {
            "prior": prior_scores(task, *asked),
            **reference_scores(task, X, *asked, history.n_references, history.seed),
        }


def _size(left: float, *, first: bool) -> int:
    """Of the next round: rounds of about the same size, none of a single setting."""
    if first and left > ROUND + 1:
        return FIRST_ROUND
    if math.isinf(left):
        return ROUND
    return math.ceil(left / math.ceil(left / ROUND)) if left > 0 else 0


class _Clock:
    """Whether there is time for so many settings, going by those before."""

    def __init__(self, seconds: float | None) -> None:
        self.begun, self.seconds, self.n = time.monotonic(), seconds, 0

    def spent(self, n: int) -> None:
        """Count settings that were evaluated."""
        self.n += n

    def affordable(self, n: int) -> int:
        """``n``, or 0 where so many would take too long."""
        if self.seconds is None or self.n == 0:
            return n
        elapsed = time.monotonic() - self.begun
        return n if elapsed * (1 + n / self.n) <= self.seconds else 0
