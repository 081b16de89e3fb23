"""What happens around a call over HTTP: clients that leave or are slow, beats, compression, other bodies and rules."""

from __future__ import annotations

import asyncio
import functools
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.api import http_pb2

from formicary.gateway import Service, Transcoder, add_services
from tests.library import PACKAGE, Library, descriptor, message

Event = dict[str, Any]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: Any, **more: Any) -> None:
        asyncio.run(test(*args, **more))

    return run


async def ask(app: Any, verb: str, url: str, **more: Any) -> httpx.Response:
    """One request without a network."""
    more.setdefault("headers", {}).setdefault("accept-encoding", "identity")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        return await client.request(verb, url, **more)


def scope(verb: str, path: str, **headers: str) -> Event:
    """What a server tells of a request."""
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {"type": "http", "http_version": "1.1", "method": verb, "path": path, "query_string": b"", "headers": pairs}


async def serve(app: Any, asked: Event, receive: Callable[[], Awaitable[Event]]) -> list[Event]:
    """Serves one request whose body and end come from `receive`; returns what was sent."""
    sent: list[Event] = []

    async def send(event: Event) -> None:
        sent.append(event)

    await asyncio.wait_for(app(asked, receive, send), 20)
    return sent


async def never() -> Event:
    """A client that is silent."""
    await asyncio.Event().wait()
    return {}


