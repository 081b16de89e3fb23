"""Jobs that events start: webhooks, messages of queues, new objects.

Theory of operation. Registering a definition with `triggers` writes a row for each in the same commit; a newer version
replaces them. An event becomes a job in one commit: the job, its idempotency key, which is made of the event's
identity, and the trigger's row, which counts it. Whoever brought the event is answered after that commit. A queen that
is killed before it has not taken the event, and its sender brings it again; one that is killed after it finds the key,
and the same event is the same job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from formicary.engine.jobs.triggers import WEBHOOK, WebhookAuth
from formicary.engine.queen import edge, webhooks
from formicary.engine.queen.core.records import Definition
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.submitting import check_against
from formicary.engine.queen.trigger_rows import Event, Key, Reading, TriggerRow, from_row, read
from formicary.engine.queen.trigger_secrets import StoredSecrets, TriggerSecrets, missing
from formicary.engine.storage.port import StoreError
from formicary.problems import Problem, problem

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen

log = logging.getLogger("formicary.triggers")
READ_AGAIN_S: Final = 0.5
MARK: Final = "event"
"""Fingerprint of jobs that events start: of one event, the first version of it counts."""
MOST_LETTER_BYTES: Final = 64 * 1024
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Taken:
    """What has become of an event.

    Attributes:
        outcome: started, repeated, filtered, limited or refused.
        job_id: The job that it started, now or before; empty = none.
        reason: Why it was refused.
        wait_s: Seconds until it may be brought again, where it is limited.
    """

    outcome: str
    job_id: str = ""
    reason: str = ""
    wait_s: float = 0.0


@dataclass(slots=True)
class Tally:
    """What is known of a trigger since the server has started; in memory only."""

    repeated: int = 0
    filtered: int = 0
    limited: int = 0
    refused: int = 0
    error: str = ""
    """Why its source cannot be reached at present."""
    is_warned: bool = False
    """The log has said that its secret is not set."""
    next_at: float | None = None
    """When its source is looked at next, where that is at certain times."""


class Triggers:
    """The event triggers of one queen.

    Args:
        queen: What starts their jobs.
        secrets: Where the secrets of webhooks are.
    """

    def __init__(self, queen: Queen, secrets: TriggerSecrets | None = None) -> None:
        self._queen = queen
        self.secrets: TriggerSecrets = secrets or StoredSecrets(queen.configs)
        self._known: dict[Key, TriggerRow] = {}
        self._tallies: dict[Key, Tally] = {}
        self._reserved: dict[Key, int] = {}
        self._loaded = asyncio.Event()
        self.on_changed: Callable[[Key], None] = lambda _key: None
        """Called when a trigger has come, gone, or been paused, resumed, reset."""

    # --- life -------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Reads the rows. Raises StoreError, Problem UNAVAILABLE."""
        rows = await self._queen.pump.read(self._queen.store.triggers)
        self._known = {row.key: row for row in map(from_row, rows)}
        self._loaded.set()
        for key in self._known:
            self.on_changed(key)

    def reloaded(self) -> None:
        """The core was built again from the store: what is known here may never have been committed."""
        self._loaded.clear()
        self._queen.pump.spawn(self._load_again())

    async def _load_again(self) -> None:
        loads = self._queen.pump.loads
        while self._queen.ready and loads == self._queen.pump.loads:
            try:
                await self.load()
                return
            except (StoreError, Problem) as error:
                log.warning("the triggers cannot be read yet: %s", error)
                await asyncio.sleep(READ_AGAIN_S)

    async def loaded(self) -> None:
        """Returns when the rows have been read."""
        await self._loaded.wait()

    def registered(self, definition: Definition) -> None:
        """A definition is being stored in this event: its triggers go into the same commit."""
        org, version = str(definition.row[1]), int(definition.row[3] or 0)
        wanted = {one.name: one for one in definition.model.triggers}
        for row in [one for one in self._known.values() if one.key[:2] == (org, definition.job_type)]:
            spec = wanted.pop(row.name, None)
            if row.version < version and (row.spec is not None or spec is not None):
                self._keep(replace(row, definition_id=definition.id, version=version, spec=spec), told=True)
        for spec in wanted.values():
            row = TriggerRow(org, definition.job_type, spec.name, definition.id, version, spec)
            self._keep(row, told=True)

    # --- commands ---------------------------------------------------------------------------------------------------

    def of(self, org: str, job_type: str = "") -> list[TriggerRow]:
        """The triggers of an organisation, of one job type where it is given."""
        found = [one for one in self._known.values() if one.org == org and job_type in ("", one.job_type)]
        return sorted((one for one in found if one.spec is not None), key=lambda one: one.key)

    def all(self) -> list[TriggerRow]:
        """Every trigger of the newest versions."""
        return [one for one in self._known.values() if one.spec is not None]

    def find(self, key: Key) -> TriggerRow | None:
        """One trigger; None where the newest version has none of that name."""
        found = self._known.get(key)
        return found if found is not None and found.spec is not None else None

    def get(self, org: str, job_type: str, name: str) -> TriggerRow:
        """One trigger. Raises Problem NOT_FOUND."""
        found = self.find((org, job_type, name))
        if found is None:
            raise problem(
                "NOT_FOUND",
                f"the job {job_type[:100]!r} has no trigger {name[:40]!r}; `formicary triggers list` shows all",
            )
        return found

    def tally(self, key: Key) -> Tally:
        """What is known of a trigger since the start."""
        return self._tallies.setdefault(key, Tally())

    def without_secrets(self, rows: Iterable[TriggerRow]) -> dict[Key, str]:
        """Webhooks whose secret is nowhere, with what to do; may block."""
        found = {}
        for row in rows:
            auth = row.spec.auth if row.spec is not None else None
            if auth is not None and auth.method != "none" and not self.secrets.find(row.org, row.job_type, auth):
                found[row.key] = missing(auth)
        return found

    async def pause(self, org: str, job_type: str, name: str) -> TriggerRow:
        """No event starts a job until it is resumed. Raises Problem NOT_FOUND."""
        return await self._changed(org, job_type, name, paused=True)

    async def resume(self, org: str, job_type: str, name: str) -> TriggerRow:
        """Events count again; those that its source has kept meanwhile, too. Raises Problem NOT_FOUND."""
        return await self._changed(org, job_type, name, paused=False)

    async def reset(self, org: str, job_type: str, name: str) -> TriggerRow:
        """Forgets which events have been: all that its source still has count anew. Raises Problem NOT_FOUND."""
        await self.loaded()
        row = self.get(org, job_type, name)
        new = {"generation": row.generation + 1, "mark": {"reset": True}, "starts": ()}
        return await self._changed(org, job_type, name, **new)

    async def fire(
        self, org: str, job_type: str, name: str, params: bytes, key: str = "", repeated: set[str] | None = None
    ) -> str:
        """Starts the job now, whatever filter and rate limit say, and returns its id. Raises Problem.

        The id is put into `repeated` where an earlier request with the key has started the job.
        """
        await self.loaded()
        found = self.get(org, job_type, name)
        given = edge.check_params(params)
        params = _encode({**found.constants, **_decode(given)}) if found.constants else given
        mark = edge.fingerprint(found.definition_id, params, None, None) if key else ""
        item = Submission(edge.new_id(), params, None, None, edge.check_key(key) if key else "", mark)
        also = partial(self._count, found.key, {})
        (job_id,) = await self._queen.submit(found.definition_id, [item], org=org, also=also)
        if repeated is not None and job_id != item.id:
            repeated.add(job_id)
        return job_id

    async def _changed(self, org: str, job_type: str, name: str, **values: Any) -> TriggerRow:
        await self.loaded()
        self._queen.pump.now()
        row = replace(self.get(org, job_type, name), **values)
        self._keep(row, told=True)
        await self._queen.pump.commit()
        return row

    def _keep(self, row: TriggerRow, *, told: bool = False) -> None:
        self._known[row.key] = row
        self._queen.pump.core.batch.changes.triggers[row.key] = row.row()
        if told:
            self.on_changed(row.key)

    # --- events -----------------------------------------------------------------------------------------------------

    async def webhook(
        self, key: Key, request: webhooks.Request, variables: Callable[[], Mapping[str, object]]
    ) -> Taken:
        """Takes the event of a request whose sender is not known yet.

        Args:
            key: Which trigger is meant; it need not be there.
            request: The request.
            variables: What templates see of it; called once the sender is known. Raises Problem.

        Raises:
            Problem: WEBHOOK_UNAUTHENTICATED where nothing vouches for it, the same whether or not there is such a
                trigger; WEBHOOK_EXPIRED; TRIGGER_PAUSED; RATE_LIMIT_EXCEEDED; VALIDATION_FAILED where no job can be
                made of it.
        """
        await self.loaded()
        row = self.find(key)
        auth = row.spec.auth if row is not None and row.spec is not None and row.spec.type == WEBHOOK else None
        if row is None or auth is None:
            webhooks.verify(_NOBODY, webhooks.NO_SECRET, request, 0.0)  # always fails, as slowly as any other
            raise webhooks.refused()
        secret = await self._queen.pump.read(partial(self.secrets.find, key[0], key[1], auth))
        if not secret and auth.method != "none" and not self.tally(key).is_warned:
            self.tally(key).is_warned = True
            log.warning("no request for the webhook %s of %s is accepted: %s", row.name, row.job_type, missing(auth))
        identity = webhooks.verify(auth, secret, request, time.time())
        return await self.known_webhook(row, identity, variables)

    async def known_webhook(
        self, row: TriggerRow, identity: str, variables: Callable[[], Mapping[str, object]]
    ) -> Taken:
        """The same where it is known who sends it. Raises Problem as above."""
        if row.rests:
            raise problem("TRIGGER_PAUSED", "This trigger is paused: no event starts a job until it is resumed.")
        seen = await self._queen.pump.read(variables)
        (taken,) = await self.take(row.key, [Event(seen, identity, "webhook")])
        if taken.outcome == "limited":
            raise problem(
                "RATE_LIMIT_EXCEEDED",
                "This trigger has started as many jobs as its rate_limit allows: send the event again later.",
                retry_after_s=taken.wait_s,
            )
        if taken.outcome == "refused":
            raise problem("VALIDATION_FAILED", f"No job can be made of this event: {taken.reason}")
        return taken

    async def take(self, key: Key, events: Sequence[Event]) -> list[Taken]:
        """Starts what events ask for, all in one commit; answers after it, in their order. Raises Problem UNAVAILABLE,
        NOT_FOUND.
        """
        await self.loaded()
        row = self.get(*key)
        definition = await self._queen.submitting.definition(row.definition_id, row.org)
        now, seed = time.time(), int.from_bytes(edge.new_id().encode()[-4:])
        readings = await self._queen.pump.read(partial(read, row, events, now, seed, time.monotonic))
        taken: list[Taken | None] = [None] * len(events)
        wanted: list[tuple[int, Submission]] = []
        for at, reading in enumerate(readings):
            configs = self._queen.configs.view(key[0], "", key[1]).names
            reason = reading.problem or (_wrong(definition, reading, configs) if reading.counts else "")
            if reason:
                taken[at] = Taken("refused", reason=reason)
            elif not reading.counts:
                taken[at] = Taken("filtered")
            else:
                mark = MARK if reading.key else ""
                wanted.append((at, Submission(edge.new_id(), reading.params, None, None, reading.key, mark)))
        if wanted:
            await self._submit(row, definition, wanted, taken)
        done = [one for one in taken if one is not None]
        self._tell(key, done)
        return done

    async def _submit(
        self,
        row: TriggerRow,
        definition: Definition,
        wanted: list[tuple[int, Submission]],
        taken: list[Taken | None],
    ) -> None:
        """Submits within the rate limit, fills in the outcomes. Raises Problem."""
        key = row.key
        if row.spec is not None and row.spec.rate_limit is not None:
            names = [item.key for _, item in wanted if item.key]
            stored = await self._queen.pump.read(partial(self._queen.store.find_keys, row.org, names)) if names else {}
            fresh = [(at, item) for at, item in wanted if item.key not in stored]
            for at, item in wanted:
                if item.key in stored:
                    taken[at] = Taken("repeated", stored[item.key][1])
            wanted = self._within(key, fresh, taken)
        if not wanted:
            return
        reserved = len(wanted) if row.spec is not None and row.spec.rate_limit is not None else 0
        self._reserved[key] = self._reserved.get(key, 0) + reserved
        released = {"count": reserved}
        try:
            items = [item for _, item in wanted]
            also = partial(self._count, key, released)
            ids = await self._queen.submit(definition.id, items, org=row.org, also=also)
        finally:
            self._release(key, released)
        for (at, item), job_id in zip(wanted, ids, strict=True):
            taken[at] = Taken("started" if job_id == item.id else "repeated", job_id)

    def _within(
        self, key: Key, wanted: list[tuple[int, Submission]], taken: list[Taken | None]
    ) -> list[tuple[int, Submission]]:
        """As many as the rate limit leaves room for; the others are limited."""
        row, now = self.get(*key), time.time()
        room = row.room(now)
        if room is None:
            return wanted
        room = max(0, room - self._reserved.get(key, 0))
        for at, _ in wanted[room:]:
            taken[at] = Taken("limited", wait_s=max(0.1, row.room_at(now) - now))
        return wanted[:room]

    def _release(self, key: Key, released: dict[str, int]) -> None:
        self._reserved[key] = self._reserved.get(key, 0) - released.pop("count", 0)

    def _count(self, key: Key, released: dict[str, int], fresh: Sequence[Submission]) -> None:
        """In the event that submits jobs: their trigger's row goes into the same commit."""
        self._release(key, released)
        row = self._known.get(key)
        if row is not None and fresh:
            self._keep(row.started(len(fresh), fresh[-1].id, self._queen.pump.core.wall))

    def _tell(self, key: Key, taken: Sequence[Taken]) -> None:
        tally = self.tally(key)
        for one in taken:
            tally.repeated += one.outcome == "repeated"
            tally.filtered += one.outcome == "filtered"
            tally.limited += one.outcome == "limited"
            tally.refused += one.outcome == "refused"

    async def put_aside(self, key: Key, letters: Sequence[tuple[Event, str, bytes]]) -> None:
        """Keeps events that can start no job, each with the reason and its content; returns after the commit. The same
        event is kept once. Raises Problem UNAVAILABLE.
        """
        core = self._queen.pump.now()
        for event, reason, content in letters:
            name = sha256(_encode([*key, event.identity or edge.new_id()])).hexdigest()[:40]
            row = (name, *key, event.origin[:200], reason[:1000], content[:MOST_LETTER_BYTES], core.wall)
            core.batch.changes.letters[name] = row
        await self._queen.pump.commit()

    async def purge_letters(self, keep_s: float, most: int) -> int:
        """Removes at most `most` letters that are older; returns how many. Raises StoreError."""
        purge = partial(self._queen.store.purge_letters, time.time() - keep_s, most)
        return await asyncio.to_thread(purge)

    async def note(self, key: Key, mark: Mapping[str, Any]) -> None:
        """Keeps how far a source has come; returns after the commit. Raises Problem UNAVAILABLE."""
        await self.loaded()
        self._queen.pump.now()
        row = self.find(key)
        if row is not None:
            self._keep(replace(row, mark=mark))
            await self._queen.pump.commit()


_NOBODY: Final = WebhookAuth(header="x-hub-signature-256")


def _wrong(definition: Definition, reading: Reading, configs: Mapping[str, object]) -> str:
    """Why a definition cannot be started with these parameters; empty = it can."""
    try:
        edge.check_params(reading.params)
        check_against(definition, [Submission("", reading.params, None, None)], configs)
    except Problem as error:
        return error.detail
    return ""
