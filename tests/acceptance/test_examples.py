"""Every example runs with `formicary run` as its header says, and each of its tasks ends as it teaches."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import components
from tests.forks import run_forked

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "examples" / "jobs"
DONE, FAILED, SKIPPED = "COMPLETED", "FAILED", "SKIPPED"

# file -> parameters, state of the job, (state, attempts) of each task in file order
EXPECTED: list[tuple[str, dict[str, str], str, dict[str, tuple[str, int]]]] = [
    ("hello.yaml", {}, DONE, {"greet": (DONE, 1)}),
    ("hello.yaml", {"name": "Ada"}, DONE, {"greet": (DONE, 1)}),
    ("parallel.yaml", {}, DONE, {"begin": (DONE, 1), "left": (DONE, 1), "right": (DONE, 1), "end": (DONE, 1)}),
    ("retry.yaml", {}, DONE, {"shaky": (DONE, 3)}),
    ("checkpoint.yaml", {}, DONE, {"rows": (DONE, 2)}),
    ("checkpoint.yaml", {"rows": "2"}, DONE, {"rows": (DONE, 1)}),
    (
        "secrets.yaml",
        {"DeployToken": "x", "Region": "y"},
        DONE,
        {"deploy": (DONE, 1), "announce": (DONE, 1)},
    ),
    (
        "hybrid-ml-pipeline.yaml",
        {},
        DONE,
        {
            "wait-for-data": (DONE, 3),
            "prepare": (DONE, 1),
            "train-0": (DONE, 1),
            "train-1": (DONE, 1),
            "evaluate": (DONE, 1),
        },
    ),
    ("cron.yaml", {}, DONE, {"report": (DONE, 1)}),
    ("queue.yaml", {"order": "o1"}, DONE, {"pack": (DONE, 1)}),
    ("failing_downstream.yaml", {}, DONE, {"fetch": (DONE, 1)}),
    ("notify.yaml", {}, DONE, {"count": (DONE, 1), "tidy": (DONE, 1)}),
    ("notify.yaml", {"code": "1"}, FAILED, {"count": (FAILED, 1), "tidy": (SKIPPED, 0)}),
    ("new_file.yaml", {"key": "a.csv"}, DONE, {"load": (DONE, 1)}),
    ("webhook.yaml", {"commit": "abc"}, DONE, {"build": (DONE, 1)}),
    (
        "approval.yaml",
        {"wait": "1s"},
        FAILED,
        {"build": (DONE, 1), "release": (FAILED, 1), "ship": (SKIPPED, 0), "undo": (DONE, 1)},
    ),
    (
        "branch.yaml",
        {},
        DONE,
        {"look": (FAILED, 1), "fine": (SKIPPED, 0), "too-small": (SKIPPED, 0), "repair": (DONE, 1)},
    ),
    (
        "branch.yaml",
        {"code": "3"},
        DONE,
        {"look": (FAILED, 1), "fine": (SKIPPED, 0), "too-small": (DONE, 1), "repair": (SKIPPED, 0)},
    ),
    (
        "branch.yaml",
        {"code": "0"},
        DONE,
        {"look": (DONE, 1), "fine": (DONE, 1), "too-small": (SKIPPED, 0), "repair": (SKIPPED, 0)},
    ),
    (
        "branch.yaml",
        {"code": "5"},
        DONE,
        {"look": (DONE, 1), "fine": (DONE, 1), "too-small": (SKIPPED, 0), "repair": (SKIPPED, 0)},
    ),
    ("poll.yaml", {}, DONE, {"wait-for-file": (DONE, 4), "use-it": (DONE, 1)}),
    (
        "cleanup.yaml",
        {},
        FAILED,
        {
            "prepare": (DONE, 1),
            "work": (FAILED, 1),
            "after-work": (SKIPPED, 0),
            "remove": (DONE, 1),
            "tell": (DONE, 1),
        },
    ),
    ("outputs.yaml", {}, DONE, {"first": (DONE, 1), "second": (DONE, 1), "third": (DONE, 1)}),
    ("artifacts.yaml", {}, DONE, {"build": (DONE, 1), "test": (FAILED, 1), "publish": (DONE, 1)}),
    ("cache.yaml", {}, DONE, {"describe": (DONE, 1), "install": (DONE, 1)}),
    ("locks.yaml", {}, DONE, {"compile": (DONE, 1), "migrate": (DONE, 1)}),
    ("params.yaml", {"city": "Tartu"}, DONE, {"forecast": (DONE, 1), "publish": (DONE, 1)}),
    ("pause.yaml", {}, DONE, {"ask-for-quota": (DONE, 2), "go-on": (DONE, 1)}),
    ("python.yaml", {}, DONE, {"count": (DONE, 1), "most": (DONE, 1), "say": (DONE, 1)}),
    (
        "fork.yaml --job order",
        {},
        DONE,
        {"start": (DONE, 1), "meanwhile": (DONE, 1), "join": (DONE, 1), "report": (DONE, 1)},
    ),
    ("sub_workflow.yaml --job order-report", {}, DONE, {"totals": (DONE, 1), "print": (DONE, 1)}),
    (
        "every_field.yaml --method KUBERNETES=SHELL",
        {"Target": "shop"},
        DONE,
        {"render": (DONE, 1), "old-style": (DONE, 1), "done": (DONE, 1)},
    ),
    ("fan_out.yaml --job census", {}, DONE, {"measure": (DONE, 1), "sum": (DONE, 1)}),
    ("fan_out_tasks.yaml", {}, DONE, {"measure": (DONE, 1), "sum": (DONE, 1)}),
    (
        "census_job.py:census",
        {"count": "4"},
        DONE,
        {"find": (DONE, 1), "measure": (DONE, 1), "parcel": (DONE, 1), "join": (DONE, 1), "report": (DONE, 1)},
    ),
    (
        "word_count_job.py:words",
        {"text": "b a b"},
        DONE,
        {"say_goodbye": (DONE, 1), "count": (DONE, 1), "most_common": (DONE, 1)},
    ),
    (
        "ci/ci.yaml",
        {"python": sys.executable},
        DONE,
        {
            "check-out": (DONE, 1),
            "lint": (DONE, 1),
            "test": (DONE, 1),
            "spelling": (FAILED, 1),
            "build": (DONE, 1),
            "try-it": (DONE, 1),
            "changes": (FAILED, 1),
            "release": (DONE, 1),
            "nothing-new": (SKIPPED, 0),
            "tidy-up": (DONE, 1),
        },
    ),
]


def run_command(*arguments: str, data: Path, params: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `formicary run … --output json`."""
    given = [word for name, value in (params or {}).items() for word in ("-p", f"{name}={value}")]
    return run_forked(("run", *arguments, *given, "--data", str(data), "--output", "json"), cwd=ROOT, timeout=120)


