"""Error codes and restarts against a real server: rules are kept, name what real tasks say, and outlive kill -9."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import Client, RestClient
from formicary.problems import Problem
from tests.acceptance.server import Up, until
from tests.integration.server.test_rest_api import ask

FULL = """\
job_type: copies
tasks:
  - task_type: copy
    script:
      - echo "cp, write error on /data, No space left on device" >&2
      - exit 1
"""
BUSY = """\
job_type: busy
tasks:
  - task_type: once
    retry: 0
    delay_between_retries: 10ms
    script:
      - test -e {file} && exit 0; touch {file}; exit 75
"""
FIRST = """\
job_type: versions
tasks:
  - task_type: make
    script: ['echo "::set-output name=made::$RANDOM-1"']
    on_completed: ship
  - task_type: ship
    script: ["exit 1"]
"""
SECOND = """\
job_type: versions
sem_version: "2.0"
job_variables: {greeting: 'hello {{.name}}'}
tasks:
  - task_type: make
    script: ["exit 9"]
    on_completed: ship
  - task_type: ship
    script: ['echo "::set-output name=said::{{.greeting}}"']
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server with one ant."""
    server = Up(tmp_path / "data", "--ants", "1", "--slots", "1")
    try:
        server.start()
        yield server
    finally:
        server.clear()


def document(up: Up, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(up.cli("get", job_id, "--output", "json"))
    return found


def ended(up: Up, folder: Path, source: str, *options: str) -> dict[str, Any]:
    """The document of a new job that has ended."""
    file = folder / "job.yaml"
    file.write_text(source)
    job_id = up.cli("submit", str(file), *options).split()[0]
    return at_end(up, job_id)


def at_end(up: Up, job_id: str) -> dict[str, Any]:
    until(lambda: document(up, job_id)["state"] in ("COMPLETED", "FAILED"), 30, "the job ends")
    return document(up, job_id)


def test_a_rule_names_what_a_task_has_written(up: Up, tmp_path: Path) -> None:
    """A pattern meets the output of a real task; the code and the words are shown; the rule outlives kill -9."""
    words = ("--pattern", "No space left", "--message", "The disk is full.", "--action", "HARD_FAILURE")
    up.cli("error-codes", "set", "disk-full", "ERR_NO_SPACE", *words)
    up.kill()
    up.start()
    found = ended(up, tmp_path, FULL.replace("tasks:", "retry: 3\ntasks:"))
    error = found["tasks"][0]["error"]
    assert error["code"] == "ERR_NO_SPACE" and error["message"].startswith("The disk is full. (The line ")
    assert found["error"]["code"] == "ERR_NO_SPACE" and found["retries"] == 0
    assert (
        json.loads(up.cli("error-codes", "match", "--text", "No space left", "--output", "json"))["name"] == "disk-full"
    )


def test_a_rule_repeats_a_task(up: Up, tmp_path: Path) -> None:
    up.cli("error-codes", "set", "busy", "ERR_BUSY", "--exit-code", "75", "--action", "RETRY_TASK", "--retry", "2")
    found = ended(up, tmp_path, BUSY.format(file=tmp_path / "lock"))
    assert (found["state"], found["tasks"][0]["attempts"]) == ("COMPLETED", 2)
    up.cli("error-codes", "delete", "busy")
    (tmp_path / "lock").unlink()
    assert ended(up, tmp_path, BUSY.format(file=tmp_path / "lock"))["error"]["code"] == "ERR_EXIT_CODE"


def test_a_restart_with_another_version_keeps_what_completed(up: Up, tmp_path: Path) -> None:
    """`make` is kept with its output though its text changed; variables are rendered anew; a repeated key: nothing."""
    before = ended(up, tmp_path, FIRST, "-p", "name=Ada")
    assert (before["state"], before["definition_version"]) == ("FAILED", 1)
    (tmp_path / "two.yaml").write_text(SECOND)
    other = up.cli("submit", str(tmp_path / "two.yaml"), "-p", "name=Bob").split()[0]
    assert at_end(up, other)["state"] == "FAILED"
    up.cli("restart", before["id"], "--version", "latest", "--idempotency-key", "again-1")
    after = at_end(up, before["id"])
    assert (after["state"], after["definition_version"], after["execution"]) == ("COMPLETED", 2, 2)
    assert after["tasks"][0]["attempts"] == 1 and after["outputs"]["made"] == before["outputs"]["made"]
    assert after["outputs"]["said"] == "hello Ada"

    async def again() -> None:
        async with Client(up.address) as client:
            found = await client.retry(before["id"], version="latest", idempotency_key="again-1")
            assert found["execution"] == 2
            with pytest.raises(Problem) as reused:
                await client.retry(before["id"], hard=True, idempotency_key="again-1")
            assert reused.value.code == "IDEMPOTENCY_KEY_REUSED"
            with pytest.raises(Problem) as done:
                await client.retry(before["id"])
            assert (done.value.code, done.value.status) == ("FAILED_PRECONDITION", 412)
        async with RestClient(f"http://127.0.0.1:{up.http}") as client:
            with pytest.raises(Problem, match="no version '7'") as none:
                await client.retry(other, version="7")
            assert none.value.status == 412
            await client.retry(other, hard=True, version="1")

    asyncio.run(again())
    assert at_end(up, other)["definition_version"] == 1


def test_a_version_that_needs_more_parameters_is_refused(up: Up, tmp_path: Path) -> None:
    before = ended(up, tmp_path, FIRST)
    (tmp_path / "two.yaml").write_text(FIRST + "required_params: [region]\n")
    up.cli("submit", str(tmp_path / "two.yaml"), "-p", "region=x")
    status, _, body = ask(up, "POST", f"/v1/jobs/{before['id']}:retry", {"version": "2"})
    assert status == 412 and "region" in json.dumps(body)
    assert document(up, before["id"])["execution"] == 1
