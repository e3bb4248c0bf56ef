"""A model file gives the same model in a fresh process, and any other file a ValueError."""

import hashlib
import io
import json
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.numpy import save
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    BaggingRegressor,
    RandomForestClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, SelectPercentile, VarianceThreshold, f_regression
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from skops.io._trusted_types import SKLEARN_ESTIMATOR_TYPE_NAMES
from skops.io._utils import get_type_name

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, load_model, save_model
from sklearn_dl.storage import layout
from sklearn_dl.storage.known import TYPES, type_of
from sklearn_dl.storage.writing import write_value

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0}
IRIS, DIABETES = load_iris(return_X_y=True), load_diabetes(return_X_y=True)


def _table():
    rng = np.random.default_rng(0)
    n = 80
    return pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "kind": pd.Categorical(rng.choice(["a", "b", "c"], n)),
            "grade": pd.Categorical(rng.choice(["low", "high"], n), ["low", "high"], ordered=True),
            "town": rng.choice(["Ü", "北京", "\U0001f600"], n),
            "day": pd.Timestamp("2024-02-29") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "flag": rng.random(n) < 0.5,
            "hole": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
        }
    )


FRAME = (_table(), np.array(["no", "maybe", "yes"] * 27)[:80])
TWO = (DIABETES[0], np.stack([DIABETES[1], -DIABETES[1]], axis=1))
SPARSE = (sp.csr_array(np.where(IRIS[0] > 2, IRIS[0], 0)), IRIS[1])


def _columns(last):
    numbers = make_pipeline(
        SimpleImputer(add_indicator=True), StandardScaler().set_output(transform="default")
    )
    steps = [
        ("numbers", numbers, make_column_selector(dtype_include="number")),
        ("text", OneHotEncoder(handle_unknown="ignore", dtype=np.float32), ["kind", "town"]),
        ("rank", OrdinalEncoder(), ["grade"]),
        ("target", TargetEncoder(cv=3), ["kind"]),
    ]
    return make_pipeline(ColumnTransformer(steps, remainder="drop"), last)


CASES = {
    "classifier": (DLClassifier(**SMALL), IRIS),
    "linear": (DLClassifier(**{**SMALL, "hidden_layer_sizes": ()}, module="mlp"), IRIS),
    "defaults": (DLClassifier(max_epochs=2, random_state=0), FRAME),
    "default regressor": (DLRegressor(max_epochs=2, random_state=0), DIABETES),
    "plain": (DLRegressor(**{**PLAIN, **SMALL}), DIABETES),
    "everything": (
        DLClassifier(
            **SMALL, module="residual", normalization="batch", early_stopping=True, warm_start=True
        ),
        IRIS,
    ),
    "layer norm": (DLRegressor(**SMALL, normalization="layer", loss="pinball"), DIABETES),
    "standard": (DLClassifier(**SMALL, preprocessing="standard"), FRAME),
    "no preprocessing": (
        DLClassifier(**SMALL, preprocessing=None, device=torch.device("cpu")),
        IRIS,
    ),
    "float32": (DLRegressor(**SMALL, dtype="float32"), DIABETES),
    "sparse": (DLClassifier(**SMALL), SPARSE),
    "two outputs": (DLRegressor(**SMALL), TWO),
    "many labels": (DLClassifier(**SMALL), (IRIS[0], np.eye(3, dtype=int)[IRIS[1]])),
    "weights of labels": (
        DLClassifier(**SMALL, class_weight=[{0: 1, 1: 2.5}, {1: 3}, {}]),
        (IRIS[0], np.eye(3, dtype=int)[IRIS[1]]),
    ),
    "counts": (DLRegressor(**SMALL, loss="poisson"), DIABETES),
    "quantiles": (DLRegressor(**SMALL, loss="pinball", quantile=(0.1, 0.5, 0.9)), TWO),
    "object labels": (DLClassifier(**SMALL), (IRIS[0], np.array(list("abc"), object)[IRIS[1]])),
    "class weight": (DLClassifier(**SMALL, class_weight={0: 1.0, 1: 2.0, 2: 0.5}), IRIS),
    "generator": (DLClassifier(**{**SMALL, "random_state": np.random.RandomState(3)}), IRIS),
    "columns": (_columns(DLClassifier(**SMALL, dropout=0.25)), FRAME),
    "scalers": (
        make_pipeline(
            RobustScaler(),
            PowerTransformer(),
            QuantileTransformer(n_quantiles=20),
            PolynomialFeatures(2, interaction_only=True),
            VarianceThreshold(),
            SelectPercentile(percentile=60),
            MinMaxScaler(),
            PCA(4),
            DLClassifier(**SMALL),
        ),
        IRIS,
    ),
    "bins": (
        make_pipeline(
            SelectKBest(f_regression, k=5),
            FeatureUnion(
                [
                    ("bins", KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf")),
                    ("log", FunctionTransformer(np.expm1)),
                ]
            ),
            TruncatedSVD(8, random_state=0),
            DLRegressor(**SMALL),
        ),
        DIABETES,
    ),
    "target": (
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), DLRegressor(**SMALL)), func=np.log, inverse_func=np.exp
        ),
        DIABETES,
    ),
    "scaled target": (
        TransformedTargetRegressor(
            DLRegressor(**SMALL), transformer=QuantileTransformer(n_quantiles=20)
        ),
        DIABETES,
    ),
    "vote": (
        VotingClassifier(
            [("net", DLClassifier(**SMALL)), ("line", LogisticRegression(max_iter=1000))],
            voting="soft",
        ),
        IRIS,
    ),
    "bags": (BaggingRegressor(DLRegressor(**SMALL), 2, random_state=0), DIABETES),
    "each label": (
        MultiOutputClassifier(DLClassifier(**SMALL)),
        (IRIS[0], np.stack([IRIS[1], 2 - IRIS[1]], 1)),
    ),
    "each class": (OneVsRestClassifier(DLClassifier(**SMALL)), IRIS),
    "one line": (Ridge(), DIABETES),
    "stack": (
        StackingRegressor([("net", DLRegressor(**SMALL)), ("line", Ridge())], cv=3),
        DIABETES,
    ),
    "frozen": (FrozenEstimator(DLClassifier(**SMALL).fit(*IRIS)), IRIS),
    **{
        f"calibrated, {method}": (
            CalibratedClassifierCV(DLClassifier(**SMALL), method=method, cv=2),
            IRIS,
        )
        for method in ("sigmoid", "isotonic", "temperature")
    },
}
EACH = pytest.mark.parametrize("case", CASES)


