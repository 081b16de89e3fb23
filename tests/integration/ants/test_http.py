"""HTTP tasks against a local server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from formicary.engine.ants.config import AntConfig
from formicary.engine.jobs.model import TaskDefinition, task_to_json
from formicary.v1.ants_pb2 import Assignment, TaskResult
from tests.integration.ants.fake_queen import colony
from tests.integration.ants.loop import in_loop


class Handler(BaseHTTPRequestHandler):
    """Answers with what it was asked, or as the path says."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        if url.path.startswith("/status/"):
            self.reply(int(url.path.rpartition("/")[2]), "text/plain", b"as you wish\n")
        elif url.path == "/large":
            self.reply(200, "text/plain", b"x" * 3_000_000)
        elif url.path == "/text":
            self.reply(200, "text/plain", "grüße".encode())
        elif url.path == "/hang":
            self.server.gate.wait(20)  # type: ignore[attr-defined]  # an attribute of this test's own
            self.close_connection = True
        else:
            seen = {
                "verb": self.command,
                "query": parse_qs(url.query),
                "type": self.headers.get("Content-Type", ""),
                "key": self.headers.get("Idempotency-Key"),
                "token": self.headers.get("X-Token"),
                "traceparent": self.headers.get("traceparent"),
                "form": parse_qs(body) if "form" in self.headers.get("Content-Type", "") else None,
                "json": json.loads(body) if "json" in self.headers.get("Content-Type", "") else None,
            }
            self.reply(200, "application/json", json.dumps(seen).encode())

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.gate = threading.Event()  # type: ignore[attr-defined]  # an attribute of this test's own
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.gate.set()  # type: ignore[attr-defined]  # an attribute of this test's own
            running.shutdown()
            thread.join()


@in_loop
async def test_the_context_of_its_attempt_goes_with_the_request_unless_the_task_sets_its_own() -> None:
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with server() as address:
        async with colony() as (queen, _):
            await queen.until(lambda: bool(queen.hellos))
            own = http("HTTP_GET", address, headers={"traceparent": "own"})
            for token, task in enumerate((http("HTTP_GET", address), own), start=7):
                given = task_to_json(task)
                await queen.assign(
                    Assignment(token=token, task=given, job_id="j", attempt=1, execution=1, traceparent=context)
                )
                await queen.result(token)
            outputs = [queen.outputs(token) for token in (7, 8)]
    assert [found["body"]["traceparent"] for found in outputs if isinstance(found, dict)] == [context, "own"]


def http(method: str, url: str | None = None, **fields: object) -> TaskDefinition:
    return TaskDefinition(task_type="h", method=method, url=url, **fields)  # type: ignore[arg-type]  # the test passes what fits


@pytest.mark.parametrize(
    ("method", "verb", "form"),
    [
        ("HTTP_GET", "GET", None),
        ("HTTP_POST_FORM", "POST", "form"),
        ("HTTP_POST_JSON", "POST", "json"),
        ("HTTP_PUT_FORM", "PUT", "form"),
        ("HTTP_PUT_JSON", "PUT", "json"),
        ("HTTP_PATCH_JSON", "PATCH", "json"),
        ("HTTP_DELETE", "DELETE", None),
    ],
)
@in_loop
async def test_every_method_sends_its_verb_body_headers_and_query(method: str, verb: str, form: str | None) -> None:
    with server() as address:
        async with colony() as (queen, _):
            task = http(method, f"{address}/?a=1", headers={"X-Token": "t"}, query={"b": "2 3"})
            result = await queen.run(task, variables={"n": 5, "list": [1], "JobID": "left out"})
            outputs = queen.outputs(result.token)
            assert isinstance(outputs, dict)
            seen = outputs["body"]
            assert (result.outcome, result.exit_code, outputs["status"]) == (TaskResult.COMPLETED, 200, 200)
            assert (seen["verb"], seen["token"]) == (verb, "t")
            assert seen["query"] == {"a": ["1"], "b": ["2 3"]}
            assert seen["form"] == ({"n": ["5"], "list": ["[1]"]} if form == "form" else None)
            assert seen["json"] == ({"n": 5, "list": [1]} if form == "json" else None)
            assert seen["key"] == (None if verb == "GET" else f"job{result.token}/1/h")


@pytest.mark.parametrize("status", [201, 204, 400, 404, 503])
@in_loop
async def test_the_exit_code_is_the_status_and_only_2xx_is_well(status: int) -> None:
    with server() as address:
        async with colony() as (queen, _):
            result = await queen.run(http("HTTP_GET", f"{address}/status/{status}"))
            assert result.exit_code == status
            assert result.outcome == (TaskResult.COMPLETED if status < 300 else TaskResult.FAILED)
            assert result.error_code == ("" if status < 300 else "ERR_HTTP")


@in_loop
async def test_script_lines_are_urls_until_one_fails() -> None:
    with server() as address:
        async with colony() as (queen, _):
            task = http("HTTP_GET", script=(f"{address}/text", f"{address}/status/500", f"{address}/text"))
            result = await queen.run(task)
            assert result.exit_code == 500
            assert queen.text(result.token) == ["grüßeas you wish"]


@in_loop
async def test_a_large_body_is_cut_and_said_so() -> None:
    with server() as address:
        async with colony(config=AntConfig("a", slots=1, max_body_bytes=100_000)) as (queen, _):
            result = await queen.run(http("HTTP_GET", f"{address}/large"))
            assert queen.outputs(result.token) == {"status": 200, "body_is_too_large": True}
            assert sum(map(len, queen.text(result.token))) <= 100_100


@in_loop
async def test_a_server_that_is_not_there_is_a_clear_failure() -> None:
    async with colony() as (queen, _):
        result = await queen.run(http("HTTP_GET", "http://127.0.0.1:1/"))
        assert (result.outcome, result.error_code, result.has_exit_code) == (TaskResult.FAILED, "ERR_HTTP", False)
        assert "http://127.0.0.1:1/" in result.error_message
        for url in ("not a url", "ftp://x/", "http://", None):
            assert (await queen.run(http("HTTP_GET", url))).outcome == TaskResult.FAILED


@in_loop
async def test_a_server_that_hangs_runs_into_the_time_out() -> None:
    with server() as address:
        async with colony() as (queen, _):
            result = await queen.run(http("HTTP_GET", f"{address}/hang"), timeout_s=0.2)
            assert (result.outcome, result.error_code) == (TaskResult.TIMED_OUT, "ERR_TIMEOUT")
