"""Artifacts and caches on a real server with a real ant: over gRPC, REST and the command line."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from formicary.client import Client, RestClient, SyncClient
from formicary.problems import Problem
from tests.acceptance.server import FORMICARY, Up, until
from tests.integration.server.cutting import Cutting
from tests.integration.server.test_rest_api import ask

SIZE = 5_000_000
JOB = f"""
job_type: %s
tasks:
- task_type: make
  script: ['head -c {SIZE} /dev/urandom > big.bin; mkdir d; echo a > d/a; sha256sum big.bin']
  artifacts: {{paths: [big.bin, d, none], expires_after: 1h}}
  on_completed: use
- task_type: use
  dependencies: [make]
  script: ['echo "::set-output name=sum::$(sha256sum < big.bin | cut -c1-64)"; cat d/a']
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file."""
    server = Up(tmp_path_factory.mktemp("artifacts") / "data", "--ants", "1")
    server.start()
    yield server
    server.clear()


def ended(up: Up, source: str, key: str) -> dict[str, Any]:
    """The document of a job that was run to its end."""
    status, _, found = ask(up, "POST", "/v1/definitions", {"source": source})
    assert status == 200, found
    request = {"definition_id": found["definition_id"]}
    status, _, job = ask(up, "POST", "/v1/jobs", request, idempotency_key=key)
    assert status == 200, job
    until(lambda: up.job(job["id"])["state"] in ("COMPLETED", "FAILED"), 30, "the job ends")
    return up.job(job["id"])


def lines(up: Up, job: dict[str, Any]) -> str:
    return up.cli("logs", job["id"])


def test_artifacts_reach_the_next_task_rest_and_the_command_line(up: Up, tmp_path: Path) -> None:
    """Every byte, by whichever way; a fetch that was interrupted goes on where it stopped."""
    job = ended(up, JOB % "through", "through")
    assert job["state"] == "COMPLETED", job
    status, _, listed = ask(up, "GET", f"/v1/jobs/{job['id']}/artifacts")
    big, folder = listed["artifacts"]
    assert (status, big["name"], big["form"], folder["name"], folder["form"]) == (200, "big.bin", "file", "d", "tar")
    assert big["sha256"] == job["outputs"]["sum"] and int(big["size_bytes"]) == SIZE
    address = urlsplit(job["outputs"]["make_ArtifactURL_1"])
    assert (address.scheme, address.port) == ("http", up.http)
    status, headers, content = ask(up, "GET", address.path)
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert hashlib.sha256(content).hexdigest() == big["sha256"]
    assert ask(up, "GET", f"/v1/artifacts/{big['id']}:download?offset={SIZE - 5}")[2] == content[-5:]
    assert ask(up, "GET", f"/v1/artifacts/{big['id']}:download?offset={SIZE + 1}")[2]["code"] == "VALIDATION_FAILED"
    assert json.loads(up.cli("artifacts", "list", job["id"], "--output", "json"))[0]["id"] == big["id"]
    target = tmp_path / "copy.bin"
    (tmp_path / f"copy.bin.{big['id']}.part").write_bytes(content[:1_234_567])
    assert up.cli("artifacts", "get", big["id"], "-o", str(target)).strip() == str(target)
    assert target.read_bytes() == content and list(tmp_path.iterdir()) == [target]
    assert "no file matches the artifact path none" in lines(up, job)


PARTS = """
job_type: parts
tasks:
- task_type: make
  script: ['echo {{.letter}} > {{.letter}}.txt']
  artifacts: {paths: ['{{.letter}}.txt']}
  fan_out: {source: [a, b, c], item_var: letter}
- task_type: use
  dependencies: [make]
  script: ['echo "::set-output name=all::$(cat a.txt b.txt c.txt | tr -d "[:space:]")"']
