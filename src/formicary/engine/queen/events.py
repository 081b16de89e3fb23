"""The event stream: what has happened, numbered, kept for a while, and handed to whoever watches.

Theory of operation. A commit brings :class:`Occurrence` images; compared with what was last told about the same row
they become events with the next sequence numbers, and go into one ring. A watch is nothing but a position in that ring:
it costs no memory, it cannot hold up anybody, and one that is so slow that its position has left the ring is told by a
`gap` how many events it missed. All watches that stand at the same place with the same filter get the same
:class:`Chunk`, on which whoever sends it keeps the bytes.

Watches are woken together, at once after a quiet time and otherwise so rarely that all of them together cause at most
`WAKES_PER_S` wake-ups a second: what comes in between travels in the same chunk.

Nothing is recorded before somebody watches, nor later than `linger_s` after the last one has left. The sequence is the
queen's epoch in its high bits and a count below: an earlier life of the server is recognised by its epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.occurrences import ESCALATED, Occurrence
from formicary.engine.queen.core.records import EPOCH_SHIFT
from formicary.problems import problem

WAKES_PER_S = 4000
"""Wake-ups of all watches together: about a fifth of a processor."""
CHUNK = 500
"""Most events of one chunk."""
MOST_WATCHES = 1000
GAP = "gap"

_JOB_KINDS = {
    life.PENDING: "job.requeued",
    life.EXECUTING: "job.started",
    life.PAUSED: "job.paused",
    life.APPROVAL: "job.waiting",
    life.COMPLETED: "job.completed",
    life.FAILED: "job.failed",
    life.CANCELLED: "job.cancelled",
}
_TASK_KINDS = {
    life.READY: "task.ready",
    life.DISPATCHED: "task.dispatched",
    life.EXECUTING: "task.started",
    life.WAITING: "task.waiting",
    life.PAUSED: "task.paused",
    life.APPROVAL: "task.waiting",
    life.COMPLETED: "task.completed",
    life.FAILED: "task.failed",
    life.CANCELLED: "task.cancelled",
    life.SKIPPED: "task.skipped",
}
KINDS = (
    "job.submitted",
    *_JOB_KINDS.values(),
    *dict.fromkeys((*_TASK_KINDS.values(), "task.retrying", "task.escalated")),
    *("ant.connected", "ant.disconnected", "ant.lost", GAP),
)
_NOTHING = Occurrence(0.0, 0, -1, "", "", "", "", 0, 0, "", "", "", 0)


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that has happened."""

    sequence: int
    kind: str
    what: Occurrence
    missed: int = 0
    """Of a gap: events that are missing, 0 = not known."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What a watch wants to see; empty = everything. Ants belong to the organisation `home`."""

    org: str
    home: str = "local"
    job_id: str = ""
    job_type: str = ""
    kinds: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()

    def takes(self, event: Event) -> bool:
        """Whether an event is for this watch. A gap is for all."""
        kind, what = event.kind, event.what
        return kind == GAP or (
            (what.org or self.home) == self.org
            and (not self.job_id or what.job_id == self.job_id)
            and (not self.job_type or what.job_type == self.job_type)
            and (not self.kinds or kind in self.kinds or kind.partition(".")[0] in self.kinds)
            and (not self.states or what.state in self.states)
        )


@dataclass(slots=True, eq=False)
class Chunk:
    """Events that travel together.

    Attributes:
        events: In order; may be empty.
        position: Up to here all is told; a watch that begins after it misses nothing.
        made: What whoever sends it has made of it, once for all who get it.
    """

    events: list[Event]
    position: int
    made: object = field(default=None)


