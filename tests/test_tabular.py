"""The encoder's properties, over kinds of columns; and what `check_table` accepts and refuses."""

import pickle
import subprocess
import sys
import tracemalloc
import warnings
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_estimator,
    check_param_validation,
    check_transformer_get_feature_names_out_pandas,
)
from sklearn.utils.stats import _weighted_percentile

from sklearn_dl.tabular import TabularEncoder, check_table, table_dtype
from sklearn_dl.tabular.columns import MAX_LEVELS
from sklearn_dl.tabular.statistics import QUARTILES, weighted_quantiles

N = 60


class DLClassifier(BaseEstimator):
    """Only a name, for messages."""


def random_state():
    return np.random.RandomState(0)


def _choice(values, n=N):
    return random_state().choice(np.array(values, dtype=object), n)


def _with_gaps(values, gap=None):
    values = np.array(values, dtype=object)
    values[::7] = gap
    return values


FLOATS = random_state().normal(size=N).round(1)
WORDS = _choice(["low", "mid", "high", "none"])
DAYS = pd.date_range("2023-12-20 06:30", periods=N, freq="7h")

# name -> a column of N rows
COLUMNS = {
    "float64": pd.Series(FLOATS),
    "float32": pd.Series(FLOATS.astype(np.float32)),
    "float16": pd.Series(FLOATS.astype(np.float16)),
    "float_missing": pd.Series(_with_gaps(FLOATS, np.nan).astype(float)),
    "int8": pd.Series(random_state().randint(-100, 100, N).astype(np.int8)),
    "uint64": pd.Series(random_state().randint(0, 9, N).astype(np.uint64) + np.uint64(2**63)),
    "bool": pd.Series(FLOATS > 0),
    "object_bool": pd.Series(_with_gaps(FLOATS > 0), dtype=object),
    "object_numbers": pd.Series(_with_gaps(FLOATS), dtype=object),
    "decimal": pd.Series([Decimal(str(v)) for v in FLOATS]),
    "Int64": pd.Series(_with_gaps(np.arange(N)), dtype="Int64"),
    "Float32": pd.Series(_with_gaps(FLOATS), dtype="Float32"),
    "boolean": pd.Series(_with_gaps(FLOATS > 0), dtype="boolean"),
    "arrow_int": pd.Series(_with_gaps(np.arange(N)), dtype="int32[pyarrow]"),
    "arrow_text": pd.Series(_with_gaps(WORDS), dtype="string[pyarrow]"),
    "arrow_time": pd.Series(DAYS).astype("timestamp[us][pyarrow]"),
    "sparse": pd.Series(pd.arrays.SparseArray(np.where(FLOATS > 0, FLOATS, 0.0))),
    "heavy_tail": pd.Series(random_state().standard_cauchy(N) ** 3),
    "mostly_zero": pd.Series(np.where(np.arange(N) % 10, 0.0, 5.0)),
    "constant": pd.Series(np.full(N, 3.5)),
    "category": pd.Series(WORDS, dtype="category"),
    "category_missing": pd.Series(_with_gaps(WORDS), dtype="category"),
    "category_numbers": pd.Series(random_state().randint(0, 4, N)).astype("category"),
    "intervals": pd.cut(pd.Series(FLOATS), 3).cat.as_unordered(),
    "ordered": pd.Series(
        pd.Categorical(_with_gaps(WORDS), categories=["none", "low", "mid", "high"], ordered=True)
    ),
    "binary": pd.Series(_choice(["yes", "no"]), dtype="category"),
    "single": pd.Series(["same"] * N, dtype="category"),
    "string": pd.Series(_with_gaps(WORDS), dtype="string"),
    "str": pd.Series(WORDS, dtype="str"),
    "object_text": pd.Series(_with_gaps(WORDS, np.nan), dtype=object),
    "object_mixed": pd.Series(_choice(["a", 1, 2.5, True])),
    "datetime": pd.Series(DAYS),
    "datetime_missing": pd.Series(DAYS).where(np.arange(N) % 5 > 0),
    "datetime_zone": pd.Series(DAYS.tz_localize("Europe/Berlin")),
    "dates": pd.Series([date(2020, 1 + i % 12, 1 + i % 28) for i in range(N)], dtype=object),
    "period": pd.Series(pd.period_range("2020-01", periods=N, freq="M")),
    "timedelta": pd.Series(pd.to_timedelta(np.arange(N) * 90, unit="s")),
}
PREPROCESSING = ["auto", "standard"]
each_column = pytest.mark.parametrize("kind", COLUMNS)
each_preprocessing = pytest.mark.parametrize("preprocessing", PREPROCESSING)


def frame_of(kind):
    return pd.DataFrame({"c": COLUMNS[kind]})


# ---- properties of every kind of column


@each_column
@each_preprocessing
def test_an_encoding_is_finite_and_named(kind, preprocessing):
    X = frame_of(kind)
    encoder = TabularEncoder(preprocessing=preprocessing)
    encoded = encoder.fit_transform(X)
    assert np.isfinite(encoded).all()
    assert encoded.shape == (N, encoder.n_encoded_)
    assert encoded.flags.c_contiguous
    names = encoder.get_feature_names_out()
    assert len(set(names)) == encoder.n_encoded_
    assert all(name.startswith("c") for name in names)
    assert_array_equal(encoded, encoder.transform(X))


