"""Both middlewares behind real servers: exceptions of every kind end as problems, and no canary ever comes out."""

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import uvicorn
from google.rpc import error_details_pb2, status_pb2

from formicary.problems import FieldError, Problem, from_rpc_error, parse_http, problem
from formicary.problems.asgi import ProblemMiddleware
from formicary.problems.grpc_aio import ProblemInterceptor
from formicary.problems.packed import pack
from formicary.problems.rpc import from_status

CANARY = "CANARY-4711"
TRACE = "ab" * 16
TRACEPARENT = f"00-{TRACE}-{'cd' * 8}-01"
Raise = Callable[[], None]


class Unrenderable:
    """No JSON can be made of it."""

    def __repr__(self) -> str:
        return CANARY


def _chained() -> None:
    try:
        raise RuntimeError(f"SELECT secret FROM t WHERE x = '{CANARY}'")
    except RuntimeError as error:
        raise KeyError(CANARY) from error


def _problem_with_cause() -> None:
    try:
        _chained()
    except KeyError as error:
        raise problem("NOT_FOUND", "There is no job 7.") from error


def _noted() -> None:
    error = ValueError("x")
    error.add_note(CANARY)
    raise ExceptionGroup(CANARY, [error, OSError(2, CANARY, CANARY)])


def _raise(error: BaseException) -> Raise:
    def act() -> None:
        raise error

    return act


def _hidden(code: str) -> Raise:
    info = pack(error_details_pb2.DebugInfo(stack_entries=[CANARY], detail=CANARY))
    reason = pack(error_details_pb2.ErrorInfo(reason=CANARY, metadata={"sql": CANARY}))
    return lambda: _raise(
        problem(
            code, CANARY, errors=[FieldError(CANARY, CANARY, CANARY)], remedy=CANARY, x=CANARY, details=[info, reason]
        )
    )()


def _debug() -> None:
    info = pack(error_details_pb2.DebugInfo(stack_entries=[CANARY], detail=CANARY))
    raise problem("CONFLICT", "It changed.", details=[info])


def _foreign() -> None:
    raise from_status(status_pb2.Status(code=13, message=CANARY))


LEAKS: dict[str, Raise] = {
    "chained": _chained,
    "cause": _problem_with_cause,
    "group": _noted,
    "internal": _hidden("INTERNAL"),
    "unknown": _hidden("UNKNOWN"),
    "corrupt": _hidden("DATA_CORRUPT"),
    "login": _hidden("UNAUTHENTICATED"),
    "dependency": _hidden("DEPENDENCY_FAILED"),
    "debug": _debug,
    "foreign": _foreign,
    "unrenderable": _raise(problem("NOT_FOUND", "x", thing=Unrenderable())),
    "timeout": _raise(TimeoutError(CANARY)),
    "unicode": _raise(UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY)),
    "untitled": _raise(Problem("MADE_UP", CANARY, CANARY, status=500)),
}
for seed in range(40):  # any class of exception, its arguments canaries
    rng = random.Random(seed)
    kind = rng.choice([ValueError, RuntimeError, OSError, AssertionError, LookupError, ArithmeticError, StopIteration])
    LEAKS[f"seed-{seed}"] = _raise(kind(*[CANARY] * rng.randint(0, 3)))