"""


def test_what_depends_on_a_fan_out_gets_the_files_of_all_elements(up: Up) -> None:
    """Each element keeps its own; the task behind has them in one folder."""
    job = ended(up, PARTS, "parts")
    assert (job["state"], job["outputs"].get("all")) == ("COMPLETED", "abc"), job
    assert "/v1/artifacts/" in job["outputs"]["letter_1_make_ArtifactURL_1"]
    listed = json.loads(up.cli("artifacts", "list", job["id"], "--output", "json"))
    assert [(one["task_type"], one["name"]) for one in listed] == [
        (f"make[{index}]", f"{letter}.txt") for index, letter in enumerate("abc")
    ]
    children = job["tasks"][0]["children"]
    assert (children["kind"], children["total"], children["completed"]) == ("task", 3, 3)


def test_the_other_clients_read_the_same(up: Up) -> None:
    """Artifacts, elements, questions and the audit log over REST and blocking, as over gRPC."""
    made = ended(up, JOB % "clients", "clients")
    parts = ended(up, PARTS.replace("parts", "pieces"), "pieces")["id"]

    async def read(client: Client | RestClient) -> list[Any]:
        async with client:
            listed = await client.artifacts(made["id"])
            big = await client.artifact(listed[0]["id"])
            content = b"".join([piece async for piece in client.download(big["id"], SIZE - 2_000_000)])
            elements = [one async for one in client.elements(parts, "make", states=["COMPLETED"], limit=2)]
            audit = [one["method"] async for one in client.audit(method="SubmitJob", limit=1)]
            open_ones = [await client.approvals(), await client.approvals(parts, mine=True)]
            return [listed, big, hashlib.sha256(content).hexdigest(), elements, audit, open_ones]

    over_rest = asyncio.run(read(RestClient(f"http://127.0.0.1:{up.http}")))
    assert over_rest == asyncio.run(read(Client(up.address)))
    assert len(over_rest[0]) == len(over_rest[3]) == 2 and over_rest[4] == ["formicary.v1.JobService/SubmitJob"]
    with SyncClient(up.address) as client:
        assert client.artifacts(made["id"]) == over_rest[0] and client.artifact(over_rest[1]["id"]) == over_rest[1]
        assert sum(map(len, client.download(over_rest[1]["id"]))) == SIZE
        assert [one["method"] for one in client.audit(method="SubmitJob", limit=1)] == over_rest[4]


TAKES = """
job_type: takes
tasks:
- task_type: take
  script: ['echo "::set-output name=sum::$(sha256sum < models/m.bin | cut -c1-64)"']
  artifact_ids: ["{{.model}}"]
"""


def test_a_file_that_somebody_puts_there_is_fetched_by_tasks_that_name_it(up: Up, tmp_path: Path) -> None:
    """Every byte, at the place that was said; an id that nobody has fails the task; what is damaged is not kept."""
    file = tmp_path / "local.bin"
    file.write_bytes(bytes(range(256)) * 10_000)
    artifact_id = up.cli("artifacts", "put", str(file), "--name", "models/m.bin", "--expires-after", "1h").strip()
    with SyncClient(up.address) as client:
        definition = client.register(TAKES)
        done = client.wait(client.submit(definition, {"model": artifact_id}).id, 90)
        assert done.state == "COMPLETED" and done.outputs["sum"] == hashlib.sha256(file.read_bytes()).hexdigest()
        failed = client.wait(client.submit(definition, {"model": "none"}).id, 90)
        assert failed.error is not None and "no artifact 'none'" in failed.error.detail
        assert b"".join(client.download(artifact_id)) == file.read_bytes()
        for name in ("../x", "/x") * 20:  # its reason comes through whatever the client was writing just then
            with pytest.raises(Problem, match="is no name of an artifact"):
                client.upload(file, name=name)


def test_a_part_that_does_not_belong_is_not_taken(up: Up, tmp_path: Path) -> None:
    """The digest of the whole is checked; the next fetch begins anew and succeeds."""
    job = ended(up, JOB % "damaged", "damaged")
    big = ask(up, "GET", f"/v1/jobs/{job['id']}/artifacts")[2]["artifacts"][0]
    target = tmp_path / "copy.bin"
    (tmp_path / f"copy.bin.{big['id']}.part").write_bytes(b"another file")
    up.cli("artifacts", "get", big["id"], "-o", str(target), status=None)
    assert list(tmp_path.iterdir()) == []
    up.cli("artifacts", "get", big["id"], "-o", str(target))
    assert target.stat().st_size == SIZE


def test_a_content_that_was_damaged_on_the_server_fails_the_task_that_needs_it(up: Up) -> None:
    """The dependent task says which artifact and which digests."""
    source = (
        (JOB % "rotten")
        .replace("on_completed: use", "on_completed: spoil")
        .replace(
            "- task_type: use",
            "- task_type: spoil\n  script:\n"
            f"  - for f in $(find {up.data}/artifacts -size -20k -type f); do echo x > $f; done\n"
            "  on_completed: use\n- task_type: use",
        )
    )
    job = ended(up, source, "rotten")
    error = job["tasks"][2]["error"]
    assert (job["state"], error["code"]) == ("FAILED", "ERR_ARTIFACT") and "damaged" in error["message"]


@pytest.mark.parametrize(
    ("when", "script", "kept"),
    [("onSuccess", "true", 1), ("onSuccess", "false", 0), ("onFailure", "true", 0), ("onFailure", "false", 1),
     ("always", "true", 1), ("always", "false", 1)],
)  # fmt: skip
def test_when_says_whether_they_are_kept(up: Up, when: str, script: str, kept: int) -> None:
    """By the end of the attempt."""
    source = (
        f"job_type: when-{when.lower()}-{script}\ntasks:\n- task_type: t\n  script: ['echo x > f', '{script}']\n"
        f"  artifacts: {{paths: [f], when: {when}}}\n"
    )
    job = ended(up, source, f"when-{when}-{script}")
    assert len(ask(up, "GET", f"/v1/jobs/{job['id']}/artifacts")[2]["artifacts"]) == kept


def test_a_dependency_without_artifacts_is_a_clear_error(up: Up) -> None:
    """The task that needs them fails before its script starts."""
    source = (JOB % "missing").replace("paths: [big.bin, d, none]", "paths: [none]")
    job = ended(up, source, "missing")
    error = job["tasks"][1]["error"]
    assert error["code"] == "ERR_ARTIFACT" and "'make' left no artifacts" in error["message"]


def test_a_link_that_leads_out_fails_the_task(up: Up) -> None:
    """Nothing outside of the working directory is sent."""
    source = (JOB % "link").replace("mkdir d; echo a > d/a", "ln -s /etc d")
    job = ended(up, source, "link")
    error = job["tasks"][0]["error"]
    assert error["code"] == "ERR_ARTIFACT" and "through a link" in error["message"]


CACHED = """
job_type: cached
tasks:
- task_type: t
  script: ['test -f made || { echo making; echo 1 > made; }', 'mkdir -p deps']
  working_dir: %s
  cache: {key: "k-{{checksum 'lock'}}", paths: [made]}
