"""Slow, huge and silent clients over real sockets: each is given up on in its time, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import uvloop

from formicary.server.connections import ConnectionLimits
from formicary.server.http import App, HttpServer, listen

QUICK = ConnectionLimits(head_s=0.3, body_s=0.3, write_s=0.3, idle_s=0.6, most=3)
PATIENT = ConnectionLimits(head_s=0.3, body_s=2.5, write_s=2.5, idle_s=4.0, most=3)
"""Where a client has to be in time, which it may not be on a busy machine."""
ASK = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
T = TypeVar("T")
LARGE = 64 * 1024 * 1024


class Service:
    """Reads the body, then answers its length; `/large` is large, `/patient` reads late, `/early` answers before.

    `/refuse` answers and reads nothing.
    """

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/refuse":
            await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"no!!"})
            return
        if scope["path"] == "/patient":
            await asyncio.sleep(2 * QUICK.body_s)
        if scope["path"] == "/early":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"early", "more_body": True})
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            length, more = length + len(message["body"]), message["more_body"]
        body = bytes(LARGE) if scope["path"] == "/large" else b"%d" % length
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(app: App, limits: ConnectionLimits = QUICK) -> AsyncIterator[int]:
    """The port of a running server."""
    listener = listen("127.0.0.1", 0)
    server = HttpServer(app, listener, limits)
    await server.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        await server.stop()


def until_closed(wire: socket.socket) -> bytes:
    """All that arrives before the server closes."""
    pieces = []
    try:
        while piece := wire.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def exchange(port: int, *pieces: bytes, pause_s: float = 0.0) -> tuple[bytes, float]:
    """What a client that sends these pieces is answered, and how long its connection lived."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        try:
            for piece in pieces:
                wire.sendall(piece)
                if pause_s:
                    time.sleep(pause_s)  # the very thing that is tested: a client that takes its time
        except (BrokenPipeError, ConnectionResetError):
            pass
        return until_closed(wire), time.monotonic() - begun


def served_to(client: Callable[[int], T], limits: ConnectionLimits = QUICK) -> T:
    """What a client, called with the port on another thread, returns; on the loop that the server really uses."""

    async def work() -> T:
        async with served(Service(), limits) as port:
            return await asyncio.to_thread(client, port)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


def answer(*pieces: bytes, pause_s: float = 0.0, limits: ConnectionLimits = QUICK) -> tuple[bytes, float]:
    """The same, of a server that runs for this exchange."""
    return served_to(lambda port: exchange(port, *pieces, pause_s=pause_s), limits)


def problem_of(text: bytes) -> dict[str, Any]:
    head, _, body = text.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head and b"connection: close" in head.lower()
    document: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % document["status"])
    return document


def test_a_head_that_never_ends_is_408_however_often_it_drips() -> None:
    drips = [b"GET / HTTP/1.1\r\n", *(b"x-%d: y\r\n" % number for number in range(20))]
    text, lived = answer(*drips, pause_s=0.1)
    assert problem_of(text)["status"] == 408 and "head" in problem_of(text)["detail"]
    assert lived < 2.5


def test_blank_lines_are_no_sign_of_life() -> None:
    text, _ = answer(b"\r\n" * 3)
    assert problem_of(text)["status"] == 408


def test_a_connection_on_which_nothing_is_asked_is_closed_without_an_answer() -> None:
    text, lived = answer()
    assert text == b"" and lived >= QUICK.head_s * 0.9


def test_a_body_that_stalls_is_408_and_its_handler_sees_the_client_gone() -> None:
    async def work() -> bytes:
        service = Service()
        async with served(service) as port:
            text, _ = await asyncio.to_thread(
                exchange, port, b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nab"
            )
            await asyncio.wait_for(service.gone.wait(), 60)
        return text

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        text = runner.run(work())
    assert problem_of(text)["status"] == 408 and "body" in problem_of(text)["detail"]


def test_a_slow_body_that_goes_on_is_taken() -> None:
    head = b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 5\r\n\r\n"
    text, lived = answer(head, b"a", b"b", b"c", b"d", b"e", pause_s=0.7, limits=PATIENT)
    assert text.endswith(b"\r\n\r\n5") and lived > PATIENT.body_s


def test_a_body_that_the_server_does_not_read_yet_is_not_late() -> None:
    body = bytes(1024 * 1024)
    head = b"POST /patient HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    text, _ = answer(head + body)
    assert text.endswith(b"\r\n\r\n%d" % len(body))


def test_a_body_that_stalls_after_the_answer_has_begun_cuts_the_connection() -> None:
    text, _ = answer(b"POST /early HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nab")
    assert b"early" in text and b"408" not in text and not text.endswith(b"0\r\n\r\n")


def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    def work(port: int) -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
            time.sleep(4 * QUICK.write_s)
            return len(until_closed(wire))

    assert served_to(work) < LARGE


