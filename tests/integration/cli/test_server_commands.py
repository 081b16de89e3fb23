"""The commands against a real `formicary up`: what they print, how they end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from formicary.engine.storage.backends import DATABASE_FILE, open_store
from tests.acceptance.server import Up, free_port, until
from tests.integration.cli.command import Done, formicary

JOB = """\
job_type: greet
tasks:
  - task_type: hello
    script: ["echo Hello, {{.name}}", "echo to stderr >&2"]
"""
WAITING = """\
job_type: waiting
tasks:
  - task_type: wait
    script: ["while test ! -e {{.gate}}; do sleep 0.05; done", "exit 3"]
"""
PAUSING = """\
job_type: pausing
pause_time: 1h
tasks:
  - task_type: ask
    script: ["test -e {{.gate}}"]
    on_exit_code:
      "1": PAUSE_JOB
      COMPLETED: COMPLETED
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all of them."""
    server = Up(tmp_path_factory.mktemp("up") / "data", "--ants", "1", "--slots", "2")
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.clear()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job file."""
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    return file


def on(up: Up, *arguments: str | Path) -> Done:
    """A client command against the server."""
    return formicary(*arguments, FORMICARY_SERVER=up.address)


def ended(up: Up, job_id: str) -> bool:
    """Whether the job has ended."""
    return up.job(job_id)["state"] in ("COMPLETED", "FAILED", "CANCELLED")


def test_submit_get_logs(up: Up, job: Path) -> None:
    """A job goes in, its document and its log lines come out, in every form."""
    done = on(up, "submit", job, "-p", "name=Ada", "--output", "json")
    assert done.status == 0, done.err
    [job_id] = done.json["ids"]
    lines = on(up, "logs", job_id, "-f")
    assert sorted(lines.out.splitlines()) == ["hello | Hello, Ada", "hello | to stderr"]
    document = on(up, "get", job_id, "--output", "json").json
    assert (document["id"], document["state"], document["outputs"]) == (job_id, "COMPLETED", {"name": "Ada"})
    assert document["tasks"][0]["exit_code"] == 0
    assert "state         COMPLETED" in on(up, "get", job_id).out
    found = [json.loads(line) for line in on(up, "logs", job_id, "--output", "json").out.splitlines()]
    assert {(one["task_type"], one["attempt"], one["stream"]) for one in found} == {
        ("hello", 1, "stdout"),
        ("hello", 1, "stderr"),
    }
    assert on(up, "logs", job_id, "--task", "other").out == ""


def test_count_and_key(up: Up, job: Path) -> None:
    """--count N with key K uses K/0 … K/N-1: again it gives the same jobs, for another request it is refused."""
    arguments = ("submit", job, "-p", "name=x", "--count", "4", "--idempotency-key", "K", "--output", "json")
    ids = on(up, *arguments).json["ids"]
    assert len(set(ids)) == 4
    assert on(up, *arguments).json["ids"] == ids
    assert on(up, "submit", job, "-p", "name=x", "--idempotency-key", "K/2").out.strip() == ids[2]
    refused = on(up, "submit", job, "-p", "name=y", "--idempotency-key", "K/2")
    assert refused.status == 2
    assert "K/2" in refused.err


def test_list(up: Up, job: Path) -> None:
    """One array, newest first, without tasks and outputs; filters and limit; an unknown state is refused."""
    first, second = on(up, "submit", job, "-p", "name=x", "--count", "2", "--output", "json").json["ids"]
    until(lambda: ended(up, second), 20, "the second job ends")
    found = on(up, "list", "--output", "json").json
    assert [one["id"] for one in found[:2]] == [second, first]
    assert all("tasks" not in one and "outputs" not in one for one in found)
    assert len(on(up, "list", "--limit", "1", "--output", "json").json) == 1
    assert on(up, "list", "--job-type", "none", "--output", "json").json == []
    assert {one["state"] for one in on(up, "list", "--state", "COMPLETED", "--output", "json").json} == {"COMPLETED"}
    table = on(up, "list", "--limit", "3").out.splitlines()
    assert table[0].split() == ["ID", "STATE", "TYPE", "SUBMITTED", "ENDED"]
    assert len(table) == 4
    refused = on(up, "list", "--state", "FOO")
    assert (refused.status, "PENDING" in refused.err) == (2, True)


def test_cancel_and_retry(up: Up, tmp_path: Path) -> None:
    """A running job is cancelled with its reason; a failed one runs again, and not while it still runs."""
    file, gate = tmp_path / "job.yaml", tmp_path / "gate"
    file.write_text(WAITING)
    job_id = on(up, "submit", file, "-p", f"gate={gate}").out.strip()
    refused = on(up, "retry", job_id)
    assert (refused.status, "not ended" in refused.err) == (1, True)
    assert on(up, "cancel", job_id, "--reason", "wrong input").status == 0
    until(lambda: ended(up, job_id), 20, "the cancelled job ends")
    document = up.job(job_id)
    assert (document["state"], document["error"]["detail"]) == ("CANCELLED", "wrong input")
    gate.touch()
    job_id = on(up, "submit", file, "-p", f"gate={gate}").out.strip()
    until(lambda: ended(up, job_id), 20, "the job fails")
    assert up.job(job_id)["state"] == "FAILED"
    assert on(up, "retry", job_id).status == 0
    until(lambda: ended(up, job_id), 20, "the retried job ends")
    assert up.job(job_id)["tasks"][0]["attempts"] == 2


