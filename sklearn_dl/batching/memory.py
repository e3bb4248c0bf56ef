"""How much memory is free, and how much a task's arguments hold?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["argument_bytes", "available_memory", "task_budget"]

#: Share of the free memory that the arguments of the tasks begun at one time may take.
FREE_SHARE = 1 / 4
#: A task copies the rows of its fold (1 x its arguments), encodes them (up to 1/2: float64 ->
#: float32) and the stack gathers them again (up to 1/2). Four tasks at once stay below ten times X,
#: and tasks of 640 MiB together below 2 GiB with the interpreter and torch.
LARGE_TASKS = 4
SMALL_TASKS_BYTES = 640 * 2**20
#: Assumed where the system does not say.
UNKNOWN_MEMORY = 2 * 2**30


def available_memory() -> int:
    """Bytes that can be allocated without swapping; a limit of the container counts.

    Linux says so in ``/proc/meminfo``; elsewhere half the physical memory is assumed free.
    """
    free = _meminfo_available()
    limit = _container_available()
    if free is None:
        free = _half_of_physical()
    return free if limit is None else min(free, limit)


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    words = fields.get("MemAvailable", "").split()
    return int(words[0]) * 1024 if words else None


def _container_available() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text("ascii").strip()
        used = (group / "memory.current").read_text("ascii").strip()
    except OSError:
        return None
    return max(int(limit) - int(used), 0) if limit.isdigit() and used.isdigit() else None


def _half_of_physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MEMORY


def task_budget(nbytes: int) -> int:
    """Bytes of arguments that the tasks begun at one time may hold together.

    Parameters
    ----------
    nbytes : int
        Bytes of the arguments of one of the tasks.
    """
    return int(min(FREE_SHARE * available_memory(), max(SMALL_TASKS_BYTES, LARGE_TASKS * nbytes)))


def argument_bytes(function: Callable[[], Any]) -> int:
    """Bytes of the arrays, frames and sparse matrices given to the calls of a joblib batch.

    An array that several tasks share counts for each: each slices its own fold from it.
    """
    calls = getattr(function, "items", ())
    return sum(_nbytes(value) for _, args, kwargs in calls for value in (*args, *kwargs.values()))


def _nbytes(value: Any) -> int:
    if hasattr(value, "memory_usage"):  # pandas
        usage = value.memory_usage(index=False)
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    if hasattr(value, "estimated_size"):  # polars
        return int(value.estimated_size())
    if hasattr(value, "indptr") and hasattr(value, "data"):  # scipy.sparse, compressed
        return int(value.data.nbytes + value.indices.nbytes + value.indptr.nbytes)
    nbytes = getattr(value, "nbytes", 0)
    return nbytes if isinstance(nbytes, int) else 0
