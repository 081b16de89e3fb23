"""The API of one queen on its gRPC port."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from formicary.engine.queen.runtime import Queen
from formicary.gateway import Interceptor, add_services, refuse_unknown
from formicary.gateway.interceptors import AccessLog, MapHeaders, standard_chain
from formicary.headers import HeaderMapping, Rule, engine_mapping
from formicary.headers.model import Direction
from formicary.headers.transforms import make
from formicary.problems import problem
from formicary.server.api.alerts import AlertServicer
from formicary.server.api.ants import AntServicer
from formicary.server.api.approvals import ApprovalServicer
from formicary.server.api.artifacts import ArtifactServicer
from formicary.server.api.audit import AuditServicer
from formicary.server.api.breakers import BreakerServicer
from formicary.server.api.configs import ConfigServicer
from formicary.server.api.dead_letters import DeadLetterServicer
from formicary.server.api.definitions import DefinitionServicer
from formicary.server.api.digests import CONTENT_DIGEST, REPR_DIGEST
from formicary.server.api.error_codes import ErrorCodeServicer
from formicary.server.api.events import LAST_EVENT, EventServicer
from formicary.server.api.jobs import KEY_HEADER, REPLAYED_HEADER, JobServicer
from formicary.server.api.locks import LockServicer
from formicary.server.api.notifications import NotificationServicer
from formicary.server.api.queues import QueueServicer
from formicary.server.api.ranges import ACCEPT_RANGES, CONTENT_RANGE, ETAG, IF_RANGE, RANGE
from formicary.server.api.rules import check_requests
from formicary.server.api.tokens import TokenServicer
from formicary.server.api.triggers import TriggerServicer
from formicary.server.api.uploads import COMPLETE, LENGTH, LOCATION, OFFSET, UploadServicer
from formicary.server.auth.local import as_local_admin
from formicary.server.auth.tokens import TokenBook

_EMPTY_KEY = make("default_if_empty", '""')
"""An empty header is none; a key that was sent empty shall be refused as such, so it arrives as what it means."""
_HEADERS = (
    Rule(header="Idempotency-Key", metadata=KEY_HEADER, direction=Direction.INCOMING, incoming=(_EMPTY_KEY,)),
    Rule(header="Content-Digest", metadata=CONTENT_DIGEST, direction=Direction.INCOMING),
    Rule(header="Repr-Digest", metadata=REPR_DIGEST),
    Rule(header="Last-Event-ID", metadata=LAST_EVENT, direction=Direction.INCOMING),
    Rule(header="Upload-Offset", metadata=OFFSET),
    Rule(header="Upload-Complete", metadata=COMPLETE),
    Rule(header="Upload-Length", metadata=LENGTH),
    Rule(header="Range", metadata=RANGE, direction=Direction.INCOMING),
    Rule(header="If-Range", metadata=IF_RANGE, direction=Direction.INCOMING),
    Rule(header="Content-Range", metadata=CONTENT_RANGE, direction=Direction.OUTGOING),
    Rule(header="Accept-Ranges", metadata=ACCEPT_RANGES, direction=Direction.OUTGOING),
    Rule(header="ETag", metadata=ETAG, direction=Direction.OUTGOING),
    Rule(header="Location", metadata=LOCATION, direction=Direction.OUTGOING),
    Rule(header="Cache-Control", metadata="cache-control", direction=Direction.OUTGOING),
    Rule(header="Idempotency-Replayed", metadata=REPLAYED_HEADER, direction=Direction.OUTGOING),
)
"""What one of our methods reads or says and no preset has."""
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GrpcConnections:
    """How long connections of the gRPC port live.

    Attributes:
        ping_after_s: A connection on which nothing happened for so long is asked whether it is alive, > 0. Too short:
            idle callers are woken for nothing.
        answer_s: How long its answer may take before the connection, and every stream on it, is over, > 0.
        pings_s: Shortest time between two such questions of a caller; whoever asks more often is sent away, as gRPC
            does. gRPC's own five minutes would send clients away whose proxy closes idle connections after one.
        age_s: A connection of this age is not used for new calls any more, so that callers spread over the servers
            that there are by now; calls and streams on it run to their end. Core adds up to a tenth, at random.
    """

    ping_after_s: float = 30.0
    answer_s: float = 10.0
    pings_s: float = 10.0
    age_s: float = 3600.0

    def options(self) -> list[tuple[str, int]]:
        """As grpc takes them."""
        return [
            ("grpc.keepalive_time_ms", round(self.ping_after_s * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.answer_s * 1000)),
            ("grpc.http2.ping_timeout_ms", round(self.answer_s * 1000)),  # else a minute, whatever the line above says
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", round(self.pings_s * 1000)),
            ("grpc.max_connection_age_ms", round(self.age_s * 1000)),
        ]


class GrpcServer:
    """A running gRPC server of one queen.

    Attributes:
        port: Where it listens.
        certified_port: Where callers show a certificate; 0 = nowhere.
    """

    def __init__(self, server: grpc.aio.Server, port: int, servicer: Any, certified_port: int = 0) -> None:
        self._server = server
        self._health = servicer
        self.port = port
        self.certified_port = certified_port

    async def drain(self) -> None:
        """The health service says from now on that this server is about to go."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float = 1.0) -> None:
        """Takes no more calls, lets those in flight finish for `grace_s`, then ends them."""
        await self._server.stop(grace_s)


