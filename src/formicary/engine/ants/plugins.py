"""Executors of third parties: packages that are installed beside the ant and found by entry point.

Theory of operation. A package names an executor in the entry-point group ``formicary.executors``; the entry point's
name is the method of the job file, ``VENDOR.NAME``. The ant reads the names when it starts and offers them; the package
itself is imported with the first task that needs it, on a thread. One executor serves all tasks of an ant: it is
entered once and left when the ant ends.

Nothing that such a package does ends the ant: what it raises fails the attempt, ``SystemExit`` included, and a task
that does not end when it is cancelled is left behind after ``kill_grace_s``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint
from types import TracebackType
from typing import Protocol, Self

import msgspec

from formicary.engine.ants.attempt import Attempt, Outcome, Result, failure
from formicary.engine.ants.output import STDERR, STDOUT, checkpoint_line
from formicary.engine.jobs.model import is_third_party

_LOG = logging.getLogger(__name__)

GROUP = "formicary.executors"
_PROGRESS_S = 0.1
_LEAVE_S = 5.0


class RunningTask:
    """The task that an executor runs, and what the executor can say about it.

    Attributes:
        key: The same for every attempt of this task: give it to outside systems as idempotency key.
        job_id: Id of the job request.
        job_type: Name of the job.
        task_type: Name of the task.
        attempt: From 1, all attempts counted.
        timeout_s: Seconds after which the attempt is cancelled.
        script: Lines of ``script``.
        url: The ``url``, empty where there is none.
        headers: The ``headers``.
        query: The ``query``.
        environment: The ``environment``.
        variables: All variables of the task.
        folder: Working directory with the artifacts of other tasks; empty where the task has none.
        last_checkpoint: What an earlier attempt has left, empty = nothing.
    """

    def __init__(self, attempt: Attempt, progressed: Callable[[float, str], None]) -> None:
        task = attempt.task
        self.key = attempt.key
        self.job_id, self.job_type, self.task_type = attempt.job_id, attempt.job_type, task.task_type
        self.attempt = attempt.number
        self.timeout_s = attempt.timeout_s
        self.script, self.url = task.script, task.url or ""
        self.headers: Mapping[str, str] = task.headers
        self.query: Mapping[str, str] = task.query
        self.environment: Mapping[str, str] = task.environment
        self.variables: Mapping[str, object] = attempt.variables_map()
        self.folder = attempt.folder
        self.last_checkpoint = attempt.checkpoint
        self._attempt = attempt
        self._progressed = progressed
        self._last = 0.0
        self._is_over = False

    def write(self, data: bytes | str, *, is_error: bool = False) -> None:
        """Adds to the task's log as it comes; ``::set-output name=KEY::VALUE`` lines set outputs."""
        if not self._is_over:
            self._attempt.feed(STDERR if is_error else STDOUT, data.encode() if isinstance(data, str) else bytes(data))

    def progress(self, fraction: float, message: str = "") -> None:
        """Says how far it is, from 0 to 1; at most ten times a second are passed on, and always 1.0."""
        now = time.monotonic()
        if self._is_over:
            return
        fraction = min(max(float(fraction), 0.0), 1.0)
        if fraction >= 1.0 or now - self._last >= _PROGRESS_S:
            self._last = now
            self._progressed(fraction, message)

    def checkpoint(self, text: str) -> None:
        """Leaves a line of at most 64 KiB for the next attempt; its log has it too. Raises ValueError."""
        self.write(checkpoint_line(text))

    def end(self) -> None:
        """The attempt is over: nothing of it is taken any more."""
        self._is_over = True


@dataclass(frozen=True, slots=True)
class Done:
    """How a task ended.

    Attributes:
        exit_code: 0 completes the task, anything else fails it; ``on_exit_code`` can take it.
        outputs: JSON values by name.
        error: One sentence for people where it failed.
    """

    exit_code: int = 0
    outputs: Mapping[str, object] = field(default_factory=dict)
    error: str = ""


class ThirdPartyExecutor(Protocol):
    """What the entry point makes when it is called without arguments.

    ``run`` is called for each attempt, for several at a time. It must not block the event loop (use
    ``asyncio.to_thread``). A time-out or a cancel raises ``asyncio.CancelledError`` in it: clean up and let it pass.
    """

    async def __aenter__(self) -> Self:
        """Starts; once, before the first task."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends, with the ant."""
        ...

    async def run(self, task: RunningTask) -> Done | None:
        """Runs one attempt; None is a success without outputs."""
        ...


@cache
def installed() -> Mapping[str, EntryPoint]:
    """The executors that are installed, by method; nothing of them is imported."""
    from importlib.metadata import entry_points

    return chosen(entry_points(group=GROUP))


