"""What an ant sees of its tasks' processes: busy and idle ones, children, and what has left the process group."""

from __future__ import annotations

from pathlib import Path

import pytest

from formicary.engine.ants.observing import Observer
from formicary.v1.ants_pb2 import QueenMessage
from tests.integration.ants.fake_queen import colony, python, shell
from tests.integration.ants.loop import in_loop

HERE = str(Path(__file__).parent)
SPIN = "while :; do :; done"


@pytest.mark.parametrize(
    ("script", "is_busy"),
    [
        ("sleep 60", False),
        (SPIN, True),
        ('setsid sh -c "while kill -0 $$; do :; done" & wait', True),  # out of its group, and still its child
        ("while :; do sh -c 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done'; done", True),  # many short children
    ],
)
@in_loop
async def test_the_use_of_a_task_is_that_of_all_its_processes(script: str, is_busy: bool) -> None:
    async with colony(beat_interval_s=0.3) as (queen, _):
        token = await queen.grant(shell(script))
        await queen.until(lambda: token in queen.started)
        await queen.say(QueenMessage(observe=True))
        await queen.until(lambda: len(queen.uses.get(token, ())) >= 2)
        await queen.say(QueenMessage(observe=False))
        use = queen.uses[token][-1]
        assert (use.cpu > 0.03) is is_busy, use  # other processes may take most of the machine
        assert use.memory_bytes > 100_000
        await queen.cancel(token)


@in_loop
async def test_a_function_is_seen_and_nobody_looks_unasked() -> None:
    async with colony(beat_interval_s=0.3) as (queen, _):
        token = await queen.grant(python("functions:spins"), path=HERE)
        await queen.until(lambda: token in queen.started)
        beats = queen.beats
        await queen.until(lambda: queen.beats > beats + 1)
        assert not queen.uses
        await queen.say(QueenMessage(observe=True))
        await queen.until(lambda: token in queen.uses)
        assert queen.uses[token][-1].cpu > 0.03
        await queen.cancel(token)


def test_where_there_is_no_proc_nothing_is_said(tmp_path: object) -> None:
    assert Observer(f"{tmp_path}/none").look({1: ((1,), 1.0)}, 5.0) == {}
