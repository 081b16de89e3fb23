"""Several operations that belong together, each done once, however often the whole is begun.

Theory of operation. A workflow has a record of its own, held under a lease while its body runs, so that nobody else
runs it meanwhile; in it stands a journal of the steps that began, with their inputs. Each step has a record too, with
the workflow's id as its parent. Whoever enters the workflow again runs the body anew: a step that is COMPLETED gives
its kept value and runs nothing, the first one that is not goes on. So the body has to come to the same steps in the
same order; another name, order or input is told before anything runs.

A step may run again after a crash between its effect and its record. It is therefore given a key, the same in every
attempt, for the outside system that it calls, and a fencing token that only grows.

With `undo_on` an exception of that kind means that the whole cannot be: this is noted first, then the compensations of
the completed steps run in reverse, each of them a step of its own that is done once and resumed after a crash.

Times: a workflow may be resumed for `ttl_s` from its beginning; its steps are kept for three times as long, so that a
step is never forgotten before its workflow.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeVar, cast

import msgspec

from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution, begin
from formicary.idempotency.fingerprints import canonical_json, digest
from formicary.idempotency.heartbeat import Heartbeat
from formicary.idempotency.keys import check_key
from formicary.idempotency.model import DAY_S, Claim, State, StoredResponse, decode_response
from formicary.idempotency.policy import Rule
from formicary.idempotency.refusals import lease_lost
from formicary.idempotency.store import Store
from formicary.problems import Problem, problem

T = TypeVar("T")

WORKFLOW: Final = "WORKFLOW"
STEP: Final = "STEP"
UNDO: Final = "UNDO"
RUNNING: Final = "RUNNING"
UNDOING: Final = "UNDOING"
STEPS_KEPT: Final = 3
"""Steps are kept for this many times the workflow's `ttl_s`."""
MAX_STEPS: Final = 1000
MAX_VALUE_BYTES: Final = 1024 * 1024


class Step(msgspec.Struct, frozen=True):
    """What a step's function is told.

    Attributes:
        workflow: The workflow's id.
        name: The step's name.
        occurrence: 0 for its first use in the workflow, then 1, 2, …
        key: Idempotency key for the outside system, the same in every attempt.
        token: Fencing token: higher in every attempt.
        attempt: 1 = the first.
    """

    workflow: str
    name: str
    occurrence: int
    key: str
    token: int
    attempt: int


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A step that began, in the journal: its name, its occurrence, the fingerprint of its input."""

    name: str
    occurrence: int
    fingerprint: str


class Journal(msgspec.Struct):
    """What a workflow's record keeps beside its state: the steps in order, its times, why it is undone."""

    steps: list[Entry]
    ttl_ms: int
    began_ms: int = 0
    failure: dict[str, object] | None = None


Run = Callable[[Step], Awaitable[T]]
Compensate = Callable[[Step, T], Awaitable[object]]
_read_journal = msgspec.json.Decoder(Journal).decode


class _Done(msgspec.Struct, frozen=True):
    place: int
    entry: Entry
    value: object
    compensate: Compensate[object]


def workflow(
    store: Store,
    workflow_id: str,
    *,
    name: str = "workflow",
    tenant: str = "",
    input: object = None,
    ttl_s: float = 7 * DAY_S,
    lease_s: float = 30.0,
    wait_s: float = 0.0,
    undo_on: type[BaseException] | tuple[type[BaseException], ...] = (),
    counts: Counts | None = None,
) -> Workflow:
    """A workflow to enter with ``async with``.

    Args:
        store: Where records are.
        workflow_id: 1 to 255 visible ASCII characters, the caller's own: the same when it is resumed.
        name: Which kind of workflow it is; ids of different kinds do not meet.
        tenant: Whose it is.
        input: What it is about, as JSON values: resuming it with another input is refused.
        ttl_s: How long after its beginning it may be resumed, and how long its end is kept.
        lease_s: How long whoever runs it may be silent before another may resume it.
        wait_s: How long to wait for another one that runs it; 0 = refuse at once.
        undo_on: Exceptions after which the completed steps are undone; others leave it as it stands, to be resumed.
        counts: Figures; None = new ones.

    Raises:
        Problem: On entering: IDEMPOTENT_REQUEST_IN_PROGRESS, somebody runs it; IDEMPOTENCY_KEY_REUSED, it began with
            another input; FAILED_PRECONDITION, its time is over; what it failed with, if it was undone.
    """
    rule = Rule(ttl_s=ttl_s, lease_s=lease_s, on_busy="wait" if wait_s > 0 else "refuse", wait_s=wait_s or 1.0)
    kinds = undo_on if isinstance(undo_on, tuple) else (undo_on,)
    check_key(workflow_id, header="workflow_id")
    asked = digest(b"workflow", name.encode(), _canonical(input))
    claim = Claim(workflow_id, asked, tenant, WORKFLOW, name, lease_s=lease_s, ttl_s=ttl_s)
    return Workflow(store, claim, rule, kinds, counts or Counts())


