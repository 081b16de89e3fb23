"""The pump: turns events into commits and commits into effects.

Theory of operation. Everything runs on one event loop. An event changes the core at once and wakes the pump; the pump
schedules, cuts the open batch and hands it to the journal; while that commit is being written, further events gather in
the next batch. When the commit is done its effects are let out: assignments to ants, acknowledgements, ends, answers.

When a commit fails, nothing of what was applied since the last good one counts: every waiting call gets 503, sessions
are closed, the core is dropped and built again from the store, and until that has worked nothing is accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Protocol, TypeVar

from formicary.engine.queen.children import expand_child, find_children, with_tasks
from formicary.engine.queen.core.batch import (
    Batch,
    ChildrenRequest,
    ChoreRequest,
    Escalation,
    ExpandRequest,
    JobEnded,
    Outgoing,
    RenderRequest,
)
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.occurrences import Occurrence
from formicary.engine.queen.definitions import Definitions
from formicary.engine.queen.journal import Journal
from formicary.engine.queen.rendering import Prepared, Rendered, render
from formicary.engine.queen.template_lookup import TemplateLookup
from formicary.engine.storage.log_port import LogStore
from formicary.engine.storage.port import Fenced, RowRefused, Store, StoreError
from formicary.problems import Problem, problem

log = logging.getLogger("formicary.queen")
T = TypeVar("T")
RELOAD_PAUSE_S = (0.05, 2.0)
"""First and longest pause between attempts to reload a store that has failed."""


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """While hundreds of thousands of objects are made that will all stay, looking for garbage is wasted work."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Peer(Protocol):
    """One session as the pump sees it."""

    def deliver(self, outgoing: Outgoing) -> None:
        """Sends what a commit has let out."""
        ...

    def shut(self) -> None:
        """Closes the stream."""
        ...


