"""Bad input: a sentence with file:line:column and what to do, exit status 2, nothing stored."""

import subprocess
import sys
from pathlib import Path

import pytest

from formicary.engine.storage.backends import DATABASE_FILE, open_store
from tests.integration.cli.command import formicary

TASK = "- task_type: t\n  script: ['true']\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# name: (text, place, what the sentence has to say)
FILES = {
    "unknown field": (f"job_type: j\ntsks: 5\ntasks:\n{TASK}", "2:1", "Did you mean tasks?"),
    "unknown field of a task": ("job_type: j\ntasks:\n- task_type: t\n  scrpt: ['true']\n", "4:3", "Did you mean"),
    "wrong type": (f"job_type: j\nretry: many\ntasks:\n{TASK}", "2:8", "retry"),
    "cycle": (
        "job_type: j\ntasks:\n- task_type: a\n  script: ['true']\n  on_completed: b\n"
        "- task_type: b\n  script: ['true']\n  on_completed: a\n",
        ":",
        "wait for each other",
    ),
    "unreachable task": (
        f"job_type: j\ntasks:\n{TASK}- task_type: u\n  script: ['true']\n",
        ":",
        "never reached",
    ),
    "unknown target": (f"job_type: j\ntasks:\n{TASK}  on_completed: nowhere\n", "5:17", "nowhere"),
    "duplicate task": (f"job_type: j\ntasks:\n{TASK}{TASK}", "5:14", "t"),
    "bad duration": (f"job_type: j\ntasks:\n{TASK}  timeout: soon\n", "5:12", "1h30m"),
    "bad template": ("job_type: j\ntasks:\n- task_type: t\n  script:\n  - echo {{.a\n", "5:", "}}"),
    "unknown method": (f"job_type: j\ntasks:\n{TASK}  method: BASH\n", "5:11", "BASH"),
    "later method": ("job_type: j\ntasks:\n- task_type: t\n  method: KUBERNETES\n  container: {image: a}\n",
                     "4:", "KUBERNETES=SHELL"),
    "not YAML": ("job_type: j\ntasks: [\n", ":", ""),
    "YAML bomb": (BOMB, ":", ""),
    "empty": ("", "1:1", "empty"),
    "no mapping": ("- 1\n", "1:1", "mapping"),
    "no tasks": ("job_type: j\n", "1:1", "tasks"),
}  # fmt: skip


def nothing_stored(data: Path) -> bool:
    """Whether the data directory holds no job and no definition."""
    if not (data / DATABASE_FILE).exists():
        return True
    store = open_store(data)
    try:
        return not list(store.jobs("local")) and not any(
            store.latest_definition("local", name) for name in ("j", "k", "greet")
        )
    finally:
        store.close()


@pytest.mark.parametrize("name", FILES)
def test_run_refuses_a_bad_file(name: str, tmp_path: Path, data_dir: Path) -> None:
    """`run` names file, line and column, says what is wrong, exits with 2 and stores nothing."""
    text, place, said = FILES[name]
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    done = formicary("run", file, "--data", data_dir, "--output", "json")
    assert done.status == 2, done.err
    first = done.err.splitlines()[0]
    assert first.startswith(f"error: {file}:")
    assert f"{file}:{place}" in done.err or place == ":"
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert nothing_stored(data_dir)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Three mistakes are three lines, each with its own place."""
    file = tmp_path / "bad.yaml"
    file.write_text(
        "job_type: j\ncolour: red\nretry: many\ntasks:\n- task_type: t\n  timeout: soon\n  script: ['true']\n"
    )
    done = formicary("validate", file)
    assert done.status == 2
    assert [line.split(":")[2] for line in done.err.splitlines() if line.startswith("error:")] == ["2", "3", "6"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#" * (10 * 1024 * 1024), "larger than 256 KB"),
        (b"\x7fELF\x00\x00", "binary"),
        (b"job_type: \xff\xfe\n", "UTF-8"),
    ],
    ids=["10 MB", "binary", "not UTF-8"],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, said: str, tmp_path: Path, data_dir: Path) -> None:
    """Size and encoding are checked before anything is parsed."""
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    for command in (("validate",), ("run", "--data", str(data_dir)), ("submit",)):
        done = formicary(*command, file)
        assert done.status == 2
        assert said in done.err
        assert f"{file}:1:" in done.err
    assert nothing_stored(data_dir)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing file and a folder each get a sentence with the way out."""
    missing = formicary("validate", tmp_path / "none.yaml")
    assert missing.status == 2
    assert "There is no file" in missing.err
    folder = formicary("run", tmp_path)
    assert folder.status == 2
    assert "is a folder" in folder.err