@each_column
@each_preprocessing
def test_integer_weights_equal_repeated_rows(kind, preprocessing):
    X = frame_of(kind)
    weights = np.random.RandomState(1).randint(0, 4, N)
    repeated = X.iloc[np.repeat(np.arange(N), weights)]
    encoder = TabularEncoder(preprocessing=preprocessing, dtype="float64")
    expected = clone(encoder).fit(repeated).transform(X)
    # Other than statistics by selection, means are sums in another order: rounding, 1e-16 a term.
    assert_allclose(encoder.fit(X, sample_weight=weights).transform(X), expected, atol=1e-12)
    order = random_state().permutation(N)
    encoder.fit(X.iloc[order], sample_weight=weights[order] * 0.1)
    assert_allclose(encoder.transform(X), expected, atol=1e-12)


@each_column
def test_a_row_is_encoded_alike_alone_and_among_others(kind):
    X = frame_of(kind)
    encoder = TabularEncoder().fit(X)
    together = encoder.transform(X)
    assert_array_equal(np.vstack([encoder.transform(X.iloc[[i]]) for i in range(9)]), together[:9])


@each_column
def test_a_missing_value_is_encoded_and_flagged_if_fit_saw_one(kind):
    X = frame_of(kind)
    encoder = TabularEncoder().fit(X)
    missing = encoder.transform(pd.DataFrame({"c": [None]}))
    flagged = "c_missing" in encoder.get_feature_names_out()
    assert flagged == bool(COLUMNS[kind].isna().any())
    assert_array_equal(missing[0], [0.0] * (encoder.n_encoded_ - flagged) + [1.0] * flagged)


@each_column
def test_the_users_frame_is_not_changed(kind):
    X = frame_of(kind)
    before = X.copy(deep=True)
    TabularEncoder().fit(X, sample_weight=np.arange(N)).transform(X)
    pd.testing.assert_frame_equal(X, before)


@each_column
def test_a_fitted_encoder_travels_by_pickle_and_skops(kind):
    X = frame_of(kind)
    encoder = TabularEncoder().fit(X)
    expected = encoder.transform(X)
    data = skops.io.dumps(encoder)
    ours = {"sklearn_dl.tabular.encoder.TabularEncoder"}
    assert set(skops.io.get_untrusted_types(data=data)) <= ours
    for copy in (pickle.loads(pickle.dumps(encoder)), skops.io.loads(data, trusted=list(ours))):
        assert_array_equal(copy.transform(X), expected)


POLARS = {
    "float": pl.Series(FLOATS),
    "float32": pl.Series(FLOATS.astype(np.float32)),
    "int_null": pl.Series([None if i % 7 == 0 else i for i in range(N)], dtype=pl.Int32),
    "bool": pl.Series(list(FLOATS > 0)),
    "bool_null": pl.Series([None if i % 7 == 0 else i % 2 == 0 for i in range(N)]),
    "text": pl.Series([None if i % 7 == 0 else w for i, w in enumerate(WORDS)], dtype=pl.String),
    "category": pl.Series(list(WORDS), dtype=pl.Categorical),
    "enum": pl.Series(list(WORDS), dtype=pl.Enum(["none", "low", "mid", "high"])),
    "datetime": pl.Series(DAYS.to_pydatetime().tolist()),
    "zone": pl.Series(DAYS.to_pydatetime().tolist()).dt.replace_time_zone("Europe/Berlin"),
    "date": pl.Series([date(2020, 1 + i % 12, 1) for i in range(N)]),
    "duration": pl.Series(pd.to_timedelta(np.arange(N), unit="s").to_pytimedelta().tolist()),
    "decimal": pl.Series([Decimal(str(v)) for v in FLOATS]),
}


@pytest.mark.parametrize("kind", POLARS)
def test_polars_is_encoded_as_pandas(kind):
    X = pl.DataFrame({"c": POLARS[kind]})
    same = pd.DataFrame({"c": pd.Series(POLARS[kind].to_list())})
    encoder = TabularEncoder(dtype="float64").fit(X)
    expected = TabularEncoder(dtype="float64").fit(same)
    assert_array_equal(encoder.get_feature_names_out(), expected.get_feature_names_out())
    assert_array_equal(encoder.transform(X), expected.transform(same))


