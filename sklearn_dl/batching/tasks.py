"""What takes turns: calls of ``Parallel``, the tasks in them, and the threads that run these."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal

from sklearn_dl.batching.warning_state import WarningState

__all__ = ["Abandoned", "Member", "Scope", "Task", "Wait"]


class Abandoned(BaseException):
    """The work of this thread is no longer wanted: its ``Parallel`` call failed or was interrupted.

    Not an ``Exception``: scikit-learn's ``error_score`` must not take it for a score.
    """


@dataclass(eq=False)
class Scope:
    """One ``Parallel`` call; its parent is the call in one of whose tasks it was made.

    Attributes
    ----------
    level : int
        Nesting depth; 0 is the host's own code.
    width : int
        How many threads may make progress at a time while this call lasts.
    context : contextvars.Context
        The caller's; each task runs in a copy.
    """

    parent: Scope | None = None
    level: int = 0
    width: int = 1
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    warning_state: WarningState = field(default_factory=WarningState.now)
    cancelled: bool = False
    dispatching: bool = False

    @property
    def abandoned(self) -> bool:
        """Whether this call, or one around it, was cancelled."""
        scope: Scope | None = self
        while scope is not None and not scope.cancelled:
            scope = scope.parent
        return scope is not None


@dataclass(eq=False)
class Member:
    """A thread that takes part. It sleeps on its inbox and on nothing else.

    ``dispatching`` is above zero while joblib holds a lock of a ``Parallel`` call in this thread:
    it must not sleep then.
    """

    scope: Scope
    inbox: SimpleQueue[Task | Literal["go", "train"] | None] = field(default_factory=SimpleQueue)
    dispatching: int = 0
    wait: Wait | None = None


@dataclass(eq=False)
class Wait:
    """A thread that sleeps, or is about to, and the call without which its wait has no point."""

    member: Member
    scope: Scope
    released: bool = False
    awake: bool = True


@dataclass(eq=False)
class Task:
    """A call that gets a thread, and its outcome."""

    function: Callable[[], Any]
    callback: Callable[[Task], Any]
    scope: Scope
    nbytes: int = 0
    done: bool = False
    result: Any = None
    error: BaseException | None = None
    waiter: Wait | None = None

    def run(self, member: Member) -> None:
        """Do the work in the current thread, then let joblib dispatch what comes next."""
        context = self.scope.context.copy()
        function, self.function = self.function, _nothing  # the arguments end with the task
        self.scope.warning_state.restore()
        try:
            self.result = context.run(function)
        except BaseException as error:  # noqa: BLE001  raised again where the result is asked for
            self.error = error
        del function
        if self.scope.abandoned:
            return
        member.dispatching += 1
        try:
            context.run(self.callback, self)
        except BaseException as error:  # noqa: BLE001  as above
            self.error = self.error or error
        finally:
            member.dispatching -= 1


def _nothing() -> None:
    """Stands where a finished task's function was."""
