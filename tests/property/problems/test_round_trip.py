"""Nothing is lost between gRPC, HTTP documents and problems, whoever made the status and whatever it carries."""

import json
from typing import Any

from google.protobuf import any_pb2, duration_pb2, json_format, struct_pb2, wrappers_pb2
from google.rpc import error_details_pb2 as ed
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from formicary.problems import CATALOGUE, FieldError, Problem, parse_http, problem
from formicary.problems.http import render_http
from formicary.problems.problem import Detail
from formicary.problems.rpc import from_status, from_trailing_metadata, to_grpc, to_status

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(0, 16)


def _packed(message: Any) -> Any:
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


violations = st.builds(ed.BadRequest.FieldViolation, field=text, description=text, reason=text)
known = st.one_of(
    st.builds(ed.ErrorInfo, reason=text, domain=text, metadata=st.dictionaries(text, text, max_size=3)),
    st.builds(ed.BadRequest, field_violations=st.lists(violations, max_size=3)),
    st.builds(
        ed.RetryInfo,
        retry_delay=st.builds(duration_pb2.Duration, seconds=st.integers(0, 9999), nanos=st.integers(0, 999_999_999)),
    ),
    st.builds(ed.ResourceInfo, resource_type=text, resource_name=text, owner=text, description=text),
    st.builds(
        ed.PreconditionFailure,
        violations=st.lists(st.builds(ed.PreconditionFailure.Violation, type=text, subject=text), max_size=2),
    ),
    st.builds(
        ed.QuotaFailure,
        violations=st.lists(st.builds(ed.QuotaFailure.Violation, subject=text, description=text), max_size=2),
    ),
    st.builds(ed.RequestInfo, request_id=text, serving_data=text),
    st.builds(ed.Help, links=st.lists(st.builds(ed.Help.Link, description=text, url=text), max_size=2)),
    st.builds(ed.LocalizedMessage, locale=text, message=text),
    st.builds(ed.DebugInfo, stack_entries=st.lists(text, max_size=2), detail=text),
    st.builds(wrappers_pb2.StringValue, value=text),
    st.builds(wrappers_pb2.DoubleValue, value=st.floats()),
    st.builds(struct_pb2.Value, number_value=st.floats()),
).map(_packed)
unknown = st.builds(
    any_pb2.Any,
    type_url=st.sampled_from(
        ["type.googleapis.com/no.such.Type", "nonsense", "", "type.googleapis.com/google.rpc.Help"]
    ),
    value=st.binary(max_size=20),
)
statuses = st.builds(
    status_pb2.Status, code=st.integers(-3, 40) | numbers, message=text, details=st.lists(known | unknown, max_size=4)
)


def same(a: Any, b: Any) -> bool:
    return a.type_url == b.type_url and (a.value == b.value or _canonical(a) == _canonical(b))


def _canonical(packed: Any) -> Any:
    try:
        return json_format.MessageToDict(packed)
    except Exception:
        return packed.value


def kept(before: Any, after: Any) -> None:
    assert after.code == before.code and (after.message == before.message or not before.message)
    left = list(after.details)
    for detail in before.details:
        place = next((i for i, other in enumerate(left) if same(detail, other)), None)
        assert place is not None, detail
        del left[: place + 1]  # in order


@given(statuses)
def test_any_status_survives_a_problem(before: Any) -> None:
    kept(before, to_status(from_status(before)))
    kept(before, to_status(from_status(to_status(from_status(before)))))


@given(statuses)
def test_any_status_survives_an_http_document(before: Any) -> None:
    document = json.loads(json.dumps(from_status(before).to_document()))
    kept(before, to_status(Problem.from_document(document)))


@given(statuses)
def test_an_http_client_gets_every_detail_that_may_be_seen(before: Any) -> None:
    found = from_status(before)
    shown = parse_http(*render_http(found))
    if CATALOGUE[found.code].show:
        want = [d for d in found.details if d.type_name != "google.rpc.DebugInfo"]
        assert [d.type_url for d in shown.details] == [d.type_url for d in want]
        assert all(
            same(any_pb2.Any(type_url=a.type_url, value=a.value), any_pb2.Any(type_url=b.type_url, value=b.value))
            for a, b in zip(shown.details, want, strict=True)
        )
    assert all(d.type_name != "google.rpc.DebugInfo" for d in shown.details)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**60) | text, lambda inner: st.lists(inner, max_size=2)
)
names = st.text("abcdefghij", min_size=3, max_size=8).map(lambda name: "x_" + name)


@given(
    st.sampled_from(sorted(CATALOGUE)),
    st.text("abc é", min_size=1, max_size=20),
    st.lists(st.builds(FieldError, text, text, text, st.none() | st.integers(1, 99)), max_size=3),
    st.dictionaries(names, values, max_size=3),
    st.lists(st.builds(Detail, st.just("type.googleapis.com/x.Y"), st.binary(max_size=5)), max_size=2),
    st.none() | st.floats(0, 1e6),
)
def test_a_problem_of_ours_is_the_same_after_grpc(
    code: str, detail: str, errors: list[FieldError], more: dict[str, Any], details: list[Detail], after: float | None
) -> None:
    before = problem(code, detail, errors=errors, details=details, retry_after_s=after, **more)
    before.instance, before.trace_id, before.timestamp = "/x", "ab" * 16, "2026-01-01T00:00:00Z"
    assert from_status(to_status(before)).to_document() == before.to_document()
    if CATALOGUE[code].show:
        after_wire = from_trailing_metadata(to_grpc(before).trailing)
        assert after_wire is not None
        got, want = after_wire.to_document(), before.to_document()
        if not before.retryable or after is not None:
            assert got == want