def test_a_file_of_python_is_run_by_the_name_of_its_job(tmp_path: Path, data_dir: Path) -> None:
    """It is no YAML, and what to write instead is said."""
    file = tmp_path / "jobs.py"
    file.write_text("x = 1\n")
    done = formicary("run", file, "--data", data_dir)
    assert done.status == 2 and f"formicary run {file}:NAME" in done.err


@pytest.mark.parametrize("arguments", [("list", "--help"), ("version",), ("schema",)])
def test_a_full_disk_behind_the_output_is_one_sentence(arguments: tuple[str, ...]) -> None:
    """No traceback, and a status of its own."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "formicary", *arguments]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert ended.returncode == 120
    assert ended.stderr.startswith("error: The output cannot be written") and ended.stderr.count("\n") == 1


def test_missing_and_unknown_parameters(tmp_path: Path, data_dir: Path) -> None:
    """A required parameter that is not given is named with its place; nothing is stored as a job."""
    file = tmp_path / "job.yaml"
    file.write_text(f"job_type: j\nrequired_params:\n- year\ntasks:\n{TASK}")
    done = formicary("run", file, "--data", data_dir)
    assert done.status == 2
    assert "year" in done.err
    assert "-p" in done.err


def test_bad_options_say_what_to_write(tmp_path: Path) -> None:
    """Each is exit status 2 with a hint, never a traceback."""
    file = tmp_path / "job.yaml"
    file.write_text(f"job_type: j\ntasks:\n{TASK}")
    for arguments, said in [
        (("run", file, "-p", "novalue"), "NAME=VALUE"),
        (("run", file, "--method", "KUBERNETES=BASH"), "there is no method BASH"),
        (("run",), "--resume ID"),
        (("run", file, "--resume", "x"), "--resume ID"),
        (("submit", file, "--server", "nowhere"), "HOST:PORT"),
        (("submit", file, "--at", "tomorrow"), "2030-01-31"),
        (("list", "--server", "localhost:0"), "HOST:PORT"),
        (("runn", file), "Did you mean 'run'?"),
        (("run", "no_such_module_anywhere:job"), "There is no module"),
        (("run", file, "--job", "other"), "holds no job 'other'"),
    ]:
        done = formicary(*arguments, cwd=tmp_path)
        assert done.status == 2, (arguments, done.err)
        assert said in done.err, (arguments, done.err)
        assert "Traceback" not in done.err


def test_validate_prints_the_documented_json(tmp_path: Path) -> None:
    """One entry per file, valid or not, each violation with line, column, path, code, message, severity."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"job_type: j\ntasks:\n{TASK}---\njob_type: k\ntasks:\n{TASK}")
    bad.write_text(f"job_type: j\ntasks:\n{TASK}---\njob_type: k\ncolour: red\ntasks:\n{TASK}")
    done = formicary("validate", good, bad, "--output", "json")
    assert done.status == 2
    assert done.json[0] == {"file": str(good), "valid": True, "violations": []}
    assert done.json[1]["valid"] is False
    [violation] = done.json[1]["violations"]
    assert set(violation) == {"line", "column", "path", "code", "message", "severity"}
    assert (violation["line"], violation["column"], violation["code"]) == (7, 1, "UNKNOWN_FIELD")
    assert formicary("validate", good).status == 0
    assert formicary("validate", "-", stdin=good.read_text()).status == 0


