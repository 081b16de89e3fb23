"""The same call with the same key is executed once and answered alike, whatever the method and over either protocol.

The table names each method of the contract that changes something: a method without a row fails the first test.
"""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from formicary.idempotency.grpc_calls import claim_of_call
from formicary.idempotency.model import Acquired
from formicary.idempotency.policy import Rule
from formicary.idempotency.sqlite import SqliteStore
from formicary.problems.rpc import from_trailing_metadata
from formicary.server.api.call_keys import FILE, READS, keeps_answers
from tests.acceptance.server import Up, until
from tests.acceptance.test_every_method import methods
from tests.forks import run_forked
from tests.integration.server.test_rest_api import ask
from tests.integration.server.test_tokens import token
from tests.integration.server.told import Receiver

Json = dict[str, Any]
HELLO = "job_type: hello\ntasks:\n  - task_type: t\n    script: ['true']\n"
SLOW = "job_type: slow\ntasks:\n  - task_type: t\n    script: ['sleep 600']\n"
DYING = "job_type: dying\nerror_handling: {dead_letter_queue: q}\ntasks:\n  - task_type: t\n    script: ['exit 1']\n"
ASKING = "job_type: asking\ntasks:\n  - task_type: gate\n    method: MANUAL\n    approval_policy: {min_approvals: 2}\n"
STARTED = """\
job_type: started
cron_trigger: 0 0 1 1 *
triggers:
  - {type: webhook, name: hook, auth: {method: none}}
tasks:
  - task_type: t
    script: ['true']
"""
BREAKING = """\
job_type: breaking
circuit_breaker: {downstream: NAME, consecutive_failures: 1, open_for: 1h}
tasks:
  - task_type: t
    script: ['exit 1']
"""
TELLING = """\
job_type: telling
webhook: {{url: '{url}/hook', tasks: false}}
tasks:
  - task_type: t
    script: ['true']
"""
_numbers = count(1)


def fresh(word: str) -> str:
    return f"{word}{next(_numbers)}"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file; it can keep secrets, and gives up telling at once."""
    folder = tmp_path_factory.mktemp("keys")
    assert run_forked(("secrets", "keygen", str(folder / "key")), cwd=folder).returncode == 0
    server = Up(folder / "data", "--ants", "1", "--slots", "12", "--secret-key-file", str(folder / "key"))
    server.start()
    for source in (HELLO, SLOW, DYING, ASKING, STARTED):
        assert ask(server, "POST", "/v1/definitions", {"source": source})[0] == 200
    yield server
    server.clear()


# --- what has to be there before a call ---------------------------------------------------------------------------


def job(up: Up, job_type: str, state: str, **more: object) -> str:
    """The id of a new job of that type that has come to that state."""
    status, _, found = ask(up, "POST", "/v1/jobs", {"job_type": job_type, **more}, idempotency_key=fresh("job"))
    assert status == 200, found
    until(lambda: ask(up, "GET", f"/v1/jobs/{found['id']}")[2]["state"] == state, 60, f"{job_type} is {state}")
    return str(found["id"])


def done(up: Up, line: str, body: object = None) -> Any:
    method, path = line.split()
    status, _, found = ask(up, method, path, body)
    assert status in (200, 201), found
    return found


def paused(up: Up) -> str:
    found = job(up, "slow", "EXECUTING")
    done(up, f"POST /v1/jobs/{found}:pause", {})
    return found


def made(up: Up, line: str, **members: object) -> str:
    """The name of something that a call has made."""
    name = fresh("N")
    done(up, line, {"name": name, **members})
    return name


def opened(up: Up) -> str:
    """A circuit breaker that is open."""
    name = fresh("downstream-")
    done(up, "POST /v1/definitions", {"source": BREAKING.replace("NAME", name).replace("breaking", name)})
    job(up, name, "FAILED")
    until(lambda: name in str(done(up, "GET /v1/breakers")), 60, "the breaker is there")
    return name


def untold(up: Up) -> str:
    """A notice that nobody has taken."""
    with Receiver() as receiver:
        receiver.answer = lambda _call: (410, {})
        done(up, "POST /v1/definitions", {"source": TELLING.format(url=receiver.url)})
        found = job(up, "telling", "COMPLETED")
        where = f"GET /v1/jobs/{found}/notifications?state=DEAD"
        until(lambda: bool(done(up, where).get("notifications")), 60, "the notice is given up")
    return str(done(up, where)["notifications"][0]["id"])


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One method: what is asked for, made anew for each test, and something else that its key may not stand for."""

    asked: Callable[[Up], Json]
    other: Callable[[Json], Json]
    code: str = ""
    """What a repeated call gets where its answer is not kept."""