def test_polars_needs_no_pyarrow():
    program = """
import sys
sys.modules["pyarrow"] = None
import polars as pl
from sklearn_dl.tabular import TabularEncoder
X = pl.DataFrame({"a": [1, None, 3], "b": ["u", "v", None], "c": [True, None, False]})
X = X.with_columns(d=pl.col("b").cast(pl.Categorical), e=pl.col("a").cast(pl.Datetime))
print(TabularEncoder().fit_transform(X).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(3, ")


# ---- sparse and dense, frames and arrays


def _sparse_cases():
    rng = random_state()
    X = rng.normal(size=(N, 7)).round(1)
    X[rng.uniform(size=X.shape) < 0.6] = 0.0
    X[:, 1] = np.abs(X[:, 1])
    X[:, 2] = 0.0
    X[:, 3] = 4.0
    X[::5, 4] = np.nan
    X[:, 5] = rng.uniform(1, 2, N)
    X[:, 6] = np.where(rng.uniform(size=N) < 0.02, 3.0, 0.0)
    return X


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("categorical", [None, [3, 6]])
@each_preprocessing
def test_sparse_is_encoded_as_dense(preprocessing, categorical, weighted):
    X = _sparse_cases()
    weights = random_state().uniform(0.1, 3, N).round(1) if weighted else None
    encoder = TabularEncoder(preprocessing=preprocessing, categorical_features=categorical)
    expected = encoder.fit_transform(X, sample_weight=weights)
    for form in ("csr", "csc", "coo", "lil"):
        for container in (sp.csr_array, sp.csr_matrix):
            sparse = container(X).asformat(form)
            encoded = clone(encoder).fit(sparse, sample_weight=weights).transform(sparse)
            assert encoded.dtype == expected.dtype
            assert_allclose(encoded, expected, rtol=0, atol=1e-12)


def test_sparse_duplicates_are_summed_and_not_in_the_users_matrix():
    X = sp.csr_matrix((np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1]), np.array([0, 2, 3])))
    table = check_table(DLClassifier(), X, reset=True)
    assert_array_equal(table.toarray(), [[3.0, 0.0], [0.0, 5.0]])
    assert table.has_canonical_format
    assert X.nnz == 3


def test_a_large_sparse_matrix_is_never_dense():
    X = sp.csr_array(sp.random(2000, 3000, density=0.002, format="csr", random_state=0))
    tracemalloc.start()
    encoder = TabularEncoder().fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * 8 * 2000 * 3000
    chunk = encoder.transform_table(check_table(encoder, X[:10], reset=False), np.float32)
    assert chunk.shape == (10, 3000)
    assert chunk.dtype == np.float32


def test_integers_at_codes_by_position_are_categories():
    codes = random_state().randint(0, 3, N)
    X = np.column_stack([FLOATS, codes])
    encoder = TabularEncoder(categorical_features=[1]).fit(X)
    assert encoder.get_feature_names_out().tolist() == ["x0", "x1_0", "x1_1", "x1_2"]
    assert_array_equal(encoder.transform(X)[:, 1:], np.eye(3)[codes])


def test_rows_come_in_chunks_of_any_size():
    X = random_state().normal(size=(40_000, 5)).astype(np.float32)
    encoder = TabularEncoder().fit(X)
    frame = pd.DataFrame(X, columns=list("abcde"))
    whole = encoder.transform(X)
    assert_array_equal(whole[33_000:], encoder.transform(X[33_000:]))
    assert_array_equal(whole, TabularEncoder().fit_transform(frame))


# ---- the formulas


def test_quantiles_are_those_of_scikit_learn_and_numpy():
    rng = random_state()
    for n in (1, 2, 3, 4, 5, 8, 41, 100):
        values = rng.normal(size=n).round(1)
        weights = rng.randint(1, 5, n).astype(float)
        ours = weighted_quantiles(values, weights, QUARTILES)
        theirs = _weighted_percentile(values, weights, 100 * QUARTILES, average=True)
        assert_array_equal(ours, theirs)
        repeated = np.repeat(values, weights.astype(int))
        assert_allclose(
            ours, np.quantile(repeated, QUARTILES, method="averaged_inverted_cdf"), rtol=1e-15
        )


def test_auto_is_robust_scaling_and_smooth_clipping():
    x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [1e6]])
    encoder = TabularEncoder().fit(x)
    q25, median, q75 = 1.5, 3.5, 5.5
    z = (x - median) / (q75 - q25)
    assert_allclose(encoder.transform(x), z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-15)
    assert_allclose(encoder.transform([[1e300], [-1e300]]), [[3.0], [-3.0]])


def test_a_column_with_equal_quartiles_is_scaled_by_its_range():
    x = np.where(np.arange(20) % 10, 0.0, 5.0)[:, None]
    z = x * 2 / 5
    assert_allclose(TabularEncoder().fit_transform(x), z / np.sqrt(1 + (z / 3) ** 2))


def test_standard_is_zero_mean_and_unit_variance_with_the_mean_for_missing():
    x = np.append(random_state().normal(5, 2, 99), np.nan)[:, None]
    encoded = TabularEncoder(preprocessing="standard").fit_transform(x)
    assert_allclose(encoded[:99, 0].mean(), 0, atol=1e-15)
    assert_allclose(encoded[:99, 0].std(), 1)
    assert_array_equal(encoded[99], [0.0, 1.0])
    assert_array_equal(encoded[:99, 1], np.zeros(99))


def test_large_integers_keep_their_order():
    x = np.arange(100, dtype=np.int64)[:, None] + 2**52
    encoded = TabularEncoder(dtype="float32").fit_transform(x)[:, 0]
    assert (np.diff(encoded) > 0).all()


@pytest.mark.parametrize("unit", [1e-310, 1e-200, 1e-20, 1e200, 8e307])
@each_preprocessing
def test_any_unit_of_measure_is_finite(unit, preprocessing):
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])[:, None] * unit
    encoder = TabularEncoder(preprocessing=preprocessing)
    assert np.isfinite(encoder.fit_transform(x)).all()
    assert np.isfinite(encoder.transform(-x[::-1])).all()


def test_times_are_their_distance_and_a_calendar():
    day = pd.DataFrame({"t": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-12-31"])})
    encoder = TabularEncoder().fit(day)
    names = ["t", "t_year_sin", "t_year_cos", "t_week_sin", "t_week_cos"]
    assert encoder.get_feature_names_out().tolist() == names  # no hours: they did not vary
    encoded = encoder.transform(day)
    assert encoded[0, 0] < encoded[1, 0] < encoded[2, 0]
    assert_allclose(encoded[0, 1:], [0, 1, 0, 1], atol=1e-7)  # 1 January 2024 was a Monday
    tuesday = 2 * np.pi / 7
    assert_allclose(encoded[1:, 3:], [[np.sin(tuesday), np.cos(tuesday)]] * 2, atol=1e-6)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_and_durations_do_not_depend_on_their_unit(unit):
    X = pd.DataFrame({"t": DAYS, "d": pd.to_timedelta(np.arange(N) * 60, unit="s")})
    encoder = TabularEncoder(dtype="float64").fit(X)
    other = pd.DataFrame({"t": X["t"].dt.as_unit(unit), "d": X["d"].dt.as_unit(unit)})
    assert_array_equal(encoder.transform(other), encoder.transform(X))


# ---- levels


def test_levels_are_indicators_two_are_a_sign_and_one_is_nothing():
    X = pd.DataFrame({"three": list("abca"), "two": list("uvuv"), "one": list("zzzz")})
    encoder = TabularEncoder().fit(X)
    names = ["three_a", "three_b", "three_c", "two_v", "one_z"]
    assert encoder.get_feature_names_out().tolist() == names
    assert_array_equal(
        encoder.transform(X),
        [[1, 0, 0, -1, 0], [0, 1, 0, 1, 0], [0, 0, 1, -1, 0], [1, 0, 0, 1, 0]],
    )
    unseen = pd.DataFrame({"three": ["?"], "two": ["?"], "one": ["?"]})
    assert_array_equal(encoder.transform(unseen), np.zeros((1, 5)))
    known = pd.concat([X[:1], *[unseen] * 30])
    encoder.transform(known)  # one row of known levels: no warning
    with pytest.warns(UserWarning, match="'two' was seen in fit, in 30 rows; .* 'u', 'v'. The"):
        encoder.transform(known[1:].assign(one="z", three=None))


def test_only_the_heaviest_of_many_levels_have_their_own_indicator():
    n_levels = 3000
    codes = np.concatenate([np.arange(n_levels), np.arange(50).repeat(20)])
    X = pd.DataFrame({"c": pd.Categorical([f"v{code:04d}" for code in codes])})
    weights = np.where(codes == 2999, 7.0, 1.0)
    encoder = TabularEncoder().fit(X, sample_weight=weights)
    assert encoder.n_encoded_ == MAX_LEVELS
    names = encoder.get_feature_names_out().tolist()
    assert names[:50] == [f"c_v{code:04d}" for code in range(50)]
    assert names[-2:] == ["c_v2999", "c_infrequent"]
    encoded = encoder.transform(X)
    assert_array_equal(encoded.sum(axis=1), np.ones(len(X)))
    unseen = encoder.transform(pd.DataFrame({"c": ["new", None]}))
    assert unseen[0, -1] == 1
    assert_array_equal(unseen[1], np.zeros(MAX_LEVELS))


def test_many_levels_are_codes_for_a_network_that_embeds_them():
    codes = np.concatenate([np.arange(3000), np.arange(50).repeat(20)])
    many = pd.Series(pd.Categorical([f"v{code:04d}" for code in codes])).where(codes != 7)
    X = pd.DataFrame({"many": many, "few": codes % 3, "x": codes * 0.5}).astype({"few": "category"})
    encoder = TabularEncoder(many_levels="code").fit(X)
    names = ["x", "few_0", "few_1", "few_2", "many_missing", "many_code"]
    assert encoder.get_feature_names_out().tolist() == names
    encoded = encoder.transform(X)
    assert_array_equal(encoded[:, -1], np.where(codes < 7, codes + 1, codes) * (codes != 7))
    assert_array_equal(encoded[:, -2], codes == 7)
    with pytest.warns(UserWarning, match="No value of column 'many' was seen in fit, in 4000"):
        new = encoder.transform(X.assign(many="new"))
    assert_array_equal(new[:, -2:], np.zeros((len(X), 2)))
    few = TabularEncoder(many_levels="code").fit(X[["few"]])
    assert_array_equal(few.transform(X[["few"]]), TabularEncoder().fit_transform(X[["few"]]))


def test_the_order_of_an_ordered_categorical_is_kept():
    order = ["none", "low", "mid", "high"]
    X = pd.DataFrame({"c": pd.Categorical(WORDS, categories=order, ordered=True)})
    encoded = (
        TabularEncoder()
        .fit(X)
        .transform(pd.DataFrame({"c": pd.Categorical(order, categories=order, ordered=True)}))
    )
    assert encoded.shape == (4, 1)
    assert (np.diff(encoded[:, 0]) > 0).all()


@pytest.mark.parametrize("ordered", [False, True])
def test_a_category_whose_values_are_all_new_is_warned_of(ordered):
    sizes = pd.CategoricalDtype(["S", "M", "L"], ordered)
    X = pd.DataFrame({"size": pd.Categorical(["S", "M", "L"] * 10, dtype=sizes)})
    encoder = TabularEncoder().fit(X)
    renamed = X.assign(size=X["size"].cat.rename_categories(["small", "medium", "large"]))
    with pytest.warns(UserWarning, match="No value of column 'size' was seen in fit, in 30 rows"):
        encoded = encoder.transform(renamed)
    assert_array_equal(encoded, np.zeros_like(encoded))
    encoder.transform(renamed.assign(size=["S", *renamed["size"][1:]]))  # one is known: no warning


def test_names_stay_distinct():
    X = pd.DataFrame({"a": ["missing", "b", "c", None] * 3, "a_b": np.arange(12.0)})
    names = TabularEncoder().fit(X).get_feature_names_out().tolist()
    assert names == ["a_b", "a_b_", "a_c", "a_missing", "a_missing_"]


@pytest.mark.parametrize(
    ("fitted", "now"),
    [
        (pd.Series([1, 2, 3, 1]), pd.Series(["1", "2", "3", "1"])),
        (pd.Series([1, 2, 3, 1]), pd.Series([1, 2, 3, 1], dtype="category")),
        (pd.Series([1, 2, 3, 1]), pd.Series([1.0, 2.0, 3.0, 1.0])),
        (pd.Series([1, 2, 3, 1], dtype="category"), pd.Series([1.0, 2.0, 3.0, 1.0])),
        (pd.Series([1, 2, 3, 1], dtype="category"), pd.Series(["1", "2", "3", "1"])),
        (pd.Series([2**53, 2**53 + 1], dtype="category"), pd.Series([f"{2**53}", f"{2**53 + 1}"])),
        (pd.Series(list("abca"), dtype="category"), pd.Series(list("abca"), dtype=object)),
        (pd.Series(list("abca")), pd.Series(list("abca"), dtype="category")),
        (pd.Series([True, False, True, True]), pd.Series([1, 0, 1, 1])),
    ],
)
def test_the_same_values_of_another_type_are_encoded_alike(fitted, now):
    encoder = TabularEncoder().fit(pd.DataFrame({"c": fitted}))
    expected = encoder.transform(pd.DataFrame({"c": fitted}))
    assert_array_equal(encoder.transform(pd.DataFrame({"c": now})), expected)


@pytest.mark.parametrize(
    ("fitted", "now", "message"),
    [
        ([1.0, 2.0], ["1", "two"], "Column 'c' must hold numbers, but holds 'two'"),
        (["a", "b"], [1.5, 2.5], "Column 'c' held text in fit .* holds numbers .*1.5"),
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), ["a", "b"], "held dates in fit"),
        ([1.0, 2.0], pd.to_datetime(["2020-01-01", "2021-01-01"]), "held numbers in fit"),
        (pd.to_timedelta([1, 2], unit="s"), [1.0, 2.0], "held durations in fit"),
    ],
)
def test_values_that_are_not_those_of_fit_are_refused(fitted, now, message):
    encoder = TabularEncoder().fit(pd.DataFrame({"c": fitted}))
    with pytest.raises(ValueError, match=message):
        encoder.transform(pd.DataFrame({"c": now}))


# ---- what is refused, and what is warned of


def _texts(n, length):
    return pd.DataFrame({"note": [f"{i} " + "word " * length for i in range(n)]})


def test_free_text_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"'note' holds free text.*TfidfVectorizer"):
        TabularEncoder().fit(_texts(100, 8))


@pytest.mark.parametrize("written", ["{:.3f}", "{:+.1e}", "${:,.2f}", "{:.3f} %"])
def test_numbers_written_as_text_are_refused_with_advice(written):
    X = pd.DataFrame({"x": [written.format(1000 * 1.1**k) for k in range(100)]})
    with pytest.raises(ValueError, match=r"'x' holds numbers written as text.*to_numeric"):
        TabularEncoder().fit(X)


@pytest.mark.parametrize("written", ["%Y-%m-%d", "%d/%m/%Y", "%Y-%m-%d %H:%M:%S"])
@pytest.mark.parametrize("n_days", [20, 100])
def test_dates_written_as_text_are_warned_of(written, n_days):
    days = pd.date_range("2024-02-20", periods=n_days).strftime(written)
    X = pd.DataFrame({"day": np.resize(days, 100), "x": np.arange(100.0)})
    with pytest.warns(UserWarning, match=r"'day' holds dates written as text.*pandas.to_datetime"):
        TabularEncoder().fit(X)
    declared = X[:40].astype({"day": "category"})
    assert TabularEncoder().fit(declared).kinds_ == ["level", "number"]


@pytest.mark.parametrize("dtype", [object, "category"])
@pytest.mark.parametrize("name", ["A{}", "555-{:04d}", "1.2.{}"])
def test_an_identifier_is_warned_of(name, dtype):
    X = pd.DataFrame({"id": [name.format(i) for i in range(100)], "x": np.arange(100.0)})
    with pytest.warns(UserWarning, match="'id' looks like an identifier: 100 different"):
        TabularEncoder().fit(X.astype({"id": dtype}))
    with pytest.warns(UserWarning, match="'x' looks like an identifier: 100 different"):
        TabularEncoder(categorical_features=["x"]).fit(X[["x"]])
    some = X.assign(id=np.resize(X["id"][:80], 100))
    assert TabularEncoder().fit(some.astype({"id": dtype})).kinds_ == ["level", "number"]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int8"])
def test_the_number_of_the_row_is_warned_of(dtype):
    drawn = np.random.RandomState(0).permutation(100)[:75]
    X = pd.DataFrame({"row": drawn, "x": np.linspace(0, 1, 75)}).astype({"row": dtype})
    with pytest.warns(UserWarning, match="'row' looks like the number of the row: 75 different"):
        TabularEncoder().fit(X)
    for quiet in (X[:40], X * 3, X.assign(row=X["row"] // 2), X.astype("float64")):
        assert TabularEncoder().fit(quiet.astype({"x": float})).kinds_ == ["number", "number"]
    TabularEncoder().fit(X[["row"]].to_numpy())


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint64])
def test_row_numbers_are_looked_for_in_integers_of_any_width(dtype):
    low = np.iinfo(dtype).max - 255 if dtype == np.uint64 else -127
    numbers = [low + i for i in range(255)]
    column = np.array(numbers, dtype=dtype)[np.random.RandomState(0).permutation(255)]
    with pytest.warns(UserWarning, match="'t' looks like the number of the row: 255 different"):
        TabularEncoder().fit(pd.DataFrame({"t": column}))
    repeated = np.r_[numbers[:2], numbers[:2], numbers[-250:]].astype(dtype)
    TabularEncoder().fit(pd.DataFrame({"t": repeated}))


def test_a_column_without_values_is_left_out_with_a_warning():
    X = pd.DataFrame({"a": [1.0, 2.0], "gone": [np.nan, np.nan], "text": [None, None]})
    with pytest.warns(UserWarning, match="all values are missing: 'gone', 'text'"):
        encoder = TabularEncoder().fit(X)
    assert encoder.get_feature_names_out().tolist() == ["a"]
    assert encoder.transform(X).shape == (2, 1)
    with pytest.raises(ValueError, match="no value in any of its 2 columns"):
        TabularEncoder().fit(X[["gone", "text"]])


@pytest.mark.parametrize(
    ("cell", "error", "message"),
    [
        ({"foo": "bar"}, TypeError, r"'c' holds a dict.*must be a string or a number"),
        ([1, 2], TypeError, r"'c' holds a list in row 1, \[1, 2\]"),
        ((1, 2), TypeError, r"'c' holds a tuple"),
        (np.arange(3), TypeError, r"'c' holds a ndarray"),
        (object(), TypeError, r"'c' holds a object .*must be a string or a number"),
        (1 + 2j, ValueError, "Complex data not supported"),
        (10**400, ValueError, "'c' contains infinity or a value too large"),
    ],
)
def test_a_cell_that_is_no_value_is_refused(cell, error, message):
    cells = np.array([1.0, None, 2.0], dtype=object)
    cells[1] = cell
    with pytest.raises(error, match=message):
        TabularEncoder().fit(pd.DataFrame({"c": cells}))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.empty((0, 3)), ValueError, r"0 sample\(s\).*minimum of 1 is required by DLClassifier"),
        (np.empty((4, 0)), ValueError, r"0 feature\(s\) \(shape=\(4, 0\)\)"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\).*required by DLClassifier"),
        (pd.DataFrame(index=[1, 2]), ValueError, r"0 feature\(s\).*required by DLClassifier"),
        ([1.0, 2.0], ValueError, "Reshape your data"),
        (pd.Series([1.0, 2.0]), ValueError, "Expected a 2-dimensional container"),
        (3.0, ValueError, "Reshape your data"),
        (np.ones((2, 2, 2)), ValueError, "dim 3"),
        (np.ones((2, 2)) + 1j, ValueError, "Complex data not supported"),
        (pd.DataFrame({"a": [1 + 1j]}), ValueError, "Complex data not supported"),
        ([[np.inf], [1.0]], ValueError, "X contains infinity"),
        (pd.DataFrame({"a": [np.inf, 1]}), ValueError, r"X \(column 'a'\) contains infinity"),
        (sp.csr_array([[np.inf], [1.0]]), ValueError, "contains infinity"),
        (np.array([[1, {}]], dtype=object), TypeError, "must be a string or a number"),
        ([[1.0, 2.0], [1.0]], ValueError, "inhomogeneous"),
    ],
)
def test_what_is_no_table_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        check_table(DLClassifier(), X, reset=True)


@pytest.mark.parametrize(
    "X",
    [
        np.array([[np.nan], [1.0]]),
        pd.DataFrame({"a": [np.nan, 1.0]}),
        pd.DataFrame({"a": pd.array([None, 1], dtype="Int64")}),
        sp.csr_array([[np.nan], [1.0]]),
        np.array([[None], [1.0]], dtype=object),
    ],
)
def test_missing_values_pass_only_where_allowed(X):
    check_table(DLClassifier(), X, reset=True)
    with pytest.raises(ValueError, match="contains NaN"):
        check_table(DLClassifier(), X, reset=True, allow_nan=False)


def test_columns_must_be_those_of_fit():
    fitted = DLClassifier()
    check_table(fitted, np.ones((3, 2)), reset=True)
    with pytest.raises(ValueError, match="X has 1 features, but DLClassifier is expecting 2"):
        check_table(fitted, np.ones((3, 1)), reset=False)
    check_table(fitted, pd.DataFrame({"a": [1.0], "b": [2.0]}), reset=True)
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        check_table(fitted, pd.DataFrame({"b": [1.0], "a": [2.0]}), reset=False)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(N), "Negative values"),
        (np.zeros(N), "at least one non-zero"),
        (np.ones(3), "shape"),
        (np.full(N, np.nan), "NaN"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        TabularEncoder().fit(FLOATS[:, None], sample_weight=weights)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([5], r"integer indices must be in \[0, n_features - 1\]"),
        ([-1], r"integer indices must be in \[0, n_features - 1\]"),
        ([True], r"boolean mask must have shape \(n_features,\)"),
        (["z"], "item value 'z' which is not a valid feature name"),
        ([1.5], "must be an array-like of bool, int or str, got: float"),
        (["a", 1.5], "must be an array-like of bool, int or str"),
    ],
)
def test_a_wrong_choice_of_categorical_features_is_refused(chosen, message):
    X = pd.DataFrame({"a": [1, 2], "b": [1, 2]})
    chosen = np.array(chosen, dtype=object) if 1.5 in chosen and "a" in chosen else chosen
    with pytest.raises(ValueError, match=message):
        TabularEncoder(categorical_features=chosen).fit(X)


def test_names_need_a_frame():
    with pytest.raises(ValueError, match="integers or as a boolean mask"):
        TabularEncoder(categorical_features=["a"]).fit(np.ones((3, 1)))


@pytest.mark.parametrize("chosen", [["b"], [1], [False, True, False]])
def test_categorical_features_are_names_positions_or_a_mask(chosen):
    X = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [3, 1, 2, 3], "c": [True, False, True, True]})
    names = TabularEncoder(categorical_features=chosen).fit(X).get_feature_names_out()
    assert names.tolist() == ["a", "c", "b_1", "b_2", "b_3"]
    X["t"] = list("uvwx")
    mask = [*chosen, False] if chosen[0] is False else chosen
    with pytest.raises(ValueError, match=r"'t' must hold numbers, but holds 'u'.*categorical"):
        TabularEncoder(categorical_features=mask).fit(X)
    with pytest.raises(ValueError, match=r"'t' must hold numbers, but holds 'u'.*categorical"):
        TabularEncoder(categorical_features=None).fit(X)


# ---- no preprocessing


def test_without_preprocessing_a_matrix_passes_through_uncopied():
    X = random_state().normal(size=(N, 3)).astype(np.float32)
    assert TabularEncoder(preprocessing=None).fit(X).transform(X) is X
    frame = pd.DataFrame(X.astype(float), columns=list("abc"))
    frame["d"] = FLOATS > 0
    encoded = TabularEncoder(preprocessing=None).fit_transform(frame)
    assert_array_equal(encoded, np.column_stack([X, FLOATS > 0]))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a", "b"], "column 'c' is of dtype .*preprocessing='auto'"),
        (pd.Categorical([1, 2]), "column 'c' is of dtype category"),
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), "column 'c' is of dtype datetime64"),
        ([1.0, None], r"X \(column 'c'\) contains NaN"),
        ([1.0, 1e300], "value too large for float32"),
    ],
)
def test_without_preprocessing_only_numbers_pass(column, message):
    X = pd.DataFrame({"c": column})
    with pytest.raises(ValueError, match=message):
        TabularEncoder(preprocessing=None, dtype="float32").fit_transform(X)


# ---- check_table's forms


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, bool])
def test_an_array_of_numbers_is_not_copied(dtype):
    X = np.ones((4, 3), dtype=dtype, order="F")
    assert np.shares_memory(check_table(DLClassifier(), X, reset=True), X)


def test_a_frame_of_numbers_is_not_copied():
    X = pd.DataFrame({"a": np.arange(3, dtype=np.float32), "b": [1, 2, 3], "c": list("xyx")})
    assert check_table(DLClassifier(), X, reset=True) is X


def test_a_read_only_memory_map_is_read(tmp_path):
    np.save(tmp_path / "x.npy", random_state().normal(size=(N, 3)))
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_array_equal(TabularEncoder().fit_transform(X), TabularEncoder().fit_transform(X + 0))


@pytest.mark.parametrize("container", [list, lambda rows: np.array(rows, dtype=object)])
def test_rows_of_mixed_cells_become_columns(container):
    X = container([[1, "a", True, None], [2, "b", False, 3.5], [3, "a", None, 4]])
    table = check_table(DLClassifier(), X, reset=True)
    assert [dtype.kind for dtype in table.dtypes] == ["f", "O", "f", "f"]
    numbers = container([[1, 2.5], [None, True]])
    table = check_table(DLClassifier(), numbers, reset=True)
    assert_array_equal(table, np.array([[1, 2.5], [np.nan, 1]]))


def test_names_and_labels_of_rows_may_repeat_and_need_not_be_text():
    X = pd.DataFrame({0: [1.0, 2.0, 3.0], 1: pd.array([1, None, 3], dtype="Int64")}, index=[7] * 3)
    encoder = TabularEncoder().fit(X)
    assert encoder.get_feature_names_out().tolist() == ["x0", "x1", "x1_missing"]
    assert_array_equal(encoder.transform(X)[:, 2], [0, 1, 0])
    encoder.fit(X, sample_weight=[0, 1, 2])
    assert encoder.get_feature_names_out().tolist() == ["x0", "x1", "x1_missing"]


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.ones((3, 2)), np.float64),
        (np.ones((3, 2), dtype=np.float32), np.float32),
        (np.ones((3, 2), dtype=int), np.float32),
        (sp.csr_array(np.ones((3, 2))), np.float64),
        (pd.DataFrame(np.ones((3, 2))), np.float32),
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), np.float32),
    ],
)
def test_the_matrix_is_float64_only_for_an_array_of_float64(X, expected):
    assert TabularEncoder().fit_transform(X).dtype == expected
    assert table_dtype(check_table(DLClassifier(), X, reset=True)) == expected
    assert TabularEncoder(dtype="float32").fit_transform(X).dtype == np.float32
    assert TabularEncoder(dtype="float64").fit_transform(X).dtype == np.float64


@pytest.mark.parametrize("weighted", [False, True])
def test_memory_is_one_encoded_copy(weighted):
    X = random_state().normal(size=(200_000, 50)).astype(np.float32)
    X[::5, 7] = np.nan
    weights = np.arange(len(X)) % 3.0 if weighted else None
    tracemalloc.start()
    encoded = TabularEncoder().fit_transform(X, sample_weight=weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert encoded.shape == (200_000, 51)
    assert peak < 1.3 * X.nbytes


# ---- scikit-learn


@pytest.mark.parametrize(
    "encoder",
    [
        TabularEncoder(),
        TabularEncoder(preprocessing="standard", dtype="float32"),
        TabularEncoder(preprocessing=None),
        TabularEncoder(categorical_features=[0]),
    ],
    ids=str,
)
def test_scikit_learns_checks_pass(encoder):
    results = check_estimator(encoder, on_skip=None)
    assert len(results) >= 54
    unmet = [r["check_name"] for r in results if r["status"] != "passed"]
    assert unmet == ["check_array_api_input"]  # needs SCIPY_ARRAY_API
    for check in (
        check_dataframe_column_names_consistency,
        check_param_validation,
        check_transformer_get_feature_names_out_pandas,
    ):
        check("TabularEncoder", encoder)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_gives_named_frames(library):
    X = pd.DataFrame({"a": FLOATS, "w": WORDS})
    encoder = TabularEncoder().set_output(transform=library)
    frame = encoder.fit_transform(X)
    assert list(frame.columns) == encoder.get_feature_names_out().tolist()
    assert_array_equal(frame.to_numpy(), TabularEncoder().fit_transform(X))


def test_sample_weights_are_routed_through_a_pipeline():
    X, y = pd.DataFrame({"a": FLOATS, "w": WORDS}), (FLOATS > 0).astype(int)
    weights = np.where(FLOATS > 0, 5, 1)
    with sklearn.config_context(enable_metadata_routing=True):
        encoder = TabularEncoder().set_fit_request(sample_weight=True)
        model = LogisticRegression().set_fit_request(sample_weight=True)
        routed = make_pipeline(encoder, model).fit(X, y, sample_weight=weights)
    expected = TabularEncoder().fit(X, sample_weight=weights)
    assert_array_equal(routed[0].center_, expected.center_)
    assert not np.array_equal(TabularEncoder().fit(X).center_, expected.center_)


def test_it_works_inside_a_column_transformer():
    X = pd.DataFrame({"a": FLOATS, "w": WORDS})
    both = make_column_transformer((TabularEncoder(), ["w"]), remainder="passthrough")
    assert both.fit_transform(X).shape == (N, 5)


def test_fit_table_is_fit_without_checks():
    X = pd.DataFrame({"a": _with_gaps(FLOATS, np.nan).astype(float), "w": WORDS})
    encoder = TabularEncoder()
    table = check_table(encoder, X, reset=True)
    fitted = encoder.fit_table(table, np.arange(N))
    expected = TabularEncoder().fit(X, sample_weight=np.arange(N)).transform(X)
    assert_array_equal(fitted.transform_table(table, np.float32), expected)
    assert fitted.get_feature_names_out()[0] == "a"


def test_a_fit_forgets_the_one_before():
    encoder = TabularEncoder().fit(pd.DataFrame({"w": WORDS, "t": DAYS}))
    encoder.fit(FLOATS[:, None])
    assert encoder.get_feature_names_out().tolist() == ["x0"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encoder.transform(FLOATS[:, None]).shape == (N, 1)
