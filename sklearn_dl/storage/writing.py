"""How is a value written as JSON beside arrays?

JSON's null, booleans, strings, numbers and lists stand for themselves; everything else is an object
of one key, the kind:

============  ============================================================================
"float"       "nan", "inf" or "-inf"
"tuple"       its items; also "set" and "frozenset"
"dict"        [key, value] pairs
"array"       [name of the array, dtype, "C" or "F"]
"texts"       [name of the lengths, name of the UTF-8 bytes]: an object array of str
"objects"     [shape, items]: any other object array
"scalar"      [dtype, value] of numpy
"dtype"       its string
"slice"       [start, stop, step]
"device"      the name of a torch device
"random"      the state of a numpy RandomState
"type", "function"   the name of a known one
"object"      [the name of its type, its attributes as pairs]
============  ============================================================================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_dl.estimators.network import MOMENTS
from sklearn_dl.storage.known import DTYPES, MAX_DEPTH, function_key, key_of

__all__ = ["REQUESTS", "Arrays", "write_value"]

#: Where scikit-learn's estimators keep which metadata they ask for.
REQUESTS = "_metadata_request"

Arrays = dict[str, NDArray[Any]]

_PLAIN = (bool, int, str)


def write_value(value: Any, arrays: Arrays, place: str) -> Any:
    """Turn a value into what JSON holds.

    Parameters
    ----------
    value : object
        An estimator, or anything it is made of.
    arrays : dict
        Takes the arrays, by name.
    place : str
        Where the value stands, such as "model.encoder_": names arrays and is shown in messages.

    Raises
    ------
    ValueError
        It holds something that cannot be written without code.
    """
    return _Writer(arrays).write(value, place)


class _Writer:
    """Writes one estimator; holds the arrays written so far and the objects being written."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        # an array that stands twice is stored once; held, so that no other takes its id
        self.names: dict[int, tuple[str, NDArray[Any]]] = {}
        self.open: list[int] = []

    def write(self, value: Any, place: str) -> Any:
        if value is None or type(value) in _PLAIN:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if id(value) in self.open or len(self.open) >= MAX_DEPTH:
            raise ValueError(f"{place} holds itself, or is nested more than {MAX_DEPTH} deep.")
        self.open.append(id(value))
        written = self._write_compound(value, place)
        self.open.pop()
        return written

    def _write_compound(self, value: Any, place: str) -> Any:
        if type(value) is list:
            return self._items(value, place)
        if type(value) in (tuple, set, frozenset):
            return {type(value).__name__: self._items(value, place)}
        if type(value) in (dict, Bunch):
            return {"dict": self._pairs(value, place)}
        if isinstance(value, np.generic):
            return {"scalar": self._scalar(value, place)}
        if type(value) is np.ndarray:
            return self._array(value, place)
        if isinstance(value, np.dtype):
            return {"dtype": _dtype_text(value, place)}
        if type(value) is torch.device:
            return {"device": str(value)}
        if type(value) is slice:
            return {"slice": self._items((value.start, value.stop, value.step), place)}
        if type(value) is np.random.RandomState:
            return {"random": self._random(value, place)}
        return self._known(value, place)

    def _known(self, value: Any, place: str) -> Any:
        key = key_of(value if isinstance(value, type) else type(value))
        if key is not None and isinstance(value, type):
            return {"type": key}
        if key is not None:
            return {"object": [key, self._pairs(_attributes(value, place), place)]}
        function = function_key(value) if callable(value) else None
        if function is not None:
            return {"function": function}
        raise ValueError(_refusal(value, place))

    def _items(self, values: Any, place: str) -> list[Any]:
        return [self.write(value, f"{place}.{i}") for i, value in enumerate(values)]

    def _pairs(self, values: dict[Any, Any], place: str) -> list[Any]:
        return [
            [self.write(key, f"{place}.key"), self.write(value, f"{place}.{key}")]
            for key, value in values.items()
        ]

    def _store(self, array: NDArray[Any], place: str) -> str:
        name = place
        while name in self.arrays:
            name += "'"
        self.arrays[name] = array
        return name

    def _array(self, value: NDArray[Any], place: str) -> Any:
        if value.dtype == object:
            return self._objects(value, place)
        if id(value) not in self.names:
            self.names[id(value)] = self._store(_as_numbers(value, place), place), value
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        text = _dtype_text(value.dtype, place)
        return {"array": [self.names[id(value)][0], text, "F" if fortran else "C"]}

    def _objects(self, value: NDArray[Any], place: str) -> Any:
        items = value.ravel().tolist()
        if not all(type(item) is str for item in items):
            return {"objects": [list(value.shape), self._items(items, place)]}
        texts = [item.encode("utf-8", "surrogatepass") for item in items]
        lengths = np.array([len(text) for text in texts], np.int64).reshape(value.shape)
        joined = np.frombuffer(b"".join(texts), np.uint8)
        return {"texts": [self._store(lengths, place), self._store(joined, f"{place}.text")]}

    def _scalar(self, value: np.generic, place: str) -> list[Any]:
        text = _dtype_text(value.dtype, place)
        plain = value.view(np.int64) if value.dtype.kind in "mM" else value
        return [text, self.write(plain.item(), place)]

    def _random(self, value: np.random.RandomState, place: str) -> list[Any]:
        name, key, *numbers = value.get_state(legacy=True)
        if name != "MT19937":
            raise ValueError(f"{place} is a RandomState of {name}, give a seed or MT19937.")
        return [self.write(part, place) for part in (key, *numbers)]


