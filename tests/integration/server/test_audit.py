"""The audit log of a real server: who changed what, who was refused, who may read it, and that no secret is in it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from formicary.engine.storage.backends import open_store
from tests.acceptance.server import Up, until
from tests.integration.server.test_rest_api import JOB, ask
from tests.integration.server.test_tokens import as_bearer, token


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server that asks for tokens; the environment has an administrator's."""
    server = Up(tmp_path_factory.mktemp("audit") / "data", "--auth", "token", "--ants", "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORMICARY_TOKEN", token(server, "--role", "admin", "--data", str(server.data)))
        server.start()
        yield server
        server.clear()


def records(up: Up, *options: str) -> list[dict[str, Any]]:
    """Records as the command line prints them."""
    found: list[dict[str, Any]] = json.loads(up.cli("audit", "list", "--output", "json", *options))
    return found


def test_changes_and_refusals_are_recorded_and_reads_are_not(up: Up) -> None:
    """Caller, method, resource, outcome and trace of a change are there; so is a refusal; no text of a token is."""
    submitter, viewer = (token(up, "--role", role, "--org", "acme") for role in ("submitter", "viewer"))
    ask(up, "POST", "/v1/definitions", {"source": JOB}, **as_bearer(submitter))
    body = {"job_type": "hello", "params": {"secret": "hunter2"}}
    status, headers, job = ask(up, "POST", "/v1/jobs", body, idempotency_key="k", **as_bearer(submitter))
    assert status == 200
    assert ask(up, "POST", f"/v1/jobs/{job['id']}:cancel", {}, **as_bearer(viewer))[0] == 403
    assert ask(up, "GET", f"/v1/jobs/{job['id']}", **as_bearer(viewer))[0] == 200
    assert ask(up, "DELETE", "/v1/tokens/x")[0] == 401
    until(lambda: len(records(up, "--code", "UNAUTHENTICATED")) == 1, 10, "the last record is there")
    (submitted,) = records(up, "--method", "SubmitJob")
    assert (submitted["resource"], submitted["code"], submitted["org"]) == (job["id"], "OK", "acme")
    assert submitted["principal"] == submitter.split("_")[1]
    assert submitted["trace_id"] == headers["x-trace-id"]
    (refused,) = records(up, "--principal", viewer.split("_")[1])
    assert (refused["code"], refused["method"]) == ("PERMISSION_DENIED", "formicary.v1.JobService/CancelJob")
    assert job["id"] in refused["resource"]
    everything = json.dumps(records(up, "--limit", "0"))
    assert "GetJob" not in everything
    assert not any(text in everything for text in (submitter, viewer, submitter.split("_")[2], "hunter2"))


def test_an_administrator_sees_the_records_of_the_own_organisation(up: Up) -> None:
    """Another organisation's records are not shown, others than administrators see none, and pages go on."""
    admin, viewer = token(up, "--role", "admin", "--org", "solo"), token(up, "--role", "viewer", "--org", "solo")
    for name in ("a", "b", "c"):
        assert ask(up, "POST", "/v1/tokens", {"role": "viewer", "name": name}, **as_bearer(admin))[0] == 200
    assert ask(up, "GET", "/v1/audit", **as_bearer(viewer))[0] == 403

    def listed(query: str) -> dict[str, Any]:
        found: dict[str, Any] = ask(up, "GET", f"/v1/audit?{query}", **as_bearer(admin))[2]
        return found

    until(lambda: len(listed("")["records"]) == 4, 10, "three tokens and one refusal")
    first = listed("page_size=2")
    rest = listed(f"page_size=3&page_token={first['next_page_token']}")
    assert [len(first["records"]), len(rest["records"])] == [2, 2]
    assert {record["org"] for record in first["records"] + rest["records"]} == {"solo"}
    status = ask(up, "GET", f"/v1/audit?method=x&page_token={first['next_page_token']}", **as_bearer(admin))[0]
    assert status == 400


def test_too_many_refusals_are_counted_instead_of_recorded(up: Up) -> None:
    """Whoever knocks all the time fills no disk; how often is told by the next record."""
    before = len(records(up, "--code", "UNAUTHENTICATED", "--limit", "0"))
    with ThreadPoolExecutor(16) as pool:  # one after the other they might come slowly enough for each to be recorded
        assert {found[0] for found in pool.map(lambda _: ask(up, "GET", "/v1/jobs"), range(250))} == {401}
    token(up, "--role", "viewer", "--name", "after")

    def recorded() -> int:
        return len(records(up, "--code", "UNAUTHENTICATED", "--limit", "0")) - before

    def counted() -> int:
        return sum(record["suppressed"] for record in records(up, "--limit", "0"))

    until(lambda: recorded() + counted() == 250, 10, "the next record counts them")
    assert recorded() < 200


def test_records_outlive_the_server(up: Up) -> None:
    """What was recorded before a stop is there afterwards, with what was recorded last."""
    token(up, "--role", "viewer", "--name", "last")
    up.stop()
    up.start()
    newest = records(up, "--method", "CreateToken")
    assert newest[0]["code"] == "OK"
    assert len(newest) >= 2


def test_old_records_are_removed_by_a_server_that_starts(tmp_path: Path) -> None:
    """What is older than --audit-days goes soon after the start; what is younger stays."""
    day, data = 86_400.0, tmp_path / "data"
    data.mkdir()
    store = open_store(data)
    store.open()
    store.add_audit([(time.time() - age * day, "local", "p", f"m{age}", "", "OK", "", "", "http", 0) for age in (3, 1)])
    store.close()
    server = Up(data, "--ants", "0", "--audit-days", "2")
    server.start()
    try:
        until(lambda: [one["method"] for one in records(server)] == ["m1"], 20, "the old one is gone")
    finally:
        server.clear()
