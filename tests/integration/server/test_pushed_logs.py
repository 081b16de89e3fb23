"""Log lines of a running job are pushed to whoever follows, over every client, and the stream ends with the job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import Client, RestClient, SyncClient
from tests.acceptance.server import Up

JOB = """
job_type: {name}
tasks:
- task_type: talk
  method: SHELL
  script: ['echo first; while [ ! -e {gate} ]; do sleep 0.02; done; echo second; echo aside >&2']
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server with one ant."""
    server = Up(tmp_path_factory.mktemp("logs") / "data", "--ants", "1")
    server.start()
    yield server
    server.clear()


async def lines_of(client: Any, gate: Path, name: str) -> None:
    """The first line comes while the task waits for a file that is made only then; more lines follow it."""
    handle = await client.submit(await client.register(JOB.format(name=name, gate=gate)))
    follower = client.logs(handle.id, follow=True)
    async with asyncio.timeout(90):
        assert (await anext(follower)).text == "first"
        assert (await client.get(handle.id))["state"] == "EXECUTING"
        gate.touch()
        rest = [line async for line in follower]  # it ends by itself, with the job
    assert {(line.stream, line.text) for line in rest} == {(1, "second"), (2, "aside")}  # 1 = stdout
    assert {line.task_type for line in rest} == {"talk"} and {line.attempt for line in rest} == {1}
    assert (await client.get(handle.id))["state"] == "COMPLETED"
    assert len([line async for line in client.logs(handle.id, follow=True)]) == 3  # of an ended job it is all there is


def test_over_grpc(up: Up, tmp_path: Path) -> None:
    async def run() -> None:
        async with Client(up.address) as client:
            await lines_of(client, tmp_path / "gate", "talk-grpc")

    asyncio.run(run())


def test_over_rest(up: Up, tmp_path: Path) -> None:
    async def run() -> None:
        async with RestClient(f"http://127.0.0.1:{up.http}") as client:
            await lines_of(client, tmp_path / "gate", "talk-rest")

    asyncio.run(run())


def test_without_asyncio(up: Up, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with SyncClient(up.address) as client:
        handle = client.submit(client.register(JOB.format(name="talk-sync", gate=gate)))
        texts = []
        for line in client.logs(handle.id, follow=True):
            texts.append(line.text)
            if line.text == "first":
                gate.touch()
    assert texts[0] == "first" and sorted(texts[1:]) == ["aside", "second"]
