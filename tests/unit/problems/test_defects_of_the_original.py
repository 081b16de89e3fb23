"""What was wrong in the program whose error model this one follows, each with what must hold instead.

The rest of the sixteen is elsewhere: authentication and the order of interceptors in the gateway's tests; masks,
batches and the strict reading of names in those of transcoding and the to-do service.
"""

import json
import re

import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from formicary.problems import CATALOGUE, FieldError, Problem, entry, problem
from formicary.problems.asgi import ProblemMiddleware
from formicary.problems.catching import OTHER, PANIC, Catcher
from formicary.problems.grpc_aio import ProblemInterceptor
from formicary.problems.http import render_http
from formicary.problems.pages import find
from formicary.problems.rpc import from_status, to_grpc, to_status
from formicary.problems.validation import Validator, refusal
from tests.unit.problems.ruled_messages import Batch, Broken, Task


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_1_the_status_line_and_the_body_say_the_same(code: str) -> None:
    answer = render_http(problem(code))
    assert json.loads(answer.body)["status"] == answer.status == entry(code).status


def test_2_retry_after_comes_from_retry_info() -> None:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(29_001)
    packed = any_pb2.Any()
    packed.Pack(info)
    answer = render_http(from_status(status_pb2.Status(code=code_pb2.UNAVAILABLE, message="x", details=[packed])))
    assert dict(answer.headers)["retry-after"] == "30"
    assert json.loads(answer.body)["extensions"]["retryAfter"] == 29.001


def test_3_the_trace_id_is_that_of_the_call_in_both_protocols() -> None:
    found, trace = problem("NOT_FOUND"), "ab" * 16
    found.trace_id = "a client made this up"
    assert json.loads(render_http(found, trace_id=trace).body)["traceId"] == trace
    status = status_pb2.Status.FromString(to_grpc(found, trace_id=trace).trailing[0][1])
    assert from_status(status).trace_id == trace


def test_4_timestamps_are_rfc_3339_on_every_path() -> None:
    for found in (problem("NOT_FOUND"), problem("INTERNAL"), from_status(status_pb2.Status(code=5))):
        stamp = json.loads(render_http(found).body)["timestamp"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)


@pytest.mark.parametrize("number", range(1, 17))
def test_5_a_bare_status_is_a_typed_problem_and_a_hidden_text_stays_hidden(number: int) -> None:
    found = from_status(status_pb2.Status(code=number, message="SELECT secret"))
    answer = render_http(found)
    document = json.loads(answer.body)
    assert document["code"] in CATALOGUE and document["status"] == answer.status
    assert ("SELECT" in document["detail"]) == CATALOGUE[found.code].show
    assert found.code in {"INTERNAL", "UNKNOWN"} or document["title"] != "Internal error"


def test_5_the_gateways_own_errors_have_rows() -> None:
    want = {
        "ROUTE_NOT_FOUND": 404,
        "METHOD_NOT_ALLOWED": 405,
        "NOT_ACCEPTABLE": 406,
        "PRECONDITION_FAILED": 412,
        "PAYLOAD_TOO_LARGE": 413,
        "UNSUPPORTED_MEDIA_TYPE": 415,
        "HEADERS_TOO_LARGE": 431,
        "MALFORMED_JSON": 400,
        "HEADER_REQUIRED": 400,
        "HEADER_INVALID": 400,
    }
    assert {code: CATALOGUE[code].status for code in want} == want


def test_6_paths_keep_their_subscripts_and_one_fault_is_told_once() -> None:
    batch = Batch()
    batch.requests.add().task.tags.extend(["ok", "NO"])
    batch.requests[0].task.title = "x"
    with pytest.raises(Problem) as caught:
        Validator().check(batch)
    assert [e.field for e in caught.value.errors] == ["requests[0].task.tags[1]"]
    twice = FieldError("a", "C", "m")
    assert refusal([twice, twice]).errors == (twice,)


def test_8_a_rule_that_cannot_be_evaluated_refuses() -> None:
    with pytest.raises(Problem, match="evaluated"):
        Validator().check(Broken(name="x"))


def test_10_violations_come_in_a_stable_order() -> None:
    message = Task(tags=["NO", "NO2"], labels={"b": "", "a": ""})

    def fields() -> list[str]:
        with pytest.raises(Problem) as caught:
            Validator().check(message)
        return [error.field for error in caught.value.errors]

    assert fields()[:3] == ["title", "tags[0]", "tags[1]"] and all(fields() == fields() for _ in range(5))


def test_12_and_13_problems_are_counted_by_their_real_code_and_labels_are_bounded() -> None:
    seen: list[tuple[str, str]] = []
    catcher = Catcher("grpc", lambda code, protocol: seen.append((code, protocol)))
    catcher.caught(problem("NOT_FOUND"), "x", "")
    catcher.caught(problem("ERR_OF_A_USER"), "x", "")
    catcher.caught(RuntimeError(), "x", "")
    assert seen == [("NOT_FOUND", "grpc"), (OTHER, "grpc"), (PANIC, "grpc"), ("INTERNAL", "grpc")]
    assert catcher.panics == 1 and catcher.counts["NOT_FOUND"] == 1


@pytest.mark.parametrize(
    ("code", "status", "header"),
    [
        ("AUTHENTICATION_FAILED", 401, "www-authenticate"),
        ("RATE_LIMIT_EXCEEDED", 429, "retry-after"),
        ("CANCELLED", 499, "vary"),
        ("DEADLINE_EXCEEDED", 504, "vary"),
        ("FAILED_PRECONDITION", 412, "vary"),
        ("ABORTED", 409, "vary"),
    ],
)
def test_14_the_codes_that_had_no_constructor(code: str, status: int, header: str) -> None:
    answer = render_http(problem(code))
    assert answer.status == status and header in dict(answer.headers)


def test_15_streams_have_the_same_function() -> None:
    """That it works is shown on real servers, in all kinds of call."""
    assert isinstance(ProblemInterceptor().catcher, Catcher)

    async def app(scope: object, receive: object, send: object) -> None: ...

    assert isinstance(ProblemMiddleware(app).catcher, Catcher)


def test_16_the_machine_key_is_error_info_and_types_resolve() -> None:
    status = to_status(problem("NOT_FOUND", "There is no job 7."))
    info = next(d for d in status.details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR))
    read = error_details_pb2.ErrorInfo.FromString(info.value)
    assert (read.reason, read.domain) == ("NOT_FOUND", "formicary")
    assert find(json.loads(render_http(problem("NOT_FOUND")).body)["type"]) is CATALOGUE["NOT_FOUND"]


def test_a_status_with_more_than_metadata_holds_is_shortened() -> None:
    errors = [FieldError(f"requests[{i}].title", "REQUIRED_FIELD", "é" * 50) for i in range(500)]
    rendered = to_grpc(problem("VALIDATION_FAILED", "x" * 9000, errors=errors, y="z" * 9000))
    assert len(rendered.trailing[0][1]) < 8000
    found = from_status(status_pb2.Status.FromString(rendered.trailing[0][1]))
    assert found.code == "VALIDATION_FAILED" and 5 < len(found.errors) < 500 and found.extensions["truncated"] is True
