"""The same client for code without an event loop: a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from formicary.client.client import DEFAULT_ADDRESS, Client
from formicary.client.values import DefinitionRef, Event, JobEnd, JobHandle, LogLine

T = TypeVar("T")
_END = object()


class SyncClient:
    """Blocking methods of the same names and arguments as :class:`formicary.client.Client`; for any thread.

    Args:
        address: ``HOST:PORT`` of the queen's gRPC server, or ``https://HOST:PORT``.
        timeout_s: As for the asynchronous client, and so are the others.
        token: Says who is calling.
        tls: Encrypt the connection.
        ca: File of the certificates to trust.
        insecure: The token may travel as plain text to another machine.
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
        self._client = Client(address, timeout_s=timeout_s, token=token, tls=tls, ca=ca, insecure=insecure)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="formicary-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the thread; idempotent."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _iterate(self, found: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> T | object:
            return await anext(found, _END)

        async def leave() -> None:
            await found.aclose()  # type: ignore[attr-defined]  # every iterator of the client is a generator

        try:
            while (item := self._run(following())) is not _END:
                yield item  # type: ignore[misc]  # the sentinel has been handled
        finally:
            self._run(leave())

    def register(
        self,
        source: str | Path,
        *,
        methods: Mapping[str, str] | None = None,
        path: str | Path = "",
        filename: str = "",
    ) -> DefinitionRef:
        """Stores a definition."""
        return self._run(self._client.register(source, methods=methods, path=path, filename=filename))

    def submit(
        self,
        ref: DefinitionRef,
        params: Mapping[str, object] | None = None,
        *,
        idempotency_key: str | None = None,
        priority: int | None = None,
        scheduled_at: float | None = None,
        watch: bool = False,
    ) -> JobHandle:
        """Submits one job."""
        return self._run(
            self._client.submit(
                ref,
                params,
                idempotency_key=idempotency_key,
                priority=priority,
                scheduled_at=scheduled_at,
                watch=watch,
            )
        )

    def submit_many(
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
        """Submits many jobs of one definition."""
        return self._run(
            self._client.submit_many(
                ref,
                params,
                idempotency_keys=idempotency_keys,
                priority=priority,
                scheduled_at=scheduled_at,
                watch=watch,
                chunk=chunk,
            )
        )

    def wait(self, job_id: str, timeout_s: float | None = None) -> JobEnd:
        """Waits for a job's end."""
        return self._run(self._client.wait(job_id, timeout_s))

    def wait_all(self, ids: Sequence[str], timeout_s: float | None = None) -> list[JobEnd]:
        """Waits for the ends of many jobs."""
        return self._run(self._client.wait_all(ids, timeout_s))

    def get(self, job_id: str) -> dict[str, Any]:
        """The job's document."""
        return self._run(self._client.get(job_id))

    def explain(self, job_id: str) -> dict[str, Any]:
        """Why a job does not run now."""
        return self._run(self._client.explain(job_id))

    def estimate(
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
        """When a job would start."""
        found = self._client.estimate(
            job_id,
            job_type=job_type,
            source=source,
            priority=priority,
            scheduled_at=scheduled_at,
            deadline=deadline,
            dry_run=dry_run,
        )
        return self._run(found)

    def list(self, *, states: Iterable[str] = (), job_type: str = "", limit: int = 0) -> Iterator[dict[str, Any]]:
        """Documents without tasks and outputs, newest first."""
        return self._iterate(self._client.list(states=states, job_type=job_type, limit=limit))

    def elements(
        self, job_id: str, task_type: str, *, states: Iterable[str] = (), limit: int = 0
    ) -> Iterator[dict[str, Any]]:
        """Documents of the elements of a task that have begun, in the order of its list."""
        return self._iterate(self._client.elements(job_id, task_type, states=states, limit=limit))

    def definitions(self, *, job_type: str = "", sources: bool = False) -> Iterator[dict[str, Any]]:
        """Documents of definitions by job type, newest version first."""
        return self._iterate(self._client.definitions(job_type=job_type, sources=sources))

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The document now and after each change."""
        return self._iterate(self._client.follow(job_id))

    def logs(self, job_id: str, *, task_type: str = "", follow: bool = False) -> Iterator[LogLine]:
        """Log lines in the order they came."""
        return self._iterate(self._client.logs(job_id, task_type=task_type, follow=follow))

    def events(
        self,
        *,
        after: int | None = None,
        job_id: str = "",
        job_type: str = "",
        kinds: Iterable[str] = (),
        states: Iterable[str] = (),
        follow: bool = True,
    ) -> Iterator[Event]:
        """What happens, as it happens."""
        return self._iterate(
            self._client.events(
                after=after, job_id=job_id, job_type=job_type, kinds=kinds, states=states, follow=follow
            )
        )

    def cancel(self, job_id: str, reason: str = "") -> dict[str, Any]:
        """Cancels a job."""
        return self._run(self._client.cancel(job_id, reason))

    def retry(self, job_id: str, *, hard: bool = False, version: str = "", idempotency_key: str = "") -> dict[str, Any]:
        """Runs an ended job again."""
        return self._run(self._client.retry(job_id, hard=hard, version=version, idempotency_key=idempotency_key))

    def pause(self, job_id: str) -> dict[str, Any]:
        """A job that has begun pauses until it is resumed."""
        return self._run(self._client.pause(job_id))

    def vote(
        self, job_id: str, *, approve: bool, task_type: str = "", comment: str = "", idempotency_key: str = ""
    ) -> dict[str, Any]:
        """Votes for or against; returns the document of the question."""
        key = idempotency_key
        return self._run(
            self._client.vote(job_id, approve=approve, task_type=task_type, comment=comment, idempotency_key=key)
        )

    def approvals(self, job_id: str = "", *, mine: bool = False) -> Sequence[dict[str, Any]]:
        """Documents of the open questions to people, or of all of one job."""
        return self._run(self._client.approvals(job_id, mine=mine))

    def resume(self, job_id: str) -> dict[str, Any]:
        """A paused job goes on now."""
        return self._run(self._client.resume(job_id))

    def audit(
        self, *, principal: str = "", method: str = "", resource: str = "", code: str = "", limit: int = 0
    ) -> Iterator[dict[str, Any]]:
        """Documents of calls that changed something or were refused, newest first."""
        return self._iterate(
            self._client.audit(principal=principal, method=method, resource=resource, code=code, limit=limit)
        )

    def artifacts(self, job_id: str) -> Sequence[dict[str, Any]]:
        """Documents of what the tasks of a job left."""
        return self._run(self._client.artifacts(job_id))

    def artifact(self, artifact_id: str) -> dict[str, Any]:
        """The document of one artifact."""
        return self._run(self._client.artifact(artifact_id))

    def download(self, artifact_id: str, offset: int = 0) -> Iterator[bytes]:
        """The content of an artifact from `offset` on, in pieces."""
        return self._iterate(self._client.download(artifact_id, offset))

    def upload(self, path: str | Path, *, name: str = "", expires_after_s: float = 0.0) -> dict[str, Any]:
        """Keeps a file for tasks that name it in `artifact_ids`; returns its document."""
        return self._run(self._client.upload(path, name=name, expires_after_s=expires_after_s))

    def create_token(self, role: str, *, org: str = "", name: str = "", lifetime_s: float = 0.0) -> str:
        """Makes a token and returns its text."""
        return self._run(self._client.create_token(role, org=org, name=name, lifetime_s=lifetime_s))

    def make_token(self, role: str, *, org: str = "", name: str = "", lifetime_s: float = 0.0) -> dict[str, Any]:
        """Makes a token and returns its document with its text."""
        return self._run(self._client.make_token(role, org=org, name=name, lifetime_s=lifetime_s))

    def list_tokens(self, *, revoked: bool = False) -> Sequence[dict[str, Any]]:
        """Documents of the tokens that the caller administers."""
        return self._run(self._client.list_tokens(revoked=revoked))

    def revoke_token(self, token_id: str) -> dict[str, Any]:
        """Ends a token at once. Returns its document."""
        return self._run(self._client.revoke_token(token_id))