def test_a_method_that_cannot_run_here_is_a_warning_of_validate_and_refused_by_run(tmp_path: Path) -> None:
    """The file is right; to run it, another method or another colony is needed."""
    file = tmp_path / "pod.yaml"
    file.write_text("job_type: pod\ntasks:\n- {task_type: a, container: {image: x}, script: [echo hi]}\n")
    done = formicary("validate", file, "--output", "json")
    assert done.status == 0 and done.json[0]["valid"] is True
    [warning] = done.json[0]["violations"]
    assert (warning["code"], warning["severity"]) == ("NOT_AVAILABLE", "warning")
    assert "--method KUBERNETES=SHELL" in warning["message"]
    refused = formicary("run", file, "--data", tmp_path / "data")
    assert refused.status == 2 and "KUBERNETES" in refused.err
    mapped = formicary("validate", file, "--method", "KUBERNETES=SHELL", "--output", "json")
    assert mapped.json == [{"file": str(file), "valid": True, "violations": []}]


def test_a_job_to_fork_that_is_nowhere_is_a_warning(tmp_path: Path) -> None:
    """What stands in another file of the same call is known; the nearest name is told."""
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("job_type: order\ntasks:\n- task_type: a\n  method: FORK_JOB\n  fork_job_type: pakking\n")
    other.write_text(f"job_type: packing\ntasks:\n{TASK}")
    done = formicary("validate", one, other, "--output", "json")
    assert done.status == 0 and done.json[0]["valid"] is True
    [warning] = done.json[0]["violations"]
    assert (warning["line"], warning["column"], warning["code"]) == (5, 18, "UNKNOWN_FORK")
    assert warning["severity"] == "warning" and "Did you mean packing?" in warning["message"]
    one.write_text(one.read_text().replace("pakking", "packing"))
    assert formicary("validate", one, other, "--output", "json").json[0]["violations"] == []
    assert formicary("validate", one, "--output", "json").json[0]["violations"][0]["code"] == "UNKNOWN_FORK"


def test_a_file_with_several_jobs_needs_a_choice(tmp_path: Path, data_dir: Path) -> None:
    """Without --job the jobs are listed; with it the chosen one runs. Two of one name are refused."""
    file = tmp_path / "jobs.yaml"
    file.write_text(f"job_type: j\ntasks:\n{TASK}---\njob_type: k\ntasks:\n{TASK}")
    refused = formicary("run", file, "--data", data_dir)
    assert refused.status == 2
    assert "--job" in refused.err
    assert "j, k" in refused.err
    done = formicary("run", file, "--data", data_dir, "--job", "k", "--output", "json")
    assert (done.status, done.json["job_type"]) == (0, "k")
    file.write_text(f"job_type: j\ntasks:\n{TASK}---\njob_type: j\ntasks:\n{TASK}")
    twice = formicary("validate", file)
    assert twice.status == 2
    assert f"{file}:5:1:" in twice.err


QUEUES = {
    "guarantees": ("policy: capacity\nqueues:\n- {name: a, guaranteed: 70}\n- {name: b, guaranteed: 50}\n", "120 %"),
    "cycle": ("policy: capacity\nqueues:\n- {name: a, parent: b}\n- {name: b, parent: a}\n", "a -> b -> a"),
    "policy": ("policy: fifo\nqueues: [a]\n", "'fifo' is none of fcfs"),
    "parameter": ("policy: priority\nset: {agin: 3}\n", "it has aging, cap, floor, preemptive"),
}


@pytest.mark.parametrize("name", QUEUES)
def test_files_of_queues_are_validated_and_not_submitted(tmp_path: Path, name: str) -> None:
    """`validate` takes them beside job files; `submit` and `run` say what they are."""
    text, told = QUEUES[name]
    file = tmp_path / "queues.yaml"
    file.write_text(text)
    done = formicary("validate", file)
    assert (done.status, done.out) == (2, f"{file}: not valid\n") and told in done.err, done
    for command in ("submit", "run"):
        done = formicary(command, file, XDG_STATE_HOME=str(tmp_path))
        assert done.status == 2 and f"formicary queues apply {file}" in done.err, done
    file.write_text("policy: sjf\n")
    done = formicary("validate", file)
    assert (done.status, done.out) == (0, f"{file}: valid (queues)\n")
