"""What REST adds: header mapping, entity tags, PATCH; and what gRPC adds: health and reflection."""

from __future__ import annotations

import logging
import re

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from openapi_spec_validator import validate

from examples.todo.headers import mapping
from examples.todo.serving import SERVICE, Server
from tests.integration.todo.clients import RestClient, Tasks

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_article_s_header_example() -> None:
    """Authorization becomes two keys, one of them transformed; 150 becomes 150ms; nothing else crosses."""
    found = mapping().request(
        "/v1/tasks", [("Authorization", "Bearer abc"), ("Cookie", "a=b"), ("X-User-ID", "root"), ("X-Other", "x")]
    )
    assert found == [("authorization", "Bearer abc"), ("auth-token", "abc")]
    sent = mapping().response("/v1/tasks", [("processing-time", "150"), ("internal", "x")])
    assert sent == [("X-Processing-Time", "150ms")]


def test_processing_time_is_told_for_answers_and_errors(rest: RestClient) -> None:
    """The metadata key processing-time shows as a header with its unit, and not as itself."""
    for answer in (rest.http.get("/v1/tasks"), rest.http.get("/v1/tasks/none")):
        assert re.fullmatch(r"\d+ms", answer.headers["x-processing-time"])
        assert "processing-time" not in answer.headers


def test_both_protocols_tell_time_and_trace(alice: Tasks) -> None:
    alice.list()
    assert re.fullmatch(r"\d+ms", alice.client.headers["x-processing-time"])
    assert re.fullmatch(r"[0-9a-f]{32}", alice.client.headers["x-trace-id"])


def test_the_trace_id_is_that_of_the_caller_and_of_the_log(rest: RestClient, caplog: pytest.LogCaptureFixture) -> None:
    """W3C trace context alone makes the trace id: in the header, the log, and not from X-Trace-ID."""
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-trace-id": "mine"}
    with caplog.at_level(logging.INFO, "formicary.access"):
        answer = rest.http.get("/v1/tasks/none", headers=headers)
    assert answer.headers["x-trace-id"] == TRACE
    assert any(TRACE in record.getMessage() for record in caplog.records)


def test_entity_tags_say_what_changed(rest: RestClient) -> None:
    """ETag with a task; 304 for what is known; 412 where If-Match is old."""
    made = rest.http.post("/v1/tasks", json={"task": {"title": "Buy milk"}})
    path, tag = f"/v1/{made.json()['name']}", made.headers["etag"]
    read = rest.http.get(path)
    assert read.headers["etag"] == tag
    assert rest.http.get(path, headers={"if-none-match": tag}).status_code == 304
    done = rest.http.patch(path, json={"status": "STATUS_IN_PROGRESS"}, headers={"if-match": tag})
    assert done.status_code == 200
    assert done.headers["etag"] != tag
    for late in (
        rest.http.patch(path, json={"title": "Late"}, headers={"if-match": tag}),
        rest.http.delete(path, headers={"if-match": tag}),
    ):
        assert (late.status_code, late.json()["status"]) == (412, 412)
    assert rest.http.delete(path, headers={"if-match": done.headers["etag"]}).status_code == 200


def test_patch_without_a_mask_changes_what_the_body_has(rest: RestClient) -> None:
    made = rest.http.post("/v1/tasks", json={"task": {"title": "Buy milk", "description": "two"}}).json()
    after = rest.http.patch(f"/v1/{made['name']}", json={"priority": "PRIORITY_CRITICAL"}).json()
    assert after["priority"] == "PRIORITY_CRITICAL"
    assert (after["title"], after["description"]) == ("Buy milk", "two")
    known = {"etag": after["etag"], "description": "three"}
    assert rest.http.patch(f"/v1/{made['name']}", json=known).json()["description"] == "three"
    assert rest.http.patch(f"/v1/{made['name']}", json=known).status_code == 409


def test_health_is_told_over_grpc(server: Server) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_type_uri_leads_to_its_page_and_the_api_is_described(rest: RestClient) -> None:
    """The document of an error, the OpenAPI document and the viewer are all on the server itself."""
    document = rest.http.get("/v1/tasks/none").json()
    page = rest.http.get(document["type"], headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "NOT_FOUND" in page.text
    described = rest.http.get("/openapi.json").json()
    validate(described)
    assert set(described["paths"]) == {"/v1/tasks", "/v1/tasks/{task}", "/v1/tasks:batchCreate"}
    assert rest.http.get("/docs/").status_code == 200


def test_one_trace_id_is_in_header_and_document(rest: RestClient) -> None:
    answer = rest.http.get("/v1/tasks/none", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert answer.json()["traceId"] == answer.headers["x-trace-id"] == TRACE
    assert answer.json()["instance"] == "/v1/tasks/none"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", answer.json()["timestamp"])
