"""Accuracy without tuning: our defaults beside the peers' on raw tables of many kinds.

Each table is a parquet file with a column ``target`` (categories: classes; numbers: regression) in
the folder ``--data``, or in ``--further``, which ``further_tables.py`` fills. Every peer meets the
same shuffled splits with its own defaults on one thread: the neural ones of scikit-learn and skorch
behind a pipeline that imputes, scales and one-hot encodes, the boosted trees and pytabkit's
networks on the frame. Results are appended to a cache, so an interrupted run goes on and peers are
not run twice: ``python benchmarks/tables.py --help``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import further_tables
import numpy as np
import pandas as pd
from scipy.stats import rankdata, studentized_range, wilcoxon
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

# The halves were named before anything was tuned. Every choice in the defaults was made on the
# first, and later on further_tables.DEVELOPED as well.
TUNED = (
    *("diabetes", "hitters", "biomass", "abalone", "california", "beijing_pm25", "kc_house"),
    *("breast_cancer", "pima", "sonar", "phoneme", "credit_g", "adult", "mlc_churn"),
    *("electricity", "mpls_stops", "compas"),
    *("wine", "glass", "digits", "marketing", "hpc_jobs", "page_blocks", "leaf_flavia"),
    "chile_vote",
)
UNTOUCHED = (
    *("blood_brain", "permeability", "wine_quality", "chicago_rides", "r_check_times"),
    *("inst_eval", "births"),
    *("alzheimer", "musk", "credit_data", "bank", "magic", "noaa_weather", "nass_crash"),
    *("tv16", "census_kdd", "flights"),
    *("iris", "movement_libras", "contraceptive", "dna_splice", "hypothyroid", "pendigits"),
    *("dry_bean", "mnist15k"),
)
#: Every table by what it may serve: choices were made on the tuned and, later, the developed ones.
GROUPS = {
    "tuned": TUNED,
    "untouched": UNTOUCHED,
    "developed": tuple(further_tables.DEVELOPED),
    "further": tuple(further_tables.UNTOUCHED),
}
#: pytabkit's networks are slow: a dozen small and middling tables of each half.
FEW = (
    *("diabetes", "hitters", "abalone", "california", "breast_cancer", "pima", "phoneme"),
    *("credit_g", "mlc_churn", "glass", "hpc_jobs", "chile_vote"),
    *("blood_brain", "wine_quality", "chicago_rides", "musk", "credit_data", "bank", "magic"),
    *("iris", "movement_libras", "contraceptive", "dna_splice", "hypothyroid"),
    *("airfare", "emails", "nmes_health", "rain", "slid_wages", "spam", "vietnam", "wilms"),
)
MAX_TEST_ROWS = 4000
#: (rows of the table up to, repeated splits): small test sets are noisy.
REPEATS = ((1000, 5), (3000, 3))
FEWEST_REPEATS = 2
#: Splits on which pytabkit's networks are run.
SLOW_REPEATS = 1
SMALLEST_PROBABILITY = 1e-7


def read(data: Path, table: str) -> tuple[pd.DataFrame, np.ndarray, bool]:
    """Features, target and whether it is classes."""
    frame = pd.read_parquet(data / f"{table}.parquet")
    target = frame.pop("target")
    classes = isinstance(target.dtype, pd.CategoricalDtype)
    return frame, np.asarray(target.cat.codes if classes else target), classes


def splits(n: int, cap: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Shuffled train and test rows; three quarters train, no more than ``cap``."""
    repeats = next((r for rows, r in REPEATS if n <= rows), FEWEST_REPEATS)
    for repeat in range(repeats):
        order = np.random.RandomState(repeat).permutation(n)
        n_train = min(cap, round(0.75 * n))
        yield order[:n_train], order[n_train:][:MAX_TEST_ROWS]


def _booleans_as_numbers(X: pd.DataFrame) -> pd.DataFrame:
    """Imputers take no booleans."""
    return X.astype(dict.fromkeys(X.select_dtypes(bool), np.uint8))


