"""Files that people put on a real server over HTTP: what arrives is what was sent, or nothing is kept."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import Client, RestClient, SyncClient
from formicary.problems import Problem
from tests.acceptance.server import Up, until
from tests.integration.server.test_artifacts import TAKES
from tests.integration.server.test_rest_api import ask

CONTENT = bytes(range(256)) * 10_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LIMITED = """
tenant_limits: {'*': {max_storage_gb: 1.0e-6}}
queues: [{name: default}]
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file that need no other."""
    server = Up(tmp_path_factory.mktemp("uploads") / "data", "--ants", "1")
    server.start()
    yield server
    server.clear()


def posted(up: Up, query: str, content: bytes, *, chunked: bool = False, **headers: str) -> tuple[int, Any]:
    """Status and document of an upload."""
    connection = http.client.HTTPConnection("127.0.0.1", up.http, timeout=90)
    pieces = (content[at : at + 100_001] for at in range(0, len(content), 100_001))
    connection.request("POST", f"/v1/artifacts?{query}", pieces if chunked else content, headers)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found


def kept(up: Up) -> set[str]:
    """Contents on the server's disk, also those that are not whole."""
    return {path.name for path in (up.data / "artifacts").rglob("*") if path.is_file()}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_becomes_an_artifact_that_tasks_fetch(up: Up, chunked: bool) -> None:
    """Every byte, whether its length was said or not; it expires when it was said to."""
    query = f"name=models/m.bin&sha256={DIGEST.upper()}&expires_after_s=60"
    status, found = posted(up, query, CONTENT, chunked=chunked)
    assert status == 200, found
    assert (found["name"], found["form"], found["sha256"]) == ("models/m.bin", "file", DIGEST)
    assert int(found["size_bytes"]) == len(CONTENT) and found["expires_at"] > found["created_at"]
    assert ask(up, "GET", f"/v1/artifacts/{found['id']}:download")[2] == CONTENT
    with SyncClient(up.address) as client:
        done = client.wait(client.submit(client.register(TAKES), {"model": found["id"]}).id, 90)
    assert done.state == "COMPLETED" and done.outputs["sum"] == DIGEST


def test_nothing_but_a_name_has_to_be_said_and_a_file_may_be_empty(up: Up) -> None:
    """The answer has the digest of what came."""
    for content in (b"", b"x"):
        status, found = posted(up, "name=some", content)
        assert (status, int(found["size_bytes"])) == (200, len(content))
        assert found["sha256"] == hashlib.sha256(content).hexdigest()
        assert ask(up, "GET", f"/v1/artifacts/{found['id']}:download")[2] == content


def test_both_clients_put_files_alike(up: Up, tmp_path: Path) -> None:
    """The documents differ in ids and times alone; a file that cannot be kept or read is refused with its reason."""
    file, none = tmp_path / "local.bin", tmp_path / "none"
    file.write_bytes(CONTENT)
    (tmp_path / "empty").touch()

    async def put(client: Client | RestClient) -> list[dict[str, Any]]:
        async with client:
            found = [await client.upload(file, name="a/b", expires_after_s=60), await client.upload(file)]
            found.append(await client.upload(tmp_path / "empty"))
            content = b"".join([piece async for piece in client.download(found[0]["id"])])
            assert content == CONTENT
            with pytest.raises(Problem, match="is no name of an artifact"):
                await client.upload(file, name="../x")
            with pytest.raises(Problem, match="none cannot be read: No such file"):
                await client.upload(none)
            return found

    over_rest = asyncio.run(put(RestClient(f"http://127.0.0.1:{up.http}")))
    over_grpc = asyncio.run(put(Client(up.address)))
    moving = {"id", "created_at", "expires_at"}
    assert [{key: one[key] for key in one.keys() - moving} for one in over_rest] == [
        {key: one[key] for key in one.keys() - moving} for one in over_grpc
    ]
    assert [one["size_bytes"] for one in over_rest] == [len(CONTENT), len(CONTENT), 0]
    assert [one["name"] for one in over_rest] == ["a/b", "local.bin", "empty"]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("name=m&sha256=" + "0" * 64, 400, "was damaged on its way"),
        (f"name=m&size_bytes={len(CONTENT) + 1}", 400, "was damaged on its way"),
        ("name=m&size_bytes=5", 400, "More than the 5 bytes came"),
        ("name=m&size_bytes=-1", 400, "cannot be"),
        ("name=m&sha256=abc", 400, "64 hexadecimal digits"),
        ("name=m&expires_after_s=-1", 400, "cannot be"),
        ("name=m&expires_after_s=NaN", 400, ""),
        ("name=m&size=5", 400, "size"),
        ("name=../m", 400, "is no name of an artifact"),
        ("name=/m", 400, "is no name of an artifact"),
        ("", 400, "is no name of an artifact"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    up: Up, query: str, status: int, text: str, chunked: bool
) -> None:
    """With a reason, and without a trace on the disk."""
    before = kept(up)
    answered, found = posted(up, query, CONTENT, chunked=chunked)
    assert (answered, found["code"]) == (status, "VALIDATION_FAILED"), found
    assert text in json.dumps(found)
    assert kept(up) == before


