"""Bad requests to a real server: the right status, a problem document, and nothing of the inside."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from formicary.problems.rpc import from_rpc_error
from formicary.server.api.serving import MAX_MESSAGE_BYTES
from tests.acceptance.server import REPOSITORY, Up, until

INSIDE = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|/tmp/|/home/|SELECT |INSERT |sqlite|psycopg|<class|object at 0x|_pb2|"
    r"[A-Z][A-Za-z]+Error\b|" + re.escape(str(REPOSITORY))
)
SUBMIT = "POST /v1/jobs"
CANARIES = {"authorization": "Bearer canary-1", "cookie": "session=canary-2", "x-user-id": "canary-3"}
JSON = {"content-type": "application/json", "idempotency-key": "bad"}
DEEP = b'{"params":' + b'{"a":' * 5000 + b"1" + b"}" * 5001
BOMB = gzip.compress(b" " * (MAX_MESSAGE_BYTES + 1))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server without ants."""
    server = Up(tmp_path_factory.mktemp("bad") / "data", "--ants", "0")
    server.start()
    until(lambda: server.page("/v1/jobs")[0] == 200, 10, "the API is served")
    yield server
    server.clear()


def exchange(up: Up, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", up.http), timeout=20) as wire:
        try:
            wire.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before everything was sent
        pieces = []
        try:
            while piece := wire.recv(65536):
                pieces.append(piece)
        except ConnectionResetError:
            pass
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def ask(up: Up, line: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the answer to `METHOD TARGET`; what is wrong may stand anywhere."""
    given = {"host": f"127.0.0.1:{up.http}", "connection": "close"} | (headers or {})
    if body and "transfer-encoding" not in given:
        given["content-length"] = str(len(body))
    text = f"{line} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items()) + "\r\n"
    status, found, answer = exchange(up, text.encode("latin-1") + body)
    return status, found, json.loads(answer) if answer else None


def chunked(body: bytes) -> bytes:
    """The body in chunks of a mebibyte."""
    pieces = [body[at : at + 2**20] for at in range(0, len(body), 2**20)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("line", "body", "headers", "status", "code"),
    [
        pytest.param(SUBMIT, b"{", JSON, 400, "MALFORMED_JSON", id="half of a document"),
        pytest.param(SUBMIT, b"[1]", JSON, 400, "VALIDATION_FAILED", id="a list"),
        pytest.param(SUBMIT, b'{"id":"a","id":"b"}', JSON, 400, "VALIDATION_FAILED", id="a key twice"),
        pytest.param(SUBMIT, b'{"params":{"a":NaN}}', JSON, 400, "MALFORMED_JSON", id="NaN"),
        pytest.param(SUBMIT, b'{"params":{"a":1e999}}', JSON, 400, "VALIDATION_FAILED", id="an infinite number"),
        pytest.param(SUBMIT, DEEP, JSON, 400, "MALFORMED_JSON", id="deep nesting"),
        pytest.param(SUBMIT, b'{"priority":1' + b"0" * 9999 + b"}", JSON, 400, "MALFORMED_JSON", id="many digits"),
        pytest.param(SUBMIT, b'{"job_type":"\xff"}', JSON, 400, "MALFORMED_JSON", id="not UTF-8"),
        pytest.param(SUBMIT, b'{"job_type":"\\ud800"}', JSON, 400, "VALIDATION_FAILED", id="half a surrogate pair"),
        pytest.param(SUBMIT, b'{"nonsense":1}', JSON, 400, "VALIDATION_FAILED", id="unknown field"),
        pytest.param(SUBMIT, b'{"job_type":7}', JSON, 400, "VALIDATION_FAILED", id="wrong type"),
        pytest.param(
            SUBMIT,
            b'{"job_type":"x"}',
            {"content-type": "application/json"},
            400,
            "IDEMPOTENCY_KEY_MISSING",
            id="no key",
        ),
        pytest.param(
            "POST /v1/jobs:batchSubmit",
            b'{"job_type":"x","jobs":[{"scheduled_at":"NaN"}]}',
            JSON,
            *(404, "NOT_FOUND"),
            id="unknown job type",
        ),
        pytest.param(SUBMIT, b"a: 1", {"content-type": "text/yaml"}, 415, "UNSUPPORTED_MEDIA_TYPE", id="YAML"),
        pytest.param(
            SUBMIT, b"{}", JSON | {"content-encoding": "zstd"}, 415, "UNSUPPORTED_MEDIA_TYPE", id="unknown encoding"
        ),
        pytest.param("GET /v1/jobs", b"", {"accept": "image/png"}, 406, "NOT_ACCEPTABLE", id="an image is wanted"),
        pytest.param(
            SUBMIT, b"", JSON | {"content-length": str(10**12)}, 413, "PAYLOAD_TOO_LARGE", id="too large, as it says"
        ),
        pytest.param(
            SUBMIT,
            chunked(b" " * (MAX_MESSAGE_BYTES + 1)),
            JSON | {"transfer-encoding": "chunked"},
            *(413, "PAYLOAD_TOO_LARGE"),
            id="too large, without saying so",
        ),
        pytest.param(SUBMIT, BOMB, JSON | {"content-encoding": "gzip"}, 413, "PAYLOAD_TOO_LARGE", id="a gzip bomb"),
        pytest.param(SUBMIT, b"no", JSON | {"content-encoding": "gzip"}, 400, "VALIDATION_FAILED", id="broken gzip"),
        pytest.param("GET /v1/jobs?states=FLYING", b"", {}, 400, "VALIDATION_FAILED", id="unknown state"),
        pytest.param("GET /v1/definitions?view=FLYING", b"", {}, 400, "VALIDATION_FAILED", id="unknown enum by name"),
        pytest.param("GET /v1/definitions?view=77", b"", {}, 400, "VALIDATION_FAILED", id="unknown enum by number"),
        pytest.param("GET /v1/jobs?page_size=1001", b"", {}, 400, "VALIDATION_FAILED", id="too large a page"),
        pytest.param("GET /v1/jobs?page_token=bm8", b"", {}, 400, "VALIDATION_FAILED", id="no token of ours"),
        pytest.param(
            "POST /v1/jobs/a:cancel", b'{"id":"b"}', JSON, 400, "VALIDATION_FAILED", id="path and body differ"
        ),
        pytest.param("GET /v1/jobs/a?id=b", b"", {}, 400, "VALIDATION_FAILED", id="path and query differ"),
        pytest.param(
            "GET /v1/jobs/a", b"", {"x-request-timeout": "soon"}, 400, "HEADER_INVALID", id="no time in a header"
        ),
        pytest.param(
            "GET /v1/jobs/a", b"", {"grpc-metadata-x-bin": "%%%", "x-bin": "%%%"}, 404, "NOT_FOUND", id="-bin garbage"
        ),
        pytest.param("GET /v1/jobs?bogus=1", b"", {}, 400, "VALIDATION_FAILED", id="unknown parameter"),
        pytest.param("GET /v1/jobs?job_type=%zz", b"", {}, 400, "VALIDATION_FAILED", id="bad percent in the query"),
        pytest.param("GET /v1/jobs?job_type=%ff", b"", {}, 400, "VALIDATION_FAILED", id="the query is not UTF-8"),
        pytest.param("GET /v1/jobs/%zz", b"", {}, 400, "VALIDATION_FAILED", id="bad percent in the path"),
        pytest.param("GET /v1/jobs/%ff", b"", {}, 400, "VALIDATION_FAILED", id="the path is not UTF-8"),
        pytest.param("GET /v1/jobs/a%00b", b"", {}, 404, "NOT_FOUND", id="a null byte"),
        pytest.param("GET /v1/jobs/x'%20OR%20'1'='1", b"", {}, 404, "NOT_FOUND", id="SQL"),
        pytest.param("GET /docs/..%2f..%2fetc/passwd", b"", {}, 404, "ROUTE_NOT_FOUND", id="out of a folder"),
        pytest.param("GET /v1/nothing", b"", {}, 404, "ROUTE_NOT_FOUND", id="unknown route"),
        pytest.param("DELETE /v1/jobs", b"", {}, 405, "METHOD_NOT_ALLOWED", id="wrong method"),
        pytest.param("GET /v1/jobs", b"", {"host": "evil.example"}, 403, "PERMISSION_DENIED", id="foreign host"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_with_it(
    up: Up, line: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    found, answered, document = ask(up, line, body, CANARIES | headers)
    assert (found, answered["content-type"]) == (status, "application/problem+json"), document
    assert document["status"] == status and document["code"] == code
    assert re.fullmatch("[0-9a-f]{32}", document["traceId"])
    assert "canary" not in json.dumps([document, answered])
    assert not INSIDE.search(json.dumps(document)), document


def test_all_that_is_wrong_is_told_at_once_with_its_place(up: Up) -> None:
    """Of every rule, at every depth; a business rule adds to the same list."""
    body = {"jobs": [{}, {"priority": 11, "id": "no", "idempotency_key": "k" * 256}], "definition_id": "d" * 101}
    status, _, document = ask(up, "POST /v1/jobs:batchSubmit", json.dumps(body).encode(), JSON)
    assert status == 400
    assert {one["field"]: one["pointer"] for one in document["errors"]} == {
        "definition_id": "/definition_id",
        "jobs[1].id": "/jobs/1/id",
        "jobs[1].idempotency_key": "/jobs/1/idempotency_key",
        "jobs[1].priority": "/jobs/1/priority",
    }
    wrong = {"priority": -1, "params": {"a": [{"b": 2**60}]}}
    _, _, document = ask(up, SUBMIT, json.dumps(wrong).encode(), JSON)
    assert [one["field"] for one in document["errors"]] == ["priority", "job_type", "params.a[0].b"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, str]]:
    """A server that asks for tokens, few calls a second, and an administrator's token."""
    server = Up(tmp_path_factory.mktemp("guarded") / "data", "--ants", "0", "--auth", "token", "--rate", "5")
    admin = server.cli("token", "create", "--role", "admin", "--data", str(server.data)).strip()
    server.start()
    yield server, admin
    server.clear()


def test_who_may_not_call_is_told_no_more_than_that(guarded: tuple[Up, str]) -> None:
    """Nobody, a viewer who changes things, a revoked token, too many calls: each its status, code and header."""
    up, admin = guarded
    until(lambda: ask(up, "GET /v1/jobs")[0] == 401, 10, "the API is served")

    def call(line: str, token: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
        found, answered, document = ask(up, line, body, JSON | {"authorization": f"Bearer {token}"})
        assert token not in json.dumps([document, answered]) or found == 200
        return found, answered, document

    _, _, made = call("POST /v1/tokens", admin, b'{"role":"viewer"}')
    viewer = made["token"]
    for token in ("canary-1", viewer[:-1] + "x"):
        status, answered, document = call("GET /v1/jobs", token)
        assert (status, document["code"]) == (401, "UNAUTHENTICATED") and answered["www-authenticate"]
    status, answered, document = call(SUBMIT, viewer, b"not even JSON")
    assert (status, document["code"]) == (403, "PERMISSION_DENIED")
    assert call(f"DELETE /v1/tokens/{made['record']['id']}", admin)[0] == 200
    status, _, document = call("GET /v1/jobs", viewer)
    assert (status, document["code"]) == (401, "UNAUTHENTICATED")
    while (found := call("GET /v1/jobs", admin))[0] == 200:
        pass
    status, answered, document = found
    assert (status, document["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert answered["content-type"] == "application/problem+json" and int(answered["retry-after"]) >= 1


def test_a_wrong_method_and_options_name_those_that_are_served(up: Up) -> None:
    _, refused, _ = ask(up, "DELETE /v1/jobs")
    status, options, nothing = ask(up, "OPTIONS /v1/jobs")
    assert (status, nothing) == (204, None)
    assert refused["allow"] == options["allow"] == "GET, HEAD, OPTIONS, POST"


def test_head_is_get_without_its_body(up: Up) -> None:
    for target, wanted in (("/v1/jobs", 200), ("/openapi.json", 200), ("/v1/jobs/none", 404)):
        status, headers, nothing = ask(up, f"HEAD {target}")
        assert (status, nothing) == (wanted, None) and int(headers["content-length"]) > 0


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx: a\rb: c\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nbad name: x\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    ],
    ids=["no HTTP", "TLS", "a bare CR", "a space in a name", "two lengths", "a negative length"],
)
def test_what_is_no_http_is_400(up: Up, raw: bytes) -> None:
    status, _, body = exchange(up, raw)
    assert status == 400 and not INSIDE.search(body.decode("latin-1"))


def test_a_value_does_not_become_a_header(up: Up) -> None:
    """CR and LF that arrive encoded stay within the document."""
    for line in ("GET /v1/jobs/x%0d%0aset-cookie:%20a=b", "GET /no%0d%0aset-cookie:%20a=b"):
        status, headers, _ = ask(up, line)
        assert status in (400, 404) and "set-cookie" not in headers


def test_huge_headers_do_not_stop_the_server(up: Up) -> None:
    status, headers, document = ask(up, "GET /v1/jobs", headers={"x": "a" * 2**20})
    assert (status, headers["content-type"]) == (431, "application/problem+json")
    assert document["code"] == "HEADERS_TOO_LARGE" and not INSIDE.search(json.dumps(document))
    assert up.page("/readyz")[0] == 200


def test_garbage_over_grpc_is_refused_and_harms_nobody(up: Up) -> None:
    with socket.create_connection(("127.0.0.1", up.grpc), timeout=20) as wire:
        wire.sendall(b"\x00garbage\xff" * 1000)
    with grpc.insecure_channel(up.address) as channel:
        for method in ("/formicary.v1.JobService/SubmitJob", "/formicary.v1.JobService/GetJob"):
            call: Any = channel.unary_unary(method)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\xff\xff\xff\xff", timeout=90)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert not INSIDE.search(caught.value.details() or "")
    assert up.page("/readyz")[0] == 200


@pytest.mark.parametrize("method", ["/formicary.v1.JobService/Nonsense", "/elsewhere.Service/Do"])
def test_an_unknown_method_over_grpc_is_a_problem_like_any_other(up: Up, method: str) -> None:
    """It has the code of an unknown route over HTTP, and the caller's trace."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with grpc.insecure_channel(up.address) as channel:
        calls: list[Any] = [channel.unary_unary(method), channel.unary_stream(method)]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                list(call(b"", timeout=90, metadata=[("traceparent", f"00-{trace}-00f067aa0ba902b7-01")]))
            found = from_rpc_error(caught.value)
            assert (found.code, found.trace_id) == ("ROUTE_NOT_FOUND", trace)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_nothing_of_this_was_an_error_of_the_server(up: Up) -> None:
    """Last of the file: a bad request is no reason for a traceback in the log."""
    assert "Traceback" not in up.log.read_text()
