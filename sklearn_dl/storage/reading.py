"""How is a value built from JSON beside arrays, when nobody vouches for them?

Each kind of `sklearn_dl.storage.writing` is checked as it is read: nothing here calls what a file
names, but for constructors of numpy, with their own checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_dl.storage.known import DTYPES, MAX_DEPTH, function_of, type_of
from sklearn_dl.storage.writing import REQUESTS, Arrays

__all__ = ["read_value"]

_CODE_POINTS = 0x110000
_RANDOM_WORDS = 624  # of the Mersenne twister
_MAX_DIMENSIONS = 32


def read_value(written: Any, arrays: Arrays) -> Any:
    """Build what `write_value` wrote.

    Parameters
    ----------
    written : object
        What JSON gave.
    arrays : dict
        The arrays of the file, by name.

    Raises
    ------
    ValueError
        It is malformed, or holds what no model file may hold.
    """
    reader = _Reader(arrays)
    try:
        value = reader.read(written)
    except (TypeError, OverflowError, RecursionError, AttributeError, KeyError) as error:
        raise ValueError(f"a part of it is malformed ({type(error).__name__}: {error})") from error
    if len(reader.used) < len(arrays):
        unused = next(name for name in arrays if name not in reader.used)
        raise ValueError(f"it holds an array that belongs to nothing, {unused[:60]!r}")
    return value


class _Reader:
    """Reads one estimator; every array of the file must be named by it."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.used: set[str] = set()
        # an array that stands twice is built once: as it was, and in no more room than the file's
        self.built: dict[tuple[str, ...], NDArray[Any]] = {}
        self.kinds: dict[str, Callable[[Any, int], Any]] = {
            "float": self._float,
            "tuple": lambda items, depth: tuple(self._items(items, depth)),
            "set": lambda items, depth: set(self._items(items, depth)),
            "frozenset": lambda items, depth: frozenset(self._items(items, depth)),
            "dict": self._dict,
            "array": self._array,
            "texts": self._texts,
            "objects": self._objects,
            "scalar": self._scalar,
            "dtype": lambda text, _: _dtype(text),
            "slice": lambda items, depth: slice(*_of_length(self._items(items, depth), 3)),
            "device": lambda name, _: _device(name),
            "random": self._random,
            "type": lambda key, _: type_of(key),
            "function": lambda key, _: function_of(key),
            "object": self._object,
        }

    def read(self, written: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        if not isinstance(written, list | dict):
            return written
        if isinstance(written, list):
            return self._items(written, depth)
        if len(written) != 1:
            raise ValueError("it holds a value that is of no one kind")
        ((kind, content),) = written.items()
        if kind not in self.kinds:
            raise ValueError(f"it holds a value of the unknown kind {kind[:40]!r}")
        return self.kinds[kind](content, depth)

    def _items(self, written: Any, depth: int) -> list[Any]:
        return [self.read(item, depth + 1) for item in _list(written)]

    def _dict(self, written: Any, depth: int) -> dict[Any, Any]:
        pairs = [_of_length(self._items(pair, depth), 2) for pair in _list(written)]
        read = {_hashable(key): value for key, value in pairs}
        if len(read) < len(pairs):
            raise ValueError("a key stands twice")
        return read

    @staticmethod
    def _float(written: Any, _: int) -> float:
        if written not in ("nan", "inf", "-inf"):
            raise ValueError("it holds a malformed number")
        return float(written)

    def _named(self, name: str) -> NDArray[Any]:
        if name not in self.arrays:
            raise ValueError("it names an array that it does not hold")
        self.used.add(name)
        return self.arrays[name]

    def _array(self, written: Any, _: int) -> NDArray[Any]:
        name, text, order = _texts_of_length(written, 3)
        if (name, text, order) not in self.built:
            self.built[name, text, order] = self._build_array(name, _dtype(text), order)
        return self.built[name, text, order]

    def _build_array(self, name: str, dtype: np.dtype[Any], order: str) -> NDArray[Any]:
        stored = self._named(name)
        if dtype.kind in "US":
            return _text_array(stored, dtype)
        if dtype.kind in "mM" and stored.dtype == np.int64:
            stored = stored.view(dtype)
        if stored.dtype != dtype or order not in ("C", "F"):
            raise ValueError(f"array {name!r} is not of the dtype that is said")
        return np.array(stored, order=order)  # type: ignore[call-overload,no-any-return]

    def _texts(self, written: Any, _: int) -> NDArray[Any]:
        lengths, joined = _texts_of_length(written, 2)
        if (lengths, joined) not in self.built:
            texts = _object_texts(self._named(lengths), self._named(joined))
            self.built[lengths, joined] = texts
        return self.built[lengths, joined]

    def _objects(self, written: Any, depth: int) -> NDArray[Any]:
        shape, items = _of_length(written, 2)
        return _object_array(self._items(items, depth), _shape(shape))

    def _scalar(self, written: Any, depth: int) -> Any:
        text, value = _of_length(written, 2)
        dtype, value = _dtype(text), self.read(value, depth + 1)
        wanted = {"b": bool, "f": float, "U": str}.get(dtype.kind, int)
        if type(value) is not wanted or dtype.kind in "SO":
            raise ValueError("it holds a malformed number")
        if dtype.kind in "mM":
            return np.array(value, np.int64).view(dtype)[()]
        return dtype.type(value)

    def _random(self, written: Any, depth: int) -> np.random.RandomState:
        key, position, *gauss = _of_length(self._items(written, depth), 4)
        # numpy does not check the position, and reads beyond the key
        if type(position) is not int or not 0 <= position <= _RANDOM_WORDS:
            raise ValueError("it holds a random state at a position that is none")
        if not isinstance(key, np.ndarray) or key.shape != (_RANDOM_WORDS,):
            raise ValueError("it holds a random state of another length")
        state = np.random.RandomState()
        state.set_state(("MT19937", key, position, *gauss))
        return state

    def _object(self, written: Any, depth: int) -> Any:
        key, attributes = _of_length(written, 2)
        cls = type_of(key)
        if cls.__module__ in ("builtins", "numpy"):
            raise ValueError(f"{key} is no type of model parts")
        state = self._dict(attributes, depth)
        for name in state:
            if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
                raise ValueError(f"{key} cannot have an attribute {str(name)[:40]!r}")
            own = getattr(cls, name, None)
            if callable(own) or isinstance(own, property):
                raise ValueError(f"{key}.{name} is not the file's to set")
        if state.get("memory") is not None:
            raise ValueError(f"{key} names a cache folder, whose pickles the next fit would run")
        if REQUESTS in state:
            state[REQUESTS] = _request(state[REQUESTS], cls.__name__)
        made: Any = object.__new__(cls)
        if isinstance(made, BaseEstimator):
            made.__setstate__(state)
            asked = made._get_param_names()
            missing = [n for n in asked if n not in vars(made) and not hasattr(cls, n)]
            if missing:
                raise ValueError(f"{key} lacks its parameters {missing}")
            if hasattr(made, "_parameter_constraints"):
                made._validate_params()
        else:
            made.__dict__.update(state)
        return made


def _request(asked: Any, owner: str) -> MetadataRequest:
    request = MetadataRequest(owner=owner)
    for method, wanted in asked.items():
        if method == "owner" or method not in vars(request):
            raise ValueError(f"it asks for metadata of {str(method)[:40]!r}, which takes none")
        for param, alias in wanted.items():
            getattr(request, method).add_request(param=param, alias=alias)
    return request


def _list(written: Any) -> list[Any]:
    if not isinstance(written, list):
        raise ValueError("it holds a value where a list is due")
    return written


def _of_length(written: Any, n: int) -> Any:
    if not isinstance(written, list | tuple) or len(written) != n:
        raise ValueError(f"it holds a list that should have {n} items")
    return written


def _texts_of_length(written: Any, n: int) -> Any:
    if not all(isinstance(item, str) for item in _of_length(written, n)):
        raise ValueError("it holds a list that should hold text")
    return written


def _object_texts(lengths: NDArray[Any], joined: NDArray[Any]) -> NDArray[Any]:
    """An object array of str from the lengths of its texts and their joined UTF-8."""
    whole = lengths.dtype == np.int64 and joined.dtype == np.uint8 and joined.ndim == 1
    if not whole or (lengths < 0).any() or sum(lengths.ravel().tolist()) != joined.size:
        raise ValueError("its texts do not have the lengths that are said")
    ends = np.cumsum(lengths.ravel()).tolist()
    data = joined.tobytes()
    spans = zip([0, *ends[:-1]], ends, strict=True) if ends else ()
    texts = [data[start:end].decode("utf-8", "surrogatepass") for start, end in spans]
    return _object_array(texts, lengths.shape)


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        raise ValueError("it holds a dictionary with a key that can be none") from None
    return key


def _shape(written: Any) -> tuple[int, ...]:
    shape = tuple(_list(written))
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError("it holds an array of too many dimensions")
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("it holds an array of a shape that can be none")
    return shape


def _object_array(items: list[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if math.prod(shape) != len(items):
        raise ValueError("it holds an array with another number of items than its shape has")
    array = np.empty(len(items), dtype=object)
    for position, item in enumerate(items):  # not array[:] = items, which would unpack arrays
        array[position] = item
    return array.reshape(shape)


def _dtype(text: Any) -> np.dtype[Any]:
    if not isinstance(text, str) or not DTYPES.fullmatch(text):
        raise ValueError("it names an unknown dtype")
    return np.dtype(text)


def _device(name: Any) -> torch.device:
    try:
        return torch.device(name)
    except (RuntimeError, TypeError):
        raise ValueError("it names an unknown device") from None


def _text_array(stored: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    unit = np.uint32 if dtype.kind == "U" else np.uint8
    width = dtype.itemsize // np.dtype(unit).itemsize
    if stored.dtype != unit or stored.ndim == 0 or stored.shape[-1] != width:
        raise ValueError("it holds text of another width than is said")
    if stored.size and stored.max() >= _CODE_POINTS:
        raise ValueError("it holds text with characters that are none")
    return np.frombuffer(stored.tobytes(), dtype).reshape(stored.shape[:-1]).copy()
