"""Requests over HTTP and what becomes of them: tables by hand from what google/api/http.proto says."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from formicary.gateway import Transcoder
from tests.library import Library

BOOK = "/v1/shelves/1/books/2"


async def ask(method: str, url: str, **more: Any) -> httpx.Response:
    app: Any = Transcoder([Library().service()], **more.pop("options", {}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        more.setdefault("headers", {}).setdefault("accept-encoding", "identity")
        return await client.request(method, url, **more)


def run(method: str, url: str, **more: Any) -> httpx.Response:
    return asyncio.run(ask(method, url, **more))


QUERIES: list[tuple[str, Any]] = [
    ("text=a+b%20c%26", {"text": "a b c&"}),
    ("text=", {}),
    ("maybe_text=", {"maybe_text": ""}),
    ("maybeText=x", {"maybe_text": "x"}),
    ("&&text=a&", {"text": "a"}),
    ("flag=true", {"flag": True}),
    ("blob=AQL_", {"blob": "AQL/"}),
    ("int32_value=-5&int64_value=5", {"int32_value": -5, "int64_value": "5"}),
    ("real=1e3&single=0.5", {"single": 0.5, "real": 1000.0}),
    ("real=NaN", {"real": "NaN"}),
    ("kind=KIND_ATLAS", {"kind": "KIND_ATLAS"}),
    ("kind=1", {"kind": "KIND_NOVEL"}),
    ("texts=a&texts=b", {"texts": ["a", "b"]}),
    ("kinds=1&kinds=KIND_ATLAS", {"kinds": ["KIND_NOVEL", "KIND_ATLAS"]}),
    ("inner.inner.text=x&inner.flag=true", {"inner": {"flag": True, "inner": {"text": "x"}}}),
    ("choice_inner.text=x", {"choice_inner": {"text": "x"}}),
    ("time=2026-01-31T12:00:00Z", {"time": "2026-01-31T12:00:00Z"}),
    ("duration=1.5s", {"duration": "1.500s"}),
    ("mask=a_b,c", {"mask": "aB,c"}),
    ("int64_box=5&bool_box=false", {"bool_box": False, "int64_box": "5"}),
    ("renamed=x", {"named": "x"}),
    ("nope=1", [("nope", "UNKNOWN_FIELD")]),
    ("text.x=1", [("text.x", "UNKNOWN_FIELD")]),
    ("inner=x", [("inner", "NOT_A_PARAMETER")]),
    ("inners.text=x", [("inners.text", "NOT_A_PARAMETER")]),
    ("labels=x", [("labels", "NOT_A_PARAMETER")]),
    ("struct=x", [("struct", "NOT_A_PARAMETER")]),
    ("text=a&text=b", [("text", "DUPLICATE_FIELD")]),
    ("maybe_text=a&maybeText=b", [("maybe_text", "DUPLICATE_FIELD")]),
    ("choice_text=a&choice_number=1", [("choice_number", "ONEOF_CONFLICT")]),
    ("flag=1&kind=X", [("flag", "INVALID_FORMAT"), ("kind", "INVALID_FORMAT")]),
    ("int32_value=2147483648", [("int32_value", "INVALID_FORMAT")]),
    ("text=%zz", [("text", "INVALID_QUERY")]),
    ("text=%ff", [("text", "INVALID_QUERY")]),
    ("time=yesterday", [("time", "INVALID_FORMAT")]),
]


@pytest.mark.parametrize(("query", "expected"), QUERIES, ids=[row[0] for row in QUERIES])
def test_query_parameters(query: str, expected: Any) -> None:
    """Every field may be one; what is wrong is told, all of it."""
    answer = run("GET", f"/v1/query?{query}")
    if isinstance(expected, dict):
        assert (answer.status_code, answer.json()) == (200, expected)
    else:
        assert answer.status_code == 400
        assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == expected


GZIP, DEFLATE = {"content-encoding": "gzip"}, {"content-encoding": "deflate"}
CALLS: list[tuple[str, str, dict[str, Any], int, Any]] = [
    ("GET", BOOK + "?view=x", {}, 200, {"name": "shelves/1/books/2", "title": "x"}),
    ("PURGE", BOOK, {}, 200, {"name": "shelves/1/books/2"}),
    ("GET", "/v1/books/a%2Fb", {}, 200, {"name": "a/b"}),
    ("GET", BOOK + "?name=y", {}, 400, ["name"]),
    ("GET", "/v1/query/5/KIND_ATLAS/true", {}, 200, {"flag": True, "int64_value": "5", "kind": "KIND_ATLAS"}),
    ("GET", "/v1/query/x/KIND_X/yes", {}, 400, ["int64_value", "kind", "flag"]),
    ("GET", "/v1/query/t?choice_number=1", {}, 400, ["choice_text"]),
    ("GET", "/v1/deep/a/b%20c", {}, 200, {"inner": {"text": "a/b c"}}),
    ("GET", "/v1/deep/a?inner.text=x", {}, 400, ["inner.text"]),
    ("POST", BOOK + ":lend", {"json": {"view": "x"}}, 200, {"name": "shelves/1/books/2", "view": "x"}),
    ("POST", BOOK + ":lend", {}, 200, {"name": "shelves/1/books/2"}),
    ("POST", BOOK + ":lend", {"json": {"name": "shelves/1/books/2"}}, 200, {"name": "shelves/1/books/2"}),
    ("POST", BOOK + ":lend", {"json": {"name": "other"}}, 400, ["name"]),
    ("POST", BOOK + ":lend?view=x", {}, 400, ["view"]),
    ("GET", BOOK + ":lend", {}, 405, "METHOD_NOT_ALLOWED"),
    ("POST", "/v1/shelves/1/books?book_id=7", {"json": {"pageCount": 3}}, 201, {"page_count": 3}),
    ("POST", "/v1/shelves/1/books?book.title=x", {"json": {}}, 400, ["book.title"]),
    ("POST", "/v1/shelves/1/books", {"json": {"nope": 1, "author": {"x": 1}}}, 400, ["book.nope", "book.author.x"]),
    ("PATCH", BOOK, {"json": {"title": "A", "author": {"country": "x"}}}, 200, "title,author.country"),
    ("PATCH", BOOK, {"json": {"title": None, "author": {}}}, 200, "title,author"),
    ("PATCH", BOOK, {"json": {"name": "shelves/1/books/2", "pageCount": 0}}, 200, "pageCount"),
    ("PATCH", BOOK + "?update_mask=kind", {"json": {"title": "A"}}, 200, "kind"),
    ("PATCH", BOOK.replace("v1", "v2"), {"json": {"title": "A"}}, 400, ["update_mask"]),
    ("PATCH", BOOK.replace("v1", "v2") + "?updateMask=title", {"json": {"title": "A"}}, 200, "title"),
    ("PATCH", BOOK, {"json": {"name": "other"}}, 400, ["book.name"]),
    ("DELETE", BOOK, {"headers": {"if-match": '"7"'}}, 200, {"name": "shelves/1/books/2", "etag": "7"}),
    ("PUT", "/v1/tags/a", {"json": ["x", "y"]}, 200, ["x", "y"]),
    ("PUT", "/v1/tags/a", {"json": {}}, 400, ["tags"]),
    ("POST", "/formicary.tests.library.Library/Plain", {"json": {"text": "x"}}, 200, {"text": "x"}),
    ("POST", "/formicary.tests.library.Library/Echo", {"json": {}}, 404, "ROUTE_NOT_FOUND"),
    ("GET", "/v1/shelves/1/books/none", {}, 404, "NOT_FOUND"),
    ("GET", "/v1/shelves/1/books/bug", {}, 500, "INTERNAL"),
    ("GET", "/v1/shelves/%zz/books/x", {}, 400, "VALIDATION_FAILED"),
    ("POST", "/v1/echo", {"content": b"{"}, 400, "MALFORMED_JSON"),
    ("POST", "/v1/echo", {"content": b'{"text":"a","text":"b"}'}, 400, "VALIDATION_FAILED"),
    ("POST", "/v1/echo", {"content": b"{}", "headers": {"content-type": "text/xml"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", "/v1/echo", {"json": {}, "headers": {"accept": "image/png"}}, 406, "NOT_ACCEPTABLE"),
    ("POST", "/v1/echo", {"json": {}, "headers": {"accept": "image/png, */*;q=0.1"}}, 200, {}),
    ("POST", "/v1/echo", {"content": b" " * 5_000_000}, 413, "PAYLOAD_TOO_LARGE"),
    ("POST", "/v1/echo", {"content": gzip.compress(b" " * 50_000_000), "headers": GZIP}, 413, "PAYLOAD_TOO_LARGE"),
    ("POST", "/v1/echo", {"content": gzip.compress(b'{"text":"x"}'), "headers": GZIP}, 200, {"text": "x"}),
    ("POST", "/v1/echo", {"content": zlib.compress(b'{"text":"x"}'), "headers": DEFLATE}, 200, {"text": "x"}),
    ("POST", "/v1/echo", {"content": b"junk", "headers": GZIP}, 400, "VALIDATION_FAILED"),
    ("GET", BOOK, {"headers": {"grpc-timeout": "soon"}}, 400, "HEADER_INVALID"),
    ("GET", BOOK, {"headers": {"request-timeout": "2.5", "grpc-timeout": "9S"}}, 200, {"name": "shelves/1/books/2"}),
    ("GET", BOOK, {"content": b'{"x":1}'}, 400, [""]),
    ("POST", "/v1/sum/n", {"content": b'{"count":1}\n\n{"count":2}'}, 200, {"count": 3, "name": "n"}),
    ("POST", "/v1/sum/n", {"content": b""}, 200, {}),
    ("POST", "/v1/sum/n", {"content": b'{"count":1}\n{"count":"x"}'}, 400, ["count"]),
]


@pytest.mark.parametrize(("method", "url", "more", "status", "expected"), CALLS, ids=[f"{r[0]} {r[1]}" for r in CALLS])
def test_calls(method: str, url: str, more: dict[str, Any], status: int, expected: Any) -> None:
    """Status and document of each call."""
    answer = run(method, url, **{key: dict(value) if key == "headers" else value for key, value in more.items()})
    assert answer.status_code == status, answer.text
    document = answer.json()
    if status >= 400 and isinstance(expected, str):
        assert document["code"] == expected
        assert "secret" not in answer.text
    elif status >= 400:
        assert [one["field"] for one in document["errors"]] == expected
    elif isinstance(expected, str):
        assert document["update_mask"] == expected
    else:
        assert document == expected


STREAMS: list[tuple[str, str, str, str]] = [
    ("/v1/counting/2", "*/*", "application/x-ndjson", '{"count":1}\n{"count":2}\n'),
    ("/v1/counting/0", "*/*", "application/x-ndjson", ""),
    ("/v1/counting/2", "application/json", "application/json", '[{"count":1},\n{"count":2}]'),
    ("/v1/counting/1", "text/event-stream", "text/event-stream", 'data: {"count":1}\n\nevent: end\ndata: {}\n\n'),
    ("/v1/pieces/2", "*/*", "text/csv", "0\n1\n"),
]


@pytest.mark.parametrize(("url", "accept", "kind", "text"), STREAMS)
def test_streams(url: str, accept: str, kind: str, text: str) -> None:
    """Each form of a stream."""
    answer = run("GET", url, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, kind, text)


def test_a_stream_that_fails_ends_with_its_problem() -> None:
    """In band once a message is out."""
    lines = run("GET", "/v1/counting/3?fail_after=1").text.splitlines()
    assert json.loads(lines[1])["@problem"]["code"] == "UNAVAILABLE"


def test_head_options_and_allow() -> None:
    """HEAD is GET without its body; OPTIONS and 405 tell the methods."""
    head, options, wrong = run("HEAD", BOOK), run("OPTIONS", BOOK), run("POST", BOOK)
    assert (head.status_code, head.content) == (200, b"")
    assert options.status_code == 204
    assert options.headers["allow"] == wrong.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PURGE"


def test_entity_tags() -> None:
    """The field etag, else a hash when asked."""
    assert run("GET", "/v1/books/tagged").headers["etag"] == '"7"'
    assert run("GET", "/v1/books/tagged", headers={"if-none-match": 'W/"7"'}).status_code == 304
    assert run("GET", "/v1/books/tagged", headers={"if-match": '"8"'}).status_code == 412
    hashed = run("GET", BOOK, headers={"if-none-match": '"x"'}).headers["etag"]
    assert run("GET", BOOK, headers={"if-none-match": hashed}).status_code == 304
