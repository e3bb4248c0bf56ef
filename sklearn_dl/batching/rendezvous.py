"""Fits wait for one another and are trained as stacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sklearn_dl.batching.shipping import MAX_SHIPMENTS, Train, n_workers, ship
from sklearn_dl.batching.stacks import Grouping
from sklearn_dl.batching.tasks import Wait
from sklearn_dl.batching.turns import Turns

if TYPE_CHECKING:
    from sklearn_dl.training import FitJob, FitResult

__all__ = ["Rendezvous"]

#: Tasks begun at one time, at most: each has a thread.
MAX_THREADS = 1024


@dataclass(eq=False, kw_only=True)
class ParkedFit(Wait):
    """A thread that sleeps until its model is trained."""

    job: FitJob
    result: FitResult | None = None
    error: BaseException | None = None
    n_shipments: int = 0
    note: str | None = None

    def __post_init__(self) -> None:
        self.key = self.job.stack_key


class Rendezvous:
    """Where fits wait until no thread can bring another one.

    Parameters
    ----------
    train : callable
        Jobs -> results in the same order. An ``Exception`` from a stack of several makes each of
        them train alone, so that it reaches only the fit it belongs to; out of memory, the stack is
        halved.
    max_models : int
        Most models of one stack.
    executor : concurrent.futures.Executor or None
        Trains portable stacks elsewhere.

    Attributes
    ----------
    stacks : list of int
        Sizes of the stacks trained so far, in the order in which they were done.
    """

    def __init__(self, train: Train, max_models: int, executor: Executor | None = None) -> None:
        self.stacks: list[int] = []
        self.executor = executor
        self._train = train
        self._grouping = Grouping(max_models)
        self._parked: list[ParkedFit] = []
        self._full = False  # a stack is complete: waiting for more fits would only take memory
        self._returned: list[list[ParkedFit]] = []  # shipped stacks that came back untrained
        self._under_way: set[Future[list[FitResult]]] = set()
        n_tasks = max_models * (1 if executor is None else n_workers(executor))
        self.turns = Turns(self, min(n_tasks, MAX_THREADS))

    def submit(self, job: FitJob) -> FitResult:
        """Wait until ``job`` is trained, most often together with others.

        A thread that takes no part, or that must not wait, trains it at once.

        Raises
        ------
        Abandoned
            If the ``Parallel`` call this fit belongs to has failed or was interrupted.
        Exception
            Whatever training this job alone raised.
        """
        me = self.turns.me()
        if me is None or me.dispatching:
            (result,) = self._train([job])
            self.stacks.append(1)
            return result
        fit = ParkedFit(me, me.scope, job=job)
        with self.turns.lock:
            if not me.scope.abandoned:  # else sleeping raises Abandoned
                self._parked.append(fit)
                self._full = self._full or self._completes_a_stack(fit)
        self.turns.sleep(fit)
        if fit.note is not None:
            warnings.warn(fit.note, RuntimeWarning, stacklevel=2)
        if fit.error is not None:
            raise fit.error
        assert fit.result is not None
        return fit.result

    def close(self) -> None:
        """End all threads; whatever still waits is abandoned, here and at the executor."""
        self.turns.close()
        for future in list(self._under_way):
            future.cancel()

    # ---- the host's work; see turns.Work ----

    def is_waiting(self) -> bool:
        """Whether fits wait that are not under way."""
        return bool(self._parked or self._returned)

    def is_urgent(self) -> bool:
        """Whether a stack is complete, so that no task should begin before it is trained."""
        return self._full and bool(self._parked)

    def drop_abandoned(self) -> None:
        """Forget fits nobody wants any more."""
        self._parked = [fit for fit in self._parked if not fit.scope.abandoned]

    def do(self) -> None:
        """Ship what may travel; train one stack of the rest here.

        One, because the fits it releases may make room for others like those that still wait.
        """
        while self._returned:
            self._ship(self._returned.pop())
        if self.executor is not None:
            with self.turns.lock:
                portable = [fit for fit in self._parked if fit.job.portable]
                self._parked = [fit for fit in self._parked if not fit.job.portable]
            for stack in self._grouping.all_stacks(portable, n_workers(self.executor)):
                self._ship(stack)
        if self._parked:
            stack = self._grouping.next_stack(self._parked)
            taken = set(stack)
            with self.turns.lock:
                self._parked = [fit for fit in self._parked if fit not in taken]
                self._full = False
            self._train_here(stack)

    def _completes_a_stack(self, fit: ParkedFit) -> bool:
        if self.executor is not None and fit.job.portable:
            return False  # the workers take what there is, evenly
        n_alike = sum(other.key == fit.key for other in self._parked)
        return self._grouping.is_full(fit, n_alike)

    def _train_here(self, stack: list[ParkedFit]) -> None:
        """Train a stack; where that fails, smaller ones, so that an error finds its fit."""
        try:
            results = self._train([fit.job for fit in stack])
        except Exception as error:  # noqa: BLE001  raised again in the thread of its fit
            if len(stack) == 1:
                stack[0].error = error
                self._release(stack)
                return
            size = 1
            if is_out_of_memory(error):
                self._grouping.too_large(stack)
                size = -(-len(stack) // 2)
        else:
            self._deliver(stack, results)
            return
        for i in range(0, len(stack), size):
            self._train_here(stack[i : i + size])

    def _ship(self, stack: list[ParkedFit]) -> None:
        """Give a stack to the executor; what it lost too often, or refuses, is trained here."""
        stack = [fit for fit in stack if not fit.scope.abandoned]
        if not stack:
            return
        assert self.executor is not None
        if stack[0].n_shipments < MAX_SHIPMENTS:
            for fit in stack:
                fit.n_shipments += 1
            try:
                future = ship(self.executor, self._train, [fit.job for fit in stack])
            except (RuntimeError, OSError) as error:  # broken, or shut down
                stack[0].note = _note(error)
            else:
                self._under_way.add(future)
                future.add_done_callback(self._arrival(stack))
                return
        self._train_here(stack)

    def _arrival(self, stack: list[ParkedFit]) -> Callable[[Future[list[FitResult]]], None]:
        """What to do when a worker is done with a stack, or died of it.

        Runs in a thread of the executor, which would swallow an exception: there must be none.
        """

        def arrived(future: Future[list[FitResult]]) -> None:
            self._under_way.discard(future)
            try:
                results = future.result()
                stack[0].note = None
                self._deliver(stack, results)
            except BaseException as error:  # noqa: BLE001  cancellation by dask is not an Exception
                smaller = [stack]
                if is_out_of_memory(error) and len(stack) > 1:
                    self._grouping.too_large(stack)
                    smaller = [stack[: len(stack) // 2], stack[len(stack) // 2 :]]
                for part in smaller:
                    part[0].note = _note(error)
                self._returned += smaller
            with self.turns.lock:
                self.turns.advance()

        return arrived

    def _deliver(self, stack: list[ParkedFit], results: Sequence[FitResult]) -> None:
        for fit, result in zip(stack, results, strict=True):
            fit.result = result
        self.stacks.append(len(stack))
        self._release(stack)

    def _release(self, stack: list[ParkedFit]) -> None:
        with self.turns.lock:
            for fit in stack:
                self.turns.release(fit)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether numpy, torch on the CPU, or torch on a device lacked memory."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _note(error: BaseException) -> str:
    return (
        f"the executor did not train a stack ({type(error).__name__}: {error}); it was trained in "
        "this process instead. Look at the workers' logs if this comes again"
    )