def run_example(file: str, data: Path, params: dict[str, str]) -> dict[str, Any]:
    """Runs an example and returns its document; the exit status is the job's."""
    ended = run_command(*f"examples/jobs/{file}".split(), data=data, params=params)
    assert ended.returncode in (0, 1), ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if document["state"] == DONE else 1)
    return document


@pytest.mark.parametrize(("file", "params", "state", "tasks"), EXPECTED)
def test_a_small_example_ends_as_it_teaches(
    file: str, params: dict[str, str], state: str, tasks: dict[str, tuple[str, int]], data_dir: Path
) -> None:
    """State of the job, and state and attempts of every task."""
    document = run_example(file, data_dir, params)
    found = {task["task_type"]: (task["state"], task["attempts"]) for task in document["tasks"]}
    assert (document["state"], found) == (state, tasks)


def test_params_are_checked_before_anything_is_stored(data_dir: Path) -> None:
    """Without its required parameter the job is refused with exit status 2; `except` completes a task unrun."""
    refused = run_command("examples/jobs/params.yaml", data=data_dir)
    assert refused.returncode == 2 and "city" in refused.stderr
    document = run_example("params.yaml", data_dir, {"city": "Tartu", "days": "5", "dry_run": "true"})
    publish = document["tasks"][1]
    assert (publish["state"], publish["attempts"], publish["skipped"]) == (DONE, 0, True)


