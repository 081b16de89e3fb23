"""Secrets on a real server with a real ant: over gRPC, REST and the command line, in logs, on disk, after kill -9."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.server import Up, until
from tests.forks import Forked, run_forked
from tests.integration.server.test_rest_api import ask

CANARY = "c4n4ry-value/with+signs"
PEM = "-----BEGIN KEY-----\nMIIcanaryline1AAAA\nMIIcanaryline2BBBB\n-----END KEY-----"
JOB = """
job_type: secretive
job_variables: {auth: "Bearer {{.TOKEN}}"}
required_params: [REGION]
tasks:
- task_type: show
  script:
  - 'echo "plain {{.TOKEN}} $TOKEN $auth region $REGION workers $WORKERS"'
  - 'echo "mine $MINE of {{.UserID}}"'
  - 'printf %s "$TOKEN" | base64; printf "%s\\n" "$PEM"; printf "%s" "$TOKEN" >&2'
  - 'printf c4n4ry-va; sleep 0.05; printf "lue/with+signs\\n"'
  - 'test "$(printf %s "$TOKEN" | wc -c)" = 23 && echo right; env | grep another; true'
  - 'echo "::set-output name=token::$TOKEN"; exit 3'
  environment: {MORE: "{{.TOKEN}}"}
  on_failed: fail
- task_type: fail
  script: ['false "{{.TOKEN}}" $(date)']
"""


def keygen(path: Path, *options: str) -> str:
    done = run_forked(("secrets", "keygen", str(path), *options))
    assert done.returncode == 0, done
    return done.stdout.strip()


def command(up: Up, *arguments: str, value: str = "", status: int = 0) -> str:
    """Runs a command; returns both of its outputs."""
    environment = {**os.environ, "FORMICARY_SERVER": up.address}
    done = run_forked(arguments, stdin=value, env=environment)
    assert done.returncode == status, done
    return done.stdout + done.stderr


def set_secret(up: Up, name: str, value: str, *options: str, status: int = 0) -> str:
    return command(up, "secrets", "set", name, *options, value=value, status=status)


def submit(up: Up, source: str, key: str, **params: object) -> str:
    status, _, found = ask(up, "POST", "/v1/definitions", {"source": source})
    assert status == 200, found
    request = {"definition_id": found["definition_id"], "params": params}
    status, _, job = ask(up, "POST", "/v1/jobs", request, idempotency_key=key)
    assert status == 200, job
    return str(job["id"])


def ended(up: Up, job_id: str) -> dict[str, Any]:
    until(lambda: up.job(job_id)["state"] in ("COMPLETED", "FAILED"), 30, "the job ends")
    return up.job(job_id)


def nowhere(data: Path, *texts: str) -> None:
    """No file below has any of the texts."""
    for path in data.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            for text in texts:
                assert text.encode() not in content, f"{text!r} is in {path}"


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server with a key."""
    keygen(tmp_path / "keys")
    server = Up(tmp_path / "data", "--ants", "1", "--secret-key-file", str(tmp_path / "keys"))
    server.start()
    yield server
    server.clear()


def test_a_secret_reaches_its_task_and_nobody_else(up: Up) -> None:
    """Not a log, an output, an error, an answer of both protocols, nor a file of the data directory shows it."""
    set_secret(up, "TOKEN", CANARY + "\n")
    set_secret(up, "PEM", PEM, "--job", "secretive")
    set_secret(up, "OTHER", "another-canary")
    up.cli("config", "set", "REGION", "eu")
    up.cli("config", "set", "WORKERS", "8", "--job", "secretive")
    up.cli("config", "set", "MINE", "u", "--user", "local")
    up.cli("config", "set", "MINE", "o")
    job_id = submit(up, JOB, "one")
    job = ended(up, job_id)
    logs = up.cli("logs", job_id)
    assert "mine u of local" in logs, logs
    assert logs.count("| ***\n") == 7, logs
    assert "plain *** *** Bearer *** region eu workers 8" in logs and "| ***\n" in logs and "right" in logs, logs
    assert job["tasks"][0]["outputs"] == {"token": "***"}
    assert "OTHER" not in logs, "what is given to a task is masked, its name is not"
    assert "another" not in logs and job["tasks"][1]["error"]["message"].startswith('The line \'false "***"')
    every = [json.dumps(job), logs, up.cli("secrets", "list"), up.cli("config", "list", "--output", "json")]
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/logs", "/v1/configs", "/v1/configs/org/TOKEN", "/v1/audit"):
        every.append(str(ask(up, "GET", path)[2]))
    status, _, revealed = ask(up, "POST", "/v1/configs/org/TOKEN:reveal", {})
    assert (status, revealed["value"]) == (200, CANARY) and up.cli("secrets", "reveal", "TOKEN") == CANARY + "\n"
    until(lambda: "RevealConfig" in up.cli("audit", "list", "--output", "json"), 10, "the audit log says who asked")
    assert "org/TOKEN" in up.cli("audit", "list", "--output", "json")
    for text in every:
        assert CANARY not in text and "MIIcanaryline" not in text and "§" not in text, text
    up.stop()
    nowhere(up.data, CANARY, "MIIcanaryline", "another-canary", "YzRuNHJ5LXZhbHVl")
    assert CANARY not in up.log.read_text()