def test_resume(up: Up, tmp_path: Path) -> None:
    """A paused job goes on at once; one that is not paused is refused."""
    file, gate = tmp_path / "job.yaml", tmp_path / "gate"
    file.write_text(PAUSING)
    job_id = on(up, "submit", file, "-p", f"gate={gate}").out.strip()
    until(lambda: up.job(job_id)["state"] == "PAUSED", 20, "the job pauses")
    gate.touch()
    assert on(up, "resume", job_id).status == 0
    until(lambda: ended(up, job_id), 20, "the job ends")
    assert up.job(job_id)["state"] == "COMPLETED"
    assert on(up, "resume", job_id).status == 1


def test_what_is_not_there(up: Up) -> None:
    """An unknown id is exit status 2 with a hint, for every command."""
    for command in ("get", "logs", "cancel", "retry", "resume"):
        done = on(up, command, "0" * 26)
        assert done.status == 2, (command, done.err)
        assert "formicary list" in done.err


def test_a_server_refuses_with_the_lines_of_the_file(up: Up, tmp_path: Path) -> None:
    """What only the server can refuse comes back with line and column of the file, not of the document in it."""
    file = tmp_path / "jobs.yaml"
    later = (
        "job_type: later\ntasks:\n- task_type: t\n  method: KUBERNETES\n  container: {image: a}\n  script: ['true']\n"
    )
    file.write_text(f"{JOB}---\n{later}")
    done = on(up, "submit", file, "--job", "later")
    assert done.status == 2
    assert f"{file}:9:11: " in done.err
    assert on(up, "submit", file, "--job", "greet", "-p", "name=x").status == 2  # the file is refused as a whole
    assert on(up, "submit", file, "--job", "greet", "-p", "name=x", "--method", "KUBERNETES=SHELL").status == 0


def test_run_on_data_that_a_server_holds(up: Up, job: Path) -> None:
    """`run` submits there, follows, and its exit status is the job's; --resume follows, too."""
    done = formicary("run", job, "-p", "name=Ada", "--data", up.data, "--output", "json")
    assert done.status == 0, done.err
    assert done.json["tasks"][0]["ant"] not in (None, "embedded")
    assert "hello | Hello, Ada" in done.err
    assert up.address in done.err
    again = formicary("run", "--resume", done.json["id"], "--data", up.data, "--output", "json")
    assert again.json["id"] == done.json["id"]


def test_nobody_answers() -> None:
    """Exit status 3, the address, and how to start a server."""
    address = f"127.0.0.1:{free_port()}"
    done = formicary("list", "--server", address, "--timeout", "0.5")
    assert done.status == 3
    assert address in done.err
    assert "formicary up" in done.err


def test_the_reader_may_go_away(up: Up, job: Path) -> None:
    """`formicary list | head -1` ends quietly."""
    import subprocess

    from tests.integration.cli.command import FORMICARY

    on(up, "submit", job, "-p", "name=x", "--count", "300")
    command = " ".join((*FORMICARY, "list", "--output", "json", "--server", up.address))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{command} | head -1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_up_that_cannot_start(up: Up, tmp_path: Path) -> None:
    """A port in use and data of a newer version are exit status 3; an address of the outside world is refused."""
    data = tmp_path / "data"
    http = formicary("up", "--data", data, "--http-port", str(up.http), "--grpc-port", "0")
    assert (http.status, "--http-port" in http.err) == (3, True)
    grpc = formicary("up", "--data", data, "--http-port", "0", "--grpc-port", str(up.grpc))
    assert (grpc.status, "--grpc-port" in grpc.err) == (3, True)
    outside = formicary("up", "--data", data, "--host", "0.0.0.0")
    assert outside.status in (2, 3)
    assert "loopback" in outside.err
    ant = formicary("ant", "--queen", "10.0.0.1:7778")
    assert ant.status in (2, 3)
    assert "loopback" in ant.err


def test_data_of_a_newer_version(tmp_path: Path) -> None:
    """`up` and `run` refuse it with exit status 3 and the way out, and change nothing."""
    open_store(tmp_path).close()
    database = sqlite3.connect(tmp_path / DATABASE_FILE)
    database.execute(
        "UPDATE schema_version SET version = 9999 WHERE version = (SELECT max(version) FROM schema_version)"
    )
    database.commit()
    database.close()
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    for command in (("up", "--http-port", "0", "--grpc-port", "0"), ("run", file, "-p", "name=x")):
        done = formicary(*command, "--data", tmp_path)
        assert done.status == 3, done.err
        assert "newer" in done.err
        assert "Traceback" not in done.err