def _outputs(estimator, X):
    method = "predict_proba" if is_classifier(estimator) else "predict"
    return getattr(estimator, method)(X)


def _saved(estimator, folder):
    save_model(estimator, folder / "model.safetensors")
    return folder / "model.safetensors"


def _shown_parameters(estimator):
    return re.sub("0x[0-9a-fA-F]+", "an address", repr(estimator.get_params()))


def _network(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


@EACH
def test_a_loaded_model_is_the_saved_one(case, tmp_path):
    estimator, (X, y) = CASES[case]
    fitted = clone(estimator).fit(X, y)
    loaded = load_model(_saved(fitted, tmp_path))
    assert_array_equal(_outputs(loaded, X), _outputs(fitted, X))
    assert_array_equal(loaded.predict(X), fitted.predict(X))
    assert loaded.predict(X).dtype == fitted.predict(X).dtype
    assert _shown_parameters(loaded) == _shown_parameters(fitted)
    network, was = _network(loaded), _network(fitted)
    if isinstance(was, DLClassifier | DLRegressor):
        pd.testing.assert_frame_equal(network.history_, was.history_)
        assert vars(network).keys() - {"_module", "_optimizer_state"} == vars(was).keys() - {
            "_module",
            "_optimizer_state",
        }
        for name in ("loss_curve_", "validation_scores_", "n_iter_", "n_parameters_"):
            assert getattr(network, name) == getattr(was, name)
    for name in ("classes_", "feature_names_in_", "n_features_in_"):
        assert hasattr(loaded, name) == hasattr(fitted, name)
        assert_array_equal(getattr(loaded, name, 0), getattr(fitted, name, 0), strict=True)
    assert _saved(loaded, tmp_path).read_bytes() == _packed(fitted)


def _packed(estimator):
    arrays = {}
    return layout.pack({"model": write_value(estimator, arrays, "model")}, arrays)


def test_the_generator_goes_on_where_it_was(tmp_path):
    estimator = DLClassifier(random_state=np.random.RandomState(3))
    estimator.random_state.normal()
    loaded = load_model(_saved(estimator, tmp_path))
    assert loaded.random_state.normal() == estimator.random_state.normal()


def test_an_unfitted_model_travels_too(tmp_path):
    estimator, (X, y) = CASES["scalers"]
    loaded = load_model(_saved(estimator, tmp_path))
    with pytest.raises(NotFittedError):
        loaded.predict(X)
    assert_array_equal(loaded.fit(X, y).predict(X), clone(estimator).fit(X, y).predict(X))


def test_a_loaded_model_can_go_on_training(tmp_path):
    loaded = load_model(_saved(clone(CASES["classifier"][0]).fit(*IRIS), tmp_path))
    loaded.partial_fit(*IRIS)
    assert loaded.n_iter_ == SMALL["max_epochs"] + 1


def test_a_model_file_holds_no_state_of_the_optimizer(tmp_path):
    fitted = DLClassifier(**SMALL, warm_start=True).fit(*IRIS)
    assert fitted._optimizer_state
    assert "_optimizer_state" not in vars(load_model(_saved(fitted, tmp_path)))


def test_a_fresh_process_needs_the_file_alone(tmp_path):
    X, y = FRAME
    fitted = clone(CASES["columns"][0]).fit(X, y)
    _saved(fitted, tmp_path)
    X.to_parquet(tmp_path / "x.parquet")
    code = """
import numpy as np, pandas as pd, sys
from sklearn_dl import load_model
model = load_model("model.safetensors")
np.save("p.npy", model.predict_proba(pd.read_parquet("x.parquet")))
np.save("labels.npy", model.classes_, allow_pickle=False)
assert not {"matplotlib", "skops", "onnx"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert_array_equal(np.load(tmp_path / "p.npy"), fitted.predict_proba(X))
    assert np.load(tmp_path / "labels.npy").tolist() == ["maybe", "no", "yes"]


def test_the_file_is_about_the_size_of_the_weights_and_plain_safetensors(tmp_path):
    X, y = IRIS
    fitted = DLClassifier(hidden_layer_sizes=(128, 128), max_epochs=2, random_state=0).fit(X, y)
    path = _saved(fitted, tmp_path)
    weights = sum(value.nbytes for value in fitted._state.values())
    assert weights < path.stat().st_size < weights + 20_000
    with safe_open(path, framework="np") as stored:
        names = set(stored.keys())
        assert {f"model._state.{name}" for name in fitted._state} <= names
        assert_array_equal(stored.get_tensor("model.classes_"), fitted.classes_)


def test_saving_replaces_whole_files_only(tmp_path, monkeypatch):
    path = _saved(clone(CASES["classifier"][0]).fit(*IRIS), tmp_path)
    before = path.read_bytes()

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(layout.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_model(DLClassifier(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_and_the_rights_of_a_file_stay_when_it_is_replaced(tmp_path):
    stored = tmp_path / "third"
    link = tmp_path / "latest"
    save_model(DLClassifier(), stored)
    stored.chmod(0o600)
    link.symlink_to(stored)
    save_model(DLClassifier(dropout=0.125), link)
    assert link.is_symlink()
    assert load_model(stored).dropout == 0.125
    assert stored.stat().st_mode & 0o777 == 0o600


def test_requests_of_metadata_travel(tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        net = DLClassifier(**SMALL).set_fit_request(sample_weight="mass")
        net.set_score_request(sample_weight=False)
        loaded = load_model(_saved(make_pipeline(scaler, net).fit(*IRIS), tmp_path))
        for step, own in zip(loaded, (scaler, net), strict=True):
            asked, wanted = step.get_metadata_routing(), own.get_metadata_routing()
            assert asked.fit.requests == wanted.fit.requests
        assert loaded[-1].get_metadata_routing().score.requests == {"sample_weight": False}
        clone(loaded).fit(*IRIS, sample_weight=np.ones(150), mass=np.ones(150))


class Net(torch.nn.Linear):
    pass


class Own(BaseEstimator):
    pass


def _half(progress):
    return 0.5


def _ring():
    estimator = DLClassifier()
    estimator.callbacks = [estimator]
    return estimator


REFUSED = {
    "module": (DLClassifier(module=Net), r"module = 'Net', which is code"),
    "activation": (DLClassifier(activation=torch.relu), r"activation = '.*relu', which is code"),
    "schedule": (DLRegressor(schedule=_half), r"schedule = '_half', which is code"),
    "loss": (DLClassifier(loss=lambda a, b: a), r"loss = '<lambda>', which is code"),
    "optimizer": (DLClassifier(optimizer=torch.optim.SGD), r"optimizer = 'SGD', which is code"),
    "callback": (DLClassifier(callbacks=[Own()]), r"model.callbacks has 0 = an object of type"),
    "function": (make_pipeline(FunctionTransformer(_half)), "func = '_half', which is code"),
    "own step": (make_pipeline(Own(), DLClassifier()), "an object of type .*Own"),
    "forest": (RandomForestClassifier(), "RandomForestClassifier.*search.best_estimator_"),
    "search": (GridSearchCV(DLClassifier(), {}), "an object of type .*GridSearchCV"),
    "cache": (Pipeline([("net", DLClassifier())], memory="/tmp/cache"), "Set memory=None"),
    "ring": (_ring(), "holds itself"),
    "rows": (DLClassifier(class_weight=dict.fromkeys(range(400_000), 1.0)), "Do names or categor"),
    "category": (make_pipeline(OneHotEncoder(categories=[[1 + 2j]])), "type builtins.complex"),
    "wide float": (DLRegressor(tol=np.longdouble(1)), "has the dtype (float128|longdouble)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_code_or_unknown_is_refused_by_name(what, tmp_path):
    estimator, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        save_model(estimator, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_only_estimators_are_saved(tmp_path):
    with pytest.raises(TypeError, match="takes an estimator, got dict"):
        save_model({}, tmp_path / "model")


def test_every_known_type_of_scikit_learn_is_one_that_skops_audited():
    # of the estimators; their helpers are made of numbers: a pattern and dtypes, slopes, a beta
    helpers = {"sklearn.compose.make_column_selector"}
    ours = {f"{m}.{name}" for m in TYPES for name in TYPES[m] if name[0] != "_"} - helpers
    trusted = set(SKLEARN_ESTIMATOR_TYPE_NAMES)
    found = {get_type_name(type_of(key)) for key in ours if key.startswith("sklearn.")}
    assert len(found) > 30
    assert found <= trusted


# files that are none of ours, or no longer


@pytest.fixture(scope="module")
def stored():
    """The bytes of a small model with every kind of value in it."""
    fitted = clone(CASES["columns"][0]).fit(*FRAME)
    fitted[-1].random_state = np.random.RandomState(0)
    return _packed(fitted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def _load(data, folder):
    (folder / "file").write_bytes(data)
    return load_model(folder / "file")


def _resigned(data):
    """The file with the digest that its content now has: what a forger would write."""
    blank = data[: layout._DIGEST.start] + layout._BLANK + data[layout._DIGEST.stop :]
    digest = hashlib.sha256(blank).hexdigest().encode()
    return data[: layout._DIGEST.start] + digest + data[layout._DIGEST.stop :]


def _content(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["sklearn_dl"])


def _with_content(data, content, **more):
    """The file with other JSON, and the arrays it had; a forger's digest."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = content if isinstance(content, str) else json.dumps(content)
    header["__metadata__"] = {"sklearn_dl": text}
    header.update(more)
    new = json.dumps(header, separators=(",", ":")).encode()
    return _resigned(len(new).to_bytes(8, "little") + new + data[8 + length :])


FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_damage(stored, folder, position, bit):
    data = bytearray(stored)
    data[int(position * len(data))] ^= 1 << bit
    with pytest.raises(ValueError, match=r"file cannot be loaded: it is (damaged|no model file)"):
        _load(bytes(data), folder)


def test_every_flipped_bit_of_the_beginning_is_damage(stored, folder):
    for position in range(layout._DIGEST.stop + 8):
        data = bytearray(stored)
        data[position] ^= 1 << position % 8
        with pytest.raises(ValueError, match="cannot be loaded"):
            _load(bytes(data), folder)


@FUZZ
@given(kept=st.floats(0, 1, exclude_max=True), more=st.binary(max_size=20))
def test_a_truncated_or_longer_file_is_damage(stored, folder, kept, more):
    with pytest.raises(ValueError, match="cannot be loaded"):
        _load(stored[: int(kept * len(stored))], folder)
    with pytest.raises(ValueError, match="cannot be loaded"):
        _load(stored + more + b"\0", folder)


@FUZZ
@given(data=st.binary(max_size=300))
def test_a_foreign_file_is_refused(folder, data):
    for foreign in (data, len(data).to_bytes(8, "little") + data):
        with pytest.raises(ValueError, match=r"it is (no model file of sklearn_dl|damaged)"):
            _load(foreign, folder)


def _estimator_or_value_error(data, folder):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn tells another version of itself
            loaded = _load(data, folder)
    except ValueError:
        return
    assert isinstance(loaded, BaseEstimator)


@FUZZ
@given(
    position=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    header=st.booleans(),
)
def test_a_forged_bit_gives_a_model_or_a_value_error(stored, folder, position, bit, header):
    data = bytearray(stored)
    end = 8 + int.from_bytes(stored[:8], "little") if header else len(data)
    data[int(position * end)] ^= 1 << bit
    _estimator_or_value_error(_resigned(bytes(data)), folder)


_KINDS = (
    *("float", "tuple", "set", "frozenset", "dict", "array", "texts", "objects", "scalar"),
    *("dtype", "slice", "device", "random", "type", "function", "object", "absent"),
)
_LEAVES = st.sampled_from(
    [
        *(None, True, 0, -1, 2**63, 2**70, 1.5, "", "nan", "C", "<U9", "<M8[ns]", "|O"),
        *("numpy.log1p", "os.system", "sklearn.pipeline.Pipeline", "sklearn_dl.DLClassifier"),
        *("model.classes_", [], {}, [[]], [0], [-1], [2**62, 2**62]),
    ]
)
_HOSTILE = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(_KINDS), inner, min_size=1, max_size=2)
    ),
    max_leaves=8,
)