class Slow(Library):
    """A library whose handlers wait until they are told, or cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.ended, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def _wait(self) -> None:
        self.began.set()
        try:
            await self.go_on.wait()
        finally:
            self.ended.set()

    async def Echo(self, request: Any, context: Any) -> Any:
        await self._wait()
        return request

    async def Counting(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield message("Count")(count=1)
        await self._wait()


@pytest.mark.parametrize(("verb", "path"), [("POST", "/v1/echo"), ("GET", "/v1/counting/3")])
@in_a_loop
async def test_a_client_that_leaves_ends_the_call(verb: str, path: str) -> None:
    """The handler is cancelled, and no answer is begun for a call that had none."""
    library = Slow()

    async def receive() -> Event:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": b"{}"}
        await library.began.wait()
        return {"type": "http.disconnect"}

    asked: list[bool] = [] if verb == "POST" else [True]
    sent = await serve(
        Transcoder([library.service()]), scope(verb, path, content_length="2" if verb == "POST" else "0"), receive
    )
    assert library.ended.is_set()
    assert [event["type"] for event in sent] == (
        [] if verb == "POST" else ["http.response.start", "http.response.body"]
    )


@in_a_loop
async def test_a_client_that_leaves_within_its_body_has_no_call() -> None:
    """Nothing is called and nothing is answered."""
    library = Library()
    events: Iterator[Event] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Event:
        return next(events)

    assert await serve(Transcoder([library.service()]), scope("POST", "/v1/echo", content_length="9"), receive) == []
    assert library.asked == []


@pytest.mark.parametrize("begun", [True, False])
@in_a_loop
async def test_a_body_that_does_not_come_is_a_problem(begun: bool) -> None:
    """Whether it began or not, after the time-out the answer is 408."""
    events: list[Event] = [{"type": "http.request", "body": b"{", "more_body": True}] if begun else []

    async def receive() -> Event:
        return events.pop() if events else await never()

    app = Transcoder([Library().service()], body_timeout_s=0.02)
    sent = await serve(app, scope("POST", "/v1/echo", content_length="9"), receive)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["status"] == 408


@in_a_loop
async def test_a_body_in_pieces_is_one_body() -> None:
    """However it is cut, and whether the server has it at once or later."""
    pieces = [b'{"te', b'xt":', b'"a"}']

    async def receive() -> Event:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    sent = await serve(Transcoder([Library().service()]), scope("POST", "/v1/echo", content_length="12"), receive)
    assert sent[1]["body"] == b'{"text":"a"}'


@in_a_loop
async def test_silent_events_have_a_beat() -> None:
    """A comment goes out when nothing else does, and the stream still ends as it should."""
    library, sent = Slow(), asyncio.Queue[Event]()
    app = Transcoder([library.service()], heartbeat_s=0.02)
    asked = scope("GET", "/v1/counting/1", accept="text/event-stream")
    serving = asyncio.create_task(app(asked, never, sent.put))  # type: ignore[arg-type]  # dicts are what ASGI sends
    got = b""
    while b": \n\n" not in got:
        got += (await asyncio.wait_for(sent.get(), 10)).get("body", b"")
    library.go_on.set()
    await serving
    while not sent.empty():
        got += sent.get_nowait().get("body", b"")
    assert got.startswith(b'data: {"count":1}\n\n')
    assert got.endswith(b"event: end\ndata: {}\n\n")


@in_a_loop
async def test_a_compressed_stream_can_be_read_message_by_message() -> None:
    """Every message is flushed, and all of it is one gzip body."""
    sent = await serve(Transcoder([Library().service()]), scope("GET", "/v1/counting/3", accept_encoding="gzip"), never)
    assert (b"content-encoding", b"gzip") in sent[0]["headers"]
    inflate = zlib.decompressobj(31)
    lines = [inflate.decompress(event["body"]) for event in sent[1:]]
    assert lines[:3] == [b'{"count":1}\n', b'{"count":2}\n', b'{"count":3}\n']
    assert inflate.eof


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@in_a_loop
async def test_large_answers_are_compressed(encoding: str) -> None:
    """As the client says, and small ones are not."""
    app = Transcoder([Library().service()])
    large = await ask(app, "POST", "/v1/echo", json={"text": "a" * 5000}, headers={"accept-encoding": encoding})
    assert (large.headers["content-encoding"], large.json()) == (encoding, {"text": "a" * 5000})
    small = await ask(app, "POST", "/v1/echo", json={"text": "a"}, headers={"accept-encoding": encoding})
    assert "content-encoding" not in small.headers


@in_a_loop
async def test_head_of_a_stream_calls_nothing() -> None:
    """It tells the type and has no body."""
    library = Library()
    answer = await ask(Transcoder([library.service()]), "HEAD", "/v1/counting/3")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/x-ndjson", b"")
    assert library.asked == []


@in_a_loop
async def test_bodies_in_the_binary_form() -> None:
    """They are read and written; what is none is a problem, and a body that is no message must be JSON."""
    app, kind = Transcoder([Library().service()]), "application/x-protobuf"
    headers = {"content-type": kind, "accept": kind}
    sent = message("Everything")(text="a", int64_value=5)
    answer = await ask(app, "POST", "/v1/echo", content=sent.SerializeToString(), headers=dict(headers))
    assert (answer.headers["content-type"], message("Everything").FromString(answer.content)) == (kind, sent)
    wrong = await ask(app, "POST", "/v1/echo", content=b"\xff\xff", headers=dict(headers))
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (400, "INVALID_PROTOBUF")
    assert (await ask(app, "PUT", "/v1/tags/a", content=b"\x0a\x01a", headers=dict(headers))).status_code == 400


@in_a_loop
async def test_an_automatic_mask_has_what_a_caller_may_set() -> None:
    """A field that only the server sets is read, as clients send back what they got, and is not in the mask."""
    body = {"title": "a", "checked_by": "me", "author": {"country": "x"}}
    answer = await ask(Transcoder([Library().service()]), "PATCH", "/v1/shelves/1/books/2", json=body)
    assert answer.json()["update_mask"] == "title,author.country"


@in_a_loop
async def test_further_rules_replace_the_annotation_of_their_method() -> None:
    """The old path is gone, the other methods stay."""
    rule = http_pb2.HttpRule(selector=f"{PACKAGE}.Library.Echo", put="/v9/{text}", body="*")
    app = Transcoder([Library().service()], http_rules=[rule])
    assert (await ask(app, "PUT", "/v9/a", json={"flag": True})).json() == {"text": "a", "flag": True}
    assert (await ask(app, "POST", "/v1/echo", json={})).status_code == 404
    assert (await ask(app, "GET", "/v1/query?text=a")).json() == {"text": "a"}


@in_a_loop
async def test_paths_without_a_rule_go_to_the_fallback() -> None:
    """It is given the request as it came; other methods of known paths stay with the transcoder."""

    async def fallback(asked: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 203, "headers": []})
        await send({"type": "http.response.body", "body": asked["path"].encode()})

    app = Transcoder([Library().service()], fallback=fallback)
    answer = await ask(app, "GET", "/page")
    assert (answer.status_code, answer.text) == (203, "/page")
    assert (await ask(app, "DELETE", "/v1/echo")).status_code == 405


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/*"])
@pytest.mark.parametrize(("path", "text"), [("/v1/query?text=a", '{"text":"a"}'), ("/v1/counting/1", '[{"count":1}]')])
@in_a_loop
async def test_a_browser_is_shown_the_json(accept: str, path: str, text: str) -> None:
    """Whoever likes pages best gets what we have, streams as one array that can be read on a page."""
    if accept == "text/*" and "counting" in path:
        text = 'data: {"count":1}\n\nevent: end\ndata: {}\n\n'
    answer = await ask(Transcoder([Library().service()]), "GET", path, headers={"accept": accept})
    assert (answer.status_code, answer.text) == (200, text)


@in_a_loop
async def test_what_json_cannot_express_names_its_field() -> None:
    """A time out of range that a handler answers with is no failure without a cause."""

    class Odd(Library):
        """Answers with what came from elsewhere."""

        async def Echo(self, request: Any, context: Any) -> Any:
            found = message("Everything")(text="a")
            found.inner_by_name["x"].times.add(seconds=1 << 60)
            return found

    answer = await ask(Transcoder([Odd().service()]), "POST", "/v1/echo", json={})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (406, "inner_by_name.x.times[0]")


@in_a_loop
async def test_garbage_on_a_stream_of_requests_is_the_callers_fault() -> None:
    """INVALID_ARGUMENT over gRPC, without a name of a class."""
    server = grpc.aio.server()
    add_services(server, [Service(descriptor(), Library())])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for kind in ("Sum", "Chat"):
                make: Any = channel.stream_unary if kind == "Sum" else channel.stream_stream
                call = make(f"/{PACKAGE}.Library/{kind}")(iter([b"\xff\xff\xff"]))
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await (call if kind == "Sum" else call.read())
                assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "DecodeError" not in f"{failed.value.details()}"
    finally:
        await server.stop(0)
