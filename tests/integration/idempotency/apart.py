"""Services whose effects are rows of a database: ours with one commit, and the original that saves them apart.

Run as ``python -m tests.integration.idempotency.apart ours|original FOLDER`` it makes one order in its own process,
which kills itself with SIGKILL after the effect and before the answer is saved.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from formicary.idempotency import Claim, IdempotencyMiddleware, SqliteStore, StoredResponse
from formicary.idempotency.connections import ensure_table
from formicary.idempotency.schema import TABLE
from formicary.idempotency.transaction import idempotent
from tests.integration.idempotency.driving import JSON, Answer, Receive, Scope, Send
from tests.integration.idempotency.original import Found, OriginalMiddleware, OriginalStore
from tests.integration.idempotency.worlds import Original, World

KEY = "6f8b0d1e-6a35-4d8e-9a4b-000000000001"
CLAIM = Claim(KEY, b"f" * 32, "t", "POST", "/orders")
_INSERT = "INSERT INTO orders (what) VALUES ('coffee')"
_REPOSITORY = Path(__file__).parents[3]


class OneCommit(World):
    """Ours in grouped mode: claim, effect and answer are one commit.

    Args:
        folder: Where the file is; None = a new one.
    """

    kind = "ours"
    save = f"BEFORE INSERT ON {TABLE}"

    def __init__(self, folder: str | None = None) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        self.folder = folder or (self._temporary.name if self._temporary is not None else "")
        self.path = Path(self.folder) / "orders.db"
        self.dies = False
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS orders (what TEXT NOT NULL)")

    def orders(self) -> int:
        """How many effects there are."""
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM orders").fetchone()[0])

    async def order_and_die(self) -> None:
        """An order in a process of its own, which dies between effect and save."""
        program = (sys.executable, "-m", "tests.integration.idempotency.apart", self.kind, self.folder)
        child = await asyncio.create_subprocess_exec(*program, cwd=_REPOSITORY)
        assert await child.wait() == -signal.SIGKILL

    async def prepare(self) -> None:
        """Makes the table of records."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            await ensure_table(connection)

    def break_saving(self) -> None:
        """From now on the row that says it is done cannot be written."""
        self._run(f"CREATE TRIGGER broken {self.save} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")

    def mend(self) -> None:
        """It can be written again."""
        self._run("DROP TRIGGER broken")

    def _run(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)

    async def place(self) -> Answer:
        """One request for the order, by a process that has just begun."""
        store = SqliteStore(self.path)
        await store.open()
        try:
            done = await store.run(CLAIM, self._effect)
            return Answer(done.response.status, list(done.response.headers), done.response.body)
        except Exception:
            return Answer(500)
        finally:
            await store.close()

    def _effect(self, connection: sqlite3.Connection) -> StoredResponse:
        connection.execute(_INSERT)
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return StoredResponse(201, (JSON,), b"{}")

    def close(self) -> None:
        """Removes the file."""
        if self._temporary is not None:
            self._temporary.cleanup()


class OwnTransaction(OneCommit):
    """Ours on the caller's own connection."""

    async def place(self) -> Answer:
        """One request."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            try:
                async with idempotent(CLAIM, connection) as tx:
                    if tx.replayed is None:
                        tx.complete(self._effect(connection))
            except Exception:
                return Answer(500)
        assert tx.response is not None
        return Answer(tx.response.status, list(tx.response.headers), tx.response.body)


class Apart(OneCommit):
    """D5 and anti-pattern 10: claim, effect and completion are three transactions."""

    kind = "original"
    save = "BEFORE UPDATE ON records WHEN NEW.status = 'COMPLETED'"

    async def prepare(self) -> None:
        """Makes the table of records."""
        OriginalStore(lambda: self.now_s, str(self.path)).close()

    async def place(self) -> Answer:
        """One request."""
        store = OriginalStore(lambda: self.now_s, str(self.path))
        self.app = OriginalMiddleware(self._service, store)
        try:
            return await self.call(KEY)
        finally:
            store.close()

    async def _service(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(_INSERT)
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        await send({"type": "http.response.start", "status": 201, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b"{}"})


class TwoServers(World):
    """Ours: two servers over one file, asked in turn."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "records.db"
        self.stores = [SqliteStore(path) for _ in range(2)]
        self.servers = [IdempotencyMiddleware(self.service, store) for store in self.stores]

    async def both(self) -> list[Answer]:
        """The same request to both at once."""
        for store in self.stores:
            await store.open()
        try:
            return await self._at_once()
        finally:
            for store in self.stores:
                await store.close()

    async def _at_once(self) -> list[Answer]:
        async def one(number: int) -> Answer:
            self.app = self.servers[number]
            return await self.call(KEY)

        return await asyncio.gather(*(one(number) for number in range(2)))

    def close(self) -> None:
        """Removes the file."""
        self._folder.cleanup()


class TwoOriginals(TwoServers):
    """D14: each reads, and then writes what it has not read."""

    def __init__(self) -> None:
        super().__init__()
        path = str(Path(self._folder.name) / "original.db")
        self._originals = [OriginalStore(lambda: self.now_s, path) for _ in range(2)]
        self.servers = [OriginalMiddleware(self.service, store) for store in self._originals]  # type: ignore[misc]  # the wrong one in place of ours

    def close(self) -> None:
        """The files too."""
        for store in self._originals:
            store.close()
        super().close()


class _TextTimes(OriginalStore):
    """Compares times as RFC 3339 writes them: whole seconds have no fraction there."""

    async def try_lock(self, key: str, user: str, fingerprint: str) -> Found:
        """A lease counts as over when its end's text is below that of the time."""
        row = self._db.execute("SELECT status, locked_until FROM records").fetchone()
        if row is not None and row[0] == "PENDING" and _rfc3339(row[1]) > _rfc3339(self._now()):
            return Found("IN_PROGRESS", retry_after=1)
        return await super().try_lock(key, user, fingerprint)


class TextTimes(Original):
    """D15: times are texts."""

    def __init__(self) -> None:
        super().__init__()
        self.store.close()
        self.store = _TextTimes(lambda: self.now_s)
        self.app = OriginalMiddleware(self.service, self.store)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    made = (OneCommit if sys.argv[1] == "ours" else Apart)(sys.argv[2])
    made.dies = True
    asyncio.run(made.place())
