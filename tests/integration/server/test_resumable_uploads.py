"""Uploads to a real server in parts: over connections that break and servers that are killed, every byte arrives."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from formicary.client import Client, RestClient, SyncClient
from formicary.problems import Problem
from tests.acceptance.server import Up, until
from tests.integration.server.cutting import Cutting
from tests.integration.server.test_artifacts import TAKES
from tests.integration.server.test_rest_api import ask
from tests.integration.server.test_uploads import LIMITED, kept, token

CONTENT = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
HALF = SIZE // 2


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file that need no other."""
    server = Up(tmp_path_factory.mktemp("parts") / "data", "--ants", "1")
    server.start()
    yield server
    server.clear()


def begun(up: Up, query: str = f"name=m&size_bytes={SIZE}&sha256={DIGEST}", **headers: str) -> dict[str, Any]:
    """The document of a new upload."""
    status, found, document = ask(up, "POST", f"/v1/uploads?{query}", **headers)
    assert status == 201, document
    assert found["location"] == f"/v1/uploads/{document['id']}"
    return dict(document)


def sent(up: Up, upload_id: str, offset: int, part: bytes, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document of a part."""
    return ask(up, "PATCH", f"/v1/uploads/{upload_id}", part, upload_offset=str(offset), **headers)


def state(up: Up, upload_id: str) -> dict[str, Any]:
    """The upload's document; its headers say the same."""
    status, headers, document = ask(up, "GET", f"/v1/uploads/{upload_id}")
    assert status == 200, document
    assert headers["upload-offset"] == document["offset"] and headers["upload-length"] == document["size_bytes"]
    assert headers["upload-complete"] == ("?1" if document["complete"] else "?0")
    return dict(document)


def content(up: Up, artifact_id: str) -> bytes:
    return bytes(ask(up, "GET", f"/v1/artifacts/{artifact_id}:download")[2])


def broken_part(up: Up, upload_id: str, offset: int, part: bytes) -> None:
    """A part whose connection breaks when half of it has arrived."""
    head = f"PATCH /v1/uploads/{upload_id} HTTP/1.1\r\nhost: localhost\r\nupload-offset: {offset}\r\n"
    with socket.create_connection(("127.0.0.1", up.http)) as sender:
        sender.sendall(f"{head}content-length: {len(part)}\r\n\r\n".encode() + part[: len(part) // 2])


def test_parts_become_an_artifact_that_tasks_fetch(up: Up) -> None:
    """Each answer says how far it is; the last one is the artifact, whose id the upload had from its beginning."""
    upload = begun(up)
    assert (upload["offset"], upload["complete"]) == ("0", False) and "artifact" not in upload
    assert ask(up, "GET", f"/v1/artifacts/{upload['id']}")[0] == 404
    status, headers, found = sent(up, upload["id"], 0, CONTENT[:HALF], upload_complete="?0")
    assert (status, headers["upload-offset"], headers["upload-complete"]) == (200, str(HALF), "?0"), found
    status, headers, text = ask(up, "HEAD", f"/v1/uploads/{upload['id']}")
    assert (status, headers["upload-offset"], headers["upload-length"], text) == (200, str(HALF), str(SIZE), b"")
    assert headers["cache-control"] == "no-store"
    status, headers, found = sent(up, upload["id"], HALF, CONTENT[HALF:], upload_complete="?1")
    assert (status, headers["upload-offset"], headers["upload-complete"]) == (200, str(SIZE), "?1"), found
    assert found["artifact"]["id"] == upload["id"] and found["artifact"]["sha256"] == DIGEST
    assert content(up, upload["id"]) == CONTENT
    assert state(up, upload["id"])["artifact"] == found["artifact"]
    with SyncClient(up.address) as client:
        done = client.wait(client.submit(client.register(TAKES), {"model": upload["id"]}).id, 60)
    assert done.state == "COMPLETED"


def test_many_small_parts_are_one_file(up: Up) -> None:
    """Also of an upload whose digest nobody said, and whose name alone was; an empty file needs an empty part."""
    upload = begun(up, f"name=m&size_bytes={SIZE}")
    for at in range(0, SIZE, 500_003):
        assert sent(up, upload["id"], at, CONTENT[at : at + 500_003])[0] == 200
    assert state(up, upload["id"])["sha256"] == DIGEST and content(up, upload["id"]) == CONTENT
    empty = begun(up, "name=m&size_bytes=0")
    status, _, found = sent(up, empty["id"], 0, b"", upload_complete="?1")
    assert status == 200 and found["artifact"]["sha256"] == hashlib.sha256(b"").hexdigest()
    length = begun(up, "name=m", upload_length="5", upload_complete="?0")
    assert length["size_bytes"] == "5"


def test_what_came_before_a_connection_broke_stays(up: Up) -> None:
    """Every byte of it; the rest goes behind it, again over a connection that breaks."""
    upload = begun(up)
    broken_part(up, upload["id"], 0, CONTENT)
    until(lambda: int(state(up, upload["id"])["offset"]) == HALF, 30, "the first half is there")
    broken_part(up, upload["id"], HALF, CONTENT[HALF:])
    until(lambda: int(state(up, upload["id"])["offset"]) == HALF + (SIZE - HALF) // 2, 30, "the third quarter too")
    offset = int(state(up, upload["id"])["offset"])
    status, _, found = sent(up, upload["id"], offset, CONTENT[offset:])
    assert status == 200 and found["artifact"]["sha256"] == DIGEST
    assert content(up, upload["id"]) == CONTENT


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    """Between two parts, and in the middle of one; what is complete stays complete."""
    up = Up(tmp_path / "data")
    up.start()
    try:
        upload = begun(up)
        assert sent(up, upload["id"], 0, CONTENT[:1000])[0] == 200
        up.kill()
        up.start()
        assert state(up, upload["id"])["offset"] == "1000"
        head = f"PATCH /v1/uploads/{upload['id']} HTTP/1.1\r\nhost: localhost\r\nupload-offset: 1000\r\n"
        with socket.create_connection(("127.0.0.1", up.http)) as sender:
            sender.sendall(f"{head}content-length: {SIZE - 1000}\r\n\r\n".encode() + CONTENT[1000:HALF])
            until(lambda: int(state(up, upload["id"])["offset"]) > 1_000_000, 30, "more of it is there")
            up.kill()
        up.start()
        offset = int(state(up, upload["id"])["offset"])
        assert 1_000_000 < offset <= HALF
        status, _, found = sent(up, upload["id"], offset, CONTENT[offset:])
        assert status == 200 and found["artifact"]["sha256"] == DIGEST
        up.kill()
        up.start()
        assert state(up, upload["id"])["artifact"] == found["artifact"] and content(up, upload["id"]) == CONTENT
    finally:
        up.clear()


@pytest.mark.parametrize("is_rest", [True, False], ids=["http", "grpc"])
def test_clients_go_on_when_the_server_was_killed(tmp_path: Path, is_rest: bool) -> None:
    """In the middle of an upload the server is killed, starts again, and a connection breaks: the file is whole, and
    no byte that had arrived was sent again but what was on its way.
    """
    up = Up(tmp_path / "data")
    up.start()
    stop = 2 * SIZE // 5
    relay = Cutting(up.http if is_rest else up.grpc, stop)
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)

    async def put() -> dict[str, Any]:
        address = f"127.0.0.1:{relay.port}"
        client = RestClient(f"http://{address}", timeout_s=60.0) if is_rest else Client(address, timeout_s=60.0)
        async with client:
            return await client.upload(file)

    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(lambda: asyncio.run(put()))
        try:
            assert relay.stands.wait(60), "nothing went through"
            up.kill()
            up.start()
            relay.cut(stop)
            assert relay.stands.wait(60), "it did not go on"
            relay.cut()
            found = sender.result(120)
            assert found["sha256"] == DIGEST
            assert content(up, found["id"]) == CONTENT
            assert kept(up) == {found["id"]}
            assert relay.connections >= 3
        finally:
            relay.close()
            up.clear()


def test_a_content_without_its_row_is_found_after_a_crash(tmp_path: Path) -> None:
    """The server was killed between giving the content its name and storing the row: nothing is sent again."""
    up = Up(tmp_path / "data")
    up.start()
    try:
        upload = begun(up)
        assert sent(up, upload["id"], 0, CONTENT[:HALF])[0] == 200
        up.kill()
        (part,) = (up.data / "artifacts").rglob("*.part")
        part.write_bytes(CONTENT)
        part.rename(part.with_suffix(""))
        up.start()
        found = state(up, upload["id"])
        assert found["complete"] and found["artifact"]["sha256"] == DIGEST
        assert content(up, upload["id"]) == CONTENT
    finally:
        up.clear()


def test_a_part_that_begins_elsewhere_changes_nothing(up: Up) -> None:
    """The answer says where it goes on, in its document and in its header."""
    upload = begun(up)
    assert sent(up, upload["id"], 0, CONTENT[:100])[0] == 200
    for offset in (0, 99, 101, SIZE):
        status, headers, found = sent(up, upload["id"], offset, CONTENT[100:200])
        assert (status, found["code"], headers["upload-offset"]) == (409, "CONFLICT", "100"), found
        assert (found["expected_offset"], found["provided_offset"]) == (100, offset)
    assert state(up, upload["id"])["offset"] == "100"


def test_a_later_part_takes_the_upload_over(up: Up) -> None:
    """A connection that may be broken without the server's knowing does not hold it; the earlier part is told so."""
    upload = begun(up)
    head = f"PATCH /v1/uploads/{upload['id']} HTTP/1.1\r\nhost: localhost\r\nupload-offset: 0\r\n"
    with socket.create_connection(("127.0.0.1", up.http)) as sender:
        sender.sendall(f"{head}content-length: {SIZE}\r\n\r\n".encode() + CONTENT[:HALF])
        until(lambda: int(state(up, upload["id"])["offset"]) > 1_000_000, 30, "some of it is there")

        def taken_over() -> bool:
            offset = int(state(up, upload["id"])["offset"])
            status, _, found = sent(up, upload["id"], offset, CONTENT[offset:])
            assert status in (200, 409), found
            return status == 200

        until(taken_over, 30, "the later part is the whole rest")
        sender.settimeout(60)
        assert b" 409 " in sender.recv(65_536).partition(b"\r\n")[0]
    assert content(up, upload["id"]) == CONTENT


@pytest.mark.parametrize("before", [0, 1000])
def test_a_part_that_is_not_what_its_digest_says_leaves_no_byte(up: Up, before: int) -> None:
    """Content-Digest is of the part; the upload is as it was before it, and the same part goes when it is right."""
    upload = begun(up)
    if before:
        assert sent(up, upload["id"], 0, CONTENT[:before])[0] == 200
    part = CONTENT[before:HALF]
    right = f"sha-256=:{base64.b64encode(hashlib.sha256(part).digest()).decode()}:"
    for wrong in (part[:-1] + b"?", part + b"?"):
        status, _, found = sent(up, upload["id"], before, wrong, content_digest=right)
        assert (status, found["code"]) == (400, "VALIDATION_FAILED"), found
    assert state(up, upload["id"])["offset"] == str(before)
    assert sent(up, upload["id"], before, part, content_digest=right)[0] == 200
    assert sent(up, upload["id"], HALF, CONTENT[HALF:])[2]["artifact"]["sha256"] == DIGEST


def test_more_than_was_said_is_refused_and_less_is_not_the_end(up: Up) -> None:
    """The upload stays as it was before a part that is too long; after one that is too short it has the part."""
    upload = begun(up, "name=m&size_bytes=10")
    assert sent(up, upload["id"], 0, b"01234")[0] == 200
    status, _, found = sent(up, upload["id"], 5, b"567890")
    assert status == 400 and "More than the 10 bytes" in found["detail"]
    assert state(up, upload["id"])["offset"] == "5"
    status, headers, found = sent(up, upload["id"], 5, b"67", upload_complete="?1")
    assert (status, headers["upload-offset"]) == (400, "7") and "7 of 10 bytes" in found["detail"]
    assert sent(up, upload["id"], 7, b"890", upload_complete="?1")[0] == 200
    assert sent(up, upload["id"], 10, b"", upload_complete="?1")[2]["complete"]
    assert sent(up, upload["id"], 10, b"x")[0] == 412


def test_a_whole_file_that_is_another_one_is_gone(up: Up) -> None:
    """Nobody can say which part was wrong: it is to be sent anew."""
    before = kept(up)
    upload = begun(up)
    status, _, found = sent(up, upload["id"], 0, CONTENT[:-1] + b"?")
    assert status == 400 and "was damaged on its way" in found["detail"]
    assert ask(up, "GET", f"/v1/uploads/{upload['id']}")[0] == 404
    assert kept(up) == before


@pytest.mark.parametrize(
    ("query", "headers", "text"),
    [
        ("name=m", {}, "Say the size of the file"),
        ("name=m&size_bytes=-1", {}, "a number of bytes"),
        (f"name=m&size_bytes={2**40 + 1}", {}, "at most"),
        ("name=m&size_bytes=5", {"upload_length": "6"}, "one only"),
        ("name=m", {"upload_length": "five"}, "is no number of bytes"),
        ("name=../m&size_bytes=5", {}, "is no name of an artifact"),
        ("size_bytes=5", {}, "name"),
        ("name=m&size_bytes=5&sha256=abc", {}, "64 hexadecimal digits"),
        ("name=m&size_bytes=5&expires_after_s=-1", {}, "cannot be"),
    ],
)
def test_an_upload_that_cannot_be_is_refused(up: Up, query: str, headers: dict[str, str], text: str) -> None:
    """With a reason, before anything is sent."""
    status, _, found = ask(up, "POST", f"/v1/uploads?{query}", **headers)
    assert (status, found["code"]) == (400, "VALIDATION_FAILED"), found
    assert text in json.dumps(found)


def test_a_part_that_does_not_say_where_it_begins_is_refused(up: Up) -> None:
    """Also one that says something else, and one of an upload that is not there."""
    upload = begun(up)
    for headers, text in (
        ({}, "where the part begins"),
        ({"upload_offset": "half"}, "is no number of bytes"),
        ({"upload_offset": "0", "upload_complete": "yes"}, "is neither ?1"),
    ):
        status, _, found = ask(up, "PATCH", f"/v1/uploads/{upload['id']}", b"x", **headers)
        assert status == 400 and text in json.dumps(found), found
    assert ask(up, "PATCH", f"/v1/uploads/{upload['id']}?offset=0", b"x")[0] == 200
    for method in ("GET", "PATCH", "DELETE"):
        assert (
            ask(up, method, "/v1/uploads/01jxyz0000", b"" if method == "PATCH" else None, upload_offset="0")[0] == 404
        )


def test_the_same_key_is_the_same_upload(up: Up) -> None:
    """Before and after it is complete, also for a file sent at once; another file under the key is refused."""
    query = f"name=m&size_bytes={SIZE}"
    upload = begun(up, query, idempotency_key="parts")
    assert sent(up, upload["id"], 0, CONTENT[:HALF])[0] == 200
    status, headers, found = ask(up, "POST", f"/v1/uploads?{query}", idempotency_key="parts")
    assert (status, headers["idempotency-replayed"], found["id"]) == (201, "true", upload["id"]), found
    assert found["offset"] == headers["upload-offset"] == str(HALF)
    for other in (f"name=other&size_bytes={SIZE}", f"name=m&size_bytes={SIZE - 1}", f"{query}&expires_after_s=60"):
        status, _, found = ask(up, "POST", f"/v1/uploads?{other}", idempotency_key="parts")
        assert (status, found["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), found
    assert sent(up, upload["id"], HALF, CONTENT[HALF:])[0] == 200
    assert begun(up, f"{query}&sha256={DIGEST}", idempotency_key="parts")["complete"]
    assert ask(up, "POST", f"/v1/uploads?{query}&sha256={'0' * 64}", idempotency_key="parts")[0] == 422
    status, headers, found = ask(up, "POST", "/v1/artifacts?name=m", CONTENT, idempotency_key="parts")
    assert (status, found["id"], headers["idempotency-replayed"]) == (200, upload["id"], "true")


def test_an_upload_that_is_given_up_is_gone(up: Up) -> None:
    """With what has come of it; a complete one is an artifact, which stays."""
    before = kept(up)
    upload = begun(up)
    assert sent(up, upload["id"], 0, CONTENT[:HALF])[0] == 200
    status, _, found = ask(up, "DELETE", f"/v1/uploads/{upload['id']}")
    assert (status, found["offset"]) == (200, str(HALF)) and kept(up) == before
    assert ask(up, "GET", f"/v1/uploads/{upload['id']}")[0] == 404
    whole = begun(up, "name=m&size_bytes=1")
    assert sent(up, whole["id"], 0, b"x")[0] == 200
    assert ask(up, "DELETE", f"/v1/uploads/{whole['id']}")[0] == 412
    assert content(up, whole["id"]) == b"x"


def aged(up: Up, seconds: float) -> None:
    """Makes every upload and what is left of it older; the server must not run."""
    with closing(sqlite3.connect(up.data / "formicary.db")) as database, database:
        database.execute("UPDATE artifacts SET created_at = created_at - ?", (seconds,))
    for path in (up.data / "artifacts").rglob("*.part"):
        at = path.stat().st_mtime - seconds
        os.utime(path, (at, at))


def test_what_is_not_complete_after_a_day_is_removed(tmp_path: Path) -> None:
    """Its row and its bytes; so is what a killed server has left of a file that came at once. Younger ones stay."""
    up = Up(tmp_path / "data")
    up.start()
    try:
        old = begun(up)
        assert sent(up, old["id"], 0, CONTENT[:HALF])[0] == 200
        head = f"POST /v1/artifacts?name=m HTTP/1.1\r\nhost: localhost\r\ncontent-length: {SIZE}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", up.http)) as sender:
            sender.sendall(head.encode() + CONTENT[:HALF])
            until(lambda: len(kept(up)) == 2, 30, "it is being written")
            up.kill()
        aged(up, 86_500)
        up.start()
        assert ask(up, "GET", f"/v1/uploads/{old['id']}")[0] == 404
        young = begun(up)
        assert sent(up, young["id"], 0, CONTENT[:HALF])[0] == 200
        until(lambda: kept(up) == {f"{young['id']}.part"}, 30, "what is old is removed")
        up.kill()
        up.start()
        assert sent(up, young["id"], HALF, CONTENT[HALF:])[0] == 200
    finally:
        up.clear()


def test_an_upload_counts_for_the_limit_with_its_whole_size(tmp_path: Path) -> None:
    """From its beginning until it is given up, also when nothing has come of it and after a crash."""
    queues = tmp_path / "queues.yaml"
    queues.write_text(LIMITED)
    up = Up(tmp_path / "data", "--queues", str(queues))
    up.start()
    try:
        first = begun(up, "name=m&size_bytes=600")
        for path in ("/v1/uploads?name=m&size_bytes=401", "/v1/artifacts?name=m&size_bytes=401"):
            status, _, found = ask(up, "POST", path, bytes(401) if "artifacts" in path else None)
            assert (status, found["code"]) == (429, "RESOURCE_EXHAUSTED"), found
            assert "has room for 400 bytes more" in found["detail"]
        up.kill()
        up.start()
        assert ask(up, "POST", "/v1/uploads?name=m&size_bytes=401")[0] == 429
        assert sent(up, first["id"], 0, bytes(600))[0] == 200
        second = begun(up, "name=m&size_bytes=400")
        assert ask(up, "POST", "/v1/artifacts?name=m", b"x")[0] == 429
        assert ask(up, "DELETE", f"/v1/uploads/{second['id']}")[0] == 200
        assert ask(up, "POST", "/v1/artifacts?name=m", bytes(400))[0] == 200
    finally:
        up.clear()


def test_an_organisation_has_so_many_uploads_at_most(tmp_path: Path) -> None:
    """A thousand that are not complete; one that is given up makes room."""
    up = Up(tmp_path / "data")
    up.start()
    try:
        first = begun(up, "name=m&size_bytes=1")
        up.kill()
        with closing(sqlite3.connect(up.data / "formicary.db")) as database, database:
            database.execute("CREATE TEMP TABLE copy AS SELECT * FROM artifacts")
            for number in range(999):
                database.execute("UPDATE copy SET id = ?, job_id = ?", (f"copy{number:08}", f"uploaded/{number}"))
                database.execute("INSERT INTO artifacts SELECT * FROM copy")
        up.start()
        status, _, found = ask(up, "POST", "/v1/uploads?name=m&size_bytes=1")
        assert (status, found["code"]) == (429, "RESOURCE_EXHAUSTED") and "1000 uploads" in found["detail"], found
        assert sent(up, first["id"], 0, b"x")[0] == 200
        begun(up, "name=m&size_bytes=1")
    finally:
        up.clear()


def test_whoever_may_not_upload_is_refused(tmp_path: Path) -> None:
    """Roles that may not submit; of another organisation's upload nobody learns anything."""
    up = Up(tmp_path / "data", "--auth", "token", is_forked=False)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FORMICARY_TOKEN", token(up, "--role", "admin", "--data", str(up.data)))
            up.start()
            mine, other = (f"Bearer {token(up, '--role', 'submitter', '--org', org)}" for org in ("a", "b"))
            viewer = f"Bearer {token(up, '--role', 'viewer', '--org', 'a')}"
        upload = begun(up, "name=m&size_bytes=5", authorization=mine)
        path = f"/v1/uploads/{upload['id']}"
        for who, status in ((viewer, 403), (other, 404), ("", 401)):
            given = {"authorization": who} if who else {}
            assert ask(up, "GET", path, **given)[0] == status
            assert ask(up, "PATCH", path, b"xxxxx", upload_offset="0", **given)[0] == status
            assert ask(up, "DELETE", path, **given)[0] == status
        assert ask(up, "PATCH", path, b"xxxxx", upload_offset="0", authorization=mine)[0] == 200
    finally:
        up.clear()


@pytest.mark.parametrize("is_shorter", [False, True], ids=["another", "shorter"])
@pytest.mark.parametrize("is_rest", [True, False], ids=["http", "grpc"])
def test_a_file_that_changes_while_it_is_sent_is_refused(
    up: Up, tmp_path: Path, is_rest: bool, is_shorter: bool
) -> None:
    """No client keeps half of the one and half of the other, nor waits for what does not come."""
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    relay = Cutting(up.http if is_rest else up.grpc, HALF)
    address = f"127.0.0.1:{relay.port}"

    async def put() -> None:
        client = RestClient(f"http://{address}", timeout_s=60.0) if is_rest else Client(address, timeout_s=60.0)
        async with client:
            await client.upload(file)

    def change() -> None:
        relay.stands.wait(60)
        with file.open("r+b") as opened:
            if is_shorter:
                opened.truncate(SIZE - 10)
            else:
                opened.write(CONTENT[::-1])
        relay.cut()

    changer = threading.Thread(target=change)
    changer.start()
    try:
        with pytest.raises(Problem, match="has changed while" if is_shorter else "was damaged on its way"):
            asyncio.run(put())
    finally:
        changer.join(60)
        relay.close()
