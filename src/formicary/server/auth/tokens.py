"""API tokens: made once, shown once, kept as a hash.

Theory of operation. A token is ``fmc_<id>_<secret>``, the secret 192 random bits, which is why one round of SHA-256 is
enough: there is nothing to guess. The store has the hashes, the server a copy in memory that it reads at start and
changes together with the store, so that a revoked token is refused by the very next look and ends the streams that it
opened; its row stays, as history. Whatever is wrong with a token, the answer is the same and a comparison of hashes in
constant time has been made.

Hashing costs a call more than all else here, so the headers of good tokens are remembered, the newest of them, for whom
they stand for; whether the token is still good is looked up each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from secrets import token_hex

from formicary.embedded.opening import as_problems
from formicary.engine.storage.port import Row, Store
from formicary.problems import FieldError, problem
from formicary.server.auth.principal import HOME, Principal
from formicary.server.auth.roles import ROLES

PREFIX = "fmc"
ID_BYTES = 6
SECRET_BYTES = 24
SHOWN = 4
LONGEST = 200
MOST_REMEMBERED = 1000
_NOBODY = sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token, in the order of the store's columns.

    Attributes:
        id: Public part.
        org: Organisation of whoever holds it.
        role: One of :data:`formicary.server.auth.roles.ROLES`.
        name: What it is for.
        hash: SHA-256 of the whole token, hexadecimal.
        last4: Its last characters.
        created_at: Seconds since the epoch.
        expires_at: The same; None = never.
        revoked_at: The same; None = it has not been revoked.
    """

    id: str
    org: str
    role: str
    name: str
    hash: str
    last4: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None = None

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""
        return _principal(self.id, self.org, self.role, self.name)


@lru_cache(maxsize=1024)
def _principal(token_id: str, org: str, role: str, name: str) -> Principal:
    return Principal(token_id, org, frozenset({role}), name)


def new_token(role: str, org: str, name: str = "", lifetime_s: float = 0.0) -> tuple[str, Token]:
    """Makes a token.

    Args:
        role: What its holder may do.
        org: Organisation; empty = the server's own.
        name: What it is for.
        lifetime_s: Seconds until it expires, 0 = never.

    Returns:
        The text to be handed over, which nothing keeps, and the record.

    Raises:
        Problem: VALIDATION_FAILED naming every argument that is wrong.
    """
    org = org or HOME
    errors = []
    if role not in ROLES:
        errors.append(FieldError("role", "UNKNOWN_VALUE", f"One of {', '.join(ROLES)}."))
    if role == "ant" and org != HOME:
        errors.append(FieldError("org", "CONFLICT", f"Ants run tasks of every organisation: theirs is {HOME}."))
    for field, text in (("org", org), ("name", name)):
        if len(text) > LONGEST or not (text.isprintable() or not text):
            errors.append(FieldError(field, "INVALID_FORMAT", f"At most {LONGEST} printable characters."))
    if not 0 <= lifetime_s < 1e10:
        errors.append(FieldError("lifetime", "OUT_OF_RANGE", "A positive time, or none."))
    if errors:
        raise problem("VALIDATION_FAILED", "The token cannot be made as asked.", errors=errors)
    token_id = token_hex(ID_BYTES)
    text = f"{PREFIX}_{token_id}_{token_hex(SECRET_BYTES)}"
    now = time.time()
    expires_at = now + lifetime_s if lifetime_s else None
    return text, Token(token_id, org, role, name, _hash(text), text[-SHOWN:], now, expires_at)


def as_row(token: Token) -> Row:
    """The token as the store has it."""
    row: Row = astuple(token)
    return row


