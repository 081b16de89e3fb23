"""The HTTP executors: one request per URL; the exit code is the status, and anything but 2xx is a failure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from formicary.engine.ants.attempt import BUILT_INS, Attempt, Outcome, Result, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.data_files import DataError, inside
from formicary.engine.ants.output import STDOUT
from formicary.engine.jobs.model import TaskDefinition

if TYPE_CHECKING:
    import httpx

HTTP_METHODS = {
    "HTTP_GET": ("GET", ""),
    "HTTP_POST_FORM": ("POST", "form"),
    "HTTP_POST_JSON": ("POST", "json"),
    "HTTP_PUT_FORM": ("PUT", "form"),
    "HTTP_PUT_JSON": ("PUT", "json"),
    "HTTP_PATCH_JSON": ("PATCH", "json"),
    "HTTP_DELETE": ("DELETE", ""),
}
"""Method of the job file -> HTTP verb and form of the body."""

_CONNECT_TIMEOUT_S = 30.0
_PIECE = 256 * 1024


class HttpExecutor:
    """Runs HTTP_* attempts with one client, so that connections are kept.

    The URL is ``url``, or one per line of ``script`` (in order, until one fails). ``headers`` and ``query`` are sent
    as they are, with the task's key as ``Idempotency-Key`` unless it is a GET. POST, PUT and PATCH carry the variables
    that the queen has chosen, without the engine's own, as form or JSON. Outputs are ``status`` and ``body`` of the
    last answer, the body parsed if it is JSON. Where the task has files, the body is one of them (:func:`file_of`),
    whole, and not in the log.
    """

    def __init__(self, config: AntConfig) -> None:
        self._config = config
        self._client: httpx.AsyncClient | None = None

    async def run(self, attempt: Attempt) -> Result:
        """Sends the requests of one attempt."""
        task = attempt.task
        urls = [task.url] if task.url else [line.strip() for line in task.script if line.strip()]
        if not urls:
            return failure("ERR_VALIDATION", f"The task {task.task_type} names no URL: set url, or script with URLs.")
        try:
            variables = {k: v for k, v in attempt.variables_map().items() if k not in BUILT_INS}
        except msgspec.DecodeError as error:
            return failure("ERR_VALIDATION", f"The variables are not a JSON object: {error}.")
        result = Result(outcome=Outcome.COMPLETED)
        for url in urls:
            result = await self._request(attempt, url, variables)
            if result.outcome != Outcome.COMPLETED:
                break
        return result

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _open(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=self._config.slots, max_keepalive_connections=self._config.slots)
            timeout = httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S)
            self._client = httpx.AsyncClient(timeout=timeout, limits=limits, follow_redirects=True)
        return self._client

    async def _request(self, attempt: Attempt, url: str, variables: dict[str, object]) -> Result:
        import httpx

        verb, form = HTTP_METHODS[attempt.task.method]
        headers = httpx.Headers({k: str(v) for k, v in attempt.task.headers.items()})
        if verb != "GET":
            headers.setdefault("Idempotency-Key", attempt.key)
        if attempt.traceparent:
            headers.setdefault("traceparent", attempt.traceparent)
        body: bytes | None = None
        data: dict[str, str] | None = None
        if form == "json":
            headers.setdefault("Content-Type", "application/json")
            body = msgspec.json.encode(variables)
        elif form == "form":
            data = {name: _field(value) for name, value in variables.items()}
        query = {k: str(v) for k, v in attempt.task.query.items()}
        try:
            client = self._open()
            target = httpx.URL(url).copy_merge_params(query) if query else httpx.URL(url)
            request = client.build_request(verb, target, headers=headers, content=body, data=data)
            response = await client.send(request, stream=True)
            try:
                return await self._answer(attempt, verb, url, response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            return failure("ERR_HTTP", f"{verb} {url} got no answer: {reason}.")

    async def _answer(self, attempt: Attempt, verb: str, url: str, response: httpx.Response) -> Result:
        limit = self._config.max_body_bytes
        pieces: list[bytes] = []
        size = 0
        status = response.status_code
        if attempt.folder:
            body, is_cut = await self._save(attempt, response)
        else:
            async for piece in response.aiter_bytes():
                piece = piece[: limit - size]
                size += len(piece)
                pieces.append(piece)
                attempt.feed(STDOUT, piece)
                if size >= limit:
                    break
            body, is_cut = b"".join(pieces), size >= limit
        result = Result(outcome=Outcome.COMPLETED, exit_code=status)
        result.outputs = self._outputs(attempt, status, body, is_cut=is_cut)
        if not 200 <= status < 300:
            result.outcome = Outcome.FAILED
            result.error_code = "ERR_HTTP"
            result.error_message = f"{verb} {url} answered {status} {response.reason_phrase}".strip() + "."
        return result

    async def _save(self, attempt: Attempt, response: httpx.Response) -> tuple[bytes, bool]:
        """Writes the body into a file; returns its beginning, and whether that is not all. Raises DataError."""
        name, limit = file_of(attempt.task), self._config.max_body_bytes
        path = await asyncio.to_thread(inside, Path(attempt.folder), name)
        begin, size = b"", 0
        try:
            with path.open("wb", 0) as file:
                async for piece in response.aiter_bytes(_PIECE):
                    await asyncio.to_thread(file.write, piece)
                    begin += piece[: limit - len(begin)]
                    size += len(piece)
        except OSError as error:
            raise DataError(f"The body cannot be written to {name!r}: {error.strerror}.") from error
        attempt.say(f"body: {size:,} bytes in {name}")
        return begin, size > len(begin)

    def _outputs(self, attempt: Attempt, status: int, body: bytes, *, is_cut: bool) -> bytes:
        outputs: dict[str, object] = {"status": status}
        if body and not is_cut:
            try:
                outputs["body"] = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                outputs["body"] = body.decode("utf-8", "replace")
        encoded = msgspec.json.encode(outputs)
        if is_cut or len(encoded) > self._config.max_outputs_bytes:
            attempt.say("the body is too large for an output; only its first part is kept, here in the log")
            encoded = msgspec.json.encode({"status": status, "body_is_too_large": True})
        return encoded


def file_of(task: TaskDefinition) -> str:
    """Where the body of an answer is kept: the first path of ``artifacts`` or ``cache`` that is one, else ``body``."""
    for field in (task.artifacts, task.cache):
        paths = (field or {}).get("paths")
        for path in paths if isinstance(paths, list | tuple) else ():
            if not any(c in str(path) for c in "*?["):
                return str(path)
    return "body"


def _field(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()
