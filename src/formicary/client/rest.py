"""The same client over REST: for networks that let only HTTP through, at one request per submission."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec
from google.protobuf.json_format import MessageToDict, ParseDict

from formicary.client import documents, estimates, uploads
from formicary.client.client import PAGE, read_source
from formicary.client.credentials import bearer, is_private_url, keep_secret, trusted
from formicary.client.failures import backoff_s, unreachable
from formicary.client.ids import IdMaker
from formicary.client.values import DefinitionRef, Event, JobEnd, JobHandle, LogLine, event_of
from formicary.problems import Problem, problem
from formicary.problems.http import parse_http
from formicary.v1 import approvals_pb2, artifacts_pb2, audit_pb2, definitions_pb2, events_pb2, tokens_pb2
from formicary.v1 import jobs_pb2 as pb

DEFAULT_URL = "http://127.0.0.1:7777"
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
CALLS_IN_FLIGHT = 64
_Pair = tuple[str, str | int | float | bool | None]
_NDJSON = "application/x-ndjson"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class RestClient:
    """Methods of the same names and results as :class:`formicary.client.Client`; for one event loop.

    Args:
        url: Where the server's HTTP port is.
        timeout_s: How long a call keeps trying while the server cannot be reached or asks to come back, in seconds.
        token: Says who is calling; None = FORMICARY_TOKEN, empty = nobody.
        ca: File of the certificates to trust (PEM); None = FORMICARY_CA, empty = the well-known ones.
        insecure: The token may travel as plain text to another machine.

    Raises:
        Problem: FAILED_PRECONDITION where the token could be read on its way; VALIDATION_FAILED for a file that cannot.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        token: str | None = None,
        ca: str | None = None,
        insecure: bool = False,
    ) -> None:
        self.address = url
        self.timeout_s = timeout_s
        headers = dict(bearer(token))
        keep_secret(url, is_private=is_private_url(url), has_token=bool(headers), insecure=insecure)
        verify = _trust(trusted(ca)) if url.lower().startswith("https:") else True
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_s, trust_env=False, verify=verify)
        self._new_id = IdMaker()

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    # --- submitting -------------------------------------------------------------------------------------------------

    async def register(
        self,
        source: str | Path,
        *,
        methods: Mapping[str, str] | None = None,
        path: str | Path = "",
        filename: str = "",
    ) -> DefinitionRef:
        """Stores a definition. Arguments and errors as for the other client."""
        text, folder, name = await read_source(source, path, filename)
        body = {"source": text, "methods": dict(methods or {}), "path": folder, "filename": name}
        answer = await self._call("POST", "/v1/definitions", body)
        return DefinitionRef(answer["definition_id"], answer["job_type"], int(answer.get("version", 0)))

    async def submit(
        self,
        ref: DefinitionRef,
        params: Mapping[str, object] | None = None,
        *,
        idempotency_key: str | None = None,
        priority: int | None = None,
        scheduled_at: float | None = None,
        watch: bool = False,
    ) -> JobHandle:
        """Submits one job; returns after its commit. A repeated request gives the same job, with and without a key.

        `watch` is there for the sake of the other client and changes nothing here. Numbers in `params` beyond 2^53 are
        refused, since JSON over HTTP may change them.
        """
        job_id = self._new_id()
        body: dict[str, Any] = {"definition_id": ref.id, "id": job_id, "params": params or {}}
        if priority is not None:
            body["priority"] = priority
        if scheduled_at is not None:
            body["scheduled_at"] = datetime.fromtimestamp(scheduled_at, UTC).isoformat().replace("+00:00", "Z")
        answer = await self._call("POST", "/v1/jobs", body, {"idempotency-key": idempotency_key or job_id})
        return JobHandle(answer["id"])

    async def submit_many(
        self,
        ref: DefinitionRef,
        params: Iterable[Mapping[str, object] | None],
        *,
        idempotency_keys: Sequence[str] | None = None,
        priority: int | None = None,
        scheduled_at: float | None = None,
        watch: bool = False,
        chunk: int = 500,
    ) -> list[str]:
        """Submits many jobs, several requests at a time; those before a refused one stay submitted."""
        gate = asyncio.Semaphore(CALLS_IN_FLIGHT)

        async def one(number: int, given: Mapping[str, object] | None) -> str:
            async with gate:
                key = idempotency_keys[number] if idempotency_keys is not None else None
                handle = await self.submit(
                    ref, given, idempotency_key=key, priority=priority, scheduled_at=scheduled_at, watch=watch
                )
                return handle.id

        return list(await asyncio.gather(*(one(number, given) for number, given in enumerate(params))))

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def wait(self, job_id: str, timeout_s: float | None = None) -> JobEnd:
        """Waits for a job's end. Raises Problem NOT_FOUND, DEADLINE_EXCEEDED, UNAVAILABLE."""
        try:
            async with asyncio.timeout(timeout_s):
                async for document in self.follow(job_id):
                    if document["state"] in ENDED:
                        return _end(document)
        except TimeoutError:
            raise problem("DEADLINE_EXCEEDED", f"Job {job_id} has not ended within {timeout_s:g} s.") from None
        raise unreachable(self.address)

    async def wait_all(self, ids: Sequence[str], timeout_s: float | None = None) -> list[JobEnd]:
        """Waits for the ends of many jobs; returns them in the order of the ids."""
        gate = asyncio.Semaphore(CALLS_IN_FLIGHT)

        async def one(job_id: str) -> JobEnd:
            async with gate:
                return await self.wait(job_id)

        try:
            async with asyncio.timeout(timeout_s):
                return list(await asyncio.gather(*(one(job_id) for job_id in ids)))
        except TimeoutError:
            raise problem("DEADLINE_EXCEEDED", f"Not all of {len(ids)} jobs have ended in time.") from None

    # --- reading ----------------------------------------------------------------------------------------------------

    async def get(self, job_id: str) -> dict[str, Any]:
        """The job's document. Raises Problem NOT_FOUND."""
        return documents.full(_job(await self._call("GET", f"/v1/jobs/{job_id}?exact=true")))

    async def explain(self, job_id: str) -> dict[str, Any]:
        """Why a job does not run now. Raises Problem NOT_FOUND."""
        found = await self._call("GET", f"/v1/jobs/{job_id}:explain")
        return documents.explanation(ParseDict(dict(found), pb.Explanation(), ignore_unknown_fields=True))

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
        """When a job would start; see :meth:`Client.estimate`."""
        request = estimates.request(job_id, job_type, source, priority, scheduled_at, deadline, dry_run)
        found = await self._call("POST", "/v1/jobs:estimate", MessageToDict(request, preserving_proto_field_name=True))
        return documents.estimate(ParseDict(dict(found), pb.Estimate(), ignore_unknown_fields=True))

    async def list(
        self, *, states: Iterable[str] = (), job_type: str = "", limit: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Documents without tasks and outputs, newest first."""
        left, token = limit or 2**62, ""
        query: list[_Pair] = [("states", state) for state in states]
        if job_type:
            query.append(("job_type", job_type))
        while left > 0:
            pairs: list[_Pair] = [*query, ("page_size", str(min(left, PAGE)))] + (
                [("page_token", token)] if token else []
            )
            page = await self._call("GET", f"/v1/jobs?{httpx.QueryParams(pairs)}")
            jobs = page.get("jobs", [])
            for job in jobs:
                yield documents.summary(_job(job))
            left, token = left - len(jobs), page.get("next_page_token", "")
            if not token:
                return

    async def elements(
        self, job_id: str, task_type: str, *, states: Iterable[str] = (), limit: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Documents of the elements of a task that have begun, in the order of its list. Arguments as there."""
        pairs: list[_Pair] = [("exact", "true"), *(("states", state) for state in states)]
        path = f"/v1/jobs/{job_id}/tasks/{quote(task_type, safe='')}/elements"
        async for found in self._pages(path, pairs, limit, pb.ListElementsResponse, "elements"):
            yield documents.element(found)

    async def audit(
        self, *, principal: str = "", method: str = "", resource: str = "", code: str = "", limit: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Documents of calls that changed something or were refused, newest first. Arguments as there."""
        given = {"principal": principal, "method": method, "resource": resource, "code": code}
        pairs: list[_Pair] = [(name, value) for name, value in given.items() if value]
        async for found in self._pages("/v1/audit", pairs, limit, audit_pb2.ListAuditRecordsResponse, "records"):
            yield documents.audit_record(found)

    async def approvals(self, job_id: str = "", *, mine: bool = False) -> Sequence[dict[str, Any]]:
        """Documents of the open questions to people, or of all of one job. Raises Problem NOT_FOUND."""
        path = f"/v1/jobs/{job_id}/approvals" if job_id else "/v1/approvals"
        pairs: list[_Pair] = [("mine", "true")] if mine else []
        found = self._pages(path, pairs, 0, approvals_pb2.ListApprovalsResponse, "approvals")
        return [documents.approval(one) async for one in found]

    async def artifacts(self, job_id: str) -> Sequence[dict[str, Any]]:
        """Documents of what the tasks of a job left, in order of the tasks. Raises Problem NOT_FOUND."""
        found = await self._call("GET", f"/v1/jobs/{job_id}/artifacts")
        answer = ParseDict(found, artifacts_pb2.ListArtifactsResponse(), ignore_unknown_fields=True)
        return [documents.artifact(one) for one in answer.artifacts]

    async def artifact(self, artifact_id: str) -> dict[str, Any]:
        """The document of one artifact. Raises Problem NOT_FOUND."""
        found = await self._call("GET", f"/v1/artifacts/{quote(artifact_id, safe='')}")
        return documents.artifact(ParseDict(found, artifacts_pb2.Artifact(), ignore_unknown_fields=True))

    async def download(self, artifact_id: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The content of an artifact from `offset` on, in pieces; a connection that is lost is taken up again.

        Raises:
            Problem: NOT_FOUND, UNAVAILABLE.
        """
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + self.timeout_s, 0
        while True:
            path = f"/v1/artifacts/{quote(artifact_id, safe='')}:download?offset={offset}"
            try:
                async with self._http.stream("GET", path) as answer:
                    if not answer.is_success:
                        raise parse_http(answer.status_code, answer.headers.multi_items(), await answer.aread())
                    async for piece in answer.aiter_raw():
                        offset, attempt, deadline = offset + len(piece), 0, loop.time() + self.timeout_s
                        yield piece
                return
            except httpx.TransportError:
                error = unreachable(self.address)
            except Problem as found:
                error = found
            attempt += 1
            if error.code != "UNAVAILABLE" or loop.time() + backoff_s(attempt) > deadline:
                raise error
            await asyncio.sleep(backoff_s(attempt))

    async def upload(self, path: str | Path, *, name: str = "", expires_after_s: float = 0.0) -> dict[str, Any]:
        """Keeps a file for tasks that name it in `artifact_ids`; returns its document. It goes on where it was when the
        connection breaks.

        Raises:
            Problem: VALIDATION_FAILED for a file that cannot be read or has changed meanwhile, or a name that cannot
                be; RESOURCE_EXHAUSTED, UNAVAILABLE.
        """
        way = uploads.HttpWay(self._http, self.address)
        return documents.artifact(await uploads.upload(way, Path(path), name, expires_after_s, self.timeout_s))

    async def _pages(
        self, path: str, pairs: Iterable[_Pair], limit: int, answer: type[Any], name: str
    ) -> AsyncIterator[Any]:
        """The messages of all pages of a list, at most `limit` (0 = all)."""
        left, token = limit or 2**62, ""
        while left > 0:
            query: list[_Pair] = [*pairs, ("page_size", min(left, PAGE)), *([("page_token", token)] if token else [])]
            found = await self._call("GET", f"{path}?{httpx.QueryParams(query)}")
            page = getattr(ParseDict(found, answer(), ignore_unknown_fields=True), name)
            for one in page:
                yield one
            left, token = left - len(page), found.get("next_page_token", "")
            if not token:
                return

    async def definitions(self, *, job_type: str = "", sources: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Documents of definitions by job type, newest version first. Arguments as for the other client."""
        view = "DEFINITION_VIEW_FULL" if sources else "DEFINITION_VIEW_BASIC"
        query = {"job_type": job_type, "page_size": str(PAGE), "view": view}
        while True:
            page = await self._call("GET", f"/v1/definitions?{httpx.QueryParams(query)}")
            found = ParseDict(page, definitions_pb2.ListDefinitionsResponse(), ignore_unknown_fields=True)
            for one in found.definitions:
                yield documents.definition(one)
            if not found.next_page_token:
                return
            query["page_token"] = found.next_page_token

    async def follow(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The document now and after each change, until the job has ended."""
        async for found in self._stream(f"/v1/jobs/{job_id}:follow?exact=true", resume=True):
            yield documents.full(_job(found))

    async def logs(self, job_id: str, *, task_type: str = "", follow: bool = False) -> AsyncIterator[LogLine]:
        """Log lines in the order they came."""
        query = httpx.QueryParams({"task_type": task_type, "follow": str(follow).lower()})
        async for line in self._stream(f"/v1/jobs/{job_id}/logs?{query}", resume=False):
            yield LogLine(
                line["task_type"], line.get("attempt", 0), line["time"], line.get("stream", 0), line.get("text", "")
            )

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
        """What happens, as it happens; as for the other client."""
        fixed: list[_Pair] = [*(("kinds", kind) for kind in kinds), *(("states", state) for state in states)]
        fixed += [("job_id", job_id), ("job_type", job_type), ("until_now", str(not follow).lower())]
        position = after

        def path() -> str:
            pairs = [*fixed, ("after", str(position))] if position is not None else fixed
            return f"/v1/events?{httpx.QueryParams(pairs)}"

        async for found in self._stream(path, resume=True):
            answer = ParseDict(found, events_pb2.WatchEventsResponse(), ignore_unknown_fields=True)
            position = answer.position
            for event in answer.events:
                yield event_of(event)

    # --- changing ---------------------------------------------------------------------------------------------------

    async def cancel(self, job_id: str, reason: str = "") -> dict[str, Any]:
        """Cancels a job. Returns the document."""
        await self._call("POST", f"/v1/jobs/{job_id}:cancel", {"reason": reason})
        return await self.get(job_id)

    async def retry(
        self, job_id: str, *, hard: bool = False, version: str = "", idempotency_key: str = ""
    ) -> dict[str, Any]:
        """Runs an ended job again; as for the other client."""
        body = {"hard": hard, "version": version, "idempotency_key": idempotency_key or uuid4().hex}
        await self._call("POST", f"/v1/jobs/{job_id}:retry", body)
        return await self.get(job_id)

    async def pause(self, job_id: str) -> dict[str, Any]:
        """A job that has begun pauses until it is resumed. Returns the document. Raises Problem FAILED_PRECONDITION."""
        await self._call("POST", f"/v1/jobs/{job_id}:pause", {}, again=False)
        return await self.get(job_id)

    async def vote(
        self, job_id: str, *, approve: bool, task_type: str = "", comment: str = "", idempotency_key: str = ""
    ) -> dict[str, Any]:
        """Votes for or against; returns the document of the question. Raises Problem as the other client."""
        body = {"decision": "APPROVED" if approve else "REJECTED", "comment": comment}
        path = f"/v1/jobs/{job_id}/approvals" + (f"/{quote(task_type, safe='')}" if task_type else "")
        body |= {"idempotency_key": idempotency_key} if idempotency_key else {}
        found = await self._call("POST", f"{path}:vote", body, again=bool(idempotency_key))
        return documents.approval(ParseDict(found, approvals_pb2.Approval(), ignore_unknown_fields=True))

    async def resume(self, job_id: str) -> dict[str, Any]:
        """A paused job goes on now. Returns the document. Raises Problem FAILED_PRECONDITION."""
        await self._call("POST", f"/v1/jobs/{job_id}:resume", {}, again=False)
        return await self.get(job_id)

    # --- tokens -----------------------------------------------------------------------------------------------------

    async def create_token(self, role: str, *, org: str = "", name: str = "", lifetime_s: float = 0.0) -> str:
        """Makes a token and returns its text, which nobody can show again."""
        return str((await self.make_token(role, org=org, name=name, lifetime_s=lifetime_s))["token"])

    async def make_token(self, role: str, *, org: str = "", name: str = "", lifetime_s: float = 0.0) -> dict[str, Any]:
        """Makes a token and returns its document with the text as ``token``."""
        body = {"role": role, "org": org, "name": name}
        if lifetime_s:
            body["lifetime"] = f"{int(lifetime_s * 1000) / 1000:.3f}s"
        answer = await self._call("POST", "/v1/tokens", body, again=False)
        return {**_token(answer["record"]), "token": answer["token"]}

    async def list_tokens(self, *, revoked: bool = False) -> Sequence[dict[str, Any]]:
        """Documents of the tokens that the caller administers; with those that were revoked where `revoked`."""
        found = await self._call("GET", f"/v1/tokens?include_revoked={str(revoked).lower()}")
        return [_token(one) for one in found.get("tokens", [])]

    async def revoke_token(self, token_id: str) -> dict[str, Any]:
        """Ends a token at once. Returns its document. Raises Problem NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE."""
        return _token(await self._call("DELETE", f"/v1/tokens/{quote(token_id, safe='')}", again=False))

    # --- calls ------------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        again: bool = True,
    ) -> dict[str, Any]:
        """One request, repeated while the server cannot be reached or says that a repetition may succeed."""
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + self.timeout_s, 0
        content = None if body is None else _body(body)
        sent = {"content-type": "application/json"} | dict(headers or {})
        while True:
            try:
                answer = await self._http.request(method, path, content=content, headers=sent)
                if answer.is_success:
                    return _decode(answer.content)
                error = parse_http(answer.status_code, answer.headers.multi_items(), answer.content)
            except httpx.TransportError:
                error = unreachable(self.address)
            attempt += 1
            delay = max(backoff_s(attempt), error.retry.after_s or 0.0)
            if not error.retryable or not again or loop.time() + delay > deadline:
                raise error
            await asyncio.sleep(delay)

    async def _stream(self, path: str | Callable[[], str], *, resume: bool) -> AsyncIterator[dict[str, Any]]:
        """A stream of answers, one JSON object a line. It is opened again as the other client's streams are."""
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + self.timeout_s, 0
        limits = httpx.Timeout(self.timeout_s, read=None)
        while True:
            begun = False
            try:
                address = path if isinstance(path, str) else path()
                async with self._http.stream("GET", address, headers={"accept": _NDJSON}, timeout=limits) as answer:
                    if not answer.is_success:
                        raise parse_http(answer.status_code, answer.headers.multi_items(), await answer.aread())
                    async for line in answer.aiter_lines():
                        begun, attempt = True, 0
                        yield _message(line)
                return
            except httpx.TransportError:
                error = unreachable(self.address)
            except Problem as found:
                error = found
            if begun:
                deadline = loop.time() + self.timeout_s
            attempt += 1
            delay = backoff_s(attempt)
            if not (error.retryable and (resume or not begun)) or loop.time() + delay > deadline:
                raise error
            await asyncio.sleep(delay)


def _message(line: str) -> dict[str, Any]:
    """One line of a stream. Raises the Problem that ends it."""
    found = _decode(line)
    failure = found.get("@problem")
    if isinstance(failure, dict):
        raise Problem.from_document(failure)
    return found


def _job(found: Mapping[str, Any]) -> pb.Job:
    return ParseDict(dict(found), pb.Job(), ignore_unknown_fields=True)


def _token(found: Mapping[str, Any]) -> dict[str, Any]:
    return documents.token(ParseDict(dict(found), tokens_pb2.ApiToken(), ignore_unknown_fields=True))


def _trust(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise problem("VALIDATION_FAILED", f"{ca} holds no certificates that can be read: {error}.") from error


def _end(document: Mapping[str, Any]) -> JobEnd:
    error = document["error"]
    return JobEnd(
        document["id"],
        document["state"],
        document["outputs"],
        None if error is None else Problem.from_document(error),
    )


def _body(body: Mapping[str, Any]) -> bytes:
    """The body as JSON. Raises Problem VALIDATION_FAILED where a value is not one of JSON."""
    try:
        return _encode(body)
    except (TypeError, ValueError, msgspec.EncodeError) as error:
        raise problem("VALIDATION_FAILED", f"The parameters are not values of JSON: {error}.") from error