def _attributes(value: Any, place: str) -> dict[str, Any]:
    state = value.__getstate__()
    if not isinstance(state, dict):
        raise ValueError(f"{place} is a {type(value).__name__} without attributes to save.")
    if state.get("memory") is not None:
        # joblib would read pickles from there at the next fit
        raise ValueError(
            f"{place}.memory is {state['memory']!r}, a cache of this machine. Set memory=None "
            "before save_model; predictions do not change."
        )
    if REQUESTS in state:
        state = {**state, REQUESTS: _requested(state[REQUESTS])}
    # moments are for going on in the same work, and would make a model file three times as large
    return {name: part for name, part in state.items() if name != MOMENTS}


def _requested(request: MetadataRequest) -> dict[str, dict[str, Any]]:
    """What is asked for by ``set_fit_request`` and its like, by method and parameter."""
    methods = {name: part for name, part in vars(request).items() if name != "owner"}
    return {name: dict(part.requests) for name, part in methods.items() if part.requests}


def _refusal(value: Any, place: str) -> str:
    owner, _, name = place.rpartition(".")
    kind = type(value)
    if callable(value):
        what = f"{getattr(value, '__qualname__', kind.__qualname__)!r}, which is code"
        advice = (
            f"Choose {name!r} by one of its names, or store the estimator with cloudpickle for "
            "people who trust you."
        )
    else:
        what = f"an object of type {kind.__module__}.{kind.__qualname__}"
        advice = (
            "Save the fitted estimator itself, such as search.best_estimator_, made of steps "
            "listed in sklearn_dl.storage.known."
        )
    return f"a model file holds no code, but {owner or 'the model'} has {name} = {what}. {advice}"


def _dtype_text(dtype: np.dtype[Any], place: str) -> str:
    text = dtype.newbyteorder("<").str
    if not DTYPES.fullmatch(text):
        raise ValueError(f"{place} has the dtype {dtype}, which a model file cannot hold.")
    return text


def _as_numbers(value: NDArray[Any], place: str) -> NDArray[Any]:
    """The same bytes in a dtype that safetensors has: text as code points, times as integers."""
    _dtype_text(value.dtype, place)
    flat = np.ascontiguousarray(value).reshape(value.shape)
    flat = flat.astype(flat.dtype.newbyteorder("<"), copy=False)
    kind = value.dtype.kind
    if kind in "mM":
        return flat.view(np.int64)
    if kind in "US":
        unit = np.uint32 if kind == "U" else np.uint8
        width = flat.dtype.itemsize // np.dtype(unit).itemsize
        return np.frombuffer(flat.tobytes(), unit).reshape(*value.shape, width)
    return flat