def test_outputs_of_the_examples(data_dir: Path) -> None:
    """Values flow through tasks: words are counted the same in both front ends."""
    assert run_example("python.yaml", data_dir, {"text": "b a b c"})["outputs"]["result"] == ["b", "a"]
    assert run_example("word_count_job.py:words", data_dir, {"text": "b a b c"})["outputs"]["result"] == ["b", "a"]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[str]:
    """The server of the HTTP example on a free port."""
    command = [sys.executable, "-m", "examples.jobs.http.server", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().removeprefix("ready ").strip()
        finally:
            server.kill()


def test_the_http_example(shop: str, data_dir: Path) -> None:
    """Each verb, a poll that ends, and a 404 that is what the job wants; the exit code is the status."""
    document = run_example("http/http.yaml", data_dir, {"base": shop})
    assert document["state"] == DONE
    assert {task["task_type"]: (task["exit_code"], task["attempts"]) for task in document["tasks"]} == {
        "create": (201, 1),
        "read": (200, 1),
        "replace": (200, 1),
        "change": (200, 1),
        "wait-until-ready": (200, 3),
        "remove": (204, 1),
        "read-again": (404, 1),
        "done": (0, 1),
    }
    assert document["tasks"][3]["outputs"]["body"] == {"name": "lamp", "price": 19, "colour": "green", "number": 1}


def test_the_messaging_example(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of its own does the work once, though its first answer is lost, and says what an exit code means."""
    components.require("nats-server")
    url, prefix = "nats://127.0.0.1:4222", f"warehouse-{uuid.uuid4().hex}"  # another test may run the same example
    example = (JOBS / "messaging/messaging.yaml").read_text(encoding="utf-8")
    file = data_dir.parent / "messaging.yaml"
    file.write_text(example.replace("warehouse.", f"{prefix}."), encoding="utf-8")
    monkeypatch.setenv("FORMICARY_NATS", url)
    command = [sys.executable, "-m", "examples.jobs.messaging.worker", "--nats", url, "--prefix", prefix]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None and worker.stdout.readline() == f"ready {url}\n"
            document = json.loads(run_command(str(file), data=data_dir, params={}).stdout)
        finally:
            worker.kill()
    assert {task["task_type"]: (task["state"], task["attempts"]) for task in document["tasks"]} == {
        "pack": (DONE, 2),
        "weigh": (DONE, 1),
        "refused": (DONE, 1),
        "ship": (DONE, 1),
    }
    assert (document["state"], document["outputs"]["times"], document["outputs"]["grams"]) == (DONE, 1, 100)


@pytest.fixture
def studio() -> Iterator[str]:
    """The server of the web socket example on a free port."""
    command = [sys.executable, "-m", "examples.jobs.websocket.worker", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().removeprefix("ready ").strip()
        finally:
            server.kill()


def test_the_websocket_example(studio: str, data_dir: Path) -> None:
    """The server's outputs are the task's, and its exit code is what the job file says."""
    document = run_example("websocket/websocket.yaml", data_dir, {"server": studio})
    assert {task["task_type"]: (task["state"], task["exit_code"]) for task in document["tasks"]} == {
        "render": (DONE, 0),
        "refused": (DONE, 3),
        "show": (DONE, 0),
    }
    assert document["outputs"]["pictures"] == 3


def test_the_docker_example(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a server that speaks the Engine's API, and without one in a shell, as its header says."""
    command = [sys.executable, "-m", "tests.integration.ants.docker_engine", str(tmp_path)]
    monkeypatch.setenv("FORMICARY_DOCKER", "none")
    refused = run_command("examples/jobs/docker/docker.yaml", data=data_dir)
    assert refused.returncode == 2 and "--method DOCKER=SHELL" in refused.stderr
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdin is not None and engine.stdout is not None
        address = engine.stdout.readline().strip()
        for docker, method in ((address, ""), ("none", " --method DOCKER=SHELL")):
            monkeypatch.setenv("FORMICARY_DOCKER", docker)
            document = run_example(f"docker/docker.yaml{method}", data_dir, {"image": "busybox:latest"})
            assert (document["state"], document["outputs"]["size"]) == (DONE, "14")
        engine.stdin.close()
        assert engine.wait(20) == 0


def test_without_nats_a_messaging_task_is_refused_at_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ant of this run could take it: waiting for one would have no end."""
    monkeypatch.delenv("FORMICARY_NATS", raising=False)
    refused = run_command("examples/jobs/messaging/messaging.yaml", data=data_dir)
    assert refused.returncode == 2 and "messaging.yaml:16:5: The method MESSAGING needs a NATS server" in refused.stderr


@pytest.mark.parametrize("job", ["earth_rotation.yaml", "earth_rotation_job.py:earth_rotation"])
def test_the_etl_example(job: str, data_dir: Path, tmp_path: Path) -> None:
    """Both front ends draw the same chart from the same rows, one task per year."""
    components.require("iers-data")
    out = tmp_path / "out"
    document = run_example(f"etl/{job}", data_dir, {"out": str(out), "first": "1970", "last": "1979"})
    assert document["state"] == DONE
    years = [task["task_type"] for task in document["tasks"] if task["task_type"].startswith("year-")]
    assert years == [f"year-{year}" for year in range(1970, 1980)]
    assert all(task["state"] == DONE and task["attempts"] == 1 for task in document["tasks"])
    assert document["outputs"]["chart"] == str(out / "length_of_day.svg")
    assert "<polyline" in (out / "length_of_day.svg").read_text()
    assert "3,652 days from 1970-01-01 to 1979-12-31" in (out / "report.md").read_text()
    assert len((out / "attempts.log").read_text().splitlines()) == 10


def test_bad_data_fails_the_etl_example(data_dir: Path, tmp_path: Path) -> None:
    """Years that the series does not have fail the first task with its own words, and nothing else runs."""
    components.require("iers-data")
    out = str(tmp_path / "out")
    document = run_example("etl/earth_rotation.yaml", data_dir, {"out": out, "first": "1900", "last": "1902"})
    assert document["state"] == FAILED
    assert "holds nothing from 1900 to 1902" in document["error"]["detail"]
    assert [task["state"] for task in document["tasks"][1:]] == [SKIPPED] * (len(document["tasks"]) - 1)


def test_the_flow_actions_example(data_dir: Path, tmp_path: Path) -> None:
    """Each exit code does what its action says, and the last one ends the job for good."""
    document = run_example("flow_actions.yaml", data_dir, {"dir": str(tmp_path / "flow")})
    assert (document["state"], document["retries"], document["execution"]) == (FAILED, 1, 2)
    assert {task["task_type"]: (task["state"], task["attempts"]) for task in document["tasks"]} == {
        "poll": (DONE, 3),
        "again": (DONE, 2),
        "pause": (DONE, 2),
        "restart": (DONE, 2),
        "ask": (DONE, 1),
        "named": (FAILED, 1),
        "fatal": (FAILED, 1),
    }


def test_every_example_is_listed_here() -> None:
    """A job file under examples/jobs without an expectation above is forgotten."""
    listed = {file.partition(":")[0].partition(" ")[0] for file, *_ in EXPECTED}
    listed |= {"flow_actions.yaml", "http/http.yaml", "etl/earth_rotation.yaml", "messaging/messaging.yaml"}
    listed |= {
        "docker/docker.yaml",
        "websocket/websocket.yaml",
        "websocket/registered.yaml",  # runs in docs/how-to
        "devices/train.yaml",  # runs in test_placement_live.py, on ants with devices
    }
    there = {path.relative_to(JOBS).as_posix() for path in JOBS.rglob("*.yaml")}
    assert there <= listed


def test_every_example_is_valid() -> None:
    """`formicary validate` finds nothing in any of them."""
    files = sorted(str(path.relative_to(ROOT)) for path in JOBS.rglob("*.yaml"))
    ended = subprocess.run(
        [sys.executable, "-m", "formicary", "validate", "--method", "KUBERNETES=SHELL", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_packaged_example_passes_its_own_tests(tmp_path: Path) -> None:
    """The package that the build pipeline works on is sound by itself."""
    shutil.copytree(JOBS / "ci" / "package", tmp_path / "package")
    ended = subprocess.run(
        [sys.executable, "-m", "unittest", "discover", "-s", "tests"],
        cwd=tmp_path / "package",
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