NAMING = """
job_type: naming
tasks:
- task_type: t
  script:
  - 'printf %s "$TOKEN" | fold -w 7; echo; date > "report-$TOKEN.txt"'
"""


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("artifacts: {paths: ['*.txt']}", "The name of the artifact 'report-***.txt' holds a secret"),
        ("cache: {key: 'of {{.TOKEN}}', paths: ['*.txt']}", "cache would hold a secret"),
    ],
)
def test_a_name_that_holds_a_secret_is_refused(up: Up, field: str, told: str) -> None:
    """A name is how people find a file: it cannot be masked. And what is folded in the log is."""
    set_secret(up, "TOKEN", "in-a-name-canary")
    job = ended(up, submit(up, f"{NAMING}  {field}\n", "naming"))
    assert job["state"] == "FAILED" and told in job["tasks"][0]["error"]["message"], job
    logs = up.cli("logs", job["id"])
    assert not any(part in logs for part in ("in-a-na", "me-cana", "canary"))
    assert up.stop() == 0
    nowhere(up.data, "in-a-name-canary", "me-cana")


def test_a_queen_that_is_killed_resolves_secrets_again(up: Up) -> None:
    """Between the secret's setting, the start and the retry; the tasks after it get the value, too."""
    set_secret(up, "TOKEN", CANARY)
    up.kill()
    up.start()
    source = """
job_type: again
tasks:
- task_type: wait
  script: ['test "$(printf %s "{{.TOKEN}}" | wc -c)" = 23 || exit 9',
    'touch $FLAG; while [ ! -e $GO ]; do sleep 0.05; done']
  on_completed: after
- task_type: after
  script: ['test "$(printf %s "{{.TOKEN}}" | wc -c)" = 23 && echo "got {{.TOKEN}}"']
"""
    flag, go = up.data.parent / "flag", up.data.parent / "go"
    job_id = submit(up, source, "one", FLAG=str(flag), GO=str(go))
    until(flag.exists, 20, "the first task runs")
    up.kill()
    go.touch()
    up.start()
    assert ended(up, job_id)["state"] == "COMPLETED" and "got ***" in up.cli("logs", job_id)
    up.stop()
    nowhere(up.data, CANARY)


def test_without_its_key_the_task_fails_and_the_server_goes_on(tmp_path: Path) -> None:
    """The error says why; with the key back the job runs."""
    keys, others = tmp_path / "keys", tmp_path / "others"
    first = keygen(keys)
    keygen(others)
    source = "job_type: one\ntasks: [{task_type: a, script: ['echo {{.TOKEN}}']}]\n"
    for number, (path, state) in enumerate(((keys, "COMPLETED"), (others, "FAILED"), (keys, "COMPLETED"))):
        up = Up(tmp_path / "data", "--ants", "1", "--secret-key-file", str(path))
        up.start()
        try:
            if number == 0:
                set_secret(up, "TOKEN", CANARY)
            job = ended(up, submit(up, source, f"key-{number}"))
            assert job["state"] == state
            if state == "FAILED":
                error = job["tasks"][0]["error"]
                assert error["code"] == "ERR_SECRET"
                assert f"TOKEN cannot be read: it was encrypted with the key {first}" in error["message"]
                assert "TOKEN cannot be decrypted" in command(up, "secrets", "rotate", status=1)
        finally:
            up.stop()


