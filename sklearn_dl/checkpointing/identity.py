"""Which fit is this? One key for all that decides what comes out of it.

The key is a SHA-256 over the job: rows, targets, weights, seed, every setting, and the versions of
this package and of torch. A user's function or class enters with its code, its defaults, what it
closes over, and what it names of its own module; other modules enter by name alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from functools import partial
from inspect import getattr_static
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from sklearn_dl import __version__
from sklearn_dl.training import FitJob

__all__ = ["UnidentifiableError", "job_key"]

#: Raised when the same key would mean something else.
KEY_FORMAT = 1
#: Rows that are read at a time.
ROWS_AT_A_TIME = 8192
#: Packages whose code belongs to their version, or to that of the environment.
_LIBRARIES = sys.stdlib_module_names | {"numpy", "scipy", "sklearn", "skorch", "torch", "pandas"}
_OWN = __name__.split(".")[0]
#: Fields of a job that decide nothing of the result.
_ASIDE = frozenset({"callbacks", "on_epoch", "place", "repeatable", "stackable", "verbose"})
_PLAIN = (
    *(type(None), type(...), bool, int, float, complex, str, bytes),
    *(torch.device, torch.dtype, np.dtype),
)

_CODE = (FunctionType, staticmethod, classmethod, property)


class UnidentifiableError(ValueError):
    """A part of a fit whose content cannot be told from another's."""


def job_key(job: FitJob) -> str:
    """A SHA-256 in hexadecimal digits, equal for jobs that train the same model.

    Raises
    ------
    UnidentifiableError
        A setting is an object of which nobody can say whether it is the same again.
    """
    writer = _Writer()
    writer.add((KEY_FORMAT, __version__, torch.__version__), "version")
    for item in dataclasses.fields(job):
        if item.name not in _ASIDE:
            writer.add(item.name, item.name)
            writer.add(getattr(job, item.name), item.name)
    return writer.digest.hexdigest()


class _Writer:
    """Feeds values to a digest so that different values feed different bytes."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[int, tuple[int, Any]] = {}

    def add(self, value: Any, place: str) -> None:
        """Add one value; ``place`` is named where it cannot be identified."""
        if isinstance(value, _PLAIN):
            self._text(type(value).__name__, repr(value))
        elif isinstance(value, torch.Tensor):
            self.add(value.detach().cpu().numpy(), place)
        elif isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value), place)
        elif isinstance(value, list | tuple | dict | set | frozenset):
            self._collection(value, place)
        elif id(value) in self.seen:  # a function that names itself
            self._text("again", str(self.seen[id(value)][0]))
        else:
            self.seen[id(value)] = len(self.seen), value
            self._object(value, place)

    def _text(self, kind: str, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.digest.update(f"{kind} {len(data)} ".encode())
        self.digest.update(data)

    def _array(self, value: np.ndarray[Any, Any], place: str) -> None:
        if value.dtype.hasobject:
            raise UnidentifiableError(f"{place} is an array of objects")
        self._text("array", f"{value.dtype.str} {value.shape}")
        self.digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)

    def _collection(self, value: Any, place: str) -> None:
        self._text(type(value).__name__, str(len(value)))
        if isinstance(value, dict):
            for key, item in value.items():
                self.add(key, place)
                self.add(item, place)
        elif isinstance(value, set | frozenset):
            self.add(sorted(value, key=repr), place)
        else:
            for item in value:
                self.add(item, place)

    def _object(self, value: Any, place: str) -> None:
        if hasattr(value, "rows") and hasattr(value, "n_features"):
            self._rows(value)
        elif isinstance(value, partial):
            self._text("partial", place)
            self.add([value.func, value.args, value.keywords], place)
        elif isinstance(value, type):
            self._class(value, place)
        elif isinstance(value, FunctionType):
            self._function(value, place)
        elif isinstance(value, ModuleType):
            self._text("module", value.__name__)
        elif isinstance(value, BuiltinFunctionType):
            self._text("builtin", f"{value.__module__}.{value.__qualname__}")
            owner = value.__self__  # that of a method of an object, else a module or a class
            self.add(owner if owner is not None else "", place)
        elif isinstance(value, CodeType):
            self._code(value, place)
        elif isinstance(value, MethodType):
            self._text("method", value.__name__)
            self.add([value.__func__, value.__self__], place)
        elif isinstance(value, staticmethod | classmethod):
            self.add(value.__func__, place)
        elif isinstance(value, property):
            self.add([value.fget, value.fset, value.fdel], place)
        elif isinstance(getattr(value, "__dict__", None), dict) and not _slots(type(value)):
            self.add([type(value), dict(vars(value))], place)
        else:
            raise UnidentifiableError(f"{place} is or holds a {type(value).__qualname__}")

    def _rows(self, inputs: Any) -> None:
        """Encoded rows, however they are held."""
        self._text("rows", f"{len(inputs)} {inputs.n_features}")
        for start in range(0, len(inputs), ROWS_AT_A_TIME):
            rows = inputs.rows(start, min(start + ROWS_AT_A_TIME, len(inputs)))
            self.add(rows, "rows")

    def _class(self, value: type, place: str) -> None:
        self._text("class", f"{value.__module__}.{value.__qualname__}")
        if _package(value) in _LIBRARIES | {_OWN}:
            return
        self.add(list(value.__bases__), place)
        for name in sorted(vars(value)):
            item = getattr_static(value, name)
            # of what Python itself writes into a class, only code decides anything
            if isinstance(item, _CODE) or not (name.startswith("__") or name == "_abc_impl"):
                self.add(name, place)
                self.add(item, f"{place}.{name}")

    def _function(self, value: FunctionType, place: str) -> None:
        self._text("function", f"{value.__module__}.{value.__qualname__}")
        self.add([value.__defaults__, value.__kwdefaults__], place)
        for cell in value.__closure__ or ():
            self.add(cell.cell_contents, place)
        if _package(value) not in _LIBRARIES | {_OWN}:
            self.add(value.__code__, place)
            for name, named in _named_globals(value.__code__, value.__globals__):
                self.add(name, place)
                foreign = isinstance(named, FunctionType | type) and (
                    _package(named) != _package(value)
                )
                if foreign or isinstance(named, ModuleType):
                    named = f"{_module_of(named)}.{named.__name__}"
                self.add(named, f"{place} ({name})")

    def _code(self, code: CodeType, place: str) -> None:
        # no line numbers: a comment above changes nothing
        self.add([code.co_code, code.co_names, code.co_varnames, code.co_freevars], place)
        self.add([c for c in code.co_consts if not isinstance(c, CodeType)], place)
        for nested in code.co_consts:
            if isinstance(nested, CodeType):
                self._code(nested, place)


def _package(value: Any) -> str:
    return _module_of(value).split(".")[0]


def _module_of(value: Any) -> str:
    return str(getattr(value, "__module__", None) or type(value).__module__)


def _named_globals(code: CodeType, names: dict[str, Any]) -> list[tuple[str, Any]]:
    """Global names that code uses, in it and in the functions it defines."""
    found = [(name, names[name]) for name in code.co_names if name in names]
    for nested in code.co_consts:
        if isinstance(nested, CodeType):
            found += _named_globals(nested, names)
    return found


def _slots(cls: type) -> bool:
    return any(vars(base).get("__slots__") for base in cls.__mro__)
