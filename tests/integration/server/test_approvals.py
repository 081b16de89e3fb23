"""Approvals of a real server: who may vote, votes that count once, kill -9 with open questions, escalation, pause."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import Client, RestClient, SyncClient
from formicary.client.approvals import list_approvals, vote
from formicary.problems import Problem
from tests.acceptance.server import Up, until
from tests.integration.server.test_rest_api import ask
from tests.integration.server.test_tokens import as_bearer, token

JOB = """\
job_type: gated
tasks:
  - task_type: gate
    method: MANUAL
    approval_policy: {min_approvals: 2, allowed_users: [ann, bob], allowed_roles: [operator]}
    on_exit_code: {APPROVED: ship, REJECTED: undo}
  - task_type: ship
    script: ["true"]
  - task_type: undo
    script: ["true"]
"""
ESCALATING = """\
job_type: escalating
tasks:
  - task_type: gate
    method: MANUAL
    approval_policy: {sla_deadline: 8s, timeout_action: ESCALATE, escalation_recipients: [boss@example.com]}
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server with one ant that knows no callers."""
    server = Up(tmp_path / "data", "--ants", "1", "--slots", "1")
    try:
        server.start()
        yield server
    finally:
        server.clear()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server that asks for tokens; the environment has an administrator's."""
    server = Up(tmp_path_factory.mktemp("approvals") / "data", "--auth", "token", "--ants", "1", "--rate", "500")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORMICARY_TOKEN", token(server, "--role", "admin", "--data", str(server.data)))
        server.start()
        yield server
        server.clear()


def submitted(up: Up, folder: Path, source: str) -> str:
    """The id of a new job that waits for people."""
    file = folder / "job.yaml"
    file.write_text(source)
    job_id = up.cli("submit", str(file)).split()[0]
    until(lambda: state(up, job_id) == "MANUAL_APPROVAL_REQUIRED", 20, "it waits for people")
    return job_id


def document(up: Up, job_id: str) -> dict[str, Any]:
    """The job as the command shows it."""
    found: dict[str, Any] = json.loads(up.cli("get", job_id, "--output", "json"))
    return found


def state(up: Up, job_id: str) -> str:
    """Of the job."""
    return str(document(up, job_id)["state"])


def body(word: str, **more: Any) -> dict[str, Any]:
    """Of a vote over REST."""
    return {"decision": word, **more}


