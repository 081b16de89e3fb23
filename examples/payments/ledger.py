"""Accounts in double entry: what a posting writes, the same on SQLite and PostgreSQL.

A posting moves an amount from one account to another: two entries whose sum is 0. Deposits come from the account
`world`, the only one that may be below 0, so all balances together are always 0.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from formicary.idempotency import Claim, StoredResponse, digest
from formicary.idempotency.grouped import response_of
from formicary.problems import Problem, problem

if TYPE_CHECKING:
    import psycopg

    Connection = sqlite3.Connection | psycopg.Connection[tuple[object, ...]]

WORLD: Final = "world"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
MOST: Final = 10**15
"""Largest amount of one posting, in cents."""
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS accounts (id TEXT PRIMARY KEY, balance BIGINT NOT NULL DEFAULT 0,"
    " CHECK (balance >= 0 OR id = 'world'))",
    "CREATE TABLE IF NOT EXISTS postings (id TEXT PRIMARY KEY, client_key TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (posting TEXT NOT NULL REFERENCES postings, account TEXT NOT NULL"
    " REFERENCES accounts, amount BIGINT NOT NULL, balance BIGINT NOT NULL, at BIGINT NOT NULL,"
    " PRIMARY KEY (posting, account))",
    "CREATE INDEX IF NOT EXISTS entries_of_account ON entries (account, at)",
    f"INSERT INTO accounts (id) VALUES ('{WORLD}') ON CONFLICT (id) DO NOTHING",
)


class Posting(msgspec.Struct, frozen=True):
    """What is to be moved.

    Attributes:
        source: Account that it is taken from.
        target: Account that it goes to, another one.
        amount: In cents, 1 to MOST.
    """

    source: str
    target: str
    amount: int

    def check(self) -> None:
        """Raises Problem VALIDATION_FAILED where it can be of no account whatever the balances are."""
        if not 1 <= self.amount <= MOST:
            raise problem("VALIDATION_FAILED", f"`amount` is 1 to {MOST} cents.")
        if self.source == self.target:
            raise problem("VALIDATION_FAILED", "The two accounts are one: nothing would move.")

    def claim(self, key: str, route: str) -> Claim:
        """The wish to move it once under a client's key, however it was sent. Raises Problem as :meth:`check` does."""
        self.check()
        asked = digest(self.source.encode(), self.target.encode(), b"%d" % self.amount)
        return Claim(key, asked, method="POST", route=route)


def named(text: str) -> str:
    """A name for an account. Raises Problem VALIDATION_FAILED."""
    if not _NAME.match(text):
        raise problem("VALIDATION_FAILED", "An account is named in 1 to 64 of a-z, 0-9, _ . and -.")
    return text


def transfer(source: str, target: str, amount: int) -> Posting:
    """From one account to another. Raises Problem VALIDATION_FAILED."""
    if WORLD in (source, target):
        raise problem("VALIDATION_FAILED", f"{WORLD} is no account of anybody.")
    return Posting(source, target, amount)


def deposit(target: str, amount: int) -> Posting:
    """Into an account."""
    return Posting(WORLD, target, amount)


class Ledger:
    """The statements on one connection inside a transaction of the caller's.

    Args:
        connection: Of sqlite3 or psycopg.
    """

    def __init__(self, connection: Connection) -> None:
        self._execute: Callable[..., object] = connection.execute
        self._sqlite = isinstance(connection, sqlite3.Connection)

    def rows(self, statement: str, *values: object) -> Sequence[tuple[object, ...]]:
        """What a query finds; `?` stands for a value."""
        text: str | bytes = statement if self._sqlite else statement.replace("?", "%s").encode()
        cursor = self._execute(text, values)
        return cursor.fetchall()  # type: ignore[attr-defined, no-any-return]  # a cursor of either driver

    def post(self, claim: Claim, posting: Posting) -> StoredResponse:
        """Moves it. The answer is a refusal where an account is missing or has too little."""
        try:
            return answer(201, self._post(claim, posting))
        except Problem as refused:
            return response_of(refused)

    def _post(self, claim: Claim, posting: Posting) -> dict[str, object]:
        source, target, amount = posting.source, posting.target, posting.amount
        lock = "" if self._sqlite else " FOR UPDATE"  # in the order of ids, so that no two wait for each other
        query = f"SELECT id, balance FROM accounts WHERE id IN (?, ?) ORDER BY id{lock}"
        balances = {str(name): msgspec.convert(balance, int) for name, balance in self.rows(query, source, target)}
        for name in (source, target):
            if name not in balances:
                raise problem("NOT_FOUND", f"There is no account {name}.")
        if source != WORLD and balances[source] < amount:
            raise problem("FAILED_PRECONDITION", f"{source} has {balances[source]} cents: {amount} are too many.")
        posting_id = claim.id.hex()[:24]
        self.rows("INSERT INTO postings (id, client_key) VALUES (?, ?) RETURNING id", posting_id, claim.key)
        now = time.time_ns() // 1000
        for name, moved in ((source, -amount), (target, amount)):
            self.rows("UPDATE accounts SET balance = balance + ? WHERE id = ? RETURNING id", moved, name)
            self.rows(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?) RETURNING posting",
                *(posting_id, name, moved, balances[name] + moved, now),
            )
        return {"id": posting_id, "from": source, "to": target, "amount": amount}

    def make_account(self, name: str) -> None:
        """Makes an account; one that is there stays as it is."""
        self.rows("INSERT INTO accounts (id) VALUES (?) ON CONFLICT (id) DO NOTHING RETURNING id", name)

    def account(self, name: str) -> dict[str, object]:
        """An account with its balance. Raises Problem NOT_FOUND."""
        found = self.rows("SELECT balance FROM accounts WHERE id = ?", name)
        if not found:
            raise problem("NOT_FOUND", f"There is no account {name}.")
        return {"id": name, "balance": found[0][0]}

    def history(self, name: str, limit: int = 100) -> list[dict[str, object]]:
        """The newest entries of an account, newest first. Raises Problem NOT_FOUND."""
        self.account(name)
        query = "SELECT posting, amount, balance FROM entries WHERE account = ? ORDER BY at DESC, posting LIMIT ?"
        return [dict(zip(("posting", "amount", "balance"), row, strict=True)) for row in self.rows(query, name, limit)]

    def sums(self) -> dict[str, object]:
        """What must always be 0: all balances, all entries, and the difference between the two of any account."""
        query = (
            "SELECT (SELECT sum(balance) FROM accounts), (SELECT coalesce(sum(amount), 0) FROM entries),"
            " (SELECT count(*) FROM accounts a WHERE balance <>"
            " (SELECT coalesce(sum(amount), 0) FROM entries e WHERE e.account = a.id)), (SELECT count(*) FROM postings)"
        )
        names = ("balances", "entries", "accounts_that_differ", "postings")
        return {name: int(str(value)) for name, value in zip(names, self.rows(query)[0], strict=True)}


def answer(status: int, value: object) -> StoredResponse:
    """A JSON answer."""
    return StoredResponse(status, ((b"content-type", b"application/json"),), msgspec.json.encode(value) + b"\n")
