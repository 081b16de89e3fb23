"""The way in: definitions and submissions, checked, made idempotent, handed to the core."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs.configs import NO_CONFIGS, ConfigView
from formicary.engine.jobs.places import place_of_field
from formicary.engine.jobs.variables import missing_params, wrong_params
from formicary.engine.queen import edge
from formicary.engine.queen.children import find_version
from formicary.engine.queen.core.batch import JobEnded
from formicary.engine.queen.core.records import Definition
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.key_book import KeyBook
from formicary.engine.queen.public_jobs import check_publisher
from formicary.engine.queen.recent_ids import RecentIds
from formicary.engine.queen.rendering import expand
from formicary.engine.scheduling.standing import never_true
from formicary.engine.storage.port import Row
from formicary.problems import FieldError, Problem, problem
from formicary.v1 import jobs_pb2 as jobs

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen, Watcher

_decode = msgspec.json.Decoder(dict[str, Any]).decode
Also = Callable[[Sequence[Submission]], None]


class Submitting:
    """Accepts definitions and jobs for one queen.

    Attributes:
        repeats: Submissions that were made before and got the same job.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen
        self._registering = asyncio.Lock()
        self.keys = KeyBook()
        self.recent = RecentIds()
        self.repeats = 0

    def begin(self) -> None:
        """The queen has read its store: nothing is known of what ended before."""
        self.recent.begin(time.time())

    def ended(self, ends: Sequence[JobEnded]) -> None:
        """The ends of these jobs have just been committed."""
        self.keys.ended(ends)
        self.recent.ended(ends, time.time())

    def _versioned(self, row: Row) -> Row:
        """The row with a version above those of its type that are not in the store yet."""
        core = self._queen.pump.core
        if str(row[0]) in core.definitions or int(row[3] or 0) < 0:
            return row
        versions = [int(d.row[3] or 0) for d in core.definitions.values() if d.row[1:3] == row[1:3]]
        return (*row[:3], max([int(row[3] or 0), *(version + 1 for version in versions)]), *row[4:])

    async def register(
        self,
        source: str,
        methods: Mapping[str, str],
        path: str,
        filename: str,
        org: str,
        *,
        expanded_from: int = 0,
    ) -> Definition:
        """Parses, checks and stores a definition; after its commit. Raises Problem with every violation.

        Args:
            source: One YAML document.
            methods: Method replacements.
            path: Folder of PYTHON functions.
            filename: Shown in violations.
            org: Whose it is.
            expanded_from: The version whose template has made it for one job; 0 = it is a version itself.
        """
        expanded = expanded_from > 0
        pump = self._queen.pump
        pump.now()
        parser = pump.definitions
        if self._queen.config.methods:
            methods = {**self._queen.config.methods, **methods}
        key, model = await pump.read(lambda: parser.build(source, methods, path, filename, org, expanded=expanded))
        found = pump.core.definitions.get(key)
        if found is not None:
            return found
        async with self._registering:  # versions are given one at a time
            row = await pump.read(lambda: parser.row(key, model, methods, path, filename, org, expanded_from))
            if model.public_plugin and not expanded:
                others = [other.row for other in pump.core.definitions.values()]
                store, read = self._queen.store, parser.model
                await pump.read(lambda: check_publisher(store, read, org, model.job_type, others))
            scheduled = self._queen.config.schedules and not expanded
            if scheduled:
                await self._queen.schedules.loaded()
                await self._queen.triggers.loaded()
            definition = pump.now().define(self._versioned(row), model)
            if scheduled:
                self._queen.schedules.registered(definition)
                self._queen.triggers.registered(definition)
        await pump.commit()
        return definition

    async def looked_at(self, source: str, key: str, job_type: str, org: str) -> Definition:
        """A definition for questions: a registered one, or that of a text, which is not registered. Raises Problem."""
        if not source:
            return await self.definition(key, org, job_type)
        pump, methods = self._queen.pump, self._queen.config.methods
        pump.now()
        own, model = await pump.read(lambda: pump.definitions.build(source, methods, "", "", org))
        known = pump.core.definitions.get(own)
        row: Row = (own, org, model.job_type, 0, source, b"{}", "", "", 0.0)
        return known if known is not None else Definition(row, model)

    async def definition(self, key: str, org: str = "", job_type: str = "") -> Definition:
        """A definition by id, or the newest of a job type; `org` empty = of whichever organisation.

        Raises:
            Problem: NOT_FOUND.
        """
        pump = self._queen.pump
        found = pump.core.definitions.get(key)
        if found is not None and org in ("", found.row[1]):
            return found
        store, model = self._queen.store, pump.definitions.model
        row = await pump.read(lambda: store.definition(key) if key else find_version(store, model, org, job_type, ""))
        if row is None or org not in ("", row[1]):
            raise problem("NOT_FOUND", f"there is no definition {key or job_type!r}: register it first")
        return pump.now().define(row, await pump.read(lambda: model(row)))

    async def request(
        self,
        request: jobs.SubmitJobsRequest,
        org: str,
        watcher: Watcher | None,
        *,
        asked: str = "",
        user: str = "",
        repeated: set[str] | None = None,
    ) -> list[str]:
        """Submissions as they come over the wire.

        Args:
            request: What is wanted.
            org: Whose jobs they are.
            watcher: Who is told their ends.
            asked: How the client named the definition, where `request` names it otherwise; empty = as `request` does.
            user: Id of who submits them, empty = nobody is known.
            repeated: Gets the ids of jobs that an earlier request has made.

        Raises:
            Problem: Where nothing of it is accepted.
        """
        asked = asked or edge.asked_for(request.definition_id, request.job_type)
        definition = self._queen.pump.core.definitions.get(request.definition_id)
        if definition is None or definition.row[1] != org:
            definition = await self.definition(request.definition_id, org, request.job_type)
        checked, keyed = [], False
        for item in request.jobs:
            scheduled = edge.check_time(item.scheduled_at) or None
            priority = edge.check_priority(item.priority) if item.HasField("priority") else None
            params = edge.check_params(item.params)
            key = item.idempotency_key
            keyed = keyed or bool(key)
            checked.append(
                Submission(
                    edge.check_id(item.id) if item.id else edge.new_id(),
                    params,
                    priority,
                    scheduled,
                    edge.check_key(key) if key else "",
                    edge.fingerprint(asked, params, priority, scheduled) if key else "",
                    user,
                )
            )
        return await self._accept(
            definition, checked, org, watcher, resend=request.resend, keyed=keyed, repeated=repeated
        )

    async def submit(
        self,
        definition_id: str,
        submissions: Sequence[Submission],
        org: str,
        watcher: Watcher | None,
        also: Also | None = None,
    ) -> list[str]:
        """Submissions of the same process. Raises Problem.

        Args:
            definition_id: What is started.
            submissions: The jobs.
            org: Whose they are.
            watcher: Who is told their ends.
            also: Called with those that are new, in the event that submits them: what it changes is in their commit.
        """
        definition = await self.definition(definition_id)
        keyed = any(item.key for item in submissions)
        return await self._accept(definition, list(submissions), org, watcher, resend=False, keyed=keyed, also=also)

    async def _accept(
        self,
        definition: Definition,
        items: list[Submission],
        org: str,
        watcher: Watcher | None,
        *,
        resend: bool,
        keyed: bool,
        repeated: set[str] | None = None,
        named: str = "",
        also: Also | None = None,
    ) -> list[str]:
        """Finds repeated ids and keys, submits the rest, answers after the commit."""
        configs = self._queen.configs.view(org, items[0].user if items else "", definition.job_type)
        check_against(definition, items, configs.names)
        check_standing(definition, time.time())
        self._check_overload(definition, items)
        if definition.model.dynamic_template_tasks:
            return await self._accept_expanded(definition, items, org, watcher, repeated, resend=resend, also=also)
        pump = self._queen.pump
        ids = [item.id for item in items]
        fresh, tracer = items, self._queen.tracer
        _refuse_twice(ids)
        pump.now()
        if keyed or resend or not self.recent.are_new(ids, pump.core.wall):
            with self.keys.lookup():
                fresh, ids = await self._without_repeats(items, org, named or definition.id, resend=resend)
                pump.now().submit(definition, org, fresh)
        else:
            for job_id in ids:
                if job_id in pump.core.jobs or job_id in pump.core.leaving:
                    raise _taken(job_id)
            pump.core.submit(definition, org, fresh)
        if also is not None:
            also(fresh)
        if len(fresh) < len(ids):
            self.repeats += len(ids) - len(fresh)
            if repeated is not None:
                repeated.update(set(ids).difference(item.id for item in fresh))
        if tracer is not None:
            tracer.submitted([item.id for item in fresh])
        if watcher is not None:
            self._queen.watch_new([item.id for item in fresh], watcher)
        await pump.commit()
        if watcher is not None and len(fresh) < len(ids):
            known = {item.id for item in fresh}
            await self._queen.watch([job_id for job_id in ids if job_id not in known], watcher, org=org)
        return ids

    def _check_overload(self, definition: Definition, items: Sequence[Submission]) -> None:
        """Raises Problem FAILED_PRECONDITION where a queue takes in no deadline that cannot be kept."""
        core = self._queen.pump.core
        if core.queueing is None or definition.model.deadline is None or not items:
            return
        priority = definition.model.priority if items[0].priority is None else items[0].priority
        if why := core.queueing.overload.refusal(definition, items[0].user, priority):
            raise problem("FAILED_PRECONDITION", why)

    async def _without_repeats(
        self, items: list[Submission], org: str, definition_id: str, *, resend: bool
    ) -> tuple[list[Submission], list[str]]:
        """Items that are new, and the id of each item in order: its own, or that of the job its key already made."""
        queen = self._queen
        pump, store = queen.pump, queen.store
        keys = [item.key for item in items if item.key]
        stored = await pump.read(lambda: store.find_keys(org, keys)) if keys else {}
        pump.now()
        look_up = resend or not self.recent.are_new((item.id for item in items), pump.core.wall)
        known = await pump.read(lambda: store.find_ids([item.id for item in items])) if look_up else {}
        fresh, ids = [], []
        mine: dict[str, tuple[str, str]] = {}
        for item in items:
            earlier = None
            if item.key:
                pair = (org, item.key)
                earlier = mine.get(item.key) or pump.core.keys.get(pair) or self.keys.find(pair) or stored.get(item.key)
            if earlier is not None:
                if not edge.is_same_request(
                    earlier[0], item.fingerprint, definition_id, item.params, item.priority, item.scheduled_at
                ):
                    raise problem(
                        "IDEMPOTENCY_KEY_REUSED",
                        f"the idempotency key {item.key!r} was used for another request; take a new key",
                    )
                ids.append(earlier[1])
                continue
            if item.key:
                mine[item.key] = (item.fingerprint, item.id)
            ids.append(item.id)
            if not (item.id in known or item.id in pump.core.jobs or self._ended_meanwhile(item.id)):
                fresh.append(item)
            elif not resend:
                raise _taken(item.id)
        return fresh, ids

    def _ended_meanwhile(self, job_id: str) -> bool:
        """Whether the job came and ended after the store was read."""
        return self.keys.has_ended(job_id) or self._queen.pump.is_leaving(job_id)

    async def _accept_expanded(
        self,
        definition: Definition,
        items: list[Submission],
        org: str,
        watcher: Watcher | None,
        repeated: set[str] | None,
        *,
        resend: bool,
        also: Also | None = None,
    ) -> list[str]:
        """`dynamic_template_tasks`: each job's tasks are made from its own parameters, a definition of its own."""
        ids: list[str] = []
        row = definition.row
        configs = self._queen.configs.view(org, items[0].user if items else "", definition.job_type)
        for item in items:
            source = await self._queen.pump.read(partial(_expand, definition, item.params, configs))
            own = await self.register(
                source,
                dict(definition.model.methods),
                str(row[6] or ""),
                str(row[7] or ""),
                str(row[1]),
                expanded_from=abs(int(row[3] or 0)),
            )
            ids += await self._accept(
                own,
                [item],
                org,
                watcher,
                resend=resend,
                keyed=bool(item.key),
                repeated=repeated,
                named=definition.id,
                also=also,
            )
        return ids


