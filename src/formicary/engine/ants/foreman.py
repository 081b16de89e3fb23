"""The foreman: which granted attempt runs when, and how each of them ends.

Theory of operation. Granted attempts wait in one queue, first in first out. A slot is a PYTHON worker with calls, or
one running attempt of another method; there are never more than ``slots``. While functions are short, workers hold
several calls each and the ant asks for more (the *window*), so that the queen's commit time is hidden.

While anything is held, one tick runs: it announces what has been running for a while, ends what is over its time-out,
takes calls back from behind long ones, and gives what nobody here can start soon back to the queen. Ends come from two
sides, the executor and a reason to stop; the reason wins, whatever the executor reports.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

from formicary.engine.ants.artifact_link import ArtifactLink
from formicary.engine.ants.attempt import Attempt, Outcome, Result, Stop, failure
from formicary.engine.ants.checkpoints import Checkpoints
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.context import MAX_CHECKPOINT_BYTES
from formicary.engine.ants.data_steps import DataSteps, needs_data
from formicary.engine.ants.executors import PYTHON, Executor, executors_of
from formicary.engine.ants.observing import Observer, Use
from formicary.engine.ants.outbox import Outbox
from formicary.engine.ants.output import TaskOutput
from formicary.engine.ants.pool import PythonPool
from formicary.engine.ants.python_folder import PythonInFolder
from formicary.engine.ants.warden import Warden

_LOG = logging.getLogger(__name__)
_RECALL_S = 0.003
_TICK_S = 0.05
_SLOW_TICK_S = 0.5
NO_GRACE: Mapping[int, float] = {}


class Foreman:
    """Runs attempts within the slots of one ant.

    Args:
        config: The ant's configuration.
        outbox: Takes results, log lines, announcements and what is given back.
        may_begin: Says whether queued attempts may begin now; :meth:`go_on` is called when it says so again.
        link: How artifacts come and go; None = they cannot.
    """

    def __init__(
        self,
        config: AntConfig,
        outbox: Outbox,
        may_begin: Callable[[], bool] = lambda: True,
        link: ArtifactLink | None = None,
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._warden = Warden()
        self._data = DataSteps(link)
        self._executors = executors_of(config, self._warden, self.progressed)
        pooled = PYTHON in config.methods and PYTHON not in self._executors
        self._pool = PythonPool(config, self, self._warden) if pooled else None
        if pooled:
            in_folder = PythonInFolder(config, self._warden, self.progressed, self.checkpointed)
            self._executors = {**self._executors, PYTHON: in_folder}
        self._attempts: dict[int, Attempt] = {}
        self._queue: deque[Attempt] = deque()
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}
        self._checkpoints = Checkpoints(outbox)
        self._observer = Observer()
        self._ending: Attempt | None = None
        """What has ended, while its last output is taken."""
        self._window = config.slots
        self._is_draining = False
        self._is_dispatching = False
        self._may_begin = may_begin
        self._ticker: asyncio.TimerHandle | None = None
        self._collector: asyncio.TimerHandle | None = None
        self._idle: list[asyncio.Future[None]] = []
        if self._pool is not None and config.warm_workers:
            self._pool.warm(config.warm_workers)

    # what the session asks --------------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """How many granted attempts the ant is willing to hold."""
        return self._window

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._tasks) + (self._pool.busy if self._pool is not None else 0)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the PYTHON workers."""
        return self._pool.pids if self._pool is not None else []

    def held(self) -> list[int]:
        """Tokens of the attempts that are queued or running."""
        return list(self._attempts)

    def devices(self) -> dict[int, tuple[str, ...]]:
        """Devices by token, of the attempts that have some."""
        return {token: one.devices for token, one in self._attempts.items() if one.devices}

    def holds(self, token: int) -> bool:
        """Says whether a token is queued or running here."""
        return token in self._attempts

    def accept(self, attempts: Iterable[Attempt]) -> None:
        """Takes granted attempts; a draining ant gives them back at once."""
        queue, held = self._queue, self._attempts
        refused: list[int] = []
        outlet = self._new_output
        for attempt in attempts:
            if self._is_draining:
                refused.append(attempt.token)
                continue
            held[attempt.token] = attempt
            attempt.outlet = outlet
            queue.append(attempt)
        if refused:
            self._outbox.add_returned(refused)
        self._dispatch()
        self._shed()
        self._tick_soon()

    def cancel(
        self,
        tokens: Iterable[int],
        *,
        reason: Stop = Stop.CANCELLED,
        at_once: frozenset[int] = frozenset(),
        grace_s: Mapping[int, float] = NO_GRACE,
    ) -> None:
        """Ends attempts; each answers with a result unless the reason is FORGET.

        Args:
            tokens: Of the attempts.
            reason: Why.
            at_once: Those of them that are left no grace.
            grace_s: Seconds that some of them are left; the others as the ant is configured.
        """
        queued = False
        for token in tokens:
            attempt = self._attempts.get(token)
            if attempt is not None and attempt.stop < reason:
                attempt.stop = reason
                attempt.grace_s = grace_s.get(token)
                queued = self._end(attempt, at_once=token in at_once or reason is Stop.FORGET) or queued
        if queued:
            waiting = [attempt for attempt in self._queue if attempt.stop is Stop.NONE]
            ended = [attempt for attempt in self._queue if attempt.stop is not Stop.NONE]
            self._queue = deque(waiting)
            for attempt in ended:
                self.finished(attempt, Result(outcome=Outcome.CANCELLED))
        self._tick_soon()

    def go_on(self) -> None:
        """The queen has been heard: what was held back may begin."""
        if self._queue:
            self._dispatch_soon()

    def forget(self, tokens: Iterable[int]) -> None:
        """Kills attempts whose lease is lost, at once and without a word."""
        lost = list(tokens)
        self.cancel(lost, reason=Stop.FORGET)
        self._checkpoints.forget(lost)
        for token in lost:
            self._attempts.pop(token, None)
        self._check_idle()

    def forget_all(self) -> int:
        """Kills everything; returns how many attempts were held."""
        tokens = list(self._attempts)
        if self._pool is not None:
            self._pool.kill_busy()
        self.forget(tokens)
        return len(tokens)

    def uses(self) -> dict[int, Use]:
        """What running attempts use of the machine, by token; without those whose processes are not known."""
        groups = {one.token: (one.groups, one.started) for one in self._tasks if one.groups}
        if self._pool is not None:
            groups |= {attempt.token: ({group}, 0.0) for attempt, group in self._pool.groups()}
        return self._observer.look(groups, time.monotonic())

    def announce_again(self) -> None:
        """Has every running attempt announced again, for a queen that may not have heard."""
        for attempt in self._attempts.values():
            attempt.announced = False

    def drain(self) -> None:
        """Gives back what has not started and takes nothing more."""
        self._is_draining = True
        self._give_back(list(self._queue))
        self._queue.clear()
        if self._pool is not None:
            self._pool.recall_all()

    async def until_idle(self) -> None:
        """Waits until nothing is held."""
        while self._attempts:
            idle = self._loop.create_future()
            self._idle.append(idle)
            await idle

    async def close(self) -> None:
        """Kills what is left and gives everything back."""
        self._is_draining = True
        self.forget_all()
        for timer in (self._ticker, self._collector):
            if timer is not None:
                timer.cancel()
        self._ticker = self._collector = None
        self._checkpoints.close()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        if self._pool is not None:
            empty = self._loop.create_future()
            self._pool.close(lambda: empty.set_result(None))
            await empty
        for executor in set(self._executors.values()):
            await executor.close()
        self._warden.close()

    # starting ---------------------------------------------------------------------------------------------------------

    def _dispatch_soon(self) -> None:
        if not self._is_dispatching:
            self._is_dispatching = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_dispatching = False
        queue, slots, pool = self._queue, self._config.slots, self._pool
        if not queue or not self._may_begin():
            return
        running = self.running
        while queue:
            attempt = queue[0]
            if attempt.task.method == PYTHON and pool is not None and not needs_data(attempt):
                busy = pool.busy if slots > 1 else running
                if not pool.give(attempt, may_take_slot=len(self._tasks) + busy < slots):
                    break
                if slots == 1:
                    running = 1
                queue.popleft()
            elif len(self._tasks) + (pool.busy if pool is not None else 0) < slots:
                queue.popleft()
                self._start(attempt)
            else:
                break
        if pool is not None:
            pool.flush()

    def _start(self, attempt: Attempt) -> None:
        executor = self._executors.get(attempt.task.method)
        attempt.started = time.monotonic()
        if executor is None:
            message = (
                f"This ant does not run {attempt.task.method} tasks; it offers {', '.join(sorted(self._executors))}."
            )
            self.finished(attempt, failure("ERR_VALIDATION", message))
            return
        task = self._loop.create_task(self._run(executor, attempt), name="attempt")
        self._tasks[attempt] = task
        task.add_done_callback(lambda task: self._task_ended(attempt, task))

    async def _run(self, executor: Executor, attempt: Attempt) -> None:
        """Runs an attempt and sends its end, without another turn of the loop between the two."""
        try:
            if needs_data(attempt):
                result = await self._data.run(executor, attempt)
            else:
                result = await executor.run(attempt)
        except Exception as error:
            shown = error if attempt.mask is None else None  # its text may hold a secret
            _LOG.error("the executor of %s failed: %s", attempt.task.method, type(error).__name__, exc_info=shown)
            result = failure("ERR_START", f"The executor of {attempt.task.method} failed: {error!r}.")
        del self._tasks[attempt]
        self.finished(attempt, result)

    def _new_output(self, attempt: Attempt) -> TaskOutput:
        config = self._config

        def emit(lines: list[tuple[float, int, str]]) -> None:
            if attempt.stop is not Stop.FORGET:
                self._outbox.add_log(attempt, lines)

        return TaskOutput(
            emit,
            head_bytes=config.log_head_bytes,
            tail_bytes=config.log_tail_bytes,
            max_line_bytes=config.max_line_bytes,
            max_outputs_bytes=config.max_outputs_bytes,
            mask=attempt.mask,
            checkpointed=lambda value: self._checkpointed(attempt, value),
        )

    # ending -----------------------------------------------------------------------------------------------------------

    def _end(self, attempt: Attempt, *, at_once: bool) -> bool:
        """Ends a running attempt; returns True if it is still in the queue."""
        task = self._tasks.get(attempt)
        if task is not None:
            if attempt.ender is not None:
                attempt.ender(at_once)
            else:
                task.cancel()
            return False
        return self._pool is None or not self._pool.end(attempt, at_once=at_once)

    def _task_ended(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            del self._tasks[attempt]
            self.finished(attempt, Result(outcome=Outcome.CANCELLED))
        elif (error := task.exception()) is not None:
            _LOG.error("the end of an attempt was not taken", exc_info=error)

    def finished(self, attempt: Attempt, result: Result) -> None:
        """Sends the end of an attempt, once, and lets the next one start."""
        if self._attempts.pop(attempt.token, None) is not None and attempt.stop is not Stop.FORGET:
            output = attempt.output
            if output is not None:
                self._ending = attempt
                output.finish()
                self._ending = None
                if output.outputs or output.outputs_too_large:
                    result = self._with_set_outputs(result, output)
            if attempt.stop is not Stop.NONE:
                self._apply_stop(attempt, result)
            if attempt.mask is not None:
                attempt.mask.result(result)
            if output is not None and result.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
                result.recent = output.recent
            if not result.ended_at:
                result.ended_at = time.time()
            if not result.started_at:
                ran = time.monotonic() - attempt.started if attempt.started else 0.0
                result.started_at = result.ended_at - ran
            self._checkpoints.ended(attempt.token)
            self._outbox.add_result(attempt, result)
        if self._queue:
            self._dispatch_soon()
        self._set_window()
        self._check_idle()

    def _apply_stop(self, attempt: Attempt, result: Result) -> None:
        if attempt.stop is Stop.TIMED_OUT:
            result.outcome = Outcome.TIMED_OUT
            result.error_code = "ERR_TIMEOUT"
            result.error_message = f"It did not end within its time-out of {attempt.timeout_s:g} s and was ended."
        else:
            result.outcome = Outcome.CANCELLED
            result.error_code = "ERR_CANCELLED"
            is_stop = attempt.stop is Stop.ANT_STOPS
            result.error_message = "The ant was stopped before it ended." if is_stop else "It was cancelled."

    def _with_set_outputs(self, result: Result, output: TaskOutput) -> Result:
        outputs: dict[str, object] = dict(output.outputs)
        if result.outputs:
            outputs.update(msgspec.json.decode(result.outputs))
        encoded = msgspec.json.encode(outputs)
        if output.outputs_too_large or len(encoded) > self._config.max_outputs_bytes:
            if result.outcome != Outcome.COMPLETED:
                return result
            limit = self._config.max_outputs_bytes
            return failure("ERR_RESULT_TOO_LARGE", f"The outputs are larger than {limit:,} bytes.")
        result.outputs = encoded
        return result

    def handed_back(self, attempts: list[Attempt]) -> None:
        """Queues attempts again, first, that a worker could not start."""
        if self._is_draining:
            self._give_back(attempts)
            return
        self._queue.extendleft(reversed([attempt for attempt in attempts if attempt.token in self._attempts]))
        self._dispatch_soon()

    def progressed(self, attempt: Attempt, fraction: float, message: str) -> None:
        """Passes progress on."""
        if attempt.token in self._attempts:
            said = message if attempt.mask is None else attempt.mask.text(message)
            self._outbox.add_progress(attempt.token, fraction, said)

    def checkpointed(self, attempt: Attempt, value: bytes) -> None:
        """Passes on what a function leaves for the next attempt, JSON."""
        self._checkpointed(attempt, value if attempt.mask is None else attempt.mask.json(value))

    def _checkpointed(self, attempt: Attempt, value: bytes) -> None:
        """The same of any task, already without secrets."""
        if attempt.stop is Stop.FORGET or (attempt.token not in self._attempts and attempt is not self._ending):
            return
        if len(value) > MAX_CHECKPOINT_BYTES:
            attempt.say(f"a checkpoint of {len(value):,} bytes is not kept: at most {MAX_CHECKPOINT_BYTES:,} are")
            return
        self._checkpoints.put(attempt.token, value)

    def _give_back(self, attempts: list[Attempt]) -> None:
        tokens = [a.token for a in attempts if self._attempts.pop(a.token, None) is not None]
        if tokens:
            self._outbox.add_returned(tokens)
        self._check_idle()

    def _shed(self) -> None:
        """Gives back what is neither short nor startable: more non-PYTHON attempts than the ant has slots."""
        if len(self._queue) <= self._config.slots:
            return
        others = [attempt for attempt in self._queue if attempt.task.method != PYTHON]
        surplus = others[self._config.slots :]
        if surplus:
            drop = set(surplus)
            self._queue = deque(attempt for attempt in self._queue if attempt not in drop)
            self._give_back(surplus)

    def _check_idle(self) -> None:
        if not self._attempts and self._idle:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                if not idle.done():
                    idle.set_result(None)

    # the tick ---------------------------------------------------------------------------------------------------------

    def _tick_soon(self) -> None:
        if not self._attempts:
            return
        if self._ticker is not None:
            if self._ticker.when() - self._loop.time() <= _TICK_S:
                return
            self._ticker.cancel()
        self._ticker = self._loop.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        if not self._attempts and not self.running:
            return
        now = time.monotonic()
        running = [(attempt, attempt.started) for attempt in self._tasks]
        if self._pool is not None:
            running += self._pool.running()
        next_s = _SLOW_TICK_S if not self._queue else _TICK_S
        for attempt, started in running:
            next_s = min(next_s, self._watch(attempt, started, now))
        self._relieve(running, now)
        self._dispatch()
        self._set_window()
        if len(self._attempts) > len(running):
            next_s = _TICK_S
        self._ticker = self._loop.call_later(max(next_s, 0.005), self._tick)

    def _watch(self, attempt: Attempt, started: float, now: float) -> float:
        """Announces or ends one running attempt; returns when to look again."""
        attempt.started = started
        ran = now - started
        left = attempt.timeout_s - ran
        if left <= 0:
            if attempt.stop is Stop.NONE:
                attempt.stop = Stop.TIMED_OUT
                self._end(attempt, at_once=False)
            left = _TICK_S
        elif attempt.stop is not Stop.NONE and attempt not in self._tasks:
            is_lost = attempt.stop is Stop.FORGET
            self._end(attempt, at_once=is_lost)  # a call that was cancelled while it was queued has started after all
        if attempt.announced:
            return left
        if ran < self._config.announce_after_s:
            return min(left, self._config.announce_after_s - ran)
        attempt.announced = True
        if attempt.stop is not Stop.FORGET:
            self._outbox.add_started(attempt.token, time.time() - ran)
        return left

    def _relieve(self, running: list[tuple[Attempt, float]], now: float) -> None:
        after = self._config.give_back_after_s
        if self._pool is not None:
            self._pool.relieve(now, after)
        long = sum(1 for _, started in running if now - started > after)
        if self._queue and long >= self._config.slots:
            waiting = list(self._queue)
            self._queue.clear()
            self._give_back(waiting)

    def recalling(self) -> None:
        """Collects what the pool recalled, once it is sure that it cannot start."""
        if self._collector is None:
            self._collector = self._loop.call_later(_RECALL_S, self._collect)

    def _collect(self) -> None:
        self._collector = None
        if self._pool is not None:
            self._pool.collect_recalled()
            if self._pool.is_recalling:
                self.recalling()

    def _set_window(self) -> None:
        slots = self._config.slots
        window = slots
        if self._pool is not None and self._pool.depth > 1:
            long = len(self._tasks) + self._pool.long
            window = min(max(slots, long + self._pool.depth * (slots - long)), self._config.max_window)
        if window != self._window:
            self._window = window
            self._outbox.set_window(window)
