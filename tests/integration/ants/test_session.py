"""The session with the queen: reconnects, leases, acknowledgements, the graceful stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from formicary.engine.ants.ant import Ending
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.transport import TransportClosedError
from formicary.engine.jobs.model import task_to_json
from formicary.v1.ants_pb2 import Assignment, QueenMessage, TaskResult
from tests.integration.ants.fake_queen import FakeQueen, colony, python, running_ant, shell
from tests.integration.ants.loop import in_loop
from tests.integration.ants.test_shell import is_alive, pids_in

HERE = str(Path(__file__).parent)


@pytest.mark.parametrize("transport", ["local", "grpc"])
@in_loop
async def test_a_cut_connection_restarts_nothing(transport: str, tmp_path: Path) -> None:
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    script = f"echo started >> {marks}; while [ ! -e {gate} ]; do sleep 0.01; done; echo done"
    async with colony(transport=transport) as (queen, ant):
        token = await queen.grant(shell(script))
        await queen.until(lambda: token in queen.started)
        for _ in range(3):
            hellos = len(queen.hellos)
            await queen.cut()
            await queen.until(lambda: len(queen.hellos) > hellos and ant.is_connected)  # noqa: B023 (awaited here)
            assert list(queen.hellos[-1].held) == [token]
        assert len({hello.incarnation for hello in queen.hellos}) == 1
        gate.touch()
        assert (await queen.result(token)).outcome == TaskResult.COMPLETED
        assert marks.read_text() == "started\n"


@in_loop
async def test_a_task_that_ends_while_the_queen_is_away_is_reported_when_she_is_back(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with colony() as (queen, ant):
        script = f"while [ ! -e {gate} ]; do sleep 0.01; done; echo '::set-output name=A::1'"
        token = await queen.grant(shell(script))
        await queen.until(lambda: ant.held == [token])
        queen.is_up = False
        await queen.cut()
        gate.touch()
        await queen.until(lambda: ant.held == [])
        queen.is_up = True
        assert (await queen.result(token)).outcome == TaskResult.COMPLETED
        assert list(queen.hellos[-1].held) == [token]
        assert queen.outputs(token) == {"A": "1"}


@in_loop
async def test_results_are_resent_on_every_stream_until_they_are_acknowledged() -> None:
    async with colony() as (queen, _):
        queen.acknowledges = False
        token = await queen.grant(shell("true"))
        await queen.result(token)
        for times in (2, 3):
            await queen.cut()
            await queen.until(lambda: queen.deliveries.count(token) == times)  # noqa: B023 (awaited here)
        await queen.say(QueenMessage(acknowledged=[token]))
        await queen.run(shell("true"))
        hellos = len(queen.hellos)
        await queen.cut()
        await queen.until(lambda: len(queen.hellos) > hellos)
        assert list(queen.hellos[-1].held) == [token + 1]
        assert queen.deliveries.count(token) == 3


@in_loop
async def test_the_same_grant_twice_runs_once(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    async with colony() as (queen, _):
        queen.acknowledges = False
        task = task_to_json(shell(f"echo x >> {marks}"))
        await queen.assign(Assignment(token=7, task=task, job_id="j", attempt=1))
        await queen.assign(Assignment(token=7, task=task, job_id="j", attempt=1))
        await queen.result(7)
        await queen.assign(Assignment(token=7, task=task, job_id="j", attempt=1))
        await queen.until(lambda: queen.deliveries.count(7) == 2)
        assert marks.read_text() == "x\n"


@in_loop
async def test_a_task_rendered_for_the_attempt_wins_over_its_spec(tmp_path: Path) -> None:
    async with colony() as (queen, _):
        spec = await queen.grant(shell("echo spec"), path=str(tmp_path))
        task = task_to_json(shell("pwd", working_dir="."))
        await queen.assign(Assignment(token=77, spec=spec, task=task, job_id="j", attempt=1))
        await queen.result(77)
        assert queen.text(77) == [str(tmp_path)]


@in_loop
async def test_what_the_welcome_takes_away_is_killed_without_a_word(tmp_path: Path) -> None:
    pids, gate = tmp_path / "pids", tmp_path / "gate"
    async with colony() as (queen, ant):
        doomed = await queen.grant(shell(f"sleep 100 & echo $$ $! > {pids}; wait"))
        kept = await queen.grant(shell(f"while [ ! -e {gate} ]; do sleep 0.01; done"))
        await queen.until(lambda: len(pids_in(pids)) == 2)
        queen.kill = {doomed}
        await queen.cut()
        await queen.until(lambda: ant.held == [kept])
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))
        gate.touch()
        assert (await queen.result(kept)).outcome == TaskResult.COMPLETED
        assert doomed not in queen.results


@in_loop
async def test_the_ant_fences_itself_when_its_lease_ends(tmp_path: Path) -> None:
    """No beat is acknowledged: SHELL groups and PYTHON workers are dead before the queen's lease ends."""
    pids, more = tmp_path / "pids", tmp_path / "more"
    lease_s, margin_s = 5.0, 3.0  # how late a busy machine may be
    config = AntConfig("a", slots=2, paths=(HERE,), lease_margin_s=margin_s)
    loop = asyncio.get_running_loop()
    async with colony(config=config, lease_s=lease_s, beat_interval_s=0.1) as (queen, ant):
        await queen.grant(shell(f"trap '' TERM; sleep 100 & echo $$ $! > {pids}; wait"))
        await queen.grant(python("functions:hangs"), variables={"pids": str(more)})
        await queen.until(lambda: len(pids_in(pids) + pids_in(more)) == 4)
        beats = queen.beats
        await queen.until(lambda: queen.beats > beats + (lease_s - margin_s) / 0.1)  # they keep what would have ended
        assert len(ant.held) == 2
        queen.answers_beats = False
        queen.is_up = False
        silent_since = loop.time()
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids) + pids_in(more)))
        assert (lease_s - margin_s) / 2 < loop.time() - silent_since < lease_s
        assert ant.held == []
        known = len(queen.hellos)
        queen.is_up = queen.answers_beats = True
        await queen.until(lambda: len(queen.hellos) > known and ant.is_connected)  # no more by the silent stream
        assert list(queen.hellos[-1].held) == []
        assert queen.results == {}
        assert (await queen.run(shell("true"))).outcome == TaskResult.COMPLETED


