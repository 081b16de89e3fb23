"""Ants in processes of their own, killed, stopped, frozen and orphaned for real."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from formicary.v1.ants_pb2 import TaskResult
from tests.acceptance.server import free_port
from tests.integration.ants.fake_queen import FakeQueen, grpc_server, python, shell
from tests.integration.ants.loop import in_loop
from tests.integration.ants.test_shell import is_alive, pids_in

HERE = str(Path(__file__).parent)

PROGRAM = """
import sys
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.process import run_ant
options = eval(sys.argv[2])
sys.exit(run_ant(AntConfig("ant-1", **options), sys.argv[1]))
"""


@asynccontextmanager
async def ant_process(port: int, **options: object) -> AsyncIterator[Process]:
    config = {"slots": 2, "paths": (HERE,)} | options
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, f"127.0.0.1:{port}", repr(config), stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode()


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@in_loop
async def test_an_ant_says_ready_works_and_stops_with_exit_code_0() -> None:
    queen = FakeQueen()
    async with grpc_server(queen) as port, ant_process(port) as process:
        assert (await ready(process)).startswith("ready ant ant-1 pid ")
        assert (await queen.run(shell("echo hi"))).outcome == TaskResult.COMPLETED
        assert (await queen.run(python("functions:noop"))).outcome == TaskResult.COMPLETED
        children = children_of(process.pid)
        process.terminate()
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        await queen.until(lambda: queen.is_draining)  # its last word may still be on its way through our loop
        await queen.until(lambda: not any(is_alive(pid) for pid in children))  # its warden goes a moment after it


@in_loop
async def test_kill_9_of_the_ant_leaves_no_process_of_a_task_behind(tmp_path: Path) -> None:
    """Process groups, PYTHON workers with their children, and what left its group: all are gone."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    queen = FakeQueen()
    async with grpc_server(queen) as port, ant_process(port, slots=3) as process:
        await ready(process)
        await queen.grant(shell(f"trap '' TERM HUP; sleep 100 & echo $$ $! > {first}; wait"))
        await queen.grant(python("functions:hangs"), variables={"pids": str(second)})
        await queen.grant(shell(f"setsid sh -c 'echo $$ > {third}; sleep 100'"))
        await queen.until(lambda: len(pids_in(first) + pids_in(second) + pids_in(third)) == 5)
        pids = [*pids_in(first), *pids_in(second), *pids_in(third), *children_of(process.pid)]
        assert all(is_alive(pid) for pid in pids)
        process.kill()
        await process.wait()
        await queen.until(lambda: not any(is_alive(pid) for pid in pids))


@in_loop
async def test_a_warden_that_is_killed_is_replaced(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    queen = FakeQueen()
    async with grpc_server(queen) as port, ant_process(port) as process:
        await ready(process)
        await queen.run(shell("true"))
        (warden,) = children_of(process.pid)
        os.kill(warden, signal.SIGKILL)
        await queen.until(lambda: not is_alive(warden))
        await queen.grant(shell(f"sleep 100 & echo $$ $! > {pids}; wait"))
        await queen.until(lambda: len(pids_in(pids)) == 2)
        process.kill()
        await process.wait()
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))


@in_loop
async def test_a_second_signal_kills_what_runs(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    queen = FakeQueen()
    async with grpc_server(queen) as port, ant_process(port) as process:
        await ready(process)
        await queen.grant(shell(f"trap '' TERM; sleep 100 & echo $$ $! > {pids}; wait"))
        await queen.until(lambda: len(pids_in(pids)) == 2)
        process.terminate()
        await queen.until(lambda: queen.is_draining)
        process.terminate()
        async with asyncio.timeout(60):
            assert await process.wait() == 130
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))


@in_loop
async def test_an_ant_frozen_beyond_its_lease_kills_its_tasks_when_it_wakes(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    queen = FakeQueen(lease_s=3.0, beat_interval_s=0.1)
    async with grpc_server(queen) as port, ant_process(port, lease_margin_s=0.3) as process:
        await ready(process)
        token = await queen.grant(shell(f"sleep 100 & echo $$ $! > {pids}; wait"))
        await queen.until(lambda: len(pids_in(pids)) == 2)
        process.send_signal(signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        frozen = loop.time()
        await queen.until(lambda: loop.time() - frozen > queen.lease_s)
        queen.kill = {token}
        assert len(queen.hellos) == 1 and all(is_alive(pid) for pid in pids_in(pids))
        process.send_signal(signal.SIGCONT)
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))
        await queen.until(lambda: len(queen.hellos) == 2)
        assert list(queen.hellos[-1].held) == []
        assert (await queen.run(shell("true"))).outcome == TaskResult.COMPLETED


@in_loop
async def test_tasks_outlive_a_restart_of_the_queen_on_the_same_port(tmp_path: Path) -> None:
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    queen = FakeQueen()
    async with AsyncExitStack() as stack:
        async with grpc_server(queen, free_port()) as port:
            process = await stack.enter_async_context(ant_process(port))
            await ready(process)
            token = await queen.grant(shell(f"echo x >> {marks}; while [ ! -e {gate} ]; do sleep 0.01; done"))
            await queen.until(marks.exists)
        successor = FakeQueen()
        async with grpc_server(successor, port):
            await successor.until(lambda: bool(successor.hellos))
            assert list(successor.hellos[0].held) == [token]
            gate.touch()
            assert (await successor.result(token)).outcome == TaskResult.COMPLETED
            assert marks.read_text() == "x\n"


@in_loop
async def test_an_orphaned_ant_process_exits_with_code_4() -> None:
    queen = FakeQueen(lease_s=0.6, beat_interval_s=0.1)
    async with AsyncExitStack() as stack:
        async with grpc_server(queen) as port:
            process = await stack.enter_async_context(ant_process(port, exit_when_orphaned=True, lease_margin_s=0.1))
            await ready(process)
        async with asyncio.timeout(60):
            assert await process.wait() == 4


@pytest.mark.parametrize("address", ["10.0.0.1:7778", "nowhere", "127.0.0.1:x", "example.org:80"])
def test_only_loopback_addresses_are_allowed(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    from formicary.engine.ants.config import AntConfig
    from formicary.engine.ants.process import run_ant

    assert run_ant(AntConfig("a", slots=1), address) == 3
    assert "cannot start" in capsys.readouterr().err
