"""How is a model laid out in a file, and which files are refused?

The file is a safetensors file: arrays, and a header that describes them. The header's metadata
holds one entry, "sklearn_dl": the rest of the model as JSON. Its first key is the SHA-256 of the
whole file, taken with zeros in the place of the digest, so that no bit can change unseen. The
digest tells damage, not forgery: anyone can write one, so reading trusts nothing and runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sklearn.base import BaseEstimator

from sklearn_dl import __version__
from sklearn_dl.storage.networks import check_networks
from sklearn_dl.storage.reading import read_value
from sklearn_dl.storage.writing import Arrays, write_value

__all__ = ["FORMAT", "load_model", "save_model"]

#: Raised when files of the new layout mean something else to the old code.
FORMAT = 1
#: The header names the arrays and holds the JSON. A value of it may take 3 bytes there and 60 in
#: Python, so their number is bounded, too: by commas and brackets, which texts may hold as well.
MAX_HEADER, MAX_VALUES = 32 * 2**20, 2**20

_START = rb'{"__metadata__":{"sklearn_dl":"{\"sha256\": \"'
_LENGTH = 8  # bytes of the header's length, before the header
_BLANK = b"0" * 64
_DIGEST = slice(_LENGTH + len(_START), _LENGTH + len(_START) + len(_BLANK))


def save_model(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Write an estimator to one file that can be opened without trusting its sender.

    The file holds weights, encoder, classes, history and parameters, also those of a pipeline of
    scikit-learn's steps around the network. It is written whole or not at all.

    Parameters
    ----------
    estimator : DLClassifier, DLRegressor, Pipeline, TransformedTargetRegressor, ...
        Fitted or not; the types are listed in ``sklearn_dl.storage.known``.
    path : path-like
        The file, by custom with the ending ".safetensors"; one that is there is replaced.

    Raises
    ------
    ValueError
        A parameter is code, such as a callable module, loss or callback, or a part is of a type
        that no model file holds.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dl import DLClassifier, load_model, save_model
    >>> X, y = load_iris(return_X_y=True)
    >>> fitted = DLClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "iris.safetensors"
    >>> save_model(fitted, path)
    >>> bool((load_model(path).predict(X) == fitted.predict(X)).all())
    True
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"save_model takes an estimator, got {type(estimator).__name__}.")
    data = _pack(estimator)
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def load_model(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that `save_model` wrote. Nothing of the file is run.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    estimator
        As it was saved: the same predictions, bit for bit, on the same machine.

    Raises
    ------
    ValueError
        The file is damaged (one bit is enough), is no model file, was written by a newer format,
        or holds what no model file may hold.
    """
    try:
        return _unpack(_read(Path(path)))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!s} cannot be loaded: {error}.") from error


def _read(path: Path) -> bytes:
    """The whole file, but of a foreign one, however large, the beginning alone."""
    with path.open("rb") as file:
        if file.read(_DIGEST.start)[_LENGTH:] != _START:
            raise ValueError(
                "it is no model file of sklearn_dl, or its beginning is damaged; files are written "
                "with sklearn_dl.save_model"
            )
        file.seek(0)
        return file.read()


def _pack(estimator: BaseEstimator) -> bytes:
    arrays: Arrays = {}
    content = {
        "sha256": _BLANK.decode(),
        "format": FORMAT,
        "sklearn_dl": __version__,
        "sklearn": sklearn.__version__,
        "numpy": np.__version__,
        "model": write_value(estimator, arrays, "model"),
    }
    data = bytearray(save(arrays, {"sklearn_dl": json.dumps(content, allow_nan=False)}))
    if _header_length(data) > MAX_HEADER or _n_values(data) > MAX_VALUES:
        raise ValueError(
            f"all that is no array would take {_header_length(data) / 2**20:.1f} MiB and "
            f"{_n_values(data):,} values; a model file holds {MAX_HEADER / 2**20:.0f} MiB and "
            f"{MAX_VALUES:,}. Do names or categories hold rows?"
        )
    assert data[_LENGTH : _DIGEST.stop] == _START + _BLANK, "safetensors lays its header out anew"
    data[_DIGEST] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def _unpack(data: bytes) -> Any:
    digest = hashlib.sha256(data[: _DIGEST.start])
    digest.update(_BLANK)
    digest.update(memoryview(data)[_DIGEST.stop :])
    if data[_DIGEST] != digest.hexdigest().encode():
        raise ValueError("it is damaged: its SHA-256 is not the one it carries. Copy it anew")
    if _header_length(data) > MAX_HEADER:
        raise ValueError(f"its header has {_header_length(data)} bytes, at most {MAX_HEADER} pass")
    if _n_values(data) > MAX_VALUES:
        raise ValueError(
            f"its header holds {_n_values(data):,} values, at most {MAX_VALUES:,} pass"
        )
    content = _content(data)
    if content.get("format") != FORMAT:
        raise ValueError(_other_format(content))
    model = read_value(content.get("model"), _arrays(data))
    if not isinstance(model, BaseEstimator):
        raise ValueError("it holds no estimator")
    check_networks(model)
    return model


def _header_length(data: bytes | bytearray) -> int:
    return int.from_bytes(data[:_LENGTH], "little")


def _n_values(data: bytes | bytearray) -> int:
    """At least as many as the values of the header."""
    end = _LENGTH + _header_length(data)
    return sum(data.count(mark, _LENGTH, end) for mark in (b",", b"[", b"{"))


def _content(data: bytes) -> dict[str, Any]:
    header = _json(data[_LENGTH : _LENGTH + _header_length(data)])
    content = _json(header["__metadata__"]["sklearn_dl"])
    if not isinstance(content, dict):
        raise ValueError("its JSON is no object")
    return content


def _arrays(data: bytes) -> Arrays:
    try:
        return load(data)
    except (SafetensorError, KeyError, MemoryError) as error:
        raise ValueError(f"its arrays are malformed ({error})") from error


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"its JSON is no text ({error.reason})") from None
    except ValueError as error:
        raise ValueError(f"its JSON is malformed ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a key stands twice")
    return unique


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _other_format(content: dict[str, Any]) -> str:
    found = content.get("format")
    if type(found) is int and found > FORMAT:
        return (
            f"it has format {found}, written by sklearn_dl {str(content.get('sklearn_dl'))[:40]}; "
            f"sklearn_dl {__version__} reads format {FORMAT}. Upgrade sklearn_dl"
        )
    return f"it has the format {str(found)[:40]!r}, which never was one"