class Pump:
    """Core, journal and effects of one colony."""

    def __init__(self, store: Store, logs: LogStore, config: CoreConfig, rng: Random) -> None:
        self.store = store
        self.logs = logs
        self.config = config
        self.rng = rng
        self.definitions = Definitions(store)
        self.core = Core(config, 0, rng)
        self.epoch = 0
        self.ready = False
        self.fenced = asyncio.Event()
        self.peers: dict[int, Peer] = {}
        self.on_ended: Callable[[list[JobEnded]], None] = lambda _ended: None
        self.on_occurred: Callable[[list[Occurrence]], None] = lambda _all: None
        self.on_reloaded: Callable[[], None] = lambda: None
        self.on_touched: Callable[[set[str]], None] = lambda _ids: None
        self.on_settled: Callable[[dict[tuple[str, str], tuple[str, str]]], None] = lambda _keys: None
        self.on_acquired: Callable[[], Awaitable[None]] = _nothing
        """Awaited before anything of the colony is looked at."""
        self.on_escalated: Callable[[list[Escalation]], None] = lambda _all: None
        self.on_notices: Callable[[], None] = lambda: None
        self.on_chore: Callable[[ChoreRequest], Awaitable[int]] = _no_chore
        """Does what a task of the queen's own asks for; says how many things it concerned. Raises Problem."""
        self.recoveries = 0
        self.failures = 0
        """Times that everything stopped since a commit or a read of the store had failed."""
        self.inconsistencies = 0
        """Failures that mean more than a store out of reach: another queen wrote, or a row breaks the schema."""
        self.loads = 0
        """Times that the whole state was read from the store and checked: at the start and after each failure."""
        self.load_s = 0.0
        """Seconds that the last of them took."""
        self._readers = ThreadPoolExecutor(2, "formicary-reader")
        self._waiting: list[asyncio.Future[None]] = []
        self._in_commit: list[asyncio.Future[None]] = []
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = float("inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._generation = 0
        self._closed = False

    # --- start and stop ---------------------------------------------------------------------------------------------

    async def start(self, holder: str) -> None:
        """Takes the colony and recovers it. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._journal = Journal(self.store, self.logs, self._committed)
        await self.read(self.store.open)
        self.epoch = await self.read(lambda: self.store.acquire(holder))
        await self.on_acquired()
        await self._load(counter=0)
        self._journal.start()
        self.ready = True
        self.wake()

    async def stop(self) -> None:
        """Commits what is open and ends the threads."""
        if self.ready:
            with contextlib.suppress(Problem):
                await self.settle()
        self._closed, self.ready = True, False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._journal.stop)
        self._readers.shutdown(wait=True)

    @property
    def journal(self) -> Journal:
        """The writer and its counts; there once the pump has started."""
        return self._journal

    async def settle(self) -> None:
        """Returns when everything applied so far is committed and let out. Raises Problem UNAVAILABLE."""
        self.now()
        await self.commit()

    async def _load(self, *, counter: int) -> None:
        begun = time.monotonic()
        with _without_collector():
            await self._take_over(counter)
        self.loads += 1
        self.load_s = time.monotonic() - begun

    async def _take_over(self, counter: int) -> None:
        snapshot = await self.read(self.store.load)
        models = {str(row[0]): self.definitions.model(row) for row in snapshot.definitions}
        core = Core(self.config, self.epoch, self.rng, counter=counter)
        core.followed, core.observed = self.core.followed, self.core.observed
        core.configs, core.error_rules, core.book = self.core.configs, self.core.error_rules, self.core.book
        core.at(time.monotonic(), time.time())
        core.recover(snapshot, models)
        core.leases.follow(self.core.leases)
        self.core = core

    # --- events -----------------------------------------------------------------------------------------------------

    def now(self) -> Core:
        """The core, told what time it is: the beginning of every event. Raises Problem UNAVAILABLE while reloading."""
        if not self.ready:
            raise unavailable()
        core = self.core
        core.at(time.monotonic(), time.time())
        return core

    def wake(self) -> None:
        """Something has changed: commit as soon as the journal is idle."""
        if not self._woken and not self._journal.busy:
            self._woken = True
            self._loop.call_soon(self._cut)

    def commit(self) -> asyncio.Future[None]:
        """A future for the commit of everything applied so far; fails with Problem UNAVAILABLE."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(future)
        self.wake()
        return future

    async def read(self, function: Callable[[], T]) -> T:
        """Runs a blocking read on a reader thread."""
        return await self._loop.run_in_executor(self._readers, function)

    def spawn(self, work: Awaitable[None]) -> None:
        """Runs work that nobody awaits; its failure is logged, never swallowed."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)

    def _ended_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)

    # --- commits ----------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        self._woken = False
        if self._journal.busy or not self.ready:
            return
        core = self.now()
        more = core.schedule()
        if core.dirty():
            batch = core.cut()
            self._in_commit, self._waiting = self._waiting, []
            if batch.changes:
                self._journal.write(self.epoch, batch)
            else:
                self._committed(batch, None)
        elif self._waiting:
            waiting, self._waiting = self._waiting, []
            _answer(waiting)
        if more:
            self._loop.call_soon(self._slice)
        self._set_timer()

    def _slice(self) -> None:
        """Further slices of a scheduling round while the journal writes; other events get their turn in between."""
        if not self.ready:
            return
        if not self._journal.busy:
            self._cut()
        elif self.now().schedule():
            self._loop.call_soon(self._slice)

    def _committed(self, batch: Batch, error: StoreError | None) -> None:
        waiting, self._in_commit = self._in_commit, []
        if error is not None:
            self._failed(error, waiting)
            return
        if batch.keys:
            self.on_settled({pair: self.core.keys[pair] for pair in batch.keys if pair in self.core.keys})
        self.core.committed(batch)
        for session, outgoing in batch.outgoing.items():
            peer = self.peers.get(session)
            if peer is not None:
                peer.deliver(outgoing)
        _answer(waiting)
        if batch.ended:
            self.on_ended(batch.ended)
        if batch.touched:
            self.on_touched(batch.touched)
        if batch.occurrences:
            self.on_occurred(batch.occurrences)
        if batch.notices:
            self.on_notices()
        if batch.escalations:
            self.on_escalated(batch.escalations)
        for session in batch.closing:
            peer = self.peers.pop(session, None)
            if peer is not None:
                peer.shut()
        if batch.load:
            self.spawn(self._load_params(batch.load, self._generation))
        for request in batch.render:
            self.spawn(self._render(request, self._generation))
        for chore in batch.chores:
            self.spawn(self._do_chore(chore, self._generation))
        for wanted in batch.children:
            self.spawn(self._find_children(wanted, self._generation))
        for dynamic in batch.expand:
            self.spawn(self._expand(dynamic, self._generation))
        if not self._closed:
            self._cut()

    def _set_timer(self) -> None:
        due = self.core.timers.next_due()
        if due is None or due == self._timer_due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_due = None, float("inf")
        if self.ready:
            self.now().tick()
            self._set_timer()
            self.wake()

    def is_leaving(self, job_id: str) -> bool:
        """Whether a job has ended, and its end is not committed yet: it is no longer in memory."""
        return job_id in self.core.leaving

    # --- answers to effects -----------------------------------------------------------------------------------------

    async def _load_params(self, numbers: list[int], generation: int) -> None:
        try:
            params = await self.read(lambda: self.store.params(numbers))
        except StoreError as error:
            if generation == self._generation and self.ready:
                self._failed(error, [])
            return
        if generation == self._generation and self.ready:
            self.now().loaded(params)
            self.wake()

    async def _render(self, request: RenderRequest, generation: int) -> None:
        lookup = TemplateLookup(self.store, self.definitions.model, request)
        try:
            answer: Prepared | Rendered = await self.read(lambda: render(request, time.monotonic, lookup))
            if any(job.model.dynamic_template_tasks for job in answer.jobs):
                answer = await self._with_tasks(request, answer)
        except StoreError as error:
            if generation == self._generation and self.ready:
                self._failed(error, [])
            return
        if generation != self._generation or not self.ready:
            return
        core = self.now()
        if isinstance(answer, Prepared):
            core.prepared(request, answer.variables, skip=answer.skip, problem=answer.problem, jobs=answer.jobs)
        else:
            core.rendered(request, answer.task, answer.problem, answer.jobs)
        self.wake()

    async def _with_tasks(self, request: RenderRequest, answer: Prepared | Rendered) -> Prepared | Rendered:
        """The same where the templates of the jobs that it submits have made their tasks, or with the problem."""
        view = self.core.configs.view
        configs = [view(request.org, request.user, job.model.job_type) for job in answer.jobs]
        jobs, why = await self.read(lambda: with_tasks(self.definitions, answer.jobs, configs))
        if why and isinstance(answer, Rendered):
            return Rendered(None, why)
        return replace(answer, jobs=jobs, problem=why or answer.problem)

    async def _find_children(self, request: ChildrenRequest, generation: int) -> None:
        try:
            answer = await self.read(lambda: find_children(self.store, self.definitions.model, request))
        except StoreError as error:
            if generation == self._generation and self.ready:
                self._failed(error, [])
            return
        if generation == self._generation and self.ready:
            self.now().found(request, answer)
            self.wake()

    async def _expand(self, request: ExpandRequest, generation: int) -> None:
        answer, why = None, ""
        try:
            answer = await self.read(lambda: expand_child(self.definitions, request))
        except StoreError as error:
            if generation == self._generation and self.ready:
                self._failed(error, [])
            return
        except Problem as error:
            why = error.detail
        if generation == self._generation and self.ready:
            self.now().composing.expanded(request, answer, why)
            self.wake()

    async def _do_chore(self, request: ChoreRequest, generation: int) -> None:
        removed, why = 0, ""
        try:
            removed = await self.on_chore(request)
        except Problem as error:
            why = error.detail
        if generation == self._generation and self.ready:
            self.now().chores.answered(request, removed, why)
            self.wake()

    # --- failure ----------------------------------------------------------------------------------------------------

    def _failed(self, error: StoreError, waiting: list[asyncio.Future[None]]) -> None:
        """Drops everything that is not committed; builds the core again, or steps down where another queen leads."""
        self.ready = False
        self.failures += 1
        self.inconsistencies += isinstance(error, Fenced | RowRefused)
        self._generation += 1
        waiting, self._waiting = waiting + self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(unavailable(error))
        peers, self.peers = self.peers, {}
        for peer in peers.values():
            peer.shut()
        if isinstance(error, Fenced):
            log.error("another queen has taken over: stepping down (%s)", error)
            self.fenced.set()
            return
        log.error("the store failed, reloading: %s", error)
        self.spawn(self._recover())

    async def _recover(self) -> None:
        pause, longest = RELOAD_PAUSE_S
        while not self._closed:
            try:
                await self.read(self._probe)  # first: it waits for a commit that may still be on its way
                await self._load(counter=self.core.leases.counter)
                break
            except Fenced:
                self.fenced.set()
                return
            except StoreError as error:
                log.warning("the store is not back yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(longest, pause * 2)
        self.recoveries += 1
        self.ready = not self._closed
        if self.ready:
            log.info("the store is back, going on")
            self.on_touched(set(self.core.followed))
            self.on_reloaded()
            self.wake()

    def _probe(self) -> None:
        """An empty commit: shows that the store takes writes and that the epoch is still ours."""
        self.store.commit(self.epoch, Batch().changes)


async def _no_chore(request: ChoreRequest) -> int:
    raise problem("FAILED_PRECONDITION", f"this queen does no {request.method}")


async def _nothing() -> None:
    """Nobody wants to know."""


def _answer(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)


def unavailable(error: BaseException | None = None) -> Problem:
    """The 503 of a queen that cannot write at the moment."""
    why = f": {error}" if error is not None else ""
    return problem("UNAVAILABLE", f"the store cannot be written at the moment, nothing was accepted{why}")