"""


def test_a_cache_misses_saves_and_hits_until_its_key_changes(up: Up, tmp_path: Path) -> None:
    """The task's log says which; a key that cannot be computed fails the task."""
    (tmp_path / "lock").write_text("1")
    seen = []
    for number, content in enumerate(["1", "1", "2"]):
        (tmp_path / "lock").write_text(content)
        (tmp_path / "made").unlink(missing_ok=True)
        job = ended(up, CACHED % tmp_path, f"cached-{number}")
        assert job["state"] == "COMPLETED", job
        text = lines(up, job)
        seen.append((text.count("cache miss k-"), text.count("cache hit k-"), text.count("making")))
    assert seen == [(1, 0, 1), (0, 1, 0), (1, 0, 1)]
    job = ended(up, (CACHED % tmp_path).replace("{{checksum 'lock'}}", "{{.Nowhere}}"), "cached-no-value")
    assert job["state"] == "COMPLETED" and "warning: the key of the cache holds <no value>" in lines(up, job)
    (tmp_path / "lock").unlink()
    job = ended(up, CACHED % tmp_path, "cached-none")
    assert "cannot be computed" in job["tasks"][0]["error"]["message"]


def test_paths_that_lead_out_are_refused_with_their_line(up: Up) -> None:
    """Absolute and climbing ones, in artifacts and caches, before anything runs."""
    source = (
        "job_type: bad\ntasks:\n- task_type: t\n  script: x\n  artifacts:\n    paths: [/etc, a/../../b]\n"
        "    when: never\n"
        "  cache: {paths: [ok], keey: 1}\n"
    )
    status, _, problem = ask(up, "POST", "/v1/definitions", {"source": source})
    assert status == 400
    assert sorted((error["field"], error["code"]) for error in problem["errors"]) == [
        ("tasks[0].artifacts.paths[0]", "BAD_PATH"),
        ("tasks[0].artifacts.paths[1]", "BAD_PATH"),
        ("tasks[0].artifacts.when", "BAD_VALUE"),
        ("tasks[0].cache.keey", "UNKNOWN_FIELD"),
    ]
    (when,) = (error for error in problem["errors"] if error["code"] == "BAD_VALUE")
    assert (when["line"], "onSuccess" in when["message"]) == (7, True)


