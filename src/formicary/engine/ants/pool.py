"""The PYTHON executor: warm worker processes, one per slot, that calls are handed to in batches.

A worker belongs to the folders on its import path, because two jobs may have different modules of the same name; a
call of other folders replaces an idle worker. A worker is killed to end a call (time-out, cancel, lost lease) and
replaced at once; only the call that was running is charged, the others go back to the foreman.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Protocol

from formicary.engine.ants import python_wire
from formicary.engine.ants.attempt import Attempt, Outcome, Result, Stop, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.python_wire import Answer
from formicary.engine.ants.python_worker import PythonWorker
from formicary.engine.ants.warden import Warden

_LOG = logging.getLogger(__name__)
_MAX_START_FAILURES = 3
_MAX_DEPTH = 64
_SHORT_S = 0.002
_OUTLIER_S = 0.01


class PoolEvents(Protocol):
    """What the pool tells the foreman."""

    def finished(self, attempt: Attempt, result: Result) -> None:
        """An attempt ended."""

    def handed_back(self, attempts: list[Attempt]) -> None:
        """Attempts that never started are to be queued again."""

    def checkpointed(self, attempt: Attempt, value: bytes) -> None:
        """A running function leaves something for the next attempt."""

    def progressed(self, attempt: Attempt, fraction: float, message: str) -> None:
        """A running function says how far it is."""

    def recalling(self) -> None:
        """Calls were recalled: :meth:`PythonPool.collect_recalled` is to be called some 3 ms later."""


class PythonPool:
    """Worker processes for PYTHON attempts.

    Attributes:
        depth: Calls that one worker may hold, 1 while functions are long: grows while they take less than 2 ms.
    """

    def __init__(self, config: AntConfig, events: PoolEvents, warden: Warden) -> None:
        self.depth = 1
        self._config = config
        self._events = events
        self._warden = warden
        self._workers: list[PythonWorker] = []
        self._touched: set[PythonWorker] = set()
        self._long: set[PythonWorker] = set()
        self._recalling: set[PythonWorker] = set()
        self._average_s = 0.0
        self._since_growth = 0
        self._start_failures = 0
        self._is_closing = False
        self._max_depth = max(1, min(_MAX_DEPTH, config.max_window // config.slots))
        self._on_empty: Callable[[], None] | None = None

    @property
    def busy(self) -> int:
        """Workers with calls; each takes a slot."""
        return sum(1 for worker in self._workers if worker.in_flight)

    @property
    def long(self) -> int:
        """Workers whose call has run for long."""
        return len(self._long)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def warm(self, count: int) -> None:
        """Starts workers until there are ``count``."""
        while len(self._workers) < count and not self._is_closing:
            if self._start(self._folders("")) is None:
                break

    # handing out ------------------------------------------------------------------------------------------------------

    def give(self, attempt: Attempt, *, may_take_slot: bool) -> bool:
        """Hands an attempt to a worker.

        Args:
            attempt: A PYTHON attempt.
            may_take_slot: Whether a worker without calls may be used.

        Returns:
            False if it has to wait.
        """
        folders = self._folders(attempt.path)
        worker = self._pick(folders, may_take_slot)
        if worker is None:
            return self._refused(attempt)
        worker.submit(attempt)
        self._touched.add(worker)
        return True

    def _refused(self, attempt: Attempt) -> bool:
        if self._start_failures < _MAX_START_FAILURES or self._workers:
            return False
        message = f"No worker process can be started with {self._config.python}."
        self._events.finished(attempt, failure("ERR_START", message))
        return True

    def flush(self) -> None:
        """Sends what :meth:`give` collected, one frame per worker."""
        while self._touched:
            self._touched.pop().flush()

    def _pick(self, folders: tuple[str, ...], may_take_slot: bool) -> PythonWorker | None:
        least, load = None, self.depth
        other_idle = None
        for worker in self._workers:
            count = len(worker.in_flight)
            if worker.killed or (count and (worker in self._long or worker in self._recalling)):
                continue
            if worker.folders != folders:
                if not count:
                    other_idle = worker
            elif not count:
                if may_take_slot:
                    return worker
            elif count < load:
                least, load = worker, count
        if not may_take_slot:
            return least
        if len(self._workers) >= self._config.slots:
            if other_idle is None:
                return least
            other_idle.kill()
            self._workers.remove(other_idle)
        return self._start(folders)

    def _folders(self, path: str) -> tuple[str, ...]:
        return (path, *self._config.paths) if path else self._config.paths

    def _start(self, folders: tuple[str, ...]) -> PythonWorker | None:
        try:
            worker = PythonWorker(
                self,
                python=self._config.python,
                folders=folders,
                max_outputs_bytes=self._config.max_outputs_bytes,
            )
        except OSError as error:
            _LOG.error("no PYTHON worker can be started: %s", error)
            self._start_failures += 1
            return None
        self._workers.append(worker)
        self._warden.group_started(worker.pid)
        return worker

    # watching ---------------------------------------------------------------------------------------------------------

    def running(self) -> list[tuple[Attempt, float]]:
        """Returns the attempts that run now, each with its monotonic start."""
        return [running for worker in self._workers if (running := worker.running()) is not None]

    def groups(self) -> list[tuple[Attempt, int]]:
        """Returns the attempts that run now, each with the process group of its worker."""
        return [(running[0], worker.pid) for worker in self._workers if (running := worker.running()) is not None]

    def relieve(self, now: float, after_s: float) -> None:
        """Takes calls back from behind those that have run longer than ``after_s``."""
        for worker in self._workers:
            running = worker.running()
            if running is None or now - running[1] <= after_s:
                continue
            worker.poll()  # its answer may be here already
            running = worker.running()
            if running is None or now - running[1] <= after_s:
                continue
            if worker not in self._long:
                self._long.add(worker)
                self.depth, self._average_s = 1, now - running[1]
            if len(worker.in_flight) > 1 and worker not in self._recalling:
                self._recalling.add(worker)
                worker.recall()
                self._events.recalling()

    def recall_all(self) -> None:
        """Recalls every call that has not started."""
        for worker in self._workers:
            if len(worker.in_flight) > 1:
                self._recalling.add(worker)
                worker.recall()
        if self._recalling:
            self._events.recalling()

    def collect_recalled(self) -> None:
        """Hands back what was recalled and cannot start any more; to be called 3 ms after ``recalling``."""
        for worker in list(self._recalling):
            self._hand_back(worker.recalled())
            if len(worker.in_flight) <= 1:
                self._recalling.discard(worker)

    @property
    def is_recalling(self) -> bool:
        """Whether recalled calls are still out."""
        return bool(self._recalling)

    def kill_busy(self) -> None:
        """Kills every worker that has calls."""
        for worker in self._workers:
            if worker.in_flight:
                worker.kill()

    def end(self, attempt: Attempt, *, at_once: bool = True) -> bool:
        """Ends an attempt that carries a reason to stop; one with a grace is asked first, unless it is `at_once`.

        Returns:
            Whether it was found; if it has not started, its call is recalled.
        """
        for worker in self._workers:
            if attempt not in worker.in_flight.values():
                continue
            running = worker.running()
            if running is not None and running[0] is attempt:
                if attempt.grace_s and not at_once:
                    worker.stop(attempt, attempt.grace_s)
                else:
                    worker.kill()
            else:
                self._recalling.add(worker)
                worker.recall()
                self._events.recalling()
            return True
        return False

    def close(self, on_empty: Callable[[], None]) -> None:
        """Kills every worker; ``on_empty`` is called when the last one is gone."""
        self._is_closing = True
        self._on_empty = on_empty
        for worker in self._workers:
            worker.kill()
        if not self._workers:
            on_empty()

    # events of the workers --------------------------------------------------------------------------------------------

    def answered(self, worker: PythonWorker, attempt: Attempt, answer: Answer) -> None:
        """Turns an answer into a result and learns how long functions take."""
        self._start_failures = 0
        self._long.discard(worker)
        if len(worker.in_flight) <= 1:
            self._recalling.discard(worker)
        if worker.answers > 1:  # the first call pays for the imports
            self._learn(answer.ended - answer.started)
        self._events.finished(attempt, result_of(answer))

    def skipped(self, worker: PythonWorker, attempt: Attempt) -> None:
        """A recalled call came back."""
        if len(worker.in_flight) <= 1:
            self._recalling.discard(worker)
        self._hand_back([attempt])

    def checkpointed(self, attempt: Attempt, value: bytes) -> None:
        """Passes on what a running function leaves for the next attempt."""
        self._events.checkpointed(attempt, value)

    def progressed(self, attempt: Attempt, fraction: float, message: str) -> None:
        """Passes progress on."""
        self._events.progressed(attempt, fraction, message)

    def ended(self, worker: PythonWorker, charged: Attempt | None, unstarted: list[Attempt], status: int) -> None:
        """Charges the running call with the end of its process and replaces the process."""
        self._warden.group_ended(worker.pid)
        self._long.discard(worker)
        self._recalling.discard(worker)
        self._touched.discard(worker)
        if worker in self._workers:
            self._workers.remove(worker)
        if charged is not None:
            self._events.finished(charged, _lost(status))
        elif not worker.answers and not worker.killed:
            self._failed_to_start(worker, unstarted, status)
            unstarted = []
        self._hand_back(unstarted)
        if self._is_closing:
            if not self._workers and self._on_empty is not None:
                self._on_empty()
        elif (charged is not None or unstarted) and len(self._workers) < self._config.slots:
            self._start(worker.folders)

    def _failed_to_start(self, worker: PythonWorker, unstarted: list[Attempt], status: int) -> None:
        self._start_failures += 1
        words = worker.last_words.decode("utf-8", "replace").strip()
        _LOG.error("a PYTHON worker ended before its first call (status %s): %s", status, words)
        if self._start_failures < _MAX_START_FAILURES:
            self._hand_back(unstarted)
            return
        for attempt in unstarted:
            message = f"The worker process of {self._config.python} does not start (status {status}): {words[-500:]}"
            self._events.finished(attempt, failure("ERR_START", message))

    def _hand_back(self, attempts: list[Attempt]) -> None:
        stopped = [attempt for attempt in attempts if attempt.stop is not Stop.NONE]
        for attempt in stopped:
            self._events.finished(attempt, Result(outcome=Outcome.CANCELLED))
        waiting = [attempt for attempt in attempts if attempt.stop is Stop.NONE]
        if waiting:
            self._events.handed_back(waiting)

    def _learn(self, duration_s: float) -> None:
        self._average_s += 0.1 * (min(duration_s, _OUTLIER_S) - self._average_s)
        if self._average_s >= _SHORT_S:
            if self.depth > 1:
                self.recall_all()  # the others may have idle workers by now
            self.depth = 1
            self._since_growth = 0
        elif self.depth < self._max_depth:
            self._since_growth += 1
            if self._since_growth >= self.depth * 2:
                self.depth = min(self.depth * 2, self._max_depth)
                self._since_growth = 0


def result_of(answer: Answer) -> Result:
    """Turns a worker's answer into a result."""
    result = Result(outcome=Outcome.COMPLETED, started_at=answer.started, ended_at=answer.ended)
    how = answer.how
    if how == python_wire.RETURNED:
        result.outputs = answer.outputs
        return result
    if how == python_wire.EXITED:
        result.exit_code = answer.exit_code
        if answer.exit_code:
            result.outcome = Outcome.FAILED
            result.error_code = "ERR_EXIT_CODE"
            result.error_message = f"The function ended with exit code {answer.exit_code}."
        return result
    result.outcome = Outcome.FAILED
    result.error_code = _ERROR_CODES[how]
    result.error_message = answer.message
    result.traceback = answer.traceback
    return result


_ERROR_CODES = {
    python_wire.RAISED: "ERR_EXCEPTION",
    python_wire.INVALID: "ERR_VALIDATION",
    python_wire.TOO_LARGE: "ERR_RESULT_TOO_LARGE",
}


def _lost(status: int) -> Result:
    if status >= 0:
        return Result(
            outcome=Outcome.LOST,
            exit_code=status,
            error_code="ERR_EXIT_CODE",
            error_message=f"The worker process ended with exit code {status} while the function ran.",
        )
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return Result(
        outcome=Outcome.LOST,
        exit_code=128 - status,
        signal=-status,
        error_code="ERR_SIGNAL",
        error_message=f"The worker process was ended by {name} while the function ran.",
    )
