"""The queen's process around the core: what the pump and the journal do, step by step on the simulated clock.

Events change the core and wake the pump; one commit is out at a time; effects are let out after it. A failed commit
drops the core, which is built again from the store after a probe has shown that no commit is still in limbo.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formicary.engine.jobs.fan_out import definition_task
from formicary.engine.jobs.rendering import RenderedTask
from formicary.engine.queen.children import find_children
from formicary.engine.queen.core.approving import CannotVote, Vote
from formicary.engine.queen.core.batch import Batch, ChildrenRequest, ExpandRequest, Outgoing, RenderRequest
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.submission import Submission
from formicary.engine.scheduling.queues.reading import read_queues
from formicary.engine.storage.port import StoreError
from tests.simulation.network import Stream
from tests.simulation.store import GOOD, REFUSED, UNKNOWN
from tests.simulation.voters import COUNTED, NO_ANSWER, UNWANTED

if TYPE_CHECKING:
    from tests.simulation.world import World

WALL_AT_START = 1_700_000_000.0
LOOP_S = 0.0002
Answer = Callable[[bool], None]
"""Takes True once a call is committed, False for 503."""


class QueenHost:
    """The machine on which queens follow each other; one process at a time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = world.loop
        self.store = world.store
        self.life = 0
        """Number of the present process; what belongs to an earlier one is void."""
        self.is_up = False
        self.is_ready = False
        self.paused_until = 0.0
        self.wall_jump = 0.0
        self.epoch = 0
        self.core = self._new_core(0)
        self.reloads = 0
        self._streams: dict[int, Stream] = {}
        self._reset()

    def _reset(self) -> None:
        self._busy: Batch | None = None
        self._woken = False
        self._timer_due = float("inf")
        self._waiting: list[Answer] = []
        self._in_commit: list[Answer] = []
        self._streams.clear()
        self.is_ready = False

    def _new_core(self, counter: int) -> Core:
        core = Core(self.world.config, self.epoch, random.Random(self.loop.random.random()), counter=counter)
        core.at(self.loop.now, self.wall)
        return core

    @property
    def wall(self) -> float:
        """The host's wall clock, which may jump."""
        return WALL_AT_START + self.loop.now + self.wall_jump

    @property
    def is_idle(self) -> bool:
        """It is ready, nothing is being written and nothing waits to be."""
        return self.is_ready and self._busy is None and not self.core.dirty()

    # --- the process ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process takes the colony and recovers it."""
        if self.is_up:
            return
        self.life += 1
        self._reset()
        try:
            self.epoch = self.store.acquire()
            self._load(0)
        except StoreError:
            self.loop.after(0.3, self.start)
            return
        self._follow_queues()
        self.is_up = self.is_ready = True
        self.loop.note("queen starts, epoch", self.epoch, "with", len(self.core.jobs), "live jobs")
        self._wake()

    def _follow_queues(self) -> None:
        """As with `--queues`: put in place at the start, where they are not stored yet."""
        source = self.world.setting.queues
        if source and self.core.waiting.given is None:
            found = read_queues(source)
            assert found.queues is not None, found.violations
            self.core.waiting.take(source, found.queues, "simulation")

    def crash(self, back_after_s: float) -> None:
        """kill -9: all of the process is gone; the commit in hand may have happened or may happen yet."""
        if not self.is_up:
            return
        self.loop.note("queen is killed", "in the middle of a commit" if self._busy is not None else "")
        if self._busy is not None:
            self.store.abandon(self.epoch, self._busy.changes)
        self.is_up = self.is_ready = False
        self.paused_until = 0.0
        for stream in list(self._streams.values()):
            stream.close_by_queen()
        for answer in self._waiting + self._in_commit:
            answer(False)
        self.life += 1
        self._reset()
        self.loop.after(back_after_s, self.start)

    def _load(self, counter: int) -> None:
        self.store.check_read()
        snapshot = self.store.inner.load()
        core = self._new_core(counter)
        core.recover(snapshot, self.world.models)
        if counter:
            core.leases.follow(self.core.leases)
        self.core = core
        self.world.monitor.recovered(core)

    def _now(self) -> Core:
        core = self.core
        core.at(self.loop.now, WALL_AT_START + self.loop.now + self.wall_jump)
        return core

    # --- what comes in ----------------------------------------------------------------------------------------------

    def receive(self, stream: Stream, kind: str, content: Any) -> None:
        """A message of an ant."""
        if not self.is_ready:
            stream.close_by_queen()
            return
        core, session = self._now(), stream.session
        if kind == "beat":
            core.beat(session)
            stream.down(content)
            return  # changes no row: nothing to commit
        if kind == "result":
            core.result(session, content)
        elif kind == "started":
            core.started(session, *content)
        elif kind == "checkpoint":
            core.checkpoint(session, *content)
        elif kind == "uses":
            core.observing.take(session, content)
        elif kind == "returned":
            core.returned(session, content)
        elif kind == "draining":
            core.drain(session)
        elif kind == "hello":
            self._streams[session] = stream
            core.connect(session, content)
        self._wake()

    def stream_ended(self, stream: Stream) -> None:
        """A stream is gone."""
        if self._streams.pop(stream.session, None) is not None and self.is_ready:
            self._now().disconnect(stream.session)
            self._wake()

    def say_at_once(self, session: int, outgoing: Outgoing) -> None:
        """Lets an effect out before its commit: only a deliberately broken queen does that."""
        stream = self._streams.get(session)
        if stream is not None:
            stream.down(outgoing)

    def submit(self, definition_id: str, items: list[Submission], answer: Answer) -> None:
        """A client's call: ids and keys that are known already count as accepted with what they made before."""
        if not self.is_ready:
            answer(False)
            return
        core, store = self._now(), self.store.inner
        known = store.find_ids([item.id for item in items])
        stored = store.find_keys("org", [item.key for item in items if item.key])
        fresh = []
        for item in items:
            seen = bool(item.key) and (("org", item.key) in core.keys or item.key in stored)
            if not seen and item.id not in known and item.id not in core.jobs:
                fresh.append(item)
        definition = core.definitions.get(definition_id)
        if definition is None:
            definition = core.define(self.world.rows[definition_id], self.world.models[definition_id])
        core.submit(definition, "org", fresh)
        self._commit(answer)

    def cancel(self, job_id: str, answer: Answer) -> None:
        """A client's call: ends a live job; one that has ended stays as it is."""
        if not self.is_ready:
            answer(False)
            return
        core = self._now()
        if job_id in core.jobs:
            core.cancel(job_id, "asked to")
        self._commit(answer)

    def vote(self, job_id: str, key: tuple[int, int, int], vote: Vote, answer: Callable[[int], None]) -> None:
        """A voter's call: answered after the commit, also where it does not count."""
        if not self.is_ready:
            answer(NO_ANSWER)
            return
        core = self._now()
        job = core.jobs.get(job_id)
        run = job.run.runs.get(key[1]) if job is not None and job.run is not None else None
        if job is None or run is None or run.attempts != key[2]:
            self._commit(lambda is_stored: answer(UNWANTED if is_stored else NO_ANSWER))  # that question is over
            return
        try:
            core.vote(job_id, vote)
        except CannotVote:  # because of what may not be committed yet: no answer before that
            self._commit(lambda is_stored: answer(UNWANTED if is_stored else NO_ANSWER))
            return
        self._commit(lambda is_stored: answer(COUNTED if is_stored else NO_ANSWER))

    def _commit(self, answer: Answer) -> None:
        self._waiting.append(answer)
        self._wake()

    # --- commits ----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._woken and self._busy is None:
            self._woken = True
            self.loop.after(LOOP_S, self._cut, self.life)

    def _cut(self, life: int) -> None:
        if life != self.life:
            return
        self._woken = False
        if self._busy is not None or not self.is_ready:
            return
        if self.paused_until > self.loop.now:
            self._woken = True
            self.loop.at(self.paused_until, self._cut, life)
            return
        core = self._now()
        more = core.schedule()
        self.world.monitor.decided(core)
        if core.dirty():
            batch = core.cut()
            self._in_commit, self._waiting = self._waiting, []
            if batch.changes:
                self._write(batch)
            else:
                self._committed(batch)
        elif self._waiting:
            waiting, self._waiting = self._waiting, []
            for answer in waiting:
                answer(True)
        if more:
            self._wake()
        self._set_timer()

    def _write(self, batch: Batch) -> None:
        self._busy = batch
        fate, seconds = self.world.faults.fate()
        self.loop.after(seconds, self._written, self.life, batch, fate)

    def _written(self, life: int, batch: Batch, fate: int) -> None:
        if life != self.life:
            return
        if self.paused_until > self.loop.now:
            self.loop.at(self.paused_until, self._written, life, batch, fate)
            return
        self._busy = None
        try:
            self.store.commit(self.epoch, batch.changes, fate)
        except StoreError as error:
            self._failed(str(error))
            return
        self._committed(batch)

    def _committed(self, batch: Batch) -> None:
        waiting, self._in_commit = self._in_commit, []
        self.core.committed(batch)
        self.world.monitor.released(batch)
        life, after = self.life, self.loop.after
        for session, outgoing in batch.outgoing.items():
            stream = self._streams.get(session)
            if stream is not None:
                stream.down(outgoing)
        for answer in waiting:
            answer(True)
        for session in batch.closing:
            closed = self._streams.pop(session, None)
            if closed is not None:
                closed.close_by_queen()
        if batch.load:
            after(0.001, self._load_params, life, self.reloads, batch.load)
        for request in batch.render:
            after(0.001, self._render, life, self.reloads, request)
        for wanted in batch.children:
            after(0.001, self._find_children, life, self.reloads, wanted)
        for dynamic in batch.expand:
            after(0.002, self._expand, life, self.reloads, dynamic)
        self._woken = True
        after(LOOP_S, self._cut, life)

    def _failed(self, error: str) -> None:
        self.loop.note("queen: the store failed:", error)
        self.reloads += 1
        self.is_ready = False
        waiting = self._in_commit + self._waiting
        self._in_commit, self._waiting = [], []
        for answer in waiting:
            answer(False)
        for stream in list(self._streams.values()):
            stream.close_by_queen()
        self._streams.clear()
        self._reload(self.life, 0.05)

    def _reload(self, life: int, pause_s: float) -> None:
        if life != self.life:
            return
        try:
            self.store.probe(self.epoch)
            self._load(self.core.leases.counter)
        except StoreError:
            self.loop.after(pause_s, self._reload, life, min(2.0, pause_s * 2))
            return
        self.loop.note("queen: the store is back")
        self.is_ready = True
        self._wake()

    # --- answers to effects, and time -------------------------------------------------------------------------------

    def _load_params(self, life: int, reloads: int, numbers: list[int]) -> None:
        if life == self.life and reloads == self.reloads and self.is_ready:
            self._now().loaded(self.store.inner.params(numbers))
            self._wake()

    def _render(self, life: int, reloads: int, request: RenderRequest) -> None:
        if life != self.life or reloads != self.reloads or not self.is_ready:
            return
        core = self._now()
        if request.position is None:
            core.prepared(request, b'{"prepared":1}', skip=request.definition.skip_if == "true", problem=None)
        else:
            task = definition_task(request.definition, request.position)
            core.rendered(request, RenderedTask(task, task.except_ == "true"), None)
        self._wake()

    def _find_children(self, life: int, reloads: int, request: ChildrenRequest) -> None:
        if life != self.life or reloads != self.reloads or not self.is_ready:
            return
        models = self.world.models
        found = find_children(self.store.inner, lambda row: models[str(row[0])], replace(request, job_type=""))
        if request.job_type:
            found = replace(found, definition=(self.world.rows[request.job_type], models[request.job_type]))
        self._now().found(request, found)
        self._wake()

    def _expand(self, life: int, reloads: int, request: ExpandRequest) -> None:
        if life == self.life and reloads == self.reloads and self.is_ready:
            self._now().composing.expanded(request, (self.world.rows["two"], self.world.models["two"]))
            self._wake()

    def _set_timer(self) -> None:
        due = self.core.timers.next_due()
        if due is not None and (due < self._timer_due or self._timer_due <= self.loop.now):
            self._timer_due = due
            self.loop.at(due, self._tick, self.life, due)

    def _tick(self, life: int, due: float) -> None:
        if life != self.life or due != self._timer_due:
            return
        if self.paused_until > self.loop.now:
            self.loop.at(self.paused_until, self._tick, life, due)
            return
        self._timer_due = float("inf")
        if self.is_ready:
            self._now().tick()
            self._set_timer()
            self._wake()


__all__ = ["GOOD", "REFUSED", "UNKNOWN", "QueenHost"]