def changed(**members: object) -> Callable[[Json], Json]:
    return lambda asked: asked | members


def simple(*, other: Json, **members: object) -> Row:
    return Row(lambda up: dict(members), lambda asked: asked | other)


TABLE: dict[str, Row] = {
    "ApprovalService.Vote": Row(
        lambda up: {"id": job(up, "asking", "MANUAL_APPROVAL_REQUIRED"), "task_type": "gate", "decision": "APPROVED"},
        changed(decision="REJECTED"),
    ),
    "BreakerService.ResetBreaker": Row(lambda up: {"name": opened(up)}, changed(name="another")),
    "ConfigService.SetConfig": Row(
        lambda up: {"name": fresh("S"), "value": "first-secret", "secret": True}, changed(value="other-secret")
    ),
    "ConfigService.DeleteConfig": Row(
        lambda up: {"scope": "org", "name": made(up, "POST /v1/configs", value=1)}, changed(name="another")
    ),
    "ConfigService.RotateSecrets": Row(lambda up: {}, changed()),
    "DeadLetterService.RedriveDeadLetters": Row(lambda up: {"id": job(up, "dying", "FAILED")}, changed(hard=True)),
    "DeadLetterService.PurgeDeadLetters": Row(lambda up: {"id": job(up, "dying", "FAILED")}, changed(limit=7)),
    "DefinitionService.RegisterDefinition": Row(
        lambda up: {"source": HELLO.replace("hello", fresh("hello"))}, changed(source=HELLO)
    ),
    "ErrorCodeService.SetErrorCode": Row(
        lambda up: {"name": fresh("code"), "code": "ERR_FULL", "exit_code": 28}, changed(exit_code=29)
    ),
    "ErrorCodeService.DeleteErrorCode": Row(
        lambda up: {"name": made(up, "POST /v1/error-codes", code="ERR_FULL", exit_code=28)}, changed(name="another")
    ),
    "JobService.SubmitJob": simple(job_type="hello", params={"n": 1}, other={"params": {"n": 2}}),
    "JobService.SubmitJobs": simple(job_type="hello", jobs=[{}, {}], other={"jobs": [{}]}),
    "JobService.CancelJob": Row(
        lambda up: {"id": job(up, "hello", "PENDING", scheduled_at="2199-01-01T00:00:00Z")}, changed(reason="another")
    ),
    "JobService.PauseJob": Row(lambda up: {"id": job(up, "slow", "EXECUTING")}, changed(id="0" * 26)),
    "JobService.ResumeJob": Row(lambda up: {"id": paused(up)}, changed(id="0" * 26)),
    "JobService.RetryJob": Row(lambda up: {"id": job(up, "dying", "FAILED"), "hard": True}, changed(hard=False)),
    "JobService.PurgeJobs": simple(other={"dry_run": True}),
    "LockService.SetLock": Row(lambda up: {"name": fresh("lock"), "capacity": 2}, changed(capacity=3)),
    "LockService.DeleteLock": Row(lambda up: {"name": made(up, "POST /v1/locks", capacity=1)}, changed(name="another")),
    "NotificationService.RetryNotification": Row(lambda up: {"id": untold(up)}, changed(id="another")),
    "QueueService.PutQueues": simple(source="policy: priority\n", other={"source": "policy: fcfs\n"}),
    "TokenService.CreateToken": Row(
        lambda up: {"role": "viewer", "name": fresh("who")}, changed(role="operator"), "RESPONSE_NOT_KEPT"
    ),
    "TokenService.RevokeToken": Row(
        lambda up: {"id": done(up, "POST /v1/tokens", {"role": "viewer"})["record"]["id"]}, changed(id="another")
    ),
    "TriggerService.FireTrigger": simple(job_type="started", name="hook", other={"params": {"n": 1}}),
    "TriggerService.PauseTrigger": simple(job_type="started", name="hook", other={"name": "cron"}),
    "TriggerService.ResumeTrigger": simple(job_type="started", name="hook", other={"name": "cron"}),
    "TriggerService.ResetTrigger": simple(job_type="started", name="hook", other={"job_type": "another"}),
    "UploadService.CreateUpload": simple(name="a", size_bytes=3, other={"size_bytes": 4}),
    "UploadService.DeleteUpload": Row(
        lambda up: {"id": done(up, "POST /v1/uploads?name=a&size_bytes=3")["id"]}, changed(id="another")
    ),
}
WITHOUT_ANOTHER = {"ConfigService.RotateSecrets"}
"""They ask for nothing, so nothing else can be asked for."""
STREAMED = {"ArtifactService.PutArtifact", "ArtifactService.UploadArtifact", "UploadService.AppendUpload"}
"""Files; test_upload_keys.py and test_resumable_uploads.py have theirs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got: the code of a problem or OK, the message, and whether it is said to be a replay."""

    code: str
    message: object
    replayed: bool


