"""Cross-origin rules: which origins can be named, and what a page of each may do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from formicary.problems import Problem
from formicary.server.browser_guard import BrowserGuard
from formicary.server.config import UpConfig
from formicary.server.cors import Cors, origin

APP = "https://app.example"
Headers = list[tuple[bytes, bytes]]


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Refuses as authentication does."""
    await send({"type": "http.response.start", "status": 401, "headers": [(b"vary", b"accept")]})
    await send({"type": "http.response.body", "body": b"no"})


def asked(app: Any, method: str = "GET", **headers: str) -> tuple[int, dict[str, list[str]]]:
    """Status and headers of the answer; `_` in a header's name stands for `-`."""
    sent: list[Any] = []
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads a body")

    asyncio.run(app({"type": "http", "method": method, "path": "/", "headers": pairs}, receive, send))
    found: dict[str, list[str]] = {}
    for name, value in sent[0]["headers"]:
        found.setdefault(name.decode(), []).append(value.decode())
    return sent[0]["status"], found


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (APP, APP),
        ("HTTPS://App.Example:443", APP),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(text: str, sent: str) -> None:
    assert origin(text) == sent


@pytest.mark.parametrize(
    "text",
    ["*", "null", "", "app.example", "https://app.example/", "https://*.example", "https://a@b", "ftp://a", "x y"],
)
def test_what_is_not_exactly_one_origin_is_refused_at_start(text: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no origin"):
        UpConfig(tmp_path, cors_origins=(text,))
    with pytest.raises(Problem, match="no origin"):
        UpConfig(tmp_path, auth="token", cors_origins=(APP, text))


def test_a_preflight_of_a_named_origin_is_answered_before_authentication() -> None:
    status, headers = asked(
        Cors(page, [APP]),
        "OPTIONS",
        origin=APP,
        access_control_request_method="POST",
        access_control_request_headers="authorization, idempotency-key",
        access_control_request_private_network="true",
    )
    assert status == 204 and headers["access-control-allow-origin"] == [APP]
    assert headers["access-control-allow-headers"] == ["authorization, idempotency-key"]
    assert "POST" in headers["access-control-allow-methods"][0]
    assert headers["access-control-allow-private-network"] == ["true"]
    assert "origin" in headers["vary"][0] and "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("other", ["https://app.example.evil", "http://app.example", "null", "https://APP.example"])
def test_another_origin_is_told_nothing(other: str) -> None:
    app = Cors(page, [APP])
    status, headers = asked(app, "OPTIONS", origin=other, access_control_request_method="POST")
    assert status == 403 and not [name for name in headers if name.startswith("access-control")]
    status, headers = asked(app, origin=other)
    assert status == 401 and not [name for name in headers if name.startswith("access-control")]
    assert headers["vary"] == ["accept", "origin"]


def test_a_page_of_a_named_origin_reads_answers_refusals_and_our_headers() -> None:
    status, headers = asked(Cors(page, [APP]), origin=APP)
    assert status == 401 and headers["access-control-allow-origin"] == [APP]
    assert {"etag", "retry-after", "x-trace-id"} <= set(headers["access-control-expose-headers"][0].split(", "))


def test_a_plain_options_and_a_caller_without_origin_reach_the_application() -> None:
    app = Cors(page, [APP])
    assert asked(app, "OPTIONS", origin=APP)[0] == 401
    status, headers = asked(app)
    assert status == 401 and headers["vary"] == ["accept", "origin"] and "access-control-allow-origin" not in headers


def test_header_names_that_are_none_are_not_reflected() -> None:
    asked_for = {"origin": APP, "access_control_request_method": "GET", "access_control_request_headers": "a\tb: c"}
    assert "access-control-allow-headers" not in asked(Cors(page, [APP]), "OPTIONS", **asked_for)[1]


def test_the_browser_guard_lets_named_origins_in_and_still_wants_a_loopback_host() -> None:
    guard = BrowserGuard(page, [APP])
    assert asked(guard, host="127.0.0.1:7777", origin=APP)[0] == 401
    assert asked(guard, host="127.0.0.1:7777", origin="https://other.example")[0] == 403
    assert asked(guard, host="evil.example", origin=APP)[0] == 403
    assert asked(BrowserGuard(page), host="127.0.0.1:7777", origin=APP)[0] == 403
