"""The HTTP port over a real socket: health, readiness, counters, and problem documents for everything else."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from formicary.problems import Problem
from formicary.server.http import HttpServer, Pages, listen


@asynccontextmanager
async def pages(checks: dict[str, str]) -> AsyncIterator[int]:
    """A running HTTP port with these checks."""
    listener = listen("127.0.0.1", 0)
    server = HttpServer(Pages(lambda: checks, lambda: {"commits": 3}), listener)
    port = int(listener.getsockname()[1])
    await server.start()
    try:
        yield port
    finally:
        await server.stop()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            text = answer.read()
            return answer.status, dict(answer.headers), json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def answers(checks: dict[str, str], *requests: tuple[str, str]) -> list[tuple[int, dict[str, str], Any]]:
    """The answers to requests of (method, path)."""

    async def work() -> list[tuple[int, dict[str, str], Any]]:
        async with pages(checks) as port:
            return [await asyncio.to_thread(ask, port, path, method) for method, path in requests]

    return asyncio.run(work())


def test_live_ready_and_counters() -> None:
    live, health, ready, counters = answers(
        {"queen": "ok"}, ("GET", "/livez"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/debug/counters")
    )
    assert live[0] == health[0] == 200 and live[2] == health[2] == {"status": "alive"}
    assert (ready[0], ready[2]) == (200, {"status": "ready", "checks": {"queen": "ok"}})
    assert (counters[0], counters[2]) == (200, {"commits": 3})


def test_what_is_not_ready_says_why_and_stays_alive() -> None:
    ready, live = answers({"queen": "The queen is starting.", "draining": "ok"}, ("GET", "/readyz"), ("GET", "/livez"))
    assert live[0] == 200
    assert (ready[0], ready[1]["content-type"]) == (503, "application/problem+json")
    assert (ready[2]["code"], ready[2]["status"], ready[2]["retryable"]) == ("UNAVAILABLE", 503, True)
    assert "starting" in ready[2]["detail"] and ready[2]["checks"]["draining"] == "ok"


def test_everything_else_is_a_problem_document() -> None:
    unknown, method, head = answers({}, ("GET", "/nothing"), ("POST", "/livez"), ("HEAD", "/livez"))
    assert (unknown[0], unknown[1]["content-type"], unknown[2]["code"]) == (
        404,
        "application/problem+json",
        "NOT_FOUND",
    )
    assert "/readyz" in unknown[2]["detail"]
    assert (method[0], method[1]["allow"], method[2]["status"]) == (405, "GET, HEAD", 405)
    assert (head[0], head[2]) == (200, None)


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(Problem, match="--http-port") as refused:
        listen("127.0.0.1", int(taken.getsockname()[1]))
    assert refused.value.code == "FAILED_PRECONDITION"


@pytest.mark.parametrize("path", ["/v1/jobs", "/api/jobs/requests", "/metrics", "/openapi.json"])
def test_the_api_is_on_its_way_until_it_is_mounted(path: str) -> None:
    """A caller that comes while the server starts is asked to come back, not told that there is no such page."""
    ((status, headers, document),) = answers({"queen": "starting"}, ("GET", path))
    assert (status, document["code"], headers["retry-after"]) == (503, "UNAVAILABLE", "1")
