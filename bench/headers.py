"""What a mapping of 20 headers costs per call, request and response, beside the same app without it.

``python -m bench.headers --output json`` prints one document. The app is raw ASGI in this process, so that nothing but
the mapping differs; each round runs both, and the figure is the median difference over the rounds,
in processor time of this thread, so that others on the machine count less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import MutableMapping
from typing import Any

from bench import machine
from formicary.headers import HeaderMapping, MappingBuilder, transform
from formicary.headers.asgi import KEY, HeaderMiddleware

BAR_US = 15.0
Message = MutableMapping[str, Any]
_REPLY = [(b"content-type", b"application/json"), (b"content-length", b"2")]
_METADATA = [(f"out-{n}", f"value-{n}") for n in range(6)]


def mapping() -> HeaderMapping:
    """Twenty mappings: ten incoming, six outgoing, four both ways; some with transforms, defaults and requirements."""
    builder = MappingBuilder()
    builder.incoming("Authorization", "auth-token").with_required().with_transform(transform("bearer"))
    for n in range(9):
        builder.incoming(f"X-In-{n}", f"in-{n}")
        if n % 3 == 0:
            builder.with_default("none")
        if n % 3 == 1:
            builder.with_transform(transform("lower"))
    for n in range(6):
        builder.outgoing(f"out-{n}", f"X-Out-{n}")
        if n % 3 == 0:
            builder.with_transform(transform("add_suffix", "ms"))
    for n in range(4):
        builder.bidirectional(f"X-Both-{n}", f"both-{n}")
    return builder.build()


def request_headers() -> list[tuple[bytes, bytes]]:
    """A browser-like request: fourteen headers, ten of them mapped."""
    headers = [(b"host", b"example"), (b"accept", b"*/*"), (b"user-agent", b"bench/1"), (b"cookie", b"a=b")]
    headers += [(b"authorization", b"Bearer abc.def.ghi"), (b"x-both-0", b"0"), (b"x-both-1", b"1")]
    return headers + [(f"x-in-{n}".encode(), f"Value-{n}".encode()) for n in range(7)]


async def app(scope: Message, receive: Any, send: Any) -> None:
    """Answers with two bytes, and with metadata where a mapping is there."""
    exchange = scope.get(KEY)
    if exchange is not None:
        exchange.headers += _METADATA
    await send({"type": "http.response.start", "status": 200, "headers": list(_REPLY)})
    await send({"type": "http.response.body", "body": b"ok"})


async def _discard(message: Message) -> None:
    return None


async def _receive() -> Message:
    return {"type": "http.request"}


async def _per_call_us(served: Any, calls: int) -> float:
    scope = {"type": "http", "path": "/v1/things", "headers": request_headers(), "client": ("192.0.2.1", 1)}
    begin = time.thread_time()
    for _ in range(calls):
        await served(dict(scope), _receive, _discard)
    return (time.thread_time() - begin) / calls * 1e6


async def _measure(calls: int, rounds: int) -> tuple[list[float], list[float], list[float]]:
    compiled = mapping()
    wrapped = HeaderMiddleware(app, compiled)
    pairs = [(name.decode(), value.decode()) for name, value in request_headers()]
    plain, mapped, core = [], [], []
    await _per_call_us(wrapped, calls // 10)
    for _ in range(rounds):
        plain.append(await _per_call_us(app, calls))
        mapped.append(await _per_call_us(wrapped, calls))
        begin = time.thread_time()
        for _ in range(calls):
            metadata = compiled.request("/v1/things", pairs)
            compiled.response("/v1/things", _METADATA, (), metadata)
        core.append((time.thread_time() - begin) / calls * 1e6)
    return plain, mapped, core


def _row(what: str, runs: list[float]) -> dict[str, object]:
    spread = {"median": round(statistics.median(runs), 3), "min": round(min(runs), 3), "max": round(max(runs), 3)}
    return {"what": what, "unit": "µs/call", **spread, "runs": [round(run, 3) for run in runs]}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    plain, mapped, core = asyncio.run(_measure(chosen.calls, chosen.rounds))
    extra = [with_it - without for with_it, without in zip(mapped, plain, strict=True)]
    rows = [_row("app alone", plain), _row("app with 20 mappings", mapped), _row("added by the mapping", extra)]
    rows.append(_row("request() and response() alone", core))
    value = statistics.median(extra)
    bar = {"what": "20 mappings, request and response, added per call", "bar": f"≤ {BAR_US:g} µs"}
    bar |= {"value": round(value, 3), "met": value <= BAR_US}
    document = {"name": "headers", "machine": machine.facts(), "figures": rows, "bars": [bar], "peers": []}
    if chosen.output == "json":
        json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    for row in rows:
        print(f"{row['what']:<32} {row['median']:>8} {row['unit']}  ({row['min']} to {row['max']})")
    print(f"{bar['what']}: {bar['value']} ({bar['bar']}) {'met' if bar['met'] else 'NOT met'}")


if __name__ == "__main__":
    main()