def _refuse_twice(ids: Sequence[str]) -> None:
    """Ids are made by clients: one that is taken would spoil the commit of everybody else's jobs."""
    if len(ids) > 1 and len(set(ids)) < len(ids):
        raise problem("VALIDATION_FAILED", "a job id comes twice in this request: each job needs one of its own")


def _taken(job_id: str) -> Problem:
    return problem("ALREADY_EXISTS", f"job {job_id} exists already: make a new id, or resend with `resend`")


def _expand(definition: Definition, params: bytes, configs: ConfigView) -> str:
    return expand(definition.model, params, time.time(), time.monotonic, random.getrandbits(32), configs)


def check_standing(definition: Definition, wall: float) -> None:
    """A deadline that has passed, or requirements that nothing can meet. Raises Problem VALIDATION_FAILED."""
    if found := never_true(definition.model, wall):
        lines = [f"{definition.row[7]!s}:{one.line}:{one.column}: {one.message}" for one in found]
        errors = [FieldError(one.path, one.code, one.message) for one in found]
        raise problem("VALIDATION_FAILED", "\n".join(lines), errors=errors)


def check_against(
    definition: Definition, items: Sequence[Submission], configs: Mapping[str, object] = NO_CONFIGS.below
) -> None:
    """Required parameters are there and typed ones of their type. Raises Problem VALIDATION_FAILED naming them all."""
    model = definition.model
    if not model.required_params and not model.parameters:
        return
    for item in items:
        params = _decode(item.params)
        found = list(wrong_params(model, params))
        if missing := missing_params(model, params, configs):
            names = ", ".join(missing)
            found.append(f"Job {model.job_type} needs the parameters {names}: give each with -p NAME=VALUE.")
        if found:
            line = place_of_field(model, "required_params").line
            raise problem("VALIDATION_FAILED", f"{definition.row[7]!s}:{line}:1: " + " ".join(found))
