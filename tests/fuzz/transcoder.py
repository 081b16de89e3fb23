"""The transcoder under bytes that a fuzzer makes up, guided by the branches they reach.

``python -m tests.fuzz.transcoder --seconds N`` goes on until the time is over, and ends with 1 and the input where a
rule is broken: whatever is sent is answered, never with a 5xx, never with an exception, and a refusal is a problem
document that tells nothing of the inside. Inputs of former runs are kept where ``--corpus FOLDER`` says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from types import FunctionType
from typing import Any

from formicary.gateway import Transcoder
from tests.library import Library

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
PATHS = (
    b"/v1/echo",
    b"/v1/shelves/1/books/2",
    b"/v2/shelves/1/books/2",
    b"/v1/query",
    b"/v1/tags/a",
    b"/v1/files/a/b",
    b"/v1/sum/n",
    b"/v1/chat",
    b"/v1/counting/2",
    b"/v1/deep/a",
    b"/v1/shelves/1/books/2:lend",
)
HEADERS = (
    b"accept",
    b"accept-encoding",
    b"content-type",
    b"content-encoding",
    b"if-match",
    b"if-none-match",
    b"grpc-timeout",
    b"request-timeout",
    b"x-y-bin",
)
SEEDS = (
    b'\x01\x00\x00{"text":"a","int64_value":"5","inner":{"flag":true},"time":"2026-01-31T12:00:00Z"}',
    b'\x01\x00\x01\x02application/x-protobuf\n{"labels":{"a":"b"},"duration":"1.5s","any":{"@type":"x"}}',
    b"\x00\x03\x00?text=a&inner.text=%20&kinds=1\n",
    b'\x01\x06\x00{"count":1}\n{"count":2}',
    b"\x00\x08\x01\x00text/event-stream\n",
)
_INTERNALS = ("Traceback", "site-packages", "DecodeError", "object at 0x", "formicary/")


class Broken(Exception):
    """A rule does not hold; the message has the request."""


class Target:
    """The transcoder with a library behind it; call it with the bytes of one input."""

    def __init__(self) -> None:
        self._app = Transcoder([Library().service()], max_body_bytes=1 << 16, body_timeout_s=1.0)
        self._loop = asyncio.new_event_loop()
        logging.disable(logging.CRITICAL)

    def close(self) -> None:
        """Ends the loop."""
        logging.disable(logging.NOTSET)
        self._loop.close()

    def __call__(self, data: bytes) -> None:
        """Sends what the bytes say. Raises Broken."""
        request = request_of(data)
        if request is None:
            return
        scope, body = request
        try:
            status, headers, answer = self._loop.run_until_complete(asyncio.wait_for(self._ask(scope, body), 10))
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {error}; {scope} {body!r}") from error
        _check(scope, status, headers, answer, body)

    async def _ask(self, scope: MutableMapping[str, Any], body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        events: list[dict[str, Any]] = []
        pieces = iter(({"type": "http.request", "body": body},))

        async def receive() -> dict[str, Any]:
            found = next(pieces, None)
            return found if found is not None else await asyncio.get_running_loop().create_future()

        async def send(event: MutableMapping[str, Any]) -> None:
            events.append(dict(event))

        await self._app(scope, receive, send)
        if not events:
            raise Broken("nothing was answered")
        return events[0]["status"], dict(events[0]["headers"]), b"".join(event["body"] for event in events[1:])


def request_of(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """An ASGI scope and a body: verb, path and number of headers are a byte each, then lines, then the body."""
    if len(data) < 3:
        return None
    verb, path, count = VERBS[data[0] % len(VERBS)], PATHS[data[1] % len(PATHS)], data[2] % 4
    rest, headers = data[3:], []
    if rest[:1] in (b"?", b"/"):
        line, _, rest = rest.partition(b"\n")
        path += line
    for _ in range(count):
        line, _, rest = rest.partition(b"\n")
        if line:
            headers.append((HEADERS[line[0] % len(HEADERS)], line[1:].replace(b"\r", b"").replace(b"\0", b"")))
    if rest:
        headers.append((b"content-length", b"%d" % len(rest)))
    raw, _, query = path.partition(b"?")
    scope = {"type": "http", "http_version": "1.1", "method": verb, "raw_path": raw, "query_string": query}
    return {**scope, "path": raw.decode("latin-1"), "headers": headers}, rest


def _check(
    scope: MutableMapping[str, Any], status: int, headers: dict[bytes, bytes], answer: bytes, sent: bytes
) -> None:
    if status >= 500 and not (status == 504 and any(b"timeout" in name for name, _ in scope["headers"])):
        raise Broken(f"{status} for {scope} {sent!r}: {answer!r}")
    if status < 400 or scope["method"] == "HEAD":
        return
    document: dict[str, Any] = {}
    if headers[b"content-type"] in (b"application/problem+json", b"application/json"):
        document = json.loads(answer)
        if document.get("status") != status or "code" not in document:
            raise Broken(f"no problem document for {scope} {sent!r}: {answer!r}")
    told = answer.decode("utf-8")
    for text in _INTERNALS:
        if text in told and text.encode() not in sent and text not in str(scope):
            raise Broken(f"{text} is told for {scope} {sent!r}: {answer!r}")


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """Inputs without guidance, always the same for a seed: the seeds with bytes changed, cut, doubled and spliced."""
    from random import Random

    rng = Random(seed)
    pool = list(SEEDS)
    for _ in range(count):
        data = bytearray(rng.choice(pool))
        data[:2] = rng.randbytes(2) if rng.random() < 0.5 else data[:2]
        for _ in range(rng.randint(0, 6)):
            at = rng.randrange(len(data) + 1)
            how = rng.randrange(4)
            if how == 0:
                data[at : at + 1] = rng.randbytes(1)
            elif how == 1:
                del data[at : at + rng.randint(1, 8)]
            elif how == 2:
                data[at:at] = data[at : at + rng.randint(1, 16)]
            else:
                data[at:at] = rng.choice((b"%", b"\xff", b'"', b"{", b"[", b"null", b"1e999", b"\\ud800", b"-1", b"\n"))
        yield bytes(data)


def _functions(prefix: str) -> list[FunctionType]:
    """The functions and methods of the loaded modules whose branches guide the fuzzer."""
    found = []
    for name, module in list(sys.modules.items()):
        if name.startswith(prefix):
            owners = [vars(module), *(vars(one) for one in vars(module).values() if isinstance(one, type))]
            members = [member for owner in owners for member in owner.values()]
            found += [one for one in members if isinstance(one, FunctionType) and one.__module__ == name]
    return found


def main() -> None:
    """The command; the fuzzer ends the process itself."""
    import atheris  # type: ignore[import-untyped]  # it brings no types

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.transcoder", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long, default 60")
    parser.add_argument("--corpus", help="folder of inputs that is read and added to")
    chosen = parser.parse_args()
    target: Callable[[bytes], None] = Target()
    corpus = Path(chosen.corpus or tempfile.mkdtemp(prefix="formicary-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        target(seed)
        (corpus / f"seed-{number}").write_bytes(seed)
    for function in _functions("formicary.gateway.transcoding."):
        atheris.instrument_func(function)
    arguments = [sys.argv[0], f"-max_total_time={chosen.seconds}", "-max_len=4096", "-timeout=20"]
    atheris.Setup([*arguments, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
