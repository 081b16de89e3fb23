"""The dead-letter queue of a real server: commands, API, and a redrive that counts exactly once under kill -9."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from formicary.client import SyncClient
from formicary.problems import Problem
from tests.acceptance.server import Up, until
from tests.integration.server.test_rest_api import ask

JOB = """\
job_type: {job_type}
error_handling: {{dead_letter_queue: {queue}, alert_on_dlq: true}}
tasks:
  - task_type: work
    script:
      - 'echo {{{{.n}}}} >> {{{{.folder}}}}/effects'
      - 'test -e {{{{.folder}}}}/fixed'
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server with one ant."""
    server = Up(tmp_path / "data", "--ants", "1", "--slots", "4")
    try:
        server.start()
        yield server
    finally:
        server.clear()


def dead(up: Up, folder: Path, count: int, job_type: str = "import", queue: str = "imports") -> list[str]:
    """Ids of so many jobs that are dead letters, oldest first."""
    with SyncClient(up.address) as client:
        definition = client.register(JOB.format(job_type=job_type, queue=queue))
        jobs = [client.submit(definition, {"n": n, "folder": str(folder)}) for n in range(count)]
        for job in jobs:
            assert client.wait(job.id, 60).state == "FAILED"
        return [job.id for job in jobs]


def letters(up: Up, *more: str) -> list[dict[str, object]]:
    """As the command lists them."""
    found: list[dict[str, object]] = json.loads(up.cli("deadletters", "list", *more, "--output", "json"))
    return found


def effects(folder: Path) -> Counter[str]:
    """How often each job has run."""
    return Counter((folder / "effects").read_text().split())


def test_from_death_to_a_second_life(up: Up, tmp_path: Path) -> None:
    """List with the reason, show, redrive one and by filter, purge; each state and refusal as the reference says."""
    ids = dead(up, tmp_path, 4)
    (other,) = dead(up, tmp_path, 1, "report", "reports")
    assert [one["id"] for one in letters(up)] == [other, *ids[::-1]]
    assert [one["id"] for one in letters(up, "--queue", "imports", "--limit", "2")] == ids[:1:-1]
    shown = json.loads(up.cli("deadletters", "show", ids[0], "--output", "json"))
    assert shown["reason"] == "RETRIES_EXHAUSTED" and shown["queue"] == "imports" and shown["task_type"] == "work"
    assert shown["error_code"] == "ERR_EXIT_CODE" and shown["state"] == "DEAD" and shown["attempts"] == 1
    assert 'formicary_dead_letters{queue="imports"} 4.0' in metrics(up)

    (tmp_path / "fixed").touch()
    assert up.cli("deadletters", "redrive", ids[0]).split() == [ids[0]]
    until(lambda: up.job(ids[0])["state"] == "COMPLETED", 20, "the redriven job completes")
    document = up.job(ids[0])
    assert document["dead_letter"] is False and document["execution"] == 2
    assert json.loads(up.cli("deadletters", "show", ids[0], "--output", "json"))["state"] == "REDRIVEN"
    assert "redriven" in up.cli("deadletters", "redrive", ids[0], status=1) + str(refusal(up, ids[0]))
    assert up.cli("deadletters", "purge", ids[1]).split() == [ids[1]]
    assert up.job(ids[1])["dead_letter"] is False and up.job(ids[1])["state"] == "FAILED"
    up.cli("deadletters", "redrive", status=2)  # nothing named is not everything
    assert up.cli("deadletters", "redrive", "--queue", "imports", "--rate", "100").split() == ids[2:]
    until(lambda: up.job(ids[3])["state"] == "COMPLETED", 20, "the others complete")
    assert [one["id"] for one in letters(up)] == [other]
    up.cli("retry", other)
    until(lambda: up.job(other)["state"] == "COMPLETED", 20, "a plain retry takes it out of the queue, too")
    assert letters(up) == [] and len(letters(up, "--state", "REDRIVEN")) == 4

    def audited() -> str:
        return up.cli("audit", "list", "--output", "json")

    until(lambda: audited().count("DeadLetterService/RedriveDeadLetters") >= 3, 20, "redrives are in the audit log")
    assert "PurgeDeadLetters" in audited()


def metrics(up: Up) -> str:
    """The page of figures."""
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{up.http}/metrics", timeout=60) as answer:
        return str(answer.read(), "utf-8")


def refusal(up: Up, job_id: str) -> str:
    """Why a redrive is refused."""
    return str(ask(up, "POST", f"/v1/dead-letters/{job_id}:redrive", {})[2])


def test_a_rate_bounds_what_begins(up: Up, tmp_path: Path) -> None:
    """Six jobs at one in 0.8 s begin oldest first over 4 s; that the server is killed meanwhile ends no waiting."""

    def began(job_id: str) -> float:
        return datetime.fromisoformat(up.job(job_id)["tasks"][0]["started_at"]).timestamp()

    ids = dead(up, tmp_path, 6)
    (tmp_path / "fixed").touch()
    begun = time.time()
    up.cli("deadletters", "redrive", "--all", "--rate", "1.25")
    up.kill()
    up.start()
    with SyncClient(up.address) as client:
        for job_id in ids:
            assert client.wait(job_id, 60).state == "COMPLETED"
    times = [began(job_id) for job_id in ids]
    assert all(at - begun >= 0.8 * number for number, at in enumerate(times)), (begun, times)
    assert effects(tmp_path) == Counter({str(n): 2 for n in range(6)})


def test_a_key_answers_again_and_is_refused_for_another_request(up: Up, tmp_path: Path) -> None:
    """The same key redrives nothing more, even once the job is dead again."""
    ids = dead(up, tmp_path, 2)
    body = {"limit": 1, "idempotency_key": "once"}
    status, _, first = ask(up, "POST", "/v1/dead-letters:redrive", body)
    assert status == 200 and first["ids"] == ids[:1] and first["more"] is True
    until(lambda: len(letters(up)) == 2, 20, "it is dead again")
    status, headers, second = ask(up, "POST", "/v1/dead-letters:redrive", body)
    assert status == 200 and second["ids"] == ids[:1]
    assert {name.lower(): value for name, value in headers.items()}["idempotency-replayed"] == "true"
    status, _, refused = ask(up, "POST", "/v1/dead-letters:redrive", {**body, "hard": True})
    assert status == 422 and refused["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert effects(tmp_path) == Counter({"0": 2, "1": 1})


def test_redriven_exactly_once_under_kill_9(up: Up, tmp_path: Path) -> None:
    """The server is killed in the middle of redrives, again and again, and the caller repeats with the same key: in the
    end every job has had one more execution, not one more and not one less.
    """
    count, seed = 40, random.randrange(10**6)
    rng = random.Random(seed)
    ids = dead(up, tmp_path, count)
    (tmp_path / "fixed").touch()
    batch, kills = 8, 0
    for call in range(count // batch):
        answered: list[str] = []

        def redrive(number: int = call, found: list[str] = answered) -> None:
            request = {"limit": batch, "idempotency_key": f"call-{number}"}
            status, _, answer = ask(up, "POST", "/v1/dead-letters:redrive", request)
            if status == 200:
                found += answer["ids"]

        def attempt() -> None:
            try:
                redrive()
            except (OSError, Problem, ValueError):
                return  # killed before the answer: the caller does not know, and asks again

        thread = threading.Thread(target=attempt)
        thread.start()
        time.sleep(rng.uniform(0.0, 0.02))
        up.kill()
        kills += 1
        thread.join()
        up.start()
        if not answered:
            redrive()
        assert len(answered) == batch, f"seed {seed}"
    with SyncClient(up.address) as client:
        for job_id in ids:
            assert client.wait(job_id, 60).state == "COMPLETED", f"seed {seed}"
        documents = [client.get(job_id) for job_id in ids]
    assert kills == count // batch
    assert [document["execution"] for document in documents] == [2] * count, f"seed {seed}"
    ran = effects(tmp_path)
    attempts = {str(n): document["tasks"][0]["attempts"] for n, document in enumerate(documents)}
    assert all(2 <= ran[n] <= attempts[n] for n in attempts), f"seed {seed}"
    assert letters(up) == [] and len(letters(up, "--state", "REDRIVEN")) == count