class TokenBook:
    """The tokens of one server.

    Args:
        store: Where they are kept.
        wall: Seconds since the epoch.
    """

    def __init__(self, store: Store, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._wall = wall
        self._tokens: dict[str, Token] = {}
        self._streams: dict[str, list[Callable[[], None]]] = {}
        self._remembered: dict[str | bytes, tuple[str, Principal]] = {}

    async def load(self) -> None:
        """Reads what the store has. Raises Problem UNAVAILABLE."""
        with as_problems():
            rows = await asyncio.to_thread(self._store.tokens)
        self._tokens = {token.id: token for token in map(_from_row, rows)}
        self._remembered.clear()

    async def add(self, token: Token) -> None:
        """Keeps a token that was just made. Raises Problem UNAVAILABLE."""
        with as_problems():
            await asyncio.to_thread(self._store.add_token, as_row(token))
        self._tokens[token.id] = token

    async def revoke(self, token_id: str, org: str) -> Token:
        """Ends a token: it is refused from now on, and streams that were opened with it end.

        Args:
            token_id: Its public part.
            org: Organisation it must belong to; that of the server may revoke any.

        Raises:
            Problem: NOT_FOUND, also where it has been revoked before; UNAVAILABLE.
        """
        token = self._tokens.get(token_id)
        if token is None or token.revoked_at is not None or org not in (HOME, token.org):
            text = f"There is no token {token_id[:40]!r}; `formicary token list` shows those that are."
            raise problem("NOT_FOUND", text)
        now = self._wall()
        revoked = self._tokens[token_id] = replace(token, revoked_at=now)
        try:
            with as_problems():
                await asyncio.to_thread(self._store.revoke_token, token_id, now)
        except BaseException:
            self._tokens[token_id] = token  # it would be back after a restart: better to say so now
            raise
        for end in tuple(self._streams.get(token_id, ())):
            end()
        return revoked

    async def revoke_named(self, name: str) -> None:
        """Revokes every token of this name in the server's own organisation."""
        for token in list(self.of(HOME)):
            if token.org == HOME and token.name == name and token.revoked_at is None:
                await self.revoke(token.id, HOME)

    def of(self, org: str) -> Iterable[Token]:
        """The tokens that an administrator of an organisation sees."""
        return [token for token in self._tokens.values() if org in (HOME, token.org)]

    def find(self, text: str) -> Token | None:
        """The token of this text, None where anything is wrong with it."""
        parts = text.split("_")
        token = self._tokens.get(parts[1]) if len(parts) == 3 else None
        is_same = compare_digest(_hash(text), token.hash if token is not None else _NOBODY)
        return token if token is not None and is_same and self._is_good(token) else None

    def remember(self, header: str | bytes, token: Token) -> None:
        """Has :meth:`remembered` know the header that a token which was found came in."""
        if len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[header] = token.id, token.principal

    def remembered(self, header: str | bytes) -> Principal | None:
        """Who holds the token that came in this header before and is still good; None = find out."""
        found = self._remembered.get(header)
        if found is None:
            return None
        token = self._tokens.get(found[0])
        return found[1] if token is not None and self._is_good(token) else None

    def principal(self, text: str) -> Principal | None:
        """Who holds the token of this text, None where anything is wrong with it."""
        token = self.find(text)
        return None if token is None else token.principal

    def is_valid(self, token: Token) -> bool:
        """Whether a token that was found is still good."""
        known = self._tokens.get(token.id)
        return known is not None and self._is_good(known)

    def _is_good(self, token: Token) -> bool:
        return token.revoked_at is None and (token.expires_at is None or self.lasts_s(token) != 0)

    def lasts_s(self, token: Token) -> float | None:
        """Seconds until it expires, 0 where it has; None = it does not."""
        return None if token.expires_at is None else max(0.0, token.expires_at - self._wall())

    @contextmanager
    def watching(self, token: Token, end: Callable[[], None]) -> Iterator[None]:
        """Within, `end` is called when the token is revoked."""
        watchers = self._streams.setdefault(token.id, [])
        watchers.append(end)
        try:
            yield
        finally:
            watchers.remove(end)
            if not watchers:
                self._streams.pop(token.id, None)


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()


def _from_row(row: Row) -> Token:
    created, expires, revoked = (float(value) if isinstance(value, int | float) else None for value in row[6:9])
    token_id, org, role, name, digest, last4 = map(str, row[:6])
    return Token(token_id, org, role, name, digest, last4, created or 0.0, expires, revoked)
