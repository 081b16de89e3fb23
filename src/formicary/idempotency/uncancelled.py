"""Work that goes on to its end although whoever waits for it is cancelled.

Theory of operation. The work needs a task of its own. Most operations end without ever giving way, though, and making a
task for each would double what they cost. So each thread keeps one task that does nothing, and the first step of the
work is made by hand as that task: in a context of its own, and with :func:`asyncio.current_task` naming the task, so
that time-outs and cancel scopes that begin there belong to it. Where the work ends in its first step, the task goes on
doing nothing until the next one. Otherwise it takes over: it goes on from what the work waits for, and ends with it.
A task that was asked to cancel is not used again. One that does nothing is in no list of tasks: nobody has to wait for
it.
"""

from __future__ import annotations

import logging
import threading
from asyncio import AbstractEventLoop, CancelledError, Future, Task, current_task, get_running_loop, shield
from asyncio.tasks import (  # for whoever writes tasks, says asyncio
    _enter_task,
    _leave_task,
    _register_task,
    _unregister_task,
)
from collections.abc import Coroutine
from contextvars import Context, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from formicary.problems import Problem

if TYPE_CHECKING:
    from formicary.idempotency.execution import Execution
    from formicary.idempotency.heartbeat import Heartbeat

T = TypeVar("T")
log = logging.getLogger("formicary.idempotency")
_left: set[Task[Any]] = set()
"""Tasks that nobody waits for any more; the loop alone would not keep them."""
_TAKEN: Final = object()


async def to_its_end(work: Coroutine[Any, Any, T], execution: Execution, heartbeat: Heartbeat) -> T:
    """Waits for work that only the end of the loop, and whoever cancels its own task, can stop.

    A client that goes away says nothing of the operation: it may have had its effect, so it ends, its answer is kept,
    and a retry finds that.

    Args:
        work: What executes.
        execution: Its right to do so; the loss of the lease cancels it.
        heartbeat: Renews the lease meanwhile.
    """
    loop = get_running_loop()
    worker, _here.worker = _here.worker, None
    if worker is None or worker.loop is not loop:
        worker = _Worker(loop)
    task = worker.task
    execution.keep_alive(heartbeat, task)
    context = copy_context()
    outer = cast("Task[Any]", current_task(loop))
    _leave_task(loop, outer)
    _enter_task(loop, task)
    try:
        waits_for = context.run(work.send, None)
    except StopIteration as end:
        worker.rest()
        return cast(T, end.value)
    except BaseException:
        worker.rest()
        raise
    finally:
        _leave_task(loop, task)
        _enter_task(loop, outer)
    worker.take_over(work, context, waits_for)
    try:
        return cast(T, await shield(task))
    except CancelledError:
        if not task.done():
            _left.add(task)
            task.add_done_callback(_ended_alone)
        raise


def _ended_alone(task: Task[Any]) -> None:
    _left.discard(task)
    error = None if task.cancelled() else task.exception()
    if isinstance(error, Problem):
        log.info("an operation whose caller has gone was refused: %s", error.detail)
    elif error is not None:
        log.error("an operation whose caller has gone failed", exc_info=error)


class _Worker(Coroutine[Any, Any, Any]):
    """What a task does: nothing, until it takes work over.

    Attributes:
        loop: Whose it is.
        task: The task.
    """

    __slots__ = ("_context", "_is_parked", "_parking", "_waits_for", "_work", "loop", "task")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._work: Coroutine[Any, Any, Any] | None = None
        self._context: Context | None = None
        self._waits_for: object = None
        self._parking: Future[None] = loop.create_future()
        self._is_parked = False
        self.task: Task[Any] = Task(self, loop=loop)
        self.task._log_destroy_pending = False  # type: ignore[attr-defined]  # typeshed does not know it
        _unregister_task(self.task)

    def rest(self) -> None:
        """The work has ended in its first step: the next one may use this."""
        if not self.task.cancelling() and not self._parking.done():
            _here.worker = self

    def take_over(self, work: Coroutine[Any, Any, Any], context: Context, waits_for: object) -> None:
        """Goes on with work whose first step waits for something."""
        self._work, self._context, self._waits_for = work, context, waits_for
        self.task._log_destroy_pending = True  # type: ignore[attr-defined]  # typeshed does not know it
        _register_task(self.task)
        if self._is_parked:
            self._parking.set_result(None)

    def send(self, value: Any) -> Any:
        """The next step of the task."""
        if self._work is None or self._context is None:
            self._is_parked = self._parking._asyncio_future_blocking = True
            return self._parking
        waits_for, self._waits_for = self._waits_for, _TAKEN
        if waits_for is not _TAKEN:
            return waits_for
        return self._context.run(self._work.send, value)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> Any:
        """The next step of the task, with an error."""
        if self._work is None or self._context is None:
            raise value or kind
        self._waits_for = _TAKEN
        return self._context.run(self._work.throw, value or kind)

    def close(self) -> None:
        """Ends the work where it stands."""
        if self._work is not None:
            self._work.close()

    def __await__(self) -> Any:
        raise TypeError("it is what a task does")


class _Here(threading.local):
    worker: _Worker | None = None


_here = _Here()
"""The task of this thread that does nothing."""
