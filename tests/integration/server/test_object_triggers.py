"""New objects start jobs: files of a folder, and objects of a server that answers ListObjectsV2 as S3 does."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.acceptance.server import Up, until
from tests.integration.server.test_webhooks import send

JOB = """\
job_type: etl
triggers:
- type: s3
  name: new-file
  url: '%s'
  prefix: raw/
  suffix: .csv
  poll_interval: 1s
  params: {key: '{{ .Object.Key }}', size: '{{ .Object.Size }}'}
  %s
tasks:
- {task_type: t, script: 'true'}
"""


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """A server without ants: what starts stays PENDING."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    found = Up(tmp_path / "data", "--ants", "0")
    try:
        found.start()
        yield found
    finally:
        found.clear()


def register(up: Up, url: str, more: str = "") -> None:
    """Registers the job without starting it, and waits for the first look."""
    source = json.dumps({"source": JOB % (url, more)}).encode()
    assert send(up, "/v1/definitions", source, content_type="application/json")[0] == 200
    until(lambda: trigger(up)["next_at"] is not None, 30, "the first look")


def trigger(up: Up) -> dict[str, Any]:
    """What the list says of the trigger."""
    (found,) = json.loads(up.cli("triggers", "list", "--output", "json"))
    return dict(found)


def jobs(up: Up) -> int:
    """How many jobs there are."""
    return len(json.loads(up.cli("list", "--limit", "0", "--output", "json")))


def put(folder: Path, name: str, text: str, *, old: bool = False) -> None:
    """A file that is there at once, as one that is renamed into its place."""
    path = folder / "raw" / name
    before = path.with_suffix(".tmp")
    before.write_text(text)
    if old:
        os.utime(before, (1_000_000_000, 1_000_000_000))
    before.rename(path)


def test_each_new_file_is_one_job_over_kills(up: Up, tmp_path: Path) -> None:
    """What was there does not count; new and changed files do, once each, whoever is killed; an
    old time makes a file no older.
    """
    folder = tmp_path / "inbox"
    (folder / "raw").mkdir(parents=True)
    put(folder, "before.csv", "x")
    register(up, folder.as_uri())
    put(folder, "a.csv", "x")
    put(folder, "old.csv", "x", old=True)
    put(folder, "note.txt", "x")
    until(lambda: trigger(up)["fired"] == 2, 30, "two files")
    for number in range(10):
        put(folder, f"n{number}.csv", "x")
        if number % 4 == 3:
            up.kill()
            up.start()
    put(folder, "before.csv", "changed")
    until(lambda: trigger(up)["fired"] == 13, 60, "all of them")
    up.kill()
    up.start()
    until(lambda: trigger(up)["next_at"] is not None, 30, "a look after the restart")
    assert jobs(up) == trigger(up)["fired"] == 13
    up.cli("triggers", "reset", "etl", "--name", "new-file")
    until(lambda: trigger(up)["fired"] == 26, 60, "after the reset all count again, the first one too")


def test_a_rate_limit_holds_files_back(up: Up, tmp_path: Path) -> None:
    """One at a time, all of them in the end."""
    folder = tmp_path / "inbox"
    (folder / "raw").mkdir(parents=True)
    for number in range(3):
        put(folder, f"n{number}.csv", "x", old=True)
    register(up, folder.as_uri(), "rate_limit: {max: 1, window: 1s}\n  from_beginning: true")
    until(lambda: trigger(up)["fired"] == 3, 60, "all in the end")
    assert trigger(up)["limited"] >= 1 and jobs(up) == 3


def test_a_folder_that_is_not_there_or_not_allowed(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list says what is wrong, and the folder counts once it is there."""
    folder = tmp_path / "later"
    source = json.dumps({"source": JOB % (folder.as_uri(), "from_beginning: true")}).encode()
    assert send(up, "/v1/definitions", source, content_type="application/json")[0] == 200
    until(lambda: "no folder" in trigger(up)["error"], 30, "an error")
    (folder / "raw").mkdir(parents=True)
    put(folder, "a.csv", "x", old=True)
    until(lambda: trigger(up)["fired"] == 1, 60, "it is there")
    monkeypatch.setenv("FORMICARY_TRIGGER_DIRS", str(tmp_path / "other"))
    up.kill()
    up.start()
    until(lambda: "FORMICARY_TRIGGER_DIRS" in trigger(up)["error"], 30, "not allowed")


class Bucket(BaseHTTPRequestHandler):
    """Answers ListObjectsV2 in pages of two."""

    objects: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """One page of the list."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.asked.append(self.headers.get("authorization", ""))
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")))
        start = int(query.get("continuation-token", "0"))
        page, more = keys[start : start + 2], start + 2 < len(keys)
        rows = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified>"
            f'<ETag>"{self.objects[key]}"</ETag><Size>3</Size><StorageClass>STANDARD</StorageClass></Contents>'
            for key in page
        )
        token = f"<NextContinuationToken>{start + 2}</NextContinuationToken>" if more else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>b</Name><KeyCount>{len(page)}</KeyCount><MaxKeys>2</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def test_objects_of_s3(up: Up) -> None:
    """The requests are signed; pages are followed; an object that is put again with other content is a new one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        Bucket.objects.update({"raw/there.csv": "e0", "other/x.csv": "e1"})
        register(up, f"http://127.0.0.1:{server.server_port}/bucket")
        Bucket.objects.update({f"raw/{number}.csv": f"n{number}" for number in range(5)})
        until(lambda: trigger(up)["fired"] == 5, 30, "all pages")
        Bucket.objects["raw/there.csv"] = "changed"
        until(lambda: trigger(up)["fired"] == 6, 30, "the new content")
        up.kill()
        up.start()
        until(lambda: trigger(up)["next_at"] is not None, 30, "a look after the restart")
        assert trigger(up)["fired"] == jobs(up) == 6
        assert all(one.startswith("AWS4-HMAC-SHA256 Credential=me/") for one in Bucket.asked)
    finally:
        server.shutdown()
        server.server_close()


def test_a_bucket_without_keys_says_so_in_one_line(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of what the library has tried, with its own dump of it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{up.http}")  # gives none: it answers 404
    up.kill()
    up.start()
    source = json.dumps({"source": JOB % (f"http://127.0.0.1:{up.http}/bucket", "")}).encode()
    assert send(up, "/v1/definitions", source, content_type="application/json")[0] == 200
    until(lambda: trigger(up)["error"] not in ("", "starting"), 60, "an error")
    error = trigger(up)["error"]
    assert "no access key is set (AWS_ACCESS_KEY_ID" in error and "\n" not in error