def test_a_compressed_body_is_not_taken_for_the_file(up: Up) -> None:
    """Only the file as it is can be checked."""
    assert posted(up, "name=m", CONTENT, **{"content-encoding": "gzip"})[0] == 415


def test_a_sender_that_breaks_off_leaves_nothing(up: Up) -> None:
    """Neither on the disk nor in the list; the audit log says that it was cancelled."""
    before = kept(up)
    head = f"POST /v1/artifacts?name=half HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(CONTENT)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", up.http)) as sender:
        sender.sendall(head.encode() + CONTENT[: len(CONTENT) // 2])
        until(lambda: kept(up) != before, 10, "something of it is on the disk")
    until(lambda: kept(up) == before, 10, "it is gone from the disk")

    def codes() -> list[str]:
        records = ask(up, "GET", "/v1/audit?method=PutArtifact&page_size=2")[2]["records"]
        return [str(record["code"]) for record in records]

    until(lambda: "CANCELLED" in codes(), 10, "its end is in the audit log")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server that asks for tokens."""
    server = Up(tmp_path_factory.mktemp("locked") / "data", "--auth", "token", is_forked=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORMICARY_TOKEN", token(server, "--role", "admin", "--data", str(server.data)))
        server.start()
        yield server
        server.clear()


def token(up: Up, *options: str) -> str:
    return up.cli("token", "create", *options).strip()


def test_who_may_not_put_files_is_refused(locked: Up) -> None:
    """Callers without a token, and roles that may not submit; what one organisation keeps, no other finds."""
    assert posted(locked, "name=m", CONTENT)[0] == 401
    for role in ("viewer", "ant"):
        bearer = f"Bearer {token(locked, '--role', role)}"
        assert posted(locked, "name=m", CONTENT, authorization=bearer)[0] == 403, role
    assert kept(locked) == set()
    mine, other = (f"Bearer {token(locked, '--role', 'submitter', '--org', org)}" for org in ("a", "b"))
    status, found = posted(locked, "name=m", CONTENT, authorization=mine)
    assert status == 200 and kept(locked) == {found["id"]}
    assert ask(locked, "GET", f"/v1/artifacts/{found['id']}", authorization=mine)[0] == 200
    assert ask(locked, "GET", f"/v1/artifacts/{found['id']}", authorization=other)[0] == 404


def test_a_body_of_unknown_length_does_not_pass_the_storage_limit(tmp_path: Path) -> None:
    """1,000 bytes are allowed: what comes beyond is refused while it comes, and what was said before it comes."""
    queues = tmp_path / "queues.yaml"
    queues.write_text(LIMITED)
    up = Up(tmp_path / "data", "--queues", str(queues))
    up.start()
    try:
        for query in ("name=m", f"name=m&size_bytes={len(CONTENT)}"):
            status, found = posted(up, query, CONTENT, chunked=True)
            assert (status, found["code"]) == (429, "RESOURCE_EXHAUSTED"), found
            assert "has room for 1000 bytes more" in found["detail"]
        assert posted(up, "name=m", bytes(900), chunked=True)[0] == 200
        status, found = posted(up, "name=m", bytes(101), chunked=True)
        assert status == 429 and "has room for 100 bytes more" in found["detail"]
        assert len(kept(up)) == 1
    finally:
        up.clear()


def test_the_document_of_the_api_says_how(up: Up) -> None:
    """The body is of any type; what is said of it are parameters of the query."""
    operation = ask(up, "GET", "/openapi.json")[2]["paths"]["/v1/artifacts"]["post"]
    assert operation["requestBody"] == {"content": {"*/*": {}}, "required": False}
    names = {one["name"]: one["in"] for one in operation["parameters"]}
    headers = dict.fromkeys(("Idempotency-Key", "Content-Digest"), "header")
    assert names == dict.fromkeys(("name", "sha256", "size_bytes", "expires_after_s"), "query") | headers
