"""A submission that is repeated gets the first answer again, byte for byte, over REST and over gRPC."""

from __future__ import annotations

import http.client
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import grpc
import pytest

from formicary.problems.rpc import from_rpc_error
from formicary.v1 import jobs_pb2, jobs_pb2_grpc
from tests.acceptance.server import Up, until

JOB = """
job_type: hello
tasks:
- task_type: greet
  method: SHELL
  script: ['echo {{.name}}']
"""
LATER = JOB + "description: a later version\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server with one ant for all tests of this file."""
    server = Up(tmp_path_factory.mktemp("repeated") / "data", "--ants", "1")
    server.start()
    register(server, JOB)
    yield server
    server.clear()


def post(up: Up, path: str, body: bytes, *keys: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and the bytes of the answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", up.http, timeout=90)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(body)))
        for key in keys:
            connection.putheader("idempotency-key", key)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def register(up: Up, source: str) -> None:
    assert post(up, "/v1/definitions", json.dumps({"source": source}).encode())[0] == 200


def ended(up: Up, job_id: str) -> None:
    until(lambda: up.job(job_id)["state"] == "COMPLETED", 20, "the end of the job")


def test_over_rest_the_answer_is_the_same_when_the_job_has_ended(up: Up) -> None:
    body = b'{"job_type": "hello", "params": {"name": "Ada", "n": 1}}'
    status, headers, first = post(up, "/v1/jobs", body, "ended")
    assert (status, json.loads(first)["state"], "idempotency-replayed" in headers) == (200, "PENDING", False)
    ended(up, json.loads(first)["id"])
    status, headers, again = post(up, "/v1/jobs", body, "ended")
    assert (status, again, headers["idempotency-replayed"]) == (200, first, "true")


def test_a_time_that_was_asked_for_stays_in_the_answer(up: Up) -> None:
    body = b'{"job_type": "hello", "params": {"name": "x"}, "scheduled_at": "2200-01-01T00:00:00.250Z"}'
    _, _, first = post(up, "/v1/jobs", body, "later")
    found = json.loads(first)
    assert found["scheduled_at"] == "2200-01-01T00:00:00.250Z"
    assert post(up, f"/v1/jobs/{found['id']}:cancel", b"{}")[0] == 200
    assert post(up, f"/v1/jobs/{found['id']}:retry", b'{"hard": true}')[0] == 200
    assert post(up, "/v1/jobs", body, "later")[2] == first


def test_over_grpc_the_answer_is_the_same_and_says_that_it_is_a_replay(up: Up) -> None:
    request = jobs_pb2.SubmitJobRequest(job_type="hello", idempotency_key="rpc")
    request.params.update({"name": "Ada"})
    with grpc.insecure_channel(up.address) as channel:
        submit = jobs_pb2_grpc.JobServiceStub(channel).SubmitJob  # type: ignore[no-untyped-call]  # generated
        first, call = submit.with_call(request, timeout=90)
        assert "idempotency-replayed" not in dict(call.initial_metadata())
        ended(up, first.id)
        again, call = submit.with_call(request, timeout=90)
        assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
        assert dict(call.initial_metadata())["idempotency-replayed"] == "true"
        request.idempotency_key = "with a blank"
        with pytest.raises(grpc.RpcError) as refused:
            submit(request, timeout=90)
        assert from_rpc_error(refused.value).code == "IDEMPOTENCY_KEY_INVALID"


def test_a_resend_by_its_id_is_a_replay_too(up: Up) -> None:
    body = b'{"job_type": "hello", "params": {"name": "x"}, "id": "01m00000000000000000000001"}'
    _, headers, first = post(up, "/v1/jobs", body, "by-id")
    assert "idempotency-replayed" not in headers
    _, headers, again = post(up, "/v1/jobs", body, "by-id")
    assert (again, headers["idempotency-replayed"]) == (first, "true")


def test_two_spellings_of_the_parameters_and_of_the_key_are_one_request(up: Up) -> None:
    first = post(up, "/v1/jobs", b'{"job_type": "hello", "params": {"name": "a", "z": 1}}', "spelled")
    again = post(up, "/v1/jobs", b'{"params":{"z":1.0,"name":"\\u0061"},"job_type":"hello"}', '"spelled"')
    assert (again[0], again[2]) == (200, first[2])


def test_a_newer_version_of_the_job_type_makes_no_other_request_of_it(up: Up) -> None:
    body = b'{"job_type": "hello", "params": {"name": "v"}}'
    first = post(up, "/v1/jobs", body, "versions")
    register(up, LATER)
    again = post(up, "/v1/jobs", body, "versions")
    assert (again[0], again[2]) == (200, first[2])


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        pytest.param((), "IDEMPOTENCY_KEY_MISSING", id="none"),
        pytest.param(("",), "IDEMPOTENCY_KEY_INVALID", id="empty"),
        pytest.param(('""',), "IDEMPOTENCY_KEY_INVALID", id="empty in quotes"),
        pytest.param(("a b",), "IDEMPOTENCY_KEY_INVALID", id="a blank"),
        pytest.param(("caf\u00e9",), "VALIDATION_FAILED", id="not ASCII, refused before it is read"),
        pytest.param(("k" * 256,), "IDEMPOTENCY_KEY_INVALID", id="too long"),
        pytest.param(("a", "a"), "IDEMPOTENCY_KEY_INVALID", id="twice"),
        pytest.param(('"a',), "IDEMPOTENCY_KEY_INVALID", id="half quoted"),
    ],
)
def test_a_key_that_is_none_is_refused(up: Up, keys: tuple[str, ...], code: str) -> None:
    status, _, body = post(up, "/v1/jobs", b'{"job_type": "hello", "params": {"name": "x"}}', *keys)
    assert (status, json.loads(body)["code"]) == (400, code)


def test_keys_of_a_database_of_an_earlier_version_are_still_known(tmp_path: Path) -> None:
    """They were fingerprinted in another way; the same request is the same, and another one is refused."""
    server = Up(tmp_path / "data", "--ants", "0")
    body, other = (b'{"job_type": "hello", "params": {"name": "%s"}}' % name for name in (b"old", b"new"))
    try:
        server.start()
        register(server, JOB)
        _, _, first = post(server, "/v1/jobs", body, "old")
        assert server.stop() == 0
        (file,) = [path for path in server.data.glob("*.db") if _has_keys(path)]
        with closing(sqlite3.connect(file)) as database, database:
            ((definition,),) = database.execute("SELECT definition_id FROM jobs").fetchall()
            text = b"\0".join((definition.encode(), b'{"name":"old"}', b"(None, None)"))
            changed = database.execute("UPDATE idempotency_keys SET fingerprint = ?", (sha256(text).hexdigest(),))
            assert changed.rowcount == 1
        server.start()
        status, _, again = post(server, "/v1/jobs", body, "old")
        assert (status, again) == (200, first)
        assert post(server, "/v1/jobs", other, "old")[0] == 422
    finally:
        server.clear()


def _has_keys(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'idempotency_keys'").fetchall())