def chosen(entries: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    """Takes the entry points with a fitting name; of two with one name the first, and says so."""
    found: dict[str, EntryPoint] = {}
    for entry in entries:
        method = entry.name.upper()
        if not is_third_party(method):
            _LOG.warning("the executor %r of %s is left out: name it VENDOR.NAME", entry.name, entry.value)
        elif method in found and found[method].value != entry.value:
            _LOG.warning(
                "the executor %s of %s is left out: %s has that name", method, entry.value, found[method].value
            )
        else:
            found.setdefault(method, entry)
    return found


class PluginExecutor:
    """Runs the attempts of one third-party method.

    Args:
        method: The method.
        load: Imports the package and returns what makes the executor; blocks.
        grace_s: How long a cancelled task may take to end.
        max_outputs_bytes: Outputs of one attempt as JSON; more fail it.
        progressed: Takes progress.
    """

    def __init__(
        self,
        method: str,
        load: Callable[[], Callable[[], ThirdPartyExecutor]],
        grace_s: float,
        max_outputs_bytes: int,
        progressed: Callable[[Attempt, float, str], None],
    ) -> None:
        self._method = method
        self._load = load
        self._grace_s = grace_s
        self._max_outputs = max_outputs_bytes
        self._progressed = progressed
        self._opening = asyncio.Lock()
        self._executor: ThirdPartyExecutor | None = None
        self._left: set[asyncio.Task[Result]] = set()

    async def run(self, attempt: Attempt) -> Result:
        """Runs one attempt; a cancelled one that does not end within the grace is left behind."""
        tasks: list[RunningTask] = []
        inner = asyncio.create_task(self._guarded(attempt, tasks), name=f"{self._method} {attempt.token}")
        try:
            return await asyncio.shield(inner)
        except asyncio.CancelledError:
            inner.cancel()
            await asyncio.wait({inner}, timeout=self._grace_s if attempt.grace_s is None else attempt.grace_s)
            if not inner.done():
                _LOG.error("a task of the executor %s ignores that it was cancelled; it is left behind", self._method)
                self._left.add(inner)
                inner.add_done_callback(self._left.discard)
            raise
        finally:
            for task in tasks:
                task.end()

    async def _guarded(self, attempt: Attempt, tasks: list[RunningTask]) -> Result:
        try:
            executor = await self._open()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            _LOG.error("the executor %s cannot be started", self._method, exc_info=error)
            return failure("ERR_START", f"The executor {self._method} cannot be started: {error!r}.")
        try:
            task = RunningTask(attempt, lambda fraction, message: self._progressed(attempt, fraction, message))
            tasks.append(task)
            return self._result(await executor.run(task))
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            shown = error if attempt.mask is None else None  # its text may hold a secret
            _LOG.error("the executor %s failed", self._method, exc_info=shown)
            return failure("ERR_EXCEPTION", f"The executor {self._method} failed: {error!r}.")

    async def _open(self) -> ThirdPartyExecutor:
        async with self._opening:
            if self._executor is None:
                make = await asyncio.to_thread(self._load)
                self._executor = await make().__aenter__()
            return self._executor

    def _result(self, done: Done | None) -> Result:
        if done is None:
            return Result(outcome=Outcome.COMPLETED, exit_code=0)
        if not isinstance(done, Done):
            raise TypeError(f"run() returned a {type(done).__name__}; it has to return Done or None")
        outputs = msgspec.json.encode(dict(done.outputs)) if done.outputs else b""
        if len(outputs) > self._max_outputs:
            return failure("ERR_RESULT_TOO_LARGE", f"The outputs are larger than {self._max_outputs:,} bytes.")
        if not done.exit_code:
            return Result(outcome=Outcome.COMPLETED, exit_code=0, outputs=outputs)
        message = done.error or f"The executor {self._method} ended with exit code {done.exit_code}."
        result = failure("ERR_EXIT_CODE", message, exit_code=done.exit_code)
        result.outputs = outputs
        return result

    async def close(self) -> None:
        """Leaves the executor; an error is logged, and it is not waited for without end."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        leaving = asyncio.create_task(self._leave(executor), name=f"leave {self._method}")
        await asyncio.wait({leaving}, timeout=_LEAVE_S)
        if not leaving.done():
            _LOG.error("the executor %s does not end", self._method)
            leaving.cancel()

    async def _leave(self, executor: ThirdPartyExecutor) -> None:
        try:
            await executor.__aexit__(None, None, None)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            _LOG.error("the executor %s did not end well", self._method, exc_info=error)
