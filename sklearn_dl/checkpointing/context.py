"""``with checkpoints(directory):`` the context in which fits survive their process."""

from __future__ import annotations

import os
import threading
import warnings
from contextvars import Token
from dataclasses import replace
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Any

from sklearn_dl.checkpointing.identity import UnidentifiableError, job_key
from sklearn_dl.checkpointing.store import Directory
from sklearn_dl.training import FitJob, FitResult, Place, Train, keeper

__all__ = ["checkpoints"]


class checkpoints:  # noqa: N801  named as batched_fits is
    """Keep what fits have reached, so that the same call goes on after a crash.

    In this context every fit writes its state to a directory from time to time, and its result when
    it is done. Run the same script again after a crash, a kill or Ctrl-C: a fit that was done is
    taken from the directory, one that was under way goes on from its last checkpoint, with the
    weights, bit for bit, that it would have reached without the interruption.

    Works through pipelines, searches and `batched_fits`, whose stacks are kept as a whole.

    Parameters
    ----------
    directory : path-like
        Made if it is not there. It can serve many scripts and searches; delete it when its results
        are no longer wanted.
    every_epochs : int or None, default=None
        Write the state after every so many epochs.
    every_seconds : float or None, default=60
        Write it at the end of an epoch when so many seconds have passed since the last time. With
        both None only results of finished fits are kept.

    Attributes
    ----------
    reused : int
        Fits that were taken from the directory as they were.
    resumed : int
        Fits that went on from a checkpoint and were trained to their end.
    trained : int
        Fits that were trained from the beginning.

    Raises
    ------
    ValueError, TypeError
        For a parameter that cannot be used.
    NotADirectoryError
        ``directory`` is a file.

    Notes
    -----
    A fit is recognised by a SHA-256 of all that decides its result: encoded rows, targets, weights,
    seed, parameters, the code of callables given as parameters, and the versions of this package
    and of torch. With anything else in any of them it is another fit, and starts anew. So
    ``random_state`` must be set: with None no fit is the same twice, and none is kept.

    Bit for bit holds on one machine with one number of threads, and for a fit in `batched_fits`
    where the same fits come together again, as they do when the same search is run again.

    Not kept, with a warning: fits with ``callbacks``, and with callables whose content cannot be
    told. Other processes, such as those of ``n_jobs=2``, know nothing of this context: give
    `batched_fits` an executor instead.

    A file that is damaged or cannot be read is left aside with a warning.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_dl import DLClassifier, batched_fits, checkpoints
    >>> X, y = load_iris(return_X_y=True)
    >>> net = DLClassifier(max_epochs=3, random_state=0)
    >>> directory = tempfile.mkdtemp()
    >>> with checkpoints(directory) as kept, batched_fits():
    ...     scores = cross_val_score(net, X, y, cv=5)
    >>> kept.trained, kept.reused
    (5, 0)
    >>> with checkpoints(directory) as kept, batched_fits():
    ...     again = cross_val_score(net, X, y, cv=5)
    >>> kept.trained, kept.reused
    (0, 5)
    >>> bool((again == scores).all())
    True
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        every_epochs: int | None = None,
        every_seconds: float | None = 60.0,
    ) -> None:
        if every_epochs is not None:
            if isinstance(every_epochs, bool) or not isinstance(every_epochs, Integral):
                raise TypeError(f"every_epochs must be an integer or None, got {every_epochs!r}")
            every_epochs = int(every_epochs)
            if every_epochs < 1:
                raise ValueError(f"every_epochs must be at least 1, got {every_epochs}")
        if every_seconds is not None:
            if isinstance(every_seconds, bool) or not isinstance(every_seconds, Real):
                raise TypeError(f"every_seconds must be a number or None, got {every_seconds!r}")
            if not (isfinite(every_seconds) and every_seconds >= 0):
                raise ValueError(f"every_seconds must be finite and >= 0, got {every_seconds}")
        path = Path(directory).absolute()
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"checkpoints needs a directory, but {path} is a file")
        self.directory = Directory(path, every_epochs, every_seconds)
        self.reused = self.resumed = self.trained = 0
        self._said: set[str] = set()
        self._entered = threading.local()

    def __enter__(self) -> checkpoints:
        """Keep the fits of this thread from now on."""
        self.directory.path.mkdir(parents=True, exist_ok=True)
        if not hasattr(self._entered, "tokens"):
            self._entered.tokens = []
        self._entered.tokens.append(keeper.set(self._keep))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep them no longer; what was kept stays."""
        token: Token[Any] = self._entered.tokens.pop()
        keeper.reset(token)

    def _keep(self, job: FitJob, train: Train) -> FitResult:
        """The result of a fit, trained only where it is not known."""
        key = self._key(job)
        if key is None:
            return train(job)
        result = self.directory.result(key)
        if result is not None:
            self.reused += 1
            return result
        result = train(replace(job, place=Place(self.directory, key)))
        if result.resumed:
            self.resumed += 1
        else:
            self.trained += 1
        if not (result.interrupted or self.directory.holds(key)):
            self.directory.keep(key, result)  # trained by a worker that does not share the disk
        return result

    def _key(self, job: FitJob) -> str | None:
        """What a fit is recognised by; None, with a warning, where nothing is kept of it."""
        if not job.repeatable:
            why = "random_state=None gives every fit another seed; set a number"
        elif job.callbacks or job.on_epoch is not None:
            why = "what its callbacks have seen cannot be kept"
        else:
            try:
                return job_key(job)
            except UnidentifiableError as error:
                why = f"{error}, of which nobody can say whether it is the same again"
        if why not in self._said:
            self._said.add(why)
            warnings.warn(f"a fit is not checkpointed: {why}.", UserWarning, stacklevel=2)
        return None