def _places(tree, path=()):
    yield path
    if isinstance(tree, list | dict):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _places(value, (*path, key))


@settings(FUZZ, max_examples=200)
@given(data=st.data())
def test_forged_json_gives_a_model_or_a_value_error(stored, folder, data):
    content = _content(stored)
    places = [path for path in _places(content) if path]
    *way, last = data.draw(st.sampled_from(places))
    parent = content
    for key in way:
        parent = parent[key]
    parent[last] = data.draw(_HOSTILE)
    _estimator_or_value_error(_with_content(stored, content), folder)


def _replaced(content, old, new):
    text = json.dumps(content)
    assert old in text
    return json.loads(text.replace(old, new, 1))


HOSTILE = {
    "type": (
        '"sklearn_dl.DLClassifier"',
        '"subprocess.Popen"',
        "names the type 'subprocess.Popen', which no model file may hold",
    ),
    "private type": (
        '"sklearn_dl.DLClassifier"',
        '"sklearn_dl.estimators.network.NetworkEstimator"',
        "which no model file may hold",
    ),
    "tree": (
        '"sklearn_dl.DLClassifier"',
        '"sklearn.tree.DecisionTreeClassifier"',
        "which no model file may hold",
    ),
    "function": ('{"type": "numpy.float32"}', '{"function": "os.system"}', "names the function"),
    "kind": ('{"type": "numpy.float32"}', '{"pickle": "gASV"}', "unknown kind 'pickle'"),
    "special attribute": ('["sparse_threshold", 0.3]', '["__class__", 0]', "cannot have an attr"),
    "method": ('["sparse_threshold", 0.3]', '["predict", 0]', "lacks its parameters"),
    "shadow": ('["n_features_in_", 7]', '["transform", 7]', "transform is not the file's to set"),
    "parameter": ('["dropout", 0.25]', '["dropout", -4]', "'dropout' parameter"),
    "cache": ('["memory", null]', '["memory", "/tmp/evil"]', "cache folder"),
    "width": ('["hidden_layer_sizes", {"tuple": [8]}]', "", "do not fit its layers"),
    "twice": ('["dropout", 0.25]', '["dropout", 0.25], ["dropout", 0.25]', "a key stands twice"),
    "request": (
        '["sparse_threshold", 0.3]',
        '["sparse_threshold", 0.3], ["_metadata_request", {"dict": [["owner", {"dict": []}]]}]',
        "asks for metadata of 'owner'",
    ),
    "alias": (
        '["sparse_threshold", 0.3]',
        '["sparse_threshold", 0.3], '
        '["_metadata_request", {"dict": [["fit", {"dict": [["a", [3]]]}]]}]',
        "alias|malformed",
    ),
    "position": (", 624, 0, 0.0]}", ", 4000000, 0, 0.0]}", "position that is none"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_part_is_refused(stored, folder, what):
    old, new, message = HOSTILE[what]
    content = _content(stored)
    if what == "width":  # of the network as it was built; the parameter is the first mention
        text = json.dumps(content)
        first, _, rest = text.partition(old)
        old = old if old in rest else '["hidden_layer_sizes", {"tuple": [8]}'
        rest = rest.replace(old, '["hidden_layer_sizes", {"tuple": [1000000000]}]', 1)
        content = json.loads(first + HOSTILE[what][0] + rest)
    else:
        content = _replaced(content, old, new)
    with pytest.raises(ValueError, match=message):
        _load(_with_content(stored, content), folder)


def _nested(n):
    return '{"sha256": "' + "0" * 64 + '", "format": 1, "model": ' + "[" * n + "]" * n + "}"


WHOLE = {
    "nested": (_nested(100_000), "nested too deep|malformed"),
    "nested a little": (_nested(150), "nested more than 100 deep"),
    "duplicate": (
        '{"sha256": "' + "0" * 64 + '", "format": 1, "format": 1}',
        "a key stands twice",
    ),
    "no object": ('{"sha256": "' + "0" * 64 + '", "format": 1, "model": 3}', "no estimator|array"),
    "huge number": (
        '{"sha256": "' + "0" * 64 + '", "format": ' + "9" * 5000 + "}",
        "JSON is malformed",
    ),
    "infinity": ('{"sha256": "' + "0" * 64 + '", "format": Infinity}', "no JSON"),
    "newer": (
        '{"sha256": "' + "0" * 64 + '", "format": 2, "sklearn_dl": "9.9"}',
        "format 2, written by sklearn_dl 9.9.*Upgrade",
    ),
    "never": ('{"sha256": "' + "0" * 64 + '", "format": "x"}', "never was one"),
}


@pytest.mark.parametrize("what", WHOLE)
def test_forged_json_as_a_whole_is_refused(stored, folder, what):
    text, message = WHOLE[what]
    with pytest.raises(ValueError, match=message):
        _load(_with_content(stored, text), folder)


def test_an_oversized_header_is_refused_unread(stored, folder):
    data = (layout.MAX_HEADER + 1).to_bytes(8, "little") + stored[8:]
    with pytest.raises(ValueError, match="its header has 33554433 bytes"):
        _load(_resigned(data), folder)


def test_a_header_of_very_many_values_is_refused_unparsed(stored, folder):
    text = _nested(0)[:-3] + "[" + "[]," * layout.MAX_VALUES + "[]]}"
    with pytest.raises(ValueError, match=r"its header holds 2,\d+,\d+ values"):
        _load(_with_content(stored, text), folder)


def test_of_an_endless_foreign_file_only_the_beginning_is_read():
    with pytest.raises(ValueError, match="it is no model file of sklearn_dl"):
        load_model("/dev/zero")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**60]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "BF16", "shape": [0], "data_offsets": [0, 0]},
        {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]},
    ],
    ids=["absurd shape", "beyond the file", "negative", "unknown dtype", "belongs to nothing"],
)
def test_forged_arrays_are_refused(stored, folder, entry):
    data = _with_content(stored, _content(stored), **{"../../etc/passwd": entry})
    with pytest.raises(ValueError, match=r"arrays are malformed|belongs to nothing"):
        _load(data, folder)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_a_pickle_inside_runs_nothing(stored, folder, monkeypatch):
    monkeypatch.chdir(folder)
    bomb = pickle.dumps(Bomb())
    pickle.loads(bomb)
    assert (folder / "exploded").exists()  # it is live
    (folder / "exploded").unlink()
    with pytest.raises(ValueError, match="no model file"):
        _load(bomb, folder)
    array = np.frombuffer(bomb, np.uint8)
    for kind in ({"array": ["bomb", "|O", "C"]}, {"texts": ["bomb", "bomb"]}, {"random": ["bomb"]}):
        content = _content(stored)
        content["model"]["object"][1][0] = ["steps", kind]
        data = save({"bomb": array}, {"sklearn_dl": json.dumps(content)})
        with pytest.raises(ValueError, match="cannot be loaded"):
            _load(_resigned(data), folder)
    assert not (folder / "exploded").exists()


# pickles


def test_a_pickle_holds_no_tensor_and_no_device():
    fitted = DLClassifier(**SMALL, warm_start=True).fit(*IRIS)
    fitted.predict(IRIS[0])

    class Watch(pickle.Pickler):
        def persistent_id(self, value):
            assert not isinstance(value, torch.Tensor | torch.nn.Module | torch.device)
            assert not type(value).__module__.startswith("torch")

    Watch(io.BytesIO()).dump(fitted)