def test_the_voter_is_whose_token_it_is(guarded: Up, tmp_path: Path) -> None:
    """The token's name counts, never what the request says; strangers, second votes and late votes have clear codes."""
    job_id = submitted(guarded, tmp_path, JOB)
    path = f"/v1/jobs/{job_id}/approvals/gate:vote"
    ann, ann_again, zoe, admin = (
        as_bearer(token(guarded, "--role", role, "--name", name))
        for role, name in (("viewer", "ann"), ("submitter", "ann"), ("viewer", "zoe"), ("admin", "root"))
    )
    operator, other = (
        token(guarded, "--role", "operator"),
        token(guarded, "--role", "admin", "--org", "b", "--name", "ann"),
    )
    for who, sent, expected in (
        (zoe, body("APPROVED"), (403, "VOTE_NOT_ALLOWED")),
        (admin, body("APPROVED"), (403, "VOTE_NOT_ALLOWED")),
        (zoe, body("APPROVED", voter="ann"), (403, "PERMISSION_DENIED")),
        (zoe, body("APPROVED", roles=["operator"]), (403, "PERMISSION_DENIED")),
        (as_bearer(other), body("APPROVED"), (404, "NOT_FOUND")),
        (ann, body("PERHAPS"), (400, "VALIDATION_FAILED")),
    ):
        status, _, answer = ask(guarded, "POST", path, sent, **who)
        assert (status, answer["code"]) == expected, sent
    assert document(guarded, job_id)["tasks"][0]["approval"]["votes"] == []
    mine = ask(guarded, "GET", "/v1/approvals?mine=true", **ann)[2]["approvals"]
    assert [one["id"] for one in mine] == [job_id] and mine[0]["missing"].startswith("2 approvals of ann, bob")
    assert ask(guarded, "GET", "/api/approvals/pending?mine=true", **zoe)[2]["approvals"] == []
    status, _, first = ask(guarded, "POST", path, body("APPROVED", comment="fine"), idempotency_key="k", **ann)
    assert (status, first["state"], first["votes"][0]["voter"]) == (200, "OPEN", "ann")
    again = ask(guarded, "POST", path, body("APPROVED", comment="fine"), idempotency_key="k", **ann)
    assert again[2] == first and again[1]["idempotency-replayed"] == "true"
    status, _, answer = ask(guarded, "POST", path, body("APPROVED"), idempotency_key="k", **ann)
    assert (status, answer["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), "another comment is another request"
    status, _, answer = ask(guarded, "POST", path, body("REJECTED"), idempotency_key="k", **ann)
    assert (status, answer["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    status, _, answer = ask(guarded, "POST", path, body("APPROVED"), **ann_again)
    assert (status, answer["code"]) == (409, "ALREADY_VOTED"), "two tokens of one name are one voter"
    assert ask(guarded, "GET", "/v1/approvals?mine=true", **ann)[2]["approvals"] == []

    async def decide() -> dict[str, Any]:
        async with Client(guarded.address, token=operator) as client:
            return await vote(client, job_id, approve=True, idempotency_key="last")

    decided = asyncio.run(decide())
    assert (decided["state"], decided["decided_by"], len(decided["votes"])) == ("APPROVED", "votes", 2)
    assert asyncio.run(decide()) == decided, "the repeated call is answered again"
    status, _, answer = ask(guarded, "POST", path, body("APPROVED"), **as_bearer(token(guarded, "--role", "operator")))
    assert (status, answer["code"]) == (409, "APPROVAL_NOT_OPEN")
    until(lambda: state(guarded, job_id) == "COMPLETED", 20, "it goes on")

    def told() -> set[str]:
        listed = guarded.cli("audit", "list", "--method", "Vote", "--resource", job_id, "--output", "json")
        return {one["code"] for one in json.loads(listed)}

    # the log is appended to a moment after the answer
    until(lambda: told() >= {"OK", "VOTE_NOT_ALLOWED", "ALREADY_VOTED", "APPROVAL_NOT_OPEN"}, 10, "all are in the log")


def test_votes_and_questions_survive_kill_9(up: Up, tmp_path: Path) -> None:
    """Killed while it waits, between the votes and right after the decision: each vote counts once, and it goes on."""
    job_id = submitted(up, tmp_path, JOB)
    other = submitted(up, tmp_path, JOB)
    up.kill()
    up.start()
    assert state(up, job_id) == state(up, other) == "MANUAL_APPROVAL_REQUIRED", "neither holds the only slot"
    assert "OPEN, missing: 1 approval of" in up.cli("approve", job_id, "--as", "ann", "--comment", "tests pass")
    up.kill()
    up.start()
    up.cli("approve", job_id, "--as", "ann", status=1)
    shown = up.cli("get", job_id)
    assert "missing: 1 approval" in shown and "ann APPROVED: tests pass" in shown
    listed = up.cli("approvals", "list", "--as", "bob")
    assert job_id in listed and other in listed
    assert job_id not in up.cli("approvals", "list", "--as", "ann")
    assert up.cli("approve", job_id, "gate", "--as", "zoe", "--role", "operator") == f"{job_id} gate APPROVED\n"
    up.kill()
    up.start()
    until(lambda: state(up, job_id) == "COMPLETED", 20, "it goes on")
    found = document(up, job_id)["tasks"]
    assert [(task["state"], task["attempts"]) for task in found] == [("COMPLETED", 1), ("COMPLETED", 1), ("SKIPPED", 0)]
    up.cli("reject", other, "--as", "bob")
    until(lambda: state(up, other) == "FAILED", 20, "it was rejected")
    assert [task["state"] for task in document(up, other)["tasks"]] == ["FAILED", "SKIPPED", "COMPLETED"]
    assert json.loads(up.cli("approvals", "list", other, "--output", "json"))[0]["state"] == "REJECTED"


def test_a_deadline_that_passes_while_the_server_is_down_strikes_after_it(up: Up, tmp_path: Path) -> None:
    """ESCALATE: once, in the audit log, among the events; the question stays open and votes count."""
    job_id = submitted(up, tmp_path, ESCALATING)
    up.kill()
    up.start()
    until(
        lambda: "formicary.v1.ApprovalService/Escalated" in up.cli("audit", "list", "--output", "json"), 20, "escalated"
    )
    up.kill()
    up.start()
    asked = document(up, job_id)["tasks"][0]["approval"]
    assert asked["state"] == "OPEN" and asked["escalated_at"] and asked["deadline_at"] is None
    records = json.loads(
        up.cli("audit", "list", "--method", "formicary.v1.ApprovalService/Escalated", "--output", "json")
    )
    assert [one["resource"] for one in records] == [f"{job_id}/gate"]
    up.cli("approve", job_id)
    until(lambda: state(up, job_id) == "COMPLETED", 20, "it was approved")


def test_every_client_votes_and_pauses(up: Up, tmp_path: Path) -> None:
    """The asynchronous, the blocking and the REST client say the same; a pause lasts until it is ended."""
    jobs = [submitted(up, tmp_path, ESCALATING.replace("sla_deadline: 8s", "sla_deadline: 1h")) for _ in range(3)]

    async def over_both() -> None:
        async with Client(up.address) as client, RestClient(f"http://127.0.0.1:{up.http}") as rest:
            assert {one["id"] for one in await list_approvals(client)} == set(jobs)
            assert (await vote(client, jobs[0], approve=True))["state"] == "APPROVED"
            assert (await rest.pause(jobs[1]))["state"] == "PAUSED"
            decided = await rest.vote(jobs[1], approve=False, comment="no", idempotency_key="k")
            assert decided["state"] == "REJECTED" and decided == (await list_approvals(client, jobs[1]))[0]
            with pytest.raises(Problem, match="only a job that runs"):
                await client.pause(jobs[0])

    asyncio.run(over_both())
    with SyncClient(up.address) as client:
        assert client.vote(jobs[2], approve=True, task_type="gate")["votes"][0]["voter"] == "local"
        assert client.approvals() == []
    until(lambda: state(up, jobs[1]) == "FAILED", 20, "the rejection ended what was paused")
