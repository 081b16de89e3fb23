"""PYTHON tasks in this very process: breakpoints, coverage and monkeypatching work, no import by name is needed.

Each attempt gets a thread of its own. Arguments and results go through JSON as they do with a worker process, so that
what runs here runs there. A thread cannot be killed: an attempt that is ended by its time-out goes on in the
background, without effect on the job.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from types import CoroutineType

from formicary.engine.ants import context
from formicary.engine.ants.attempt import Attempt, Outcome, Result, failure
from formicary.engine.ants.output import CHECKPOINT, STDOUT
from formicary.engine.ants.python_call import Function, InvalidCallError, TooLargeError, load, to_outputs

MAX_OUTPUTS_BYTES = 1024 * 1024

_RUNNING: ContextVar[context.TaskContext | None] = ContextVar("formicary_inline_task", default=None)


class InlinePython:
    """An executor for PYTHON.

    Args:
        functions: Functions by the name that tasks call them by; others are imported.
    """

    def __init__(self, functions: Mapping[str, Callable[..., object]]) -> None:
        self._functions = {name: Function(function, name) for name, function in functions.items()}
        context.install(_RUNNING.get)

    async def run(self, attempt: Attempt) -> Result:
        """Calls the function of one attempt on a new thread."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()

        def deliver(result: Result) -> None:
            if not answer.done():
                answer.set_result(result)

        def leave(value: bytes) -> None:
            line = CHECKPOINT + value + b"\n"  # JSON has no line ends
            try:
                loop.call_soon_threadsafe(attempt.feed, STDOUT, line)
            except RuntimeError:
                pass  # as below

        def work() -> None:
            result = self._call(attempt, leave)
            try:
                loop.call_soon_threadsafe(deliver, result)
            except RuntimeError:
                pass  # the run was over before the function was

        thread = threading.Thread(
            target=copy_context().run, args=(work,), name=f"task {attempt.task.task_type}", daemon=True
        )
        thread.start()
        return await answer

    async def close(self) -> None:
        """Takes the description of the running task back."""
        context.install(None)

    def _call(self, attempt: Attempt, leave: Callable[[bytes], None]) -> Result:
        name = attempt.task.function or ""
        _RUNNING.set(
            context.TaskContext(
                attempt.key,
                attempt.job_id,
                attempt.task.task_type,
                attempt.number,
                attempt.execution,
                left=attempt.checkpoint,
                leave=leave,
            )
        )
        try:
            function = self._functions.get(name)
            if function is None:
                function = self._functions[name] = load(name)
            value = function.call(attempt.variables)
            if isinstance(value, CoroutineType):
                value = asyncio.run(value)
            return Result(outcome=Outcome.COMPLETED, outputs=to_outputs(value, MAX_OUTPUTS_BYTES))
        except InvalidCallError as error:
            return failure("ERR_VALIDATION", str(error))
        except TooLargeError as error:
            return failure("ERR_RESULT_TOO_LARGE", f"{name}: {error}")
        except SystemExit as error:
            return _exited(error.code)
        except BaseException as error:  # whatever a function raises is its result
            return _raised(error)


def _exited(code: object) -> Result:
    number = 0 if code is None else code if isinstance(code, int) else 1
    if not number:
        return Result(outcome=Outcome.COMPLETED, exit_code=0)
    return failure("ERR_EXIT_CODE", f"The function ended with exit code {number}.", exit_code=number)


def _raised(error: BaseException) -> Result:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(
        ("formicary.embedded.", "formicary.engine.ants.", "asyncio.")
    ):
        frames = frames.tb_next
    result = failure("ERR_EXCEPTION", f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    result.traceback = "".join(traceback.format_exception(type(error), error, frames))
    return result