def piped(estimator: Any, *, classes: bool) -> Any:
    """Impute, scale, one-hot; standardise a numeric target."""
    encode = make_column_transformer(
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_column_selector(dtype_include="number"),
        ),
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent"),
                OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),
            ),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    pipeline = make_pipeline(FunctionTransformer(_booleans_as_numbers), encode, estimator)
    if classes:
        return pipeline
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def ours(classes: bool, seed: int) -> Any:
    from sklearn_dl import DLClassifier, DLRegressor

    return (DLClassifier if classes else DLRegressor)(random_state=seed)


def sklearn_mlp(classes: bool, seed: int) -> Any:
    return piped((MLPClassifier if classes else MLPRegressor)(random_state=seed), classes=classes)


def skorch_mlp(classes: bool, seed: int) -> Any:
    """Two hidden layers of 128, Adam, at most 200 epochs, patience 10, the best weights."""
    import torch
    from skorch import NeuralNetClassifier, NeuralNetRegressor
    from skorch.callbacks import EarlyStopping
    from torch import nn

    torch.manual_seed(seed)

    def build(n_in: int, n_out: int) -> nn.Module:
        hidden = (nn.Linear(n_in, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
        return nn.Sequential(*hidden, nn.Linear(128, n_out))

    class Net(NeuralNetClassifier if classes else NeuralNetRegressor):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            y = np.asarray(y, np.int64) if classes else np.asarray(y, np.float32).reshape(-1, 1)
            if classes:  # codes from 0 whatever classes the rows hold
                y = np.searchsorted(np.unique(y), y)
            n_out = int(y.max()) + 1 if classes else 1
            self.set_params(module__n_in=X.shape[1], module__n_out=n_out)
            return super().fit(X, y)

    net = Net(
        build,
        criterion=nn.CrossEntropyLoss if classes else nn.MSELoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=200,
        batch_size=128,
        iterator_train__shuffle=True,
        callbacks=[EarlyStopping(patience=10, load_best=True)],
        verbose=0,
    )
    single = FunctionTransformer(np.ndarray.astype, kw_args={"dtype": np.float32})
    return piped(make_pipeline(single, net), classes=classes)


class Trees:
    """Boosted trees on the frame; levels beyond what they take as ordered codes."""

    def __init__(self, model: Any, most_levels: int | None) -> None:
        self.model, self.most_levels = model, most_levels

    def _frame(self, X: pd.DataFrame) -> pd.DataFrame:
        if self.most_levels is None:
            return X
        return X.assign(
            **{
                name: column.cat.codes.where(column.notna())
                for name, column in X.items()
                if column.dtype == "category" and len(column.cat.categories) > self.most_levels
            }
        )

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Trees:
        self.model.fit(self._frame(X), y)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return self.model.predict(self._frame(X))

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        return self.model.predict_proba(self._frame(X))


def hist_boosting(classes: bool, seed: int) -> Any:
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return Trees(kind(random_state=seed), most_levels=254)


def lightgbm(classes: bool, seed: int) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMClassifier if classes else LGBMRegressor
    return Trees(kind(random_state=seed, n_jobs=1, verbose=-1), most_levels=None)


def pytabkit(name: str) -> Callable[[bool, int], Any]:
    def make(classes: bool, seed: int) -> Any:
        import pytabkit

        kind = getattr(pytabkit, f"{name}_{'Classifier' if classes else 'Regressor'}")
        return kind(device="cpu", n_threads=1, random_state=seed)

    return make


PEERS: dict[str, Callable[[bool, int], Any]] = {
    "ours": ours,
    "sklearn MLP": sklearn_mlp,
    "skorch MLP": skorch_mlp,
    "HistGB": hist_boosting,
    "LightGBM": lightgbm,
    "RealMLP_TD_S": pytabkit("RealMLP_TD_S"),
    "RealMLP_TD": pytabkit("RealMLP_TD"),
    "TabM_D": pytabkit("TabM_D"),
}
SLOW = ("RealMLP_TD_S", "RealMLP_TD", "TabM_D")
NEURAL = ("ours", "sklearn MLP", "skorch MLP", *SLOW)


def measure(
    model: Any, X: pd.DataFrame, y: np.ndarray, train: Any, test: Any, *, classes: bool
) -> dict[str, float]:
    """Loss (error or 1 - R2), log loss of classes, and CPU seconds of one fit and prediction."""
    A, B, z = X.iloc[train].reset_index(drop=True), X.iloc[test].reset_index(drop=True), y[test]
    start = time.process_time()
    model.fit(A, y[train])
    fitted = time.process_time()
    answer = model.predict_proba(B) if classes else model.predict(B)
    done = time.process_time()
    times = {"fit": fitted - start, "predict": done - fitted}
    if not classes:
        return {"loss": 1 - float(r2_score(z, np.ravel(answer))), **times}
    labels = np.unique(y[train])
    p = np.full((len(z), int(y.max()) + 1), SMALLEST_PROBABILITY)
    p[:, labels] = np.clip(np.asarray(answer, float), SMALLEST_PROBABILITY, 1)
    p /= p.sum(1, keepdims=True)
    error = float((p.argmax(1) != z).mean())
    return {"loss": error, "logloss": float(log_loss(z, p, labels=np.arange(p.shape[1]))), **times}


def run(peers: Iterable[str], tables: Iterable[str], args: argparse.Namespace) -> None:
    """Measure what the cache lacks, appending a line a fit."""
    known = set(
        zip(*(load(args.cache)[c] for c in ("peer", "table", "cap", "repeat")), strict=True)
    )
    for table in tables:
        further = table in (*GROUPS["developed"], *GROUPS["further"])
        X, y, classes = read(args.further if further else args.data, table)
        for peer in peers:
            most = SLOW_REPEATS if peer in SLOW else args.repeats
            for repeat, (train, test) in list(enumerate(splits(len(y), args.cap)))[:most]:
                if (peer, table, args.cap, repeat) in known:
                    continue
                record: dict[str, Any] = {
                    "peer": peer,
                    "table": table,
                    "cap": args.cap,
                    "repeat": repeat,
                    "classes": classes,
                    "rows": len(train),
                    "columns": X.shape[1],
                }
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        model = PEERS[peer](classes, repeat)
                        record |= measure(model, X, y, train, test, classes=classes)
                except Exception as error:  # noqa: BLE001 - a peer that fails ranks last
                    record["failed"] = f"{type(error).__name__}: {error}"[:200]
                with args.cache.open("a") as out:
                    out.write(json.dumps(record) + "\n")
                shown = {k: round(v, 4) for k, v in record.items() if isinstance(v, float)}
                print(f"{table:16s}{peer:14s}{repeat}  {record.get('failed', shown)}", flush=True)


def load(cache: Path) -> pd.DataFrame:
    """All records; a later one replaces an earlier one of the same fit."""
    columns = ["peer", "table", "cap", "repeat", "classes", "rows", "loss", "logloss", "fit"]
    lines = cache.read_text().splitlines() if cache.exists() else []
    frame = pd.DataFrame([json.loads(line) for line in lines])
    frame = frame.reindex(columns=list(dict.fromkeys([*columns, "predict", *frame.columns])))
    return frame.drop_duplicates(["peer", "table", "cap", "repeat"], keep="last")


def matrix(
    records: pd.DataFrame, value: str, tables: Iterable[str], *, with_slow: bool = False
) -> pd.DataFrame:
    """Mean over the splits, a row a table and a column a peer; a failure is infinite.

    ``with_slow``: over the splits alone that the slow peers have had.
    """
    some = records[records.table.isin(list(tables))]
    if with_slow:
        some = some[some.repeat < SLOW_REPEATS]
    else:
        some = some[~some.peer.isin(SLOW)]
    if value == "logloss":
        some = some[some.classes]
    some = some.assign(**{value: some[value].fillna(np.inf)})
    wide = some.pivot_table(index="table", columns="peer", values=value, aggfunc="mean")
    return wide[[peer for peer in PEERS if peer in wide]]


def mean_ranks(losses: pd.DataFrame) -> pd.Series:
    """Mean over tables of the rank of each peer, 1 the best, ties shared."""
    ranks = rankdata(losses.to_numpy(), axis=1)
    return pd.Series(ranks.mean(axis=0), losses.columns)


def critical_difference(n_peers: int, n_tables: int, alpha: float = 0.05) -> float:
    """Mean ranks closer than this are alike (Nemenyi 1963; Demsar 2006, eq. 6)."""
    q = studentized_range.ppf(1 - alpha, n_peers, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_peers * (n_peers + 1) / (6 * n_tables)))


def holm(p_values: pd.Series) -> pd.Series:
    """Adjusted for having asked so many times (Holm 1979)."""
    rising = p_values.sort_values()
    adjusted = (rising * np.arange(len(rising), 0, -1)).cummax().clip(upper=1)
    return adjusted.reindex(p_values.index)


def signed_rank(losses: pd.DataFrame, peer: str) -> float:
    """Wilcoxon's test of ours against a peer's over tables, on ratios of losses."""
    log_ratio = log_ratios(losses, peer)
    return float(wilcoxon(log_ratio).pvalue) if np.any(log_ratio) and len(losses) > 5 else np.nan


def log_ratios(losses: pd.DataFrame, peer: str) -> np.ndarray:
    """Logarithm of our loss over a peer's, at most 3 in size: a loss may be 0."""
    a, b = losses["ours"].to_numpy(), losses[peer].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a == b, 0.0, np.log(a / b).clip(-3, 3))


