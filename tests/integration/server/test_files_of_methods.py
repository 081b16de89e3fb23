"""Artifacts and caches of PYTHON, HTTP and DOCKER tasks, through a queen and an ant in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from formicary.embedded.colony import Colony, ColonyConfig
from tests.integration.ants.docker_engine import docker_engine
from tests.integration.ants.loop import in_loop

FUNCTIONS = """
import os, time
from pathlib import Path
from formicary.engine.ants.context import current_task

def make(text="x"):
    assert current_task().folder == os.getcwd()
    Path("out").mkdir()
    Path("out/report.txt").write_text(text)
    Path("cached.txt").exists() and print("restored", Path("cached.txt").read_text())
    Path("cached.txt").write_text("dear")

def use():
    return {"read": Path("out/report.txt").read_text(), "home": os.getcwd()}

def plain():
    return {"home": os.getcwd(), "folder": current_task().folder}

def hang():
    Path("half").write_text("x")
    time.sleep(60)

def die():
    os._exit(9)
"""


class Colonies:
    """A colony in which jobs are run to their end."""

    def __init__(self, colony: Colony, path: Path) -> None:
        self.colony = colony
        self.path = str(path)

    async def run(self, source: str, **params: object) -> dict[str, Any]:
        definition = await self.colony.register(source, path=self.path)
        job_id = await self.colony.submit(definition, params)
        async for document in self.colony.follow(job_id):
            found = document
        return found

    async def log(self, job: dict[str, Any]) -> list[str]:
        return [line.text async for line in self.colony.logs(job["id"])]


def task(job: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in job["tasks"] if one["task_type"] == name)  # type: ignore[no-any-return]  # as it is


PYTHON_JOB = """
job_type: py
tasks:
- task_type: make
  method: PYTHON
  function: files_of_test:make
  arguments: {text: "{{.text}}"}
  cache: {key: k-1, paths: [cached.txt]}
  artifacts: {paths: [out]}
  on_completed: use
- task_type: use
  method: PYTHON
  function: files_of_test:use
  dependencies: [make]
  on_completed: shell
- task_type: shell
  dependencies: [make]
  script: [cat out/report.txt]
  on_completed: plain
- task_type: plain
  method: PYTHON
  function: files_of_test:plain
"""


@in_loop
async def test_python_functions_leave_and_find_files_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "files_of_test.py").write_text(FUNCTIONS)
    async with Colony(ColonyConfig(tmp_path / "data", slots=2)) as colony:
        jobs = Colonies(colony, tmp_path)
        first = await jobs.run(PYTHON_JOB, text="hello")
        assert first["state"] == "COMPLETED", first
        used, plain = task(first, "use")["outputs"], task(first, "plain")["outputs"]
        assert used["read"] == "hello" and "formicary-" in used["home"] and not Path(used["home"]).exists()
        assert plain["folder"] == "" and "formicary-" not in plain["home"]  # other calls are where they were
        log = await jobs.log(first)
        assert "hello" in log and "cache miss k-1" in log
        second = await jobs.run(PYTHON_JOB, text="again")
        log = await jobs.log(second)
        assert "restored dear" in log and any("cache hit k-1" in line for line in log)


@pytest.mark.parametrize(
    ("function", "code", "kept"),
    [("hang", "ERR_TIMEOUT", 0), ("die", "ERR_EXIT_CODE", 0), ("absent", "ERR_VALIDATION", 0)],
)
@in_loop
async def test_a_call_that_does_not_end_well_leaves_the_slot_free(
    tmp_path: Path, function: str, code: str, kept: int
) -> None:
    (tmp_path / "files_of_test.py").write_text(FUNCTIONS)
    source = (
        f"job_type: bad\ntasks:\n- task_type: t\n  method: PYTHON\n  function: files_of_test:{function}\n"
        "  timeout: 1s\n  max_lost_attempts: 1\n  artifacts: {paths: [half]}\n"
    )
    async with Colony(ColonyConfig(tmp_path / "data", slots=1)) as colony:
        jobs = Colonies(colony, tmp_path)
        failed = await jobs.run(source)
        assert failed["state"] == "FAILED"
        if function != "die":
            assert task(failed, "t")["error"]["code"] == code
        assert (await jobs.run(PYTHON_JOB, text="x"))["state"] == "COMPLETED"


@in_loop
async def test_a_cancelled_call_ends_its_process(tmp_path: Path) -> None:
    (tmp_path / "files_of_test.py").write_text(FUNCTIONS)
    source = (
        "job_type: long\ntasks:\n- task_type: t\n  method: PYTHON\n  function: files_of_test:hang\n"
        "  artifacts: {paths: [half]}\n"
    )
    async with Colony(ColonyConfig(tmp_path / "data", slots=1)) as colony:
        jobs = Colonies(colony, tmp_path)
        job_id = await colony.submit(await colony.register(source, path=str(tmp_path)), {})
        async for document in colony.follow(job_id):
            if document["tasks"][0]["state"] == "EXECUTING":
                await colony.cancel(job_id)
        assert document["state"] == "CANCELLED"
        assert (await jobs.run(PYTHON_JOB, text="x"))["state"] == "COMPLETED"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"\x00binary" * 500_000 if self.path == "/large" else b'{"a": 1}'
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


HTTP_JOB = """
job_type: http
tasks:
- task_type: fetch
  method: HTTP_GET
  url: "{{.url}}"
  artifacts: {paths: [in/data.bin]}
  allow_failure: true
  on_completed: look