def over_rest(up: Up, name: str, asked: Json, key: str) -> Answer:
    """As the annotation of the method says."""
    rule = methods()[name].GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    fields, path = dict(asked), getattr(rule, verb)
    bindings = [rule, *rule.additional_bindings]
    path = next(  # the one that says most in its path
        getattr(one, one.WhichOneof("pattern"))
        for one in sorted(bindings, key=lambda one: -getattr(one, one.WhichOneof("pattern")).count("{"))
        if all(field in asked for field in _fields(getattr(one, one.WhichOneof("pattern"))))
    )
    for field in _fields(path):
        path = path.replace(f"{{{field}}}", urllib.parse.quote(str(fields.pop(field)), safe=""))
    if not rule.body and fields:
        path += "?" + urllib.parse.urlencode(fields)
    status, headers, body = ask(up, verb.upper(), path, fields if rule.body else None, idempotency_key=key)
    code = "OK" if status in (200, 201) else body["code"]
    return Answer(code, body if code == "OK" else None, headers.get("idempotency-replayed") == "true")


def _fields(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]


def over_grpc(up: Up, name: str, asked: Json, key: str) -> Answer:
    """With the key as metadata."""
    method = methods()[name]
    answer = GetMessageClass(method.output_type)
    with grpc.insecure_channel(up.address) as channel:
        stub = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            found, call = stub.with_call(message(method, asked), metadata=[("idempotency-key", key)], timeout=90)
        except grpc.RpcError as error:
            problem = from_trailing_metadata(error.trailing_metadata())
            assert problem is not None, error
            return Answer(problem.code, None, False)
    shown = MessageToDict(found, preserving_proto_field_name=True)
    return Answer("OK", shown, dict(call.initial_metadata()).get("idempotency-replayed") == "true")


def message(method: MethodDescriptor, asked: Json) -> Message:
    return ParseDict(asked, GetMessageClass(method.input_type)())


PROTOCOLS = (over_rest, over_grpc)


def test_each_method_that_changes_something_is_in_the_table() -> None:
    """And no other."""
    wanted = set()
    for name, method in methods().items():
        full = f"/{method.containing_service.full_name}/{method.name}"
        pattern = method.GetOptions().Extensions[annotations_pb2.http].WhichOneof("pattern")
        if pattern not in (None, "get") and full not in READS:
            wanted.add(name)
    assert set(TABLE) == wanted - STREAMED


