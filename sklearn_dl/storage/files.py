"""Which file does a model travel in, and what is checked when it is opened?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from sklearn_dl.storage.layout import pack, read_whole, unpack, write_whole
from sklearn_dl.storage.networks import check_networks
from sklearn_dl.storage.reading import read_value
from sklearn_dl.storage.writing import Arrays, write_value

__all__ = ["load_model", "save_model"]


def save_model(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Write an estimator to one file that can be opened without trusting its sender.

    The file holds weights, encoder, classes, history and parameters, also those of a pipeline of
    scikit-learn's steps around the network. It is written whole or not at all.

    Parameters
    ----------
    estimator : DLClassifier, DLRegressor, Pipeline, TransformedTargetRegressor, ...
        Fitted or not; the types are listed in ``sklearn_dl.storage.known``.
    path : path-like
        The file, by custom with the ending ".safetensors"; one that is there is replaced, at the
        end of a symbolic link if it is one.

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
    arrays: Arrays = {}
    write_whole(
        Path(path).resolve(), pack({"model": write_value(estimator, arrays, "model")}, arrays)
    )


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
        return _unpack(read_whole(Path(path)))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!s} cannot be loaded: {error}.") from error


def _unpack(data: bytes) -> Any:
    content, arrays = unpack(data)
    model = read_value(content.get("model"), arrays)
    if not isinstance(model, BaseEstimator):
        raise ValueError("it holds no estimator")
    check_networks(model)
    return model