@in_loop
async def test_acknowledged_beats_keep_the_lease() -> None:
    config = AntConfig("a", slots=1, lease_margin_s=0.1)
    async with colony(config=config, lease_s=1.6, beat_interval_s=0.05) as (queen, _):
        result = await queen.run(shell("sleep 3"))
        assert result.outcome == TaskResult.COMPLETED


@pytest.mark.parametrize("has_met_the_queen", [True, False])
@in_loop
async def test_an_orphan_exits_once_its_lease_has_ended(has_met_the_queen: bool, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    config = AntConfig("a", slots=1, lease_margin_s=0.1, exit_when_orphaned=True, orphan_after_s=0.3)
    queen = FakeQueen(lease_s=0.6, beat_interval_s=0.1)
    queen.is_up = has_met_the_queen
    async with running_ant(queen, config) as (_, _, working):
        if has_met_the_queen:
            await queen.grant(shell(f"sleep 100 & echo $$ $! > {pids}; wait"))
            await queen.until(lambda: len(pids_in(pids)) == 2)
            queen.is_up = False
            await queen.cut()
        assert await working is Ending.ORPHANED
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))


@in_loop
async def test_an_ant_that_is_no_orphan_waits_for_the_queen_for_ever() -> None:
    config = AntConfig("a", slots=1, lease_margin_s=0.05, reconnect_max_s=0.1)
    queen = FakeQueen(lease_s=0.2, beat_interval_s=0.05)
    tries = 0

    async def connect() -> object:
        nonlocal tries
        tries += 1
        if tries < 15:
            raise TransportClosedError("nobody there")
        return await queen.connect()

    async with running_ant(queen, config, factory=connect) as (ant, _, _):  # type: ignore[arg-type]  # the test passes what fits
        await queen.until(lambda: ant.is_connected)
        assert tries == 15
    await queen.close()


