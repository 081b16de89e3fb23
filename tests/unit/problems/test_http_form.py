"""What goes out over HTTP: the document, its headers, its pages, and what is kept back."""

import json
import re
from html import escape

import msgspec
import pytest

from formicary.problems import (
    ALIASES,
    CATALOGUE,
    CodeEntry,
    FieldError,
    Problem,
    entry,
    generic,
    pages,
    parse_http,
    problem,
)
from formicary.problems.catalogue import GRPC_CODES
from formicary.problems.http import preferred, public_document, render_http
from formicary.problems.problem import pointer
from formicary.problems.showing import may_show
from formicary.problems.trace_context import trace_id_of

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=CATALOGUE)
def test_every_row_is_whole(row: CodeEntry) -> None:
    """Every row says what to do, is of a known kind, has its page and a retry policy where a retry may help."""
    found = entry(row.code)
    assert found.remedy.endswith(".") and found.grpc_code in GRPC_CODES
    assert not found.retryable or found.retry.max_retries
    assert pages.find(found.type_uri) is found
    assert escape(found.title).encode() in pages.page(found, html=True)
    assert json.loads(pages.page(found, html=False))["code"] == found.code


@pytest.mark.parametrize("name", GRPC_CODES[1:])
def test_every_grpc_code_has_a_row(name: str) -> None:
    assert generic(name).grpc_code == name


@pytest.mark.parametrize(("alias", "code"), ALIASES.items())
def test_aliases_lead_to_rows_and_are_never_sent(alias: str, code: str) -> None:
    assert alias not in CATALOGUE and entry(alias).code == problem(alias).code == code


def test_the_index_and_the_page_of_a_job_files_own_error() -> None:
    assert b"/problems/not-found" in pages.index(html=True) and len(json.loads(pages.index(html=False))["problems"])
    assert pages.find("/problems/err-no-disk") is not None and pages.find("/problems/zzz") is None
    assert pages.find("/elsewhere") is None


def test_the_document_says_all_that_the_sheet_asks() -> None:
    before = problem("UNAVAILABLE", "Locked.", errors=[FieldError("a[1]", "C", "m")], retry_after_s=1.2, leader="q2")
    document = public_document(before, instance="/v1/x", trace_id="ab" * 16, type_base="https://jobs.example/")
    stamp = document.pop("timestamp")
    assert isinstance(stamp, str) and re.fullmatch(RFC3339, stamp)
    assert document == {
        "type": "https://jobs.example/problems/unavailable",
        "title": "The service cannot answer now",
        "status": 503,
        "detail": "Locked.",
        "code": "UNAVAILABLE",
        "grpc_code": "UNAVAILABLE",
        "retryable": True,
        "blame": "server",
        "errors": [{"field": "a[1]", "code": "C", "message": "m", "pointer": "/a/1"}],
        "remedy": "Try again.",
        "instance": "/v1/x",
        "traceId": "ab" * 16,
        "leader": "q2",
        "extensions": {
            "retryable": True,
            "retryAfter": 1.2,
            "maxRetries": 5,
            "backoffType": "exponential",
            "backoffMs": 1000,
            "errorCategory": "transient",
        },
    }


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("image/png", "application/problem+json"),
        (BROWSER, "text/html; charset=utf-8"),
        ("text/html;q=0, */*;q=0.1", "application/problem+json"),
        ("application/problem+json;q=x, text/*", "text/html; charset=utf-8"),
    ],
)
def test_the_form_is_what_the_client_likes_best(accept: str, kind: str) -> None:
    answer = render_http(problem("NOT_FOUND"), accept=accept)
    assert dict(answer.headers)["content-type"] == kind
    assert int(dict(answer.headers)["content-length"]) == len(answer.body)


def test_nothing_acceptable_is_nothing() -> None:
    assert preferred("image/png", ("text/html",)) == "" and preferred("*/*;q=inf", ("a/b",)) == ""


def test_html_is_escaped() -> None:
    answer = render_http(problem("NOT_FOUND", "<script>x</script>", x="<b>"), accept=BROWSER, instance="/<i>")
    assert b"<script>" not in answer.body and b"<b>" not in answer.body and b"<i>" not in answer.body


