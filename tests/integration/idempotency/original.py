"""The rules that the programs of the articles follow, written anew in our own words, faults included.

They are here so that each test of test_anti_patterns.py and test_defects.py is shown able to fail: it has to pass on
ours and to fail on this one. Every fault that is kept on purpose is named by its number, D1 to D18 or its anti-pattern.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.integration.idempotency.driving import App, Message, Receive, Scope, Send

LOCK_S = 30
TTL_S = 86_400
_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT, user TEXT, fingerprint TEXT, status TEXT, code INTEGER, headers TEXT, body TEXT,
    created REAL, expires REAL, locked_until REAL, PRIMARY KEY (key, user))
"""


@dataclass
class Found:
    """What its lock attempt says."""

    kind: str
    retry_after: int = 0
    code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


class OriginalStore:
    """Its only store: SQLite behind one lock of the process."""

    def __init__(self, now: Callable[[], float], path: str = ":memory:") -> None:
        self._now = now
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute(_TABLE)
        self._mutex = asyncio.Lock()

    def close(self) -> None:
        """Releases the file."""
        self._db.close()

    async def try_lock(self, key: str, user: str, fingerprint: str) -> Found:
        """Claims a key; D2: the expiry is not looked at; D4: the time to wait is cut to 0."""
        async with self._mutex:
            now = self._now()
            row = self._db.execute(
                "SELECT fingerprint, status, code, headers, body, locked_until FROM records WHERE key = ? AND user = ?",
                (key, user),
            ).fetchone()
            await asyncio.sleep(0)
            if row is None:
                self._db.execute(
                    "INSERT INTO records VALUES (?, ?, ?, 'PENDING', 0, '', '', ?, ?, ?)",
                    (key, user, fingerprint, now, now + TTL_S, now + LOCK_S),
                )
                return Found("ACQUIRED")
            if row[0] != fingerprint:
                return Found("REUSED")
            if row[1] == "COMPLETED":
                return Found("COMPLETED", code=row[2], headers=json.loads(row[3]), body=row[4])
            if row[5] > now:
                return Found("IN_PROGRESS", retry_after=int(row[5] - now))
            self._db.execute(
                "UPDATE records SET status = 'PENDING', created = ?, locked_until = ? WHERE key = ? AND user = ?",
                (now, now + LOCK_S, key, user),  # D3: the expiry stays where it was
            )
            return Found("ACQUIRED")

    async def complete(self, key: str, user: str, code: int, headers: dict[str, str], body: str) -> None:
        """D1: nobody asks who completes; D6: nor whether there was anything to complete."""
        async with self._mutex:
            self._db.execute(
                "UPDATE records SET status = 'COMPLETED', code = ?, headers = ?, body = ? WHERE key = ? AND user = ?",
                (code, json.dumps(headers), body, key, user),
            )

    async def release(self, key: str, user: str) -> None:
        """The failed operation may run again."""
        async with self._mutex:
            self._db.execute("DELETE FROM records WHERE key = ? AND user = ?", (key, user))

    async def purge(self) -> int:
        """D3: deletes what a holder is still at work on."""
        async with self._mutex:
            return self._db.execute("DELETE FROM records WHERE expires < ?", (self._now(),)).rowcount

    def statuses(self) -> list[str]:
        """The state of every record."""
        return [row[0] for row in self._db.execute("SELECT status FROM records")]


class OriginalMiddleware:
    """Its middleware as its text describes it."""

    def __init__(self, app: App, store: OriginalStore) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Anti-pattern 4: only three verbs need a key."""
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        key = headers.get("idempotency-key")
        if key is None:
            await _answer(send, 400, {"error": "missing key"})
            return
        try:
            UUID(key.removeprefix("urn:uuid:"))  # D10: any spelling passes, nothing else does
        except ValueError:
            await _answer(send, 400, {"error": "the key is no UUID"})
            return
        user = headers.get("x-user-id", "anonymous")  # D12
        body = (await receive()).get("body", b"")
        found = await self._store.try_lock(key, user, _fingerprint(body))
        if found.kind == "REUSED":
            await _answer(send, 422, {"error": "reused"})
        elif found.kind == "IN_PROGRESS":
            await _answer(send, 409, {"error": "in progress"}, {"retry-after": str(found.retry_after)})
        elif found.kind == "COMPLETED":
            await _raw(send, found.code, found.headers, found.body)
        else:
            await self._run(scope, body, key, user, send)

    async def _run(self, scope: Scope, body: bytes, key: str, user: str, send: Send) -> None:
        start: Message = {}
        text = b""

        async def take(message: Message) -> None:
            nonlocal start, text
            if message["type"] == "http.response.start":
                start = message
            else:
                text += message.get("body", b"")

        async def give() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, give, take)  # D8: a crash or a cancellation leaves it PENDING; D7: nothing renews
        headers = {n.decode(): v.decode("latin-1") for n, v in start["headers"]}  # D11: one value for each name
        if start["status"] >= 500:
            await self._store.release(key, user)
        else:
            value = json.loads(text) if text else None  # D16: a body that is no JSON is lost
            await self._store.complete(key, user, start["status"], headers, json.dumps(value))
        await _raw(send, start["status"], headers, text.decode("latin-1"))


def _fingerprint(body: bytes) -> str:
    """D9: the body alone, as its parser writes it again; what it cannot read is the empty text."""
    import hashlib

    try:
        text = json.dumps(json.loads(body))
    except ValueError:
        text = ""
    return hashlib.sha256(text.encode()).hexdigest()


async def _answer(send: Send, code: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    await _raw(send, code, {"content-type": "application/json", **(headers or {})}, json.dumps(value))


async def _raw(send: Send, code: int, headers: dict[str, str], body: str) -> None:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": code, "headers": pairs})
    await send({"type": "http.response.body", "body": body.encode("latin-1")})
