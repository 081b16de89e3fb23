"""DOCKER tasks in real containers; skipped where no Docker engine can run, or no static busybox is there."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.docker_api import DockerApi, DockerError
from formicary.engine.jobs.model import TaskDefinition
from formicary.v1.ants_pb2 import TaskResult
from tests.docker_engine import docker_engine
from tests.integration.ants.fake_queen import colony
from tests.integration.ants.loop import in_loop

IMAGE = "formicary-test/busybox:1"
METHODS = frozenset({"SHELL", "DOCKER"})
COMMANDS = "sh cat echo sleep ls env id test head wc dd mkdir true false seq kill grep tr touch nslookup"
MARK = "formicary.process"


def _busybox() -> str:
    """Where a busybox is that needs no libraries; empty = nowhere."""
    found = shutil.which("busybox")
    if not found:
        return ""
    linked = subprocess.run(["ldd", found], capture_output=True, text=True)
    return found if "not a dynamic executable" in linked.stdout + linked.stderr else ""


def _image(busybox: str) -> bytes:
    """A root file system of busybox alone, as a tar archive."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as archive:
        archive.add(busybox, "bin/busybox")
        for name in COMMANDS.split():
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for folder in ("tmp", "etc"):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(made)
    return found.getvalue()


@pytest.fixture(scope="module")
def docker() -> Iterator[str]:
    """Where the engine is."""
    if not _busybox():
        pytest.skip("no static busybox for an image")
    with docker_engine() as address:
        yield address


@asynccontextmanager
async def engine(address: str) -> AsyncIterator[DockerApi]:
    """The engine with the image; nothing of ours may be left on it afterwards."""
    api = DockerApi(address)
    try:
        try:
            await api.call("GET", "/_ping")
        except DockerError as error:
            pytest.skip(f"no Docker engine: {error}")
        query = {"fromSrc": "-", "repo": IMAGE.partition(":")[0], "tag": "1"}
        await api.call("POST", "/images/create", query=query, content=_pieces(_image(_busybox())), waits=True)
        yield api
        assert await ours(api) == [], "a container of ours is left"
    finally:
        await api.close()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 2**20):
        yield data[start : start + 2**20]


async def ours(api: DockerApi) -> list[Any]:
    """Containers and networks with our mark."""
    query = {"all": "1", "filters": f'{{"label":["{MARK}"]}}'}
    found: list[Any] = list(await api.call("GET", "/containers/json", query=query))
    return [*found, *(await api.call("GET", "/networks", query={"filters": f'{{"label":["{MARK}"]}}'}))]


def config(docker: str, **fields: Any) -> AntConfig:
    return AntConfig("ant-1", slots=2, methods=METHODS, docker=docker, kill_grace_s=1.0, **fields)


def run(*lines: str, container: dict[str, Any] | None = None, **fields: Any) -> TaskDefinition:
    made = {"image": IMAGE, "pull_policy": "never", **(container or {})}
    return TaskDefinition(task_type="t", method="DOCKER", script=lines, container=made, **fields)


@in_loop
async def test_a_script_runs_alone_in_its_container(docker: str) -> None:
    """Its own root, its own process numbers, its variables, outputs and exit codes; nothing is left."""
    async with engine(docker), colony(config=config(docker)) as (queen, _):
        task = run(
            'echo "hello $name from $PLACE"',
            "ls /",
            'test $$ -lt 100 && echo "::set-output name=x::${X:-none}"',
            after_script=("echo after",),
            environment={"PLACE": "here"},
        )
        result = await queen.run(task, variables={"name": "Ada"})
        assert (result.outcome, result.exit_code) == (TaskResult.COMPLETED, 0), result.error_message
        shown = queen.text(result.token)
        assert shown[0] == "hello Ada from here" and "after" in shown and "busybox" not in shown and "home" not in shown
        assert queen.outputs(result.token) == {"x": "none"}
        failed = await queen.run(run("exit 7", "echo never"))
        assert (failed.error_code, failed.exit_code) == ("ERR_EXIT_CODE", 7)
        much = await queen.run(run("seq 5000"))
        assert queen.text(much.token) == [str(number) for number in range(1, 5001)]


@in_loop
async def test_ends_that_somebody_asks_for(docker: str) -> None:
    """A time-out lets after_script run; a cancel ends even what does not listen; too much memory is said."""
    async with engine(docker) as api, colony(config=config(docker, after_script_s=5.0)) as (queen, _):
        late = await queen.run(run("echo begun; sleep 60", after_script=("echo tidied",)), timeout_s=2.0)
        assert (late.outcome, late.error_code) == (TaskResult.TIMED_OUT, "ERR_TIMEOUT")
        assert queen.text(late.token) == ["begun", "tidied"]
        token = await queen.grant(run("trap '' TERM; echo begun; while :; do sleep 0.1; done"))
        await queen.until(lambda: queen.text(token) == ["begun"])
        await queen.cancel(token)
        assert (await queen.result(token)).outcome == TaskResult.CANCELLED
        assert await ours(api) == []
        greedy = await queen.run(run("dd if=/dev/zero of=/dev/null bs=100M count=1", container=_SMALL))
        assert (greedy.outcome, greedy.exit_code) == (TaskResult.FAILED, 137)
        assert "memory_limit" in greedy.error_message


_SMALL = {"memory_limit_bytes": 16 * 2**20}


@in_loop
async def test_a_service_answers_by_its_name(docker: str) -> None:
    """In a network of the two that leaves with them."""
    service = {"name": "cache", "alias": "store", "image": IMAGE, "command": ["sleep", "30"]}
    async with engine(docker), colony(config=config(docker)) as (queen, _):
        task = run("nslookup cache 127.0.0.11 | grep -c Address", services=(service,))
        result = await queen.run(task)
        assert result.outcome == TaskResult.COMPLETED, (result.error_message, queen.text(result.token, 2))


@in_loop
async def test_an_ant_that_ends_leaves_no_container(docker: str) -> None:
    """Whatever still runs in it."""
    async with engine(docker) as api:
        async with colony(config=config(docker)) as (queen, _):
            token = await queen.grant(run("echo begun; sleep 60"))
            await queen.until(lambda: queen.text(token) == ["begun"])
        for _attempt in range(50):
            if not await ours(api):
                break
            await asyncio.sleep(0.1)
        assert await ours(api) == []