def versus(losses: pd.DataFrame, peer: str) -> str:
    """Wins, ties, defeats of ours, the ratio of losses, and a signed-rank test over tables."""
    both = losses[["ours", peer]].dropna()
    a, b = both["ours"].to_numpy(), both[peer].to_numpy()
    wins, defeats = int((a < b).sum()), int((a > b).sum())
    log_ratio, p = log_ratios(both, peer), signed_rank(both, peer)
    share = (wins + 0.5 * (len(a) - wins - defeats)) / len(a)
    ratio = np.exp(np.median(log_ratio))
    return (
        f"{wins:3d} wins {len(a) - wins - defeats:2d} ties {defeats:2d} defeats ({share:4.0%}), "
        f"loss x {ratio:.3f} (median), {np.exp(log_ratio.mean()):.3f} (mean), p = {p:.3f}"
    )


def report(records: pd.DataFrame, name: str, tables: tuple[str, ...]) -> None:
    """Ranks, wins and times of one group."""
    for value in ("loss", "logloss"):
        every = matrix(records, value, tables)
        beside_slow = matrix(records, value, tables, with_slow=True)
        networks = [peer for peer in beside_slow if peer in NEURAL]
        for part, wide in (
            ("all tables", every),
            ("tables and splits of the slow peers", beside_slow),
            ("tables and splits of the slow peers, networks only", beside_slow[networks]),
        ):
            whole = wide.dropna()
            lacks_slow = wide is not every and not set(wide) & set(SLOW)
            if len(whole) < 2 or len(wide.columns) < 2 or lacks_slow:
                continue
            ranks = mean_ranks(whole).sort_values()
            shown = ", ".join(f"{peer} {rank:.2f}" for peer, rank in ranks.items())
            near = critical_difference(len(ranks), len(whole))
            print(f"{name}, {value}, {part} ({len(whole)}): {shown}; CD {near:.2f}")
        for wide, peers in ((every, [p for p in every if p not in SLOW]), (beside_slow, SLOW)):
            others = [peer for peer in peers if peer in wide and peer != "ours"]
            if "ours" not in wide or not others:
                continue
            p_values = pd.Series({p: signed_rank(wide[["ours", p]].dropna(), p) for p in others})
            for peer, p in holm(p_values).items():
                print(f"    {value} against {peer:14s}{versus(wide, peer)}, Holm {p:.3f}")
    if {"RealMLP_TD", "TabM_D"} <= set(wide := matrix(records, "loss", tables, with_slow=True)):
        best = wide[["RealMLP_TD", "TabM_D"]].min(axis=1).dropna()
        score = ((1 - wide["ours"]) / (1 - best)).dropna()
        print(f"{name}: our score over the better of RealMLP_TD and TabM_D {score.median():.4f}")
    for kind in ("fit", "predict"):
        parts = [matrix(records, kind, tables, with_slow=slow) for slow in (False, True)]
        ratios, slow = (seconds.div(seconds["sklearn MLP"], axis=0) for seconds in parts)
        ratios = ratios.join(slow[[peer for peer in SLOW if peer in slow]])
        shown = ", ".join(f"{peer} {ratio:.2f}" for peer, ratio in ratios.median().items())
        most = f"; ours at most {ratios['ours'].max():.2f}" if "ours" in ratios else ""
        print(f"{name}: CPU time of {kind} over sklearn MLP's, median of tables: {shown}{most}")


