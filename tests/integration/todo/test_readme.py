"""The session in the example's README is what happens."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from examples.todo.serving import Options
from tests.components import require
from tests.integration.todo.conftest import serving

README = Path(__file__).resolve().parents[3] / "examples" / "todo" / "README.md"
CHANGING = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": "ID",
    r"\b[0-9a-f]{32}\b": "TRACE",
    r"20\d\d-\d\d-\d\dT[\d:]+\.\d+Z": "NOW",
    r"\b\d+ms\b": "TIME",
    r"(?m)^date: .*$": "DATE",
    r"(?m)^content-length: \d+$": "LENGTH",
}


def steps() -> list[tuple[str, str]]:
    """(command, output) of every command of the session that is about a running service."""
    blocks = re.findall(r"^```console\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = [part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.M)[1:]]
    return [(command, output.strip()) for command, _, output in found if command.split()[0] in ("curl", "mv")]


def plain(text: str) -> str:
    """The text without what differs from run to run."""
    text = text.replace("\r\n", "\n")
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text)
    return text.strip()


def test_the_session_of_the_readme_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command gives the output that is shown, but for ids and times."""
    require("curl")
    monkeypatch.chdir(tmp_path)
    with serving(Options(database=tmp_path / "todo.db", tokens={"alice": "wonderland"})) as server:
        variables = {
            "API": f"http://127.0.0.1:{server.http_port}/v1",
            "AUTH": "Authorization: Bearer wonderland",
            "JSON": "Content-Type: application/json",
        }
        shown = steps()
        assert len(shown) == 8
        for command, output in shown:
            done = subprocess.run(
                ["sh", "-c", command],
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert plain(done.stdout) == plain(output), command
