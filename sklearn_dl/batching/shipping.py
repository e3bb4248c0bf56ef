"""Stacks that are trained by an executor's workers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from sklearn_dl.training import FitJob, FitResult

__all__ = ["MAX_SHIPMENTS", "Train", "n_workers", "ship"]

Train: TypeAlias = "Callable[[Sequence[FitJob]], list[FitResult]]"

#: Times a stack is given to the executor before it is trained here. A worker can die of its own
#: accord once; a stack that kills three is better tried where its error can be seen.
MAX_SHIPMENTS = 3


def n_workers(executor: Executor) -> int:
    """How many stacks the executor trains at a time; 1 if it does not say.

    PEP 3148 has no name for it. concurrent.futures and loky keep ``_max_workers``, mpi4py has
    ``num_workers``, and dask's executor knows its client.
    """
    for name in ("num_workers", "_max_workers"):
        number = getattr(executor, name, None)
        if isinstance(number, int) and number > 0:
            return number
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "nthreads"):
        return max(1, len(client.nthreads()))
    return 1


def ship(executor: Executor, train: Train, jobs: Sequence[FitJob]) -> Future[list[FitResult]]:
    """Have a worker train a stack.

    Each shipment has a name of its own: dask takes equal calls for one, and would answer a second
    try with the failure of the first.
    """
    return executor.submit(train_shipment, train, list(jobs), uuid.uuid4().hex)


def train_shipment(train: Train, jobs: Sequence[FitJob], _name: str) -> list[FitResult]:
    """What a worker runs."""
    return train(jobs)
