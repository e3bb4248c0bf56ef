"""``with batched_fits():`` the context in which fits wait for one another."""

from __future__ import annotations

import operator
import threading
from concurrent.futures import Executor
from contextlib import ExitStack
from contextvars import ContextVar
from types import TracebackType

from joblib import parallel_config

from sklearn_dl.batching.backend import RendezvousBackend
from sklearn_dl.batching.rendezvous import Rendezvous
from sklearn_dl.training import train_stack, trainer

__all__ = ["batched_fits"]

_active: ContextVar[Rendezvous | None] = ContextVar("active rendezvous", default=None)


class batched_fits:  # noqa: N801  named as joblib.parallel_config is
    """Train together what scikit-learn fits in a loop.

    In this context the fits of ``cross_val_score``, ``GridSearchCV``, ``learning_curve`` and every
    other caller of ``joblib.Parallel`` wait for one another and are trained as one stack of models,
    each as if it were alone. A plain ``fit`` trains at once.

    Inside another one that is active in the same thread, the outer one stays in force.

    Parameters
    ----------
    max_models : int, default=64
        Most models of a stack, and most tasks begun at one time (for each worker of the executor,
        and for each level of nested calls). Fewer begin where their arguments would take more than
        a quarter of the free memory.
    executor : concurrent.futures.Executor or None, default=None
        Where stacks are trained: any PEP 3148 executor, such as dask's ``Client.get_executor()``,
        loky's or mpi4py's. A stack whose worker died is trained again by another, or here. Fits
        with callbacks stay here.

    Returns
    -------
    Rendezvous
        From ``with ... as``. Its ``stacks`` is the list of the sizes trained so far.

    Raises
    ------
    ValueError
        If ``max_models`` is below 1.
    TypeError
        If ``max_models`` is no integer, or ``executor`` cannot ``submit``.

    Notes
    -----
    ``n_jobs=1`` keeps the plain loop, where every fit is alone. Any other ``n_jobs`` is how many
    tasks compute at a time between trainings, one where it is not given; it does not limit how many
    wait for one another.

    A task must not hold a lock across a ``fit`` while another task waits for that lock.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_dl import DLClassifier, batched_fits
    >>> X, y = load_iris(return_X_y=True)
    >>> net = DLClassifier(hidden_layer_sizes=(32,), max_epochs=2, random_state=0)
    >>> with batched_fits() as batches:
    ...     scores = cross_val_score(net, X, y, cv=5)
    >>> batches.stacks
    [5]
    """

    _train = staticmethod(train_stack)

    def __init__(self, max_models: int = 64, executor: Executor | None = None) -> None:
        try:
            self.max_models = operator.index(max_models)
        except TypeError as error:
            raise TypeError(f"max_models must be an integer, got {max_models!r}") from error
        if max_models < 1:
            raise ValueError(f"max_models must be at least 1, got {max_models}")
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise TypeError(
                "executor must have a submit method, as concurrent.futures.Executor and dask's "
                f"Client.get_executor() have; got {executor!r}"
            )
        self.executor = executor
        self._entered = threading.local()

    def __enter__(self) -> Rendezvous:
        """Open a rendezvous, or join the one that is active in this thread."""
        with ExitStack() as exits:
            rendezvous = _active.get()
            if rendezvous is None or rendezvous.turns.me() is None:
                rendezvous = Rendezvous(self._train, self.max_models, self.executor)
                exits.callback(rendezvous.close)
                exits.callback(_active.reset, _active.set(rendezvous))
                exits.callback(trainer.reset, trainer.set(rendezvous.submit))
            me = rendezvous.turns.me()
            assert me is not None
            backend = RendezvousBackend(rendezvous.turns, me.scope.level)
            exits.enter_context(parallel_config(backend=backend, n_jobs=rendezvous.turns.max_tasks))
            if not hasattr(self._entered, "exits"):
                self._entered.exits = []
            self._entered.exits.append(exits.pop_all())
        return rendezvous

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the threads and leave joblib as it was."""
        self._entered.exits.pop().close()
