"""What clients, clocks and stores do wrong, row by row: the status, the problem's code, how often the handler ran."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from formicary.idempotency import IdempotencyMiddleware, MemoryStore, Policy, Route, Rule, SqliteStore
from formicary.idempotency.schema import TABLE
from tests.integration.idempotency.driving import JSON, Answer, App, Message, Receive, Scope, Send, call
from tests.integration.idempotency.worlds import DAY_S, Ours

TEXT = (b"content-type", b"text/plain")
PATH = "/accounts/1/transfers"
POLICY = Policy(Rule(max_body_bytes=1000, max_response_bytes=1000), [Route("/accounts/{id}/transfers", Rule())])
Told = tuple[int, str]
MISSING, INVALID = (400, "IDEMPOTENCY_KEY_MISSING"), (400, "IDEMPOTENCY_KEY_INVALID")
REUSED, AWAY = (422, "IDEMPOTENCY_KEY_REUSED"), (503, "IDEMPOTENCY_STORE_UNAVAILABLE")
DONE, AGAIN = (201, ""), (201, "replayed")


def told(answer: Answer) -> Told:
    """Status, and the problem's code or the mark of a replay."""
    import json

    if answer.header("content-type") == "application/problem+json" and not answer.replayed:
        return answer.status, json.loads(answer.body)["code"]
    return answer.status, "replayed" if answer.replayed else ""


@dataclass(frozen=True)
class Row:
    """One line: requests in order, and what each is told.

    Attributes:
        what: Its name.
        requests: Changes to the usual request, each a dictionary of `call`'s arguments.
        told: What each is told.
        runs: How often the handler ran in the end.
    """

    what: str
    requests: Sequence[dict[str, Any]]
    told: Sequence[Told]
    runs: int = 0


def _same_key(what: str, second: dict[str, Any], then: Told, **first: Any) -> Row:
    usual = {"path": PATH, "body": b'{"a":1}', **first}
    return Row(what, [usual, {**usual, **second}], [DONE, then], 2 if then == DONE else 1)


