"""Transforms by name in code, refusals as the rest of the API sends them, counters for Prometheus."""

import asyncio
import json
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from formicary.headers import Direction, MappingBuilder, MappingConfig, Rule, compile_mapping
from formicary.headers.asgi import HeaderMiddleware
from formicary.problems import Problem


def test_transforms_are_named_in_code_as_in_files() -> None:
    """A name, and a tuple of a name and its argument, are transforms; so are functions, mixed with them."""
    steps = ("trim", ("truncate", 4), str.upper, ("regex_replace", "A", "x"), ("regex_replace", "B", "y"))
    mapping = MappingBuilder().incoming("X-A").with_transform(*steps).build()
    assert mapping.request("/", [("x-a", " abcdef ")]) == [("x-a", "xyCD")]


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("trimm", "UNKNOWN_TRANSFORM"),
        (("trimm", 1), "UNKNOWN_TRANSFORM"),
        (("truncate", "x"), "INVALID_VALUE"),
        (("truncate", 1, 2), "INVALID_VALUE"),
        ("truncate", "INVALID_VALUE"),
        ((), "INVALID_VALUE"),
        (7, "INVALID_VALUE"),
        (None, "INVALID_VALUE"),
    ],
)
def test_what_is_no_transform_is_refused_when_it_is_built(step: Any, code: str) -> None:
    """Every step that cannot run is a mistake of build(), with its place."""
    with pytest.raises(Problem) as caught:
        MappingBuilder().incoming("X-A").with_transform("trim", step).outgoing("b", "X-B").with_transform(step).build()
    found = [(error.field, error.code) for error in caught.value.errors]
    assert found == [("mappings[0].incoming[1]", code), ("mappings[1].outgoing[0]", code)]


def test_a_direction_that_is_none_is_refused_with_its_place() -> None:
    """Whole numbers are for files, where they load with a hint; in code they are a mistake."""
    with pytest.raises(Problem) as caught:
        compile_mapping(MappingConfig(mappings=(Rule(header="X-A", direction=cast(Direction, 0)),)))
    assert [(error.field, error.code) for error in caught.value.errors] == [("mappings[0].direction", "INVALID_VALUE")]


def test_auto_generated_means_an_id_in_code_too() -> None:
    """The builder takes `auto-generated` as files do: nothing sends these words."""
    mapping = MappingBuilder().incoming("X-Request-ID").with_default("auto-generated").build()
    assert len(dict(mapping.request("/", []))["x-request-id"]) == 36


def test_credentials_that_are_none_are_answered_with_401() -> None:
    """`bearer` refuses with UNAUTHENTICATED, and everything that is wrong is in the one problem."""
    mapping = (
        MappingBuilder().incoming("Authorization").with_transform("bearer").incoming("X-T").with_required().build()
    )
    for _ in range(4):
        with pytest.raises(Problem) as caught:
            mapping.request("/", [("authorization", "Basic s3cr3t")])
        refusal = caught.value
        assert (refusal.code, refusal.status) == ("UNAUTHENTICATED", 401)
        codes = [(error.field, error.code) for error in refusal.errors]
        assert sorted(codes) == [
            ("headers.Authorization", "CREDENTIALS_REJECTED"),
            ("headers.X-T", "REQUIRED_HEADER_MISSING"),
        ]
        assert "s3cr3t" not in json.dumps(refusal.to_document())


@pytest.mark.parametrize(
    ("accept", "kind"), [("text/html", "text/html; charset=utf-8"), ("", "application/problem+json")]
)
def test_the_middleware_refuses_as_the_rest_of_the_api_does(accept: str, kind: str) -> None:
    """A refusal is negotiated, is not stored, names the path, challenges on 401, and carries mapped defaults."""
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the application is not asked")

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        messages.append(message)

    builder = MappingBuilder().incoming("Authorization").with_transform("bearer")
    mapping = builder.outgoing("frame", "X-Frame-Options").with_default("DENY").build()
    headers = [(b"authorization", b"Basic x"), *([(b"accept", accept.encode())] if accept else [])]
    scope = {"type": "http", "method": "GET", "path": "/v1", "headers": headers}
    asyncio.run(HeaderMiddleware(app, mapping)(scope, receive, send))
    answered = dict(messages[0]["headers"])
    assert messages[0]["status"] == 401 and answered[b"content-type"] == kind.encode()
    assert answered[b"www-authenticate"].startswith(b"Bearer") and answered[b"cache-control"] == b"no-store"
    assert answered[b"x-frame-options"] == b"DENY" and answered[b"vary"] == b"accept"
    assert int(answered[b"content-length"]) == len(messages[1]["body"])
    if not accept:
        assert json.loads(messages[1]["body"])["instance"] == "/v1"


def test_prometheus_reads_the_counters_of_every_mapping() -> None:
    """A collector shows the counters as they are when they are read, by the mapping's name."""
    mapping = MappingBuilder().incoming("X-A", "a").build()
    registry = CollectorRegistry()
    registry.register(mapping.collector("edge"))
    for value in ("1", "2", "é"):
        try:
            mapping.request("/", [("x-a", value)])
        except Problem:
            assert value == "é"
    shown = generate_latest(registry).decode()
    labels = 'direction="incoming",header="X-A",mapping="edge",metadata="a",outcome='
    assert f'formicary_headers_total{{{labels}"mapped"}} 2.0' in shown
    assert f'formicary_headers_total{{{labels}"rejected"}} 1.0' in shown
