"""What the room talks about: a claim on a key, its record, and the answers that a store gives. Values, nothing runs.

A record's life is this table; whatever is not in it is refused and changes nothing::

    (absent)     acquire            -> IN_PROGRESS    a new token
    IN_PROGRESS  acquire, lease over -> IN_PROGRESS   taken over: a higher token, the old holder can change nothing
    IN_PROGRESS  renew, checkpoint  -> IN_PROGRESS    with the token
    IN_PROGRESS  complete           -> COMPLETED      with the token; kept for `ttl_s` from now
    IN_PROGRESS  release            -> RELEASED       with the token; the operation may run again
    IN_PROGRESS  discard            -> (absent)       with the token; the operation never began
    RELEASED     acquire            -> IN_PROGRESS    a higher token, recovery point and data as they were left
    any          its time is over   -> (absent)       at acquire already, not only after a purge; no live lease
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256 as _sha256
from typing import Final, cast

import msgspec
from msgspec.structs import force_setattr as _set

DAY_S: Final = 86_400.0
MAX_PART_CHARS: Final = 1024
"""Longest tenant, method or route."""


class State(StrEnum):
    """Where a record is in its life."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    RELEASED = "RELEASED"


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One request's wish to be the one that executes.

    Attributes:
        key: The client's key, 1 to 255 visible ASCII characters; see :mod:`formicary.idempotency.keys`.
        fingerprint: What was asked for, 32 bytes; see :mod:`formicary.idempotency.fingerprints`.
        tenant: Whose key it is, from authentication, never from a bare header. Tenants never see each other's records.
        method: ``POST``, or a gRPC method's kind; part of the scope.
        route: The operation: a route's pattern, or the full name of a gRPC method; part of the scope.
        parent: The workflow that this operation is a step of; empty = none.
        lease_s: How long the holder may be silent before another takes over. Too short runs slow operations twice in
            parallel (the late one is refused), too long makes retries wait after a crash.
        ttl_s: How long the answer is kept from its completion.
        id: Identity of the record: SHA-256 of tenant, method, route and key, each with its length before it. It is
            always computed; what is passed for it does not count.
    """

    key: str
    fingerprint: bytes
    tenant: str = ""
    method: str = ""
    route: str = ""
    parent: str = ""
    lease_s: float = 30.0
    ttl_s: float = DAY_S
    id: bytes = b""

    def __post_init__(self) -> None:
        _set(self, "id", record_id(self.tenant, self.method, self.route, self.key))


def record_id(tenant: str, method: str, route: str, key: str) -> bytes:
    """Identity of a record, 32 bytes: no two scopes and keys share one."""
    return _sha256(_scope(tenant, method, route) + key.encode()).digest()


@lru_cache(maxsize=4096)
def _scope(tenant: str, method: str, route: str) -> bytes:
    return f"{len(tenant)}:{tenant}{len(method)}:{method}{len(route)}:{route}".encode()


class Record(msgspec.Struct, frozen=True, gc=False):
    """What a store keeps of one key. Times are milliseconds since 1970 on the store's own clock.

    Attributes:
        id: Identity, see :class:`Claim`.
        token: Fencing token: it only grows, and every change by a holder needs the present one.
        attempts: How often execution began.
        lease_ms: Until when the holder may be silent; of meaning while IN_PROGRESS.
        expires_ms: From when the record counts as absent.
        response: The answer as :func:`encode_response` wrote it; None until COMPLETED.
        point: Name of the last recovery point that was passed; empty = none.
        data: What the holder kept there.
    """

    id: bytes
    key: str
    fingerprint: bytes
    tenant: str
    method: str
    route: str
    parent: str
    state: State
    token: int
    attempts: int
    created_ms: int
    lease_ms: int
    expires_ms: int
    response: bytes | None = None
    point: str = ""
    data: bytes = b""


# --- answers to a claim ---------------------------------------------------------------------------------------------


class Acquired(msgspec.Struct, frozen=True, gc=False):
    """This caller executes.

    Attributes:
        token: To be shown with every change.
        attempt: 1 = the first one.
        point: The recovery point that an earlier attempt has passed; empty = begin at the beginning.
        data: What that attempt kept there.
        taken_over: Whether an earlier holder's lease ran out (it may still be running, and can change nothing).
    """

    token: int
    attempt: int = 1
    point: str = ""
    data: bytes = b""
    taken_over: bool = False


class Replay(msgspec.Struct, frozen=True, gc=False):
    """It was done before: this is the answer, byte for byte."""

    response: bytes
    created_ms: int = 0


class Busy(msgspec.Struct, frozen=True, gc=False):
    """Another caller executes just now.

    Attributes:
        retry_after_s: Whole seconds to wait before asking again, at least 1.
    """

    retry_after_s: int


class Mismatch(msgspec.Struct, frozen=True, gc=False):
    """The key was used for something else."""


Outcome = Acquired | Replay | Busy | Mismatch

# --- stored answers -------------------------------------------------------------------------------------------------


class StoredResponse(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """An answer of any protocol, as it is kept; its tag is the version of the format.

    Attributes:
        status: HTTP status, or the number of a gRPC status code.
        headers: Names and values in order, repeated ones too; for gRPC the initial metadata.
        body: Body of an HTTP answer, the serialised message of a gRPC answer, or a function's value as JSON.
        trailers: gRPC's trailing metadata.
        message: Text of a gRPC status.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    message: str = ""


encode_response: Final = cast("Callable[[StoredResponse], bytes]", msgspec.msgpack.Encoder().encode)
"""The bytes that a store keeps of an answer."""
_decode = msgspec.msgpack.Decoder(StoredResponse).decode


def decode_response(stored: bytes) -> StoredResponse:
    """The answer that a store kept. Raises ValueError where the row is damaged or of a later version."""
    try:
        return _decode(stored)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the stored answer is damaged, or of a later version: {error}") from error
