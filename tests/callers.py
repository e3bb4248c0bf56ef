"""scikit-learn's own users of estimators, as a table of named cases on small real tables.

A case runs with any nets (``Nets``), so that the same table serves to compare two ways of training,
and says which of its fits do not wait for one another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy.sparse import csr_array
from scipy.stats import loguniform, uniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
from sklearn.feature_selection import (
    RFECV,
    SelectFromModel,
    SelectKBest,
    SequentialFeatureSelector,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.inspection import (
    DecisionBoundaryDisplay,
    PartialDependenceDisplay,
    partial_dependence,
    permutation_importance,
)
from sklearn.linear_model import LogisticRegression, RANSACRegressor, Ridge
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
    fbeta_score,
    get_scorer,
    log_loss,
    make_scorer,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    LearningCurveDisplay,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    TimeSeriesSplit,
    TunedThresholdClassifierCV,
    ValidationCurveDisplay,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import shuffle

from sklearn_dl import PLAIN, DLClassifier, DLRegressor

Results = dict[str, np.ndarray]

#: Ten epochs of a net of sixteen units: milliseconds a fit, well above chance on every table here.
SMALL = {
    **PLAIN,
    "hidden_layer_sizes": (16,),
    "learning_rate": 0.05,
    "schedule": "cosine",
    "batch_size": 16,
    "max_epochs": 10,
    "random_state": 0,
}


@dataclass(frozen=True)
class Nets:
    """Makes the estimators of a case; ``common`` goes into each of them."""

    common: Mapping[str, Any] = field(default_factory=dict)

    def classifier(self, **params: Any) -> DLClassifier:
        return DLClassifier(**{**SMALL, **self.common, **params})

    def regressor(self, **params: Any) -> DLRegressor:
        return DLRegressor(**{**SMALL, **self.common, **params})


@dataclass(frozen=True)
class Caller:
    """A user of estimators.

    Attributes
    ----------
    name : str
    run : callable
        ``run(nets) -> results``, the same for the same nets.
    stacks : tuple of int
        Sizes of the groups of its fits that are alike (architecture, loss, kind of optimizer, batch
        size) and do not wait for one another, so that each can train as one: (12, 1) is twelve,
        then one. A fit that goes on from weights is alone. Groups that do not wait for one another
        have no order.
    floors : mapping of str to float
        Results whose mean is above a floor, itself above chance.
    """

    name: str
    run: Callable[[Nets], Results]
    stacks: tuple[int, ...]
    floors: Mapping[str, float]

    def __str__(self) -> str:
        return self.name


CALLERS: list[Caller] = []


def caller(*stacks: int, **floors: float) -> Callable[[Callable[[Nets], Results]], Any]:
    def register(run: Callable[[Nets], Results]) -> Callable[[Nets], Results]:
        CALLERS.append(Caller(run.__name__, run, stacks, floors))
        return run

    return register


# ---- the tables ----

IRIS = shuffle(*load_iris(return_X_y=True), random_state=0, n_samples=90)
_IRIS_NAMES = np.array(["setosa", "versicolor", "virginica"])
#: Malignant or benign, from four of thirty columns.
TUMOURS = shuffle(
    load_breast_cancer().data[:, [0, 1, 4, 6]],
    load_breast_cancer().target,
    random_state=0,
    n_samples=120,
)
DIABETES = shuffle(*load_diabetes(return_X_y=True), random_state=0, n_samples=150)
#: Width and length of a petal, from the two measures of the sepal.
PETALS = (IRIS[0][:, :2], IRIS[0][:, 2:])
#: Three labels a flower: not setosa, a wide petal, a long sepal.
LABELS = np.column_stack([IRIS[1] > 0, IRIS[0][:, 3] > 1.5, IRIS[0][:, 0] > 5.8]).astype(int)


def _raw_table(n_rows: int = 120) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """A data frame as it comes: categories, strings, dates, flags, missing values of every kind."""
    random = np.random.RandomState(0)
    names = [f"row {i}" for i in range(n_rows)]
    size = random.lognormal(3, 1, n_rows)
    town = random.choice(["Bern", "Basel", "Genf"], n_rows)
    value = np.log(size) + 1.5 * (town == "Bern") + 0.3 * random.normal(size=n_rows)
    X = pd.DataFrame(
        {
            "size": np.where(random.uniform(size=n_rows) < 0.1, np.nan, size),
            "town": pd.Series(town, names, "category").where(random.uniform(size=n_rows) > 0.1),
            "note": random.choice(["a", "b", None], n_rows).astype(object),
            "rooms": pd.Series(random.randint(1, 6, n_rows), names, "Int64").mask(size < 5),
            "sold": size > 20,
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(random.randint(0, 900, n_rows), "D"),
        },
        index=names,
    )
    dear = np.where(value > np.median(value), "dear", "cheap")
    return (
        X,
        pd.Series(dear, X.index, name="price"),
        pd.Series(np.exp(value), X.index, name="value"),
    )


RAW, RAW_CLASS, RAW_VALUE = _raw_table()


# ---- model selection ----


@caller(3, scores=0.85)
def cross_val_score_of_classifier(nets: Nets) -> Results:
    return {"scores": cross_val_score(nets.classifier(), *IRIS, cv=3)}


@caller(3, scores=0.2)
def cross_val_score_of_regressor(nets: Nets) -> Results:
    return {"scores": cross_val_score(nets.regressor(), *DIABETES, cv=3)}


@caller(3, scores=0.85)
def cross_val_score_of_string_labels(nets: Nets) -> Results:
    return {"scores": cross_val_score(nets.classifier(), IRIS[0], _IRIS_NAMES[IRIS[1]], cv=3)}


@caller(3, scores=0.85)
def cross_val_score_of_sparse_rows(nets: Nets) -> Results:
    return {"scores": cross_val_score(nets.classifier(), csr_array(IRIS[0]), IRIS[1], cv=3)}


@caller(3, scores=0.6)
def cross_val_score_of_several_labels(nets: Nets) -> Results:
    return {"scores": cross_val_score(nets.classifier(), IRIS[0], LABELS, cv=3)}


@caller(3, scores=0.5)
def cross_val_score_of_several_outputs(nets: Nets) -> Results:
    return {"scores": cross_val_score(nets.regressor(), *PETALS, cv=3)}


@caller(3, scores=0.65)
def cross_val_score_of_raw_frame_classes(nets: Nets) -> Results:
    net = nets.classifier(preprocessing="auto")
    return {"scores": cross_val_score(net, RAW, RAW_CLASS, cv=3)}


@caller(3, scores=0.25)
def cross_val_score_of_raw_frame_values(nets: Nets) -> Results:
    net = nets.regressor(preprocessing="auto")
    return {"scores": cross_val_score(net, RAW, RAW_VALUE, cv=3)}


@caller(3, test_roc_auc=0.85, test_f1_macro=0.8, test_accuracy=0.8, train_accuracy=0.85)
def cross_validate_with_many_metrics(nets: Nets) -> Results:
    metrics = [
        "accuracy",
        "roc_auc",
        "neg_log_loss",
        "f1_macro",
        "average_precision",
        "d2_brier_score",
    ]
    results = cross_validate(
        nets.classifier(), *TUMOURS, cv=3, scoring=metrics, return_train_score=True,
        return_estimator=True, return_indices=True,
    )  # fmt: skip
    scores = {k: v for k, v in results.items() if k.startswith(("test_", "train_"))}
    probability = [
        net.predict_proba(TUMOURS[0][rows])[:, 1]
        for net, rows in zip(results["estimator"], results["indices"]["test"], strict=True)
    ]
    return {
        **scores,
        "probability": np.stack(probability),
        "rows": np.stack(results["indices"]["test"]),
    }


@caller(3, test_r2=0.2)
def cross_validate_with_many_regression_metrics(nets: Nets) -> Results:
    metrics = ["r2", "neg_mean_absolute_error", "neg_root_mean_squared_error", "neg_max_error"]
    results = cross_validate(nets.regressor(), *DIABETES, cv=3, scoring=metrics)
    return {f"test_{name}": results[f"test_{name}"] for name in metrics}


@caller(3, test_fbeta=0.8)
def cross_validate_with_own_scorers(nets: Nets) -> Results:
    scoring = {
        "fbeta": make_scorer(fbeta_score, beta=2),
        "log_loss": make_scorer(log_loss, greater_is_better=False, response_method="predict_proba"),
        "least_margin": lambda net, X, y: np.abs(net.decision_function(X)).min(),
    }
    results = cross_validate(nets.classifier(), *TUMOURS, cv=3, scoring=scoring)
    return {f"test_{name}": results[f"test_{name}"] for name in scoring}


@caller(3, 3, 3, 3)
def cross_val_predict_by_every_method(nets: Nets) -> Results:
    methods = ["predict", "predict_proba", "predict_log_proba", "decision_function"]
    return {m: cross_val_predict(nets.classifier(), *IRIS, cv=3, method=m) for m in methods}


@caller(3)
def cross_val_predict_of_regressor(nets: Nets) -> Results:
    return {"predict": cross_val_predict(nets.regressor(), *DIABETES, cv=3)}


@caller(4, 3, 6, mean_of_groups=0.8, mean_of_repeats=0.8)
def cross_val_score_over_other_splitters(nets: Nets) -> Results:
    groups = np.arange(len(IRIS[1])) // 5
    repeats = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    net = nets.classifier()
    return {
        "mean_of_time": cross_val_score(nets.regressor(), *DIABETES, cv=TimeSeriesSplit(4)),
        "mean_of_groups": cross_val_score(net, *IRIS, groups=groups, cv=GroupKFold(3)),
        "mean_of_repeats": cross_val_score(net, *IRIS, cv=repeats),
    }


@caller(1, 1, 1, 5, 5, 5, score=0.85)
def permutation_test_score_of_classifier(nets: Nets) -> Results:
    score, permuted, p = permutation_test_score(
        nets.classifier(), *IRIS, cv=3, n_permutations=5, random_state=0
    )
    return {"score": np.array(score), "permuted": permuted, "p": np.array(p)}


# ---- searches ----

GRID = {
    "optimizer": ["sgd", "adam"],
    "schedule": [None, "one_cycle"],
    "batch_size": [8, 32],
    "loss": ["cross_entropy", "mse"],
    "hidden_layer_sizes": [(), (16,)],
}


def _searched(search: Any, X: Any, y: Any, **fit_params: Any) -> Results:
    search.fit(X, y, **fit_params)
    rows = X.iloc[:20] if hasattr(X, "iloc") else X[:20]
    return {
        **{k: v for k, v in search.cv_results_.items() if k.startswith("mean_test_")},
        "best_score": np.array(search.best_score_),
        "best_index": np.array(search.best_index_),
        "predict": np.asarray(search.predict(rows)),
        "n_epochs": np.array(getattr(search.best_estimator_, "n_iter_", 0)),
    }


@caller(*[4] * 16, 1, best_score=0.85)
def grid_search(nets: Nets) -> Results:
    return _searched(GridSearchCV(nets.classifier(), GRID, cv=2, error_score="raise"), *IRIS)


@caller(3, 3, 3, 3, 1, best_score=0.2)
def grid_search_of_regression_losses(nets: Nets) -> Results:
    grid = {"loss": ["mse", "mae", "huber", "pinball"]}
    return _searched(GridSearchCV(nets.regressor(), grid, cv=3), *DIABETES)


@caller(12, 1, best_score=0.85)
def grid_search_with_several_metrics(nets: Nets) -> Results:
    grid = {"weight_decay": [0.0, 0.1], "dropout": [0.0, 0.3]}
    metrics = ["neg_log_loss", "accuracy"]
    return _searched(
        GridSearchCV(nets.classifier(), grid, scoring=metrics, refit="accuracy", cv=3), *IRIS
    )


@caller(2, 2, 2, 2, 1, best_score=0.85)
def grid_search_through_pipeline(nets: Nets) -> Results:
    pipeline = make_pipeline(StandardScaler(), PCA(), nets.classifier())
    grid = {"pca__n_components": [2, 4], "dlclassifier__activation": ["relu", "tanh"]}
    return _searched(GridSearchCV(pipeline, grid, cv=2), *IRIS)


@caller(15, 1, best_score=0.85)
def randomized_search(nets: Nets) -> Results:
    space = {"learning_rate": loguniform(0.003, 0.3), "dropout": uniform(0, 0.5)}
    return _searched(
        RandomizedSearchCV(nets.classifier(), space, n_iter=5, cv=3, random_state=0), *IRIS
    )


@caller(12, 6, 3, 1, best_score=0.8)
def halving_grid_search_over_epochs(nets: Nets) -> Results:
    search = HalvingGridSearchCV(
        nets.classifier(), {"learning_rate": [0.0003, 0.01, 0.03, 0.1]}, cv=3, factor=2,
        resource="max_epochs", min_resources=3, max_resources=12, random_state=0,
    )  # fmt: skip
    return {**_searched(search, *IRIS), "n_resources": np.array(search.n_resources_)}


@caller(12, 4, 1, best_score=0.8)
def halving_random_search_over_rows(nets: Nets) -> Results:
    search = HalvingRandomSearchCV(
        nets.classifier(), {"learning_rate": loguniform(0.01, 0.1)}, n_candidates=6, cv=2, factor=3,
        min_resources=30, random_state=0,
    )  # fmt: skip
    return {**_searched(search, *IRIS), "n_resources": np.array(search.n_resources_)}


# ---- curves ----


@caller(9, test=0.7)
def learning_curve_of_classifier(nets: Nets) -> Results:
    sizes, train, test = learning_curve(
        nets.classifier(), *IRIS, cv=3, train_sizes=[0.3, 0.6, 1.0], shuffle=True, random_state=0
    )
    return {"sizes": sizes, "train": train, "test": test}


@caller(3, *[1] * 9, test=0.5)
def learning_curve_by_partial_fit(nets: Nets) -> Results:
    sizes, train, test = learning_curve(
        nets.classifier(batch_size=4, learning_rate=0.1), *IRIS, cv=3, train_sizes=[15, 30, 45, 60],
        exploit_incremental_learning=True,
    )  # fmt: skip
    return {"sizes": sizes, "train": train, "test": test}


@caller(9)
def validation_curve_of_learning_rate(nets: Nets) -> Results:
    rates = [1e-5, 0.003, 0.03]
    train, test = validation_curve(
        nets.classifier(), *IRIS, param_name="learning_rate", param_range=rates, cv=3
    )
    return {"train": train, "test": test}


@caller(6, test=0.8)
def learning_curve_display(nets: Nets) -> Results:
    display = LearningCurveDisplay.from_estimator(
        nets.classifier(), *IRIS, cv=3, train_sizes=[0.5, 1.0]
    )
    drawn = [line.get_ydata() for line in display.ax_.get_lines()]
    return {"train": display.train_scores, "test": display.test_scores, "drawn": np.array(drawn)}


@caller(6)
def validation_curve_display(nets: Nets) -> Results:
    display = ValidationCurveDisplay.from_estimator(
        nets.regressor(), *DIABETES, param_name="weight_decay", param_range=[0.0, 1.0], cv=3
    )
    drawn = [line.get_ydata() for line in display.ax_.get_lines()]
    return {"train": display.train_scores, "test": display.test_scores, "drawn": np.array(drawn)}


# ---- calibration and thresholds ----


@caller(1, 3, 3, 3, 3, 1, temperature=0.75, sigmoid=0.75, isotonic=0.8, one_net=0.8, frozen=0.75)
def calibration(nets: Nets) -> Results:
    X, y = IRIS
    fitted = nets.classifier().fit(X[:45], y[:45])
    cases = {
        "sigmoid": CalibratedClassifierCV(nets.classifier(), method="sigmoid", cv=3),
        "isotonic": CalibratedClassifierCV(nets.classifier(), method="isotonic", cv=3),
        "temperature": CalibratedClassifierCV(nets.classifier(), method="temperature", cv=3),
        "one_net": CalibratedClassifierCV(nets.classifier(), cv=3, ensemble=False),
        "frozen": CalibratedClassifierCV(FrozenEstimator(fitted), cv=3),
    }
    fits = {k: model.fit(X[45:], y[45:]) for k, model in cases.items()}
    scores = {k: np.array(model.score(X[:45], y[:45])) for k, model in fits.items()}
    return {**scores, **{f"{k}_proba": model.predict_proba(X) for k, model in fits.items()}}


@caller(1, 3, 1, tuned=0.8)
def decision_thresholds(nets: Nets) -> Results:
    X, y = TUMOURS
    tuned = TunedThresholdClassifierCV(
        nets.classifier(), scoring="balanced_accuracy", cv=3, thresholds=20, store_cv_results=True
    ).fit(X, y)
    fixed = FixedThresholdClassifier(nets.classifier(), threshold=0.9).fit(X, y)
    return {
        "tuned": np.array(tuned.score(X, y)),
        "threshold": np.array(tuned.best_threshold_),
        "curve": tuned.cv_results_["scores"],
        "fixed": fixed.predict(X),
        "fixed_proba": fixed.predict_proba(X),
    }


# ---- ensembles ----


@caller(2, soft=0.85, hard=0.85)
def voting(nets: Nets) -> Results:
    members = [("a", nets.classifier()), ("b", nets.classifier(random_state=1))]
    linear = ("c", make_pipeline(StandardScaler(), LogisticRegression()))
    vote = VotingClassifier([*members, linear], voting="soft").fit(*IRIS)
    proba, soft = vote.predict_proba(IRIS[0]), vote.score(*IRIS)
    vote.set_params(voting="hard")
    return {"proba": proba, "soft": np.array(soft), "hard": np.array(vote.score(*IRIS))}


@caller(2, score=0.3)
def voting_of_regressors(nets: Nets) -> Results:
    members = [("a", nets.regressor()), ("b", nets.regressor(random_state=1)), ("c", Ridge())]
    vote = VotingRegressor(members).fit(*DIABETES)
    return {"predict": vote.predict(DIABETES[0]), "score": np.array(vote.score(*DIABETES))}


@caller(1, 1, 3, 3, score=0.85)
def stacking(nets: Nets) -> Results:
    members = [("a", nets.classifier()), ("b", nets.classifier(activation="tanh"))]
    stack = StackingClassifier(members, LogisticRegression(), cv=3).fit(*IRIS)
    return {"score": np.array(stack.score(*IRIS)), "transform": stack.transform(IRIS[0])}


@caller(1, 3, 1, score=0.3)
def stacking_of_regressors(nets: Nets) -> Results:
    members = [("net", nets.regressor()), ("ridge", Ridge())]
    stack = StackingRegressor(members, nets.regressor(), cv=3).fit(*DIABETES)
    return {"score": np.array(stack.score(*DIABETES)), "transform": stack.transform(DIABETES[0])}


@caller(12, score=0.85, out_of_bag=0.7)
def bagging(nets: Nets) -> Results:
    bag = BaggingClassifier(
        nets.classifier(), n_estimators=12, max_features=3, oob_score=True, random_state=0
    ).fit(*IRIS)
    proba = bag.predict_proba(IRIS[0])
    score, out_of_bag = np.array(bag.score(*IRIS)), np.array(bag.oob_score_)
    return {"proba": proba, "score": score, "out_of_bag": out_of_bag}


@caller(4, score=0.3)
def bagging_of_regressors(nets: Nets) -> Results:
    bag = BaggingRegressor(nets.regressor(), n_estimators=4, max_samples=0.8, random_state=0)
    bag.fit(*DIABETES)
    return {"predict": bag.predict(DIABETES[0]), "score": np.array(bag.score(*DIABETES))}


@caller(1, 1, 1, score=0.75)
def adaboost(nets: Nets) -> Results:
    boost = AdaBoostClassifier(nets.classifier(max_epochs=3), n_estimators=3, random_state=0)
    boost.fit(*IRIS)
    return {
        "score": np.array(boost.score(*IRIS)),
        "errors": boost.estimator_errors_,
        "proba": boost.predict_proba(IRIS[0]),
    }


@caller(1, 1, 1, score=0.3)
def adaboost_of_regressors(nets: Nets) -> Results:
    boost = AdaBoostRegressor(nets.regressor(), n_estimators=3, random_state=0).fit(*DIABETES)
    return {"score": np.array(boost.score(*DIABETES)), "predict": boost.predict(DIABETES[0])}


# ---- several classes, labels and outputs ----


@caller(3, 3, 6, rest=0.8, one=0.8, code=0.7)
def one_against_others(nets: Nets) -> Results:
    rest = OneVsRestClassifier(nets.classifier()).fit(*IRIS)
    one = OneVsOneClassifier(nets.classifier()).fit(*IRIS)
    code = OutputCodeClassifier(nets.classifier(), code_size=2, random_state=3).fit(*IRIS)
    return {
        "rest": np.array(rest.score(*IRIS)),
        "rest_proba": rest.predict_proba(IRIS[0]),
        "one": np.array(one.score(*IRIS)),
        "one_decision": one.decision_function(IRIS[0]),
        "code": np.array(code.score(*IRIS)),
    }


@caller(3, labels=0.8)
def one_against_rest_of_labels(nets: Nets) -> Results:
    rest = OneVsRestClassifier(nets.classifier()).fit(IRIS[0], LABELS)
    right = (rest.predict(IRIS[0]) == LABELS).mean(axis=0)
    return {"labels": right, "proba": rest.predict_proba(IRIS[0])}


@caller(1, 1, 1, 1, 3, 1, 3, 1, plain=0.6, crossed=0.6)
def classifier_chain(nets: Nets) -> Results:
    chain = ClassifierChain(nets.classifier()).fit(IRIS[0], LABELS)
    crossed = ClassifierChain(nets.classifier(), cv=3).fit(IRIS[0], LABELS)
    return {
        "plain": np.array(chain.score(IRIS[0], LABELS)),
        "proba": chain.predict_proba(IRIS[0]),
        "crossed": np.array(crossed.score(IRIS[0], LABELS)),
    }


@caller(1, 1, score=0.5)
def regressor_chain(nets: Nets) -> Results:
    chain = RegressorChain(nets.regressor(), order=[1, 0]).fit(*PETALS)
    return {"score": np.array(chain.score(*PETALS)), "predict": chain.predict(PETALS[0])}


@caller(1, 1, 2, classes=0.6, values=0.5)
def one_net_an_output(nets: Nets) -> Results:
    y = np.column_stack([IRIS[1], _IRIS_NAMES[IRIS[1]][::-1]]).astype(object)
    y[:, 1] = np.where(IRIS[0][:, 3] > 1.5, "wide", "narrow")
    classes = MultiOutputClassifier(nets.classifier()).fit(IRIS[0], y.astype(str))
    values = MultiOutputRegressor(nets.regressor()).fit(*PETALS)
    return {
        "classes": np.array(classes.score(IRIS[0], y.astype(str))),
        "proba": np.hstack(classes.predict_proba(IRIS[0])),
        "values": np.array(values.score(*PETALS)),
        "predict": values.predict(PETALS[0]),
    }


@caller(1, 1, 1, score=0.85)
def self_training(nets: Nets) -> Results:
    y = IRIS[1].copy()
    y[30:] = -1
    model = SelfTrainingClassifier(nets.classifier(), threshold=0.8, max_iter=2).fit(IRIS[0], y)
    return {
        "score": np.array(model.score(*IRIS)),
        "labelled_at": model.labeled_iter_,
        "labels": model.transduction_,
    }


# ---- inspection ----


@caller(1)
def importance_and_dependence(nets: Nets) -> Results:
    X, y = DIABETES
    net = nets.regressor().fit(X, y)
    importance = permutation_importance(net, X, y, n_repeats=3, random_state=0)
    dependence = partial_dependence(net, X, features=[2], grid_resolution=5, kind="both")
    return {
        "importance": importance.importances_mean,
        "grid": dependence["grid_values"][0],
        "average": dependence["average"],
        "individual": dependence["individual"],
    }


@caller(1, 1, 1)
def displays_of_fitted_nets(nets: Nets) -> Results:
    X, y = IRIS
    net, flat = nets.classifier().fit(X, y), nets.classifier().fit(X[:, 2:], y)
    regressor = nets.regressor().fit(*DIABETES)
    dependence = PartialDependenceDisplay.from_estimator(
        net, X, features=[2, (2, 3)], target=1, grid_resolution=4
    )
    boundary = DecisionBoundaryDisplay.from_estimator(flat, X[:, 2:], grid_resolution=10)
    confusion = ConfusionMatrixDisplay.from_estimator(net, X, y)
    errors = PredictionErrorDisplay.from_estimator(regressor, *DIABETES, subsample=None)
    return {
        "grid": dependence.pd_results[0]["grid_values"][0],
        "dependence": dependence.pd_results[0]["average"],
        "dependence_of_two": dependence.pd_results[1]["average"],
        "boundary": np.asarray(boundary.response),
        "confusion": confusion.confusion_matrix,
        "errors": errors.y_pred,
    }


@caller(3, 1, auc=0.85)
def displays_of_probabilities(nets: Nets) -> Results:
    X, y = TUMOURS
    folds = cross_validate(
        nets.classifier(), X, y, cv=3, return_estimator=True, return_indices=True
    )
    roc = RocCurveDisplay.from_cv_results(folds, X, y)
    calibration = CalibrationDisplay.from_estimator(nets.classifier().fit(X, y), X, y, n_bins=4)
    return {"auc": np.array(roc.roc_auc), "true": calibration.prob_true, "said": calibration.y_prob}


# ---- feature selection and imputation ----


@caller(*[3] * 7)
def sequential_feature_selector(nets: Nets) -> Results:
    # two of four columns: four candidates, then three, each scored by three folds
    selector = SequentialFeatureSelector(nets.classifier(), n_features_to_select=2, cv=3)
    return {"selected": selector.fit(*IRIS).get_support()}


def input_weight(net: Any) -> np.ndarray:
    """Sum of the absolute first-layer weights of each standardised input, (n_features,)."""
    return np.abs(next(net.module_.parameters()).detach().numpy()).sum(axis=0)


@caller(3, 3, 1, 1, 1, 1, selected=0.85)
def elimination_by_input_weight(nets: Nets) -> Results:
    noise = np.random.RandomState(0).normal(size=(len(IRIS[1]), 2))
    X = np.hstack([IRIS[0], noise])
    net = nets.classifier(max_epochs=20)
    search = RFECV(net, cv=3, step=2, importance_getter=input_weight, min_features_to_select=4)
    search.fit(X, IRIS[1])
    select = SelectFromModel(net, importance_getter=input_weight, threshold=-np.inf, max_features=2)
    return {
        "curve": search.cv_results_["mean_test_score"],
        "support": search.support_,
        "selected": np.array(search.score(X, IRIS[1])),
        "largest": select.fit(X, IRIS[1]).get_support(),
    }


@caller(*[1] * 4)
def iterative_imputer(nets: Nets) -> Results:
    X = IRIS[0].copy()
    gone = np.random.RandomState(0).uniform(size=X.shape) < 0.1
    X[gone] = np.nan
    imputer = IterativeImputer(nets.regressor(), max_iter=1, tol=1.0, random_state=0)
    return {"filled": imputer.fit_transform(X)[gone], "truth": IRIS[0][gone]}


@caller(*[1] * 4, score=0.3)
def ransac(nets: Nets) -> Results:
    X, y = PETALS[0], PETALS[1][:, 0].copy()
    y[::10] += 30
    model = RANSACRegressor(
        nets.regressor(), min_samples=0.5, residual_threshold=3, max_trials=3, random_state=0
    ).fit(X, y)
    return {"inliers": model.inlier_mask_, "score": np.array(model.score(X, PETALS[1][:, 0]))}


# ---- pipelines ----


@caller(3, 3, scores=0.85, union=0.85)
def pipelines_of_numbers(nets: Nets) -> Results:
    plain = make_pipeline(StandardScaler(), PCA(2), nets.classifier(preprocessing=None))
    both = FeatureUnion([("pca", PCA(2)), ("best", SelectKBest(k=2))])
    union = make_pipeline(both, nets.classifier()).set_output(transform="pandas")
    return {
        "scores": cross_val_score(plain, *IRIS, cv=3),
        "union": cross_val_score(union, pd.DataFrame(IRIS[0], columns=list("abcd")), IRIS[1], cv=3),
    }


@caller(1, 3, 3, encoded=0.7, passed=0.65)
def pipelines_of_raw_frames(nets: Nets) -> Results:
    numbers = make_column_selector(dtype_include=["number"])
    encoded = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size"]),
            ("towns", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["town"]),
        ],
    ).set_output(transform="pandas")
    passed = ColumnTransformer(
        [("log", FunctionTransformer(np.log), ["size"]), ("same", "passthrough", numbers)],
        remainder="passthrough",
    ).set_output(transform="pandas")
    net = nets.classifier(preprocessing="auto")
    whole = make_pipeline(passed, net).fit(RAW, RAW_CLASS)
    return {
        "encoded": cross_val_score(make_pipeline(encoded, net), RAW, RAW_CLASS, cv=3),
        "passed": cross_val_score(make_pipeline(passed, net), RAW, RAW_CLASS, cv=3),
        "n_features": np.array(whole[-1].n_features_in_),
        "n_named": np.array(len(whole[-1].feature_names_in_)),
    }


@caller(3, 1, scores=0.2)
def transformed_target(nets: Nets) -> Results:
    net = nets.regressor(preprocessing="auto")
    model = TransformedTargetRegressor(net, func=np.log, inverse_func=np.exp)
    scores = cross_val_score(model, RAW, RAW_VALUE, cv=3)
    return {"scores": scores, "predict": model.fit(RAW, RAW_VALUE).predict(RAW)}


# ---- metadata routing ----

#: Every second row counts nothing, the rows of the last class five times.
IRIS_WEIGHT = np.where(np.arange(len(IRIS[1])) % 2, 1.0, 0.0) * np.where(IRIS[1] == 2, 5.0, 1.0)


@caller(3, 3, 6, 1, scored=0.8, pipeline=0.8, best_score=0.8)
def metadata_routing(nets: Nets) -> Results:
    weight = {"sample_weight": IRIS_WEIGHT}
    with sklearn.config_context(enable_metadata_routing=True):
        net = nets.classifier().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, net)
        grid = {"dlclassifier__dropout": [0.0, 0.2]}
        accuracy = get_scorer("accuracy").set_score_request(sample_weight=False)
        search = GridSearchCV(pipeline, grid, cv=3, scoring=accuracy)
        unweighted = cross_validate(pipeline, *IRIS, cv=3, scoring=accuracy, params=weight)
        net = clone(net).set_score_request(sample_weight=True)
        weighted = cross_validate(net, *IRIS, cv=3, params=weight)
        searched = _searched(search, *IRIS, **weight)
    return {"scored": weighted["test_score"], "pipeline": unweighted["test_score"], **searched}


@caller(3, 3, 2, bagged=0.8)
def metadata_routing_through_ensembles(nets: Nets) -> Results:
    weight = {"sample_weight": IRIS_WEIGHT}
    with sklearn.config_context(enable_metadata_routing=True):
        net = nets.classifier().set_fit_request(sample_weight=True)
        net.set_score_request(sample_weight=True)
        bag = BaggingClassifier(net, n_estimators=3, random_state=0).fit(*IRIS, **weight)
        rest = OneVsRestClassifier(net).fit(*IRIS, **weight)
        vote = VotingClassifier([("a", net), ("b", net)], voting="soft").fit(*IRIS, **weight)
        return {
            "bagged": (bag.predict(IRIS[0]) == IRIS[1]).mean(keepdims=True),
            "rest_proba": rest.predict_proba(IRIS[0]),
            "vote_proba": vote.predict_proba(IRIS[0]),
        }