PART = """job_type: part
required_params: [n]
tasks:
- task_type: make
  script: ['mkdir out; echo {{.n}} > out/deep.txt; echo {{.n}} > part-{{.n}}.txt; cp part-{{.n}}.txt same.txt']
  artifacts: {paths: [%s]}
"""
FORKED = """job_type: %s
tasks:
- {task_type: a, method: FORK_JOB, fork_job_type: part, fork_job_version: "%s", variables: {n: 1}, on_completed: b}
- {task_type: b, method: FORK_JOB, fork_job_type: part, fork_job_version: "%s", variables: {n: 2}, on_completed: join}
- {task_type: join, method: AWAIT_FORKED_JOB, await_forked_tasks: [a, b], on_completed: use}
- task_type: use
  dependencies: [join]
  script: ['echo "::set-output name=all::$(cat part-1.txt part-2.txt | tr -d "[:space:]")"']
"""
FANNED = """job_type: fanned
tasks:
- {task_type: fan, method: FAN_OUT_JOB, fork_job_type: part, fan_out: {source: [7, 8], item_var: n}, on_completed: use}
- task_type: use
  dependencies: [fan]
  script: ['echo "::set-output name=all::$(cat n_*/same.txt n_*/out/deep.txt | tr -d "[:space:]")"']
"""


def test_files_of_jobs_that_were_waited_for_are_there(up: Up) -> None:
    """Where each job had them; those of a fan-out in folders; nothing is written over.

    Of two jobs that left one name the later one's is in its place, the other one's in a folder named after its job.
    """
    versions = []
    for paths in ("'part-{{.n}}.txt'", "'part-{{.n}}.txt', same.txt", "same.txt, out"):
        status, _, found = ask(up, "POST", "/v1/definitions", {"source": PART % paths})
        assert status == 200, found
        versions.append(found["version"])
    job = ended(up, FORKED % ("joined", versions[0], versions[0]), "joined")
    assert (job["state"], job["outputs"].get("all")) == ("COMPLETED", "12"), job
    job = ended(up, FANNED, "fanned")
    assert (job["state"], job["outputs"].get("all")) == ("COMPLETED", "7878"), job
    source = FORKED % ("clash", versions[1], versions[1])
    source += """- task_type: more
  dependencies: [join, use]
  script: ['echo "::set-output name=same::$(cat same.txt ./*/same.txt | tr -d "[:space:]")"']
  artifacts: {paths: ["*/same.txt"]}
"""
    job = ended(up, source, "clash")
    assert (job["state"], job["outputs"].get("all"), job["outputs"].get("same")) == ("COMPLETED", "12", "21"), job
    (kept,) = ask(up, "GET", f"/v1/jobs/{job['id']}/artifacts")[2]["artifacts"]
    assert kept["task_type"] == "more"
    forked = job["outputs"]["a.ForkedJobID"]
    assert f"into the folder {forked}" in lines(up, job)


SENT = """job_type: sent
tasks:
- task_type: make
  script:
  - head -c 20000000 /dev/urandom > big.bin
  - echo "::set-output name=sum::$(sha256sum < big.bin | cut -c1-64)"
  artifacts: {paths: [big.bin]}
  on_completed: use
- task_type: use
  dependencies: [make]
  script: ['echo "::set-output name=got::$(sha256sum < big.bin | cut -c1-64)"']
"""


@pytest.mark.parametrize("is_killed", [False, True], ids=["cut", "killed"])
def test_a_file_is_kept_though_its_connection_breaks(tmp_path: Path, is_killed: bool) -> None:
    """In the middle of it the connection breaks, or the server is killed and starts again: the attempt goes on."""
    up = Up(tmp_path / "data", "--ants", "0")
    up.start()
    relay = Cutting(up.grpc, 5_000_000)
    command = [*FORMICARY, "ant", "--queen", f"127.0.0.1:{relay.port}", "--slots", "1"]
    with open(tmp_path / "ant.log", "wb") as log:
        ant = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        assert ask(up, "POST", "/v1/definitions", {"source": SENT})[0] == 200
        job_id = ask(up, "POST", "/v1/jobs", {"job_type": "sent"}, idempotency_key="k")[2]["id"]
        assert relay.stands.wait(90), "nothing was sent"
        if is_killed:
            up.kill()
        relay.cut()
        if is_killed:
            until(lambda: relay.refused >= 6, 30, "the ant has tried again and again")
            up.start()
        until(lambda: up.job(job_id)["state"] in ("COMPLETED", "FAILED"), 60, "the job ends")
        job = up.job(job_id)
        assert [(task["state"], task["attempts"]) for task in job["tasks"]] == [("COMPLETED", 1)] * 2, job
        assert job["outputs"]["got"] == job["outputs"]["sum"]
        assert len(ask(up, "GET", f"/v1/jobs/{job_id}/artifacts")[2]["artifacts"]) == 1
    finally:
        relay.close()
        ant.kill()
        ant.wait()
        up.clear()
