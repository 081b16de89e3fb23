"""True idempotency: an operation done many times has the effect of one, and gives exactly the same answer.

Begin with a :class:`Policy` and a store; the adapters (ASGI, gRPC, functions) take both. Drivers are loaded where a
store is used: importing this room loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from formicary.idempotency.asgi import IdempotencyMiddleware
from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution, begin
from formicary.idempotency.fingerprints import canonical_json, digest, request_fingerprint
from formicary.idempotency.keys import check_key, parse_key
from formicary.idempotency.memory import MemoryStore
from formicary.idempotency.model import (
    Acquired,
    Busy,
    Claim,
    Mismatch,
    Outcome,
    Record,
    Replay,
    State,
    StoredResponse,
    decode_response,
    encode_response,
)
from formicary.idempotency.policy import Policy, Route, Rule
from formicary.idempotency.retrying import Retry, RetryBudget
from formicary.idempotency.store import Capabilities, Store

if TYPE_CHECKING:
    from formicary.idempotency.asgi_transaction import CONNECTION, TransactionMiddleware
    from formicary.idempotency.client_httpx import (
        AsyncIdempotentClient,
        Calling,
        IdempotentClient,
        raise_for_problem,
        sent,
    )
    from formicary.idempotency.functions import once
    from formicary.idempotency.grouped import Executed
    from formicary.idempotency.grpc_aio import IdempotencyInterceptor
    from formicary.idempotency.grpc_client import AioIdempotencyClientInterceptor, IdempotencyClientInterceptor
    from formicary.idempotency.grpc_outbox import AsyncCallOutbox, CallOutbox
    from formicary.idempotency.grpc_sync import ThreadedIdempotencyInterceptor
    from formicary.idempotency.mysql import MysqlStore
    from formicary.idempotency.outbox import AsyncOutbox, Outbox
    from formicary.idempotency.outbox_file import Intent, IntentState
    from formicary.idempotency.postgres import PostgresStore
    from formicary.idempotency.redis_store import RedisStore
    from formicary.idempotency.sqlite import SqliteStore
    from formicary.idempotency.workflow_status import StepStatus, WorkflowStatus, status
    from formicary.idempotency.workflows import Step, Workflow, workflow

__all__ = [
    "CONNECTION",
    "Acquired",
    "AioIdempotencyClientInterceptor",
    "AsyncCallOutbox",
    "AsyncIdempotentClient",
    "AsyncOutbox",
    "Busy",
    "CallOutbox",
    "Calling",
    "Capabilities",
    "Claim",
    "Counts",
    "Executed",
    "Execution",
    "IdempotencyClientInterceptor",
    "IdempotencyInterceptor",
    "IdempotencyMiddleware",
    "IdempotentClient",
    "Intent",
    "IntentState",
    "MemoryStore",
    "Mismatch",
    "MysqlStore",
    "Outbox",
    "Outcome",
    "Policy",
    "PostgresStore",
    "Record",
    "RedisStore",
    "Replay",
    "Retry",
    "RetryBudget",
    "Route",
    "Rule",
    "SqliteStore",
    "State",
    "Step",
    "StepStatus",
    "Store",
    "StoredResponse",
    "ThreadedIdempotencyInterceptor",
    "TransactionMiddleware",
    "Workflow",
    "WorkflowStatus",
    "begin",
    "canonical_json",
    "check_key",
    "decode_response",
    "digest",
    "encode_response",
    "once",
    "parse_key",
    "raise_for_problem",
    "request_fingerprint",
    "sent",
    "status",
    "workflow",
]

_LAZY = {"once": "functions"}
_LAZY |= {"CONNECTION": "asgi_transaction", "TransactionMiddleware": "asgi_transaction"}
_LAZY |= {"Executed": "grouped", "SqliteStore": "sqlite"}
_LAZY |= {"IdempotencyInterceptor": "grpc_aio", "ThreadedIdempotencyInterceptor": "grpc_sync"}
_LAZY |= {"MysqlStore": "mysql", "PostgresStore": "postgres", "RedisStore": "redis_store"}
_LAZY |= dict.fromkeys(
    ("AsyncIdempotentClient", "Calling", "IdempotentClient", "raise_for_problem", "sent"), "client_httpx"
)
_LAZY |= dict.fromkeys(("Step", "Workflow", "workflow"), "workflows")
_LAZY |= dict.fromkeys(("StepStatus", "WorkflowStatus", "status"), "workflow_status")
_LAZY |= {"AsyncOutbox": "outbox", "Outbox": "outbox", "Intent": "outbox_file", "IntentState": "outbox_file"}
_LAZY |= {"AsyncCallOutbox": "grpc_outbox", "CallOutbox": "grpc_outbox"}
_LAZY |= dict.fromkeys(("AioIdempotencyClientInterceptor", "IdempotencyClientInterceptor"), "grpc_client")


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
