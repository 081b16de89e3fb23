"""The ASGI application that serves methods over HTTP as their ``google.api.http`` rules say."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Literal

from formicary.gateway.call import LARGE, Call
from formicary.gateway.service import Interceptor, Method, bind
from formicary.gateway.shared import SharedMessage
from formicary.gateway.transcoding import (
    compression,
    conditional,
    deadlines,
    negotiation,
    refusals,
    streaming,
)
from formicary.gateway.transcoding.binding import Binding, annotated_rule, bindings
from formicary.gateway.transcoding.decoder import Decoder
from formicary.gateway.transcoding.encoder import Encoder
from formicary.gateway.transcoding.exchange import ClientGone, Exchange, Pairs, Receive, Scope, Send, encoded
from formicary.gateway.transcoding.request_message import RequestReader
from formicary.gateway.transcoding.router import Match, PathError, Router
from formicary.problems import Problem, problem
from formicary.problems.http import fallback_http, public_document, render_http
from formicary.problems.trace_context import sent_trace_id

log = logging.getLogger("formicary.gateway")

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_NO_QUERY_METHODS = ("GET", "HEAD")


class Route:
    """A binding with what reads its requests."""

    __slots__ = ("binding", "reader")

    def __init__(self, binding: Binding, reader: RequestReader) -> None:
        self.binding = binding
        self.reader = reader

    def __repr__(self) -> str:
        return repr(self.binding)


class Transcoder:
    """Serves grpc.aio-style servicers over HTTP with JSON, in the process that has them.

    Args:
        services: Servicers that derive from generated classes, :class:`formicary.gateway.Service`, or bound methods
            (:class:`formicary.gateway.Method`), which bring their own chain.
        interceptors: The chain, outermost first.
        json_names: Names of fields in answers and in violations: as in the .proto file, or lower camel case. Requests
            may use either.
        unknown_fields: ``strict`` refuses fields, parameters and enum names that are not known; ``lenient`` passes
            over them.
        emit_defaults: Whether answers have fields that are not set and have no presence.
        max_body_bytes: Largest body of a request, decompressed; of a stream, its largest message.
        body_timeout_s: Longest time a body may take to come.
        http_rules: Further ``google.api.HttpRule`` messages; a rule replaces the annotation of the method that its
            ``selector`` names.
        default_bindings: Whether a method without a rule is served at ``POST /package.Service/Method``.
        keep_reserved: Whether path variables of several segments keep all reserved characters encoded, not ``%2F``
            alone.
        ignored_parameters: Query parameters that are not fields.
        compress: Whether answers are compressed for those who accept it.
        hash_etags: Whether answers to GET without a field ``etag`` are tagged even when nobody asks.
        heartbeat_s: Silence after which a stream of events sends a comment.
        fallback: Application for paths that no rule has; None answers 404.

    Raises:
        BindingError: A rule does not fit its method.
        ValueError: Two rules answer the same requests.
    """

    def __init__(
        self,
        services: Iterable[object],
        interceptors: Sequence[Interceptor] = (),
        *,
        json_names: Literal["proto", "camel"] = "proto",
        unknown_fields: Literal["strict", "lenient"] = "strict",
        emit_defaults: bool = False,
        max_body_bytes: int = 4 << 20,
        body_timeout_s: float = 10.0,
        http_rules: Iterable[Any] = (),
        default_bindings: bool = True,
        keep_reserved: bool = False,
        ignored_parameters: Collection[str] = (),
        compress: bool = True,
        hash_etags: bool = False,
        heartbeat_s: float = 15.0,
        fallback: Application | None = None,
    ) -> None:
        camel = json_names == "camel"
        self._encoder = Encoder(camel=camel, defaults=emit_defaults)
        decoder = Decoder(camel=camel, lenient=unknown_fields == "lenient")
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._compress = compress
        self._hash_etags = hash_etags
        self._heartbeat_s = heartbeat_s
        self._fallback = fallback
        self._router: Router[Route] = Router(keep_reserved=keep_reserved)
        self.bindings: list[Binding] = []
        given = list(services)
        bound = [one for one in given if isinstance(one, Method)]
        self.methods = [*bound, *bind([one for one in given if not isinstance(one, Method)], interceptors)]
        by_selector: dict[str, list[Any]] = {}
        for rule in http_rules:
            by_selector.setdefault(rule.selector, []).append(rule)
        for method in self.methods:
            annotated = annotated_rule(method.descriptor)
            rules = by_selector.get(method.descriptor.full_name) or ([annotated] if annotated is not None else [])
            for binding in bindings(method, rules, decoder.name, default=default_bindings):
                self.bindings.append(binding)
                reader = RequestReader(binding, decoder, ignored_parameters)
                self._router.add(binding.http_method, binding.template, Route(binding, reader))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection event, as ASGI has it."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            exchange.read_target()
            match = self._match(exchange)
            if isinstance(match, Match):
                await self._serve(exchange, match)
            elif not match:
                if self._fallback is None:
                    raise refusals.no_route(exchange.path)
                await self._fallback(scope, receive, send)
            else:
                await self._other_method(exchange, match)
        except ClientGone:
            log.debug("%s %s: the client went away", exchange.method, exchange.path)
        except Problem as error:
            await self._refuse(exchange, error)
        except Exception:
            log.exception("%s %s failed", exchange.method, exchange.path)
            await self._refuse(exchange, problem("INTERNAL"))

    # --- routing ----------------------------------------------------------------------------------------------------

    def _match(self, exchange: Exchange) -> Match[Route] | set[str]:
        try:
            found = self._router.find(exchange.method, exchange.path)
            if exchange.method == "HEAD" and isinstance(found, set) and "GET" in found:
                found = self._router.find("GET", exchange.path)
        except PathError as error:
            raise refusals.malformed(f"The path of the URL: {error}.") from None
        return found

    async def _other_method(self, exchange: Exchange, known: set[str]) -> None:
        allowed = known | {"OPTIONS"} | ({"HEAD"} if "GET" in known else set())
        if exchange.method != "OPTIONS":
            raise refusals.method_not_allowed(exchange.method, sorted(allowed))
        await exchange.answer(204, [(b"allow", ", ".join(sorted(allowed)).encode())], b"")

    async def _refuse(self, exchange: Exchange, error: Problem) -> None:
        if exchange.started:
            return
        try:
            answer = render_http(
                error,
                accept=exchange.headers.get("accept", ""),
                instance=exchange.path,
                trace_id=exchange.trace_id or sent_trace_id(exchange.headers.get("traceparent", "")),
            )
        except Exception:
            log.exception("a problem of %s cannot be rendered", exchange.path)
            answer = fallback_http(exchange.trace_id)
        headers = [pair for pair in answer.headers if pair[0] != "content-length"]
        names = {name for name, _ in headers}
        mapped = [pair for pair in exchange.call_metadata if pair[0].lower() not in names]
        await exchange.answer(answer.status, encoded((*headers, *mapped)), answer.body)

    # --- calls ------------------------------------------------------------------------------------------------------

    async def _serve(self, exchange: Exchange, match: Match[Route]) -> None:
        binding = match.target.binding
        method = binding.method
        form = ""
        if not binding.raw_response:
            offered = negotiation.STREAM if method.server_streaming else negotiation.UNARY
            found = negotiation.chosen(exchange.headers.get("accept", ""), offered)
            if found is None:
                raise refusals.not_acceptable(offered)
            form = found
        wait_s = deadlines.timeout_s(exchange.headers)
        call = Call(
            method,
            "http",
            exchange.metadata,
            remote=exchange.client,
            deadline=None if wait_s is None else time.monotonic() + wait_s,
            http_method=exchange.method,
            path=exchange.path,
        )
        if method.client_streaming:
            call.requests = self._requests(exchange, match)
        else:
            call.read_later(lambda: self._request(exchange, match))
        if method.server_streaming:
            await self._stream(exchange, binding, call, form)
        else:
            await exchange.run(call)
            await self._answer(exchange, binding, call, form)

    async def _request(self, exchange: Exchange, match: Match[Route]) -> Any:
        binding = match.target.binding
        body = await exchange.body(self._max_body_bytes, self._body_timeout_s)
        content_type = exchange.headers.get("content-type", "")
        if binding.raw_request:
            media = content_type
        else:
            media = negotiation.body_form(content_type, False) if body and binding.body else "json"
        request = match.target.reader.read(body, media, match.values, exchange.query)
        if "if-match" in exchange.headers:
            conditional.put_if_match(binding, request, exchange.headers, exchange.method)
        exchange.was_read()
        return request

    async def _requests(self, exchange: Exchange, match: Match[Route]) -> AsyncIterator[Any]:
        """The messages of a streamed request: a line each, or a piece each of what is taken as it comes."""
        route = match.target
        content_type = exchange.headers.get("content-type", "")
        if exchange.headers.get("content-encoding", "identity") != "identity":
            raise refusals.unsupported_media(exchange.headers["content-encoding"], ("identity",))
        raw = route.binding.raw_request
        media = content_type if raw else negotiation.body_form(content_type, True)
        pieces = exchange.pieces(None)
        number = 0
        async for text in _or_empty(pieces) if raw else streaming.lines(pieces, self._max_body_bytes):
            number += 1
            try:
                message = route.reader.read(text, media, match.values, exchange.query)
            except Problem as error:
                if raw:
                    raise
                raise problem(error.code, f"Message {number}: {error.detail}", errors=error.errors) from None
            yield message
        exchange.watch()

    # --- answers ----------------------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange, binding: Binding, call: Call, form: str) -> None:
        is_large = bool(call.state.get(LARGE))
        made = partial(self._body, binding, call.response, form)
        body, content_type = await asyncio.to_thread(made) if is_large else made()
        headers = encoded(call.headers + call.trailers) if call.headers or call.trailers else []
        status: int = call.state.get("http_status", 200)
        if exchange.method in _NO_QUERY_METHODS or binding.etag_in_response:
            tag = self._tag(exchange, binding, call.response, body)
            if tag:
                headers.append((b"etag", tag.encode("latin-1", "replace")))
            if exchange.method in _NO_QUERY_METHODS and status == 200:
                if conditional.unchanged(exchange.headers.get("if-none-match"), tag):
                    await exchange.answer(304, headers, b"")
                    return
                conditional.check_current(exchange.headers.get("if-match"), tag)
        headers.append(_JSON_HEADER if content_type is negotiation.JSON else _content_type(content_type))
        if self._compress and len(body) >= compression.MIN_BYTES:
            headers.append((b"vary", b"accept-encoding"))
            encoding = compression.chosen(exchange.headers.get("accept-encoding", ""))
            if encoding:
                pack = partial(compression.compress, body, encoding)
                body = await asyncio.to_thread(pack) if is_large else pack()
                headers.append((b"content-encoding", encoding.encode()))
                headers = [(name, _weak(value) if name == b"etag" else value) for name, value in headers]
        await exchange.answer(status, headers, body)

    def _tag(self, exchange: Exchange, binding: Binding, message: Any, body: bytes) -> str:
        asked = self._hash_etags or "if-none-match" in exchange.headers or "if-match" in exchange.headers
        return conditional.tag_of(binding, message, body, wanted=asked and exchange.method in _NO_QUERY_METHODS)

    def _body(self, binding: Binding, message: Any, form: str) -> tuple[bytes, str]:
        field = binding.response_field
        if binding.raw_response:
            raw = message if field is None else getattr(message, field.name)
            return raw.data, raw.content_type or "application/octet-stream"
        if form == negotiation.PROTO and field is None:
            return message.SerializeToString(), negotiation.PROTO
        if field is not None:
            return self._encoder.encode_field(message, field), negotiation.JSON
        return self._encoder.encode(message), negotiation.JSON

    # --- streams ----------------------------------------------------------------------------------------------------

    async def _stream(self, exchange: Exchange, binding: Binding, call: Call, form: str) -> None:
        stream = _Stream(self, exchange, binding, call, form)
        if exchange.method == "HEAD":
            if binding.raw_response:
                await stream.head_alone()
            else:
                await exchange.answer(200, [(b"content-type", stream.content_type.encode())], b"")
            return
        call.write = stream.write
        beats = asyncio.get_running_loop().create_task(stream.beat(self._heartbeat_s)) if stream.beats else None
        try:
            await exchange.run(call)
        except Problem as error:
            await stream.fail(error)
        except Exception as error:
            if isinstance(error, ClientGone):
                raise
            log.exception("%s failed", binding.method.full_name)
            await stream.fail(problem("INTERNAL"))
        else:
            await stream.end()
        finally:
            if beats is not None:
                beats.cancel()

    def frame(self, binding: Binding, message: Any) -> bytes:
        """The JSON text of one message of a stream."""
        if binding.response_field is not None:
            return self._encoder.encode_field(message, binding.response_field)
        return self._encoder.encode(message)

    def stream_compressor(self, exchange: Exchange) -> compression.Compressor | None:
        """A compressor for a stream, None where it goes as it is."""
        accepted = exchange.headers.get("accept-encoding", "")
        if self._compress and "gzip" in accepted and compression.chosen(accepted):
            return compression.stream_compressor()
        return None


class _Stream:
    """A streamed answer."""

    def __init__(self, owner: Transcoder, exchange: Exchange, binding: Binding, call: Call, form: str) -> None:
        self._owner = owner
        self._exchange = exchange
        self._binding = binding
        self._call = call
        self._framing = None if binding.raw_response else streaming.framing(form)
        self.content_type = self._framing.content_type if self._framing else "application/octet-stream"
        self.beats = form == negotiation.EVENTS
        self._compressor = owner.stream_compressor(exchange) if not self.beats and self._framing else None
        self._last = 0.0

    async def write(self, message: Any) -> None:
        if type(message) is SharedMessage and self._framing is not None:
            await self._send(self._shared(message, self._framing))
        elif self._framing is None:
            raw = self._raw(message)
            if not self._exchange.started:
                self.content_type = raw.content_type or self.content_type
            await self._send(raw.data)
        else:
            frame = partial(self._owner.frame, self._binding, message)
            text = await asyncio.to_thread(frame) if self._call.state.get(LARGE) else frame()
            await self._send(self._framing.message(text))

    def _shared(self, shared: SharedMessage, framing: streaming.Framing) -> bytes:
        """A shared message as all streams of this form send it; elements of an array differ by what is before them."""
        owner, binding = self._owner, self._binding
        text = shared.encoded((owner, binding), lambda message: owner.frame(binding, message))
        if framing.content_type == negotiation.JSON:
            return framing.message(text)
        form = (owner, binding, framing.content_type)
        return shared.encoded(form, lambda _: framing.message(text, shared.event_id))

    def _raw(self, message: Any) -> Any:
        field = self._binding.response_field
        return message if field is None else getattr(message, field.name)

    async def _send(self, data: bytes, *, more: bool = True) -> None:
        if not self._exchange.started:
            await self._start()
        self._last = time.monotonic()
        if self._compressor is not None:
            squeezed = self._compressor.compress(data) if data else b""
            data = squeezed + self._compressor.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        await self._exchange.send(data, more=more)

    async def head_alone(self) -> None:
        """Runs the call for its headers; what it writes is left out. Raises Problem, ClientGone.

        How long the content of GET is, it may say as `http_length` of its state.
        """
        is_first = True

        async def left_out(message: Any) -> None:
            nonlocal is_first
            if is_first:
                is_first, self.content_type = False, self._raw(message).content_type or self.content_type

        self._call.write = left_out
        await self._exchange.run(self._call)
        await self._start()
        await self._exchange.send(b"", more=False)

    async def _start(self) -> None:
        headers: Pairs = encoded(self._call.headers)
        if "http_length" in self._call.state:
            headers.append((b"content-length", b"%d" % self._call.state["http_length"]))
        headers.append(_content_type(self.content_type))
        headers.append((b"cache-control", b"no-cache"))
        headers.append((b"x-accel-buffering", b"no"))
        if self._compressor is not None:
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        await self._exchange.start(self._call.state.get("http_status", 200), headers)

    async def beat(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            if self._framing is not None and time.monotonic() - self._last >= every_s:
                await self._send(self._framing.beat())

    async def end(self) -> None:
        await self._send(self._framing.end() if self._framing else b"", more=False)

    async def fail(self, error: Problem) -> None:
        if not self._exchange.started:
            raise error
        if self._framing is None:
            log.warning("%s failed after its first piece was out: %s", self._binding.method.full_name, error)
            raise ConnectionAbortedError("a raw stream has no place for a problem")
        exchange = self._exchange
        document = public_document(error, instance=exchange.path, trace_id=exchange.trace_id)
        await self._send(self._framing.failure(document), more=False)


async def _or_empty(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a body; one of an empty body, so that what path and query say arrives all the same."""
    number = 0
    async for piece in pieces:
        number += 1
        yield piece
    if not number:
        yield b""


def _content_type(text: str) -> tuple[bytes, bytes]:
    return b"content-type", text.encode("latin-1", "replace")


_JSON_HEADER = _content_type(negotiation.JSON)


def _weak(tag: bytes) -> bytes:
    return tag if tag.startswith(b"W/") else b"W/" + tag


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
