"""Definitions by version, the purge by hand and EXPIRE_ARTIFACTS on a real server."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.server import Up, until
from tests.integration.server.test_rest_api import ask
from tests.integration.server.test_tokens import token

KEEPING = """\
job_type: keeping
tasks:
  - task_type: make
    script: ["echo made > made.txt"]
    artifacts: {paths: [made.txt], expires_after: 1s}
"""
TIDY = """\
job_type: tidy
tasks:
  - task_type: expire
    method: EXPIRE_ARTIFACTS
    on_completed: tell
  - task_type: tell
    script: ["echo ::set-output name=gone::{{.ExpiredArtifacts}}"]
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    server = Up(tmp_path / "data", "--ants", "1")
    try:
        server.start()
        yield server
    finally:
        server.clear()


def run(up: Up, folder: Path, source: str, *options: str) -> str:
    """The id of a job that has ended."""
    (folder / "job.yaml").write_text(source)
    job_id = up.cli("submit", str(folder / "job.yaml"), *options).split()[0]
    until(lambda: has_ended(up, job_id), 20, "it ends")
    return job_id


def has_ended(up: Up, job_id: str) -> bool:
    return up.job(job_id)["state"] in ("COMPLETED", "FAILED")


def test_every_version_can_be_shown_as_it_was(up: Up, tmp_path: Path) -> None:
    first, second = KEEPING, KEEPING.replace("tasks:", "sem_version: 2.1.0  # newer\ntasks:")
    for source in (first, second):
        run(up, tmp_path, source)
    listed = json.loads(up.cli("definitions", "list", "keeping", "--output", "json"))
    assert [one["version"] for one in listed] == [2, 1]
    assert up.cli("definitions", "show", "keeping") == second
    for version, source in (("1", first), ("latest", second), ("2.1.0", second), (listed[1]["id"], first)):
        assert up.cli("definitions", "show", "keeping", "--version", version) == source
    up.cli("definitions", "show", "keeping", "--version", "3", status=2)


def test_jobs_are_registered_without_being_started(up: Up, tmp_path: Path) -> None:
    """Every job of every file, once all files are right; the same text again is the same version."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"{KEEPING}---\ncron_trigger: '@daily'\n{TIDY}")
    bad.write_text("job_type: broken\n")
    up.cli("definitions", "register", str(good), str(bad), status=2)
    assert json.loads(up.cli("definitions", "list", "--output", "json")) == []
    first = json.loads(up.cli("definitions", "register", str(good), "--output", "json"))
    assert [(one["job_type"], one["version"]) for one in first] == [("keeping", 1), ("tidy", 1)]
    assert json.loads(up.cli("definitions", "register", str(good), "--output", "json")) == first
    (schedule,) = json.loads(up.cli("triggers", "list", "--output", "json"))
    assert (schedule["job_type"], schedule["type"]) == ("tidy", "cron")
    assert json.loads(up.cli("list", "--output", "json")) == []


def test_what_a_template_makes_for_a_job_is_no_version(up: Up, tmp_path: Path) -> None:
    """Each job that names the type has tasks of its own; lists and `latest` know the registered text alone."""
    source = """\
job_type: made
dynamic_template_tasks: true
job_variables: {Count: 1}
tasks:
- task_type: start
  script: ["true"]
{{- range $i := Iterate .Count }}
- task_type: t-{{ $i }}
  dependencies: [start]
  script: ["true"]
{{- end }}
"""
    run(up, tmp_path, source)
    for count in (3, 2, 4, 2):
        body = {"job_type": "made", "params": {"Count": count}}
        _, _, job = ask(up, "POST", "/v1/jobs", body, idempotency_key=f"made-{count}-{time.time()}")
        until(partial(has_ended, up, str(job["id"])), 20, "it ends")
        found = up.job(str(job["id"]))
        assert (len(found["tasks"]), found["definition_version"]) == (count + 1, 1)
    assert [one["version"] for one in json.loads(up.cli("definitions", "list", "made", "--output", "json"))] == [1]
    up.cli("retry", str(job["id"]), "--hard", "--version", "latest", status=1)


def test_what_expired_is_removed_by_a_task(up: Up, tmp_path: Path) -> None:
    job_id = run(up, tmp_path, KEEPING)
    files = [one for one in (up.data / "artifacts").rglob("*") if one.is_file()]
    assert len(files) == 1
    until(lambda: not json.loads(up.cli("artifacts", "list", job_id, "--output", "json")), 10, "it has expired")
    tidy = up.job(run(up, tmp_path, TIDY))
    assert (tidy["state"], tidy["outputs"]["gone"], tidy["tasks"][0]["ant"]) == ("COMPLETED", "1", None)
    assert not [one for one in (up.data / "artifacts").rglob("*") if one.is_file()]


def test_the_purge_says_what_it_would_do_and_does_it(up: Up, tmp_path: Path) -> None:
    """A job whose retention is over is counted, then removed; one that is younger stays."""
    old, young = run(up, tmp_path, KEEPING), run(up, tmp_path, KEEPING)
    up.kill()
    ended = time.time() - 8 * 86400
    with sqlite3.connect(up.data / "formicary.db") as database:
        database.execute("UPDATE jobs SET submitted_at = ?, ended_at = ? WHERE id = ?", (ended, ended, old))
    database.close()
    up.start()
    found = json.loads(up.cli("jobs", "purge", "--dry-run", "--output", "json"))
    assert found["dry_run"] and found["jobs"] == 1
    assert [(one["job_type"], one["state"], one["jobs"]) for one in found["groups"]] == [("keeping", "COMPLETED", 1)]
    assert up.job(old)["state"] == "COMPLETED"
    assert "1 jobs were removed" in up.cli("jobs", "purge")
    assert ask(up, "GET", f"/v1/jobs/{old}")[0] == 404 and up.job(young)["state"] == "COMPLETED"
    assert ask(up, "POST", "/v1/jobs:purge", {"dry_run": True})[2]["jobs"] == "0"


def test_only_administrators_purge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = Up(tmp_path / "data", "--auth", "token", "--ants", "0")
    monkeypatch.setenv("FORMICARY_TOKEN", token(up, "--role", "operator", "--data", str(up.data)))
    try:
        up.start()
        up.cli("jobs", "purge", status=1)
    finally:
        up.clear()
