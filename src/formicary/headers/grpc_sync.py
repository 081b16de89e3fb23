"""Interceptors for grpc servers and clients with threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc

from formicary.headers.grpc_wire import Metadatum, Responses, arrived, on_wire
from formicary.headers.mapping import HeaderMapping
from formicary.problems import Problem

Handler = Any
_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class ServerInterceptor(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]  # grpc has no types everywhere
    """Gives every service of a server the mapped metadata, and maps what it sends back.

    Args:
        mapping: The mapping.
        trusted: Whether a peer (``ipv4:10.0.0.1:4711``) is believed; None means the mapping's ``trusted_peers``.
    """

    def __init__(self, mapping: HeaderMapping, trusted: Callable[[str], bool] | None = None) -> None:
        self._mapping = mapping
        self._trusted = trusted or mapping.trusts

    def intercept_service(self, continuation: Callable[[Any], Handler], handler_call_details: Any) -> Handler:
        """Wraps the handler of one call."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        return wrap(handler, self._mapping, handler_call_details.method, self._trusted)


def wrap(handler: Handler, mapping: HeaderMapping, method: str, trusted: Callable[[str], bool]) -> Handler:
    """Returns a handler around this one that maps metadata.

    Args:
        handler: One whose behaviour is a plain function.
        mapping: The mapping.
        method: Full name of the method.
        trusted: Whether a peer is believed.
    """
    name, make = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
    behaviour = getattr(handler, name)

    def unary(request: Any, context: Any) -> Any:
        mapped = MappedContext(context, mapping, method, trusted)
        try:
            response = behaviour(request, mapped)
        except Exception:
            mapped.fail()
            raise
        mapped.begin()
        return response

    def stream(request: Any, context: Any) -> Iterator[Any]:
        mapped = MappedContext(context, mapping, method, trusted)
        try:
            for response in behaviour(request, mapped):
                mapped.begin()
                yield response
        except Exception:
            mapped.fail()
            raise
        mapped.begin()

    return make(
        stream if handler.response_streaming else unary,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


class _Status(NamedTuple):
    code: Any
    details: str
    trailing_metadata: Any


class MappedContext:
    """The context that a service gets: everything as gRPC's own, but metadata mapped."""

    def __init__(self, inner: Any, mapping: HeaderMapping, method: str, trusted: Callable[[str], bool]) -> None:
        self._inner = inner
        self._ended = False
        self._request: tuple[Metadatum, ...] = ()
        self._responses = Responses(mapping, method, ())
        try:
            self._request = arrived(mapping, method, inner.invocation_metadata(), trusted(inner.peer()))
        except Problem as refusal:
            self._ended = True
            refuse(inner, refusal, self._responses)
        self._responses = Responses(mapping, method, self._request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """What the service sees."""
        return self._request

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Sends initial metadata, mapped."""
        self._inner.send_initial_metadata(self._responses.initial(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Sets trailing metadata, mapped."""
        self._inner.set_trailing_metadata(self._responses.trailing(trailing_metadata))

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:
        """Ends the call with an error; mapping happens here too."""
        if trailing_metadata:
            self._responses.trailing(trailing_metadata)
        self.fail()
        self._inner.abort(code, details)

    def abort_with_status(self, status: Any) -> None:
        """Ends the call with a rich error; mapping happens here too."""
        self._responses.trailing(status.trailing_metadata)
        self._ended = True
        self._inner.abort_with_status(_Status(status.code, status.details, self._responses.failed()))

    def begin(self) -> None:
        """Sends the defaults when nothing was sent yet."""
        if not self._responses.begun:
            self._inner.send_initial_metadata(self._responses.initial())

    def fail(self) -> None:
        """Puts the defaults into the trailing metadata when nothing was sent yet."""
        if not self._ended:
            self._ended = True
            self._inner.set_trailing_metadata(self._responses.failed())


def refuse(inner: Any, refusal: Problem, responses: Responses) -> None:
    """Ends a call with a problem; it does not return."""
    from formicary.problems.rpc import to_grpc

    rendered = to_grpc(refusal)
    responses.trailing(rendered.trailing)
    inner.set_trailing_metadata(responses.failed())
    inner.abort(rendered.code, rendered.details)


class _Details(NamedTuple):
    method: Any
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class ClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):  # type: ignore[misc,unused-ignore]  # grpc has no types everywhere
    """Lets a client name metadata as its service sees it; use it with ``grpc.intercept_channel``.

    What comes back is read with :meth:`formicary.headers.HeaderMapping.received`.

    Args:
        mapping: The mapping.
    """

    def __init__(self, mapping: HeaderMapping) -> None:
        self._mapping = mapping

    def _details(self, details: Any) -> Any:
        sent = on_wire(self._mapping.outbound(str(details.method), details.metadata or ()))
        return _Details(
            details.method,
            details.timeout,
            sent,
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Maps a call's metadata."""
        return continuation(self._details(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Maps a call's metadata."""
        return continuation(self._details(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Maps a call's metadata."""
        return continuation(self._details(client_call_details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Maps a call's metadata."""
        return continuation(self._details(client_call_details), request_iterator)