def test_a_client_that_reads_slowly_gets_its_whole_answer() -> None:
    def read_slowly(port: int) -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            got = 0
            while piece := wire.recv(8 * 1024 * 1024, socket.MSG_WAITALL):
                got += len(piece)
                time.sleep(0.5)  # together longer than the time-out
        return got

    assert served_to(read_slowly, PATIENT) > LARGE


def test_an_idle_connection_serves_again_and_is_closed_in_the_end() -> None:
    def work(port: int) -> tuple[bytes, bytes, float]:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(ASK)
            first = wire.recv(65536)
            time.sleep(PATIENT.head_s + 0.1)  # longer than a head may take: between requests that does not count
            wire.sendall(ASK)
            second = wire.recv(65536)
            begun = time.monotonic()
            assert until_closed(wire) == b""
            return first, second, time.monotonic() - begun

    first, second, idle = served_to(work, PATIENT)
    assert first.endswith(b"\r\n\r\n0") and second.endswith(b"\r\n\r\n0")
    assert idle >= PATIENT.idle_s * 0.9


def test_the_head_of_a_later_request_has_its_time_too() -> None:
    text, _ = answer(ASK, b"GET / HTTP/1.1\r\nx: ", pause_s=0.1)
    first, _, second = text.partition(b"HTTP/1.1 408")
    assert b"200 OK" in first and second


def test_pipelined_requests_are_all_answered() -> None:
    last = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    text, _ = answer(ASK * 5 + last)
    assert text.count(b"HTTP/1.1 200 OK") == 6


@pytest.mark.parametrize(
    "part", [b"x: " + b"a" * 4096 + b"\r\n", b"a" * 4096], ids=["many headers", "a header without an end"]
)
def test_a_huge_head_is_431_while_it_is_read(part: bytes) -> None:
    text, _ = answer(b"GET / HTTP/1.1\r\n" + (b"" if part.startswith(b"x") else b"x: "), *[part] * 1024)
    assert problem_of(text)["status"] == 431


def test_a_request_line_that_is_too_long_is_431_and_no_http_is_400_both_as_problems() -> None:
    text, _ = answer(b"GET /?q=" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (problem_of(text)["status"], problem_of(text)["code"]) == (431, "HEADERS_TOO_LARGE")
    text, _ = answer(b"\x16\x03\x01\x02\x00 no HTTP\r\n\r\n")
    assert (problem_of(text)["status"], problem_of(text)["code"]) == (400, "VALIDATION_FAILED")


def test_connections_beyond_the_bound_are_503_and_served_again_when_others_have_gone() -> None:
    def work(port: int) -> tuple[bytes, bytes]:
        address = ("127.0.0.1", port)
        held = [socket.create_connection(address, timeout=60) for _ in range(QUICK.most)]
        try:
            for wire in held:
                wire.sendall(ASK)
                assert b"200 OK" in wire.recv(65536)
            refused, _ = exchange(port)
        finally:
            for wire in held:
                wire.close()
        while (found := exchange(port, ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))[0])[9:12] == b"503":
            pass
        return refused, found

    refused, found = served_to(work, PATIENT)
    assert problem_of(refused)["status"] == 503 and b"retry-after" in refused.lower()
    assert b"200 OK" in found


def test_who_sends_too_much_gets_the_answer_all_the_same() -> None:
    """A client that closes after the answer, as Python's own, would otherwise see a reset connection alone."""
    size = 8 * 1024 * 1024

    def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(b"POST /refuse HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n")
            wire.sendall(b"content-length: %d\r\n\r\n" % size)
            for _ in range(size // 65536):
                wire.sendall(bytes(65536))
            return until_closed(wire)

    found = served_to(client, ConnectionLimits())
    assert found.startswith(b"HTTP/1.1 413 ") and found.endswith(b"no!!")


@pytest.mark.parametrize("close", [b"connection: close\r\n", b""])
def test_a_body_that_never_ends_is_cut_after_its_answer(close: bytes) -> None:
    """What is read for kindness has a bound."""

    def client(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(
                b"POST /refuse HTTP/1.1\r\nhost: localhost\r\n" + close + b"content-length: %d\r\n\r\n" % 10**12
            )
            try:
                for _ in range(1000):
                    wire.sendall(bytes(65536))
            except (ConnectionResetError, BrokenPipeError):
                return True
            return False

    assert served_to(client, ConnectionLimits(linger_bytes=1024 * 1024))


def test_a_client_that_stops_in_a_body_that_was_answered_is_let_go() -> None:
    """Its connection closes when the time for the rest is over."""

    def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(b"POST /refuse HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 9\r\n\r\n1")
            return until_closed(wire)

    assert served_to(client, ConnectionLimits(linger_s=0.3)).endswith(b"no!!")
