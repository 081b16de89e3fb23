"""Local ants as child processes: started, restarted, adopted, dismissed, ended. The ants here only sleep."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import formicary
from formicary.server import supervisor as module
from formicary.server.config import UpConfig
from formicary.server.processes import AntRecord, AntsFile, boot_id, find_process, read_ants, started_at, write_ants
from formicary.server.supervisor import Supervisor
from tests.acceptance.server import until as wait_until
from tests.integration.ants.loop import in_loop

SLEEPER = "import sys, time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


class Sleepers(Supervisor):
    """A supervisor whose ants run another program."""

    program = SLEEPER

    def command(self, ant_id: str) -> tuple[str, ...]:
        return (sys.executable, "-S", "-c", self.program, self._address, ant_id)


class Dying(Sleepers):
    program = "import sys; sys.exit(7)"


class Stubborn(Sleepers):
    program = STUBBORN


@asynccontextmanager
async def supervised(
    data: Path, ants: int, kind: type[Sleepers] = Sleepers, address: str = "127.0.0.1:1"
) -> AsyncIterator[tuple[Sleepers, list[str]]]:
    """A started supervisor and the ids that it reported dead; nothing of it is left afterwards."""
    died: list[str] = []
    found = kind(UpConfig(data, ants=ants), address, died.append)
    found.start()
    try:
        yield found, died
    finally:
        await found.kill()


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


def pids(data: Path) -> dict[str, int]:
    """Process id by ant id, as written down."""
    return {record.id: record.pid for record in read_ants(data).ants if record.pid}


@in_loop
async def test_a_dead_ant_is_reported_and_replaced_under_another_id(tmp_path: Path) -> None:
    async with supervised(tmp_path, 2) as (supervisor, died):
        before = pids(tmp_path)
        assert list(before) == supervisor.ids and len(before) == 2
        first, second = before
        os.kill(before[first], signal.SIGKILL)
        await until(lambda: died == [first])
        await until(lambda: len(pids(tmp_path)) == 2)
        after = pids(tmp_path)
        assert second in after and first not in after and after[second] == before[second]
        assert read_ants(tmp_path).gone == (first,)
        assert os.getsid(after[second]) == after[second], "a session of its own: no Ctrl-C of a terminal reaches it"
    assert not any(started_at(pid) for pid in after.values())


@in_loop
async def test_pauses_grow_while_ants_die_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", (0.01, 0.04))
    async with supervised(tmp_path, 1, Dying) as (supervisor, died):
        pauses: list[float] = []
        place = supervisor._places[0]
        for count in range(1, 6):
            await until(lambda count=count: supervisor.restarts >= count)  # type: ignore[misc]  # bound per turn
            pauses.append(place.pause_s)
        assert pauses == sorted(pauses) and pauses[-1] == 0.04
        assert len(set(died)) == len(died)


@in_loop
async def test_ants_of_a_killed_server_are_adopted(tmp_path: Path) -> None:
    """Also one whose process id had not been written down yet; what is missing is started, what is dead is reported."""
    first = Sleepers(UpConfig(tmp_path, ants=3), "127.0.0.1:1", lambda _id: None)
    first.start()
    before = pids(tmp_path)
    one, two, three = before
    await until(lambda: all(find_process(first.command(ant_id)) == pid for ant_id, pid in before.items()))
    records = list(read_ants(tmp_path).ants)
    forgotten = records[1]
    records[1] = AntRecord(two, 0, 0, forgotten.boot, forgotten.version, forgotten.command)
    write_ants(tmp_path, AntsFile(tuple(records), ("ant9-dead",)))
    os.kill(before[three], signal.SIGKILL)
    await until(lambda: started_at(before[three]) is None)
    first._stopping = True  # from here on it plays dead
    write_ants(tmp_path, AntsFile(tuple(records), ("ant9-dead",)))
    async with supervised(tmp_path, 3) as (_, died):
        after = pids(tmp_path)
        assert (after[one], after[two], len(after)) == (before[one], before[two], 3)
        assert three not in after and sorted(died) == sorted(["ant9-dead", three])
        os.kill(before[one], signal.SIGKILL)
        await until(lambda: one in died)


@pytest.mark.parametrize("change", ["address", "number", "version"])
@in_loop
async def test_ants_that_do_not_fit_are_told_to_stop(change: str, tmp_path: Path) -> None:
    """Another port, fewer ants, or another version of the program: they end, and are reported when they have."""
    first = Sleepers(UpConfig(tmp_path, ants=1), "127.0.0.1:1", lambda _id: None)
    first.start()
    first._stopping = True
    ((ant_id, pid),) = pids(tmp_path).items()
    (record,) = read_ants(tmp_path).ants
    assert record.version == formicary.__version__
    if change == "version":
        changed = AntRecord(record.id, record.pid, record.started, record.boot, "0.0.1", record.command)
        write_ants(tmp_path, AntsFile((changed,)))
    address = "127.0.0.1:2" if change == "address" else "127.0.0.1:1"
    async with supervised(tmp_path, 0 if change == "number" else 1, address=address) as (supervisor, died):
        await until(lambda: died == [ant_id])
        assert started_at(pid) is None and ant_id not in supervisor.ids


@in_loop
async def test_an_ant_that_ignores_signals_is_killed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KILL_AFTER_S", 0.2)
    async with supervised(tmp_path, 1, Stubborn) as (supervisor, _):
        (pid,) = pids(tmp_path).values()
        await until(lambda: "ready" in (tmp_path / "ant-1.log").read_text())
        await supervisor.drain(0.1)
        assert started_at(pid) is None and pids(tmp_path) == {}


def test_a_damaged_list_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "ants.json").write_bytes(b'{"ants":[{"id"')
    assert read_ants(tmp_path) == AntsFile()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen((sys.executable, "-S", "-c", SLEEPER, f"{time.time_ns()}"))
    shown = Path(f"/proc/{process.pid}/cmdline")  # a program that has just begun shows its words a moment later
    wait_until(lambda: SLEEPER.encode() in shown.read_bytes(), 5, "the process shows its words")
    yield process
    process.kill()
    process.wait()


def test_a_process_is_found_by_its_command_and_known_by_its_start(sleeper: subprocess.Popen[bytes]) -> None:
    assert isinstance(sleeper.args, tuple)
    words = [str(word) for word in sleeper.args]
    assert find_process(words) == sleeper.pid
    assert find_process(["no", "such", "command"]) == 0
    began = started_at(sleeper.pid)
    assert began is not None and began == started_at(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert started_at(sleeper.pid) is None
    assert boot_id() == boot_id()
