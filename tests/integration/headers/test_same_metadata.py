"""The same mapping gives a service the same metadata over HTTP and over both kinds of gRPC, on real servers."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import uvicorn

from formicary.headers import Generated, HeaderMapping, MappingBuilder, grpc_aio, grpc_sync, transform
from formicary.headers.asgi import KEY, HeaderMiddleware

METHOD = "/demo.Echo/"
REQUEST = [
    ("authorization", "Bearer abc.def"),
    ("x-tag", "one"),
    ("x-tag", "two"),
    ("x-blob", "AAEC"),
    ("x-user-id", "mallory"),
    ("x-request-id", "r-1"),
    ("x-unmapped", "no"),
    ("grpc-metadata-admin", "yes"),
]
SEEN = [
    ["authorization", "Bearer abc.def"],
    ["auth-token", "abc.def"],
    ["tag", "one"],
    ["tag", "two"],
    ["blob-bin", "000102"],
    ["request-id", "r-1"],
    ["tenant", "none"],
]


def mapping() -> HeaderMapping:
    return (
        MappingBuilder()
        .incoming("Authorization")
        .with_required()
        .incoming("Authorization", "auth-token")
        .with_transform(transform("remove_prefix", "Bearer "))
        .bidirectional("X-Tag", "tag")
        .bidirectional("X-Blob", "blob-bin")
        .incoming("X-User-ID", "user-id")
        .bidirectional("X-Request-ID", "request-id")
        .with_default(Generated("uuid"))
        .incoming("X-Tenant", "tenant")
        .with_default("none")
        .outgoing("processing-time", "X-Processing-Time")
        .with_transform(transform("add_suffix", "ms"))
        .outgoing("x-frame-options", "X-Frame-Options")
        .with_default("DENY")
        .build()
    )


def seen(metadata: Any) -> bytes:
    return json.dumps([[key, value.hex() if isinstance(value, bytes) else value] for key, value in metadata]).encode()


class AioEcho(grpc.GenericRpcHandler):
    """A service of every kind of call that says what it sees."""

    def service(self, details: Any) -> Any:
        async def unary(request: Any, context: Any) -> bytes:
            if request == b"fail":
                await context.abort(grpc.StatusCode.NOT_FOUND, "no", (("processing-time", "9"), ("inner", "x")))
            if request == b"raise":
                raise ValueError("boom")
            await context.send_initial_metadata((("processing-time", "150"), ("inner", "secret")))
            context.set_trailing_metadata((("tag", "t1"), ("tag", "t2"), ("inner", "secret")))
            return seen(context.invocation_metadata())

        async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
            context.set_trailing_metadata((("tag", "t1"),))
            yield seen(context.invocation_metadata())
            yield b"second"

        async def writes(request: Any, context: Any) -> None:
            await context.write(seen(context.invocation_metadata()))

        return {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler(unary),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(stream),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(unary),
            "StreamStream": grpc.stream_stream_rpc_method_handler(stream),
            "Writes": grpc.unary_stream_rpc_method_handler(writes),
            "Plain": grpc.unary_unary_rpc_method_handler(lambda request, context: seen(context.invocation_metadata())),
        }.get(details.method.removeprefix(METHOD))


class SyncEcho(grpc.GenericRpcHandler):
    """The same with threads."""

    def service(self, details: Any) -> Any:
        def unary(request: Any, context: Any) -> bytes:
            if request == b"fail":
                context.set_trailing_metadata((("processing-time", "9"), ("inner", "x")))
                context.abort(grpc.StatusCode.NOT_FOUND, "no")
            context.send_initial_metadata((("processing-time", "150"), ("inner", "secret")))
            context.set_trailing_metadata((("tag", "t1"), ("tag", "t2"), ("inner", "secret")))
            return seen(context.invocation_metadata())

        def stream(request: Any, context: Any) -> Iterator[bytes]:
            yield seen(context.invocation_metadata())
            yield b"second"

        return {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler(unary),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(stream),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(unary),
            "StreamStream": grpc.stream_stream_rpc_method_handler(stream),
        }.get(details.method.removeprefix(METHOD))


@asynccontextmanager
async def aio_channel(client: Any = None, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[grpc_aio.ServerInterceptor(mapping(), **options)])
    server.add_generic_rpc_handlers((AioEcho(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=client) as channel:
            yield channel
    finally:
        await server.stop(0)


@contextmanager
def sync_port() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[grpc_sync.ServerInterceptor(mapping())])
    server.add_generic_rpc_handlers((SyncEcho(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


async def app(scope: Any, receive: Any, send: Any) -> None:
    exchange = scope[KEY]
    exchange.headers += [("processing-time", "150"), ("inner", "secret")]
    exchange.trailers += [("tag", "t1"), ("tag", "t2")]
    if scope["path"] == "/raise":
        raise ValueError("boom")
    names = [name.decode() for name, _ in scope["headers"]]
    assert "x-user-id" not in names and "grpc-metadata-admin" not in names
    body = seen(exchange.metadata)
    headers = [(b"content-type", b"application/json"), (b"Grpc-Metadata-Inner", b"secret")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def http_address() -> AsyncIterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(HeaderMiddleware(app, mapping()), lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


def pairs(metadata: Any) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in metadata]


def test_http_gives_the_metadata_and_maps_what_comes_back() -> None:
    """Over HTTP the service sees the mapped metadata, and only mapped headers come back; of errors too."""

    async def run() -> None:
        async with http_address() as address, httpx.AsyncClient() as client:
            answer = await client.get(f"{address}/v1", headers=REQUEST)
            assert answer.json() == SEEN
            assert answer.headers["x-processing-time"] == "150ms"
            assert answer.headers.get_list("x-tag") == ["t1", "t2"]
            assert answer.headers["x-request-id"] == "r-1"
            assert answer.headers["x-frame-options"] == "DENY"
            assert not [name for name in answer.headers if "inner" in name]
            refused = await client.get(f"{address}/v1")
            assert refused.status_code == 400
            assert refused.json()["errors"][0]["field"] == "headers.Authorization"
            assert refused.headers["x-frame-options"] == "DENY"
            failed = await client.get(f"{address}/raise", headers=REQUEST)
            assert (failed.status_code, failed.headers["x-processing-time"]) == (500, "150ms")

    asyncio.run(run())


def wire() -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in REQUEST if not pair[0].startswith("grpc-"))


@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary", "Plain"])
def test_aio_unary_calls_see_the_same(kind: str) -> None:
    """A grpc.aio service sees what it sees behind HTTP, plain functions too, and its metadata is mapped."""

    async def run() -> None:
        async with aio_channel() as channel:
            if kind == "StreamUnary":
                call: Any = channel.stream_unary(METHOD + kind)(iter([b""]), metadata=wire())
            else:
                call = channel.unary_unary(METHOD + kind)(b"", metadata=wire())
            assert json.loads(await call) == SEEN
            initial = pairs(await call.initial_metadata())
            assert ("x-frame-options", "DENY") in initial
            if kind != "Plain":
                assert ("x-processing-time", "150ms") in initial
                assert pairs(await call.trailing_metadata()) == [("x-tag", "t1"), ("x-tag", "t2")]

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["UnaryStream", "StreamStream", "Writes"])
def test_aio_streams_see_the_same(kind: str) -> None:
    """Calls whose response is a stream are mapped too: metadata before the first message, trailers at the end."""

    async def run() -> None:
        async with aio_channel() as channel:
            if kind == "StreamStream":
                call: Any = channel.stream_stream(METHOD + kind)(iter([b""]), metadata=wire())
            else:
                call = channel.unary_stream(METHOD + kind)(b"", metadata=wire())
            messages = [message async for message in call]
            assert json.loads(messages[0]) == SEEN
            assert ("x-frame-options", "DENY") in pairs(await call.initial_metadata())
            if kind != "Writes":
                assert pairs(await call.trailing_metadata()) == [("x-tag", "t1")]

    asyncio.run(run())


@pytest.mark.parametrize(("request_body", "code"), [(b"fail", "NOT_FOUND"), (b"raise", "UNKNOWN")])
def test_aio_errors_are_mapped(request_body: bytes, code: str) -> None:
    """An error carries the mapped metadata and the defaults."""

    async def run() -> None:
        async with aio_channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(METHOD + "UnaryUnary")(request_body, metadata=wire())
            assert caught.value.code().name == code
            trailing = pairs(caught.value.trailing_metadata())
            assert ("x-frame-options", "DENY") in trailing
            assert not [key for key, _ in trailing if key == "inner"]
            assert (("x-processing-time", "9ms") in trailing) == (code == "NOT_FOUND")

    asyncio.run(run())


def test_aio_refuses_what_http_refuses() -> None:
    """A direct call without a required header ends with INVALID_ARGUMENT, its details and the defaults."""

    async def run() -> None:
        async with aio_channel() as channel:
            for kind in ("UnaryUnary", "UnaryStream", "Plain"):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    if kind == "UnaryStream":
                        [m async for m in channel.unary_stream(METHOD + kind)(b"")]
                    else:
                        await channel.unary_unary(METHOD + kind)(b"")
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                keys = [key for key, _ in pairs(caught.value.trailing_metadata())]
                assert {"grpc-status-details-bin", "x-frame-options"} <= set(keys)

    asyncio.run(run())


def test_sync_calls_see_the_same() -> None:
    """A service with threads sees the same, of every kind of call, and errors are mapped."""
    with sync_port() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        response, call = channel.unary_unary(METHOD + "UnaryUnary").with_call(b"", metadata=wire())
        assert json.loads(response) == SEEN
        assert ("x-processing-time", "150ms") in pairs(call.initial_metadata())
        assert pairs(call.trailing_metadata()) == [("x-tag", "t1"), ("x-tag", "t2")]
        assert json.loads(channel.stream_unary(METHOD + "StreamUnary")(iter([b""]), metadata=wire())) == SEEN
        stream = channel.unary_stream(METHOD + "UnaryStream")(b"", metadata=wire())
        assert json.loads(next(iter(stream))) == SEEN
        assert ("x-frame-options", "DENY") in pairs(stream.initial_metadata())
        both = channel.stream_stream(METHOD + "StreamStream")(iter([b""]), metadata=wire())
        assert [json.loads(message) for message in both if message != b"second"] == [SEEN]
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(METHOD + "UnaryUnary")(b"fail", metadata=wire())
        trailing = pairs(caught.value.trailing_metadata())
        assert ("x-processing-time", "9ms") in trailing and ("x-frame-options", "DENY") in trailing
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(METHOD + "UnaryUnary")(b"")
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert ("x-frame-options", "DENY") in pairs(refused.value.trailing_metadata())


METADATA = (("authorization", "Bearer abc.def"), ("tag", "one"), ("tag", "two"), ("blob-bin", b"\0\1\2"))
CLIENT_SEEN = [pair for pair in SEEN if pair[0] != "request-id"]


def without_id(body: bytes) -> list[list[str]]:
    return [pair for pair in json.loads(body) if pair[0] != "request-id"]


def test_clients_name_metadata_as_the_service_sees_it() -> None:
    """With the client interceptors, aio and sync, what the client sets is what the service sees."""

    async def run() -> None:
        async with aio_channel(client=grpc_aio.client_interceptors(mapping())) as channel:
            call: Any = channel.unary_unary(METHOD + "UnaryUnary")(b"", metadata=METADATA)
            assert without_id(await call) == CLIENT_SEEN
            back = mapping().received("/", pairs(await call.initial_metadata()), pairs(await call.trailing_metadata()))
            assert ("processing-time", "150") in back and ("tag", "t2") in back
            stream: Any = channel.unary_stream(METHOD + "UnaryStream")(b"", metadata=METADATA)
            assert without_id(await anext(aiter(stream))) == CLIENT_SEEN
            up: Any = channel.stream_unary(METHOD + "StreamUnary")(iter([b""]), metadata=METADATA)
            assert without_id(await up) == CLIENT_SEEN
            both: Any = channel.stream_stream(METHOD + "StreamStream")(iter([b""]), metadata=METADATA)
            assert without_id(await anext(aiter(both))) == CLIENT_SEEN

    asyncio.run(run())
    with sync_port() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
        channel = grpc.intercept_channel(plain, grpc_sync.ClientInterceptor(mapping()))
        assert without_id(channel.unary_unary(METHOD + "UnaryUnary")(b"", metadata=METADATA)) == CLIENT_SEEN
        stream = channel.unary_stream(METHOD + "UnaryStream")(b"", metadata=METADATA)
        assert without_id(next(iter(stream))) == CLIENT_SEEN
        up = channel.stream_unary(METHOD + "StreamUnary")(iter([b""]), metadata=METADATA)
        assert without_id(up) == CLIENT_SEEN
        both = channel.stream_stream(METHOD + "StreamStream")(iter([b""]), metadata=METADATA)
        assert without_id(next(iter(both))) == CLIENT_SEEN


def test_a_trusted_gateway_may_map_before_the_service_does() -> None:
    """Metadata that a trusted gateway has marked as mapped is not mapped twice; from others the mark means nothing."""

    async def run() -> None:
        mapped = (("formicary-mapped", "1"), ("auth-token", "abc"), ("user-id", "7"), ("authorization", "x"))
        async with aio_channel(trusted=lambda peer: peer.startswith("ipv4:127.")) as channel:
            answer = json.loads(await channel.unary_unary(METHOD + "UnaryUnary")(b"", metadata=mapped))
            assert ["user-id", "7"] in answer and ["auth-token", "abc"] in answer
        async with aio_channel() as channel:
            answer = json.loads(await channel.unary_unary(METHOD + "UnaryUnary")(b"", metadata=mapped))
            assert ["user-id", "7"] not in answer and ["auth-token", "x"] in answer

    asyncio.run(run())
