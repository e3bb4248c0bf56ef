"""Which of the waiting fits are trained together?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, TypeVar

from sklearn_dl.batching.memory import FREE_SHARE, available_memory

if TYPE_CHECKING:
    from sklearn_dl.training import FitJob

__all__ = ["Grouping", "HasJob", "stack_size"]

#: Numbers a stack keeps per parameter: value, gradient, two moments, best epoch's value.
COPIES_OF_PARAMETERS = 5
#: Copies of a job's rows that training holds beside the job's own: padded, and one epoch gathered.
COPIES_OF_ROWS = 2
ITEMSIZE = 8
#: Models with more parameters train alone on a CPU. Time alone / time in a stack of 8, one thread:
#: 1.2 to 1.3 at 85,000 parameters, 1.0 to 1.1 at 300,000, 0.7 to 0.9 above a million.
MAX_STACKED_PARAMETERS = 300_000


class HasJob(Protocol):
    """Something that waits for a job."""

    @property
    def job(self) -> FitJob:
        """What is to be trained."""


Waiting = TypeVar("Waiting", bound=HasJob)


def stack_size(job: FitJob, max_models: int) -> int:
    """How many models like this one are best trained together.

    A step costs a fixed overhead and the arithmetic of its models; a stack shares the overhead.
    That is most of the time for small nets and nothing for large ones. On a CPU a large model also
    loses by company: alone, its parameters and moments stay in the cache from step to step. So
    larger models train alone there. On a device the overhead is the larger part for much longer.
    Everywhere a stack takes at most a quarter of the free memory.

    Parameters
    ----------
    job : FitJob
    max_models : int
        Never more than this.
    """
    if job.device.type == "cpu" and job.n_parameters > MAX_STACKED_PARAMETERS:
        return 1
    one = COPIES_OF_ROWS * job.nbytes + COPIES_OF_PARAMETERS * job.n_parameters * ITEMSIZE
    return max(1, min(max_models, int(FREE_SHARE * available_memory()) // max(one, 1)))


class Grouping:
    """Forms stacks, and remembers which sizes did not fit into memory.

    Parameters
    ----------
    max_models : int
        Most models of one stack.
    """

    def __init__(self, max_models: int) -> None:
        self.max_models = max_models
        self._limits: dict[Hashable, int] = {}

    def next_stack(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """The stack to train now: the most jobs that can be one, as many as are best.

        Of more jobs than that, those of equal length go together, so that few rows are padding.
        """
        group = max(_groups(waiting), key=len)
        size = self._size(group)
        if size < len(group):
            group = sorted(group, key=_length)  # stable: equal ones stay in order
        return group[:size]

    def all_stacks(self, waiting: Sequence[Waiting], n_workers: int) -> list[list[Waiting]]:
        """Stacks of all jobs, at least as many as there are workers where the jobs suffice."""
        stacks = []
        for group in _groups(waiting):
            n_stacks = -(-len(group) // self._size(group))
            n_stacks = min(len(group), max(n_stacks, n_workers))
            ordered = sorted(group, key=_length)
            bounds = [len(group) * i // n_stacks for i in range(n_stacks + 1)]
            stacks += [ordered[a:b] for a, b in pairwise(bounds)]
        return stacks

    def is_full(self, waiting: Waiting, n_waiting: int) -> bool:
        """Whether so many jobs like this one need not wait for more."""
        return n_waiting >= self._size([waiting])

    def too_large(self, stack: Sequence[HasJob]) -> None:
        """Memory did not suffice for this stack: at most half as many from now on."""
        self._limits[stack[0].job.stack_key] = max(1, len(stack) // 2)

    def _size(self, group: Sequence[HasJob]) -> int:
        job = max((waiting.job for waiting in group), key=lambda job: job.nbytes)
        if job.stack_key is None:
            return 1
        limit = self._limits.get(job.stack_key, self.max_models)
        return min(limit, stack_size(job, self.max_models))


def _groups(waiting: Sequence[Waiting]) -> list[list[Waiting]]:
    """Jobs that can be one stack, in the order in which they came; a key of None stands alone."""
    groups: dict[Hashable, list[Waiting]] = {}
    for one in waiting:
        key = one.job.stack_key
        groups.setdefault(object() if key is None else ("key", key), []).append(one)
    return list(groups.values())


def _length(waiting: HasJob) -> tuple[int, int]:
    return waiting.job.max_epochs, waiting.job.n_rows