def test_headers_of_429_401_and_405() -> None:
    def header(found: Problem, name: str) -> str | None:
        return dict(render_http(found).headers).get(name)

    assert header(problem("RATE_LIMIT_EXCEEDED", retry_after_s=29.2), "retry-after") == "30"
    assert header(problem("UNAVAILABLE"), "retry-after") == "1"
    assert header(problem("NOT_FOUND"), "retry-after") is None
    assert header(problem("UNAUTHENTICATED"), "www-authenticate") == 'Bearer realm="formicary"'
    assert header(problem("UNAUTHENTICATED", challenge="Basic"), "www-authenticate") == "Basic"
    assert header(problem("UNAUTHENTICATED", challenge="B\r\nx: y"), "www-authenticate") == 'Bearer realm="formicary"'
    assert header(problem("METHOD_NOT_ALLOWED", allow=["GET", "PUT", "b\r\nad"]), "allow") == "GET, PUT"
    assert header(problem("METHOD_NOT_ALLOWED", allow="GET, PUT"), "allow") == "GET, PUT"


@pytest.mark.parametrize("code", [code for code, row in CATALOGUE.items() if not row.show])
def test_a_row_that_hides_its_detail_shows_the_catalogue_alone(code: str) -> None:
    hidden = problem(code, "CANARY", errors=[FieldError("CANARY", "CANARY", "CANARY")], remedy="CANARY", x="CANARY")
    assert b"CANARY" not in render_http(hidden).body
    assert json.loads(render_http(hidden).body)["remedy"] == entry(code).remedy


def test_a_problem_may_hide_more_but_never_show_what_its_row_hides() -> None:
    hidden, stubborn = problem("UNAVAILABLE", "10.0.0.1"), problem("INTERNAL", "secret")
    hidden.show, stubborn.show = False, True
    assert not may_show(hidden) and not may_show(stubborn)
    assert not may_show(Problem("MADE_UP", "t", "secret", status=500))
    assert may_show(problem("ERR_NO_DISK", "The disk is full."))


@pytest.mark.parametrize("code", [code for code, row in CATALOGUE.items() if row.show])
def test_a_client_gets_the_same_problem_back(code: str) -> None:
    before = problem(code, "What happened.", errors=[FieldError("a", "C", "m", 3, 4)], retry_after_s=2.5, leader="x")
    after = parse_http(*render_http(before, instance="/x", trace_id="ab" * 16))
    want = before.to_document() | {"instance": "/x", "traceId": "ab" * 16, "timestamp": after.timestamp}
    assert after.to_document() == want


def test_a_client_makes_the_best_of_what_is_no_problem_document() -> None:
    found = parse_http(503, {"Retry-After": "7"}, b"<html>nginx 10.0.0.1")
    assert (found.code, found.status, found.retry.after_s) == ("UNAVAILABLE", 503, 7.0)
    assert parse_http(418, {}, b"\xff").status == 418 and parse_http(599, [], "[]").code == "INTERNAL"
    dated = parse_http(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"")
    assert dated.retry.after_s is not None
    assert parse_http(404, {"retry-after": "soon"}, b"").retry.after_s is None
    other = parse_http(409, {}, msgspec.json.encode({"type": "https://x.example/odd", "title": "Odd", "balance": 3}))
    assert (other.code, other.title) == ("CONFLICT", "Odd")
    assert other.extensions == {"balance": 3, "upstreamType": "https://x.example/odd"}


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("", ""),
        ("a", "/a"),
        ("tasks[2].retry", "/tasks/2/retry"),
        ('labels["a.b"].x', "/labels/a.b/x"),
        ('m["a\\"]/~b"]', '/m/a"]~1~0b'),
    ],
)
def test_pointers_are_those_of_rfc_6901(path: str, want: str) -> None:
    assert pointer(path) == want


def test_the_trace_id_is_that_of_the_trace_context_or_new() -> None:
    assert trace_id_of(f"00-{'ab' * 16}-{'cd' * 8}-01") == "ab" * 16
    for wrong in ("", "x", f"00-{'0' * 32}-{'cd' * 8}-01"):
        made = trace_id_of(wrong)
        assert len(made) == 32 and made != "0" * 32