- task_type: look
  dependencies: [fetch]
  script: ['echo "::set-output name=size::$(stat -c %s in/data.bin)"']
"""


@pytest.mark.parametrize(
    ("path", "size", "has_body"), [("/large", 3_500_000, False), ("/", 8, True), ("/none", 8, True)]
)
def test_the_body_of_an_answer_is_a_file_whole(
    tmp_path: Path, server: str, path: str, size: int, has_body: bool
) -> None:
    @in_loop
    async def check() -> None:
        async with Colony(ColonyConfig(tmp_path / "data", slots=1)) as colony:
            jobs = Colonies(colony, tmp_path)
            job = await jobs.run(HTTP_JOB, url=f"{server}{path}")
            assert job["state"] == "COMPLETED", job
            assert job["outputs"]["size"] == str(size) or job["outputs"]["size"] == size
            fetched = task(job, "fetch")
            assert fetched["outputs"].get("body") == ({"a": 1} if has_body else None)
            log = await jobs.log(job)
            assert f"body: {size:,} bytes in in/data.bin" in log and '{"a": 1}' not in log

    check()


@in_loop
async def test_a_body_stays_in_the_folder(tmp_path: Path) -> None:
    """What a template makes of a path is looked at again."""
    source = HTTP_JOB.replace("in/data.bin", "{{.where}}", 1)
    async with Colony(ColonyConfig(tmp_path / "data", slots=1)) as colony:
        job = await Colonies(colony, tmp_path).run(source, url="http://127.0.0.1:1/", where="../out")
        assert task(job, "fetch")["error"]["code"] in ("ERR_VALIDATION", "ERR_HTTP", "ERR_ARTIFACT")
        assert not list(tmp_path.rglob("out"))


DOCKER_JOB = """
job_type: docker
tasks:
- task_type: make
  method: DOCKER
  container: {image: alpine:3.20}
  script:
  - mkdir -p out deep/er; echo hello > out/a.txt; echo x > deep/er/b.log; echo c > c.txt; chmod +x out/a.txt
  - '[ -f kept ] && echo "restored $(cat kept)"; echo dear > kept'
  artifacts: {paths: [out, "deep/**/*.log", c.txt, absent]}
  cache: {key: docker-1, paths: [kept]}
  on_completed: use
- task_type: use
  method: DOCKER
  working_dir: /work
  container: {image: alpine:3.20}
  dependencies: [make]
  script:
  - cat out/a.txt deep/er/b.log c.txt; [ -x out/a.txt ] && echo runs
  - pwd
"""


def test_files_go_into_containers_and_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @in_loop
    async def check() -> None:
        async with docker_engine(tmp_path) as engine:
            monkeypatch.setenv("FORMICARY_DOCKER", engine.address)
            async with Colony(ColonyConfig(tmp_path / "data", slots=2)) as colony:
                jobs = Colonies(colony, tmp_path)
                job = await jobs.run(DOCKER_JOB)
                log = await jobs.log(job)
                assert job["state"] == "COMPLETED", (job, log)
                assert [line for line in log if line in ("hello", "x", "c", "runs")] == ["hello", "x", "c", "runs"]
                assert "no file matches the artifact path absent" in log and "cache miss docker-1" in log
                assert log[-1].endswith("/work")
                again = await jobs.run(DOCKER_JOB)
                assert "restored dear" in await jobs.log(again)
                assert not engine.containers
                assert [body["WorkingDir"] for body in engine.made[:2]] == ["/formicary", "/work"]

    check()


def test_a_container_cannot_write_beside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that leads out of what a container leaves is refused, and nothing is written through it."""
    source = """
job_type: evil
tasks:
- task_type: t
  method: DOCKER
  container: {image: alpine:3.20}
  script: [mkdir out; ln -s /etc out/link]
  artifacts: {paths: [out]}
"""

    @in_loop
    async def check() -> None:
        async with docker_engine(tmp_path) as engine:
            monkeypatch.setenv("FORMICARY_DOCKER", engine.address)
            async with Colony(ColonyConfig(tmp_path / "data", slots=2)) as colony:
                job = await Colonies(colony, tmp_path).run(source)
                error = task(job, "t")["error"]
                assert (job["state"], error["code"]) == ("FAILED", "ERR_ARTIFACT"), job
                assert "link" in json.dumps(error)

    check()
