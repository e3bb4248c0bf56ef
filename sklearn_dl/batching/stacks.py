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
#: Parameters of the models of one stack on a CPU, together: in float32, with gradient and two
#: moments, 8 MiB. Time alone / time in a stack, one thread, 1 MiB of second-level cache a core, at
#: 26,000 to 300,000 parameters and batches of 8 to 512: up to here 0.94 to 1.3 (2 at 26,000 and
#: batches of 32), at four times as many 0.85 to 1.4, beyond 0.6 to 1.2. So models of more than half
#: of this train alone; two of 300,000 were 0.93 to 1.03 times as fast as one by one.
STACK_PARAMETERS = 2**19
#: Operations of one model's step from which it trains alone on a CPU. The overhead that a stack
#: shares is 0.1 to 0.2 ms a step, such a step takes 2 ms and more: nothing gained (0.92 to 1.07 at
#: 1e8, 0.96 to 1.3 at 6e7), and a stack that asks for a second thread can lose by it.
STEP_FLOPS = 8e7
#: Bytes of rows a step of the training (all epochs) from which a model trains alone on a CPU. A
#: stack's folds are in memory at once and their pages are fresh; alone they take turns in the same
#: pages. Five folds, one by one / batched: 1.3 at 100 KB a step, 1.06 to 1.15 at 200 KB, 0.6 to
#: 0.98 at 800 KB and more, which is few epochs over a wide table in large batches.
STEP_BYTES = 2**19


class HasJob(Protocol):
    """Something that waits for a job."""

    @property
    def job(self) -> FitJob:
        """What is to be trained."""


Waiting = TypeVar("Waiting", bound=HasJob)


def stack_size(job: FitJob, max_models: int) -> int:
    """How many models like this one are best trained together.

    A step costs a fixed overhead and the arithmetic of its models; a stack shares the overhead.
    That is most of the time for small nets and nothing for large ones. On a CPU a model also loses
    by company: its parameters and moments no longer stay in the cache from step to step, and its
    rows no longer take the place of the last model's. So a stack has at most ``STACK_PARAMETERS``
    there, and models beyond ``STEP_FLOPS`` or ``STEP_BYTES`` train alone. On a device the overhead
    is the larger part for much longer. Everywhere a stack takes at most a quarter of the free
    memory.

    Parameters
    ----------
    job : FitJob
    max_models : int
        Never more than this.
    """
    if job.device.type == "cpu":
        if not _gains_by_company(job):
            return 1
        max_models = min(max_models, STACK_PARAMETERS // max(job.n_parameters, 1))
    one = COPIES_OF_ROWS * job.nbytes + COPIES_OF_PARAMETERS * job.n_parameters * ITEMSIZE
    return max(1, min(max_models, int(FREE_SHARE * available_memory()) // max(one, 1)))


def _gains_by_company(job: FitJob) -> bool:
    """Whether the overhead of a step counts beside its arithmetic and its share of the rows."""
    n_steps = job.max_epochs * -(-job.n_rows // job.batch_size)
    return job.step_flops < STEP_FLOPS and job.nbytes <= STEP_BYTES * n_steps


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