def new_mapping() -> HeaderMapping:
    """What the API takes from headers and sends back, with counts of its own."""
    return engine_mapping(_HEADERS)


def engine_chain(
    who: Sequence[Interceptor],
    *,
    access_log: AccessLog | None = None,
    mapping: HeaderMapping | None = None,
    keys: Sequence[Interceptor] = (),
) -> list[Interceptor]:
    """The interceptors of the engine's API, outermost first; headers are mapped before anybody is asked who they are.

    Args:
        who: What finds out who is calling and what the caller may do.
        access_log: Counts and logs calls; None = a new one.
        mapping: Of the headers; None = a new one.
        keys: What answers calls that come again with their idempotency key (:mod:`formicary.server.api.call_keys`).
    """
    inner: list[Interceptor] = [MapHeaders(mapping or new_mapping()), *who, check_requests(), *keys]
    return standard_chain(inner, access_log=access_log)


def servicers(queen: Queen, tokens: TokenBook) -> list[object]:
    """What the queen serves, whatever the protocol."""
    return [
        AlertServicer(queen),
        AntServicer(queen),
        ApprovalServicer(queen),
        ArtifactServicer(queen.artifacts),
        BreakerServicer(queen),
        ConfigServicer(queen),
        DeadLetterServicer(queen),
        QueueServicer(queen),
        DefinitionServicer(queen),
        ErrorCodeServicer(queen),
        JobServicer(queen),
        LockServicer(queen),
        NotificationServicer(queen),
        EventServicer(queen),
        AuditServicer(queen.store),
        TokenServicer(tokens),
        TriggerServicer(queen),
        UploadServicer(queen.uploads),
    ]


async def serve(
    queen: Queen,
    host: str,
    port: int,
    chain: Sequence[Interceptor] | None = None,
    tokens: TokenBook | None = None,
    *,
    tls: grpc.ServerCredentials | None = None,
    socket: str = "",
    for_certified: tuple[int, grpc.ServerCredentials] | None = None,
    connections: GrpcConnections | None = None,
) -> GrpcServer:
    """Serves the queen over gRPC.

    Args:
        queen: A started queen.
        host: Address to listen on.
        port: 0 = any free one.
        chain: Interceptors, outermost first; None = the engine's, every caller an administrator.
        tokens: What the token service administers; None = those of the queen's store.
        tls: What encrypts the port; None = nothing does.
        socket: Path of a socket file to be served too, for callers of the same machine.
        connections: How long they live; None = as the defaults say.
        for_certified: A further port (0 = any free one) whose callers show a certificate, and what checks it.

    Raises:
        Problem: FAILED_PRECONDITION where the port is taken.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
            *(connections or GrpcConnections()).options(),
        ]
    )
    book = TokenBook(queen.store) if tokens is None else tokens
    methods = add_services(server, servicers(queen, book), engine_chain([as_local_admin]) if chain is None else chain)
    names = sorted({method.service for method in methods})
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    refuse_unknown(server)
    bound = _bind(server, f"{host}:{port}", tls)
    if socket:
        _bind(server, f"unix:{socket}", None)
        os.chmod(socket, 0o600)
    certified = _bind(server, f"{host}:{for_certified[0]}", for_certified[1]) if for_certified else 0
    for name in ("", *names):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    return GrpcServer(server, bound, servicer, certified)


def _bind(server: grpc.aio.Server, address: str, tls: grpc.ServerCredentials | None) -> int:
    try:
        return server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)
    except RuntimeError as error:
        raise problem("FAILED_PRECONDITION", f"{address} cannot be bound: is another server using it?") from error
