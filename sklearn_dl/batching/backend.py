"""joblib's view of a rendezvous: a backend whose tasks are threads that take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from joblib import cpu_count
from joblib.parallel import ParallelBackendBase

from sklearn_dl.batching.tasks import Scope, Task
from sklearn_dl.batching.turns import Turns

__all__ = ["RendezvousBackend"]


class RendezvousBackend(ParallelBackendBase):
    """Runs the tasks of ``joblib.Parallel`` in the threads of ``turns``.

    ``n_jobs``: 1 is joblib's loop in the calling thread, so every fit is alone. Every other value
    lets as many tasks wait for one another as the rendezvous has room for, and says how many
    of them compute at a time: one where it is not given, else ``n_jobs`` but no more than there are
    processors.

    Results are fetched by the calling thread (no retrieve callbacks), because only then is there a
    place where it is known to wait.
    """

    supports_retrieve_callback = False
    supports_sharedmem = True
    uses_threads = True
    default_n_jobs = -1

    def __init__(self, turns: Turns, nesting_level: int = 0) -> None:
        super().__init__(nesting_level=nesting_level)
        self._turns = turns
        self._width = 1
        self._scopes: list[Scope] = []

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many tasks can wait for one another."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        # A thread that dispatches holds a lock of joblib and must not wait for tasks.
        return 1 if n_jobs == 1 or not self._turns.can_wait() else self._turns.max_tasks

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Called by each ``Parallel`` before it begins."""
        self.parallel = parallel
        if n_jobs == self._turns.max_tasks:  # what batched_fits gives where the caller says nothing
            self._width = 1
        else:
            asked = n_jobs if n_jobs > 0 else max(1, cpu_count() + 1 + n_jobs)
            self._width = min(asked, cpu_count())
        return self.effective_n_jobs(n_jobs)

    def start_call(self) -> None:
        """A ``Parallel`` call begins to dispatch."""
        self._scopes.append(self._turns.open_scope(self._width))

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """The calling thread begins to wait for results."""
        self._turns.start_retrieval(self._scopes[-1])
        yield

    def stop_call(self) -> None:
        """The ``Parallel`` call has ended."""
        self._turns.close_scope(self._scopes.pop())

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A task failed, or the caller was interrupted: drop the rest."""
        if self._scopes:
            self._turns.cancel(self._scopes[-1])

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any]) -> Task:
        """Queue a batch of calls."""
        task = Task(func, callback, self._scopes[-1])
        self._turns.add(task)
        return task

    def retrieve_result(self, out: Task, timeout: float | None = None) -> Any:
        """Wait for a batch of calls."""
        return self._turns.result_of(out)

    def get_nested_backend(self) -> tuple[RendezvousBackend, int]:
        """The same rendezvous, so that a search inside a cross-validation is stacked too."""
        nested = RendezvousBackend(self._turns, (self.nesting_level or 0) + 1)
        return nested, self._turns.max_tasks