class EventStream:
    """The events of one queen.

    Args:
        kept: Events that are kept for those who come back or are slow, at least 1.
        linger_s: How long recording goes on after the last watch has ended, in seconds.
        observe: Switches the making of occurrences on and off.
    """

    def __init__(
        self, kept: int = 65_536, linger_s: float = 600.0, observe: Callable[[bool], None] | None = None
    ) -> None:
        self.kept = max(1, kept)
        self.linger_s = linger_s
        self._observe = observe or (lambda _wanted: None)
        self.last = 0
        """Sequence of the newest event, or the number before the first."""
        self._shown = 0
        self._begun = 0
        self._ring: list[Event] = []
        self._told: dict[int, dict[int, tuple[str, int, int, int]]] = {}
        self._newest = 0
        self._watches = 0
        self._recording = False
        self._closed = False
        self._stopping: asyncio.TimerHandle | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._next_wake = 0.0
        self._more: asyncio.Future[None] | None = None
        self._chunks: dict[tuple[EventFilter, int, int], Chunk] = {}

    @property
    def first(self) -> int:
        """Sequence of the oldest event that is kept."""
        return self.last - len(self._ring) + 1

    @property
    def watches(self) -> int:
        """Watches that are open."""
        return self._watches

    def begin(self, epoch: int) -> None:
        """A queen leads: its sequences are above those of every queen before."""
        self.last = self._shown = epoch << EPOCH_SHIFT

    # --- what happens -----------------------------------------------------------------------------------------------

    def occurred(self, occurrences: Iterable[Occurrence]) -> None:
        """Takes what a commit has made true."""
        if not self._recording:
            return
        for what in occurrences:
            if what.number == 0:
                self._put("ant." + what.state.lower(), what)
            elif what.state == ESCALATED:
                self._put("task.escalated", what)
            elif what.position < 0:
                self._job(what)
            else:
                self._task(what)
        self._trim()
        self._wake_soon()

    def interrupted(self) -> None:
        """The store failed and was read again: a commit may have counted that nobody was told of."""
        if self._recording:
            self._told.clear()
            self._put(GAP, _NOTHING)
            self._wake_soon()

    def _put(self, kind: str, what: Occurrence) -> None:
        self.last += 1
        self._ring.append(Event(self.last, kind, what))

    def _job(self, what: Occurrence) -> None:
        told = self._told.setdefault(what.number, {})
        before, now = told.get(-1), (what.state, what.execution, what.failures, 0)
        if what.number > self._newest or (before is None and what.state == life.PENDING and what.execution == 0):
            self._newest = max(self._newest, what.number)
            self._put("job.submitted", msgspec.structs.replace(what, state=life.PENDING, execution=0))
            before = (life.PENDING, 0, 0, 0)
        told[-1] = now
        if before != now:
            self._put(_JOB_KINDS[what.state], what)
        if what.state in life.JOB_ENDED:
            del self._told[what.number]

    def _task(self, what: Occurrence) -> None:
        kind = _TASK_KINDS.get(what.state)
        if kind is None:
            return  # not begun
        told = self._told.setdefault(what.number, {})
        before, now = told.get(what.position), (what.state, what.attempt, what.failures, what.execution)
        if before == now:
            return
        told[what.position] = now
        has_failed = before is not None and before[3] == what.execution and what.failures > before[2]
        if has_failed and what.state == life.WAITING:
            kind = "task.retrying"
        elif has_failed and before is not None and what.attempt > before[1]:
            earlier = msgspec.structs.replace(what, state=life.WAITING, attempt=before[1])
            self._put("task.retrying", earlier)
        self._put(kind, what)

    def _trim(self) -> None:
        over = len(self._ring) - self.kept
        if over > self.kept // 8:
            del self._ring[:over]

    # --- waking -----------------------------------------------------------------------------------------------------

    def _wake_soon(self) -> None:
        if self._waking is None and self._watches:
            loop = asyncio.get_running_loop()
            self._waking = loop.call_at(max(loop.time(), self._next_wake), self._wake)

    def _wake(self) -> None:
        self._waking = None
        self._next_wake = asyncio.get_running_loop().time() + self._watches / WAKES_PER_S
        self._shown = self.last
        self._chunks.clear()
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    # --- watching ---------------------------------------------------------------------------------------------------

    def watch(self, wanted: EventFilter, after: int | None = None, *, until_now: bool = False) -> Watch:
        """A new watch, to be closed by the caller.

        Args:
            wanted: What it wants to see.
            after: Sequence that it has seen last; 0 = everything that is kept, None = what happens from now on.
            until_now: It ends with what has happened so far.

        Raises:
            Problem: RESOURCE_EXHAUSTED where there are too many; UNAVAILABLE where the queen stops.
        """
        if self._closed:
            raise problem("UNAVAILABLE", "The server stops.")
        if self._watches >= MOST_WATCHES:
            raise problem("RESOURCE_EXHAUSTED", f"{MOST_WATCHES} callers watch already.", retry_after_s=5.0)
        self._record()
        self._watches += 1
        if self._shown < self.last:
            self._wake_soon()
        position, known = self.last, True
        if after == 0:
            position = self.first - 1
        elif after is not None:
            known = self._begun <= after <= self.last
            position = after if known else self.first - 1
        return Watch(self, wanted, position, self.last if until_now else None, is_known=known)

    def left(self) -> None:
        """A watch has ended."""
        self._watches -= 1
        if not self._watches and self._recording:
            self._stopping = asyncio.get_running_loop().call_later(self.linger_s, self._stop)

    def _record(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        if not self._recording:
            self._recording = True
            self.last += 1  # whoever saw the last event of an earlier recording has missed what was not recorded
            self._shown = self._begun = self.last
            self._observe(True)

    def _stop(self) -> None:
        self._stopping = None
        self._recording = False
        self._ring.clear()
        self._told.clear()
        self._observe(False)

    def close(self) -> None:
        """Ends every watch, so that its caller looks for another server."""
        self._closed = True
        for timer in (self._stopping, self._waking):
            if timer is not None:
                timer.cancel()
        self._recording, self._stopping, self._waking = False, None, None
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    async def wait(self, position: int) -> int:
        """Waits until there is more than `position`, and says up to where. Raises Problem UNAVAILABLE at the end."""
        while not self._closed:
            if self._shown > position:
                return self._shown
            if self._more is None:
                self._more = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._more)
        raise problem("UNAVAILABLE", "The server stops.")

    def chunk(self, wanted: EventFilter, position: int, end: int) -> Chunk:
        """What a filter takes of the events after `position` up to `end`, at most `CHUNK`; the same for all."""
        key = (wanted, position, end)
        found = self._chunks.get(key)
        if found is None:
            first, takes = self.first, wanted.takes
            events = []
            if position < first - 1:
                events.append(Event(first - 1, GAP, _NOTHING, first - 1 - position))
                position = first - 1
            last = min(end, position + CHUNK)
            events += [one for one in self._ring[position - first + 1 : last - first + 1] if takes(one)]
            found = Chunk(events, max(position, last))
            if len(self._chunks) < MOST_WATCHES:
                self._chunks[key] = found
        return found


class Watch:
    """One caller's place in the stream.

    Args:
        stream: The stream.
        wanted: What it wants to see.
        position: Sequence it has seen.
        end: Sequence where it ends, None = never.
        is_known: False where events may be missing before `position`.
    """

    def __init__(
        self, stream: EventStream, wanted: EventFilter, position: int, end: int | None, *, is_known: bool
    ) -> None:
        self._stream = stream
        self._wanted = wanted
        self._end = end
        self._is_first = True
        self._is_known = is_known
        self._is_open = True
        self.position = position

    async def next(self) -> Chunk | None:
        """The next events, None at the end; the first answer comes at once and may be empty."""
        if self._is_first:
            self._is_first = False
            missing = [] if self._is_known else [Event(self.position, GAP, _NOTHING)]
            return Chunk(missing, self.position)
        while True:
            if self._end is not None:
                if self.position >= self._end:
                    return None
                end = self._end
            else:
                end = await self._stream.wait(self.position)
            chunk = self._stream.chunk(self._wanted, self.position, end)
            self.position = chunk.position
            if chunk.events:
                return chunk

    def close(self) -> None:
        """Leaves; idempotent."""
        if self._is_open:
            self._is_open = False
            self._stream.left()
