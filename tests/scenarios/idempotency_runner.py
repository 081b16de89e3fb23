"""Runs scenario files of idempotent requests on the real middleware; docs/reference/idempotency.md has the format."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import yaml

from formicary.idempotency import IdempotencyMiddleware, MemoryStore, Policy, Rule
from tests.integration.idempotency.driving import Answer, Receive, Scope, Send, call

MANY_TURNS = 200
"""Turns of the loop after which a request that is held has begun."""


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is sent."""

    method: str = "POST"
    path: str = "/orders"
    query: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=lambda: {"content-type": "application/json"})
    key: str | list[str] | None = "the-key"
    body: str = "{}"
    tenant: str = ""


class Handler(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the operation does if it is executed."""

    status: int = 201
    headers: dict[str, str] = {}
    body: str = ""
    hold: str = ""
    raises: bool = msgspec.field(default=False, name="raise")


class Expect(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What has to come; what is left out is not looked at."""

    status: int | None = None
    code: str | None = None
    headers: dict[str, str] = {}
    body: str | None = None
    replayed: bool | None = None
    executions: int | None = None


class Step(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One of request, finish, advance_s."""

    request: Request | None = None
    handler: Handler = msgspec.field(default_factory=Handler)
    finish: str = ""
    advance_s: float = 0.0
    expect: Expect = msgspec.field(default_factory=Expect)


class Scenario(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Steps on a service of its own."""

    name: str
    steps: list[Step]
    rule: dict[str, object] = {}


def read(path: Path) -> list[Scenario]:
    """The scenarios of a file. Raises msgspec.ValidationError with the place of what is wrong."""
    return msgspec.convert(yaml.safe_load(path.read_text()), list[Scenario])


def run(scenario: Scenario) -> list[str]:
    """What was not as expected, one sentence each."""
    return asyncio.run(_Run(scenario).steps())


class _Run:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._now_ms = 1_800_000_000_000
        self._executions = 0
        self._held: dict[str, tuple[asyncio.Event, asyncio.Task[Answer]]] = {}
        store = MemoryStore(lambda: self._now_ms)
        rule = msgspec.convert(scenario.rule, Rule)
        self._app = IdempotencyMiddleware(self._operation, store, Policy(rule))

    async def steps(self) -> list[str]:
        wrong: list[str] = []
        for number, step in enumerate(self._scenario.steps, 1):
            self._now_ms += round(step.advance_s * 1000)
            answer = await self._answer(step)
            wrong += [f"step {number}: {line}" for line in self._compared(step.expect, answer)]
        for _, task in self._held.values():
            task.cancel()
        return wrong

    async def _answer(self, step: Step) -> Answer | None:
        if step.finish:
            go_on, task = self._held.pop(step.finish)
            go_on.set()
            return await task
        if step.request is None:
            return None
        if not step.handler.hold:
            return await self._send(step.request, step.handler, None)
        go_on = asyncio.Event()
        self._held[step.handler.hold] = go_on, asyncio.create_task(self._send(step.request, step.handler, go_on))
        for _ in range(MANY_TURNS):
            await asyncio.sleep(0)
        return None

    async def _send(self, request: Request, handler: Handler, go_on: asyncio.Event | None) -> Answer:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["test.handler"] = handler, go_on
            await self._app(scope, receive, send)

        headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
        more: dict[str, Any] = {"method": request.method, "path": request.path, "query": request.query.encode()}
        try:
            return await call(app, request.key, request.body.encode(), headers=headers, user=request.tenant, **more)
        except ZeroDivisionError:
            return Answer(500)

    async def _operation(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler, go_on = scope["test.handler"]
        self._executions += 1
        await receive()
        if go_on is not None:
            await go_on.wait()
        if handler.raises:
            raise ZeroDivisionError
        headers = [(name.encode(), value.encode()) for name, value in handler.headers.items()]
        await send({"type": "http.response.start", "status": handler.status, "headers": headers})
        await send({"type": "http.response.body", "body": handler.body.encode()})

    def _compared(self, expect: Expect, answer: Answer | None) -> list[str]:
        wanted: dict[str, object] = {"executions": expect.executions}
        found: dict[str, object] = {"executions": self._executions}
        if answer is not None:
            is_problem = answer.header("content-type") == "application/problem+json"
            wanted |= {"status": expect.status, "code": expect.code, "replayed": expect.replayed, "body": expect.body}
            found |= {"status": answer.status, "replayed": answer.replayed, "body": answer.body.decode()}
            found["code"] = json.loads(answer.body)["code"] if is_problem else ""
            wanted |= {f"header {name}": value for name, value in expect.headers.items()}
            found |= {f"header {name}": answer.header(name.lower()) for name in expect.headers}
        elif expect != Expect(executions=expect.executions):
            return ["it expects an answer where there is none yet"]
        return [
            f"{name} is {found[name]!r}, expected {value!r}"
            for name, value in wanted.items()
            if value is not None and value != found[name]
        ]