ROWS = [
    Row("no key", [{"key": None}], [MISSING]),
    Row("an empty key", [{"key": ""}], [INVALID]),
    Row("an empty key in quotes", [{"key": '""'}], [INVALID]),
    Row("255 characters", [{"key": "x" * 255}], [DONE], 1),
    Row("256 characters", [{"key": "x" * 256}], [INVALID]),
    Row("a key that is not ASCII", [{"key": "caf\xe9"}], [INVALID]),
    Row("a key with a blank", [{"key": "two words"}], [INVALID]),
    Row("a key with a control character", [{"key": "a\x7f"}], [INVALID]),
    Row("quotes that do not end", [{"key": '"open'}], [INVALID]),
    Row("the header twice", [{"key": ["a", "b"]}], [INVALID]),
    Row("the header twice, equal", [{"key": ["a", "a"]}], [INVALID]),
    _same_key("the same again", {}, AGAIN),
    _same_key("another body", {"body": b'{"a":2}'}, REUSED),
    _same_key("the same JSON in another spelling", {"body": b'{ "a" : 1 }'}, AGAIN),
    _same_key("another path of one route", {"path": "/accounts/2/transfers"}, REUSED),
    _same_key("another query", {"query": b"notify=1"}, REUSED),
    _same_key("another content type", {"headers": [TEXT]}, REUSED),
    _same_key("JSON in other words", {"headers": [(b"content-type", b"Application/JSON; charset=utf-8")]}, AGAIN),
    _same_key("another method is another scope: both run", {"method": "PUT"}, DONE),
    _same_key("another route is another scope: both run", {"path": "/orders"}, DONE),
    _same_key("another tenant: both run", {"user": "bob"}, DONE, user="alice"),
    _same_key("no JSON where JSON was announced", {}, AGAIN, body=b"{a:1"),
    _same_key("other text that is no JSON", {"body": b"{a:2"}, REUSED, body=b"{a:1"),
    _same_key("not even UTF-8", {}, AGAIN, body=b'"\xff"'),
    _same_key("other bytes that are not UTF-8", {"body": b'"\xfe"'}, REUSED, body=b'"\xff"'),
    _same_key("a member twice counts byte by byte", {"body": b'{"a":1,"a":1 }'}, REUSED, body=b'{"a":1,"a":1}'),
    _same_key("in pieces or at once", {"chunks": 3}, AGAIN),
    _same_key("an empty body", {}, AGAIN, body=b""),
    Row("1000 bytes", [{"body": b"x" * 1000}], [DONE], 1),
    Row("1001 bytes", [{"body": b"x" * 1001}], [(413, "PAYLOAD_TOO_LARGE")]),
    Row("1001 bytes in pieces", [{"body": b"x" * 1001, "chunks": 7}], [(413, "PAYLOAD_TOO_LARGE")]),
    Row("free after 413", [{"body": b"x" * 1001}, {}], [(413, "PAYLOAD_TOO_LARGE"), DONE], 1),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_requests(row: Row) -> None:
    """Each request of the row is told what it says, and the handler ran as often as it says."""
    world = Ours(POLICY)

    async def check() -> list[Told]:
        return [told(await world.call(**{"key": "k", **each})) for each in row.requests]

    assert (asyncio.run(check()), len(world.effects)) == (list(row.told), row.runs)


# --- answers --------------------------------------------------------------------------------------------------------


@dataclass
class Streaming:
    """Answers in pieces, as a stream of events does."""

    pieces: Sequence[bytes]
    runs: int = 0
    sent: list[Message] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One answer."""
        self.runs += 1
        kind = (b"content-type", b"text/event-stream")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


EVENT = b"data: 1\n\n"


@pytest.mark.parametrize(
    ("pieces", "rule", "again"),
    [
        ([EVENT] * 3, Rule(), (200, "replayed", EVENT * 3)),
        ([EVENT] * 30, Rule(max_response_bytes=100), (409, "RESPONSE_NOT_KEPT", None)),
        ([EVENT] * 30, Rule(max_response_bytes=100, on_large_response="marker"), (200, "replayed", b"")),
        ([b"x" * 101], Rule(max_response_bytes=100), (409, "RESPONSE_NOT_KEPT", None)),
        ([b"x" * 100], Rule(max_response_bytes=100), (200, "replayed", b"x" * 100)),
    ],
    ids=["a short stream", "a long stream", "a long stream, marked", "one byte too large", "as large as it may be"],
)
def test_answers(pieces: Sequence[bytes], rule: Rule, again: tuple[int, str, bytes | None]) -> None:
    """The first caller gets the answer whole; a retry gets it, or is told that it was not kept; it runs once."""
    app = Streaming(pieces)
    wrapped = IdempotencyMiddleware(app, MemoryStore(), Policy(rule))

    async def check() -> tuple[Answer, Answer]:
        return await call(wrapped, "k"), await call(wrapped, "k")

    first, second = asyncio.run(check())
    assert (first.status, first.body, first.replayed) == (200, b"".join(pieces), False)
    status, code, body = again
    assert told(second) == (status, code)
    assert body is None or second.body == body
    assert app.runs == 1


def test_a_route_without_a_rule_streams_unprotected() -> None:
    """A stream without end gets rule None: its pieces pass at once and two requests with one key both run."""
    app = Streaming([EVENT])
    wrapped = IdempotencyMiddleware(app, MemoryStore(), Policy(routes=[Route("/events", None)]))

    async def check() -> list[Told]:
        return [told(await call(wrapped, key, path="/events")) for key in ("k", "k", None)]

    assert (asyncio.run(check()), app.runs) == ([(200, "")] * 3, 3)


# --- clocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jump_s", "second", "runs"),
    [(-10 * DAY_S, AGAIN, 1), (-1, AGAIN, 1), (DAY_S - 1, AGAIN, 1), (DAY_S + 1, DONE, 2), (400 * DAY_S, DONE, 2)],
)
def test_the_clock_jumps_after_an_answer(jump_s: float, second: Told, runs: int) -> None:
    """Back: the answer stays. Forward: it stays until its time is over, and then the key is free."""
    world = Ours()

    async def check() -> list[Told]:
        first = await world.call("k")
        world.now_s += jump_s
        return [told(first), told(await world.call("k"))]

    assert (asyncio.run(check()), len(world.effects)) == ([DONE, second], runs)


@pytest.mark.parametrize(("jump_s", "second", "runs"), [(-3600, 409, 1), (-0.5, 409, 1), (29, 409, 1), (31, 201, 2)])
def test_the_clock_jumps_while_one_executes(jump_s: float, second: int, runs: int) -> None:
    """Back: nobody takes over, a duplicate is told to wait. Forward beyond the lease: taken over, and one counts."""
    world = Ours()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def held(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        began.set()
        await go_on.wait()
        return await world.order(body)

    async def check() -> tuple[int, list[bytes]]:
        world.handler = held
        first = asyncio.create_task(world.call("k"))
        await began.wait()
        world.handler = world.order
        world.now_s += jump_s
        other = await world.call("k")
        go_on.set()
        answers = [await first, await world.call("k")]
        return other.status, [answer.body for answer in answers]

    status, bodies = asyncio.run(check())
    assert (status, len(world.effects), len(set(bodies))) == (second, runs, 1)


# --- stores ---------------------------------------------------------------------------------------------------------


def _locked(path: Path) -> Callable[[], object]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def _read_only(path: Path) -> Callable[[], object]:
    return _execute(path, f"CREATE TRIGGER no BEFORE INSERT ON {TABLE} BEGIN SELECT RAISE(ABORT, 'read-only'); END")


def _without_table(path: Path) -> Callable[[], object]:
    return _execute(path, f"DROP TABLE {TABLE}")


def _execute(path: Path, *statements: str) -> Callable[[], object]:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return lambda: None


@pytest.mark.parametrize("harm", [_locked, _read_only, _without_table], ids=["slow", "refuses writes", "gone"])
def test_a_store_that_cannot_keep_a_claim(harm: Callable[[Path], Callable[[], object]], tmp_path: Path) -> None:
    """503 with Retry-After, within the store's own time limit, and nothing ran."""
    runs, answer = _on_file(tmp_path, harm)
    assert (told(answer), runs) == (AWAY, 0)
    assert int(answer.header("retry-after") or 0) >= 1
    assert b"read-only" not in answer.body, "the cause is for the log"


@pytest.mark.parametrize("column", ["state = 'LOST'", "response = x'00ff'", "response = x''"])
def test_a_damaged_row(column: str, tmp_path: Path) -> None:
    """What cannot be read is neither replayed nor taken for absent: 503, and nothing ran again."""

    def harm(path: Path) -> Callable[[], object]:
        return _execute(path, "PRAGMA ignore_check_constraints = ON", f"UPDATE {TABLE} SET {column}")

    runs, answer = _on_file(tmp_path, harm, before=1)
    assert (told(answer), runs) == (AWAY, 1)


def _on_file(folder: Path, harm: Callable[[Path], Callable[[], object]], before: int = 0) -> tuple[int, Answer]:
    """Some requests, the harm, then one more of the same key through a store that was opened anew."""
    runs = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1
        await send({"type": "http.response.start", "status": 201, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def check() -> Answer:
        path = folder / "records.db"
        for number in range(2):
            store = SqliteStore(path, timeout_s=0.2)
            await store.open()
            wrapped: App = IdempotencyMiddleware(app, store)
            mend = harm(path) if number else None
            try:
                for _ in range(1 if number else before):
                    answer = await call(wrapped, "k")
            finally:
                if mend is not None:
                    mend()
                await store.close()
        return answer

    answer = asyncio.run(check())
    return runs, answer
