"""The corpus: what jobs of older engines exercise, in files of our own; each says how its tasks end.

A file's head holds one line per run: `# run: ARGUMENTS -> STATE: TASK STATE ATTEMPTS, …`. `# again:` goes on with the
data of the run before it; `{base}` is a server that the jobs call.
"""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from docs.older_files import OLDER
from tests.forks import run_forked

CORPUS = Path(__file__).with_name("corpus")
FILES = sorted(CORPUS.glob("*.yaml"))


@dataclass(frozen=True, slots=True)
class Run:
    """One run: arguments, state of the job and (task, state, attempts) of every task in file order."""

    arguments: tuple[str, ...]
    state: str
    tasks: list[tuple[str, str, int]]


def runs(path: Path) -> list[list[Run]]:
    """The runs that a file announces, those together that share their data."""
    found: list[list[Run]] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(("# run:", "# again:")):
            given, _, expected = line.partition(":")[2].partition("->")
            state, _, tasks = expected.partition(":")
            ends = [(name, end, int(count)) for name, end, count in (task.split() for task in tasks.split(","))]
            if line.startswith("# run:"):
                found.append([])
            found[-1].append(Run(tuple(given.split()), state.strip(), ends))
    return found


CASES = [(path.name, group) for path in FILES for group in runs(path)]


class Pages(BaseHTTPRequestHandler):
    """Things that can be read, made, changed and removed, and pages that are there from the third look on."""

    looks: ClassVar[Counter[str]] = Counter()

    def _answer(self, status: int, value: object = None) -> None:
        body = b"" if status == 204 else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path.startswith("/later/"):
            self.looks[path] += 1
            there = self.looks[path] >= 3 and "/never/" not in path
            self._answer(200 if there else 404, {"there": there})
        else:
            self._answer(200 if path == "/things/1" and query == "page=3" else 404, {"id": 1})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        wanted = sent.get("title") == "a title" and sent.get("number") == 7
        self._answer(201 if wanted else 400, sent)

    def do_PUT(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer(200 if sent.get("title") == "another" else 400, sent)

    def do_DELETE(self) -> None:
        self._answer(204)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Address of a server with these pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "group"), CASES, ids=[f"{name} {' '.join(group[0].arguments)}" for name, group in CASES]
)
def test_a_job_of_the_corpus_ends_as_it_says(name: str, group: list[Run], data_dir: Path, base: str) -> None:
    """State of the job, and state and attempts of every task in file order."""
    for run in group:
        given = [argument.replace("{base}", base) for argument in run.arguments]
        command = ("run", str(CORPUS / name), *given, "--data", str(data_dir), "--output", "json")
        ended = run_forked(command, timeout=120)
        assert ended.stdout, ended.stderr
        document = json.loads(ended.stdout)
        found = [(task["task_type"], task["state"], task["attempts"]) for task in document["tasks"]]
        assert (document["state"], found) == (run.state, run.tasks), document["error"]
        assert ended.returncode == (0 if run.state == "COMPLETED" else 1)


def test_the_corpus_leaves_nothing_where_it_was_started(data_dir: Path, tmp_path: Path) -> None:
    """Neither files of its tasks, nor what they wrote, nor what was kept of both."""
    place = tmp_path / "place"
    place.mkdir()
    command = [sys.executable, "-m", "formicary", "run", str(CORPUS / "two_artifacts.yaml"), "--data", str(data_dir)]
    command += ["--method", "KUBERNETES=SHELL"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=place)
    assert ended.returncode == 0, ended.stderr
    assert list(place.iterdir()) == []


def test_every_file_says_how_it_ends() -> None:
    """No file of the corpus is without a run, and each stands in the table of older files, which names no others."""
    assert FILES
    for path in FILES:
        assert runs(path), path.name
    there = {path.relative_to(CORPUS).with_suffix("").as_posix() for path in CORPUS.rglob("*.yaml")}
    assert {name for *_, jobs in OLDER for name in jobs} == there


def test_every_file_is_valid() -> None:
    """`formicary validate` finds no error in any of them."""
    given = [str(path) for path in sorted(CORPUS.rglob("*.yaml"))]
    ended = run_forked(("validate", *given, "--method", "KUBERNETES=SHELL", "--output", "json"), timeout=120)
    assert [found["file"] for found in json.loads(ended.stdout) if not found["valid"]] == []
    assert ended.returncode == 0
