"""Idempotency keys of the API: which calls keep their answer under a key, and where.

Theory of operation. Calls that start something (submit, retry, vote, fire, redrive, begin an upload) commit their key
together with what they do; their servicers see to it. Every other call that changes something keeps its answer here:
it claims the key, executes, and keeps what it answered, in two commits. What comes again with its key is answered with
what is kept, over either protocol, and executes nothing. A server that is killed between the two commits executes it
once more when it comes again, which for these calls changes nothing but what a second call without a key would.

Refusals are not kept: they depend on what there is just then. Nor is the answer that holds a token: it would be a
password in a file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from formicary.gateway import Call
from formicary.gateway.interceptors import Idempotent
from formicary.idempotency.memory import MemoryStore
from formicary.idempotency.policy import Policy, Route, Rule
from formicary.idempotency.purging import Purger
from formicary.idempotency.store import Store

FILE: Final = "keys.db"
"""In the data directory, of servers whose store is SQLite."""
LEASE_S: Final = 10.0
"""A key that a killed server was executing is free after so long."""
PURGE_EVERY_S: Final = 600.0
_V1: Final = "/formicary.v1."
OWN: Final = frozenset(
    _V1 + name
    for name in (
        "JobService/SubmitJob",
        "JobService/RetryJob",
        "ApprovalService/Vote",
        "DeadLetterService/RedriveDeadLetters",
        "TriggerService/FireTrigger",
        "UploadService/CreateUpload",
    )
)
"""Methods that commit their key together with what they do."""
READS: Final = frozenset(
    _V1 + name
    for name in (
        "ConfigService/RevealConfig",
        "ErrorCodeService/MatchErrorCode",
        "JobService/EstimateJob",
        "QueueService/ValidateQueues",
    )
)
"""Methods that change nothing and are called with POST for the size or the secrecy of what they carry."""
_TOKEN: Final = _V1 + "TokenService/CreateToken"
_SECRETS: Final = _V1 + "ConfigService/SetConfig"
_RULE: Final = Rule(key="run", lease_s=LEASE_S, release=frozenset(range(400, 500)))
POLICY: Final = Policy(
    _RULE,
    [
        *(Route(name, None) for name in sorted(OWN | READS)),
        Route(_TOKEN, Rule(key="run", lease_s=LEASE_S, release=_RULE.release, max_response_bytes=0)),
    ],
)


def keeps_answers(method: MethodDescriptor) -> bool:
    """Whether a call of this method with a key is answered again with what is kept."""
    if method.client_streaming or method.server_streaming:
        return False
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    if rule.WhichOneof("pattern") == "get":
        return False
    return POLICY.find("POST", f"/{method.containing_service.full_name}/{method.name}") is not None


def idempotent(store: Store, blind: Callable[[bytes], bytes]) -> Idempotent:
    """The interceptor.

    Args:
        store: Where keys and answers are.
        blind: Makes of the digest of a request with a secret one that nobody can compute who only has the store.
    """

    def conceal(call: Call, digest: bytes) -> bytes:
        return blind(digest) if call.method.full_name == _SECRETS else digest

    return Idempotent(store, POLICY, tenant=_tenant, key_fields=(), conceal=conceal)


@asynccontextmanager
async def open_keys(target: str, data: Path) -> AsyncIterator[Store]:
    """The store of a server's keys; what is over is purged meanwhile.

    Args:
        target: What the server's store was opened with.
        data: Its data directory.

    Raises:
        Problem: IDEMPOTENCY_STORE_UNAVAILABLE.
    """
    store = _store(target, data)
    await store.open()
    try:
        async with Purger(store, interval_s=PURGE_EVERY_S, counted=0):
            yield store
    finally:
        await store.close()


def _store(target: str, data: Path) -> Store:
    if target.startswith("memory:"):
        return MemoryStore()
    if target.startswith(("postgresql://", "postgres://")):
        from formicary.engine.storage.pg_connection import split_url
        from formicary.idempotency.postgres import PostgresStore

        url, schema = split_url(target)
        path = urlencode({"options": f"-csearch_path={schema}"})
        return PostgresStore(f"{url}{'&' if '?' in url else '?'}{path}")
    from formicary.idempotency.sqlite import SqliteStore

    return SqliteStore(data / FILE)


def _tenant(call: Call) -> str:
    """Whose keys a call's are: another user of the organisation is not shown the answer."""
    return f"{call.principal.org}\n{call.principal.user}"