@pytest.mark.parametrize("name", sorted(TABLE))
def test_it_is_executed_once_and_answered_alike(up: Up, name: str) -> None:
    """Of calls that come together over both protocols one is executed; the others, and later ones, are told so."""
    row, key = TABLE[name], fresh("key-")
    asked = row.asked(up)
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(PROTOCOLS[at % 2], up, name, asked, key) for at in range(6)]
        together = [call.result() for call in calls]
    fresh_ones = [one for one in together if one.code == "OK" and not one.replayed]
    others = [one for one in together if one.code != "OK" or one.replayed]
    assert len(fresh_ones) == 1, together
    allowed = {"OK", "IDEMPOTENT_REQUEST_IN_PROGRESS", row.code}
    assert {one.code for one in others} <= allowed, together
    for call in PROTOCOLS:
        again = call(up, name, asked, key)
        assert (again.code, again.replayed) == ((row.code, False) if row.code else ("OK", True)), again
        if keeps_answers(methods()[name]) and not row.code:
            first = json.dumps(fresh_ones[0].message, sort_keys=True)
            assert _normal(name, again.message) == _normal(name, json.loads(first))
        if name not in WITHOUT_ANOTHER:
            assert call(up, name, row.other(asked), key).code == "IDEMPOTENCY_KEY_REUSED"


def _normal(name: str, found: object) -> Json:
    """An answer of either protocol as one of gRPC."""
    whole = ParseDict(found, GetMessageClass(methods()[name].output_type)())
    return MessageToDict(whole, preserving_proto_field_name=True)


@pytest.mark.parametrize("call", PROTOCOLS)
def test_a_key_in_flight_is_told_so(up: Up, call: Callable[..., Answer]) -> None:
    """Whoever executes holds the key; what it answers in the end is not this caller's to execute again."""
    asked, key = {"name": fresh("lock"), "capacity": 2}, fresh("flight-")
    name = "LockService.SetLock"

    async def held() -> None:
        store = SqliteStore(up.data / FILE)
        await store.open()
        try:
            method = "/formicary.v1.LockService/SetLock"
            request = message(methods()[name], asked)
            claim = claim_of_call(key, method, method, "local\nlocal", request, Rule(lease_s=600.0), ())
            outcome = await store.acquire(claim)
            assert isinstance(outcome, Acquired)
            found = await asyncio.to_thread(call, up, name, asked, key)
            assert found.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
            other = await asyncio.to_thread(call, up, name, asked | {"capacity": 5}, key)
            assert other.code == "IDEMPOTENCY_KEY_REUSED"
            await store.discard(claim.id, outcome.token)
        finally:
            await store.close()

    asyncio.run(held())
    freed = call(up, name, asked, key)
    assert (freed.code, freed.replayed) == ("OK", False)


def test_a_late_cancel_does_not_stop_the_next_execution(up: Up) -> None:
    """A call that a network delivers twice is the call that it was, also when its job has begun again meanwhile."""
    found = job(up, "slow", "EXECUTING")
    assert over_rest(up, "JobService.CancelJob", {"id": found}, "late").code == "OK"
    until(lambda: ask(up, "GET", f"/v1/jobs/{found}")[2]["state"] == "CANCELLED", 60, "the cancel")
    done(up, f"POST /v1/jobs/{found}:retry", {"hard": True})
    until(lambda: ask(up, "GET", f"/v1/jobs/{found}")[2]["state"] == "EXECUTING", 60, "it runs again")
    again = over_grpc(up, "JobService.CancelJob", {"id": found}, "late")
    assert again.replayed and ask(up, "GET", f"/v1/jobs/{found}")[2]["state"] == "EXECUTING"
    done(up, f"POST /v1/jobs/{found}:cancel", {})


def test_a_refusal_is_not_kept(up: Up) -> None:
    """It depends on what there was: the same call may be taken later."""
    name = fresh("later")
    assert over_rest(up, "LockService.DeleteLock", {"name": name}, name).code == "NOT_FOUND"
    done(up, "POST /v1/locks", {"name": name, "capacity": 1})
    taken = over_grpc(up, "LockService.DeleteLock", {"name": name}, name)
    assert (taken.code, taken.replayed) == ("OK", False)


