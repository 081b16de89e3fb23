"""The corpus: what jobs of older engines exercise, in files of our own; each says how its tasks end.

A file's head holds one line per run: `# run: ARGUMENTS -> STATE: TASK STATE ATTEMPTS, …`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CORPUS = Path(__file__).with_name("corpus")
FILES = sorted(CORPUS.glob("*.yaml"))


def runs(path: Path) -> list[tuple[list[str], str, list[tuple[str, str, int]]]]:
    """Arguments, state of the job and (task, state, attempts) of each run that a file announces."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("# run:"):
            given, _, expected = line.removeprefix("# run:").partition("->")
            state, _, tasks = expected.partition(":")
            ends = [(name, end, int(count)) for name, end, count in (task.split() for task in tasks.split(","))]
            found.append((given.split(), state.strip(), ends))
    return found


CASES = [(path.name, *run) for path in FILES for run in runs(path)]


@pytest.mark.parametrize(
    ("name", "arguments", "state", "tasks"), CASES, ids=[f"{c[0]} {' '.join(c[1])}" for c in CASES]
)
def test_a_job_of_the_corpus_ends_as_it_says(
    name: str, arguments: list[str], state: str, tasks: list[tuple[str, str, int]], data_dir: Path
) -> None:
    """State of the job, and state and attempts of every task in file order."""
    command = [sys.executable, "-m", "formicary", "run", str(CORPUS / name), *arguments]
    command += ["--data", str(data_dir), "--output", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.stdout, ended.stderr
    document = json.loads(ended.stdout)
    found = [(task["task_type"], task["state"], task["attempts"]) for task in document["tasks"]]
    assert (document["state"], found) == (state, tasks), document["error"]
    assert ended.returncode == (0 if state == "COMPLETED" else 1)


def test_every_file_says_how_it_ends() -> None:
    """No file of the corpus is without a run, and each names a task of its own."""
    assert FILES
    for path in FILES:
        assert runs(path), path.name
