"""The engine's API over REST and plain gRPC, on a real server with a real ant."""

from __future__ import annotations

import asyncio
import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from formicary.client import RestClient
from formicary.problems import Problem
from formicary.v1 import ants_pb2, ants_pb2_grpc, definitions_pb2, definitions_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from tests.acceptance.server import Up

JOB = """
job_type: hello
tasks:
- task_type: greet
  method: SHELL
  script: ['echo "::set-output name=text::hello {{.name}}"; echo said']
"""
BROKEN = "job_type: broken\ntasks:\n- task_type: t\n  nonsense: 1\n  method: FLY\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file."""
    server = Up(tmp_path_factory.mktemp("api") / "data", "--ants", "1")
    server.start()
    yield server
    server.clear()


def ask(up: Up, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of an answer."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{up.http}{path}", data, given, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=90)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read()
        kind = answer.headers.get_content_type()
        decoded = json.loads(text) if kind in ("application/json", "application/problem+json") and text else text
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, decoded


def submitted(up: Up, key: str, **members: object) -> str:
    """The id of a job that was submitted over REST."""
    assert ask(up, "POST", "/v1/definitions", {"source": JOB})[0] == 200
    status, _, job = ask(up, "POST", "/v1/jobs", {"job_type": "hello", **members}, idempotency_key=key)
    assert status == 200, job
    return str(job["id"])


def followed(up: Up, job_id: str) -> list[dict[str, Any]]:
    """Every state of a job until it has ended."""
    text = ask(up, "GET", f"/v1/jobs/{job_id}:follow")[2]
    return [json.loads(line) for line in text.splitlines()]


def test_a_job_goes_from_definition_to_log_lines_over_rest(up: Up) -> None:
    job_id = submitted(up, "whole", params={"name": "Ada"})
    last = followed(up, job_id)[-1]
    assert (last["state"], last["outputs"]["text"]) == ("COMPLETED", "hello Ada")
    assert last["tasks"][0]["attempts"] == 1
    lines = [json.loads(line) for line in ask(up, "GET", f"/v1/jobs/{job_id}/logs")[2].splitlines()]
    assert [line["text"] for line in lines][-1] == "said"


def test_whole_numbers_stay_whole_and_larger_ones_are_refused(up: Up) -> None:
    job_id = submitted(up, "numbers", params={"name": 3})
    assert followed(up, job_id)[-1]["outputs"]["text"] == "hello 3"
    body = {"job_type": "hello", "params": {"name": 1, "deep": [2**60]}}
    status, _, refused = ask(up, "POST", "/v1/jobs", body, idempotency_key="large")
    assert (status, [error["field"] for error in refused["errors"]]) == (400, ["params.deep[0]"])


def test_the_same_key_gives_the_same_job_and_another_request_under_it_is_refused(up: Up) -> None:
    first = submitted(up, "same", params={"name": "a"})
    assert submitted(up, "same", params={"name": "a"}) == first
    body = {"job_type": "hello", "params": {"name": "b"}}
    status, _, refused = ask(up, "POST", "/v1/jobs", body, idempotency_key="same")
    assert (status, refused["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_submitting_over_http_needs_a_key_but_not_on_the_older_engines_path(up: Up) -> None:
    submitted(up, "first")
    status, _, refused = ask(up, "POST", "/v1/jobs", {"job_type": "hello"})
    assert (status, refused["code"]) == (400, "IDEMPOTENCY_KEY_MISSING")
    status, _, job = ask(
        up, "POST", "/api/jobs/requests", {"job_type": "hello", "job_priority": 7}, authorization="Bearer x"
    )
    assert (status, job["priority"]) == (200, 7)


def test_lists_are_pages_that_new_jobs_do_not_shift(up: Up) -> None:
    ids = [submitted(up, f"page-{number}") for number in range(5)]
    first = ask(up, "GET", "/v1/jobs?page_size=2&job_type=hello")[2]
    submitted(up, "page-between")
    second = ask(up, "GET", f"/v1/jobs?page_size=2&job_type=hello&page_token={first['next_page_token']}")[2]
    last = ask(up, "GET", f"/v1/jobs?page_size=2&job_type=hello&page_token={second['next_page_token']}")[2]
    found, token = last["jobs"], last.get("next_page_token", "")
    while token:  # those of the other tests
        more = ask(up, "GET", f"/v1/jobs?page_size=2&job_type=hello&page_token={token}")[2]
        found, token = found + more["jobs"], more.get("next_page_token", "")
    assert [job["id"] for job in first["jobs"] + second["jobs"] + found[:1]] == ids[::-1]
    every = ask(up, "GET", "/v1/jobs?page_size=500&job_type=hello")[2]
    assert [job["id"] for job in every["jobs"]][1:] == [job["id"] for job in first["jobs"] + second["jobs"] + found]
    assert not every.get("next_page_token")
    status, _, refused = ask(up, "GET", f"/v1/jobs?page_size=2&page_token={first['next_page_token']}")
    assert (status, refused["errors"][0]["field"]) == (400, "page_token")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/jobs/01m00000000000000000000000", None, 404, "NOT_FOUND"),
        ("GET", "/v1/jobs?states=FLYING", None, 400, "VALIDATION_FAILED"),
        ("GET", "/v1/jobs?bogus=1", None, 400, "VALIDATION_FAILED"),
        ("GET", "/v1/nothing", None, 404, None),
        ("PATCH", "/v1/jobs", {}, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v1/jobs", b"{", 400, None),
        ("POST", "/v1/jobs", {"nonsense": 1}, 400, "VALIDATION_FAILED"),
        ("POST", "/v1/jobs", {}, 400, "VALIDATION_FAILED"),
        ("POST", "/v1/definitions", {"source": BROKEN}, 400, "VALIDATION_FAILED"),
    ],
)
def test_errors_are_problem_documents(
    up: Up, method: str, path: str, body: object, status: int, code: str | None
) -> None:
    found, headers, document = ask(up, method, path, body, idempotency_key="wrong")
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert document["status"] == status
    assert code in (None, document["code"])
    assert document["type"].startswith("/problems/")
    assert ask(up, "GET", document["type"], accept="text/html")[0] == 200


def test_every_violation_of_a_definition_is_told_at_once(up: Up) -> None:
    _, _, document = ask(up, "POST", "/v1/definitions", {"source": BROKEN})
    assert len(document["errors"]) >= 2
    assert all(error["line"] for error in document["errors"])


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}])
def test_a_page_of_another_site_is_refused(up: Up, headers: dict[str, str]) -> None:
    status, _, document = ask(up, "GET", "/v1/jobs", **headers)
    assert (status, document["code"]) == (403, "PERMISSION_DENIED")


