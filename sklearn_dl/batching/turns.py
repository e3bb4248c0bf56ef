"""Which thread may go on, and when can none?

Tasks run in threads. A thread sleeps until its fit is trained or a task it needs has a result. One
number decides: how many threads *can still make progress*. It counts

- the host (the thread that opened the house) until it sleeps;
- a task that could start now, and a started task until it ends or sleeps; the callback that
  dispatches further tasks runs before its task stops counting;
- a sleeping thread from the moment it is released, before it wakes: whoever releases it counts
  for it.

When the number is zero nobody can bring another fit, and the host is woken to train what is parked.
Nothing is decided by a timeout or by polling.

Of the threads that could make progress only ``width`` do so at a time, one by default: they take
turns. Two would gain little while they share the interpreter lock, and with turns the order of the
fits is the same in every run, warning filters can follow the thread whose turn it is, and one task
at a time holds the temporaries of a prediction.

No deadlock by shortage of threads: a task that waits for nested tasks keeps its place, and places
are counted per nesting level, so the deepest level, which waits for no other, always has one.
What a task must not do is hold a lock of its own across a fit that another task needs to go on.

Training runs in the host, asleep by then: Ctrl-C reaches it there, and thread-local settings of the
user's thread (torch's default device, the current CUDA stream) hold.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from sklearn_dl.batching.memory import argument_bytes, task_budget
from sklearn_dl.batching.tasks import Abandoned, Member, Scope, Task, Wait
from sklearn_dl.batching.warning_state import WarningState

__all__ = ["Turns"]

#: How long Ctrl-C can go unnoticed.
LOOK_UP_SECONDS = 0.5
#: What threads that run tasks are called in a debugger.
THREAD_NAME = "sklearn_dl-batched-fits"


class Work(Protocol):
    """What the host does when nobody else can go on."""

    def is_waiting(self) -> bool:
        """Whether there is something to do; called with the lock held."""

    def is_urgent(self) -> bool:
        """Whether it should be done before further tasks begin; called with the lock held."""

    def do(self) -> None:
        """Do some of it and release the threads that waited for it."""

    def drop_abandoned(self) -> None:
        """Forget what nobody wants any more; called with the lock held."""


class Turns:
    """Threads that take turns; see the module.

    Parameters
    ----------
    work : Work
        What the host does when no thread can go on.
    max_tasks : int
        Tasks begun and not ended, at most, per nesting level.

    Attributes
    ----------
    lock : threading.Lock
        Guards all state; ``release`` and ``advance`` are called with it held.
    """

    def __init__(self, work: Work, max_tasks: int) -> None:
        self.lock = threading.Lock()
        self.max_tasks = max_tasks
        self._work = work
        self._local = threading.local()
        self._root = Scope()
        self._host = self._local.member = Member(self._root)
        self._running = 1  # threads whose turn it is: the host's
        self._ready: deque[Wait] = deque()  # released, and it is not yet their turn
        self._queues: dict[int, deque[Task]] = defaultdict(deque)  # by level, not yet begun
        self._begun: dict[int, list[Task]] = defaultdict(list)  # by level, not yet ended
        self._budgets: dict[int, int] = {}
        self._scopes: list[Scope] = []
        self._idle: list[Member] = []
        self._members = [self._host]
        self._threads: list[threading.Thread] = []
        self._host_called = False
        self._closed = False

    # ---- asked by any thread ----

    def me(self) -> Member | None:
        """The current thread's membership."""
        member: Member | None = getattr(self._local, "member", None)
        return member

    def can_wait(self) -> bool:
        """Whether the current thread takes part and may sleep."""
        me = self.me()
        return me is not None and not me.dispatching

    def open_scope(self, width: int) -> Scope:
        """Begin a ``Parallel`` call; its thread must not sleep until ``start_retrieval``."""
        me = self._member()
        scope = Scope(me.scope, me.scope.level + 1, width, dispatching=True)
        me.dispatching += 1
        with self.lock:
            self._scopes.append(scope)
        return scope

    def start_retrieval(self, scope: Scope) -> None:
        """The caller has dispatched what it dispatches itself."""
        if scope.dispatching:
            scope.dispatching = False
            self._member().dispatching -= 1

    def close_scope(self, scope: Scope) -> None:
        """End a ``Parallel`` call."""
        self.start_retrieval(scope)
        with self.lock:
            self._scopes.remove(scope)

    def add(self, task: Task) -> None:
        """Queue a task; it begins when there is a place for it and it is its turn."""
        task.nbytes = argument_bytes(task.function)
        with self.lock:
            if not task.scope.abandoned:  # else asking for its result raises Abandoned
                self._queues[task.scope.level].append(task)
                self.advance()

    def result_of(self, task: Task) -> Any:
        """Sleep until ``task`` has ended; return its result or raise its error."""
        me = self._member()
        task.waiter = Wait(me, me.scope)  # set before done is read: the end sees it, or we see done
        if not task.done:
            self.sleep(task.waiter)
        if task.error is not None:
            raise task.error
        return task.result

    def sleep(self, wait: Wait) -> None:
        """Give up the turn until released; the host works meanwhile when called.

        Raises
        ------
        Abandoned
            If the call this thread works for was cancelled.
        """
        me, warning_state = wait.member, WarningState.now()
        try:
            with self.lock:
                asleep = not (wait.released or wait.scope.abandoned)
                if asleep:
                    me.wait = wait
                    self._running -= 1
                    wait.awake = False
                    self.advance()
            while asleep and self._message_to(me) == "train":
                warning_state.restore()
                self._do_work()
        except BaseException:  # Ctrl-C in the host: it wakes by itself
            self._wake_unasked(wait)
            raise
        finally:
            me.wait = None  # it may hold a fit's rows: the next task's would come beside them
            warning_state.restore()
        if wait.scope.abandoned:
            raise Abandoned

    def _message_to(self, me: Member) -> Any:
        """Sleep until somebody writes; Ctrl-C ends the host's sleep.

        A signal that comes between the interpreter's last look and the sleep is not seen before the
        sleep ends (and on Windows none is): the host looks up from time to time for its sake alone.
        """
        if me is not self._host:
            return me.inbox.get()
        while True:
            try:
                return me.inbox.get(timeout=LOOK_UP_SECONDS)
            except Empty:
                continue

    def cancel(self, scope: Scope) -> None:
        """Drop what a call still has to do: its queue and all that sleeps below it."""
        with self.lock:
            self._cancel(scope)

    def close(self) -> None:
        """End every thread; what still waits is abandoned."""
        with self.lock:
            self._closed = True
            self._cancel(self._root)
            for member in self._members[1:]:
                member.inbox.put(None)
        for thread in self._threads:
            if thread.is_alive():  # Ctrl-C can have come before it began
                thread.join()
        self._threads.clear()
        del self._local.member

    # ---- with the lock held ----

    def release(self, wait: Wait) -> None:
        """Let a thread go on when it is its turn; call ``advance`` afterwards."""
        if not wait.released and not wait.awake:
            self._ready.append(wait)
        wait.released = True

    def advance(self) -> None:
        """Give free turns to who can make progress; if nobody can, call the host to work."""
        width = max((scope.width for scope in self._scopes), default=1)
        while self._running < width or self._closed:
            if self._ready:
                wait = self._ready.popleft()
                wait.awake = True
                wait.member.inbox.put("go")
            elif self._running == 0 and not self._closed and self._work.is_urgent():
                self._call_host()
            elif (task := self._next_task()) is not None:
                if not self._begin(task):
                    continue
            elif self._running == 0 and not self._closed and self._work.is_waiting():
                self._call_host()
            else:
                return
            self._running += 1

    def _call_host(self) -> None:
        self._host_called = True
        self._host.inbox.put("train")

    def _next_task(self) -> Task | None:
        """The next task with a place: the deepest first, so that what was begun gets done."""
        for level in sorted(self._queues, reverse=True):
            queue, begun = self._queues[level], self._begun[level]
            if not queue or len(begun) >= self.max_tasks:
                continue
            if not begun:  # measured before the tasks themselves fill the memory
                self._budgets[level] = task_budget(queue[0].nbytes)
            elif sum(task.nbytes for task in (*begun, queue[0])) > self._budgets[level]:
                continue
            return queue.popleft()
        return None

    def _begin(self, task: Task) -> bool:
        """Hand a task to an idle thread or a new one; False if the system gives no thread."""
        self._begun[task.scope.level].append(task)
        if self._idle:
            self._idle.pop().inbox.put(task)
            return True
        member = Member(task.scope)
        thread = threading.Thread(target=self._serve, args=(member,), name=THREAD_NAME, daemon=True)
        # Known before it starts: Ctrl-C can come while the host waits for the start.
        self._threads.append(thread)
        self._members.append(member)
        try:
            thread.start()
        except RuntimeError as error:  # can't start new thread
            self._threads.remove(thread)
            self._members.remove(member)
            task.error = error
            self._end(task)
            return False
        member.inbox.put(task)
        return True

    def _end(self, task: Task) -> None:
        """Free a task's place and release who waits for its result."""
        self._begun[task.scope.level].remove(task)
        task.done = True
        if task.waiter is not None:
            self.release(task.waiter)

    def _cancel(self, scope: Scope) -> None:
        scope.cancelled = True
        for level, queue in self._queues.items():
            self._queues[level] = deque(task for task in queue if not task.scope.abandoned)
        for member in self._members:
            wait = member.wait
            if wait is not None and not wait.awake and wait.scope.abandoned:
                self.release(wait)
                # Ctrl-C between two lines of `advance` can have lost a released thread.
                if wait not in self._ready:
                    self._ready.append(wait)
        self._work.drop_abandoned()
        self.advance()

    # ---- threads ----

    def _member(self) -> Member:
        me = self.me()
        if me is None:
            raise RuntimeError(
                "joblib.Parallel was called with the backend of batched_fits in a thread that does "
                "not take part in it; enter batched_fits in this thread"
            )
        return me

    def _serve(self, member: Member) -> None:
        """Run tasks until told to end: the life of a thread."""
        self._local.member = member
        while isinstance(task := member.inbox.get(), Task):
            member.scope = task.scope
            task.run(member)
            with self.lock:
                self._end(task)
                self._running -= 1
                del task  # an idle thread must not keep a result alive
                member.scope = self._root
                self._idle.append(member)
                self.advance()
                if self._closed:
                    return

    def _do_work(self) -> None:
        """The host's turn to work; the turn was counted by whoever called it."""
        self._host_called = False
        self._host.dispatching += 1  # what a user's callback fits meanwhile trains at once
        try:
            self._work.do()
        finally:
            self._host.dispatching -= 1
            with self.lock:
                self._running -= 1
                self.advance()

    def _wake_unasked(self, wait: Wait) -> None:
        """An exception ended the host's sleep: count it again and empty its inbox."""
        with self.lock:
            if wait.member is self._host and self._host_called:
                self._host_called = False
                self._running -= 1
            if not wait.awake:
                self._running += 1
                wait.awake = wait.released = True
                if wait in self._ready:
                    self._ready.remove(wait)
            wait.member.inbox = SimpleQueue()