def test_a_rotation_that_is_killed_goes_on(up: Up, tmp_path: Path) -> None:
    """After it no value needs the old key, and the server starts with the new one alone."""
    for number in range(60):
        body = {"name": f"S{number}", "value": f"{CANARY} {number}", "secret": True}
        assert ask(up, "POST", "/v1/configs", body)[0] == 200
    new = keygen(tmp_path / "keys", "--add")
    environment = {**os.environ, "FORMICARY_SERVER": up.address}
    with open(tmp_path / "rotating", "wb") as said:
        rotating = Forked(("secrets", "rotate", "--timeout", "1"), env=environment, stderr=said)
    until(lambda: new in up.cli("secrets", "list"), 20, "the rotation has begun")
    up.kill()
    rotating.wait()
    up.start()
    until(lambda: up.cli("secrets", "list").count(new) == 60, 20, "the rotation goes on by itself")
    assert f"needed: {new}\n" in up.cli("secrets", "rotate")
    up.stop()
    lines = (tmp_path / "keys").read_text().splitlines()
    (tmp_path / "keys").write_text("\n".join(lines[:-1]) + "\n")
    up.start()
    assert up.cli("secrets", "reveal", "S59") == f"{CANARY} 59\n"


def test_bad_input_has_a_clear_answer(tmp_path: Path) -> None:
    """No key, an open key file, a changed stand-in, a secret for a forked job, in a cache key."""
    up = Up(tmp_path / "data", "--ants", "1")
    up.start()
    try:
        assert "secrets keygen FILE" in set_secret(up, "TOKEN", CANARY, status=1)
        up.stop()
        keygen(tmp_path / "keys")
        (tmp_path / "keys").chmod(0o644)
        refused = Up(tmp_path / "data", "--secret-key-file", str(tmp_path / "keys"))
        with pytest.raises(AssertionError, match="chmod 600"):
            refused.start()
        (tmp_path / "keys").chmod(0o600)
        up = Up(tmp_path / "data", "--ants", "1", "--secret-key-file", str(tmp_path / "keys"))
        up.start()
        set_secret(up, "TOKEN", CANARY)
        for number, (task, says) in enumerate(
            (
                ("script: ['echo {{upper .TOKEN}}']", "TOKEN is changed by a template function"),
                ("script: ['true']\n  cache: {key: '{{.TOKEN}}', paths: [a]}", "cache would hold a secret"),
                ("method: FORK_JOB\n  fork_job_type: t\n  variables: {a: '{{.TOKEN}}'}", "never passed to other jobs"),
            )
        ):
            job = ended(up, submit(up, f"job_type: t\ntasks:\n- task_type: a\n  {task}\n", f"bad-{number}"))
            assert says in job["tasks"][0]["error"]["message"], job
        assert "4 characters at least" in set_secret(up, "SHORT", "abc", status=2)
    finally:
        up.clear()
    nowhere(tmp_path / "data", CANARY)


def test_jobs_without_secrets_commit_as_often_as_before(up: Up) -> None:
    """Configurations cost no commit of a job."""

    def commits(key: str) -> int:
        before = up.page("/debug/counters")[1]["commits"]
        ended(up, submit(up, "job_type: plain\ntasks: [{task_type: a, script: ['true']}]\n", key))
        return int(up.page("/debug/counters")[1]["commits"]) - int(before)

    commits("warm")
    plain = commits("plain")
    set_secret(up, "TOKEN", CANARY)
    assert commits("with") <= plain + 1


def test_the_example_keeps_its_secret(up: Up) -> None:
    """As its head says: the one task has it, the other has not, the log shows neither."""
    command(up, "config", "set", "Region", "eu")
    set_secret(up, "DeployToken", CANARY)
    source = Path(__file__).parents[3] / "examples" / "jobs" / "secrets.yaml"
    job_id = submit(up, source.read_text("utf-8"), "secrets-example")
    assert ended(up, job_id)["state"] == "COMPLETED"
    logs = up.cli("logs", job_id)
    assert "to eu with the token ***" in logs and "deployed to eu" in logs and CANARY not in logs
    nowhere(up.data, CANARY)
