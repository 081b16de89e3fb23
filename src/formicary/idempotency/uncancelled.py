"""Work that goes on to its end although whoever waits for it is cancelled.

Theory of operation. The work needs a task of its own. Most operations end without ever giving way, though, and then a
task would cost them two turns of the loop. So its first step is made at once, by hand, as that task: inside its
context, and with :func:`asyncio.current_task` naming it, so that time-outs and cancel scopes that begin there belong to
it. Where the work ends there, nobody waits. Otherwise the task, which the loop begins in its next turn, goes on from
what the first step waits for. (From Python 3.12 on asyncio has eager tasks, which do the same.)
"""

from __future__ import annotations

import logging
from asyncio import CancelledError, Task, current_task, get_running_loop, shield
from asyncio.tasks import _enter_task, _leave_task  # for whoever writes tasks, says asyncio
from collections.abc import Coroutine
from contextvars import copy_context
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
_GOES_ON: Final = object()
_OVER: Final = object()


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
    context = copy_context()
    begun = _Begun(work)
    task = Task(begun, loop=loop, context=context)
    execution.keep_alive(heartbeat, task)
    outer = cast("Task[Any]", current_task(loop))
    _leave_task(loop, outer)
    _enter_task(loop, task)
    try:
        begun.waits_for = context.run(work.send, None)
    except StopIteration as end:
        begun.waits_for = _OVER
        return cast(T, end.value)
    except BaseException:
        begun.waits_for = _OVER
        raise
    finally:
        _leave_task(loop, task)
        _enter_task(loop, outer)
    try:
        return await shield(task)
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


class _Begun(Coroutine[Any, Any, T]):
    """Work whose first step may have been made already.

    Attributes:
        waits_for: What the first step waits for, to be handed to the loop; or where the work stands.
    """

    __slots__ = ("_work", "waits_for")

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self.waits_for: object = _OVER

    def send(self, value: Any) -> Any:
        """The next step."""
        waits_for = self.waits_for
        if waits_for is _OVER:
            raise StopIteration
        if waits_for is _GOES_ON:
            return self._work.send(value)
        self.waits_for = _GOES_ON
        return waits_for

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> Any:
        """The next step, with an error."""
        if self.waits_for is _OVER:
            raise StopIteration
        self.waits_for = _GOES_ON
        return self._work.throw(value or kind)

    def close(self) -> None:
        """Ends the work where it stands."""
        self._work.close()

    def __await__(self) -> Any:
        return (yield from self._work.__await__())