ACTS: dict[str, Raise] = LEAKS | {
    "busy": _raise(problem("RATE_LIMIT_EXCEEDED", "Slower.", retry_after_s=29.2)),
    "invalid": _raise(problem("VALIDATION_FAILED", "No.", errors=[FieldError("a[1]", "C", "m")])),
    "method": _raise(problem("METHOD_NOT_ALLOWED", allow=["GET"])),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Raises what the path names; ``/late/`` after the response has begun."""
    name = scope["path"].rpartition("/")[2]
    if scope["path"].startswith("/late/"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
    ACTS[name]()


@contextlib.asynccontextmanager
async def http_server(middleware: ProblemMiddleware) -> AsyncIterator[httpx.AsyncClient]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(middleware, lifespan="off", log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # the runner has them
    task = asyncio.create_task(server.serve([listener]))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=base, headers={"traceparent": TRACEPARENT}, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        await task
        listener.close()


KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def _behaviour(kind: str, style: str) -> Any:
    streams = kind.endswith("_stream")

    async def coroutine(request: Any, context: Any) -> Any:
        name = request if isinstance(request, bytes) else await anext(aiter(request))
        if streams:
            await context.write(b"first")
        ACTS[name.decode()]()

    async def generator(request: Any, context: Any) -> Any:
        name = request if isinstance(request, bytes) else await anext(aiter(request))
        yield b"first"
        ACTS[name.decode()]()

    def plain(request: Any, context: Any) -> Any:
        name = request if isinstance(request, bytes) else next(iter(request))
        ACTS[name.decode()]()

    def plain_generator(request: Any, context: Any) -> Iterator[bytes]:
        name = request if isinstance(request, bytes) else next(iter(request))
        yield b"first"
        ACTS[name.decode()]()

    if style == "sync":
        return plain_generator if streams else plain
    return generator if streams and style == "generator" else coroutine


@contextlib.asynccontextmanager
async def grpc_server(interceptor: ProblemInterceptor) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[interceptor])
    for style in ("async", "generator", "sync"):
        handlers = {kind: getattr(grpc, f"{kind}_rpc_method_handler")(_behaviour(kind, style)) for kind in KINDS}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(style, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def call(channel: grpc.aio.Channel, method: str, name: str) -> grpc.aio.AioRpcError:
    kind = method.rpartition("/")[2]
    kind = kind if kind in KINDS else "unary_unary"
    stub: Any = getattr(channel, kind)(method)
    request = iter([name.encode()]) if kind.startswith("stream") else name.encode()
    running = stub(request, metadata=(("traceparent", TRACEPARENT),), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if kind.endswith("_stream"):
            async for _ in running:
                pass
        else:
            await running
    return caught.value


def test_no_canary_comes_out_over_http(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is raised, in whatever form the answer is: a problem with the trace id, and no secret."""

    async def run() -> None:
        middleware = ProblemMiddleware(app)
        async with http_server(middleware) as client:
            for name in LEAKS:
                for accept in ("*/*", "application/json", "text/html"):
                    answer = await client.get(f"/x/{name}?q={CANARY}", headers={"accept": accept})
                    whole = answer.text + repr(answer.headers.raw)
                    assert answer.status_code >= 400 and CANARY not in whole, (name, whole)
                    assert TRACE in answer.text
                    if accept != "text/html":
                        found = parse_http(answer.status_code, answer.headers, answer.content)
                        assert found.status == answer.status_code and found.instance == f"/x/{name}"
        assert middleware.catcher.panics >= 3 * 40

    with caplog.at_level(logging.ERROR, "formicary.problems"):
        asyncio.run(run())
    assert CANARY in caplog.text and TRACE in caplog.text  # the log has it all


@pytest.mark.parametrize("style", ["async", "generator", "sync"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_canary_comes_out_over_grpc(kind: str, style: str) -> None:
    async def run() -> None:
        interceptor = ProblemInterceptor()
        async with grpc_server(interceptor) as channel:
            for name in LEAKS:
                error = await call(channel, f"/{style}/{kind}", name)
                whole = repr((error.details(), error.trailing_metadata(), error.initial_metadata()))
                assert CANARY not in whole, (name, whole)
                found = from_rpc_error(error)
                assert found.trace_id == TRACE and found.grpc_code == error.code().name, name
        assert interceptor.catcher.panics >= 40

    asyncio.run(run())


def test_http_answers_carry_their_headers_and_pages_resolve() -> None:
    seen: list[tuple[str, str]] = []

    async def run() -> None:
        async with http_server(ProblemMiddleware(app, hook=lambda code, kind: seen.append((code, kind)))) as client:
            busy = await client.get("/x/busy")
            assert (busy.status_code, busy.headers["retry-after"]) == (429, "30")
            assert busy.headers["content-type"] == "application/problem+json"
            page = await client.get(busy.json()["type"], headers={"accept": "text/html"})
            assert page.status_code == 200 and "RATE_LIMIT_EXCEEDED" in page.text
            as_json = await client.get(busy.json()["type"], headers={"accept": "application/json"})
            assert as_json.json()["code"] == "RATE_LIMIT_EXCEEDED"
            assert (await client.get("/problems/")).status_code == 200
            assert (await client.get("/problems/zzz")).status_code == 404
            posted = await client.post("/problems/")
            assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
            assert (await client.get("/x/method")).headers["allow"] == "GET"
            login = await client.get("/x/login")
            assert (login.status_code, login.headers["www-authenticate"][:6]) == (401, "Bearer")
            head = await client.head("/x/busy")
            assert head.status_code == 429 and head.content == b""

    asyncio.run(run())
    assert ("RATE_LIMIT_EXCEEDED", "http") in seen and ("UNAUTHENTICATED", "http") in seen


def test_a_response_that_has_begun_is_cut_and_counted() -> None:
    async def run() -> None:
        middleware = ProblemMiddleware(app)
        async with http_server(middleware) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/late/chained")
        assert middleware.catcher.panics == 1

    asyncio.run(run())


def test_the_same_problem_comes_back_over_both_protocols() -> None:
    async def run() -> None:
        async with (
            http_server(ProblemMiddleware(app)) as client,
            grpc_server(ProblemInterceptor()) as channel,
        ):
            for name in ("busy", "invalid", "internal", "cause"):
                answer = await client.get(f"/x/{name}")
                over_http = parse_http(answer.status_code, answer.headers, answer.content).to_document()
                over_grpc = from_rpc_error(await call(channel, "/async/unary_unary", name)).to_document()
                for member in ("instance", "timestamp"):
                    over_http.pop(member, None)
                assert over_grpc == over_http

    asyncio.run(run())


def test_a_method_that_nobody_serves_and_a_hook_that_fails_do_no_harm() -> None:
    def hook(code: str, protocol: str) -> None:
        raise RuntimeError(CANARY)

    async def run() -> None:
        async with grpc_server(ProblemInterceptor(hook=hook)) as channel:
            found = from_rpc_error(await call(channel, "/no.Such/Method", "x"))
            assert (found.code, found.status) == ("NOT_AVAILABLE", 501)

    asyncio.run(run())


def test_a_server_that_is_not_there_is_unavailable_and_its_address_is_not_passed_on() -> None:
    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{taken.getsockname()[1]}") as channel:
                found = from_rpc_error(await call(channel, "/x/unary_unary", "x"))
        assert found.code == "UNAVAILABLE" and found.retryable and found.show is False

    asyncio.run(run())