class Workflow:
    """A workflow that is being run; made by :func:`workflow`.

    Attributes:
        id: The workflow's id.
        replaying: Whether it was completed before: steps give their kept values, and no new one may come.
    """

    def __init__(
        self, store: Store, claim: Claim, rule: Rule, undo_on: tuple[type[BaseException], ...], counts: Counts
    ) -> None:
        self._store = store
        self._claim = claim
        self._rule = rule
        self._undo_on = undo_on
        self._counts = counts
        self._root: Execution | None = None
        self._heart = Heartbeat(claim.lease_s)
        self._journal = Journal([], round(rule.ttl_s * 1000))
        self._saving = asyncio.Lock()
        self._next = 0
        self._uses: Counter[str] = Counter()
        self._done: list[_Done] = []
        self._route = ""
        self.id = claim.key
        self.replaying = False

    async def __aenter__(self) -> Self:
        try:
            begun = await begin(self._store, self._claim, self._rule, self._counts, header="workflow_id")
        except Problem as error:
            if error.code == "IDEMPOTENCY_KEY_REUSED":
                raise _changed(f"The workflow {self.id} began with another input.") from error
            raise
        if isinstance(begun, Execution):
            self._root = begun
            begun.keep_alive(self._heart)
            if begun.data:
                self._journal = _read_journal(begun.data)
        else:
            self._journal, self.replaying = _read_journal(begun.body), True
            if self._journal.failure is not None:
                raise Problem.from_document(self._journal.failure)
        try:
            await self._find_time()
        except BaseException:
            if self._root is not None:
                await asyncio.shield(self._root.release())
            raise
        return self

    async def _find_time(self) -> None:
        """Steps of two workflows that used one id one after the other do not meet: their route has its beginning."""
        journal = self._journal
        if not journal.began_ms:
            record = await self._store.get(self._claim.id)
            if record is None:
                raise lease_lost()
            journal.began_ms = record.created_ms
        self._route = steps_route(self._claim.route, journal.began_ms)
        if self._root is not None and await self._store.now_ms() >= journal.began_ms + journal.ttl_ms:
            text = f"The time in which the workflow {self.id} could be resumed is over: begin one with another id."
            raise problem("FAILED_PRECONDITION", text)

    async def step(
        self,
        name: str,
        fn: Run[T],
        *,
        input: object = None,
        compensate: Compensate[T] | None = None,
        returns: type[T] | None = None,
    ) -> T:
        """The value of a step: kept from an earlier run, or that of `fn`, which is then kept.

        Args:
            name: Its name; the second use of a name is another step than the first.
            fn: Does it. Give `key` to the outside system, so that a second attempt has no second effect.
            input: What it depends on, as JSON values: a resumed workflow that comes with another input is refused.
            compensate: Undoes it, given its own step and the value; runs only if the step had completed.
            returns: The type to read the kept JSON as; None = plain JSON values. The first run gets it so too.

        Raises:
            Problem: IDEMPOTENCY_KEY_REUSED, another step or input stood here when the workflow began; LEASE_LOST,
                another one has resumed it; what the workflow failed with, while it is being undone.
        """
        place, entry, is_new = self._take_place(name, input)
        if is_new:
            await self._save(RUNNING)
        claim = self._claim_of(entry, STEP)
        body = await self._kept(claim) if self._is_fixed else None
        if body is None:
            if self.replaying:
                raise _changed(f"The step {name} of the workflow {self.id} is not among those it completed with.")
            if self._journal.failure is not None:
                raise Problem.from_document(self._journal.failure)
            body = await self._run(claim, entry, fn)
        value = msgspec.json.decode(body) if returns is None else msgspec.json.decode(body, type=returns)
        if compensate is not None:
            self._done.append(_Done(place, entry, value, cast("Compensate[object]", compensate)))
        return cast(T, value)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._root is None:
            return
        try:
            await self._end(error)
        finally:
            if not self._root.ended:
                await asyncio.shield(self._root.release())

    async def _end(self, error: BaseException | None) -> None:
        root = self._root
        assert root is not None
        if root.lost:
            if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) is not None:
                task.uncancel()
            raise lease_lost() from error
        if isinstance(error, self._undo_on) and self._journal.failure is None:
            self._journal.failure = _document(error)
        if self._journal.failure is not None:
            await self._undo()
            if error is None:
                raise Problem.from_document(self._journal.failure)
        elif error is None:
            if self._next < len(self._journal.steps):
                missing = self._journal.steps[self._next].name
                raise _changed(f"The workflow {self.id} had a step {missing} before, and ended without it now.")
            await root.complete(StoredResponse(200, (), msgspec.json.encode(self._journal)))

    async def _undo(self) -> None:
        """Notes that it is undone, undoes what was done, the last first, and ends it for good."""
        root = self._root
        assert root is not None
        await self._save(UNDOING)
        for done in sorted(self._done, key=lambda done: -done.place):

            async def compensate(step: Step, done: _Done = done) -> None:
                await done.compensate(step, done.value)

            await self._run(self._claim_of(done.entry, UNDO), done.entry, compensate)
        await root.complete(StoredResponse(409, (), msgspec.json.encode(self._journal)))

    @property
    def _is_fixed(self) -> bool:
        return self.replaying or self._journal.failure is not None

    def _take_place(self, name: str, input: object) -> tuple[int, Entry, bool]:
        """The step's place in the order, its entry, and whether it is new there. Without a pause: tasks keep order."""
        occurrence, place, known = self._uses[name], self._next, self._journal.steps
        entry = Entry(name, occurrence, digest(b"step", name.encode(), _canonical(input)).hex())
        if place < len(known):
            before = known[place]
            if (before.name, before.occurrence) != (name, occurrence):
                text = f"Step {place + 1} of the workflow {self.id} was {before.name} when it began, now it is {name}."
                raise _changed(text)
            if before.fingerprint != entry.fingerprint:
                raise _changed(f"The step {name} of the workflow {self.id} began with another input.")
        elif self._journal.failure is not None:
            raise Problem.from_document(self._journal.failure)
        elif self.replaying:
            raise _changed(f"The workflow {self.id} completed without the step {name}.")
        elif place >= MAX_STEPS:
            raise problem("VALIDATION_FAILED", f"The workflow {self.id} has more than {MAX_STEPS} steps.")
        else:
            known.append(entry)
        self._uses[name] += 1
        self._next += 1
        return place, entry, known[-1] is entry

    def _claim_of(self, entry: Entry, method: str) -> Claim:
        mine = self._claim
        key = step_key(mine.tenant, mine.route, mine.key, entry, method)
        return Claim(
            key, bytes.fromhex(entry.fingerprint), mine.tenant, method, self._route, mine.key, mine.lease_s,
            STEPS_KEPT * self._journal.ttl_ms / 1000,
        )  # fmt: skip

    async def _save(self, point: str) -> None:
        root = self._root
        assert root is not None
        async with self._saving:
            await root.checkpoint(point, msgspec.json.encode(self._journal))

    async def _kept(self, claim: Claim) -> bytes | None:
        record = await self._store.get(claim.id)
        if record is None or record.state is not State.COMPLETED or record.response is None:
            return None
        return decode_response(record.response).body

    async def _run(self, claim: Claim, entry: Entry, fn: Run[T]) -> bytes:
        """Runs a step that nobody has completed; waits for the lease of one that died in it. Returns its kept value."""
        rule = Rule(lease_s=claim.lease_s, ttl_s=claim.ttl_s, on_busy="wait", wait_s=2 * claim.lease_s)
        begun = await begin(self._store, claim, rule, self._counts, header="step")
        if not isinstance(begun, Execution):
            return begun.body
        begun.keep_alive(self._heart)
        step = Step(self.id, entry.name, entry.occurrence, claim.key, begun.token, begun.attempt)
        try:
            body = msgspec.json.encode(await fn(step))
            if len(body) > MAX_VALUE_BYTES:
                text = f"The value of the step {entry.name} has {len(body)} bytes, at most {MAX_VALUE_BYTES} are kept."
                raise problem("PAYLOAD_TOO_LARGE", text)
            await begun.complete(StoredResponse(200, (), body))
        except BaseException as error:
            if not begun.lost:
                if not begun.ended:
                    await asyncio.shield(begun.release())
                raise
            if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) is not None:
                task.uncancel()
            raise lease_lost() from error
        return body


def step_key(tenant: str, name: str, workflow_id: str, entry: Entry, method: str = STEP) -> str:
    """The key of a step or of its compensation, 64 hexadecimal digits: the same wherever and whenever it is made."""
    parts = (method, tenant, name, workflow_id, entry.name, str(entry.occurrence))
    return digest(*(part.encode() for part in parts)).hex()


def steps_route(name: str, began_ms: int) -> str:
    """The route in the scope of a workflow's steps."""
    return f"{name}@{began_ms}"


def read_journal(data: bytes) -> Journal | None:
    """The journal in a workflow's record; None where no step has begun."""
    return _read_journal(data) if data else None


def _canonical(value: object) -> bytes:
    text = msgspec.json.encode(value, order="sorted")
    return canonical_json(text) or text


def _document(error: BaseException) -> dict[str, object]:
    """What an undone workflow is remembered by. Of what is no Problem its class is enough."""
    if isinstance(error, Problem):
        return error.to_document()
    text = f"The workflow was undone after {type(error).__name__}."
    return problem("FAILED_PRECONDITION", text).to_document()


def _changed(text: str) -> Problem:
    return problem("IDEMPOTENCY_KEY_REUSED", f"{text} Take another id for another workflow.")
