"""Downloads from a real server in parts, as HTTP has them: `Range` and `If-Range`."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import Up
from tests.components import require
from tests.integration.server.test_rest_api import ask
from tests.integration.server.test_uploads import CONTENT, DIGEST, posted

SIZE = len(CONTENT)
TAG = f'"{DIGEST}"'


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file."""
    server = Up(tmp_path_factory.mktemp("ranges") / "data")
    server.start()
    yield server
    server.clear()


@pytest.fixture(scope="module")
def path(up: Up) -> str:
    """Where the content is."""
    return f"/v1/artifacts/{posted(up, 'name=m', CONTENT)[1]['id']}:download"


def test_the_whole_says_what_it_is_and_that_it_has_parts(up: Up, path: str) -> None:
    """Its tag is its digest, as the content never changes."""
    status, headers, found = ask(up, "GET", path)
    assert (status, found, headers["etag"], headers["accept-ranges"]) == (200, CONTENT, TAG, "bytes")
    assert headers["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"
    assert "content-range" not in headers


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=600000-", 600_000, SIZE - 1),
        ("bytes=-5", SIZE - 5, SIZE - 1),
        (f"bytes=-{SIZE + 5}", 0, SIZE - 1),
        (f"bytes=7-{SIZE + 5}", 7, SIZE - 1),
        ("Bytes = 5-9 ", 5, 9),
    ],
)
def test_a_range_is_those_bytes(up: Up, path: str, asked: str, first: int, last: int) -> None:
    """With 206 and where they lie; with the present tag in If-Range too."""
    for more in ({}, {"if_range": TAG}):
        status, headers, found = ask(up, "GET", path, range=asked, **more)
        assert (status, headers["content-range"]) == (206, f"bytes {first}-{last}/{SIZE}")
        assert found == CONTENT[first : last + 1] and headers["etag"] == TAG


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=0-1,5-6"},
        {"range": "lines=0-1"},
        {"range": "bytes=-"},
        {"range": "bytes=9-5"},
        {"range": "nonsense"},
        {"range": "bytes=0-1", "if_range": '"another"'},
        {"range": "bytes=0-1", "if_range": f"W/{TAG}"},
        {"range": "bytes=0-1", "if_range": "Fri, 27 Nov 2026 02:55:39 GMT"},
    ],
)
def test_what_is_no_single_range_of_this_content_is_passed_over(up: Up, path: str, headers: dict[str, str]) -> None:
    """The whole is the answer."""
    status, answer, found = ask(up, "GET", path, **headers)
    assert status == 200 and found == CONTENT and "content-range" not in answer


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE + 1}-{SIZE + 5}", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(up: Up, path: str, asked: str) -> None:
    """With 416 and the size."""
    status, headers, found = ask(up, "GET", path, range=asked)
    assert (status, found["code"], headers["content-range"]) == (416, "RANGE_NOT_SATISFIABLE", f"bytes */{SIZE}")
    assert ask(up, "GET", path, range=asked, if_range='"another"')[0] == 200


def test_an_offset_of_the_query_is_what_it_was(up: Up, path: str) -> None:
    """The rest with 200, whatever Range says."""
    status, _, found = ask(up, "GET", f"{path}?offset=1000", range="bytes=0-5")
    assert (status, found) == (200, CONTENT[1000:])
    assert ask(up, "GET", f"{path}?offset={SIZE}")[2] == b""
    assert ask(up, "GET", f"{path}?offset={SIZE + 1}")[0] == 400


def test_curl_goes_on_with_what_it_has(up: Up, path: str, tmp_path: Path) -> None:
    """`curl -C -` asks for the rest."""
    require("curl")
    file = tmp_path / "m"
    file.write_bytes(CONTENT[:1_000_000])
    subprocess.run(["curl", "-sS", "-f", "-C", "-", "-o", file, f"http://127.0.0.1:{up.http}{path}"], check=True)
    assert file.read_bytes() == CONTENT


def test_head_is_the_head_of_get(up: Up, path: str) -> None:
    """The same status and headers, with the length; no content, and no answer to what GET refuses."""
    for more in ({}, {"range": "bytes=5-9"}, {"range": "bytes=5-9", "if_range": TAG}, {"range": f"bytes={SIZE}-"}):
        status, headers, _ = ask(up, "GET", path, **more)
        found, head, content = ask(up, "HEAD", path, **more)
        assert (found, content) == (status, b"")
        for name in ("etag", "accept-ranges", "repr-digest", "content-range", "content-type"):
            assert head.get(name) == headers.get(name), name
        if status < 400:
            assert int(head["content-length"]) == (SIZE if status == 200 else 5)
    assert ask(up, "HEAD", path.replace("/v1/artifacts/", "/v1/artifacts/none"))[0] == 404
    assert ask(up, "HEAD", f"{path}?offset={SIZE + 1}")[0] == 400
