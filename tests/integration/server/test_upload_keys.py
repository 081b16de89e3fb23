"""Uploads to a real server that are repeated, run at once, or bring digests: once each, within the limit, verified."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.server import Up, until
from tests.integration.server.test_uploads import CONTENT, DIGEST, LIMITED, kept, posted


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file that need no other."""
    server = Up(tmp_path_factory.mktemp("keys") / "data")
    server.start()
    yield server
    server.clear()


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Up]:
    """A server on which each organisation may store 1,000 bytes."""
    queues = tmp_path / "queues.yaml"
    queues.write_text(LIMITED)
    server = Up(tmp_path / "data", "--queues", str(queues))
    server.start()
    yield server
    server.clear()


def digest(algorithm: str, content: bytes) -> str:
    """A header's value."""
    value = base64.b64encode(hashlib.new(algorithm.replace("-", ""), content).digest()).decode()
    return f"{algorithm}=:{value}:"


def answer_of(connection: http.client.HTTPConnection) -> tuple[int, Any, str | None]:
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), answer.getheader("Idempotency-Replayed")


def keyed(up: Up, key: str, query: str, content: bytes) -> tuple[int, Any, str | None]:
    """Status, document and mark of a replay of an upload with a key."""
    connection = http.client.HTTPConnection("127.0.0.1", up.http, timeout=60)
    connection.request("POST", f"/v1/artifacts?{query}", content, {"Idempotency-Key": key})
    found = answer_of(connection)
    connection.close()
    return found


@contextmanager
def half_sent(up: Up, query: str, content: bytes, key: str = "") -> Iterator[socket.socket]:
    """An upload of which half is on the server's disk; the block may send the rest."""
    before = kept(up)
    head = f"POST /v1/artifacts?{query} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
    head += f"idempotency-key: {key}\r\n\r\n" if key else "\r\n"
    with socket.create_connection(("127.0.0.1", up.http)) as sender:
        sender.sendall(head.encode() + content[: len(content) // 2])
        until(lambda: kept(up) != before, 30, "the server has begun to write")
        yield sender


def status_of(sender: socket.socket) -> int:
    sender.settimeout(60)
    return int(sender.recv(65_536).split()[1])


# --- digests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["content-digest", "repr-digest"])
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_a_digest_in_a_header_is_verified(up: Up, header: str, algorithm: str) -> None:
    """What has it is kept; what has another is refused and leaves nothing."""
    right = {header: digest(algorithm, CONTENT)}
    status, found = posted(up, "name=m", CONTENT, **right)
    assert (status, found["sha256"]) == (200, DIGEST), found
    before = kept(up)
    for chunked in (False, True):
        status, found = posted(up, "name=m", CONTENT[:-1] + b"?", chunked=chunked, **right)
        assert (status, found["code"]) == (400, "VALIDATION_FAILED"), found
    assert kept(up) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("sha-256=abc", "write it like sha-256=:BASE64:"),
        ("sha-256=:YWJj:", "is not 32 bytes in Base64"),
        ("sha-512=:YWJj:", "is not 64 bytes in Base64"),
        ("sha-256=:A:", "is not 32 bytes in Base64"),
        ("nonsense", "write it like"),
    ],
)
def test_a_digest_that_cannot_be_read_is_refused(up: Up, value: str, text: str) -> None:
    """With the header's name and what it should look like."""
    status, found = posted(up, "name=m", b"x", **{"content-digest": value})
    assert (status, found["code"]) == (400, "VALIDATION_FAILED"), found
    assert text in found["detail"] and found["errors"][0]["pointer"].endswith("Content-Digest"), found


def test_algorithms_that_nobody_knows_are_passed_over(up: Up) -> None:
    """What is known beside them is verified all the same."""
    odd = "unixsum=:AAE=:, crc32c=:AAAAAA==:"
    assert posted(up, "name=m", b"x", **{"content-digest": odd})[0] == 200
    right, wrong = digest("sha-256", b"x"), digest("sha-256", b"y")
    assert posted(up, "name=m", b"x", **{"content-digest": f"{odd}, {right};q=1"})[0] == 200
    assert posted(up, "name=m", b"x", **{"content-digest": f"{odd}, {wrong}"})[0] == 400


def test_a_header_and_a_parameter_that_differ_are_refused(up: Up) -> None:
    """Before anything is kept."""
    status, found = posted(up, f"name=m&sha256={DIGEST}", CONTENT, **{"content-digest": digest("sha-256", b"x")})
    assert status == 400 and found["errors"][0]["code"] == "CONFLICT", found


