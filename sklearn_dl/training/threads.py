"""How many torch threads a fit uses: chosen from the work in a step, restored afterwards."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["limited_threads", "threads_for"]

#: Floating-point operations in a step below which a second thread costs more than it brings.
FLOPS_PER_THREAD = 5e8


def threads_for(flops_per_step: float) -> int:
    """Threads for a training step of so many operations; never more than torch is set to use.

    One inside a worker of a parallel computation (another thread or process than the main one):
    there the other cores are taken, and two threads that share a core were seen ten times slower
    than one.
    """
    in_worker = (
        threading.current_thread() is not threading.main_thread()
        or multiprocessing.parent_process() is not None
    )
    if in_worker:
        return 1
    return max(1, min(torch.get_num_threads(), int(flops_per_step // FLOPS_PER_THREAD)))


@contextmanager
def limited_threads(n_threads: int) -> Iterator[None]:
    """Run torch with ``n_threads`` threads in this thread, then restore."""
    before = torch.get_num_threads()
    if before == n_threads:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
