"""The warden by itself: whom it ends when its ant is gone, and whom it leaves alone."""

from __future__ import annotations

import asyncio
import os
import subprocess

from formicary.engine.ants.warden import MARK, Warden
from tests.integration.ants.loop import in_loop


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    """Starts a process that is in no group the warden knows of."""
    return subprocess.Popen(["sleep", "100"], env={**os.environ, MARK: mark}, start_new_session=True)


async def ant_dies(warden: Warden) -> None:
    """Ends the pipe as a kill of the ant does, and waits for the warden to have done its work."""
    if warden._soon is not None:
        warden._soon.cancel()  # the dead say nothing more
    os.close(warden._pipe)
    assert warden._process is not None
    await asyncio.to_thread(warden._process.wait, 20)


@in_loop
async def test_a_process_of_an_attempt_that_the_warden_was_not_told_of_is_ended() -> None:
    warden = Warden()
    _, mark = warden.attempt_started()
    process = sleeper(mark)
    await ant_dies(warden)
    assert await asyncio.to_thread(process.wait, 20) == -9


@in_loop
async def test_what_an_ended_attempt_left_on_purpose_stays_and_what_runs_is_ended() -> None:
    warden = Warden()
    ended, ended_mark = warden.attempt_started()
    _, running_mark = warden.attempt_started()
    left, running = sleeper(ended_mark), sleeper(running_mark)
    warden.attempt_ended(ended)
    warden._tell()
    _, new_mark = warden.attempt_started()
    new = sleeper(new_mark)
    try:
        await ant_dies(warden)
        assert [await asyncio.to_thread(process.wait, 20) for process in (running, new)] == [-9, -9]
        assert left.poll() is None
    finally:
        left.kill()
        left.wait()


@in_loop
async def test_another_ants_processes_are_left_alone() -> None:
    warden, other = Warden(), Warden()
    warden.attempt_started()
    _, mark = other.attempt_started()
    process = sleeper(mark)
    await ant_dies(warden)
    assert process.poll() is None
    await ant_dies(other)
    assert await asyncio.to_thread(process.wait, 20) == -9


@in_loop
async def test_a_replaced_warden_knows_what_ran_before() -> None:
    warden = Warden()
    _, mark = warden.attempt_started()
    process = sleeper(mark)
    assert warden._process is not None
    warden._process.kill()
    warden._process.wait()
    warden.attempt_started()
    await ant_dies(warden)
    assert await asyncio.to_thread(process.wait, 20) == -9
