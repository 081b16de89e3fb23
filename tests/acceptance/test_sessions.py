"""The tutorial and the how-to guides are true: their files are written, their commands run, their output appears."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import components
from tests.acceptance.server import busyness, free_port
from tests.forks import make_shim

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for page in (ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md")))
    if "```console\n" in page.read_text(encoding="utf-8")
]
"""Pages that show a session; code of the others is run by the test of the documents."""
AS_USERS_DO = {"tutorial", "resume-after-a-crash"}
"""Pages whose commands start as their reader's do; those of the others are forked from a process with all modules."""
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.M | re.S)
SAVED = re.compile(r"save\s+this\s+as\s+`([\w.-]+)`[^`]*\Z|and\s+this\s+as\s+`([\w.-]+)`[^`]*\Z", flags=re.I)
PAUSE = re.compile(r"(^|& )sleep ([\d.]+)(?=;|$)")
"""A pause that a reader makes too, for as long as a machine needs that has nothing else to do."""
MARK = "=== command"


def read_page(page: Path, folder: Path) -> list[tuple[str, list[str]]]:
    """Writes the page's files and returns its commands, each with the lines that it shows."""
    text = page.read_text(encoding="utf-8")
    commands: list[tuple[str, list[str]]] = []
    for match in FENCE.finditer(text):
        language, body = match.groups()
        saved = SAVED.search(text[: match.start()])
        if language != "console":
            if saved is not None:
                (folder / (saved[1] or saved[2])).write_text(body, encoding="utf-8")
            continue
        for line in body.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
    return commands


def to_script(commands: list[tuple[str, list[str]]], grpc: int) -> str:
    """A shell script that runs the commands in one shell, each behind a mark; servers are waited for."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT"]
    for number, (command, shown) in enumerate(commands):
        lines.append(f"echo; echo '{MARK} {number}'")
        command = PAUSE.sub(lambda found: f"{found[1]}sleep {float(found[2]) * busyness():g}", command)
        command = command.replace("formicary up", f"formicary up --http-port 0 --grpc-port {grpc}")
        for port, step in (("8093", 1), ("8094", 2)):
            command = command.replace(port, str(grpc + step))
        if command.endswith("&") and shown:
            lines.append(f"{command[:-1]} >out-{number} 2>&1 &")
            lines.append(
                f"for i in $(seq 1200); do grep -q ready out-{number} && break; sleep 0.05; done; cat out-{number}"
            )
        else:
            lines.append(command)
    return "\n".join(lines) + "\n"


def shows(line: str, text: str) -> bool:
    """Whether a line of the output is the shown one; `…` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in line.split("…"))
    return re.fullmatch(pattern, text.rstrip()) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_session_of_the_documents_is_true(page: Path, tmp_path: Path, data_dir: Path) -> None:
    """Each shown line comes in the output of its command, in the order in which it is shown."""
    if "earth_rotation" in page.read_text(encoding="utf-8"):
        components.require("iers-data")
    if "FORMICARY_NATS=" in page.read_text(encoding="utf-8"):
        components.require("nats-server")
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    commands = read_page(page, folder)
    assert commands, "the page shows no command"
    grpc = free_port(3)
    programs, forks, passed = str(Path(sys.executable).parent), {}, []
    if page.stem not in AS_USERS_DO:
        (tmp_path / "bin").mkdir()
        forks, descriptor = make_shim(tmp_path / "bin")
        programs, passed = f"{tmp_path / 'bin'}{os.pathsep}{programs}", [descriptor]
    environment = {
        **os.environ,
        **forks,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "FORMICARY_DATA": str(data_dir),
        "FORMICARY_SERVER": f"127.0.0.1:{grpc}",
        "PYTHONPATH": str(folder),
    }
    ended = subprocess.run(
        ["bash", "-c", to_script(commands, grpc)],
        cwd=folder,
        env=environment,
        pass_fds=passed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    parts = re.split(rf"^{MARK} \d+$", ended.stdout, flags=re.M)[1:]
    assert len(parts) == len(commands), ended.stdout
    for (command, shown), part in zip(commands, parts, strict=True):
        output = iter(part.splitlines())
        for line in shown:
            line = line.replace("8093", "…").replace("8094", "…")
            assert any(shows(line, text) for text in output), f"$ {command}\n{line!r} is not in\n{part}"
