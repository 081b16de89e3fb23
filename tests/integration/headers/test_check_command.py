"""`formicary headers check` tells what arrives, what goes back and what was refused, with secrets masked for people."""

import json
from pathlib import Path

import pytest

from formicary.cli.main import status_of

MAPPING = """
mappings:
  - {http_header: Authorization, grpc_metadata: authorization, direction: 0, required: true}
  - {header: Authorization, metadata: auth-token, direction: incoming, transform: [{remove_prefix: "Bearer "}]}
  - {header: X-Processing-Time, metadata: processing-time, direction: outgoing, transform: [{add_suffix: ms}]}
"""


def run(folder: Path, request: str, *options: str) -> int:
    (folder / "m.yaml").write_text(MAPPING)
    (folder / "r.http").write_text(request)
    (folder / "s.http").write_text("processing-time: 150\n")
    files = [str(folder / "m.yaml"), "--request", str(folder / "r.http"), "--response", str(folder / "s.http")]
    return status_of(["headers", "check", *files, *options])


def test_json_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON holds the three parts with their values; the table masks secrets and says why a cookie stays."""
    request = "GET /v1 HTTP/1.1\nAuthorization: Bearer s3cr3t\nCookie: a=b\n\n"
    assert run(tmp_path, request, "--output", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metadata"] == [["authorization", "Bearer s3cr3t"], ["auth-token", "s3cr3t"]]
    assert found["response_headers"] == [["X-Processing-Time", "150ms"]]
    assert found["rejected"] == []
    assert run(tmp_path, request) == 0
    shown = capsys.readouterr().out
    assert "s3cr3t" not in shown and "cookies never cross" in shown


def test_a_refused_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal is shown as the problem that the caller gets, and the status is 1."""
    assert run(tmp_path, "GET / HTTP/1.1\n\n", "--output", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["rejected"][0]["status"] == 400 and found["metadata"] == []