def test_openapi_and_its_page_are_served_without_any_other_host(up: Up) -> None:
    status, _, document = ask(up, "GET", "/openapi.json")
    assert (status, document["openapi"][:3]) == (200, "3.1")
    assert "/v1/jobs/{id}" in document["paths"]
    status, headers, page = ask(up, "GET", "/docs/")
    assert status == 200 and b"http://" not in page and b"https://" not in page
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_plain_grpc_client_does_the_same(up: Up) -> None:
    with grpc.insecure_channel(up.address) as channel:
        definitions = definitions_pb2_grpc.DefinitionServiceStub(channel)
        jobs = jobs_pb2_grpc.JobServiceStub(channel)
        made = definitions.RegisterDefinition(definitions_pb2.RegisterDefinitionRequest(source=JOB))
        kept = definitions.GetDefinition(definitions_pb2.GetDefinitionRequest(id=made.definition_id))
        assert (kept.job_type, kept.version, kept.source) == ("hello", made.version, JOB)
        job = jobs.SubmitJob(jobs_pb2.SubmitJobRequest(definition_id=made.definition_id, params={"name": "Grace"}))
        last = list(jobs.FollowJob(jobs_pb2.FollowJobRequest(id=job.id, exact=True)))[-1]
        assert json.loads(last.exact_outputs)["text"] == "hello Grace"
        assert [line.text for line in jobs.ReadLogs(jobs_pb2.ReadLogsRequest(id=job.id))][-1] == "said"
        assert ants_pb2_grpc.AntServiceStub(channel).ListAnts(ants_pb2.ListAntsRequest()).ants[0].connected
        with pytest.raises(grpc.RpcError) as caught:
            jobs.GetJob(jobs_pb2.GetJobRequest(id="none"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_the_rest_client_does_what_the_other_client_does(up: Up) -> None:
    async def work() -> None:
        async with RestClient(f"http://127.0.0.1:{up.http}", timeout_s=60) as client:
            ref = await client.register(JOB)
            ids = await client.submit_many(ref, [{"name": f"n{number}"} for number in range(10)])
            ends = await client.wait_all(ids, 90)
            assert [end.outputs["text"] for end in ends] == [f"hello n{number}" for number in range(10)]
            handle = await client.submit(ref, {"name": "x"}, idempotency_key="rest-client", priority=3)
            assert (await client.submit(ref, {"name": "x"}, idempotency_key="rest-client", priority=3)) == handle
            await client.wait(handle.id, 90)
            document = await client.get(handle.id)
            assert (document["state"], document["priority"]) == ("COMPLETED", 3)
            assert [line.text async for line in client.logs(handle.id)][-1] == "said"
            listed = [found["id"] async for found in client.list(states=["COMPLETED"], job_type="hello", limit=11)]
            assert set(listed) == {*ids, handle.id}
            assert (await client.cancel(handle.id))["state"] == "COMPLETED"
            with pytest.raises(Problem) as refused:
                await client.resume(handle.id)
            assert refused.value.code == "FAILED_PRECONDITION"
            with pytest.raises(Problem) as unknown:
                await client.get("01m00000000000000000000000")
            assert unknown.value.code == "NOT_FOUND"

    asyncio.run(work())


def test_a_rest_client_says_that_nobody_answers(data_dir: Path) -> None:
    async def work() -> None:
        async with RestClient("http://127.0.0.1:9", timeout_s=0.2) as client:
            with pytest.raises(Problem) as caught:
                await client.get("x")
            assert caught.value.code == "UNAVAILABLE"

    asyncio.run(work())


def test_a_large_job_is_the_same_over_both_protocols(up: Up) -> None:
    """What is made beside the loop: JSON, compressed JSON, and the bytes of gRPC."""
    values = [{"n": number} for number in range(2000)]
    job_id = submitted(up, "large", params={"list": values}, scheduled_at="2199-01-01T00:00:00Z")
    assert ask(up, "GET", f"/v1/jobs/{job_id}")[2]["outputs"]["list"] == values
    asked = urllib.request.Request(f"http://127.0.0.1:{up.http}/v1/jobs/{job_id}", headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(asked, timeout=90) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(answer.read()))["outputs"]["list"] == values
    with grpc.insecure_channel(up.address) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        job = stub.GetJob(jobs_pb2.GetJobRequest(id=job_id), timeout=90)
    assert [one["n"] for one in job.outputs["list"]] == list(range(2000))