@pytest.mark.parametrize("transport", ["local", "grpc"])
@in_loop
async def test_a_graceful_stop_finishes_returns_and_flushes(transport: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    queen = FakeQueen()
    async with running_ant(queen, AntConfig("a", slots=1)) as (ant, stop, working):
        running = await queen.grant(shell(f"while [ ! -e {gate} ]; do sleep 0.01; done"))
        waiting = await queen.grant(shell("true"))
        await queen.until(lambda: set(ant.held) >= {running} and (waiting in ant.held or waiting in queen.returned))
        queen.acknowledges = False
        stop.set()
        await queen.until(lambda: queen.is_draining and queen.returned == [waiting])
        late = await queen.grant(shell("true"))
        await queen.until(lambda: queen.returned == [waiting, late])
        assert not working.done()
        gate.touch()
        assert (await queen.result(running)).outcome == TaskResult.COMPLETED
        assert not working.done()
        await queen.say(QueenMessage(acknowledged=[running]))
        assert await working is Ending.STOPPED


@in_loop
async def test_a_graceful_stop_gives_up_after_the_grace() -> None:
    queen = FakeQueen()
    async with running_ant(queen, AntConfig("a", slots=1, stop_grace_s=0.2)) as (_, stop, working):
        token = await queen.grant(shell("sleep 100"))
        await queen.until(lambda: token in queen.started)
        stop.set()
        assert await working is Ending.STOPPED
        result = queen.results[token]
        assert (result.outcome, result.signal) == (TaskResult.CANCELLED, 15)
        assert "ant was stopped" in result.error_message


@in_loop
async def test_cancelling_a_queued_task_answers_at_once_and_never_runs_it(tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    config = AntConfig("a", slots=1, give_back_after_s=60)
    async with colony(config=config) as (queen, _):
        first = await queen.grant(shell(f"while [ ! -e {gate} ]; do sleep 0.01; done"))
        second = await queen.grant(shell(f"touch {mark}"))
        await queen.cancel(second)
        assert (await queen.result(second)).outcome == TaskResult.CANCELLED
        gate.touch()
        await queen.result(first)
        assert not mark.exists()


@in_loop
async def test_short_tasks_are_not_announced_and_long_ones_are() -> None:
    async with colony(config=AntConfig("a", slots=1, announce_after_s=2.0)) as (queen, _):
        short = await queen.run(shell("true"))
        long = await queen.run(shell("sleep 2.5"))
        assert queen.started == {long.token}
        assert short.started_at <= short.ended_at
        assert long.ended_at - long.started_at > 2.4


@in_loop
async def test_messages_stay_below_three_megabytes_and_logs_come_before_their_result() -> None:
    async with colony(config=AntConfig("a", slots=1), transport="grpc") as (queen, _):
        line = "x" * 1000
        result = await queen.run(shell(f"i=0; while [ $i -lt 6000 ]; do echo {line}; i=$((i+1)); done"))
        assert len(queen.text(result.token)) == 6000
        assert max(queen.message_sizes) < 3_100_000


@in_loop
async def test_a_definition_that_cannot_be_read_fails_the_attempt() -> None:
    async with colony() as (queen, _):
        await queen.assign(Assignment(token=9, task=b"not json", job_id="j", attempt=1))
        assert (await queen.result(9)).error_code == "ERR_VALIDATION"
        await queen.assign(Assignment(token=10, spec=99, job_id="j", attempt=1))
        assert (await queen.result(10)).error_code == "ERR_VALIDATION"


@in_loop
async def test_more_shell_tasks_than_slots_are_given_back(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with colony(config=AntConfig("a", slots=2)) as (queen, _):
        first = await queen.grant(shell(f"while [ ! -e {gate} ]; do sleep 0.01; done"), count=10)
        await queen.until(lambda: len(queen.returned) == 8)
        gate.touch()
        await queen.until(lambda: len(queen.results) + len(queen.returned) == 10)
        assert sorted(queen.results) == [first, first + 1]
