"""What tasks leave for their next attempt, through a real ant: SHELL and PYTHON, bounds, secrets, grace."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.context import MAX_CHECKPOINT_BYTES
from formicary.engine.ants.output import ENGINE
from formicary.engine.queen.core.config import CoreConfig
from formicary.v1.ants_pb2 import TaskResult
from tests.integration.ants.fake_queen import FakeQueen, colony, python, shell
from tests.integration.ants.loop import in_loop
from tests.integration.ants.test_python import config


def left(queen: FakeQueen, token: int) -> list[bytes]:
    return [value for found, value in queen.checkpoints if found == token]


def test_ant_and_queen_have_the_same_bound() -> None:
    assert CoreConfig().checkpoint_bytes == MAX_CHECKPOINT_BYTES


@in_loop
async def test_shell_leaves_lines_and_is_given_the_environment() -> None:
    """The last line counts, also without a line end; a task that was given nothing has no such variable."""
    async with colony() as (queen, _):
        script = 'echo "given=${FORMICARY_CHECKPOINT-none}"; echo ::checkpoint::1; printf "::checkpoint::zwei größer"'
        result = await queen.run(shell(script))
        assert left(queen, result.token)[-1] == "zwei größer".encode()
        assert queen.text(result.token)[0] == "given=none"
        result = await queen.run(shell(script), checkpoint="a b\nc")
        assert queen.text(result.token)[:2] == ["given=a b", "c"]
        result = await queen.run(shell("echo 'no ::checkpoint::1'; echo ::checkpoint::2 >&2; echo :checkpoint::3"))
        assert left(queen, result.token) == [], "only at the beginning of a line of standard output"


@in_loop
async def test_a_long_line_is_one_checkpoint_and_a_longer_one_is_told() -> None:
    """Of up to 64 KiB, however short lines of the log are; one that is too long takes nothing away."""
    async with colony(config=AntConfig("a", slots=1, max_line_bytes=1000)) as (queen, _):
        line = "i=0; while [ $i -lt {} ]; do printf '%01024d' 0; i=$((i+1)); done; echo"
        result = await queen.run(shell("printf ::checkpoint::; " + line.format(64)))
        assert left(queen, result.token)[-1] == b"0" * 65536
        result = await queen.run(shell("echo ::checkpoint::kept; printf ::checkpoint::; " + line.format(65)))
        assert left(queen, result.token)[-1] == b"kept"
        result = await queen.run(shell("echo ::checkpoint::kept; printf ::checkpoint::; " + line.format(200)))
        assert left(queen, result.token)[-1] == b"kept"
        assert any("checkpoint" in text and "65,536" in text for text in queen.text(result.token, ENGINE))


@in_loop
async def test_python_leaves_values_and_is_given_them() -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(python("functions:leave"), variables={"values": [1, {"row": [2, "größer"]}]})
        assert left(queen, result.token)[-1] == '{"row":[2,"größer"]}'.encode()
        assert queen.outputs(result.token) == {"given": None, "text": None}
        text = '{"row":[2,"größer"]}'
        result = await queen.run(python("functions:leave"), variables={"values": []}, checkpoint=text)
        assert queen.outputs(result.token) == {"given": {"row": [2, "größer"]}, "text": text}
        assert left(queen, result.token) == []
        result = await queen.run(python("functions:leave"), variables={"values": []}, checkpoint="no JSON")
        assert queen.outputs(result.token) == {"given": "no JSON", "text": "no JSON"}
        result = await queen.run(python("functions:leave"), variables={"values": [None]})
        assert queen.outputs(result.token) == {"given": None, "text": None}, "nothing of the call before is left"
        assert left(queen, result.token) == [b""]


@pytest.mark.parametrize("function", ["leave_and_fail", "leave_and_die"])
@in_loop
async def test_what_a_function_leaves_just_before_its_end_comes_before_the_result(function: str) -> None:
    async with colony(config=config()) as (queen, _):
        for number in range(5):
            result = await queen.run(python(f"functions:{function}"), variables={"value": number})
            assert result.outcome != TaskResult.COMPLETED
            assert left(queen, result.token) == [str(number).encode()]


@pytest.mark.parametrize(("kind", "expected"), [("large", "70,002 bytes"), ("object", "JSON can hold")])
@in_loop
async def test_a_value_that_cannot_be_kept_is_an_error_where_it_is_left(kind: str, expected: str) -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(python("functions:leave_too_much"), variables={"kind": kind})
        assert expected in str(queen.outputs(result.token))


@in_loop
async def test_of_many_a_second_few_are_told_and_always_the_last() -> None:
    async with colony() as (queen, _):
        began = time.monotonic()
        script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo ::checkpoint::$i; done"
        result = await queen.run(shell(script))
        told = left(queen, result.token)
        assert told[-1] == b"2000" and len(told) <= 3 + 10 * (time.monotonic() - began)


@in_loop
async def test_secrets_are_not_in_it() -> None:
    async with colony(config=AntConfig("a", slots=1, paths=config().paths)) as (queen, _):
        result = await queen.run(shell("echo ::checkpoint::at geheim-123 row 5"), secrets=["geheim-123"])
        assert left(queen, result.token) == [b"at *** row 5"]
        values = {"values": [{"key": "geheim-123", "row": 5}]}
        result = await queen.run(python("functions:leave"), variables=values, secrets=["geheim-123"])
        assert left(queen, result.token) == [b'{"key":"***","row":5}']


@in_loop
async def test_the_last_one_is_said_again_on_a_new_stream(tmp_path: Path) -> None:
    """Of an attempt whose end is not acknowledged; of one that is taken away nothing is said."""
    gate = tmp_path / "gate"
    script = f"echo ::checkpoint::$0; while [ ! -e {gate} ]; do sleep 0.01; done"
    async with colony(config=AntConfig("a", slots=2)) as (queen, _):
        first, second = await queen.grant(shell(script)), await queen.grant(shell(script))
        await queen.until(lambda: {first, second} <= {token for token, _ in queen.checkpoints})
        queen.checkpoints.clear()
        queen.kill.add(second)
        await queen.cut()
        await queen.until(lambda: len(queen.hellos) == 2 and bool(queen.checkpoints))
        gate.touch()
        await queen.result(first)
        assert {token for token, _ in queen.checkpoints} == {first} and second not in queen.results


@pytest.mark.parametrize(("grace_s", "is_whole"), [(20.0, True), (0.3, False)])
@in_loop
async def test_shell_is_left_the_grace_that_the_queen_gives(grace_s: float, is_whole: bool, tmp_path: Path) -> None:
    """Instead of the ant's own: long enough to save what takes longer than that, or shorter."""
    begun = tmp_path / "begun"
    saving = "sleep 1; echo ::checkpoint::saved; exit 0"
    script = f"trap '{saving}' TERM; touch {begun}; while :; do sleep 0.02; done"
    async with colony(config=AntConfig("a", slots=1, kill_grace_s=0.5 if is_whole else 30.0)) as (queen, _):
        token = await queen.grant(shell(script))
        await queen.until(begun.exists)
        await queen.cancel(token, grace_s=grace_s)
        assert (await queen.result(token)).outcome == TaskResult.CANCELLED
        assert left(queen, token) == ([b"saved"] if is_whole else [])


@in_loop
async def test_python_is_asked_to_stop_and_killed_after_the_grace(tmp_path: Path) -> None:
    """One that asks `is_stopping` ends by itself, and its process goes on; without a grace it is killed at once."""
    async with colony(config=config(slots=2)) as (queen, ant):
        for answers, grace_s, expected in ((True, 20.0, [b'"asked"']), (False, 0.3, []), (True, None, [])):
            begun = tmp_path / f"begun{answers}{grace_s}"
            token = await queen.grant(
                python("functions:until_asked"), variables={"begun": str(begun), "answers": answers}
            )
            await queen.until(begun.exists)
            before = set(ant.worker_pids)
            await queen.cancel(token, grace_s=grace_s)
            async with asyncio.timeout(60):
                assert (await queen.result(token)).outcome == TaskResult.CANCELLED
            assert left(queen, token) == expected
            if expected:
                assert before == set(ant.worker_pids)
