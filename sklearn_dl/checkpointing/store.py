"""What stands in a directory of checkpoints, and when is it written?

``<key>.fit`` is a finished fit; ``<key>.training`` a stack of fits under way, named after all of
them. Both are laid out as model files are (`sklearn_dl.storage.layout`): whole or absent, with a
digest, and without code. A file that is damaged or cannot be read, or holds something else than its
name says, is left aside with a warning, and the fit starts anew.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklearn_dl.storage.layout import pack, read_whole, unpack, write_whole
from sklearn_dl.storage.reading import read_value
from sklearn_dl.storage.writing import Arrays, write_value
from sklearn_dl.training import DivergenceError, FitResult, ModelState

__all__ = ["Directory"]


@dataclass(frozen=True)
class Directory:
    """A store of fits; see `sklearn_dl.training.job.Store`.

    Attributes
    ----------
    path : Path
        Absolute: it travels to workers.
    every_epochs : int or None
    every_seconds : float or None
    """

    path: Path
    every_epochs: int | None
    every_seconds: float | None

    def progress(self, keys: Sequence[str]) -> StackProgress:
        """The place of a stack of fits under way."""
        return StackProgress(self, tuple(keys))

    def result(self, key: str) -> FitResult | None:
        """The result of a finished fit, if it is here."""
        kept = _read(self._fit(key), [key])
        if kept is None:
            return None
        return FitResult(
            ModelState(**kept["state"]),
            {name: column.tolist() for name, column in kept["history"].items()},
            kept["best_epoch"],
            None if kept["error"] is None else DivergenceError(kept["error"]),
        )

    def keep(self, key: str, result: FitResult) -> None:
        """Keep the result of a finished fit."""
        history = {
            name: torch.tensor(column, dtype=torch.float64)
            for name, column in result.history.items()
        }
        kept = {
            "state": vars(result.state),
            "history": history,
            "best_epoch": result.best_epoch,
            "error": None if result.error is None else str(result.error),
        }
        _write(self._fit(key), [key], kept)

    def holds(self, key: str) -> bool:
        """Whether there is a file of a finished fit."""
        return self._fit(key).exists()

    def _fit(self, key: str) -> Path:
        return self.path / f"{key}.fit"


@dataclass
class StackProgress:
    """The state of one stack in training; see `sklearn_dl.training.job.Progress`."""

    directory: Directory
    keys: tuple[str, ...]
    epochs: int = 0
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """The file."""
        name = hashlib.sha256(" ".join(self.keys).encode()).hexdigest()
        return self.directory.path / f"{name}.training"

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, if there is one."""
        return _read(self.path, self.keys)

    def is_due(self) -> bool:
        """Whether to save after this epoch."""
        self.epochs += 1
        every, seconds = self.directory.every_epochs, self.directory.every_seconds
        if every is not None and self.epochs % every == 0:
            return True
        return seconds is not None and time.monotonic() - self.saved_at >= seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file."""
        _write(self.path, self.keys, state)
        self.saved_at = time.monotonic()

    def finish(self, results: Sequence[FitResult]) -> None:
        """Keep each fit's result, and let the state go."""
        for key, result in zip(self.keys, results, strict=True):
            self.directory.keep(key, result)
        cut_off = self.path.parent.glob(f".{self.path.name}.*.part")  # by a process that died
        for done in (self.path, *cut_off):
            with suppress(OSError):  # as when the disk is read-only by now: results count for more
                done.unlink(missing_ok=True)


def _write(path: Path, keys: Sequence[str], state: dict[str, Any]) -> None:
    """Write a file; a full disk or a value that no file holds does not end a long training."""
    arrays: Arrays = {}
    try:
        written = write_value(_exchanged(state, torch.Tensor, _array), arrays, "state")
        write_whole(path, pack({"keys": list(keys), "checkpoint": written}, arrays))
    except (OSError, ValueError) as error:
        warnings.warn(
            f"no checkpoint was written to {path.parent} ({error}); training goes on without.",
            UserWarning,
            stacklevel=2,
        )


def _read(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
    try:
        content, arrays = unpack(read_whole(path))
        if content.get("keys") != list(keys):
            raise ValueError("it belongs to another fit")
        state = _exchanged(read_value(content.get("checkpoint"), arrays), np.ndarray, _tensor)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(
            f"the checkpoint {path} is left aside, and what it was for is trained from the "
            f"beginning: {error}.",
            UserWarning,
            stacklevel=2,
        )
        return None
    assert isinstance(state, dict)
    return state


def _exchanged(value: Any, kind: type, exchange: Any) -> Any:
    """The same lists, tuples and dicts with every value of a kind exchanged."""
    if isinstance(value, kind):
        return exchange(value)
    if isinstance(value, dict):
        return {key: _exchanged(item, kind, exchange) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_exchanged(item, kind, exchange) for item in value)
    return value


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = tensor.detach().cpu().numpy()
    return array


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(array)
