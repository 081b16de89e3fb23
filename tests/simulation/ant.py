"""A simulated ant: the rules of the real one (session, lease, outbox, foreman) without processes and sockets.

It keeps what it was granted across streams, sends each result until it is acknowledged, measures its lease from when
the last acknowledged beat was sent, and kills and forgets what it holds when that copy ends. It begins nothing unless
the queen has answered within the reconnect grace, less the margin: what comes out of a partition or a pause may be old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from formicary.engine.queen.core.batch import Assignment, Outgoing
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.outcome import CANCELLED, Outcome
from tests.simulation.left import leaves
from tests.simulation.network import Stream

if TYPE_CHECKING:
    from tests.simulation.world import World

ANNOUNCE_AFTER_S = 0.4
WELCOME_TIMEOUT_S = 2.0
RECONNECT_S = (0.05, 1.0)
MARGIN_S = 1.0
LATE_S = 0.3
NOTHING: Mapping[str, Any] = {}


class Attempt:
    """One granted attempt on an ant."""

    __slots__ = ("assignment", "began_at", "checkpoint", "is_over", "left_s", "token")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.token = assignment.token
        self.began_at: float | None = None
        self.left_s = 0.0
        self.is_over = False
        self.checkpoint: bytes | None = None


class SimulatedAnt:
    """One worker machine; its processes come and go, each with its own incarnation."""

    def __init__(
        self,
        world: World,
        name: str,
        slots: int,
        window: int,
        tags: frozenset[str],
        *,
        resources: Mapping[str, float] = NOTHING,
        labels: Mapping[str, str] = NOTHING,
        devices: Mapping[str, Mapping[str, str]] = NOTHING,
    ) -> None:
        self.world = world
        self.loop = world.loop
        self.name = name
        self.slots = slots
        self.window = window
        self.tags = tags
        self.resources, self.labels, self.devices = resources, labels, devices
        self.incarnation = 0
        self.is_alive = False
        self.partitioned_until = 0.0
        self.paused_until = 0.0
        self.lease_end: float | None = None
        self.stream: Stream | None = None
        self._reset()

    def _reset(self) -> None:
        self.is_welcomed = False
        self.is_draining = False
        self.observes = False
        self.queue: deque[Attempt] = deque()
        self.running: dict[int, Attempt] = {}
        self.outbox: dict[int, Outcome] = {}
        self.stream = None
        self.lease_end = None
        self._returned: list[int] = []
        self._hello_at = 0.0
        self._beat = 0
        self._streams = 0
        self._sent: dict[int, float] = {}
        self._pause_s = RECONNECT_S[0]

    # --- the process ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process of this ant."""
        if self.is_alive:
            return
        self.incarnation += 1
        self.is_alive = True
        self.paused_until = 0.0
        self._reset()
        self.world.equip(self)
        self.loop.note(self.name, "starts, incarnation", self.incarnation)
        self._connect(self.incarnation)

    def kill(self, back_after_s: float) -> None:
        """kill -9: the process and what it runs are gone at once."""
        if not self.is_alive:
            return
        self.loop.note(self.name, "is killed with", len(self.running), "running,", len(self.outbox), "unsent")
        self.is_alive = False
        for attempt in self.running.values():
            attempt.is_over = True
        self.running.clear()
        if self.stream is not None:
            self.stream.close_by_ant()
            self.stream = None
        self.loop.after(back_after_s, self.start)

    def pause(self, seconds: float, *, with_tasks: bool) -> None:
        """SIGSTOP for a while; tasks are processes of their own and may go on."""
        if not self.is_alive or self.paused_until > self.loop.now:
            return
        self.loop.note(self.name, "is paused for", f"{seconds:.1f} s", "with its tasks" if with_tasks else "")
        self.paused_until = self.loop.now + seconds
        if with_tasks:
            for attempt in self.running.values():
                attempt.left_s += seconds

    def drain(self) -> None:
        """SIGTERM: gives back what has not begun, finishes what runs, ends."""
        if not self.is_alive or self.is_draining or self.paused_until > self.loop.now:
            return
        self.loop.note(self.name, "drains")
        self.is_draining = True
        tokens = [attempt.token for attempt in self.queue]
        self.queue.clear()
        self._say("draining", None)
        for token in tokens:
            self._give_back(token)
        self._end_if_drained(self.incarnation)

    def _end_if_drained(self, incarnation: int) -> None:
        if incarnation != self.incarnation or not self.is_alive:
            return
        if self.running or self.outbox:
            self.loop.after(0.2, self._end_if_drained, incarnation)
        else:
            self.kill(back_after_s=0.5)

    @property
    def held(self) -> int:
        """Attempts queued or running."""
        return len(self.queue) + len(self.running)

    def believes(self) -> bool:
        """Its lease holds as far as it can know (or could, if it were not paused).

        Of a closed stream the queen waits out the grace only. The ant may run on in the hope that the queen is just
        restarting, but it knows that from then on it may not be alone with that.
        """
        now = self.loop.now
        if self.lease_end is None or now >= self.lease_end:
            return False
        is_open = self.stream is not None and self.is_welcomed and now < self.stream.ant_hears_at
        return is_open or self._is_fresh()

    def _is_fresh(self) -> bool:
        """The queen has answered a beat that is not older than the grace, less the margin: new work may begin."""
        config = self.world.config
        return self.lease_end is not None and self.loop.now < self.lease_end - config.lease_s + config.reconnect_grace_s

    @property
    def overruns(self) -> bool:
        """Its lease has ended, nothing keeps it from acting, and what it runs still runs."""
        now = self.loop.now
        return self.lease_end is not None and now > max(self.lease_end, self.paused_until) + 1e-6

    # --- the session ------------------------------------------------------------------------------------------------

    def _connect(self, incarnation: int) -> None:
        if incarnation != self.incarnation or not self.is_alive or self.stream is not None:
            return
        if self.paused_until > self.loop.now:
            self.loop.at(self.paused_until, self._connect, incarnation)
            return
        queen = self.world.queen
        if not queen.is_up:
            self._retry()
            return
        self.stream = stream = self.world.open_stream(self)
        self._hello_at = self.loop.now
        held = dict.fromkeys([*self.running, *(attempt.token for attempt in self.queue), *self.outbox])
        stream.up("hello", self._hello(tuple(held)))
        self.loop.after(WELCOME_TIMEOUT_S, self._give_up, stream)

    def _hello(self, held: tuple[int, ...]) -> Hello:
        self._streams += 1
        return Hello(
            self.name,
            str(self.incarnation),
            frozenset({"SHELL", "PYTHON"}),
            self.tags,
            self.slots,
            self.window,
            held,
            self._streams,
            resources=self.resources,
            labels=self.labels,
            devices=self.devices,
            devices_held={
                one.token: one.assignment.devices
                for one in (*self.running.values(), *self.queue)
                if one.assignment.devices
            },
        )

    def _give_up(self, stream: Stream) -> None:
        """No welcome in time."""
        if self.stream is stream and not self.is_welcomed:
            if self.paused_until > self.loop.now:
                self.loop.at(self.paused_until + 0.001, self._give_up, stream)
                return
            self._close()

    def _retry(self) -> None:
        self.loop.after(self._pause_s * (0.75 + 0.25 * self.loop.random.random()), self._connect, self.incarnation)
        self._pause_s = min(self._pause_s * 2, RECONNECT_S[1])

    def _close(self) -> None:
        if self.stream is not None:
            self.stream.close_by_ant()
            self.stream_ended(self.stream)

    def stream_ended(self, stream: Stream) -> None:
        """The stream is gone; another one is opened."""
        if self.stream is not stream or not self.is_alive:
            return
        self.stream = None
        self.is_welcomed = False
        self._retry()

    def _say(self, kind: str, content: Any) -> None:
        if self.is_welcomed and self.stream is not None:
            self.stream.up(kind, content)

    def receive(self, stream: Stream, message: Outgoing | int) -> None:
        """The queen's message, or the number of a beat that she has seen."""
        if self.stream is not stream or not self.is_alive:
            return
        if isinstance(message, int):
            self._renew(message)
            self._dispatch()
            return
        if message.observe is not None:
            self.observes = message.observe
        if message.welcome is not None:
            self._welcomed(message.welcome.keep, message.welcome.kill)
        for token in message.acknowledged:
            if self.outbox.pop(token, None) is not None:
                self.world.monitor.forgotten(self, token, "acknowledged")
        for assignment in message.assignments:
            self._accept(assignment)
        for token in message.cancelled:
            self._cancel(token)
        self._dispatch()

    def _welcomed(self, keep: tuple[int, ...], kill: tuple[int, ...]) -> None:
        self.is_welcomed = True
        self._pause_s = RECONNECT_S[0]
        self._sent.clear()
        had_lease = self.lease_end is not None
        self.lease_end = self._hello_at + self.world.config.lease_s - MARGIN_S
        kept = set(keep)
        for token in [token for token in self.running if token not in kept]:
            self.running.pop(token).is_over = True
        self.queue = deque(attempt for attempt in self.queue if attempt.token in kept)
        for token in kill:
            if self.outbox.pop(token, None) is not None:
                self.world.monitor.forgotten(self, token, "taken away")
        for outcome in self.outbox.values():
            self._say("result", outcome)
        returned, self._returned = self._returned, []
        for token in returned:
            self._say("returned", token)
        if self.is_draining:
            self._say("draining", None)
        for attempt in self.running.values():
            if attempt.checkpoint is not None:
                self._say("checkpoint", (attempt.token, attempt.checkpoint))
            if attempt.began_at is not None and self.loop.now - attempt.began_at > ANNOUNCE_AFTER_S:
                self._announce_now(attempt)
        if not had_lease:
            self.loop.at(self.lease_end, self._check_lease, self.incarnation)
        assert self.stream is not None
        self.loop.after(self.world.config.beat_interval_s, self._send_beat, self.stream)

    # --- the lease --------------------------------------------------------------------------------------------------

    def _send_beat(self, stream: Stream) -> None:
        if self.stream is not stream or not self.is_welcomed:
            return
        if self.paused_until > self.loop.now:
            self.loop.at(self.paused_until, self._send_beat, stream)
            return
        self._beat += 1
        self._sent[self._beat] = self.loop.now
        stream.up("beat", self._beat)
        if self.observes and self.running:
            stream.up("uses", [(token, self.world.use_of(one.assignment), 0.0) for token, one in self.running.items()])
        self.loop.after(self.world.config.beat_interval_s, self._send_beat, stream)

    def _renew(self, beat: int) -> None:
        sent_at = self._sent.get(beat)
        if sent_at is None:
            return
        for number in [number for number in self._sent if number <= beat]:
            del self._sent[number]
        if self.lease_end is not None:
            self.lease_end = max(self.lease_end, sent_at + self.world.config.lease_s - MARGIN_S)

    def _check_lease(self, incarnation: int) -> None:
        if incarnation != self.incarnation or not self.is_alive or self.lease_end is None:
            return
        now = self.loop.now
        if self.paused_until > now:
            self.loop.at(self.paused_until, self._check_lease, incarnation)
        elif now < self.lease_end:
            self.loop.at(self.lease_end, self._check_lease, incarnation)
        else:
            self.fence()

    def fence(self) -> None:
        """The lease is over: everything is killed at once."""
        self.loop.note(self.name, "fences itself,", len(self.running), "running")
        self.lease_end = None
        for attempt in self.running.values():
            attempt.is_over = True
        self.running.clear()
        self.queue.clear()
        self._close()

    # --- the work ---------------------------------------------------------------------------------------------------

    def _accept(self, assignment: Assignment) -> None:
        token = assignment.token
        if token in self.running or any(attempt.token == token for attempt in self.queue):
            return
        if token in self.outbox:
            self._say("result", self.outbox[token])
            return
        if self.is_draining:
            self._give_back(token)
            return
        self.queue.append(Attempt(assignment))
        self.world.monitor.accepted(self)

    def _give_back(self, token: int) -> None:
        """What never began; said later if the hello that still claims it is not answered yet."""
        if self.is_welcomed:
            self._say("returned", token)
        else:
            self._returned.append(token)

    def _dispatch(self) -> None:
        while self.queue and len(self.running) < self.slots:
            if not self._is_fresh():
                return  # nothing begins on a lease that may be over
            attempt = self.queue.popleft()
            if len(self.running) and self.window > self.slots and self.loop.chance(0.1):
                self._give_back(attempt.token)
                continue
            self._begin(attempt)

    def _begin(self, attempt: Attempt) -> None:
        loop = self.loop
        attempt.began_at = loop.now
        attempt.left_s = self.world.duration_s(attempt.assignment)
        self.running[attempt.token] = attempt
        self.world.monitor.began(self, attempt)
        loop.after(attempt.left_s, self._ran, attempt)
        if attempt.left_s > ANNOUNCE_AFTER_S:
            loop.after(ANNOUNCE_AFTER_S, self._announce, attempt)
        if leaves(attempt.token) is not None:
            loop.after(attempt.left_s / 2, self._leave, attempt)
        attempt.left_s = 0.0

    def _leave(self, attempt: Attempt) -> None:
        """The task leaves something for the next attempt; said again on every new stream, as nobody says it came."""
        if attempt.token in self.running and not attempt.is_over and self.paused_until <= self.loop.now:
            attempt.checkpoint = leaves(attempt.token)
            self._say("checkpoint", (attempt.token, attempt.checkpoint))

    def _announce(self, attempt: Attempt) -> None:
        if attempt.token in self.running and not attempt.is_over and self.paused_until <= self.loop.now:
            self._announce_now(attempt)

    def _announce_now(self, attempt: Attempt) -> None:
        assert attempt.began_at is not None
        self._say("started", (attempt.token, self.world.wall_of(attempt.began_at)))

    def _ran(self, attempt: Attempt) -> None:
        """The task's process has ended, or would have if it had not been paused with the ant."""
        if attempt.is_over:
            return
        if attempt.left_s:
            left, attempt.left_s = attempt.left_s, 0.0
            self.loop.after(left, self._ran, attempt)
        elif self.paused_until > self.loop.now:
            self.loop.at(self.paused_until, self._ran, attempt)
        else:
            kills = self.world.kills_its_ant(attempt.assignment)
            if kills:
                self.kill(back_after_s=0.3)
                return
            self._end(attempt, None)
            self._dispatch()

    def _end(self, attempt: Attempt, kind: int | None) -> None:
        attempt.is_over = True
        self.running.pop(attempt.token, None)
        outcome = self.world.outcome(attempt.assignment, attempt.began_at, kind)
        self.outbox[attempt.token] = outcome
        self._say("result", outcome)
        if attempt.checkpoint is not None:  # a word that comes too late: its lease is over, here or with the queen
            self.loop.after(LATE_S, self._say, "checkpoint", (attempt.token, attempt.checkpoint))

    def _cancel(self, token: int) -> None:
        attempt = self.running.get(token)
        if attempt is not None:
            self._end(attempt, CANCELLED)
            return
        for queued in self.queue:
            if queued.token == token:
                self.queue.remove(queued)
                self._end(queued, CANCELLED)
                return
        if token in self.outbox:
            self._say("result", self.outbox[token])
