"""The asynchronous client of a queen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import grpc
import grpc.aio
import msgspec

from formicary.client import documents, estimates, uploads
from formicary.client.credentials import bearer, keep_secret, way_to
from formicary.client.failures import backoff_s, from_rpc
from formicary.client.ids import IdMaker
from formicary.client.session import Call, Session
from formicary.client.stubs import every_method
from formicary.client.values import DefinitionRef, Event, JobEnd, JobHandle, LogLine, end_of, event_of
from formicary.problems import Problem, problem
from formicary.v1 import artifacts_pb2, audit_pb2, definitions_pb2, events_pb2, tokens_pb2
from formicary.v1 import jobs_pb2 as pb

DEFAULT_ADDRESS = "127.0.0.1:7778"
MAX_PARAMS_BYTES = 1024 * 1024
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
CHUNKS_IN_FLIGHT = 8
PAGE = 500
"""Jobs of one answer of a list."""
_CHUNK_BYTES = 1024 * 1024

_encode = msgspec.json.Encoder().encode
_Params = Mapping[str, object]

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


class Client:
    """Registers definitions, submits jobs, follows them; for one event loop.

    Submissions of the same turn of the loop travel in one message, and the ends of watched jobs are pushed::

        async with Client() as client:
            ref = await client.register(Path("job.yaml"))
            handle = await client.submit(ref, {"name": "Ada"}, watch=True)
            print((await client.wait(handle.id)).outputs)

    Args:
        address: ``HOST:PORT`` of the queen's gRPC server, or ``https://HOST:PORT``.
        timeout_s: How long a call keeps trying while no server answers, in seconds. Every method raises
            :class:`formicary.problems.Problem` UNAVAILABLE after that.
        token: Says who is calling; None = FORMICARY_TOKEN, empty = nobody.
        tls: Encrypt the connection; None = FORMICARY_TLS, or where `ca` is given.
        ca: File of the certificates to trust (PEM); None = FORMICARY_CA, empty = the well-known ones.
        insecure: The token may travel as plain text to another machine.

    Raises:
        Problem: VALIDATION_FAILED for an address that is none; FAILED_PRECONDITION where the token could be read.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = 30.0,
        token: str | None = None,
        tls: bool | None = None,
        ca: str | None = None,
        insecure: bool = False,
    ) -> None:
        self._way = way_to(address, tls=tls, ca=ca)
        self.address = self._way.address
        self._metadata = bearer(token)
        keep_secret(self.address, is_private=self._way.is_private, has_token=bool(self._metadata), insecure=insecure)
        self.timeout_s = timeout_s
        self._channel: grpc.aio.Channel | None = None
        self._opened: Session | None = None
        self._rpc: Any = None
        self._new_id = IdMaker()
        self._refs: dict[tuple[str, tuple[tuple[str, str], ...], str], DefinitionRef] = {}

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the stream and the connection; calls in flight fail with CANCELLED."""
        session, self._opened = self._opened, None
        if session is not None:
            await session.close()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    # --- submitting -------------------------------------------------------------------------------------------------

    async def register(
        self,
        source: str | Path,
        *,
        methods: Mapping[str, str] | None = None,
        path: str | Path = "",
        filename: str = "",
    ) -> DefinitionRef:
        """Stores a definition; the same content is asked for once per client.

        Args:
            source: The text of one YAML document, or the file that holds it.
            methods: Methods to replace, like ``{"KUBERNETES": "SHELL"}``.
            path: Folder for PYTHON modules on ants of the same machine; default the file's folder.
            filename: Shown in violations; default the file's name.

        Raises:
            Problem: VALIDATION_FAILED or NOT_AVAILABLE with every violation in ``errors``; UNAVAILABLE.
        """
        source, folder, filename = await read_source(source, path, filename)
        key = (source, tuple(sorted((methods or {}).items())), folder)
        known = self._refs.get(key)
        if known is not None:
            return known
        request = definitions_pb2.RegisterDefinitionRequest(
            source=source, methods=methods, path=folder, filename=filename
        )
        answer = cast(definitions_pb2.RegisterDefinitionResponse, await self._call("RegisterDefinition", request))
        ref = self._refs[key] = DefinitionRef(
            answer.definition_id, answer.job_type, answer.version, tuple(answer.warnings)
        )
        return ref

    async def submit(
        self,
        ref: DefinitionRef,
        params: _Params | None = None,
        *,
        idempotency_key: str | None = None,
        priority: int | None = None,
        scheduled_at: float | None = None,
        watch: bool = False,
    ) -> JobHandle:
        """Submits one job; returns after its commit.

        Args:
            ref: The definition.
            params: Parameters, values of JSON.
            idempotency_key: The same key for the same request gives the same job, however often it is submitted.
            priority: 0 to 10, higher first; default the definition's.
            scheduled_at: Earliest start, seconds since the epoch (UTC); default at once.
            watch: Have the end pushed; a later :meth:`wait` then costs nothing.

        Raises:
            Problem: VALIDATION_FAILED, IDEMPOTENCY_KEY_REUSED, PAYLOAD_TOO_LARGE, UNAVAILABLE, …
        """
        job = pb.JobSubmission(id=self._new_id(), params=_json(params))
        if idempotency_key:
            job.idempotency_key = idempotency_key
        if priority is not None:
            job.priority = priority
        if scheduled_at is not None:
            job.scheduled_at = scheduled_at
        return JobHandle(await self._session().submit(ref.id, job, watch=watch))

    async def submit_many(
        self,
        ref: DefinitionRef,
        params: Iterable[_Params | None],
        *,
        idempotency_keys: Sequence[str] | None = None,
        priority: int | None = None,
        scheduled_at: float | None = None,
        watch: bool = False,
        chunk: int = 500,
    ) -> list[str]:
        """Submits many jobs of one definition; returns their ids in order after the last commit.

        A chunk is accepted or refused as a whole; chunks before a refused one stay submitted. With keys, the same call
        may be repeated until it succeeds.

        Args:
            ref: The definition.
            params: One per job.
            idempotency_keys: One per job, or None.
            priority: As for :meth:`submit`.
            scheduled_at: As for :meth:`submit`.
            watch: Have the ends pushed.
            chunk: Jobs per message, 1 to 1000.

        Raises:
            Problem: As for :meth:`submit`, of the first chunk that was refused.
        """
        session, new_id, ids = self._session(), self._new_id, list[str]()
        flying: list[asyncio.Future[list[str]]] = []
        jobs: list[pb.JobSubmission] = []
        size = 0
        try:
            for number, one in enumerate(params):
                data = _json(one)
                if len(jobs) >= min(chunk, 1000) or (jobs and size + len(data) > _CHUNK_BYTES):
                    flying.append(session.submit_all(ref.id, jobs, size, watch=watch))
                    jobs, size = [], 0
                    if len(flying) >= CHUNKS_IN_FLIGHT:
                        ids += await flying.pop(0)
                job = pb.JobSubmission(id=new_id(), params=data)
                if idempotency_keys is not None:
                    job.idempotency_key = idempotency_keys[number]
                if priority is not None:
                    job.priority = priority
                if scheduled_at is not None:
                    job.scheduled_at = scheduled_at
                jobs.append(job)
                size += len(data)
            if jobs:
                flying.append(session.submit_all(ref.id, jobs, size, watch=watch))
            while flying:
                ids += await flying.pop(0)
        finally:
            for future in flying:
                future.add_done_callback(_seen)
        return ids

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def wait(self, job_id: str, timeout_s: float | None = None) -> JobEnd:
        """Waits for a job's end.

        Args:
            job_id: The job.
            timeout_s: Longest wait in seconds, None = as long as it takes.

        Raises:
            Problem: NOT_FOUND, DEADLINE_EXCEEDED, UNAVAILABLE (no server for longer than the client's time-out).
        """
        return (await self.wait_all([job_id], timeout_s))[0]

    async def wait_all(self, ids: Sequence[str], timeout_s: float | None = None) -> list[JobEnd]:
        """Waits for the ends of many jobs; returns them in the order of the ids. Raises as :meth:`wait`."""
        session = self._session()
        unknown = session.ends.unknown(ids)
        if unknown:
            for start in range(0, len(unknown), 64):
                await asyncio.gather(*(self.get(job_id) for job_id in unknown[start : start + 64]))
            session.watch(unknown)
        gathering = session.gather(list(ids))
        try:
            async with asyncio.timeout(timeout_s):
                await gathering.done
        except TimeoutError:
            raise problem(
                "DEADLINE_EXCEEDED", f"{gathering.missing} of {len(ids)} jobs have not ended within {timeout_s:g} s."
            ) from None
        found = gathering.found
        return [end_of(found[job_id]) for job_id in ids]

    # --- reading ----------------------------------------------------------------------------------------------------

    async def get(self, job_id: str) -> dict[str, Any]:
        """The job's document, as `formicary get --output json` prints it. Raises Problem NOT_FOUND."""
        return documents.full(await self._call("GetJob", pb.GetJobRequest(id=job_id, exact=True)))

    async def list(
        self, *, states: Iterable[str] = (), job_type: str = "", limit: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Documents without tasks and outputs, newest first.

        Args:
            states: Only jobs in one of these states.
            job_type: Only jobs of this type.
            limit: At most so many, 0 = all.
        """
        left, request = limit or 2**62, pb.ListJobsRequest(states=list(states), job_type=job_type)
        while left > 0:
            request.page_size = min(left, PAGE)
            page = cast(pb.ListJobsResponse, await self._call("ListJobs", request))
            for job in page.jobs:
                yield documents.summary(job)
            if not page.next_page_token:
                return
            left -= len(page.jobs)
            request.page_token = page.next_page_token

    async def elements(
        self, job_id: str, task_type: str, *, states: Iterable[str] = (), limit: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Documents of the elements of a task that have begun, in the order of its list.

        Args:
            job_id: The job.
            task_type: The task that fans out.
            states: Only elements in one of these states.
            limit: At most so many, 0 = all.

        Raises:
            Problem: NOT_FOUND, VALIDATION_FAILED.
        """
        request = pb.ListElementsRequest(id=job_id, task_type=task_type, states=list(states), exact=True)
        left = limit or 2**62
        while left > 0:
            request.page_size = min(left, PAGE)
            page = cast(pb.ListElementsResponse, await self._call("ListElements", request))
            for one in page.elements:
                yield documents.element(one)
            if not page.next_page_token:
                return
            left -= len(page.elements)
            request.page_token = page.next_page_token

    async def definitions(self, *, job_type: str = "", sources: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Documents of definitions by job type, newest version first.

        Args:
            job_type: Only versions of this type.
            sources: With their texts.
        """
        view = definitions_pb2.DEFINITION_VIEW_FULL if sources else definitions_pb2.DEFINITION_VIEW_BASIC
        request = definitions_pb2.ListDefinitionsRequest(job_type=job_type, page_size=PAGE, view=view)
        while True:
            page = cast(definitions_pb2.ListDefinitionsResponse, await self._call("ListDefinitions", request))
            for one in page.definitions:
                yield documents.definition(one)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def follow(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The document now and after each change, until the job has ended. Raises Problem NOT_FOUND."""
        async for job in self._stream("FollowJob", pb.FollowJobRequest(id=job_id, exact=True), resume=True):
            yield documents.full(job)

    async def logs(self, job_id: str, *, task_type: str = "", follow: bool = False) -> AsyncIterator[LogLine]:
        """Log lines in the order they came.

        Args:
            job_id: The job.
            task_type: Only this task's lines; empty = of all tasks.
            follow: Go on until the job has ended.
        """
        seen = skip = 0
        while True:
            request = pb.ReadLogsRequest(id=job_id, task_type=task_type, follow=follow)
            try:
                async for line in self._stream("ReadLogs", request, resume=False):
                    if skip:
                        skip -= 1
                        continue
                    seen += 1
                    yield LogLine(line.task_type, line.attempt, line.time, line.stream, line.text)
                return
            except Problem as error:
                if error.code != "UNAVAILABLE" or not follow:
                    raise
                await self.get(job_id)  # waits for the server, up to the time-out
                skip = seen

    async def events(
        self,
        *,
        after: int | None = None,
        job_id: str = "",
        job_type: str = "",
        kinds: Iterable[str] = (),
        states: Iterable[str] = (),
        follow: bool = True,
    ) -> AsyncIterator[Event]:
        """What happens, as it happens. After a disconnect it goes on where it was; what cannot be had is a `gap`.

        Args:
            after: Sequence that is known already; 0 = from the oldest event that is kept, None = from now on.
            job_id: Only this job and its tasks.
            job_type: Only jobs of this type.
            kinds: Only these, or the words job, task, ant.
            states: Only events that tell of one of these.
            follow: False = end with what has happened so far.

        Raises:
            Problem: VALIDATION_FAILED, PERMISSION_DENIED; UNAVAILABLE for longer than the client's time-out.
        """
        request = events_pb2.WatchEventsRequest(
            after=after, job_id=job_id, job_type=job_type, kinds=kinds, states=states, until_now=not follow
        )
        async for answer in self._stream("WatchEvents", request, resume=True):
            request.after = answer.position  # the same object is sent again after a disconnect
            for event in answer.events:
                yield event_of(event)

    async def explain(self, job_id: str) -> dict[str, Any]:
        """Why a job does not run now: state, summary, each gate with its figures. Raises Problem NOT_FOUND."""
        found = await self._call("ExplainJob", pb.ExplainJobRequest(id=job_id))
        return documents.explanation(found)

    async def estimate(
        self,
        job_id: str = "",
        *,
        job_type: str = "",
        source: str = "",
        priority: int | None = None,
        scheduled_at: float | None = None,
        deadline: float | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """When a job would start: of one that waits, or of one that is not submitted. Nothing is stored or reserved.

        Args:
            job_id: A job that waits; empty = give `job_type` or `source`.
            job_type: The newest definition of this type.
            source: The text of a definition.
            priority: 0 to 10; default the definition's.
            scheduled_at: Earliest start, seconds since the epoch.
            deadline: Seconds since the epoch; adds how likely it has ended by then.
            dry_run: Look for places for all tasks at once.

        Raises:
            Problem: NOT_FOUND, VALIDATION_FAILED.
        """
        request = estimates.request(job_id, job_type, source, priority, scheduled_at, deadline, dry_run)
        return documents.estimate(await self._call("EstimateJob", request))

    # --- changing ---------------------------------------------------------------------------------------------------

    async def cancel(self, job_id: str, reason: str = "") -> dict[str, Any]:
        """Cancels a job; its `always_run` tasks still run. One that has ended stays as it is. Returns the document."""
        await self._call("CancelJob", pb.CancelJobRequest(id=job_id, reason=reason))
        return await self.get(job_id)

    async def retry(
        self, job_id: str, *, hard: bool = False, version: str = "", idempotency_key: str = ""
    ) -> dict[str, Any]:
        """Runs an ended job again: its failed tasks, or every task where `hard`. Returns the document.

        Args:
            job_id: The job.
            hard: Every task runs again.
            version: Go on with this version of the definition: a number, ``latest``, its `sem_version` or id; empty =
                the version that the job has.
            idempotency_key: The same key again changes nothing; empty = one of this call, so that it can be repeated.

        Raises:
            Problem: FAILED_PRECONDITION where the job has not ended or cannot go on with that version;
                IDEMPOTENCY_KEY_REUSED; UNAVAILABLE.
        """
        key = idempotency_key or uuid4().hex
        await self._call("RetryJob", pb.RetryJobRequest(id=job_id, hard=hard, version=version, idempotency_key=key))
        return await self.get(job_id)

    async def pause(self, job_id: str) -> dict[str, Any]:
        """A job that has begun pauses until it is resumed. Returns the document. Raises Problem FAILED_PRECONDITION."""
        await self._call("PauseJob", pb.PauseJobRequest(id=job_id), again=False)
        return await self.get(job_id)

    async def vote(
        self, job_id: str, *, approve: bool, task_type: str = "", comment: str = "", idempotency_key: str = ""
    ) -> dict[str, Any]:
        """Votes for or against; returns the document of the question. See :func:`formicary.client.approvals.vote`."""
        from formicary.client.approvals import vote  # it imports this module

        key = idempotency_key
        return await vote(self, job_id, approve=approve, task_type=task_type, comment=comment, idempotency_key=key)

    async def approvals(self, job_id: str = "", *, mine: bool = False) -> Sequence[dict[str, Any]]:
        """Documents of the open questions to people, or of all of one job. Raises Problem NOT_FOUND."""
        from formicary.client.approvals import list_approvals  # it imports this module

        return await list_approvals(self, job_id, mine=mine)

    async def resume(self, job_id: str) -> dict[str, Any]:
        """A paused job goes on now. Returns the document. Raises Problem FAILED_PRECONDITION."""
        await self._call("ResumeJob", pb.ResumeJobRequest(id=job_id), again=False)
        return await self.get(job_id)

    # --- tokens -----------------------------------------------------------------------------------------------------

    async def create_token(self, role: str, *, org: str = "", name: str = "", lifetime_s: float = 0.0) -> str:
        """Makes a token and returns its text, which nobody can show again.

        Args:
            role: admin, operator, submitter, viewer or ant.
            org: Organisation; empty = the caller's.
            name: What it is for.
            lifetime_s: Seconds until it expires, 0 = never.

        Raises:
            Problem: VALIDATION_FAILED, PERMISSION_DENIED, UNAVAILABLE.
        """
        made = await self.make_token(role, org=org, name=name, lifetime_s=lifetime_s)
        return str(made["token"])

    async def make_token(self, role: str, *, org: str = "", name: str = "", lifetime_s: float = 0.0) -> dict[str, Any]:
        """Makes a token and returns its document with the text as ``token``. As for :meth:`create_token`."""
        request = tokens_pb2.CreateTokenRequest(role=role, org=org, name=name)
        if lifetime_s:
            request.lifetime.FromMilliseconds(int(lifetime_s * 1000))
        answer = cast(tokens_pb2.CreateTokenResponse, await self._call("CreateToken", request, again=False))
        return {**documents.token(answer.record), "token": answer.token}

    async def list_tokens(self, *, revoked: bool = False) -> Sequence[dict[str, Any]]:
        """Documents of the tokens that the caller administers.

        Args:
            revoked: Those that were revoked, too.

        Raises:
            Problem: PERMISSION_DENIED, UNAVAILABLE.
        """
        request = tokens_pb2.ListTokensRequest(include_revoked=revoked)
        found = cast(tokens_pb2.ListTokensResponse, await self._call("ListTokens", request))
        return [documents.token(one) for one in found.tokens]

    async def revoke_token(self, token_id: str) -> dict[str, Any]:
        """Ends a token at once. Returns its document. Raises Problem NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE."""
        request = tokens_pb2.RevokeTokenRequest(id=token_id)
        return documents.token(cast(tokens_pb2.ApiToken, await self._call("RevokeToken", request, again=False)))

    async def audit(
        self, *, principal: str = "", method: str = "", resource: str = "", code: str = "", limit: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Documents of calls that changed something or were refused, newest first; for administrators.

        Args:
            principal: Only calls of this caller.
            method: Only calls of this method, like CancelJob.
            resource: Only calls that concern this job, definition or token.
            code: Only calls with this outcome.
            limit: At most so many, 0 = all.
        """
        left = limit or 2**62
        request = audit_pb2.ListAuditRecordsRequest(principal=principal, method=method, resource=resource, code=code)
        while left > 0:
            request.page_size = min(left, PAGE)
            page = cast(audit_pb2.ListAuditRecordsResponse, await self._call("ListAuditRecords", request))
            for record in page.records:
                yield documents.audit_record(record)
            if not page.next_page_token:
                return
            left -= len(page.records)
            request.page_token = page.next_page_token

    # --- artifacts --------------------------------------------------------------------------------------------------

    async def artifacts(self, job_id: str) -> Sequence[dict[str, Any]]:
        """Documents of what the tasks of a job left, in order of the tasks. Raises Problem NOT_FOUND."""
        request = artifacts_pb2.ListArtifactsRequest(job_id=job_id)
        answer = cast(artifacts_pb2.ListArtifactsResponse, await self._call("ListArtifacts", request))
        return [documents.artifact(found) for found in answer.artifacts]

    async def artifact(self, artifact_id: str) -> dict[str, Any]:
        """The document of one artifact. Raises Problem NOT_FOUND."""
        request = artifacts_pb2.GetArtifactRequest(id=artifact_id)
        return documents.artifact(cast(artifacts_pb2.Artifact, await self._call("GetArtifact", request)))

    async def download(self, artifact_id: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The content of an artifact from `offset` on, in pieces; a connection that is lost is taken up again.

        Raises:
            Problem: NOT_FOUND, UNAVAILABLE.
        """
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + self.timeout_s, 0
        while True:
            request = artifacts_pb2.DownloadArtifactRequest(id=artifact_id, offset=offset)
            try:
                async for body in self._stream("DownloadArtifact", request, resume=False):
                    piece = body.data  # each look at it makes a copy
                    offset, attempt, deadline = offset + len(piece), 0, loop.time() + self.timeout_s
                    yield piece
                return
            except Problem as error:
                attempt += 1
                if error.code != "UNAVAILABLE" or loop.time() + backoff_s(attempt) > deadline:
                    raise
            await asyncio.sleep(backoff_s(attempt))

    async def upload(self, path: str | Path, *, name: str = "", expires_after_s: float = 0.0) -> dict[str, Any]:
        """Keeps a file for tasks that name it in `artifact_ids`; returns its document. See :mod:`.uploads`."""
        way = uploads.GrpcWay(self._stub(), self._metadata, self.address, self.timeout_s)
        return documents.artifact(await uploads.upload(way, Path(path), name, expires_after_s, self.timeout_s))

    # --- calls ------------------------------------------------------------------------------------------------------

    def _stub(self) -> Any:
        if self._channel is None:
            self._channel = self._way.channel(_OPTIONS)
            self._rpc = every_method(self._channel)
        return self._rpc

    def _session(self) -> Session:
        if self._opened is None:
            self._opened = Session(
                lambda: cast(Call, self._stub().Session(metadata=self._metadata)), self.address, self.timeout_s
            )
        return self._opened

    async def call(self, method: str, request: object, *, again: bool = True) -> Any:
        """One call of a method by its last name, for modules that add commands. Raises Problem.

        Args:
            method: Like ListTriggers.
            request: Its message.
            again: Repeat it while no server answers.
        """
        return await self._call(method, request, again=again)

    async def _call(self, method: str, request: object, *, again: bool = True) -> Any:
        """One unary call, repeated with jitter while no server answers."""
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + self.timeout_s, 0
        rpc = getattr(self._stub(), method)
        while True:
            try:
                return await rpc(request, timeout=max(0.001, deadline - loop.time()), metadata=self._metadata)
            except grpc.aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
                attempt += 1
                delay = backoff_s(attempt)
                if error.code != "UNAVAILABLE" or not again or loop.time() + delay > deadline:
                    raise error from failure
            await asyncio.sleep(delay)

    async def _stream(self, method: str, request: object, *, resume: bool) -> AsyncIterator[Any]:
        """A stream of answers. It is opened again while no server answers: until its first message, or always."""
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + self.timeout_s, 0
        while True:
            begun = False
            call = getattr(self._stub(), method)(request, metadata=self._metadata)
            try:
                async for message in call:
                    begun, attempt = True, 0
                    yield message
                return
            except grpc.aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
                if begun:
                    deadline = loop.time() + self.timeout_s
                attempt += 1
                delay = backoff_s(attempt)
                lost = error.code == "UNAVAILABLE" and (resume or not begun)
                if not lost or loop.time() + delay > deadline:
                    raise error from failure
            finally:
                call.cancel()
            await asyncio.sleep(delay)


def _json(params: _Params | None) -> bytes:
    """Parameters as JSON, empty for none. Raises Problem VALIDATION_FAILED, PAYLOAD_TOO_LARGE."""
    if not params:
        return b""
    try:
        data = _encode(params)
    except (TypeError, ValueError, msgspec.EncodeError) as error:
        raise problem("VALIDATION_FAILED", f"The parameters are not values of JSON: {error}.") from error
    if len(data) > MAX_PARAMS_BYTES:
        raise problem(
            "PAYLOAD_TOO_LARGE", f"The parameters have {len(data)} bytes, at most {MAX_PARAMS_BYTES} are taken."
        )
    return data


async def read_source(source: str | Path, path: str | Path, filename: str) -> tuple[str, str, str]:
    """Text, folder and name of a definition as it is registered.

    Raises:
        Problem: VALIDATION_FAILED where the file cannot be read.
    """
    if isinstance(source, Path):
        return await asyncio.to_thread(_read, source), str(path or source.absolute().parent), filename or str(source)
    return source, str(path), filename


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise problem("VALIDATION_FAILED", f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise problem("VALIDATION_FAILED", f"{file} is not a text in UTF-8.") from error


def _seen(future: asyncio.Future[list[str]]) -> None:
    if not future.cancelled():
        future.exception()