def alike(ranks: pd.Series, near: float) -> list[tuple[float, float]]:
    """The longest runs of sorted mean ranks that span no more than ``near``."""
    ends = [int(np.flatnonzero(ranks <= rank + near)[-1]) for rank in ranks]
    runs = [(i, end) for i, end in enumerate(ends) if end > i and (i == 0 or end > ends[i - 1])]
    return [(ranks.iloc[i], ranks.iloc[end]) for i, end in runs]


def draw(records: pd.DataFrame, path: Path) -> None:
    """Critical-difference diagram of the untouched half (Demsar 2006, figure 1)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, 1, figsize=(7, 4.5), layout="constrained")
    for ax, value in zip(axes, ("loss", "logloss"), strict=True):
        wide = matrix(records, value, UNTOUCHED).dropna()
        ranks = mean_ranks(wide).sort_values()
        near = critical_difference(len(ranks), len(wide))
        for i, (low, high) in enumerate(alike(ranks, near)):
            ax.hlines(0.15 + 0.25 * i, low - 0.03, high + 0.03, color="0.5", lw=4)
        for i, (peer, rank) in enumerate(ranks.items()):
            height, color = 1 + 0.5 * (len(ranks) - i), "C0" if peer == "ours" else "k"
            ax.vlines(rank, 0, height, color=color, lw=0.8)
            ax.text(rank, height, f" {peer} {rank:.2f}", color=color, va="center")
        ax.spines[["left", "right", "top"]].set_visible(False)
        ax.set(yticks=[], ylim=(0, 1.5 + 0.5 * len(ranks)), xlim=(0.9, len(ranks) + 0.4))
        title = f"mean rank in {value}, {len(wide)} tables; a bar joins what the Nemenyi test"
        ax.set_title(f"{title} (CD {near:.2f}) does not tell apart", fontsize=9)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the fifty tables")
    parser.add_argument("--further", type=Path, help="folder that further_tables.py has filled")
    parser.add_argument("--cache", type=Path, default=Path("tables.jsonl"))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument(
        "--groups", nargs="*", choices=list(GROUPS), help="default: as data is there"
    )
    parser.add_argument("--tables", nargs="*", help="only these")
    parser.add_argument("--cap", type=int, default=4000, help="train rows at most")
    parser.add_argument("--repeats", type=int, help="splits of a table at most")
    parser.add_argument("--report", action="store_true", help="print the cache, run nothing")
    parser.add_argument("--plot", type=Path, help="write the critical-difference diagram here")
    args = parser.parse_args()
    there = {"tuned": args.data, "untouched": args.data}
    there |= {"developed": args.further, "further": args.further}
    groups = args.groups or [group for group, folder in there.items() if folder or args.report]
    if not args.report and not all(there[group] for group in groups):
        parser.error("--data or --further is missing for these groups.")
    tables = [t for g in groups for t in GROUPS[g] if not args.tables or t in args.tables]
    if not args.report:
        import torch

        torch.set_num_threads(1)
        run([p for p in args.peers if p not in SLOW], tables, args)
        run([p for p in args.peers if p in SLOW], [t for t in tables if t in FEW], args)
    records = load(args.cache)
    records = records[records.cap == args.cap]
    for name in groups:
        if records.table.isin(GROUPS[name]).any():
            report(records, name, GROUPS[name])
    if args.plot:
        draw(records, args.plot)


if __name__ == "__main__":
    main()