def test_answers_outlive_kill_9_and_hold_no_secret(tmp_path: Path) -> None:
    """What was answered is answered again by the next server; the file of the keys has neither tokens nor secrets."""
    assert run_forked(("secrets", "keygen", str(tmp_path / "key")), cwd=tmp_path).returncode == 0
    server = Up(tmp_path / "data", "--ants", "0", "--secret-key-file", str(tmp_path / "key"))
    secret = {"name": "DEPLOY", "value": "tr0ub4dor&3", "secret": True}
    try:
        server.start()
        first = over_rest(server, "ConfigService.SetConfig", secret, "set")
        _, _, token = ask(server, "POST", "/v1/tokens", {"role": "viewer"}, idempotency_key="token")
        over_rest(server, "ConfigService.SetConfig", secret | {"value": "newer-one"}, "set-2")
        server.kill()
        server.start()
        assert over_rest(server, "ConfigService.SetConfig", secret, "set") == Answer("OK", first.message, True)
        other = over_rest(server, "ConfigService.SetConfig", secret | {"value": "x" * 9}, "set")
        assert other.code == "IDEMPOTENCY_KEY_REUSED"
        assert ask(server, "POST", "/v1/configs/org/DEPLOY:reveal", {})[2]["value"] == "newer-one"
        kept = b"".join(path.read_bytes() for path in server.data.glob(f"{FILE}*"))
        assert b"tr0ub4dor" not in kept and b"newer-one" not in kept and token["token"].encode() not in kept
    finally:
        server.clear()


def test_a_batch_is_submitted_once_also_when_its_answer_was_lost(up: Up) -> None:
    """Its jobs have keys made of the batch's, so that a killed server does not run it twice."""
    body = {"job_type": "hello", "jobs": [{}, {}]}
    first = over_rest(up, "JobService.SubmitJobs", body, "batch")
    each = [over_rest(up, "JobService.SubmitJob", {"job_type": "hello"}, f"batch/{at}") for at in range(2)]
    assert _normal("JobService.SubmitJobs", first.message) == {"ids": [json_id(one) for one in each]}
    assert all(one.replayed for one in each)


def json_id(answer: Answer) -> object:
    assert isinstance(answer.message, dict)
    return answer.message["id"]


def test_on_postgresql_the_keys_are_in_the_database(tmp_path: Path, postgres_url: str) -> None:
    """Beside the tables of the server, so that whoever serves next knows them."""
    import psycopg  # an extra

    server = Up(tmp_path / "data", "--ants", "0", "--database", postgres_url)
    try:
        server.start()
        assert over_rest(server, "LockService.SetLock", {"name": "disc", "capacity": 2}, "k").code == "OK"
        server.kill()
        server.start()
        assert over_grpc(server, "LockService.SetLock", {"name": "disc", "capacity": 2}, "k").replayed
        with psycopg.connect(postgres_url) as connection:
            rows = connection.execute("SELECT client_key FROM formicary.formicary_idempotency").fetchall()
        assert rows == [("k",)] and not (server.data / FILE).exists()
    finally:
        server.clear()


def test_a_key_is_its_users_own(tmp_path: Path) -> None:
    """Another user of the organisation who sends the same is not answered with what somebody else did."""
    server = Up(tmp_path / "data", "--auth", "token", "--ants", "0")
    ann, bob = (token(server, "--role", "admin", "--name", name, "--data", str(server.data)) for name in ("ann", "bob"))
    try:
        server.start()

        def put(text: str) -> bool:
            body = {"name": "disc", "capacity": 2}
            said = {"idempotency_key": "k", "authorization": f"Bearer {text}"}
            status, headers, found = ask(server, "POST", "/v1/locks", body, **said)
            assert status == 200, found
            return "idempotency-replayed" in headers

        assert [put(ann), put(bob), put(ann), put(bob)] == [False, False, True, True]
    finally:
        server.clear()