# --- keys -----------------------------------------------------------------------------------------------------------


def test_the_same_key_and_file_are_one_artifact(up: Up) -> None:
    """The second answer is the first one, and says that it is; the disk has one content, also after a restart."""
    first = keyed(up, "once", "name=m", CONTENT)
    before = kept(up)
    again = keyed(up, "once", "name=m", CONTENT)
    assert (first[0], first[2]) == (200, None) and again == (200, first[1], "true")
    up.kill()
    up.start()
    assert keyed(up, "once", f"name=m&sha256={DIGEST}", CONTENT) == (200, first[1], "true")
    assert kept(up) == before


@pytest.mark.parametrize(
    ("query", "content"),
    [
        ("name=m", CONTENT[:-1] + b"?"),
        ("name=m", CONTENT + b"?"),
        ("name=m", CONTENT[:-1]),
        ("name=other", CONTENT),
        ("name=m&expires_after_s=60", CONTENT),
    ],
)
def test_a_key_that_kept_something_else_is_refused(up: Up, query: str, content: bytes) -> None:
    """Nothing is kept, and the file that is there stays."""
    key = "reused"
    first = keyed(up, key, "name=m", CONTENT)
    before = kept(up)
    status, found, _ = keyed(up, key, query, content)
    assert (status, found["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), found
    assert kept(up) == before
    assert keyed(up, key, "name=m", CONTENT) == (200, first[1], "true")


def test_two_keys_are_two_artifacts(up: Up) -> None:
    """Equal files do not make a key."""
    found = {keyed(up, key, "name=m", b"equal")[1]["id"] for key in ("one", "two")}
    found |= {posted(up, "name=m", b"equal")[1]["id"] for _ in range(2)}
    assert len(found) == 4


def test_a_key_that_is_in_use_has_to_wait(up: Up) -> None:
    """The second upload is told so; the first goes on, and what the second repeats is its artifact."""
    with half_sent(up, "name=m", CONTENT, "busy") as sender:
        status, found, _ = keyed(up, "busy", "name=m", CONTENT)
        assert (status, found["code"]) == (409, "IDEMPOTENT_REQUEST_IN_PROGRESS"), found
        sender.sendall(CONTENT[len(CONTENT) // 2 :])
        assert status_of(sender) == 200
    assert keyed(up, "busy", "name=m", CONTENT)[2] == "true"


def test_a_key_whose_upload_failed_is_free_again(up: Up) -> None:
    """Broken off or refused: nothing was kept under it."""
    before = kept(up)
    with half_sent(up, "name=m", CONTENT, "failed"):
        pass
    until(lambda: kept(up) == before, 30, "what came of it is gone")

    def refused() -> int:
        return keyed(up, "failed", f"name=m&sha256={'0' * 64}", CONTENT)[0]

    until(lambda: refused() == 400, 30, "the key is not in use any more")
    status, _, replayed = keyed(up, "failed", "name=m", CONTENT)
    assert (status, replayed) == (200, None)


def test_a_key_that_is_none_is_refused(up: Up) -> None:
    """As everywhere in the API."""
    status, found, _ = keyed(up, '""', "name=m", b"x")
    assert (status, found["code"]) == (400, "IDEMPOTENCY_KEY_INVALID"), found


# --- room -----------------------------------------------------------------------------------------------------------


def test_what_is_on_its_way_counts_for_the_limit(limited: Up) -> None:
    """600 of 1,000 bytes are announced: no other 600 begin, and they may when the first ones did not come."""
    content = bytes(600)
    with half_sent(limited, "name=m&size_bytes=600", content):
        status, found = posted(limited, "name=m&size_bytes=600", content)
        assert (status, found["code"]) == (429, "RESOURCE_EXHAUSTED"), found
        assert "has room for 400 bytes more" in found["detail"]
        assert posted(limited, "name=m&size_bytes=400", content[:400])[0] == 200
    until(lambda: len(kept(limited)) == 1, 30, "what came of the first is gone")
    assert posted(limited, "name=m&size_bytes=600", content)[0] == 200
    assert posted(limited, "name=m", b"x")[0] == 429


def test_uploads_at_once_do_not_pass_the_limit_together(limited: Up) -> None:
    """Of eight that come at once, sizes not said, as many are kept as there is room for, and no more."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: posted(limited, "name=m", bytes(300), chunked=True)[0], range(8)))
    assert sorted(found) == [200] * 3 + [429] * 5
    sizes = [path.stat().st_size for path in (limited.data / "artifacts").rglob("*") if path.is_file()]
    assert sizes == [300] * 3
